//! Transcript entries as clients see them (`protocol-facts` §9.3): the form of a message, and how
//! much of it is shown.
//!
//! Image data never leaves through here.

mod history;
mod render;

pub use history::{HISTORY_BYTES_MAX, HistoryMessages, MESSAGE_BYTES_MAX, history_messages};
pub use render::messages_of;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::Protocol;
use crate::run::Usage;

/// Longest text block in `chat.history` on protocol 4, in characters.
pub const TEXT_CHARS_MAX: usize = 8_000;

/// The same on protocol 3.
pub const TEXT_CHARS_MAX_V3: usize = 12_000;

/// Who the server says wrote a message it put in itself.
pub const INJECTED_API: &str = "openai-responses";
/// The provider of such a message.
pub const INJECTED_PROVIDER: &str = "openclaw";
/// The model of such a message.
pub const INJECTED_MODEL: &str = "gateway-injected";

/// Longest text block in a `session.message` event, in characters: far below a frame.
const LIVE_TEXT_CHARS_MAX: usize = 256 * 1024;

/// A message of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TranscriptMessage<'a> {
    /// Who speaks.
    pub role: MessageRole,
    /// What is said.
    #[serde(borrow)]
    pub content: Content<'a>,
    /// When, in wall-clock milliseconds.
    pub timestamp: u64,
    /// The kind of model server; only on messages the gateway put in.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub api: Option<Cow<'a, str>>,
    /// The provider of the model.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Cow<'a, str>>,
    /// The model.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub model: Option<Cow<'a, str>>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<MessageUsage>,
    /// Why an answer ended: `stop`, `length`, `toolUse`, `error`, `aborted`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<Cow<'a, str>>,
    /// What went wrong.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<Cow<'a, str>>,
    /// The call a tool result answers.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<Cow<'a, str>>,
    /// The tool.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<Cow<'a, str>>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
    /// Ties the message to its run: `<runId>:user`, `:assistant` or `:terminal-error`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Set when the run was stopped and this is what there was of its answer.
    #[serde(
        default,
        borrow,
        rename = "openclawAbort",
        skip_serializing_if = "Option::is_none"
    )]
    pub abort: Option<AbortMark<'a>>,
    /// Set on a text command and its answer, and on a message whose run ended before it started: an
    /// agent gets none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_from_context: Option<bool>,
    /// Set on the answer to a text command, so that clients show it as a line of the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<bool>,
    /// Where the message stands.
    #[serde(borrow, rename = "__openclaw")]
    pub meta: MessageMeta<'a>,
}

/// Who speaks in a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MessageRole {
    /// The human or program in front of the gateway.
    User,
    /// The agent.
    Assistant,
    /// A tool.
    ToolResult,
    /// The gateway.
    System,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Content<'a> {
    /// Only text.
    #[serde(borrow)]
    Text(Cow<'a, str>),
    /// Blocks.
    #[serde(borrow)]
    Blocks(Vec<Block<'a>>),
}

/// One block of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Block<'a> {
    /// Text.
    Text {
        /// The text.
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    /// Reasoning.
    Thinking {
        /// The text.
        #[serde(borrow)]
        thinking: Cow<'a, str>,
    },
    /// A call of a tool.
    ToolCall {
        /// Id of the call.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// Name of the tool.
        #[serde(borrow)]
        name: Cow<'a, str>,
        /// Its arguments.
        arguments: Cow<'a, Value>,
    },
    /// An image, without its data, which `artifacts.download` hands out.
    Image {
        /// Its media type.
        #[serde(borrow)]
        mime_type: Cow<'a, str>,
        /// Always true.
        omitted: bool,
        /// Its size.
        bytes: u64,
        /// Its id for a download.
        #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
        artifact_id: Option<Cow<'a, str>>,
    },
}

/// Tokens of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageUsage {
    /// Of the prompt, without those from a cache.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
    /// Together.
    pub total_tokens: u64,
    /// Of the prompt, from a cache.
    pub cache_read: u64,
    /// Written to a cache.
    pub cache_write: u64,
    /// Money: not known here.
    pub cost: MessageCost,
}

impl MessageUsage {
    /// The numbers of an answer.
    pub fn new(usage: &Usage) -> Self {
        Self {
            input: usage.input.saturating_sub(usage.cached),
            output: usage.output,
            total_tokens: usage.total(),
            cache_read: usage.cached,
            cache_write: 0,
            cost: MessageCost::default(),
        }
    }
}

/// Money a message cost: always zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageCost {
    /// For the prompt.
    pub input: u64,
    /// For the answer.
    pub output: u64,
    /// For the cached part.
    pub cache_read: u64,
    /// For caching.
    pub cache_write: u64,
    /// Together.
    pub total: u64,
}

/// The mark of an answer that was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AbortMark<'a> {
    /// Always true.
    pub aborted: bool,
    /// Who or what stopped the run.
    #[serde(borrow)]
    pub origin: Cow<'a, str>,
    /// The run.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<Cow<'a, str>>,
}

/// Where a message stands in its transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageMeta<'a> {
    /// Id of the message.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Position in the transcript, from 1.
    pub seq: u64,
    /// `compaction` for the mark of one.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'a, str>>,
    /// As on the message.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// The run that wrote the message.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<Cow<'a, str>>,
    /// When the entry was stored, in wall-clock milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_timestamp_ms: Option<u64>,
    /// Whether the message was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// Why: `oversized`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// Set on a text command and its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_free_command: Option<bool>,
}

/// How much of a message is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Longest text block, in characters.
    pub text_chars_max: usize,
    /// Whether tokens are shown.
    pub with_usage: bool,
}

impl View {
    /// As `session.message` shows messages.
    pub const LIVE: Self = Self {
        text_chars_max: LIVE_TEXT_CHARS_MAX,
        with_usage: true,
    };

    /// As `chat.history` shows messages, with the caller's own cap.
    pub fn history(protocol: Protocol, max_chars: Option<usize>) -> Self {
        let (text_chars_max, with_usage) = match protocol {
            Protocol::V3 => (TEXT_CHARS_MAX_V3, false),
            Protocol::V4 => (TEXT_CHARS_MAX, true),
        };
        Self {
            text_chars_max: max_chars.unwrap_or(text_chars_max),
            with_usage,
        }
    }
}
