//! One native connection: the one task that owns its socket, its protocol state, its timers and its
//! place in the feed.
//!
//! Each turn of the loop carries out what the protocol state asks for, takes what is ready from the
//! feed, and waits for whatever comes first; what was gathered goes out in one write. Knows no
//! method: requests are carried out by [`super::methods`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::auth::{Admitted, AuthError, Head};
use crate::ids::{ConnectionId, WireId};
use crate::protocol::{
    AuthDecision, Challenge, Close, Connect, FRAME_BYTES_MAX, Gate, Machine, MachineConfig, Output,
    PREAUTH_FRAME_BYTES_MAX, PREAUTH_TOTAL_BYTES_MAX, Reply, Request, server_busy,
};
use crate::shutdown::Phase;
use crate::transport::io_budget::InboundLimits;
use crate::transport::listener::Place;
use crate::transport::shares::Share;

use super::answers::{ConnectionBudget, Reserved};
use super::ends::Ends;
use super::event::{Event, Sequel};
use super::feed::Cursor;
use super::handshake::{self, Peer};
use super::interest::Follow;
use super::keepalive::{self, Keepalive};
use super::methods::{self, Served};
use super::native::{Native, as_u64};
use super::outbox::{Outbox, Overflow};
use super::registry::{CloseHandle, Registration};
use super::requests::{After, Attempt, Done, Requests};
use super::runs::Watch;
use super::socket::{Incoming, Socket, SocketError, SocketLimits, Turn};
use super::viewer::Viewer;

/// Waiting bytes from which on nothing more is read or taken from the feed for this peer.
const HIGH_WATER_BYTES: usize = 64 * 1024;

/// Events taken from the feed at once.
const BATCH_MAX: usize = 64;

/// Answers that may wait behind the end of a run; then no other request is finished.
const LATE_MAX: usize = 32;

/// How long a peer may take to answer a close frame (`protocol-facts` §1.5).
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Bytes of frame headers that may come with what a peer may send before it is let in.
const HEADER_ALLOWANCE_BYTES: usize = 1024;

/// What an upgrade hands to the connection.
#[derive(Debug)]
pub(super) struct Upgrade<S> {
    /// The socket.
    pub(super) io: S,
    /// What came in behind the request.
    pub(super) leftover: Bytes,
    /// The head of the request.
    pub(super) head: Head,
    /// The socket's place among the unauthenticated ones of its address.
    pub(super) preauth: Share,
    /// The socket's place among all connections.
    pub(super) place: Arc<Place>,
}

/// One native connection.
pub(super) struct Connection<S> {
    native: Arc<Native>,
    id: ConnectionId,
    socket: Socket<S>,
    machine: Machine,
    handle: Arc<CloseHandle>,
    timer: Timer,
    stage: Stage,
    _place: Arc<Place>,
}

enum Stage {
    /// The peer has not been let in.
    Handshake(Box<Entrance>),
    /// The peer was let in.
    Open(Box<Open>),
}

/// What is only needed until the peer was let in.
struct Entrance {
    head: Arc<Head>,
    /// What the peer was challenged with.
    nonce: Arc<str>,
    deciding: Option<BoxFuture<'static, Decided>>,
    _place: Share,
}

/// How an authentication ended.
struct Decided {
    connect: Box<Connect>,
    outcome: Result<Admitted, AuthError>,
}

/// What a peer that was let in has.
pub(super) struct Open {
    pub(super) peer: Arc<Peer>,
    pub(super) viewer: Viewer,
    pub(super) requests: Requests,
    /// Keeps the runs this connection shows projected.
    pub(super) watches: Vec<Watch>,
    /// Counts this connection among those who follow sessions.
    pub(super) follows: Vec<Follow>,
    cursor: Cursor<Event>,
    /// Events taken from the feed and not handed on yet.
    batch: VecDeque<Arc<Event>>,
    /// Ends that wait until the acknowledgement of their run was read.
    ends: Ends,
    /// Answers that wait behind such an end, and whose end it is.
    late: VecDeque<(WireId, Reply, Option<Reserved>)>,
    /// What its large answers may hold.
    pub(super) answers: ConnectionBudget,
    /// Whether the peer is so far behind that it loses what may be lost.
    is_shedding: bool,
    /// Whether it was told the goodbye; what has been answered still goes out.
    is_leaving: bool,
    keepalive: Keepalive,
    presence: Option<Arc<str>>,
    native: Arc<Native>,
    _registration: Registration,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(key) = &self.presence {
            let now_ms = self.native.clock.now_ms();
            self.native.presence.disconnect(key, now_ms, Instant::now());
        }
    }
}

