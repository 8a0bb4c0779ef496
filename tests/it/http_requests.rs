//! Requests to the HTTP front, one by one: routes, headers, secrets, scopes, choices.

use clawport::internals::auth::{AuthMode, OriginPolicy};
use clawport::internals::shutdown::Phase;

use crate::support::http::{chat, chat_with, request};
use crate::support::{Puppet, Response, Rig, RigConfig, TOKEN};

const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

fn authorized(method: &str, path: &str, body: &str) -> String {
    let token = format!("Bearer {TOKEN}");
    request(method, path, &[("Authorization", token.as_str())], body)
}

#[tokio::test]
async fn both_spellings_of_a_path_reach_the_endpoint_and_queries_are_ignored() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    for path in [
        "/v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions?api-version=1",
        "/chat/completions",
    ] {
        let response = connection.ask(authorized("POST", path, HI)).await;
        assert_eq!(response.content(), "hi", "{path}");
    }
    for path in ["/v1/models", "/models", "/v1/models?limit=1"] {
        let response = connection.ask(authorized("GET", path, "")).await;
        assert_eq!(response.json()["object"], "list", "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_are_plain_text_404() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/nope"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses"),
        ("GET", "/health/x"),
        ("GET", "/v1/chat%2Fcompletions"),
        ("DELETE", "/v1/v1/models"),
    ] {
        let response = connection.ask(authorized(method, path, "")).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.text(), "Not Found");
        let kind = response.header("content-type");
        assert_eq!(kind, Some("text/plain; charset=utf-8"));
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers_and_a_request_id() {
    let mut config = RigConfig::default();
    config.transport.strict_transport_security = Some("max-age=63072000".to_owned());
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    for (text, status) in [
        (chat(HI), 200),
        (chat("{"), 400),
        (request("POST", "/v1/chat/completions", &[], HI), 401),
        (request("GET", "/nope", &[], ""), 404),
        (request("GET", "/v1/chat/completions", &[], ""), 405),
        (request("GET", "/healthz", &[], ""), 200),
        (request("POST", "/", &[("Expect", "payment")], ""), 417),
    ] {
        let response = connection.ask(text).await;
        assert_eq!(response.status(), status);
        let check = |name, value| assert_eq!(response.header(name), Some(value), "{status}");
        check("x-content-type-options", "nosniff");
        check("referrer-policy", "no-referrer");
        check(
            "permissions-policy",
            "camera=(), microphone=(self), geolocation=()",
        );
        check("strict-transport-security", "max-age=63072000");
        assert!(response.header("x-request-id").unwrap().starts_with("req_"));
    }
}

#[tokio::test]
async fn a_usable_request_id_is_echoed_and_another_replaced() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let mut id_of = async |sent: &str| {
        let text = request("GET", "/healthz", &[("x-request-id", sent)], "");
        connection
            .ask(text)
            .await
            .header("x-request-id")
            .unwrap()
            .to_owned()
    };
    assert_eq!(id_of("abc-123").await, "abc-123");
    let longest = "x".repeat(128);
    assert_eq!(id_of(&longest).await, longest);
    let first = id_of(&"x".repeat(129)).await;
    let second = id_of("with space").await;
    assert!(first.starts_with("req_") && second.starts_with("req_"));
    assert_ne!(first, second);
}

#[tokio::test]
async fn the_answer_names_its_run() {
    let rig = Rig::start(RigConfig::default()).await;
    let response = rig.connect().await.ask(chat(HI)).await;
    let id = response.json()["id"].as_str().unwrap().to_owned();
    let uuid = id.strip_prefix("chatcmpl_").unwrap();
    assert_eq!(uuid::Uuid::parse_str(uuid).unwrap().get_version_num(), 4);
    assert_eq!(response.header("x-openclaw-run-id"), Some(id.as_str()));
}

