//! The composition root: builds every part, wires the traits, owns the way up and the way down.

mod catalog;
mod credentials;
#[doc(hidden)]
pub mod local;
mod others;
pub(crate) mod port;
mod recover;
mod stop;
mod unavailable;

#[doc(hidden)]
pub use credentials::LedgerCredentials;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::agent::model::{ModelAgent, ModelClient, Spawner};
use crate::agent::sim::SimAgent;
use crate::agent::{AgentRef, ByModel};
use crate::auth::{AuthMode, Authenticator, Devices, RateConfig, Rates, Secret};
use crate::clock::{Clock, SystemClock};
use crate::config::{AgentConfig, Backend, Config, SecretSource};
use crate::dispatch::{AgentCatalog, Dispatch, LogTail, LogTailQuery, LogView, Parts, RunSettings};
use crate::events::{InProcessBus, Logs};
use crate::ids::{AgentId, IdSource, SystemIds};
use crate::metrics::Metrics;
use crate::scheduler::{Backends, SchedulerHandle, SchedulerParts};
use crate::session::sqlite::{OpenError, OpenOptions, SqliteLedger};
use crate::session::{Ledger, LedgerError, StoreConfig};
use crate::shutdown::{Drain, Phase, Tasks};
use crate::transport::http::{HttpFront, HttpParts};
use crate::transport::{Listener, Transport, TransportParts};

use catalog::Catalog;
use others::OtherModels;
use stop::Stopper;
use unavailable::Unavailable;

/// Time between two looks at what can be forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// How much longer than its drain budget a predecessor may take to let go of the state directory.
const PREDECESSOR_MARGIN: Duration = Duration::from_secs(10);

/// Log lines a process keeps when nobody gave it a place for them.
#[derive(Debug)]
struct NoLogLines;

