//! The table of runs and their lanes: everything that is decided about a run but what its agent
//! says.
//!
//! All of it is plain calls under one short lock ([`Shared::with`]): nothing in here waits, calls
//! back or reads a clock. A run is *reserved*, then *accepted* or refused by its commit; only an
//! accepted run has effects on others. A run that became part of another one is *folded*: it has no
//! place of its own any more and ends as that one ends.
//!
//! [`Shared::with`]: super::Shared::with

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::Inbox;
use crate::events::{Log, RunReply};
use crate::ids::{RunId, SessionKey};
use crate::metrics::Metrics;
use crate::run::{AbortCause, Message, QueueMode, RunInfo};
use crate::session::IdempotencyScope;

use super::lanes::{Action, Lanes, Refusal, Standing};
use super::order::{Accept, Load, Order};
use super::queueing::{Chatting, Steering};
use super::verdict::{Stop, Verdict};
use super::{DropPolicy, QueueConfig};

/// An idempotency key with what it is unique in.
type KeyName = (&'static str, Arc<str>, Arc<str>);

/// Lanes, runs and the keys of those that are being accepted.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) lanes: Lanes,
    runs: HashMap<RunId, Running>,
    /// Keys whose runs are being accepted, and what tells their copies that it is decided.
    open_keys: HashMap<KeyName, Option<CancellationToken>>,
    queue: QueueConfig,
    /// The number of the next run; later ones are behind earlier ones in their lane.
    next: u64,
    /// When the timer is to look at the lanes next, as it knows.
    armed: Option<Instant>,
}

/// What is kept of a run until its task is done.
#[derive(Debug)]
struct Running {
    number: u64,
    info: Arc<RunInfo>,
    log: Arc<Log>,
    verdict: Arc<Verdict>,
    submitted_at: Instant,
    stage: Stage,
    /// Whether it holds its slot.
    has_slot: bool,
    chat: Option<Chatting>,
    key: Option<KeyName>,
    clears: Clears,
    /// The runs that were folded into it.
    folded: Vec<RunId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has a place, and no effect yet.
    Reserved,
    /// It is committed.
    Accepted,
    /// It is part of this run.
    Folded(RunId),
}

/// Which runs of its lane an accepted run ends that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clears {
    Nothing,
    /// Chat runs: it interrupts.
    Chat,
    /// All: it resets the session.
    All,
}

impl Clears {
    fn cause(self, run: &Running) -> Option<AbortCause> {
        match self {
            Self::All => Some(AbortCause::SessionEnded),
            Self::Chat if run.chat.is_some() => Some(AbortCause::Replaced),
            Self::Chat | Self::Nothing => None,
        }
    }
}

/// A run that has a place.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) verdict: Arc<Verdict>,
    pub(super) standing: Standing,
    pub(super) inbox: Inbox,
}

/// Why a run has none.
#[derive(Debug)]
pub(super) enum Rejected {
    /// A bound is reached.
    Refused(Refusal),
    /// A run with its key is being accepted; this tells when that is decided.
    Copy(CancellationToken),
}

/// What the accept commit said.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// How a chat message is queued.
    pub(super) mode: Option<QueueMode>,
    /// Whether it reset the session.
    pub(super) resets: bool,
    /// Its messages, if they may be merged into another run.
    pub(super) messages: Option<Arc<Vec<Message>>>,
}

/// What the acceptance of a run did to others.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Whether it made an active chat run end.
    pub(super) interrupted: bool,
    /// Previews of the messages whose place it took, for the summary.
    pub(super) dropped: Vec<Box<str>>,
}

/// What a run that waits does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing.
    Wait,
    /// It holds its slot.
    Run,
    /// It offers its message to the active run.
    Offer(Steering),
    /// It is part of another run, which ends it.
    Folded,
}

/// A run that ends with the one it was folded into.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) info: Arc<RunInfo>,
    pub(super) log: Arc<Log>,
    /// What it says; only of one that was merged.
    pub(super) messages: Option<Arc<Vec<Message>>>,
}

