//! How a handshake fails: the response and the close after it (`protocol-facts` §3.3, §3.6).

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::client::ClientInfo;
use super::close::Close;
use super::device_refusal::{DeviceProofFailure, PairingRefusal};
use super::error::{
    ErrorBody, STARTUP_RETRY, WireCode, invalid_params, unavailable_during_restart,
};
use super::version::Protocol;

/// When a device may ask again to be paired after it found too many others waiting.
const TOO_MANY_DEVICES_RETRY: Duration = Duration::from_mins(1);

/// Why a handshake fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The first request is not `connect`.
    NotConnect,
    /// The params of `connect` break their schema.
    InvalidParams(ErrorText),
    /// The gateway is still starting.
    Starting,
    /// The gateway drains.
    Draining,
    /// There is no common version.
    ProtocolMismatch {
        /// Oldest version of the client.
        min: u64,
        /// Newest version of the client.
        max: u64,
    },
    /// Neither `operator` nor `node`.
    InvalidRole,
    /// The browser origin is not allowed.
    OriginNotAllowed {
        /// Which rule refused it: `origin missing or invalid` or `origin not allowed`.
        reason: &'static str,
    },
    /// The peer did not authenticate.
    Unauthorized(AuthFailure),
    /// The peer must prove a device and did not.
    DeviceIdentityRequired,
    /// A control interface must prove a device and did not.
    ControlUiDeviceIdentityRequired,
    /// The peer did not prove its device.
    DeviceProof(DeviceProofFailure),
    /// The peer's device has to be approved first.
    PairingRequired(Box<PairingRefusal>),
    /// As many devices wait for approval, or are paired, as may be.
    TooManyDevices,
    /// A fault of the gateway.
    Internal,
}

/// A text that was made for one peer.
pub type ErrorText = Box<str>;

/// Why a peer did not authenticate, with what the advice depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFailure {
    /// The reason.
    pub reason: AuthReason,
    /// Who gets the advice.
    pub audience: Audience,
    /// Whether a stored device token could work instead.
    pub device_retry: bool,
}

/// The reason of a failed authentication (§3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthReason {
    /// Nothing usable was offered and no mode says what was missing.
    Required,
    /// The token is missing.
    TokenMissing,
    /// The token is wrong.
    TokenMismatch,
    /// The password is missing.
    PasswordMissing,
    /// The password is wrong.
    PasswordMismatch,
    /// The device token is wrong.
    DeviceTokenMismatch,
    /// The device token does not allow what is asked for.
    ScopeMismatch,
    /// Too many failures.
    RateLimited {
        /// How long the lock still holds.
        retry_after: Duration,
    },
    /// Forwarding headers came from a peer that is not a trusted proxy.
    ProxyAttribution,
}

/// Who reads the advice in an authentication failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A person at a command line.
    Cli,
    /// A person at a control interface.
    ControlUi,
    /// Anybody else.
    Other,
}

impl Audience {
    /// Who sits at this client.
    pub fn of(client: &ClientInfo) -> Self {
        if client.is_cli() {
            Self::Cli
        } else if client.is_operator_ui() {
            Self::ControlUi
        } else {
            Self::Other
        }
    }
}

impl AuthReason {
    /// `details.authReason`.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Required => None,
            Self::TokenMissing => Some("token_missing"),
            Self::TokenMismatch => Some("token_mismatch"),
            Self::PasswordMissing => Some("password_missing"),
            Self::PasswordMismatch => Some("password_mismatch"),
            Self::DeviceTokenMismatch => Some("device_token_mismatch"),
            Self::ScopeMismatch => Some("scope_mismatch"),
            Self::RateLimited { .. } => Some("rate_limited"),
            Self::ProxyAttribution => Some("proxy_attribution_required"),
        }
    }

    /// `details.code`.
    pub const fn detail_code(self) -> &'static str {
        match self {
            Self::Required => "AUTH_REQUIRED",
            Self::TokenMissing => "AUTH_TOKEN_MISSING",
            Self::TokenMismatch => "AUTH_TOKEN_MISMATCH",
            Self::PasswordMissing => "AUTH_PASSWORD_MISSING",
            Self::PasswordMismatch => "AUTH_PASSWORD_MISMATCH",
            Self::DeviceTokenMismatch => "AUTH_DEVICE_TOKEN_MISMATCH",
            Self::ScopeMismatch => "AUTH_SCOPE_MISMATCH",
            Self::RateLimited { .. } => "AUTH_RATE_LIMITED",
            Self::ProxyAttribution => "AUTH_UNAUTHORIZED",
        }
    }
}

