//! What operators and other programs tell the gateway and ask about its parts: `system-event`,
//! `wake`, `set-heartbeats`, `tools.catalog`, `diagnostics.*` (`protocol-facts` §6.2, §6.12).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::params::{Few, params};
use crate::protocol::{Bounded, NonEmpty, PresenceEntry, Role, Text};

params! {
    /// Parameters of `system-event`.
    SystemEventParams {
        required {
            /// What happened.
            text: Text<0, 4096>,
        }
        optional {
            /// The device it is about.
            device_id: Text<0, 256>,
            /// The program it is about.
            instance_id: Text<0, 256>,
            /// Its host.
            host: Text<0, 256>,
            /// Its address.
            ip: Text<0, 256>,
            /// How it runs.
            mode: Text<0, 256>,
            /// Its version.
            version: Text<0, 256>,
            /// Its platform.
            platform: Text<0, 256>,
            /// What kind of device it runs on.
            device_family: Text<0, 256>,
            /// Which model of it.
            model_identifier: Text<0, 256>,
            /// Seconds since somebody used it.
            last_input_seconds: u64,
            /// Why this is told.
            reason: Text<0, 256>,
            /// Its roles.
            roles: Few<Role, 4>,
            /// Its scopes.
            scopes: Few<Text<0, 128>, 64>,
            /// Words it is found by.
            tags: Few<Text<0, 128>, 16>,
        }
    }
}

impl SystemEventParams {
    /// What happened, when anything is said.
    pub fn said(&self) -> Option<&str> {
        let text = self.text.trim();
        (!text.is_empty()).then_some(text)
    }

    /// What the entry is known by: the device, else the program, else the host, else the text.
    pub fn key(&self) -> &str {
        let given = [&self.device_id, &self.instance_id, &self.host, &self.ip];
        let mut given = given.into_iter().flatten().map(|name| name.trim());
        let first = given.find(|name| !name.is_empty());
        first.unwrap_or_else(|| self.text.trim())
    }

    /// Whether it only tells that somebody is there.
    pub fn is_presence(&self) -> bool {
        self.text.trim_start().starts_with("Node:")
    }

    /// The entry in the list of who is there.
    pub fn entry(&self, now_ms: u64) -> PresenceEntry {
        let owned = |text: &Option<Text<0, 256>>| text.as_deref().map(Into::into);
        let scopes = self.scopes.as_ref().map(Few::as_slice);
        let tags = self.tags.as_ref().map(Few::as_slice);
        let roles = self.roles.as_ref().map(Few::as_slice);
        PresenceEntry {
            device_id: owned(&self.device_id),
            instance_id: owned(&self.instance_id),
            host: owned(&self.host),
            ip: owned(&self.ip),
            mode: owned(&self.mode),
            version: owned(&self.version),
            platform: owned(&self.platform),
            device_family: owned(&self.device_family),
            model_identifier: owned(&self.model_identifier),
            last_input_seconds: self.last_input_seconds,
            reason: owned(&self.reason),
            roles: roles.map(<[_]>::to_vec),
            scopes: scopes.map(|scopes| scopes.iter().map(|it| (**it).into()).collect()),
            tags: tags.map(|tags| tags.iter().map(|it| (**it).into()).collect()),
            text: Some((*self.text).into()),
            ts: now_ms,
            ..PresenceEntry::default()
        }
    }
}

params! {
    /// Parameters of `wake`.
    WakeParams {
        required {
            /// When agents should hear of it: there is no heartbeat that could bring it sooner than
            /// the next turn.
            mode: WakeMode,
            /// What happened.
            text: NonEmpty,
        }
        optional {
            /// The session it is for.
            session_key: NonEmpty,
            /// The agent it is for, when no session is named.
            agent_id: NonEmpty,
        }
    }
}

/// When an agent should hear of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WakeMode {
    /// At once.
    Now,
    /// With the next heartbeat.
    NextHeartbeat,
}

/// The result of `system-event`, `wake` and `sessions.observer.visibility`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Noted {
    /// Always true.
    pub ok: bool,
}

params! {
    /// Parameters of `set-heartbeats`; the refusal of a wrong one has words of its own.
    SetHeartbeatsParams {
        optional {
            /// Whether agents are to be woken now and then: `true` or `false`.
            enabled: Value,
        }
    }
}

/// The result of `set-heartbeats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetHeartbeatsResult {
    /// Always true.
    pub ok: bool,
    /// Whether agents are woken now and then: never.
    pub enabled: bool,
}

params! {
    /// Parameters of `sessions.observer.visibility`.
    ObserverVisibilityParams {
        required {
            /// Whether the caller shows what an observer of sessions says: there is none.
            visible: bool,
        }
    }
}

params! {
    /// Parameters of `tools.catalog`.
    ToolsCatalogParams {
        optional {
            /// The agent whose tools are meant.
            agent_id: NonEmpty,
        }
        unused { include_plugins: bool }
    }
}

/// The result of `tools.catalog`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolsCatalogResult {
    /// The agent.
    pub agent_id: String,
    /// Sets of tools: the one there is.
    pub profiles: Vec<ToolProfile>,
    /// Tools the gateway brings along: none; agents and clients have their own.
    pub groups: [(); 0],
}

