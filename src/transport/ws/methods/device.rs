//! `device.pair.*` and `device.token.*` (`protocol-facts` §6.11).

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::auth::device::{DeviceError, Devices, Handler, InvalidCause, Invalidation};
use crate::auth::{Role, ScopeSet};
use crate::protocol::methods::device::{
    DevicePairApproveParams, DevicePairApproveResult, DevicePairListParams, DevicePairListResult,
    DevicePairRejectParams, DevicePairRejectResult, DevicePairRemoveParams, DevicePairRemoveResult,
    DevicePairRenameParams, DeviceTokenRevokeParams, DeviceTokenRevokeResult,
    DeviceTokenRotateParams, DeviceTokenRotateResult, TokenDelivery,
};
use crate::protocol::{Confidential, ErrorBody, NonEmpty};
use crate::transport::ws::devices::{self, close_of, names};
use crate::transport::ws::requests::{After, Done};

use super::{Call, Served, short};

pub(super) fn list(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: DevicePairListParams = call.params(params)?;
    let call = call.clone();
    Ok(short(async move {
        let listed = match call.devices().list(call.handler()).await {
            Ok(listed) => listed,
            Err(error) => return call.refuse(&call.device_error(&error, "listing")),
        };
        let connected = call.native.registry.devices();
        let requests = listed.requests.iter();
        let paired = listed.paired.iter();
        call.ok(&DevicePairListResult {
            pending: requests.map(|(id, it)| devices::pending(id, it)).collect(),
            paired: paired
                .map(|(id, it)| devices::paired(id, it, connected.contains(id)))
                .collect(),
        })
    }))
}

pub(super) fn approve(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: DevicePairApproveParams = call.params(params)?;
    Ok(call.change_device(|call| async move {
        let request = params.request_id.as_str();
        let approved = call.devices().approve(call.handler(), request).await;
        call.told("pairing approval", approved, |(device, paired)| {
            let connected = call.native.registry.devices().contains(&device);
            DevicePairApproveResult {
                request_id: request.into(),
                device: devices::paired(&device, &paired, connected),
            }
        })
    }))
}

pub(super) fn reject(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: DevicePairRejectParams = call.params(params)?;
    Ok(call.change_device(|call| async move {
        let request = params.request_id.as_str();
        let rejected = call.devices().reject(call.handler(), request).await;
        call.told("pairing rejection", rejected, |device_id| {
            DevicePairRejectResult {
                request_id: request.into(),
                device_id,
            }
        })
    }))
}

pub(super) fn remove(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: DevicePairRemoveParams = call.params(params)?;
    Ok(call.change_device(|call| async move {
        let device = params.device_id.as_str();
        let removed = call.devices().remove(call.handler(), device).await;
        let done = call.told("pairing removal", removed, |()| DevicePairRemoveResult {
            device_id: device.into(),
        });
        call.then_close(done, device, InvalidCause::Removed)
    }))
}

pub(super) fn rename(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: DevicePairRenameParams = call.params(params)?;
    Ok(call.change_device(|call| async move {
        let device: Arc<str> = params.device_id.as_str().into();
        let label = params.label.as_str();
        let renamed = call.devices().rename(call.handler(), &device, label).await;
        call.told("pairing rename", renamed, |paired| {
            let connected = call.native.registry.devices().contains(&device);
            devices::paired(&device, &paired, connected)
        })
    }))
}

pub(super) fn rotate(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: DeviceTokenRotateParams = call.params(params)?;
    Ok(call.change_device(|call| async move {
        let Some(role) = Role::from_name(&params.role) else {
            return call.token_denied(&DeviceError::UnknownRole, "token rotation");
        };
        let device = params.device_id.as_str();
        let scopes = params.scopes.map(|scopes| {
            let names = scopes.as_slice().iter().map(NonEmpty::as_str);
            names.collect::<ScopeSet>()
        });
        let rotated = call
            .devices()
            .rotate(call.handler(), device, role, scopes)
            .await;
        let done = call.told("token rotation", rotated, |rotated| {
            let token = rotated.text.map(|text| Confidential::new(text.expose()));
            DeviceTokenRotateResult {
                device_id: device.into(),
                role: devices::role(role),
                scopes: names(&rotated.scopes),
                rotated_at_ms: rotated.at_ms,
                token_delivery: match token {
                    Some(_) => TokenDelivery::InBand,
                    None => TokenDelivery::WithheldCrossDevice,
                },
                token,
            }
        });
        call.then_close(done, device, InvalidCause::Rotated(role))
    }))
}

