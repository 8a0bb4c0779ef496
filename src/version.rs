//! Which program this is: its own version, and the release of the original it behaves like.

/// Version of this program.
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// This program and its version.
pub const PROGRAM: &str = concat!("clawport ", env!("CARGO_PKG_VERSION"));

/// The release whose behaviour is served.
macro_rules! compatibility_level {
    () => {
        "2026.9.6"
    };
}

/// The release whose behaviour is served.
pub const COMPATIBILITY_LEVEL: &str = compatibility_level!();

/// The version clients read as the gateway's: the release whose behaviour is served, then, as build
/// metadata that no comparison looks at, this program and its own version.
pub const SERVER_VERSION: &str = concat!(
    compatibility_level!(),
    "+clawport.",
    env!("CARGO_PKG_VERSION")
);
