//! Every refusal and failure in this dialect: status, type, code, text (`http-facts` §2.3, §4.3).

use std::borrow::Cow;

use bytes::BytesMut;

use crate::error::ErrorCode;
use crate::run::{AbortCause, Outcome, RunError, TimeoutPhase};

use super::json::push_str;
use super::request::RequestError;

/// How a class of failure looks in this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorShape {
    /// HTTP status; without meaning inside a stream.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.code`, where the dialect has one.
    pub code: Option<&'static str>,
    /// The text that replaces the failure's own, where that must not be shown.
    pub message: Option<&'static str>,
}

impl ErrorShape {
    const fn new(status: u16, kind: &'static str) -> Self {
        Self {
            status,
            kind,
            code: None,
            message: None,
        }
    }

    const fn coded(status: u16, kind: &'static str, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..Self::new(status, kind)
        }
    }

    const fn fixed(status: u16, kind: &'static str, message: &'static str) -> Self {
        Self {
            message: Some(message),
            ..Self::new(status, kind)
        }
    }

    /// The shape of a class of failure.
    pub const fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidRequest | ErrorCode::UpstreamRequest => {
                Self::new(400, "invalid_request_error")
            }
            ErrorCode::Unauthorized => Self::fixed(401, "unauthorized", "Unauthorized"),
            ErrorCode::Forbidden => Self::new(403, "forbidden"),
            ErrorCode::RateLimited => Self::new(429, "rate_limited"),
            ErrorCode::Conflict => {
                Self::coded(409, "invalid_request_error", "idempotency_conflict")
            }
            ErrorCode::Overloaded => Self::coded(503, "service_unavailable", "gateway_overloaded"),
            ErrorCode::Restarting => Self::coded(503, "service_unavailable", "gateway_unavailable"),
            ErrorCode::StoreFailed => Self::coded(503, "api_error", "store_failed"),
            // Our own 401 would tell callers that their credential is wrong, which it is not.
            ErrorCode::UpstreamAuth => Self::coded(502, "api_error", "upstream_authentication"),
            ErrorCode::UpstreamPermission => Self::new(403, "permission_error"),
            ErrorCode::UpstreamRateLimit => Self::new(429, "rate_limit_error"),
            ErrorCode::UpstreamOverloaded => {
                Self::fixed(503, "api_error", "upstream provider overloaded")
            }
            ErrorCode::UpstreamBilling => Self::new(402, "insufficient_quota"),
            ErrorCode::UpstreamFailed => Self::fixed(502, "api_error", "upstream provider error"),
            ErrorCode::UpstreamTimeout => {
                Self::fixed(504, "api_error", "upstream provider timeout")
            }
            ErrorCode::UpstreamConnect | ErrorCode::ToolChoiceUnmet => Self::new(502, "api_error"),
            ErrorCode::ContextOverflow => {
                Self::coded(413, "invalid_request_error", "context_length_exceeded")
            }
            ErrorCode::UpstreamModel => Self::new(404, "invalid_request_error"),
            ErrorCode::OutputLimit => Self::coded(500, "api_error", "output_limit"),
            ErrorCode::RunTimeout => Self::coded(504, "api_error", "run_timeout"),
            ErrorCode::AgentFailed | ErrorCode::Internal => {
                Self::fixed(500, "api_error", "internal error")
            }
        }
    }
}

/// An error as a caller of this dialect sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status; without meaning inside a stream.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.message`.
    pub message: Cow<'static, str>,
    /// `error.code`.
    pub code: Option<Cow<'static, str>>,
    /// `error.param`.
    pub param: Option<&'static str>,
    /// The scope that is missing, which has a shape of its own (`http-facts` §2.6).
    pub missing_scope: Option<&'static str>,
}

