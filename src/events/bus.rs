//! Tells watchers what began, ended or changed; the seam to many nodes.
//!
//! [`InProcessBus`] serves one process. A notice may be lost by a watcher that lags: the watcher is
//! told and reads the state again; nothing that must not be lost travels here.

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::ids::{AgentId, RunId, SessionId, SessionKey};
use crate::run::{AbortCause, Entry};

use super::log::Log;

/// Notices a watcher may be behind before it loses the oldest.
const NOTICES_MAX: usize = 4096;

/// Something watchers want to know.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A run was accepted and waits or starts.
    RunAccepted(Arc<Log>),
    /// The agent of a run was started.
    RunStarted(Arc<Log>),
    /// A run ended and its slot is free.
    RunEnded(Arc<Log>),
    /// A message was committed to a transcript.
    Message {
        /// The session.
        session: SessionKey,
        /// Its agent.
        agent: AgentId,
        /// Its transcript.
        session_id: SessionId,
        /// The message.
        entry: Arc<Entry>,
    },
    /// A transcript is being summed up, or has been.
    Compaction {
        /// The session.
        session: SessionKey,
        /// Its agent.
        agent: AgentId,
        /// Tells one time from the next.
        operation: Uuid,
        /// How far it is.
        phase: CompactionPhase,
    },
    /// A session was made, changed, reset or deleted.
    SessionChanged {
        /// The session.
        session: SessionKey,
        /// Its agent.
        agent: AgentId,
        /// What happened.
        reason: ChangeReason,
    },
}

/// How far the summing up of a transcript is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionPhase {
    /// It begins.
    Started,
    /// It is over.
    Ended {
        /// Why the transcript is as it was, when it is.
        failure: Option<&'static str>,
    },
}

/// What happened to a session, as `sessions.changed` names it (`protocol-facts` §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeReason {
    /// It was made.
    Create,
    /// It was reset by `/new`.
    New,
    /// It was reset.
    Reset,
    /// A message was sent to it.
    Send,
    /// A message was steered into it.
    Steer,
    /// Its settings were changed.
    Patch,
    /// It was deleted.
    Delete,
    /// Its transcript was compacted.
    Compact,
}

impl ChangeReason {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::New => "new",
            Self::Reset => "reset",
            Self::Send => "send",
            Self::Steer => "steer",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Compact => "compact",
        }
    }
}

/// An order to the owner of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunCommand {
    /// End it.
    Cancel(AbortCause),
}

/// What the owner of a run answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunReply {
    /// The run will end because of this order.
    Cancelled,
    /// The run had ended or is ending already.
    NotActive,
}

/// An order that found no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No node runs it.
    #[error("no node owns the run")]
    NoOwner,
}

/// Takes orders for the runs of this node.
pub trait RunControl: Send + Sync + fmt::Debug {
    /// Carries out `command` on `run`.
    fn control(&self, run: RunId, command: RunCommand) -> BoxFuture<'_, RunReply>;
}

/// Carries notices to watchers and orders to owners of runs.
pub trait Bus: Send + Sync + fmt::Debug {
    /// Tells every watcher; never waits.
    fn publish(&self, notice: Notice);

    /// Watches from now on. A watcher that lags gets `RecvError::Lagged` and must read anew.
    fn subscribe(&self) -> broadcast::Receiver<Notice>;

    /// Sends an order to whoever owns the run.
    fn call(&self, run: RunId, command: RunCommand) -> BoxFuture<'_, Result<RunReply, CallError>>;
}

/// The bus of a single process.
#[derive(Debug)]
pub struct InProcessBus {
    notices: broadcast::Sender<Notice>,
    control: OnceLock<Arc<dyn RunControl>>,
}

impl InProcessBus {
    /// A bus without watchers.
    pub fn new() -> Self {
        Self {
            notices: broadcast::Sender::new(NOTICES_MAX),
            control: OnceLock::new(),
        }
    }

    /// Names the owner of this process's runs; only the first call counts.
    pub fn set_control(&self, control: Arc<dyn RunControl>) {
        self.control.get_or_init(|| control);
    }
}

impl Default for InProcessBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for InProcessBus {
    fn publish(&self, notice: Notice) {
        // No watcher is not a failure: nobody is told.
        self.notices.send(notice).ok();
    }

    fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    fn call(&self, run: RunId, command: RunCommand) -> BoxFuture<'_, Result<RunReply, CallError>> {
        Box::pin(async move {
            let control = self.control.get().ok_or(CallError::NoOwner)?;
            Ok(control.control(run, command).await)
        })
    }
}
