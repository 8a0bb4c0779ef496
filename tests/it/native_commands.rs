//! Text commands over a real socket: what the gateway answers itself, how that is marked, and that
//! no agent hears of it.

use serde_json::{Value, json};

use crate::support::http::chat;
use crate::support::{Native, Puppet, PuppetRun, Served, Setup};

async fn moved(settings: Value) -> (Served, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Setup::new(settings).agent(agent).start().await, puppet)
}

/// Sends a command and reads its answer.
async fn asked(native: &mut Native, run: &str, command: &str) -> String {
    let sent = native.send("main", run, command).await;
    assert_eq!(sent["status"], "started", "{command}");
    let end = native.end(run).await;
    assert_eq!(end.state(), "final", "{end:?}");
    end.text()
}

async fn answers(run: &PuppetRun, text: &str) {
    run.says(text).await;
    run.ends().await;
}

/// What the agent gets of the conversation before.
fn before(run: &PuppetRun) -> Vec<&str> {
    let history = run.turn.session.iter();
    history.map(|message| message.text.as_str()).collect()
}

#[tokio::test]
async fn what_clients_ask_is_answered_by_the_gateway_and_not_by_the_agent() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    for (n, (command, expected)) in [
        (
            "/status",
            concat!(
                "clawport ",
                env!("CARGO_PKG_VERSION"),
                ", compatible with OpenClaw 2026.9.6"
            ),
        ),
        ("/STATUS", "Queue: steer, 0 active, 0 waiting"),
        ("/help", "/whoami"),
        ("/commands", "Not available on this gateway: /goal"),
        ("/whoami", "Signed in with: token"),
        ("/id", "operator.admin"),
        ("/tools", "no tools of its own"),
        ("/tools verbose", "no tools of its own"),
        ("/agents", "- main, the default, answers here"),
        ("/models nobody", "There is no provider nobody here"),
        ("/context", "Context: not known yet"),
        ("/context list", "The agent gets 0 messages"),
        ("/context detail", "The agent gets 0 messages"),
        ("/context json", "\"sessionKey\": \"agent:main:main\""),
        ("/context all", "Use /context with one of"),
        (
            "/goal status",
            "it keeps no goals, so this session has none",
        ),
        ("/tts on", "/tts is not available on this gateway"),
        ("/usage cost", "is not known here"),
        ("/steer", "Use /steer"),
        ("/compact", "There was nothing to sum up."),
        ("/model", "Model: sim/demo"),
        ("/model nothing", "There is no model nothing here"),
        ("/model -g sim/demo", "Only the model of this session"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = asked(&mut native, &format!("r{n}"), command).await;
        assert!(answer.contains(expected), "{command}: {answer}");
    }
    assert!(puppet.is_idle());
    native.send("main", "n", "/nonsense").await;
    assert_eq!(puppet.next().await.asked(), ["/nonsense"]);
}

