//! Decides which run goes when: one at a time per session, within caps, fairly.
//!
//! [`lanes`] is the pure core. One owner task holds it; everybody else holds a
//! [`SchedulerHandle`]. Each run has one task for its whole life (`run_task`). Knows nothing of
//! HTTP or WebSocket.

mod backend;
mod config;
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
pub use order::{Accept, Chat, Commit, Life, Load, Order, RunLimits, SubmitError, Submitted};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::events::{Bus, Logs, RunCommand, RunControl, RunReply};
use crate::ids::{IdSource, RunId};
use crate::metrics::Metrics;
use crate::run::{AbortCause, RunInfo};
use crate::session::Ledger;
use crate::shutdown::{Drain, Phase, Tasks};

use lanes::{Action, Cancelled, Caps, Lanes, Refusal, Standing, Submission};
use queueing::Chatting;
use recent::Recent;
use run_task::{Begin, RunTask, Start};
use verdict::{Stop, Verdict};

/// Commands that may wait for the owner task; senders wait beyond that.
const COMMANDS_MAX: usize = 1024;

/// What the scheduler works with.
#[derive(Clone, Debug)]
pub struct SchedulerParts {
    /// Spawns the owner task and the run tasks.
    pub tasks: Tasks,
    /// Tells when the owner task is to stop.
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
}

/// Talks to the scheduler; cheap to clone.
#[derive(Clone, Debug)]
pub struct SchedulerHandle {
    commands: mpsc::Sender<Command>,
    active_max: u32,
}

#[derive(Debug)]
enum Command {
    Submit {
        order: Box<Order>,
        reply: oneshot::Sender<Result<Submitted, SubmitError>>,
    },
    Cancel {
        run: RunId,
        cause: AbortCause,
        reply: oneshot::Sender<RunReply>,
    },
    Drain {
        reply: oneshot::Sender<()>,
    },
    CancelAll {
        cause: AbortCause,
        reply: oneshot::Sender<()>,
    },
    Load {
        reply: oneshot::Sender<Load>,
    },
}

impl SchedulerHandle {
    /// Starts the owner task.
    pub fn start(config: &SchedulerConfig, parts: SchedulerParts) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let tasks = parts.tasks.clone();
        let owner = Owner {
            lanes: Lanes::new(Caps {
                active_max: config.active_max,
                waiting_max: config.waiting_max,
                lane_waiting_max: config.queue.cap,
                wait: config.wait,
            }),
            runs: HashMap::new(),
            queue: config.queue,
            ended: Arc::default(),
            recent: Arc::default(),
            parts: Arc::new(parts),
        };
        tasks.spawn("scheduler", owner.work(inbox));
        Self {
            commands,
            active_max: config.active_max,
        }
    }

    /// Most runs that are active at once.
    pub const fn active_max(&self) -> u32 {
        self.active_max
    }

    /// Schedules a run. When this returns `New`, the run is accepted: committed if its session is
    /// stored, and it will have exactly one terminal.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was scheduled.
    ///
    /// # Cancel safety
    /// When the future is dropped, a run that nobody else wants is cancelled
    /// (`OnDisconnect::CancelRun`); another one goes on.
    pub async fn submit(&self, order: Order) -> Result<Submitted, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Submit {
            order: Box::new(order),
            reply,
        };
        self.commands
            .send(command)
            .await
            .map_err(|_closed| SubmitError::Stopped)?;
        answer.await.map_err(|_dropped| SubmitError::Stopped)?
    }

    /// Makes a run end. Returns once it is decided, not once it is done: the log tells that.
    ///
    /// # Cancel safety
    /// Dropping the future does not take back the order.
    pub async fn cancel(&self, run: RunId, cause: AbortCause) -> RunReply {
        let ask = |reply| Command::Cancel { run, cause, reply };
        self.ask(ask).await.unwrap_or(RunReply::NotActive)
    }

    /// Refuses new runs from now on.
    pub async fn drain(&self) {
        self.ask(|reply| Command::Drain { reply }).await;
    }

    /// Makes every run end.
    pub async fn cancel_all(&self, cause: AbortCause) {
        self.ask(|reply| Command::CancelAll { cause, reply }).await;
    }

    /// How busy the scheduler is.
    pub async fn load(&self) -> Load {
        self.ask(|reply| Command::Load { reply })
            .await
            .unwrap_or_default()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl RunControl for SchedulerHandle {
    fn control(&self, run: RunId, command: RunCommand) -> BoxFuture<'_, RunReply> {
        Box::pin(async move {
            match command {
                RunCommand::Cancel(cause) => self.cancel(run, cause).await,
            }
        })
    }
}

/// Runs whose tasks are done, for the owner to pick up. Bounded by the number of runs.
#[derive(Debug, Default)]
struct Ended {
    runs: Mutex<Vec<RunId>>,
    notify: Notify,
}

/// Gives the place of a run back when its task ends, even by a panic.
#[derive(Debug)]
struct PlaceGuard {
    run: RunId,
    ended: Arc<Ended>,
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        self.ended
            .runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.run);
        self.ended.notify.notify_one();
    }
}

/// The task that owns lanes and runs.
#[derive(Debug)]
struct Owner {
    lanes: Lanes,
    runs: HashMap<RunId, Running>,
    queue: QueueConfig,
    ended: Arc<Ended>,
    recent: Arc<Recent>,
    parts: Arc<SchedulerParts>,
}

#[derive(Debug)]
struct Running {
    info: Arc<RunInfo>,
    verdict: Arc<Verdict>,
    start: Option<oneshot::Sender<Begin>>,
    submitted_at: Instant,
    chat: Option<Chatting>,
}

