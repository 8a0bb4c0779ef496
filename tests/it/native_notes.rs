//! What operators and other programs tell the gateway and ask about its parts, over a real socket.

use clawport::client::ClientOptions;
use serde_json::{Value, json};

use crate::support::{Native, Puppet, Served, Setup, native};

async fn served() -> Served {
    Served::start(json!({
        "agents": {"list": [
            {"id": "main", "default": true, "model": "sim/echo"},
            {"id": "beta", "model": "keyed/m"},
        ]},
        "models": {"providers": {
            "keyed": {"baseUrl": "http://127.0.0.1:9/v1", "apiKey": "a-secret-key",
                "api": "openai-completions", "models": [{"id": "m"}]},
            "open": {"baseUrl": "http://127.0.0.1:9/v1", "api": "openai-completions",
                "models": [{"id": "m"}]},
        }},
    }))
    .await
}

async fn check_refused(native: &Native, method: &str, params: Value, message: &str) {
    let error = native.refused(method, params).await;
    assert_eq!(*error.message, *message, "{method}");
}

#[tokio::test]
async fn the_configuration_is_shown_as_it_could_be() {
    let served = served().await;
    let native = served.native().await;
    let shown = native.call("config.schema", json!({})).await;
    let agents = &shown["schema"]["properties"]["agents"];
    assert!(agents.is_object(), "{shown}");
    assert_eq!(shown["version"], env!("CARGO_PKG_VERSION"));
    assert!(shown["generatedAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(shown["uiHints"], json!({}));
    assert!(!shown["schema"].to_string().contains("$ref"), "{shown}");
    let agents = native
        .call("config.schema.lookup", json!({"path": "agents.list[0]"}))
        .await;
    assert_eq!(agents["path"], "agents.list.0");
    let keys = agents["children"].as_array().unwrap().iter();
    let id = keys.clone().find(|child| child["key"] == "id").unwrap();
    let expected = json!({"key": "id", "path": "agents.list.0.id", "type": "string",
        "required": true, "hasChildren": false});
    assert_eq!(*id, expected);
    check_refused(
        &native,
        "config.schema.lookup",
        json!({"path": "agents.nope"}),
        "config schema path not found",
    )
    .await;
    let reader = Native::scoped(served.addr(), &["operator.read"]).await;
    let same = reader.call("config.schema", json!({})).await;
    assert_eq!(same["schema"], shown["schema"]);
    let old = Native::with(ClientOptions {
        protocols: 3..=3,
        scopes: vec!["operator.read".to_owned()],
        ..native::options(served.addr())
    })
    .await;
    check_refused(
        &old,
        "config.schema",
        json!({}),
        "missing scope: operator.admin",
    )
    .await;
}

#[tokio::test]
async fn providers_with_a_key_are_told_of_and_their_keys_are_not() {
    let served = served().await;
    let native = served.native().await;
    let status = native
        .call("models.authStatus", json!({"agentId": "main"}))
        .await;
    assert!(status["ts"].is_u64());
    assert_eq!(
        status["providers"],
        json!([{"provider": "keyed", "displayName": "keyed", "status": "static", "profiles": []}])
    );
    check_refused(
        &native,
        "models.authStatus",
        json!({"refresh": 1}),
        "invalid models.authStatus params: at /refresh: must be boolean",
    )
    .await;
}

#[tokio::test]
async fn the_gateway_brings_no_tools_along() {
    let served = served().await;
    let native = served.native().await;
    for (params, agent) in [(json!({}), "main"), (json!({"agentId": "beta"}), "beta")] {
        let catalog = native.call("tools.catalog", params).await;
        let profiles = json!([{"id": "full", "label": "Full"}]);
        let expected = json!({"agentId": agent, "profiles": profiles, "groups": []});
        assert_eq!(catalog, expected);
    }
    check_refused(
        &native,
        "tools.catalog",
        json!({"agentId": "ghost"}),
        "unknown agent id \"ghost\"",
    )
    .await;
}

#[tokio::test]
async fn the_lane_of_all_runs_is_counted() {
    let (agent, mut puppet) = Puppet::new();
    let settings = json!({"agents": {"defaults": {"maxConcurrent": 2}}});
    let served = Setup::new(settings).agent(agent).start().await;
    let native = served.native().await;
    for session in ["a", "b", "c"] {
        native.send(session, session, "hello").await;
    }
    let _active = (puppet.next().await, puppet.next().await);
    served.waiting(1).await;
    let lanes = native.call("diagnostics.lanes", json!({})).await;
    assert_eq!(
        (&lanes["lanes"], &lanes["dynamic"]),
        (
            &json!([{"lane": "main", "queuedCount": 1, "activeCount": 2, "maxConcurrent": 2,
                "draining": false, "generation": 0, "blockedBy": null}]),
            &Value::Null
        )
    );
}

#[tokio::test]
async fn an_event_is_shown_and_told_to_the_agent() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let mut native = served.native().await;
    let node = json!({"text": "Node: desk", "instanceId": "i1", "host": "desk", "mode": "ui",
        "lastInputSeconds": 5, "roles": ["node"], "tags": ["t"], "reason": "beacon"});
    for _ in 0..2 {
        let noted = native.call("system-event", node.clone()).await;
        assert_eq!(noted, json!({"ok": true}));
    }
    let is_desk = |entry: &&Value| entry["host"] == "desk";
    let presence = native
        .event(|event| {
            let entries = event.payload["presence"].as_array();
            event.name == "presence" && entries.is_some_and(|it| it.iter().any(|it| is_desk(&it)))
        })
        .await;
    let entries = presence.payload["presence"].as_array().unwrap();
    let desk: Vec<_> = entries.iter().filter(is_desk).collect();
    assert_eq!(desk.len(), 1, "one entry for one program: {presence:?}");
    for (member, value) in node.as_object().unwrap() {
        assert_eq!(desk[0][member], *value, "{member}");
    }
    let listed = native.call("system-presence", json!({})).await;
    assert!(listed.as_array().unwrap().iter().any(|it| is_desk(&it)));
    let list = native.call("sessions.list", json!({})).await;
    assert_eq!(list["count"], 0, "presence alone is no news: {list}");

    let news = json!({"text": "The door opened"});
    native.call("system-event", news).await;
    native.send("main", "r", "what is new?").await;
    let run = puppet.next().await;
    let given: Vec<_> = run.turn.session.iter().map(|it| &*it.text).collect();
    assert_eq!(given, ["[System]\n\nThe door opened"]);
}

#[tokio::test]
async fn an_event_that_says_nothing_is_refused() {
    let served = served().await;
    let native = served.native().await;
    let required = "text required";
    check_refused(&native, "system-event", json!({"text": " "}), required).await;
    check_refused(
        &native,
        "system-event",
        json!({}),
        "invalid system-event params: must have required property 'text'",
    )
    .await;
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    let event = json!({"text": "x"});
    let missing = "missing scope: operator.admin";
    check_refused(&writer, "system-event", event, missing).await;
}

#[tokio::test]
async fn there_are_no_heartbeats_to_switch_on() {
    let served = served().await;
    let native = served.native().await;
    let off = json!({"enabled": false});
    let answer = native.call("set-heartbeats", off).await;
    assert_eq!(answer, json!({"ok": true, "enabled": false}));
    for missing in [json!({}), json!({"enabled": "yes"})] {
        check_refused(
            &native,
            "set-heartbeats",
            missing,
            "invalid set-heartbeats params: enabled (boolean) required",
        )
        .await;
    }
    let on = native
        .refused("set-heartbeats", json!({"enabled": true}))
        .await;
    assert_eq!(
        (&*on.code, &*on.message),
        ("UNAVAILABLE", "this gateway has no heartbeats")
    );
}

#[tokio::test]
async fn nobody_observes_sessions() {
    let served = served().await;
    let native = served.native().await;
    let method = "sessions.observer.visibility";
    let noted = native.call(method, json!({"visible": true})).await;
    assert_eq!(noted, json!({"ok": true}));
    check_refused(
        &native,
        method,
        json!({}),
        &format!("invalid {method} params: must have required property 'visible'"),
    )
    .await;
}

#[tokio::test]
async fn the_gateway_is_known_by_a_key_that_stays() {
    let served = served().await;
    let native = served.native().await;
    let first = native.call("gateway.identity.get", json!({})).await;
    let length = |member: &str| first[member].as_str().unwrap().len();
    assert_eq!((length("deviceId"), length("publicKey")), (64, 43));
    drop(native);
    let state = served.stop().await;
    let file = state.path().join("gateway-identity");
    let served = Setup::new(json!({})).over(state).start().await;
    let native = served.native().await;
    let again = native.call("gateway.identity.get", json!({})).await;
    assert_eq!(again, first);
    std::fs::write(file, "no key").unwrap();
    check_refused(
        &native,
        "gateway.identity.get",
        json!({}),
        "the gateway has no key",
    )
    .await;
}

#[tokio::test]
async fn the_machine_and_its_diagnostics_are_told() {
    let served = served().await;
    let reader = Native::scoped(served.addr(), &["operator.read"]).await;
    let machine = reader.call("system.info", json!({})).await;
    assert_eq!(machine["pid"], std::process::id());
    assert!(machine["cpuCount"].as_u64().unwrap() >= 1, "{machine}");
    let own = concat!("clawport ", env!("CARGO_PKG_VERSION"));
    assert_eq!(machine["nodeVersion"], own);
    let status = reader.call("status", json!({})).await;
    assert_eq!(status["runtimeVersion"], own);
    let asked = json!({"limit": 1000, "type": "telemetry.exporter"});
    let mut kept = reader.call("diagnostics.stability", asked).await;
    assert!(kept["generatedAt"].take().as_str().unwrap().ends_with('Z'));
    let none = json!({"generatedAt": null, "capacity": 0, "count": 0, "dropped": 0, "events": [],
        "summary": {"byType": {}}});
    assert_eq!(kept, none);
}

#[tokio::test]
async fn there_is_no_web_search_for_an_agent_that_exists() {
    let served = served().await;
    let native = served.native().await;
    let status = native
        .call("webSearch.status", json!({"agentId": "beta"}))
        .await;
    assert_eq!(status["enabled"], false);
    assert_eq!(status["agentId"], "beta");
    assert_eq!(
        status["model"],
        json!({"provider": "keyed", "id": "m", "runtime": "clawport"})
    );
    let ghost = json!({"agentId": "ghost"});
    let error = native.refused("webSearch.status", ghost).await;
    assert!(error.message.contains("ghost"), "{error}");
}

#[tokio::test]
async fn a_wake_is_told_to_the_agent_it_is_for() {
    let served = served().await;
    let native = served.native().await;
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    for (target, session) in [
        (json!({}), "agent:main:main"),
        (json!({"agentId": "beta"}), "agent:beta:main"),
        (json!({"sessionKey": "work"}), "agent:main:work"),
    ] {
        let mut params = target;
        params["mode"] = "now".into();
        params["text"] = "the backup is done".into();
        assert_eq!(writer.call("wake", params).await, json!({"ok": true}));
        let history = native.history(session).await;
        assert_eq!(history.len(), 1, "{history:?}");
        assert!(history[0].1.contains("the backup is done"), "{history:?}");
    }
    check_refused(
        &writer,
        "wake",
        json!({"mode": "now"}),
        "invalid wake params: must have required property 'text'",
    )
    .await;
    check_refused(
        &writer,
        "wake",
        json!({"mode": "later", "text": "x"}),
        "invalid wake params: at /mode: must be equal to one of the allowed values",
    )
    .await;
}
