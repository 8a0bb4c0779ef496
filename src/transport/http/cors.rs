//! Lets web pages of listed origins call the HTTP front; without a list no browser may.
//!
//! Owns which headers that takes. Whether a request is allowed at all is decided elsewhere, as for
//! any caller.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request;
use hyper::{Method, Response};

use super::body::Body;
use super::respond;

const METHODS: &str = "GET, POST, OPTIONS";

/// What a page may send when it does not say what it wants to send.
const HEADERS: &str = "authorization, content-type, idempotency-key, last-event-id, \
    x-openclaw-agent-id, x-openclaw-session-key, x-openclaw-model, x-openclaw-message-channel, \
    x-openclaw-on-disconnect, x-request-id";

/// What a page may read beside the body.
const EXPOSED: &str = "retry-after, server-timing, x-openclaw-run-id, x-request-id, x-should-retry";

/// Seconds a browser may remember the answer to a preflight.
const MAX_AGE: &str = "600";

/// The origins that are let in.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// Lets these origins in (`https://chat.example.com`), in lower case.
    pub(super) fn new(origins: &[String]) -> Self {
        Self {
            origins: origins.to_vec(),
        }
    }

    /// The answer to a browser that asks whether a page may send a request; it needs no secret,
    /// for browsers send none with it.
    pub(super) fn preflight(&self, head: &request::Parts) -> Option<Response<Body>> {
        let asks = head.method == Method::OPTIONS
            && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && self.allowed(&head.headers).is_some();
        if !asks {
            return None;
        }
        let mut response = respond::no_content();
        let headers = response.headers_mut();
        let wanted = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let wanted = wanted.unwrap_or(HeaderValue::from_static(HEADERS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(METHODS),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        Some(response)
    }

    /// Marks an answer as readable for the page that asked, errors too.
    pub(super) fn mark(&self, asked: &HeaderMap, answer: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        answer.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed(asked) {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED),
            );
        }
    }

    fn allowed<'a>(&self, asked: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = asked.get(ORIGIN)?;
        let is_listed = |known: &String| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes());
        self.origins.iter().any(is_listed).then_some(origin)
    }
}