/// How a connection ends.
#[derive(Debug)]
enum End {
    /// We close it.
    Close(Close),
    /// The peer broke the WebSocket protocol.
    Violation(u16, &'static str),
    /// The peer closed it; its goodbye is answered.
    Parted,
    /// The peer is not there any more.
    Gone,
}

/// What happened next.
enum Step {
    Asked(Close),
    Draining,
    Timer,
    Decided(Decided),
    Done(Done),
    Turn(Result<Turn, SocketError>),
    Feed,
    Lost,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// A connection whose upgrade is done; the challenge goes out first.
    pub(super) fn new(native: Arc<Native>, upgrade: Upgrade<S>) -> Self {
        let total = PREAUTH_TOTAL_BYTES_MAX + HEADER_ALLOWANCE_BYTES;
        let limits = SocketLimits {
            inbound: InboundLimits {
                frame_bytes_max: as_u64(PREAUTH_FRAME_BYTES_MAX),
                total_bytes_max: Some(as_u64(total)),
            },
            message_bytes_max: FRAME_BYTES_MAX,
            outbox_bytes_max: native.config.outbox_bytes_max,
        };
        let config = MachineConfig {
            handshake_timeout: native.config.handshake_timeout,
        };
        let challenge = Challenge {
            nonce: native.ids.random().to_string(),
            ts: native.clock.now_ms(),
        };
        Self {
            id: ConnectionId::from_uuid(native.ids.random()),
            socket: Socket::new(upgrade.io, upgrade.leftover, limits),
            machine: Machine::new(config, &challenge, Instant::now().into_std()),
            handle: Arc::default(),
            timer: Timer::new(),
            stage: Stage::Handshake(Box::new(Entrance {
                head: Arc::new(upgrade.head),
                nonce: challenge.nonce.into(),
                deciding: None,
                _place: upgrade.preauth,
            })),
            native,
            _place: upgrade.place,
        }
    }

    /// Serves the connection until it ends.
    ///
    /// The connection stays in its box and the goodbye gets one of its own: a future holds room for
    /// all that it may ever move or wait for, and an idle connection should hold little.
    pub(super) async fn run(mut self: Box<Self>) {
        let end = loop {
            if let Some(end) = self.carry_out() {
                break end;
            }
            let step = self.step().await;
            if let Some(end) = self.handle(step) {
                break end;
            }
        };
        Box::pin(self.part(end)).await;
    }

    /// Does what the protocol state asks for and hands on what is ready from the feed.
    fn carry_out(&mut self) -> Option<End> {
        loop {
            while let Some(output) = self.machine.poll_output() {
                match output {
                    Output::Send(frame) => {
                        if self.socket.outbox().push_text(frame).is_err() {
                            return Some(End::Close(Close::SlowConsumer));
                        }
                    }
                    Output::Authenticate(connect) => self.authenticate(connect),
                    Output::Request(request) => self.serve(&request),
                    Output::Close(close) => return Some(End::Close(close)),
                }
            }
            if !self.hand_on() && !self.finish_late() && !self.leave() {
                self.ping_behind_answers();
                return None;
            }
        }
    }

    /// Pings the peer behind acknowledgements that are in the outbox now, so that the ends of their
    /// runs can wait for the pong.
    fn ping_behind_answers(&mut self) {
        let Stage::Open(open) = &mut self.stage else {
            return;
        };
        if open.ends.is_empty() {
            return;
        }
        if let Some(ping) = open.ends.next_ping() {
            self.socket.ping(ping);
            open.ends.note_ping(self.socket.outbox().position());
        }
        let outbox = self.socket.outbox();
        open.ends
            .handle_written(|position| outbox.has_written(position), Instant::now());
    }

