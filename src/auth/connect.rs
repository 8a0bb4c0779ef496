//! What a native `connect` offers, and what a peer without a device identity may be
//! (`protocol-facts` §2.3, §3.1, §3.6).
//!
//! Pure rules: the secret has been compared already. What follows from a device identity is said in
//! [`super::device`].

use super::device::{DeviceClaim, Program};
use super::head::{Head, Locality};
use super::scope::{Role, Rules, ScopeSet};
use super::secret::Offered;
use super::{AuthError, AuthMethod};

/// What a native `connect` offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectAuth {
    /// `auth.token`.
    pub token: Option<Offered>,
    /// `auth.password`.
    pub password: Option<Offered>,
    /// `auth.deviceToken`.
    pub device_token: Option<Offered>,
    /// `auth.bootstrapToken`; part of what a device signs, and no credential here.
    pub bootstrap_token: Option<Offered>,
    /// `device`.
    pub device: Option<DeviceClaim>,
    /// `client.id`.
    pub client_id: String,
    /// `client.mode`.
    pub client_mode: String,
    /// `client.displayName`.
    pub display_name: Option<String>,
    /// `client.platform`.
    pub platform: Option<String>,
    /// `client.deviceFamily`.
    pub device_family: Option<String>,
    /// The role asked for.
    pub role: Role,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// The rules of the negotiated protocol version.
    pub rules: Rules,
}

impl ConnectAuth {
    /// The secret for this method. Protocol 4 takes it from either field, protocol 3 only from its
    /// own.
    pub(super) fn secret_for(&self, method: AuthMethod) -> Option<&Offered> {
        let token = given(self.token.as_ref());
        let password = given(self.password.as_ref());
        match (method, self.rules) {
            (AuthMethod::Token, Rules::V4) => token.or(password),
            (AuthMethod::Password, Rules::V4) => password.or(token),
            (AuthMethod::Token, Rules::V3) => token,
            (AuthMethod::Password, Rules::V3) => password,
            (AuthMethod::None | AuthMethod::DeviceToken, Rules::V3 | Rules::V4) => None,
        }
    }

    /// Whether the peer says it is a page in a browser, so that it must have an origin.
    pub(super) fn is_browser(&self) -> bool {
        self.client_mode == "webchat"
            || matches!(
                self.client_id.as_str(),
                "openclaw-control-ui" | "openclaw-browser-copilot"
            )
    }

    /// Whether the peer is a user interface that keeps a device identity. The terminal one counts
    /// since protocol 4.
    fn is_control_ui(&self) -> bool {
        match self.client_id.as_str() {
            "openclaw-control-ui" => true,
            "openclaw-tui" => matches!(self.rules, Rules::V4),
            _ => false,
        }
    }

    /// What pairing has to know of the program.
    pub(super) fn program(&self) -> Program {
        match (self.client_id.as_str(), self.client_mode.as_str()) {
            _ if self.is_control_ui() => Program::ControlUi,
            ("webchat-ui", _) | (_, "webchat") => Program::Webchat,
            ("openclaw-macos" | "openclaw-linux" | "openclaw-ios" | "openclaw-android", "ui") => {
                Program::NativeApp
            }
            ("gateway-client", "backend") => Program::Backend,
            _ => Program::Other,
        }
    }

    /// What may be the token of the device, and whether it was called that.
    pub(super) fn device_token(&self) -> Option<(&Offered, TokenField)> {
        let named = given(self.device_token.as_ref()).map(|it| (it, TokenField::DeviceToken));
        named.or_else(|| given(self.token.as_ref()).map(|it| (it, TokenField::Token)))
    }

    /// Whether the peer is one of the two programs that may keep their scopes without a device
    /// identity, when they are local: the command line and a backend.
    fn is_local_program(&self) -> bool {
        matches!(
            (self.client_id.as_str(), self.client_mode.as_str()),
            ("cli", "cli") | ("gateway-client", "backend")
        )
    }

    fn offers_secret(&self) -> bool {
        given(self.token.as_ref()).is_some() || given(self.password.as_ref()).is_some()
    }
}

/// Where in a `connect` a device token stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenField {
    /// In `auth.deviceToken`.
    DeviceToken,
    /// In `auth.token`, where the shared token could be.
    Token,
}

/// Decides what a peer without a device identity may be, given how the comparison of its secret
/// ended: the scopes it gets.
///
/// A peer that knows the secret but is neither local nor one of the two programs is let in without
/// any scope: what it asks for is only its word.
///
/// # Errors
/// The peer needs a device identity, or its secret was refused.
pub(super) fn admit(
    head: &Head,
    offer: &ConnectAuth,
    method: AuthMethod,
    shared: Result<(), AuthError>,
) -> Result<ScopeSet, AuthError> {
    let knows_secret = shared.is_ok() && matches!(method, AuthMethod::Token | AuthMethod::Password);
    let is_local = match head.locality {
        // Where no secret is asked, every local program has the same rights.
        Locality::DirectLocal => shared.is_ok(),
        Locality::ContainerLocal => knows_secret,
        Locality::BrowserLocal | Locality::Remote => false,
    };
    let is_operator = matches!(offer.role, Role::Operator);
    if is_operator && is_local && offer.is_local_program() {
        return Ok(offer.scopes.iter().map(String::as_str).collect());
    }
    if offer.is_control_ui() {
        return Err(AuthError::ControlUiDeviceRequired);
    }
    if is_operator && knows_secret {
        return Ok(ScopeSet::empty());
    }
    match shared {
        Err(refused) if offer.offers_secret() => Err(refused),
        Ok(()) | Err(_) => Err(AuthError::DeviceRequired),
    }
}

fn given(offered: Option<&Offered>) -> Option<&Offered> {
    offered.filter(|offered| !offered.is_blank())
}
