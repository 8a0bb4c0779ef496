//! How to connect.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::protocol::{ClientAuth, ClientId, ClientMode};

/// How to connect. The default is what the command line does: client `cli`, mode `cli`, every
/// version we know, every operator scope.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the gateway is: `ws://host:port`, with any path.
    pub url: String,
    /// The secret.
    pub auth: ClientAuth,
    /// Which program connects.
    pub client_id: ClientId,
    /// What for.
    pub client_mode: ClientMode,
    /// A name for people.
    pub display_name: Option<String>,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// What the client can do, such as `tool-events`.
    pub caps: Vec<String>,
    /// The versions of the protocol that will do.
    pub protocols: RangeInclusive<u64>,
    /// How long connection and handshake may take together.
    pub connect_timeout: Duration,
    /// How long [`super::Client::request`] waits.
    pub request_timeout: Duration,
    /// Events kept for a reader that is behind; at least 1.
    pub events_max: usize,
}

impl ClientOptions {
    /// The usual way to connect to a gateway.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: ClientAuth::default(),
            client_id: ClientId::Cli,
            client_mode: ClientMode::Cli,
            display_name: None,
            scopes: vec!["operator.admin".to_owned()],
            caps: Vec::new(),
            protocols: 3..=4,
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            events_max: 1024,
        }
    }

    /// Offers a token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.auth.token = Some(token.into());
        self
    }

    /// Offers a password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.auth.password = Some(password.into());
        self
    }
}
