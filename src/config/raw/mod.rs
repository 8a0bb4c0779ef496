//! What a configuration file may say, as it is written: names, forms, ranges and defaults.
//!
//! The JSON Schema of the file is generated from these types, and the file is checked against that
//! schema, so form, check and document cannot disagree. Owns no meaning: a value of the right form
//! may still make no sense.

mod gateway;
mod models;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::events::LogsConfig;
use crate::scheduler::{QueueConfig, SchedulerConfig};

pub use gateway::{
    RawAuth, RawAuthMode, RawChatCompletions, RawControlUi, RawCors, RawEndpoints, RawGateway,
    RawHsts, RawHttp, RawImages, RawLimits, RawMetrics, RawNodes, RawPairing, RawRateLimit,
    RawSecurityHeaders,
};
pub use models::{RawCompat, RawModel, RawModelChoice, RawModelList, RawModels, RawProvider};

/// A configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(title = "clawport configuration")]
pub struct RawConfig {
    /// The port, who may connect, and the bounds of sockets.
    pub gateway: RawGateway,
    /// Who answers.
    pub agents: RawAgents,
    /// Model servers.
    pub models: RawModels,
    /// What happens to messages for a busy session.
    pub messages: RawMessages,
    /// Session keys.
    pub session: RawSession,
    /// What is kept on disk, and how safely.
    pub store: RawStore,
    /// What is kept of runs for those who watch.
    pub events: RawEvents,
    /// What the process logs.
    pub logging: RawLogging,
    /// Variables for `${NAME}`, used where the environment has none of that name; either here or
    /// under `vars`.
    #[serde(skip_serializing)]
    pub env: BTreeMap<String, serde_json::Value>,
}

/// A secret: the text itself, or where it is.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RawSecret {
    /// The secret itself, best as `${NAME}`.
    Text(String),
    /// Where the secret is.
    Reference(RawSecretRef),
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RawSecretRef {
    /// The kind of place; `env` is the only one clawport reads.
    pub source: String,
    /// The name of the provider; not used for `env`.
    #[serde(default)]
    pub provider: String,
    /// The name of the variable.
    pub id: String,
}

impl std::fmt::Debug for RawSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("[secret]"),
            Self::Reference(reference) => reference.fmt(f),
        }
    }
}

impl Serialize for RawSecret {
    /// The text never leaves the process; a reference may.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(_) => to.serialize_str(super::view::REDACTED),
            Self::Reference(reference) => reference.serialize(to),
        }
    }
}

/// Who answers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawAgents {
    /// What holds for every agent that does not say otherwise.
    pub defaults: RawAgentDefaults,
    /// The agents; without any there is one called `main`.
    pub list: Vec<RawAgent>,
}

/// What holds for every agent that does not say otherwise.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawAgentDefaults {
    /// The model: `provider/model`, or `primary` with `fallbacks`; `sim/demo` when nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<RawModelChoice>,
    /// System text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Seconds a run may take; 0 is no limit.
    #[schemars(range(min = 0, max = 31_536_000))]
    pub timeout_seconds: u64,
    /// Seconds an agent may be silent; 0 is no limit.
    #[schemars(range(min = 0, max = 31_536_000))]
    pub idle_seconds: u64,
    /// Milliseconds a cancelled backend may take to end before its slot is taken back.
    #[schemars(range(min = 0, max = 600_000))]
    pub abort_grace_ms: u64,
    /// Runs that are active at once in the whole gateway.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_concurrent: u32,
    /// Whether reasoning is shown to HTTP callers.
    pub reasoning_default: RawReasoning,
    /// Whether a native run that had started when the process died is started over by the next
    /// one, at most three times; else it ends as interrupted. What it did before is done again.
    pub restartable: bool,
    /// Knobs of simulated agents, as in `sim/lorem?tokens=200`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sim: BTreeMap<String, serde_json::Value>,
}

impl Default for RawAgentDefaults {
    fn default() -> Self {
        Self {
            model: None,
            system_prompt: None,
            timeout_seconds: 600,
            idle_seconds: 120,
            abort_grace_ms: 2000,
            max_concurrent: SchedulerConfig::default().active_max,
            reasoning_default: RawReasoning::Off,
            restartable: false,
            sim: BTreeMap::new(),
        }
    }
}

/// One agent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RawAgent {
    /// Its id: letters, digits, `-` and `_`, at most 64.
    pub id: String,
    /// Its display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it presents itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<RawIdentity>,
    /// Whether it answers when a request names no agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Its model, instead of the one in `agents.defaults`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<RawModelChoice>,
    /// Its system text, instead of the one in `agents.defaults`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Its runs that are active at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Seconds a run may take; 0 is no limit.
    #[schemars(range(min = 0, max = 31_536_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Seconds it may be silent; 0 is no limit.
    #[schemars(range(min = 0, max = 31_536_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
    /// Its share of the gateway's slots beside other agents; 1 when nothing is said.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether its reasoning is shown to HTTP callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_default: Option<RawReasoning>,
    /// Whether its native runs are started over after a crash, instead of what `agents.defaults`
    /// says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restartable: Option<bool>,
    /// Knobs, if it is simulated, on top of those in `agents.defaults`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sim: BTreeMap<String, serde_json::Value>,
}

