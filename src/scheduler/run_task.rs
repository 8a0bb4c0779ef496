//! The one task of a run, from acceptance to the return of its slot.
//!
//! Accept (commit, acknowledge) → wait for the slot → start the agent → copy its events into the
//! log → settle (commit, close the log) → wait until the backend has ended, at most its grace.
//! Owns the backend's stream. The first of agent, deadline and cancellation decides the end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::{AgentTurn, Inbox, Offer, RunContext, Steered, Taken};
use crate::error::ErrorCode;
use crate::events::{Notice, Record};
use crate::ids::SessionId;
use crate::run::{
    AbortCause, Conversation, Entry, EntryBody, Event, FinishReason, Message, OnDisconnect,
    Outcome, PARAGRAPH, RunError, TimeoutPhase, Turn, Usage,
};
use crate::session::{Accepted, BeginRun, Begun, EntryRange, LedgerError, NewRun, Placed};

use super::backend::{BackendStream, Step};
use super::order::{Accept, Commit, LEDGER_WAIT_MAX, Life, Order, SubmitError, Submitted};
use super::queueing::{FoldTurn, Follower, Steering};
use super::recent::{ENTRIES_MAX, Recent};
use super::verdict::{Stop, Verdict};
use super::{PlaceGuard, SchedulerParts};

/// Events a backend may yield before the run lets others go.
const EVENTS_PER_TURN: u32 = 256;

/// When a run may start.
#[derive(Debug)]
pub(super) enum Start {
    /// It holds its slot.
    Now,
    /// Once this says so.
    When(oneshot::Receiver<Begin>),
}

/// How a waiting run begins.
#[derive(Debug)]
pub(super) enum Begin {
    /// It holds its slot; these messages are merged into it.
    Run(Vec<Follower>),
    /// It has left its lane: its message is part of another run. The sender is dropped when its
    /// end is committed.
    Fold(oneshot::Sender<()>),
}

/// Everything the task of a run owns.
#[derive(Debug)]
pub(super) struct RunTask {
    pub(super) order: Box<Order>,
    pub(super) reply: Option<oneshot::Sender<Result<Submitted, SubmitError>>>,
    /// Whether it made an active run end.
    pub(super) interrupted: bool,
    pub(super) verdict: Arc<Verdict>,
    pub(super) start: Start,
    /// Messages steered into it.
    pub(super) inbox: Inbox,
    /// Set once it is acknowledged.
    pub(super) accepted: Option<Arc<AtomicBool>>,
    /// The active run of its lane, when it is to be steered into that.
    pub(super) steer: Option<Steering>,
    /// Dropped last: then the lane is free.
    pub(super) _place: PlaceGuard,
    pub(super) recent: Arc<Recent>,
    pub(super) parts: Arc<SchedulerParts>,
    pub(super) submitted_at: Instant,
    /// The transcript the run writes to, once it is known.
    pub(super) session_id: Option<SessionId>,
    /// Whether an earlier process started it already.
    pub(super) life: Life,
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

/// How the accept step went.
enum AcceptStep {
    /// The run is accepted; stored runs with what was committed.
    Go(Option<Accepted>),
    /// It is not, and the caller knows.
    Refused,
}

impl RunTask {
    pub(super) async fn work(mut self) {
        let accepted = match self.accept().await {
            AcceptStep::Go(accepted) => accepted,
            AcceptStep::Refused => return,
        };
        let mut yielded = Yield::default();
        match self.wait_for_slot().await {
            Turned::Stop(stop) => self.settle(stop.outcome(), &yielded).await,
            Turned::Fold(mut folding) => {
                folding.come().await;
                let outcome = match self.verdict.settle() {
                    Some(stop) => stop.outcome(),
                    None => Outcome::Ok(FinishReason::Folded),
                };
                self.settle(outcome, &yielded).await;
            }
            Turned::Run(followers) => self.run(accepted, followers, &mut yielded).await,
        }
    }

    /// Commits the run if its session is stored, and answers the caller.
    async fn accept(&mut self) -> AcceptStep {
        let commit = match std::mem::replace(&mut self.order.accept, Accept::Ephemeral) {
            Accept::Commit(commit) => commit,
            Accept::Ephemeral => {
                self.acknowledge(None);
                return AcceptStep::Go(None);
            }
            Accept::Recovered { session_id, life } => {
                self.session_id = Some(session_id);
                self.life = life;
                let accepted = Some(Accepted {
                    session_id,
                    placed: None,
                });
                self.acknowledge(accepted.clone());
                return AcceptStep::Go(accepted);
            }
        };
        let begun = bounded(self.parts.ledger.begin_run(self.begin(commit))).await;
        match begun {
            Ok(Begun::New(accepted)) => {
                self.session_id = Some(accepted.session_id);
                if let Some(placed) = &accepted.placed {
                    self.announce_input(placed);
                }
                self.acknowledge(Some(accepted.clone()));
                AcceptStep::Go(Some(accepted))
            }
            Ok(Begun::Existing(record)) => self.refuse(Ok(Submitted::Existing(record))),
            Ok(Begun::Conflict(record)) => self.refuse(Ok(Submitted::Conflict(record))),
            Err(error) => {
                tracing::error!(run_id = %self.order.info.run_id, %error, "run not accepted");
                self.refuse(Err(error.into()))
            }
        }
    }

