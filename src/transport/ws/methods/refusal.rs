//! The errors of dispatch in the words native clients know (`protocol-facts` §5.4).

use std::time::Duration;

use serde_json::json;

use crate::dispatch::DispatchError;
use crate::error::ErrorCode;
use crate::protocol::{ErrorBody, Protocol, missing_scope, unavailable_during_restart};

/// Methods that answer to a bad key or agent as to bad params.
const NAMES_PARAMS: [&str; 2] = ["agent", "agent.identity.get"];

/// Has words of its own for what does not fit together.
const ABORT: &str = "sessions.abort";

/// The error as a caller of `method` is told.
pub(super) fn body(error: &DispatchError, method: &str, protocol: Protocol) -> ErrorBody {
    let text = message(error, method);
    let body = ErrorBody::of(code(error), protocol, text);
    match error {
        DispatchError::MissingScope(scope) => missing_scope(protocol, scope.as_str()),
        DispatchError::Draining | DispatchError::Stopped => unavailable_during_restart(method),
        DispatchError::KeyReused if protocol == Protocol::V4 => {
            body.with_details(json!({ "reason": "chat-request-conflict" }))
        }
        DispatchError::SessionChanged(_) if protocol == Protocol::V4 => {
            body.with_details(json!({ "reason": "session-changed" }))
        }
        DispatchError::UnknownAgent(id) if protocol == Protocol::V4 && method != "agent" => {
            body.with_details(json!({ "code": "UNKNOWN_AGENT_ID", "agentId": id }))
        }
        DispatchError::SessionActive(_)
        | DispatchError::Overloaded { .. }
        | DispatchError::RateLimited { .. } => match error.retry_after() {
            Some(wait) => body.retry_after(wait),
            None => body,
        },
        DispatchError::KeyReused
        | DispatchError::SessionChanged(_)
        | DispatchError::UnknownAgent(_)
        | DispatchError::NoDefaultAgent(_)
        | DispatchError::AgentMismatch { .. }
        | DispatchError::MalformedKey(_)
        | DispatchError::ReservedKey
        | DispatchError::BadKeyText { .. }
        | DispatchError::BadIdempotencyKey
        | DispatchError::EmptyMessage
        | DispatchError::NullByte
        | DispatchError::SessionNotFound(_)
        | DispatchError::UnknownParent(_)
        | DispatchError::DeleteMain(_)
        | DispatchError::NothingNamed
        | DispatchError::RunInOtherSession
        | DispatchError::NotOwner
        | DispatchError::LabelInUse(_)
        | DispatchError::InvalidSetting(_)
        | DispatchError::SendBlocked
        | DispatchError::ModelNotAllowed { .. }
        | DispatchError::Ledger(_) => body,
    }
}

/// The class of a refusal. This dialect counts a missing right over a run as a bad request.
const fn code(error: &DispatchError) -> ErrorCode {
    if matches!(error, DispatchError::NotOwner) {
        return ErrorCode::InvalidRequest;
    }
    error.code()
}

fn message(error: &DispatchError, method: &str) -> String {
    match error {
        DispatchError::UnknownAgent(id) if method == ABORT => format!("agent \"{id}\" not found"),
        DispatchError::AgentMismatch { .. } if method == ABORT => {
            "session key agent does not match agentId".to_owned()
        }
        DispatchError::RunInOtherSession if method == ABORT => {
            "runId does not match session".to_owned()
        }
        DispatchError::UnknownAgent(id) => as_params(method, format!("unknown agent id \"{id}\"")),
        DispatchError::AgentMismatch {
            agent,
            key_agent,
            key,
        } => {
            if NAMES_PARAMS.contains(&method) {
                let what =
                    format!("agent \"{agent}\" does not match session key agent \"{key_agent}\"");
                as_params(method, what)
            } else {
                format!("agentId \"{agent}\" does not match session key \"{key}\"")
            }
        }
        DispatchError::MalformedKey(key) => {
            format!("invalid {method} params: malformed session key \"{key}\"")
        }
        DispatchError::BadKeyText { .. } | DispatchError::BadIdempotencyKey => {
            format!("invalid {method} params: {error}")
        }
        DispatchError::KeyReused => "This message ID was already used for different input. \
             Check the conversation history and use a new message ID to send again."
            .to_owned(),
        DispatchError::SessionNotFound(_) if method == "chat.inject" => {
            "session not found".to_owned()
        }
        DispatchError::SessionChanged(key) => {
            format!("Session \"{key}\" changed while starting work. Retry.")
        }
        DispatchError::DeleteMain(key) => format!("Cannot delete the main session ({key})."),
        DispatchError::SessionActive(key) => {
            format!("Session {key} is still active; try again in a moment.")
        }
        DispatchError::RunInOtherSession => "runId does not match sessionKey".to_owned(),
        DispatchError::NotOwner => "unauthorized".to_owned(),
        DispatchError::RateLimited { retry_after } => {
            let seconds = whole_seconds(*retry_after);
            format!("rate limit exceeded for {method}; retry after {seconds}s")
        }
        DispatchError::ModelNotAllowed { model, agent: _ } => {
            format!("model not allowed: {model}")
        }
        DispatchError::SessionNotFound(_)
        | DispatchError::UnknownParent(_)
        | DispatchError::NothingNamed
        | DispatchError::MissingScope(_)
        | DispatchError::NoDefaultAgent(_)
        | DispatchError::ReservedKey
        | DispatchError::EmptyMessage
        | DispatchError::NullByte
        | DispatchError::LabelInUse(_)
        | DispatchError::InvalidSetting(_)
        | DispatchError::SendBlocked
        | DispatchError::Overloaded { .. }
        | DispatchError::Draining
        | DispatchError::Ledger(_)
        | DispatchError::Stopped => error.to_string(),
    }
}

