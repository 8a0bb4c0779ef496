//! The requests of one connection that are under way.
//!
//! They begin in the order they came and end in any order. Those that end soon are few, and the
//! connection does not read on while all their places are taken; those that wait for a run have
//! places of their own, and are refused when these are taken. Run starts of one session begin one
//! after the other, so that a session's messages keep their order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ids::WireId;
use crate::protocol::{Close, Reply};

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
        }
    }
}

/// Every place for requests that wait for a run is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyWaits;

/// How long the end of a run stays behind the acknowledgement of the request that asked for it, at
/// least, for clients in front of people: the official ones never notice the end of a run that they
/// read together with its acknowledgement.
const END_AFTER_ACK: Duration = Duration::from_millis(20);

/// How long the end of a run waits, at most, for the pong that tells that its acknowledgement was
/// read: a client that was busy for longer than [`END_AFTER_ACK`] would read both together.
const PONG_WAIT_MAX: Duration = Duration::from_secs(2);

/// Runs whose end waits for a pong, at once; beyond that the end of the oldest waits no longer.
const ANSWERED_MAX: usize = 64;

/// What the payload of a ping behind an acknowledgement begins with.
const ACK_PING: &[u8] = b"ack";

/// A run whose start was answered just now.
#[derive(Debug)]
struct Answered {
    run: WireId,
    /// The ping behind the acknowledgement, and where it ends in what is written to the peer.
    ping: Option<(u32, u64)>,
    written: Option<Instant>,
    is_read: bool,
}

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
    /// Runs whose start was answered just now, so that their end must wait.
    answered: Vec<Answered>,
    /// Number of the last ping behind an answer.
    pings: u32,
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

    /// Keeps the end of this run, whose start is answered now, behind the answer.
    pub(super) fn hold_end(&mut self, run: WireId) {
        if self.answered.len() >= ANSWERED_MAX {
            self.answered.remove(0);
        }
        self.answered.push(Answered {
            run,
            ping: None,
            written: None,
            is_read: false,
        });
    }

    /// Whether the end of this run is held back.
    pub(super) fn holds_end(&self, run: &WireId) -> bool {
        self.answered.iter().any(|answered| answered.run == *run)
    }

    /// The ping to send behind the answers that were handed to the outbox since the last one.
    pub(super) fn next_ping(&mut self) -> Option<Bytes> {
        if self.answered.iter().all(|answered| answered.ping.is_some()) {
            return None;
        }
        self.pings = self.pings.wrapping_add(1);
        Some([ACK_PING, &self.pings.to_be_bytes()].concat().into())
    }

    /// Notes that the ping is in the outbox, which ends at `position`.
    pub(super) fn note_ping(&mut self, position: u64) {
        for answered in &mut self.answered {
            answered.ping.get_or_insert((self.pings, position));
        }
    }

    /// Notes a pong: whatever was answered before its ping was read.
    pub(super) fn handle_pong(&mut self, payload: &[u8]) {
        let number = payload.strip_prefix(ACK_PING).map(<[u8; 4]>::try_from);
        let Some(Ok(number)) = number else {
            return;
        };
        let number = u32::from_be_bytes(number);
        for answered in &mut self.answered {
            answered.is_read |= answered.ping.is_some_and(|(ping, _)| ping <= number);
        }
    }

    /// When the next end may go out.
    pub(super) fn next_end(&mut self, is_written: impl Fn(u64) -> bool) -> Option<Instant> {
        for answered in &mut self.answered {
            if answered.written.is_none()
                && answered
                    .ping
                    .is_some_and(|(_, position)| is_written(position))
            {
                answered.written = Some(Instant::now());
            }
        }
        self.answered.iter().filter_map(Answered::end).min()
    }

    /// Lets the ends go out whose time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if !self.answered.is_empty() {
            let is_early = |it: &Answered| it.end().is_none_or(|end| now < end);
            self.answered.retain(is_early);
            self.answered.shrink_to_fit();
        }
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
                answered: std::mem::take(&mut self.answered),
                pings: self.pings,
                ..Self::default()
            };
        }
        done
    }
}

impl Answered {
    /// When its end may go out, once that is known.
    fn end(&self) -> Option<Instant> {
        let wait = if self.is_read {
            END_AFTER_ACK
        } else {
            PONG_WAIT_MAX
        };
        self.written.map(|written| written + wait)
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

    /// Says when the end of a run may go out whose acknowledgement is written now.
    fn acknowledged(requests: &mut Requests, run: &WireId) -> Bytes {
        requests.hold_end(run.clone());
        let ping = requests.next_ping().unwrap();
        requests.note_ping(10);
        assert_eq!(requests.next_ping(), None);
        assert!(requests.next_end(|position| position == 10).is_some());
        ping
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_waits_until_its_acknowledgement_was_read_and_some_time_more() {
        let mut requests = Requests::default();
        let (a, b) = (WireId::parse("a").unwrap(), WireId::parse("b").unwrap());
        let start = Instant::now();
        acknowledged(&mut requests, &a);
        let second = acknowledged(&mut requests, &b);
        requests.handle_pong(b"something else");
        requests.handle_timeout(start + END_AFTER_ACK);
        assert!(requests.holds_end(&a) && requests.holds_end(&b));
        // The pong to the second ping tells that what was before the first was read, too.
        requests.handle_pong(&second);
        assert_eq!(requests.next_end(|_| true), Some(start + END_AFTER_ACK));
        requests.handle_timeout(start + END_AFTER_ACK - Duration::from_millis(1));
        assert!(requests.holds_end(&a));
        requests.handle_timeout(start + END_AFTER_ACK);
        assert!(!requests.holds_end(&a) && !requests.holds_end(&b));
        assert_eq!(requests.next_end(|_| true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_without_pongs_gets_its_end_all_the_same() {
        let mut requests = Requests::default();
        let run = WireId::parse("a").unwrap();
        requests.hold_end(run.clone());
        assert!(requests.next_ping().is_some());
        requests.note_ping(10);
        assert_eq!(requests.next_end(|_position| false), None, "not written");
        let end = Instant::now() + PONG_WAIT_MAX;
        assert_eq!(requests.next_end(|_| true), Some(end));
        requests.handle_timeout(end);
        assert!(!requests.holds_end(&run));
    }

    #[test]
    fn a_peer_that_starts_runs_faster_than_it_answers_pings_takes_bounded_room() {
        let mut requests = Requests::default();
        let run = |n: usize| WireId::parse(&format!("r{n}")).unwrap();
        for n in 0..=ANSWERED_MAX {
            requests.hold_end(run(n));
        }
        assert_eq!(requests.answered.len(), ANSWERED_MAX);
        assert!(!requests.holds_end(&run(0)));
        assert!(requests.holds_end(&run(1)) && requests.holds_end(&run(ANSWERED_MAX)));
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