impl ApiError {
    /// An error of this class. `message` is safe to show; some classes show a fixed text instead.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let shape = ErrorShape::of(code);
        Self {
            status: shape.status,
            kind: shape.kind,
            message: shape.message.map_or_else(|| message.into(), Cow::Borrowed),
            code: shape.code.map(Cow::Borrowed),
            param: None,
            missing_scope: None,
        }
    }

    fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    fn with_status(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            ..Self::invalid(message)
        }
    }

    /// No valid credential; why is never told.
    pub fn unauthorized() -> Self {
        Self::new(ErrorCode::Unauthorized, "")
    }

    /// Too many failed authentications.
    pub fn locked_out() -> Self {
        Self::new(
            ErrorCode::RateLimited,
            "Too many failed authentication attempts. Please try again later.",
        )
    }

    /// Forwarding headers from a peer that is not a trusted proxy.
    pub fn proxy_attribution() -> Self {
        Self {
            kind: "proxy_attribution_required",
            ..Self::new(
                ErrorCode::Forbidden,
                "Proxy client attribution is required. Configure gateway.trustedProxies narrowly \
                 and make the proxy overwrite or safely rebuild forwarded client headers.",
            )
        }
    }

    /// The caller lacks a scope.
    pub fn missing_scope(scope: &'static str) -> Self {
        Self {
            missing_scope: Some(scope),
            ..Self::new(ErrorCode::Forbidden, format!("missing scope: {scope}"))
        }
    }

    /// The gateway drains or has not started.
    pub fn restarting() -> Self {
        Self::new(
            ErrorCode::Restarting,
            "Gateway is temporarily unavailable while suspending or restarting",
        )
    }

    /// The body is larger than it may be.
    pub fn too_large() -> Self {
        Self::with_status(413, "Payload too large")
    }

    /// The body did not arrive in time.
    pub fn body_timeout() -> Self {
        Self::with_status(408, "Request body timeout")
    }

    /// The peer closed in the middle of the body; nobody reads this.
    pub fn body_incomplete() -> Self {
        Self::invalid("Connection closed")
    }

    /// There is no such agent.
    pub fn unknown_agent(id: &str) -> Self {
        Self {
            code: Some(Cow::Borrowed("model_not_found")),
            param: Some("model"),
            ..Self::invalid(format!("Unknown agent '{id}'."))
        }
    }

    /// Several agents and no default.
    pub fn no_default_agent() -> Self {
        Self::invalid(
            "Multiple agents are configured, but none is marked as the default. \
             Use `openclaw/<agentId>` as `model`.",
        )
    }

    /// `x-openclaw-model` names a model nobody has configured.
    pub fn unknown_model(model: &str) -> Self {
        Self::with_status(404, format!("Unknown model: {model}."))
    }

    /// The session key is reserved.
    pub fn reserved_session_key() -> Self {
        Self::invalid("`x-openclaw-session-key` cannot use reserved internal session namespaces.")
    }

    /// The run with this idempotency key goes on where this process cannot see it.
    pub fn run_elsewhere() -> Self {
        Self {
            code: Some(Cow::Borrowed("run_in_progress")),
            ..Self::new(
                ErrorCode::Conflict,
                "The run with this idempotency key has not ended.",
            )
        }
    }

    /// There is no such run, or not for this caller.
    pub fn run_not_found(id: &str) -> Self {
        Self {
            code: Some(Cow::Borrowed("run_not_found")),
            ..Self::with_status(404, format!("Run '{id}' not found."))
        }
    }

    /// The events of a run cannot be read from this cursor on.
    pub fn cursor_gone(after: u64, last: Option<u64>) -> Self {
        let known = match last {
            Some(last) => {
                format!("the last event is {last}; leave the cursor out to read what is kept")
            }
            None => "the events are gone; the run itself tells its outcome".to_owned(),
        };
        Self {
            code: Some(Cow::Borrowed("cursor_gone")),
            param: Some("after"),
            ..Self::with_status(410, format!("Event {after} is not in the log: {known}."))
        }
    }

    /// A cursor is not a number.
    pub fn bad_cursor() -> Self {
        Self {
            param: Some("after"),
            ..Self::invalid("`after` and `Last-Event-ID` must be the number of an event.")
        }
    }

    /// A model id is refused by `GET /v1/models/{id}`.
    pub fn model_id(message: &'static str) -> Self {
        Self::invalid(message)
    }

    /// `GET /v1/models/{id}` finds nothing.
    pub fn model_not_found(id: &str) -> Self {
        Self::with_status(404, format!("Model '{id}' not found."))
    }

    /// How a run that did not succeed looks; `None` when it did.
    pub fn of_outcome(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Ok(_) => None,
            Outcome::Error(error) => Some(Self::from(error)),
            Outcome::Aborted(cause) => Some(Self::aborted(*cause)),
            Outcome::TimedOut(phase) => Some(Self::timed_out(*phase)),
            Outcome::Interrupted => Some(Self::cut_by_restart()),
        }
    }

    fn aborted(cause: AbortCause) -> Self {
        match cause {
            AbortCause::Restart => Self::cut_by_restart(),
            AbortCause::Rpc
            | AbortCause::Stop
            | AbortCause::Replaced
            | AbortCause::ClientGone
            | AbortCause::Dropped
            | AbortCause::SessionEnded
            | AbortCause::Revoked => Self {
                status: 500,
                kind: "api_error",
                message: Cow::Borrowed("The run was aborted."),
                code: Some(Cow::Borrowed("run_aborted")),
                param: None,
                missing_scope: None,
            },
        }
    }

    fn cut_by_restart() -> Self {
        Self {
            code: Some(Cow::Borrowed("gateway_restarting")),
            ..Self::new(
                ErrorCode::Restarting,
                "The gateway restarted before the run had ended.",
            )
        }
    }

    fn timed_out(phase: TimeoutPhase) -> Self {
        match phase {
            TimeoutPhase::Queue => Self {
                code: Some(Cow::Borrowed("queue_timeout")),
                ..Self::new(
                    ErrorCode::Overloaded,
                    "The run waited too long for its session.",
                )
            },
            TimeoutPhase::Run => Self::new(
                ErrorCode::RunTimeout,
                "The run took longer than its time limit.",
            ),
            TimeoutPhase::Idle => Self::new(
                ErrorCode::RunTimeout,
                "The agent was silent for longer than its time limit.",
            ),
        }
    }

    /// The answer's body.
    pub fn to_json(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(96 + self.message.len());
        self.write(&mut out);
        out
    }

    /// Appends the answer's body.
    pub(super) fn write(&self, out: &mut BytesMut) {
        if let Some(scope) = self.missing_scope {
            return self.write_missing_scope(out, scope);
        }
        out.extend_from_slice(b"{\"error\":{\"message\":");
        push_str(out, &self.message);
        out.extend_from_slice(b",\"type\":");
        push_str(out, self.kind);
        if let Some(code) = &self.code {
            out.extend_from_slice(b",\"code\":");
            push_str(out, code);
        }
        if let Some(param) = self.param {
            out.extend_from_slice(b",\"param\":");
            push_str(out, param);
        }
        out.extend_from_slice(b"}}");
    }

    fn write_missing_scope(&self, out: &mut BytesMut, scope: &str) {
        out.extend_from_slice(b"{\"ok\":false,\"error\":{\"type\":");
        push_str(out, self.kind);
        out.extend_from_slice(b",\"message\":");
        push_str(out, &self.message);
        out.extend_from_slice(b",\"details\":{\"code\":\"MISSING_SCOPE\",\"missingScope\":");
        push_str(out, scope);
        out.extend_from_slice(b",\"requiredScopes\":[");
        push_str(out, scope);
        out.extend_from_slice(b"]}}}");
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self {
            param: error.param(),
            ..Self::new(error.code(), error.to_string())
        }
    }
}

