//! What happens to chat messages for a busy session: steer, collect, interrupt, drop.
//!
//! Only runs that carry a [`Chat`] take part; HTTP and `agent` runs are never merged or dropped
//! (`design.md` §4). Everything here is done by the owner task, except the taking of a steered
//! message, which its [`Offer`](crate::agent::Offer) decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::agent::{Inbox, Steered};
use crate::ids::{RunId, SessionKey};
use crate::run::{AbortCause, Message, QueueMode, Turn};

use super::lanes::{Cancelled, Refusal, Standing};
use super::order::LEDGER_WAIT_MAX;
use super::run_task::Begin;
use super::verdict::Stop;
use super::{Chat, DropPolicy, Order, Owner, QueueConfig, submission};

/// Most dropped messages a summary names; older ones are left out.
const SUMMARY_LINES_MAX: usize = 20;

/// What the owner keeps of a chat run.
#[derive(Debug)]
pub(super) struct Chatting {
    chat: Chat,
    /// Where messages are steered to while it is active.
    steer: mpsc::Sender<Steered>,
    /// Its messages, while they may be merged into another run.
    messages: Option<Arc<Vec<Message>>>,
    /// Set once it is acknowledged: nothing else may be merged.
    accepted: Arc<AtomicBool>,
    /// Previews of the messages whose place it took.
    dropped: Vec<Box<str>>,
    /// The message that was steered into it last.
    steered: Option<Ahead>,
}

/// Where a message is steered to, and its turn among the others that are.
#[derive(Debug)]
pub(super) struct Steering {
    pub(super) to: mpsc::Sender<Steered>,
    pub(super) turn: FoldTurn,
}

/// Keeps the messages that are steered into one run in their order, when they are offered and in
/// the transcript: each is the business of its own task, after the one before it.
#[derive(Debug)]
pub(super) struct FoldTurn {
    before: Option<Ahead>,
    offered: Option<oneshot::Sender<Line>>,
    /// Dropped when the message is in the transcript, or not taken after all.
    _done: oneshot::Sender<()>,
}

/// Whether the messages behind one that is steered may be offered, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// They may: it was offered, or is not there any more.
    Moves,
    /// They may not: there was no room for it, and none of them is to overtake it.
    Stands,
}

/// How far the message ahead is: each ends with its sender.
#[derive(Debug)]
pub(super) struct Ahead {
    offered: oneshot::Receiver<Line>,
    done: oneshot::Receiver<()>,
}

impl FoldTurn {
    /// The turn after `before`, and what the next one waits for.
    pub(super) fn after(before: Option<Ahead>) -> (Self, Ahead) {
        let (offered, is_offered) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let turn = Self {
            before,
            offered: Some(offered),
            _done: done,
        };
        let ahead = Ahead {
            offered: is_offered,
            done: is_done,
        };
        (turn, ahead)
    }

    /// Waits until the message before this one is offered, within bounds; false when this one may
    /// not be offered, because that one found no room.
    pub(super) async fn come_to_offer(&mut self) -> bool {
        let Some(before) = &mut self.before else {
            return true;
        };
        let told = timeout(LEDGER_WAIT_MAX, &mut before.offered).await;
        !matches!(told, Ok(Ok(Line::Stands)))
    }

    /// Lets the next one be offered.
    pub(super) fn offered(&mut self) {
        self.tell(Line::Moves);
    }

    /// Keeps the next one, and those behind it, from being offered.
    pub(super) fn found_no_room(&mut self) {
        self.tell(Line::Stands);
    }

    fn tell(&mut self, line: Line) {
        if let Some(offered) = self.offered.take() {
            // Whoever is behind may be gone, or not there yet.
            offered.send(line).ok();
        }
    }

    /// Waits until the message before this one is in the transcript, within bounds.
    pub(super) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            timeout(LEDGER_WAIT_MAX, before.done).await.ok();
        }
    }
}

impl Chatting {
    /// The owner's part and the agent's part of a run.
    pub(super) fn new(order: &Order, dropped: Vec<Box<str>>) -> (Option<Self>, Inbox) {
        let Some(chat) = order.chat.clone() else {
            return (None, Inbox::default());
        };
        let (steer, inbox) = Inbox::new();
        let merges = chat.mode == QueueMode::Collect;
        let chatting = Self {
            chat,
            steer,
            messages: merges.then(|| Arc::new(order.turn.current.clone())),
            accepted: Arc::default(),
            dropped,
            steered: None,
        };
        (Some(chatting), inbox)
    }

    /// The flag its task sets.
    pub(super) fn accepted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.accepted)
    }
}

/// A message that is merged into a run that starts.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) messages: Arc<Vec<Message>>,
    /// Tells its task to fold.
    pub(super) start: oneshot::Sender<Begin>,
}

/// How long a lane is to wait for more messages like this one.
pub(super) fn hold_back(order: &Order, queue: &QueueConfig) -> Option<Duration> {
    let collects = order
        .chat
        .as_ref()
        .is_some_and(|chat| chat.mode == QueueMode::Collect);
    collects.then_some(queue.debounce)
}

