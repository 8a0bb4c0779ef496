//! Transcript entries as clients see them, and the caps of `chat.history` (`protocol-facts` §6.5,
//! §9.3).
//!
//! One entry becomes one message; a call of one of the agent's own tools becomes two, the call and
//! its result. Image data never leaves through here.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::protocol::Protocol;
use crate::protocol::outcome::is_silent;
use crate::run::{Abort, AbortCause, Entry, EntryBody, Image, ModelRef, ToolCall, Usage};

/// Longest text block in `chat.history` on protocol 4, in characters.
pub const TEXT_CHARS_MAX: usize = 8_000;

/// The same on protocol 3.
pub const TEXT_CHARS_MAX_V3: usize = 12_000;

/// Longest text block in a `session.message` event, in characters: far below a frame.
const LIVE_TEXT_CHARS_MAX: usize = 256 * 1024;

/// Longest message in `chat.history`, in bytes; a longer one becomes a placeholder.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Most bytes of messages in `chat.history`; the oldest are left out first.
pub const HISTORY_BYTES_MAX: usize = 6 * 1024 * 1024;

const TRUNCATED: &str = "\n...(truncated)...";
const OMITTED: &str = "[chat.history omitted: message too large]";

/// Who the server says wrote a message it put in itself.
const INJECTED_API: &str = "openai-responses";
const INJECTED_PROVIDER: &str = "openclaw";
const INJECTED_MODEL: &str = "gateway-injected";

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
    /// An image, without its data.
    Image {
        /// Its media type.
        #[serde(borrow)]
        mime_type: Cow<'a, str>,
        /// Always true.
        omitted: bool,
        /// Its size.
        bytes: u64,
    },
}

/// Tokens of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// The messages an entry is shown as: one, two for a call of the agent's own tool, none for a
/// silent answer.
pub fn messages_of(entry: &Entry, view: View) -> Vec<TranscriptMessage<'_>> {
    let writer = MessageWriter { entry, view };
    match &entry.body {
        EntryBody::User { text, images } => vec![writer.user(text, images)],
        EntryBody::Assistant {
            text, tool_calls, ..
        } if is_silent(text) && tool_calls.is_empty() => Vec::new(),
        EntryBody::Assistant { .. } => writer.assistant().into_iter().collect(),
        EntryBody::Tool {
            id,
            name,
            arguments,
            result,
            is_error,
        } => vec![
            writer.tool_call(id, name, arguments),
            writer.tool_result(id, Some(name), value_text(result), *is_error),
        ],
        EntryBody::ToolResult {
            tool_call_id,
            name,
            text,
        } => vec![writer.tool_result(tool_call_id, name.as_deref(), text.into(), false)],
        EntryBody::Injected { label, text } => vec![writer.injected(label.as_deref(), text)],
        EntryBody::Compaction { summary } => vec![writer.compaction(summary)],
    }
}

/// Writes the messages of one entry.
struct MessageWriter<'a> {
    entry: &'a Entry,
    view: View,
}

