//! How the end of a run is told in the native dialect: stop reasons, error kinds, silent replies
//! (`protocol-facts` §7.3, §8.5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::run::{AbortCause, FinishReason, ModelRef, Outcome, RunError, TimeoutPhase};

/// An answer that is only this token says nothing and is not shown.
pub const SILENT_REPLY: &str = "NO_REPLY";

/// Longest text in an error detail, in characters.
const DETAIL_CHARS_MAX: usize = 300;

/// Whether an answer is the silent reply.
pub fn is_silent(text: &str) -> bool {
    text.trim() == SILENT_REPLY
}

/// The answer as events and results show it: without white space at its end; `None` for an empty
/// or silent one.
pub fn visible_text(text: &str) -> Option<&str> {
    let shown = text.trim_end();
    (!shown.trim_start().is_empty() && !is_silent(shown)).then_some(shown)
}

/// What there is to show of an answer that is not complete: as [`visible_text`], and nothing while
/// it may still become the silent reply.
pub fn visible_so_far(text: &str) -> Option<&str> {
    visible_text(text).filter(|_shown| !SILENT_REPLY.starts_with(text.trim_start()))
}

/// The stop reason of an answer that ended by itself.
pub const fn finish_stop_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Folded => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "toolUse",
    }
}

/// The `stopReason` peers see for the end of a run.
pub const fn stop_reason(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok(reason) => finish_stop_reason(*reason),
        Outcome::Error(_) => "error",
        Outcome::Aborted(cause) => cause.stop_reason(),
        Outcome::TimedOut(_) => "timeout",
        Outcome::Interrupted => AbortCause::Restart.stop_reason(),
    }
}

/// Which deadline passed, when one did.
pub const fn timeout_phase(outcome: &Outcome) -> Option<TimeoutPhase> {
    match outcome {
        Outcome::TimedOut(phase) => Some(*phase),
        Outcome::Ok(_) | Outcome::Error(_) | Outcome::Aborted(_) | Outcome::Interrupted => None,
    }
}

/// Whether the process ended, or was about to, before the run did (`design.md` §4).
pub const fn is_interrupted(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Interrupted | Outcome::Aborted(AbortCause::Restart)
    )
}

/// The class of a failure, as `chat` events name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The model refused.
    Refusal,
    /// Something took too long.
    Timeout,
    /// A rate limit.
    RateLimit,
    /// The conversation is too long for the model.
    ContextLength,
    /// Anything else.
    Unknown,
}

impl ErrorKind {
    /// The kind of a class of failures; `None` where clients should only show the message.
    pub const fn of(code: ErrorCode) -> Option<Self> {
        match code {
            ErrorCode::RunTimeout | ErrorCode::UpstreamTimeout => Some(Self::Timeout),
            ErrorCode::RateLimited | ErrorCode::UpstreamRateLimit => Some(Self::RateLimit),
            ErrorCode::ContextOverflow => Some(Self::ContextLength),
            ErrorCode::InvalidRequest
            | ErrorCode::Unauthorized
            | ErrorCode::Forbidden
            | ErrorCode::Conflict
            | ErrorCode::Overloaded
            | ErrorCode::Restarting
            | ErrorCode::StoreFailed
            | ErrorCode::UpstreamAuth
            | ErrorCode::UpstreamPermission
            | ErrorCode::UpstreamRequest
            | ErrorCode::UpstreamOverloaded
            | ErrorCode::UpstreamBilling
            | ErrorCode::UpstreamFailed
            | ErrorCode::UpstreamConnect
            | ErrorCode::UpstreamModel
            | ErrorCode::ToolChoiceUnmet
            | ErrorCode::OutputLimit
            | ErrorCode::AgentFailed
            | ErrorCode::Internal => None,
        }
    }
}

/// Where a failure came from, for clients that show more than the message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetail {
    /// The provider that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why another model would be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover_reason: Option<String>,
    /// The provider's own name for the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_error_type: Option<String>,
}

