//! The authenticator of both fronts.
//!
//! Owns the secret in force, its generation and the failure counts. Must not know how a front words
//! a refusal.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use tokio::sync::watch;

use crate::metrics::Metrics;

use super::head::{Head, HeadError, ProxyPolicy};
use super::limiter::LimiterConfig;
use super::origin::OriginPolicy;
use super::scope::{Role, Rules};
use super::secret::{Offered, Secret};
use super::{AuthError, Principal};

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
    pub token: Option<Offered>,
    /// `auth.password`.
    pub password: Option<Offered>,
    /// `client.id`.
    pub client_id: String,
    /// `client.mode`.
    pub client_mode: String,
    /// The role asked for.
    pub role: Role,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// The rules of the negotiated protocol version.
    pub rules: Rules,
}

/// Compares secrets, counts failures and grants scopes; one for both fronts.
#[derive(Debug)]
pub struct Authenticator {
    _config: AuthConfig,
    _metrics: Arc<Metrics>,
    generation: watch::Sender<u64>,
}

impl Authenticator {
    /// An authenticator for this configuration.
    pub fn new(config: AuthConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            _config: config,
            _metrics: metrics,
            generation: watch::Sender::new(0),
        }
    }

    /// Reads the head of a request from `peer`, by the proxies that are trusted now.
    ///
    /// # Errors
    /// [`HeadError`]: answer 400; it counts as no failure.
    pub fn read_head(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Head, HeadError> {
        Head::read(headers, peer, &ProxyPolicy::default())
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

    /// Whether a probe may be answered in detail: the caller is local, or knows the secret.
    pub fn probe_detail(&self, _head: &Head) -> bool {
        false
    }

    /// Puts another configuration in force. When secret, origins or proxies differ, the generation
    /// grows; failures that were counted stay counted.
    pub fn rotate(&self, _config: AuthConfig) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// The generation in force; a principal of an older one is no longer authenticated.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Whether nothing was rotated since the principal authenticated. Ask again once a connection
    /// is registered or a body has arrived.
    pub fn is_current(&self, principal: &Principal) -> bool {
        *self.generation.borrow() == principal.generation
    }
}
