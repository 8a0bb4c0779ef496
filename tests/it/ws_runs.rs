//! Runs asked for and watched over native connections.

use serde_json::{Value, json};

use crate::support::ws::{Ws, backend};
use crate::support::{Puppet, Rig, RigConfig};

fn chat(event: &Value, state: &str) -> bool {
    event["event"] == "chat" && event["payload"]["state"] == state
}

#[tokio::test]
async fn a_chat_message_is_acknowledged_streamed_and_kept() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let ack = ws
        .done(
            "chat.send",
            json!({ "sessionKey": "main", "message": "hello", "idempotencyKey": "k1" }),
        )
        .await;
    assert_eq!(ack["runId"], "k1");
    assert_eq!(ack["status"], "started");
    let run = puppet.next().await;
    run.says("Hi ").await;
    let delta = ws.event_where(|event| chat(event, "delta")).await;
    assert_eq!(delta["payload"]["deltaText"], "Hi");
    assert_eq!(delta["payload"]["sessionKey"], "agent:main:main");
    run.says("there").await;
    run.ends().await;
    let last = ws.event_where(|event| chat(event, "final")).await;
    assert_eq!(last["payload"]["message"]["content"][0]["text"], "Hi there");
    let history = ws
        .done("chat.history", json!({ "sessionKey": "main" }))
        .await;
    let messages = history["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "{history}");
    assert_eq!(messages[0]["role"], "user");
    assert_eq!(messages[1]["role"], "assistant");
}
