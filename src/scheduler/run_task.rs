//! The one task of a run, from acceptance to the return of its slot.
//!
//! Accept (commit, acknowledge) → wait for the slot → start the agent → copy its events into the
//! log → settle (commit, close the log) → wait until the backend has ended, at most its grace.
//! Owns the backend's stream. The first of agent, deadline and cancellation decides the end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::{AgentTurn, Inbox, Offer, RunContext, Steered, Taken};
use crate::error::ErrorCode;
use crate::events::{Notice, Record};
use crate::ids::{RunId, SessionId};
use crate::run::{
    AbortCause, Conversation, Entry, EntryBody, Event, FinishReason, Front, Message, Outcome,
    PARAGRAPH, RunError, RunInfo, Storage, TimeoutPhase, Turn, Usage,
};
use crate::session::{EndRun, EntryRange, LedgerError, Placed};

use super::backend::{BackendStream, Step};
use super::core::{Adopted, Entered, Next};
use super::lanes::Standing;
use super::order::{LEDGER_WAIT_MAX, Life, Order, SubmitError, Submitted};
use super::queueing::{FoldTurn, Steering};
use super::recent::ENTRIES_MAX;
use super::verdict::{Stop, Verdict};
use super::{PlaceGuard, Shared};

/// Events a backend may yield before the run lets others go.
const EVENTS_PER_TURN: u32 = 256;

/// Everything the task of a run owns.
#[derive(Debug)]
pub(super) struct RunTask {
    pub(super) order: Order,
    pub(super) reply: Option<oneshot::Sender<Result<Submitted, SubmitError>>>,
    pub(super) verdict: Arc<Verdict>,
    pub(super) standing: Standing,
    /// Messages steered into it.
    inbox: Inbox,
    pub(super) shared: Arc<Shared>,
    submitted_at: Instant,
    /// The transcript the run writes to, once it is known.
    pub(super) session_id: Option<SessionId>,
    /// Whether an earlier process started it already.
    pub(super) life: Life,
    /// Whether its caller can ask for it again.
    pub(super) has_key: bool,
    /// Dropped last: then the lane is free.
    pub(super) place: PlaceGuard,
}

/// What a run has yielded, beside what is in the log.
#[derive(Debug, Default)]
pub(super) struct Yield {
    pub(super) started_at_ms: Option<u64>,
    pub(super) usage: Option<Usage>,
    pub(super) output_bytes: usize,
    /// Where the part of the answer begins that is not in the transcript.
    pub(super) part: Part,
    /// Its input, which is in the transcript just before that part.
    pub(super) placed: Vec<Entry>,
    /// Whether its next text answers a message that was steered in: it begins a paragraph.
    pub(super) begins_paragraph: bool,
}

/// A place in the log of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// Bytes of text before it.
    pub(super) text_from: usize,
    /// Sequence number of the last record before it.
    pub(super) after_seq: u64,
}

impl RunTask {
    pub(super) fn new(
        order: Order,
        entered: Entered,
        reply: oneshot::Sender<Result<Submitted, SubmitError>>,
        shared: Arc<Shared>,
    ) -> Self {
        let place = PlaceGuard {
            run: order.info.run_id,
            shared: Some(Arc::clone(&shared)),
        };
        Self {
            has_key: order.accept.scope().is_some(),
            order,
            reply: Some(reply),
            verdict: entered.verdict,
            standing: entered.standing,
            inbox: entered.inbox,
            shared,
            submitted_at: Instant::now(),
            session_id: None,
            life: Life::First,
            place,
        }
    }

    pub(super) async fn work(mut self) {
        let begun = match self.accept().await {
            Ok(accepted) => accepted,
            Err(answer) => return self.refuse(answer),
        };
        let mut yielded = Yield::default();
        match self.wait_for_slot().await {
            Turned::Stop(stop) => self.never_started(stop, &yielded).await,
            Turned::Folded => self.place.pass_on(),
            Turned::Taken(taken) => self.fold(taken, &yielded).await,
            Turned::Run => self.run(begun, &mut yielded).await,
        }
    }

    pub(super) fn announce_input(&self, placed: &Placed) {
        self.announce_input_of(&self.order.info, placed);
    }