pub(super) fn revoke(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: DeviceTokenRevokeParams = call.params(params)?;
    Ok(call.change_device(|call| async move {
        let Some(role) = Role::from_name(&params.role) else {
            return call.token_denied(&DeviceError::UnknownRole, "token revocation");
        };
        let device = params.device_id.as_str();
        let revoked = call.devices().revoke(call.handler(), device, role).await;
        let done = call.told("token revocation", revoked, |revoked_at_ms| {
            DeviceTokenRevokeResult {
                device_id: device.into(),
                role: devices::role(role),
                revoked_at_ms,
            }
        });
        call.then_close(done, device, InvalidCause::Revoked(role))
    }))
}

/// A change of a device: its answer, and whether there was one.
struct Told {
    done: Done,
    is_done: bool,
}

impl From<Told> for Done {
    fn from(told: Told) -> Self {
        told.done
    }
}

impl Call {
    fn devices(&self) -> &Devices {
        self.native.auth.devices()
    }

    fn handler(&self) -> Handler<'_> {
        Handler {
            principal: &self.peer.caller.principal,
            connection: self.peer.caller.connection,
        }
    }

    fn change_device<F, W>(&self, work: F) -> Served
    where
        F: FnOnce(Self) -> W,
        W: Future<Output = Told> + Send + 'static,
    {
        let work = work(self.clone());
        Served::Short(self.detached(async move { Done::from(work.await) }))
    }

    fn told<T, R: Serialize>(
        &self,
        what: &str,
        outcome: Result<T, DeviceError>,
        result: impl FnOnce(T) -> R,
    ) -> Told {
        match outcome {
            Ok(value) => Told {
                done: self.ok(&result(value)).into(),
                is_done: true,
            },
            Err(error) => self.token_denied(&error, what),
        }
    }

    fn token_denied(&self, error: &DeviceError, what: &str) -> Told {
        Told {
            done: self.refuse(&self.device_error(error, what)).into(),
            is_done: false,
        }
    }

    /// Closes the caller's own connection behind the answer, when it has just lost its credential.
    fn then_close(&self, mut told: Told, device: &str, cause: InvalidCause) -> Told {
        let invalidation = Invalidation {
            device: device.into(),
            cause,
            by: None,
        };
        if told.is_done && invalidation.hits(&self.peer.caller.principal) {
            told.done.after = After::Close(close_of(&invalidation));
        }
        told
    }

    /// Why nothing was done with a device, in the words of the dialect. Of tokens nothing more is
    /// said than that it was refused.
    fn device_error(&self, error: &DeviceError, what: &str) -> ErrorBody {
        let is_token = what.starts_with("token");
        let denied = || Cow::Owned(format!("device {what} denied"));
        let message = match error {
            DeviceError::UnknownRequest => "unknown requestId".into(),
            DeviceError::UnknownDevice | DeviceError::UnknownRole if is_token => {
                if self.is_v3() {
                    "unknown deviceId/role".into()
                } else {
                    denied()
                }
            }
            DeviceError::UnknownDevice => "unknown deviceId".into(),
            DeviceError::MissingScope(scope) if !is_token => {
                format!("missing scope: {scope}").into()
            }
            DeviceError::UnknownRole
            | DeviceError::NotYours
            | DeviceError::NotApproved(_)
            | DeviceError::MissingScope(_) => denied(),
            DeviceError::Full | DeviceError::Store(_) => {
                let message = error.to_string();
                return ErrorBody::of(error.code(), self.peer.protocol, message);
            }
        };
        self.invalid(message)
    }
}
