//! Request bodies: size, time, framing, `Expect`, pipelining.

use std::time::Duration;

use clawport::internals::auth::{AuthMode, Secret};

use crate::support::http::{chat, request};
use crate::support::{Puppet, Rig, RigConfig, TOKEN};

const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

/// A gateway that takes small bodies only and waits for them only shortly.
async fn small(body_bytes_max: usize, body_timeout: Duration) -> Rig {
    let mut config = RigConfig::default();
    config.transport.body_bytes_max = body_bytes_max;
    config.transport.body_timeout = body_timeout;
    Rig::start(config).await
}

const LONG: Duration = Duration::from_secs(30);

fn head(extra: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{extra}\r\n"
    )
}

fn padded(bytes: usize) -> String {
    format!("{HI:<bytes$}")
}

#[tokio::test]
async fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
    let rig = small(4096, LONG).await;
    let mut connection = rig.connect().await;
    assert_eq!(connection.ask(chat(&padded(4096))).await.status(), 200);
    let response = connection.ask(chat(&padded(4097))).await;
    assert_eq!(response.status(), 413);
    assert_eq!(response.header("connection"), Some("close"));
    connection.closed().await;
}

#[tokio::test]
async fn an_announced_length_over_the_limit_is_refused_before_the_body_is_sent() {
    let rig = small(4096, LONG).await;
    let mut connection = rig.connect().await;
    connection
        .send(head("Content-Length: 10000000000\r\n"))
        .await;
    let head = connection.head().await;
    assert_eq!(head.status, 413);
}

#[tokio::test]
async fn a_chunked_body_is_counted_as_it_comes() {
    let rig = small(4096, LONG).await;
    let mut connection = rig.connect().await;
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let (start, end) = HI.split_at(20);
    let whole = head("Transfer-Encoding: chunked\r\n") + &chunk(start) + &chunk(end) + "0\r\n\r\n";
    assert_eq!(connection.ask(whole).await.content(), "hi");
    let mut endless = head("Transfer-Encoding: chunked\r\n");
    for _ in 0..5 {
        endless.push_str(&chunk(&" ".repeat(1000)));
    }
    connection.send(endless).await;
    assert_eq!(connection.head().await.status, 413);
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_is_put_together() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    let text = "🦀".repeat(50_000);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let whole = chat(&body);
    // Pieces of an odd size cut characters in the middle.
    for piece in whole.as_bytes().chunks(7919) {
        connection.send(piece).await;
        tokio::task::yield_now().await;
    }
    let run = puppet.next().await;
    assert_eq!(run.turn.turn.text(), text);
    run.ends().await;
    assert_eq!(connection.response().await.status(), 200);
}

#[tokio::test]
async fn a_body_must_be_whole_in_time() {
    let rig = small(4096, Duration::from_millis(50)).await;
    let mut connection = rig.connect().await;
    connection.send(head("Content-Length: 100\r\n") + "{").await;
    let response = connection.response().await;
    assert_eq!(response.status(), 408);
    assert_eq!(response.message(), "Request body timeout");
    assert_eq!(response.header("connection"), Some("close"));
    connection.closed().await;
}

#[tokio::test]
async fn a_body_that_never_ends_starts_nothing() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    connection.send(head("Content-Length: 1000\r\n") + HI).await;
    drop(connection);
    while rig.metrics.connections_open.get() > 0 || rig.metrics.connections_accepted.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(puppet.is_idle());
    assert_eq!(rig.metrics.runs_accepted.get(), 0);
}

#[tokio::test]
async fn a_secret_that_is_rotated_while_the_body_comes_is_not_good_enough() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let expect = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", HI.len());
    connection.send(head(&expect)).await;
    // The invitation comes after the secret was found right.
    assert_eq!(connection.head().await.status, 100);
    let mut auth = RigConfig::default().auth;
    auth.mode = AuthMode::Token(Secret::new("another-token"));
    rig.auth.rotate(auth);
    let response = connection.ask(HI).await;
    assert_eq!(response.status(), 401);
    assert_eq!(rig.metrics.runs_accepted.get(), 0);
}

#[tokio::test]
async fn an_empty_body_is_an_empty_object() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    for body in ["", "  ", "{}"] {
        let response = connection.ask(chat(body)).await;
        assert_eq!(response.message(), "Missing user message in `messages`.");
    }
}

#[tokio::test]
async fn deep_nesting_is_refused_and_harms_nobody() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    for deep in [
        "[".repeat(1_000_000),
        format!(r#"{{"tools":{}"#, r#"[{"function":"#.repeat(100_000)),
        format!(r#"{{"x":{}"#, r#"{"x":"#.repeat(100_000)),
    ] {
        assert_eq!(connection.ask(chat(&deep)).await.status(), 400);
    }
    assert_eq!(connection.ask(chat(HI)).await.status(), 200);
}

#[tokio::test]
async fn a_body_is_invited_only_when_it_will_be_read() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let expect = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", HI.len());
    connection.send(head(&expect)).await;
    assert_eq!(connection.head().await.status, 100);
    assert_eq!(connection.ask(HI).await.content(), "hi");

    let unauthorized = head(&expect).replace(TOKEN, "wrong");
    let mut stranger = rig.connect().await;
    stranger.send(unauthorized).await;
    assert_eq!(stranger.response().await.status(), 401);

    let mut large = rig.connect().await;
    large
        .send(head("Expect: 100-continue\r\nContent-Length: 99999999\r\n"))
        .await;
    assert_eq!(large.response().await.status(), 413);
    large.closed().await;

    let mut other = rig.connect().await;
    other
        .send(head("Expect: tea\r\nContent-Length: 2\r\n") + "{}")
        .await;
    let response = other.response().await;
    assert_eq!((response.status(), response.text()), (417, ""));
}

#[tokio::test]
async fn a_refused_peer_that_sends_everything_first_still_gets_its_answer() {
    let rig = Rig::start(RigConfig::default()).await;
    let filler = "x".repeat(3 * 1024 * 1024);
    for (path, token, status) in [
        ("/v1/chat/completions", "wrong", 401),
        ("/v1/nope", TOKEN, 404),
    ] {
        let mut connection = rig.connect().await;
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        connection
            .send(request("POST", path, &headers, &filler))
            .await;
        assert_eq!(connection.response().await.status(), status);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let say = |text: &str| {
        chat(&format!(
            r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#
        ))
    };
    let all = say("one") + &request("GET", "/healthz", &[], "") + &say("two") + &say("three");
    connection.send(all).await;
    assert_eq!(connection.response().await.content(), "one");
    assert_eq!(connection.response().await.json()["status"], "live");
    assert_eq!(connection.response().await.content(), "two");
    assert_eq!(connection.response().await.content(), "three");
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let unauthorized = request("POST", "/v1/chat/completions", &[], HI);
    assert_eq!(connection.ask(unauthorized).await.status(), 401);
    assert_eq!(connection.ask(chat("{")).await.status(), 400);
    assert_eq!(connection.ask(chat(HI)).await.content(), "hi");
}
