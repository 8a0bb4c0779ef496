//! A session of a client that speaks protocol 3 only, frame by frame.

use serde_json::{Value, json};

use crate::support::ws::{Heard, Ws, backend, with};
use crate::support::{Puppet, Rig, RigConfig, TOKEN};

/// The key as this client writes it: it never sees the canonical form.
const SESSION: &str = "main";

fn is_chat(event: &Value, state: &str) -> bool {
    event["event"] == "chat" && event["payload"]["state"] == state
}

/// The names of an object's members, sorted.
fn members(object: &Value) -> Vec<&str> {
    let names = object.as_object().unwrap().keys();
    names.map(String::as_str).collect()
}

/// What the command line of that time sent.
fn connect() -> Value {
    json!({
        "minProtocol": 3, "maxProtocol": 3,
        "client": {"id": "cli", "version": "2026.2.25", "platform": "linux", "mode": "cli"},
        "caps": [], "role": "operator",
        "scopes": ["operator.admin", "operator.approvals", "operator.pairing"],
        "auth": {"token": TOKEN},
    })
}

fn send(run: &str, message: &str) -> Value {
    json!({"sessionKey": SESSION, "message": message, "deliver": false, "idempotencyKey": run})
}

/// The roles and texts of a page of history.
fn said(history: &Value) -> Vec<(&str, &str)> {
    let messages = history["messages"].as_array().unwrap().iter();
    let said = messages.map(|message| {
        let content = &message["content"];
        let text = content.as_str().or(content[0]["text"].as_str());
        (message["role"].as_str().unwrap(), text.unwrap())
    });
    said.collect()
}

fn check_hello(hello: &Value) {
    assert_eq!(
        (&hello["type"], &hello["protocol"]),
        (&json!("hello-ok"), &json!(3))
    );
    let snapshot = &hello["snapshot"];
    assert_eq!(
        snapshot["sessionDefaults"]["mainSessionKey"],
        "agent:main:main"
    );
    for newer in ["modelConfigured", "ownership", "selectionRequired"] {
        assert_eq!(snapshot["sessionDefaults"].get(newer), None, "{newer}");
    }
    assert_eq!(hello["features"].get("capabilities"), None);
}

/// A message, answered to its end.
async fn answer(ws: &mut Ws, puppet: &mut Puppet) {
    let ack = ws.done("chat.send", send("run-1", "hello")).await;
    assert_eq!(ack, json!({"runId": "run-1", "status": "started"}));
    let run = puppet.next().await;
    run.says("one").await;
    let delta = ws.event_where(|event| event["event"] == "chat").await;
    assert!(
        is_chat(&delta, "delta"),
        "nothing is told before the text: {delta}"
    );
    let payload = &delta["payload"];
    assert_eq!(
        (&payload["runId"], &payload["sessionKey"]),
        (&json!("run-1"), &json!(SESSION))
    );
    assert_eq!(payload["message"]["role"], "assistant");
    assert_eq!(
        payload["message"]["content"],
        json!([{"type": "text", "text": "one"}])
    );
    run.says(" two").await;
    let delta = ws.event_where(|event| is_chat(event, "delta")).await;
    let whole = json!([{"type": "text", "text": "one two"}]);
    assert_eq!(
        delta["payload"]["message"]["content"], whole,
        "the whole text so far"
    );
    run.ends().await;
    let end = ws.event_where(|event| is_chat(event, "final")).await;
    assert_eq!(end["payload"]["message"]["content"], whole);
    assert!(end["seq"].as_u64() > delta["seq"].as_u64(), "{end}");
}

/// A message that is taken back.
async fn take_back(ws: &mut Ws, puppet: &mut Puppet) {
    ws.done("chat.send", send("run-2", "again")).await;
    let run = puppet.next().await;
    run.says("half an ans").await;
    ws.event_where(|event| is_chat(event, "delta")).await;
    let abort = json!({"sessionKey": SESSION, "runId": "run-2"});
    let aborted = ws.done("chat.abort", abort.clone()).await;
    assert_eq!(
        aborted,
        json!({"ok": true, "aborted": true, "runIds": ["run-2"]})
    );
    run.given_up().await;
    let end = ws.event_where(|event| is_chat(event, "aborted")).await;
    assert_eq!(end["payload"]["stopReason"], "rpc");
    assert_eq!(
        end["payload"]["message"]["content"][0]["text"],
        "half an ans"
    );
    let again = ws.done("chat.abort", abort).await;
    assert_eq!(again, json!({"ok": true, "aborted": false, "runIds": []}));
}