    /// Sends an answer that waited behind the end of a run; whether there was one.
    fn finish_late(&mut self) -> bool {
        let Stage::Open(open) = &mut self.stage else {
            return false;
        };
        let Some((_run, reply, _reserved)) = open.next_late() else {
            return false;
        };
        self.machine.handle_reply(reply);
        true
    }

    /// Closes a connection that was told the goodbye, behind the answers there are by then; whether
    /// it did.
    fn leave(&mut self) -> bool {
        loop {
            let Stage::Open(open) = &mut self.stage else {
                return false;
            };
            if !open.is_leaving || !self.machine.is_open() {
                return false;
            }
            for (_run, reply, _reserved) in std::mem::take(&mut open.late) {
                self.machine.handle_reply(reply);
            }
            let Some(done) = open.requests.next().now_or_never() else {
                self.machine.close(Close::ServiceRestart);
                return true;
            };
            self.finish_request(done);
        }
    }

    fn authenticate(&mut self, connect: Box<Connect>) {
        if let Stage::Handshake(entrance) = &mut self.stage {
            let auth = Arc::clone(&self.native.auth);
            let head = Arc::clone(&entrance.head);
            let nonce = Arc::clone(&entrance.nonce);
            entrance.deciding = Some(Box::pin(async move {
                let offer = handshake::offer(&connect.params, connect.protocol, &nonce);
                let outcome = auth.connect(&head, &offer).await;
                Decided { connect, outcome }
            }));
        }
    }

    fn serve(&mut self, request: &Request) {
        let Stage::Open(open) = &mut self.stage else {
            return;
        };
        match methods::serve(&self.native, open, request) {
            Served::Now(reply) => self.machine.handle_reply(reply),
            Served::Short(work) => open.requests.push_short(work),
            Served::Wait(work) => {
                if open.requests.push_wait(work).is_err() {
                    let reply = Reply::error(&request.id, &server_busy());
                    self.machine.handle_reply(reply);
                }
            }
        }
    }

    /// Hands on events that are ready in the feed; whether there were any.
    fn hand_on(&mut self) -> bool {
        let Stage::Open(open) = &mut self.stage else {
            return false;
        };
        let outbox = self.socket.outbox();
        let mut handed = false;
        while self.machine.is_open()
            && !open.is_leaving
            && outbox.bytes() < HIGH_WATER_BYTES
            && let Some(event) = open.next_event(&mut self.machine)
        {
            handed = true;
            if open.present(&event, &mut self.machine, outbox).is_err() {
                self.machine.close(Close::SlowConsumer);
            }
            open.is_leaving = event.sequel == Sequel::Close;
        }
        handed
    }

