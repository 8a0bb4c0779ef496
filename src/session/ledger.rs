//! What a store of sessions and runs must do; the seam to many nodes.
//!
//! Every write is one atomic, durable step. Methods return boxed futures so that the trait can be
//! used as an object. No method holds a lock while its future is pending. Knows nothing of lanes,
//! agents or wire formats, and reads no clock: every time is passed in.
//!
//! **Started or not.** After a crash a run without a start mark is queued again, so the mark must
//! be durable before the agent does anything. A run that takes its lane at once carries the mark
//! in its accept commit ([`NewRun::started_at_ms`]) and costs no commit of its own; a run that had
//! to wait is marked by [`Ledger::start_run`], which is awaited before the agent starts and shares
//! the group commit of the `end_run` that freed its lane.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::error::ErrorCode;
use crate::ids::{AgentId, EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::{Entry, EntryBody, Front, QueueMode, Terminal, Usage};

use super::devices::DeviceStore;

/// How long an idempotency key is kept after the end of its run, in milliseconds.
pub const IDEMPOTENCY_KEPT_MS: u64 = 5 * 60 * 1000;

/// How long the idempotency key of an interrupted run is kept after its end, in milliseconds.
pub const IDEMPOTENCY_INTERRUPTED_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Bytes of stored entries after which a page of a transcript ends early.
pub const ENTRY_PAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;

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
    /// The session has another transcript than the caller expects.
    #[error("the session changed: its transcript is {session_id}")]
    SessionChanged {
        /// The transcript it has.
        session_id: SessionId,
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
    /// The run has ended, so it cannot start any more.
    #[error("the run has ended")]
    Ended,
    /// The session's settings refuse the run.
    #[error("{0}")]
    Guarded(Guarded),
    /// The queue of the writer is full; nothing was written.
    #[error("too many writes wait for the store")]
    Busy,
    /// The store could not be read or written. A write is not acknowledged: readers of this process
    /// do not see it, though after a crash at this very moment it may turn out to be there.
    #[error("the store failed ({}): {reason}", .fault.as_str())]
    Failed {
        /// What kind of failure it is.
        fault: Fault,
        /// What the store said; for the log, not for peers.
        reason: Arc<str>,
    },
    /// The store was closed, or its writer died.
    #[error("the store is closed")]
    Closed,
}

impl LedgerError {
    /// The class of the failure.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::SessionChanged { .. } | Self::Ended => ErrorCode::Conflict,
            Self::NotFound | Self::LabelInUse { .. } | Self::Guarded(Guarded::SendDenied) => {
                ErrorCode::InvalidRequest
            }
            Self::Busy | Self::Guarded(Guarded::QueueFull) => ErrorCode::Overloaded,
            Self::Closed => ErrorCode::Restarting,
            Self::Fenced { .. } | Self::Failed { .. } => ErrorCode::StoreFailed,
        }
    }
}

/// Why the settings of a session refuse a run; see [`Guard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Guarded {
    /// `sendPolicy` is `deny`.
    #[error("the session takes no messages")]
    SendDenied,
    /// The queue of the session is full, and the message does not interrupt.
    #[error("the session has too many waiting runs")]
    QueueFull,
}

/// What kind of failure of the store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No space is left.
    DiskFull,
    /// The file or its file system cannot be written.
    ReadOnly,
    /// The operating system failed to read, write or sync.
    Io,
    /// What was read makes no sense.
    Corrupt,
    /// Anything else; a fault of the gateway itself.
    Internal,
}

impl Fault {
    /// The stable name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk full",
            Self::ReadOnly => "read-only",
            Self::Io => "input or output error",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }
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
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The transcript the run writes to.
    pub session_id: SessionId,
    /// Where its input stands in the transcript; `None` while the run waits: then the input is kept
    /// with the run and placed when the run is started or ended, so that a transcript is always in
    /// the order of execution.
    pub placed: Option<Placed>,
    /// The settings of the session, as they are in force for the run.
    pub settings: Map<String, Value>,
}

/// The input of a run, placed in the transcript.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The transcript the run writes to; another one than at acceptance after a reset.
    pub session_id: SessionId,
    /// Entries the transcript had before.
    pub entries_before: u64,
    /// The input, with its positions.
    pub input: Vec<Entry>,
}

/// A run without a terminal, with what is needed to start it.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRun {
    /// Its row.
    pub record: RunRecord,
    /// Its input, while that is not placed in the transcript.
    pub input: Vec<Entry>,
    /// [`NewRun::resume`], as it was given.
    pub resume: Option<String>,
    /// How often it was started over.
    pub restarts: u32,
    /// The run it became part of; it ends with that one.
    pub folded_into: Option<RunId>,
}

