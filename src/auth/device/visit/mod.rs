//! A device that proved itself and authenticated, and what follows: it is let in, it is paired
//! silently, or it has to be approved (`protocol-facts` §3.7, §3.8).
//!
//! Pure: what is stored, the time, a fresh id and a fresh secret are passed in; what is to be
//! stored and told comes out.

mod grant;
mod request;
mod rules;

#[cfg(test)]
mod tests;

pub(super) use grant::grant;
pub(super) use request::is_live;

use std::sync::Arc;

use crate::auth::head::Locality;
use crate::auth::scope::{Role, Rules, ScopeSet};
use crate::auth::secret::{Minted, Offered};
use crate::auth::{AuthError, AuthMethod};

use super::notice::{Decision, DeviceNotice};
use super::proof::Proven;
use super::record::{ApprovedVia, Device, DeviceFacts};
use super::token::{self, TokenRefusal};

use grant::{Asked, enter};
use request::{ask, take_granted_request};
use rules::{is_exempt, is_silent, need};

/// How long a request waits for a decision after it was last repeated, in milliseconds.
pub(super) const REQUEST_TTL_MS: u64 = 300_000;

/// Who is paired without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairingPolicy {
    /// Programs on this machine that know the secret (`gateway.nodes.pairing.autoApproveLocal`).
    pub approve_local: bool,
    /// Pages on this machine that know the secret, too (`gateway.controlUi.autoApproveLocal`).
    pub approve_pages: bool,
}

impl Default for PairingPolicy {
    fn default() -> Self {
        Self {
            approve_local: true,
            approve_pages: false,
        }
    }
}

/// Why a device has to be approved, although it authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingReason {
    /// It is not paired.
    NotPaired,
    /// It is another kind of device than the one that was paired.
    MetadataUpgrade,
    /// It wants to act as something it was not approved for.
    RoleUpgrade,
    /// It wants to do more than it was approved for.
    ScopeUpgrade,
}

/// A device that waits for approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingRequired {
    /// Why.
    pub reason: PairingReason,
    /// The request an operator can approve.
    pub request_id: Arc<str>,
    /// The device.
    pub device: Arc<str>,
    /// What it wants to act as.
    pub role: Role,
    /// What it wants to do.
    pub scopes: ScopeSet,
    /// What it was approved for so far, when it is paired.
    pub approved: Option<(Vec<Role>, ScopeSet)>,
    /// Whether somebody is likely to sit at it and wait, so that trying again is worth it.
    pub is_watched: bool,
}

/// A token a peer is told in `hello-ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token.
    pub text: Minted,
    /// When the token as it is came to be, in wall-clock milliseconds.
    pub issued_at_ms: u64,
}

/// Which program a peer says it is, as far as pairing depends on it (`protocol-facts` §2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::auth) enum Program {
    /// A person's control interface.
    ControlUi,
    /// Another page to chat in.
    Webchat,
    /// The interface of a native app.
    NativeApp,
    /// A backend.
    Backend,
    /// Any other.
    #[default]
    Other,
}

/// A connect of a device that proved itself and authenticated.
#[derive(Clone, Debug)]
pub(in crate::auth) struct Visit {
    pub(in crate::auth) proven: Proven,
    pub(in crate::auth) facts: DeviceFacts,
    pub(in crate::auth) program: Program,
    pub(in crate::auth) role: Role,
    /// What it asks for, as far as its role can hold it and its request head does not take it away.
    pub(in crate::auth) scopes: ScopeSet,
    pub(in crate::auth) rules: Rules,
    pub(in crate::auth) locality: Locality,
    /// How it authenticated.
    pub(in crate::auth) method: AuthMethod,
    /// The device token it authenticated with, if it did.
    pub(in crate::auth) presented: Option<Offered>,
    /// Whether its request head takes scopes away, so that it is given nothing to keep.
    pub(in crate::auth) is_capped: bool,
}

/// Things that are new each time.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) request_id: Arc<str>,
    pub(super) secret: Minted,
    pub(super) now_ms: u64,
}

/// What becomes of a visit.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The device as it is to be written; `None` when nothing changed.
    pub(super) change: Option<Device>,
    /// Whether the visit may go on when the change cannot be written: it only notes a time.
    pub(super) is_optional: bool,
    /// Whether the peer is let in, and with which token.
    pub(super) entry: Result<Option<IssuedToken>, PairingRequired>,
    /// What is to be told once the change is written.
    pub(super) notices: Vec<DeviceNotice>,
}

impl Outcome {
    const fn unchanged() -> Self {
        Self {
            change: None,
            is_optional: true,
            entry: Ok(None),
            notices: Vec::new(),
        }
    }
}

/// Decides about a visit.
///
/// # Errors
/// The device token it authenticated with is none any more.
pub(super) fn decide(
    visit: &Visit,
    mut device: Device,
    policy: PairingPolicy,
    fresh: Fresh,
) -> Result<Outcome, AuthError> {
    let now_ms = fresh.now_ms;
    if let Some(presented) = &visit.presented {
        let paired = device.paired.as_ref();
        token::verify(paired, visit.role, &visit.scopes, &presented.digest())
            .map_err(TokenRefusal::as_auth_error)?;
    }
    let Some(reason) = need(visit, device.paired.as_ref()) else {
        let Some(paired) = &mut device.paired else {
            return Ok(Outcome::unchanged());
        };
        let entered = enter(visit, paired, fresh.secret, now_ms);
        return Ok(Outcome {
            change: (entered.is_note || entered.is_new).then_some(device),
            is_optional: !entered.is_new,
            entry: Ok(entered.token),
            notices: Vec::new(),
        });
    };
    if is_exempt(visit) {
        return Ok(Outcome::unchanged());
    }
    if !is_silent(visit, policy, reason) {
        return Ok(ask(visit, device, reason, fresh));
    }
    let old = device.paired.take();
    let mut paired = grant(old, Asked::of(visit), ApprovedVia::Silent, now_ms);
    let resolved = take_granted_request(&mut device, &paired);
    let entered = enter(visit, &mut paired, fresh.secret, now_ms);
    let resolved = DeviceNotice::Resolved {
        request_id: resolved.unwrap_or(fresh.request_id),
        device: Arc::clone(&device.id),
        decision: Decision::Approved,
        at_ms: now_ms,
    };
    device.paired = Some(paired);
    Ok(Outcome {
        change: Some(device),
        is_optional: false,
        entry: Ok(entered.token),
        notices: vec![resolved],
    })
}
