//! The `gateway` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::{LimiterConfig, PairingPolicy};
use crate::transport::TransportConfig;

use super::{RawSecret, millis};

/// The port when nothing is said.
pub(in crate::config) const PORT_DEFAULT: u16 = 18_789;

/// The port, who may connect, and the bounds of sockets.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawGateway {
    /// The port; 0 takes any free one.
    #[schemars(range(min = 0, max = 65_535))]
    pub port: u16,
    /// Where to listen: `loopback`, `lan` (every interface), `auto`, `custom` with
    /// `customBindHost`, or an address.
    pub bind: String,
    /// The address for `bind: "custom"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_bind_host: Option<String>,
    /// Who may connect.
    pub auth: RawAuth,
    /// Addresses or networks of proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<String>,
    /// Whether `X-Real-IP` of a trusted proxy counts when `X-Forwarded-For` names nobody.
    pub allow_real_ip_fallback: bool,
    /// The HTTP side.
    pub http: RawHttp,
    /// Browsers.
    pub control_ui: RawControlUi,
    /// Devices.
    pub nodes: RawNodes,
    /// Seconds runs may go on after the drain began.
    #[schemars(range(min = 0, max = 86_400))]
    pub drain_seconds: u64,
    /// Bounds of sockets.
    pub limits: RawLimits,
}

impl Default for RawGateway {
    fn default() -> Self {
        Self {
            port: PORT_DEFAULT,
            bind: "loopback".to_owned(),
            custom_bind_host: None,
            auth: RawAuth::default(),
            trusted_proxies: Vec::new(),
            allow_real_ip_fallback: false,
            http: RawHttp::default(),
            control_ui: RawControlUi::default(),
            nodes: RawNodes::default(),
            drain_seconds: 30,
            limits: RawLimits::default(),
        }
    }
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawAuth {
    /// Which secret a peer must know; needed when both a token and a password are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RawAuthMode>,
    /// The shared token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<RawSecret>,
    /// The shared password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<RawSecret>,
    /// When a guesser is locked out.
    pub rate_limit: RawRateLimit,
}

/// Which secret a peer must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawAuthMode {
    /// None; only on loopback.
    None,
    /// `token`.
    Token,
    /// `password`.
    Password,
    /// Users named by a proxy; clawport does not support it.
    TrustedProxy,
}

/// When a guesser is locked out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawRateLimit {
    /// Failures inside the window that lock.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_attempts: u32,
    /// Milliseconds of the sliding window.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub window_ms: u64,
    /// Milliseconds a lock holds.
    #[schemars(range(min = 1, max = 604_800_000))]
    pub lockout_ms: u64,
    /// Whether loopback peers are delayed instead of locked out.
    pub exempt_loopback: bool,
}

impl Default for RawRateLimit {
    fn default() -> Self {
        let limiter = LimiterConfig::default();
        Self {
            max_attempts: limiter.attempts_max,
            window_ms: millis(limiter.window),
            lockout_ms: millis(limiter.lockout),
            exempt_loopback: limiter.exempt_loopback,
        }
    }
}

/// The HTTP side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawHttp {
    /// Which endpoints exist.
    pub endpoints: RawEndpoints,
    /// Headers added to every answer.
    pub security_headers: RawSecurityHeaders,
    /// Web pages of other origins.
    pub cors: RawCors,
}

/// Web pages of other origins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawCors {
    /// Origins whose pages may call the API: `https://chat.example.com`.
    pub allowed_origins: Vec<String>,
}

/// Which HTTP endpoints exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawEndpoints {
    /// `POST /v1/chat/completions` and its neighbours.
    pub chat_completions: RawChatCompletions,
    /// `GET /metrics`.
    pub metrics: RawMetrics,
}

/// `GET /metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawMetrics {
    /// Whether it exists: the numbers of the process for Prometheus, for callers that hold
    /// `operator.read`.
    pub enabled: bool,
}

/// `POST /v1/chat/completions` and its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawChatCompletions {
    /// Whether they exist.
    pub enabled: bool,
    /// Whether calls without `user` and session key are kept.
    pub store_stateless: bool,
    /// Whether the header `X-OpenWebUI-Chat-Id` names the session of a call without `user` and
    /// session key.
    pub open_web_ui_chats: bool,
    /// Images that requests only name.
    pub images: RawImages,
    /// Bytes of a request body, instead of `gateway.limits.bodyBytes`.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<usize>,
}

