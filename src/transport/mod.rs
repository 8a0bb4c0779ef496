//! Sockets: the listener, the sniffer, and the two fronts.

mod config;

pub use config::TransportConfig;