/// How an agent presents itself in user interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawIdentity {
    /// Shown name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A theme word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
    /// An emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// A letter, a path or a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
}

/// Whether reasoning is shown to HTTP callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawReasoning {
    /// It is not.
    Off,
    /// It is.
    On,
    /// It is, as it comes.
    Stream,
}

/// What happens to messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawMessages {
    /// What happens to messages for a busy session.
    pub queue: RawQueue,
}

/// What happens to messages for a busy session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawQueue {
    /// How; by the protocol version of the caller when nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RawQueueMode>,
    /// Milliseconds `collect` waits for more.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub debounce_ms: u64,
    /// Messages that wait in one session.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub cap: u32,
    /// What goes when a session's queue is full.
    pub drop: RawDrop,
    /// Seconds a run may wait for its turn.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub wait_seconds: u64,
    /// Runs that wait in all.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub total_cap: u32,
    /// Runs of one credential that wait; a quarter of `totalCap` when nothing is said.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_cap: Option<u32>,
    /// Runs of one user, device or connection that wait.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub party_cap: u32,
}

impl Default for RawQueue {
    fn default() -> Self {
        let scheduler = SchedulerConfig::default();
        let queue = QueueConfig::default();
        Self {
            mode: None,
            debounce_ms: millis(queue.debounce),
            cap: queue.cap,
            drop: RawDrop::New,
            wait_seconds: scheduler.wait.as_secs(),
            total_cap: scheduler.waiting_max,
            credential_cap: None,
            party_cap: scheduler.party_waiting_max,
        }
    }
}

/// What happens to a message that arrives while its session is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawQueueMode {
    /// It is handed to the running agent, else it follows.
    Steer,
    /// What waits becomes one turn.
    Collect,
    /// One turn after the other.
    Followup,
    /// The running turn is aborted.
    Interrupt,
    /// Older name of `steer`.
    Queue,
    /// Older name of `steer`.
    SteerBacklog,
    /// Older name of `steer`.
    #[serde(rename = "steer+backlog")]
    SteerPlusBacklog,
}

/// What goes when a session's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawDrop {
    /// The new message is refused.
    New,
    /// The oldest one that waits.
    Old,
    /// The oldest one that waits, leaving a line in a summary.
    Summarize,
}

/// Session keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawSession {
    /// The part of session keys that names an agent's main session.
    pub main_key: String,
}

impl Default for RawSession {
    fn default() -> Self {
        Self {
            main_key: "main".to_owned(),
        }
    }
}

/// What is kept on disk, and how safely.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawStore {
    /// What a commit survives.
    pub durability: RawDurability,
    /// Days a session is kept after its last use; 0 is for ever.
    #[schemars(range(min = 0, max = 36_500))]
    pub retain_days: u32,
    /// Newest sessions that are kept.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub retain_sessions: u64,
    /// Newest ended runs that are kept.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub retain_runs: u64,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            durability: RawDurability::Full,
            retain_days: 90,
            retain_sessions: 100_000,
            retain_runs: 100_000,
        }
    }
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawDurability {
    /// Loss of power.
    Full,
    /// A crash of the process; the last commits may be lost with the power.
    Normal,
}

/// What is kept of runs for those who watch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawEvents {
    /// Bytes of one run's events that are not answer text.
    #[schemars(range(min = 4096, max = 1_073_741_824))]
    pub log_bytes: usize,
    /// Seconds the events of an ended run are kept.
    #[schemars(range(min = 0, max = 86_400))]
    pub keep_seconds: u64,
    /// Bytes of answer text after which a run ends with an error.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub output_bytes: usize,
}

impl Default for RawEvents {
    fn default() -> Self {
        let logs = LogsConfig::default();
        Self {
            log_bytes: logs.log.event_bytes_max,
            keep_seconds: logs.keep.as_secs(),
            output_bytes: OUTPUT_BYTES_DEFAULT,
        }
    }
}

/// Bytes of answer text after which a run ends, when nothing is said.
const OUTPUT_BYTES_DEFAULT: usize = 4 << 20;

/// What the process logs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawLogging {
    /// The least severe level that is written.
    pub level: RawLevel,
    /// The same for the console, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_level: Option<RawLevel>,
    /// How lines look; `pretty` on a terminal and `json` elsewhere when nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_style: Option<RawStyle>,
}

impl Default for RawLogging {
    fn default() -> Self {
        Self {
            level: RawLevel::Info,
            console_level: None,
            console_style: None,
        }
    }
}

/// How severe a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawLevel {
    /// Nothing is written.
    Silent,
    /// Failures that end the process.
    Fatal,
    /// Failures.
    Error,
    /// What may become one.
    Warn,
    /// What an operator wants to know.
    Info,
    /// Every request and run.
    Debug,
    /// Everything.
    Trace,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawStyle {
    /// For people at a terminal.
    Pretty,
    /// One short line each.
    Compact,
    /// One JSON object each.
    Json,
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