impl Core {
    pub(super) fn new(lanes: Lanes, queue: QueueConfig) -> Self {
        Self {
            lanes,
            runs: HashMap::new(),
            open_keys: HashMap::new(),
            queue,
            next: 0,
            armed: None,
        }
    }

    /// Gives a run a place in its lane.
    pub(super) fn submit(&mut self, order: &Order, now: Instant) -> Result<Entered, Rejected> {
        let key = order.accept.scope().map(key_name);
        if let Some(key) = &key
            && let Some(decided) = self.open_keys.get_mut(key)
        {
            let decided = decided.get_or_insert_default();
            return Err(Rejected::Copy(decided.clone()));
        }
        let submission = super::submission(order);
        let standing = self.lanes.submit(submission, now);
        let standing = standing.map_err(Rejected::Refused)?;
        let is_new = matches!(order.accept, Accept::Commit(_));
        if matches!(standing, Standing::Claiming(_))
            && !is_new
            && self.queue.drop == DropPolicy::New
        {
            self.lanes.finished(order.info.run_id, now);
            return Err(Rejected::Refused(Refusal::LaneFull));
        }
        if let Some(key) = &key {
            self.open_keys.insert(key.clone(), None);
        }
        let (chat, inbox) = Chatting::new(order);
        let mut running = self.running(&order.info, &order.log, now);
        let verdict = Arc::clone(&running.verdict);
        running.chat = chat;
        running.key = key;
        running.has_slot = standing == Standing::Active;
        if let Accept::Recovered(recovered) = &order.accept {
            for (info, log) in &recovered.folded {
                let mut folded = self.running(info, log, now);
                folded.stage = Stage::Folded(order.info.run_id);
                running.folded.push(info.run_id);
                self.runs.insert(info.run_id, folded);
            }
        }
        self.runs.insert(order.info.run_id, running);
        Ok(Entered {
            verdict,
            standing,
            inbox,
        })
    }

    fn running(&mut self, info: &Arc<RunInfo>, log: &Arc<Log>, now: Instant) -> Running {
        self.next += 1;
        Running {
            number: self.next,
            info: Arc::clone(info),
            log: Arc::clone(log),
            verdict: Arc::default(),
            submitted_at: now,
            stage: Stage::Reserved,
            has_slot: false,
            chat: None,
            key: None,
            clears: Clears::Nothing,
            folded: Vec::new(),
        }
    }

    /// Carries out what a run does to others, now that it is committed.
    pub(super) fn accepted(&mut self, run: RunId, terms: Terms, now: Instant) -> Effects {
        self.decide_key(run);
        let Some(running) = self.runs.get_mut(&run) else {
            return Effects::default();
        };
        running.stage = Stage::Accepted;
        running.clears = match terms.mode {
            _ if terms.resets => Clears::All,
            Some(QueueMode::Interrupt) => Clears::Chat,
            Some(QueueMode::Steer | QueueMode::Collect | QueueMode::Followup) | None => {
                Clears::Nothing
            }
        };
        let lane = running.info.session.clone();
        if let (Some(chat), Some(mode)) = (&mut running.chat, terms.mode) {
            chat.mode = mode;
            chat.messages = terms.messages;
        }
        let mut effects = Effects::default();
        if self.lanes.is_shared(&lane) {
            effects.interrupted = self.clear(run, &lane, now);
            effects.dropped = self.push_out(run, now);
            self.clear_itself(run, &lane, now);
            if let Some(chat) = self.chat_mut(run) {
                chat.dropped.clone_from(&effects.dropped);
            }
        }
        let collects = terms.mode == Some(QueueMode::Collect);
        let hold_back = collects.then_some(self.queue.debounce);
        self.lanes.accepted(run, hold_back, now);
        self.steer(&lane);
        effects
    }

