//! Sockets: the listener, the sniffer, and the two fronts.

mod config;
pub mod http;

pub use config::TransportConfig;