impl Owner {
    async fn work(mut self, mut inbox: mpsc::Receiver<Command>) {
        let ended = Arc::clone(&self.ended);
        let drain = self.parts.drain.clone();
        let mut stopped = std::pin::pin!(drain.reached(Phase::Stopped));
        loop {
            let deadline = self.lanes.poll_timeout();
            tokio::select! {
                biased;
                () = ended.notify.notified() => self.handle_ended(),
                () = sleep_until(deadline) => self.lanes.handle_timeout(Instant::now()),
                command = inbox.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => break,
                },
                () = &mut stopped => break,
            }
            self.act();
        }
    }

    fn handle_ended(&mut self) {
        let now = Instant::now();
        let ended = std::mem::take(
            &mut *self
                .ended
                .runs
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for run in ended {
            self.runs.remove(&run);
            self.lanes.finished(run, now);
        }
    }

    fn handle_command(&mut self, command: Command) {
        // A caller that left needs no answer.
        match command {
            Command::Submit { order, reply } => self.submit(order, reply),
            Command::Cancel { run, cause, reply } => {
                reply.send(self.cancel(run, cause)).ok();
            }
            Command::Drain { reply } => {
                self.lanes.drain();
                reply.send(()).ok();
            }
            Command::CancelAll { cause, reply } => {
                for run in self.lanes.runs() {
                    self.cancel(run, cause);
                }
                reply.send(()).ok();
            }
            Command::Load { reply } => {
                let load = Load {
                    active: self.lanes.active(),
                    waiting: self.lanes.waiting(),
                    lanes: self.lanes.lanes(),
                    oldest_wait: self.oldest_wait(),
                };
                reply.send(load).ok();
            }
        }
    }

    fn submit(
        &mut self,
        mut order: Box<Order>,
        reply: oneshot::Sender<Result<Submitted, SubmitError>>,
    ) {
        let run = order.info.run_id;
        let interrupted = self.make_way(&order);
        let (standing, dropped) = match self.admit(&order) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.parts.metrics.runs_refused.add_one();
                self.parts.logs.forget(&order.info);
                reply.send(Err(refusal.into())).ok();
                return;
            }
        };
        queueing::mention(&dropped, &mut order.turn);
        let verdict = Arc::new(Verdict::default());
        let (start, start_signal) = match standing {
            Standing::Active => (None, Start::Now),
            Standing::Waiting => {
                let (start, signal) = oneshot::channel();
                (Some(start), Start::When(signal))
            }
        };
        let steer = match standing {
            Standing::Active => None,
            Standing::Waiting => self.steer_target(&order),
        };
        let (chat, inbox) = Chatting::new(&order, dropped);
        let submitted_at = Instant::now();
        let running = Running {
            info: Arc::clone(&order.info),
            verdict: Arc::clone(&verdict),
            start,
            submitted_at,
            chat,
        };
        let task = RunTask {
            order,
            reply: Some(reply),
            interrupted,
            verdict,
            start: start_signal,
            inbox,
            accepted: running.chat.as_ref().map(Chatting::accepted),
            steer,
            _place: PlaceGuard {
                run,
                ended: Arc::clone(&self.ended),
            },
            recent: Arc::clone(&self.recent),
            parts: Arc::clone(&self.parts),
            submitted_at,
            session_id: None,
            life: Life::First,
        };
        self.runs.insert(run, running);
        self.parts.tasks.spawn("run", task.work());
    }

    fn cancel(&mut self, run: RunId, cause: AbortCause) -> RunReply {
        let Some(running) = self.runs.get(&run) else {
            return RunReply::NotActive;
        };
        let reply = if running.verdict.stop(Stop::Abort(cause)) {
            RunReply::Cancelled
        } else {
            RunReply::NotActive
        };
        match self.lanes.cancel(run, Instant::now()) {
            Cancelled::Waiting | Cancelled::Active | Cancelled::Unknown => reply,
        }
    }

    fn oldest_wait(&self) -> Duration {
        let waiting = self.runs.values().filter(|run| run.start.is_some());
        let oldest = waiting.map(|run| run.submitted_at).min();
        oldest.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Does what the lanes decided, and shows their numbers.
    fn act(&mut self) {
        while let Some(action) = self.lanes.poll_action() {
            match action {
                Action::Start(run) => self.begin(run),
                Action::Expire(run) => self.stop(run, Stop::WaitedTooLong),
                Action::Reclaim(run) => {
                    self.reclaim(run);
                }
            }
        }
        self.parts
            .metrics
            .runs_active
            .set(self.lanes.active().into());
        self.parts
            .metrics
            .runs_waiting
            .set(self.lanes.waiting().into());
    }

    /// Ends a run whose slot is gone; its task may have given its backend up already.
    fn reclaim(&self, run: RunId) {
        let running = self.runs.get(&run);
        if running.is_some_and(|running| running.verdict.abandon()) {
            self.parts.metrics.runs_abandoned.add_one();
        }
        self.stop(run, Stop::Reclaimed);
    }

    fn stop(&self, run: RunId, stop: Stop) {
        if let Some(running) = self.runs.get(&run) {
            let decided = running.verdict.stop(stop);
            let lane = &running.info.session;
            tracing::warn!(run_id = %run, %lane, ?stop, decided, "run stopped");
        }
    }
}

impl From<Refusal> for SubmitError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::LaneFull => Self::LaneFull,
            Refusal::GatewayFull => Self::GatewayFull,
            Refusal::Draining => Self::Draining,
        }
    }
}

fn submission(order: &Order, queue: &QueueConfig) -> Submission {
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
        hold_back: queueing::hold_back(order, queue),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