    /// Waits for whatever comes first.
    async fn step(&mut self) -> Step {
        let waiting = self.socket.outbox().bytes();
        let deadline = self.next_deadline();
        self.timer.arm(deadline);
        let Self {
            native,
            socket,
            handle,
            timer,
            stage,
            ..
        } = self;
        let has_room = waiting < HIGH_WATER_BYTES;
        match stage {
            Stage::Handshake(entrance) => tokio::select! {
                biased;
                () = native.drain.reached(Phase::Closing) => Step::Draining,
                () = timer.fired() => Step::Timer,
                decided = some_or_never(entrance.deciding.as_mut()) => Step::Decided(decided),
                turn = socket.turn(has_room) => Step::Turn(turn),
            },
            Stage::Open(open) => {
                let may_read = has_room && open.requests.has_room();
                let is_empty = open.batch.is_empty();
                tokio::select! {
                    biased;
                    close = handle.asked() => Step::Asked(close),
                    () = timer.fired() => Step::Timer,
                    done = open.requests.next(), if has_room && open.late.len() < LATE_MAX => {
                        Step::Done(done)
                    }
                    turn = socket.turn(may_read) => Step::Turn(turn),
                    step = news(&mut open.cursor, is_empty, has_room) => step,
                }
            }
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let handshake = self.machine.poll_timeout().map(Instant::from_std);
        let (keepalive, end) = match &self.stage {
            Stage::Handshake(_) => (None, None),
            Stage::Open(open) => (Some(open.keepalive.deadline()), open.ends.deadline()),
        };
        let timeout = self.native.config.write_timeout;
        let stall = self.socket.outbox().stall_deadline(timeout);
        [handshake, keepalive, end, stall]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle(&mut self, step: Step) -> Option<End> {
        match step {
            Step::Asked(close) => self.machine.close(close),
            Step::Draining => self.machine.close(Close::Draining),
            Step::Timer => return self.handle_timer(),
            Step::Decided(decided) => self.decide(decided),
            Step::Done(done) => self.finish_request(done),
            Step::Turn(Ok(Turn::Incoming(incoming))) => return self.handle_incoming(&incoming),
            Step::Turn(Ok(Turn::Written)) => self.note_written(),
            Step::Turn(Err(error)) => return Some(self.handle_broken(&error)),
            Step::Feed => {}
            Step::Lost => self.machine.close(Close::SlowConsumer),
        }
        None
    }

    fn handle_timer(&mut self) -> Option<End> {
        let now = Instant::now();
        self.machine.handle_timeout(now.into_std());
        let timeout = self.native.config.write_timeout;
        if self.socket.outbox().is_stalled(timeout, now) {
            return Some(End::Close(Close::SlowConsumer));
        }
        let Stage::Open(open) = &mut self.stage else {
            return None;
        };
        open.ends.handle_timeout(now);
        let may_read = open.requests.has_room();
        match open.keepalive.handle_timeout(now, may_read) {
            keepalive::Action::None => {}
            keepalive::Action::Ping(payload) => {
                self.socket.ping(payload);
                open.keepalive
                    .handle_queued(self.socket.outbox().position());
            }
            keepalive::Action::Dead => {
                tracing::debug!(connection_id = %self.id, "the peer answers no ping");
                return Some(End::Gone);
            }
        }
        None
    }

    fn note_written(&mut self) {
        if let Stage::Open(open) = &mut self.stage {
            let outbox = self.socket.outbox();
            open.keepalive
                .handle_written(|position| outbox.has_written(position), Instant::now());
        }
    }

    fn handle_incoming(&mut self, incoming: &Incoming) -> Option<End> {
        let now = Instant::now().into_std();
        if matches!(self.stage, Stage::Handshake(_)) {
            self.machine.set_gate(gate(self.native.drain.phase()));
        }
        match incoming {
            Incoming::Text(text) => self.machine.handle_text(text.as_str(), now),
            Incoming::Binary(bytes) => self.machine.handle_binary(bytes, now),
            Incoming::Pong(payload) => {
                if let Stage::Open(open) = &mut self.stage {
                    open.keepalive.handle_pong(payload);
                    if let Some(position) = open.ends.handle_pong(payload) {
                        open.keepalive.handle_later_pong(position);
                    }
                }
            }
            Incoming::Ended => return Some(End::Parted),
        }
        None
    }

    fn handle_broken(&mut self, error: &SocketError) -> End {
        tracing::debug!(connection_id = %self.id, %error, "the socket cannot be read any more");
        parted_by(error).map_or(End::Gone, |(code, reason)| End::Violation(code, reason))
    }

    fn decide(&mut self, decided: Decided) {
        let Decided { connect, outcome } = decided;
        if let Stage::Handshake(entrance) = &mut self.stage {
            entrance.deciding = None;
        }
        let decision = match outcome {
            Ok(admitted) => {
                let open = self.let_in(&connect, &admitted);
                let token = admitted.token.as_ref();
                let hello = handshake::hello(&self.native, self.id, &open.peer, token);
                self.stage = Stage::Open(Box::new(open));
                self.socket.set_inbound(InboundLimits {
                    frame_bytes_max: as_u64(FRAME_BYTES_MAX),
                    total_bytes_max: None,
                });
                AuthDecision::Accepted(Box::new(hello))
            }
            Err(error) => AuthDecision::Refused(handshake::refusal(&error, &connect.params)),
        };
        self.machine.handle_auth(decision);
    }

    fn let_in(&mut self, connect: &Connect, admitted: &Admitted) -> Open {
        let native = &self.native;
        let params = &connect.params;
        let principal = admitted.principal.clone();
        let handle = Arc::clone(&self.handle);
        let registration = native.registry.enter(self.id, principal.clone(), handle);
        // Changed between the comparison and the entry into the registry.
        if !native.auth.is_current(&principal) {
            self.handle.close(Close::AuthChanged);
        }
        if native.auth.is_withdrawn(admitted) {
            self.handle.close(Close::DeviceRemoved);
        }
        let caps = handshake::caps(params, connect.protocol);
        let viewer = Viewer::new(principal.role, &principal.scopes, caps);
        let peer = Arc::new(Peer {
            caller: handshake::caller(principal, self.id),
            protocol: connect.protocol,
            client: params.client.clone(),
        });
        // From here on no event is missed: the place in the feed comes before the runs are looked
        // at, and both before the peer is told.
        let cursor = native.feed.cursor();
        let watches = methods::watch_runs(native, &viewer).into_iter().collect();
        let presence = (!params.client.is_ephemeral(connect.protocol)).then(|| {
            let key: Arc<str> = self.id.to_string().into();
            let entry = handshake::presence_entry(&peer, native.clock.now_ms());
            native.presence.connect(&key, entry);
            key
        });
        Open {
            peer,
            viewer,
            requests: Requests::default(),
            watches,
            follows: Vec::new(),
            cursor,
            batch: VecDeque::new(),
            ends: Ends::default(),
            late: VecDeque::new(),
            answers: ConnectionBudget::default(),
            is_shedding: false,
            is_leaving: false,
            keepalive: Keepalive::new(native.config.ping_interval, Instant::now()),
            presence,
            native: Arc::clone(native),
            _registration: registration,
        }
    }

    fn finish_request(&mut self, done: Done) {
        // What happened before the answer was made is told before it.
        while self.hand_on() {}
        let Stage::Open(open) = &mut self.stage else {
            return;
        };
        match done.after {
            After::Nothing => {
                if let Some(run) = open.held_end() {
                    open.late.push_back((run, done.reply, done.reserved));
                } else {
                    self.machine.handle_reply(done.reply);
                }
            }
            After::Attempted(attempt) => {
                self.machine.handle_reply(done.reply);
                open.settle(*attempt);
            }
            After::Close(close) => {
                self.machine.handle_reply(done.reply);
                self.machine.close(close);
            }
        }
    }

    /// Says goodbye, when there is somebody to say it to.
    async fn part(self: Box<Self>, end: End) {
        let Self {
            native,
            id,
            mut socket,
            stage,
            ..
        } = *self;
        // Subscriptions, requests and the presence entry go first.
        drop(stage);
        let (code, reason, is_readable) = match &end {
            End::Close(close) => (close.code(), close.reason(), *close != Close::TooLarge),
            End::Violation(code, reason) => (*code, *reason, false),
            End::Parted => return within_grace(socket.flush()).await,
            End::Gone => return,
        };
        tracing::debug!(connection_id = %id, code, reason, "closing a connection");
        if let End::Close(Close::SlowConsumer) = &end {
            native.metrics.slow_consumers.add_one();
        }
        socket.close(code, reason);
        if is_readable {
            within_grace(socket.finish()).await;
        } else {
            within_grace(socket.discard_rest()).await;
        }
    }
}

/// Waits until the feed has something to hand on; without room, until it lost something.
async fn news(cursor: &mut Cursor<Event>, is_empty: bool, has_room: bool) -> Step {
    if !has_room {
        cursor.lost().await;
        Step::Lost
    } else if is_empty {
        cursor.ready().await;
        Step::Feed
    } else {
        std::future::pending().await
    }
}

impl Open {
    /// The next event of the feed that may be handed on.
    fn next_event(&mut self, machine: &mut Machine) -> Option<Arc<Event>> {
        if self.batch.is_empty() {
            match self.cursor.take(&mut self.batch, BATCH_MAX) {
                Ok(behind) => {
                    let limit = as_u64(self.native.config.outbox_bytes_max) / 2;
                    self.is_shedding = behind > limit;
                }
                Err(_lagged) => machine.close(Close::SlowConsumer),
            }
        }
        let is_held = |event: &Arc<Event>| {
            let run = event.run.as_ref();
            run.is_some_and(|run| self.requests.holds(run))
        };
        // What comes behind a held event waits too: the order of the feed is kept.
        if self.batch.front().is_none_or(is_held) || self.held_end().is_some() {
            return None;
        }
        let event = self.batch.pop_front();
        if self.batch.is_empty() {
            // An idle connection keeps no buffer.
            self.batch = VecDeque::new();
        }
        event
    }

    /// The run the next event ends.
    fn next_end(&self) -> Option<&WireId> {
        let event = self.batch.front().filter(|event| event.is_end)?;
        event.run.as_ref()
    }

    /// The same, when it was acknowledged only just now.
    fn held_end(&self) -> Option<WireId> {
        let run = self.next_end().filter(|run| self.ends.holds(run));
        run.cloned()
    }

    /// Takes an answer out whose end has been handed on.
    fn next_late(&mut self) -> Option<(WireId, Reply, Option<Reserved>)> {
        let (run, ..) = self.late.front()?;
        if self.next_end() == Some(run) {
            return None;
        }
        let late = self.late.pop_front();
        if self.late.is_empty() {
            // An idle connection keeps no buffer.
            self.late = VecDeque::new();
        }
        late
    }

    /// Sends an event, if this peer gets it; one that is lost because the peer is slow still takes
    /// a number, so that the peer sees the gap (§1.3).
    fn present(
        &mut self,
        event: &Event,
        machine: &mut Machine,
        outbox: &mut Outbox,
    ) -> Result<(), Overflow> {
        let is_wanted = self.viewer.wants(event);
        let alias = self.viewer.alias(event).cloned();
        self.viewer.passed(event);
        if !is_wanted {
            return Ok(());
        }
        let Some(seq) = machine.number_event() else {
            return Ok(());
        };
        if self.is_shedding && event.is_droppable {
            return Ok(());
        }
        match alias.and_then(|alias| event.renamed(&alias)) {
            Some(renamed) => outbox.push_text(renamed.frame(seq)),
            None => outbox.push_shared(event.encoded.head(), &event.encoded.tail(seq)),
        }
    }

    /// Does what the end of an attempt to start a run asks for.
    fn settle(&mut self, attempt: Attempt) {
        if let Some(run) = attempt.held {
            if attempt.is_running {
                self.viewer.asked_for(&run, attempt.alias);
            }
            self.requests.release(&run);
            if attempt.is_running && self.peer.client.mode.is_interface() {
                self.ends.hold(run);
            }
        }
        if let Some(second) = attempt.second
            && self.requests.push_wait(second).is_err()
        {
            // The first answer gave its place back just now.
            tracing::error!("no place for the second answer of a run");
        }
    }
}

/// Fires at the next deadline of a connection.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Timer {
    fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
        }
    }

