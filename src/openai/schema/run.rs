//! The shapes of runs as resources: what is written is these types, so they cannot differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::types::{AnswerEnd, CompletionUsage, ErrorBody, MessageToolCall};

/// A run: one execution of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The id of the chat completion, or the idempotency key of the native request.
    pub id: String,
    /// Always `run`.
    pub object: String,
    /// Where it is.
    pub status: RunStatus,
    /// The agent.
    pub agent_id: String,
    /// The session.
    pub session_key: String,
    /// When it was accepted, in milliseconds since the epoch.
    pub accepted_at_ms: u64,
    /// When the agent was started; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
    /// When it ended; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// The answer so far; all of it once the run has ended.
    pub text: String,
    /// Functions of the caller to be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<MessageToolCall>,
    /// Why the answer ended, when `status` is `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<AnswerEnd>,
    /// Tokens used, when the model told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<CompletionUsage>,
    /// Why it did not succeed, when it ended otherwise than `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// The last event; absent when the events are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<u64>,
}

/// Where a run is: waiting, running, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It waits for its turn.
    Queued,
    /// The agent works.
    Active,
    /// The agent finished its answer.
    Ok,
    /// It failed.
    Error,
    /// It was stopped.
    Aborted,
    /// A time limit passed.
    Timeout,
    /// The gateway ended before it.
    Interrupted,
}

/// One event of a run. `seq` is also the `id:` of its frame; without one there is no `id:`, and the
/// frame is not a place to go on from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RunEvent {
    /// The agent was started.
    Started {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// When, in milliseconds since the epoch.
        at_ms: u64,
    },
    /// More of the answer.
    Text {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// The text.
        text: String,
    },
    /// More of what the model thought, where the agent is configured to show it.
    Reasoning {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// The text.
        text: String,
    },
    /// The agent began one of its own tools.
    ToolStart {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// Id of the use, the same in its other events.
        id: String,
        /// Name of the tool.
        name: String,
        /// What it was given.
        arguments: Value,
    },
    /// A tool of the agent reports progress.
    ToolUpdate {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// Id of the use.
        id: String,
        /// Name of the tool.
        name: String,
        /// The result so far.
        partial: Value,
    },
    /// A tool of the agent ended.
    ToolResult {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// Id of the use.
        id: String,
        /// Name of the tool.
        name: String,
        /// The result.
        result: Value,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// A piece of a call of one of the caller's functions.
    ToolCall {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// Which call.
        index: u32,
        /// In the first piece.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// In the first piece.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// More of the arguments.
        arguments: String,
    },
    /// Tokens used so far; a later one replaces an earlier one.
    Usage {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// The tokens.
        usage: CompletionUsage,
    },
    /// Events are missing here: the log has no room for them any more. No text is missing.
    Gap {
        /// Position of the last one that is missing.
        through: u64,
    },
    /// The run ended. Nothing follows.
    End {
        /// Position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// How.
        status: RunStatus,
        /// Why the answer ended, when `status` is `ok`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finish_reason: Option<AnswerEnd>,
        /// Tokens used, when the model told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<CompletionUsage>,
        /// Why it did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorBody>,
    },
}

impl RunEvent {
    /// The name of the event, which is also its `type`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Text { .. } => "text",
            Self::Reasoning { .. } => "reasoning",
            Self::ToolStart { .. } => "tool_start",
            Self::ToolUpdate { .. } => "tool_update",
            Self::ToolResult { .. } => "tool_result",
            Self::ToolCall { .. } => "tool_call",
            Self::Usage { .. } => "usage",
            Self::Gap { .. } => "gap",
            Self::End { .. } => "end",
        }
    }
}
