//! How a handshake fails over a device: its proof, or its pairing (`protocol-facts` §3.4, §3.7).

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::connect::Role;
use super::error::{ErrorBody, WireCode};
use super::version::Protocol;

/// Why a device was not proved (§3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceProofFailure {
    /// The id is not that of the key.
    IdMismatch,
    /// It was signed too long ago, or in the future.
    SignatureExpired,
    /// No nonce was signed.
    NonceRequired,
    /// Another nonce was signed.
    NonceMismatch,
    /// The signature is not that of the key.
    SignatureInvalid,
    /// The key is none.
    PublicKeyInvalid,
}

impl DeviceProofFailure {
    const fn message(self) -> &'static str {
        match self {
            Self::IdMismatch => "device identity mismatch",
            Self::SignatureExpired => "device signature expired",
            Self::NonceRequired => "device nonce required",
            Self::NonceMismatch => "device nonce mismatch",
            Self::SignatureInvalid => "device signature invalid",
            Self::PublicKeyInvalid => "device public key invalid",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::IdMismatch => "device-id-mismatch",
            Self::SignatureExpired => "device-signature-stale",
            Self::NonceRequired => "device-nonce-missing",
            Self::NonceMismatch => "device-nonce-mismatch",
            Self::SignatureInvalid => "device-signature",
            Self::PublicKeyInvalid => "device-public-key",
        }
    }

    /// `details.code`; version 3 has one for all.
    const fn detail_code(self, version: Protocol) -> &'static str {
        match (version, self) {
            (Protocol::V3, _) => "DEVICE_AUTH_INVALID",
            (Protocol::V4, Self::IdMismatch) => "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            (Protocol::V4, Self::SignatureExpired) => "DEVICE_AUTH_SIGNATURE_EXPIRED",
            (Protocol::V4, Self::NonceRequired) => "DEVICE_AUTH_NONCE_REQUIRED",
            (Protocol::V4, Self::NonceMismatch) => "DEVICE_AUTH_NONCE_MISMATCH",
            (Protocol::V4, Self::SignatureInvalid) => "DEVICE_AUTH_SIGNATURE_INVALID",
            (Protocol::V4, Self::PublicKeyInvalid) => "DEVICE_AUTH_PUBLIC_KEY_INVALID",
        }
    }

    pub(super) fn body(self, version: Protocol) -> ErrorBody {
        ErrorBody::new(WireCode::InvalidRequest, self.message()).with_details(json!({
            "code": self.detail_code(version),
            "reason": self.reason(),
        }))
    }
}

/// A device that has to be approved first (§3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingRefusal {
    /// Why.
    pub reason: UpgradeReason,
    /// The request that can be approved.
    pub request_id: Arc<str>,
    /// The device.
    pub device_id: Arc<str>,
    /// What it wants to act as.
    pub role: Role,
    /// What it wants to do.
    pub scopes: Vec<Arc<str>>,
    /// What it was approved to act as and to do, when it is paired.
    pub approved: Option<(Vec<Role>, Vec<Arc<str>>)>,
    /// Whether a client does well to try again by itself.
    pub is_worth_polling: bool,
}

/// Why a device has to be approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeReason {
    /// It is not paired.
    NotPaired,
    /// It is another kind of device than was approved.
    Metadata,
    /// It wants to act as something it was not approved for.
    Role,
    /// It wants to do more than it was approved for.
    Scope,
}

impl UpgradeReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NotPaired => "not-paired",
            Self::Metadata => "metadata-upgrade",
            Self::Role => "role-upgrade",
            Self::Scope => "scope-upgrade",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::NotPaired => "pairing required: device is not approved yet",
            Self::Metadata => "pairing required: device identity changed and must be re-approved",
            Self::Role => {
                "pairing required: device is asking for a higher role than currently approved"
            }
            Self::Scope => {
                "pairing required: device is asking for more scopes than currently approved"
            }
        }
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::NotPaired => "Approve this device from the pending pairing requests.",
            Self::Metadata => {
                "Review the refreshed device details, then approve the pending request."
            }
            Self::Role => "Review the requested role upgrade, then approve the pending request.",
            Self::Scope => "Review the requested scopes, then approve the pending upgrade.",
        }
    }
}

impl PairingRefusal {
    pub(super) fn body(&self, version: Protocol) -> ErrorBody {
        let message = match version {
            Protocol::V3 => "pairing required",
            Protocol::V4 => self.reason.message(),
        };
        ErrorBody::new(WireCode::NotPaired, message).with_details(self.details(version).into())
    }

    fn details(&self, version: Protocol) -> Map<String, Value> {
        let mut details = Map::new();
        let mut say = |name: &str, value: Value| details.insert(name.to_owned(), value);
        say("code", "PAIRING_REQUIRED".into());
        say("requestId", (*self.request_id).into());
        say("reason", self.reason.as_str().into());
        if matches!(version, Protocol::V3) {
            return details;
        }
        say("remediationHint", self.reason.hint().into());
        say("deviceId", (*self.device_id).into());
        say("requestedRole", self.role.as_str().into());
        say("requestedScopes", json!(self.scopes));
        if let Some((roles, scopes)) = &self.approved {
            say("approvedRoles", json!(roles));
            say("approvedScopes", json!(scopes));
        }
        if self.is_worth_polling {
            say("recommendedNextStep", "wait_then_retry".into());
            say("retryable", true.into());
            say("pauseReconnect", false.into());
        }
        details
    }

