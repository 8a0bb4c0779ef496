//! The native front: upgraded sockets that speak the gateway protocol.
//!
//! `upgrade` answers the handshake, `connection` is the one task of a socket, `methods` carries
//! requests out, `feed` takes events to everybody, and `watch`, `runs` and `changes` make them.

mod answers;
mod changes;
mod connection;
mod devices;
#[doc(hidden)]
pub mod echo;
mod ends;
mod event;
mod feed;
mod handshake;
mod interest;
mod keepalive;
mod methods;
mod native;
mod outbox;
mod presence;
mod registry;
mod requests;
mod rows;
mod runs;
mod socket;
mod upgrade;
mod viewer;
mod watch;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::transport::http::{Body, HttpFront};
use crate::transport::listener::Place;
use crate::transport::serve::TransportParts;
use crate::transport::sniff::Handshake;

use answers::AnswerBudget;
use devices::DeviceTeller;
use feed::{Feed, FeedLimits};
use native::{HealthBoard, Native, Starts};
use presence::Presence;
use registry::Registry;
use runs::Runs;

/// Answers upgrades and holds the native connections.
#[derive(Debug)]
pub struct NativeFront {
    native: Arc<Native>,
}

impl NativeFront {
    /// Takes what the native front needs and gives the HTTP front back.
    pub(in crate::transport) fn new(parts: TransportParts) -> (HttpFront, Self) {
        let config = parts.config;
        let limits = FeedLimits {
            bytes_max: native::as_u64(config.outbox_bytes_max),
            keep: config.write_timeout * 2,
        };
        let now_ms = parts.clock.now_ms();
        let per_address = config.preauth_per_address_max;
        let native = Native {
            feed: Feed::new(limits),
            registry: Registry::new(per_address, Arc::clone(&parts.metrics)),
            presence: Presence::new(handshake::own_presence(now_ms)),
            health: HealthBoard::new(),
            runs: Runs::default(),
            followers: Arc::default(),
            starts: Starts::new(),
            answers: AnswerBudget::new(
                config.answer_bytes_max,
                config.answer_bytes_per_connection_max,
            ),
            boot_id: parts.ids.random().to_string().into(),
            features: native::features(),
            itself: native::itself(),
            started: Instant::now(),
            dispatch: parts.dispatch,
            auth: parts.auth,
            rates: parts.rates,
            drain: parts.drain,
            tasks: parts.tasks,
            config,
            clock: parts.clock,
            ids: parts.ids,
            metrics: parts.metrics,
        };
        native.auth.devices().set_watcher(Arc::new(DeviceTeller {
            feed: Arc::clone(&native.feed),
            registry: Arc::clone(&native.registry),
            dispatch: Arc::clone(&native.dispatch),
        }));
        let front = Self {
            native: Arc::new(native),
        };
        (parts.http, front)
    }

    /// Starts what runs beside the connections.
    pub(in crate::transport) fn start(&self) {
        watch::start(&self.native);
    }

    /// Answers an upgrade; on success the socket gets a task of its own.
    pub(in crate::transport) fn upgrade<S>(
        &self,
        request: Request<Incoming>,
        handshake: &Handshake,
        place: Arc<Place>,
    ) -> Response<Body>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        upgrade::answer::<S>(&self.native, request, handshake, place)
    }

    /// How many connections have authenticated.
    pub fn connections(&self) -> usize {
        self.native.registry.len()
    }
}
