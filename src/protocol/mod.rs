//! The native gateway dialect, versions 4 and 3, without any I/O.
//!
//! Owns frames, the handshake, error shapes and the state of one connection ([`Machine`]). Must not
//! know sockets, clocks, secrets or operations: callers pass text, `now` and decisions in.

mod bounded;
mod client;
mod close;
mod codec;
mod connect;
mod device_refusal;
mod error;
pub mod events;
mod frame;
#[cfg(test)]
mod golden;
mod hello;
mod machine;
pub mod methods;
pub mod outcome;
pub mod params;
pub mod projection;
#[cfg(test)]
mod recorded;
mod refusal;
pub mod row;
mod schema;
#[cfg(test)]
pub(crate) mod testing;
pub mod transcript;
mod validate;
mod version;

pub use bounded::{Bounded, NonEmpty, OutOfBounds, Text};
pub use client::{ClientId, ClientInfo, ClientMode};
pub use close::{CLOSE_REASON_BYTES_MAX, Close};
pub use codec::{EncodeError, EncodedEvent, FRAME_BYTES_MAX, Reply, encode_request};
pub use connect::{ClientAuth, ConnectParams, Device, ProtocolNumber, Role};
pub use device_refusal::{DeviceProofFailure, PairingRefusal, UpgradeReason};
pub use error::{
    ErrorBody, WireCode, invalid_params, missing_scope, server_busy, unauthorized_role,
    unavailable_during_restart, unavailable_during_startup, unknown_method,
};
pub use frame::{
    EventFrame, FrameError, INVALID_FRAME_ID, REQUEST_ID_CHARS_MAX, RequestFrame, ResponseFrame,
    ServerFrame, StateVersion, TRACEPARENT_CHARS_MAX,
};
pub use hello::{
    AttachmentPolicy, AuthModeName, COMPATIBILITY_LEVEL, Challenge, Confidential, Features, Hello,
    HelloAuth, PUBLISHED_MODEL_CATALOG, Policy, PresenceEntry, RosterOwnership, SERVER_VERSION,
    SessionDefaults, Snapshot, Suspension, SuspensionPhase,
};
pub use machine::{
    AuthDecision, Connect, Gate, Machine, MachineConfig, Output, PENDING_FRAMES_MAX,
    PREAUTH_FRAME_BYTES_MAX, PREAUTH_TOTAL_BYTES_MAX, Request,
};
pub use refusal::{Audience, AuthFailure, AuthReason, ErrorText, HandshakeFailure};
pub use schema::{SchemaFile, schema_files};
pub use validate::{Violations, decode_params, ignored_members};
pub use version::{Protocol, UnknownProtocol};