    /// Sets the deadline. A later one than is set already only makes the timer fire for nothing,
    /// which costs less than to set it every time.
    fn arm(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return;
        };
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.sleep.as_mut().reset(deadline);
            self.armed = Some(deadline);
        }
    }

    async fn fired(&mut self) {
        if self.armed.is_none() {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.armed = None;
    }
}

/// Gives a goodbye the time it may take.
/// The close frame for a peer whose bytes cannot be read any more; none when it has gone.
pub(super) const fn parted_by(error: &SocketError) -> Option<(u16, &'static str)> {
    match error {
        SocketError::TooLarge => Some((1009, "")),
        SocketError::NotUtf8 => Some((1007, "invalid UTF-8")),
        SocketError::Protocol(_) => Some((1002, "protocol error")),
        SocketError::Io(_) => None,
    }
}

/// Gives a goodbye a bounded time.
pub(super) async fn within_grace(goodbye: impl Future<Output = ()>) {
    if tokio::time::timeout(CLOSE_GRACE, goodbye).await.is_err() {
        tracing::trace!("the peer did not say goodbye");
    }
}

async fn some_or_never<F: Future + Unpin>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

const fn gate(phase: Phase) -> Gate {
    match phase {
        Phase::Starting => Gate::Starting,
        Phase::Running => Gate::Open,
        Phase::Draining | Phase::Closing | Phase::Stopped => Gate::Draining,
    }
}
