//! Decides which run goes when: one at a time per session, within caps, fairly.
//!
//! [`lanes`] is the pure part; `core` is that and the table of runs, behind one short lock, and
//! everybody calls it through a [`SchedulerHandle`]. Each run has one task for its whole life
//! (`run_task`). Knows nothing of HTTP or WebSocket.

mod accept;
mod backend;
mod config;
mod core;
mod fair;
pub mod lanes;
#[cfg(test)]
mod model;
mod order;
mod queueing;
mod recent;
mod run_task;
mod settle;
#[cfg(test)]
mod steer_tests;
#[cfg(test)]
mod tests;
mod verdict;

pub use backend::Backends;
pub use config::{DropPolicy, QueueConfig, SchedulerConfig};
pub use order::{
    Accept, ApplySettings, Chat, Commit, Life, Load, Order, Recovered, RunLimits, SubmitError,
    Submitted,
};

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::events::{Bus, Logs, RunCommand, RunControl, RunReply};
use crate::ids::{IdSource, RunId};
use crate::metrics::Metrics;
use crate::run::{AbortCause, RunInfo};
use crate::session::{Begun, EndRun, IdempotencyScope, Ledger, LedgerError};
use crate::shutdown::{Drain, Phase, Tasks};

use self::core::{Core, Entered, Rejected};
use lanes::{Caps, Lanes, Refusal, Submission};
use order::LEDGER_WAIT_MAX;
use recent::Recent;
use run_task::RunTask;

/// What the scheduler works with.
#[derive(Clone, Debug)]
pub struct SchedulerParts {
    /// Spawns the timer and the run tasks.
    pub tasks: Tasks,
    /// Tells when the timer is to stop.
    pub drain: Drain,
    /// Keeps runs and transcripts.
    pub ledger: Arc<dyn Ledger>,
    /// Is told what happens.
    pub bus: Arc<dyn Bus>,
    /// Holds the logs of runs.
    pub logs: Arc<Logs>,
    /// Runs isolated backends.
    pub backends: Arc<Backends>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn IdSource>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Puts settings of sessions into turns.
    pub settings: Arc<dyn ApplySettings>,
}

/// Talks to the scheduler; cheap to clone.
#[derive(Clone)]
pub struct SchedulerHandle {
    shared: Arc<Shared>,
    active_max: u32,
}

impl fmt::Debug for SchedulerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerHandle").finish_non_exhaustive()
    }
}

/// What the handle and the tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Wakes the timer, which is to look earlier than it knows.
    timer: Notify,
    recent: Recent,
    parts: SchedulerParts,
}

impl Shared {
    /// Decides something, and everything that follows from it.
    fn with<T>(&self, decide: impl FnOnce(&mut Core, Instant) -> T) -> T {
        // Nothing in there panics half-way through a change; if it did, what is left is whole runs.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = decide(&mut core, Instant::now());
        core.act(&self.parts.metrics);
        let must_rearm = core.must_rearm();
        drop(core);
        if must_rearm {
            self.timer.notify_one();
        }
        decided
    }

    /// Lets deadlines pass, until the gateway has stopped.
    async fn keep_time(self: Arc<Self>) {
        let drain = self.parts.drain.clone();
        let mut stopped = std::pin::pin!(drain.reached(Phase::Stopped));
        loop {
            let deadline = self.with(|core, _now| core.arm());
            tokio::select! {
                biased;
                () = &mut stopped => return,
                () = sleep_until(deadline) => {
                    self.with(|core, now| core.lanes.handle_timeout(now));
                }
                () = self.timer.notified() => {}
            }
        }
    }
}

impl SchedulerHandle {
    /// Starts the scheduler.
    pub fn start(config: &SchedulerConfig, parts: SchedulerParts) -> Self {
        let lanes = Lanes::new(Caps {
            active_max: config.active_max,
            waiting_max: config.waiting_max,
            lane_waiting_max: config.queue.cap,
            credential_waiting_max: config.credential_waiting_max,
            party_waiting_max: config.party_waiting_max,
            wait: config.wait,
        });
        let tasks = parts.tasks.clone();
        let shared = Arc::new(Shared {
            core: Mutex::new(Core::new(lanes, config.queue)),
            timer: Notify::new(),
            recent: Recent::default(),
            parts,
        });
        tasks.spawn("scheduler", Arc::clone(&shared).keep_time());
        Self {
            shared,
            active_max: config.active_max,
        }
    }

    /// Most runs that are active at once.
    pub const fn active_max(&self) -> u32 {
        self.active_max
    }

