//! Who a peer is and what it may do: one authentication story and one authorization table for both
//! fronts.
//!
//! Knows request heads and `connect` credentials, but neither sockets nor wire shapes.

mod address;
mod admission;
mod connect;
mod credential;
pub mod device;
mod head;
mod limiter;
mod origin;
mod rate;
mod scope;
mod secret;
mod table;

pub use admission::Admitted;
pub use connect::ConnectAuth;
pub use credential::{AuthConfig, AuthMode, Authenticator};
pub use device::{DeviceClaim, Devices, PairingPolicy};
pub use head::{Head, HeadError, Locality, ProxyPolicy};
pub use limiter::LimiterConfig;
pub use origin::{OriginPolicy, OriginRefusal};
pub use rate::{Rate, RateConfig, RateLimited, Rates};
pub use scope::{CallFacts, EventGate, Operation, Role, Rules, Scope, ScopeSet};
pub use secret::{Minted, Offered, OfferedDigest, Secret, SecretDigest};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ErrorCode;

use device::{PairingRequired, ProofError, StoreError};

/// Who a request or connection acts for, after authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// How it proved itself.
    pub method: AuthMethod,
    /// Stable name of the credential, for fairness and idempotency; never the secret. That of a
    /// device does not depend on how it authenticated, so it is the same after a reconnect.
    pub credential: Arc<str>,
    /// The device that proved itself, if one did.
    pub device: Option<Arc<str>>,
    /// What kind of peer it is.
    pub role: Role,
    /// What it may do.
    pub scopes: ScopeSet,
    /// Which generation of the authorization rules holds for it; HTTP callers get the current one.
    pub rules: Rules,
    /// The address it is attributed to.
    pub address: IpAddr,
    /// Where it comes from.
    pub locality: Locality,
    /// Generation of the secret it used: a rotation closes connections of older generations.
    pub generation: u64,
}

/// How a peer proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// The shared token.
    Token,
    /// The shared password.
    Password,
    /// The gateway asks for no secret.
    None,
    /// A token issued to a paired device.
    DeviceToken,
}

impl AuthMethod {
    /// The name in `hello-ok.auth.method`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
            Self::None => "none",
            Self::DeviceToken => "device-token",
        }
    }
}

/// Why a peer was not authenticated (`protocol-facts` §3.3, `http-facts` §2.3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential, or none of the right kind, was offered. Not counted as a failure.
    #[error("no {} was offered", .0.as_str())]
    Missing(AuthMethod),
    /// The credential is wrong. Counted.
    #[error("the {} is wrong", .0.as_str())]
    Mismatch(AuthMethod),
    /// Too many failures from this address; even the right secret is refused.
    #[error("locked out after too many failures")]
    LockedOut {
        /// How long the lock still holds.
        retry_after: Duration,
    },
    /// Forwarding headers came from a peer that is not a trusted proxy.
    #[error("forwarding headers from a peer that is not a trusted proxy")]
    ProxyAttribution,
    /// A browser origin that is not allowed.
    #[error("browser origin refused")]
    Origin(#[source] OriginRefusal),
    /// A peer of this kind must prove a device identity. Not counted as a failure.
    #[error("device identity required")]
    DeviceRequired,
    /// A user interface must prove a device identity. Not counted as a failure.
    #[error("control ui requires device identity")]
    ControlUiDeviceRequired,
    /// The device did not prove itself. Nothing was compared, so nothing is counted.
    #[error("the device did not prove itself")]
    Device(#[source] ProofError),
    /// The device token is right, but does not allow what is asked for. Not counted as a failure.
    #[error("the device token does not allow what is asked for")]
    ScopeMismatch,
    /// The device has to be approved first.
    #[error("the device has to be approved")]
    PairingRequired(Box<PairingRequired>),
    /// As many devices wait for approval, or are paired, as may be.
    #[error("too many devices")]
    PairingFull,
    /// What is known of the device could not be read or written.
    #[error("the store of devices failed")]
    Store(#[from] StoreError),
}

impl AuthError {
    /// The class of the failure.
    pub const fn code(&self) -> ErrorCode {
        match self {
            // Where no secret is asked, the browser origin stands in for one (`http-facts` §2.1).
            Self::Missing(_)
            | Self::Mismatch(_)
            | Self::Origin(_)
            | Self::DeviceRequired
            | Self::ControlUiDeviceRequired
            | Self::Device(_)
            | Self::ScopeMismatch
            | Self::PairingRequired(_) => ErrorCode::Unauthorized,
            Self::LockedOut { .. } => ErrorCode::RateLimited,
            Self::ProxyAttribution => ErrorCode::Forbidden,
            Self::PairingFull => ErrorCode::Overloaded,
            Self::Store(error) => error.code(),
        }
    }

    fn pairing(required: PairingRequired) -> Self {
        Self::PairingRequired(Box::new(required))
    }
}