impl From<&RunError> for ApiError {
    fn from(error: &RunError) -> Self {
        let mut seen = Self::new(error.code, error.message.to_string());
        if let Some(code) = &error.upstream_code {
            seen.code = Some(Cow::Owned((**code).to_owned()));
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &ApiError, status: u16, body: &str) {
        assert_eq!(error.status, status, "{body}");
        assert_eq!(std::str::from_utf8(&error.to_json()).unwrap(), body);
    }

    #[test]
    fn refusals_have_their_recorded_shapes() {
        check(
            &ApiError::unauthorized(),
            401,
            r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#,
        );
        check(
            &ApiError::too_large(),
            413,
            r#"{"error":{"message":"Payload too large","type":"invalid_request_error"}}"#,
        );
        check(
            &ApiError::restarting(),
            503,
            r#"{"error":{"message":"Gateway is temporarily unavailable while suspending or restarting","type":"service_unavailable","code":"gateway_unavailable"}}"#,
        );
        check(
            &ApiError::missing_scope("operator.write"),
            403,
            r#"{"ok":false,"error":{"type":"forbidden","message":"missing scope: operator.write","details":{"code":"MISSING_SCOPE","missingScope":"operator.write","requiredScopes":["operator.write"]}}}"#,
        );
        check(
            &ApiError::unknown_agent("gh\"ost"),
            400,
            r#"{"error":{"message":"Unknown agent 'gh\"ost'.","type":"invalid_request_error","code":"model_not_found","param":"model"}}"#,
        );
        check(
            &ApiError::from(RequestError::ManyAnswers),
            400,
            r#"{"error":{"message":"`n` must be 1: one request gets one answer.","type":"invalid_request_error","param":"n"}}"#,
        );
    }

    #[test]
    fn a_failed_run_has_the_status_of_its_class() {
        let run = |code, message: &str| ApiError::from(&RunError::new(code, message));
        let check = |code, status, kind, message| {
            let seen = run(code, "its own text");
            assert_eq!(
                (seen.status, seen.kind, &*seen.message),
                (status, kind, message)
            );
        };
        let own = "its own text";
        let invalid = "invalid_request_error";
        check(ErrorCode::UpstreamAuth, 502, "api_error", own);
        check(ErrorCode::UpstreamPermission, 403, "permission_error", own);
        check(ErrorCode::UpstreamRequest, 400, invalid, own);
        check(ErrorCode::UpstreamRateLimit, 429, "rate_limit_error", own);
        check(
            ErrorCode::UpstreamOverloaded,
            503,
            "api_error",
            "upstream provider overloaded",
        );
        check(ErrorCode::UpstreamBilling, 402, "insufficient_quota", own);
        check(
            ErrorCode::UpstreamFailed,
            502,
            "api_error",
            "upstream provider error",
        );
        check(
            ErrorCode::UpstreamTimeout,
            504,
            "api_error",
            "upstream provider timeout",
        );
        check(ErrorCode::UpstreamConnect, 502, "api_error", own);
        check(ErrorCode::ContextOverflow, 413, invalid, own);
        check(ErrorCode::UpstreamModel, 404, invalid, own);
        check(ErrorCode::ToolChoiceUnmet, 502, "api_error", own);
        check(ErrorCode::OutputLimit, 500, "api_error", own);
        check(ErrorCode::AgentFailed, 500, "api_error", "internal error");
        check(ErrorCode::Internal, 500, "api_error", "internal error");
        let coded = RunError {
            upstream_code: Some("model_not_available".into()),
            ..RunError::new(ErrorCode::UpstreamModel, "no such model")
        };
        assert_eq!(
            ApiError::from(&coded).code.as_deref(),
            Some("model_not_available")
        );
    }

    #[test]
    fn an_outcome_that_is_not_ok_is_an_error() {
        let check = |outcome: Outcome, expected: Option<(u16, &str)>| {
            let error = ApiError::of_outcome(&outcome);
            let seen = error
                .as_ref()
                .map(|e| (e.status, e.code.as_deref().unwrap_or_default()));
            assert_eq!(seen, expected, "{outcome:?}");
        };
        check(Outcome::Ok(crate::run::FinishReason::Stop), None);
        check(Outcome::Interrupted, Some((503, "gateway_restarting")));
        check(
            Outcome::Aborted(AbortCause::Restart),
            Some((503, "gateway_restarting")),
        );
        check(
            Outcome::Aborted(AbortCause::Rpc),
            Some((500, "run_aborted")),
        );
        check(
            Outcome::TimedOut(TimeoutPhase::Run),
            Some((504, "run_timeout")),
        );
        check(
            Outcome::TimedOut(TimeoutPhase::Idle),
            Some((504, "run_timeout")),
        );
        check(
            Outcome::TimedOut(TimeoutPhase::Queue),
            Some((503, "queue_timeout")),
        );
    }
}
