//! What operators do with devices: look at them, approve, reject, remove and rename them, replace
//! and withdraw their tokens (`protocol-facts` §3.7, §6.11).
//!
//! Nobody grants what it does not hold, and a token never allows more than its device was approved
//! for.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::auth::Principal;
use crate::auth::device::notice::{Decision, DeviceNotice, InvalidCause, Invalidation};
use crate::auth::device::record::{ApprovedVia, Device, DeviceToken, PairRequest, PairedDevice};
use crate::auth::device::store::{Put, StoreError};
use crate::auth::device::visit::{grant, is_live};
use crate::auth::device::{ATTEMPTS_MAX, Devices, fact};
use crate::auth::scope::{Role, Scope, ScopeSet};
use crate::auth::secret::Minted;
use crate::error::ErrorCode;
use crate::ids::ConnectionId;

/// Who handles devices.
#[derive(Clone, Copy, Debug)]
pub struct Handler<'a> {
    /// For whom.
    pub principal: &'a Principal,
    /// The connection it asks on, which is closed by whoever owns it, after the answer.
    pub connection: Option<ConnectionId>,
}

impl Handler<'_> {
    /// Whether the device is its business: everybody's for an administrator and for whoever has no
    /// device, else only its own.
    fn handles(&self, device: &str) -> bool {
        let own = self.principal.device.as_deref();
        self.principal.scopes.allows(Scope::Admin) || own.is_none_or(|own| own == device)
    }
}

/// Why something was not done with a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no such request, or not any more.
    #[error("unknown request")]
    UnknownRequest,
    /// There is no such device.
    #[error("unknown device")]
    UnknownDevice,
    /// The device was not approved to act as this.
    #[error("unknown role of the device")]
    UnknownRole,
    /// The device is not the caller's business.
    #[error("the device is not the caller's business")]
    NotYours,
    /// The caller lacks a scope it would grant.
    #[error("missing scope: {0}")]
    MissingScope(Arc<str>),
    /// More was asked for than the device was approved for.
    #[error("the device was not approved for {0}")]
    NotApproved(Arc<str>),
    /// As many devices are paired as may be.
    #[error("too many devices are paired")]
    Full,
    /// The store failed.
    #[error("the store of devices failed")]
    Store(#[from] StoreError),
}

impl DeviceError {
    /// The class of the failure.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownRequest | Self::UnknownDevice | Self::UnknownRole => {
                ErrorCode::InvalidRequest
            }
            Self::NotYours | Self::MissingScope(_) | Self::NotApproved(_) => ErrorCode::Forbidden,
            Self::Full => ErrorCode::Overloaded,
            Self::Store(error) => error.code(),
        }
    }
}

/// The devices somebody may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceList {
    /// Requests that wait for a decision, by device.
    pub requests: Vec<(Arc<str>, PairRequest)>,
    /// Paired devices.
    pub paired: Vec<(Arc<str>, PairedDevice)>,
}

/// A token that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// What it allows.
    pub scopes: ScopeSet,
    /// When, in wall-clock milliseconds.
    pub at_ms: u64,
    /// The new text, only for the device itself. Another device's is not even made: that device
    /// gets one at its next connect.
    pub text: Option<Minted>,
}

/// What becomes of a device that was looked at: written or left, and what the caller gets.
struct Verdict<T> {
    change: Option<Device>,
    answer: T,
}

impl<T> Verdict<T> {
    const fn write(device: Device, answer: T) -> Self {
        Self {
            change: Some(device),
            answer,
        }
    }

    const fn keep(answer: T) -> Self {
        Self {
            change: None,
            answer,
        }
    }
}

