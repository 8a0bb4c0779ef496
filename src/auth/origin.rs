//! Which browser origins may open a connection (`protocol-facts` §3.9).

/// Which browser origins may open a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    /// `gateway.controlUi.allowedOrigins`, lower case; `*` allows every origin.
    pub allowed: Vec<String>,
    /// `gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback`.
    pub host_header_fallback: bool,
}

/// Why an origin was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginRefusal {
    /// It cannot be read as an origin, or is `null`.
    #[error("origin missing or invalid")]
    Invalid,
    /// It is not on the list.
    #[error("origin not allowed")]
    NotAllowed,
}