    fn announce_input_of(&self, info: &RunInfo, placed: &Placed) {
        for entry in &placed.input {
            self.shared.parts.bus.publish(Notice::Message {
                session: info.session.clone(),
                agent: info.agent.clone(),
                session_id: placed.session_id,
                entry: Arc::new(entry.clone()),
            });
        }
    }

    /// Waits until it is decided what becomes of the run.
    async fn wait_for_slot(&mut self) -> Turned {
        let run = self.order.info.run_id;
        let signal = self.verdict.signal().clone();
        let mut offered: Option<Taking> = None;
        let mut is_turn = self.standing == Standing::Active;
        while !is_turn && !signal.is_cancelled() {
            match self.shared.with(|core, _now| core.next(run)) {
                Next::Run => is_turn = true,
                Next::Folded => return Turned::Folded,
                Next::Offer(steering) => offered = steering.offer(&self.order, &signal).await,
                Next::Wait => {
                    let taken = offered.as_ref().map(|taking| taking.offer.taken());
                    tokio::select! {
                        biased;
                        () = signal.cancelled() => {}
                        () = some_or_never(taken) => {
                            return offered.map_or(Turned::Folded, Turned::Taken);
                        }
                        () = self.verdict.news() => {}
                    }
                }
            }
        }
        // The agent may have taken the message in the same moment: then it answers it.
        if let Some(taking) = offered
            && !taking.offer.withdraw()
        {
            return Turned::Taken(taking);
        }
        if signal.is_cancelled()
            && let Some(stop) = self.verdict.settle()
        {
            return Turned::Stop(stop);
        }
        let waited = self.submitted_at.elapsed().as_millis();
        let waited_ms = u64::try_from(waited).unwrap_or(u64::MAX);
        self.shared.parts.metrics.queue_wait.observe_ms(waited_ms);
        Turned::Run
    }

    /// Puts the message into the transcript as part of the run that took it, which ends it.
    async fn fold(mut self, taking: Taking, yielded: &Yield) {
        // Behind what was answered before it was taken.
        timeout(LEDGER_WAIT_MAX, taking.offer.taken()).await.ok();
        let Taking {
            into,
            offer,
            mut turn,
        } = taking;
        turn.come().await;
        let (run, now_ms) = (self.order.info.run_id, self.shared.parts.clock.now_ms());
        let ledger = &self.shared.parts.ledger;
        let folded = bounded(ledger.fold_run(ledger.lease(), run, into, now_ms)).await;
        match folded {
            Ok(placed) => {
                self.announce_input(&placed);
                self.session_id = Some(placed.session_id);
                let entries: [&[Entry]; 2] = [&placed.input, &[]];
                self.shared.recent.append(placed.session_id, entries);
                if self.shared.with(|core, now| core.fold(run, into, now)) {
                    return self.place.pass_on();
                }
                // That run has ended meanwhile: the store knows how, and it says so.
                self.settle(Outcome::Interrupted, yielded).await;
            }
            Err(error) => {
                let outcome = Outcome::Error(store_failed(&error));
                self.settle(outcome, yielded).await;
            }
        }
        drop((offer, turn));
    }

    /// Ends a run whose agent never started. Cut by a restart, what can be asked for again stays in
    /// the store as it is: the next process runs it.
    async fn never_started(&self, stop: Stop, yielded: &Yield) {
        let info = &self.order.info;
        let waits = self.standing != Standing::Active && self.life == Life::First;
        let is_asked_for = info.front != Front::Http || self.has_key;
        if stop == Stop::Abort(AbortCause::Restart)
            && info.storage == Storage::Stored
            && waits
            && is_asked_for
        {
            return self.tell(&self.terminal(stop.outcome(), yielded));
        }
        self.settle(stop.outcome(), yielded).await;
    }

