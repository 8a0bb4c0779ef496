//! Sockets: the listener, the sniffer, and the two fronts.

mod config;
mod head_timer;
pub mod http;
pub mod io_budget;
mod listener;
mod serve;
mod shares;
mod sniff;
pub mod ws;

pub use config::{ControlUiConfig, TransportConfig};
pub use listener::Listener;
pub use serve::{Transport, TransportParts};
pub use sniff::{Handshake, Refusal, RequestHead, Route, sniff};
