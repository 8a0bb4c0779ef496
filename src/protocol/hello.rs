//! What the gateway says first: the challenge and `hello-ok` with its snapshot (`protocol-facts`
//! §2.5, §2.6).
//!
//! A peer without `operator.admin` never sees paths or the mode of authentication, whatever the
//! caller put into the snapshot.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::codec::{EncodeError, EncodedEvent, Reply};
use super::connect::Role;
use super::frame::StateVersion;
use super::version::Protocol;
use crate::ids::ConnectionId;

pub use crate::version::{COMPATIBILITY_LEVEL, SERVER_VERSION};

/// The scope that shows the whole snapshot.
const ADMIN: &str = "operator.admin";

/// What `models.list` shows is all there is to choose from, so it can be relied on.
pub const PUBLISHED_MODEL_CATALOG: &str = "published-model-catalog";

/// Default of [`Policy::tick_interval_ms`].
const TICK_INTERVAL_MS: u64 = 30_000;

/// The payload of `connect.challenge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Challenge {
    /// One random text per connection.
    #[schemars(length(min = 1))]
    pub nonce: String,
    /// The gateway's clock, in milliseconds since 1970.
    pub ts: u64,
}

impl Challenge {
    /// The event.
    ///
    /// # Errors
    /// None in practice: the payload is small.
    pub(super) fn encode(&self) -> Result<EncodedEvent, EncodeError> {
        EncodedEvent::new("connect.challenge", self)
    }
}

/// What an accepted peer is told, whatever its version.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The connection.
    pub connection: ConnectionId,
    /// One random text per start of the process.
    pub boot_id: Arc<str>,
    /// Whether the gateway serves the Control UI.
    pub serves_control_ui: bool,
    /// What is served.
    pub features: Features,
    /// The state of the gateway.
    pub snapshot: Snapshot,
    /// What the peer may do.
    pub auth: HelloAuth,
    /// The bounds of the connection.
    pub policy: Policy,
}

/// What is served: names for feature detection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Features {
    /// The methods.
    pub methods: Arc<[&'static str]>,
    /// The events.
    pub events: Arc<[&'static str]>,
    /// What clients ask for by name before they use it; not in version 3.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub capabilities: &'static [&'static str],
}

/// What an accepted peer may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HelloAuth {
    /// How it authenticated: `token`, `password`, `none` or `device-token`; not in version 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Cow<'static, str>>,
    /// What it acts as.
    pub role: Role,
    /// Its scopes; may be none.
    pub scopes: Vec<Arc<str>>,
    /// The token of its device, to be kept by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_token: Option<Confidential>,
    /// When that token came to be, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at_ms: Option<u64>,
}

impl HelloAuth {
    /// The form of version 3, which is only told of with a device token.
    fn for_v3(&self) -> Option<Self> {
        self.device_token.is_some().then(|| Self {
            method: None,
            ..self.clone()
        })
    }
}

/// A secret for one peer; prints as `[secret]`.
#[derive(Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Confidential(#[schemars(length(min = 1))] Arc<str>);

impl Confidential {
    /// Takes a secret for the peer it is written to.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The bounds of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Longest frame, in bytes.
    pub max_payload: u64,
    /// Most bytes that may wait for a peer that does not read.
    pub max_buffered_bytes: u64,
    /// Time between `tick` events, in milliseconds.
    pub tick_interval_ms: u64,
    /// Bounds of attachments; not in version 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<AttachmentPolicy>,
}

/// Bounds of attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentPolicy {
    /// Largest attachment, in bytes; its base64 form fits into a frame.
    pub max_bytes: u64,
    /// Largest image, in bytes.
    pub max_image_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_payload: 26_214_400,
            max_buffered_bytes: 52_428_800,
            tick_interval_ms: TICK_INTERVAL_MS,
            attachments: Some(AttachmentPolicy {
                max_bytes: 19_464_192,
                max_image_bytes: 6_291_456,
            }),
        }
    }
}