impl Devices {
    /// Pending requests and paired devices, as far as they are the caller's business.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self, handler: Handler<'_>) -> Result<DeviceList, DeviceError> {
        let now_ms = self.now_ms();
        let mut list = DeviceList::default();
        for device in self.store.devices().await? {
            if !handler.handles(&device.id) {
                continue;
            }
            if let Some(request) = device.request.filter(|it| is_live(it, now_ms)) {
                list.requests.push((Arc::clone(&device.id), request));
            }
            if let Some(paired) = device.paired {
                list.paired.push((device.id, paired));
            }
        }
        Ok(list)
    }

    /// Grants a device what it asks for. The caller must hold every scope of it.
    ///
    /// # Errors
    /// [`DeviceError`]; nothing was granted.
    pub async fn approve(
        &self,
        handler: Handler<'_>,
        request_id: &str,
    ) -> Result<(Arc<str>, PairedDevice), DeviceError> {
        let now_ms = self.now_ms();
        let decide = |mut device: Device| {
            let request = device.request.take().ok_or(DeviceError::UnknownRequest)?;
            let held = &handler.principal.scopes;
            if let Some(lacking) = held.lacks(&request.scopes.of_role(Role::Operator)) {
                return Err(DeviceError::MissingScope(lacking.into()));
            }
            let old = device.paired.take();
            let paired = grant(old, request.into(), ApprovedVia::Operator, now_ms);
            device.paired = Some(paired.clone());
            Ok(Verdict::write(device, paired))
        };
        let (device, paired) = self.change_request(handler, request_id, decide).await?;
        self.resolved(request_id, &device, Decision::Approved);
        Ok((device, paired))
    }

    /// Refuses a device what it asks for; returns the device.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub async fn reject(
        &self,
        handler: Handler<'_>,
        request_id: &str,
    ) -> Result<Arc<str>, DeviceError> {
        let decide = |mut device: Device| {
            device.request = None;
            Ok(Verdict::write(device, ()))
        };
        let (device, ()) = self.change_request(handler, request_id, decide).await?;
        self.resolved(request_id, &device, Decision::Rejected);
        Ok(device)
    }

    /// Ends the pairing of a device: its tokens and its request go, its connections are closed.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub async fn remove(&self, handler: Handler<'_>, device: &str) -> Result<(), DeviceError> {
        let request = self
            .change_paired(handler, device, |device, _paired| {
                let request = device.request.map(|request| request.request_id);
                let gone = Device {
                    request: None,
                    paired: None,
                    ..device
                };
                Ok(Verdict::write(gone, request))
            })
            .await?;
        if let Some(request_id) = request {
            self.resolved(&request_id, &device.into(), Decision::Rejected);
        }
        self.withdraw(handler, device, InvalidCause::Removed);
        Ok(())
    }

    /// Gives a device a name for people.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub async fn rename(
        &self,
        handler: Handler<'_>,
        device: &str,
        label: &str,
    ) -> Result<PairedDevice, DeviceError> {
        let label = fact(label);
        self.change_paired(handler, device, |device, mut paired| {
            paired.label.clone_from(&label);
            let answer = paired.clone();
            Ok(Verdict::write(with(device, paired), answer))
        })
        .await
    }

    /// Replaces the token of a device for a role; with `scopes`, by one that allows these. The old
    /// one works no longer, and connections that used it are closed.
    ///
    /// # Errors
    /// [`DeviceError`]; the old token works on.
    pub async fn rotate(
        &self,
        handler: Handler<'_>,
        device: &str,
        role: Role,
        scopes: Option<ScopeSet>,
    ) -> Result<Rotated, DeviceError> {
        let now_ms = self.now_ms();
        let is_own = handler.principal.device.as_deref() == Some(device);
        let text = is_own.then(Minted::new).transpose();
        let text = text.map_err(|_no_random| StoreError::Failed)?;
        let rotated = self
            .change_paired(handler, device, |device, mut paired| {
                let scopes = rotated_scopes(&paired, role, scopes.as_ref())?;
                may_grant(handler.principal, &paired, &scopes)?;
                let mut token = DeviceToken::replacing(paired.token(role), role, &scopes, now_ms);
                token.digests = text.iter().map(Minted::digest).collect();
                let rotated = Rotated {
                    scopes: token.scopes.clone(),
                    at_ms: now_ms,
                    text: text.clone(),
                };
                paired.tokens.retain(|old| old.role != role);
                paired.tokens.push(token);
                Ok(Verdict::write(with(device, paired), rotated))
            })
            .await?;
        self.withdraw(handler, device, InvalidCause::Rotated(role));
        Ok(rotated)
    }

    /// Withdraws what a device may act as, until it is approved again; its connections in this role
    /// are closed. Returns when that was, in wall-clock milliseconds.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub async fn revoke(
        &self,
        handler: Handler<'_>,
        device: &str,
        role: Role,
    ) -> Result<u64, DeviceError> {
        let now_ms = self.now_ms();
        let at_ms = self
            .change_paired(handler, device, |device, mut paired| {
                if !paired.roles.contains(&role) {
                    return Err(DeviceError::UnknownRole);
                }
                if let Some(at_ms) = paired.token(role).and_then(|token| token.revoked_at_ms) {
                    return Ok(Verdict::keep(at_ms));
                }
                let mut token = paired.token(role).cloned().unwrap_or_else(|| {
                    DeviceToken::replacing(None, role, &ScopeSet::empty(), now_ms)
                });
                token.digests.clear();
                token.revoked_at_ms = Some(now_ms);
                paired.tokens.retain(|old| old.role != role);
                paired.tokens.push(token);
                Ok(Verdict::write(with(device, paired), now_ms))
            })
            .await?;
        self.withdraw(handler, device, InvalidCause::Revoked(role));
        Ok(at_ms)
    }

    /// Changes the device that made a live request.
    async fn change_request<T>(
        &self,
        handler: Handler<'_>,
        request_id: &str,
        decide: impl Fn(Device) -> Result<Verdict<T>, DeviceError>,
    ) -> Result<(Arc<str>, T), DeviceError> {
        let request_id: Arc<str> = request_id.into();
        for _ in 0..ATTEMPTS_MAX {
            let found = self
                .store
                .device_of_request(Arc::clone(&request_id))
                .await?;
            let device = found.ok_or(DeviceError::UnknownRequest)?;
            let now_ms = self.now_ms();
            if !device
                .request
                .as_ref()
                .is_some_and(|it| is_live(it, now_ms))
            {
                return Err(DeviceError::UnknownRequest);
            }
            let id = Arc::clone(&device.id);
            if !handler.handles(&id) {
                return Err(DeviceError::NotYours);
            }
            if let Some(answer) = self.carry_out(decide(device)?).await? {
                return Ok((id, answer));
            }
        }
        Err(StoreError::Busy.into())
    }

    /// Changes a paired device.
    async fn change_paired<T>(
        &self,
        handler: Handler<'_>,
        id: &str,
        decide: impl Fn(Device, PairedDevice) -> Result<Verdict<T>, DeviceError>,
    ) -> Result<T, DeviceError> {
        // Who may not handle the device does not learn whether there is one.
        if !handler.handles(id) {
            return Err(DeviceError::NotYours);
        }
        let id: Arc<str> = id.into();
        for _ in 0..ATTEMPTS_MAX {
            let found = self.store.device(Arc::clone(&id)).await?;
            let mut device = found.ok_or(DeviceError::UnknownDevice)?;
            let paired = device.paired.take().ok_or(DeviceError::UnknownDevice)?;
            if let Some(answer) = self.carry_out(decide(device, paired)?).await? {
                return Ok(answer);
            }
        }
        Err(StoreError::Busy.into())
    }

    /// Writes a decision; `None` when the device was changed meanwhile.
    async fn carry_out<T>(&self, verdict: Verdict<T>) -> Result<Option<T>, DeviceError> {
        let Some(device) = verdict.change else {
            return Ok(Some(verdict.answer));
        };
        match self.put(device).await? {
            Put::Done { forgotten } => {
                self.forget(forgotten);
                Ok(Some(verdict.answer))
            }
            Put::Changed => Ok(None),
            Put::RequestsFull | Put::DevicesFull => Err(DeviceError::Full),
        }
    }

    fn resolved(&self, request_id: &str, device: &Arc<str>, decision: Decision) {
        self.tell(&DeviceNotice::Resolved {
            request_id: request_id.into(),
            device: Arc::clone(device),
            decision,
            at_ms: self.now_ms(),
        });
    }

    fn withdraw(&self, handler: Handler<'_>, device: &str, cause: InvalidCause) {
        self.invalidate(Invalidation {
            device: device.into(),
            cause,
            by: handler.connection,
        });
    }
}

