//! `chat.*`: sending, reading, stopping (`protocol-facts` §6.5).

mod history;
mod message;
mod startup;

pub use history::{
    ChatHistoryParams, ChatHistoryResult, DeltaCursor, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX,
    HistoryKind, InFlightRun, InputConsumption, InputReceipt, PENDING_INPUTS_MAX, PendingInput,
    PendingInputs, PendingMarks, PendingMessage, PendingState, ReceiptState,
};

pub use message::{ChatMessageGetParams, ChatMessageGetResult, UnavailableReason, entry_id};
pub use startup::{ChatMetadataParams, ChatMetadataResult, ChatStartupParams, ChatStartupResult};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{EntryId, WireId};
use crate::protocol::methods::agent::{FinishedRun, RunStatus};
use crate::protocol::methods::attachment::Attachment;
use crate::protocol::outcome::stop_reason;
use crate::protocol::params::params;
use crate::protocol::{NonEmpty, Text};
use crate::run::{Outcome, QueueMode};

params! {
    /// Parameters of `chat.send`.
    ChatSendParams {
        required {
            /// The session.
            session_key: Text<1, 512>,
            /// The message; may be empty beside an attachment.
            message: String,
            /// The caller's name for the run.
            idempotency_key: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
            /// Must be the session's transcript.
            session_id: String,
            /// What to do when the session is busy.
            queue_mode: WireQueueMode,
            /// Images that come with the message.
            attachments: Vec<Attachment>,
            /// Bound of the run in milliseconds; 0 is none.
            timeout_ms: u64,
            /// Needs `operator.admin`.
            system_input_provenance: Value,
            /// Needs `operator.admin`.
            system_provenance_receipt: Value,
            /// Needs `operator.admin`.
            suppress_command_interpretation: bool,
            /// Needs `operator.admin`.
            originating_channel: String,
            /// Needs `operator.admin`.
            originating_to: String,
            /// Needs `operator.admin`.
            originating_account_id: String,
            /// Needs `operator.admin`.
            originating_thread_id: String,
        }
        unused {
            thinking: String,
            fast_mode: Value,
            fast_auto_on_seconds: u64,
            deliver: bool,
            reply_to_id: String,
            intent: Value,
            tool_bindings: Value,
            expected_leaf_entry_id: String,
            expected_session_routing_contract: Value,
            expected_permission_mode: Value,
            expected_tool_overrides: Value,
        }
    }
}

impl ChatSendParams {
    /// The refusal a caller without `operator.admin` gets for members only an administrator may
    /// send; `None` when there are none.
    pub fn admin_refusal(&self) -> Option<&'static str> {
        let provenance = self.system_input_provenance.is_some()
            || self.system_provenance_receipt.is_some()
            || self.suppress_command_interpretation.is_some();
        if provenance {
            return Some("system provenance fields require admin scope");
        }
        let route = self.originating_channel.is_some()
            || self.originating_to.is_some()
            || self.originating_account_id.is_some()
            || self.originating_thread_id.is_some();
        route.then_some("originating route fields require admin scope")
    }
}

/// What happens to a message for a busy session, as clients name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WireQueueMode {
    /// Hand it to the running agent.
    Steer,
    /// One turn after the other.
    Followup,
    /// Merge what waits.
    Collect,
    /// Abort the running turn.
    Interrupt,
}

impl From<WireQueueMode> for QueueMode {
    fn from(mode: WireQueueMode) -> Self {
        match mode {
            WireQueueMode::Steer => Self::Steer,
            WireQueueMode::Followup => Self::Followup,
            WireQueueMode::Collect => Self::Collect,
            WireQueueMode::Interrupt => Self::Interrupt,
        }
    }
}

params! {
    /// Parameters of `chat.abort`.
    ChatAbortParams {
        required {
            /// The session.
            session_key: String,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
            /// Only this run.
            run_id: String,
        }
        unused {
            preserve_side_runs: bool,
        }
    }
}

