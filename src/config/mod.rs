//! From the text of a configuration file to a valid [`Config`].
//!
//! The text becomes a positioned value, includes and variables are put in, the result is checked
//! against the form of [`raw`] and then for sense, and every problem is reported with its place.
//! The environment is passed in; nothing here prints.

mod check;
pub mod env;
mod foreign;
mod identity;
mod include;
pub mod json5;
#[cfg(test)]
mod keys;
mod near;
mod paths;
pub mod problem;
pub mod raw;
mod redact;
mod report;
mod schema;
pub mod source;
mod token;
mod valid;
pub mod value;
mod vars;
mod view;

pub use crate::auth::Secret;
pub use paths::Paths;
pub use raw::{RawAuthMode, RawConfig};
pub use report::{Colour, Entry, Report};
pub use schema::schema;
pub use token::{TokenFile, find as find_token};
pub use view::View;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::model::{Endpoint, ModelConfig};
use crate::agent::sim::SimConfig;
use crate::auth::{AuthConfig, AuthMode};
use crate::dispatch::{AgentIdentity, AgentLimits, ModelEntry};
use crate::events::LogsConfig;
use crate::ids::AgentId;
use crate::run::ModelRef;
use crate::scheduler::SchedulerConfig;
use crate::session::StoreConfig;
use crate::transport::TransportConfig;
use env::Env;
use include::Reader;
use problem::{Fault, Origin, Problems};
use source::{FileId, Sources};
use valid::{Checks, Inputs};
use value::{KeyPath, Kind, Value};
use vars::Substitution;

/// What the command line says over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--port`.
    pub port: Option<u16>,
    /// `--bind`.
    pub bind: Option<String>,
    /// `--auth`.
    pub auth: Option<RawAuthMode>,
    /// `--token`.
    pub token: Option<Secret>,
    /// `--password`.
    pub password: Option<Secret>,
    /// Whether the chat-completions endpoint exists.
    pub chat_enabled: Option<bool>,
}

/// What to load.
#[derive(Debug)]
pub struct Load<'a> {
    /// The environment.
    pub env: &'a Env,
    /// Where state and configuration are.
    pub paths: &'a Paths,
    /// What the command line says.
    pub overrides: &'a Overrides,
    /// What to do when there is no token.
    pub token_file: TokenFile,
}

/// A configuration and what is odd about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings.
    pub report: Report,
}

/// Reads and checks a configuration. Blocks on files; call it before the runtime serves.
///
/// # Errors
/// The report of everything that is wrong, warnings included.
pub fn load(load: &Load<'_>) -> Result<Loaded, Report> {
    let mut sources = Sources::default();
    let mut problems = Problems::default();
    let main = main_file(load.paths, &mut sources, &mut problems);
    let mut root = main
        .and_then(|file| Reader::new(&load.paths.config, &mut sources, &mut problems).main(file));
    let secrets = root
        .as_ref()
        .map(|root| redact::secrets(root, &sources))
        .unwrap_or_default();
    let env = root
        .as_ref()
        .map_or_else(|| load.env.clone(), |root| load.env.with_defaults(root));
    let raw = match &mut root {
        Some(root) => read(root, &env, &sources, &mut problems),
        None => Some(RawConfig::default()),
    };
    let inputs = Inputs {
        env: &env,
        overrides: load.overrides,
        paths: load.paths,
        token_file: load.token_file,
        main,
    };
    let mut checks = Checks {
        root: root.as_ref(),
        sources: &mut sources,
        problems: &mut problems,
    };
    let config = raw.and_then(|mut raw| valid::validate(&mut raw, inputs, &mut checks));
    let report = Report::new(problems.into_list(), sources, secrets);
    match config {
        Some(config) => Ok(Loaded { config, report }),
        None => Err(report),
    }
}

/// Reads the main file; `None` when there is none to read.
fn main_file(paths: &Paths, sources: &mut Sources, problems: &mut Problems) -> Option<FileId> {
    let fault = match include::read_bounded(&paths.config).map(String::from_utf8) {
        Ok(Ok(text)) => return Some(sources.add(&paths.config, text)),
        Ok(Err(_invalid)) => Fault::NotUtf8,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A file nobody named may be missing: everything has a default.
            paths.named_by?;
            Fault::NoSuchFile
        }
        Err(error) => Fault::Unreadable(Arc::new(error)),
    };
    let origin = Origin::Named(paths.config.display().to_string().into());
    problems.push(KeyPath::default(), origin, fault);
    None
}

/// Puts variables in and checks the form; what does not fit is left out.
fn read(
    root: &mut Value,
    env: &Env,
    sources: &Sources,
    problems: &mut Problems,
) -> Option<RawConfig> {
    let Kind::Object(members) = &mut root.kind else {
        let fault = Fault::NotAnObject(root.kind.name());
        problems.at(KeyPath::default(), root.span, fault);
        return None;
    };
    let mut substitution = Substitution {
        env,
        sources,
        problems,
    };
    // Sections of others may name variables that only others have; those of `env` are not values
    // of ours either.
    let ours = |key: &str| key != "env" && schema()["properties"].get(key).is_some();
    for member in members.iter_mut().filter(|member| ours(&member.key)) {
        substitution.apply(&mut member.value, &KeyPath::of(&member.key));
    }
    let fitting = check::check(root, problems);
    match serde_json::from_value(fitting) {
        Ok(raw) => Some(raw),
        Err(error) => {
            problems.at(KeyPath::default(), root.span, Fault::Unfit(Arc::new(error)));
            None
        }
    }
}

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
    /// The configuration as requests see it.
    pub view: Arc<View>,
}

impl Config {
    /// The shared secret, if peers need one.
    pub const fn secret(&self) -> Option<&Secret> {
        match &self.auth.mode {
            AuthMode::Token(secret) | AuthMode::Password(secret) => Some(secret),
            AuthMode::None => None,
        }
    }
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
    /// The agent used when a request names none: the marked one, the only one, else `main`; `None`
    /// when there is no such agent.
    pub default: Option<AgentId>,
    /// Every model a provider offers, the simulated ones in use included.
    pub models: Vec<ModelEntry>,
    /// Every model of [`AgentsConfig::models`] that is at a server, as any agent can be told to use
    /// it, and how often a call is repeated there.
    pub endpoints: Vec<(Endpoint, u32)>,
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
    /// What answers.
    pub backend: Backend,
    /// Its own system text.
    pub system: Option<Arc<str>>,
    /// Bounds of its runs.
    pub limits: AgentLimits,
    /// Whether reasoning is shown to HTTP callers.
    pub show_reasoning: bool,
}

/// What answers for an agent.
#[derive(Clone, Debug)]
pub enum Backend {
    /// A simulated agent.
    Sim(SimConfig),
    /// A model server.
    Model(ModelConfig),
    /// Nothing: the configuration names a model server that cannot be used. Every run fails, and
    /// this is why.
    Unavailable(Arc<str>),
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

#[cfg(test)]
mod tests;
