//! One simulation: hosts, network, troubles, and what the ledger holds at the end.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use clawport::Config;
use clawport::internals::config::env::Env;
use clawport::internals::config::{Load, Overrides, Paths, TokenFile, load};
use clawport::internals::session::memory::MemoryLedger;
use clawport::internals::session::{EntryRange, Ledger};
use clawport::run::EntryBody;
use futures_util::FutureExt;
use tempfile::{NamedTempFile, TempDir};
use tokio::sync::Notify;
use turmoil::Sim;

use crate::gateway::Machine;
use crate::mutants::Mutant;
use crate::native::Native;
use crate::plan::{Plan, Trouble};
use crate::trace::{Fact, Happened, Trace};
use crate::upstream::Upstream;

/// No simulation takes longer than this, in simulated time: it is far beyond every bound.
const LONGEST: Duration = Duration::from_mins(15);

/// Where configuration files are written to be read; nothing else touches it.
static HOME: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// A simulation that has not run yet.
pub(crate) struct World {
    plan: Plan,
    machine: Arc<Machine>,
    trace: Trace,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        Self::with(plan, Mutant::None)
    }

    /// With a gateway that breaks one of its promises.
    pub(crate) fn with(plan: Plan, mutant: Mutant) -> Self {
        let trace = Trace::default();
        let machine = Machine {
            config: config(&plan),
            disk: MemoryLedger::new(),
            trace: trace.clone(),
            mutant,
            rng: Mutex::new(plan.rng.clone()),
            boots: Mutex::new(0),
            drain: Notify::new(),
            finish: Notify::new(),
            is_over: Mutex::new(false),
        };
        Self {
            plan,
            machine: Arc::new(machine),
            trace,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Happened {
        let mut sim = turmoil::Builder::new()
            .rng_seed(self.plan.seed)
            .tick_duration(self.plan.tick)
            .min_message_latency(self.plan.latency.0)
            .max_message_latency(self.plan.latency.1)
            .simulation_duration(LONGEST)
            .tcp_capacity(64)
            .epoch(std::time::UNIX_EPOCH)
            .build();
        self.add_hosts(&mut sim);
        if let Err(error) = self.step(&mut sim) {
            self.trace.note(Fact::Stuck {
                who: error.to_string(),
            });
        }
        drop(sim);
        self.note_ledger();
        Happened {
            facts: self.trace.take(),
            plan: self.plan,
        }
    }

    fn add_hosts(&self, sim: &mut Sim<'_>) {
        let machine = Arc::clone(&self.machine);
        sim.host("gateway", move || Arc::clone(&machine).run());
        let upstream = Upstream {
            trace: self.trace.clone(),
            asked: Arc::default(),
        };
        sim.host("upstream", move || upstream.clone().run());
        for (n, steps) in self.plan.natives.iter().enumerate() {
            let name = format!("native{n}");
            let native = Native::new(name.clone(), self.trace.clone());
            sim.client(name, native.run(steps.clone()));
        }
        for (n, calls) in self.plan.callers.iter().enumerate() {
            let name = format!("caller{n}");
            let calling = crate::http::run(name.clone(), calls.clone(), self.trace.clone());
            sim.client(name, calling);
        }
    }

    fn step(&self, sim: &mut Sim<'_>) -> turmoil::Result {
        let mut troubles = self.plan.troubles.iter().peekable();
        let mut has_told = false;
        loop {
            while let Some((_, trouble)) = troubles.next_if(|(at, _)| *at <= sim.elapsed()) {
                self.make(sim, trouble);
            }
            let all_gone = sim.step()?;
            if all_gone && troubles.peek().is_none() && !has_told {
                has_told = true;
                self.machine.finish.notify_one();
            }
            if *self.machine.is_over.lock().unwrap() {
                return Ok(());
            }
        }
    }

    fn make(&self, sim: &mut Sim<'_>, trouble: &Trouble) {
        self.trace.note(match trouble {
            Trouble::Crash => Fact::Crash,
            other => Fact::Trouble(format!("{other:?} at {:?}", sim.elapsed())),
        });
        match trouble {
            Trouble::Partition(host) => sim.partition(host.as_str(), "gateway"),
            Trouble::Repair(host) => sim.repair(host.as_str(), "gateway"),
            Trouble::Hold(host) => sim.hold(host.as_str(), "gateway"),
            Trouble::Release(host) => sim.release(host.as_str(), "gateway"),
            Trouble::Drain => self.machine.drain.notify_one(),
            Trouble::Crash => self.crash(sim),
        }
    }

    /// Kills the process and starts it again. The runtime drops its sockets in no particular order,
    /// so each says goodbye after the same time: else the order would decide who hears first.
    fn crash(&self, sim: &mut Sim<'_>) {
        let (low, high) = self.plan.latency;
        sim.set_max_message_latency(low);
        sim.crash("gateway");
        sim.set_max_message_latency(high);
        sim.bounce("gateway");
    }

    fn note_ledger(&self) {
        let disk = self.machine.disk.reopen();
        let rows = disk
            .list_runs(None, 10_000)
            .now_or_never()
            .unwrap()
            .unwrap();
        let mut sessions: Vec<_> = rows.iter().map(|row| row.session.clone()).collect();
        sessions.sort();
        sessions.dedup();
        for row in rows {
            self.trace.note(Fact::Row {
                run: row.run_id.to_string(),
                wire: row.wire_id.to_string(),
                session: row.session.to_string(),
                status: row.terminal.map(|it| it.outcome.status()),
                started: row.started_at_ms.is_some(),
            });
        }
        for session in sessions {
            let range = EntryRange::After {
                n: 0,
                limit: 10_000,
            };
            let page = disk.entries(session.clone(), range).now_or_never();
            let entries = page
                .unwrap()
                .unwrap()
                .map_or_else(Vec::new, |page| page.entries);
            for entry in entries {
                let (role, text) = match entry.body {
                    EntryBody::User { text, .. } => ("user", text),
                    EntryBody::Assistant { text, .. } => ("assistant", text),
                    other => ("other", format!("{other:?}")),
                };
                self.trace.note(Fact::Entry {
                    session: session.to_string(),
                    wire: entry.wire_id.map(|it| it.to_string()),
                    role,
                    text,
                });
            }
        }
    }
}

fn config(plan: &Plan) -> Config {
    let file = NamedTempFile::new_in(HOME.path()).unwrap();
    std::fs::write(&file, plan.config().to_string()).unwrap();
    let state_dir = HOME.path().to_str().unwrap();
    let env: Env = [("OPENCLAW_STATE_DIR", state_dir)].into_iter().collect();
    let paths = Paths::find(&env, Some(file.path())).unwrap();
    let loaded = load(&Load {
        env: &env,
        paths: &paths,
        overrides: &Overrides::default(),
        token_file: TokenFile::Create,
    });
    loaded.unwrap_or_else(|report| panic!("{report:?}")).config
}
