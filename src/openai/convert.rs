//! From what a run yields to an answer: gathered for JSON, chunk by chunk for a stream.

use bytes::BytesMut;

use crate::run::{Event, FinishReason, Outcome, Terminal, ToolCall, ToolCallDelta, Usage};

use super::error::ApiError;
use super::response::{Completion, ReplyHead, completion};
use super::sse::{self, Chunks};

/// What stands for an answer without text.
const NO_TEXT: &str = "No response from OpenClaw.";

/// Most bytes of reasoning in a whole answer; more is left out.
const REASONING_BYTES_MAX: usize = 1024 * 1024;

/// An answer that is sent as a whole.
#[derive(Debug)]
pub struct Answer {
    head: ReplyHead,
    show_reasoning: bool,
    text: String,
    reasoning: String,
    calls: Calls,
    usage: Option<Usage>,
}

impl Answer {
    /// An answer without anything in it.
    pub fn new(head: ReplyHead, show_reasoning: bool) -> Self {
        Self {
            head,
            show_reasoning,
            text: String::new(),
            reasoning: String::new(),
            calls: Calls::default(),
            usage: None,
        }
    }

    /// Adds answer text.
    pub fn push_text(&mut self, text: String) {
        if self.text.is_empty() {
            self.text = text;
        } else {
            self.text.push_str(&text);
        }
    }

    /// Adds what else the agent yields; its own tools stay invisible.
    pub fn push_event(&mut self, event: &Event) {
        match event {
            Event::Text(text) => self.text.push_str(text),
            Event::Reasoning(text) => self.push_reasoning(text),
            Event::ToolCall(delta) => {
                self.calls.push(delta);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::ToolStart { .. }
            | Event::ToolUpdate { .. }
            | Event::ToolResult { .. }
            | Event::Finished(_) => {}
        }
    }

    /// Adds whole calls of client tools.
    pub fn push_calls(&mut self, calls: Vec<ToolCall>) {
        for piece in pieces(calls) {
            self.calls.push(&piece);
        }
    }

    fn push_reasoning(&mut self, text: &str) {
        let fits = self.reasoning.len() + text.len() <= REASONING_BYTES_MAX;
        if self.show_reasoning && fits {
            self.reasoning.push_str(text);
        }
    }

    /// The JSON of the answer.
    ///
    /// # Errors
    /// How the run failed, when it did.
    pub fn finish(self, terminal: &Terminal) -> Result<BytesMut, ApiError> {
        let finish_reason = finish_reason(&terminal.outcome, !self.calls.is_empty())?;
        let no_text = self.text.is_empty() && self.calls.is_empty();
        let answer = Completion {
            text: if no_text { NO_TEXT } else { &self.text },
            reasoning: &self.reasoning,
            calls: &self.calls.0,
            finish_reason,
            usage: terminal.usage.as_ref().or(self.usage.as_ref()),
        };
        Ok(completion(&self.head, &answer))
    }
}

/// What a stream shows beside text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Whether it ends with a usage chunk, when the model told what it used.
    pub include_usage: bool,
    /// Whether reasoning is shown.
    pub show_reasoning: bool,
}

/// An answer that is sent as a stream. Every method appends frames to `out`.
#[derive(Debug)]
pub struct Stream {
    chunks: Chunks,
    options: StreamOptions,
    calls: StreamedCalls,
    has_text: bool,
    usage: Option<Usage>,
}

impl Stream {
    /// A stream of which nothing is written yet.
    pub fn new(head: &ReplyHead, options: StreamOptions) -> Self {
        Self {
            chunks: Chunks::new(head),
            options,
            calls: StreamedCalls::default(),
            has_text: false,
            usage: None,
        }
    }

    /// Writes the role chunk, which is always the first.
    pub fn open(&self, out: &mut BytesMut) {
        self.chunks.role(out);
    }

    /// Writes answer text.
    pub fn push_text(&mut self, out: &mut BytesMut, text: &str) {
        if !text.is_empty() {
            self.has_text = true;
            self.chunks.content(out, text);
        }
    }

