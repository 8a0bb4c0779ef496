//! The state of one native connection, without its socket (`protocol-facts` §1.8, §2.1).
//!
//! Owns the handshake, the numbers of events and the decision to close. Must not know sockets,
//! secrets or operations: frames, decisions and `now` go in through `handle_*`, frames to send and
//! requests to serve come out of [`Machine::poll_output`]. Callers empty the output after every
//! `handle_*`; that keeps it short, because no input makes more than a handful of outputs.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::protocol::close::Close;
use crate::protocol::codec::{EncodedEvent, FRAME_BYTES_MAX, Reply};
use crate::protocol::connect::ConnectParams;
use crate::protocol::error::{ErrorBody, WireCode};
use crate::protocol::frame::{FrameError, INVALID_FRAME_ID, RequestFrame};
use crate::protocol::hello::{Challenge, Hello};
use crate::protocol::refusal::HandshakeFailure;
use crate::protocol::validate::decode;
use crate::protocol::version::Protocol;

/// Longest frame before `hello-ok`, in bytes.
pub const PREAUTH_FRAME_BYTES_MAX: usize = 65_536;

/// Most bytes of all frames before `hello-ok` (`design.md` §10).
pub const PREAUTH_TOTAL_BYTES_MAX: usize = 131_072;

/// Most frames that may wait while the peer is authenticated.
pub const PENDING_FRAMES_MAX: usize = 15;

/// Most calls in a row that the peer's role does not allow (§3.11).
const ROLE_REFUSALS_MAX: u32 = 10;

/// Bounds of a connection that the configuration decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(15),
        }
    }
}

/// Whether new peers are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// They are.
    #[default]
    Open,
    /// Not yet.
    Starting,
    /// Not any more.
    Draining,
}

/// What the caller has to do next.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this text frame.
    Send(String),
    /// Authenticate the peer and answer with [`Machine::handle_auth`].
    Authenticate(Box<Connect>),
    /// Serve this request and answer with [`Machine::handle_reply`].
    Request(Request),
    /// Close the connection; nothing comes after this.
    Close(Close),
}

/// A peer that wants to be let in.
#[derive(Clone, Debug)]
pub struct Connect {
    /// What it says about itself.
    pub params: ConnectParams,
    /// The version that will be spoken.
    pub protocol: Protocol,
}

/// A request to serve.
#[derive(Clone, Debug)]
pub struct Request {
    /// Echoed in every response to it.
    pub id: Box<str>,
    /// The operation.
    pub method: Box<str>,
    /// Its input, not looked at yet.
    pub params: Option<Box<RawValue>>,
}

/// The answer to [`Output::Authenticate`].
#[derive(Clone, Debug)]
pub enum AuthDecision {
    /// The peer is let in and told this.
    Accepted(Box<Hello>),
    /// The peer is not let in.
    Refused(HandshakeFailure),
}

/// The state of one native connection.
#[derive(Debug)]
pub struct Machine {
    state: State,
    gate: Gate,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    Handshake(Box<Handshake>),
    Open(Session),
    Closed,
}

