//! What a native client may send once it is let in, and what one that does not read can cost.

use std::collections::HashSet;
use std::time::Duration;

use clawport::Gateway;
use clawport::internals::transport::TransportConfig;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::gateway::config;
use crate::support::net::Net;
use crate::support::ws::{Heard, Ws, backend, with};
use crate::support::{Puppet, Rig, RigConfig, TOKEN};

async fn rig() -> Rig {
    Rig::start(RigConfig::default()).await
}

/// A frame of a client whose mask changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 0x7e);
            bytes.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(0x80 | 0x7f);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// Sends these bytes on an open connection and expects it to be closed.
async fn check_closed(rig: &Rig, what: &str, bytes: &[u8], close: (u16, &str)) {
    let mut ws = Ws::connect(rig.addr, backend()).await;
    // A socket that is closing may fail to take the rest.
    ws.socket.get_mut().write_all(bytes).await.ok();
    assert_eq!(ws.closed().await, (close.0, close.1.to_owned()), "{what}");
    assert_eq!(ws.hear().await, Heard::Ended, "{what}");
}

#[tokio::test]
async fn fragments_are_one_message_and_pings_between_them_are_answered() {
    let rig = rig().await;
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let text = r#"{"type":"req","id":"f","method":"sessions.resolve","params":{"label":"Ä"}}"#;
    // The second fragment begins in the middle of a character.
    let (first, rest) = text.as_bytes().split_at(text.find('Ä').unwrap() + 1);
    let mut bytes = frame(0x01, first);
    bytes.extend(frame(0x89, b"are you there"));
    bytes.extend(frame(0x00, &rest[..1]));
    bytes.extend(frame(0x8a, b"nobody asked"));
    bytes.extend(frame(0x80, &rest[1..]));
    ws.socket.get_mut().write_all(&bytes).await.unwrap();
    let pong = ws.socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));
    let error = ws.response("f").await["error"].clone();
    assert_eq!(error["message"], "No session found with label: Ä");
}

#[tokio::test]
async fn what_breaks_the_protocol_is_closed_with_its_code() {
    let rig = rig().await;
    let cases: [(&str, Vec<u8>); 10] = [
        ("no mask", vec![0x81, 0x02, b'{', b'}']),
        ("a reserved bit", frame(0xc1, b"{}")),
        ("a reserved opcode", frame(0x83, b"{}")),
        ("a reserved control opcode", frame(0x8b, b"")),
        ("an end without a start", frame(0x80, b"{}")),
        ("a fragmented ping", frame(0x09, b"")),
        ("a long ping", frame(0x89, &[b'x'; 126])),
        ("half a close code", frame(0x88, &[3])),
        ("a long close", frame(0x88, &[b'x'; 126])),
        (
            "a start inside of a message",
            [frame(0x01, b"{"), frame(0x81, b"}")].concat(),
        ),
    ];
    for (what, bytes) in cases {
        check_closed(&rig, what, &bytes, (1002, "protocol error")).await;
    }
    let code = frame(0x88, &1005_u16.to_be_bytes());
    check_closed(
        &rig,
        "a code that is never sent",
        &code,
        (1002, "Protocol violation"),
    )
    .await;
    let cases = [
        ("an overlong encoding", &b"\xc0\xaf"[..]),
        ("a surrogate", b"\xed\xa0\x80"),
        ("no encoding at all", b"{\"\xff\":1}"),
        ("half a character", b"\xe2\x82"),
    ];
    for (what, text) in cases {
        check_closed(&rig, what, &frame(0x81, text), (1007, "invalid UTF-8")).await;
    }
    assert_eq!(rig.metrics.slow_consumers.get(), 0);
}