    fn begin(&self, commit: Commit) -> BeginRun {
        let info = &self.order.info;
        let starts_now = matches!(self.start, Start::Now);
        BeginRun {
            lease: self.parts.ledger.lease(),
            run: NewRun {
                run_id: info.run_id,
                wire_id: info.wire_id.clone(),
                session: info.session.clone(),
                agent: info.agent.clone(),
                front: info.front,
                principal: Some(info.owner.principal()),
                idempotency: commit.idempotency,
                accepted_at_ms: info.accepted_at_ms,
                started_at_ms: starts_now.then(|| self.parts.clock.now_ms()),
                resume: commit.resume,
            },
            input: commit.input,
            new_session_id: commit.new_session_id,
            expected_session_id: commit.expected_session_id,
        }
    }

    fn refuse(&mut self, answer: Result<Submitted, SubmitError>) -> AcceptStep {
        if answer.is_err() {
            self.parts.metrics.runs_refused.add_one();
        }
        // First: whoever hears the answer must not find this log any more, which never ends.
        self.parts.logs.forget(&self.order.info);
        if let Some(reply) = self.reply.take() {
            reply.send(answer).ok();
        }
        AcceptStep::Refused
    }

    fn acknowledge(&mut self, accepted: Option<Accepted>) {
        self.parts.metrics.runs_accepted.add_one();
        if let Some(flag) = &self.accepted {
            flag.store(true, Ordering::Release);
        }
        let log = Arc::clone(&self.order.log);
        self.parts.bus.publish(Notice::RunAccepted(log));
        let interrupted = self.interrupted;
        let submitted = Submitted::New {
            accepted,
            interrupted,
        };
        let heard = self
            .reply
            .take()
            .is_some_and(|reply| reply.send(Ok(submitted)).is_ok());
        if !heard && self.order.info.on_disconnect == OnDisconnect::CancelRun {
            self.verdict.stop(Stop::Abort(AbortCause::ClientGone));
        }
    }

    fn announce_input(&self, placed: &Placed) {
        let info = &self.order.info;
        for entry in &placed.input {
            self.parts.bus.publish(Notice::Message {
                session: info.session.clone(),
                agent: info.agent.clone(),
                session_id: placed.session_id,
                entry: Arc::new(entry.clone()),
            });
        }
    }

    /// Waits until it is decided what becomes of the run.
    async fn wait_for_slot(&mut self) -> Turned {
        let signal = self.verdict.signal().clone();
        let mut followers = Vec::new();
        if let Start::When(start) = &mut self.start {
            let offer = match self.steer.take() {
                Some(steering) => steering.offer(&self.order, &signal).await,
                None => None,
            };
            let taken = async {
                match &offer {
                    Some((offer, _turn)) => offer.taken().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = signal.cancelled() => {}
                () = taken => return Turned::Fold(Folding::Steered(offer)),
                begin = start => match begin {
                    Ok(Begin::Run(merged)) => followers = merged,
                    Ok(Begin::Fold(committed)) => {
                        return Turned::Fold(Folding::Merged(committed));
                    }
                    // Whoever should have started it is gone.
                    Err(_lost) => {
                        self.verdict.stop(Stop::Reclaimed);
                    }
                },
            }
            // The agent may have taken the message in the same moment: then it answers it.
            if offer
                .as_ref()
                .is_some_and(|(offer, _turn)| !offer.withdraw())
            {
                return Turned::Fold(Folding::Steered(offer));
            }
        }
        if signal.is_cancelled()
            && let Some(stop) = self.verdict.settle()
        {
            return Turned::Stop(stop);
        }
        let waited = self.submitted_at.elapsed().as_millis();
        let waited_ms = u64::try_from(waited).unwrap_or(u64::MAX);
        self.parts.metrics.queue_wait.observe_ms(waited_ms);
        Turned::Run(followers)
    }

    async fn run(
        mut self,
        accepted: Option<Accepted>,
        followers: Vec<Follower>,
        yielded: &mut Yield,
    ) {
        let turn = match self.prepare(accepted, followers, yielded).await {
            Ok(turn) => turn,
            Err(error) => {
                let outcome = self
                    .verdict
                    .settle()
                    .map_or(Outcome::Error(error), Stop::outcome);
                return self.settle(outcome, yielded).await;
            }
        };
        let started_at_ms = self.parts.clock.now_ms();
        yielded.started_at_ms = Some(started_at_ms);
        self.order.log.append(Record::Started {
            at_ms: started_at_ms,
        });
        self.parts
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
                self.parts.metrics.runs_abandoned.add_one();
            }
            self.parts.backends.abandon();
        }
    }

