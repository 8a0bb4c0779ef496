//! The host that runs the gateway: start, crash, drain, start again, and what is left at the end.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawport::agent::model::{
    BaseUrl, Endpoint, ModelAgent, ModelClient, ModelConfig, Spawner, Timeouts,
};
use clawport::agent::{Agent, AgentRef, AgentTurn, EventStream, Isolation, RunContext};
use clawport::ids::AgentId;
use clawport::internals::events::{Log, Notice};
use clawport::internals::metrics::Metrics;
use clawport::internals::session::memory::MemoryLedger;
use clawport::run::{Event, ModelRef, Storage};
use clawport::{Config, Gateway};
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use turmoil::net::TcpListener;

use crate::ledger::SimLedger;
use crate::mutants::Mutant;
use crate::net::{SimClock, SimConnector, SimIds, SimListener};
use crate::plan::{Fault, Rng, Script};
use crate::trace::{Fact, Trace};

/// Where the gateway listens.
pub(crate) const PORT: u16 = 18_789;

/// How long everything may take to become quiet once everybody has gone: a peer that vanished
/// without a word is noticed by a ping without a pong.
const QUIET_MAX: Duration = Duration::from_secs(90);

/// What outlives a process of the gateway, and the orders it gets.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) config: Config,
    pub(crate) disk: MemoryLedger,
    pub(crate) trace: Trace,
    pub(crate) mutant: Mutant,
    pub(crate) rng: Mutex<Rng>,
    pub(crate) boots: Mutex<u32>,
    /// The process is asked to end, and another one to follow.
    pub(crate) drain: Notify,
    /// Everybody has gone: look at what is left, and end.
    pub(crate) finish: Notify,
    pub(crate) is_over: Mutex<bool>,
}

impl Machine {
    /// Is the gateway's host until everything is over.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        loop {
            let gateway = self.start().await?;
            let ends = tokio::select! {
                biased;
                () = self.drain.notified() => false,
                () = self.finish.notified() => true,
            };
            if ends {
                self.note_rest(&gateway).await;
            }
            self.wind_down(gateway).await;
            if ends {
                *self.is_over.lock().unwrap() = true;
                std::future::pending::<()>().await;
            }
        }
    }

    async fn start(&self) -> Result<Gateway, Box<dyn std::error::Error>> {
        let boot = {
            let mut boots = self.boots.lock().unwrap();
            *boots += 1;
            *boots
        };
        self.trace.note(Fact::Boot(boot));
        let fork = || self.rng.lock().unwrap().fork();
        let ledger = SimLedger::new(self.disk.reopen(), fork(), self.mutant);
        let agent: AgentRef = Arc::new(Watched {
            inner: model_agent(),
            mutant: self.mutant,
        });
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        let addr = listener.local_addr()?;
        let gateway = Gateway::builder(self.config.clone())
            .agent(AgentId::parse("main")?, agent)
            .ledger(Arc::new(ledger))
            .clock(Arc::new(SimClock))
            .ids(Arc::new(SimIds::new(fork())))
            .start_on(SimListener(listener), addr)
            .await?;
        let mut notices = gateway.dispatch().bus().subscribe();
        // What was queued again is accepted before anybody can watch.
        for log in gateway.dispatch().logs().live() {
            self.trace.note(accepted(&log));
            if log.started_at_ms().is_some() {
                self.trace.note(Fact::Started { run: run(&log) });
            }
        }
        let trace = self.trace.clone();
        tokio::spawn(async move {
            while let Ok(notice) = notices.recv().await {
                match notice {
                    Notice::RunAccepted(log) => trace.note(accepted(&log)),
                    Notice::RunStarted(log) => trace.note(Fact::Started { run: run(&log) }),
                    Notice::RunEnded(log) => trace.note(ended(&log)),
                    Notice::Message { .. }
                    | Notice::SessionChanged { .. }
                    | Notice::Compaction { .. } => {}
                }
            }
        });
        Ok(gateway)
    }

    /// Waits until nothing runs and nobody is connected, as long as that may take.
    async fn note_rest(&self, gateway: &Gateway) {
        let deadline = Instant::now() + QUIET_MAX;
        loop {
            let status = gateway.dispatch().status().await.unwrap();
            let connections = gateway.metrics().connections_open.get();
            let is_quiet = status.active + status.waiting + status.lanes == 0 && connections == 0;
            if is_quiet || Instant::now() > deadline {
                return self.trace.note(Fact::Rest {
                    active: status.active,
                    waiting: status.waiting,
                    lanes: status.lanes,
                    connections,
                });
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn wind_down(&self, gateway: Gateway) {
        let began = Instant::now();
        gateway.shutdown();
        gateway.closed().await;
        self.trace.note(Fact::Drained {
            took: began.elapsed(),
        });
    }
}

fn run(log: &Log) -> String {
    log.info().run_id.to_string()
}

fn accepted(log: &Log) -> Fact {
    let info = log.info();
    Fact::Accepted {
        run: info.run_id.to_string(),
        wire: info.wire_id.to_string(),
        session: info.session.to_string(),
        stored: info.storage == Storage::Stored,
    }
}

fn ended(log: &Log) -> Fact {
    Fact::Ended {
        run: run(log),
        status: log.terminal().map_or("none", |it| it.outcome.status()),
        text: log.text(),
    }
}

fn model_agent() -> ModelAgent<SimConnector> {
    let spawner = Spawner::new(|task| drop(tokio::spawn(task)));
    let client = ModelClient::over(SimConnector, spawner, Arc::new(Metrics::default()));
    let model = ModelRef {
        provider: "simulated".into(),
        model: "words".into(),
    };
    let base_url = BaseUrl::parse("http://upstream:80/v1").unwrap();
    let mut endpoint = Endpoint::new(model, base_url);
    endpoint.timeouts = Timeouts {
        connect: Duration::from_secs(1),
        first_byte: Duration::from_millis(1500),
        idle: Duration::from_millis(1200),
    };
    let config = ModelConfig {
        endpoints: vec![endpoint],
        system: None,
        retries: 2,
    };
    ModelAgent::new(config, client)
}

/// The model agent, deaf where a message says so; one mutant says its words twice.
#[derive(Debug)]
struct Watched {
    inner: ModelAgent<SimConnector>,
    mutant: Mutant,
}

impl Agent for Watched {
    fn run(&self, turn: AgentTurn, mut context: RunContext) -> EventStream {
        let last = turn.turn.current.last().map(|it| it.text.as_str());
        let script = last.and_then(Script::last_in);
        if script.is_some_and(|script| script.fault == Fault::Deaf) {
            context.cancel = CancellationToken::new();
        }
        let stream = self.inner.run(turn, context);
        if self.mutant != Mutant::SaysTwice {
            return stream;
        }
        let doubled = stream.map(|item| match item {
            Ok(Event::Text(text)) => Ok(Event::Text(format!("{text}{text}"))),
            other => other,
        });
        Box::pin(doubled)
    }

    fn model(&self) -> ModelRef {
        self.inner.model()
    }

    fn isolation(&self) -> Isolation {
        Isolation::Inline
    }
}