/// Images that requests only name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawImages {
    /// Whether they are fetched, from public addresses only.
    pub allow_url: bool,
    /// The hosts they may be on: `cdn.example.com`, `*.example.com`; every public one when empty.
    pub url_allowlist: Vec<String>,
}

/// Headers added to every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawSecurityHeaders {
    /// Value of `Strict-Transport-Security`, or `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_transport_security: Option<RawHsts>,
}

/// Value of `Strict-Transport-Security`, or `false`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RawHsts {
    /// The value.
    Value(String),
    /// `false`: no header.
    Switch(bool),
}

/// Browsers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawControlUi {
    /// Whether the Control UI is served, if `root` says where it is.
    pub enabled: bool,
    /// The folder of the original's Control UI, `node_modules/openclaw/dist/control-ui`; relative
    /// to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Where the Control UI is served instead of `/`: `/openclaw`.
    pub base_path: String,
    /// Origins that may open a connection; `*` is every origin.
    pub allowed_origins: Vec<String>,
    /// Whether an origin equal to the `Host` header may.
    pub dangerously_allow_host_header_origin_fallback: bool,
    /// Whether pages on this machine that know the secret are paired without being asked.
    pub auto_approve_local: bool,
}

impl Default for RawControlUi {
    fn default() -> Self {
        Self {
            enabled: true,
            root: None,
            base_path: String::new(),
            allowed_origins: Vec::new(),
            dangerously_allow_host_header_origin_fallback: false,
            auto_approve_local: false,
        }
    }
}

/// Devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawNodes {
    /// How devices are paired.
    pub pairing: RawPairing,
}

/// How devices are paired.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawPairing {
    /// Whether programs on this machine that know the secret are paired without being asked.
    pub auto_approve_local: bool,
}

impl Default for RawPairing {
    fn default() -> Self {
        Self {
            auto_approve_local: PairingPolicy::default().approve_local,
        }
    }
}

/// Bounds of sockets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawLimits {
    /// Accepted sockets at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: u32,
    /// Upgraded sockets of one address that have not authenticated.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub preauth_per_address: u32,
    /// Sockets of one address that have not sent a request, or idle after one; a quarter of
    /// `connections` when not set. Trusted proxies are not counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_per_address: Option<u32>,
    /// Bytes of a request head.
    #[schemars(range(min = 8192, max = 1_048_576))]
    pub head_bytes: usize,
    /// Seconds a request head may take.
    #[schemars(range(min = 1, max = 3600))]
    pub head_seconds: u64,
    /// Bytes of a request body.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub body_bytes: usize,
    /// Seconds a request body may take.
    #[schemars(range(min = 1, max = 86_400))]
    pub body_seconds: u64,
    /// Seconds a kept connection may be silent between requests.
    #[schemars(range(min = 1, max = 86_400))]
    pub idle_seconds: u64,
    /// Bytes that may wait for one native peer.
    #[schemars(range(min = 65_536, max = 4_294_967_295_u64))]
    pub outbox_bytes: usize,
    /// Bytes of memory that large answers in the making share; they wait for it.
    #[schemars(range(min = 1_048_576, max = 1_099_511_627_776_u64))]
    pub answer_bytes: u64,
    /// Bytes of it that the answers of one connection share.
    #[schemars(range(min = 1_048_576, max = 1_099_511_627_776_u64))]
    pub answer_bytes_per_connection: u64,
}

impl Default for RawLimits {
    fn default() -> Self {
        let transport = TransportConfig::default();
        Self {
            connections: transport.connections_max,
            preauth_per_address: transport.preauth_per_address_max,
            idle_per_address: None,
            head_bytes: transport.head_bytes_max,
            head_seconds: transport.head_timeout.as_secs(),
            body_bytes: transport.body_bytes_max,
            body_seconds: transport.body_timeout.as_secs(),
            idle_seconds: transport.idle_timeout.as_secs(),
            outbox_bytes: transport.outbox_bytes_max,
            answer_bytes: transport.answer_bytes_max,
            answer_bytes_per_connection: transport.answer_bytes_per_connection_max,
        }
    }
}
