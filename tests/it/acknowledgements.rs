//! The acknowledgement of a message and the end of its run: apart for interfaces of people, whose
//! clients never notice an end they read together with it; as fast as can be for everybody else.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::support::device::Device;
use crate::support::ws::{Heard, Ws, backend, with};
use crate::support::{Rig, RigConfig};

/// How far ahead an acknowledgement is at least, as a client on a busy machine can measure it.
const LEAD: Duration = Duration::from_millis(15);

const INTERFACES: [(&str, &str); 2] = [("openclaw-tui", "ui"), ("webchat-ui", "webchat")];

fn client(id: &str, mode: &str) -> Value {
    let client = json!({"id": id, "version": "1", "platform": "linux", "mode": mode});
    with(backend(), &json!({"client": client}))
}

/// Every frame from now on, with the time it was read, up to the first `last` says yes to.
async fn frames(ws: &mut Ws, last: impl Fn(&Value) -> bool) -> Vec<(Instant, Value)> {
    let mut frames = Vec::new();
    loop {
        if let Heard::Json(frame) = ws.hear().await {
            let is_last = last(&frame);
            frames.push((Instant::now(), frame));
            if is_last {
                return frames;
            }
        }
    }
}

fn at(frames: &[(Instant, Value)], is_it: impl Fn(&Value) -> bool) -> Instant {
    let found = frames.iter().find(|(_at, frame)| is_it(frame));
    found.unwrap_or_else(|| panic!("not among {frames:?}")).0
}

/// Whether a frame tells that a run is over, in whatever words.
fn is_terminal(frame: &Value) -> bool {
    let payload = &frame["payload"];
    match frame["event"].as_str() {
        Some("sessions.changed") => payload["phase"] == "end",
        Some("session.message") => payload["message"]["role"] == "assistant",
        Some("chat") => ["final", "aborted", "error"].contains(&payload["state"].as_str().unwrap()),
        Some("agent") => payload["data"]["phase"] == "end",
        _ => false,
    }
}

fn is_end_of(frame: &Value, run: &str) -> bool {
    is_terminal(frame) && frame["payload"]["runId"] == *run
}

fn is_chat_end(frame: &Value) -> bool {
    frame["event"] == "chat" && is_terminal(frame)
}

/// Asks, and says how long after the acknowledgement the first frame came that ends the run.
async fn lead(ws: &mut Ws, key: &str, message: &str) -> Duration {
    let params = json!({"sessionKey": "main", "message": message, "idempotencyKey": key});
    let id = ws.ask("chat.send", params).await;
    let frames = frames(ws, |frame| is_chat_end(frame) && is_end_of(frame, key)).await;
    let acknowledged = at(&frames, |frame| frame["id"] == *id);
    let ended = at(&frames, |frame| is_end_of(frame, key));
    assert!(acknowledged < ended, "{frames:?}");
    ended - acknowledged
}

/// A page of the gateway's own origin, which is let in once an administrator says so.
async fn page(rig: &Rig, device: &Device, client: Value) -> Ws {
    let origin = format!("http://{}", rig.addr);
    let headers = [("origin", origin.as_str())];
    let (_ws, refused) = device.connect(rig.addr, &headers, client.clone()).await;
    let request = refused["error"]["details"]["requestId"].clone();
    let scopes = ["operator.admin", "operator.pairing"];
    let admin = with(backend(), &json!({ "scopes": scopes }));
    let mut admin = Ws::connect(rig.addr, admin).await;
    let approve = json!({ "requestId": request });
    admin.done("device.pair.approve", approve).await;
    device.enter(rig.addr, &headers, client).await.0
}