#[derive(Debug)]
struct Handshake {
    deadline: Instant,
    bytes: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The first frame has not come.
    Waiting,
    /// The peer is being authenticated; what it sends meanwhile waits.
    Deciding {
        request_id: Box<str>,
        protocol: Protocol,
        pending: VecDeque<Box<str>>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Session {
    protocol: Protocol,
    seq: u64,
    role_refusals: u32,
}

impl Machine {
    /// The state of a connection whose socket was opened at `now`; the challenge is its first
    /// output.
    pub fn new(config: MachineConfig, challenge: &Challenge, now: Instant) -> Self {
        let mut machine = Self {
            state: State::Handshake(Box::new(Handshake {
                deadline: now + config.handshake_timeout,
                bytes: 0,
                stage: Stage::Waiting,
            })),
            gate: Gate::Open,
            outputs: VecDeque::with_capacity(2),
        };
        match challenge.encode() {
            Ok(event) => machine.send(event.unnumbered()),
            Err(_too_large) => machine.close(Close::Internal),
        }
        machine
    }

    /// Whether new peers are taken from now on; connections that are open stay open.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// The version spoken, once the peer was let in.
    pub fn protocol(&self) -> Option<Protocol> {
        match &self.state {
            State::Open(session) => Some(session.protocol),
            State::Handshake(_) | State::Closed => None,
        }
    }

    /// Whether the peer was let in and the connection is not closed.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Longest frame the peer may send now, in bytes.
    pub fn frame_bytes_max(&self) -> usize {
        match &self.state {
            State::Handshake(_) => PREAUTH_FRAME_BYTES_MAX,
            State::Open(_) | State::Closed => FRAME_BYTES_MAX,
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Machine::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshake(handshake) => Some(handshake.deadline),
            State::Open(_) | State::Closed => None,
        }
    }

    /// Takes a text frame.
    pub fn handle_text(&mut self, text: &str, now: Instant) {
        self.take(text, text.len(), now);
    }

    /// Takes a binary frame, which is read as text. Nothing but UTF-8 is JSON.
    pub fn handle_binary(&mut self, bytes: &[u8], now: Instant) {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        self.take(text, bytes.len(), now);
    }

    /// Takes the news that a frame was longer than [`Machine::frame_bytes_max`].
    pub fn handle_oversize(&mut self) {
        self.close(Close::TooLarge);
    }

    /// Takes the time.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Handshake(handshake) if handshake.deadline <= now => {
                self.close(Close::HandshakeTimeout);
            }
            State::Handshake(_) | State::Open(_) | State::Closed => {}
        }
    }

    /// Takes the answer to [`Output::Authenticate`]; ignored when the connection is closed by now.
    pub fn handle_auth(&mut self, decision: AuthDecision) {
        let State::Handshake(handshake) = &mut self.state else {
            return;
        };
        let Stage::Deciding {
            request_id,
            protocol,
            pending,
        } = std::mem::replace(&mut handshake.stage, Stage::Waiting)
        else {
            return;
        };
        match decision {
            AuthDecision::Accepted(hello) => self.accept(&hello, &request_id, protocol, pending),
            AuthDecision::Refused(failure) => self.refuse(&request_id, protocol, &failure),
        }
    }

    /// Takes a response; ignored when the connection is closed by now.
    pub fn handle_reply(&mut self, reply: Reply) {
        let State::Open(session) = &mut self.state else {
            return;
        };
        session.role_refusals = if reply.is_role_refusal {
            session.role_refusals + 1
        } else {
            0
        };
        let is_flood = session.role_refusals > ROLE_REFUSALS_MAX;
        self.send(reply.frame);
        if is_flood {
            self.close(Close::RepeatedUnauthorized);
        }
    }

    /// Takes an event for the peer and gives it the connection's next number; ignored unless the
    /// connection is open.
    pub fn handle_event(&mut self, event: &EncodedEvent) {
        if let Some(seq) = self.number_event() {
            self.send(event.frame(seq));
        }
    }

    /// The connection's next number, for an event the caller sends itself behind everything that
    /// came out before; `None` unless the connection is open.
    pub const fn number_event(&mut self) -> Option<u64> {
        let State::Open(session) = &mut self.state else {
            return None;
        };
        session.seq += 1;
        Some(session.seq)
    }

    /// Spends a number on an event that is not sent, so that the peer sees the gap (§1.3).
    pub fn skip_event(&mut self) {
        if let State::Open(session) = &mut self.state {
            session.seq += 1;
        }
    }

    /// Ends the connection; only the first reason counts.
    pub fn close(&mut self, close: Close) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.state = State::Closed;
        self.outputs.push_back(Output::Close(close));
    }

    fn take(&mut self, text: &str, bytes: usize, now: Instant) {
        self.handle_timeout(now);
        match &mut self.state {
            State::Handshake(handshake) => match handshake.admit(text, bytes) {
                Err(close) => self.close(close),
                Ok(Admitted::First) => self.handle_first(text),
                Ok(Admitted::Waits) => {}
            },
            State::Open(_) if bytes > FRAME_BYTES_MAX => self.close(Close::TooLarge),
            State::Open(_) => self.handle_open(text),
            State::Closed => {}
        }
    }

    fn send(&mut self, frame: String) {
        self.outputs.push_back(Output::Send(frame));
    }

    fn handle_first(&mut self, text: &str) {
        let frame = match RequestFrame::decode(text) {
            Ok(frame) => frame,
            Err(FrameError::NotJson) => return self.close(Close::UnreadableHandshake),
            Err(FrameError::Invalid { .. }) => return self.close(Close::InvalidFirstFrame),
        };
        match self.read_connect(&frame) {
            Ok(connect) => self.start_deciding(&frame, connect),
            Err(failure) => self.refuse(&frame.id, Protocol::CURRENT, &failure),
        }
    }

    /// Checks a first request in the order of §2.1: method, params, gate, version, role.
    fn read_connect(&self, frame: &RequestFrame<'_>) -> Result<Connect, HandshakeFailure> {
        if frame.method != "connect" {
            return Err(HandshakeFailure::NotConnect);
        }
        let params = decode::<ConnectParams>(frame.params)
            .map_err(|problem| HandshakeFailure::InvalidParams(problem.to_string().into()))?;
        match self.gate {
            Gate::Open => {}
            Gate::Starting => return Err(HandshakeFailure::Starting),
            Gate::Draining => return Err(HandshakeFailure::Draining),
        }
        let Some(protocol) = params.protocol() else {
            return Err(HandshakeFailure::ProtocolMismatch {
                min: params.min_protocol.get(),
                max: params.max_protocol.get(),
            });
        };
        if params.role().is_none() {
            return Err(HandshakeFailure::InvalidRole);
        }
        Ok(Connect { params, protocol })
    }

    fn start_deciding(&mut self, frame: &RequestFrame<'_>, connect: Connect) {
        if let State::Handshake(handshake) = &mut self.state {
            handshake.stage = Stage::Deciding {
                request_id: (*frame.id).into(),
                protocol: connect.protocol,
                pending: VecDeque::new(),
            };
            self.outputs
                .push_back(Output::Authenticate(Box::new(connect)));
        }
    }

    fn accept(
        &mut self,
        hello: &Hello,
        request_id: &str,
        protocol: Protocol,
        pending: VecDeque<Box<str>>,
    ) {
        let Some(reply) = hello.encode(request_id, protocol) else {
            return self.refuse(request_id, protocol, &HandshakeFailure::Internal);
        };
        self.state = State::Open(Session {
            protocol,
            seq: 0,
            role_refusals: 0,
        });
        self.send(reply.frame);
        for text in pending {
            self.handle_open(&text);
        }
    }

    fn refuse(&mut self, request_id: &str, protocol: Protocol, failure: &HandshakeFailure) {
        let reply = Reply::error(request_id, &failure.body(protocol));
        self.send(reply.frame);
        self.close(failure.close(protocol));
    }

    fn handle_open(&mut self, text: &str) {
        match RequestFrame::decode(text) {
            // An open connection forgives a text that is no JSON (§1.8).
            Err(FrameError::NotJson) => {}
            Err(FrameError::Invalid { id, violations }) => {
                let id = id.as_deref().unwrap_or(INVALID_FRAME_ID);
                let message = format!("invalid request frame: {violations}");
                let error = ErrorBody::new(WireCode::InvalidRequest, message);
                self.handle_reply(Reply::error(id, &error));
            }
            Ok(frame) if frame.method == "connect" => {
                let message = "connect is only valid as the first request";
                let error = ErrorBody::new(WireCode::InvalidRequest, message);
                self.handle_reply(Reply::error(&frame.id, &error));
            }
            Ok(frame) => self
                .outputs
                .push_back(Output::Request(Request::from(frame))),
        }
    }
}

enum Admitted {
    /// It is the first frame.
    First,
    /// It waits until the peer is let in.
    Waits,
}

impl Handshake {
    /// Counts a frame against the bounds before `hello-ok`.
    fn admit(&mut self, text: &str, bytes: usize) -> Result<Admitted, Close> {
        self.bytes = self.bytes.saturating_add(bytes);
        if bytes > PREAUTH_FRAME_BYTES_MAX || self.bytes > PREAUTH_TOTAL_BYTES_MAX {
            return Err(Close::TooLarge);
        }
        match &mut self.stage {
            Stage::Waiting => Ok(Admitted::First),
            Stage::Deciding { pending, .. } if pending.len() < PENDING_FRAMES_MAX => {
                pending.push_back(text.into());
                Ok(Admitted::Waits)
            }
            Stage::Deciding { .. } => Err(Close::TooManyPendingFrames),
        }
    }
}

impl From<RequestFrame<'_>> for Request {
    fn from(frame: RequestFrame<'_>) -> Self {
        Self {
            id: frame.id.into(),
            method: frame.method.into(),
            params: frame.params.map(RawValue::to_owned),
        }
    }
}
