//! What dispatch needs to see of configuration, agents and logs; `gateway` supplies it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::agent::AgentRef;
use crate::ids::AgentId;
use crate::run::ModelRef;

/// The configured agents.
pub trait AgentCatalog: Send + Sync + fmt::Debug {
    /// The agent used when a request names none.
    ///
    /// # Errors
    /// [`NoDefaultAgent`] when several agents are configured and none is marked.
    fn default_agent(&self) -> Result<AgentId, NoDefaultAgent>;

    /// One agent.
    fn get(&self, id: &AgentId) -> Option<Arc<AgentEntry>>;

    /// Every agent, in the order of the configuration.
    fn list(&self) -> Vec<Arc<AgentEntry>>;

    /// Every model a provider offers according to the configuration.
    fn models(&self) -> Vec<ModelEntry>;

    /// The agent id a model alias stands for, when `models.aliases` names it.
    fn alias(&self, model: &str) -> Option<AgentId>;
}

/// Several agents are configured and none is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("several agents are configured, but none is marked as the default")]
pub struct NoDefaultAgent;

/// A configured agent.
#[derive(Debug)]
pub struct AgentEntry {
    /// Its id.
    pub id: AgentId,
    /// Its display name.
    pub name: Option<Arc<str>>,
    /// How it presents itself.
    pub identity: AgentIdentity,
    /// The backend.
    pub agent: AgentRef,
    /// The models it uses: the first one, then the fallbacks.
    pub models: Vec<ModelRef>,
    /// Its own system text.
    pub system: Option<Arc<str>>,
    /// Bounds of its runs.
    pub limits: AgentLimits,
    /// Whether reasoning is shown to HTTP callers.
    pub show_reasoning: bool,
}

/// How an agent presents itself in user interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentIdentity {
    /// Shown name.
    pub name: Option<Arc<str>>,
    /// A theme word.
    pub theme: Option<Arc<str>>,
    /// An emoji.
    pub emoji: Option<Arc<str>>,
    /// An avatar: a letter, a path or a URL.
    pub avatar: Option<Arc<str>>,
}

/// Bounds of an agent's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentLimits {
    /// Runs of the agent that are active at once.
    pub concurrent_max: u32,
    /// Share of the gateway's slots beside other agents, from 1.
    pub weight: u32,
    /// How long a run may take; `None` is no limit.
    pub run: Option<Duration>,
    /// How long the agent may be silent; `None` is no limit.
    pub idle: Option<Duration>,
    /// How long a cancelled backend may take to end.
    pub abort_grace: Duration,
    /// Most bytes of answer text.
    pub output_bytes_max: usize,
    /// Whether a run that had started when the process died is started over by the next one.
    pub restartable: bool,
}

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// Provider and model.
    pub model: ModelRef,
    /// Its display name.
    pub name: Arc<str>,
    /// Tokens it can take in.
    pub context_window: Option<u64>,
    /// Whether it reasons before it answers.
    pub reasoning: bool,
    /// What it takes: `text`, `image`, …
    pub input: Vec<Arc<str>>,
}

/// The configuration as `config.get` shows it, secrets already replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigSnapshot {
    /// Path of the file.
    pub path: Arc<str>,
    /// Whether the file exists.
    pub exists: bool,
    /// The text of the file, secrets replaced.
    pub raw: Option<Arc<str>>,
    /// The file as a value, secrets replaced.
    pub parsed: Value,
    /// The configuration in force, defaults filled in, secrets replaced.
    pub effective: Value,
    /// Hex SHA-256 of the file; of nothing when it does not exist.
    pub hash: Arc<str>,
    /// Warnings of the last load, as path and message.
    pub warnings: Vec<(Arc<str>, Arc<str>)>,
}

/// The parts of the configuration that requests look at.
pub trait ConfigView: Send + Sync + fmt::Debug {
    /// The configuration as `config.get` shows it.
    fn snapshot(&self) -> ConfigSnapshot;

    /// JSON Schema of the configuration file.
    fn schema(&self) -> Value;

    /// The part of session keys that names an agent's main session (`main`).
    fn main_key(&self) -> Arc<str>;

    /// Whether `user`-less calls are stored.
    fn stores_stateless(&self) -> bool;

    /// Directory of the state, for clients that may know it.
    fn state_dir(&self) -> Arc<str>;

    /// The key the gateway is known by; `None` when it can keep none.
    fn identity(&self) -> Option<GatewayIdentity>;
}

/// The key a gateway is known by, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayIdentity {
    /// Hex SHA-256 of the public key.
    pub device_id: Arc<str>,
    /// The public key, in base64url.
    pub public_key: Arc<str>,
}

/// The newest lines of the process's log.
pub trait LogView: Send + Sync + fmt::Debug {
    /// Lines after byte position `cursor`, or the newest ones.
    fn tail(&self, query: LogTailQuery) -> LogTail;
}

/// Which log lines to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogTailQuery {
    /// Byte position read so far.
    pub cursor: Option<u64>,
    /// At most this many lines.
    pub lines_max: usize,
    /// At most this many bytes.
    pub bytes_max: usize,
}

/// A piece of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTail {
    /// Where the lines come from.
    pub file: Arc<str>,
    /// Byte position after the last line.
    pub cursor: u64,
    /// Bytes logged so far.
    pub size: u64,
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// Whether older lines were left out.
    pub truncated: bool,
    /// Whether `cursor` was unknown and the tail was sent instead.
    pub reset: bool,
}
