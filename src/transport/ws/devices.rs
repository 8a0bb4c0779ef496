//! Devices on the wire: what auth knows in the words of the dialect, events about them, and the end
//! of connections and runs whose credential is none any more.

use std::sync::Arc;

use crate::auth::device::{
    Decision, DeviceFacts, DeviceNotice, DeviceToken, DeviceWatcher, InvalidCause, Invalidation,
    PairRequest, PairedDevice, PairingReason, PairingRequired, ProofError,
};
use crate::auth::{self, ScopeSet};
use crate::dispatch::Dispatch;
use crate::protocol::events::Event as Kind;
use crate::protocol::events::device::{DevicePairResolved, PairDecision};
use crate::protocol::methods::device as wire;
use crate::protocol::{Close, DeviceProofFailure, PairingRefusal, Role, UpgradeReason};

use super::event::{Audience, Event};
use super::feed::Feed;
use super::native::encode;
use super::registry::Registry;

/// Tells connections what happens to devices.
#[derive(Debug)]
pub(super) struct DeviceTeller {
    pub(super) feed: Arc<Feed<Event>>,
    pub(super) registry: Arc<Registry>,
    pub(super) dispatch: Arc<Dispatch>,
}

impl DeviceWatcher for DeviceTeller {
    fn notice(&self, notice: &DeviceNotice) {
        let (kind, encoded) = match notice {
            DeviceNotice::Requested { device, request } => {
                let kind = Kind::DevicePairRequested;
                (kind, encode(kind, &pending(device, request)))
            }
            DeviceNotice::Resolved {
                request_id,
                device,
                decision,
                at_ms,
            } => {
                let resolved = DevicePairResolved {
                    request_id: Arc::clone(request_id),
                    device_id: Arc::clone(device),
                    decision: match decision {
                        Decision::Approved => PairDecision::Approved,
                        Decision::Rejected => PairDecision::Rejected,
                    },
                    ts: *at_ms,
                };
                let kind = Kind::DevicePairResolved;
                (kind, encode(kind, &resolved))
            }
            DeviceNotice::Invalidated(invalidation) => {
                self.registry.close_invalid(invalidation);
                if invalidation.ends_runs() {
                    self.dispatch.withdraw_device(&invalidation.device);
                }
                return;
            }
        };
        if let Some(encoded) = encoded {
            self.feed
                .publish([Event::new(kind, encoded, Audience::All)]);
        }
    }
}

/// How a connection ends that an invalidation hits.
pub(super) const fn close_of(invalidation: &Invalidation) -> Close {
    match invalidation.cause {
        InvalidCause::Removed => Close::DeviceRemoved,
        InvalidCause::Revoked(_) => Close::DeviceTokenRevoked,
        InvalidCause::Rotated(_) => Close::DeviceTokenRotated,
    }
}

/// What a peer is told that did not prove its device.
pub(super) const fn proof_failure(error: ProofError) -> DeviceProofFailure {
    match error {
        ProofError::IdMismatch => DeviceProofFailure::IdMismatch,
        ProofError::Stale => DeviceProofFailure::SignatureExpired,
        ProofError::NonceMissing => DeviceProofFailure::NonceRequired,
        ProofError::NonceMismatch => DeviceProofFailure::NonceMismatch,
        ProofError::Signature => DeviceProofFailure::SignatureInvalid,
        ProofError::PublicKey => DeviceProofFailure::PublicKeyInvalid,
    }
}

/// What a device is told that has to be approved first.
pub(super) fn pairing_refusal(required: &PairingRequired) -> PairingRefusal {
    let approved = required.approved.as_ref();
    PairingRefusal {
        reason: match required.reason {
            PairingReason::NotPaired => UpgradeReason::NotPaired,
            PairingReason::MetadataUpgrade => UpgradeReason::Metadata,
            PairingReason::RoleUpgrade => UpgradeReason::Role,
            PairingReason::ScopeUpgrade => UpgradeReason::Scope,
        },
        request_id: Arc::clone(&required.request_id),
        device_id: Arc::clone(&required.device),
        role: role(required.role),
        scopes: names(&required.scopes),
        approved: approved.map(|(approved, scopes)| (roles(approved), names(scopes))),
        is_worth_polling: required.is_watched,
    }
}

pub(super) const fn role(role: auth::Role) -> Role {
    match role {
        auth::Role::Operator => Role::Operator,
        auth::Role::Node => Role::Node,
    }
}

fn roles(roles: &[auth::Role]) -> Vec<Role> {
    roles.iter().map(|it| role(*it)).collect()
}

pub(super) fn names(scopes: &ScopeSet) -> Vec<Arc<str>> {
    scopes.names().map(Arc::from).collect()
}

/// A device that asks to be paired.
pub(super) fn pending(device: &Arc<str>, request: &PairRequest) -> wire::PendingDevice {
    wire::PendingDevice {
        request_id: Arc::clone(&request.request_id),
        device_id: Arc::clone(device),
        public_key: Arc::clone(&request.public_key),
        facts: facts(&request.facts),
        role: request.roles.first().map(|it| role(*it)),
        roles: roles(&request.roles),
        scopes: names(&request.scopes),
        is_repair: request.is_repair,
        ts: request.at_ms,
    }
}

/// A paired device.
pub(super) fn paired(
    device: &Arc<str>,
    paired: &PairedDevice,
    connected: bool,
) -> wire::PairedDevice {
    wire::PairedDevice {
        device_id: Arc::clone(device),
        public_key: Arc::clone(&paired.public_key),
        facts: facts(&paired.facts),
        label: paired.label.clone(),
        role: paired.roles.first().map(|it| role(*it)),
        roles: roles(&paired.roles),
        scopes: names(&paired.scopes),
        approved_via: paired.approved_via.as_str().into(),
        created_at_ms: paired.created_at_ms,
        approved_at_ms: paired.approved_at_ms,
        last_seen_at_ms: paired.last_seen_at_ms,
        last_seen_reason: paired.last_seen_at_ms.map(|_seen| "connect".into()),
        connected,
        tokens: paired.tokens.iter().map(token).collect(),
    }
}

fn token(token: &DeviceToken) -> wire::DeviceTokenSummary {
    wire::DeviceTokenSummary {
        role: role(token.role),
        scopes: names(&token.scopes),
        created_at_ms: token.created_at_ms,
        rotated_at_ms: token.rotated_at_ms,
        revoked_at_ms: token.revoked_at_ms,
        last_used_at_ms: token.last_used_at_ms,
    }
}

fn facts(facts: &DeviceFacts) -> wire::DeviceFacts {
    wire::DeviceFacts {
        display_name: facts.display_name.clone(),
        platform: facts.platform.clone(),
        device_family: facts.device_family.clone(),
        client_id: facts.client_id.clone(),
        client_mode: facts.client_mode.clone(),
        browser_origin: facts.browser_origin.clone(),
        remote_ip: facts.remote_ip.clone(),
    }
}
