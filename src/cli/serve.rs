//! `gateway`: runs the gateway until a signal ends it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use listenfd::ListenFd;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::GatewayArgs;
use super::configure::load;
use super::logs::{self, Logs};
use super::{Context, Failure, chain};
use crate::config::{Config, Loaded, LogLevel, Overrides, Paths, Secret, SecretSource, TokenFile};
use crate::gateway::port::{self, Holder};
use crate::gateway::{Gateway, StartError};
use crate::version::OWN_VERSION;

/// The key that makes the HTTP side exist, as people write it.
const ENDPOINT_KEY: &str = "gateway.http.endpoints.chatCompletions.enabled";

pub(super) fn run(context: Context<'_>, args: &GatewayArgs) -> Result<(), Failure> {
    let prepared = prepare(context, &overrides(args), None)?;
    let Prepared {
        config,
        paths,
        logs,
        runtime,
    } = prepared;
    let result = runtime.block_on(async {
        let mut signals = Signals::new().map_err(|error| context.fail(&error))?;
        let inherited = inherited(context)?;
        let (gateway, started) = start(context, config, &logs, inherited).await?;
        announce(&gateway, &started, &paths);
        started.look_around(context, &paths).await;
        until_stopped(&gateway, &mut signals).await
    });
    // What a second signal cut off must not hold the process.
    runtime.shutdown_background();
    drop(logs);
    result
}

fn overrides(args: &GatewayArgs) -> Overrides {
    Overrides {
        port: args.port,
        bind: args.bind.clone(),
        auth: args.auth.map(Into::into),
        token: args.token.as_deref().map(Secret::new),
        password: args.password.as_deref().map(Secret::new),
        chat_enabled: None,
    }
}

/// What a gateway needs before it starts.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) paths: Paths,
    pub(super) logs: Logs,
    pub(super) runtime: Runtime,
}

/// Loads the configuration, sets up logging and builds the runtime.
pub(super) fn prepare(
    context: Context<'_>,
    overrides: &Overrides,
    quiet: Option<LogLevel>,
) -> Result<Prepared, Failure> {
    let (Loaded { config, report }, paths) = load(context, overrides, TokenFile::Create)?;
    context.show(&report);
    let logs = logs::start(context, &config.logging, quiet)?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| context.fail(&error))?;
    Ok(Prepared {
        config,
        paths,
        logs,
        runtime,
    })
}

/// What is worth telling about a start.
pub(super) struct Started {
    secret: SecretSource,
    chat_enabled: bool,
    /// Where the Control UI is served, when it is.
    control_ui: Option<String>,
}

impl Started {
    /// On a machine without configuration: says which model servers could be connected.
    async fn look_around(&self, context: Context<'_>, paths: &Paths) {
        if paths.config.exists() {
            return;
        }
        let has_key = context.env.get("OPENAI_API_KEY").is_some();
        for found in crate::gateway::local::model_servers(has_key).await {
            tracing::info!(
                "found {}; this line in {} connects it: {}",
                found.what,
                paths.config.display(),
                found.config_line
            );
        }
    }
}

/// The listening socket a supervisor hands over (`LISTEN_FDS`), if one does.
fn inherited(context: Context<'_>) -> Result<Option<TcpListener>, Failure> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        tracing::warn!("more than one socket was handed over; the first is used");
    }
    if sockets.len() == 0 {
        return Ok(None);
    }
    sockets
        .take_tcp_listener(0)
        .map_err(|error| context.fail(&error))
}

/// Starts the gateway; a port that is taken is explained.
pub(super) async fn start(
    context: Context<'_>,
    config: Config,
    logs: &Logs,
    inherited: Option<TcpListener>,
) -> Result<(Gateway, Started), Failure> {
    let started = Started {
        secret: config.secret_source.clone(),
        chat_enabled: config.transport.chat_enabled,
        control_ui: config
            .transport
            .control_ui
            .as_ref()
            .filter(|page| page.root.is_some())
            .map(|page| page.base_path.clone()),
    };
    let mut builder = Gateway::builder(config).log_lines(Arc::new(logs.ring.clone()));
    if let Some(listener) = inherited {
        builder = builder.inherited(listener);
    }
    match builder.start().await {
        Ok(gateway) => Ok((gateway, started)),
        Err(error) => {
            explain(context, &error);
            Err(Failure::Failed)
        }
    }
}

fn explain(context: Context<'_>, error: &StartError) {
    context.output.error(&chain(error));
    let StartError::Bind { address, source } = error else {
        return;
    };
    if source.kind() != std::io::ErrorKind::AddrInUse {
        return;
    }
    context.output.hint(&in_the_way(port::holder(*address)));
    context.output.hint(&format!(
        "choose another port: --port {}",
        free_port(*address)
    ));
}

/// Says what has a port, no more than is known.
fn in_the_way(holder: Holder) -> String {
    let who = |inode| match port::owner(inode) {
        Some(owner) => format!("{} (process {})", owner.name, owner.pid),
        None => "another process".to_owned(),
    };
    match holder {
        Holder::Listener(inode) => format!("{} listens there", who(inode)),
        Holder::Connection(inode) => {
            format!(
                "nobody listens there; it is the local end of a connection of {}",
                who(inode)
            )
        }
        Holder::TimeWait => "nobody listens there; it was the local end of a connection that has \
                             closed, and is free again within a minute"
            .to_owned(),
        Holder::Unlisted => "nobody listens there; another program has taken it".to_owned(),
        Holder::Unknown => "another program has taken it".to_owned(),
    }
}

/// A port that is free right now, the next one if possible.
fn free_port(taken: SocketAddr) -> u16 {
    let near = (1..=20).filter_map(|step| taken.port().checked_add(step));
    near.chain([0])
        .find_map(|port| {
            let listener = TcpListener::bind((taken.ip(), port)).ok()?;
            listener.local_addr().ok().map(|address| address.port())
        })
        .unwrap_or(0)
}

fn announce(gateway: &Gateway, started: &Started, paths: &Paths) {
    let address = gateway.addr();
    tracing::info!(%address, version = OWN_VERSION, "the gateway is up");
    match &started.secret {
        SecretSource::Generated(path) => {
            tracing::info!(file = %path.display(), "peers need the token in this file");
        }
        SecretSource::None => {
            tracing::warn!("peers need no secret: everybody on this machine may connect");
        }
        SecretSource::Flag | SecretSource::File | SecretSource::Environment(_) => {}
    }
    if let Some(base_path) = &started.control_ui {
        tracing::info!("the Control UI is at http://{address}{base_path}/");
    }
    if !started.chat_enabled {
        let file = paths.config.display();
        tracing::info!(
            "POST /v1/chat/completions is off; {ENDPOINT_KEY}: true in {file} enables it"
        );
    }
}

/// The signals that end the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening; from now on a signal no longer kills the process.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _signal = self.terminate.recv() => {}
            _signal = self.interrupt.recv() => {}
        }
    }
}

/// Serves until a signal, drains, and leaves at once on a second one.
pub(super) async fn until_stopped(gateway: &Gateway, signals: &mut Signals) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = signals.next() => {}
        () = gateway.closed() => return Ok(()),
    }
    tracing::info!("draining; a second signal ends it at once");
    gateway.shutdown();
    tokio::select! {
        biased;
        () = gateway.closed() => Ok(()),
        () = signals.next() => {
            tracing::warn!("ended at once");
            gateway.shutdown_now();
            Err(Failure::Failed)
        }
    }
}
