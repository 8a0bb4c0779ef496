//! What the gateway tells on its own, and how a connection is kept and ended.

use std::time::Duration;

use clawport::internals::shutdown::Phase;
use clawport::internals::transport::TransportConfig;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::support::net::Net;
use crate::support::ws::{Heard, Ws, backend, with};
use crate::support::{Puppet, Rig, RigConfig};

/// A gateway whose time stands still unless everybody waits.
fn still(config: RigConfig) -> (Rig, Net) {
    let (net, listener) = Net::new();
    let rig = Rig::start_on(config, listener, "127.0.0.1:1".parse().unwrap());
    (rig, net)
}

/// The same, without pings: a client that waits for another one cannot answer them.
fn still_and_unasked() -> (Rig, Net) {
    still(RigConfig {
        transport: TransportConfig {
            ping_interval: Duration::from_hours(24),
            ..TransportConfig::default()
        },
        ..RigConfig::default()
    })
}

async fn connected(net: &Net, params: Value) -> Ws<DuplexStream> {
    let mut ws = net.open().await;
    assert_eq!(ws.hello(params).await["ok"], true);
    ws
}

fn interface() -> Value {
    let client = json!({ "id": "test", "version": "1", "platform": "linux", "mode": "test",
                         "displayName": "a test" });
    with(backend(), &json!({ "client": client }))
}