#[tokio::test]
async fn a_password_is_a_bearer_too_and_nothing_else_is_a_credential() {
    let mut config = RigConfig::default();
    config.auth.mode = AuthMode::Password(clawport::internals::auth::Secret::new(TOKEN));
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    assert_eq!(connection.ask(chat(HI)).await.status(), 200);
    let basic = format!("Basic {TOKEN}");
    let cookie = format!("token={TOKEN}");
    let target = format!("/v1/chat/completions?token={TOKEN}");
    for text in [
        request(
            "POST",
            "/v1/chat/completions",
            &[("Authorization", basic.as_str())],
            HI,
        ),
        request("POST", "/v1/chat/completions", &[("x-api-key", TOKEN)], HI),
        request(
            "POST",
            "/v1/chat/completions",
            &[("Cookie", cookie.as_str())],
            HI,
        ),
        request("POST", target.as_str(), &[], HI),
    ] {
        assert_eq!(connection.ask(text).await.status(), 401);
    }
}

#[tokio::test]
async fn without_a_secret_a_proxy_may_take_scopes_away() {
    let mut config = RigConfig::default();
    config.auth.mode = AuthMode::None;
    config.auth.origins = OriginPolicy::default();
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    let scoped = |method: &str, path: &str, scopes: &str, extra: &[(&str, &str)]| {
        let mut headers = vec![("x-openclaw-scopes", scopes)];
        headers.extend_from_slice(extra);
        request(
            method,
            path,
            &headers,
            if method == "POST" { HI } else { "" },
        )
    };
    let chat_path = "/v1/chat/completions";
    let open = connection.ask(request("POST", chat_path, &[], HI)).await;
    assert_eq!(open.status(), 200);
    let write = connection
        .ask(scoped("POST", chat_path, "operator.write", &[]))
        .await;
    assert_eq!(write.status(), 200);
    let read = connection
        .ask(scoped("GET", "/v1/models", "operator.read", &[]))
        .await;
    assert_eq!(read.status(), 200);

    let refused = connection
        .ask(scoped("POST", chat_path, "operator.read", &[]))
        .await;
    assert_eq!(refused.status(), 403);
    assert_eq!(
        refused.text(),
        r#"{"ok":false,"error":{"type":"forbidden","message":"missing scope: operator.write","details":{"code":"MISSING_SCOPE","missingScope":"operator.write","requiredScopes":["operator.write"]}}}"#
    );
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let none = connection.ask(scoped("GET", "/v1/models", "", &[])).await;
    assert_eq!(none.message(), "missing scope: operator.read");
    let model = [("x-openclaw-model", "mock/mock-model")];
    let asked = scoped("POST", chat_path, "operator.write", &model);
    let refused = connection.ask(asked).await;
    assert_eq!(refused.message(), "missing scope: operator.admin");
}

#[tokio::test]
async fn a_scope_header_takes_nothing_from_a_caller_with_the_secret() {
    let rig = Rig::start(RigConfig::default()).await;
    let response = rig
        .connect()
        .await
        .ask(chat_with(&[("x-openclaw-scopes", "")], HI))
        .await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn the_secret_is_looked_at_before_the_body_and_after_path_and_method() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let bad = [("Authorization", "Bearer wrong")];
    let broken = request("POST", "/v1/chat/completions", &bad, "{");
    assert_eq!(connection.ask(broken).await.status(), 401);
    let get = request("GET", "/v1/chat/completions", &bad, "");
    assert_eq!(connection.ask(get).await.status(), 405);
    let unknown = request("POST", "/v1/unknown", &bad, "");
    assert_eq!(connection.ask(unknown).await.status(), 404);
    assert_eq!(rig.metrics.auth_failures.get(), 1);
}