fn with(device: Device, paired: PairedDevice) -> Device {
    Device {
        paired: Some(paired),
        ..device
    }
}

/// What a replaced token is to allow: what is asked for, else what the old one did, else everything
/// the device was approved for in this role.
fn rotated_scopes(
    paired: &PairedDevice,
    role: Role,
    asked: Option<&ScopeSet>,
) -> Result<ScopeSet, DeviceError> {
    if !paired.may_act_as(role) {
        return Err(DeviceError::UnknownRole);
    }
    let scopes = match (asked, paired.token(role)) {
        (Some(asked), _) => asked.of_role(role),
        (None, Some(token)) => token.scopes.clone(),
        (None, None) => paired.scopes.of_role(role),
    };
    Ok(scopes)
}

/// Nobody mints a token beyond the approval of the device or beyond its own scopes.
fn may_grant(
    principal: &Principal,
    paired: &PairedDevice,
    scopes: &ScopeSet,
) -> Result<(), DeviceError> {
    if let Some(lacking) = paired.scopes.lacks(scopes) {
        return Err(DeviceError::NotApproved(lacking.into()));
    }
    let granted = scopes.of_role(Role::Operator);
    match principal.scopes.lacks(&granted) {
        Some(lacking) => Err(DeviceError::MissingScope(lacking.into())),
        None => Ok(()),
    }
}
