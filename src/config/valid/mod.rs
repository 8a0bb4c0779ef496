//! From what a file may say to a configuration that makes sense.
//!
//! Every check reports and goes on; a [`Config`] comes out only when nothing is wrong. Flags and
//! variables are put over the file here, so that what is shown as effective is what is in force.

mod agents;
mod control_ui;
mod gateway;
mod providers;
mod secret;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::env::Env;
use super::paths::Paths;
use super::problem::{Fault, Origin, Problems, Severity};
use super::raw::{
    RawAuth, RawConfig, RawDrop, RawDurability, RawLevel, RawLogging, RawQueue, RawQueueMode,
    RawSecret, RawStyle,
};
use super::source::{FileId, Sources, Span};
use super::token::TokenFile;
use super::value::{KeyPath, Kind, Step, Value};
use super::view::View;
use super::{Config, LogFormat, LogLevel, LoggingConfig, Overrides};
use crate::auth::{AuthConfig, AuthMode, Secret};
use crate::events::{LogLimits, LogsConfig};
use crate::run::QueueMode;
use crate::scheduler::{DropPolicy, QueueConfig, SchedulerConfig};
use crate::session::{Durability, Retention, StoreConfig};

/// Most characters of `session.mainKey`.
const MAIN_KEY_CHARS_MAX: usize = 128;

/// Everything a configuration is made from beside the file.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    /// The environment, with the variables of the file.
    pub(super) env: &'a Env,
    /// What the command line said.
    pub(super) overrides: &'a Overrides,
    /// Where things are.
    pub(super) paths: &'a Paths,
    /// What to do when there is no token.
    pub(super) token_file: TokenFile,
    /// The main file, if there is one.
    pub(super) main: Option<FileId>,
}

/// Reports what is wrong, with the place it was written at.
pub(super) struct Checks<'a> {
    /// The file as a value; `None` when there is none.
    pub(super) root: Option<&'a Value>,
    /// The texts that were read; scripts are added.
    pub(super) sources: &'a mut Sources,
    /// Where it is reported.
    pub(super) problems: &'a mut Problems,
}

impl Checks<'_> {
    /// Reports a fault at a key of the file.
    fn fault(&mut self, path: &KeyPath, fault: impl Into<Fault>) {
        let origin = match self.root.and_then(|root| locate(root, path)) {
            Some(span) => Origin::Text {
                span,
                related: None,
            },
            None => Origin::Absent,
        };
        self.problems.push(path.clone(), origin, fault);
    }

    /// Reports a fault of a flag, a variable or a file as a whole.
    fn named(&mut self, name: impl Into<Cow<'static, str>>, fault: impl Into<Fault>) {
        let origin = Origin::Named(name.into());
        self.problems.push(KeyPath::default(), origin, fault);
    }

    /// Hands a value on, or reports why there is none.
    fn accept<T, E: Into<Fault>>(&mut self, path: &KeyPath, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(path, error);
                None
            }
        }
    }
}

/// Where a key is written: the value itself if it is short, else its key, else the nearest key
/// around it.
fn locate(root: &Value, path: &KeyPath) -> Option<Span> {
    let (found, whole) = root.find(&path.0);
    let short = !matches!(found.kind, Kind::Object(_) | Kind::Array(_));
    if whole && short {
        return Some(found.span);
    }
    let mut steps = path.0.as_slice();
    while let [before @ .., last] = steps {
        let (parent, whole) = root.find(before);
        let key = match last {
            Step::Key(key) => parent.member(key).map(|member| member.key_span),
            Step::Index(_) => None,
        };
        if let Some(key) = key.filter(|_| whole) {
            return Some(key);
        }
        let (item, there) = root.find(steps);
        if there && !matches!(item.kind, Kind::Object(_) | Kind::Array(_)) {
            return Some(item.span);
        }
        if there {
            let end = item.span.start + 1;
            return Some(Span { end, ..item.span });
        }
        steps = before;
    }
    None
}

