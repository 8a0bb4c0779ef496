//! Writes entries as messages.
//!
//! One entry becomes one message; a call of one of the agent's own tools becomes two, the call and
//! its result.

use std::borrow::Cow;

use serde_json::Value;

use crate::ids::WireId;
use crate::protocol::methods::artifacts::image_id;
use crate::protocol::outcome::is_silent;
use crate::run::{Abort, AbortCause, Entry, EntryBody, Image, ModelRef, ToolCall, Usage};

use super::{
    AbortMark, Block, Content, INJECTED_API, INJECTED_MODEL, INJECTED_PROVIDER, MessageMeta,
    MessageRole, MessageUsage, TranscriptMessage, View,
};

const TRUNCATED: &str = "\n...(truncated)...";

/// The messages an entry is shown as: one, two for a call of the agent's own tool, none for a
/// silent answer.
pub fn messages_of(entry: &Entry, view: View) -> Vec<TranscriptMessage<'_>> {
    let writer = MessageWriter { entry, view };
    match &entry.body {
        EntryBody::User { text, images, .. } => vec![writer.user(text, images)],
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
            ..
        } => vec![writer.tool_result(tool_call_id, name.as_deref(), text.into(), false)],
        EntryBody::Injected { label, text } => vec![writer.injected(label.as_deref(), text)],
        EntryBody::Command {
            wire_id,
            is_answer,
            text,
        } => vec![writer.command(wire_id, *is_answer, text)],
        EntryBody::Compaction { summary, .. } => vec![writer.compaction(summary)],
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
            let numbered = images.iter().enumerate();
            blocks.extend(numbered.map(|(index, image)| self.image(image, index)));
            Content::Blocks(blocks)
        };
        let mut message = self.bare(MessageRole::User, content);
        self.tie(&mut message, "user");
        message.exclude_from_context = self.entry.body.is_withheld().then_some(true);
        message
    }

    fn image(&self, image: &'a Image, index: usize) -> Block<'a> {
        Block::Image {
            mime_type: image.media_type.as_ref().into(),
            omitted: true,
            bytes: u64::try_from(image.bytes.len()).unwrap_or(u64::MAX),
            artifact_id: Some(image_id(self.entry.id, index).into()),
        }
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

    fn command(&self, id: &'a WireId, is_answer: bool, text: &'a str) -> TranscriptMessage<'a> {
        let mut message = if is_answer {
            let mut message = self.injected(None, text);
            message.command = Some(true);
            message
        } else {
            self.user(text, &[])
        };
        let key: Cow<'a, str> = if is_answer {
            id.as_str().into()
        } else {
            format!("{id}:user").into()
        };
        message.idempotency_key = Some(key.clone());
        message.exclude_from_context = Some(true);
        message.meta.idempotency_key = Some(key);
        message.meta.context_free_command = Some(true);
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
            | AbortCause::SessionEnded
            | AbortCause::Revoked => abort.cause.stop_reason(),
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
            exclude_from_context: None,
            command: None,
            meta: MessageMeta {
                id: self.entry.id.to_string().into(),
                seq: self.entry.n,
                record_timestamp_ms: Some(self.entry.at_ms),
                ..MessageMeta::default()
            },
        }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use uuid::Uuid;

    use crate::ids::{EntryId, WireId};
    use crate::protocol::Protocol;

    use super::*;

    fn entry(body: EntryBody) -> Entry {
        Entry {
            id: EntryId::from_uuid(Uuid::nil()),
            n: 3,
            run: None,
            wire_id: Some(WireId::parse("r1").unwrap()),
            at_ms: 7,
            body,
        }
    }

    fn assistant(text: &str) -> EntryBody {
        EntryBody::Assistant {
            text: text.to_owned(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            stop_reason: "stop".into(),
            usage: None,
            model: None,
            abort: None,
            error: None,
        }
    }

    /// What every message of [`entry`] says about its place.
    fn meta(more: &Value) -> Value {
        let mut meta = json!({"id": "00000000-0000-0000-0000-000000000000", "seq": 3,
                              "recordTimestampMs": 7});
        let members = more.as_object().unwrap().clone();
        meta.as_object_mut().unwrap().extend(members);
        meta
    }

    fn check(body: EntryBody, expected: &[Value]) {
        let entry = entry(body);
        let view = View {
            text_chars_max: 20,
            with_usage: false,
        };
        let messages = messages_of(&entry, view);
        let values: Vec<Value> = messages
            .iter()
            .map(|message| serde_json::to_value(message).unwrap())
            .collect();
        assert_eq!(values, expected);
        for message in &messages {
            let text = serde_json::to_string(message).unwrap();
            let again: TranscriptMessage<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(&again, message);
        }
    }

    #[test]
    fn a_user_is_quoted_and_images_are_named_without_their_data() {
        let key = json!({"idempotencyKey": "r1:user"});
        check(
            EntryBody::User {
                text: "hello".to_owned(),
                images: Vec::new(),
                withheld: false,
            },
            &[json!({"role": "user", "content": "hello", "timestamp": 7,
                     "idempotencyKey": "r1:user", "__openclaw": meta(&key)})],
        );
        check(
            EntryBody::User {
                text: "x".repeat(21),
                images: vec![Image {
                    media_type: "image/png".into(),
                    bytes: Bytes::from_static(b"1234"),
                }],
                withheld: false,
            },
            &[
                json!({"role": "user", "timestamp": 7, "idempotencyKey": "r1:user",
                     "content": [
                         {"type": "text",
                          "text": format!("{}\n...(truncated)...", "x".repeat(20))},
                         {"type": "image", "mimeType": "image/png", "omitted": true, "bytes": 4,
                          "artifactId":
                              "artifact_transcript_image_00000000-0000-0000-0000-000000000000_0"},
                     ],
                     "__openclaw": meta(&key)}),
            ],
        );
    }

    #[test]
    fn an_answer_names_its_model_and_its_calls() {
        check(
            EntryBody::Assistant {
                text: String::new(),
                reasoning: "hm".to_owned(),
                tool_calls: vec![ToolCall {
                    id: "c".to_owned(),
                    name: "f".to_owned(),
                    arguments: "{\"a\":1}".to_owned(),
                }],
                stop_reason: "toolUse".into(),
                usage: None,
                model: Some(ModelRef {
                    provider: "local".into(),
                    model: "m".into(),
                }),
                abort: None,
                error: None,
            },
            &[
                json!({"role": "assistant", "timestamp": 7, "provider": "local", "model": "m",
                     "stopReason": "toolUse",
                     "content": [
                         {"type": "thinking", "thinking": "hm"},
                         {"type": "toolCall", "id": "c", "name": "f", "arguments": {"a": 1}},
                     ],
                     "__openclaw": meta(&json!({"runId": "r1"}))}),
            ],
        );
    }

    #[test]
    fn a_stopped_answer_is_marked() {
        let mut body = assistant("half");
        if let EntryBody::Assistant { abort, .. } = &mut body {
            *abort = Some(Abort {
                cause: AbortCause::Stop,
            });
        }
        let key = json!({"runId": "r1", "idempotencyKey": "r1:assistant"});
        check(
            body,
            &[
                json!({"role": "assistant", "timestamp": 7, "api": "openai-responses",
                     "provider": "openclaw", "model": "gateway-injected", "stopReason": "stop",
                     "content": [{"type": "text", "text": "half"}],
                     "idempotencyKey": "r1:assistant",
                     "openclawAbort": {"aborted": true, "origin": "stop-command",
                                       "runId": "r1"},
                     "__openclaw": meta(&key)}),
            ],
        );
    }

    #[test]
    fn a_failed_answer_says_what_went_wrong() {
        let mut body = assistant("");
        if let EntryBody::Assistant { error, .. } = &mut body {
            *error = Some("broken".into());
        }
        let key = json!({"runId": "r1", "idempotencyKey": "r1:terminal-error"});
        check(
            body,
            &[
                json!({"role": "assistant", "timestamp": 7, "api": "openai-responses",
                     "provider": "openclaw", "model": "gateway-injected", "stopReason": "stop",
                     "errorMessage": "broken", "content": [{"type": "text", "text": "broken"}],
                     "idempotencyKey": "r1:terminal-error", "__openclaw": meta(&key)}),
            ],
        );
    }

    #[test]
    fn a_tool_of_the_agent_is_a_call_and_a_result() {
        let run = json!({"runId": "r1"});
        let mut call_meta = meta(&run);
        call_meta["id"] = json!("00000000-0000-0000-0000-000000000000-call");
        check(
            EntryBody::Tool {
                id: "t".to_owned(),
                name: "ls".to_owned(),
                arguments: json!({"path": "/"}),
                result: json!({"n": 1}),
                is_error: true,
            },
            &[
                json!({"role": "assistant", "timestamp": 7, "stopReason": "toolUse",
                       "content": [{"type": "toolCall", "id": "t", "name": "ls",
                                    "arguments": {"path": "/"}}],
                       "__openclaw": call_meta}),
                json!({"role": "toolResult", "timestamp": 7, "toolCallId": "t",
                       "toolName": "ls", "isError": true,
                       "content": [{"type": "text", "text": "{\"n\":1}"}],
                       "__openclaw": meta(&run)}),
            ],
        );
    }

    #[test]
    fn an_operator_speaks_for_the_agent() {
        check(
            EntryBody::Injected {
                label: Some("note".to_owned()),
                text: "hi".to_owned(),
            },
            &[
                json!({"role": "assistant", "timestamp": 7, "api": "openai-responses",
                     "provider": "openclaw", "model": "gateway-injected", "stopReason": "stop",
                     "content": [{"type": "text", "text": "[note]\n\nhi"}],
                     "__openclaw": meta(&json!({}))}),
            ],
        );
    }

    #[test]
    fn a_command_and_its_answer_are_marked() {
        let command = |is_answer| EntryBody::Command {
            wire_id: WireId::parse("c1").unwrap(),
            is_answer,
            text: "text".to_owned(),
        };
        let shown = |is_answer| {
            let entry = entry(command(is_answer));
            let [message] = &messages_of(&entry, View::LIVE)[..] else {
                panic!("one message");
            };
            serde_json::to_value(message).unwrap()
        };
        for (is_answer, role, key) in [(false, "user", "c1:user"), (true, "assistant", "c1")] {
            let message = shown(is_answer);
            assert_eq!(message["role"], role);
            assert_eq!(message["idempotencyKey"], key);
            assert_eq!(message["excludeFromContext"], true);
            let mark = json!({"idempotencyKey": key, "contextFreeCommand": true});
            assert_eq!(message["__openclaw"], meta(&mark));
        }
        assert_eq!(shown(false).get("command"), None);
        assert_eq!(shown(true)["command"], true);
        assert_eq!(shown(true)["model"], "gateway-injected");
    }

    #[test]
    fn silence_is_not_shown_and_a_compaction_is_marked() {
        check(assistant(" NO_REPLY\n"), &[]);
        check(
            EntryBody::Compaction {
                summary: "before".to_owned(),
                kept_from: None,
            },
            &[json!({"role": "system", "timestamp": 7,
                     "content": [{"type": "text", "text": "before"}],
                     "__openclaw": meta(&json!({"kind": "compaction"}))})],
        );
    }

    #[test]
    fn the_protocol_decides_caps_and_tokens() {
        let entry = entry(assistant(&"ä".repeat(10_000)));
        let shown = |view| {
            let messages = messages_of(&entry, view);
            let Content::Blocks(blocks) = &messages[0].content else {
                panic!("an answer has blocks");
            };
            let Block::Text { text } = &blocks[0] else {
                panic!("an answer begins with text");
            };
            (text.chars().count(), messages[0].usage.is_some())
        };
        let suffix = TRUNCATED.chars().count();
        assert_eq!(
            shown(View::history(Protocol::V4, None)),
            (8_000 + suffix, true)
        );
        assert_eq!(shown(View::history(Protocol::V3, None)), (10_000, false));
        assert_eq!(
            shown(View::history(Protocol::V4, Some(5))),
            (5 + suffix, true)
        );
        assert_eq!(shown(View::LIVE), (10_000, true));
    }
}