    async fn run(mut self, placed: Option<Placed>, yielded: &mut Yield) {
        let turn = match self.prepare(placed, yielded).await {
            Ok(turn) => turn,
            Err(error) => {
                let outcome = self
                    .verdict
                    .settle()
                    .map_or(Outcome::Error(error), Stop::outcome);
                return self.settle(outcome, yielded).await;
            }
        };
        let started_at_ms = self.shared.parts.clock.now_ms();
        yielded.started_at_ms = Some(started_at_ms);
        self.order.log.append(Record::Started {
            at_ms: started_at_ms,
        });
        self.shared
            .parts
            .bus
            .publish(Notice::RunStarted(Arc::clone(&self.order.log)));
        let taken = self.inbox.taken();
        let mut stream = self.start_backend(turn);
        let outcome = self.drive(&mut stream, taken.as_deref(), yielded).await;
        let outcome = self.verdict.settle().map_or(outcome, Stop::outcome);
        self.verdict.signal().cancel();
        // Before the backend is asked to end: it takes no more.
        let left = taken.as_ref().map_or(0, |taken| taken.close());
        let ending = end_backend(stream, self.order.limits.abort_grace);
        let settling = async {
            let outcome = match taken.filter(|_taken| left > 0) {
                Some(taken) => self.place_rest(&taken, left, outcome, yielded).await,
                None => outcome,
            };
            self.settle(outcome, yielded).await;
        };
        let (ended, ()) = tokio::join!(ending, settling);
        if !ended {
            tracing::error!(run_id = %self.order.info.run_id, agent = %self.order.info.agent,
                "the backend did not end in time and was abandoned");
            if self.verdict.abandon() {
                self.shared.parts.metrics.runs_abandoned.add_one();
            }
            self.shared.parts.backends.abandon();
        }
    }

    /// Marks the run as started, makes what is merged into it part of it, and puts together what
    /// the agent gets.
    async fn prepare(
        &mut self,
        placed: Option<Placed>,
        yielded: &mut Yield,
    ) -> Result<AgentTurn, RunError> {
        let mut turn = std::mem::take(&mut self.order.turn);
        if self.order.info.storage == Storage::Ephemeral {
            return Ok(AgentTurn {
                turn,
                session: Conversation::default(),
            });
        }
        let placed = match placed {
            Some(placed) => placed,
            None => self.place().await.map_err(|error| store_failed(&error))?,
        };
        self.session_id = Some(placed.session_id);
        let mut through = placed.entries_before;
        if self.life == Life::Another {
            let asked = self.asked_before(&placed).await;
            (turn.current, through) = asked.map_err(|error| store_failed(&error))?;
        }
        yielded.placed = placed.input;
        self.merge(&mut turn, yielded).await;
        if through > 0 {
            // The session knows the conversation: the caller's own account would double it.
            turn.history.clear();
        }
        let session = self.conversation(placed.session_id, through).await;
        let session = session.map_err(|error| store_failed(&error))?;
        Ok(AgentTurn { turn, session })
    }

    /// The conversation of the first `through` entries: the one the run before it left, or read
    /// from the ledger and held for the next run.
    async fn conversation(
        &self,
        transcript: SessionId,
        through: u64,
    ) -> Result<Conversation, LedgerError> {
        if let Some(held) = self.shared.recent.get(transcript, through) {
            return Ok(held);
        }
        let mut session = Conversation::default();
        if through > 0 {
            let range = EntryRange::Newest {
                skip: 0,
                limit: ENTRIES_MAX,
            };
            let key = self.order.info.session.clone();
            let page = bounded(self.shared.parts.ledger.entries(key, range)).await?;
            // After a reset there is another transcript: the run still belongs to the old one.
            if let Some(page) = page.filter(|page| page.session_id == transcript) {
                let entries = page.entries.iter();
                session = entries.filter(|entry| entry.n <= through).collect();
            }
        }
        self.shared.recent.put(transcript, through, session.clone());
        Ok(session)
    }

    /// Makes the messages right behind a run that waited part of it.
    async fn merge(&self, turn: &mut Turn, yielded: &mut Yield) {
        let run = self.order.info.run_id;
        let merged = self.shared.with(|core, now| core.merge(run, now));
        let ledger = &self.shared.parts.ledger;
        let (lease, now_ms) = (ledger.lease(), self.shared.parts.clock.now_ms());
        let folds = merged
            .iter()
            .map(|one| bounded(ledger.fold_run(lease, one.info.run_id, run, now_ms)));
        for (one, folded) in merged.iter().zip(join_all(folds).await) {
            match folded {
                Ok(placed) => {
                    self.announce_input_of(&one.info, &placed);
                    yielded.placed.extend(placed.input);
                    let messages = one.messages.iter().flat_map(|messages| messages.iter());
                    turn.current.extend(messages.cloned());
                }
                Err(error) => self.disown(one, &error).await,
            }
        }
    }

