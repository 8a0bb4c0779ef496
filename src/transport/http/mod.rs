//! The HTTP front: everything on the port that is not an upgrade.
//!
//! [`HttpFront`] routes a request, authenticates it and answers; it owns no socket and no task of
//! its own. It knows hyper's types and the OpenAI dialect, but no native protocol.

mod body;
mod chat;
mod control_ui;
mod cors;
mod fetch;
mod guard;
mod health;
mod metrics;
mod models;
mod read;
mod respond;
mod route;
mod runs;
mod service;
mod sse_body;
mod timing;

pub use body::Body;
pub use service::{ChatSwitch, HttpFront, HttpParts};
