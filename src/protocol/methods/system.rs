//! `health`, `status`, `system-presence`, `system.info` and `logs.tail`: the gateway about itself
//! (`protocol-facts` §6.2).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::params::params;
use crate::protocol::{Bounded, PresenceEntry};

/// Parameters of `health`; unknown members are let through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthParams {
    /// Whether a cached snapshot will not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<bool>,
}

/// Parameters of `status`; unknown members are let through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusParams {}

params! {
    /// Parameters of `system-presence`.
    SystemPresenceParams {}
}

params! {
    /// Parameters of `logs.tail`.
    LogsTailParams {
        optional {
            /// Byte position read so far.
            cursor: u64,
            /// At most this many lines; 500 when absent.
            limit: Bounded<1, 5000>,
            /// At most this many bytes; 250,000 when absent.
            max_bytes: Bounded<1, 1_000_000>,
        }
    }
}

/// Lines `logs.tail` returns when the caller names no limit.
pub const LOG_LINES_DEFAULT: u64 = 500;

/// Bytes `logs.tail` returns when the caller names no limit.
pub const LOG_BYTES_DEFAULT: u64 = 250_000;

/// The health snapshot: result of `health`, payload of the `health` event, part of `hello-ok`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthSummary {
    /// Always true: a gateway that is not well does not answer.
    pub ok: bool,
    /// When the snapshot was taken, in wall-clock milliseconds.
    pub ts: u64,
    /// How long that took, in milliseconds.
    pub duration_ms: u64,
    /// Chat channels: none here.
    pub channels: BTreeMap<String, serde_json::Value>,
    /// Their order.
    pub channel_order: Vec<String>,
    /// Their names.
    pub channel_labels: BTreeMap<String, String>,
    /// Seconds between heartbeats; 0 is off.
    pub heartbeat_seconds: u64,
    /// The agent used when a request names none.
    pub default_agent_id: String,
    /// The agents.
    pub agents: Vec<AgentHealth>,
    /// The sessions of the default agent.
    pub sessions: SessionsHealth,
}

impl HealthSummary {
    /// A snapshot of `agents`; the sessions of the default one are repeated at the top.
    pub fn new(ts: u64, duration_ms: u64, agents: Vec<AgentHealth>) -> Self {
        let default = agents.iter().find(|agent| agent.is_default);
        Self {
            ok: true,
            ts,
            duration_ms,
            channels: BTreeMap::new(),
            channel_order: Vec::new(),
            channel_labels: BTreeMap::new(),
            heartbeat_seconds: 0,
            default_agent_id: default.map_or_else(String::new, |agent| agent.agent_id.clone()),
            sessions: default.map_or_else(SessionsHealth::default, |agent| agent.sessions.clone()),
            agents,
        }
    }

    /// The snapshot without paths and recent session keys, for callers without `operator.admin`.
    #[must_use]
    pub fn for_public(mut self) -> Self {
        let parts = self.agents.iter_mut().map(|agent| &mut agent.sessions);
        for sessions in parts.chain([&mut self.sessions]) {
            sessions.path = String::new();
            sessions.recent.clear();
        }
        self
    }
}

/// One agent in a health snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentHealth {
    /// Its id.
    pub agent_id: String,
    /// Its display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether requests that name no agent go to it.
    pub is_default: bool,
    /// Its heartbeat: off.
    pub heartbeat: HeartbeatHealth,
    /// Its sessions.
    pub sessions: SessionsHealth,
}

/// The heartbeat of an agent in a health snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatHealth {
    /// Whether it beats.
    pub enabled: bool,
    /// The period as text.
    pub every: String,
    /// The period in milliseconds.
    pub every_ms: Option<u64>,
    /// What the agent is told at a beat.
    pub prompt: String,
    /// Where the answer goes.
    pub target: String,
    /// Longest answer that counts as "nothing to say".
    pub ack_max_chars: u32,
}

impl Default for HeartbeatHealth {
    fn default() -> Self {
        Self {
            enabled: false,
            every: "disabled".to_owned(),
            every_ms: None,
            prompt: String::new(),
            target: "none".to_owned(),
            ack_max_chars: 300,
        }
    }
}

/// Sessions in a health snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsHealth {
    /// Where they are stored.
    pub path: String,
    /// How many there are.
    pub count: u64,
    /// The last ones used, newest first.
    pub recent: Vec<RecentSession>,
}

/// A session that was used lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentSession {
    /// Its key.
    pub key: String,
    /// When it was last used, in wall-clock milliseconds.
    pub updated_at: Option<u64>,
    /// How long that is ago, in milliseconds.
    pub age: Option<u64>,
}

/// The result of `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusResult {
    /// The version of this program, not the compatibility level of `hello-ok`.
    pub runtime_version: String,
    /// Heartbeats: off.
    pub heartbeat: StatusHeartbeat,
    /// Chat channels: none.
    pub channel_summary: Vec<String>,
    /// System events that wait: none.
    pub queued_system_events: Vec<String>,
    /// The sessions.
    pub sessions: StatusSessions,
    /// The scheduler's numbers.
    pub runs: StatusRuns,
    /// How long the process runs, in milliseconds.
    pub uptime_ms: u64,
    /// The process.
    pub pid: u32,
}

