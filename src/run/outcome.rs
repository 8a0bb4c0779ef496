//! How a run ends: exactly one terminal per run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;

use super::event::{FinishReason, Usage};

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// How it ended.
    pub outcome: Outcome,
    /// When the agent was started, in wall-clock milliseconds; absent when it never was.
    pub started_at_ms: Option<u64>,
    /// When it ended, in wall-clock milliseconds.
    pub ended_at_ms: u64,
    /// Tokens used, when the model server told.
    pub usage: Option<Usage>,
}

impl Terminal {
    /// The terminal of a message that became part of the run that ended like this: what is true of
    /// that run is true of the message, but the answer and its tokens are the run's.
    #[must_use]
    pub fn of_folded(&self) -> Self {
        let outcome = match &self.outcome {
            Outcome::Ok(_) => Outcome::Ok(FinishReason::Folded),
            other => other.clone(),
        };
        Self {
            outcome,
            usage: None,
            ..self.clone()
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The agent finished its answer.
    Ok(FinishReason),
    /// The run failed; it never looks complete.
    Error(RunError),
    /// Somebody or something stopped it.
    Aborted(AbortCause),
    /// A deadline passed.
    TimedOut(TimeoutPhase),
    /// The process ended while the run was active.
    Interrupted,
}

impl Outcome {
    /// The state name in the ledger, logs and metrics.
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Error(_) => "error",
            Self::Aborted(_) => "aborted",
            Self::TimedOut(_) => "timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// The class of the failure.
    pub code: ErrorCode,
    /// A message that is safe to show to a peer.
    pub message: Arc<str>,
    /// The model server's own error code, when it gave one.
    pub upstream_code: Option<Arc<str>>,
}

impl RunError {
    /// A failure with a message that is safe to show.
    pub fn new(code: ErrorCode, message: impl Into<Arc<str>>) -> Self {
        Self {
            code,
            message: message.into(),
            upstream_code: None,
        }
    }
}

/// Who or what stopped a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortCause {
    /// `chat.abort`, `sessions.abort` or the HTTP cancel route.
    Rpc,
    /// A stop command in a chat message.
    Stop,
    /// A newer message in `interrupt` mode.
    Replaced,
    /// The HTTP client went away.
    ClientGone,
    /// The drain budget was used up.
    Restart,
    /// A drop policy threw the waiting input away.
    Dropped,
    /// The session was reset or deleted.
    SessionEnded,
    /// The device that asked for it was removed or its token revoked.
    Revoked,
}

impl AbortCause {
    /// The `stopReason` peers see (`protocol-facts` §7.3, §8.5).
    pub const fn stop_reason(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Stop => "stop",
            Self::Replaced | Self::ClientGone | Self::SessionEnded => "aborted",
            Self::Restart => "restart",
            Self::Dropped => "dropped",
            Self::Revoked => "revoked",
        }
    }
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutPhase {
    /// The run waited too long for its lane.
    Queue,
    /// The run took too long altogether.
    Run,
    /// The agent said nothing for too long.
    Idle,
}

impl TimeoutPhase {
    /// The name peers see in `timeoutPhase`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Run => "run",
            Self::Idle => "idle",
        }
    }
}
