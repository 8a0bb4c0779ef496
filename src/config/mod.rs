//! From the text of a configuration file to a valid [`Config`].
//!
//! The text becomes a positioned value, includes and variables are put in, the result is checked
//! against the form of [`raw`] and then for sense, and every problem is reported with its place.
//! The environment is passed in; nothing here prints.

mod check;
pub mod env;
mod foreign;
mod include;
mod json5;
mod near;
pub mod problem;
pub mod raw;
mod schema;
mod source;
mod value;
mod vars;
mod view;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::AuthConfig;
use crate::dispatch::{AgentIdentity, AgentLimits, ModelEntry};
use crate::events::LogsConfig;
use crate::ids::AgentId;
use crate::run::ModelRef;
use crate::scheduler::SchedulerConfig;
use crate::session::StoreConfig;
use crate::transport::TransportConfig;

/// A valid configuration, every default filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: ListenConfig,
    /// Who may connect.
    pub auth: AuthConfig,
    /// Where the secret in [`Config::auth`] comes from.
    pub secret_source: SecretSource,
    /// Bounds of sockets and of both fronts.
    pub transport: TransportConfig,
    /// Bounds of the scheduler.
    pub scheduler: SchedulerConfig,
    /// Where and how the ledger keeps its state.
    pub store: StoreConfig,
    /// What is kept of runs for readers.
    pub logs: LogsConfig,
    /// Who answers.
    pub agents: AgentsConfig,
    /// How long runs may go on after the drain began (`gateway.drainSeconds`).
    pub drain: Duration,
    /// What the process logs.
    pub logging: LoggingConfig,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// The address (`gateway.bind`).
    pub address: IpAddr,
    /// The port (`gateway.port`); 0 takes any free one.
    pub port: u16,
}

impl ListenConfig {
    /// Address and port.
    pub const fn socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Where the shared secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A flag of the command line.
    Flag,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment(&'static str),
    /// It was made at the first start and is kept in this file.
    Generated(PathBuf),
    /// There is none: `gateway.auth.mode` is `none`.
    None,
}

/// Who answers.
#[derive(Clone, Debug)]
pub struct AgentsConfig {
    /// The agents, in the order of the file; at least one.
    pub list: Vec<AgentConfig>,
    /// The agent used when a request names none; `None` when several are configured and none is
    /// marked.
    pub default: Option<AgentId>,
    /// Every model a provider offers, the simulated ones in use included.
    pub models: Vec<ModelEntry>,
    /// Names a request may use as `model`, and the agents they stand for (`models.aliases`).
    pub aliases: Vec<(Arc<str>, AgentId)>,
}

/// One agent.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Its id.
    pub id: AgentId,
    /// Its display name.
    pub name: Option<Arc<str>>,
    /// How it presents itself.
    pub identity: AgentIdentity,
    /// Its models: the first one, then the fallbacks.
    pub models: Vec<ModelRef>,
    /// Its own system text.
    pub system: Option<Arc<str>>,
    /// Bounds of its runs.
    pub limits: AgentLimits,
    /// Whether reasoning is shown to HTTP callers.
    pub show_reasoning: bool,
}

/// What the process logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// How lines look; `None` leaves it to the terminal.
    pub format: Option<LogFormat>,
}

/// How severe a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing is written.
    Off,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people at a terminal.
    Pretty,
    /// One short line each.
    Compact,
    /// One JSON object each.
    Json,
}
