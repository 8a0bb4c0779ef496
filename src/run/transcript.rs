//! What a transcript is made of: one entry per finished message block, never per token.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{EntryId, RunId, WireId};

use super::event::Usage;
use super::outcome::AbortCause;
use super::request::{Image, ToolCall};

/// What stands between the parts of an answer that other messages were steered into.
pub const PARAGRAPH: &str = "\n\n";

/// Adds a part of an answer to those before it.
pub fn add_part(answer: &mut String, part: &str) {
    if !answer.is_empty() && !part.is_empty() {
        answer.push_str(PARAGRAPH);
    }
    answer.push_str(part);
}

/// One entry of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Id of the message.
    pub id: EntryId,
    /// Position in the transcript, from 1; 0 until the ledger has appended it.
    pub n: u64,
    /// The run that produced or consumed it.
    pub run: Option<RunId>,
    /// The id peers know that run by.
    pub wire_id: Option<WireId>,
    /// Wall-clock time, in milliseconds.
    pub at_ms: u64,
    /// What it says.
    pub body: EntryBody,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryBody {
    /// A message of the user.
    User {
        /// The text.
        text: String,
        /// Images that came with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
        /// Whether its run ended before an agent got it: agents never do.
        #[serde(default, skip_serializing_if = "is_false")]
        withheld: bool,
    },
    /// A message of the agent.
    Assistant {
        /// The text; the part written so far when `abort` is set.
        text: String,
        /// Reasoning shown with it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reasoning: String,
        /// Client tools it calls.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
        /// `stop`, `length`, `toolUse`, `error`, `aborted`.
        stop_reason: Arc<str>,
        /// Tokens used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        /// The model that wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<ModelRef>,
        /// Set when the run was stopped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        abort: Option<Abort>,
        /// Set when the run failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Arc<str>>,
    },
    /// A call of one of the agent's own tools, with its result.
    Tool {
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
        /// The arguments.
        arguments: Value,
        /// The result.
        result: Value,
        /// Whether it failed.
        is_error: bool,
    },
    /// The result of a client tool, as the client sent it.
    ToolResult {
        /// The call it answers.
        tool_call_id: String,
        /// Name of the tool, if the client gave it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The text.
        text: String,
        /// Whether its run ended before an agent got it: agents never do.
        #[serde(default, skip_serializing_if = "is_false")]
        withheld: bool,
    },
    /// An assistant message put in by an operator.
    Injected {
        /// A short label shown before the text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        /// The text.
        text: String,
    },
    /// A text command that the gateway answered itself, or the answer to it; agents get neither.
    Command {
        /// The id peers know the command by.
        wire_id: WireId,
        /// Which of the two it is.
        is_answer: bool,
        /// The text.
        text: String,
    },
    /// What came before was summed up.
    Compaction {
        /// The summary that stands for what came before; empty when it was only cut off.
        summary: String,
        /// Position of the first entry that goes on being said word for word; none before this
        /// entry does when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept_from: Option<u64>,
    },
}

impl EntryBody {
    /// Marks input whose run ended before an agent got it.
    pub fn withhold(&mut self) {
        if let Self::User { withheld, .. } | Self::ToolResult { withheld, .. } = self {
            *withheld = true;
        }
    }

    /// Whether it is input no agent is to get.
    pub const fn is_withheld(&self) -> bool {
        match self {
            Self::User { withheld, .. } | Self::ToolResult { withheld, .. } => *withheld,
            Self::Assistant { .. }
            | Self::Tool { .. }
            | Self::Injected { .. }
            | Self::Command { .. }
            | Self::Compaction { .. } => false,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Why an assistant message is only a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// Who or what stopped the run.
    pub cause: AbortCause,
}

/// A model at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// Id of the provider in the configuration.
    pub provider: Arc<str>,
    /// Id of the model at that provider.
    pub model: Arc<str>,
}

impl ModelRef {
    /// Whether `name` is this model's `provider/model`.
    pub fn is_called(&self, name: &str) -> bool {
        name.split_once('/')
            .is_some_and(|(provider, model)| *provider == *self.provider && *model == *self.model)
    }
}
