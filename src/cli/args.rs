//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{LogFormat, LogLevel, RawAuthMode};

/// AI agents behind one TCP port: the OpenClaw gateway protocol and an OpenAI-compatible API.
#[derive(Debug, Parser)]
#[command(name = "clawport", version, propagate_version = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// The configuration file, instead of `OPENCLAW_CONFIG_PATH` or the one in the state directory.
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    /// The least severe log level that is written; `RUST_LOG` says it per module.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(super) log_level: Option<LogLevelArg>,
    /// How log lines look.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(super) log_format: Option<LogFormatArg>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start with the HTTP endpoint enabled, try both sides, show how to call it, keep serving.
    Quickstart(QuickstartArgs),
    /// Run the gateway.
    Gateway(GatewayArgs),
    /// Run one agent turn through a running gateway.
    Agent(AgentArgs),
    /// Talk with an agent through a running gateway, line by line.
    Chat(ChatArgs),
    /// Call any native method of a running gateway.
    Call(CallArgs),
    /// Ask a running gateway how it is.
    Health(HealthArgs),
    /// Look at paired devices of a running gateway, and decide about those that ask.
    Devices(DevicesArgs),
    /// Look at stored sessions; works with and without a running gateway.
    Sessions {
        #[command(subcommand)]
        command: SessionsCommand,
    },
    /// Look at runs and stop them; looking works without a running gateway too.
    Runs {
        #[command(subcommand)]
        command: RunsCommand,
    },
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where and how to listen.
#[derive(Debug, Default, Args)]
pub(super) struct GatewayArgs {
    /// The port; 0 takes any free one.
    #[arg(long, value_name = "PORT")]
    pub(super) port: Option<u16>,
    /// loopback, lan, auto, custom, or an address.
    #[arg(long, value_name = "WHERE")]
    pub(super) bind: Option<String>,
    /// The shared token; other users of the machine can see it, prefer `OPENCLAW_GATEWAY_TOKEN`.
    #[arg(long, value_name = "TOKEN")]
    pub(super) token: Option<String>,
    /// The shared password; other users of the machine can see it, prefer
    /// `OPENCLAW_GATEWAY_PASSWORD`.
    #[arg(long, value_name = "PASSWORD")]
    pub(super) password: Option<String>,
    /// Which secret a peer must know.
    #[arg(long, value_name = "MODE")]
    pub(super) auth: Option<AuthArg>,
}

/// How to try it.
#[derive(Debug, Args)]
pub(super) struct QuickstartArgs {
    /// The port; 0 takes any free one.
    #[arg(long, value_name = "PORT")]
    pub(super) port: Option<u16>,
}

/// How to reach a running gateway.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// Its address, instead of the one in the configuration.
    #[arg(long, global = true, value_name = "URL")]
    pub(super) url: Option<String>,
    /// Its token.
    #[arg(long, global = true, value_name = "TOKEN", conflicts_with = "password")]
    pub(super) token: Option<String>,
    /// Its password.
    #[arg(long, global = true, value_name = "PASSWORD")]
    pub(super) password: Option<String>,
}

/// One agent turn.
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// What to say.
    #[arg(short, long, value_name = "TEXT")]
    pub(super) message: String,
    /// The agent, instead of the default one.
    #[arg(long, value_name = "ID")]
    pub(super) agent: Option<String>,
    /// The session, instead of the agent's main one.
    #[arg(long, value_name = "KEY")]
    pub(super) session_key: Option<String>,
    /// Seconds the run may take; 0 is no limit.
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<u64>,
    /// Print the answer as it comes.
    #[arg(long)]
    pub(super) stream: bool,
    /// Print JSON; with `--stream` one line per event.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) remote: Remote,
}

/// A conversation.
#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// The agent, instead of the default one.
    #[arg(long, value_name = "ID")]
    pub(super) agent: Option<String>,
    /// The session, instead of the agent's main one.
    #[arg(long, value_name = "KEY")]
    pub(super) session_key: Option<String>,
    #[command(flatten)]
    pub(super) remote: Remote,
}

/// Any method.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The method, such as `sessions.list`.
    #[arg(value_name = "METHOD")]
    pub(super) method: String,
    /// Its params as JSON.
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(super) params: String,
    /// Seconds to wait for an answer that is not the last one of a run.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) timeout: u64,
    /// Print the answer in one line.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) remote: Remote,
}