    /// Ends the runs ahead that an accepted run clears away; true when an active chat run was among
    /// them.
    fn clear(&mut self, run: RunId, lane: &SessionKey, now: Instant) -> bool {
        let Some((number, clears)) = self.runs.get(&run).map(|run| (run.number, run.clears)) else {
            return false;
        };
        if clears == Clears::Nothing {
            return false;
        }
        let active = self.lanes.active_in(lane);
        let mut interrupted = false;
        // What waits goes first, so that nothing takes the lane of what is ended.
        for other in self.lanes.runs_in(lane).into_iter().rev() {
            let ahead = self
                .runs
                .get(&other)
                .filter(|ahead| ahead.number < number && ahead.stage == Stage::Accepted);
            let Some(cause) = ahead.and_then(|ahead| clears.cause(ahead)) else {
                continue;
            };
            let is_chat = ahead.is_some_and(|ahead| ahead.chat.is_some());
            let stopped = self.cancel(other, cause, now) == RunReply::Cancelled;
            interrupted |= stopped && is_chat && active == Some(other);
        }
        interrupted
    }

    /// Ends the run whose place an accepted run has. Returns previews of what went, if there is to
    /// be a summary.
    fn push_out(&mut self, run: RunId, now: Instant) -> Vec<Box<str>> {
        let Some(claimed) = self.lanes.claim_of(run) else {
            return Vec::new();
        };
        let interrupts = self
            .runs
            .get(&run)
            .is_some_and(|run| run.clears == Clears::Chat);
        let cause = if interrupts {
            AbortCause::Replaced
        } else {
            AbortCause::Dropped
        };
        let is_told = !interrupts && self.queue.drop == DropPolicy::Summarize;
        let chat = self.chat_mut(claimed).filter(|_chat| is_told);
        let previews = chat.map_or_else(Vec::new, |chat| chat.previews());
        self.cancel(claimed, cause, now);
        previews
    }

    /// Ends a run that an accepted one behind it would have ended, had it been accepted before.
    fn clear_itself(&mut self, run: RunId, lane: &SessionKey, now: Instant) {
        let Some(running) = self.runs.get(&run) else {
            return;
        };
        let behind = self.lanes.waiting_in(lane);
        let behind = behind.iter().filter_map(|other| self.runs.get(other));
        let cause = behind
            .filter(|behind| behind.number > running.number && behind.stage == Stage::Accepted)
            .find_map(|behind| behind.clears.cause(running));
        if let Some(cause) = cause {
            self.cancel(run, cause, now);
        }
    }

    /// Has the accepted messages at the front of a lane offered to its active run, each once and in
    /// their order, if they are to be and that is a chat run, too.
    fn steer(&mut self, lane: &SessionKey) {
        let active = self.lanes.active_in(lane);
        let target = active.and_then(|active| self.runs.get(&active));
        if target.is_none_or(|target| target.stage == Stage::Reserved) {
            return;
        }
        for run in self.lanes.waiting_in(lane) {
            let Some(waiting) = self.runs.get_mut(&run) else {
                continue;
            };
            if waiting.stage == Stage::Reserved {
                return;
            }
            let Some(chat) = &mut waiting.chat else {
                continue;
            };
            let is_new = !std::mem::replace(&mut chat.was_considered, true);
            if !is_new || chat.mode != QueueMode::Steer {
                continue;
            }
            let steering = active.and_then(|active| {
                let target = self.chat_mut(active)?;
                Some(target.steering(active))
            });
            if let Some(waiting) = self.runs.get_mut(&run)
                && let Some(chat) = &mut waiting.chat
            {
                chat.steering = steering;
                waiting.verdict.look();
            }
        }
    }

    /// What a run that was accepted and has not begun does next.
    pub(super) fn next(&mut self, run: RunId) -> Next {
        let Some(running) = self.runs.get_mut(&run) else {
            return Next::Wait;
        };
        if let Stage::Folded(_) = running.stage {
            return Next::Folded;
        }
        if running.has_slot {
            return Next::Run;
        }
        let steering = running.chat.as_mut().and_then(|chat| chat.steering.take());
        steering.map_or(Next::Wait, Next::Offer)
    }