params! {
    /// Parameters of `chat.inject`.
    ChatInjectParams {
        required {
            /// The session.
            session_key: String,
            /// The text.
            message: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
            /// A short label shown before the text.
            label: Text<0, 100>,
        }
    }
}

/// The result of `chat.send`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatSendResult {
    /// The run: the caller's `idempotencyKey`.
    pub run_id: String,
    /// `started`, `in_flight`, or how the run of a known key ended.
    pub status: RunStatus,
    /// Position of the user's message in the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_seq: Option<u64>,
    /// Set when an active run of the session was made to end for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted_active_run: Option<bool>,
    /// What went wrong with the run of a known key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Why the run of a known key was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
}

impl ChatSendResult {
    /// A run that was accepted.
    pub fn started(run: &WireId) -> Self {
        Self::bare(run, RunStatus::Started)
    }

    /// The run of a known key goes on.
    pub fn in_flight(run: &WireId) -> Self {
        Self::bare(run, RunStatus::InFlight)
    }

    /// The run of a known key ended. For a failed one the frame says `ok: false` and carries
    /// this payload beside the error.
    pub fn ended(run: &FinishedRun<'_>) -> Self {
        let outcome = &run.terminal.outcome;
        let status = RunStatus::of(outcome);
        let summary = match outcome {
            Outcome::Error(error) => Some(error.message.as_ref().to_owned()),
            Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted => {
                Some("aborted".to_owned())
            }
            Outcome::Ok(_) => None,
        };
        Self {
            summary,
            stop_reason: (status == RunStatus::Timeout).then(|| stop_reason(outcome).to_owned()),
            ..Self::bare(run.run, status)
        }
    }

    fn bare(run: &WireId, status: RunStatus) -> Self {
        Self {
            run_id: run.as_str().to_owned(),
            status,
            message_seq: None,
            interrupted_active_run: None,
            summary: None,
            stop_reason: None,
        }
    }
}

/// The result of `chat.abort`, and of `chat.send` for a stop command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatAbortResult {
    /// Always true.
    pub ok: bool,
    /// Whether anything was stopped.
    pub aborted: bool,
    /// The runs that end because of this call.
    pub run_ids: Vec<String>,
}

impl ChatAbortResult {
    /// The runs that end.
    pub fn new(runs: &[WireId]) -> Self {
        Self {
            ok: true,
            aborted: !runs.is_empty(),
            run_ids: runs.iter().map(|run| run.as_str().to_owned()).collect(),
        }
    }
}

/// The result of `chat.inject`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatInjectResult {
    /// Always true.
    pub ok: bool,
    /// The message.
    pub message_id: String,
}

impl ChatInjectResult {
    /// The message that was appended.
    pub fn new(id: EntryId) -> Self {
        Self {
            ok: true,
            message_id: id.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_of_administrators_are_found() {
        let check = |extra: Value, expected| {
            let mut value = json!({"sessionKey": "main", "message": "x", "idempotencyKey": "k"});
            let object = value.as_object_mut().unwrap();
            object.extend(extra.as_object().unwrap().clone());
            let params: ChatSendParams = serde_json::from_value(value).unwrap();
            assert_eq!(params.admin_refusal(), expected);
        };
        check(json!({"deliver": false, "thinking": "off"}), None);
        check(
            json!({"systemProvenanceReceipt": "x"}),
            Some("system provenance fields require admin scope"),
        );
        check(
            json!({"originatingChannel": "x"}),
            Some("originating route fields require admin scope"),
        );
    }

    #[test]
    fn nothing_to_stop_is_no_failure() {
        assert_eq!(
            serde_json::to_value(ChatAbortResult::new(&[])).unwrap(),
            json!({"ok": true, "aborted": false, "runIds": []})
        );
        let run = WireId::parse("r").unwrap();
        assert_eq!(
            serde_json::to_value(ChatAbortResult::new(&[run])).unwrap(),
            json!({"ok": true, "aborted": true, "runIds": ["r"]})
        );
    }
}
