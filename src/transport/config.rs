//! Bounds of sockets and of both fronts.

use std::path::PathBuf;
use std::time::Duration;

/// Bounds of sockets and of both fronts (`gateway.limits` and neighbours).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportConfig {
    /// Accepted sockets at once.
    pub connections_max: u32,
    /// Upgraded sockets of one address that have not authenticated.
    pub preauth_per_address_max: u32,
    /// Sockets of one address that have not sent a request, or idle after one.
    pub idle_per_address_max: u32,
    /// Bytes of a request head.
    pub head_bytes_max: usize,
    /// How long a head may take, the idle wait on a fresh connection included.
    pub head_timeout: Duration,
    /// Bytes of a request body.
    pub body_bytes_max: usize,
    /// How long a whole body may take.
    pub body_timeout: Duration,
    /// How long a kept connection may be silent between requests.
    pub idle_timeout: Duration,
    /// Bytes that may wait for one native peer.
    pub outbox_bytes_max: usize,
    /// Bytes of memory that large answers share.
    pub answer_bytes_max: u64,
    /// Bytes of it that the answers of one connection share.
    pub answer_bytes_per_connection_max: u64,
    /// How long one write to a peer may take.
    pub write_timeout: Duration,
    /// How long a native peer may take to authenticate.
    pub handshake_timeout: Duration,
    /// Time between `tick` events.
    pub tick_interval: Duration,
    /// Time between `health` events.
    pub health_interval: Duration,
    /// Time between WebSocket pings, and the time a pong may take.
    pub ping_interval: Duration,
    /// Silence after which a stream of a chat completion gets a comment line.
    pub sse_heartbeat: Duration,
    /// Whether `POST /v1/chat/completions` and its neighbours exist.
    pub chat_enabled: bool,
    /// Whether `GET /metrics` exists.
    pub metrics_enabled: bool,
    /// Origins whose pages may call the HTTP front, in lower case.
    pub cors_origins: Vec<String>,
    /// Hosts images may be fetched from, in lower case, `*.` before those below a name; every
    /// public one when the list is empty, and none without a list.
    pub image_hosts: Option<Vec<String>>,
    /// Whether `X-OpenWebUI-Chat-Id` names the session of a call that names none.
    pub open_webui_chats: bool,
    /// Value of `Strict-Transport-Security`, when configured.
    pub strict_transport_security: Option<String>,
    /// The Control UI, unless it is switched off.
    pub control_ui: Option<ControlUiConfig>,
}

/// The folder of the Control UI and where it is served (`gateway.controlUi`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlUiConfig {
    /// The folder, with `index.html` in it; without one a browser is told how to have it served.
    pub root: Option<PathBuf>,
    /// Where it is served: empty for `/`, else `/like/this`.
    pub base_path: String,
}

impl TransportConfig {
    /// Whether the Control UI is served from a folder.
    pub fn serves_control_ui(&self) -> bool {
        let page = self.control_ui.as_ref();
        page.is_some_and(|page| page.root.is_some())
    }
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            preauth_per_address_max: 32,
            idle_per_address_max: 2_500,
            head_bytes_max: 64 * 1024,
            head_timeout: Duration::from_secs(15),
            body_bytes_max: 20 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            outbox_bytes_max: 50 * 1024 * 1024,
            answer_bytes_max: 192 * 1024 * 1024,
            answer_bytes_per_connection_max: 64 * 1024 * 1024,
            write_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(15),
            tick_interval: Duration::from_secs(30),
            health_interval: Duration::from_mins(1),
            ping_interval: Duration::from_secs(25),
            sse_heartbeat: Duration::from_secs(15),
            chat_enabled: false,
            metrics_enabled: false,
            cors_origins: Vec::new(),
            image_hosts: None,
            open_webui_chats: false,
            strict_transport_security: None,
            control_ui: Some(ControlUiConfig::default()),
        }
    }
}
