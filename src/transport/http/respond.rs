//! Builds answers: bodies, statuses and the headers every answer carries (`http-facts` §1.6).

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::auth::{AuthError, HeadError};
use crate::dispatch::DispatchError;
use crate::error::ErrorCode;
use crate::openai::{ApiError, RequestError};
use crate::run::{AbortCause, Outcome, Terminal};

use super::body::Body;
use super::control_ui::Pieces;
use super::sse_body::SseBody;

static PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
static X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

const PERMISSIONS: &str = "camera=(), microphone=(self), geolocation=()";

/// Room for every header an answer has, so that the map never grows.
const HEADERS: usize = 12;

/// An answer with these bytes.
fn answer(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    *headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    answer(status, "application/json; charset=utf-8", Body::whole(body))
}

/// A plain-text answer.
pub(super) fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    let body = Body::whole(Bytes::from_static(body.as_bytes()));
    answer(status, "text/plain; charset=utf-8", body)
}

/// An HTML document.
pub(super) fn html(body: String) -> Response<Body> {
    answer(
        StatusCode::OK,
        "text/html; charset=utf-8",
        Body::whole(body),
    )
}

/// A file.
pub(super) fn file(content_type: &'static str, pieces: Pieces) -> Response<Body> {
    answer(StatusCode::OK, content_type, Body::file(pieces))
}

/// A stream of events.
pub(super) fn events(body: Body) -> Response<Body> {
    let mut response = answer(StatusCode::OK, "text/event-stream; charset=utf-8", body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    headers.insert(X_ACCEL_BUFFERING.clone(), HeaderValue::from_static("no"));
    response
}

/// A stream of the events of a run.
pub(super) fn live_events(body: SseBody) -> Response<Body> {
    events(Body::events(body))
}

/// `204 No Content`.
pub(super) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// `404 Not Found`.
pub(super) fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "Not Found")
}

/// `405 Method Not Allowed`.
pub(super) fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// Adds the headers that every answer carries; a page may have other permissions.
pub(super) fn secure(headers: &mut HeaderMap, transport_security: Option<&HeaderValue>) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(&PERMISSIONS_POLICY)
        .or_insert(HeaderValue::from_static(PERMISSIONS));
    if let Some(value) = transport_security {
        headers.insert(hyper::header::STRICT_TRANSPORT_SECURITY, value.clone());
    }
}

/// Whether and when a client should send the same request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// Left to the client.
    Unsaid,
    /// It should not: nothing would change, or a run would run twice.
    Never,
    /// It may, after this long.
    After(Duration),
    /// It should, after this long: nothing was done for the request.
    Soon(Duration),
    /// It should not by itself; a person may, after this long.
    LockedFor(Duration),
}

/// A request that ends in an error.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    error: Box<ApiError>,
    retry: Retry,
    closes: bool,
}

impl Refused {
    fn new(error: ApiError, retry: Retry) -> Self {
        Self {
            error: Box::new(error),
            retry,
            closes: false,
        }
    }

    /// Nothing is accepted now.
    pub(super) fn draining() -> Self {
        Self::new(ApiError::restarting(), Retry::After(Duration::from_secs(1)))
    }

    /// The secret the request came with was rotated away meanwhile.
    pub(super) fn stale_secret() -> Self {
        Self::new(ApiError::unauthorized(), Retry::Never)
    }

    /// The body could not be read, so the connection cannot go on either.
    pub(super) fn unread(error: ApiError) -> Self {
        Self {
            closes: true,
            ..Self::new(error, Retry::Unsaid)
        }
    }

    /// A run did not succeed. One that a restart kept from starting may be asked for again.
    pub(super) fn unsuccessful(error: ApiError, terminal: &Terminal) -> Self {
        let is_cut = terminal.outcome == Outcome::Aborted(AbortCause::Restart);
        if is_cut && terminal.started_at_ms.is_none() {
            return Self::new(error, Retry::Soon(Duration::from_secs(1)));
        }
        Self::failed_run(error)
    }

    /// A run that started did not succeed. Running it again could repeat what it already did.
    pub(super) fn failed_run(error: ApiError) -> Self {
        Self::new(error, Retry::Never)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.error.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, self.error.to_json());
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.retry.write(headers);
        response
    }
}

impl Retry {
    fn write(self, headers: &mut HeaderMap) {
        let (should, after) = match self {
            Self::Unsaid => (None, None),
            Self::Never => (Some("false"), None),
            Self::After(after) => (None, Some(after)),
            Self::Soon(after) => (Some("true"), Some(after)),
            Self::LockedFor(after) => (Some("false"), Some(after)),
        };
        if let Some(should) = should {
            headers.insert(X_SHOULD_RETRY.clone(), HeaderValue::from_static(should));
        }
        if let Some(after) = after.filter(|after| !after.is_zero()) {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
    }
}

/// The seconds of `after`, rounded up.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        Self::new(error.into(), Retry::Unsaid)
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::new(error, Retry::Unsaid)
    }
}