/// Checks a configuration for sense. `raw` is left as what is in force.
pub(super) fn validate(
    raw: &mut RawConfig,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Option<Config> {
    let listen = gateway::listen(&mut raw.gateway, inputs, checks);
    let auth = gateway::auth(&mut raw.gateway, inputs, listen, checks);
    let transport = gateway::transport(&mut raw.gateway, inputs, checks);
    let agents = agents::agents(raw, inputs, checks);
    main_key(raw, checks);
    if checks.problems.have_errors() {
        return None;
    }
    let (auth, secret_source) = auth?;
    show_secret(&mut raw.gateway.auth, &auth);
    Some(Config {
        listen: listen?,
        auth,
        secret_source,
        transport: transport?,
        scheduler: scheduler(raw),
        store: store(raw, &inputs.paths.state_dir),
        logs: logs(raw),
        agents: agents?,
        drain: Duration::from_secs(raw.gateway.drain_seconds),
        logging: logging(&raw.logging),
        view: Arc::new(View::new(raw, inputs, checks)),
    })
}

/// Notes which secret is in force, wherever it comes from; it is never shown.
fn show_secret(raw: &mut RawAuth, auth: &AuthConfig) {
    let secret = |secret: &Secret| Some(RawSecret::Text(secret.expose().to_owned()));
    match &auth.mode {
        AuthMode::Token(token) => raw.token = secret(token),
        AuthMode::Password(password) => raw.password = secret(password),
        AuthMode::None => {}
    }
}

fn main_key(raw: &mut RawConfig, checks: &mut Checks<'_>) {
    let key = raw.session.main_key.trim().to_lowercase();
    let bad = |c: char| c.is_control() || c.is_whitespace() || c == ':';
    if key.is_empty() || key.chars().count() > MAIN_KEY_CHARS_MAX || key.contains(bad) {
        let path = KeyPath::of("session.mainKey");
        checks.fault(&path, Fault::BadMainKey(MAIN_KEY_CHARS_MAX));
    }
    raw.session.main_key = key;
}

fn scheduler(raw: &RawConfig) -> SchedulerConfig {
    let queue = &raw.messages.queue;
    SchedulerConfig {
        active_max: raw.agents.defaults.max_concurrent,
        waiting_max: queue.total_cap,
        credential_waiting_max: queue.credential_cap.unwrap_or(queue.total_cap.div_ceil(4)),
        party_waiting_max: queue.party_cap,
        wait: Duration::from_secs(queue.wait_seconds),
        queue: queue_config(queue),
    }
}

fn queue_config(queue: &RawQueue) -> QueueConfig {
    QueueConfig {
        mode: queue.mode.map(|mode| match mode {
            RawQueueMode::Steer
            | RawQueueMode::Queue
            | RawQueueMode::SteerBacklog
            | RawQueueMode::SteerPlusBacklog => QueueMode::Steer,
            RawQueueMode::Collect => QueueMode::Collect,
            RawQueueMode::Followup => QueueMode::Followup,
            RawQueueMode::Interrupt => QueueMode::Interrupt,
        }),
        debounce: Duration::from_millis(queue.debounce_ms),
        cap: queue.cap,
        drop: match queue.drop {
            RawDrop::New => DropPolicy::New,
            RawDrop::Old => DropPolicy::Old,
            RawDrop::Summarize => DropPolicy::Summarize,
        },
    }
}

fn store(raw: &RawConfig, dir: &Path) -> StoreConfig {
    StoreConfig {
        dir: dir.to_path_buf(),
        durability: match raw.store.durability {
            RawDurability::Full => Durability::Full,
            RawDurability::Normal => Durability::Normal,
        },
        retention: Retention {
            days: raw.store.retain_days,
            sessions_max: raw.store.retain_sessions,
            runs_max: raw.store.retain_runs,
        },
    }
}

fn logs(raw: &RawConfig) -> LogsConfig {
    LogsConfig {
        log: LogLimits {
            event_bytes_max: raw.events.log_bytes,
        },
        keep: Duration::from_secs(raw.events.keep_seconds),
        ..LogsConfig::default()
    }
}

fn logging(raw: &RawLogging) -> LoggingConfig {
    LoggingConfig {
        level: match raw.console_level.unwrap_or(raw.level) {
            RawLevel::Silent => LogLevel::Off,
            RawLevel::Fatal | RawLevel::Error => LogLevel::Error,
            RawLevel::Warn => LogLevel::Warn,
            RawLevel::Info => LogLevel::Info,
            RawLevel::Debug => LogLevel::Debug,
            RawLevel::Trace => LogLevel::Trace,
        },
        format: raw.console_style.map(|style| match style {
            RawStyle::Pretty => LogFormat::Pretty,
            RawStyle::Compact => LogFormat::Compact,
            RawStyle::Json => LogFormat::Json,
        }),
    }
}

/// Whether a fault keeps the gateway from starting.
fn is_error(fault: &Fault) -> bool {
    fault.severity() == Severity::Error
}