#[tokio::test]
async fn faults_are_found_in_the_documented_order() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let tools = r#""tools":[{}]"#;
    let ghost = format!(r#"{{"model":"openclaw:ghost",{tools}}}"#);
    assert_eq!(
        connection.ask(chat(&ghost)).await.message(),
        "Unknown agent 'ghost'."
    );
    let reserved = [
        ("x-openclaw-session-key", "cron:x"),
        ("x-openclaw-model", "a/"),
    ];
    let body = format!("{{{tools}}}");
    let message = connection.ask(chat_with(&reserved, &body)).await.message();
    assert!(message.contains("reserved"), "{message}");
    let model = [("x-openclaw-model", "a/")];
    let message = connection.ask(chat_with(&model, &body)).await.message();
    assert_eq!(message, "Invalid `x-openclaw-model`.");
    let message = connection.ask(chat(&body)).await.message();
    assert!(message.starts_with("Invalid tools"), "{message}");
}

#[tokio::test]
async fn a_session_key_must_fit_its_agent_and_its_bounds() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let mut status = async |key: &str, members: &str| {
        let headers = [("x-openclaw-session-key", key)];
        let body = format!(r#"{{{members}"messages":[{{"role":"user","content":"hi"}}]}}"#);
        connection.ask(chat_with(&headers, &body)).await.status()
    };
    assert_eq!(
        status("agent:beta:x", r#""model":"openclaw:beta","#).await,
        200
    );
    assert_eq!(status("plainkey", "").await, 200);
    assert_eq!(
        status("agent:beta:x", r#""model":"openclaw:main","#).await,
        400
    );
    assert_eq!(status("agent:ghost:x", "").await, 400);
    assert_eq!(status("agent:", "").await, 400);
    assert_eq!(status("acp:x", "").await, 400);
    assert_eq!(status("AGENT:MAIN:SUBAGENT:x", "").await, 400);
    assert_eq!(status(&"k".repeat(513), "").await, 400);
    let long_user = format!(r#""user":"{}","#, "u".repeat(513));
    assert_eq!(status("", &long_user).await, 400);
    assert_eq!(status("", r#""user":"a\u0000b","#).await, 400);
}

#[tokio::test]
async fn the_model_chooses_the_agent() {
    let (main, mut main_runs) = Puppet::new();
    let (beta, mut beta_runs) = Puppet::new();
    let config = RigConfig {
        agents: vec![("main", main), ("beta", beta)],
        ..RigConfig::default()
    };
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    for model in ["openclaw:beta", "openclaw/beta", "agent:Beta", "gpt-alias"] {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"x"}}]}}"#);
        connection.send(chat(&body)).await;
        beta_runs.next().await.ends().await;
        assert_eq!(connection.response().await.json()["model"], model);
    }
    for model in ["openclaw", "OPENCLAW/default", "", " "] {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"x"}}]}}"#);
        connection.send(chat(&body)).await;
        main_runs.next().await.ends().await;
        assert_eq!(connection.response().await.json()["model"], model);
    }
}

#[tokio::test]
async fn without_a_default_agent_one_must_be_named() {
    let config = RigConfig {
        default_agent: None,
        ..RigConfig::default()
    };
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    let response = connection.ask(chat(HI)).await;
    assert_eq!(response.status(), 400);
    let message = response.message();
    assert!(
        message.starts_with("Multiple agents are configured, but "),
        "{message}"
    );
    let named = r#"{"model":"openclaw/beta","messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(connection.ask(chat(named)).await.content(), "hi");
}

#[tokio::test]
async fn a_model_override_reaches_the_agent_when_it_is_configured() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    connection
        .send(chat_with(&[("x-openclaw-model", " mock/mock-model ")], HI))
        .await;
    let run = puppet.next().await;
    assert_eq!(run.turn.turn.model.as_deref(), Some("mock/mock-model"));
    run.ends().await;
    assert_eq!(connection.response().await.status(), 200);
    let refused = connection
        .ask(chat_with(&[("x-openclaw-model", "nope/nope")], HI))
        .await;
    assert_eq!(refused.status(), 404);
    assert_eq!(refused.message(), "Unknown model: nope/nope.");
}