impl From<HeadError> for Refused {
    fn from(error: HeadError) -> Self {
        let error = ApiError::new(ErrorCode::InvalidRequest, error.to_string());
        Self::new(error, Retry::Unsaid)
    }
}

impl From<AuthError> for Refused {
    fn from(error: AuthError) -> Self {
        match error {
            // An origin that is not allowed looks like a missing secret (`http-facts` §2.1).
            AuthError::Missing(_)
            | AuthError::Mismatch(_)
            | AuthError::Origin(_)
            | AuthError::DeviceRequired
            | AuthError::ControlUiDeviceRequired
            | AuthError::Device(_)
            | AuthError::ScopeMismatch
            | AuthError::PairingRequired(_) => Self::new(ApiError::unauthorized(), Retry::Never),
            AuthError::LockedOut { retry_after } => {
                Self::new(ApiError::locked_out(), Retry::LockedFor(retry_after))
            }
            AuthError::ProxyAttribution => Self::new(ApiError::proxy_attribution(), Retry::Never),
            AuthError::PairingFull | AuthError::Store(_) => Self::new(
                ApiError::new(error.code(), error.to_string()),
                Retry::Unsaid,
            ),
        }
    }
}

impl From<DispatchError> for Refused {
    fn from(error: DispatchError) -> Self {
        let code = error.code();
        let retry = match (code, error.retry_after()) {
            (ErrorCode::Overloaded, Some(after)) => Retry::Soon(after),
            (ErrorCode::Forbidden | ErrorCode::Conflict, _) => Retry::Never,
            (_, Some(after)) => Retry::After(after),
            (_, None) => Retry::Unsaid,
        };
        let error = match &error {
            DispatchError::MissingScope(scope) => ApiError::missing_scope(scope.as_str()),
            DispatchError::UnknownAgent(id) => ApiError::unknown_agent(id),
            DispatchError::NoDefaultAgent(_) => ApiError::no_default_agent(),
            // Every configured model may be asked for, so this one is not configured.
            DispatchError::ModelNotAllowed { model, .. } => ApiError::unknown_model(model),
            DispatchError::ReservedKey => ApiError::reserved_session_key(),
            DispatchError::EmptyMessage => RequestError::NoMessage.into(),
            DispatchError::Draining | DispatchError::Stopped => ApiError::restarting(),
            other => ApiError::new(code, other.to_string()),
        };
        Self::new(error, retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{AuthMethod, Scope};

    fn check(refused: Refused, status: u16, expected: &[(&str, &str)]) {
        let response = refused.into_response();
        assert_eq!(response.status(), status);
        for name in [
            "retry-after",
            "x-should-retry",
            "www-authenticate",
            "connection",
        ] {
            let seen = response.headers().get(name).map(|v| v.to_str().unwrap());
            let wanted = expected
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, v)| *v);
            assert_eq!(seen, wanted, "{status} {name}");
        }
    }

    #[test]
    fn every_refusal_says_whether_to_try_again() {
        check(
            AuthError::Mismatch(AuthMethod::Token).into(),
            401,
            &[("www-authenticate", "Bearer"), ("x-should-retry", "false")],
        );
        let retry_after = Duration::from_millis(299_001);
        check(
            AuthError::LockedOut { retry_after }.into(),
            429,
            &[("retry-after", "300"), ("x-should-retry", "false")],
        );
        check(
            AuthError::ProxyAttribution.into(),
            403,
            &[("x-should-retry", "false")],
        );
        check(
            DispatchError::MissingScope(Scope::Write).into(),
            403,
            &[("x-should-retry", "false")],
        );
        check(
            DispatchError::Overloaded {
                what: "lane",
                retry_after: Duration::from_millis(1),
            }
            .into(),
            503,
            &[("retry-after", "1"), ("x-should-retry", "true")],
        );
        check(DispatchError::Draining.into(), 503, &[("retry-after", "1")]);
        check(Refused::draining(), 503, &[("retry-after", "1")]);
        check(
            DispatchError::KeyReused.into(),
            409,
            &[("x-should-retry", "false")],
        );
        check(DispatchError::UnknownAgent("x".to_owned()).into(), 400, &[]);
        check(
            Refused::unread(ApiError::too_large()),
            413,
            &[("connection", "close")],
        );
        check(
            Refused::failed_run(ApiError::new(ErrorCode::UpstreamFailed, "")),
            502,
            &[("x-should-retry", "false")],
        );
    }
}