impl AuthFailure {
    fn next_step(&self) -> &'static str {
        match self.reason {
            AuthReason::TokenMismatch if self.device_retry => "retry_with_device_token",
            AuthReason::TokenMismatch
            | AuthReason::PasswordMismatch
            | AuthReason::DeviceTokenMismatch => "update_auth_credentials",
            AuthReason::TokenMissing | AuthReason::PasswordMissing => "update_auth_configuration",
            AuthReason::RateLimited { .. } => "wait_then_retry",
            AuthReason::Required | AuthReason::ScopeMismatch | AuthReason::ProxyAttribution => {
                "review_auth_configuration"
            }
        }
    }

    fn message(&self) -> Cow<'static, str> {
        let what = match self.reason {
            AuthReason::Required => return "unauthorized".into(),
            AuthReason::TokenMissing => "gateway token missing",
            AuthReason::TokenMismatch => "gateway token mismatch",
            AuthReason::PasswordMissing => "gateway password missing",
            AuthReason::PasswordMismatch => "gateway password mismatch",
            AuthReason::DeviceTokenMismatch => {
                return "unauthorized: device token mismatch (rotate/reissue device token)".into();
            }
            AuthReason::ScopeMismatch => {
                return "unauthorized: device token scope mismatch \
                        (re-pair or approve scope upgrade)"
                    .into();
            }
            AuthReason::RateLimited { .. } => {
                return "unauthorized: too many failed authentication attempts (retry later)"
                    .into();
            }
            AuthReason::ProxyAttribution => {
                return "unauthorized: forwarding headers from an untrusted proxy \
                        (add it to gateway.trustedProxies)"
                    .into();
            }
        };
        format!("unauthorized: {what} ({})", self.hint()).into()
    }

    fn hint(&self) -> &'static str {
        let wants_password = matches!(
            self.reason,
            AuthReason::PasswordMissing | AuthReason::PasswordMismatch
        );
        match (self.audience, wants_password) {
            (Audience::Cli, false) => "pass --token or set OPENCLAW_GATEWAY_TOKEN",
            (Audience::Cli, true) => "pass --password or set OPENCLAW_GATEWAY_PASSWORD",
            (Audience::ControlUi, false) => "enter the gateway token in the settings",
            (Audience::ControlUi, true) => "enter the gateway password in the settings",
            (Audience::Other, false) => "provide gateway auth token",
            (Audience::Other, true) => "provide gateway auth password",
        }
    }

    fn body(&self, version: Protocol) -> ErrorBody {
        let body = ErrorBody::new(WireCode::InvalidRequest, self.message());
        match version {
            Protocol::V3 => body.with_details(self.details().into()),
            Protocol::V4 => {
                let mut details = self.details();
                let retry = self.can_retry_with_device_token();
                details.insert("canRetryWithDeviceToken".to_owned(), retry.into());
                details.insert("recommendedNextStep".to_owned(), self.next_step().into());
                self.with_wait(body.with_details(details.into()))
            }
        }
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        details.insert("code".to_owned(), self.reason.detail_code().into());
        if let Some(reason) = self.reason.as_str() {
            details.insert("authReason".to_owned(), reason.into());
        }
        details
    }

    fn can_retry_with_device_token(&self) -> bool {
        self.device_retry && self.reason == AuthReason::TokenMismatch
    }

    fn with_wait(&self, body: ErrorBody) -> ErrorBody {
        match self.reason {
            AuthReason::RateLimited { retry_after } => body.retry_after(retry_after),
            AuthReason::Required
            | AuthReason::TokenMissing
            | AuthReason::TokenMismatch
            | AuthReason::PasswordMissing
            | AuthReason::PasswordMismatch
            | AuthReason::DeviceTokenMismatch
            | AuthReason::ScopeMismatch
            | AuthReason::ProxyAttribution => body,
        }
    }
}

