//! The HTTP front of a whole gateway: what the configuration file says, restarts, winding down.

use std::path::Path;

use clawport::Gateway;
use serde_json::Value;

use crate::support::gateway::{config, start};
use crate::support::http::{frames, request, streamed_text};
use crate::support::{Connection, Puppet, Response, soon};

const ENABLED: &str = r#"
    gateway: {
      auth: { token: "YOUR_TOKEN" },
      http: { endpoints: { chatCompletions: { enabled: true } } },
    },
"#;

const HI: &str = r#"{"model":"openclaw","messages":[{"role":"user","content":"hi"}]}"#;

/// A chat completion with this secret.
fn chat(secret: &str, body: &str) -> String {
    let bearer = format!("Bearer {secret}");
    request(
        "POST",
        "/v1/chat/completions",
        &[("Authorization", bearer.as_str())],
        body,
    )
}

/// Starts a gateway with the echo agent and this configuration and environment, and asks it once.
async fn ask(text: &str, env: &[(&str, &str)], secret: &str) -> Response {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(r#"{{ agents: {{ defaults: {{ model: "sim/echo" }} }}, {text} }}"#);
    let gateway = start(config(dir.path(), &text, env), None).await;
    let response = Connection::open(gateway.addr())
        .await
        .ask(chat(secret, HI))
        .await;
    stop(&gateway).await;
    response
}

async fn stop(gateway: &Gateway) {
    gateway.shutdown();
    soon(gateway.closed()).await;
}

#[tokio::test]
async fn the_endpoint_is_off_by_default_and_when_switched_off() {
    let token = r#"auth: { token: "YOUR_TOKEN" }"#;
    let off = "http: { endpoints: { chatCompletions: { enabled: false } } }";
    for text in [
        format!("gateway: {{ {token} }}"),
        format!("gateway: {{ {token}, {off} }}"),
    ] {
        let response = ask(&text, &[], "YOUR_TOKEN").await;
        assert_eq!(
            (response.status(), response.text()),
            (404, "Not Found"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_endpoint_is_switched_on_by_its_key() {
    let response = ask(ENABLED, &[], "YOUR_TOKEN").await;
    assert_eq!(response.content(), "hi");
}

#[tokio::test]
async fn token_and_password_come_from_the_file_or_the_environment() {
    let gateway = |auth: &str| {
        format!(
            "gateway: {{ {auth} http: {{ endpoints: {{ chatCompletions: {{ enabled: true }} }} }} }}"
        )
    };
    let token = ("OPENCLAW_GATEWAY_TOKEN", "token-of-env");
    let password = ("OPENCLAW_GATEWAY_PASSWORD", "password-of-env");
    let file_token = r#"auth: { mode: "token", token: "token-of-file" },"#;
    let file_password = r#"auth: { mode: "password", password: "password-of-file" },"#;
    for (auth, env, right) in [
        (r#"auth: { mode: "token" },"#, &[token][..], "token-of-env"),
        (file_token, &[token][..], "token-of-file"),
        (
            r#"auth: { mode: "password" },"#,
            &[password][..],
            "password-of-env",
        ),
        (file_password, &[password][..], "password-of-file"),
    ] {
        let text = gateway(auth);
        assert_eq!(ask(&text, env, right).await.status(), 200, "{auth}");
        assert_eq!(ask(&text, env, "wrong").await.status(), 401, "{auth}");
    }
}

#[tokio::test]
async fn the_configured_rate_limit_answers_429() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{ gateway: {
        auth: { token: "YOUR_TOKEN",
                rateLimit: { maxAttempts: 2, lockoutMs: 60000, exemptLoopback: false } },
        http: { endpoints: { chatCompletions: { enabled: true } } } } }"#;
    let gateway = start(config(dir.path(), text, &[]), None).await;
    let mut connection = Connection::open(gateway.addr()).await;
    for expected in [401, 401, 429] {
        let response = connection.ask(chat("wrong-token", HI)).await;
        assert_eq!(response.status(), expected);
    }
    let locked = connection.ask(chat("YOUR_TOKEN", HI)).await;
    let seconds: u64 = locked.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    stop(&gateway).await;
}

#[tokio::test]
async fn agents_are_those_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        r#"{{ {ENABLED} agents: {{ list: [
            {{ id: "main", default: true, model: "sim/echo" }}, {{ id: "beta", model: "sim/lorem?tokens=3" }} ] }} }}"#
    );
    let gateway = start(config(dir.path(), &text, &[]), None).await;
    let mut connection = Connection::open(gateway.addr()).await;
    assert_eq!(connection.ask(chat("YOUR_TOKEN", HI)).await.content(), "hi");
    let beta = HI.replace("openclaw", "openclaw:beta");
    let answer = connection.ask(chat("YOUR_TOKEN", &beta)).await.content();
    assert_eq!(answer.split_whitespace().count(), 3, "{answer}");
    stop(&gateway).await;
}