    /// For `collect`: makes the messages right behind a run that begins part of it. One that is
    /// about to end takes none with it.
    pub(super) fn merge(&mut self, head: RunId, now: Instant) -> Vec<Adopted> {
        let mut merged = Vec::new();
        let Some(running) = self.runs.get(&head) else {
            return merged;
        };
        if running.verdict.is_decided() || !collects(running) {
            return merged;
        }
        let lane = running.info.session.clone();
        for run in self.lanes.waiting_in(&lane) {
            let Some(follower) = self.runs.get(&run) else {
                break;
            };
            let is_ready = follower.stage == Stage::Accepted && !follower.verdict.is_decided();
            if !is_ready || !collects(follower) {
                break;
            }
            merged.push(follower.adopted());
            self.fold(run, head, now);
        }
        merged
    }

    /// Makes a run part of another one; false when that has ended already.
    pub(super) fn fold(&mut self, run: RunId, into: RunId, now: Instant) -> bool {
        let Some(head) = self.runs.get_mut(&into) else {
            return false;
        };
        head.folded.push(run);
        let Some(folded) = self.runs.get_mut(&run) else {
            return true;
        };
        folded.stage = Stage::Folded(into);
        folded.verdict.look();
        let stop = folded.verdict.stopped();
        self.lanes.finished(run, now);
        // Whoever stopped it meanwhile has stopped what it is part of.
        if let Some(Stop::Abort(cause)) = stop {
            self.cancel(into, cause, now);
        }
        true
    }

    /// Takes a run that could not be folded after all out of its head again.
    pub(super) fn unfold(&mut self, run: RunId) {
        if let Some(Stage::Folded(into)) = self.runs.remove(&run).map(|run| run.stage)
            && let Some(head) = self.runs.get_mut(&into)
        {
            head.folded.retain(|folded| *folded != run);
        }
    }

    /// The runs that end with this one, which takes no more from now on.
    pub(super) fn ended(&mut self, run: RunId) -> Vec<Adopted> {
        let Some(running) = self.runs.get_mut(&run) else {
            return Vec::new();
        };
        let folded = std::mem::take(&mut running.folded);
        let folded = folded.iter().filter_map(|run| self.runs.remove(run));
        folded.map(|folded| folded.adopted()).collect()
    }

    /// Gives the place of a run back. Whatever it was, nobody is told of it by this.
    pub(super) fn finished(&mut self, run: RunId, now: Instant) {
        self.decide_key(run);
        if let Some(running) = self.runs.remove(&run) {
            for folded in running.folded {
                self.runs.remove(&folded);
            }
        }
        self.lanes.finished(run, now);
    }

    /// Lets the copies of a run go on: it is accepted, or gone.
    fn decide_key(&mut self, run: RunId) {
        let key = self.runs.get_mut(&run).and_then(|run| run.key.take());
        if let Some(Some(decided)) = key.and_then(|key| self.open_keys.remove(&key)) {
            decided.cancel();
        }
    }

    /// Makes a run end, or the one it is part of.
    pub(super) fn cancel(&mut self, run: RunId, cause: AbortCause, now: Instant) -> RunReply {
        let Some(running) = self.runs.get(&run) else {
            return RunReply::NotActive;
        };
        if let Stage::Folded(into) = running.stage {
            return self.cancel(into, cause, now);
        }
        let decided = running.verdict.stop(Stop::Abort(cause));
        self.lanes.cancel(run, now);
        if decided {
            RunReply::Cancelled
        } else {
            RunReply::NotActive
        }
    }

    /// Makes every run end that is asked for; a folded one is left to the run it is part of.
    pub(super) fn cancel_where(
        &mut self,
        is_asked: impl Fn(&RunInfo) -> bool,
        cause: AbortCause,
        now: Instant,
    ) -> usize {
        let asked = self
            .runs
            .iter()
            .filter(|(_, run)| !matches!(run.stage, Stage::Folded(_)) && is_asked(&run.info));
        // What waits goes first, so that nothing takes the lane of what is ended.
        let mut asked: Vec<_> = asked
            .map(|(id, run)| (run.has_slot, run.number, *id))
            .collect();
        asked.sort_unstable();
        let stopped = asked
            .into_iter()
            .filter(|(_, _, run)| self.cancel(*run, cause, now) == RunReply::Cancelled);
        stopped.count()
    }