/// Sends a close frame with this payload and reads what is said to it.
async fn answer_to_close(rig: &Rig, payload: &[u8]) -> Heard {
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let bytes = frame(0x88, payload);
    ws.socket.get_mut().write_all(&bytes).await.unwrap();
    let (code, reason) = ws.closed().await;
    assert_eq!(ws.hear().await, Heard::Ended);
    Heard::Close(code, reason)
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_if_that_may_be_sent() {
    let rig = rig().await;
    for code in [
        1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        let payload = [&code.to_be_bytes()[..], b"gone"].concat();
        let Heard::Close(answer, _) = answer_to_close(&rig, &payload).await else {
            panic!("{code} was not answered");
        };
        assert_eq!(answer, code);
    }
    for code in [
        0_u16, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let Heard::Close(answer, _) = answer_to_close(&rig, &code.to_be_bytes()).await else {
            panic!("{code} was not answered");
        };
        assert_eq!(answer, 1002, "{code}");
    }
    let reason = [&1000_u16.to_be_bytes()[..], b"\xff\xfe"].concat();
    let Heard::Close(answer, _) = answer_to_close(&rig, &reason).await else {
        panic!("a reason that is no text was not answered");
    };
    assert_eq!(answer, 1007);
}

#[tokio::test]
async fn a_message_may_come_byte_by_byte_and_its_last_fragment_may_spoil_it() {
    let rig = rig().await;
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let text = r#"{"type":"req","id":"slow","method":"health","params":{}}"#;
    let mut bytes = frame(0x01, b"");
    bytes.extend(text.bytes().flat_map(|byte| frame(0x00, &[byte])));
    bytes.extend(frame(0x80, b""));
    for byte in bytes {
        ws.socket.get_mut().write_all(&[byte]).await.unwrap();
    }
    assert_eq!(ws.response("slow").await["ok"], true);
    let spoiled = [frame(0x01, b"{\"type\":\"\xe2"), frame(0x80, b"\x28\"}")].concat();
    check_closed(&rig, "a later fragment", &spoiled, (1007, "invalid UTF-8")).await;
    let unfinished = [frame(0x01, b"{\xe2"), frame(0x80, b"\x82")].concat();
    check_closed(
        &rig,
        "an unfinished end",
        &unfinished,
        (1007, "invalid UTF-8"),
    )
    .await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_closed_whether_or_not_it_comes_in_pieces() {
    let rig = rig().await;
    let limit = 26_214_400_u64;
    let mut header = vec![0x81, 0x80 | 0x7f];
    header.extend((limit + 1).to_be_bytes());
    header.extend([0; 4]);
    check_closed(&rig, "one frame", &header, (1009, "")).await;
    // Up to the limit it is only no JSON, which is forgiven.
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let mut large = frame(0x81, &vec![b'x'; 26_214_400]);
    ws.socket.get_mut().write_all(&large).await.unwrap();
    assert_eq!(ws.done("health", json!({})).await["ok"], true);
    large[0] = 0x01;
    large.extend(frame(0x80, b"x"));
    check_closed(&rig, "two frames", &large, (1009, "")).await;
}

#[tokio::test]
async fn frames_that_are_no_requests_are_answered_or_forgiven_as_recorded() {
    let rig = rig().await;
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let check = async |ws: &mut Ws, text: &str, id: &str, message: &str| {
        ws.say(text).await;
        let response = ws.response(id).await;
        let expected = json!({ "code": "INVALID_REQUEST", "message": message });
        assert_eq!(response["error"], expected, "{text}");
    };
    ws.say("{nope").await;
    assert_eq!(ws.done("health", json!({})).await["ok"], true);
    let method = "invalid request frame: at /method: must not have fewer than 1 characters";
    let empty = r#"{"type":"req","id":"e","method":"","params":{}}"#;
    check(&mut ws, empty, "e", method).await;
    let missing = "invalid request frame: must have required property 'method'";
    check(&mut ws, r#"{"type":"req","id":"m"}"#, "m", missing).await;
    let connect = json!({ "type": "req", "id": "c", "method": "connect", "params": backend() });
    let twice = "connect is only valid as the first request";
    check(&mut ws, &connect.to_string(), "c", twice).await;
    ws.say(r#"{"type":"event","event":"tick"}"#).await;
    let response = ws.response("invalid").await;
    let message = response["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("invalid request frame: "), "{message}");
    // A request in a binary frame is a request.
    let binary = json!({ "type": "req", "id": "b", "method": "health" }).to_string();
    ws.socket.send(Message::binary(binary)).await.unwrap();
    assert_eq!(ws.response("b").await["ok"], true);
}

#[tokio::test]
async fn params_are_refused_in_the_recorded_words() {
    let rig = rig().await;
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let chat = json!({ "sessionKey": "main", "message": "x", "idempotencyKey": "k" });
    let cases = [
        (
            "chat.send",
            json!({ "sessionKey": "main" }),
            "must have required property 'message'",
        ),
        (
            "chat.send",
            json!({ "sessionKey": "main", "message": 7, "idempotencyKey": "k", "newer": 1 }),
            "at /message: must be string",
        ),
        (
            "chat.history",
            json!({}),
            "must have required property 'sessionKey'",
        ),
        (
            "agent.wait",
            json!({}),
            "must have required property 'runId'",
        ),
        (
            "chat.abort",
            json!({}),
            "must have required property 'sessionKey'",
        ),
        (
            "agent",
            json!({ "message": "", "idempotencyKey": "k" }),
            "at /message: must not have fewer than 1 characters",
        ),
        (
            "sessions.list",
            json!({ "limit": -1 }),
            "at /limit: must be >= 1",
        ),
        ("sessions.list", json!([]), "must be object"),
        (
            "runs.list",
            json!({ "bogus": 1 }),
            "at root: unexpected property 'bogus'",
        ),
    ];
    for (method, params, problem) in cases {
        let error = ws.refused(method, params).await;
        let message = format!("invalid {method} params: {problem}");
        assert_eq!(
            error,
            json!({ "code": "INVALID_REQUEST", "message": message })
        );
    }
    let nowhere = with(chat, &json!({ "sessionKey": "" }));
    let error = ws.refused("chat.send", nowhere).await;
    assert_eq!(error["code"], "INVALID_REQUEST", "{error}");
    assert_eq!(
        ws.done("health", json!({ "bogus": true })).await["ok"],
        true
    );
}

#[tokio::test]
async fn the_scope_is_asked_for_before_the_params_and_before_the_method_exists() {
    let rig = rig().await;
    let reader = with(backend(), &json!({ "scopes": ["operator.read"] }));
    let mut reader = Ws::connect(rig.addr, reader).await;
    let cases = [
        ("chat.send", "operator.write"),
        ("agent", "operator.write"),
        ("sessions.delete", "operator.admin"),
        ("config.patch", "operator.admin"),
        ("nope.nope", "operator.admin"),
    ];
    for (method, scope) in cases {
        let error = reader.refused(method, json!({ "bogus": 1 })).await;
        let expected = json!({
            "code": "FORBIDDEN", "message": format!("missing scope: {scope}"),
            "details": { "code": "MISSING_SCOPE", "missingScope": scope,
                         "requiredScopes": [scope] },
        });
        assert_eq!(error, expected, "{method}");
    }
    assert_eq!(reader.done("config.get", json!({})).await["valid"], true);
    let mut admin = Ws::connect(rig.addr, backend()).await;
    let error = admin.refused("nope.nope", json!({})).await;
    let message = "unknown method: nope.nope";
    assert_eq!(
        error,
        json!({ "code": "INVALID_REQUEST", "message": message })
    );
}

#[tokio::test]
async fn one_client_has_few_places_for_requests_that_wait() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let params = json!({ "sessionKey": "main", "message": "x", "idempotencyKey": "k" });
    ws.done("chat.send", params).await;
    let run = puppet.next().await;
    let mut waiting = HashSet::new();
    for _ in 0..256 {
        waiting.insert(ws.ask("agent.wait", json!({ "runId": "k" })).await);
    }
    let error = ws.refused("agent.wait", json!({ "runId": "k" })).await;
    assert_eq!(error["code"], "UNAVAILABLE", "{error}");
    assert_eq!(error["retryable"], true, "{error}");
    // Others have their own places, and this one still has those for short requests.
    let mut other = Ws::connect(rig.addr, backend()).await;
    let wait = other.ask("agent.wait", json!({ "runId": "k" })).await;
    ws.done("sessions.list", json!({})).await;
    run.says("done").await;
    run.ends().await;
    assert_eq!(other.response(&wait).await["payload"]["status"], "ok");
    while !waiting.is_empty() {
        if let Heard::Json(response) = ws.hear().await
            && response["type"] == "res"
        {
            assert_eq!(response["payload"]["status"], "ok", "{response}");
            assert!(
                waiting.remove(response["id"].as_str().unwrap()),
                "{response}"
            );
        }
    }
}

/// A gateway whose time stands still unless everybody waits, without pings.
fn still(outbox_bytes_max: usize) -> (Rig, Net, Puppet) {
    let (agent, puppet) = Puppet::new();
    let (net, listener) = Net::new();
    let config = RigConfig {
        transport: TransportConfig {
            ping_interval: Duration::from_hours(24),
            outbox_bytes_max,
            ..TransportConfig::default()
        },
        ..RigConfig::with_agent(agent)
    };
    let rig = Rig::start_on(config, listener, "127.0.0.1:1".parse().unwrap());
    (rig, net, puppet)
}

async fn connected(net: &Net) -> Ws<DuplexStream> {
    let mut ws = net.open().await;
    assert_eq!(ws.hello(backend()).await["ok"], true);
    ws
}

/// Asks again and again without reading, until nothing more is taken; how many requests were sent.
async fn flood(ws: &mut Ws<DuplexStream>) -> usize {
    for sent in 0..100_000 {
        let request = json!({ "type": "req", "id": sent.to_string(), "method": "status" });
        let request = Message::text(request.to_string());
        if timeout(Duration::from_secs(1), ws.socket.send(request))
            .await
            .is_err()
        {
            return sent;
        }
    }
    panic!("the gateway reads without end");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_and_does_not_read_is_read_no_more() {
    let (rig, net, _puppet) = still(50 << 20);
    let mut ws = connected(&net).await;
    let sent = flood(&mut ws).await;
    // What it sent waits in the pipe; once it reads, every request is answered.
    let mut answered = HashSet::new();
    while answered.len() < sent {
        if let Heard::Json(frame) = ws.hear().await
            && frame["type"] == "res"
        {
            assert_eq!(frame["ok"], true, "{frame}");
            assert!(answered.insert(frame["id"].as_str().unwrap().to_owned()));
        }
    }
    assert_eq!(rig.metrics.slow_consumers.get(), 0);
}

/// Over a store on disk, whose readers get the requests of one connection done all at once.
#[tokio::test]
async fn large_answers_wait_for_each_other_and_close_nobody_who_reads() {
    const OUTBOX: usize = 256 << 10;
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({
        "gateway": {
            "auth": {"mode": "token", "token": TOKEN},
            "limits": {"outboxBytes": OUTBOX},
        },
        "agents": {"list": [{"id": "main", "model": "sim/echo"}]},
    });
    let (net, listener) = Net::new();
    let gateway = Gateway::builder(config(dir.path(), &settings.to_string(), &[]));
    let gateway = gateway.start_on(listener, "127.0.0.1:1".parse().unwrap());
    let gateway = gateway.await.unwrap();
    let mut ws = connected(&net).await;
    for n in 0..16 {
        let (key, text) = (format!("k{n}"), "word ".repeat(1500));
        let params = json!({ "sessionKey": "main", "message": text, "idempotencyKey": key });
        ws.done("chat.send", params).await;
        ws.event_where(|event| event["payload"]["state"] == "final")
            .await;
    }
    let mut asked = HashSet::new();
    for _ in 0..24 {
        asked.insert(
            ws.ask("chat.history", json!({ "sessionKey": "main" }))
                .await,
        );
    }
    // Long enough for every answer to be ready before the first is read.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut bytes = 0;
    while !asked.is_empty() {
        match ws.hear().await {
            Heard::Json(frame) if frame["type"] == "res" => {
                assert_eq!(frame["ok"], true, "{frame}");
                assert!(asked.remove(frame["id"].as_str().unwrap()), "{frame}");
                bytes += frame.to_string().len();
            }
            Heard::Json(_) | Heard::Ping(_) => {}
            closed => panic!("{closed:?}"),
        }
    }
    assert!(bytes > 8 * OUTBOX, "{bytes}");
    gateway.shutdown();
    gateway.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_what_it_asked_for_is_closed() {
    let (rig, net, _puppet) = still(50 << 20);
    let mut ws = connected(&net).await;
    flood(&mut ws).await;
    tokio::time::sleep(Duration::from_secs(32)).await;
    assert_eq!(rig.metrics.slow_consumers.get(), 1);
    assert_eq!(rig.metrics.native_open.get(), 0);
    drop(ws);
}

/// Lets a run say so much that its events are several times what may wait.
async fn talk(net: &Net, puppet: &mut Puppet, words: usize) {
    let mut ws = connected(net).await;
    let params = json!({ "sessionKey": "main", "message": "x", "idempotencyKey": "k" });
    ws.done("chat.send", params).await;
    // Who asked does not listen.
    drop(ws);
    let run = puppet.next().await;
    for _ in 0..words {
        run.says(&"word ".repeat(200)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    run.ends().await;
}

/// What a reader of a run got, up to the run's last event.
#[derive(Debug, Default)]
struct Got {
    deltas: usize,
    gaps: usize,
    text: usize,
}

/// Reads up to the end of the run.
async fn read_run(mut ws: Ws<DuplexStream>) -> Got {
    let mut got = Got::default();
    let mut seen = 0;
    loop {
        let event = ws.any_event().await;
        let seq = event["seq"].as_u64().unwrap();
        assert!(seq > seen, "{seq} after {seen}");
        got.gaps += usize::from(seq > seen + 1);
        seen = seq;
        let payload = &event["payload"];
        got.deltas += usize::from(payload["state"] == "delta");
        if payload["state"] == "final" {
            let text = payload["message"]["content"][0]["text"].as_str();
            got.text = text.unwrap().len();
            return got;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_what_may_be_lost_and_sees_the_gap() {
    let (rig, net, mut puppet) = still(1 << 20);
    let slow = connected(&net).await;
    let reading = tokio::spawn(read_run(connected(&net).await));
    talk(&net, &mut puppet, 27).await;
    let whole = reading.await.unwrap();
    assert_eq!(whole.gaps, 0, "{whole:?}");
    let slow = read_run(slow).await;
    assert!(slow.gaps > 0, "nothing was left out: {slow:?}");
    assert!(slow.deltas < whole.deltas, "{slow:?} {whole:?}");
    assert_eq!(slow.text, whole.text);
    assert_eq!(rig.metrics.slow_consumers.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_falls_out_of_the_feed_is_closed_and_others_miss_nothing() {
    let (rig, net, mut puppet) = still(256 << 10);
    let mut stuck = connected(&net).await;
    let reading = tokio::spawn(read_run(connected(&net).await));
    let closed = std::sync::Arc::clone(&rig.metrics);
    let stuck = tokio::spawn(async move {
        while closed.slow_consumers.get() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stuck.closed().await
    });
    talk(&net, &mut puppet, 60).await;
    assert_eq!(reading.await.unwrap().gaps, 0);
    assert_eq!(stuck.await.unwrap(), (1008, "slow consumer".to_owned()));
    assert_eq!(rig.metrics.slow_consumers.get(), 1);
}