impl LogView for NoLogLines {
    fn tail(&self, _query: LogTailQuery) -> LogTail {
        LogTail::default()
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The socket that was handed over is open to the network and there is no secret of one's own.
    #[error(
        "refusing the socket that was handed over on {address} without a secret of your own; set \
         OPENCLAW_GATEWAY_TOKEN or gateway.auth"
    )]
    Exposed {
        /// Its address.
        address: SocketAddr,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What an earlier process left behind could not be settled.
    #[error("cannot settle the runs of an earlier process")]
    Recover(#[source] LedgerError),
}

/// Builds a [`Gateway`].
#[derive(Debug)]
pub struct GatewayBuilder {
    config: Config,
    agents: HashMap<AgentId, AgentRef>,
    log_lines: Arc<dyn LogView>,
    listener: Option<std::net::TcpListener>,
    is_inherited: bool,
    ledger: Option<Arc<dyn Ledger>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

/// A running gateway: one port, both dialects, one scheduler.
#[derive(Debug)]
pub struct Gateway {
    addr: SocketAddr,
    auth: AuthMode,
    drain: Drain,
    metrics: Arc<Metrics>,
    dispatch: Arc<Dispatch>,
    closed: watch::Receiver<bool>,
}

impl Gateway {
    /// Starts to build a gateway.
    pub fn builder(config: Config) -> GatewayBuilder {
        GatewayBuilder {
            config,
            agents: HashMap::new(),
            log_lines: Arc::new(NoLogLines),
            listener: None,
            is_inherited: false,
            ledger: None,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
        }
    }

    /// The address it listens on, with the real port.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The shared secret peers must know, if they must know one.
    pub const fn secret(&self) -> Option<&Secret> {
        match &self.auth {
            AuthMode::Token(secret) | AuthMode::Password(secret) => Some(secret),
            AuthMode::None => None,
        }
    }

    /// The counters of the process.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The operations, for tests and benches that need no socket.
    #[doc(hidden)]
    pub const fn dispatch(&self) -> &Arc<Dispatch> {
        &self.dispatch
    }

    /// Begins to wind down: no new work, running streams finish within the drain budget.
    pub fn shutdown(&self) {
        self.drain.advance(Phase::Draining);
    }

    /// Stops at once: what runs is settled by the next start.
    pub fn shutdown_now(&self) {
        self.drain.advance(Phase::Stopped);
    }

    /// Waits until everything is closed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        // A sender that is gone has closed everything, or never will.
        closed.wait_for(|closed| *closed).await.ok();
    }
}

impl GatewayBuilder {
    /// Lets `agent` answer for the configured agent `id`.
    #[must_use]
    pub fn agent(mut self, id: AgentId, agent: AgentRef) -> Self {
        self.agents.insert(id, agent);
        self
    }

    /// Where `logs.tail` reads.
    #[must_use]
    pub fn log_lines(mut self, lines: Arc<dyn LogView>) -> Self {
        self.log_lines = lines;
        self
    }

    /// Listens on a socket that is open already, instead of the configured address.
    #[must_use]
    pub fn listener(mut self, listener: std::net::TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Listens on a socket that outlives this process, as a supervisor hands it over: the process
    /// stops accepting as soon as it drains, so that what connects from then on waits for its
    /// successor; and it waits for the state directory of its predecessor, which may still drain.
    #[must_use]
    pub fn inherited(mut self, listener: std::net::TcpListener) -> Self {
        self.listener = Some(listener);
        self.is_inherited = true;
        self
    }

    /// Keeps sessions and runs in `ledger` instead of the state directory.
    #[must_use]
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Tells the time by `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes new ids from `ids`.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Binds, opens the store, settles what an earlier process left, and serves.
    ///
    /// # Errors
    /// [`StartError`]; the port and the state directory are free again then.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the start.
    pub async fn start(mut self) -> Result<Gateway, StartError> {
        // Nothing on the disk is touched before the port is ours.
        let given = self.listener.take();
        let listener = bind(self.config.listen.socket_addr(), given).await?;
        let addr = local_addr(&listener, self.config.listen.socket_addr())?;
        if self.is_inherited {
            check_inherited(addr, &self.config.secret_source)?;
        }
        Box::pin(self.start_on(listener, addr)).await
    }

    /// As [`GatewayBuilder::start`], with connections from `listener`, which is at `addr`: a
    /// simulated network, for instance.
    ///
    /// # Errors
    /// [`StartError`], but no [`StartError::Bind`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the start.
    #[doc(hidden)]
    pub async fn start_on<L: Listener>(
        self,
        listener: L,
        addr: SocketAddr,
    ) -> Result<Gateway, StartError> {
        let lock_wait = if self.is_inherited {
            self.config.drain + PREDECESSOR_MARGIN
        } else {
            Duration::ZERO
        };
        let metrics = Arc::new(Metrics::default());
        let ledger = match self.ledger {
            Some(ledger) => ledger,
            None => open_ledger(&self.config.store, &metrics, lock_wait).await?,
        };
        let agents = self.config.agents.list.iter();
        let restartable = agents
            .filter(|agent| agent.limits.restartable)
            .map(|agent| agent.id.clone())
            .collect();
        let waiting = recover::settle(&ledger, &self.clock, &restartable)
            .await
            .map_err(StartError::Recover)?;
        let root = Root {
            config: self.config,
            accepts_until: if self.is_inherited {
                Phase::Draining
            } else {
                Phase::Stopped
            },
            agents: self.agents,
            log_lines: self.log_lines,
            clock: self.clock,
            ids: self.ids,
            ledger,
            metrics,
            drain: Drain::new(),
            tasks: Tasks::new(),
            bus: Arc::new(InProcessBus::new()),
        };
        Ok(root.serve(listener, addr, waiting).await)
    }
}

/// Everything that is shared while the parts are put together.
struct Root {
    config: Config,
    accepts_until: Phase,
    agents: HashMap<AgentId, AgentRef>,
    log_lines: Arc<dyn LogView>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    drain: Drain,
    tasks: Tasks,
    bus: Arc<InProcessBus>,
}

impl Root {
    async fn serve<L: Listener>(
        mut self,
        listener: L,
        addr: SocketAddr,
        waiting: Vec<recover::Left>,
    ) -> Gateway {
        let logs = Arc::new(Logs::new(self.config.logs));
        let rates = Arc::new(Rates::new(RateConfig::default()));
        let auth = Arc::new(self.authenticator());
        let agents: Arc<dyn AgentCatalog> = Arc::new(self.catalog());
        let scheduler = self.scheduler(&logs, &agents);
        self.bus.set_control(Arc::new(scheduler.clone()));
        let dispatch = Arc::new(self.dispatch(&logs, &scheduler, &rates, agents));
        // Before the first connection, so that nothing goes ahead of what was accepted earlier.
        recover::requeue(waiting, &dispatch, &self.ledger, &self.clock).await;
        let transport = self.transport(&dispatch, &auth, &rates);
        let goodbye = transport.emptied();
        let (drain, until) = (self.drain.clone(), self.accepts_until);
        // Before anything is accepted: who connected while this process started is not turned away.
        drain.advance(Phase::Running);
        self.tasks.spawn("listener", async move {
            tokio::select! {
                biased;
                () = drain.reached(until) => {}
                () = transport.serve(listener) => {}
            }
            if until == Phase::Draining {
                tracing::info!("accepting has ended: what connects now waits for the next process");
            }
        });
        self.housekeeping(&logs, &rates);
        let (close, closed) = watch::channel(false);
        let stopper = Stopper {
            drain: self.drain.clone(),
            tasks: self.tasks.clone(),
            scheduler,
            logs,
            bus: Arc::<InProcessBus>::clone(&self.bus),
            ledger: Arc::clone(&self.ledger),
            budget: self.config.drain,
        };
        // Outside of `Tasks`, whose end it waits for.
        let stop_tasks = Tasks::new();
        let drain = self.drain.clone();
        stop_tasks.spawn("stopper", async move {
            drain.reached(Phase::Draining).await;
            stopper.wind_down(goodbye).await;
            close.send_replace(true);
        });
        Gateway {
            addr,
            auth: self.config.auth.mode.clone(),
            drain: self.drain,
            metrics: self.metrics,
            dispatch,
            closed,
        }
    }

    fn authenticator(&self) -> Authenticator {
        let devices = Devices::new(
            Arc::new(LedgerCredentials::new(Arc::clone(&self.ledger))),
            Arc::clone(&self.clock),
            Arc::clone(&self.ids),
        );
        let metrics = Arc::clone(&self.metrics);
        Authenticator::new(self.config.auth.clone(), Arc::new(devices), metrics)
    }

    fn scheduler(&self, logs: &Arc<Logs>, agents: &Arc<dyn AgentCatalog>) -> SchedulerHandle {
        let parts = SchedulerParts {
            tasks: self.tasks.clone(),
            drain: self.drain.clone(),
            ledger: Arc::clone(&self.ledger),
            bus: Arc::<InProcessBus>::clone(&self.bus),
            logs: Arc::clone(logs),
            backends: Arc::new(Backends::new()),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            metrics: Arc::clone(&self.metrics),
            settings: Arc::new(RunSettings {
                agents: Arc::clone(agents),
            }),
        };
        SchedulerHandle::start(&self.config.scheduler, parts)
    }

    fn dispatch(
        &self,
        logs: &Arc<Logs>,
        scheduler: &SchedulerHandle,
        rates: &Arc<Rates>,
        agents: Arc<dyn AgentCatalog>,
    ) -> Dispatch {
        Dispatch::new(Parts {
            scheduler: scheduler.clone(),
            queue: self.config.scheduler.queue,
            ledger: Arc::clone(&self.ledger),
            logs: Arc::clone(logs),
            bus: Arc::<InProcessBus>::clone(&self.bus),
            agents,
            config: Arc::<crate::config::View>::clone(&self.config.view),
            log_lines: Arc::clone(&self.log_lines),
            rates: Arc::clone(rates),
            drain: self.drain.clone(),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            metrics: Arc::clone(&self.metrics),
        })
    }

    fn catalog(&mut self) -> Catalog {
        let tasks = self.tasks.clone();
        let spawner = Spawner::new(move |task| {
            tasks.spawn("upstream", task);
        });
        let client = ModelClient::new(spawner, Arc::clone(&self.metrics));
        let mut given = std::mem::take(&mut self.agents);
        let agents = &self.config.agents;
        let sims = others::simulated(agents);
        Catalog::new(agents, |agent| {
            if let Some(given) = given.remove(&agent.id) {
                return given;
            }
            let others = OtherModels::new(agent, agents, &sims, &client);
            Arc::new(ByModel::new(backend(agent, &client), Arc::new(others)))
        })
    }

    fn transport(
        &self,
        dispatch: &Arc<Dispatch>,
        auth: &Arc<Authenticator>,
        rates: &Arc<Rates>,
    ) -> Transport {
        let http = HttpFront::new(HttpParts {
            dispatch: Arc::clone(dispatch),
            auth: Arc::clone(auth),
            drain: self.drain.clone(),
            tasks: self.tasks.clone(),
            config: self.config.transport.clone(),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
        });
        Transport::new(TransportParts {
            http,
            dispatch: Arc::clone(dispatch),
            auth: Arc::clone(auth),
            rates: Arc::clone(rates),
            drain: self.drain.clone(),
            tasks: self.tasks.clone(),
            config: self.config.transport.clone(),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            metrics: Arc::clone(&self.metrics),
        })
    }

    /// Forgets what has had its time: logs of ended runs, rate counters, old sessions and runs.
    fn housekeeping(&self, logs: &Arc<Logs>, rates: &Arc<Rates>) {
        let (logs, rates) = (Arc::clone(logs), Arc::clone(rates));
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.clock));
        let (drain, retention) = (self.drain.clone(), self.config.store.retention);
        self.tasks.spawn("housekeeping", async move {
            let mut ticks = interval(HOUSEKEEPING);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = drain.reached(Phase::Closing) => return,
                    _tick = ticks.tick() => {}
                }
                logs.sweep(Instant::now());
                rates.sweep();
                if let Err(error) = ledger.prune(retention, clock.now_ms()).await {
                    tracing::warn!(%error, "old sessions and runs were not pruned");
                }
            }
        });
    }
}

fn backend(config: &AgentConfig, client: &ModelClient) -> AgentRef {
    match &config.backend {
        Backend::Sim(sim) => Arc::new(SimAgent::new(sim.clone())),
        Backend::Model(model) => Arc::new(ModelAgent::new(model.clone(), client.clone())),
        Backend::Unavailable(reason) => Arc::new(Unavailable::new(config, reason)),
    }
}

/// Refuses a socket that is open to the network when peers need no secret, or none they were told:
/// its address is not in the configuration, which was checked.
fn check_inherited(address: SocketAddr, secret: &SecretSource) -> Result<(), StartError> {
    match secret {
        SecretSource::Flag | SecretSource::File | SecretSource::Environment(_) => Ok(()),
        SecretSource::Generated(_) | SecretSource::None if address.ip().is_loopback() => Ok(()),
        SecretSource::Generated(_) | SecretSource::None => Err(StartError::Exposed { address }),
    }
}

async fn open_ledger(
    store: &StoreConfig,
    metrics: &Arc<Metrics>,
    lock_wait: Duration,
) -> Result<Arc<dyn Ledger>, StartError> {
    let options = OpenOptions {
        lock_wait,
        metrics: Arc::clone(metrics),
        ..OpenOptions::default()
    };
    Ok(Arc::new(SqliteLedger::open(store, options).await?))
}

async fn bind(
    address: SocketAddr,
    given: Option<std::net::TcpListener>,
) -> Result<TcpListener, StartError> {
    let bound = match given {
        Some(listener) => listener
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(listener)),
        None => port::listen(address).await,
    };
    bound.map_err(|source| StartError::Bind { address, source })
}

fn local_addr(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Bind {
        address: asked,
        source,
    })
}
