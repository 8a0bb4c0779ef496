//! A gateway put together from its parts, with the ledger in memory and agents given by the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clawport::agent::AgentRef;
use clawport::agent::sim::{SimAgent, SimConfig, SimMode};
use clawport::gateway::LedgerCredentials;
use clawport::ids::{AgentId, IdSource, SystemIds};
use clawport::internals::auth::{
    AuthConfig, AuthMode, Authenticator, Devices, LimiterConfig, OriginPolicy, PairingPolicy,
    ProxyPolicy, RateConfig, Rates, Secret,
};
use clawport::internals::clock::{Clock, SystemClock};
use clawport::internals::dispatch::{
    AgentCatalog, AgentEntry, AgentIdentity, AgentLimits, ConfigSnapshot, ConfigView, Dispatch,
    GatewayIdentity, LogTail, LogTailQuery, LogView, ModelEntry, NoDefaultAgent, Parts,
    RunSettings,
};
use clawport::internals::events::{Bus, InProcessBus, Logs, LogsConfig};
use clawport::internals::metrics::Metrics;
use clawport::internals::scheduler::{Backends, SchedulerConfig, SchedulerHandle, SchedulerParts};
use clawport::internals::session::Ledger;
use clawport::internals::session::memory::MemoryLedger;
use clawport::internals::shutdown::{Drain, Phase, Tasks};
use clawport::internals::transport::http::{HttpFront, HttpParts};
use clawport::internals::transport::{Listener, Transport, TransportConfig, TransportParts};
use clawport::run::ModelRef;
use serde_json::Value;
use tokio::net::TcpListener;

use super::Connection;

/// The shared token of every rig.
pub(crate) const TOKEN: &str = "a-token-for-tests";

/// What a rig is made of.
pub(crate) struct RigConfig {
    pub(crate) agents: Vec<(&'static str, AgentRef)>,
    pub(crate) default_agent: Option<&'static str>,
    pub(crate) auth: AuthConfig,
    pub(crate) transport: TransportConfig,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) limits: AgentLimits,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) phase: Phase,
}

impl Default for RigConfig {
    fn default() -> Self {
        let echo: AgentRef = Arc::new(SimAgent::new(SimConfig::new(SimMode::Echo)));
        Self {
            agents: vec![("main", Arc::clone(&echo)), ("beta", echo)],
            default_agent: Some("main"),
            auth: AuthConfig {
                mode: AuthMode::Token(Secret::new(TOKEN)),
                limiter: LimiterConfig::default(),
                proxies: ProxyPolicy::default(),
                origins: OriginPolicy::default(),
                pairing: PairingPolicy::default(),
            },
            transport: TransportConfig {
                chat_enabled: true,
                ..TransportConfig::default()
            },
            scheduler: SchedulerConfig::default(),
            limits: AgentLimits {
                concurrent_max: 256,
                weight: 1,
                run: Some(Duration::from_mins(1)),
                idle: Some(Duration::from_mins(1)),
                abort_grace: Duration::from_secs(2),
                output_bytes_max: 4 << 20,
                restartable: false,
            },
            ledger: Arc::new(MemoryLedger::new()),
            phase: Phase::Running,
        }
    }
}

impl RigConfig {
    /// One agent, `main`.
    pub(crate) fn with_agent(agent: AgentRef) -> Self {
        Self {
            agents: vec![("main", agent)],
            ..Self::default()
        }
    }
}

/// A running gateway.
pub(crate) struct Rig {
    pub(crate) addr: SocketAddr,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) scheduler: SchedulerHandle,
    pub(crate) drain: Drain,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) chat: clawport::internals::transport::http::ChatSwitch,
}

impl Rig {
    pub(crate) async fn start(config: RigConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self::start_on(config, listener, addr)
    }

