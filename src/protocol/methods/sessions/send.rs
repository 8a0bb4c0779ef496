//! `sessions.send`, `sessions.steer` and `sessions.abort` (`protocol-facts` §6.7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::WireId;
use crate::protocol::NonEmpty;
use crate::protocol::methods::attachment::Attachment;
use crate::protocol::params::params;

params! {
    /// Parameters of `sessions.send` and `sessions.steer`.
    SessionsSendParams {
        required {
            /// The session; must exist, unless it is the main one.
            key: NonEmpty,
            /// The message; may be empty beside an attachment.
            message: String,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: NonEmpty,
            /// Images that come with the message.
            attachments: Vec<Attachment>,
            /// Bound of the run in milliseconds; 0 is none.
            timeout_ms: u64,
            /// The caller's name for the run; a fresh one when absent.
            idempotency_key: NonEmpty,
        }
        unused { thinking: String }
    }
}

params! {
    /// Parameters of `sessions.abort`: a session, a run, or both.
    SessionsAbortParams {
        optional {
            /// The session.
            key: NonEmpty,
            /// Only this run.
            run_id: NonEmpty,
            /// The agent; must agree with the session.
            agent_id: NonEmpty,
            /// Whether what waits behind the active run is taken back too.
            clear_queued: bool,
        }
    }
}

/// The result of `sessions.abort`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsAbortResult {
    /// Always true.
    pub ok: bool,
    /// The run that ends because of this call.
    pub aborted_run_id: Option<String>,
    /// Whether there is one.
    pub status: AbortStatus,
}

/// Whether anything was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AbortStatus {
    /// Yes.
    Aborted,
    /// There was nothing to stop.
    NoActiveRun,
}

impl SessionsAbortResult {
    /// The runs that end, the active one first.
    pub fn new(runs: &[WireId]) -> Self {
        let first = runs.first();
        Self {
            ok: true,
            aborted_run_id: first.map(|run| run.as_str().to_owned()),
            status: match first {
                Some(_) => AbortStatus::Aborted,
                None => AbortStatus::NoActiveRun,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_run_is_the_one_that_is_named() {
        let none = serde_json::to_value(SessionsAbortResult::new(&[])).unwrap();
        assert_eq!(
            none,
            json!({"ok": true, "abortedRunId": null, "status": "no-active-run"})
        );
        let runs = ["a", "b"].map(|id| WireId::parse(id).unwrap());
        let some = serde_json::to_value(SessionsAbortResult::new(&runs)).unwrap();
        assert_eq!(
            some,
            json!({"ok": true, "abortedRunId": "a", "status": "aborted"})
        );
    }
}
