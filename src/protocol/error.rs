//! Error shapes of the dialect, and the one mapping from [`ErrorCode`] to wire codes
//! (`protocol-facts` §5).

use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::version::Protocol;
use crate::error::ErrorCode;

/// The code in an error, as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WireCode {
    /// The request is wrong, or names something that does not exist.
    InvalidRequest,
    /// The peer lacks a scope or a right; version 3 has no such code.
    Forbidden,
    /// The handshake needs a device identity.
    NotPaired,
    /// The gateway or the agent could not do it.
    Unavailable,
}

impl WireCode {
    /// The wire code of a class of failures: the only place where this is decided.
    pub const fn of(code: ErrorCode, version: Protocol) -> Self {
        match code {
            ErrorCode::InvalidRequest | ErrorCode::Unauthorized | ErrorCode::Conflict => {
                Self::InvalidRequest
            }
            ErrorCode::Forbidden => match version {
                Protocol::V3 => Self::InvalidRequest,
                Protocol::V4 => Self::Forbidden,
            },
            ErrorCode::RateLimited
            | ErrorCode::Overloaded
            | ErrorCode::Restarting
            | ErrorCode::StoreFailed
            | ErrorCode::UpstreamAuth
            | ErrorCode::UpstreamPermission
            | ErrorCode::UpstreamRequest
            | ErrorCode::UpstreamRateLimit
            | ErrorCode::UpstreamOverloaded
            | ErrorCode::UpstreamBilling
            | ErrorCode::UpstreamFailed
            | ErrorCode::UpstreamTimeout
            | ErrorCode::UpstreamConnect
            | ErrorCode::ContextOverflow
            | ErrorCode::UpstreamModel
            | ErrorCode::ToolChoiceUnmet
            | ErrorCode::OutputLimit
            | ErrorCode::RunTimeout
            | ErrorCode::AgentFailed
            | ErrorCode::Internal => Self::Unavailable,
        }
    }
}

/// The error of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ErrorBody {
    /// The class.
    pub code: WireCode,
    /// What happened, for a person.
    pub message: Cow<'static, str>,
    /// What happened, for a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// Whether the same request may be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// When to send it again, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorBody {
    /// An error without details.
    pub fn new(code: WireCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            retryable: None,
            retry_after_ms: None,
        }
    }

    /// An error of a class, retryable when the class is.
    pub fn of(code: ErrorCode, version: Protocol, message: impl Into<Cow<'static, str>>) -> Self {
        let body = Self::new(WireCode::of(code, version), message);
        Self {
            retryable: code.is_retryable().then_some(true),
            ..body
        }
    }

    /// The error with details for a program.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        Self {
            details: Some(details),
            ..self
        }
    }

    /// The error, marked as worth another try after `wait`.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            retryable: Some(true),
            retry_after_ms: Some(wait_ms),
            ..self
        }
    }

    /// Whether this counts for the flood guard (§3.11).
    pub(super) fn is_role_refusal(&self) -> bool {
        self.code == WireCode::InvalidRequest && self.message.starts_with("unauthorized role:")
    }
}

/// Params that break the schema of their method; `problem` is the text of the violations (§5.2).
pub fn invalid_params(method: &str, problem: impl std::fmt::Display) -> ErrorBody {
    ErrorBody::new(
        WireCode::InvalidRequest,
        format!("invalid {method} params: {problem}"),
    )
}

/// A method that is not served.
pub fn unknown_method(method: &str) -> ErrorBody {
    ErrorBody::new(
        WireCode::InvalidRequest,
        format!("unknown method: {method}"),
    )
}

/// A method the peer's role may not call.
pub fn unauthorized_role(role: &str) -> ErrorBody {
    ErrorBody::new(
        WireCode::InvalidRequest,
        format!("unauthorized role: {role}"),
    )
}

/// A method the peer lacks the scope for.
pub fn missing_scope(version: Protocol, scope: &str) -> ErrorBody {
    let message = format!("missing scope: {scope}");
    let body = ErrorBody::of(ErrorCode::Forbidden, version, message);
    match version {
        Protocol::V3 => body,
        Protocol::V4 => body.with_details(json!({
            "code": "MISSING_SCOPE",
            "missingScope": scope,
            "requiredScopes": [scope],
        })),
    }
}

/// A method that is refused while the gateway drains.
pub fn unavailable_during_restart(method: &str) -> ErrorBody {
    ErrorBody::new(
        WireCode::Unavailable,
        format!("{method} unavailable during gateway restart"),
    )
    .retry_after(Duration::from_secs(1))
    .with_details(json!({ "reason": "gateway-restarting", "method": method }))
}

/// When to come back to a gateway that starts.
pub(super) const STARTUP_RETRY: Duration = Duration::from_millis(500);

/// A method that is refused while the gateway starts.
pub fn unavailable_during_startup(method: &str) -> ErrorBody {
    ErrorBody::new(
        WireCode::Unavailable,
        format!("{method} unavailable during gateway startup"),
    )
    .retry_after(STARTUP_RETRY)
    .with_details(json!({ "reason": "startup-sidecars", "method": method }))
}

/// A request that found every place for waiting requests taken (§1.5).
pub fn server_busy() -> ErrorBody {
    ErrorBody {
        retryable: Some(true),
        ..ErrorBody::new(
            WireCode::Unavailable,
            "The server is busy. Please try again in a moment.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &ErrorBody, expected: &Value) {
        assert_eq!(&serde_json::to_value(body).unwrap(), expected);
    }

    #[test]
    fn a_missing_scope_is_told_per_version() {
        check(
            &missing_scope(Protocol::V4, "operator.write"),
            &json!({
                "code": "FORBIDDEN",
                "message": "missing scope: operator.write",
                "details": {
                    "code": "MISSING_SCOPE",
                    "missingScope": "operator.write",
                    "requiredScopes": ["operator.write"],
                },
            }),
        );
        check(
            &missing_scope(Protocol::V3, "operator.write"),
            &json!({"code": "INVALID_REQUEST", "message": "missing scope: operator.write"}),
        );
    }

    #[test]
    fn refusals_that_pass_say_when_to_come_back() {
        check(
            &unavailable_during_restart("chat.send"),
            &json!({
                "code": "UNAVAILABLE",
                "message": "chat.send unavailable during gateway restart",
                "details": {"reason": "gateway-restarting", "method": "chat.send"},
                "retryable": true,
                "retryAfterMs": 1000,
            }),
        );
        check(
            &unavailable_during_startup("status"),
            &json!({
                "code": "UNAVAILABLE",
                "message": "status unavailable during gateway startup",
                "details": {"reason": "startup-sidecars", "method": "status"},
                "retryable": true,
                "retryAfterMs": 500,
            }),
        );
        check(
            &ErrorBody::of(ErrorCode::Overloaded, Protocol::V4, "lane is full"),
            &json!({"code": "UNAVAILABLE", "message": "lane is full", "retryable": true}),
        );
        check(
            &ErrorBody::of(ErrorCode::Conflict, Protocol::V4, "taken"),
            &json!({"code": "INVALID_REQUEST", "message": "taken"}),
        );
    }

    #[test]
    fn only_version_four_knows_forbidden() {
        let of = |version| WireCode::of(ErrorCode::Forbidden, version);
        assert_eq!(of(Protocol::V4), WireCode::Forbidden);
        assert_eq!(of(Protocol::V3), WireCode::InvalidRequest);
    }
}