fn as_params(method: &str, what: String) -> String {
    if NAMES_PARAMS.contains(&method) {
        format!("invalid {method} params: {what}")
    } else {
        what
    }
}

/// Rounded up, so that a caller that waits that long is not refused again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::auth::Scope;
    use crate::ids::{AgentId, SessionKey};
    use crate::protocol::Protocol::{V3, V4};
    use crate::session::LedgerError;

    fn check(error: &DispatchError, method: &str, protocol: Protocol, expected: &Value) {
        let found = serde_json::to_value(body(error, method, protocol)).unwrap();
        assert_eq!(found, *expected, "{error:?} {method} {protocol:?}");
    }

    fn invalid(message: &str) -> Value {
        json!({ "code": "INVALID_REQUEST", "message": message })
    }

    #[test]
    fn refusals_have_the_documented_words() {
        let session = SessionKey::from_canonical("agent:main:main");
        let mismatch = DispatchError::AgentMismatch {
            agent: "beta".to_owned(),
            key_agent: AgentId::parse("main").unwrap(),
            key: "agent:main:x".to_owned(),
        };
        let table = [
            (
                DispatchError::UnknownAgent("ghost".to_owned()),
                "agent",
                "invalid agent params: unknown agent id \"ghost\"",
            ),
            (
                DispatchError::MalformedKey("agent:".to_owned()),
                "agent",
                "invalid agent params: malformed session key \"agent:\"",
            ),
            (
                mismatch.clone(),
                "agent",
                "invalid agent params: agent \"beta\" does not match session key agent \"main\"",
            ),
            (
                mismatch,
                "chat.send",
                "agentId \"beta\" does not match session key \"agent:main:x\"",
            ),
            (
                DispatchError::EmptyMessage,
                "chat.send",
                "message or attachment required",
            ),
            (
                DispatchError::SessionNotFound("x".to_owned()),
                "chat.inject",
                "session not found",
            ),
            (
                DispatchError::DeleteMain(session),
                "sessions.delete",
                "Cannot delete the main session (agent:main:main).",
            ),
            (DispatchError::NotOwner, "chat.abort", "unauthorized"),
            (
                DispatchError::RunInOtherSession,
                "chat.abort",
                "runId does not match sessionKey",
            ),
            (
                DispatchError::SendBlocked,
                "chat.send",
                "send blocked by session policy",
            ),
        ];
        for (error, method, message) in table {
            check(&error, method, V4, &invalid(message));
            check(&error, method, V3, &invalid(message));
        }
    }

    #[test]
    fn a_reused_key_has_a_reason_in_version_4() {
        let text = "This message ID was already used for different input. Check the conversation \
                    history and use a new message ID to send again.";
        let mut expected = invalid(text);
        check(&DispatchError::KeyReused, "chat.send", V3, &expected);
        expected["details"] = json!({ "reason": "chat-request-conflict" });
        check(&DispatchError::KeyReused, "chat.send", V4, &expected);
    }

    #[test]
    fn what_can_be_tried_again_says_when() {
        let full = DispatchError::Overloaded {
            what: "the queue of the session",
            retry_after: Duration::from_secs(1),
        };
        let expected = json!({ "code": "UNAVAILABLE", "message": "the queue of the session is full",
                               "retryable": true, "retryAfterMs": 1000 });
        check(&full, "chat.send", V4, &expected);
        let limited = DispatchError::RateLimited {
            retry_after: Duration::from_millis(1_500),
        };
        let expected = json!({ "code": "UNAVAILABLE", "retryable": true, "retryAfterMs": 1500,
                               "message": "rate limit exceeded for x; retry after 2s" });
        check(&limited, "x", V4, &expected);
        let draining = serde_json::to_value(unavailable_during_restart("chat.send")).unwrap();
        check(&DispatchError::Draining, "chat.send", V4, &draining);
    }

    #[test]
    fn the_store_is_not_shown_and_scopes_are_named() {
        let failed = LedgerError::Failed {
            reason: "/secret/path: disk I/O error".into(),
            fault: crate::session::Fault::Io,
        };
        let expected = json!({ "code": "UNAVAILABLE", "message": "the store failed" });
        check(&DispatchError::Ledger(failed), "chat.send", V4, &expected);
        let missing = DispatchError::MissingScope(Scope::Admin);
        let expected = json!({ "code": "INVALID_REQUEST",
                               "message": "missing scope: operator.admin" });
        check(&missing, "agent", V3, &expected);
        assert_eq!(
            body(&missing, "agent", V4).code,
            crate::protocol::WireCode::Forbidden
        );
    }
}