#[tokio::test]
async fn an_answer_is_marked_as_the_original_marks_it() {
    let (served, _puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    native.send("main", "c", "/status").await;
    let event = native
        .event(|event| matches!(&*event.name, "chat" | "agent") && event.run() == "c")
        .await;
    let recorded = include_str!("../golden/ws/chat-slash-status.jsonl").lines();
    let recorded = recorded.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut recorded = recorded.map(|line| line["frame"]["payload"].clone());
    let recorded = recorded
        .find(|payload| payload["state"] == "final")
        .unwrap();
    let (ours, original) = (&event.payload, &recorded);
    for (name, value) in original.as_object().unwrap() {
        if !matches!(&**name, "runId" | "sessionKey" | "message") {
            assert_eq!(&ours[name], value, "{name}: the first event is the last");
        }
    }
    for (name, value) in original["message"].as_object().unwrap() {
        match &**name {
            "content" => assert_eq!(ours["message"][name][0]["type"], "text"),
            "timestamp" => assert!(ours["message"][name].is_u64()),
            "idempotencyKey" => assert_eq!(ours["message"][name], "c"),
            _ => assert_eq!(&ours["message"][name], value, "{name}"),
        }
    }
    assert_eq!(ours["message"]["command"], true, "a line of the gateway");
    native.send("main", "s", "/stop").await;
    let wait = json!({"runId": "c", "timeoutMs": 1});
    assert_eq!(native.call("agent.wait", wait).await["status"], "ok");
}

#[tokio::test]
async fn commands_stay_in_the_transcript_and_out_of_what_the_agent_gets() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    asked(&mut native, "c1", "/whoami").await;
    native.send("main", "r1", "hello").await;
    let first = puppet.next().await;
    assert!(before(&first).is_empty());
    let busy = asked(&mut native, "c2", "/status").await;
    assert!(
        busy.contains("1 active, 0 waiting"),
        "also while it works: {busy}"
    );
    answers(&first, "hi").await;
    native.end("r1").await;
    native.send("main", "r2", "again").await;
    let second = puppet.next().await;
    assert_eq!(before(&second), ["hello", "hi"]);
    answers(&second, "hi again").await;
    native.end("r2").await;

    let state = served.stop().await;
    let (agent, _puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).over(state).start().await;
    let native = served.native().await;
    let history = native
        .call("chat.history", json!({"sessionKey": "main"}))
        .await;
    let messages = history["messages"].as_array().unwrap();
    let marked: Vec<_> = messages
        .iter()
        .filter(|message| message["__openclaw"]["contextFreeCommand"] == true)
        .collect();
    let shown: Vec<_> = marked
        .iter()
        .map(|it| (&it["role"], &it["idempotencyKey"], &it["command"]))
        .collect();
    let (user, agent) = (json!("user"), json!("assistant"));
    assert_eq!(
        shown,
        [
            (&user, &json!("c1:user"), &Value::Null),
            (&agent, &json!("c1"), &json!(true)),
            (&user, &json!("c2:user"), &Value::Null),
            (&agent, &json!("c2"), &json!(true)),
        ]
    );
    assert!(marked.iter().all(|it| it["excludeFromContext"] == true));
    assert_eq!(marked[1]["model"], "gateway-injected");
    assert_eq!(messages.len(), 8);
}

#[tokio::test]
async fn settings_are_said_and_set_by_text() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    for (n, (command, expected)) in [
        ("/think", "This session has no thinking level of its own."),
        (
            "/think: High",
            "The thinking level of this session is now high.",
        ),
        ("/t", "The thinking level of this session is high."),
        (
            "/verbose on",
            "The verbose level of this session is now on.",
        ),
        (
            "/reasoning stream",
            "The reasoning level of this session is now stream.",
        ),
        (
            "/usage full",
            "The display of tokens of this session is now full.",
        ),
        (
            "/queue collect",
            "The queue mode of this session is now collect.",
        ),
        (
            "/queue faster",
            "Use /queue with one of steer, collect, followup, interrupt, default.",
        ),
        ("/send off", "The send policy of this session is now deny."),
        (
            "/send inherit",
            "This session uses the configured send policy again.",
        ),
        ("/name", "This session has no name; /name gives it one."),
        ("/name The work", "This session is now called The work."),
        ("/name", "This session is called The work."),
        ("/model default", "Model: sim/demo"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            asked(&mut native, &format!("r{n}"), command).await,
            expected
        );
    }
    let row = native
        .call("sessions.describe", json!({"key": "main"}))
        .await;
    let row = &row["session"];
    for (name, value) in [
        ("thinkingLevel", "high"),
        ("verboseLevel", "on"),
        ("reasoningLevel", "stream"),
        ("responseUsage", "full"),
        ("label", "The work"),
    ] {
        assert_eq!(row[name], value, "{row}");
    }
    let status = asked(&mut native, "s", "/status").await;
    assert!(status.contains("Queue: collect"), "{status}");
    native.send("other", "o", "/name The work").await;
    let end = native.end("o").await;
    assert!(
        end.text().starts_with("This session keeps its name"),
        "{end:?}"
    );
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn a_command_needs_the_scope_of_what_it_does() {
    let (served, mut puppet) = moved(json!({})).await;
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    let send = json!({"sessionKey": "main", "idempotencyKey": "w", "message": "/send off"});
    let error = writer.refused("chat.send", send).await;
    assert_eq!(&*error.message, "missing scope: operator.admin");
    let reader = Native::scoped(served.addr(), &["operator.read"]).await;
    let status = json!({"sessionKey": "main", "idempotencyKey": "x", "message": "/status"});
    let error = reader.refused("chat.send", status).await;
    assert_eq!(&*error.message, "missing scope: operator.write");
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn a_command_that_is_sent_twice_is_carried_out_once() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    asked(&mut native, "k", "/queue collect").await;
    asked(&mut native, "l", "/queue followup").await;
    let again = native.send("main", "k", "/queue collect").await;
    assert_eq!(again, json!({"runId": "k", "status": "ok"}));
    let mode = asked(&mut native, "m", "/queue").await;
    assert_eq!(mode, "The queue mode of this session is followup.");
    for message in ["/queue steer", "hello"] {
        let other = json!({"sessionKey": "main", "idempotencyKey": "k", "message": message});
        let error = native.refused("chat.send", other).await;
        assert!(error.to_string().contains("already used"), "{error}");
    }
    assert!(puppet.is_idle());
    assert_eq!(native.history("main").await.len(), 6);
}

