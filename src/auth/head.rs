//! The parts of a request head that decide who a peer is and where it comes from.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

use super::scope::ScopeSet;
use super::secret::Offered;

/// The parts of a request head authentication looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The socket's peer.
    pub peer: SocketAddr,
    /// The `Authorization` header.
    pub authorization: Option<Offered>,
    /// The `Host` header.
    pub host: Option<String>,
    /// The `Origin` header; an empty one counts as absent.
    pub origin: Option<String>,
    /// The `x-openclaw-scopes` header.
    pub scopes: Option<ScopeSet>,
    /// The address the request is attributed to, once proxies are accounted for.
    pub client: IpAddr,
    /// Where the client is.
    pub locality: Locality,
    /// Whether any forwarding header is present.
    pub forwarded: bool,
    /// Whether forwarding headers came from a peer that may not send them.
    pub unattributable: bool,
}

/// Where a client is (`protocol-facts` §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Locality {
    /// Loopback peer, loopback `Host`, no forwarding headers, no `Origin`.
    DirectLocal,
    /// Loopback peer and loopback `Host`, with an `Origin` that is loopback too.
    BrowserLocal,
    /// Loopback peer and a private address as `Host`, no forwarding headers, no `Origin`: what a
    /// container's port mapping looks like. Local only together with a valid secret.
    ContainerLocal,
    /// Everything else.
    Remote,
}

/// A head that is refused before anything else is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A header that may stand once stands several times (`design.md` §10).
    #[error("repeated header {0}")]
    Repeated(&'static str),
    /// A header that must be text is not.
    #[error("header {0} is not text")]
    NotText(&'static str),
}

/// Which peers may send forwarding headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyPolicy {
    /// Networks of trusted proxies.
    pub trusted: Vec<ipnet::IpNet>,
    /// Whether `X-Real-IP` counts when `X-Forwarded-For` names nobody.
    pub allow_real_ip: bool,
}

impl Head {
    /// Reads the head of a request from `peer`.
    ///
    /// # Errors
    /// [`HeadError`] when a header that decides authority is repeated or not text.
    pub fn read(
        _headers: &HeaderMap,
        _peer: SocketAddr,
        _policy: &ProxyPolicy,
    ) -> Result<Self, HeadError> {
        Err(HeadError::NotText("host"))
    }
}
