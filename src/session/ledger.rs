//! What a store of sessions and runs must do; the seam to many nodes.
//!
//! Every write is one atomic, durable step. Methods return boxed futures so that the trait can be
//! used as an object. No method holds a lock while its future is pending.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::ids::{AgentId, EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::{Entry, EntryBody, Front, Terminal, Usage};

/// Why the ledger did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// Another node owns the session now: this node's epoch is older than the stored one.
    #[error("the session belongs to a newer owner (epoch {stored}, ours {ours})")]
    Fenced {
        /// The epoch in the store.
        stored: u64,
        /// The epoch of this node.
        ours: u64,
    },
    /// The transcript moved on since it was read.
    #[error("the transcript has {head} entries, not the expected number")]
    Conflict {
        /// How many entries it has.
        head: u64,
    },
    /// There is no such session, run or entry.
    #[error("not found")]
    NotFound,
    /// The label is taken by another session.
    #[error("label already in use: {label}")]
    LabelInUse {
        /// The label.
        label: Arc<str>,
    },
    /// The queue of the writer is full.
    #[error("too many writes wait for the store")]
    Busy,
    /// The store could not be written or read; nothing of the step is in it.
    #[error("the store failed: {reason}")]
    Failed {
        /// What the store said.
        reason: Arc<str>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// The right to write to sessions as one owner; every write is checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Grows with every start of a node; a write with an older epoch than the stored one fails.
    pub epoch: u64,
}

/// The answer to an attempt to begin a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Begun {
    /// The run is in the ledger and may start.
    New(Accepted),
    /// The idempotency key is known: here is its run, and nothing was written.
    Existing(RunRecord),
    /// The idempotency key is known with another input, and nothing was written.
    Conflict(RunRecord),
}

/// What the ledger wrote when a run was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The transcript the run writes to.
    pub session_id: SessionId,
    /// Position of the user's message, from 1.
    pub user_n: u64,
    /// Entries the transcript had before the user's message.
    pub entries_before: u64,
}

/// What is written when a run is accepted, in one step.
#[derive(Clone, Debug)]
pub struct BeginRun {
    /// Right to write.
    pub lease: Lease,
    /// The run.
    pub run: NewRun,
    /// Messages appended to the transcript: the user's message, or client tool results.
    pub input: Vec<NewEntry>,
    /// Id for the session's transcript, should the session not exist yet.
    pub new_session_id: SessionId,
}

/// The row of a new run.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Primary key.
    pub run_id: RunId,
    /// The id peers use.
    pub wire_id: WireId,
    /// Its session.
    pub session: SessionKey,
    /// Its agent.
    pub agent: AgentId,
    /// Which front accepted it.
    pub front: Front,
    /// Scope of the idempotency key: operation and principal; `None` when the caller gave no key.
    pub idempotency: Option<IdempotencyScope>,
    /// When it was accepted, in wall-clock milliseconds.
    pub accepted_at_ms: u64,
    /// Set when the run holds its slot already, so that acceptance and start are one commit:
    /// after a crash a run without it has certainly not been started.
    pub started_at_ms: Option<u64>,
}

/// What an idempotency key is unique in, and what it was first used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyScope {
    /// `chat`, `agent` or `http`.
    pub operation: &'static str,
    /// Who may repeat it: the owner's credential and party.
    pub principal: Arc<str>,
    /// SHA-256 of the canonical input.
    pub fingerprint: [u8; 32],
}

/// An entry to append.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Id of the message.
    pub id: EntryId,
    /// What it says.
    pub body: EntryBody,
    /// Wall-clock milliseconds.
    pub at_ms: u64,
}

/// What is written when a run ends, in one step.
#[derive(Clone, Debug)]
pub struct EndRun {
    /// Right to write.
    pub lease: Lease,
    /// The run.
    pub run_id: RunId,
    /// Its session.
    pub session: SessionKey,
    /// Assistant blocks to append; skipped when the session was reset meanwhile.
    pub entries: Vec<NewEntry>,
    /// How it ended. Only the first terminal of a run is kept.
    pub terminal: Terminal,
}

/// A run, as the ledger knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Primary key.
    pub run_id: RunId,
    /// The id peers use.
    pub wire_id: WireId,
    /// Its session.
    pub session: SessionKey,
    /// Its transcript.
    pub session_id: SessionId,
    /// Its agent.
    pub agent: AgentId,
    /// Which front accepted it.
    pub front: Front,
    /// Who may repeat or see it (`credential/party`).
    pub principal: Option<Arc<str>>,
    /// When it was accepted, in wall-clock milliseconds.
    pub accepted_at_ms: u64,
    /// When the agent was started.
    pub started_at_ms: Option<u64>,
    /// How it ended, once it has.
    pub terminal: Option<Terminal>,
}

/// A session, as lists and `sessions.*` show it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Canonical key.
    pub key: SessionKey,
    /// Its agent.
    pub agent: AgentId,
    /// Its transcript.
    pub session_id: SessionId,
    /// When it was first used, in wall-clock milliseconds.
    pub created_at_ms: u64,
    /// When it was last used.
    pub updated_at_ms: u64,
    /// Entries in the transcript.
    pub entries: u64,
    /// Name given by an operator.
    pub label: Option<Arc<str>>,
    /// Everything `sessions.patch` can set beside the label (`thinkingLevel`, `queueMode`, …).
    pub settings: Map<String, Value>,
    /// Tokens used by the session's runs.
    pub usage: Usage,
    /// The run that ended last.
    pub last_run: Option<LastRun>,
}

