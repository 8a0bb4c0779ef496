//! `agent` and `agent.wait`: one run, asked for and waited for (`protocol-facts` §6.4).

mod ended;

pub use ended::{
    AgentFinal, AgentMeta, AgentPayload, AgentResult, AgentResultMeta, AgentUsage, AgentWaitResult,
    FinishedRun, LIVENESS_WORKING, TERMINAL_REPLY_BYTES_MAX, TerminalReply,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{AgentId, SessionKey, WireId};
use crate::protocol::methods::attachment::Attachment;
use crate::protocol::params::params;
use crate::protocol::{NonEmpty, Text};
use crate::run::Outcome;

params! {
    /// Parameters of `agent`.
    AgentParams {
        required {
            /// What to answer.
            message: NonEmpty,
            /// The caller's name for the run.
            idempotency_key: NonEmpty,
        }
        optional {
            /// The agent; the default one when absent.
            agent_id: String,
            /// The session.
            session_key: String,
            /// The session by the caller's own name or its transcript; made when it is not there.
            session_id: String,
            /// Must be the transcript of a session that exists.
            expected_existing_session_id: String,
            /// Another provider; needs `operator.admin` or a backend client.
            provider: String,
            /// Another model; needs `operator.admin` or a backend client.
            model: String,
            /// Bound of the run in seconds; 0 is none.
            timeout: u64,
            /// Images that come with the message.
            attachments: Vec<Attachment>,
            /// Text added to the agent's system text.
            extra_system_prompt: String,
            /// A label for a session this call makes.
            label: Text<1, 512>,
            /// Whom the message is for; a session when it is the key of one.
            to: String,
        }
        unused {
            thinking: String,
            deliver: bool,
            best_effort_deliver: bool,
            channel: String,
            reply_channel: String,
            account_id: String,
            reply_account_id: String,
            reply_to: String,
            thread_id: String,
            group_id: String,
            group_channel: String,
            group_space: String,
            lane: String,
            cwd: String,
            cleanup_bundle_mcp_on_run_end: bool,
            disable_message_tool: bool,
            prompt_mode: PromptMode,
            model_run: Value,
            bootstrap_context_mode: Value,
            bootstrap_context_run_kind: Value,
            input_provenance: Value,
            internal_events: Value,
            suppress_prompt_persistence: bool,
            session_effects: SessionEffects,
            voice_wake_trigger: Value,
            spawned_by: String,
        }
    }
}

/// How much system text the original puts in front; no effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PromptMode {
    /// All of it.
    Full,
    /// Little.
    Minimal,
    /// None.
    None,
}

/// Whether the original shows the run in its session; no effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionEffects {
    /// Yes.
    Visible,
    /// No.
    Internal,
}

/// Answer to `provider` or `model` from a caller that may not choose them.
pub const MODEL_OVERRIDE_REFUSED: &str =
    "provider/model overrides are not authorized for this caller.";

impl AgentParams {
    /// The model asked for, as `provider/model` or as it was written; `None` when none was.
    pub fn model_override(&self) -> Option<String> {
        match (&self.provider, &self.model) {
            (None, None) => None,
            (None, Some(name)) | (Some(name), None) => Some(name.clone()),
            (Some(provider), Some(model)) => Some(format!("{provider}/{model}")),
        }
    }
}

params! {
    /// Parameters of `agent.wait`.
    AgentWaitParams {
        required {
            /// The run.
            run_id: NonEmpty,
        }
        optional {
            /// How long to wait, in milliseconds; 30,000 when absent.
            timeout_ms: u64,
        }
    }
}

/// How long `agent.wait` waits unless told, in milliseconds.
pub const WAIT_MS_DEFAULT: u64 = 30_000;

/// A command at the start of a message that empties the session first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetCommand<'a> {
    /// Whether it was `/new` rather than `/reset`.
    pub is_new: bool,
    /// What follows the command and is to be answered.
    pub rest: &'a str,
}

impl<'a> ResetCommand<'a> {
    /// Finds `/new` or `/reset` at the start of a message, whatever its case (§6.4 step 8).
    pub fn parse(message: &'a str) -> Option<Self> {
        let text = message.trim_start();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        let is_new = word.eq_ignore_ascii_case("/new");
        (is_new || word.eq_ignore_ascii_case("/reset")).then(|| Self {
            is_new,
            rest: rest.trim(),
        })
    }
}

/// Where a run stands, in the answers of `agent`, `agent.wait` and `chat.send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// `agent`: it will run; another answer follows.
    Accepted,
    /// `chat.send`: it runs or waits; events follow.
    Started,
    /// The key is known and its run has not ended.
    InFlight,
    /// `agent.wait`: it still waits for its lane.
    Pending,
    /// It ended with an answer.
    Ok,
    /// It failed.
    Error,
    /// It was stopped, or the wait was too short.
    Timeout,
}

impl RunStatus {
    /// The status of a run that ended.
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ok(_) => Self::Ok,
            Outcome::Error(_) => Self::Error,
            Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted => Self::Timeout,
        }
    }
}

/// The first answer of `agent`, and its only one when the key is known and its run goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentAccepted {
    /// The run.
    pub run_id: String,
    /// Its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// `accepted` or `in_flight`.
    pub status: RunStatus,
    /// When it was accepted, in wall-clock milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<u64>,
}

impl AgentAccepted {
    /// A new run.
    pub fn new(run: &WireId, session: &SessionKey, agent: &AgentId, accepted_at_ms: u64) -> Self {
        Self {
            run_id: run.as_str().to_owned(),
            session_key: Some(session.as_str().to_owned()),
            agent_id: Some(agent.as_str().to_owned()),
            status: RunStatus::Accepted,
            accepted_at: Some(accepted_at_ms),
        }
    }

    /// The answer to the key of a run that goes on.
    pub fn in_flight(run: &WireId, session: &SessionKey, agent: Option<&AgentId>) -> Self {
        Self {
            run_id: run.as_str().to_owned(),
            session_key: Some(session.as_str().to_owned()),
            agent_id: agent.map(|agent| agent.as_str().to_owned()),
            status: RunStatus::InFlight,
            accepted_at: None,
        }
    }

    /// The answer as protocol 3 knows it. There a repeated call gets the first answer again, so
    /// `accepted_at_ms` is that of the run.
    #[must_use]
    pub fn for_v3(mut self, accepted_at_ms: u64) -> Self {
        self.session_key = None;
        self.agent_id = None;
        self.status = RunStatus::Accepted;
        self.accepted_at = Some(accepted_at_ms);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_commands_are_found_whatever_their_case() {
        let check = |text, expected: Option<(bool, &str)>| {
            let found = ResetCommand::parse(text).map(|found| (found.is_new, found.rest));
            assert_eq!(found, expected, "{text:?}");
        };
        check("/new", Some((true, "")));
        check("/RESET  say hi ", Some((false, "say hi")));
        check("/new\nline", Some((true, "line")));
        check("/newer", None);
        check("please /new", None);
        check("", None);
    }
}
