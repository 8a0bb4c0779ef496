//! Every native method, asked over a real socket, with its refusal; every event, seen by who may.

use clawport::internals::protocol::methods::stubs::Stub;
use serde_json::{Value, json};

use crate::support::device::now_ms;
use crate::support::{Native, Puppet, Served, Setup, native};

/// Says the last message again.
async fn served() -> Served {
    Served::start(json!({"agents": {"defaults": {"model": "sim/echo"}}})).await
}

async fn ran(native: &Native, session: &str, run: &str, message: &str) {
    native.send(session, run, message).await;
    let waited = native
        .call("agent.wait", json!({"runId": run, "timeoutMs": 10_000}))
        .await;
    assert_eq!(waited["status"], "ok", "{waited}");
}

async fn check_refused(native: &Native, method: &str, params: Value, message: &str) {
    let error = native.refused(method, params).await;
    assert!(error.to_string().contains(message), "{method}: {error}");
}

#[tokio::test]
async fn health_status_and_presence_describe_the_gateway() {
    let served = served().await;
    let native = served.native().await;
    let health = native.call("health", json!({"anything": 1})).await;
    assert_eq!(
        (&health["ok"], &health["defaultAgentId"]),
        (&json!(true), &json!("main"))
    );
    let status = native.call("status", json!({})).await;
    assert_eq!(status["heartbeat"]["defaultAgentId"], "main", "{status}");
    let presence = native.call("system-presence", json!({})).await;
    assert!(
        presence
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["mode"] == "gateway"),
        "{presence}"
    );
    check_refused(
        &native,
        "no.such.method",
        json!({}),
        "unknown method: no.such.method",
    )
    .await;
    let nobody = Native::scoped(served.addr(), &[]).await;
    assert_eq!(
        nobody.call("health", json!({})).await["ok"],
        true,
        "health needs no scope"
    );
    check_refused(&nobody, "status", json!({}), "missing scope: operator.read").await;
}

/// Whether a value tells of something: words, times, pages and closed switches do not.
fn tells_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Number(_) | Value::String(_) => false,
        Value::Bool(is_on) => *is_on,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(tells_something),
    }
}

#[tokio::test]
async fn what_this_gateway_does_not_have_is_answered_as_none() {
    let served = served().await;
    let native = served.native().await;
    ran(&native, "main", "r1", "hello").await;
    let methods = &native.client.hello().features.methods;
    let main = json!({"agentId": "main", "sessionKey": "main", "selectedScope": "system"});
    for stub in Stub::ALL {
        let name = stub.name();
        assert!(
            methods.iter().any(|it| it.as_ref() == name),
            "{name} is not advertised"
        );
        let mut answer = native.call(name, main.clone()).await;
        match stub {
            // It is asked to do something, and says that it did not.
            Stub::UpdateRun => assert_eq!(answer["result"].take()["status"], "skipped"),
            // There is one machine: that of the gateway.
            Stub::EnvironmentsList => {
                let machines = answer["environments"].take();
                assert_eq!(machines[0]["id"], "gateway");
                assert_eq!(machines.as_array().unwrap().len(), 1, "{machines}");
            }
            // The page has a look, whoever chooses it.
            Stub::ThemesList => assert_eq!(answer["theme"].take()["source"], "builtin"),
            _ => {}
        }
        assert!(!tells_something(&answer), "{name}: {answer}");
    }
    let before = now_ms();
    let nodes = native.call("node.list", json!({})).await;
    assert!(nodes["ts"].as_u64().unwrap() >= before, "{nodes}");
    let page = json!({"offset": 3, "limit": 4});
    let jobs = native.call("cron.list", page).await;
    assert_eq!((&jobs["offset"], &jobs["limit"]), (&json!(3), &json!(4)));
    check_refused(
        &native,
        "sessions.branches.list",
        json!({}),
        "invalid sessions.branches.list params: must have required property 'sessionKey'",
    )
    .await;
}