impl CallArgs {
    /// How long to wait.
    pub(super) const fn wait(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// The health of a gateway.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Print the whole answer as JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) remote: Remote,
}

/// Paired devices.
#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    #[command(subcommand)]
    pub(super) command: DevicesCommand,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) remote: Remote,
}

/// What to do with paired devices.
#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    /// List devices that wait for approval, and paired ones.
    List,
    /// Grant a device what it asks for.
    Approve {
        /// Its request; may be left out when only one waits.
        #[arg(value_name = "REQUEST")]
        request: Option<String>,
    },
    /// Refuse a device what it asks for.
    Reject {
        /// Its request; may be left out when only one waits.
        #[arg(value_name = "REQUEST")]
        request: Option<String>,
    },
    /// End the pairing of a device and close its connections.
    Remove {
        /// Its id, the beginning of it, or its label.
        #[arg(value_name = "DEVICE")]
        device: String,
    },
    /// Withdraw what a device may act as, until it is approved again.
    Revoke {
        /// Its id, the beginning of it, or its label.
        #[arg(value_name = "DEVICE")]
        device: String,
        /// What it acts as.
        #[arg(long, value_name = "ROLE", default_value = "operator")]
        role: String,
    },
    /// Make the token of a device worthless; it gets another one.
    Rotate {
        /// Its id, the beginning of it, or its label.
        #[arg(value_name = "DEVICE")]
        device: String,
        /// What it acts as.
        #[arg(long, value_name = "ROLE", default_value = "operator")]
        role: String,
        /// What the new token allows, instead of what the old one did.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Option<Vec<String>>,
    },
}

/// Stored sessions.
#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// List sessions, the one used last first.
    List {
        /// Only sessions of this agent.
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// Only sessions whose key, label or id contains this.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// At most this many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Print one JSON object per session.
        #[arg(long)]
        json: bool,
    },
    /// Write transcripts as JSON lines.
    Export {
        /// The session; all of them when it is left out.
        #[arg(value_name = "KEY")]
        key: Option<String>,
        /// A file, instead of standard output.
        #[arg(short, long, value_name = "PATH")]
        output: Option<PathBuf>,
    },
}

/// Runs.
#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List runs, the newest first.
    List {
        /// Only runs of this session.
        #[arg(long, value_name = "KEY")]
        session_key: Option<String>,
        /// At most this many.
        #[arg(long, value_name = "N", default_value_t = 50,
            value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print one JSON object per run.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show a run with what it was asked and what it answered.
    Show {
        /// The run.
        #[arg(value_name = "RUN")]
        run: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Stop a run of a running gateway; returns once its end is stored.
    Abort {
        /// The run.
        #[arg(value_name = "RUN")]
        run: String,
        /// Print the answer of the gateway as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

/// The configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check it and show every problem with its place.
    Check {
        /// Print the problems as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what is in force, defaults filled in and secrets replaced.
    Show,
    /// Print the JSON Schema of the file.
    Schema,
}

/// `--auth`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AuthArg {
    /// No secret; only on loopback.
    None,
    /// The shared token.
    Token,
    /// The shared password.
    Password,
}

impl From<AuthArg> for RawAuthMode {
    fn from(arg: AuthArg) -> Self {
        match arg {
            AuthArg::None => Self::None,
            AuthArg::Token => Self::Token,
            AuthArg::Password => Self::Password,
        }
    }
}

/// `--log-level`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogLevelArg {
    /// Nothing.
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

impl From<LogLevelArg> for LogLevel {
    fn from(arg: LogLevelArg) -> Self {
        match arg {
            LogLevelArg::Off => Self::Off,
            LogLevelArg::Error => Self::Error,
            LogLevelArg::Warn => Self::Warn,
            LogLevelArg::Info => Self::Info,
            LogLevelArg::Debug => Self::Debug,
            LogLevelArg::Trace => Self::Trace,
        }
    }
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogFormatArg {
    /// For people at a terminal.
    Pretty,
    /// One JSON object per line.
    Json,
    /// One short line each.
    Compact,
}

impl From<LogFormatArg> for LogFormat {
    fn from(arg: LogFormatArg) -> Self {
        match arg {
            LogFormatArg::Pretty => Self::Pretty,
            LogFormatArg::Json => Self::Json,
            LogFormatArg::Compact => Self::Compact,
        }
    }
}

/// The completion script of a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clawport", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
