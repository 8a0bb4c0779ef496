//! The one entry of the HTTP front: a request in, an answer out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::auth::Authenticator;
use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::ids::IdSource;
use crate::shutdown::{Drain, Tasks};
use crate::transport::TransportConfig;

use super::body::Body;

/// What [`HttpFront`] is built from.
#[derive(Debug)]
pub struct HttpParts {
    /// The operations.
    pub dispatch: Arc<Dispatch>,
    /// Who may.
    pub auth: Arc<Authenticator>,
    /// The phase of the process.
    pub drain: Drain,
    /// Runs cancellations when a client has gone.
    pub tasks: Tasks,
    /// Bounds.
    pub config: TransportConfig,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Source of run ids.
    pub ids: Arc<dyn IdSource>,
}

/// Answers every HTTP request that is not an upgrade.
#[derive(Debug)]
pub struct HttpFront {
    _parts: HttpParts,
    chat_enabled: AtomicBool,
}

impl HttpFront {
    /// A front over these parts.
    pub fn new(parts: HttpParts) -> Self {
        Self {
            chat_enabled: AtomicBool::new(parts.config.chat_enabled),
            _parts: parts,
        }
    }

    /// Switches `POST /v1/chat/completions` and its neighbours on or off, from the next request on.
    pub fn set_chat_enabled(&self, enabled: bool) {
        self.chat_enabled.store(enabled, Ordering::Relaxed);
    }

    /// Answers one request from `peer`.
    ///
    /// # Cancel safety
    /// Dropping the future means that the peer has gone: a run it started is cancelled, unless the
    /// request asked for it to go on.
    pub async fn call(&self, _request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        std::future::ready(Response::new(Body::empty())).await
    }
}