/// Puts a short list of what was dropped in front of a message.
pub(super) fn mention(dropped: &[Box<str>], turn: &mut Turn) {
    if dropped.is_empty() {
        return;
    }
    let Some(first) = turn.current.first_mut() else {
        return;
    };
    let lines: Vec<String> = dropped
        .iter()
        .map(|preview| format!("- {preview}"))
        .collect();
    first.text = format!(
        "[Messages that were dropped while the agent was busy]\n{}\n\n{}",
        lines.join("\n"),
        first.text
    );
}

impl Owner {
    /// For `interrupt`: ends the chat runs of the lane; true when an active one was among them.
    pub(super) fn make_way(&mut self, order: &Order) -> bool {
        let interrupts = order
            .chat
            .as_ref()
            .is_some_and(|chat| chat.mode == QueueMode::Interrupt);
        if !interrupts {
            return false;
        }
        let lane = &order.info.session;
        let active = self.lanes.active_in(lane);
        let mut interrupted = false;
        // What waits goes first, so that nothing takes the lane of what is ended.
        for run in self.lanes.runs_in(lane).into_iter().rev() {
            if self
                .runs
                .get(&run)
                .is_some_and(|running| running.chat.is_some())
            {
                self.cancel(run, AbortCause::Replaced);
                interrupted |= active == Some(run);
            }
        }
        interrupted
    }

    /// Takes the run into its lane, dropping the oldest waiting chat message when the lane is full
    /// and the policy says so. Returns previews of what was dropped, for the summary.
    pub(super) fn admit(&mut self, order: &Order) -> Result<(Standing, Vec<Box<str>>), Refusal> {
        let now = Instant::now();
        match self.lanes.submit(submission(order, &self.queue), now) {
            Ok(standing) => Ok((standing, Vec::new())),
            Err(Refusal::LaneFull) if order.chat.is_some() => {
                let dropped = self
                    .drop_oldest(&order.info.session)
                    .ok_or(Refusal::LaneFull)?;
                let standing = self.lanes.submit(submission(order, &self.queue), now)?;
                Ok((standing, dropped))
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn drop_oldest(&mut self, lane: &SessionKey) -> Option<Vec<Box<str>>> {
        let summarizes = match self.queue.drop {
            DropPolicy::New => return None,
            DropPolicy::Old => false,
            DropPolicy::Summarize => true,
        };
        let waiting = self.lanes.waiting_in(lane);
        let oldest = waiting.into_iter().find(|run| {
            self.runs
                .get(run)
                .is_some_and(|running| running.chat.is_some())
        })?;
        let chatting = self
            .runs
            .get(&oldest)
            .and_then(|running| running.chat.as_ref())?;
        let mut previews = chatting.dropped.clone();
        previews.push(chatting.chat.preview.clone());
        let excess = previews.len().saturating_sub(SUMMARY_LINES_MAX);
        previews.drain(..excess);
        self.cancel(oldest, AbortCause::Dropped);
        Some(if summarizes { previews } else { Vec::new() })
    }

    /// Where a message in `steer` mode is handed to: the active run of its lane, if that is a chat
    /// run too.
    pub(super) fn steer_target(&mut self, order: &Order) -> Option<Steering> {
        let steers = order
            .chat
            .as_ref()
            .is_some_and(|chat| chat.mode == QueueMode::Steer);
        if !steers {
            return None;
        }
        let active = self.lanes.active_in(&order.info.session)?;
        let chatting = self.runs.get_mut(&active)?.chat.as_mut()?;
        let (turn, ahead) = FoldTurn::after(chatting.steered.take());
        chatting.steered = Some(ahead);
        Some(Steering {
            to: chatting.steer.clone(),
            turn,
        })
    }

    /// Starts a run that waited, with what is merged into it.
    pub(super) fn begin(&mut self, run: RunId) {
        let followers = self.followers(run);
        let start = self
            .runs
            .get_mut(&run)
            .and_then(|running| running.start.take());
        if let Some(start) = start {
            // A task that is gone gives its place back by its guard.
            start.send(Begin::Run(followers)).ok();
        }
    }

    /// For `collect`: the messages right behind this one that wait in the same mode.
    fn followers(&mut self, head: RunId) -> Vec<Follower> {
        let Some(running) = self.runs.get(&head) else {
            return Vec::new();
        };
        if !collects(running.chat.as_ref()) {
            return Vec::new();
        }
        let lane = running.info.session.clone();
        let mut followers = Vec::new();
        for run in self.lanes.waiting_in(&lane) {
            let Some(follower) = self.follower(run) else {
                break;
            };
            followers.push(follower);
        }
        followers
    }

    fn follower(&mut self, run: RunId) -> Option<Follower> {
        let running = self.runs.get_mut(&run)?;
        let chatting = running
            .chat
            .as_ref()
            .filter(|chatting| collects(Some(chatting)))?;
        if !chatting.accepted.load(Ordering::Acquire) {
            return None;
        }
        let messages = Arc::clone(chatting.messages.as_ref()?);
        let start = running.start.take()?;
        match self.lanes.cancel(run, Instant::now()) {
            Cancelled::Waiting => Some(Follower { messages, start }),
            Cancelled::Active | Cancelled::Unknown => {
                running.verdict.stop(Stop::Reclaimed);
                None
            }
        }
    }
}

fn collects(chatting: Option<&Chatting>) -> bool {
    chatting.is_some_and(|chatting| chatting.chat.mode == QueueMode::Collect)
}
