//! What the fronts ask for, free of any wire format.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::auth::Principal;
use crate::events::ChangeReason;
use crate::ids::{ConnectionId, SessionId, WireId};
use crate::run::{Image, OnDisconnect, QueueMode, Turn};

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// After authentication.
    pub principal: Principal,
    /// The connection the request came in on.
    pub connection: Option<ConnectionId>,
    /// The user the caller speaks for, inside its credential (HTTP `user`).
    pub user: Option<String>,
}

/// Which agent a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentChoice {
    /// None: the default agent.
    Default,
    /// This one, as the caller wrote it.
    Named(String),
}

/// Which session an HTTP call belongs to (`http-facts` §3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpSession {
    /// `x-openclaw-session-key`, as the caller wrote it.
    Key(String),
    /// The OpenAI `user`.
    User(String),
    /// A fresh one for this call.
    Fresh,
}

/// A chat completion over HTTP.
#[derive(Clone, Debug)]
pub struct ChatCompletion {
    /// Id of the answer (`chatcmpl_<uuid>`); also the run's wire id.
    pub wire_id: WireId,
    /// The agent.
    pub agent: AgentChoice,
    /// The session.
    pub session: HttpSession,
    /// What to answer.
    pub turn: Turn,
    /// What a disconnect does.
    pub on_disconnect: OnDisconnect,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request body, for the idempotency check.
    pub fingerprint: [u8; 32],
}

/// The native method `agent`.
#[derive(Clone, Debug, Default)]
pub struct AgentRun {
    /// What to answer.
    pub message: String,
    /// Becomes the run's wire id.
    pub idempotency_key: String,
    /// The agent.
    pub agent_id: Option<String>,
    /// The session.
    pub session_key: Option<String>,
    /// The session by a name of the caller, or by its transcript; made when it is not there.
    pub session_id: Option<String>,
    /// Must be the session's transcript, when given; the session then exists.
    pub expected_session_id: Option<String>,
    /// Whom the message is for; a session when it is the key of one.
    pub to: Option<String>,
    /// Bound of this run; zero is no bound.
    pub timeout: Option<Duration>,
    /// Text added to the agent's system text.
    pub extra_system: Option<String>,
    /// Another model (`provider/model`).
    pub model: Option<String>,
    /// Images that come with the message.
    pub images: Vec<Image>,
    /// A label for a session this call makes.
    pub label: Option<String>,
}

/// The native method `chat.send` and its relatives.
#[derive(Clone, Debug, Default)]
pub struct ChatSend {
    /// The session, as the caller wrote it.
    pub session_key: String,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// Must be the session's transcript, when given.
    pub session_id: Option<String>,
    /// The message.
    pub message: String,
    /// Becomes the run's wire id.
    pub idempotency_key: String,
    /// Bound of this run; zero is no bound.
    pub timeout: Option<Duration>,
    /// What to do when the session is busy; `None` leaves it to session and configuration.
    pub queue_mode: Option<QueueMode>,
    /// The mode when neither call, session nor configuration names one: by protocol version.
    pub queue_mode_default: Option<QueueMode>,
    /// Images that come with the message.
    pub images: Vec<Image>,
    /// Whether a session that does not exist is an error (`sessions.send`).
    pub must_exist: bool,
    /// Whether the message is for the agent even where it reads like a command.
    pub is_literal: bool,
    /// Whether watchers are told that the session was steered (`sessions.steer`).
    pub is_steering: bool,
}

/// The native method `chat.abort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatAbort {
    /// The session, as the caller wrote it.
    pub session_key: String,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// Only this run.
    pub run_id: Option<String>,
}

/// The native method `sessions.abort`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionAbort {
    /// The session, as the caller wrote it.
    pub key: Option<String>,
    /// Only this run.
    pub run_id: Option<String>,
    /// The agent, must agree with the session.
    pub agent_id: Option<String>,
    /// Whether what waits is taken back too.
    pub clear_queued: bool,
}

/// The native method `sessions.compact`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCompact {
    /// The session, as the caller wrote it.
    pub session_key: String,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// Keep this many of the newest entries and ask for no summary.
    pub lines_max: Option<u64>,
    /// What the summary is to heed.
    pub instructions: Option<String>,
}

/// The native method `sessions.create`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionCreate {
    /// The session, as the caller wrote it.
    pub key: Option<String>,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// Makes a repeated call find the session the first one made.
    pub idempotency_key: Option<String>,
    /// A session that must be there.
    pub parent: Option<String>,
    /// A name no other session has.
    pub label: Option<String>,
    /// Its settings.
    pub settings: Map<String, Value>,
}

/// The native method `chat.inject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatInject {
    /// The session, as the caller wrote it.
    pub session_key: String,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// The text.
    pub message: String,
    /// A short label.
    pub label: Option<String>,
}

/// The native method `chat.history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The session, as the caller wrote it.
    pub session_key: String,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// Leave out this many of the newest messages.
    pub skip: u64,
    /// At most this many messages.
    pub limit: u32,
    /// Only what comes after this position, when given.
    pub after: Option<HistoryCursor>,
    /// What surrounds this message in place of the newest ones, while it is in the transcript.
    pub around: Option<MessageQuery>,
}

/// A message of a session's transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageQuery {
    /// The session, as the caller wrote it.
    pub session_key: String,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// Must be the session's transcript, when given.
    pub session_id: Option<String>,
    /// Id of the entry.
    pub entry_id: String,
}

/// A place in a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryCursor {
    /// The transcript.
    pub session_id: SessionId,
    /// Position of the last entry the reader has.
    pub n: u64,
}

/// The native method `sessions.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionList {
    /// Only sessions of this agent.
    pub agent_id: Option<String>,
    /// Only sessions used in the last minutes.
    pub active_minutes: Option<u64>,
    /// Only the session with this label.
    pub label: Option<String>,
    /// Only sessions that contain this text.
    pub search: Option<String>,
    /// Only sessions that are, or are not, put among the archived ones.
    pub archived: Option<bool>,
    /// Only sessions that are, or are not, pinned.
    pub pinned: Option<bool>,
    /// Only sessions whose runs wait or are active.
    pub active_only: bool,
    /// Skip this many.
    pub offset: u64,
    /// At most this many.
    pub limit: u32,
    /// Texts to read with each session.
    pub texts: SessionTexts,
}

/// Texts that are read with a session, from its transcript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionTexts {
    /// The first user message, for a title.
    pub title: bool,
    /// The last message.
    pub last_message: bool,
}

/// How `sessions.resolve` names a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionName {
    /// By key.
    Key(String),
    /// By transcript id.
    Id(String),
    /// By label.
    Label(String),
}

/// The native method `sessions.delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionDelete {
    /// The session, as the caller wrote it.
    pub session_key: String,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// Must be the session's transcript, when given.
    pub expected_session_id: Option<String>,
    /// Leave the session alone unless it is archived.
    pub archived_only: bool,
}

/// The native method `sessions.reset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReset {
    /// The session, as the caller wrote it.
    pub session_key: String,
    /// The agent, must agree with the key.
    pub agent_id: Option<String>,
    /// `New` or `Reset`.
    pub reason: ChangeReason,
    /// Must be the session's transcript, when given.
    pub expected_session_id: Option<String>,
}
