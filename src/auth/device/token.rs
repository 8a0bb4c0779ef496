//! Whether a device token is good for what its bearer asks (`protocol-facts` §3.8).

use crate::auth::scope::{Role, ScopeSet};
use crate::auth::secret::OfferedDigest;
use crate::auth::{AuthError, AuthMethod};

use super::record::PairedDevice;

/// Why a device token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::auth) enum TokenRefusal {
    /// The device is not paired.
    #[error("the device is not paired")]
    NotPaired,
    /// The device has no token for this role.
    #[error("the device has no token for this role")]
    RoleMissing,
    /// The token was withdrawn.
    #[error("the device token was withdrawn")]
    Revoked,
    /// It is not the token of the device.
    #[error("the device token is wrong")]
    Mismatch,
    /// The token does not allow what is asked for, or more than the device was approved for.
    #[error("the device token does not allow what is asked for")]
    ScopeMismatch,
}

impl TokenRefusal {
    /// What a peer that named the token as one is told.
    pub(in crate::auth) const fn as_auth_error(self) -> AuthError {
        match self {
            Self::NotPaired | Self::RoleMissing | Self::Revoked | Self::Mismatch => {
                AuthError::Mismatch(AuthMethod::DeviceToken)
            }
            Self::ScopeMismatch => AuthError::ScopeMismatch,
        }
    }
}

/// Checks an offered token of a device.
pub(in crate::auth) fn verify(
    paired: Option<&PairedDevice>,
    role: Role,
    scopes: &ScopeSet,
    offered: &OfferedDigest,
) -> Result<(), TokenRefusal> {
    let paired = paired.ok_or(TokenRefusal::NotPaired)?;
    let token = paired.token(role).ok_or(TokenRefusal::RoleMissing)?;
    if !token.matches(offered) {
        return Err(TokenRefusal::Mismatch);
    }
    if token.is_revoked() || !paired.may_act_as(role) {
        return Err(TokenRefusal::Revoked);
    }
    let is_approved = paired.scopes.lacks(&token.scopes).is_none();
    if !is_approved || token.scopes.lacks(scopes).is_some() {
        return Err(TokenRefusal::ScopeMismatch);
    }
    Ok(())
}
