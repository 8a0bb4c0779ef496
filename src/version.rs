//! Which program this is: its own version, and the release of the original it behaves like.

/// Version of this program.
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version clients read as the gateway's: the release whose behaviour is served.
pub const COMPATIBILITY_LEVEL: &str = "2026.9.6";