#[tokio::test]
async fn the_channel_of_a_message_reaches_the_agent_in_lower_case() {
    const CHANNEL: &str = "x-openclaw-message-channel";
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    connection
        .send(chat_with(&[(CHANNEL, " Telegram ")], HI))
        .await;
    let run = puppet.next().await;
    assert_eq!(run.turn.turn.channel.as_deref(), Some("telegram"));
    run.ends().await;
    assert_eq!(connection.response().await.status(), 200);
    let long = "x".repeat(65);
    for bad in ["a b", long.as_str()] {
        let refused = connection.ask(chat_with(&[(CHANNEL, bad)], HI)).await;
        assert_eq!(refused.status(), 400, "{bad}");
        assert_eq!(refused.message(), "Invalid `x-openclaw-message-channel`.");
    }
}

#[tokio::test]
async fn every_listed_model_works_as_model() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let list = connection
        .ask(authorized("GET", "/v1/models", ""))
        .await
        .json();
    let ids: Vec<String> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        ids,
        [
            "openclaw",
            "openclaw/default",
            "openclaw/main",
            "openclaw/beta"
        ]
    );
    for id in ids {
        let one = connection
            .ask(authorized("GET", &format!("/v1/models/{id}"), ""))
            .await;
        assert_eq!(one.json()["id"], id.as_str());
        let body = format!(r#"{{"model":"{id}","messages":[{{"role":"user","content":"hi"}}]}}"#);
        assert_eq!(connection.ask(chat(&body)).await.content(), "hi");
    }
    for (path, status) in [
        ("/v1/models/", 200),
        ("/v1/models//", 400),
        ("/v1/models/%zz", 400),
        ("/v1/models/gpt-4o", 400),
        ("/v1/models/openclaw%2Fmain", 200),
        ("/v1/models/openclaw:main", 404),
        ("/v1/models/openclaw%2Fghost", 404),
    ] {
        let response = connection.ask(authorized("GET", path, "")).await;
        assert_eq!(response.status(), status, "{path}");
    }
    let post = connection.ask(authorized("POST", "/v1/models", "")).await;
    assert_eq!((post.status(), post.header("allow")), (405, Some("GET")));
    let unauthorized = connection.ask(request("GET", "/v1/models", &[], "")).await;
    assert_eq!(unauthorized.status(), 401);
}

fn check_probe(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status(), response.text()), (status, body));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/json; charset=utf-8"));
}

#[tokio::test]
async fn probes_tell_the_phase_and_details_only_to_those_who_may_know() {
    let config = RigConfig {
        phase: Phase::Starting,
        ..RigConfig::default()
    };
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    let forwarded = [("X-Forwarded-For", "1.2.3.4")];
    let probe = |path: &str| request("GET", path, &forwarded, "");
    let local = |path: &str| request("GET", path, &[], "");

    let live = r#"{"ok":true,"status":"live"}"#;
    check_probe(&connection.ask(probe("/healthz")).await, 200, live);
    check_probe(
        &connection.ask(probe("/readyz")).await,
        503,
        r#"{"ready":false}"#,
    );
    let starting = r#"{"ok":false,"status":"starting"}"#;
    check_probe(&connection.ask(probe("/startupz")).await, 503, starting);
    let detailed = connection.ask(local("/startup")).await.json();
    assert_eq!(detailed["pendingReason"], "gateway-starting");
    assert_eq!(connection.ask(chat(HI)).await.status(), 503);

    rig.drain.advance(Phase::Running);
    check_probe(
        &connection.ask(probe("/ready")).await,
        200,
        r#"{"ready":true}"#,
    );
    let started = r#"{"ok":true,"status":"started"}"#;
    check_probe(&connection.ask(probe("/startup")).await, 200, started);
    let detailed = connection.ask(local("/readyz")).await.json();
    assert_eq!(detailed["failing"], serde_json::json!([]));
    assert!(detailed["uptimeMs"].is_u64());
    let detailed = connection.ask(local("/startupz")).await.json();
    assert_eq!(detailed["version"], env!("CARGO_PKG_VERSION"));

    rig.drain.advance(Phase::Draining);
    check_probe(&connection.ask(probe("/health")).await, 200, live);
    check_probe(
        &connection.ask(probe("/readyz")).await,
        503,
        r#"{"ready":false}"#,
    );
    let detailed = connection.ask(local("/readyz")).await.json();
    assert_eq!(detailed["failing"], serde_json::json!(["gateway-draining"]));
    let draining = r#"{"ok":false,"status":"draining"}"#;
    check_probe(&connection.ask(probe("/startupz")).await, 503, draining);
}