impl<'a> MessageWriter<'a> {
    fn user(&self, text: &'a str, images: &'a [Image]) -> TranscriptMessage<'a> {
        let text = self.capped(text.into());
        let content = if images.is_empty() {
            Content::Text(text)
        } else {
            let mut blocks = vec![Block::Text { text }];
            blocks.extend(images.iter().map(image_block));
            Content::Blocks(blocks)
        };
        let mut message = self.bare(MessageRole::User, content);
        self.tie(&mut message, "user");
        message
    }

    fn assistant(&self) -> Option<TranscriptMessage<'a>> {
        let EntryBody::Assistant {
            text,
            reasoning,
            tool_calls,
            stop_reason,
            usage,
            model,
            abort,
            error,
        } = &self.entry.body
        else {
            return None;
        };
        let mut blocks = Vec::new();
        if !reasoning.is_empty() {
            let thinking = self.capped(reasoning.into());
            blocks.push(Block::Thinking { thinking });
        }
        // A failed answer without text shows what went wrong, so that the transcript says it too.
        let shown = match error {
            Some(error) if text.is_empty() => error.as_ref(),
            Some(_) | None => text.as_str(),
        };
        if !shown.is_empty() || tool_calls.is_empty() {
            let text = self.capped(shown.into());
            blocks.push(Block::Text { text });
        }
        blocks.extend(tool_calls.iter().map(tool_call_block));
        let mut message = self.bare(MessageRole::Assistant, Content::Blocks(blocks));
        self.attribute(&mut message, model.as_ref(), usage.as_ref());
        message.stop_reason = Some(stop_reason.as_ref().into());
        message.error_message = error.as_deref().map(Into::into);
        message.meta.run_id = self.run_id();
        if let Some(abort) = abort {
            message.abort = Some(self.abort_mark(abort));
            self.tie(&mut message, "assistant");
        } else if error.is_some() {
            self.tie(&mut message, "terminal-error");
        }
        Some(message)
    }

    fn tool_call(&self, id: &'a str, name: &'a str, args: &'a Value) -> TranscriptMessage<'a> {
        let block = Block::ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: Cow::Borrowed(args),
        };
        let mut message = self.bare(MessageRole::Assistant, Content::Blocks(vec![block]));
        message.stop_reason = Some("toolUse".into());
        message.meta.run_id = self.run_id();
        // Both messages of the entry need an id of their own.
        message.meta.id = format!("{}-call", self.entry.id).into();
        message
    }

    fn tool_result(
        &self,
        id: &'a str,
        name: Option<&'a str>,
        text: Cow<'a, str>,
        is_error: bool,
    ) -> TranscriptMessage<'a> {
        let text = self.capped(text);
        let content = Content::Blocks(vec![Block::Text { text }]);
        let mut message = self.bare(MessageRole::ToolResult, content);
        message.tool_call_id = Some(id.into());
        message.tool_name = name.map(Into::into);
        message.is_error = Some(is_error);
        message.meta.run_id = self.run_id();
        message
    }

    fn injected(&self, label: Option<&'a str>, text: &'a str) -> TranscriptMessage<'a> {
        let text = match label {
            Some(label) => Cow::Owned(format!("[{label}]\n\n{text}")),
            None => text.into(),
        };
        let text = self.capped(text);
        let content = Content::Blocks(vec![Block::Text { text }]);
        let mut message = self.bare(MessageRole::Assistant, content);
        self.attribute(&mut message, None, None);
        message.stop_reason = Some("stop".into());
        message
    }

    fn compaction(&self, summary: &'a str) -> TranscriptMessage<'a> {
        let text = self.capped(summary.into());
        let content = Content::Blocks(vec![Block::Text { text }]);
        let mut message = self.bare(MessageRole::System, content);
        message.meta.kind = Some("compaction".into());
        message
    }

    /// Says which model wrote the message, or that the gateway put it in.
    fn attribute(
        &self,
        message: &mut TranscriptMessage<'a>,
        model: Option<&'a ModelRef>,
        usage: Option<&Usage>,
    ) {
        if let Some(model) = model {
            message.provider = Some(model.provider.as_ref().into());
            message.model = Some(model.model.as_ref().into());
        } else {
            message.api = Some(INJECTED_API.into());
            message.provider = Some(INJECTED_PROVIDER.into());
            message.model = Some(INJECTED_MODEL.into());
        }
        if self.view.with_usage {
            message.usage = Some(usage.map_or_else(MessageUsage::default, MessageUsage::new));
        }
    }

    fn abort_mark(&self, abort: &Abort) -> AbortMark<'a> {
        let origin = match abort.cause {
            AbortCause::Stop => "stop-command",
            AbortCause::Rpc
            | AbortCause::Replaced
            | AbortCause::ClientGone
            | AbortCause::Restart
            | AbortCause::Dropped
            | AbortCause::SessionEnded => abort.cause.stop_reason(),
        };
        AbortMark {
            aborted: true,
            origin: origin.into(),
            run_id: self.run_id(),
        }
    }

    /// Ties the message to its run.
    fn tie(&self, message: &mut TranscriptMessage<'a>, part: &str) {
        let key = self.run_id().map(|run| format!("{run}:{part}"));
        message.idempotency_key = key.clone().map(Into::into);
        message.meta.idempotency_key = key.map(Into::into);
    }

    fn run_id(&self) -> Option<Cow<'a, str>> {
        self.entry.wire_id.as_ref().map(|run| run.as_str().into())
    }

    fn capped(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        cap_text(text, self.view.text_chars_max)
    }

    fn bare(&self, role: MessageRole, content: Content<'a>) -> TranscriptMessage<'a> {
        TranscriptMessage {
            role,
            content,
            timestamp: self.entry.at_ms,
            api: None,
            provider: None,
            model: None,
            usage: None,
            stop_reason: None,
            error_message: None,
            tool_call_id: None,
            tool_name: None,
            is_error: None,
            idempotency_key: None,
            abort: None,
            meta: MessageMeta {
                id: self.entry.id.to_string().into(),
                seq: self.entry.n,
                record_timestamp_ms: Some(self.entry.at_ms),
                ..MessageMeta::default()
            },
        }
    }
}

