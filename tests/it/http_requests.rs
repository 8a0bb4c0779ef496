//! Requests to the HTTP front, one by one: routes, methods, secrets, bodies.

use crate::support::http::{chat, request};
use crate::support::{Rig, RigConfig};

#[tokio::test]
async fn a_chat_completion_is_answered() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    let body = r#"{"model":"openclaw","messages":[{"role":"user","content":"hi"}]}"#;
    let response = connection.ask(chat(body)).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    assert_eq!(response.content(), "hi");
    let health = connection.ask(request("GET", "/healthz", &[], "")).await;
    assert_eq!(health.text(), r#"{"ok":true,"status":"live"}"#);
}