impl StatusResult {
    /// The result without paths and recent rows, for callers without `operator.admin`.
    #[must_use]
    pub fn for_public(mut self) -> Self {
        self.sessions.paths.clear();
        self.sessions.recent.clear();
        for agent in &mut self.sessions.by_agent {
            agent.path = String::new();
            agent.recent.clear();
        }
        self
    }
}

/// Heartbeats in `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusHeartbeat {
    /// The agent used when a request names none.
    pub default_agent_id: String,
    /// The agents.
    pub agents: Vec<StatusHeartbeatAgent>,
}

/// The heartbeat of one agent in `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusHeartbeatAgent {
    /// The agent.
    pub agent_id: String,
    /// Whether it beats.
    pub enabled: bool,
    /// The period as text.
    pub every: String,
    /// The period in milliseconds.
    pub every_ms: Option<u64>,
}

impl StatusHeartbeatAgent {
    /// An agent without a heartbeat.
    pub fn disabled(agent_id: impl Into<String>) -> Self {
        Self {
            agent_id: agent_id.into(),
            enabled: false,
            every: "disabled".to_owned(),
            every_ms: None,
        }
    }
}

/// Sessions in `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusSessions {
    /// Where they are stored.
    pub paths: Vec<String>,
    /// How many there are.
    pub count: u64,
    /// What a new session uses.
    pub defaults: StatusDefaults,
    /// The last ones used, newest first.
    pub recent: Vec<StatusRow>,
    /// The same per agent.
    pub by_agent: Vec<StatusAgentSessions>,
}

/// What a new session uses, in `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusDefaults {
    /// The model.
    pub model: Option<String>,
    /// Tokens the model can take in.
    pub context_tokens: Option<u64>,
}

/// Sessions of one agent in `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusAgentSessions {
    /// The agent.
    pub agent_id: String,
    /// Where they are stored.
    pub path: String,
    /// How many there are.
    pub count: u64,
    /// The last ones used, newest first.
    pub recent: Vec<StatusRow>,
}

/// A session in `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusRow {
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Its key.
    pub key: String,
    /// `direct`, `group`, `global` or `unknown`.
    pub kind: String,
    /// Its transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// When it was last used, in wall-clock milliseconds.
    pub updated_at: Option<u64>,
    /// How long that is ago, in milliseconds.
    pub age: Option<u64>,
    /// Whether its last run was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted_last_run: Option<bool>,
    /// Its model.
    pub model: Option<String>,
    /// Tokens the model can take in.
    pub context_tokens: Option<u64>,
    /// Tokens of its last context.
    pub total_tokens: Option<u64>,
    /// What is left of the context.
    pub remaining_tokens: Option<u64>,
    /// How full the context is, 0 to 100.
    pub percent_used: Option<u64>,
    /// Short marks.
    pub flags: Vec<String>,
}

/// The scheduler's numbers in `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusRuns {
    /// Runs that are active.
    pub active: u64,
    /// Runs that wait.
    pub waiting: u64,
    /// Lanes that exist.
    pub lanes: u64,
    /// How long the run has waited that waits longest, in milliseconds; 0 when none does.
    pub oldest_wait_ms: u64,
    /// How long runs have waited since the start of the process, in all.
    pub waited_ms: u64,
}

params! {
    /// Parameters of `system.info`.
    SystemInfoParams {}
}

/// The result of `system.info`: the machine and the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfoResult {
    /// The name of the machine to show.
    pub machine_name: String,
    /// Its name in the network.
    pub hostname: String,
    /// Its operating system, as Node.js calls it.
    pub platform: String,
    /// The release of that.
    pub release: String,
    /// Its processor, as Node.js calls it.
    pub arch: String,
    /// Operating system and release to show.
    pub os_label: String,
    /// The program, where the original says which Node.js it runs on.
    pub node_version: String,
    /// The process.
    pub pid: u32,
    /// Names this start of the process.
    pub process_instance_id: String,
    /// How long the process has run, in milliseconds.
    pub uptime_ms: u64,
    /// Processors the process may use.
    pub cpu_count: u64,
    /// The average load over 1, 5 and 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_average: Option<[f64; 3]>,
    /// Memory of the machine, in bytes; 0 where it is not known.
    pub memory_total_bytes: u64,
    /// How much of it is free.
    pub memory_free_bytes: u64,
    /// Memory of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_memory: Option<ProcessMemory>,
}

/// Memory of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessMemory {
    /// What it holds, in bytes.
    pub rss_bytes: u64,
    /// The part a garbage collector looks after: there is none, so it is all of it.
    pub heap_used_bytes: u64,
    /// The same.
    pub heap_total_bytes: u64,
}

/// The result of `system-presence`: who is connected, last touched first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct SystemPresenceResult(pub Vec<PresenceEntry>);

/// The result of `logs.tail`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogsTailResult {
    /// Where the lines come from.
    pub file: String,
    /// Byte position after the last line.
    pub cursor: u64,
    /// Bytes logged so far.
    pub size: u64,
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// Whether older lines were left out.
    pub truncated: bool,
    /// Whether the cursor was unknown and the tail was sent instead.
    pub reset: bool,
}