    pub(super) fn close_reason(&self, version: Protocol) -> Cow<'static, str> {
        match version {
            Protocol::V3 => "pairing required".into(),
            Protocol::V4 => {
                format!("{} (requestId: {})", self.reason.message(), self.request_id).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOFS: [(DeviceProofFailure, &str, &str, &str); 6] = [
        (
            DeviceProofFailure::IdMismatch,
            "device identity mismatch",
            "device-id-mismatch",
            "DEVICE_AUTH_DEVICE_ID_MISMATCH",
        ),
        (
            DeviceProofFailure::SignatureExpired,
            "device signature expired",
            "device-signature-stale",
            "DEVICE_AUTH_SIGNATURE_EXPIRED",
        ),
        (
            DeviceProofFailure::NonceRequired,
            "device nonce required",
            "device-nonce-missing",
            "DEVICE_AUTH_NONCE_REQUIRED",
        ),
        (
            DeviceProofFailure::NonceMismatch,
            "device nonce mismatch",
            "device-nonce-mismatch",
            "DEVICE_AUTH_NONCE_MISMATCH",
        ),
        (
            DeviceProofFailure::SignatureInvalid,
            "device signature invalid",
            "device-signature",
            "DEVICE_AUTH_SIGNATURE_INVALID",
        ),
        (
            DeviceProofFailure::PublicKeyInvalid,
            "device public key invalid",
            "device-public-key",
            "DEVICE_AUTH_PUBLIC_KEY_INVALID",
        ),
    ];

    #[test]
    fn every_fault_of_a_proof_has_its_words() {
        for (failure, message, reason, code) in PROOFS {
            for (version, code) in [(Protocol::V4, code), (Protocol::V3, "DEVICE_AUTH_INVALID")] {
                let body = serde_json::to_value(failure.body(version)).unwrap();
                let expected = json!({
                    "code": "INVALID_REQUEST",
                    "message": message,
                    "details": { "code": code, "reason": reason },
                });
                assert_eq!(body, expected, "{version:?}");
            }
        }
    }

    fn refusal(reason: UpgradeReason) -> PairingRefusal {
        PairingRefusal {
            reason,
            request_id: "r-1".into(),
            device_id: "d-1".into(),
            role: Role::Operator,
            scopes: vec!["operator.admin".into()],
            approved: None,
            is_worth_polling: false,
        }
    }

    #[test]
    fn a_new_device_is_told_which_request_waits_for_approval() {
        let refusal = refusal(UpgradeReason::NotPaired);
        let body = serde_json::to_value(refusal.body(Protocol::V4)).unwrap();
        let expected = json!({
            "code": "NOT_PAIRED",
            "message": "pairing required: device is not approved yet",
            "details": {
                "code": "PAIRING_REQUIRED",
                "reason": "not-paired",
                "requestId": "r-1",
                "remediationHint": "Approve this device from the pending pairing requests.",
                "deviceId": "d-1",
                "requestedRole": "operator",
                "requestedScopes": ["operator.admin"],
            },
        });
        assert_eq!(body, expected);
        assert_eq!(
            refusal.close_reason(Protocol::V4),
            "pairing required: device is not approved yet (requestId: r-1)"
        );
        let body = serde_json::to_value(refusal.body(Protocol::V3)).unwrap();
        let expected = json!({
            "code": "NOT_PAIRED",
            "message": "pairing required",
            "details": { "code": "PAIRING_REQUIRED", "reason": "not-paired", "requestId": "r-1" },
        });
        assert_eq!(body, expected);
        assert_eq!(refusal.close_reason(Protocol::V3), "pairing required");
    }

    #[test]
    fn an_upgrade_shows_what_is_approved_and_who_may_poll() {
        let refusal = PairingRefusal {
            approved: Some((vec![Role::Operator], vec!["operator.read".into()])),
            is_worth_polling: true,
            ..refusal(UpgradeReason::Scope)
        };
        let details = refusal.body(Protocol::V4).details.unwrap();
        assert_eq!(details["reason"], "scope-upgrade");
        assert_eq!(details["approvedRoles"], json!(["operator"]));
        assert_eq!(details["approvedScopes"], json!(["operator.read"]));
        assert_eq!(details["recommendedNextStep"], "wait_then_retry");
        assert_eq!(details["retryable"], true);
        assert_eq!(details["pauseReconnect"], false);
    }

    #[test]
    fn every_reason_has_its_words() {
        for (reason, name, message) in [
            (
                UpgradeReason::Metadata,
                "metadata-upgrade",
                "must be re-approved",
            ),
            (UpgradeReason::Role, "role-upgrade", "a higher role"),
            (UpgradeReason::Scope, "scope-upgrade", "more scopes"),
        ] {
            let body = refusal(reason).body(Protocol::V4);
            assert!(body.message.starts_with("pairing required: device "));
            assert!(body.message.contains(message), "{}", body.message);
            let details = body.details.unwrap();
            assert_eq!(details["reason"], name);
            let hint = details["remediationHint"].as_str().unwrap();
            assert!(hint.starts_with("Review the "), "{hint}");
        }
    }
}
