//! Turns a request into a native connection.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use crate::transport::http::{Body, HttpFront};
use crate::transport::listener::Place;
use crate::transport::serve::{TransportParts, text};
use crate::transport::sniff::Handshake;

/// Answers upgrades and holds the native connections.
#[derive(Debug)]
pub struct NativeFront {}

impl NativeFront {
    pub(in crate::transport) fn new(parts: TransportParts) -> (HttpFront, Self) {
        (parts.http, Self {})
    }

    pub(in crate::transport) fn upgrade<S>(
        &self,
        _request: Request<Incoming>,
        _handshake: &Handshake,
        _place: Arc<Place>,
    ) -> Response<Body> {
        text(StatusCode::SERVICE_UNAVAILABLE, "Gateway is restarting")
    }
}
