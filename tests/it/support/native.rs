//! A native connection whose answers and events a test takes one by one.

use std::net::SocketAddr;

use clawport::client::{
    Client, ClientOptions, Disconnect, Events, Received, RemoteError, RequestError, connect,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{TOKEN, soon};

/// A connection; its socket is served until both ends of it are dropped.
pub(crate) struct Native {
    pub(crate) client: Client,
    events: Events,
    driver: JoinHandle<Disconnect>,
}

/// An event as a test looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) payload: Value,
}

/// How a test connects when it wants nothing special.
pub(crate) fn options(addr: SocketAddr) -> ClientOptions {
    ClientOptions {
        // No test is to lose an event because it looks at them late.
        events_max: 64 * 1024,
        ..ClientOptions::new(format!("ws://{addr}")).with_token(TOKEN)
    }
}

impl Native {
    /// A connection with every scope.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::with(options(addr)).await
    }

    /// A connection that holds these scopes only.
    pub(crate) async fn scoped(addr: SocketAddr, scopes: &[&str]) -> Self {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        Self::with(ClientOptions {
            scopes,
            ..options(addr)
        })
        .await
    }

    pub(crate) async fn with(options: ClientOptions) -> Self {
        let connected = soon(connect(&options)).await.unwrap();
        Self {
            client: connected.client,
            events: connected.events,
            driver: tokio::spawn(connected.driver.run()),
        }
    }

    /// Sends a request and reads its first answer.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let answer = soon(self.client.request(method, &params)).await;
        let payload = answer.unwrap_or_else(|error| panic!("{method}: {error}"));
        serde_json::from_str(payload.get()).unwrap()
    }

    /// Sends a request and reads its last answer.
    pub(crate) async fn call_final(&self, method: &str, params: Value) -> Value {
        let answer = soon(self.client.request_final(method, &params)).await;
        let payload = answer.unwrap_or_else(|error| panic!("{method}: {error}"));
        serde_json::from_str(payload.get()).unwrap()
    }

    /// Sends a request that may be refused.
    pub(crate) async fn try_call(&self, method: &str, params: Value) -> Result<Value, RemoteError> {
        match soon(self.client.request(method, &params)).await {
            Ok(payload) => Ok(serde_json::from_str(payload.get()).unwrap()),
            Err(RequestError::Remote(error)) => Err(*error),
            Err(other) => panic!("{method}: {other}"),
        }
    }

    /// Sends a request that is to be refused.
    pub(crate) async fn refused(&self, method: &str, params: Value) -> RemoteError {
        match soon(self.client.request(method, &params)).await {
            Err(RequestError::Remote(error)) => *error,
            other => panic!("{method} was not refused: {other:?}"),
        }
    }

    /// `chat.send` into a session; the run is named `run`.
    pub(crate) async fn send(&self, session: &str, run: &str, message: &str) -> Value {
        let params = json!({"sessionKey": session, "idempotencyKey": run, "message": message});
        self.call("chat.send", params).await
    }

    /// The messages of a session, as role and text.
    pub(crate) async fn history(&self, session: &str) -> Vec<(String, String)> {
        let params = json!({"sessionKey": session, "limit": 1000});
        let history = self.call("chat.history", params).await;
        let messages = history["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|it| (role(it), text(it))).collect()
    }

    /// The next event that `wanted` says yes to; those before it are thrown away.
    pub(crate) async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        soon(async {
            loop {
                let event = self.next().await.expect("the connection ended");
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }

    /// How the connection ends.
    pub(crate) async fn end_of_connection(self) -> Disconnect {
        soon(self.driver).await.unwrap()
    }

    /// The next event; `None` once the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        match self.events.next().await? {
            Received::Event(event) => Some(Event {
                name: event.name.to_string(),
                payload: event.payload.as_ref().map_or(Value::Null, |payload| {
                    serde_json::from_str(payload.get()).unwrap()
                }),
            }),
            Received::Lagged(lost) => panic!("{lost} events were lost"),
        }
    }

    /// The next text of a run, as its `chat` event.
    pub(crate) async fn delta(&mut self, run: &str) -> Event {
        self.event(|event| event.name == "chat" && event.run() == run && event.state() == "delta")
            .await
    }

    /// The end of a run, as its `chat` event.
    pub(crate) async fn end(&mut self, run: &str) -> Event {
        self.event(|event| event.name == "chat" && event.run() == run && event.is_terminal())
            .await
    }
}

impl Event {
    /// The run it is about.
    pub(crate) fn run(&self) -> &str {
        self.payload["runId"].as_str().unwrap_or_default()
    }

    /// `state` of a `chat` event.
    pub(crate) fn state(&self) -> &str {
        self.payload["state"].as_str().unwrap_or_default()
    }

    /// Whether no `chat` event of its run may follow.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.state(), "final" | "aborted" | "error")
    }

    /// Whether the run's last `agent` event is this one.
    pub(crate) fn is_lifecycle_end(&self) -> bool {
        let phase = self.payload["data"]["phase"].as_str();
        self.payload["stream"] == "lifecycle" && matches!(phase, Some("end" | "error"))
    }

    /// The text of the message it carries.
    pub(crate) fn text(&self) -> String {
        text(&self.payload["message"])
    }
}

fn role(message: &Value) -> String {
    message["role"].as_str().unwrap().to_owned()
}

/// The text of a message, whichever way its content is written.
fn text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|it| it["text"].as_str()).collect(),
        _ => String::new(),
    }
}