#[tokio::test(start_paused = true)]
async fn ticks_come_for_everybody_at_the_same_time() {
    let (_rig, net) = still_and_unasked();
    let mut first = connected(&net, backend()).await;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let mut second = connected(&net, backend()).await;
    for beat in 1..=3 {
        let ticks = [first.event("tick").await, second.event("tick").await];
        let due = Duration::from_secs(30 * beat);
        let late = start.elapsed().checked_sub(due).unwrap();
        assert!(late < Duration::from_secs(1), "{late:?}");
        assert!(ticks[0]["payload"]["ts"].as_u64().unwrap() > 0);
        assert_eq!(ticks[0]["payload"], ticks[1]["payload"]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_connection_counts_its_own_events_without_gaps() {
    let (_rig, net) = still_and_unasked();
    let mut reader = connected(&net, backend()).await;
    let bare = with(backend(), &json!({ "scopes": [] }));
    let mut bare = connected(&net, bare).await;
    for expected in 1..=6 {
        // A reader gets health and ticks; presence of others makes no gap for those who see none.
        let event = reader.any_event().await;
        assert_eq!(event["seq"], expected, "{event}");
        let event = bare.any_event().await;
        assert_eq!(event["seq"], expected, "{event}");
    }
    let _noise = connected(&net, interface()).await;
    let presence = reader.event("presence").await;
    let after = reader.event("tick").await;
    assert_eq!(
        after["seq"].as_u64().unwrap(),
        presence["seq"].as_u64().unwrap() + 1
    );
}

#[tokio::test(start_paused = true)]
async fn presence_tells_who_comes_and_goes() {
    let (_rig, net) = still_and_unasked();
    let mut watcher = connected(&net, backend()).await;
    let mut guest = connected(&net, interface()).await;
    let find = |event: &Value| -> Option<Value> {
        let entries = event["payload"]["presence"].as_array().unwrap();
        entries
            .iter()
            .find(|entry| entry["host"] == "a test")
            .cloned()
    };
    let event = watcher.event("presence").await;
    let entry = find(&event).unwrap();
    assert_eq!(entry["reason"], "connect");
    assert_eq!(entry["mode"], "test");
    assert_eq!(entry["clientId"], "test");
    assert_eq!(entry["roles"], json!(["operator"]));
    let version = event["stateVersion"]["presence"].as_u64().unwrap();
    // Programs that come and go are not listed.
    let list = watcher.done("system-presence", json!({})).await;
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    guest.socket.close(None).await.unwrap();
    let event = watcher.event("presence").await;
    assert_eq!(find(&event).unwrap()["reason"], "disconnect");
    assert_eq!(event["stateVersion"]["presence"], version + 1);
    tokio::time::sleep(Duration::from_secs(301)).await;
    let gone = watcher
        .event_where(|event| event["event"] == "presence" && find(event).is_none())
        .await;
    assert_eq!(gone["stateVersion"]["presence"], version + 2);
}

#[tokio::test(start_paused = true)]
async fn health_comes_regularly_and_hides_what_only_administrators_may_see() {
    let (_rig, net) = still_and_unasked();
    let mut admin = connected(&net, backend()).await;
    let reader = with(backend(), &json!({ "scopes": ["operator.read"] }));
    let mut reader = connected(&net, reader).await;
    let first = admin.event("health").await;
    assert_eq!(first["payload"]["ok"], true);
    assert_eq!(first["payload"]["defaultAgentId"], "main");
    assert_eq!(first["payload"]["agents"][0]["sessions"]["path"], "state");
    let version = first["stateVersion"]["health"].as_u64().unwrap();
    let second = admin.event("health").await;
    assert_eq!(second["stateVersion"]["health"], version + 1);
    let public = reader.event("health").await;
    assert_eq!(public["payload"]["agents"][0]["sessions"]["path"], "");
    let shown = reader.done("health", json!({})).await;
    assert_eq!(shown["agents"][0]["sessions"]["path"], "");
    let shown = admin
        .done("health", json!({ "probe": true, "unknown": 1 }))
        .await;
    assert_eq!(shown["agents"][0]["sessions"]["path"], "state");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_lives_and_one_that_does_not_is_dropped() {
    let (rig, net) = still(RigConfig::default());
    let mut live = connected(&net, backend()).await;
    let dead = connected(&net, backend()).await;
    let start = Instant::now();
    let mut pings = 0;
    while pings < 4 {
        if let Heard::Ping(payload) = live.hear().await {
            pings += 1;
            assert!(!payload.is_empty());
            // The library has queued the pong.
            live.socket.flush().await.unwrap();
        }
    }
    assert!(start.elapsed() >= Duration::from_secs(100));
    assert_eq!(rig.metrics.native_open.get(), 1);
    drop(dead);
}

#[tokio::test(start_paused = true)]
async fn other_traffic_is_no_pong() {
    let (rig, net) = still(RigConfig::default());
    let ws = connected(&net, backend()).await;
    let mut raw = ws.socket.into_inner();
    let request = json!({ "type": "req", "id": "1", "method": "health" }).to_string();
    let mut frame = vec![
        0x81,
        0x80 | u8::try_from(request.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    frame.extend(request.as_bytes());
    let start = Instant::now();
    let mut sink = vec![0; 4096];
    while rig.metrics.native_open.get() == 1 {
        raw.write_all(&frame).await.ok();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(raw.read(&mut sink).await.is_ok());
    }
    let lived = start.elapsed();
    assert!(
        lived >= Duration::from_secs(49) && lived < Duration::from_secs(53),
        "{lived:?}"
    );
}

#[tokio::test]
async fn runs_end_then_everybody_is_told_and_closed() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut idle = Ws::connect(rig.addr, backend()).await;
    let mut busy = Ws::connect(rig.addr, backend()).await;
    let send = |key: &str| json!({ "sessionKey": "main", "message": "x", "idempotencyKey": key });
    busy.done("chat.send", send("k1")).await;
    let run = puppet.next().await;
    rig.drain.advance(Phase::Draining);
    let error = busy.refused("chat.send", send("k2")).await;
    assert_eq!(error["code"], "UNAVAILABLE");
    assert_eq!(
        error["message"],
        "chat.send unavailable during gateway restart"
    );
    assert_eq!(error["retryable"], true);
    assert_eq!(error["retryAfterMs"], 1000);
    assert_eq!(error["details"]["reason"], "gateway-restarting");
    // Probes and reads go on.
    idle.done("health", json!({})).await;
    idle.done("chat.history", json!({ "sessionKey": "main" }))
        .await;
    run.says("bye").await;
    run.ends().await;
    for ws in [&mut idle, &mut busy] {
        let last = ws
            .event_where(|event| event["payload"]["state"] == "final")
            .await;
        assert_eq!(last["payload"]["message"]["content"][0]["text"], "bye");
    }
    rig.drain.advance(Phase::Closing);
    for ws in [&mut idle, &mut busy] {
        let event = ws.event("shutdown").await;
        assert_eq!(event["payload"]["reason"], "gateway stopping");
        assert_eq!(ws.closed().await, (1012, "service restart".to_owned()));
        assert_eq!(ws.hear().await, Heard::Ended);
    }
    rig.drain.advance(Phase::Stopped);
    crate::support::soon(rig.tasks.join()).await;
}

#[tokio::test]
async fn a_peer_in_its_handshake_is_closed_with_the_rest() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut ws = Ws::open(rig.addr).await;
    ws.challenge().await;
    rig.drain.advance(Phase::Closing);
    assert_eq!(ws.closed().await.0, 1013);
}

#[tokio::test]
async fn tick_and_policy_follow_the_configuration() {
    let config = RigConfig {
        transport: TransportConfig {
            tick_interval: Duration::from_millis(40),
            ..TransportConfig::default()
        },
        ..RigConfig::default()
    };
    let rig = Rig::start(config).await;
    let mut ws = Ws::open(rig.addr).await;
    let hello = ws.hello(backend()).await;
    assert_eq!(hello["payload"]["policy"]["tickIntervalMs"], 40);
    for _ in 0..3 {
        ws.event("tick").await;
    }
    ws.socket.send(Message::Close(None)).await.unwrap();
    assert_eq!(ws.closed().await.0, 1005);
}