fn image_block(image: &Image) -> Block<'_> {
    Block::Image {
        mime_type: image.media_type.as_ref().into(),
        omitted: true,
        bytes: u64::try_from(image.bytes.len()).unwrap_or(u64::MAX),
    }
}

fn tool_call_block(call: &ToolCall) -> Block<'_> {
    let arguments = serde_json::from_str(&call.arguments)
        .unwrap_or_else(|_not_json| Value::String(call.arguments.clone()));
    Block::ToolCall {
        id: call.id.as_str().into(),
        name: call.name.as_str().into(),
        arguments: Cow::Owned(arguments),
    }
}

/// A tool's result as text.
fn value_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string().into()
        }
    }
}

/// The text, cut after `chars_max` characters.
fn cap_text(text: Cow<'_, str>, chars_max: usize) -> Cow<'_, str> {
    // Bytes bound characters from above, so most texts need no count.
    if text.len() <= chars_max {
        return text;
    }
    let cut = text.char_indices().nth(chars_max).map(|(at, _)| at);
    match cut.and_then(|at| text.get(..at)) {
        Some(head) => Cow::Owned(format!("{head}{TRUNCATED}")),
        None => text,
    }
}

/// What `chat.history` returns of a transcript.
#[derive(Debug, Default)]
pub struct HistoryMessages {
    /// The messages, encoded, oldest first.
    pub messages: Vec<Box<RawValue>>,
    /// How many of the oldest entries did not fit.
    pub dropped_entries: usize,
}

/// Encodes entries for `chat.history`: each message within its cap, all within `bytes_max`, the
/// oldest left out first.
pub fn history_messages(entries: &[Entry], view: View, bytes_max: usize) -> HistoryMessages {
    let mut newest_first = Vec::new();
    let mut room = bytes_max.min(HISTORY_BYTES_MAX);
    let mut kept = 0;
    for entry in entries.iter().rev() {
        let mut group: Vec<_> = messages_of(entry, view)
            .iter()
            .filter_map(|message| encode(message, MESSAGE_BYTES_MAX.min(room.max(1))))
            .collect();
        let bytes: usize = group.iter().map(|message| message.get().len() + 1).sum();
        let is_newest = newest_first.is_empty();
        if bytes > room && !is_newest {
            break;
        }
        room = room.saturating_sub(bytes);
        kept += 1;
        group.reverse();
        newest_first.append(&mut group);
    }
    newest_first.reverse();
    HistoryMessages {
        messages: newest_first,
        dropped_entries: entries.len() - kept,
    }
}

/// The message as JSON, or a placeholder when it is longer than `bytes_max`.
fn encode(message: &TranscriptMessage<'_>, bytes_max: usize) -> Option<Box<RawValue>> {
    let raw = serde_json::value::to_raw_value(message).ok()?;
    if raw.get().len() <= bytes_max {
        return Some(raw);
    }
    let placeholder = TranscriptMessage {
        role: message.role,
        content: Content::Blocks(vec![Block::Text {
            text: OMITTED.into(),
        }]),
        timestamp: message.timestamp,
        api: None,
        provider: None,
        model: None,
        usage: None,
        stop_reason: None,
        error_message: None,
        tool_call_id: message.tool_call_id.clone(),
        tool_name: message.tool_name.clone(),
        is_error: message.is_error,
        idempotency_key: message.idempotency_key.clone(),
        abort: message.abort.clone(),
        meta: MessageMeta {
            truncated: Some(true),
            reason: Some("oversized".into()),
            ..message.meta.clone()
        },
    };
    serde_json::value::to_raw_value(&placeholder).ok()
}
