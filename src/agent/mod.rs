//! What an agent is to the gateway: something that turns a conversation into a stream of events.
//!
//! Built-in backends are [`sim`] and [`model`]. A backend knows nothing of lanes, wire formats or
//! storage; it gets a turn and a [`RunContext`] and yields [`run::Event`]s. [`discover`] looks for
//! model servers that could be connected.

mod by_model;
mod discover;
pub mod model;
mod rng;
pub mod sim;
mod status;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ids::{RunId, SessionKey, WireId};
use crate::run::{self, Conversation, Event, Message, ModelRef, RunError};

pub use by_model::ByModel;
pub use discover::{Found, LocalServer, SEARCH_TIME_MAX, Search, discover};

/// Most steered messages that wait for one running agent.
pub const INBOX_MESSAGES_MAX: usize = 20;

/// What an agent yields: events until `Event::Finished`, or one failure that ends the stream.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, RunError>> + Send>>;

/// A backend that answers turns.
///
/// # Contract
/// * A stream ends with [`Event::Finished`], with an `Err`, or because it was dropped.
/// * Dropping the stream stops all work for the run and closes what it opened.
/// * When [`RunContext::cancel`] fires the stream should end soon; what it yields later is ignored,
///   and it is dropped after the abort grace.
/// * `run` itself must not block and must not fail: failures travel in the stream.
pub trait Agent: Send + Sync + fmt::Debug {
    /// Starts one turn.
    fn run(&self, turn: AgentTurn, context: RunContext) -> EventStream;

    /// The model this agent uses when the turn names none.
    fn model(&self) -> ModelRef;

    /// Where the stream is polled.
    fn isolation(&self) -> Isolation {
        Isolation::Task
    }
}

/// Where a backend's stream is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// In the run's own task: only for backends that are known to yield (the built-in ones).
    Inline,
    /// In a task of its own on the backend runtime, so that a backend that never yields holds up
    /// neither the scheduler nor any connection.
    Task,
}

/// What an agent is to answer.
#[derive(Clone, Debug, Default)]
pub struct AgentTurn {
    /// The turn as the caller wrote it.
    pub turn: run::Turn,
    /// The stored conversation before it, oldest first.
    pub session: Conversation,
}

/// What surrounds one turn.
#[derive(Debug)]
pub struct RunContext {
    /// The run.
    pub run_id: RunId,
    /// The id peers know it by.
    pub wire_id: WireId,
    /// The session it belongs to.
    pub session: SessionKey,
    /// When the gateway will cut the run, if it will.
    pub deadline: Option<Instant>,
    /// Fires when the run is to end.
    pub cancel: CancellationToken,
    /// Messages steered into the run; an agent may ignore it.
    pub inbox: Inbox,
}

/// Messages steered into a running turn; bounded by [`INBOX_MESSAGES_MAX`].
///
/// What an agent yields after it took a message answers that message: in the transcript it comes
/// behind it.
#[derive(Debug, Default)]
pub struct Inbox {
    line: Option<(mpsc::Receiver<Steered>, Arc<Taken>)>,
    /// Of the message that was taken last; those before it are stored before it is.
    last: Option<Arc<Fate>>,
}

/// The messages an agent has taken out of its inbox, for its run, which puts what was answered
/// before into the transcript ahead of them.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// How many there were, in all.
    total: AtomicUsize,
    /// Of the run, which waits for the next one or for what the agent yields.
    waker: AtomicWaker,
    waiting: Mutex<TakenWaiting>,
}

#[derive(Debug, Default)]
struct TakenWaiting {
    /// Those that may not go into the transcript yet, in order: no more than wait in the lane, of
    /// which each is one.
    fates: VecDeque<Arc<Fate>>,
    is_closed: bool,
}

