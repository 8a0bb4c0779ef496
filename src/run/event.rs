//! What an agent says while it runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing an agent yields. The order of events is the order the agent produced them.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More answer text; always whole characters.
    Text(String),
    /// More reasoning text, shown only where the agent is configured to show it.
    Reasoning(String),
    /// The agent began one of its own tools.
    ToolStart {
        /// Id of this call, unique in the run.
        id: String,
        /// Name of the tool.
        name: String,
        /// The arguments, as JSON.
        arguments: Value,
    },
    /// A tool of the agent reports progress.
    ToolUpdate {
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
        /// What there is of the result so far.
        partial: Value,
    },
    /// A tool of the agent ended.
    ToolResult {
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
        /// The result, as JSON.
        result: Value,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// The model calls a tool of the client; the pieces of one call share its index.
    ToolCall(ToolCallDelta),
    /// Tokens used so far; a later one replaces an earlier one.
    Usage(Usage),
    /// The answer is complete. Nothing may follow.
    Finished(FinishReason),
}

/// One piece of a call of a client's tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// Position of the call in the answer, from 0.
    pub index: u32,
    /// Id of the call; given with the first piece.
    pub id: Option<String>,
    /// Name of the tool; given with the first piece.
    pub name: Option<String>,
    /// More text of the JSON arguments.
    pub arguments: String,
}

/// Why an answer ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The agent had said all it wanted to say.
    #[default]
    Stop,
    /// The output budget of the model was used up.
    Length,
    /// The agent waits for the results of client tools.
    ToolCalls,
    /// The input was folded into another run, whose answer is its answer too.
    Folded,
}

/// Tokens a run used, as the model server counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input: u64,
    /// Tokens of the answer, reasoning included.
    pub output: u64,
    /// Tokens of the prompt that came from a cache.
    #[serde(default)]
    pub cached: u64,
    /// Tokens of the answer that were reasoning.
    #[serde(default)]
    pub reasoning: Option<u64>,
    /// The model server's own total, when it gave one.
    #[serde(default)]
    pub total: Option<u64>,
}

impl Usage {
    /// The larger of the model server's total and the sum.
    pub fn total(&self) -> u64 {
        let sum = self.input.saturating_add(self.output);
        self.total.unwrap_or(0).max(sum)
    }

    /// Adds the tokens of another model call of the same run.
    pub fn add(&mut self, other: &Self) {
        let total = self.total().saturating_add(other.total());
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cached = self.cached.saturating_add(other.cached);
        self.reasoning = match (self.reasoning, other.reasoning) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        self.total = Some(total);
    }
}
