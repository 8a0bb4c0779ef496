//! The least a server can do on the same runtime, kernel and client.

pub(crate) mod fan;
pub(crate) mod http;
pub(crate) mod proxy;
pub(crate) mod ws;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub(crate) fn small_buffers() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(16 * 1024)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}
