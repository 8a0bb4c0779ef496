//! Web pages of listed origins may call the API, and read errors too; no other page may.

use serde_json::json;

use crate::support::http::request;
use crate::support::{Served, TOKEN};

const PAGE: &str = "https://chat.example.com";
const CHAT: &str = "/v1/chat/completions";
const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

async fn served() -> Served {
    Served::start(json!({
        "gateway": {"http": {"cors": {"allowedOrigins": ["https://Chat.Example.com/"]}}},
        "agents": {"defaults": {"model": "sim/echo"}},
    }))
    .await
}

#[tokio::test]
async fn a_listed_page_may_ask_first_without_a_secret_and_send_what_sdks_send() {
    let served = served().await;
    let mut connection = served.connect().await;
    let wanted = "authorization,content-type,x-stainless-lang,x-stainless-retry-count";
    for path in [CHAT, "/v1/models", "/models", "/v1/runs/x/cancel"] {
        let headers = [
            ("Origin", PAGE),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", wanted),
        ];
        let response = connection.ask(request("OPTIONS", path, &headers, "")).await;
        assert_eq!((response.status(), response.text()), (204, ""), "{path}");
        let check = |name, value| assert_eq!(response.header(name), Some(value), "{path}");
        check("access-control-allow-origin", PAGE);
        check("access-control-allow-headers", wanted);
        check("access-control-allow-methods", "GET, POST, OPTIONS");
        check("access-control-max-age", "600");
        check("vary", "Origin");
        assert_eq!(response.header("access-control-allow-credentials"), None);
    }
    let headers = [("Origin", PAGE), ("Access-Control-Request-Method", "GET")];
    let response = connection.ask(request("OPTIONS", CHAT, &headers, "")).await;
    let named = response.header("access-control-allow-headers").unwrap();
    assert!(named.contains("authorization") && named.contains("x-openclaw-agent-id"));
}

#[tokio::test]
async fn a_listed_page_can_read_answers_streams_and_errors() {
    let served = served().await;
    let mut connection = served.connect().await;
    let token = format!("Bearer {TOKEN}");
    let streamed = HI.replacen('{', r#"{"stream":true,"#, 1);
    for (secret, body, status) in [
        (token.as_str(), HI, 200),
        (token.as_str(), streamed.as_str(), 200),
        (token.as_str(), "{", 400),
        ("Bearer wrong", HI, 401),
    ] {
        let headers = [("Origin", PAGE), ("Authorization", secret)];
        let response = connection.ask(request("POST", CHAT, &headers, body)).await;
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(response.header("access-control-allow-origin"), Some(PAGE));
        let exposed = response.header("access-control-expose-headers").unwrap();
        for name in ["x-request-id", "retry-after", "x-openclaw-run-id"] {
            assert!(exposed.contains(name), "{name}");
        }
    }
}

#[tokio::test]
async fn any_other_page_gets_what_it_always_got() {
    let listed = served().await;
    let none = Served::start(json!({})).await;
    for (served, origin, vary) in [
        (&listed, "https://evil.example.com", Some("Origin")),
        (&listed, "https://chat.example.com.evil.com", Some("Origin")),
        (&listed, "http://chat.example.com", Some("Origin")),
        (&listed, "null", Some("Origin")),
        (&none, PAGE, None),
    ] {
        let mut connection = served.connect().await;
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
        ];
        let response = connection.ask(request("OPTIONS", CHAT, &headers, "")).await;
        assert_eq!(response.status(), 405, "{origin}");
        assert_eq!(response.header("allow"), Some("POST"));
        assert_eq!(response.header("access-control-allow-origin"), None);
        assert_eq!(response.header("vary"), vary);
        let unknown = connection
            .ask(request("OPTIONS", "/nope", &headers, ""))
            .await;
        assert_eq!(unknown.status(), 404);
    }
    // Without a question there is nothing to answer.
    let mut connection = listed.connect().await;
    let bare = connection
        .ask(request("OPTIONS", CHAT, &[("Origin", PAGE)], ""))
        .await;
    assert_eq!(bare.status(), 405);
}
