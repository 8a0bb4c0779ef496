//! What dispatch answers, free of any wire format.

use std::sync::Arc;
use std::time::Duration;

use crate::events::Log;
use crate::ids::{AgentId, EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::{Entry, Front, RunInfo, Terminal, ToolCall};
use crate::session::{RunRecord, SessionRecord};

use super::views::AgentEntry;

/// A run that was accepted.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Its identity card.
    pub info: Arc<RunInfo>,
    /// Its events.
    pub log: Arc<Log>,
    /// The transcript it writes to; `None` for an ephemeral run.
    pub session_id: Option<SessionId>,
    /// Position of the user's message in the transcript.
    pub user_n: Option<u64>,
    /// The agent that answers.
    pub agent: Arc<AgentEntry>,
    /// Whether it made an active run of its session end.
    pub interrupted: bool,
}

/// The answer to a request for a run.
#[derive(Clone, Debug)]
pub enum Started {
    /// A new run.
    New(Admitted),
    /// The key is known and its run has not ended. `log` is there unless the run belongs to an
    /// earlier process.
    InFlight {
        /// Id the caller knows.
        wire_id: WireId,
        /// The session.
        session: SessionKey,
        /// The run's events.
        log: Option<Arc<Log>>,
    },
    /// The key is known and its run ended like this.
    Ended(EndedRun),
    /// The message was a stop command.
    Stopped(Aborted),
}

/// A run that ended, from its log or from the ledger.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// Id the caller knows.
    pub wire_id: WireId,
    /// The session.
    pub session: SessionKey,
    /// How it ended.
    pub terminal: Arc<Terminal>,
    /// The answer text, as far as it is known.
    pub text: String,
    /// Calls of client tools in the answer, when it came from the ledger.
    pub calls: Vec<ToolCall>,
    /// What the agent thought, when it came from the ledger.
    pub reasoning: String,
    /// The run's row, when it came from the ledger.
    pub record: Option<Arc<RunRecord>>,
}

impl EndedRun {
    /// A run whose log is still there.
    pub(super) fn of_log(
        log: &Log,
        terminal: Arc<Terminal>,
        record: Option<Arc<RunRecord>>,
    ) -> Self {
        let info = log.info();
        Self {
            wire_id: info.wire_id.clone(),
            session: info.session.clone(),
            terminal,
            text: log.text(),
            calls: Vec::new(),
            reasoning: String::new(),
            record,
        }
    }
}

/// A run that was found by its wire id.
#[derive(Clone, Debug)]
pub enum FoundRun {
    /// It lives, or ended not long ago: its events are there.
    Logged(Arc<Log>),
    /// Only the ledger knows it.
    Stored(Box<StoredRun>),
}

/// What the ledger knows of a run.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// The run's row.
    pub record: RunRecord,
    /// The answer text.
    pub text: String,
    /// Calls of client tools in the answer.
    pub calls: Vec<ToolCall>,
}

/// A run, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// Its key in the ledger.
    pub run_id: RunId,
    /// The id peers use.
    pub wire_id: WireId,
    /// Its session.
    pub session: SessionKey,
    /// Its agent.
    pub agent: AgentId,
    /// Which front accepted it.
    pub front: Front,
    /// Whether it is kept in the ledger.
    pub is_stored: bool,
    /// When it was accepted, in wall-clock milliseconds.
    pub accepted_at_ms: u64,
    /// When its agent was started.
    pub started_at_ms: Option<u64>,
    /// How it ended, once it has.
    pub terminal: Option<Arc<Terminal>>,
}

/// A run with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRun {
    /// The run.
    pub run: RunView,
    /// What it was asked, once that is in the transcript.
    pub input: Vec<String>,
    /// What it has answered so far.
    pub text: String,
}

/// What was stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aborted {
    /// The runs that end because of this call.
    pub runs: Vec<WireId>,
}

