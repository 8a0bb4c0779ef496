//! The payload of `agent`: what a run does, step by step (`protocol-facts` §7.2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::methods::agent::TerminalReply;
use crate::protocol::outcome::ErrorDetail;

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentEvent {
    /// The run.
    pub run_id: String,
    /// Canonical key of its session.
    pub session_key: String,
    /// Its agent.
    pub agent_id: String,
    /// Its transcript; on lifecycle events of stored sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Position in the run, from 1.
    pub seq: u64,
    /// When, in wall-clock milliseconds.
    pub ts: u64,
    /// Always false; on runs a chat message asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_heartbeat: Option<bool>,
    /// What happened.
    #[serde(flatten)]
    pub body: AgentStream,
}

/// What happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "stream", content = "data", rename_all = "snake_case")]
pub enum AgentStream {
    /// It began or ended.
    Lifecycle(Lifecycle),
    /// It said something.
    Assistant(AssistantData),
    /// It reasoned.
    Thinking(ThinkingData),
    /// It used one of its own tools.
    Tool(ToolData),
    /// It used tokens.
    Usage(UsageData),
    /// What it is about to do.
    RunStatus(RunStatusData),
}

/// The beginning or the end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "phase",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum Lifecycle {
    /// The agent was started.
    Start {
        /// When, in wall-clock milliseconds.
        started_at: u64,
    },
    /// The model that answers.
    Model {
        /// The provider.
        provider: String,
        /// The model.
        model: String,
    },
    /// The run ended by itself or was stopped.
    End {
        /// `cancelled` when it was stopped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<String>,
        /// Whether it was stopped.
        aborted: bool,
        /// Why it ended.
        stop_reason: String,
        /// Which deadline passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_phase: Option<String>,
        /// When the agent was started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<u64>,
        /// When the run ended.
        ended_at: u64,
        /// `working` for a run that ended well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        liveness_state: Option<String>,
        /// The answer, when there is one to show and it is not very long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminal_reply: Option<TerminalReply>,
        /// Whether nothing of the run goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execution_settled: Option<bool>,
    },
    /// The run failed.
    Error {
        /// What went wrong.
        error: String,
        /// When the agent was started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<u64>,
        /// When the run ended.
        ended_at: u64,
        /// Where the failure came from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_observation: Option<ErrorDetail>,
        /// Always true: the failure is final, no retry follows.
        execution_settled: bool,
    },
}

/// What the run said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssistantData {
    /// The answer so far.
    pub text: String,
    /// What is new in it.
    pub delta: String,
    /// The block of the answer.
    pub item_id: String,
    /// Whether `delta` takes the place of what was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
}

/// What the run reasoned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThinkingData {
    /// The reasoning so far.
    pub text: String,
    /// What is new in it.
    pub delta: String,
}

/// A tool the run used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "phase",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum ToolData {
    /// It was called.
    Start {
        /// Name of the tool.
        name: String,
        /// Id of the call.
        tool_call_id: String,
        /// Its arguments.
        args: Value,
    },
    /// It reports progress.
    Update {
        /// Name of the tool.
        name: String,
        /// Id of the call.
        tool_call_id: String,
        /// What there is of the result.
        partial_result: Value,
    },
    /// It ended.
    Result {
        /// Name of the tool.
        name: String,
        /// Id of the call.
        tool_call_id: String,
        /// Whether it failed.
        is_error: bool,
        /// The result.
        result: Value,
    },
}

/// Tokens the run used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageData {
    /// Of the answer so far.
    pub output_tokens: u64,
}

/// What the run is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStatusData {
    /// `starting_model`.
    pub phase: String,
}
