//! The requests of one connection that are under way.
//!
//! They begin in the order they came and end in any order. Those that end soon are few, and the
//! connection does not read on while all their places are taken; those that wait for a run have
//! places of their own, and are refused when these are taken. Run starts of one session begin one
//! after the other, so that a session's messages keep their order.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

use crate::ids::WireId;
use crate::protocol::{Close, Reply};

use super::answers::Reserved;

/// Requests that end soon, at once.
const SHORT_MAX: usize = 32;

/// Requests that wait for a run, at once.
const WAITS_MAX: usize = 256;

/// What a request came to.
#[derive(Debug)]
pub(super) struct Done {
    /// The response.
    pub(super) reply: Reply,
    /// What the connection has to do beside sending it.
    pub(super) after: After,
    /// The memory of a large response, held until the connection has it.
    pub(super) reserved: Option<Reserved>,
}

/// What is to be done when a response is sent.
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// An attempt to start a run is over.
    Attempted(Box<Attempt>),
    /// The connection is to be closed: the request took its credential away.
    Close(Close),
}

/// An attempt to start a run that is over.
pub(super) struct Attempt {
    /// The run's wire id, as the caller chose it; events of the run were held back for it.
    pub(super) held: Option<WireId>,
    /// Whether there is such a run now, so that its tool events are for this connection.
    pub(super) is_running: bool,
    /// The session key the caller used, when events of the run must name it that way.
    pub(super) alias: Option<Arc<str>>,
    /// The second response, when there will be one.
    pub(super) second: Option<BoxFuture<'static, Done>>,
}

impl std::fmt::Debug for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Attempted(attempt) => f
                .debug_struct("Attempted")
                .field("held", &attempt.held)
                .field("is_running", &attempt.is_running)
                .field("has_second", &attempt.second.is_some())
                .finish(),
            Self::Close(close) => f.debug_tuple("Close").field(close).finish(),
        }
    }
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            after: After::Nothing,
            reserved: None,
        }
    }
}

/// Every place for requests that wait for a run is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyWaits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Short,
    Wait,
}

/// The requests of one connection that are under way.
#[derive(Debug, Default)]
pub(super) struct Requests {
    running: FuturesUnordered<BoxFuture<'static, (Class, Done)>>,
    short: usize,
    waits: usize,
    /// Wire ids of runs whose start has not been answered.
    held: Vec<WireId>,
    /// For each session with starts under way, the end of the last one.
    turns: HashMap<Box<str>, oneshot::Receiver<()>>,
}

impl Requests {
    /// Whether another request may be read.
    pub(super) const fn has_room(&self) -> bool {
        self.short < SHORT_MAX
    }

    /// Whether another request that waits for a run would be taken.
    pub(super) const fn has_wait_room(&self) -> bool {
        self.waits < WAITS_MAX
    }

    /// Takes a request that ends soon.
    pub(super) fn push_short(&mut self, request: BoxFuture<'static, Done>) {
        self.short += 1;
        self.push(Class::Short, request);
    }

    /// Takes a request that waits for a run.
    ///
    /// # Errors
    /// [`TooManyWaits`]; the request is dropped.
    pub(super) fn push_wait(
        &mut self,
        request: BoxFuture<'static, Done>,
    ) -> Result<(), TooManyWaits> {
        if !self.has_wait_room() {
            return Err(TooManyWaits);
        }
        self.waits += 1;
        self.push(Class::Wait, request);
        Ok(())
    }

    fn push(&mut self, class: Class, request: BoxFuture<'static, Done>) {
        self.running
            .push(Box::pin(async move { (class, request.await) }));
    }

    /// A turn among the requests that change this session, as the caller named it.
    pub(super) fn turn(&mut self, session: &str) -> Turn {
        let (done, end) = oneshot::channel();
        self.turns.retain(|_, end| !is_over(end));
        Turn {
            before: self.turns.insert(session.into(), end),
            _done: done,
        }
    }

    /// Holds events of this run back until its start is answered.
    pub(super) fn hold(&mut self, run: WireId) {
        self.held.push(run);
    }