/// The answer of `agent.wait`.
#[derive(Clone, Debug)]
pub enum Waited {
    /// The run ended.
    Ended(EndedRun),
    /// The run waits for its lane and the time is over.
    Queued,
    /// The run is active, or unknown, and the time is over.
    Running,
}

/// Part of a session's transcript, and what is under way in it.
#[derive(Clone, Debug)]
pub struct History {
    /// Canonical key.
    pub key: SessionKey,
    /// The session; `None` when it does not exist.
    pub session: Option<SessionRecord>,
    /// The messages, oldest first.
    pub entries: Vec<Entry>,
    /// Entries the transcript has in all.
    pub total: u64,
    /// How many of the newest come behind these.
    pub skip: u64,
    /// The active run.
    pub in_flight: Option<InFlight>,
    /// Runs that wait, in order.
    pub waiting: Vec<WaitingInput>,
    /// Whether the caller's cursor belongs to another transcript or is too old.
    pub reset: bool,
}

/// A run that waits, and what it was asked.
#[derive(Clone, Debug)]
pub struct WaitingInput {
    /// The run.
    pub info: Arc<RunInfo>,
    /// Id of the message; `None` for a run far back in the queue.
    pub id: Option<EntryId>,
    /// The message; empty for a run far back in the queue.
    pub text: String,
}

/// An active run, as a client that just came needs it.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// The run.
    pub info: Arc<RunInfo>,
    /// Its answer so far.
    pub text: String,
    /// When the agent was started, in wall-clock milliseconds.
    pub started_at_ms: Option<u64>,
}

/// A session and what lists show beside it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// The session.
    pub record: SessionRecord,
    /// Runs that have not ended, in the order they were accepted.
    pub active: Vec<Arc<RunInfo>>,
    /// The first user message, when asked for.
    pub first_text: Option<String>,
    /// The last message, when asked for.
    pub last_text: Option<String>,
}

/// A page of sessions.
#[derive(Clone, Debug)]
pub struct SessionsPage {
    /// The sessions, newest first.
    pub sessions: Vec<SessionView>,
    /// How many match in all.
    pub total: u64,
}

/// What became of a transcript that was to be summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The session.
    pub key: SessionKey,
    /// How it was shortened.
    pub how: CompactedHow,
}

/// How a transcript was shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompactedHow {
    /// It is as it was.
    NotAtAll {
        /// Why, unless it was short enough.
        reason: Option<&'static str>,
        /// Entries that are said word for word.
        kept: Option<u64>,
    },
    /// The agent gets less of it from now on.
    Shortened {
        /// Entries that are said word for word.
        kept: u64,
        /// About how many tokens it had.
        tokens_before: u64,
        /// About how many it has now.
        tokens_after: u64,
        /// What stands for the rest; `None` when that was only cut off.
        summary: Option<String>,
    },
}

/// What `chat.inject` wrote.
#[derive(Clone, Debug)]
pub struct Injected {
    /// Id of the message.
    pub id: EntryId,
    /// The session.
    pub key: SessionKey,
    /// The message.
    pub entry: Arc<Entry>,
}

/// What the metrics route tells of the queue beside the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueReport {
    /// Lanes that exist; 0 when nothing runs or waits.
    pub lanes: u64,
    /// How long the run has waited that waits longest; zero when none does.
    pub oldest_wait: Duration,
}

/// The numbers of `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusReport {
    /// Runs that are active.
    pub active: u64,
    /// Most runs that are active at once.
    pub active_max: u64,
    /// Runs that wait.
    pub waiting: u64,
    /// Lanes that exist; 0 when nothing runs or waits.
    pub lanes: u64,
    /// How long the run has waited that waits longest; zero when none does.
    pub oldest_wait: Duration,
    /// How long runs have waited since the start, in all.
    pub waited: Duration,
    /// How long the process runs.
    pub uptime: Duration,
    /// Sessions in the ledger.
    pub sessions: u64,
}