impl ErrorDetail {
    /// The detail of a failure at a model server; `None` for a failure of the gateway itself.
    pub fn new(error: &RunError, model: Option<&ModelRef>) -> Option<Self> {
        let reason = failover_reason(error.code)?;
        let bounded = |text: &str| text.chars().take(DETAIL_CHARS_MAX).collect::<String>();
        Some(Self {
            provider: model.map(|model| bounded(&model.provider)),
            model: model.map(|model| bounded(&model.model)),
            failover_reason: Some(reason.to_owned()),
            provider_error_type: error.upstream_code.as_deref().map(bounded),
        })
    }
}

/// The reason word of a failure at a model server.
const fn failover_reason(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::UpstreamAuth => Some("auth"),
        ErrorCode::UpstreamPermission => Some("auth_permanent"),
        ErrorCode::UpstreamRequest => Some("format"),
        ErrorCode::UpstreamRateLimit => Some("rate_limit"),
        ErrorCode::UpstreamOverloaded => Some("overloaded"),
        ErrorCode::UpstreamBilling => Some("billing"),
        ErrorCode::UpstreamFailed | ErrorCode::UpstreamConnect => Some("server_error"),
        ErrorCode::UpstreamTimeout => Some("timeout"),
        ErrorCode::ContextOverflow => Some("context_overflow"),
        ErrorCode::UpstreamModel => Some("model_not_found"),
        ErrorCode::InvalidRequest
        | ErrorCode::Unauthorized
        | ErrorCode::Forbidden
        | ErrorCode::RateLimited
        | ErrorCode::Conflict
        | ErrorCode::Overloaded
        | ErrorCode::Restarting
        | ErrorCode::StoreFailed
        | ErrorCode::ToolChoiceUnmet
        | ErrorCode::OutputLimit
        | ErrorCode::RunTimeout
        | ErrorCode::AgentFailed
        | ErrorCode::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_at_the_end_and_silent_answers_are_not_shown() {
        let check = |text, expected| assert_eq!(visible_text(text), expected, "{text:?}");
        check("w0 w1 \n", Some("w0 w1"));
        check("  w0", Some("  w0"));
        check("", None);
        check(" \n", None);
        check(" NO_REPLY\n", None);
        check("NO_REPLY now", Some("NO_REPLY now"));
        assert_eq!(visible_so_far("\nNO_RE"), None);
        assert_eq!(visible_so_far("NO_REPLIES "), Some("NO_REPLIES"));
        assert_eq!(visible_so_far("NO "), Some("NO"));
        assert_eq!(visible_text("NO_RE"), Some("NO_RE"));
    }

    #[test]
    fn every_end_has_the_stop_reason_clients_know() {
        let check = |outcome: Outcome, expected| {
            assert_eq!(stop_reason(&outcome), expected, "{outcome:?}");
        };
        check(Outcome::Ok(FinishReason::Stop), "stop");
        check(Outcome::Ok(FinishReason::Length), "length");
        check(Outcome::Ok(FinishReason::ToolCalls), "toolUse");
        check(Outcome::Aborted(AbortCause::Rpc), "rpc");
        check(Outcome::Aborted(AbortCause::Stop), "stop");
        check(Outcome::Aborted(AbortCause::Dropped), "dropped");
        check(Outcome::TimedOut(TimeoutPhase::Idle), "timeout");
        check(Outcome::Interrupted, "restart");
    }

    #[test]
    fn a_failure_at_the_model_server_names_provider_and_reason() {
        let model = ModelRef {
            provider: "local".into(),
            model: "m".into(),
        };
        let mut error = RunError::new(ErrorCode::UpstreamRateLimit, "slow down");
        error.upstream_code = Some("x".repeat(400).into());
        let detail = ErrorDetail::new(&error, Some(&model)).unwrap();
        assert_eq!(detail.failover_reason.as_deref(), Some("rate_limit"));
        assert_eq!(detail.provider.as_deref(), Some("local"));
        assert_eq!(detail.provider_error_type.map(|text| text.len()), Some(300));
        assert_eq!(ErrorKind::of(error.code), Some(ErrorKind::RateLimit));

        let own = RunError::new(ErrorCode::AgentFailed, "the agent panicked");
        assert_eq!(ErrorDetail::new(&own, Some(&model)), None);
        assert_eq!(ErrorKind::of(own.code), None);
    }
}
