//! How a native connection begins: upgrades, the handshake and its refusals, and what a peer can
//! cost before it is let in. The refusals are the recorded ones.

use std::time::Duration;

use clawport::internals::auth::{AuthMode, OriginPolicy, Secret};
use clawport::internals::shutdown::Phase;
use clawport::internals::transport::TransportConfig;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::support::http::request;
use crate::support::net::Net;
use crate::support::ws::{Heard, Ws, backend, with};
use crate::support::{Rig, RigConfig, soon};

async fn rig() -> Rig {
    Rig::start(RigConfig::default()).await
}

/// Sends `connect` with these params and expects this error and this close.
async fn check_refused(rig: &Rig, params: Value, error: Value, close: (u16, &str)) {
    let mut ws = Ws::open(rig.addr).await;
    let response = ws.hello(params).await;
    assert_eq!(response["ok"], false, "{response}");
    assert_eq!(response["error"], error);
    assert_eq!(ws.closed().await, (close.0, close.1.to_owned()));
    assert_eq!(ws.hear().await, Heard::Ended);
}

fn invalid(message: &str) -> Value {
    json!({ "code": "INVALID_REQUEST", "message": message })
}

#[tokio::test]
async fn hello_tells_what_is_served_and_what_the_peer_may_do() {
    let rig = rig().await;
    let mut ws = Ws::open(rig.addr).await;
    let hello = ws.hello(backend()).await["payload"].clone();
    assert_eq!(hello["type"], "hello-ok");
    assert_eq!(hello["protocol"], 4);
    let own = concat!("2026.9.6+clawport.", env!("CARGO_PKG_VERSION"));
    assert_eq!(hello["server"]["version"], own);
    assert_eq!(hello["auth"]["method"], "token");
    assert_eq!(hello["auth"]["role"], "operator");
    assert_eq!(hello["auth"]["scopes"], backend()["scopes"]);
    assert_eq!(hello["policy"]["maxPayload"], 26_214_400);
    assert_eq!(hello["policy"]["maxBufferedBytes"], 52_428_800);
    assert_eq!(hello["policy"]["tickIntervalMs"], 30_000);
    let capabilities = &hello["features"]["capabilities"];
    assert_eq!(*capabilities, json!(["published-model-catalog"]));
    let snapshot = &hello["snapshot"];
    assert_eq!(
        snapshot["sessionDefaults"]["mainSessionKey"],
        "agent:main:main"
    );
    assert_eq!(snapshot["sessionDefaults"]["modelConfigured"], true);
    assert_eq!(snapshot["authMode"], "token");
    assert_eq!(snapshot["presence"][0]["mode"], "gateway");
    for method in [
        "health",
        "agent",
        "chat.send",
        "sessions.messages.unsubscribe",
    ] {
        let methods = hello["features"]["methods"].as_array().unwrap();
        assert!(methods.contains(&json!(method)), "{method}");
    }
    for event in ["connect.challenge", "chat", "session.message", "shutdown"] {
        let events = hello["features"]["events"].as_array().unwrap();
        assert!(events.contains(&json!(event)), "{event}");
    }
    assert_eq!(rig.metrics.native_open.get(), 1);
}