impl Taken {
    /// How many messages were taken so far.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    /// Wakes the run when the next message is taken.
    pub(crate) fn wake_on_take(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Lets the next `count` messages go into the transcript, and waits until they are there.
    ///
    /// # Cancel safety
    /// They go into the transcript all the same.
    pub(crate) async fn place(&self, count: usize) {
        let mut last = None;
        {
            let mut waiting = self.lock();
            for _ in 0..count {
                let Some(fate) = waiting.fates.pop_front() else {
                    break;
                };
                fate.is_taken.cancel();
                last = Some(fate);
            }
        }
        if let Some(last) = last {
            last.is_stored.cancelled().await;
        }
    }

    /// Has the agent take no more; returns how many are left that may not go into the transcript.
    pub(crate) fn close(&self) -> usize {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.fates.len()
    }

    /// Takes the next message that was not withdrawn.
    fn take(&self, messages: &mut mpsc::Receiver<Steered>) -> Option<Steered> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return None;
        }
        let taken = std::iter::from_fn(|| messages.try_recv().ok())
            .find(|steered| *steered.fate.taken.get_or_init(|| true))?;
        waiting.fates.push_back(Arc::clone(&taken.fate));
        self.total.fetch_add(1, Ordering::Release);
        drop(waiting);
        self.waker.wake();
        Some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, TakenWaiting> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole state.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message steered into a running turn.
#[derive(Debug)]
pub struct Steered {
    /// The wire id of the input.
    pub wire_id: WireId,
    /// The message.
    pub message: Message,
    fate: Arc<Fate>,
}

impl Steered {
    /// A message with its offer, which tells whether the agent took it.
    pub fn new(wire_id: WireId, message: Message) -> (Self, Offer) {
        let fate = Arc::new(Fate::default());
        let steered = Self {
            wire_id,
            message,
            fate: Arc::clone(&fate),
        };
        (steered, Offer { fate })
    }
}

/// What became of a steered message.
#[derive(Debug, Default)]
struct Fate {
    taken: OnceLock<bool>,
    is_taken: CancellationToken,
    is_stored: CancellationToken,
}

/// Whether a steered message was taken or withdrawn: exactly one of the two. It is dropped once it
/// is stored that the message was taken.
#[derive(Debug)]
pub struct Offer {
    fate: Arc<Fate>,
}

impl Offer {
    /// Withdraws the message; false when the agent has taken it.
    pub fn withdraw(&self) -> bool {
        !*self.fate.taken.get_or_init(|| false)
    }

    /// Waits until the agent has taken the message and it may go into the transcript.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn taken(&self) {
        self.fate.is_taken.cancelled().await;
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.fate.is_stored.cancel();
    }
}

impl Inbox {
    /// An inbox and the sender that fills it.
    pub fn new() -> (mpsc::Sender<Steered>, Self) {
        let (sender, messages) = mpsc::channel(INBOX_MESSAGES_MAX);
        let inbox = Self {
            line: Some((messages, Arc::default())),
            last: None,
        };
        (sender, inbox)
    }

    /// The messages that are taken out of it; nothing for an inbox that never has any.
    pub(crate) fn taken(&self) -> Option<Arc<Taken>> {
        self.line
            .as_ref()
            .map(|(_messages, taken)| Arc::clone(taken))
    }

    /// Takes a message that waits, if one does; from then on the agent must answer it.
    pub fn try_take(&mut self) -> Option<Steered> {
        let (messages, taken) = self.line.as_mut()?;
        let steered = taken.take(messages)?;
        self.last = Some(Arc::clone(&steered.fate));
        Some(steered)
    }

    /// Waits until it is stored which messages were taken. An agent that does something for a
    /// message waits for this first: else a crash at this moment lets the message be answered anew.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn stored(&mut self) {
        self.storing().await;
    }

    /// As [`Inbox::stored`], for an agent that is polled and cannot borrow its inbox meanwhile:
    /// what is taken after this call is not waited for.
    ///
    /// # Cancel safety
    /// Dropping the future forgets what there was to wait for.
    pub fn storing(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let last = self.last.take();
        async move {
            if let Some(last) = last {
                last.is_stored.cancelled().await;
            }
        }
    }
}

/// A clonable reference to a backend.
pub type AgentRef = Arc<dyn Agent>;