    /// The run that decides about this one: the one it is part of, else itself.
    pub(super) fn head_of(&self, run: RunId) -> RunId {
        match self.runs.get(&run).map(|run| run.stage) {
            Some(Stage::Folded(into)) => into,
            Some(Stage::Reserved | Stage::Accepted) | None => run,
        }
    }

    pub(super) fn load(&self, now: Instant) -> Load {
        let waiting = self
            .runs
            .values()
            .filter(|run| !run.has_slot && !matches!(run.stage, Stage::Folded(_)));
        let oldest = waiting.map(|run| run.submitted_at).min();
        Load {
            active: self.lanes.active(),
            waiting: self.lanes.waiting(),
            lanes: self.lanes.lanes(),
            oldest_wait: oldest.map_or(Duration::ZERO, |at| now.duration_since(at)),
        }
    }

    /// Does what the lanes decided, and shows their numbers.
    pub(super) fn act(&mut self, metrics: &Metrics) {
        while let Some(action) = self.lanes.poll_action() {
            match action {
                Action::Start(run) => self.start(run),
                Action::Expire(run) => self.stop(run, Stop::WaitedTooLong),
                Action::Reclaim(run) => {
                    // Its task may have given its backend up already.
                    let running = self.runs.get(&run);
                    if running.is_some_and(|running| running.verdict.abandon()) {
                        metrics.runs_abandoned.add_one();
                    }
                    self.stop(run, Stop::Reclaimed);
                }
            }
        }
        metrics.runs_active.set(self.lanes.active().into());
        metrics.runs_waiting.set(self.lanes.waiting().into());
    }

    fn start(&mut self, run: RunId) {
        let Some(running) = self.runs.get_mut(&run) else {
            return;
        };
        running.has_slot = true;
        running.verdict.look();
        let lane = running.info.session.clone();
        if self.lanes.is_shared(&lane) {
            self.steer(&lane);
        }
    }

    fn stop(&self, run: RunId, stop: Stop) {
        if let Some(running) = self.runs.get(&run) {
            let decided = running.verdict.stop(stop);
            let lane = &running.info.session;
            tracing::warn!(run_id = %run, %lane, ?stop, decided, "run stopped");
        }
    }

    /// Whether a message that claims the place of another one takes it.
    pub(super) fn drops(&self) -> bool {
        self.queue.drop != DropPolicy::New
    }

    /// Whether the timer has to look earlier than it knows.
    pub(super) fn must_rearm(&mut self) -> bool {
        let next = self.lanes.poll_timeout();
        let is_earlier = next.is_some_and(|at| self.armed.is_none_or(|armed| at < armed));
        if is_earlier {
            self.armed = next;
        }
        is_earlier
    }

    /// When the timer is to look next; from now on it knows.
    pub(super) fn arm(&mut self) -> Option<Instant> {
        self.armed = self.lanes.poll_timeout();
        self.armed
    }

    fn chat_mut(&mut self, run: RunId) -> Option<&mut Chatting> {
        self.runs.get_mut(&run)?.chat.as_mut()
    }
}

impl Running {
    fn adopted(&self) -> Adopted {
        let messages = self.chat.as_ref().and_then(|chat| chat.messages.clone());
        Adopted {
            info: Arc::clone(&self.info),
            log: Arc::clone(&self.log),
            messages,
        }
    }
}

fn collects(run: &Running) -> bool {
    let mode = run.chat.as_ref().map(|chat| chat.mode);
    mode == Some(QueueMode::Collect)
}

fn key_name(scope: &IdempotencyScope) -> KeyName {
    (
        scope.operation,
        Arc::clone(&scope.principal),
        Arc::clone(&scope.key),
    )
}