/// The state of the gateway at the moment of the handshake.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Whether new work is taken; not in version 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// Who is connected.
    pub presence: Vec<PresenceEntry>,
    /// The health summary, or an empty object.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub health: Arc<RawValue>,
    /// Versions of presence and health.
    pub state_version: StateVersion,
    /// Time since the start, in milliseconds.
    pub uptime_ms: u64,
    /// Digest of the configuration in force; not in version 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_config_hash: Option<Arc<str>>,
    /// How session keys are made.
    pub session_defaults: SessionDefaults,
    /// Path of the configuration file; only for `operator.admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_path: Option<Arc<str>>,
    /// Path of the state directory; only for `operator.admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<Arc<str>>,
    /// How peers authenticate; only for `operator.admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_mode: Option<AuthModeName>,
}

/// Whether new work is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Suspension {
    /// The phase.
    pub phase: SuspensionPhase,
}

/// The phase of a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SuspensionPhase {
    /// New work is taken.
    Accepting,
    /// Running work ends, new work is refused.
    Draining,
}

/// How peers authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthModeName {
    /// No secret.
    None,
    /// A shared token.
    Token,
    /// A shared password.
    Password,
}

/// How session keys are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDefaults {
    /// The agent of requests that name none.
    pub default_agent_id: Arc<str>,
    /// Whether a model is there; not in version 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_configured: Option<bool>,
    /// Who owns the list of agents; not in version 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ownership: Option<RosterOwnership>,
    /// Whether the client must choose an agent; not in version 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection_required: Option<bool>,
    /// The last part of the main session's key.
    pub main_key: Arc<str>,
    /// The main session's key.
    pub main_session_key: Arc<str>,
    /// `per-sender` or `global`.
    pub scope: Arc<str>,
}

/// Who owns the list of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RosterOwnership {
    /// There is one agent.
    Sole,
    /// The list is written out.
    Explicit,
}

/// One connected client, or the gateway itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PresenceEntry {
    /// The name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Arc<str>>,
    /// The address; left out for local clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Arc<str>>,
    /// The version of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The operating system or browser platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Arc<str>>,
    /// The family of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<Arc<str>>,
    /// The model of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<Arc<str>>,
    /// The time zone of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Arc<str>>,
    /// What it connected for; `gateway` for the gateway itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Arc<str>>,
    /// What the entry was written for: `connect`, `disconnect` or `self`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// One line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
    /// When the entry was written, in milliseconds since 1970.
    pub ts: u64,
    /// Its roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// Its scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Arc<str>>>,
    /// Its device, when it proved one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Arc<str>>,
    /// One running copy of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<Arc<str>>,
    /// Seconds since somebody used it, when the entry was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_input_seconds: Option<u64>,
    /// Words it is found by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Arc<str>>>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
enum HelloTag {
    #[serde(rename = "hello-ok")]
    HelloOk,
}

/// `hello-ok` on the wire.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HelloOk<'a> {
    #[serde(rename = "type")]
    tag: HelloTag,
    #[schemars(range(min = 3, max = 4))]
    protocol: u8,
    server: Server<'a>,
    features: Cow<'a, Features>,
    snapshot: &'a Snapshot,
    /// Not in version 3, where it is only there with a device token.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Cow<'a, HelloAuth>>,
    policy: Policy,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct Server<'a> {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_id: Option<&'a str>,
    /// `configured` when the gateway serves a page of its own choice, which then need not be of
    /// the build this server would come with.
    #[serde(skip_serializing_if = "Option::is_none")]
    control_ui_build_source: Option<&'static str>,
    conn_id: String,
}

impl Hello {
    /// The response to `connect`, or `None` when it would not fit into a frame.
    pub(super) fn encode(&self, id: &str, version: Protocol) -> Option<Reply> {
        let snapshot = self.visible_snapshot(version);
        let (is_v4, auth, policy) = match version {
            Protocol::V3 => (
                false,
                self.auth.for_v3().map(Cow::Owned),
                Policy {
                    attachments: None,
                    ..self.policy
                },
            ),
            Protocol::V4 => (true, Some(Cow::Borrowed(&self.auth)), self.policy),
        };
        let hello = HelloOk {
            tag: HelloTag::HelloOk,
            protocol: version.number(),
            server: Server {
                version: SERVER_VERSION,
                boot_id: is_v4.then_some(&*self.boot_id),
                control_ui_build_source: (is_v4 && self.serves_control_ui).then_some("configured"),
                conn_id: self.connection.to_string(),
            },
            features: match version {
                Protocol::V3 => Cow::Owned(Features {
                    capabilities: &[],
                    ..self.features.clone()
                }),
                Protocol::V4 => Cow::Borrowed(&self.features),
            },
            snapshot: &snapshot,
            auth,
            policy,
        };
        Reply::try_ok(id, &hello).ok()
    }