#[tokio::test]
async fn any_path_is_upgraded_and_a_requested_subprotocol_is_echoed() {
    let rig = rig().await;
    for path in ["/", "/some/path", "/v1/chat/completions?x=1"] {
        let mut ws = Ws::open_with(rig.addr, path, &[]).await.unwrap();
        assert_eq!(ws.hello(backend()).await["ok"], true, "{path}");
    }
    let mut connection = rig.connect().await;
    let upgrade = request(
        "GET",
        "/",
        &[
            ("connection", "keep-alive, UPGRADE"),
            ("upgrade", "h2c, WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "one, two"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ],
        "",
    );
    connection
        .stream
        .write_all(upgrade.as_bytes())
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        soon(connection.stream.read_buf(&mut bytes)).await.unwrap();
    }
    let text = String::from_utf8_lossy(&bytes).to_lowercase();
    assert!(text.starts_with("http/1.1 101 "), "{text}");
    assert!(text.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="));
    assert!(text.contains("sec-websocket-protocol: one\r\n"), "{text}");
    assert!(!text.contains("permessage-deflate"), "{text}");
}

#[tokio::test]
async fn broken_upgrades_are_refused_and_unknown_ones_ignored() {
    let rig = rig().await;
    let check = async |headers: &[(&str, &str)], body: &str, expected: u16| {
        let mut connection = rig.connect().await;
        let method = if body.is_empty() { "GET" } else { "POST" };
        let response = connection
            .ask(&request(method, "/healthz", headers, body))
            .await;
        assert_eq!(response.status(), expected, "{headers:?}");
        response
    };
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    let all = |more: &[(&'static str, &'static str)]| [&upgrade[..], more].concat();
    let version = check(&all(&[key, ("sec-websocket-version", "12")]), "", 426).await;
    assert_eq!(version.header("sec-websocket-version"), Some("13"));
    check(&all(&[("sec-websocket-version", "13")]), "", 400).await;
    check(&all(&[key, ("sec-websocket-version", "13")]), "body", 400).await;
    check(&[("connection", "upgrade"), ("upgrade", "h2c")], "", 200).await;
}

#[tokio::test]
async fn a_wrong_or_missing_secret_is_refused_in_the_recorded_words() {
    let rig = rig().await;
    let message = "unauthorized: gateway token mismatch (provide gateway auth token)";
    let mut error = invalid(message);
    error["details"] = json!({
        "code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch",
        "canRetryWithDeviceToken": false, "recommendedNextStep": "update_auth_credentials",
    });
    let wrong = with(backend(), &json!({ "auth": { "token": "wrong" } }));
    check_refused(&rig, wrong, error, (1008, message)).await;
    let error = json!({ "code": "NOT_PAIRED", "message": "device identity required",
                        "details": { "code": "DEVICE_IDENTITY_REQUIRED" } });
    let none = with(backend(), &json!({ "auth": null }));
    check_refused(&rig, none, error, (1008, "device identity required")).await;
    assert_eq!(rig.metrics.native_open.get(), 0);
}

#[tokio::test]
async fn what_is_no_connect_is_refused_in_the_recorded_words() {
    let rig = rig().await;
    let mut mismatch = invalid("protocol mismatch");
    mismatch["details"] = json!({
        "code": "PROTOCOL_MISMATCH", "clientMinProtocol": 99, "clientMaxProtocol": 99,
        "expectedProtocol": 4, "minimumProbeProtocol": 3,
    });
    let newer = with(backend(), &json!({ "minProtocol": 99, "maxProtocol": 99 }));
    check_refused(&rig, newer, mismatch, (1002, "protocol mismatch")).await;
    let wizard = with(backend(), &json!({ "role": "wizard" }));
    check_refused(
        &rig,
        wizard,
        invalid("invalid role"),
        (1008, "invalid role"),
    )
    .await;
    let text = "invalid connect params: must have required property 'client'";
    let nobody = with(backend(), &json!({ "client": null }));
    check_refused(&rig, nobody, invalid(text), (1008, text)).await;
    let text = "invalid handshake: first request must be connect";
    let mut ws = Ws::open(rig.addr).await;
    ws.challenge().await;
    let response = ws.call("health", json!({})).await;
    assert_eq!(response["error"], invalid(text));
    assert_eq!(ws.closed().await, (1008, text.to_owned()));
    for (frame, close) in [
        (
            r#"{"type":"event","event":"x"}"#,
            (1008, "invalid request frame"),
        ),
        ("{nope", (1000, "")),
    ] {
        let mut ws = Ws::open(rig.addr).await;
        ws.challenge().await;
        ws.say(frame).await;
        let expected = Heard::Close(close.0, close.1.to_owned());
        assert_eq!(ws.hear().await, expected, "{frame}");
    }
}

#[tokio::test]
async fn user_interfaces_need_a_device_and_others_lose_their_scopes() {
    let rig = rig().await;
    let text = "control ui requires device identity (use HTTPS or localhost secure context)";
    let mut error = invalid(text);
    error["details"] = json!({ "code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" });
    let client = json!({ "id": "openclaw-control-ui", "version": "g", "platform": "web",
                         "mode": "webchat" });
    let page = with(backend(), &json!({ "client": client }));
    let origin = format!("http://{}", rig.addr);
    let mut ws = Ws::open_with(rig.addr, "/", &[("origin", origin.as_str())])
        .await
        .unwrap();
    assert_eq!(ws.hello(page).await["error"], error);
    assert_eq!(ws.closed().await, (1008, text.to_owned()));
    let client = json!({ "id": "cli", "version": "g", "platform": "linux", "mode": "probe" });
    let mut ws = Ws::open(rig.addr).await;
    let hello = ws
        .hello(with(backend(), &json!({ "client": client })))
        .await;
    assert_eq!(hello["payload"]["auth"]["scopes"], json!([]));
    assert_eq!(hello["payload"]["snapshot"].get("configPath"), None);
    let error = ws.refused("status", json!({})).await;
    assert_eq!(error["message"], "missing scope: operator.read");
    ws.done("health", json!({})).await;
}

#[tokio::test]
async fn a_foreign_page_is_refused_and_an_allowed_one_is_not() {
    let mut config = RigConfig::default();
    config.auth.origins = OriginPolicy {
        allowed: vec!["https://ui.example".to_owned()],
        host_header_fallback: false,
    };
    let rig = Rig::start(config).await;
    let text = "origin not allowed (open the Control UI from the gateway host or allow it in \
                gateway.controlUi.allowedOrigins)";
    for (origin, reason) in [
        ("http://evil.test", "origin not allowed"),
        ("null", "origin missing or invalid"),
    ] {
        let mut ws = Ws::open_with(rig.addr, "/", &[("origin", origin)])
            .await
            .unwrap();
        let mut error = invalid(text);
        error["details"] = json!({ "code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": reason });
        assert_eq!(ws.hello(backend()).await["error"], error, "{origin}");
        let (code, shown) = ws.closed().await;
        assert_eq!(code, 1008);
        assert!(text.starts_with(&shown) && shown.len() > 100, "{shown}");
    }
    let allowed = [("origin", "https://ui.example")];
    let mut ws = Ws::open_with(rig.addr, "/", &allowed).await.unwrap();
    assert_eq!(ws.hello(backend()).await["ok"], true);
}

#[tokio::test]
async fn forwarding_headers_of_a_stranger_make_a_peer_remote() {
    let rig = rig().await;
    let forwarded = [("x-forwarded-for", "127.0.0.1")];
    let mut ws = Ws::open_with(rig.addr, "/", &forwarded).await.unwrap();
    // The secret is right, so the peer is let in, but no scope is granted on its word.
    let response = ws.hello(backend()).await;
    assert_eq!(
        response["payload"]["auth"]["scopes"],
        json!([]),
        "{response}"
    );
}

#[tokio::test]
async fn the_lockout_is_shared_with_http() {
    let mut config = RigConfig::default();
    config.auth.limiter.attempts_max = 2;
    config.auth.limiter.exempt_loopback = false;
    let rig = Rig::start(config).await;
    let wrong = [("Authorization", "Bearer wrong")];
    for _ in 0..2 {
        let mut connection = rig.connect().await;
        let response = connection
            .ask(&request("GET", "/v1/models", &wrong, ""))
            .await;
        assert_eq!(response.status(), 401);
    }
    let mut ws = Ws::open(rig.addr).await;
    let response = ws.hello(backend()).await;
    let error = &response["error"];
    assert_eq!(error["details"]["code"], "AUTH_RATE_LIMITED", "{response}");
    assert_eq!(error["retryable"], true);
    assert!(error["retryAfterMs"].as_u64().unwrap() > 200_000);
    let text = "unauthorized: too many failed authentication attempts (retry later)";
    assert_eq!(ws.closed().await, (1008, text.to_owned()));
}

#[tokio::test]
async fn frames_before_hello_are_bounded() {
    let rig = rig().await;
    let mut ws = Ws::open(rig.addr).await;
    let params = with(backend(), &json!({ "userAgent": "" }));
    let frame = |filler: usize| {
        let params = with(params.clone(), &json!({ "userAgent": "x".repeat(filler) }));
        json!({ "type": "req", "id": "1", "method": "connect", "params": params }).to_string()
    };
    let overhead = frame(0).len();
    ws.challenge().await;
    ws.say(&frame(65_535 - overhead)).await;
    assert_eq!(ws.response("1").await["ok"], true);
    let mut ws = Ws::open(rig.addr).await;
    ws.challenge().await;
    ws.say(&frame(70 * 1024)).await;
    assert_eq!(ws.hear().await, Heard::Close(1009, String::new()));
    let mut ws = Ws::open(rig.addr).await;
    ws.challenge().await;
    // Fragments without an end count together, and a socket that is closing may fail to take more.
    let mut fragment = vec![0x01, 0x80 | 0x7e, 0x40, 0x00, 0, 0, 0, 0];
    fragment.resize(8 + 0x4000, b'x');
    for _ in 0..12 {
        ws.socket.get_mut().write_all(&fragment).await.ok();
        fragment[0] = 0x00;
    }
    assert_eq!(ws.hear().await, Heard::Close(1009, String::new()));
}

#[tokio::test]
async fn frames_that_come_during_authentication_wait_but_not_many() {
    let rig = rig().await;
    let connect =
        json!({ "type": "req", "id": "c", "method": "connect", "params": backend() }).to_string();
    let health = |id: usize| {
        Message::text(
            json!({ "type": "req", "id": id.to_string(), "method": "health" }).to_string(),
        )
    };
    let mut ws = Ws::open(rig.addr).await;
    ws.challenge().await;
    ws.socket
        .feed(Message::text(connect.clone()))
        .await
        .unwrap();
    for id in 0..15 {
        ws.socket.feed(health(id)).await.unwrap();
    }
    ws.socket.flush().await.unwrap();
    assert_eq!(ws.response("c").await["ok"], true);
    for id in 0..15 {
        assert_eq!(ws.response(&id.to_string()).await["ok"], true);
    }
    // A wrong secret is answered late on loopback, which leaves the time for a flood.
    let wrong = with(backend(), &json!({ "auth": { "token": "wrong" } }));
    let connect = json!({ "type": "req", "id": "c", "method": "connect", "params": wrong });
    let mut ws = Ws::open(rig.addr).await;
    ws.challenge().await;
    ws.socket
        .feed(Message::text(connect.to_string()))
        .await
        .unwrap();
    for id in 0..16 {
        ws.socket.feed(health(id)).await.unwrap();
    }
    ws.socket.flush().await.unwrap();
    let close = Heard::Close(1008, "too many pending handshake frames".to_owned());
    assert_eq!(ws.hear().await, close);
}

#[tokio::test]
async fn an_address_has_few_places_for_sockets_that_say_nothing() {
    let rig = rig().await;
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(Ws::open(rig.addr).await);
    }
    assert_eq!(Ws::open_with(rig.addr, "/", &[]).await.err(), Some(503));
    // One that is let in gives its place back.
    let hello = silent[0].hello(backend()).await;
    assert_eq!(hello["ok"], true);
    silent.push(Ws::open(rig.addr).await);
    drop(silent.pop());
    let next = soon(async {
        loop {
            if let Ok(ws) = Ws::open_with(rig.addr, "/", &[]).await {
                return ws;
            }
        }
    });
    drop(next.await);
}

#[tokio::test(start_paused = true)]
async fn another_address_has_its_own_places() {
    let (net, listener) = Net::new();
    let _rig = Rig::start_on(
        RigConfig::default(),
        listener,
        "127.0.0.1:1".parse().unwrap(),
    );
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(net.open().await);
    }
    let upgrade = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    for (address, status) in [
        ("127.0.0.1", "503"),
        ("::ffff:127.0.0.1", "503"),
        ("192.0.2.1", "101"),
    ] {
        let mut stream = net.connect(address).await;
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(
            std::str::from_utf8(&head[9..]).unwrap(),
            status,
            "{address}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_connect_in_time_is_closed() {
    let (net, listener) = Net::new();
    let _rig = Rig::start_on(
        RigConfig::default(),
        listener,
        "127.0.0.1:1".parse().unwrap(),
    );
    let started = tokio::time::Instant::now();
    let mut ws = net.open().await;
    ws.challenge().await;
    // Pings are no handshake.
    ws.socket.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(ws.hear().await, Heard::Close(1000, String::new()));
    let waited = started.elapsed();
    assert!(
        waited >= Duration::from_secs(15) && waited < Duration::from_secs(16),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_socket_is_closed_at_the_deadline_for_heads() {
    let (net, listener) = Net::new();
    let _rig = Rig::start_on(
        RigConfig::default(),
        listener,
        "127.0.0.1:1".parse().unwrap(),
    );
    let started = tokio::time::Instant::now();
    let mut stream = net.connect("127.0.0.1").await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let waited = started.elapsed();
    assert!(
        waited >= Duration::from_secs(15) && waited < Duration::from_secs(16),
        "{waited:?}"
    );
}

#[tokio::test]
async fn upgrades_are_refused_while_the_gateway_drains() {
    let rig = rig().await;
    let mut early = Ws::open(rig.addr).await;
    rig.drain.advance(Phase::Draining);
    assert_eq!(Ws::open_with(rig.addr, "/", &[]).await.err(), Some(503));
    let response = early.hello(backend()).await;
    assert_eq!(response["error"]["code"], "UNAVAILABLE", "{response}");
    assert_eq!(response["error"]["retryable"], true);
    assert_eq!(early.closed().await.0, 1013);
}

#[tokio::test]
async fn a_password_is_asked_for_in_password_mode_and_nothing_in_none() {
    let mut config = RigConfig::default();
    config.auth.mode = AuthMode::Password(Secret::new("a-password-for-tests"));
    let rig = Rig::start(config).await;
    let auth = json!({ "auth": { "password": "a-password-for-tests" } });
    let mut ws = Ws::open(rig.addr).await;
    let hello = ws.hello(with(backend(), &auth)).await;
    assert_eq!(hello["payload"]["auth"]["method"], "password", "{hello}");
    let mut config = RigConfig::default();
    config.auth.mode = AuthMode::None;
    let rig = Rig::start(config).await;
    let mut ws = Ws::open(rig.addr).await;
    let hello = ws.hello(with(backend(), &json!({ "auth": null }))).await;
    assert_eq!(hello["payload"]["auth"]["method"], "none", "{hello}");
}

#[tokio::test]
async fn a_rotated_secret_closes_the_connections_that_used_the_old_one() {
    let config = RigConfig::default();
    let mut rotated = config.auth.clone();
    rotated.mode = AuthMode::Token(Secret::new("another-token-for-tests"));
    let rig = Rig::start(config).await;
    let mut ws = Ws::connect(rig.addr, backend()).await;
    rig.auth.rotate(rotated);
    let rotation = tokio::time::Instant::now();
    assert_eq!(ws.closed().await, (4001, "gateway auth changed".to_owned()));
    assert!(rotation.elapsed() < Duration::from_secs(1));
    let mut ws = Ws::open(rig.addr).await;
    assert_eq!(ws.hello(backend()).await["ok"], false);
    let fresh = json!({ "auth": { "token": "another-token-for-tests" } });
    Ws::connect(rig.addr, with(backend(), &fresh)).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_told() {
    let config = RigConfig {
        transport: TransportConfig {
            connections_max: 2,
            ..TransportConfig::default()
        },
        ..RigConfig::default()
    };
    let rig = Rig::start(config).await;
    let first = Ws::connect(rig.addr, backend()).await;
    let _second = Ws::connect(rig.addr, backend()).await;
    let mut third = rig.connect().await;
    let mut text = String::new();
    soon(third.stream.read_to_string(&mut text)).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert_eq!(rig.metrics.connections_refused.get(), 1);
    drop(first);
    let open = async {
        while rig.metrics.connections_open.get() > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon(open).await;
    Ws::connect(rig.addr, backend()).await;
}
