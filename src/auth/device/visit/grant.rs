//! What a device is granted, and the token it gets.

use std::sync::Arc;

use crate::auth::device::record::{
    ApprovedVia, DeviceFacts, DeviceToken, PairRequest, PairedDevice,
};
use crate::auth::scope::{Role, ScopeSet};
use crate::auth::secret::Minted;

use super::{IssuedToken, Visit};

/// Time between two notes that a device was seen, in milliseconds: nobody needs to know better, and
/// a storm of reconnects does not become one of writes.
const SEEN_PAUSE_MS: u64 = 60_000;

/// What is granted, or asked to be.
pub(in crate::auth::device) struct Asked {
    pub(super) public_key: Arc<str>,
    pub(super) facts: DeviceFacts,
    pub(super) roles: Vec<Role>,
    pub(super) scopes: ScopeSet,
}

impl Asked {
    pub(super) fn of(visit: &Visit) -> Self {
        Self {
            public_key: visit.proven.public_key.as_str().into(),
            facts: visit.facts.clone(),
            roles: vec![visit.role],
            scopes: visit.scopes.clone(),
        }
    }
}

impl From<PairRequest> for Asked {
    fn from(request: PairRequest) -> Self {
        Self {
            public_key: request.public_key,
            facts: request.facts,
            roles: request.roles,
            scopes: request.scopes,
        }
    }
}

/// Adds what was asked for to a pairing, which is made when there is none. Withdrawn tokens of the
/// roles go, so that new ones can be issued.
pub(in crate::auth::device) fn grant(
    paired: Option<PairedDevice>,
    asked: Asked,
    via: ApprovedVia,
    now_ms: u64,
) -> PairedDevice {
    let Some(old) = paired else {
        return PairedDevice {
            public_key: asked.public_key,
            facts: asked.facts,
            label: None,
            roles: asked.roles,
            scopes: asked.scopes,
            approved_via: via,
            created_at_ms: now_ms,
            approved_at_ms: now_ms,
            last_seen_at_ms: None,
            tokens: Vec::new(),
        };
    };
    let mut tokens = old.tokens;
    tokens.retain(|token| !(token.is_revoked() && asked.roles.contains(&token.role)));
    PairedDevice {
        facts: merged(old.facts, asked.facts),
        roles: joined(asked.roles, old.roles),
        scopes: old.scopes.joined(&asked.scopes),
        // What an operator approved once is not forgotten like what nobody looked at.
        approved_via: match (old.approved_via, via) {
            (ApprovedVia::Silent, ApprovedVia::Silent) => ApprovedVia::Silent,
            (ApprovedVia::Operator, _) | (_, ApprovedVia::Operator) => ApprovedVia::Operator,
        },
        approved_at_ms: now_ms,
        tokens,
        ..old
    }
}

fn merged(old: DeviceFacts, new: DeviceFacts) -> DeviceFacts {
    DeviceFacts {
        display_name: new.display_name.or(old.display_name),
        platform: new.platform.or(old.platform),
        device_family: new.device_family.or(old.device_family),
        client_id: new.client_id.or(old.client_id),
        client_mode: new.client_mode.or(old.client_mode),
        browser_origin: new.browser_origin,
        remote_ip: new.remote_ip,
    }
}

pub(super) fn joined(mut first: Vec<Role>, others: Vec<Role>) -> Vec<Role> {
    for role in others {
        if !first.contains(&role) {
            first.push(role);
        }
    }
    first
}

/// What a device gets that is let in.
pub(super) struct Entered {
    pub(super) token: Option<IssuedToken>,
    /// Whether the token has a text that has to be kept.
    pub(super) is_new: bool,
    /// Whether something was noted that is worth keeping.
    pub(super) is_note: bool,
}

/// Lets in a device whose pairing covers what it asks for: notes that it was seen, and gives it the
/// token of its role.
pub(super) fn enter(
    visit: &Visit,
    paired: &mut PairedDevice,
    secret: Minted,
    now_ms: u64,
) -> Entered {
    let is_note = note_seen(paired, visit, now_ms);
    let issued = (!visit.is_capped).then(|| ensure_token(paired, visit, secret, now_ms));
    let (token, is_new) = issued.unzip();
    Entered {
        token,
        is_new: is_new.unwrap_or(false),
        is_note,
    }
}

/// Notes what the device says about itself now; whether that is worth writing.
fn note_seen(paired: &mut PairedDevice, visit: &Visit, now_ms: u64) -> bool {
    let pinned = paired.facts.clone();
    let mut facts = merged(pinned.clone(), visit.facts.clone());
    facts.platform = pinned.platform.or(facts.platform);
    facts.device_family = pinned.device_family.or(facts.device_family);
    let is_recent = paired
        .last_seen_at_ms
        .is_some_and(|seen| now_ms.abs_diff(seen) < SEEN_PAUSE_MS);
    if is_recent && facts == paired.facts {
        return false;
    }
    paired.facts = facts;
    paired.last_seen_at_ms = Some(now_ms);
    if visit.presented.is_some()
        && let Some(token) = paired.token_mut(visit.role)
    {
        token.last_used_at_ms = Some(now_ms);
    }
    true
}

/// The token of the device for its role, and whether the device has to be written for it. One that
/// is valid and covers what is asked for stays; a device that did not show it is told another text
/// for it, because the first was not kept.
fn ensure_token(
    paired: &mut PairedDevice,
    visit: &Visit,
    secret: Minted,
    now_ms: u64,
) -> (IssuedToken, bool) {
    let approved = paired.scopes.clone();
    let is_fit = |token: &DeviceToken| {
        !token.is_revoked()
            && approved.lacks(&token.scopes).is_none()
            && token.scopes.lacks(&visit.scopes).is_none()
    };
    let old = paired.tokens.iter().position(|it| it.role == visit.role);
    let old = old.map(|at| paired.tokens.remove(at));
    let (mut token, presented) = match old {
        Some(token) if is_fit(&token) => (token, visit.presented.as_ref()),
        other => {
            let (role, scopes) = (visit.role, &visit.scopes);
            let token = DeviceToken::replacing(other.as_ref(), role, scopes, now_ms);
            (token, None)
        }
    };
    let issued_at_ms = token.issued_at_ms();
    let (text, is_new) = if let Some(presented) = presented {
        (Minted::again(presented), false)
    } else {
        token.add(secret.digest());
        (secret, true)
    };
    paired.tokens.push(token);
    let issued = IssuedToken { text, issued_at_ms };
    (issued, is_new)
}
