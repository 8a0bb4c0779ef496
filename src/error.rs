//! The one closed set of error codes a peer can see, whatever the dialect.
//!
//! Modules have their own error enums; each says its [`ErrorCode`], and each dialect maps codes to
//! its own shape in one exhaustive `match`.

use serde::{Deserialize, Serialize};

/// What went wrong, as far as a peer may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request breaks the documented form or names something that does not exist.
    InvalidRequest,
    /// No valid credential was given.
    Unauthorized,
    /// The credential is valid but lacks a scope or a right.
    Forbidden,
    /// Too many failed authentications or too many calls; wait.
    RateLimited,
    /// An idempotency key or precondition collides with what is stored.
    Conflict,
    /// A queue, cap or connection limit is reached; nothing was accepted.
    Overloaded,
    /// The gateway drains or restarts; nothing was accepted, or the run was cut by it.
    Restarting,
    /// The ledger could not commit; nothing was acknowledged.
    StoreFailed,
    /// The model server refused our key.
    UpstreamAuth,
    /// The model server forbids the operation.
    UpstreamPermission,
    /// The model server calls the request malformed.
    UpstreamRequest,
    /// The model server limits our rate.
    UpstreamRateLimit,
    /// The model server is overloaded.
    UpstreamOverloaded,
    /// The account at the model server has no funds.
    UpstreamBilling,
    /// The model server failed, closed early or talked nonsense.
    UpstreamFailed,
    /// The model server did not answer in time.
    UpstreamTimeout,
    /// No connection to the model server could be made.
    UpstreamConnect,
    /// The conversation does not fit the model's context window.
    ContextOverflow,
    /// The model server does not know the model.
    UpstreamModel,
    /// `tool_choice` demanded a tool call and the agent made none.
    ToolChoiceUnmet,
    /// The run wrote more than the output cap.
    OutputLimit,
    /// The run took longer than its deadline, or was silent for too long.
    RunTimeout,
    /// The agent panicked or broke its contract.
    AgentFailed,
    /// A fault of the gateway itself.
    Internal,
}

impl ErrorCode {
    /// The stable name in logs, metrics and the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Conflict => "conflict",
            Self::Overloaded => "overloaded",
            Self::Restarting => "restarting",
            Self::StoreFailed => "store_failed",
            Self::UpstreamAuth => "upstream_auth",
            Self::UpstreamPermission => "upstream_permission",
            Self::UpstreamRequest => "upstream_request",
            Self::UpstreamRateLimit => "upstream_rate_limit",
            Self::UpstreamOverloaded => "upstream_overloaded",
            Self::UpstreamBilling => "upstream_billing",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamConnect => "upstream_connect",
            Self::ContextOverflow => "context_overflow",
            Self::UpstreamModel => "upstream_model",
            Self::ToolChoiceUnmet => "tool_choice_unmet",
            Self::OutputLimit => "output_limit",
            Self::RunTimeout => "run_timeout",
            Self::AgentFailed => "agent_failed",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may be sent again unchanged, because nothing was done for it.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::Overloaded | Self::Restarting
        )
    }
}