    /// Ends a run that could not be merged into this one.
    async fn disown(&self, one: &Adopted, error: &LedgerError) {
        let run = one.info.run_id;
        self.shared.with(|core, _now| core.unfold(run));
        let failed = self.terminal(Outcome::Error(store_failed(error)), &Yield::default());
        let ledger = &self.shared.parts.ledger;
        let ended = ledger.end_run(EndRun {
            lease: ledger.lease(),
            run_id: run,
            session: one.info.session.clone(),
            entries: Vec::new(),
            terminal: failed.clone(),
        });
        let told = bounded(ended).await.map_or(failed, |row| row.terminal);
        self.tell_of(&one.info, &one.log, told);
    }

    async fn place(&self) -> Result<Placed, LedgerError> {
        let ledger = &self.shared.parts.ledger;
        let run = self.order.info.run_id;
        let (lease, now_ms) = (ledger.lease(), self.shared.parts.clock.now_ms());
        match self.life {
            Life::First => {
                let placed = bounded(ledger.start_run(lease, run, now_ms)).await?;
                self.announce_input(&placed);
                Ok(placed)
            }
            // Everybody was told of its input in its first life.
            Life::Another => bounded(ledger.restart_run(lease, run, now_ms)).await,
        }
    }

    /// What a run that is started over is to answer, and how many entries are before that: its own
    /// input and the messages that were merged or steered into it, which have ended as part of it,
    /// but for those an earlier life has answered. If it has answered all, it is asked all anew.
    async fn asked_before(&self, placed: &Placed) -> Result<(Vec<Message>, u64), LedgerError> {
        let range = EntryRange::After {
            n: placed.entries_before,
            limit: ENTRIES_MAX,
        };
        let key = self.order.info.session.clone();
        let page = bounded(self.shared.parts.ledger.entries(key, range)).await?;
        let page = page.filter(|page| page.session_id == placed.session_id);
        let entries = page.map_or_else(|| placed.input.clone(), |page| page.entries);
        let run = Some(self.order.info.run_id);
        let answered = entries
            .iter()
            .rposition(|entry| entry.run == run && !is_question(entry));
        let behind = answered.map_or(&*entries, |at| entries.get(at + 1..).unwrap_or_default());
        let asked = if behind.iter().any(is_question) {
            behind
        } else {
            &entries
        };
        let through = asked
            .first()
            .map_or(placed.entries_before, |first| first.n.saturating_sub(1));
        let asked: Conversation = asked.iter().filter(|entry| is_question(entry)).collect();
        Ok((asked.iter().cloned().collect(), through))
    }

    fn start_backend(&mut self, turn: AgentTurn) -> BackendStream {
        let info = &self.order.info;
        let inbox = std::mem::take(&mut self.inbox);
        let context = RunContext {
            run_id: info.run_id,
            wire_id: info.wire_id.clone(),
            session: info.session.clone(),
            deadline: self.order.limits.run.map(|run| Instant::now() + run),
            cancel: self.verdict.signal().clone(),
            inbox,
        };
        self.shared
            .parts
            .backends
            .start(&self.order.agent, turn, context)
    }