    /// A gateway whose connections come from this listener.
    pub(crate) fn start_on<L: Listener>(config: RigConfig, listener: L, addr: SocketAddr) -> Self {
        let shared = Shared::new();
        let (scheduler, dispatch) = shared.core(&config);
        let devices = Devices::new(
            Arc::new(LedgerCredentials::new(Arc::clone(&config.ledger) as _)),
            Arc::clone(&shared.clock),
            Arc::clone(&shared.ids),
        );
        let auth = Arc::new(Authenticator::new(
            config.auth,
            Arc::new(devices),
            Arc::clone(&shared.metrics),
        ));
        let http = HttpFront::new(HttpParts {
            dispatch: Arc::clone(&dispatch),
            auth: Arc::clone(&auth),
            drain: shared.drain.clone(),
            tasks: shared.tasks.clone(),
            config: config.transport.clone(),
            clock: Arc::clone(&shared.clock),
            ids: Arc::clone(&shared.ids),
        });
        let chat = http.chat_switch();
        let transport = Transport::new(TransportParts {
            http,
            dispatch: Arc::clone(&dispatch),
            auth: Arc::clone(&auth),
            rates: shared.rates,
            drain: shared.drain.clone(),
            tasks: shared.tasks.clone(),
            config: config.transport,
            clock: shared.clock,
            ids: shared.ids,
            metrics: Arc::clone(&shared.metrics),
        });
        shared.tasks.spawn("listener", transport.serve(listener));
        shared.drain.advance(config.phase);
        Self {
            addr,
            dispatch,
            auth,
            scheduler,
            drain: shared.drain,
            tasks: shared.tasks,
            metrics: shared.metrics,
            chat,
        }
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.addr).await
    }

    /// Waits until no run is active or waits.
    pub(crate) async fn quiet(&self) {
        let quiet = async {
            loop {
                let load = self.scheduler.load();
                if load.active == 0 && load.waiting == 0 && load.lanes == 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        super::soon(quiet).await;
    }
}

/// What every part of a gateway holds.
struct Shared {
    rates: Arc<Rates>,
    tasks: Tasks,
    drain: Drain,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl Shared {
    fn new() -> Self {
        Self {
            rates: Arc::new(Rates::new(RateConfig::default())),
            tasks: Tasks::new(),
            drain: Drain::new(),
            metrics: Arc::new(Metrics::default()),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
        }
    }

    /// The scheduler and the operations.
    fn core(&self, config: &RigConfig) -> (SchedulerHandle, Arc<Dispatch>) {
        let bus = Arc::new(InProcessBus::new());
        let shared_bus: Arc<dyn Bus> = Arc::clone(&bus) as _;
        let logs = Arc::new(Logs::new(LogsConfig::default()));
        let ledger: Arc<dyn Ledger> = Arc::clone(&config.ledger) as _;
        let agents = Catalog::new(&config.agents, config.default_agent, config.limits);
        let agents: Arc<dyn AgentCatalog> = Arc::new(agents);
        let parts = SchedulerParts {
            tasks: self.tasks.clone(),
            drain: self.drain.clone(),
            ledger: Arc::clone(&ledger),
            bus: Arc::clone(&shared_bus),
            logs: Arc::clone(&logs),
            backends: Arc::new(Backends::new()),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            metrics: Arc::clone(&self.metrics),
            settings: Arc::new(RunSettings {
                agents: Arc::clone(&agents),
            }),
        };
        let scheduler = SchedulerHandle::start(&config.scheduler, parts);
        bus.set_control(Arc::new(scheduler.clone()));
        let dispatch = Arc::new(Dispatch::new(Parts {
            scheduler: scheduler.clone(),
            queue: config.scheduler.queue,
            ledger,
            logs,
            bus: shared_bus,
            agents,
            config: Arc::new(PlainConfig),
            log_lines: Arc::new(NoLines),
            rates: Arc::clone(&self.rates),
            drain: self.drain.clone(),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            metrics: Arc::clone(&self.metrics),
        }));
        (scheduler, dispatch)
    }
}

#[derive(Debug)]
struct Catalog {
    entries: Vec<Arc<AgentEntry>>,
    default: Option<AgentId>,
}

impl Catalog {
    fn new(
        agents: &[(&'static str, AgentRef)],
        default: Option<&str>,
        limits: AgentLimits,
    ) -> Self {
        let entry = |(id, agent): &(&'static str, AgentRef)| {
            Arc::new(AgentEntry {
                id: AgentId::parse(id).unwrap(),
                name: None,
                identity: AgentIdentity::default(),
                agent: Arc::clone(agent),
                models: vec![agent.model()],
                system: None,
                limits,
                show_reasoning: *id == "thinker",
            })
        };
        Self {
            entries: agents.iter().map(entry).collect(),
            default: default.map(|id| AgentId::parse(id).unwrap()),
        }
    }
}

impl AgentCatalog for Catalog {
    fn default_agent(&self) -> Result<AgentId, NoDefaultAgent> {
        self.default.clone().ok_or(NoDefaultAgent)
    }

    fn get(&self, id: &AgentId) -> Option<Arc<AgentEntry>> {
        self.entries.iter().find(|entry| entry.id == *id).cloned()
    }

    fn list(&self) -> Vec<Arc<AgentEntry>> {
        self.entries.clone()
    }

    fn models(&self) -> Vec<ModelEntry> {
        let model = ModelRef {
            provider: "mock".into(),
            model: "mock-model".into(),
        };
        vec![ModelEntry {
            model,
            name: "mock-model".into(),
            context_window: None,
            reasoning: false,
            input: Vec::new(),
        }]
    }

    fn alias(&self, model: &str) -> Option<AgentId> {
        (model == "gpt-alias").then(|| AgentId::parse("beta").unwrap())
    }
}

#[derive(Debug)]
struct PlainConfig;

impl ConfigView for PlainConfig {
    fn snapshot(&self) -> ConfigSnapshot {
        ConfigSnapshot {
            path: "test.json".into(),
            exists: false,
            raw: None,
            parsed: Value::Null,
            effective: Value::Null,
            hash: "".into(),
            warnings: Vec::new(),
        }
    }

    fn schema(&self) -> Value {
        Value::Null
    }

    fn main_key(&self) -> Arc<str> {
        "main".into()
    }

    fn stores_stateless(&self) -> bool {
        false
    }

    fn state_dir(&self) -> Arc<str> {
        "state".into()
    }

    fn identity(&self) -> Option<GatewayIdentity> {
        None
    }
}

#[derive(Debug)]
struct NoLines;

impl LogView for NoLines {
    fn tail(&self, _query: LogTailQuery) -> LogTail {
        LogTail::default()
    }
}
