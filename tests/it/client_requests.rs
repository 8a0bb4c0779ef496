//! What official clients of several versions were seen to ask, over a real socket: nothing of it
//! may be refused. What was only read in a client's code says so.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::{Native, Served};

/// A request as a client sent it, with values of our own.
#[derive(Deserialize)]
struct Seen {
    /// The client and the versions of it that send this.
    client: String,
    method: String,
    #[serde(default)]
    params: Map<String, Value>,
}

/// The clients whose requests were recorded.
const CLIENTS: [&str; 5] = [
    "CLI 2026.9.6",
    "CLI 2026.7.35",
    "CLI 2026.6.6",
    "TUI 2026.9.6",
    "Control UI 2026.9.6",
];

fn seen() -> Vec<Seen> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/requests.json");
    let seen: Vec<Seen> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for client in CLIENTS {
        let of_client = seen.iter().filter(|it| it.client.contains(client));
        assert!(of_client.count() >= 10, "requests of {client} are missing");
    }
    seen
}

#[tokio::test]
async fn nothing_official_clients_ask_is_refused() {
    let served = Served::start(json!({})).await;
    let mut native = served.native().await;
    native.send("main", "before", "hello").await;
    native.end("before").await;
    let main = native
        .call("sessions.describe", json!({"key": "main"}))
        .await;
    let mut refused = Vec::new();
    for (number, request) in seen().into_iter().enumerate() {
        let mut params = request.params.clone();
        if params.contains_key("idempotencyKey") {
            params.insert("idempotencyKey".to_owned(), format!("seen-{number}").into());
        }
        if params.get("sessionId") == Some(&json!("<session>")) {
            let id = main["session"]["sessionId"].clone();
            params.insert("sessionId".to_owned(), id);
        }
        // An answer of its own connection, so that no request waits for another's run.
        let client = Native::connect(served.addr()).await;
        match client.try_call(&request.method, params.into()).await {
            Ok(_answer) => {}
            Err(error) => {
                let Seen { client, method, .. } = &request;
                refused.push(format!("{client}: {method} {:?}: {error}", request.params));
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}