    /// Copies events into the log until the run ends by itself, by a deadline or by a stop.
    async fn drive(
        &self,
        stream: &mut BackendStream,
        taken: Option<&Taken>,
        yielded: &mut Yield,
    ) -> Outcome {
        let limits = &self.order.limits;
        let signal = self.verdict.signal();
        let mut stopped = std::pin::pin!(signal.cancelled());
        let mut watch = std::pin::pin!(Watch::new(limits.run, limits.idle));
        let mut budget = EVENTS_PER_TURN;
        loop {
            let item = tokio::select! {
                biased;
                // `settle` finds out which stop it was.
                () = &mut stopped => return Outcome::Interrupted,
                phase = watch.as_mut().expired() => return Outcome::TimedOut(phase),
                item = stream.next() => item,
            };
            let event = match item {
                Some(Ok(Step::Event(event))) => event,
                Some(Ok(Step::Took(messages))) => {
                    if let Err(error) = self.commit_part(yielded).await {
                        return Outcome::Error(store_failed(&error));
                    }
                    let placed = taken.map(|taken| taken.place(messages));
                    tokio::select! {
                        biased;
                        () = &mut stopped => return Outcome::Interrupted,
                        phase = watch.as_mut().expired() => return Outcome::TimedOut(phase),
                        () = some_or_nothing(placed) => {}
                    }
                    watch.as_mut().touch();
                    continue;
                }
                Some(Err(error)) => return Outcome::Error(error),
                None => return Outcome::Error(unfinished()),
            };
            if let Some(outcome) = self.take(event, yielded) {
                return outcome;
            }
            watch.as_mut().touch();
            budget -= 1;
            if budget == 0 {
                budget = EVENTS_PER_TURN;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Lets the messages the agent took and did not answer any more into the transcript, behind
    /// what it said before; returns how the run ends then: what was not stored must not look
    /// complete.
    async fn place_rest(
        &self,
        taken: &Taken,
        left: usize,
        outcome: Outcome,
        yielded: &mut Yield,
    ) -> Outcome {
        let stored = self.commit_part(yielded).await;
        if timeout(LEDGER_WAIT_MAX, taken.place(left)).await.is_err() {
            tracing::error!(run_id = %self.order.info.run_id, left,
                "messages that were taken are not stored yet");
        }
        match stored {
            Ok(()) => outcome,
            Err(error) => Outcome::Error(store_failed(&error)),
        }
    }

    /// Puts one event into the log; returns the end if it is one.
    fn take(&self, event: Event, yielded: &mut Yield) -> Option<Outcome> {
        let log = &self.order.log;
        let bytes = log.output_bytes(&event);
        yielded.output_bytes = yielded.output_bytes.saturating_add(bytes);
        if yielded.output_bytes > self.order.limits.output_bytes_max {
            return Some(Outcome::Error(RunError::new(
                ErrorCode::OutputLimit,
                "output limit",
            )));
        }
        match event {
            Event::Text(text) => {
                if !text.is_empty() && std::mem::take(&mut yielded.begins_paragraph) {
                    log.append_text(PARAGRAPH);
                    yielded.part.text_from = log.text_bytes();
                }
                log.append_text(&text);
            }
            Event::Usage(usage) => {
                yielded.usage = Some(usage);
                log.append(Record::Event(Event::Usage(usage)));
            }
            Event::Finished(reason) => return Some(Outcome::Ok(reason)),
            other @ (Event::Reasoning(_)
            | Event::ToolStart { .. }
            | Event::ToolUpdate { .. }
            | Event::ToolResult { .. }
            | Event::ToolCall(_)) => log.append(Record::Event(other)),
        }
        None
    }
}

/// What became of a run that waited.
enum Turned {
    /// It ends without having run.
    Stop(Stop),
    /// It is part of another run, which ends it.
    Folded,
    /// The active run took its message.
    Taken(Taking),
    /// It runs.
    Run,
}

/// A message that is offered to the active run of its lane.
struct Taking {
    into: RunId,
    offer: Offer,
    turn: FoldTurn,
}

impl Steering {
    /// Offers the message to the active run of its lane, in its turn; nothing when nobody can take
    /// it.
    async fn offer(mut self, order: &Order, signal: &CancellationToken) -> Option<Taking> {
        let may_offer = tokio::select! {
            biased;
            () = signal.cancelled() => return None,
            may_offer = self.turn.come_to_offer() => may_offer,
        };
        if !may_offer {
            self.turn.found_no_room();
            return None;
        }
        let message = order.turn.current.last()?.clone();
        let (steered, offer) = Steered::new(order.info.wire_id.clone(), message);
        if self.to.try_send(steered).is_err() {
            self.turn.found_no_room();
            return None;
        }
        self.turn.offered();
        Some(Taking {
            into: self.into,
            offer,
            turn: self.turn,
        })
    }
}

/// Whether an entry is something an agent is to answer.
const fn is_question(entry: &Entry) -> bool {
    match &entry.body {
        EntryBody::User { withheld, .. } | EntryBody::ToolResult { withheld, .. } => !*withheld,
        EntryBody::Assistant { .. }
        | EntryBody::Tool { .. }
        | EntryBody::Injected { .. }
        | EntryBody::Command { .. }
        | EntryBody::Compaction { .. } => false,
    }
}

impl Stop {
    fn outcome(self) -> Outcome {
        match self {
            Self::Abort(cause) => Outcome::Aborted(cause),
            Self::WaitedTooLong => Outcome::TimedOut(TimeoutPhase::Queue),
            Self::Reclaimed => Outcome::TimedOut(TimeoutPhase::Run),
        }
    }
}

/// Watches the deadline of a run and the silence of its agent with one timer.
#[pin_project::pin_project]
struct Watch {
    deadline: Option<Instant>,
    idle: Option<Duration>,
    last_event: Instant,
    #[pin]
    timer: Sleep,
}

impl Watch {
    fn new(run: Option<Duration>, idle: Option<Duration>) -> Self {
        /// When nothing is to be watched; the timer is set again when it fires.
        const FAR: Duration = Duration::from_hours(24);
        let now = Instant::now();
        let first = [run, idle].into_iter().flatten().min().unwrap_or(FAR);
        let deadline = run.map(|run| now + run);
        Self {
            deadline,
            idle,
            last_event: now,
            timer: sleep(first),
        }
    }

    fn touch(self: Pin<&mut Self>) {
        *self.project().last_event = Instant::now();
    }

    /// Waits for the first deadline that really passes.
    async fn expired(mut self: Pin<&mut Self>) -> TimeoutPhase {
        loop {
            self.as_mut().project().timer.await;
            let this = self.as_mut().project();
            let now = Instant::now();
            if this.deadline.is_some_and(|deadline| now >= deadline) {
                return TimeoutPhase::Run;
            }
            let silent_at = this.idle.map(|idle| *this.last_event + idle);
            if silent_at.is_some_and(|at| now >= at) {
                return TimeoutPhase::Idle;
            }
            let next = [*this.deadline, silent_at].into_iter().flatten().min();
            this.timer
                .reset(next.unwrap_or(now + Duration::from_hours(24)));
        }
    }
}

/// Lets a cancelled backend end; false when it did not within its grace. What it still yields is
/// thrown away: the log is closed.
async fn end_backend(mut stream: BackendStream, grace: Duration) -> bool {
    let ended = async {
        // A backend that floods must not keep the deadline from being looked at.
        for item in 1_u32.. {
            match stream.next().await {
                Some(Ok(Step::Event(Event::Finished(_))) | Err(_)) | None => return,
                Some(Ok(_)) if item % EVENTS_PER_TURN == 0 => tokio::task::yield_now().await,
                Some(Ok(_)) => {}
            }
        }
    };
    timeout(grace, ended).await.is_ok()
}

/// An operation of the ledger that takes no longer than [`LEDGER_WAIT_MAX`].
pub(super) async fn bounded<T>(
    operation: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, LedgerError> {
    match timeout(LEDGER_WAIT_MAX, operation).await {
        Ok(result) => result,
        Err(_elapsed) => Err(LedgerError::Busy),
    }
}

pub(super) fn store_failed(error: &LedgerError) -> RunError {
    tracing::error!(%error, "the ledger failed during a run");
    RunError::new(
        ErrorCode::StoreFailed,
        "the conversation could not be stored",
    )
}

async fn some_or_never(future: Option<impl Future<Output = ()>>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn some_or_nothing(future: Option<impl Future<Output = ()>>) {
    if let Some(future) = future {
        future.await;
    }
}

fn unfinished() -> RunError {
    RunError::new(
        ErrorCode::AgentFailed,
        "the agent stopped without finishing its answer",
    )
}

/// Whether an answer that ended like this is complete.
pub(super) const fn stop_reason(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok(FinishReason::Stop | FinishReason::Folded) => "stop",
        Outcome::Ok(FinishReason::Length) => "length",
        Outcome::Ok(FinishReason::ToolCalls) => "toolUse",
        Outcome::Error(_) => "error",
        Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted => "aborted",
    }
}