#[tokio::test]
async fn agents_and_models_are_those_of_the_configuration() {
    let served = Served::start(json!({"agents": {"list": [
        {"id": "main", "default": true, "model": "sim/echo", "name": "Main"},
        {"id": "beta", "model": "sim/demo"},
    ]}}))
    .await;
    let native = served.native().await;
    let list = native.call("agents.list", json!({})).await;
    assert_eq!(list["defaultId"], "main");
    let ids: Vec<_> = list["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert_eq!(ids, ["main", "beta"]);
    assert_eq!(list["agents"][0]["model"]["primary"], "sim/echo");
    let identity = native
        .call("agent.identity.get", json!({"agentId": "beta"}))
        .await;
    assert_eq!(identity["agentId"], "beta");
    check_refused(
        &native,
        "agent.identity.get",
        json!({"sessionKey": "agent:"}),
        "malformed session key",
    )
    .await;
    let models = native.call("models.list", json!({})).await;
    let names: Vec<_> = models["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert!(
        names.contains(&&json!("echo")) && names.contains(&&json!("demo")),
        "{models}"
    );
    let filtered = native
        .call("models.list", json!({"provider": "nobody"}))
        .await;
    assert_eq!(filtered["models"], json!([]));
    let again = native.call("agents.list", json!({"newer": 1})).await;
    assert_eq!(again["agents"], list["agents"]);
}

#[tokio::test]
async fn agent_answers_twice_and_agent_wait_finds_the_end() {
    let served = served().await;
    let native = served.native().await;
    let params = json!({"message": "hi", "idempotencyKey": "a1", "sessionKey": "main"});
    let accepted = native.call("agent", params.clone()).await;
    assert_eq!(accepted["runId"], "a1");
    assert_eq!(accepted["status"], "accepted");
    let ended = native
        .call("agent.wait", json!({"runId": "a1", "timeoutMs": 10_000}))
        .await;
    assert_eq!(ended["status"], "ok");
    assert!(ended["endedAt"].is_u64(), "{ended}");
    let again = native.call_final("agent", params).await;
    assert_eq!(again["status"], "ok", "the same key runs nothing: {again}");
    let other = json!({"message": "hi", "idempotencyKey": "a2", "sessionKey": "main"});
    let last = native.call_final("agent", other).await;
    assert_eq!(last["result"]["payloads"][0]["text"], "hi", "{last}");
    let unknown = native
        .call("agent.wait", json!({"runId": "nobody", "timeoutMs": 1}))
        .await;
    assert_eq!(unknown, json!({"runId": "nobody", "status": "timeout"}));
    check_refused(
        &native,
        "agent",
        json!({"message": "hi", "idempotencyKey": "a3", "agentId": "ghost"}),
        "unknown agent id \"ghost\"",
    )
    .await;
}

#[tokio::test]
async fn chat_methods_send_read_inject_and_abort() {
    let served = served().await;
    let native = served.native().await;
    ran(&native, "main", "c1", "hello").await;
    let repeated = native.send("main", "c1", "hello").await;
    assert_eq!(repeated, json!({"runId": "c1", "status": "ok"}));
    let conflict = json!({"sessionKey": "main", "idempotencyKey": "c1", "message": "other"});
    check_refused(
        &native,
        "chat.send",
        conflict,
        "already used for different input",
    )
    .await;
    let injected = native
        .call(
            "chat.inject",
            json!({"sessionKey": "main", "message": "note", "label": "ops"}),
        )
        .await;
    assert_eq!(injected["ok"], true);
    let history = native.history("main").await;
    let texts: Vec<_> = history
        .iter()
        .map(|(role, text)| format!("{role}: {text}"))
        .collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert_eq!(texts[..2], ["user: hello", "assistant: hello"]);
    assert!(texts[2].contains("note"), "{texts:?}");
    check_refused(
        &native,
        "chat.inject",
        json!({"sessionKey": "nobody", "message": "x"}),
        "session not found",
    )
    .await;
    let aborted = native
        .call("chat.abort", json!({"sessionKey": "main", "runId": "c1"}))
        .await;
    assert_eq!(aborted, json!({"ok": true, "aborted": false, "runIds": []}));
    check_refused(
        &native,
        "chat.send",
        json!({"sessionKey": "main"}),
        "message",
    )
    .await;
}

#[tokio::test]
async fn a_session_is_described_by_its_row() {
    let served = served().await;
    let native = served.native().await;
    ran(&native, "work", "d1", "hello").await;
    let texts = json!({"key": "work", "includeDerivedTitles": true, "includeLastMessage": true});
    let described = native.call("sessions.describe", texts).await;
    let session = &described["session"];
    let history = native
        .call("chat.history", json!({"sessionKey": "work"}))
        .await;
    assert_eq!(session["sessionId"], history["sessionId"], "{described}");
    assert_eq!(session["derivedTitle"], "hello", "{described}");
    assert_eq!(session["lastMessagePreview"], "hello", "{described}");
    let plain = native
        .call("sessions.describe", json!({"key": "agent:main:work"}))
        .await;
    assert_eq!(plain["session"]["key"], "agent:main:work", "{plain}");
    assert_eq!(plain["session"].get("derivedTitle"), None, "{plain}");
    let nobody = native
        .call("sessions.describe", json!({"key": "no such session"}))
        .await;
    assert_eq!(nobody, json!({"session": null}));
    check_refused(
        &native,
        "sessions.describe",
        json!({"key": ""}),
        "invalid sessions.describe params: at /key: must not have fewer than 1 characters",
    )
    .await;
}

#[tokio::test]
async fn sessions_are_listed_found_changed_reset_and_deleted() {
    let served = served().await;
    let native = served.native().await;
    ran(&native, "work", "s1", "hello").await;
    let list = native.call("sessions.list", json!({})).await;
    assert_eq!(list["count"], 1, "{list}");
    let row = &list["sessions"][0];
    assert_eq!(row["key"], "agent:main:work");
    assert_eq!(row["hasActiveRun"], false);
    let patched = native
        .call(
            "sessions.patch",
            json!({"key": "work", "label": "Work", "thinkingLevel": "low"}),
        )
        .await;
    assert_eq!(patched["entry"]["label"], "Work", "{patched}");
    check_refused(
        &native,
        "sessions.patch",
        json!({"key": "work", "sendPolicy": "perhaps"}),
        "sendPolicy",
    )
    .await;
    let found = native
        .call("sessions.resolve", json!({"label": "Work"}))
        .await;
    assert_eq!(found["key"], "agent:main:work");
    let missing = json!({"label": "Nope"});
    check_refused(
        &native,
        "sessions.resolve",
        missing,
        "No session found with label: Nope",
    )
    .await;
    let reset = native.call("sessions.reset", json!({"key": "work"})).await;
    assert_eq!(reset["ok"], true);
    assert_ne!(reset["entry"]["sessionId"], row["sessionId"]);
    assert!(native.history("work").await.is_empty());
    let deleted = native.call("sessions.delete", json!({"key": "work"})).await;
    assert_eq!(deleted["deleted"], true);
    check_refused(
        &native,
        "sessions.delete",
        json!({"key": "main"}),
        "Cannot delete the main",
    )
    .await;
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    let reset = json!({"key": "work"});
    check_refused(
        &writer,
        "sessions.reset",
        reset,
        "missing scope: operator.admin",
    )
    .await;
}

#[tokio::test]
async fn subscribers_see_messages_and_changes_and_others_do_not() {
    let served = served().await;
    let mut native = served.native().await;
    let all = native.call("sessions.subscribe", json!({})).await;
    assert_eq!(all["subscribed"], true);
    let one = native
        .call("sessions.messages.subscribe", json!({"key": "main"}))
        .await;
    assert_eq!(
        (&one["subscribed"], &one["key"]),
        (&json!(true), &json!("agent:main:main"))
    );
    native.send("main", "e1", "hello").await;
    let (mut roles, mut ended, mut settled, mut lifecycle) = (Vec::new(), false, false, false);
    while !(ended && settled && lifecycle && roles.len() == 2) {
        let event = native.event(|_any| true).await;
        match event.name.as_str() {
            "session.message" => roles.push(event.payload["message"]["role"].clone()),
            "agent" => lifecycle |= event.payload["stream"] == "lifecycle",
            "chat" => ended |= event.state() == "final" && event.run() == "e1",
            "sessions.changed" => {
                assert_eq!(event.payload["sessionKey"], "agent:main:main", "{event:?}");
                settled |= event.payload["hasActiveRun"] == false;
            }
            _other => {}
        }
    }
    assert_eq!(roles, ["user", "assistant"]);
    let off = native
        .call("sessions.messages.unsubscribe", json!({"key": "main"}))
        .await;
    assert_eq!(off, json!({"subscribed": false, "key": "agent:main:main"}));

    let mut other = served.native().await;
    other.send("main", "e2", "again").await;
    let end = other
        .event(|event| {
            assert_ne!(event.name, "session.message", "only for subscribers");
            event.name == "chat" && event.is_terminal()
        })
        .await;
    assert_eq!(end.run(), "e2");
}

#[tokio::test]
async fn config_get_hides_secrets_and_logs_tail_reads_lines() {
    let served = served().await;
    let native = served.native().await;
    let config = native.call("config.get", json!({})).await;
    assert_eq!(config["valid"], true, "{config}");
    assert!(
        !config.to_string().contains(crate::support::TOKEN),
        "the secret is in it"
    );
    let logs = native.call("logs.tail", json!({"limit": 5})).await;
    assert!(
        logs["lines"].is_array() && logs["cursor"].is_u64(),
        "{logs}"
    );
    check_refused(&native, "logs.tail", json!({"limit": 0}), "/limit").await;
}

#[tokio::test]
async fn runs_are_listed_and_shown_stored_or_not() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let native = served.native().await;
    native.send("one", "first", "hello").await;
    let first = puppet.next().await;
    first.says("hi").await;
    first.ends().await;
    let waited = json!({"runId": "first", "timeoutMs": 10_000});
    native.call("agent.wait", waited).await;
    native.send("one", "second", "again").await;
    let _second = puppet.next().await;
    let behind = json!({"sessionKey": "one", "idempotencyKey": "third", "message": "more",
        "queueMode": "followup"});
    native.call("chat.send", behind).await;
    // A call that is not stored is a run like any other while it lives.
    let mut connection = served.connect().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let call = json!({"stream": true, "messages": messages}).to_string();
    connection.send(crate::support::http::chat(&call)).await;
    let unstored = puppet.next().await;
    let waits = loop {
        let status = native.call("status", json!({})).await;
        if status["runs"]["oldestWaitMs"].as_u64().unwrap() > 1 {
            break status["runs"].clone();
        }
    };
    assert_eq!(
        (&waits["waiting"], &waits["active"]),
        (&json!(1), &json!(2))
    );

    let list = native.call("runs.list", json!({})).await;
    let shown: Vec<_> = list["runs"].as_array().unwrap().iter().collect();
    let brief = |row: &Value| json!([row["runId"], row["status"], row["front"], row["stored"]]);
    let http = shown[0]["runId"].as_str().unwrap();
    let expected = json!([
        [http, "active", "http", false],
        ["third", "queued", "chat", true],
        ["second", "active", "chat", true],
        ["first", "ok", "chat", true],
    ]);
    assert_eq!(shown.into_iter().map(brief).collect::<Value>(), expected);
    let of_one = json!({"sessionKey": "one", "limit": 2});
    let of_one = native.call("runs.list", of_one).await;
    let ids: Value = of_one["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["runId"].clone())
        .collect();
    assert_eq!(ids, json!(["third", "second"]));

    let run = native.call("runs.get", json!({"runId": "first"})).await;
    assert_eq!(
        (&run["input"], &run["text"]),
        (&json!(["hello"]), &json!("hi"))
    );
    assert_eq!(run["run"]["sessionKey"], "agent:main:one");
    unstored.says("so far").await;
    let live = loop {
        let run = native.call("runs.get", json!({"runId": http})).await;
        if run["text"] != "" {
            break run;
        }
    };
    assert_eq!(
        (&live["text"], &live["input"]),
        (&json!("so far"), &json!([]))
    );
    let key = live["run"]["sessionKey"].as_str().unwrap();
    let abort = json!({"sessionKey": key, "runId": http});
    assert_eq!(native.call("chat.abort", abort).await["aborted"], true);
}

#[tokio::test]
async fn runs_are_shown_to_readers_only() {
    let served = served().await;
    let native = served.native().await;
    check_refused(
        &native,
        "runs.get",
        json!({"runId": "nobody"}),
        "run not found: nobody",
    )
    .await;
    check_refused(&native, "runs.list", json!({"limit": 0}), "/limit").await;
    let nobody = Native::scoped(served.addr(), &[]).await;
    for method in ["runs.list", "runs.get"] {
        check_refused(&nobody, method, json!({}), "missing scope: operator.read").await;
    }
}

#[tokio::test]
async fn presence_and_shutdown_reach_everybody() {
    let served = served().await;
    let mut native = served.native().await;
    // Command lines come and go unseen; this one is not a command line.
    let another = Native::with(clawport::client::ClientOptions {
        client_id: clawport::internals::protocol::ClientId::Test,
        client_mode: clawport::internals::protocol::ClientMode::Test,
        ..native::options(served.addr())
    })
    .await;
    let presence = native.event(|event| event.name == "presence").await;
    assert!(presence.payload["presence"].is_array(), "{presence:?}");
    drop(another);
    served.gateway.shutdown();
    let shutdown = native.event(|event| event.name == "shutdown").await;
    assert!(shutdown.payload["reason"].is_string(), "{shutdown:?}");
    while native.next().await.is_some() {}
}

#[tokio::test]
async fn a_client_of_protocol_3_is_served_in_its_dialect() {
    let served = served().await;
    let mut native = Native::with(clawport::client::ClientOptions {
        protocols: 3..=3,
        ..native::options(served.addr())
    })
    .await;
    let agents = native.call("agents.list", json!({})).await;
    assert!(
        agents.get("ownership").is_none(),
        "a field of protocol 4: {agents}"
    );
    let models = native.call("models.list", json!({})).await;
    assert!(models["models"][0].get("available").is_none(), "{models}");
    native.send("main", "v3", "hello there").await;
    let delta = native.delta("v3").await;
    assert_eq!(
        delta.payload["message"]["role"], "assistant",
        "cumulative: {delta:?}"
    );
    assert_eq!(
        delta.payload["sessionKey"], "main",
        "the key as it was sent"
    );
    let last = native.end("v3").await;
    assert_eq!(last.payload["message"]["content"][0]["text"], "hello there");
    let history = native.history("main").await;
    assert_eq!(history.len(), 2, "{history:?}");
    let refused = native.refused("chat.history", json!({})).await;
    assert!(
        refused.to_string().contains("invalid chat.history params"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_link_leads_to_its_session() {
    let served = served().await;
    let native = served.native().await;
    let (first, second) = (
        "agent:main:dashboard:0a1b2c3d-0000-4000-8000-000000000001",
        "agent:main:dashboard:0a1b2c3d-0000-4000-8000-000000000002",
    );
    for (key, label) in [
        (first, "Fix the build!"),
        (second, "Another"),
        ("page", "Page"),
    ] {
        let patch = json!({"key": key, "label": label});
        native.call("sessions.patch", patch).await;
    }
    let resolve = async |mut params: Value| {
        params["allowMissing"] = json!(true);
        native.call("sessions.resolve", params).await
    };
    let link = |key: &str, slug: &str| {
        json!({"reference": {"key": key, "slug": slug}, "agentId": "main",
               "includeGlobal": true, "includeUnknown": true})
    };
    // The key goes first; a slug only finds sessions whose key ends in an id.
    for (key, slug, expected) in [
        ("agent:main:page", "another", Some("agent:main:page")),
        ("agent:main:gone", "fix-the-build", Some(first)),
        ("agent:main:gone", "page", None),
        ("agent:main:gone", "nothing", None),
    ] {
        let found = resolve(link(key, slug)).await;
        assert_eq!(found["ok"], expected.is_some(), "{key} {slug}: {found}");
        assert_eq!(found["key"].as_str(), expected, "{key} {slug}");
    }
    // The id at the end of a key can be cut short, as long as one session is meant.
    let short = |digits: &str| json!({"shortId": digits, "slugHint": "x", "agentId": "main"});
    let exact = resolve(short("0a1b2c3d000040008000000000000002")).await;
    assert_eq!(exact["key"], second);
    let several = resolve(short("0a1b2c3d")).await;
    assert_eq!(several["ok"], false, "{several}");
    assert_eq!(several["candidates"].as_array().unwrap().len(), 2);
    let gone = json!({"reference": {"key": "agent:main:gone"}});
    check_refused(
        &native,
        "sessions.resolve",
        gone,
        "No session found: agent:main:gone",
    )
    .await;
}
