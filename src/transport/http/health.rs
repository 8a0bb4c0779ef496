//! Probes: is the process alive, ready, started (`http-facts` §1.8).
//!
//! They answer in every phase and need no secret; only a caller that is local or knows the secret
//! sees more than yes or no.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use crate::auth::Authenticator;
use crate::shutdown::Phase;
use crate::version::OWN_VERSION;

use super::body::Body;
use super::respond::json;

/// What probes tell.
#[derive(Debug)]
pub(super) struct Health<'a> {
    pub(super) phase: Phase,
    /// Whether sessions and runs can be stored.
    pub(super) can_store: bool,
    pub(super) uptime: Duration,
    pub(super) auth: &'a Authenticator,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: SocketAddr,
}

/// `/health`: the process answers, whatever its phase.
pub(super) fn live() -> Response<Body> {
    probe(StatusCode::OK, r#"{"ok":true,"status":"live"}"#.to_owned())
}

impl Health<'_> {
    /// `/ready`: new work is taken, and can be stored.
    pub(super) fn ready(&self) -> Response<Body> {
        let failing = match self.phase {
            Phase::Running if !self.can_store => "\"store-failing\"",
            Phase::Running => "",
            Phase::Starting => "\"gateway-starting\"",
            Phase::Draining | Phase::Closing | Phase::Stopped => "\"gateway-draining\"",
        };
        let ready = failing.is_empty();
        let body = if self.shows_detail() {
            let uptime_ms = self.uptime.as_millis();
            format!(r#"{{"ready":{ready},"failing":[{failing}],"uptimeMs":{uptime_ms}}}"#)
        } else {
            format!(r#"{{"ready":{ready}}}"#)
        };
        probe(status(ready), body)
    }

    /// `/startup`: the process has come up and is not going down.
    pub(super) fn startup(&self) -> Response<Body> {
        let state = match self.phase {
            Phase::Running => "started",
            Phase::Starting => "starting",
            Phase::Draining | Phase::Closing | Phase::Stopped => "draining",
        };
        let started = self.phase == Phase::Running;
        let mut body = format!(r#"{{"ok":{started},"status":"{state}""#);
        if self.shows_detail() {
            let uptime_ms = self.uptime.as_millis();
            let version = OWN_VERSION;
            body.push_str(&detail(version, uptime_ms));
            if self.phase == Phase::Starting {
                body.push_str(r#","pendingReason":"gateway-starting""#);
            }
        }
        body.push('}');
        probe(status(started), body)
    }

    /// A broken head is no reason to hide that the process runs.
    fn shows_detail(&self) -> bool {
        let head = self.auth.read_head(self.headers, self.peer);
        head.is_ok_and(|head| self.auth.probe_detail(&head))
    }
}

fn detail(version: &str, uptime_ms: u128) -> String {
    format!(r#","version":"{version}","uptimeMs":{uptime_ms}"#)
}

const fn status(is_fine: bool) -> StatusCode {
    if is_fine {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn probe(status: StatusCode, body: String) -> Response<Body> {
    let mut response = json(status, body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