    /// Writes what else the agent yields; its own tools stay invisible.
    pub fn push_event(&mut self, out: &mut BytesMut, event: &Event) {
        match event {
            Event::Text(text) => self.push_text(out, text),
            Event::Reasoning(text) => {
                if self.options.show_reasoning && !text.is_empty() {
                    self.chunks.reasoning(out, text);
                }
            }
            Event::ToolCall(delta) => self.calls.push(&self.chunks, out, delta),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::ToolStart { .. }
            | Event::ToolUpdate { .. }
            | Event::ToolResult { .. }
            | Event::Finished(_) => {}
        }
    }

    /// Writes whole calls of client tools.
    pub fn push_calls(&mut self, out: &mut BytesMut, calls: &[ToolCall]) {
        for piece in pieces(calls.iter().cloned()) {
            self.calls.push(&self.chunks, out, &piece);
        }
    }

    /// Writes the end: finish and usage chunk, or the error; then `[DONE]`.
    pub fn finish(&mut self, out: &mut BytesMut, terminal: &Terminal) {
        match finish_reason(&terminal.outcome, !self.calls.is_empty()) {
            Ok(reason) => {
                if !self.has_text && self.calls.is_empty() {
                    self.push_text(out, NO_TEXT);
                }
                self.calls.close(&self.chunks, out);
                self.chunks.finish(out, reason);
                let usage = terminal.usage.as_ref().or(self.usage.as_ref());
                if let Some(usage) = usage.filter(|_| self.options.include_usage) {
                    self.chunks.usage(out, usage);
                }
            }
            Err(error) => sse::error(out, &error),
        }
        sse::done(out);
    }
}

/// `finish_reason` of a run that succeeded.
fn finish_reason(outcome: &Outcome, has_calls: bool) -> Result<&'static str, ApiError> {
    match outcome {
        Outcome::Ok(_) if has_calls => Ok("tool_calls"),
        // Without a call there is nothing the caller could answer.
        Outcome::Ok(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Folded) => {
            Ok("stop")
        }
        Outcome::Ok(FinishReason::Length) => Ok("length"),
        Outcome::Error(_) | Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted => {
            let internal = || ApiError::new(crate::error::ErrorCode::Internal, "");
            Err(ApiError::of_outcome(outcome).unwrap_or_else(internal))
        }
    }
}

/// Each call as one piece.
fn pieces(calls: impl IntoIterator<Item = ToolCall>) -> impl Iterator<Item = ToolCallDelta> {
    (0..).zip(calls).map(|(index, call)| ToolCallDelta {
        index,
        id: Some(call.id),
        name: Some(call.name),
        arguments: call.arguments,
    })
}

/// The id of a call whose agent gave none.
fn call_id(delta: &ToolCallDelta) -> String {
    let given = delta.id.clone();
    given.unwrap_or_else(|| format!("call_{}", delta.index))
}

/// Calls put together from their pieces, and the index of each.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<ToolCall>, Vec<u32>);

impl Calls {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_inner(self) -> Vec<ToolCall> {
        self.0
    }

    pub(super) fn push(&mut self, delta: &ToolCallDelta) {
        let known = self.1.iter().position(|index| *index == delta.index);
        if let Some(call) = known.and_then(|at| self.0.get_mut(at)) {
            call.arguments.push_str(&delta.arguments);
            return;
        }
        self.1.push(delta.index);
        self.0.push(ToolCall {
            id: call_id(delta),
            name: delta.name.clone().unwrap_or_default(),
            arguments: delta.arguments.clone(),
        });
    }
}

/// Calls of which the first chunk was written: their index, and whether arguments were.
#[derive(Debug, Default)]
struct StreamedCalls(Vec<(u32, bool)>);

