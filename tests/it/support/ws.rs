//! A native client that shows every frame.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{SOON, TOKEN, soon};

/// A native connection.
pub(crate) struct Ws<S = TcpStream> {
    pub(crate) socket: WebSocketStream<S>,
    /// How long anything may take.
    pub(crate) patience: Duration,
    /// Events that came while something else was waited for.
    events: VecDeque<Value>,
    requests: u64,
}

/// What the gateway sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// A text frame.
    Json(Value),
    /// A ping.
    Ping(Bytes),
    /// A close frame.
    Close(u16, String),
    /// The end of the stream.
    Ended,
}

/// The params of a `connect` that gets every scope.
pub(crate) fn backend() -> Value {
    json!({
        "minProtocol": 4, "maxProtocol": 4,
        "client": { "id": "gateway-client", "version": "1", "platform": "linux",
                    "mode": "backend" },
        "role": "operator",
        "scopes": ["operator.admin", "operator.read", "operator.write"],
        "caps": [],
        "auth": { "token": TOKEN },
    })
}

/// `value` with the members of `changes`; `null` removes one.
pub(crate) fn with(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        match change {
            Value::Null => {
                value.as_object_mut().unwrap().remove(name);
            }
            change => value[name] = change.clone(),
        }
    }
    value
}

impl Ws {
    /// A socket that was upgraded; nothing was read yet.
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, "/", &[]).await.unwrap()
    }

    /// A socket with further headers in its upgrade, or the status of the refusal.
    pub(crate) async fn open_with(
        addr: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let stream = soon(TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://{addr}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(*name, value);
        }
        Self::upgrade(stream, request).await
    }

    /// A connection that was let in with these params.
    pub(crate) async fn connect(addr: SocketAddr, params: Value) -> Self {
        let mut ws = Self::open(addr).await;
        let hello = ws.hello(params).await;
        assert_eq!(hello["ok"], true, "{hello}");
        ws
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ws<S> {
    /// Upgrades a stream, or returns the status of the refusal.
    pub(crate) async fn upgrade(stream: S, request: Request) -> Result<Self, u16> {
        match soon(tokio_tungstenite::client_async(request, stream)).await {
            Ok((socket, _response)) => Ok(Self {
                socket,
                patience: SOON,
                events: VecDeque::new(),
                requests: 0,
            }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends `connect` and returns its response.
    pub(crate) async fn hello(&mut self, params: Value) -> Value {
        self.challenge().await;
        let id = self.ask("connect", params).await;
        self.response(&id).await
    }

    /// Waits for the challenge.
    pub(crate) async fn challenge(&mut self) -> Value {
        let Heard::Json(challenge) = self.hear().await else {
            panic!("no challenge");
        };
        assert_eq!(challenge["event"], "connect.challenge", "{challenge}");
        assert_eq!(challenge.get("seq"), None);
        challenge["payload"].clone()
    }

    /// Waits for the challenge; what a device has to sign.
    pub(crate) async fn nonce(&mut self) -> String {
        self.challenge().await["nonce"].as_str().unwrap().to_owned()
    }

    /// Sends a request and returns its id.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> String {
        self.requests += 1;
        let id = format!("q{}", self.requests);
        let frame = json!({ "type": "req", "id": id, "method": method, "params": params });
        self.say(&frame.to_string()).await;
        id
    }

    /// Sends a text frame.
    pub(crate) async fn say(&mut self, text: &str) {
        soon(self.socket.send(Message::text(text))).await.unwrap();
    }

    /// What comes next.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let next = timeout(self.patience, self.socket.next()).await;
            match next.expect("the gateway says nothing") {
                Some(Ok(Message::Text(text))) => {
                    return Heard::Json(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.to_string())
                    });
                    return Heard::Close(code, reason);
                }
                Some(Ok(Message::Ping(payload))) => return Heard::Ping(payload),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Ended,
            }
        }
    }

    /// The next response to the request; events before it are kept.
    pub(crate) async fn response(&mut self, id: &str) -> Value {
        loop {
            match self.hear().await {
                Heard::Json(frame) if frame["type"] == "res" => {
                    assert_eq!(frame["id"], id, "{frame}");
                    return frame;
                }
                Heard::Json(event) => self.events.push_back(event),
                Heard::Ping(_) => {}
                other => panic!("{other:?} instead of a response to {id}"),
            }
        }
    }

    /// The response to a call.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params).await;
        self.response(&id).await
    }

    /// The result of a call that is done.
    pub(crate) async fn done(&mut self, method: &str, params: Value) -> Value {
        let response = self.call(method, params).await;
        assert_eq!(response["ok"], true, "{method}: {response}");
        response["payload"].clone()
    }

    /// The error of a call that is refused.
    pub(crate) async fn refused(&mut self, method: &str, params: Value) -> Value {
        let response = self.call(method, params).await;
        assert_eq!(response["ok"], false, "{method}: {response}");
        response["error"].clone()
    }

    /// The events that came while something else was waited for.
    pub(crate) fn take_events(&mut self) -> Vec<Value> {
        self.events.drain(..).collect()
    }

    /// The next event of any kind.
    pub(crate) async fn any_event(&mut self) -> Value {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        loop {
            match self.hear().await {
                Heard::Json(frame) if frame["type"] == "event" => return frame,
                Heard::Ping(_) => {}
                other => panic!("{other:?} instead of an event"),
            }
        }
    }

    /// Takes the events that came while something else was waited for.
    pub(crate) fn kept(&mut self) -> Vec<Value> {
        self.events.drain(..).collect()
    }

    /// The next event for which `is_it` holds; others are dropped.
    pub(crate) async fn event_where(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.any_event().await;
            if is_it(&event) {
                return event;
            }
        }
    }

    /// The next event of this name; others are dropped.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        self.event_where(|event| event["event"] == name).await
    }

    /// The close frame; everything before it is dropped.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.hear().await {
                Heard::Json(_) | Heard::Ping(_) => {}
                Heard::Close(code, reason) => return (code, reason),
                Heard::Ended => panic!("the connection ended without a close frame"),
            }
        }
    }
}
