//! An echo over the product's own handshake, codec and bounds, for suites that test WebSocket
//! servers and need a peer that says everything back.
//!
//! Must not be reachable from the gateway: there is no authentication here.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming as RequestBody;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::shutdown::Tasks;
use crate::transport::head_timer::{HeadLimits, HeadTimer};
use crate::transport::io_budget::InboundLimits;
use crate::transport::sniff::{RequestHead, Route, sniff};

use super::connection::{parted_by, within_grace};
use super::outbox::Overflow;
use super::socket::{Incoming, Socket, SocketLimits, Turn};
use super::upgrade::{into_parts, not_upgraded, switching};

/// Bytes of one message; the suites send up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves one accepted stream until it ends.
///
/// # Cancel safety
/// Dropping the future closes a connection that is not upgraded yet; others live on in `tasks`.
pub async fn serve<S>(stream: S, tasks: Tasks)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let timer = HeadTimer::new(HeadLimits {
        head: HEAD_TIMEOUT,
        idle: HEAD_TIMEOUT,
    });
    let io = TokioIo::new(timer.watch(stream));
    let service = service_fn(|request: Request<RequestBody>| {
        let head = RequestHead {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            has_body: false,
        };
        let response = match sniff(&head) {
            Route::Native(handshake) => {
                tasks.spawn("ws.echo", upgraded::<S>(request));
                switching(&handshake)
            }
            Route::Http | Route::Refused(_) => not_upgraded(),
        };
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = Builder::new()
        .timer(timer.clone())
        .serve_connection(io, service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn upgraded<S>(request: Request<RequestBody>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = tokio::time::timeout(HEAD_TIMEOUT, hyper::upgrade::on(request)).await;
    let Ok(Ok(upgraded)) = upgraded else { return };
    if let Some((io, leftover)) = into_parts::<S>(upgraded) {
        echo(io, leftover).await;
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(io: S, leftover: Bytes) {
    let limits = SocketLimits {
        inbound: InboundLimits {
            frame_bytes_max: u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX),
            total_bytes_max: None,
        },
        message_bytes_max: MESSAGE_BYTES_MAX,
        outbox_bytes_max: 2 * MESSAGE_BYTES_MAX,
    };
    let mut socket = Socket::new(io, leftover, limits);
    loop {
        match socket.turn(true).await {
            Ok(Turn::Incoming(Incoming::Ended)) => return within_grace(socket.flush()).await,
            Ok(Turn::Incoming(incoming)) => {
                if say(&mut socket, incoming).is_err() {
                    return;
                }
            }
            Ok(Turn::Written) => {}
            Err(error) => {
                let Some((code, reason)) = parted_by(&error) else {
                    return;
                };
                socket.close(code, reason);
                return within_grace(socket.discard_rest()).await;
            }
        }
    }
}

fn say<S>(socket: &mut Socket<S>, incoming: Incoming) -> Result<(), Overflow>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match incoming {
        Incoming::Text(text) => socket.outbox().push_text(text.as_str().to_owned()),
        Incoming::Binary(bytes) => {
            let mut framed = Vec::with_capacity(bytes.len() + 10);
            let frame = Frame::message(bytes, OpCode::Data(Data::Binary), true);
            // Writing into a vector does not fail.
            frame.format(&mut framed).ok();
            socket.outbox().push_raw(&framed);
            Ok(())
        }
        Incoming::Pong(_) | Incoming::Ended => Ok(()),
    }
}