    /// Schedules a run. When this returns `New`, the run is accepted: committed if its session is
    /// stored, and it will have exactly one terminal. What it does to other runs (a reset, an
    /// interruption, a drop) is done with the accept, and by nothing else. A copy of a key waits
    /// for the run that has it and takes no place.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was scheduled, and nothing has changed.
    ///
    /// # Cancel safety
    /// When the future is dropped, a run that nobody else wants is cancelled
    /// (`OnDisconnect::CancelRun`); another one goes on.
    pub async fn submit(&self, order: Order) -> Result<Submitted, SubmitError> {
        let scope = order.accept.scope().cloned();
        // Each turn waits for another run with the same key that was refused in the end.
        loop {
            let rejected = match self.shared.with(|core, now| core.submit(&order, now)) {
                Ok(entered) => return self.launch(order, entered).await,
                Err(rejected) => rejected,
            };
            let known = match &scope {
                Some(scope) => self.known(scope, &rejected).await,
                None => Ok(None),
            };
            let answer = match (known, rejected) {
                (Ok(Some(known)), _) => Ok(known),
                (Ok(None), Rejected::Copy(decided)) if decided.is_cancelled() => continue,
                (Ok(None), Rejected::Copy(_)) => Err(SubmitError::Stopped),
                (Ok(None), Rejected::Refused(refusal)) => Err(refusal.into()),
                (Err(error), _) => Err(error),
            };
            if answer.is_err() {
                self.shared.parts.metrics.runs_refused.add_one();
            }
            // First: whoever hears the answer must not find this log any more, which never ends.
            self.shared.parts.logs.forget(&order.info);
            return answer;
        }
    }

    /// What the key of a run without a place stands for, once that is decided.
    async fn known(
        &self,
        scope: &IdempotencyScope,
        rejected: &Rejected,
    ) -> Result<Option<Submitted>, SubmitError> {
        if let Rejected::Copy(decided) = rejected {
            timeout(2 * LEDGER_WAIT_MAX, decided.cancelled()).await.ok();
        }
        let parts = &self.shared.parts;
        let now_ms = parts.clock.now_ms();
        let known = run_task::bounded(parts.ledger.idempotent(scope.clone(), now_ms)).await?;
        Ok(match known {
            Some(Begun::Existing(record)) => Some(Submitted::Existing(record)),
            Some(Begun::Conflict(record)) => Some(Submitted::Conflict(record)),
            Some(Begun::New(_)) | None => None,
        })
    }

    async fn launch(&self, order: Order, entered: Entered) -> Result<Submitted, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let task = RunTask::new(order, entered, reply, Arc::clone(&self.shared));
        self.shared.parts.tasks.spawn("run", task.work());
        answer.await.map_err(|_dropped| SubmitError::Stopped)?
    }

    /// Makes a run end, or the one it is part of. Returns once it is decided, not once it is done:
    /// the log tells that.
    pub fn cancel(&self, run: RunId, cause: AbortCause) -> RunReply {
        self.shared.with(|core, now| core.cancel(run, cause, now))
    }

    /// The run that decides about this one: the one it was merged or steered into, else itself.
    pub fn head_of(&self, run: RunId) -> RunId {
        self.shared.with(|core, _now| core.head_of(run))
    }

    /// Makes every run end that is asked for, also one that is being accepted; returns how many
    /// there were.
    pub fn cancel_where(&self, is_asked: impl Fn(&RunInfo) -> bool, cause: AbortCause) -> usize {
        self.shared
            .with(|core, now| core.cancel_where(is_asked, cause, now))
    }

    /// Ends a run whose caller has left it, behind whatever was written of it.
    pub fn end_unattended(&self, end: EndRun) {
        let ledger = Arc::clone(&self.shared.parts.ledger);
        self.shared.parts.tasks.spawn("end", async move {
            match run_task::bounded(ledger.end_run(end)).await {
                Ok(_) | Err(LedgerError::NotFound) => {}
                Err(error) => tracing::error!(%error, "a run that was left was not ended"),
            }
        });
    }

    /// Refuses new runs from now on.
    pub fn drain(&self) {
        self.shared.with(|core, _now| core.lanes.drain());
    }

    /// How busy the scheduler is.
    pub fn load(&self) -> Load {
        self.shared.with(|core, now| core.load(now))
    }
}

impl RunControl for SchedulerHandle {
    fn control(&self, run: RunId, command: RunCommand) -> BoxFuture<'_, RunReply> {
        let RunCommand::Cancel(cause) = command;
        Box::pin(std::future::ready(self.cancel(run, cause)))
    }
}

/// Gives the place of a run back when its task ends, even by a panic.
#[derive(Debug)]
struct PlaceGuard {
    run: RunId,
    shared: Option<Arc<Shared>>,
}

impl PlaceGuard {
    /// Leaves the run to the one it was folded into.
    fn pass_on(mut self) {
        self.shared = None;
    }
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.with(|core, now| core.finished(self.run, now));
        }
    }
}

impl From<Refusal> for SubmitError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::LaneFull => Self::LaneFull,
            Refusal::GatewayFull => Self::GatewayFull,
            Refusal::CredentialFull => Self::CredentialFull,
            Refusal::PartyFull => Self::PartyFull,
            Refusal::Draining => Self::Draining,
        }
    }
}

fn submission(order: &Order) -> Submission {
    let info = &order.info;
    Submission {
        run: info.run_id,
        lane: info.session.clone(),
        agent: info.agent.clone(),
        agent_active_max: order.limits.agent_active_max,
        agent_weight: order.limits.agent_weight,
        credential: Arc::clone(&info.owner.credential),
        party: Arc::clone(&info.owner.party),
        hold: order.limits.hold(),
        grace: order.limits.abort_grace,
        is_expendable: order.chat.is_some(),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