async fn puppet_in(dir: &Path, text: &str) -> (Gateway, Puppet) {
    let (agent, puppet) = Puppet::new();
    let gateway = start(config(dir, text, &[]), Some(agent)).await;
    (gateway, puppet)
}

#[tokio::test]
async fn the_session_of_a_user_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("{{ {ENABLED} }}");
    let body = r#"{"user":"alice","messages":[{"role":"user","content":"who am I?"}]}"#;
    for turns_before in [0, 2] {
        let (gateway, mut puppet) = puppet_in(dir.path(), &text).await;
        let mut connection = Connection::open(gateway.addr()).await;
        connection.send(chat("YOUR_TOKEN", body)).await;
        let run = puppet.next().await;
        assert_eq!(run.turn.session.len(), turns_before);
        run.says("Alice").await;
        run.ends().await;
        assert_eq!(connection.response().await.content(), "Alice");
        stop(&gateway).await;
    }
}

const STREAM: &str = r#"{"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

#[tokio::test]
async fn a_stream_under_way_runs_to_its_end_while_the_gateway_drains() {
    let dir = tempfile::tempdir().unwrap();
    let (gateway, mut puppet) = puppet_in(dir.path(), &format!("{{ {ENABLED} }}")).await;
    let mut connection = Connection::open(gateway.addr()).await;
    connection.send(chat("YOUR_TOKEN", STREAM)).await;
    let run = puppet.next().await;
    run.says("one ").await;
    gateway.shutdown();
    let mut other = Connection::open(gateway.addr()).await;
    let ready = other.ask(request("GET", "/readyz", &[], "")).await;
    assert_eq!(ready.status(), 503);
    let refused = other.ask(chat("YOUR_TOKEN", HI)).await;
    assert_eq!(refused.status(), 503);
    run.says("two").await;
    run.ends().await;
    let response = connection.response().await;
    assert_eq!(streamed_text(response.text()), "one two");
    assert_eq!(frames(response.text()).last().unwrap(), "[DONE]");
    soon(gateway.closed()).await;
    connection.closed().await;
}

#[tokio::test]
async fn a_plain_answer_under_way_is_sent_while_the_gateway_drains() {
    let dir = tempfile::tempdir().unwrap();
    let (gateway, mut puppet) = puppet_in(dir.path(), &format!("{{ {ENABLED} }}")).await;
    let mut connection = Connection::open(gateway.addr()).await;
    connection.send(chat("YOUR_TOKEN", HI)).await;
    let run = puppet.next().await;
    gateway.shutdown();
    let long = "\u{1}".repeat(3_000_000);
    run.says(&long).await;
    run.ends().await;
    // The peer is slow to read: the run has ended, most of its answer waits in the gateway.
    while gateway.metrics().runs_ok.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.response().await.content(), long);
    soon(gateway.closed()).await;
}

#[tokio::test]
async fn a_stream_that_outlives_the_budget_is_told_why_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{{ {} }}",
        ENABLED.replace("auth:", "drainSeconds: 0, auth:")
    );
    let (gateway, mut puppet) = puppet_in(dir.path(), &text).await;
    let mut connection = Connection::open(gateway.addr()).await;
    connection.send(chat("YOUR_TOKEN", STREAM)).await;
    let run = puppet.next().await;
    run.says("half").await;
    gateway.shutdown();
    let response = connection.response().await;
    let all = frames(response.text());
    let error: Value = serde_json::from_str(&all[all.len() - 2]).unwrap();
    assert_eq!(error["error"]["code"], "gateway_restarting");
    assert_eq!(all.last().unwrap(), "[DONE]");
    soon(gateway.closed()).await;
}
