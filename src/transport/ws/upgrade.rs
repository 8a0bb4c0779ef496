//! Turns a request into a native connection: the answer to the handshake, the refusals before it,
//! and the move of the socket from hyper to its own task.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::auth::RateLimited;
use crate::shutdown::Phase;
use crate::transport::head_timer::NotedIo;
use crate::transport::http::Body;
use crate::transport::listener::Place;
use crate::transport::serve::text;
use crate::transport::sniff::Handshake;

use super::connection::{Connection, Upgrade};
use super::native::Native;

/// Answers an upgrade; on success the socket gets a task of its own.
pub(super) fn answer<S>(
    native: &Arc<Native>,
    request: Request<Incoming>,
    handshake: &Handshake,
    place: Arc<Place>,
) -> Response<Body>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head = match native.auth.read_head(request.headers(), place.peer) {
        Ok(head) => head,
        Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    if native.drain.phase() >= Phase::Draining {
        let reason = "Gateway is temporarily unavailable while suspending or restarting";
        return retry_later(StatusCode::SERVICE_UNAVAILABLE, reason, 1);
    }
    if let Err(limited) = native.rates.upgrade(&head) {
        tracing::debug!(peer = %place.peer, "upgrade refused: too many of this address");
        let seconds = retry_after_seconds(&limited);
        return retry_later(StatusCode::TOO_MANY_REQUESTS, "Too many upgrades", seconds);
    }
    let Some(preauth) = native.registry.admit(head.client) else {
        native.metrics.connections_refused.add_one();
        tracing::debug!(peer = %place.peer, "upgrade refused: too many unauthenticated sockets");
        let reason = "Too many unauthenticated sockets";
        return retry_later(StatusCode::SERVICE_UNAVAILABLE, reason, 1);
    };
    let upgrade = Upgrade {
        io: hyper::upgrade::on(request),
        leftover: Bytes::new(),
        head,
        preauth,
        place,
    };
    let task = take_over::<S>(Arc::clone(native), upgrade);
    native.tasks.spawn("ws.connection", task);
    switching(handshake)
}

/// Waits for the answer to be written, then serves the connection.
async fn take_over<S>(native: Arc<Native>, upgrade: Upgrade<OnUpgrade>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = tokio::time::timeout(native.config.head_timeout, upgrade.io).await;
    let (io, leftover) = match upgraded {
        Ok(Ok(upgraded)) => match into_parts::<S>(upgraded) {
            Some(parts) => parts,
            None => return tracing::error!("an upgraded socket is of another type"),
        },
        // The peer left while the answer was written, or does not read it.
        Ok(Err(_)) | Err(_) => return,
    };
    let upgrade = Upgrade {
        io,
        leftover,
        head: upgrade.head,
        preauth: upgrade.preauth,
        place: upgrade.place,
    };
    Box::pin(Box::new(Connection::new(native, upgrade)).run()).await;
}

/// The socket itself, and what came in behind the request: copied, because it is a slice of hyper's
/// buffer and would keep all of it.
pub(super) fn into_parts<S>(upgraded: Upgraded) -> Option<(S, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let parts = upgraded.downcast::<TokioIo<NotedIo<S>>>().ok()?;
    let leftover = Bytes::copy_from_slice(&parts.read_buf);
    Some((parts.io.into_inner().into_inner(), leftover))
}

/// The answer to a handshake.
pub(super) fn switching(handshake: &Handshake) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&handshake.accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(subprotocol) = &handshake.subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol.clone());
    }
    response
}

/// The answer to a request that is no handshake, where only handshakes are answered.
pub(super) fn not_upgraded() -> Response<Body> {
    text(StatusCode::UPGRADE_REQUIRED, "Upgrade Required")
}

fn retry_later(status: StatusCode, reason: &'static str, seconds: u64) -> Response<Body> {
    let mut response = text(status, reason);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn retry_after_seconds(limited: &RateLimited) -> u64 {
    limited.retry_after.as_secs().saturating_add(1)
}
