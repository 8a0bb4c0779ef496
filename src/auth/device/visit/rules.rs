//! Who needs approval, and who gets it without being asked.

use std::sync::Arc;

use crate::auth::AuthMethod;
use crate::auth::device::proof::folded;
use crate::auth::device::record::{DeviceFacts, PairedDevice};
use crate::auth::head::Locality;
use crate::auth::scope::{Role, Rules};

use super::{PairingPolicy, PairingReason, Program, Visit};

/// Why the device needs approval, if it does, in the order of the protocol.
pub(super) fn need(visit: &Visit, paired: Option<&PairedDevice>) -> Option<PairingReason> {
    let Some(paired) = paired else {
        return Some(PairingReason::NotPaired);
    };
    if matches!(visit.rules, Rules::V4) && is_other_kind(&paired.facts, &visit.facts) {
        return Some(PairingReason::MetadataUpgrade);
    }
    if !paired.may_act_as(visit.role) {
        return Some(PairingReason::RoleUpgrade);
    }
    let lacks = paired.scopes.lacks(&visit.scopes);
    lacks.map(|_scope| PairingReason::ScopeUpgrade)
}

/// Whether what was pinned at the approval is another platform or family than what is said now.
pub(super) fn is_other_kind(pinned: &DeviceFacts, said: &DeviceFacts) -> bool {
    let differs = |pinned: &Option<Arc<str>>, said: &Option<Arc<str>>| {
        pinned.is_some() && folded(pinned.as_deref()) != folded(said.as_deref())
    };
    differs(&pinned.platform, &said.platform) || differs(&pinned.device_family, &said.device_family)
}

/// Whether the peer would have the same rights here without any device.
pub(super) fn is_exempt(visit: &Visit) -> bool {
    let asks_no_secret = matches!(visit.method, AuthMethod::None);
    let is_spared = match visit.program {
        Program::Backend => match visit.locality {
            Locality::DirectLocal => true,
            Locality::ContainerLocal => knows_secret(visit),
            Locality::BrowserLocal | Locality::Remote => false,
        },
        Program::ControlUi => match visit.locality {
            Locality::DirectLocal | Locality::BrowserLocal => asks_no_secret,
            Locality::ContainerLocal | Locality::Remote => false,
        },
        Program::Webchat | Program::NativeApp | Program::Other => false,
    };
    matches!(visit.role, Role::Operator) && is_spared
}

fn knows_secret(visit: &Visit) -> bool {
    matches!(visit.method, AuthMethod::Token | AuthMethod::Password)
}

/// Whether the device is approved without anybody being asked: only near programs, and pages only
/// where that is configured.
pub(super) fn is_silent(visit: &Visit, policy: PairingPolicy, reason: PairingReason) -> bool {
    let is_near = match visit.locality {
        Locality::DirectLocal => true,
        Locality::ContainerLocal => knows_secret(visit),
        Locality::BrowserLocal => {
            let is_page = matches!(visit.program, Program::ControlUi | Program::Webchat);
            policy.approve_pages && is_page && knows_secret(visit)
        }
        Locality::Remote => false,
    };
    let is_allowed = match reason {
        PairingReason::NotPaired => true,
        PairingReason::RoleUpgrade => {
            matches!((visit.role, visit.rules), (Role::Operator, Rules::V4))
        }
        PairingReason::ScopeUpgrade => !matches!(visit.method, AuthMethod::DeviceToken),
        PairingReason::MetadataUpgrade => match visit.locality {
            Locality::DirectLocal => matches!(visit.program, Program::NativeApp),
            Locality::ContainerLocal => true,
            Locality::BrowserLocal | Locality::Remote => false,
        },
    };
    policy.approve_local && is_near && is_allowed
}