#[tokio::test]
async fn a_command_needs_the_session_it_is_meant_for() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    let send = json!({"key": "agent:main:gone", "idempotencyKey": "g", "message": "/status"});
    let error = native.refused("sessions.send", send).await;
    assert!(error.to_string().contains("session not found"), "{error}");
    asked(&mut native, "c", "/status").await;
    let send = json!({"key": "main", "idempotencyKey": "d", "message": "/status"});
    native.call("sessions.send", send).await;
    assert!(native.end("d").await.text().contains("compatible with"));
    let stale = json!({
        "sessionKey": "main", "idempotencyKey": "e", "message": "/queue steer",
        "sessionId": "01890000-0000-7000-8000-000000000000",
    });
    let error = native.refused("chat.send", stale).await;
    assert!(
        error.to_string().contains("changed while starting work"),
        "{error}"
    );
    let mode = asked(&mut native, "f", "/queue").await;
    assert_eq!(mode, "This session has no queue mode of its own.");
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn a_message_is_text_where_commands_are_not_meant() {
    let (served, mut puppet) = moved(json!({})).await;
    let native = served.native().await;
    let params = json!({"sessionKey": "main", "idempotencyKey": "a", "message": "/status"});
    native.call("agent", params).await;
    assert_eq!(
        puppet.next().await.asked(),
        ["/status"],
        "as in the original"
    );
    let params = json!({
        "sessionKey": "two", "idempotencyKey": "b", "message": "/new",
        "suppressCommandInterpretation": true,
    });
    native.call("chat.send", params).await;
    assert_eq!(puppet.next().await.asked(), ["/new"]);
    let mut http = served.connect().await;
    let body = r#"{"user":"u","messages":[{"role":"user","content":"/status"}]}"#;
    http.send(chat(body)).await;
    let run = puppet.next().await;
    assert_eq!(
        run.asked(),
        ["/status"],
        "a caller over HTTP gives no commands"
    );
    answers(&run, "text").await;
    assert_eq!(http.response().await.content(), "text");
}

#[tokio::test]
async fn a_message_is_steered_by_text() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    native.send("main", "r1", "go").await;
    let mut first = puppet.next().await;
    let params = json!({
        "sessionKey": "main", "idempotencyKey": "r2", "message": "/steer to the left",
        "queueMode": "followup",
    });
    native.call("chat.send", params).await;
    assert_eq!(first.takes().await, "to the left");
    answers(&first, "done").await;
    assert_eq!(native.end("r1").await.text(), "done");
}