/// The run of a session that ended last.
#[derive(Clone, Debug, PartialEq)]
pub struct LastRun {
    /// The id peers use.
    pub wire_id: WireId,
    /// How it ended.
    pub terminal: Terminal,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionQuery {
    /// Only sessions of this agent.
    pub agent: Option<AgentId>,
    /// Only sessions used at or after this wall-clock millisecond.
    pub updated_since_ms: Option<u64>,
    /// Only the session with this label.
    pub label: Option<String>,
    /// Only sessions whose key, label or id contains this, without regard to case.
    pub search: Option<String>,
    /// Skip this many, newest first.
    pub offset: u64,
    /// Return at most this many.
    pub limit: u32,
}

/// A page of sessions, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionRecord>,
    /// How many match in all.
    pub total: u64,
}

/// A change of a session's settings. `Some(None)` clears.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionPatch {
    /// A new label.
    pub label: Option<Option<String>>,
    /// New settings; a `null` clears one.
    pub settings: Map<String, Value>,
}

/// Which entries of a transcript to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryRange {
    /// The last `limit` entries before the `skip` newest ones.
    Newest {
        /// How many of the newest to leave out.
        skip: u64,
        /// At most this many.
        limit: u32,
    },
    /// Entries with a position above `n`, oldest first.
    After {
        /// Position of the last entry the reader has.
        n: u64,
        /// At most this many.
        limit: u32,
    },
}

/// Part of a transcript, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryPage {
    /// The transcript they belong to.
    pub session_id: SessionId,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Entries the transcript has in all.
    pub total: u64,
}

/// A store of sessions and runs.
///
/// # Cancel safety
/// A write whose future is dropped may or may not have been committed.
pub trait Ledger: Send + Sync + fmt::Debug {
    /// The right to write, as this node holds it since its start.
    fn lease(&self) -> Lease;

    /// Accepts a run: session, run row, input entries and idempotency entry in one commit.
    fn begin_run(&self, begin: BeginRun) -> BoxFuture<'_, Result<Begun, LedgerError>>;

    /// Notes, durably, that the agent of a run is about to be started; for runs that had to wait.
    fn start_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Ends a run: assistant blocks, terminal and session counters in one commit.
    /// Returns the appended entries with their positions.
    fn end_run(&self, end: EndRun) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// The newest run with this wire id.
    fn find_run(&self, wire_id: WireId) -> BoxFuture<'_, Result<Option<RunRecord>, LedgerError>>;

    /// Runs without a terminal, oldest first: what a crash left behind.
    fn open_runs(&self, limit: u32) -> BoxFuture<'_, Result<Vec<RunRecord>, LedgerError>>;

    /// The newest runs, newest first.
    fn list_runs(
        &self,
        session: Option<SessionKey>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<RunRecord>, LedgerError>>;

    /// One session.
    fn session(&self, key: SessionKey)
    -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>>;

    /// The sessions with this transcript id (none or one).
    fn session_by_id(
        &self,
        id: SessionId,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>>;

    /// Sessions that match, newest first.
    fn list_sessions(&self, query: SessionQuery)
    -> BoxFuture<'_, Result<SessionPage, LedgerError>>;

    /// Changes settings; makes the session when it does not exist.
    fn patch_session(
        &self,
        lease: Lease,
        key: SessionKey,
        agent: AgentId,
        new_session_id: SessionId,
        patch: SessionPatch,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>>;

    /// Gives the session a new, empty transcript and keeps its settings; the old one is archived.
    fn reset_session(
        &self,
        lease: Lease,
        key: SessionKey,
        agent: AgentId,
        new_session_id: SessionId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>>;

    /// Removes the session, its transcript and its archived ones; false when there was none.
    fn delete_session(
        &self,
        lease: Lease,
        key: SessionKey,
    ) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// Appends one entry outside of a run; the session must exist.
    fn append(
        &self,
        lease: Lease,
        key: SessionKey,
        entry: NewEntry,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>>;

    /// Reads part of a transcript; `None` when the session does not exist.
    fn entries(
        &self,
        key: SessionKey,
        range: EntryRange,
    ) -> BoxFuture<'_, Result<Option<EntryPage>, LedgerError>>;

    /// Removes what is older than the limits allow; returns how many sessions and runs went.
    fn prune(
        &self,
        limits: Retention,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<(u64, u64), LedgerError>>;

    /// Commits what waits and closes the store.
    fn close(&self) -> BoxFuture<'_, Result<(), LedgerError>>;
}

/// What the ledger keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Sessions unused for longer go, in days; 0 keeps them.
    pub days: u32,
    /// Newest sessions that stay.
    pub sessions_max: u64,
    /// Newest ended runs that stay.
    pub runs_max: u64,
}

/// Where and how the ledger keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The state directory.
    pub dir: std::path::PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// What is kept.
    pub retention: Retention,
}

/// What a commit survives (`store.durability`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power.
    #[default]
    Full,
    /// A crash of the process; the last commits may be lost with the power, never half.
    Normal,
}
