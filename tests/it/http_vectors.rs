//! The conformance vectors V1 to V23 of `http-facts` §8, one test each.

use clawport::internals::auth::LimiterConfig;
use clawport::run::Role;

use crate::support::http::{chat, chat_with, request};
use crate::support::{Puppet, Response, Rig, RigConfig, TOKEN};

/// Asks a fresh gateway with the echo agents `main` and `beta`.
async fn ask(text: String) -> Response {
    let rig = Rig::start(RigConfig::default()).await;
    rig.connect().await.ask(text).await
}

/// A body with one user message and these further members.
fn hi(members: &str) -> String {
    format!(r#"{{{members}"messages":[{{"role":"user","content":"hi"}}]}}"#)
}

fn check_refused(response: &Response, status: u16, kind: &str, message: &str) {
    assert_eq!(response.status(), status, "{}", response.text());
    let json = response.json();
    assert_eq!(json["error"]["type"], kind, "{json}");
    assert_eq!(json["error"]["message"], message, "{json}");
}

const INVALID: &str = "invalid_request_error";

#[tokio::test]
async fn v1_healthz_is_live() {
    let response = ask(request("GET", "/healthz", &[], "")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text(), r#"{"ok":true,"status":"live"}"#);
}

#[tokio::test]
async fn v2_get_is_not_allowed_and_needs_no_secret() {
    let response = ask(request("GET", "/v1/chat/completions", &[], "")).await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.header("allow"), Some("POST"));
    assert_eq!(response.text(), "Method Not Allowed");
}

#[tokio::test]
async fn v3_without_a_secret_is_unauthorized() {
    let response = ask(request("POST", "/v1/chat/completions", &[], "{}")).await;
    check_refused(&response, 401, "unauthorized", "Unauthorized");
    assert_eq!(response.header("retry-after"), None);
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn v4_the_scheme_may_have_any_case() {
    let token = format!("bEaReR {TOKEN}");
    let headers = [("Authorization", token.as_str())];
    let response = ask(request("POST", "/v1/chat/completions", &headers, &hi(""))).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn v5_another_scheme_is_unauthorized_and_not_counted() {
    let rig = Rig::start(RigConfig::default()).await;
    let headers = [("Authorization", "Basic YTpi")];
    let text = request("POST", "/v1/chat/completions", &headers, "{}");
    let response = rig.connect().await.ask(text).await;
    check_refused(&response, 401, "unauthorized", "Unauthorized");
    assert_eq!(rig.metrics.auth_failures.get(), 0);
}

#[tokio::test]
async fn v6_broken_json_is_refused() {
    let response = ask(chat("{")).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.json()["error"]["type"], INVALID);
}

#[tokio::test]
async fn v7_a_system_message_alone_is_nothing_to_answer() {
    let body = r#"{"messages":[{"role":"system","content":"x"}]}"#;
    let response = ask(chat(body)).await;
    check_refused(
        &response,
        400,
        INVALID,
        "Missing user message in `messages`.",
    );
}

#[tokio::test]
async fn v8_a_model_outside_the_grammar_is_refused() {
    let response = ask(chat(&hi(r#""model":"gpt-4o","#))).await;
    let message = "Invalid `model`. Use `openclaw` or `openclaw/<agentId>`.";
    check_refused(&response, 400, INVALID, message);
}

#[tokio::test]
async fn v9_an_unknown_agent_is_refused() {
    let response = ask(chat(&hi(r#""model":"openclaw:ghost","#))).await;
    check_refused(&response, 400, INVALID, "Unknown agent 'ghost'.");
    assert_eq!(response.json()["error"]["code"], "model_not_found");
    assert_eq!(response.json()["error"]["param"], "model");
}

#[tokio::test]
async fn v10_the_grammar_counts_even_when_a_header_picks_the_agent() {
    let headers = [("x-openclaw-agent-id", "main")];
    let response = ask(chat_with(&headers, &hi(r#""model":"gpt-4o","#))).await;
    assert_eq!(response.status(), 400);
    assert!(response.message().starts_with("Invalid `model`."));
}

#[tokio::test]
async fn v11_the_header_wins_over_the_model() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    let headers = [("x-openclaw-agent-id", "main")];
    connection
        .send(chat_with(&headers, &hi(r#""model":"openclaw:ghost","#)))
        .await;
    let run = puppet.next().await;
    assert!(run.session.starts_with("agent:main:"), "{}", run.session);
    run.says("hello").await;
    run.ends().await;
    let response = connection.response().await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.json()["model"], "openclaw:ghost");
}

#[tokio::test]
async fn v12_an_unknown_agent_in_the_header_is_refused() {
    for name in ["x-openclaw-agent-id", "x-openclaw-agent"] {
        let response = ask(chat_with(&[(name, "ghost")], &hi(""))).await;
        check_refused(&response, 400, INVALID, "Unknown agent 'ghost'.");
    }
}

#[tokio::test]
async fn v13_a_reserved_session_key_is_refused() {
    let headers = [("x-openclaw-session-key", "agent:main:cron:x")];
    let response = ask(chat_with(&headers, &hi(""))).await;
    let message = "`x-openclaw-session-key` cannot use reserved internal session namespaces.";
    check_refused(&response, 400, INVALID, message);
}

#[tokio::test]
async fn v14_a_blank_user_is_no_user() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        connection.send(chat(&hi(r#""user":" ","#))).await;
        let run = puppet.next().await;
        run.ends().await;
        assert_eq!(connection.response().await.status(), 200);
        sessions.push(run.session);
    }
    assert!(
        sessions[0].starts_with("agent:main:openai:"),
        "{sessions:?}"
    );
    assert_ne!(sessions[0], sessions[1]);
}

#[tokio::test]
async fn v15_stream_must_be_a_boolean() {
    let response = ask(chat(&hi(r#""stream":"yes","#))).await;
    let message = "stream: Invalid input: expected boolean, received string";
    check_refused(&response, 400, INVALID, message);
}

#[tokio::test]
async fn v16_sampling_has_a_range() {
    let response = ask(chat(&hi(r#""temperature":3,"#))).await;
    check_refused(
        &response,
        400,
        INVALID,
        "`temperature` must be between 0 and 2.",
    );
}

#[tokio::test]
async fn v17_after_ten_wrong_secrets_even_the_right_one_is_refused() {
    let mut config = RigConfig::default();
    // The peers of a test are loopback, which the defaults only slow down.
    config.auth.limiter = LimiterConfig {
        exempt_loopback: false,
        ..LimiterConfig::default()
    };
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    let headers = [("Authorization", "Bearer wrong")];
    let wrong = request("POST", "/v1/chat/completions", &headers, "{}");
    for attempt in 1..=11 {
        let expected = if attempt <= 10 { 401 } else { 429 };
        assert_eq!(connection.ask(&wrong).await.status(), expected, "{attempt}");
    }
    let response = connection.ask(chat(&hi(""))).await;
    let message = "Too many failed authentication attempts. Please try again later.";
    check_refused(&response, 429, "rate_limited", message);
    let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&seconds), "{seconds}");
    assert_eq!(response.header("x-should-retry"), Some("false"));
    let models = connection.ask(request("GET", "/v1/models", &[], "")).await;
    assert_eq!(models.status(), 429);
    let health = connection.ask(request("GET", "/healthz", &[], "")).await;
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn v18_a_disabled_endpoint_does_not_exist() {
    let mut config = RigConfig::default();
    config.transport.chat_enabled = false;
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    let token = format!("Bearer {TOKEN}");
    let asked = [
        chat(&hi("")),
        request("POST", "/v1/chat/completions", &[], "{}"),
        request("GET", "/v1/chat/completions", &[], ""),
        request("OPTIONS", "/v1/chat/completions", &[], ""),
        request(
            "GET",
            "/v1/models",
            &[("Authorization", token.as_str())],
            "",
        ),
        request("GET", "/v1/models/openclaw", &[], ""),
    ];
    for text in &asked {
        let response = connection.ask(text).await;
        assert_eq!(response.status(), 404, "{text}");
        assert_eq!(response.text(), "Not Found");
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
    rig.chat.set(true);
    assert_eq!(connection.ask(&asked[0]).await.status(), 200);
    rig.chat.set(false);
    assert_eq!(connection.ask(&asked[0]).await.status(), 404);
}

#[tokio::test]
async fn v19_options_is_not_allowed() {
    let response = ask(request("OPTIONS", "/v1/chat/completions", &[], "")).await;
    assert_eq!(response.status(), 405);
}

#[tokio::test]
async fn v20_a_lone_assistant_message_is_answered() {
    let body = r#"{"messages":[{"role":"assistant","content":"go"}]}"#;
    assert_eq!(ask(chat(body)).await.content(), "go");
}

#[tokio::test]
async fn v21_history_comes_before_the_last_user_message_and_the_rest_is_dropped() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    let body = r#"{"messages":[
        {"role":"user","content":"a"},{"role":"assistant","content":"b"},
        {"role":"user","content":"c"},{"role":"assistant","content":"d"}]}"#;
    connection.send(chat(body)).await;
    let run = puppet.next().await;
    let turn = &run.turn.turn;
    let shown = |messages: &[clawport::run::Message]| -> Vec<(Role, String)> {
        messages.iter().map(|m| (m.role, m.text.clone())).collect()
    };
    assert_eq!(
        shown(&turn.history),
        [
            (Role::User, "a".to_owned()),
            (Role::Assistant, "b".to_owned())
        ]
    );
    assert_eq!(shown(&turn.current), [(Role::User, "c".to_owned())]);
    run.ends().await;
    assert_eq!(connection.response().await.status(), 200);
}

#[tokio::test]
async fn v22_a_body_over_the_limit_is_refused_and_the_connection_closed() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let filler = "x".repeat(21 * 1024 * 1024);
    connection
        .send(chat(&hi(&format!(r#""filler":"{filler}","#))))
        .await;
    let response = connection.response().await;
    check_refused(&response, 413, INVALID, "Payload too large");
    assert_eq!(response.header("connection"), Some("close"));
    connection.closed().await;
}

#[tokio::test]
async fn v23_forwarding_headers_of_an_untrusted_peer_are_refused() {
    let response = ask(chat_with(&[("X-Forwarded-For", "1.2.3.4")], &hi(""))).await;
    assert_eq!(response.status(), 403);
    assert_eq!(
        response.json()["error"]["type"],
        "proxy_attribution_required"
    );
    let response = ask(request(
        "GET",
        "/readyz",
        &[("X-Forwarded-For", "1.2.3.4")],
        "",
    ))
    .await;
    assert_eq!(response.text(), r#"{"ready":true}"#);
}