impl HandshakeFailure {
    /// The error of the response before the close.
    pub fn body(&self, version: Protocol) -> ErrorBody {
        let invalid = |message: &'static str| ErrorBody::new(WireCode::InvalidRequest, message);
        match self {
            Self::NotConnect => invalid("invalid handshake: first request must be connect"),
            Self::InvalidParams(problem) => invalid_params("connect", problem),
            Self::Starting => {
                ErrorBody::new(WireCode::Unavailable, "gateway starting; retry shortly")
                    .retry_after(STARTUP_RETRY)
                    .with_details(json!({ "reason": "startup-sidecars" }))
            }
            Self::Draining => unavailable_during_restart("connect"),
            Self::ProtocolMismatch { min, max } => {
                invalid("protocol mismatch").with_details(json!({
                    "code": "PROTOCOL_MISMATCH",
                    "clientMinProtocol": min,
                    "clientMaxProtocol": max,
                    "expectedProtocol": Protocol::CURRENT.number(),
                    "minimumProbeProtocol": Protocol::OLDEST.number(),
                }))
            }
            Self::InvalidRole => invalid("invalid role"),
            Self::OriginNotAllowed { reason } => {
                let body = invalid(
                    "origin not allowed (open the Control UI from the gateway host or allow it \
                     in gateway.controlUi.allowedOrigins)",
                );
                match version {
                    Protocol::V3 => body,
                    Protocol::V4 => body.with_details(json!({
                        "code": "CONTROL_UI_ORIGIN_NOT_ALLOWED",
                        "reason": reason,
                    })),
                }
            }
            Self::Unauthorized(failure) => failure.body(version),
            Self::DeviceIdentityRequired => {
                ErrorBody::new(WireCode::NotPaired, "device identity required")
                    .with_details(json!({ "code": "DEVICE_IDENTITY_REQUIRED" }))
            }
            Self::ControlUiDeviceIdentityRequired => invalid(
                "control ui requires device identity (use HTTPS or localhost secure context)",
            )
            .with_details(json!({ "code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" })),
            Self::DeviceProof(failure) => failure.body(version),
            Self::PairingRequired(refusal) => refusal.body(version),
            Self::TooManyDevices => {
                ErrorBody::new(WireCode::Unavailable, "too many devices wait to be paired")
                    .retry_after(TOO_MANY_DEVICES_RETRY)
            }
            Self::Internal => ErrorBody::new(WireCode::Unavailable, "internal error"),
        }
    }

