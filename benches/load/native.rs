//! Native clients: one request in flight per connection.

use std::net::SocketAddr;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::child::Child;
use crate::floor::small_buffers;
use crate::measure::{Case, Connect, Pulse};

/// What a native client asks again and again.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// The floor's echo; no handshake of ours.
    Echo,
    /// `health`.
    Health { token: String },
    /// `agent`, until its second response.
    AgentRun { token: String },
}

pub(crate) fn echo<'a>(name: &str, server: &'a Child, clients: usize) -> Case<'a> {
    case(name, server, Ask::Echo, clients)
}

pub(crate) fn health<'a>(name: &str, server: &'a Child, token: &str, clients: usize) -> Case<'a> {
    case(
        name,
        server,
        Ask::Health {
            token: token.to_owned(),
        },
        clients,
    )
}

pub(crate) fn agent_runs<'a>(
    name: &str,
    server: &'a Child,
    token: &str,
    clients: usize,
) -> Case<'a> {
    case(
        name,
        server,
        Ask::AgentRun {
            token: token.to_owned(),
        },
        clients,
    )
}

fn case<'a>(name: &str, server: &'a Child, ask: Ask, clients: usize) -> Case<'a> {
    let connect = Connect::Native(vec![ask; clients]);
    Case {
        name: name.to_owned(),
        server: Some(server),
        addr: server.addr,
        connect,
    }
}

pub(crate) type Socket = WebSocketStream<TcpStream>;

pub(crate) async fn drive(addr: SocketAddr, client: usize, ask: Ask, pulse: Pulse) {
    let mut socket = open(addr).await;
    if let Ask::Health { token } | Ask::AgentRun { token } = &ask {
        hello(&mut socket, token).await;
    }
    pulse.ready().await;
    let mut n = 0_u64;
    while pulse.goes_on() {
        n += 1;
        let since = Instant::now();
        let (request, last) = request(&ask, client, n);
        socket.send(request.into()).await.unwrap();
        await_response(&mut socket, n, last).await;
        pulse.count();
        pulse.note(since);
    }
}

fn request(ask: &Ask, client: usize, n: u64) -> (String, bool) {
    match ask {
        Ask::Echo | Ask::Health { .. } => (
            format!(r#"{{"type":"req","id":"{n}","method":"health","params":{{}}}}"#),
            false,
        ),
        Ask::AgentRun { .. } => {
            let key = format!("bench-{}-{client}-{n}", std::process::id());
            (
                format!(
                    "{{\"type\":\"req\",\"id\":\"{n}\",\"method\":\"agent\",\"params\":{{\
                     \"message\":\"hi\",\"sessionKey\":\"bench-{client}\",\
                     \"idempotencyKey\":\"{key}\"}}}}"
                ),
                true,
            )
        }
    }
}

pub(crate) async fn open(addr: SocketAddr) -> Socket {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let url = format!("ws://{addr}/");
    client_async_with_config(url, stream, Some(small_buffers()))
        .await
        .unwrap()
        .0
}

pub(crate) async fn hello(socket: &mut Socket, token: &str) {
    let challenge = next_text(socket).await;
    assert!(challenge.contains("connect.challenge"), "{challenge}");
    let connect = json!({
        "type": "req", "id": "0", "method": "connect", "params": {
            "minProtocol": 4, "maxProtocol": 4,
            "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"},
            "role": "operator", "scopes": ["operator.admin"],
            "caps": ["session-scoped-events"], "auth": {"token": token},
        },
    })
    .to_string();
    socket.send(connect.into()).await.unwrap();
    await_response(socket, 0, false).await;
}

/// Waits for the response with this id; the last one of two, when `last`.
pub(crate) async fn await_response(socket: &mut Socket, n: u64, last: bool) {
    let id = format!("\"id\":\"{n}\"");
    loop {
        let text = next_text(socket).await;
        if text.contains("\"type\":\"res\"") && text.contains(&id) {
            assert!(text.contains("\"ok\":true"), "{text}");
            if !last || !text.contains("\"status\":\"accepted\"") {
                return;
            }
        }
    }
}

pub(crate) async fn next_text(socket: &mut Socket) -> String {
    loop {
        let message = socket.next().await.expect("the server closed").unwrap();
        if message.is_text() {
            return message.into_text().unwrap().to_string();
        }
        assert!(!message.is_close(), "{message:?}");
    }
}
