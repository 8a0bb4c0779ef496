//! Runs asked for and watched over native connections.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use clawport::agent::AgentRef;
use clawport::agent::sim::{SimAgent, SimConfig, SimMode};
use clawport::error::ErrorCode;
use clawport::run::{Event, RunError};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::http::chat_with;
use crate::support::ws::{Heard, Ws, backend, with};
use crate::support::{Puppet, Rig, RigConfig};

async fn puppet() -> (Rig, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Rig::start(RigConfig::with_agent(agent)).await, puppet)
}

async fn connect(addr: SocketAddr) -> Ws {
    Ws::connect(addr, backend()).await
}

fn send(session: &str, key: &str) -> Value {
    json!({ "sessionKey": session, "message": format!("say {key}"), "idempotencyKey": key })
}

fn is_chat(event: &Value, state: &str) -> bool {
    event["event"] == "chat" && event["payload"]["state"] == state
}

fn text(event: &Value) -> &str {
    event["payload"]["message"]["content"][0]["text"]
        .as_str()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_chat_message_is_acknowledged_streamed_and_kept() {
    let (rig, mut puppet) = puppet().await;
    let mut ws = connect(rig.addr).await;
    let ack = ws.done("chat.send", send("main", "k1")).await;
    assert_eq!(
        ack,
        json!({ "runId": "k1", "status": "started", "messageSeq": 1 })
    );
    let run = puppet.next().await;
    run.says("Hi ").await;
    let delta = ws.event_where(|event| is_chat(event, "delta")).await;
    assert_eq!(delta["payload"]["deltaText"], "Hi");
    assert_eq!(delta["payload"]["sessionKey"], "agent:main:main");
    run.says("there").await;
    run.ends().await;
    let last = ws.event_where(|event| is_chat(event, "final")).await;
    assert_eq!(text(&last), "Hi there");
    assert_eq!(last["payload"]["stopReason"], "stop");
    let history = ws
        .done("chat.history", json!({ "sessionKey": "main" }))
        .await;
    let messages = history["messages"].as_array().unwrap();
    let roles: Vec<_> = messages.iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant"]);
    let receipts = json!({ "sessionKey": "main", "inputRunIds": ["k1", "unknown"] });
    let history = ws.done("chat.history", receipts).await;
    let receipts = history["inputReceipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    assert_eq!(receipts[0]["state"], "consumed");
    assert_eq!(
        receipts[0]["consumedByEventId"],
        messages[0]["__openclaw"]["id"]
    );
}

#[tokio::test]
async fn agent_answers_twice_and_others_can_wait_for_it() {
    let (rig, mut puppet) = puppet().await;
    let mut ws = connect(rig.addr).await;
    let mut other = connect(rig.addr).await;
    let params = json!({ "message": "x", "sessionKey": "agent:main:a", "idempotencyKey": "k" });
    let id = ws.ask("agent", params.clone()).await;
    let accepted = ws.response(&id).await["payload"].clone();
    assert_eq!(accepted["status"], "accepted");
    assert_eq!(accepted["runId"], "k");
    assert_eq!(accepted["sessionKey"], "agent:main:a");
    assert_eq!(accepted["agentId"], "main");
    assert!(accepted["acceptedAt"].is_u64());
    let run = puppet.next().await;
    let short = json!({ "runId": "k", "timeoutMs": 0 });
    let waited = other.done("agent.wait", short).await;
    assert_eq!(waited, json!({ "runId": "k", "status": "timeout" }));
    let again = other.done("agent", params.clone()).await;
    assert_eq!(again["status"], "in_flight", "{again}");
    let wait = other.ask("agent.wait", json!({ "runId": "k" })).await;
    run.says("done").await;
    run.ends().await;
    let last = ws.response(&id).await;
    assert_eq!(last["ok"], true);
    assert_eq!(last["payload"]["status"], "ok");
    assert_eq!(last["payload"]["summary"], "completed");
    assert_eq!(last["payload"]["result"]["payloads"][0]["text"], "done");
    let waited = other.response(&wait).await["payload"].clone();
    assert_eq!(waited["status"], "ok");
    assert!(waited["endedAt"].as_u64() >= waited["startedAt"].as_u64());
    let replay = other.done("agent", params).await;
    assert_eq!(replay, last["payload"]);
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn a_failed_run_says_so_in_both_places() {
    let (rig, mut puppet) = puppet().await;
    let mut ws = connect(rig.addr).await;
    let params = json!({ "message": "x", "idempotencyKey": "k" });
    let id = ws.ask("agent", params).await;
    ws.response(&id).await;
    let run = puppet.next().await;
    let error = RunError::new(ErrorCode::UpstreamFailed, "the model server failed");
    run.fails(error).await;
    let last = ws.response(&id).await;
    assert_eq!(last["ok"], false);
    assert_eq!(last["payload"]["status"], "error");
    assert_eq!(last["error"]["code"], "UNAVAILABLE");
    assert_eq!(last["error"]["message"], "the model server failed");
    let event = ws.event_where(|event| is_chat(event, "error")).await;
    assert_eq!(event["payload"]["errorMessage"], "the model server failed");
}

#[tokio::test]
async fn an_aborted_run_keeps_its_text_and_ends_once() {
    let (rig, mut puppet) = puppet().await;
    let mut ws = connect(rig.addr).await;
    let id = ws
        .ask(
            "agent",
            json!({ "message": "x", "sessionKey": "a", "idempotencyKey": "k" }),
        )
        .await;
    ws.response(&id).await;
    let run = puppet.next().await;
    run.says("partial").await;
    ws.event_where(|event| is_chat(event, "delta")).await;
    let nothing = json!({ "sessionKey": "a", "runId": "nobody" });
    let aborted = ws.done("chat.abort", nothing).await;
    assert_eq!(
        aborted,
        json!({ "ok": true, "aborted": false, "runIds": [] })
    );
    let elsewhere = json!({ "sessionKey": "b", "runId": "k" });
    let error = ws.refused("chat.abort", elsewhere).await;
    assert_eq!(error["message"], "runId does not match sessionKey");
    let mut stranger = Ws::connect(
        rig.addr,
        with(backend(), &json!({ "scopes": ["operator.write"] })),
    )
    .await;
    let abort = json!({ "sessionKey": "a", "runId": "k" });
    let error = stranger.refused("chat.abort", abort.clone()).await;
    assert_eq!(error["message"], "unauthorized");
    let abort = ws.ask("chat.abort", abort).await;
    run.given_up().await;
    let event = ws.event_where(|event| is_chat(event, "aborted")).await;
    assert_eq!(text(&event), "partial");
    assert_eq!(event["payload"]["stopReason"], "rpc");
    // The second answer and the answer of the abort come behind it, in any order.
    let mut frames = Vec::new();
    while frames.len() < 2 {
        if let Heard::Json(frame) = ws.hear().await
            && frame["type"] == "res"
        {
            frames.push(frame);
        }
    }
    let by_id = |id: &str| frames.iter().find(|frame| frame["id"] == id).unwrap();
    let expected = json!({ "ok": true, "aborted": true, "runIds": ["k"] });
    assert_eq!(by_id(&abort)["payload"], expected);
    let last = &by_id(&id)["payload"];
    assert_eq!(last["status"], "timeout");
    assert_eq!(last["summary"], "aborted");
    assert_eq!(last["stopReason"], "rpc");
}

#[tokio::test]
async fn stop_as_text_stops_the_session() {
    let (rig, mut puppet) = puppet().await;
    let mut ws = connect(rig.addr).await;
    ws.done("chat.send", send("main", "k1")).await;
    let run = puppet.next().await;
    let stop = json!({ "sessionKey": "main", "message": "/stop", "idempotencyKey": "k2" });
    let stopped = ws.done("chat.send", stop).await;
    assert_eq!(
        stopped,
        json!({ "ok": true, "aborted": true, "runIds": ["k1"] })
    );
    run.given_up().await;
    let event = ws.event_where(|event| is_chat(event, "aborted")).await;
    assert_eq!(event["payload"]["stopReason"], "stop");
}

#[tokio::test]
async fn a_key_is_used_once() {
    let (rig, mut puppet) = puppet().await;
    let mut ws = connect(rig.addr).await;
    ws.done("chat.send", send("main", "k1")).await;
    let run = puppet.next().await;
    let again = ws.done("chat.send", send("main", "k1")).await;
    assert_eq!(again, json!({ "runId": "k1", "status": "in_flight" }));
    let other = json!({ "sessionKey": "main", "message": "other", "idempotencyKey": "k1" });
    let error = ws.refused("chat.send", other).await;
    assert_eq!(
        error["details"]["reason"], "chat-request-conflict",
        "{error}"
    );
    run.ends().await;
    ws.event_where(|event| is_chat(event, "final")).await;
    let again = ws.done("chat.send", send("main", "k1")).await;
    assert_eq!(again, json!({ "runId": "k1", "status": "ok" }));
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn no_event_of_a_run_goes_ahead_of_its_acknowledgement() {
    let echo: AgentRef = Arc::new(SimAgent::new(SimConfig::new(SimMode::Echo)));
    let rig = Rig::start(RigConfig::with_agent(echo)).await;
    let mut ws = connect(rig.addr).await;
    let mut waiting = HashSet::new();
    for at in 0..60 {
        let key = format!("k{at}");
        let session = format!("s{}", at % 20);
        waiting.insert(key.clone());
        let frame = json!({ "type": "req", "id": key, "method": "chat.send",
                            "params": send(&session, &key) });
        ws.socket
            .feed(Message::text(frame.to_string()))
            .await
            .unwrap();
    }
    ws.socket.flush().await.unwrap();
    let mut ended = 0;
    while ended < 60 {
        let Heard::Json(frame) = ws.hear().await else {
            panic!("closed");
        };
        if frame["type"] == "res" {
            assert_eq!(frame["ok"], true, "{frame}");
            assert!(waiting.remove(frame["id"].as_str().unwrap()));
        } else if let Some(run) = frame["payload"]["runId"].as_str() {
            assert!(!waiting.contains(run), "{frame}");
            ended += usize::from(is_chat(&frame, "final"));
        }
    }
}

#[tokio::test]
async fn messages_of_one_session_keep_their_order() {
    let echo: AgentRef = Arc::new(SimAgent::new(SimConfig::new(SimMode::Echo)));
    let rig = Rig::start(RigConfig::with_agent(echo)).await;
    let mut ws = connect(rig.addr).await;
    for at in 0..15 {
        let mut params = send("main", &format!("k{at}"));
        params["queueMode"] = json!("followup");
        let frame = json!({ "type": "req", "id": format!("{at}"), "method": "chat.send",
                            "params": params });
        ws.socket
            .feed(Message::text(frame.to_string()))
            .await
            .unwrap();
    }
    ws.socket.flush().await.unwrap();
    let mut ended = Vec::new();
    while ended.len() < 15 {
        if let Heard::Json(frame) = ws.hear().await {
            assert_ne!(frame["ok"], false, "{frame}");
            if is_chat(&frame, "final") {
                ended.push(frame["payload"]["runId"].as_str().unwrap().to_owned());
            }
        }
    }
    let expected: Vec<_> = (0..15).map(|at| format!("k{at}")).collect();
    assert_eq!(ended, expected);
}

#[tokio::test]
async fn a_client_that_goes_leaves_its_run_and_its_last_request() {
    let (rig, mut puppet) = puppet().await;
    let mut watcher = connect(rig.addr).await;
    let mut ws = connect(rig.addr).await;
    ws.done("chat.send", send("main", "k1")).await;
    ws.ask("chat.send", send("other", "k2")).await;
    drop(ws);
    let (first, second) = (puppet.next().await, puppet.next().await);
    for run in [&first, &second] {
        run.says("still here").await;
        run.ends().await;
    }
    let mut ended = HashSet::new();
    while ended.len() < 2 {
        let event = watcher.event_where(|event| is_chat(event, "final")).await;
        ended.insert(event["payload"]["runId"].as_str().unwrap().to_owned());
    }
    let history = watcher
        .done("chat.history", json!({ "sessionKey": "main" }))
        .await;
    assert_eq!(history["messages"][1]["content"][0]["text"], "still here");
}

#[tokio::test]
async fn an_http_run_is_seen_and_stopped_by_a_native_client() {
    let (rig, mut puppet) = puppet().await;
    let mut ws = connect(rig.addr).await;
    let mut http = rig.connect().await;
    let body = json!({ "model": "openclaw", "user": "u",
                       "messages": [{ "role": "user", "content": "hi" }] });
    let request = chat_with(&[], &body.to_string());
    let asking = http.ask(&request);
    let watching = async {
        let run = puppet.next().await;
        run.says("from http").await;
        let delta = ws.event_where(|event| is_chat(event, "delta")).await;
        let payload = &delta["payload"];
        assert_eq!(payload["sessionKey"], "agent:main:openai-user:u");
        let id = payload["runId"].as_str().unwrap().to_owned();
        assert!(id.starts_with("chatcmpl_"), "{id}");
        let abort = json!({ "sessionKey": payload["sessionKey"], "runId": id });
        let aborted = ws.done("chat.abort", abort).await;
        assert_eq!(aborted["runIds"], json!([id]));
        run.given_up().await;
        ws.event_where(|event| is_chat(event, "aborted")).await
    };
    let (response, aborted) = tokio::join!(asking, watching);
    assert_eq!(text(&aborted), "from http");
    assert_ne!(response.status(), 200);
}

#[tokio::test]
async fn tool_events_go_to_those_who_asked_and_can_show_them() {
    let (rig, mut puppet) = puppet().await;
    let capable = with(backend(), &json!({ "caps": ["tool-events"] }));
    let mut asker = Ws::connect(rig.addr, capable.clone()).await;
    let mut subscriber = Ws::connect(rig.addr, capable.clone()).await;
    let mut bystander = Ws::connect(rig.addr, capable.clone()).await;
    let mut lister = Ws::connect(rig.addr, capable).await;
    let mut plain = connect(rig.addr).await;
    let key = json!({ "key": "main" });
    subscriber
        .done("sessions.messages.subscribe", key.clone())
        .await;
    plain.done("sessions.messages.subscribe", key).await;
    lister.done("sessions.subscribe", json!({})).await;
    asker.done("chat.send", send("main", "k1")).await;
    let run = puppet.next().await;
    run.yields(Event::ToolStart {
        id: "call_1".to_owned(),
        name: "search".to_owned(),
        arguments: json!({ "q": "x" }),
    })
    .await;
    run.ends().await;
    for (ws, expected) in [
        (&mut asker, Some("agent")),
        (&mut subscriber, Some("agent")),
        (&mut bystander, None),
        // Who only follows the session is told of it with the session.
        (&mut plain, Some("session.tool")),
        (&mut lister, Some("session.tool")),
    ] {
        let mut seen = None;
        let mut numbers = Vec::new();
        loop {
            let event = ws.any_event().await;
            numbers.push(event["seq"].as_u64().unwrap());
            if event["payload"]["stream"] == "tool" {
                check_tool(&event);
                assert_eq!(seen.replace(event["event"].clone()), None, "told twice");
            }
            if is_chat(&event, "final") {
                break;
            }
        }
        assert_eq!(seen, expected.map(Value::from));
        let gapless: Vec<_> = (numbers[0]..).take(numbers.len()).collect();
        assert_eq!(numbers, gapless);
    }
}

/// Both forms tell the same step.
fn check_tool(event: &Value) {
    let payload = &event["payload"];
    assert_eq!(payload["runId"], "k1", "{event}");
    assert_eq!(payload["sessionKey"], "agent:main:main", "{event}");
    assert_eq!(payload["data"]["phase"], "start", "{event}");
    assert_eq!(payload["data"]["name"], "search", "{event}");
    let has_row = payload["session"]["key"] == "agent:main:main" && payload["kind"] == "direct";
    assert_eq!(has_row, event["event"] == "session.tool", "{event}");
}

#[tokio::test]
async fn a_scoped_client_gets_the_runs_of_its_sessions_only() {
    let (rig, mut puppet) = puppet().await;
    let scoped = with(backend(), &json!({ "caps": ["session-scoped-events"] }));
    let mut ws = Ws::connect(rig.addr, scoped).await;
    let mut sender = connect(rig.addr).await;
    let key = json!({ "key": "a" });
    let subscribed = ws.done("sessions.messages.subscribe", key.clone()).await;
    assert_eq!(
        subscribed,
        json!({ "subscribed": true, "key": "agent:main:a" })
    );
    for session in ["b", "a"] {
        sender.done("chat.send", send(session, session)).await;
        let run = puppet.next().await;
        run.says("x").await;
        run.ends().await;
    }
    let last = ws.event_where(|event| is_chat(event, "final")).await;
    assert_eq!(last["payload"]["sessionKey"], "agent:main:a");
    let ended = ws.done("sessions.messages.unsubscribe", key).await;
    assert_eq!(ended, json!({ "subscribed": false, "key": "agent:main:a" }));
}

#[tokio::test]
async fn subscribers_see_messages_and_changes_and_others_do_not() {
    let (rig, mut puppet) = puppet().await;
    let mut lists = connect(rig.addr).await;
    let mut messages = connect(rig.addr).await;
    let mut nobody = connect(rig.addr).await;
    let subscribed = lists.done("sessions.subscribe", json!({})).await;
    assert_eq!(subscribed, json!({ "subscribed": true }));
    let key = json!({ "key": "main", "includeApprovals": true });
    messages.done("sessions.messages.subscribe", key).await;
    nobody.done("chat.send", send("main", "k1")).await;
    let run = puppet.next().await;
    run.says("answer").await;
    run.ends().await;
    for ws in [&mut lists, &mut messages] {
        let user = ws.event("session.message").await["payload"].clone();
        assert_eq!(user["sessionKey"], "agent:main:main");
        assert_eq!(user["message"]["role"], "user");
        assert_eq!(user["messageSeq"], 1);
        let answer = ws.event("session.message").await["payload"].clone();
        assert_eq!(answer["message"]["role"], "assistant");
        assert_eq!(answer["messageSeq"], 2);
        assert_eq!(answer["runId"], "k1");
    }
    let done = lists
        .event_where(|event| {
            event["event"] == "sessions.changed" && event["payload"]["phase"] == "end"
        })
        .await["payload"]
        .clone();
    assert_eq!(done["hasActiveRun"], false);
    assert_eq!(done["activeRunIds"], json!([]));
    assert_eq!(done["status"], "done");
    assert_eq!(done["session"]["status"], "done");
    // What the others got until now does not hold what they did not ask for.
    for (ws, unasked) in [
        (&mut messages, &["sessions.changed"][..]),
        (&mut nobody, &["sessions.changed", "session.message"]),
    ] {
        ws.done("health", json!({})).await;
        for event in ws.kept() {
            assert!(
                !unasked.contains(&event["event"].as_str().unwrap()),
                "{event}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_comes_during_a_run_goes_on_from_the_history() {
    let (rig, mut puppet) = puppet().await;
    let mut first = connect(rig.addr).await;
    first.done("chat.send", send("main", "k1")).await;
    let run = puppet.next().await;
    run.says("one").await;
    first.event_where(|event| is_chat(event, "delta")).await;
    drop(first);
    let gone = async {
        while rig.metrics.native_open.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    crate::support::soon(gone).await;
    let mut late = connect(rig.addr).await;
    let history = late
        .done("chat.history", json!({ "sessionKey": "main" }))
        .await;
    assert_eq!(history["inFlightRun"]["runId"], "k1");
    assert_eq!(history["inFlightRun"]["text"], "one");
    run.says(" two").await;
    let delta = late.event_where(|event| is_chat(event, "delta")).await;
    assert_eq!(delta["payload"]["deltaText"], " two");
    assert_eq!(text(&delta), "one two");
    run.ends().await;
    let last = late.event_where(|event| is_chat(event, "final")).await;
    assert_eq!(text(&last), "one two");
}
