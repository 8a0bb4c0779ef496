//! What others are told about devices.

use std::fmt;
use std::sync::Arc;

use crate::auth::scope::Role;
use crate::auth::{AuthMethod, Principal};
use crate::ids::ConnectionId;

use super::record::PairRequest;

/// Something happened to a device, and is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceNotice {
    /// It asks to be paired, or to be allowed more.
    Requested {
        /// The device.
        device: Arc<str>,
        /// What it asks for.
        request: PairRequest,
    },
    /// Its request was decided.
    Resolved {
        /// The request.
        request_id: Arc<str>,
        /// The device.
        device: Arc<str>,
        /// How.
        decision: Decision,
        /// When, in wall-clock milliseconds.
        at_ms: u64,
    },
    /// A credential of it is none any more: its connections must be closed.
    Invalidated(Invalidation),
}

/// How a request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The device may do what it asked for.
    Approved,
    /// It may not, or asked for something else meanwhile.
    Rejected,
}

impl Decision {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

/// A credential of a device that is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// The device.
    pub device: Arc<str>,
    /// What happened.
    pub cause: InvalidCause,
    /// The connection of whoever did it: it closes by itself once it has its answer.
    pub by: Option<ConnectionId>,
}

/// Why a credential is none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidCause {
    /// The device is not paired any more.
    Removed,
    /// The device may not act as this any more.
    Revoked(Role),
    /// The device's token for this role was replaced.
    Rotated(Role),
}

impl Invalidation {
    /// Whether what the device asked for is not wanted any more: it was removed, or may not act as
    /// an operator any more. A new token takes nothing away.
    pub const fn ends_runs(&self) -> bool {
        match self.cause {
            InvalidCause::Removed | InvalidCause::Revoked(Role::Operator) => true,
            InvalidCause::Revoked(Role::Node) | InvalidCause::Rotated(_) => false,
        }
    }

    /// Whether a connection of this principal must be closed.
    pub fn hits(&self, principal: &Principal) -> bool {
        let is_device = principal.device.as_ref() == Some(&self.device);
        is_device
            && match self.cause {
                InvalidCause::Removed => true,
                InvalidCause::Revoked(role) => role == principal.role,
                // Whoever knows the shared secret does not hold the token.
                InvalidCause::Rotated(role) => {
                    role == principal.role && matches!(principal.method, AuthMethod::DeviceToken)
                }
            }
    }
}

/// Is told about devices; must not wait.
pub trait DeviceWatcher: Send + Sync + fmt::Debug {
    /// Takes a notice. By the time it returns, connections an [`Invalidation`] hits are closing.
    fn notice(&self, notice: &DeviceNotice);
}