#[tokio::test]
async fn an_interface_hears_of_an_instant_end_well_behind_the_acknowledgement() {
    let rig = Rig::start(RigConfig::default()).await;
    for (number, (id, mode)) in (1..).zip(INTERFACES) {
        let device = Device::new(number);
        let mut ws = if mode == "webchat" {
            page(&rig, &device, client(id, mode)).await
        } else {
            device.enter(rig.addr, &[], client(id, mode)).await.0
        };
        ws.done("sessions.subscribe", json!({})).await;
        for (n, message) in ["hello", "/queue", "hello", "/compact", "/help"]
            .iter()
            .cycle()
            .take(10)
            .enumerate()
        {
            let lead = lead(&mut ws, &format!("{mode}-{n}"), message).await;
            assert!(lead >= LEAD, "{mode} {message}: {lead:?}");
        }
        let key = format!("{mode}-s");
        let params = json!({"key": "main", "message": "hello", "idempotencyKey": key});
        let id = ws.ask("sessions.send", params).await;
        let frames = frames(&mut ws, is_chat_end).await;
        let ended = at(&frames, |frame| is_end_of(frame, &key));
        let lead = ended - at(&frames, |frame| frame["id"] == *id);
        assert!(lead >= LEAD, "{mode}: {lead:?}");
    }
}

#[tokio::test]
async fn an_interface_that_was_busy_does_not_read_both_together() {
    let rig = Rig::start(RigConfig::default()).await;
    let (id, mode) = INTERFACES[0];
    let device = Device::new(1);
    let (mut ws, _hello) = device.enter(rig.addr, &[], client(id, mode)).await;
    for n in 0..5 {
        let key = format!("k{n}");
        let params = json!({"sessionKey": "main", "message": "hello", "idempotencyKey": key});
        let id = ws.ask("chat.send", params).await;
        // As long as a client that draws its first screen.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let mut read = Vec::new();
        while let Some(heard) = ws.hear().now_or_never() {
            read.extend(match heard {
                Heard::Json(frame) => Some(frame),
                _ => None,
            });
        }
        assert!(read.iter().any(|frame| frame["id"] == *id), "{read:?}");
        assert!(!read.iter().any(is_terminal), "{read:?}");
        frames(&mut ws, is_chat_end).await;
    }
}

#[tokio::test]
async fn other_clients_wait_for_nothing() {
    let rig = Rig::start(RigConfig::default()).await;
    for (id, mode) in [("cli", "cli"), ("gateway-client", "backend")] {
        let mut ws = Ws::connect(rig.addr, client(id, mode)).await;
        let mut best = Duration::MAX;
        for n in 0..30 {
            best = best.min(lead(&mut ws, &format!("{mode}-{n}"), "hello").await);
        }
        assert!(best < LEAD, "{mode}: {best:?}");
    }
}

#[tokio::test]
async fn answers_about_an_end_come_behind_it() {
    let rig = Rig::start(RigConfig::default()).await;
    let (id, mode) = INTERFACES[0];
    let device = Device::new(1);
    let (mut ws, _hello) = device.enter(rig.addr, &[], client(id, mode)).await;
    for n in 0..5 {
        // The second answer of `agent`, and that of a wait, tell of the end, too.
        let key = format!("a{n}");
        let agent = json!({"sessionKey": "main", "message": "hello", "idempotencyKey": key});
        let agent = ws.ask("agent", agent).await;
        let frames = frames(&mut ws, |frame| {
            frame["id"] == *agent && frame["payload"]["status"] == "ok"
        })
        .await;
        let accepted = at(&frames, |frame| frame["id"] == *agent);
        let ended = at(&frames, is_terminal);
        assert!(ended - accepted >= LEAD, "{frames:?}");
        assert!(frames.iter().any(|(_at, frame)| is_chat_end(frame)));
    }
    // Whatever else is asked meanwhile is answered all the same, and every run ends once.
    let mut asked = Vec::new();
    for n in 0..40 {
        let key = format!("b{n}");
        let session = format!("s{n}");
        let params = json!({"sessionKey": &session, "message": "hello", "idempotencyKey": key});
        asked.push(ws.ask("chat.send", params).await);
        asked.push(ws.ask("chat.history", json!({"sessionKey": session})).await);
    }
    let mut ends = 0;
    while !asked.is_empty() || ends < 40 {
        if let Heard::Json(frame) = ws.hear().await {
            asked.retain(|id| frame["id"] != **id);
            ends += usize::from(is_chat_end(&frame));
        }
    }
    assert_eq!(ends, 40);
}