/// What is written when a run is accepted, in one step.
#[derive(Clone, Debug)]
pub struct BeginRun {
    /// Right to write.
    pub lease: Lease,
    /// The run.
    pub run: NewRun,
    /// The user's message, or client tool results. Appended to the transcript at once when
    /// `run.started_at_ms` is set, else kept with the run until it is started or ended.
    pub input: Vec<NewEntry>,
    /// Id for the session's transcript, should the session not exist yet.
    pub new_session_id: SessionId,
    /// The transcript the session must have, if the caller names one.
    pub expected_session_id: Option<SessionId>,
    /// Whether the session gets a new, empty transcript first, as by [`Ledger::reset_session`].
    pub reset: bool,
    /// What the settings of the session must allow.
    pub guard: Guard,
}

/// What the settings of a session must allow for a run to be accepted; looked at in the commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Whether the run is refused while `sendPolicy` is `deny`.
    pub sends: bool,
    /// Set when the queue of the session is full: then only a message that interrupts is taken.
    pub full_unless_interrupt: Option<ModeChoice>,
}

/// Which queue mode a message has: its own, else that of its session, else the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeChoice {
    /// The mode the message names.
    pub own: Option<QueueMode>,
    /// The mode when neither it nor its session names one.
    pub fallback: QueueMode,
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
    /// Who asked for it (`credential/party`); `None` for a run without an owner.
    pub principal: Option<Arc<str>>,
    /// The idempotency key and its scope; `None` when the caller gave no key.
    pub idempotency: Option<IdempotencyScope>,
    /// When it was accepted, in wall-clock milliseconds.
    pub accepted_at_ms: u64,
    /// Set when the run holds its slot already, so that acceptance and start are one commit:
    /// after a crash a run without it has certainly not been started.
    pub started_at_ms: Option<u64>,
    /// What beside the input is needed to start the run after a restart, as JSON.
    pub resume: Option<String>,
}

/// An idempotency key, what it is unique in, and what it was first used for.
///
/// It is kept while its run lives, then for [`IDEMPOTENCY_KEPT_MS`], or for
/// [`IDEMPOTENCY_INTERRUPTED_KEPT_MS`] when the run was interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyScope {
    /// `chat`, `agent` or `http`.
    pub operation: &'static str,
    /// Who may repeat it: the owner's credential and party.
    pub principal: Arc<str>,
    /// The key the caller gave; not always the wire id of the run.
    pub key: Arc<str>,
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

impl NewEntry {
    /// The entry, once its position and the run it belongs to are known.
    pub(super) fn at(self, n: u64, run: Option<&(RunId, WireId)>) -> Entry {
        Entry {
            id: self.id,
            n,
            run: run.map(|(run_id, _wire_id)| *run_id),
            wire_id: run.map(|(_run_id, wire_id)| wire_id.clone()),
            at_ms: self.at_ms,
            body: self.body,
        }
    }
}

/// What is written of an answer before its run ends.
#[derive(Clone, Debug)]
pub struct AppendAnswer {
    /// Right to write.
    pub lease: Lease,
    /// The run.
    pub run_id: RunId,
    /// Assistant blocks to append; skipped when the session was reset meanwhile.
    pub entries: Vec<NewEntry>,
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

/// How a run ended, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedRow {
    /// Its terminal: the one that was given, or the one it had already.
    pub terminal: Terminal,
    /// What was appended, with positions; empty when it had ended already.
    pub entries: Vec<Entry>,
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
    /// Only sessions that are, or are not, put among the archived ones.
    pub archived: Option<bool>,
    /// Only sessions that are, or are not, pinned.
    pub pinned: Option<bool>,
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

/// The session a change is for.
#[derive(Clone, Debug)]
pub struct SessionTarget {
    /// Right to write.
    pub lease: Lease,
    /// Canonical key.
    pub key: SessionKey,
    /// Its agent, should the session not exist yet.
    pub agent: AgentId,
    /// Id for a new transcript, should one be made.
    pub new_session_id: SessionId,
    /// The transcript the session must have, if the caller names one.
    pub expected_session_id: Option<SessionId>,
    /// Wall-clock milliseconds.
    pub at_ms: u64,
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

/// A store of sessions, runs and paired devices.
///
/// # Cancel safety
/// A write whose future is dropped may or may not have been committed.
pub trait Ledger: DeviceStore + fmt::Debug {
    /// The right to write, as this node holds it since its start.
    fn lease(&self) -> Lease;

