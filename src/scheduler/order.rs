//! What the scheduler is asked and what it answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::agent::AgentRef;
use crate::error::ErrorCode;
use crate::events::Log;
use crate::ids::{AgentId, SessionId};
use crate::run::{RunInfo, Turn};
use crate::session::{Accepted, IdempotencyScope, LedgerError, ModeChoice, NewEntry, RunRecord};

/// A run to schedule.
#[derive(Debug)]
pub struct Order {
    /// Its identity card.
    pub info: Arc<RunInfo>,
    /// Where its events go.
    pub log: Arc<Log>,
    /// What to answer.
    pub turn: Turn,
    /// Who answers.
    pub agent: AgentRef,
    /// Bounds.
    pub limits: RunLimits,
    /// What to commit before the run is acknowledged.
    pub accept: Accept,
    /// How it behaves in a busy session; `None` for a run somebody waits for, which is never merged
    /// or dropped.
    pub chat: Option<Chat>,
}

/// How a chat message behaves in a busy session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Its queue mode, once the settings of the session are known.
    pub mode: ModeChoice,
    /// The beginning of the message, for the summary of what was dropped.
    pub preview: Box<str>,
}

/// Bounds of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Active runs its agent may have.
    pub agent_active_max: u32,
    /// The agent's share beside other agents.
    pub agent_weight: u32,
    /// How long the run may take once started; `None` is no limit.
    pub run: Option<Duration>,
    /// How long its agent may be silent; `None` is no limit.
    pub idle: Option<Duration>,
    /// How long its backend may take to end after a cancel.
    pub abort_grace: Duration,
    /// Most bytes of answer.
    pub output_bytes_max: usize,
}

impl RunLimits {
    /// How long a healthy run can hold its slot: its deadline, its backend's grace, and the commits
    /// around it: of its start and what is merged into it, of a part of its answer and the messages
    /// behind that, of its end.
    pub(super) fn hold(&self) -> Option<Duration> {
        self.run
            .map(|run| run + self.abort_grace + 7 * LEDGER_WAIT_MAX)
    }
}

/// Longest wait for one commit before the store counts as failed.
pub(super) const LEDGER_WAIT_MAX: Duration = Duration::from_secs(30);

/// What accepting a run takes.
#[derive(Debug)]
pub enum Accept {
    /// Nothing: the session is not stored.
    Ephemeral,
    /// A commit, before the run is acknowledged.
    Commit(Commit),
    /// Nothing any more: an earlier process accepted it.
    Recovered(Box<Recovered>),
}

impl Accept {
    /// The idempotency key, if the caller gave one.
    pub(super) const fn scope(&self) -> Option<&IdempotencyScope> {
        match self {
            Self::Commit(commit) => commit.idempotency.as_ref(),
            Self::Ephemeral | Self::Recovered(_) => None,
        }
    }
}

/// A run an earlier process accepted.
#[derive(Debug)]
pub struct Recovered {
    /// The transcript the run writes to.
    pub session_id: SessionId,
    /// How far the earlier process came with it.
    pub life: Life,
    /// The settings of its session.
    pub settings: Map<String, Value>,
    /// Whether its caller may ask for it again by its key.
    pub has_key: bool,
    /// The runs that were folded into it and end with it.
    pub folded: Vec<(Arc<RunInfo>, Arc<Log>)>,
}

/// Which life of a run it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// Its agent was never started.
    #[default]
    First,
    /// Its agent was started by a process that died; its input is in the transcript.
    Another,
}

/// What is committed before a run of a stored session is acknowledged.
#[derive(Debug)]
pub struct Commit {
    /// Messages for the transcript.
    pub input: Vec<NewEntry>,
    /// The scope of the caller's idempotency key.
    pub idempotency: Option<IdempotencyScope>,
    /// Id of the transcript, should the session be new.
    pub new_session_id: SessionId,
    /// The transcript the caller expects, if it does.
    pub expected_session_id: Option<SessionId>,
    /// What beside the input is needed to start the run after a restart, as JSON.
    pub resume: Option<String>,
    /// Whether the session gets a new transcript first, which ends the runs before this one.
    pub resets: bool,
}

/// Puts what the settings of a session say into a turn.
pub trait ApplySettings: Send + Sync + fmt::Debug {
    /// Completes the turn of an agent; what the caller asked for stays.
    fn apply(&self, settings: &Map<String, Value>, agent: &AgentId, turn: &mut Turn);
}

/// The answer to an [`Order`].
#[derive(Debug)]
pub enum Submitted {
    /// The run is accepted.
    New {
        /// What was committed; `None` for an ephemeral run.
        accepted: Option<Accepted>,
        /// Whether it made an active run end (`interrupt`).
        interrupted: bool,
    },
    /// The idempotency key belongs to this run; nothing was scheduled.
    Existing(RunRecord),
    /// The idempotency key was used for another input; nothing was scheduled.
    Conflict(RunRecord),
}

/// Why an order was not accepted. Nothing was scheduled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The lane has as many waiting runs as it may.
    #[error("the session has too many waiting runs")]
    LaneFull,
    /// The gateway has as many waiting runs as it may.
    #[error("the gateway has too many waiting runs")]
    GatewayFull,
    /// The credential has as many waiting runs as it may.
    #[error("the credential has too many waiting runs")]
    CredentialFull,
    /// The user, device or connection has as many waiting runs as it may.
    #[error("the caller has too many waiting runs")]
    PartyFull,
    /// The gateway drains.
    #[error("the gateway restarts")]
    Draining,
    /// The accept commit failed.
    #[error("the run could not be stored")]
    Ledger(#[from] LedgerError),
    /// The scheduler has stopped.
    #[error("the scheduler has stopped")]
    Stopped,
}

impl SubmitError {
    /// The class of the refusal.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::LaneFull | Self::GatewayFull | Self::CredentialFull | Self::PartyFull => {
                ErrorCode::Overloaded
            }
            Self::Draining | Self::Stopped => ErrorCode::Restarting,
            Self::Ledger(error) => error.code(),
        }
    }
}

/// How busy the scheduler is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Active runs.
    pub active: u32,
    /// Waiting runs.
    pub waiting: u32,
    /// Lanes with a run.
    pub lanes: usize,
    /// How long the run has waited that waits longest; zero when none does.
    pub oldest_wait: Duration,
}
