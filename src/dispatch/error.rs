//! Why dispatch refused, typed; each dialect gives it its own shape.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Scope;
use crate::error::ErrorCode;
use crate::ids::{AgentId, SessionKey};
use crate::session::LedgerError;

use super::views::NoDefaultAgent;

/// Why an operation was refused. Nothing was changed, unless the variant says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DispatchError {
    /// The principal lacks a scope.
    #[error("missing scope: {}", .0.as_str())]
    MissingScope(Scope),
    /// No such agent.
    #[error("unknown agent id {0:?}")]
    UnknownAgent(String),
    /// Several agents and no default.
    #[error(transparent)]
    NoDefaultAgent(#[from] NoDefaultAgent),
    /// `agentId` and session key name different agents.
    #[error("agent {agent} does not match session key agent {key_agent}")]
    AgentMismatch {
        /// The agent asked for.
        agent: String,
        /// The agent in the key.
        key_agent: AgentId,
        /// The key, as the caller wrote it.
        key: String,
    },
    /// The session key is not in the grammar.
    #[error("malformed session key {0:?}")]
    MalformedKey(String),
    /// The session key is in a namespace HTTP callers may not use.
    #[error("the session key is in a reserved namespace")]
    ReservedKey,
    /// The session key or `user` is too long or holds control characters.
    #[error("{what} is longer than {bytes_max} bytes or holds control characters")]
    BadKeyText {
        /// What it is.
        what: &'static str,
        /// The limit.
        bytes_max: usize,
    },
    /// The idempotency key is not usable.
    #[error("the idempotency key is empty, too long or holds control characters")]
    BadIdempotencyKey,
    /// The idempotency key was used for another input.
    #[error("the key was already used for different input")]
    KeyReused,
    /// There is neither text nor image in the message.
    #[error("message or attachment required")]
    EmptyMessage,
    /// The message holds a null character.
    #[error("message must not contain null bytes")]
    NullByte,
    /// The session is not there.
    #[error("session not found: {0}")]
    SessionNotFound(String),
    /// The session a new one is to belong to is not there.
    #[error("unknown parent session: {0}")]
    UnknownParent(String),
    /// The session has another transcript than the caller expects.
    #[error("session {0} changed")]
    SessionChanged(SessionKey),
    /// The main session cannot be deleted.
    #[error("cannot delete the main session ({0})")]
    DeleteMain(SessionKey),
    /// A run of the session did not end in time.
    #[error("session {0} is still active")]
    SessionActive(SessionKey),
    /// Neither a session nor a run was named.
    #[error("key required")]
    NothingNamed,
    /// The run belongs to another session.
    #[error("the run belongs to another session")]
    RunInOtherSession,
    /// The run belongs to somebody else.
    #[error("the run belongs to somebody else")]
    NotOwner,
    /// The label is taken.
    #[error("label already in use: {0}")]
    LabelInUse(Arc<str>),
    /// A setting has a value it cannot have; the text says which and what it can have.
    #[error("{0}")]
    InvalidSetting(Arc<str>),
    /// The session's policy forbids sending.
    #[error("send blocked by session policy")]
    SendBlocked,
    /// A model that is not configured.
    #[error("model not allowed: {model}")]
    ModelNotAllowed {
        /// The model asked for.
        model: String,
        /// The agent it was asked of.
        agent: AgentId,
    },
    /// A queue or cap is full.
    #[error("{what} is full")]
    Overloaded {
        /// Which bound was reached.
        what: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many calls of this kind.
    #[error("rate limit exceeded")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The gateway drains.
    #[error("the gateway restarts")]
    Draining,
    /// The ledger failed; the operation may have to be repeated.
    #[error("the store failed")]
    Ledger(#[from] LedgerError),
    /// The scheduler has stopped.
    #[error("the scheduler has stopped")]
    Stopped,
}

impl DispatchError {
    /// The class of the refusal.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::MissingScope(_) | Self::NotOwner => ErrorCode::Forbidden,
            Self::UnknownAgent(_)
            | Self::NoDefaultAgent(_)
            | Self::AgentMismatch { .. }
            | Self::MalformedKey(_)
            | Self::ReservedKey
            | Self::BadKeyText { .. }
            | Self::BadIdempotencyKey
            | Self::EmptyMessage
            | Self::NullByte
            | Self::SessionNotFound(_)
            | Self::UnknownParent(_)
            | Self::DeleteMain(_)
            | Self::NothingNamed
            | Self::RunInOtherSession
            | Self::LabelInUse(_)
            | Self::InvalidSetting(_)
            | Self::SendBlocked
            | Self::ModelNotAllowed { .. } => ErrorCode::InvalidRequest,
            Self::KeyReused | Self::SessionChanged(_) => ErrorCode::Conflict,
            Self::SessionActive(_) | Self::Overloaded { .. } => ErrorCode::Overloaded,
            Self::RateLimited { .. } => ErrorCode::RateLimited,
            Self::Draining | Self::Stopped => ErrorCode::Restarting,
            Self::Ledger(_) => ErrorCode::StoreFailed,
        }
    }

    /// When the same request may be tried again.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } | Self::RateLimited { retry_after } => {
                Some(*retry_after)
            }
            Self::Draining | Self::Stopped | Self::SessionActive(_) => Some(Duration::from_secs(1)),
            Self::MissingScope(_)
            | Self::NotOwner
            | Self::UnknownAgent(_)
            | Self::NoDefaultAgent(_)
            | Self::AgentMismatch { .. }
            | Self::MalformedKey(_)
            | Self::ReservedKey
            | Self::BadKeyText { .. }
            | Self::BadIdempotencyKey
            | Self::EmptyMessage
            | Self::NullByte
            | Self::SessionNotFound(_)
            | Self::UnknownParent(_)
            | Self::DeleteMain(_)
            | Self::NothingNamed
            | Self::RunInOtherSession
            | Self::LabelInUse(_)
            | Self::InvalidSetting(_)
            | Self::SendBlocked
            | Self::ModelNotAllowed { .. }
            | Self::KeyReused
            | Self::SessionChanged(_)
            | Self::Ledger(_) => None,
        }
    }
}
