//! The request of a device that has to be approved.

use std::sync::Arc;

use crate::auth::device::notice::{Decision, DeviceNotice};
use crate::auth::device::record::{Device, PairRequest, PairedDevice};
use crate::auth::scope::Role;

use super::grant::{Asked, joined};
use super::rules::is_other_kind;
use super::{Fresh, Outcome, PairingReason, PairingRequired, Program, REQUEST_TTL_MS, Visit};

/// Makes or repeats the request of a device that has to be approved.
pub(super) fn ask(
    visit: &Visit,
    mut device: Device,
    reason: PairingReason,
    fresh: Fresh,
) -> Outcome {
    let now_ms = fresh.now_ms;
    let id = Arc::clone(&device.id);
    let asked = Asked::of(visit);
    let old = device.request.take();
    let old = old.filter(|old| is_live(old, now_ms));
    let mut notices = Vec::new();
    let request = match old {
        Some(old) if covers(&old, &asked) => PairRequest {
            at_ms: now_ms,
            ..old
        },
        old => {
            let request = PairRequest {
                request_id: fresh.request_id,
                public_key: asked.public_key,
                facts: asked.facts,
                roles: joined(
                    asked.roles,
                    old.as_ref().map_or(Vec::new(), |it| it.roles.clone()),
                ),
                scopes: old
                    .as_ref()
                    .map_or(asked.scopes.clone(), |old| asked.scopes.joined(&old.scopes)),
                is_repair: device.paired.is_some(),
                at_ms: now_ms,
            };
            // Whoever looked at the old request must not approve the new one with its id.
            notices.extend(old.map(|old| DeviceNotice::Resolved {
                request_id: old.request_id,
                device: Arc::clone(&id),
                decision: Decision::Rejected,
                at_ms: now_ms,
            }));
            notices.push(DeviceNotice::Requested {
                device: Arc::clone(&id),
                request: request.clone(),
            });
            request
        }
    };
    let required = PairingRequired {
        reason,
        request_id: Arc::clone(&request.request_id),
        device: id,
        role: visit.role,
        scopes: visit.scopes.clone(),
        approved: device
            .paired
            .as_ref()
            .map(|paired| (paired.roles.clone(), paired.scopes.clone())),
        is_watched: matches!(
            (visit.program, visit.role),
            (Program::ControlUi, Role::Operator)
        ),
    };
    device.request = Some(request);
    Outcome {
        change: Some(device),
        is_optional: false,
        entry: Err(required),
        notices,
    }
}

/// Whether a request may still be decided.
pub(in crate::auth::device) const fn is_live(request: &PairRequest, now_ms: u64) -> bool {
    now_ms.saturating_sub(request.at_ms) <= REQUEST_TTL_MS
}

/// Whether approving the request would do for what is asked now.
fn covers(request: &PairRequest, asked: &Asked) -> bool {
    asked.roles.iter().all(|role| request.roles.contains(role))
        && request.scopes.lacks(&asked.scopes).is_none()
        && !is_other_kind(&request.facts, &asked.facts)
}

/// Takes the request of a device that has been granted everything in it; returns its id.
pub(super) fn take_granted_request(device: &mut Device, paired: &PairedDevice) -> Option<Arc<str>> {
    let granted = device.request.take_if(|request| {
        request.roles.iter().all(|role| paired.may_act_as(*role))
            && paired.scopes.lacks(&request.scopes).is_none()
    });
    granted.map(|request| request.request_id)
}