#[tokio::test]
async fn a_whole_session_is_served_in_its_own_words() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut ws = Ws::open(rig.addr).await;
    let hello = ws.hello(connect()).await;
    assert_eq!(hello["ok"], true, "{hello}");
    check_hello(&hello["payload"]);
    answer(&mut ws, &mut puppet).await;
    take_back(&mut ws, &mut puppet).await;

    // What is left of both.
    let params = json!({"sessionKey": SESSION, "limit": 10});
    let history = ws.done("chat.history", params).await;
    assert_eq!(
        members(&history),
        [
            "messages",
            "sessionId",
            "sessionKey",
            "thinkingLevel",
            "verboseLevel"
        ]
    );
    assert_eq!(history["sessionKey"], SESSION);
    let expected = [
        ("user", "hello"),
        ("assistant", "one two"),
        ("user", "again"),
        ("assistant", "half an ans"),
    ];
    assert_eq!(said(&history), expected);
    rig.quiet().await;
}

#[tokio::test]
async fn an_agent_run_is_accepted_and_ended_in_its_own_words() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut ws = Ws::connect(rig.addr, connect()).await;
    let params = json!({"message": "hello", "sessionKey": SESSION, "idempotencyKey": "run"});
    let id = ws.ask("agent", params).await;
    let accepted = ws.response(&id).await;
    assert_eq!(
        members(&accepted["payload"]),
        ["acceptedAt", "runId", "status"]
    );
    assert_eq!(accepted["payload"]["status"], "accepted");
    let run = puppet.next().await;
    run.says("done").await;
    run.ends().await;
    let ended = ws.response(&id).await;
    assert_eq!(ended["payload"]["status"], "ok", "{ended}");
    assert_eq!(ended["payload"]["result"]["payloads"][0]["text"], "done");
    let waited = ws
        .done("agent.wait", json!({"runId": "run", "timeoutMs": 1000}))
        .await;
    assert_eq!(waited["status"], "ok");
}

#[tokio::test]
async fn refusals_are_in_its_own_words() {
    let rig = Rig::start(RigConfig::default()).await;
    let reader = with(connect(), &json!({"scopes": ["operator.read"]}));
    let mut ws = Ws::connect(rig.addr, reader).await;
    let error = ws.refused("chat.send", send("run", "hello")).await;
    let expected = json!({"code": "INVALID_REQUEST", "message": "missing scope: operator.write"});
    assert_eq!(error, expected);
    let error = ws.refused("sessions.delete", json!({"key": SESSION})).await;
    assert_eq!(error["message"], "missing scope: operator.admin");
}

#[tokio::test]
async fn a_client_of_neither_version_is_told_and_closed() {
    let rig = Rig::start(RigConfig::default()).await;
    for (min, max) in [(1, 2), (5, 9)] {
        let mut ws = Ws::open(rig.addr).await;
        let range = json!({"minProtocol": min, "maxProtocol": max});
        let refusal = ws.hello(with(backend(), &range)).await;
        assert_eq!(refusal["error"]["message"], "protocol mismatch");
        assert_eq!(refusal["error"]["details"]["expectedProtocol"], 4);
        let close = Heard::Close(1002, "protocol mismatch".to_owned());
        assert_eq!(ws.hear().await, close);
    }
}

#[tokio::test]
async fn messages_for_a_busy_session_are_merged_into_one_turn() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut ws = Ws::connect(rig.addr, connect()).await;
    ws.done("chat.send", send("a", "a")).await;
    let active = puppet.next().await;
    for run in ["b", "c"] {
        ws.done("chat.send", send(run, run)).await;
    }
    active.says("to a").await;
    active.ends().await;
    let next = puppet.next().await;
    assert_eq!(next.asked(), ["b", "c"]);
    next.says("to both").await;
    next.ends().await;
    let last = ws
        .event_where(|event| is_chat(event, "final") && event["payload"]["runId"] == "b")
        .await;
    assert_eq!(last["payload"]["message"]["content"][0]["text"], "to both");
}