impl StreamedCalls {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, chunks: &Chunks, out: &mut BytesMut, delta: &ToolCallDelta) {
        let has_arguments = !delta.arguments.is_empty();
        let known = self.0.iter_mut().find(|(index, _)| *index == delta.index);
        if let Some((_, written)) = known {
            *written |= has_arguments;
        } else {
            let name = delta.name.as_deref().unwrap_or_default();
            chunks.call(out, delta.index, &call_id(delta), name);
            self.0.push((delta.index, has_arguments));
        }
        if has_arguments {
            chunks.arguments(out, delta.index, &delta.arguments);
        }
    }

    /// Every call has at least one piece of arguments, be it empty.
    fn close(&mut self, chunks: &Chunks, out: &mut BytesMut) {
        for (index, written) in &mut self.0 {
            if !*written {
                chunks.arguments(out, *index, "");
                *written = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::run::{AbortCause, RunError};

    fn head() -> ReplyHead {
        ReplyHead {
            id: "chatcmpl_1".to_owned(),
            created: 1_790_000_000,
            model: "openclaw:main".to_owned(),
        }
    }

    fn terminal(outcome: Outcome, usage: Option<Usage>) -> Terminal {
        Terminal {
            outcome,
            started_at_ms: Some(1),
            ended_at_ms: 2,
            usage,
        }
    }

    fn ok(reason: FinishReason) -> Terminal {
        let usage = Usage {
            input: 812,
            output: 4,
            ..Usage::default()
        };
        terminal(Outcome::Ok(reason), Some(usage))
    }

    fn piece(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Event {
        Event::ToolCall(ToolCallDelta {
            index,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        })
    }

    fn text(text: &str) -> Event {
        Event::Text(text.to_owned())
    }

    fn check_json(events: &[Event], terminal: &Terminal, expected: &str) {
        let mut answer = Answer::new(head(), true);
        for event in events {
            answer.push_event(event);
        }
        let json = match answer.finish(terminal) {
            Ok(json) => json,
            Err(error) => error.to_json(),
        };
        assert_eq!(std::str::from_utf8(&json).unwrap(), expected);
    }

    #[test]
    fn a_whole_answer_has_the_recorded_form() {
        check_json(
            &[text("Hel"), text("lo!")],
            &ok(FinishReason::Stop),
            r#"{"id":"chatcmpl_1","object":"chat.completion","created":1790000000,"model":"openclaw:main","choices":[{"index":0,"message":{"role":"assistant","content":"Hello!"},"finish_reason":"stop"}],"usage":{"prompt_tokens":812,"completion_tokens":4,"total_tokens":816}}"#,
        );
        check_json(
            &[],
            &terminal(Outcome::Ok(FinishReason::Length), None),
            r#"{"id":"chatcmpl_1","object":"chat.completion","created":1790000000,"model":"openclaw:main","choices":[{"index":0,"message":{"role":"assistant","content":"No response from OpenClaw."},"finish_reason":"length"}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#,
        );
    }

    #[test]
    fn calls_reasoning_and_detailed_usage_are_shown_when_there_are_any() {
        let usage = Usage {
            input: 10,
            output: 5,
            cached: 3,
            reasoning: Some(2),
            total: Some(20),
        };
        check_json(
            &[
                Event::Reasoning("hm".to_owned()),
                piece(0, Some("c1"), Some("f"), ""),
                piece(1, None, Some("g"), "{}"),
                piece(0, None, None, r#"{"q":1}"#),
                Event::Usage(usage),
            ],
            &terminal(Outcome::Ok(FinishReason::Stop), None),
            r#"{"id":"chatcmpl_1","object":"chat.completion","created":1790000000,"model":"openclaw:main","choices":[{"index":0,"message":{"role":"assistant","content":"","reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"q\":1}"}},{"id":"call_1","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}"#,
        );
    }

    #[test]
    fn a_failed_run_never_looks_complete() {
        let failed = Outcome::Error(RunError::new(ErrorCode::UpstreamFailed, "x"));
        check_json(
            &[text("half")],
            &terminal(failed, None),
            r#"{"error":{"message":"upstream provider error","type":"api_error"}}"#,
        );
    }

    /// Shows the frames of a stream, with what they all share left out.
    fn streamed(events: &[Event], terminal: &Terminal, options: StreamOptions) -> Vec<String> {
        let mut out = BytesMut::new();
        let mut stream = Stream::new(&head(), options);
        stream.open(&mut out);
        for event in events {
            stream.push_event(&mut out, event);
        }
        stream.finish(&mut out, terminal);
        let shared = r#"{"id":"chatcmpl_1","object":"chat.completion.chunk","created":1790000000,"model":"openclaw:main","choices":["#;
        let text = std::str::from_utf8(&out).unwrap();
        let frames = text.strip_suffix("\n\n").unwrap().split("\n\n");
        frames
            .map(|frame| {
                let data = frame.strip_prefix("data: ").unwrap();
                if data != "[DONE]" {
                    serde_json::from_str::<serde_json::Value>(data).unwrap();
                }
                data.replace(shared, "…")
            })
            .collect()
    }

    #[test]
    fn a_stream_is_role_content_finish_usage_done() {
        let options = StreamOptions {
            include_usage: true,
            show_reasoning: false,
        };
        let events = [text("Hel"), Event::Reasoning("hm".to_owned()), text("lo\n")];
        assert_eq!(
            streamed(&events, &ok(FinishReason::Stop), options),
            [
                r#"…{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#,
                r#"…{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}"#,
                r#"…{"index":0,"delta":{"content":"lo\n"},"finish_reason":null}]}"#,
                r#"…{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
                r#"…],"usage":{"prompt_tokens":812,"completion_tokens":4,"total_tokens":816}}"#,
                "[DONE]",
            ]
        );
    }

    #[test]
    fn an_empty_answer_says_so_and_an_error_has_no_finish_chunk() {
        let options = StreamOptions::default();
        assert_eq!(
            streamed(&[], &ok(FinishReason::ToolCalls), options).get(1..),
            Some(
                &[
                    r#"…{"index":0,"delta":{"content":"No response from OpenClaw."},"finish_reason":null}]}"#,
                    r#"…{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
                    "[DONE]",
                ]
                .map(str::to_owned)[..]
            )
        );
        let cut = terminal(Outcome::Aborted(AbortCause::Restart), None);
        assert_eq!(
            streamed(&[text("half")], &cut, options).get(2..),
            Some(
                &[
                    r#"{"error":{"message":"The gateway restarted before the run had ended.","type":"service_unavailable","code":"gateway_restarting"}}"#,
                    "[DONE]",
                ]
                .map(str::to_owned)[..]
            )
        );
    }

    #[test]
    fn a_call_is_named_first_and_its_arguments_follow_as_they_come() {
        let options = StreamOptions {
            include_usage: false,
            show_reasoning: true,
        };
        let events = [
            Event::Reasoning("hm".to_owned()),
            piece(0, Some("c1"), Some("f"), r#"{"q""#),
            piece(1, Some("c2"), Some("g"), ""),
            piece(0, None, None, ":1}"),
        ];
        assert_eq!(
            streamed(&events, &ok(FinishReason::ToolCalls), options).get(1..),
            Some(
                &[
                    r#"…{"index":0,"delta":{"reasoning_content":"hm"},"finish_reason":null}]}"#,
                    r#"…{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}"#,
                    r#"…{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"q\""}}]},"finish_reason":null}]}"#,
                    r#"…{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"g","arguments":""}}]},"finish_reason":null}]}"#,
                    r#"…{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":null}]}"#,
                    r#"…{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":""}}]},"finish_reason":null}]}"#,
                    r#"…{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
                    "[DONE]",
                ]
                .map(str::to_owned)[..]
            )
        );
    }

    #[test]
    fn long_arguments_are_cut_at_characters() {
        let long = "ä".repeat(20_000);
        let events = [piece(0, Some("c1"), Some("f"), &long)];
        let frames = streamed(
            &events,
            &ok(FinishReason::ToolCalls),
            StreamOptions::default(),
        );
        let whole: String = frames
            .iter()
            .filter_map(|frame| frame.split_once(r#""function":{"arguments":""#))
            .filter_map(|(_, rest)| rest.split_once('"'))
            .map(|(text, _)| text)
            .collect();
        assert_eq!(whole, long);
        assert!(frames.iter().all(|frame| frame.len() < 17_000));
    }
}
