//! The native front: upgraded sockets that speak the gateway protocol.

mod upgrade;

pub use upgrade::NativeFront;
