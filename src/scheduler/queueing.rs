//! What a chat message is to its lane: what it may do there, and its turn among those that are
//! steered into the same run.
//!
//! Only runs that carry a [`Chat`] take part; HTTP and `agent` runs are never merged or dropped
//! (`design.md` §4). What becomes of a message is decided by the core, but for the taking of a
//! steered one, which its [`Offer`](crate::agent::Offer) decides.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::agent::{Inbox, Steered};
use crate::ids::RunId;
use crate::run::{Message, QueueMode, Turn};

use super::order::{Chat, LEDGER_WAIT_MAX, Order};

/// Most dropped messages a summary names; older ones are left out.
const SUMMARY_LINES_MAX: usize = 20;

/// What is kept of a chat run.
#[derive(Debug)]
pub(super) struct Chatting {
    chat: Chat,
    /// How it is queued; not steered, merged or interrupting before it is accepted.
    pub(super) mode: QueueMode,
    /// Where messages are steered to while it is active.
    steer: mpsc::Sender<Steered>,
    /// Its messages, while they may be merged into another run.
    pub(super) messages: Option<Arc<Vec<Message>>>,
    /// Previews of the messages whose place it took.
    pub(super) dropped: Vec<Box<str>>,
    /// The message that was steered into it last.
    steered: Option<Ahead>,
    /// Whether it is decided if its message is offered to an active run: that is asked once.
    pub(super) was_considered: bool,
    /// To whom it is offered, until its task knows.
    pub(super) steering: Option<Steering>,
}

/// Where a message is steered to, and its turn among the others that are.
#[derive(Debug)]
pub(super) struct Steering {
    /// The run.
    pub(super) into: RunId,
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
    /// The core's part and the agent's part of a run.
    pub(super) fn new(order: &Order) -> (Option<Self>, Inbox) {
        let Some(chat) = order.chat.clone() else {
            return (None, Inbox::default());
        };
        let (steer, inbox) = Inbox::new();
        let chatting = Self {
            chat,
            mode: QueueMode::Followup,
            steer,
            messages: None,
            dropped: Vec::new(),
            steered: None,
            was_considered: false,
            steering: None,
        };
        (Some(chatting), inbox)
    }

    /// What a summary says once it is dropped, with what it had taken the place of.
    pub(super) fn previews(&self) -> Vec<Box<str>> {
        let mut previews = self.dropped.clone();
        previews.push(self.chat.preview.clone());
        let excess = previews.len().saturating_sub(SUMMARY_LINES_MAX);
        previews.drain(..excess);
        previews
    }

    /// Where the next message that is steered into it goes; `run` is its own.
    pub(super) fn steering(&mut self, run: RunId) -> Steering {
        let (turn, ahead) = FoldTurn::after(self.steered.take());
        self.steered = Some(ahead);
        Steering {
            into: run,
            to: self.steer.clone(),
            turn,
        }
    }
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