    /// Marks the run as started and puts together what the agent gets.
    async fn prepare(
        &mut self,
        accepted: Option<Accepted>,
        followers: Vec<Follower>,
        yielded: &mut Yield,
    ) -> Result<AgentTurn, RunError> {
        let mut turn = std::mem::take(&mut self.order.turn);
        let Some(accepted) = accepted else {
            return Ok(AgentTurn {
                turn,
                session: Conversation::default(),
            });
        };
        let placed = match accepted.placed {
            Some(placed) => placed,
            None => self.place().await.map_err(|error| store_failed(&error))?,
        };
        self.session_id = Some(placed.session_id);
        let mut through = placed.entries_before;
        if self.life == Life::Another {
            let asked = self.asked_before(&placed).await;
            (turn.current, through) = asked.map_err(|error| store_failed(&error))?;
        }
        for follower in followers {
            merge(follower, &mut turn).await;
        }
        yielded.placed = placed.input;
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
        if let Some(held) = self.recent.get(transcript, through) {
            return Ok(held);
        }
        let mut session = Conversation::default();
        if through > 0 {
            let range = EntryRange::Newest {
                skip: 0,
                limit: ENTRIES_MAX,
            };
            let key = self.order.info.session.clone();
            let page = bounded(self.parts.ledger.entries(key, range)).await?;
            // After a reset there is another transcript: the run still belongs to the old one.
            if let Some(page) = page.filter(|page| page.session_id == transcript) {
                let entries = page.entries.iter();
                session = entries.filter(|entry| entry.n <= through).collect();
            }
        }
        self.recent.put(transcript, through, session.clone());
        Ok(session)
    }

    async fn place(&self) -> Result<Placed, LedgerError> {
        let ledger = &self.parts.ledger;
        let run = self.order.info.run_id;
        let (lease, now_ms) = (ledger.lease(), self.parts.clock.now_ms());
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
        let page = bounded(self.parts.ledger.entries(key, range)).await?;
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
        self.parts.backends.start(&self.order.agent, turn, context)
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
        let bytes = match &event {
            Event::Text(text) => text.len(),
            Event::ToolCall(delta) => {
                delta.arguments.len() + delta.name.as_deref().map_or(0, str::len)
            }
            Event::Reasoning(_)
            | Event::ToolStart { .. }
            | Event::ToolUpdate { .. }
            | Event::ToolResult { .. }
            | Event::Usage(_)
            | Event::Finished(_) => 0,
        };
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
    /// Its message is part of another run.
    Fold(Folding),
    /// It runs, with these messages merged into it.
    Run(Vec<Follower>),
}

/// How a message became part of another run; dropped when its end is committed.
pub(super) enum Folding {
    /// That run merged it and waits for this.
    Merged(#[expect(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>),
    /// That run took it; it waits for this, and so does the next one it took.
    Steered(Option<(Offer, FoldTurn)>),
}

impl Folding {
    /// Waits until it is its turn to be committed.
    pub(super) async fn come(&mut self) {
        match self {
            Self::Merged(_) | Self::Steered(None) => {}
            Self::Steered(Some((offer, turn))) => {
                // Behind what was answered before it was taken.
                timeout(LEDGER_WAIT_MAX, offer.taken()).await.ok();
                turn.come().await;
            }
        }
    }
}

impl Steering {
    /// Offers the message to the active run of its lane, in its turn; nothing when nobody can take
    /// it.
    async fn offer(
        mut self,
        order: &Order,
        signal: &CancellationToken,
    ) -> Option<(Offer, FoldTurn)> {
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
        Some((offer, self.turn))
    }
}

/// Whether an entry is something an agent is to answer.
const fn is_question(entry: &Entry) -> bool {
    match &entry.body {
        EntryBody::User { .. } | EntryBody::ToolResult { .. } => true,
        EntryBody::Assistant { .. }
        | EntryBody::Tool { .. }
        | EntryBody::Injected { .. }
        | EntryBody::Command { .. }
        | EntryBody::Compaction { .. } => false,
    }
}

/// Takes a waiting message into a turn, once its own run has ended for that.
async fn merge(follower: Follower, turn: &mut Turn) {
    let (committed, done) = oneshot::channel();
    if follower.start.send(Begin::Fold(committed)).is_err() {
        return;
    }
    // The sender is dropped when the end of that run is committed, or has failed.
    timeout(LEDGER_WAIT_MAX, done).await.ok();
    turn.current.extend(follower.messages.iter().cloned());
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