    /// How the connection is closed after the response.
    pub fn close(&self, version: Protocol) -> Close {
        match self {
            Self::Starting => Close::Starting,
            Self::Draining => Close::Draining,
            Self::ProtocolMismatch { .. } => Close::ProtocolMismatch,
            Self::Internal => Close::Internal,
            Self::PairingRequired(refusal) => {
                Close::HandshakeRefused(refusal.close_reason(version))
            }
            Self::NotConnect
            | Self::InvalidParams(_)
            | Self::InvalidRole
            | Self::OriginNotAllowed { .. }
            | Self::Unauthorized(_)
            | Self::DeviceIdentityRequired
            | Self::ControlUiDeviceIdentityRequired
            | Self::DeviceProof(_)
            | Self::TooManyDevices => Close::HandshakeRefused(self.body(version).message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &ErrorBody, expected: &Value) {
        assert_eq!(&serde_json::to_value(body).unwrap(), expected);
    }

    fn failure(reason: AuthReason, audience: Audience, device_retry: bool) -> AuthFailure {
        AuthFailure {
            reason,
            audience,
            device_retry,
        }
    }

    fn check_auth(failure: &AuthFailure, message: &str, code: &str, step: &str) {
        let body = failure.body(Protocol::V4);
        let details = body.details.unwrap();
        assert_eq!(body.message, message);
        assert_eq!(details["code"], code);
        assert_eq!(details["recommendedNextStep"], step);
        assert_eq!(
            details.get("authReason").and_then(Value::as_str),
            failure.reason.as_str()
        );
    }

    #[test]
    fn authentication_failures_say_what_to_do_next() {
        let other = |reason| failure(reason, Audience::Other, false);
        check_auth(
            &other(AuthReason::TokenMismatch),
            "unauthorized: gateway token mismatch (provide gateway auth token)",
            "AUTH_TOKEN_MISMATCH",
            "update_auth_credentials",
        );
        check_auth(
            &failure(AuthReason::TokenMissing, Audience::Cli, false),
            "unauthorized: gateway token missing (pass --token or set OPENCLAW_GATEWAY_TOKEN)",
            "AUTH_TOKEN_MISSING",
            "update_auth_configuration",
        );
        check_auth(
            &failure(AuthReason::PasswordMismatch, Audience::ControlUi, false),
            "unauthorized: gateway password mismatch (enter the gateway password in the settings)",
            "AUTH_PASSWORD_MISMATCH",
            "update_auth_credentials",
        );
        check_auth(
            &other(AuthReason::PasswordMissing),
            "unauthorized: gateway password missing (provide gateway auth password)",
            "AUTH_PASSWORD_MISSING",
            "update_auth_configuration",
        );
        check_auth(
            &other(AuthReason::Required),
            "unauthorized",
            "AUTH_REQUIRED",
            "review_auth_configuration",
        );
        check_auth(
            &other(AuthReason::ProxyAttribution),
            "unauthorized: forwarding headers from an untrusted proxy \
             (add it to gateway.trustedProxies)",
            "AUTH_UNAUTHORIZED",
            "review_auth_configuration",
        );
    }

    #[test]
    fn a_lockout_is_retryable_and_tells_how_long_it_holds() {
        let locked = AuthReason::RateLimited {
            retry_after: Duration::from_millis(298_401),
        };
        let failure = failure(locked, Audience::Other, true);
        check(
            &failure.body(Protocol::V4),
            &json!({
                "code": "INVALID_REQUEST",
                "message": "unauthorized: too many failed authentication attempts (retry later)",
                "retryable": true,
                "retryAfterMs": 298_401,
                "details": {
                    "code": "AUTH_RATE_LIMITED",
                    "authReason": "rate_limited",
                    "canRetryWithDeviceToken": false,
                    "recommendedNextStep": "wait_then_retry",
                },
            }),
        );
        check(
            &failure.body(Protocol::V3),
            &json!({
                "code": "INVALID_REQUEST",
                "message": "unauthorized: too many failed authentication attempts (retry later)",
                "details": {"code": "AUTH_RATE_LIMITED", "authReason": "rate_limited"},
            }),
        );
    }

    #[test]
    fn only_a_wrong_token_can_be_tried_again_with_a_device_token() {
        let details = |reason| {
            let failure = failure(reason, Audience::Other, true);
            failure.body(Protocol::V4).details.unwrap()
        };
        let wrong_token = details(AuthReason::TokenMismatch);
        assert_eq!(wrong_token["canRetryWithDeviceToken"], true);
        assert_eq!(
            wrong_token["recommendedNextStep"],
            "retry_with_device_token"
        );
        let wrong_password = details(AuthReason::PasswordMismatch);
        assert_eq!(wrong_password["canRetryWithDeviceToken"], false);
    }

    fn check_failure(failure: &HandshakeFailure, body: &Value, code: u16, reason: &str) {
        check(&failure.body(Protocol::V4), body);
        let close = failure.close(Protocol::V4);
        assert_eq!((close.code(), close.reason()), (code, reason));
    }

    #[test]
    fn handshakes_fail_as_on_record() {
        check_failure(
            &HandshakeFailure::DeviceIdentityRequired,
            &json!({
                "code": "NOT_PAIRED",
                "message": "device identity required",
                "details": {"code": "DEVICE_IDENTITY_REQUIRED"},
            }),
            1008,
            "device identity required",
        );
        let message = "control ui requires device identity (use HTTPS or localhost secure context)";
        check_failure(
            &HandshakeFailure::ControlUiDeviceIdentityRequired,
            &json!({
                "code": "INVALID_REQUEST",
                "message": message,
                "details": {"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"},
            }),
            1008,
            message,
        );
        let message = "origin not allowed (open the Control UI from the gateway host or allow it \
                       in gateway.controlUi.allowedOrigins)";
        let origin = HandshakeFailure::OriginNotAllowed {
            reason: "origin not allowed",
        };
        check_failure(
            &origin,
            &json!({
                "code": "INVALID_REQUEST",
                "message": message,
                "details": {
                    "code": "CONTROL_UI_ORIGIN_NOT_ALLOWED",
                    "reason": "origin not allowed",
                },
            }),
            1008,
            message,
        );
        check(
            &origin.body(Protocol::V3),
            &json!({"code": "INVALID_REQUEST", "message": message}),
        );
        check_failure(
            &HandshakeFailure::Internal,
            &json!({"code": "UNAVAILABLE", "message": "internal error"}),
            1011,
            "gateway message handler unavailable",
        );
    }
}
