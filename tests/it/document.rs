//! What the document says of a whole gateway: its configuration examples, one port, one kind of
//! run.

use serde_json::{Value, json};

use crate::support::http::{chat, chat_with};
use crate::support::seed::example;
use crate::support::upstream::Upstream;
use crate::support::{Response, Served, Setup, TOKEN};

const HI: &str = r#"{"model":"openclaw","messages":[{"role":"user","content":"hi"}]}"#;

/// Asks a gateway whose whole configuration file is the example that begins like this.
async fn ask_with(beginning: &str) -> Response {
    let setup = Setup::file(example(beginning)).env("OPENCLAW_GATEWAY_TOKEN", TOKEN);
    setup.start().await.connect().await.ask(chat(HI)).await
}

#[tokio::test]
async fn the_example_that_enables_the_endpoint_is_a_whole_configuration() {
    let beginning = "{ gateway: { http: { endpoints: { chatCompletions: { enabled: true";
    assert_eq!(ask_with(beginning).await.status(), 200);
}

#[tokio::test]
async fn the_example_that_disables_the_endpoint_is_a_whole_configuration() {
    let beginning = "{ gateway: { http: { endpoints: { chatCompletions: { enabled: false";
    let response = ask_with(beginning).await;
    assert_eq!((response.status(), response.text()), (404, "Not Found"));
}

#[tokio::test]
async fn one_port_serves_both_fronts() {
    let served = Served::start(json!({})).await;
    let mut kept = served.connect().await;
    let native = served.native().await;
    assert_eq!(kept.ask(chat(HI)).await.status(), 200);
    assert_eq!(native.call("health", json!({})).await["ok"], true);
    assert_eq!(kept.ask(chat(HI)).await.status(), 200);
}

#[tokio::test]
async fn a_chat_completion_is_a_run_of_the_agent_like_any_other() {
    let upstream = Upstream::start().await;
    let provider = json!({"baseUrl": format!("http://{}/v1", upstream.addr()),
        "api": "openai-completions", "models": [{"id": "mock-model"}]});
    let served = Served::start(json!({
        "models": {"providers": {"mock": provider}},
        "agents": {"defaults": {"model": "mock/mock-model", "systemPrompt": "Be brief."}},
    }))
    .await;
    let key = "agent:main:both";

    let headers = [("x-openclaw-session-key", key)];
    let body = HI.replace(r#""hi""#, r#""one [[mock text=first]]""#);
    let response = served.connect().await.ask(chat_with(&headers, &body)).await;
    assert_eq!(response.content(), "first");
    let over_http = upstream.last_messages();

    let params = json!({"message": "two [[mock text=second]]", "idempotencyKey": "k",
        "agentId": "main", "sessionKey": key});
    let native = served.native().await;
    let answer = native.call_final("agent", params).await;
    assert_eq!(answer["result"]["payloads"][0]["text"], "second");
    let over_native = upstream.last_messages();

    let told = |messages: &Value| {
        let messages = messages.as_array().unwrap().iter();
        let told = messages.map(|it| (it["role"].clone(), it["content"].clone()));
        told.collect::<Vec<_>>()
    };
    let (over_http, over_native) = (told(&over_http), told(&over_native));
    assert_eq!(over_http[0], (json!("system"), json!("Be brief.")));
    assert_eq!(over_http.len(), 2);
    // The second run has the same agent and goes on where the first one ended.
    assert_eq!(over_native[..2], over_http[..]);
    assert_eq!(over_native[2], (json!("assistant"), json!("first")));
    assert_eq!(over_native.len(), 4);
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_refused_alike_by_both_fronts() {
    let served = Served::start(json!({})).await;
    let body = HI.replace("openclaw", "openclaw:ghost");
    let response = served.connect().await.ask(chat(&body)).await;
    assert_eq!(
        (response.status(), &*response.message()),
        (400, "Unknown agent 'ghost'.")
    );
    let params = json!({"message": "hi", "idempotencyKey": "k", "agentId": "ghost"});
    let refusal = served.native().await.refused("agent", params).await;
    assert_eq!(&*refusal.code, "INVALID_REQUEST");
    assert!(refusal.message.contains("ghost"), "{refusal}");
}