    /// Lets events of this run through again.
    pub(super) fn release(&mut self, run: &WireId) {
        if let Some(at) = self.held.iter().position(|held| held == run) {
            self.held.swap_remove(at);
        }
    }

    /// Whether events of this run are held back.
    pub(super) fn holds(&self, run: &WireId) -> bool {
        !self.held.is_empty() && self.held.contains(run)
    }

    /// Waits for the next request to end; for ever when none is under way.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Done {
        let Some((class, done)) = self.running.next().await else {
            return std::future::pending().await;
        };
        match class {
            Class::Short => self.short -= 1,
            Class::Wait => self.waits -= 1,
        }
        if self.running.is_empty() {
            // An idle connection keeps nothing.
            *self = Self {
                held: std::mem::take(&mut self.held),
                ..Self::default()
            };
        }
        done
    }
}

fn is_over(end: &mut oneshot::Receiver<()>) -> bool {
    !matches!(end.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

/// A place in the order of the requests that change one session; the next one begins when it is
/// dropped.
#[derive(Debug)]
pub(super) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _done: oneshot::Sender<()>,
}

impl Turn {
    /// Waits until the requests before it are over.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn come(&mut self) {
        if let Some(before) = &mut self.before {
            // The end of the one before is that its sender is dropped.
            before.await.ok();
            self.before = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Done {
        Reply::ok(text, &()).into()
    }

    fn text(done: &Done) -> Reply {
        done.reply.clone()
    }

    #[tokio::test]
    async fn requests_end_in_any_order_and_free_their_places() {
        let mut requests = Requests::default();
        let (release, wait) = oneshot::channel::<()>();
        requests.push_short(Box::pin(async move {
            wait.await.unwrap();
            reply("slow")
        }));
        for _ in 1..SHORT_MAX {
            requests.push_short(Box::pin(async { reply("fast") }));
        }
        assert!(!requests.has_room());
        for _ in 1..SHORT_MAX {
            assert_eq!(text(&requests.next().await), reply("fast").reply);
            assert!(requests.has_room());
        }
        release.send(()).unwrap();
        assert_eq!(text(&requests.next().await), reply("slow").reply);
        assert_eq!(requests.short, 0);
    }

    #[tokio::test]
    async fn waiting_requests_take_no_place_of_short_ones_and_are_bounded() {
        let mut requests = Requests::default();
        for _ in 0..WAITS_MAX {
            let wait = Box::pin(std::future::pending());
            assert_eq!(requests.push_wait(wait), Ok(()));
        }
        let wait = Box::pin(std::future::pending());
        assert_eq!(requests.push_wait(wait), Err(TooManyWaits));
        assert!(requests.has_room());
        requests.push_short(Box::pin(async { reply("x") }));
        assert_eq!(text(&requests.next().await), reply("x").reply);
    }

    #[tokio::test]
    async fn changes_of_one_session_begin_one_after_the_other() {
        let mut requests = Requests::default();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        // The first of session a takes longest to begin.
        for (name, session, yields) in [("a1", "a", 9), ("a2", "a", 0), ("b1", "b", 3)] {
            let mut turn = requests.turn(session);
            let order = Arc::clone(&order);
            requests.push_short(Box::pin(async move {
                turn.come().await;
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                order.lock().unwrap().push(name);
                reply(name)
            }));
        }
        for _ in 0..3 {
            requests.next().await;
        }
        assert_eq!(*order.lock().unwrap(), ["b1", "a1", "a2"]);
        assert!(requests.turns.is_empty());
    }

    #[tokio::test]
    async fn a_start_that_is_dropped_lets_the_next_one_begin() {
        let mut requests = Requests::default();
        let first = requests.turn("a");
        let mut second = requests.turn("a");
        drop(first);
        second.come().await;
    }

    #[test]
    fn events_are_held_for_as_long_as_any_start_is_unanswered() {
        let mut requests = Requests::default();
        let run = WireId::parse("r").unwrap();
        requests.hold(run.clone());
        requests.hold(run.clone());
        requests.release(&run);
        assert!(requests.holds(&run));
        requests.release(&run);
        assert!(!requests.holds(&run));
    }
}