    /// Accepts a run: session, run row, input entries and idempotency entry in one commit.
    fn begin_run(&self, begin: BeginRun) -> BoxFuture<'_, Result<Begun, LedgerError>>;

    /// Notes, durably, that the agent of a run that had to wait is about to be started, and places
    /// its input in the transcript.
    fn start_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>>;

    /// Notes, durably, that a run that was started by an earlier owner is about to be started over,
    /// and counts that. Its input, once placed, stays where it is. From then on the earlier owner
    /// can write nothing for it any more.
    fn restart_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>>;

    /// Makes a run that waits part of another one, durably: its input is placed at the end of the
    /// transcript, it counts as started, and it ends when that one ends.
    ///
    /// # Errors
    /// [`LedgerError::Ended`] when one of the two has ended; nothing was written.
    fn fold_run(
        &self,
        lease: Lease,
        run_id: RunId,
        into: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>>;

    /// Appends what a run has answered so far, before it is handed another message; what it answers
    /// from then on is appended by [`Ledger::end_run`]. Returns what was appended, with positions;
    /// nothing is written for a run that has not started or has ended.
    fn append_answer(&self, answer: AppendAnswer)
    -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// Ends a run, and with it those that were folded into it ([`Terminal::of_folded`]): input that
    /// was never placed, marked as withheld, assistant blocks, terminals and session counters in
    /// one commit. For a run that has ended already nothing is written; one the ledger does not
    /// know is `NotFound`.
    fn end_run(&self, end: EndRun) -> BoxFuture<'_, Result<EndedRow, LedgerError>>;

    /// The newest run with this wire id: of this principal if it has one, else of anybody.
    fn find_run(
        &self,
        wire_id: WireId,
        principal: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<Option<RunRecord>, LedgerError>>;

    /// What an idempotency key stands for, if it is known: `Existing` or `Conflict`.
    fn idempotent(
        &self,
        scope: IdempotencyScope,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Option<Begun>, LedgerError>>;

    /// What a run has in its transcript: its input and its answer, oldest first; empty when the run
    /// or its transcript is gone.
    fn run_entries(&self, run_id: RunId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;

    /// Runs without a terminal, oldest first: what a crash left behind.
    fn open_runs(&self, limit: u32) -> BoxFuture<'_, Result<Vec<OpenRun>, LedgerError>>;

    /// The same of one session.
    fn open_runs_of(
        &self,
        session: SessionKey,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OpenRun>, LedgerError>>;

    /// The newest runs of all sessions or of one, newest first.
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
        target: SessionTarget,
        patch: SessionPatch,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>>;

    /// Gives the session the new, empty transcript of `target`; the old one is archived. Settings
    /// and label stay, counters and the last run do not. Makes the session when it does not exist.
    fn reset_session(
        &self,
        target: SessionTarget,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>>;

    /// Removes the session, its transcript and its archived ones; `None` when there was none. Its
    /// runs keep their rows, as long as those are kept.
    fn delete_session(
        &self,
        lease: Lease,
        key: SessionKey,
        expected_session_id: Option<SessionId>,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>>;

    /// Appends one entry outside of a run; the session must exist.
    fn append(
        &self,
        lease: Lease,
        key: SessionKey,
        entry: NewEntry,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>>;

    /// Appends what stands for the beginning of the transcript and puts `note` into the settings,
    /// in one commit. The session must exist.
    fn compact_session(
        &self,
        target: SessionTarget,
        entry: NewEntry,
        note: Map<String, Value>,
    ) -> BoxFuture<'_, Result<(SessionRecord, Entry), LedgerError>>;

    /// Reads part of a transcript; `None` when the session does not exist. A page ends early once
    /// its entries have more than [`ENTRY_PAGE_BYTES_MAX`] bytes, but never before the first.
    fn entries(
        &self,
        key: SessionKey,
        range: EntryRange,
    ) -> BoxFuture<'_, Result<Option<EntryPage>, LedgerError>>;

    /// Where an entry stands in its session's transcript; `None` when it is not there.
    fn position(
        &self,
        key: SessionKey,
        id: EntryId,
    ) -> BoxFuture<'_, Result<Option<u64>, LedgerError>>;

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
    /// Newest sessions that stay; one with a run that has not ended always does.
    pub sessions_max: u64,
    /// Newest runs that stay; one that has not ended, or whose idempotency key is kept, always
    /// does.
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