    /// The snapshot as this peer may see it and as its version knows it.
    fn visible_snapshot(&self, version: Protocol) -> Snapshot {
        let mut snapshot = self.snapshot.clone();
        if !self.auth.scopes.iter().any(|scope| &**scope == ADMIN) {
            snapshot.config_path = None;
            snapshot.state_dir = None;
            snapshot.auth_mode = None;
        }
        if version == Protocol::V3 {
            snapshot.suspension = None;
            snapshot.applied_config_hash = None;
            snapshot.session_defaults.model_configured = None;
            snapshot.session_defaults.ownership = None;
            snapshot.session_defaults.selection_required = None;
        }
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::testing::hello;

    fn payload(scopes: &[&str], version: Protocol) -> Value {
        let reply = hello(scopes).encode("c1", version).unwrap();
        let frame: Value = serde_json::from_str(&reply.frame).unwrap();
        assert_eq!((&frame["id"], &frame["ok"]), (&json!("c1"), &json!(true)));
        frame["payload"].clone()
    }

    #[test]
    fn an_administrator_of_version_four_sees_everything() {
        assert_eq!(
            payload(&["operator.admin"], Protocol::V4),
            json!({
                "type": "hello-ok",
                "protocol": 4,
                "server": {
                    "version": SERVER_VERSION,
                    "bootId": "boot",
                    "connId": "00000000-0000-0000-0000-000000000000",
                },
                "features": {
                    "methods": ["health"],
                    "events": ["tick"],
                    "capabilities": ["published-model-catalog"],
                },
                "snapshot": {
                    "suspension": {"phase": "accepting"},
                    "presence": [{"mode": "gateway", "ts": 1}],
                    "health": {},
                    "stateVersion": {"presence": 1, "health": 1},
                    "uptimeMs": 5,
                    "appliedConfigHash": "h",
                    "sessionDefaults": {
                        "defaultAgentId": "main",
                        "modelConfigured": true,
                        "ownership": "sole",
                        "selectionRequired": false,
                        "mainKey": "main",
                        "mainSessionKey": "agent:main:main",
                        "scope": "per-sender",
                    },
                    "configPath": "/etc/c.json",
                    "stateDir": "/var/s",
                    "authMode": "token",
                },
                "auth": {"method": "token", "role": "operator", "scopes": ["operator.admin"]},
                "policy": {
                    "maxPayload": 26_214_400,
                    "maxBufferedBytes": 52_428_800,
                    "tickIntervalMs": 30_000,
                    "attachments": {"maxBytes": 19_464_192, "maxImageBytes": 6_291_456},
                },
            })
        );
    }

    #[test]
    fn version_three_gets_the_form_it_knows() {
        assert_eq!(
            payload(&[], Protocol::V3),
            json!({
                "type": "hello-ok",
                "protocol": 3,
                "server": {
                    "version": SERVER_VERSION,
                    "connId": "00000000-0000-0000-0000-000000000000",
                },
                "features": {"methods": ["health"], "events": ["tick"]},
                "snapshot": {
                    "presence": [{"mode": "gateway", "ts": 1}],
                    "health": {},
                    "stateVersion": {"presence": 1, "health": 1},
                    "uptimeMs": 5,
                    "sessionDefaults": {
                        "defaultAgentId": "main",
                        "mainKey": "main",
                        "mainSessionKey": "agent:main:main",
                        "scope": "per-sender",
                    },
                },
                "policy": {
                    "maxPayload": 26_214_400,
                    "maxBufferedBytes": 52_428_800,
                    "tickIntervalMs": 30_000,
                },
            })
        );
    }

    #[test]
    fn paths_are_for_administrators_only() {
        for version in [Protocol::V3, Protocol::V4] {
            for scopes in [&[][..], &["operator.read", "operator.write"], &["admin"]] {
                let snapshot = &payload(scopes, version)["snapshot"];
                for name in ["configPath", "stateDir", "authMode"] {
                    assert_eq!(snapshot.get(name), None, "{name} {scopes:?}");
                }
            }
            let snapshot = &payload(&["operator.admin"], version)["snapshot"];
            assert_eq!(snapshot["configPath"], "/etc/c.json");
        }
    }
}