/// A set of tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolProfile {
    /// Its name.
    pub id: String,
    /// Its name to show.
    pub label: String,
}

impl ToolsCatalogResult {
    /// The gateway brings no tools along.
    pub fn empty(agent_id: &str) -> Self {
        Self {
            agent_id: agent_id.to_owned(),
            profiles: vec![ToolProfile {
                id: "full".to_owned(),
                label: "Full".to_owned(),
            }],
            groups: [],
        }
    }
}

params! {
    /// Parameters of `models.authStatus`.
    ModelsAuthStatusParams {
        unused { refresh: bool, agent_id: String }
    }
}

/// The result of `models.authStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelsAuthStatusResult {
    /// When this was true, in wall-clock milliseconds.
    pub ts: u64,
    /// Providers with a key in the configuration.
    pub providers: Vec<ProviderAuth>,
}

/// How the gateway authenticates to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderAuth {
    /// The provider.
    pub provider: String,
    /// Its name to show.
    pub display_name: String,
    /// Always `static`: a key that does not expire by itself.
    pub status: AuthState,
    /// Accounts: none but the key.
    pub profiles: [(); 0],
}

/// The state of a provider's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthState {
    /// A key.
    Static,
}

impl ProviderAuth {
    /// Providers with a key, of the configuration in force.
    pub fn of(config: &Value) -> Vec<Self> {
        let providers = config
            .pointer("/models/providers")
            .and_then(Value::as_object);
        let has_key = |provider: &Value| {
            let key = provider.get("apiKey").and_then(Value::as_str);
            key.is_some_and(|key| !key.is_empty())
        };
        let providers = providers.into_iter().flatten();
        providers
            .filter(|(_id, provider)| has_key(provider))
            .map(|(id, _provider)| Self {
                provider: id.clone(),
                display_name: id.clone(),
                status: AuthState::Static,
                profiles: [],
            })
            .collect()
    }
}

params! {
    /// Parameters of `gateway.identity.get`.
    GatewayIdentityParams {}
}

/// The result of `gateway.identity.get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayIdentityResult {
    /// Hex SHA-256 of the public key.
    pub device_id: String,
    /// The public key, in base64url.
    pub public_key: String,
}

params! {
    /// Parameters of `diagnostics.lanes`.
    DiagnosticsLanesParams {}
}

/// The result of `diagnostics.lanes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiagnosticsLanesResult {
    /// When this was true, in wall-clock milliseconds.
    pub ts: u64,
    /// The one lane all runs share beside that of their session.
    pub lanes: Vec<LaneState>,
    /// A limit that changes by itself: there is none.
    pub dynamic: (),
}

/// What a lane holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneState {
    /// Its name.
    pub lane: String,
    /// Runs that wait.
    pub queued_count: u64,
    /// Runs that are active.
    pub active_count: u64,
    /// Most runs that are active at once.
    pub max_concurrent: u64,
    /// Whether the gateway winds down.
    pub draining: bool,
    /// How often it was started anew: never.
    pub generation: u64,
    /// What holds it up: nothing but its limit.
    pub blocked_by: (),
}

params! {
    /// Parameters of `diagnostics.stability`.
    StabilityParams {
        unused { limit: Bounded<1, 1000>, r#type: NonEmpty, since_seq: u64 }
    }
}

/// The result of `diagnostics.stability`: no record of events is kept for it; the log has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StabilityResult {
    /// When this was true.
    pub generated_at: String,
    /// Most events that are kept.
    pub capacity: u64,
    /// How many are.
    pub count: u64,
    /// How many had to go.
    pub dropped: u64,
    /// The events.
    pub events: [(); 0],
    /// The same by kind.
    pub summary: StabilitySummary,
}

/// Events by kind: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StabilitySummary {
    /// How many of each kind.
    pub by_type: BTreeMap<String, u64>,
}

impl StabilityResult {
    /// Nothing, at this time.
    pub fn empty(generated_at: String) -> Self {
        Self {
            generated_at,
            capacity: 0,
            count: 0,
            dropped: 0,
            events: [],
            summary: StabilitySummary::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_known_by_the_first_name_it_has() {
        for (value, key, is_presence) in [
            (json!({"text": "Node: x"}), "Node: x", true),
            (
                json!({"text": "x", "deviceId": " ", "host": "h"}),
                "h",
                false,
            ),
            (
                json!({"text": "x", "deviceId": "d", "instanceId": "i"}),
                "d",
                false,
            ),
        ] {
            let params: SystemEventParams = serde_json::from_value(value).unwrap();
            assert_eq!((params.key(), params.is_presence()), (key, is_presence));
        }
    }

    #[test]
    fn only_providers_with_a_key_have_one() {
        let config = json!({"models": {"providers": {
            "keyed": {"apiKey": "__OPENCLAW_REDACTED__"}, "open": {}, "blank": {"apiKey": ""},
        }}});
        let found = ProviderAuth::of(&config);
        let found: Vec<_> = found.iter().map(|it| it.provider.as_str()).collect();
        assert_eq!(found, ["keyed"]);
        assert_eq!(ProviderAuth::of(&Value::Null), []);
    }
}