#[tokio::test]
async fn a_remote_probe_is_detailed_only_with_the_right_secret() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let mut probe = async |authorization: &str| {
        let headers = [
            ("Origin", "http://example.com"),
            ("Authorization", authorization),
        ];
        connection
            .ask(request("GET", "/readyz", &headers, ""))
            .await
            .json()
    };
    assert!(probe(&format!("Bearer {TOKEN}")).await["uptimeMs"].is_u64());
    assert_eq!(
        probe("Bearer wrong").await,
        serde_json::json!({"ready": true})
    );
    assert_eq!(rig.metrics.auth_failures.get(), 1);
}

#[tokio::test]
async fn head_gets_the_headers_of_a_probe_without_its_body() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    connection.send(request("HEAD", "/healthz", &[], "")).await;
    let head = connection.head().await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("27"))
    );
    // What comes next is the next answer, not a body.
    let next = connection.ask(request("PUT", "/healthz", &[], "")).await;
    assert_eq!(
        (next.status(), next.header("allow")),
        (405, Some("GET, HEAD"))
    );
    connection
        .send(request("HEAD", "/v1/chat/completions", &[], ""))
        .await;
    assert_eq!(connection.head().await.status, 405);
}

#[tokio::test]
async fn while_draining_new_work_is_refused_before_anything_else() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    rig.drain.advance(Phase::Draining);
    for text in [
        chat(HI),
        request("POST", "/v1/chat/completions", &[], ""),
        request("GET", "/v1/models", &[], ""),
    ] {
        let response = connection.ask(text).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.header("retry-after"), Some("1"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(
            response.text(),
            r#"{"error":{"message":"Gateway is temporarily unavailable while suspending or restarting","type":"service_unavailable","code":"gateway_unavailable"}}"#
        );
    }
    let unknown = connection.ask(request("GET", "/nope", &[], "")).await;
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn other_upgrades_are_ordinary_requests() {
    let rig = Rig::start(RigConfig::default()).await;
    let headers = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABk"),
    ];
    let response = rig.connect().await.ask(chat_with(&headers, HI)).await;
    assert_eq!(response.content(), "hi");
}

#[tokio::test]
async fn unknown_members_and_headers_are_never_a_reason_to_refuse() {
    let rig = Rig::start(RigConfig::default()).await;
    let headers = [
        ("OpenAI-Organization", "o"),
        ("x-stainless-lang", "python"),
        ("x-openclaw-message-channel", "slack"),
        ("Content-Type", "text/plain"),
    ];
    let body = r#"{"n":1,"logprobs":true,"store":false,"metadata":{},"parallel_tool_calls":true,
        "stream_options":null,"temperature":null,"max_tokens":null,"user":null,"tools":null,
        "messages":[{"role":"user","content":"hi"}]}"#;
    let response = rig.connect().await.ask(chat_with(&headers, body)).await;
    assert_eq!(response.content(), "hi");
    let two = r#"{"n":2,"messages":[{"role":"user","content":"hi"}]}"#;
    let response = rig.connect().await.ask(chat(two)).await;
    assert_eq!(
        (response.status(), &response.json()["error"]["param"]),
        (400, &"n".into())
    );
}
