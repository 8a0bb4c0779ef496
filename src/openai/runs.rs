//! Runs as resources: the state of one as JSON, its events as a stream that can be taken up again.
//!
//! Unlike streams of chat completions these have `id:` and `event:` lines: they are read by clients
//! that know them.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::run::{Event, FinishReason, Outcome, RunInfo, Terminal, ToolCall, ToolCallDelta, Usage};

use super::convert::Calls;
use super::error::ApiError;
use super::schema::run::{Run, RunEvent, RunStatus};
use super::schema::types::{
    AnswerEnd, CalledFunction, CompletionTokensDetails, CompletionUsage, ErrorBody,
    MessageToolCall, PromptTokensDetails,
};

/// What is known of a run, for [`run_json`].
#[derive(Clone, Debug)]
pub struct RunState<'a> {
    /// The id peers know it by.
    pub id: &'a str,
    /// Its agent.
    pub agent: &'a str,
    /// Its session.
    pub session: &'a str,
    /// When it was accepted, in wall-clock milliseconds.
    pub accepted_at_ms: u64,
    /// When the agent was started.
    pub started_at_ms: Option<u64>,
    /// How it ended, once it has.
    pub terminal: Option<&'a Terminal>,
    /// Its answer so far.
    pub text: String,
    /// Calls of client tools in it.
    pub calls: Vec<ToolCall>,
    /// Sequence number of its last event, when its events are there.
    pub last_event: Option<u64>,
}

impl<'a> RunState<'a> {
    /// A run of which nothing but its identity is known.
    pub fn of(info: &'a RunInfo) -> Self {
        Self {
            id: info.wire_id.as_str(),
            agent: info.agent.as_str(),
            session: info.session.as_str(),
            accepted_at_ms: info.accepted_at_ms,
            started_at_ms: None,
            terminal: None,
            text: String::new(),
            calls: Vec::new(),
            last_event: None,
        }
    }
}

/// Puts calls of client tools together from their pieces.
pub fn gathered_calls(pieces: &[&ToolCallDelta]) -> Vec<ToolCall> {
    let mut calls = Calls::default();
    for piece in pieces {
        calls.push(piece);
    }
    calls.into_inner()
}

/// The body of `GET /v1/runs/{id}`.
pub fn run_json(state: RunState<'_>) -> BytesMut {
    let end = state
        .terminal
        .map(|terminal| End::of(terminal, !state.calls.is_empty()));
    let waiting = match state.started_at_ms {
        Some(_) => RunStatus::Active,
        None => RunStatus::Queued,
    };
    let (status, finish_reason, usage, error) = match end {
        Some(end) => (end.status, end.finish_reason, end.usage, end.error),
        None => (waiting, None, None, None),
    };
    let mut out = BytesMut::with_capacity(512 + state.text.len());
    let run = Run {
        id: state.id.to_owned(),
        object: "run".to_owned(),
        status,
        agent_id: state.agent.to_owned(),
        session_key: state.session.to_owned(),
        accepted_at_ms: state.accepted_at_ms,
        started_at_ms: state.started_at_ms,
        ended_at_ms: state.terminal.map(|terminal| terminal.ended_at_ms),
        text: state.text,
        tool_calls: state.calls.into_iter().map(call).collect(),
        finish_reason,
        usage,
        error,
        last_event: state.last_event,
    };
    write_json(&mut out, &run);
    out
}

/// The events of a run as frames. Every method appends to `out`.
#[derive(Debug)]
pub struct RunStream {
    show_reasoning: bool,
    has_calls: bool,
    /// Sequence number of the last frame the reader can go on from.
    last_seq: u64,
}

impl RunStream {
    /// Frames for a reader that has everything up to event `after`.
    pub const fn new(show_reasoning: bool, after: u64) -> Self {
        Self {
            show_reasoning,
            has_calls: false,
            last_seq: after,
        }
    }

    /// The agent was started.
    pub fn started(&mut self, out: &mut BytesMut, seq: u64, at_ms: u64) {
        let seq = self.advance(seq);
        frame(out, seq, &RunEvent::Started { seq, at_ms });
    }

    /// More answer text, up to and including event `seq`.
    pub fn text(&mut self, out: &mut BytesMut, seq: u64, text: String) {
        let seq = self.advance(seq);
        frame(out, seq, &RunEvent::Text { seq, text });
    }

    /// Answer text whose place in the log nobody knows any more.
    pub fn kept_text(out: &mut BytesMut, text: String) {
        if !text.is_empty() {
            frame(out, None, &RunEvent::Text { seq: None, text });
        }
    }

    /// What else the agent yields.
    pub fn event(&mut self, out: &mut BytesMut, seq: u64, event: &Event) {
        let seq = self.advance(seq);
        if let Event::ToolCall(_) = event {
            self.has_calls = true;
        }
        if let Some(event) = self.shown(seq, event) {
            frame(out, seq, &event);
        }
    }

    /// The answer has calls of client tools, although no event says so.
    pub const fn has_calls(&mut self) {
        self.has_calls = true;
    }

    /// Events up to `through` are not in the log any more.
    pub fn gap(out: &mut BytesMut, through: u64) {
        frame(out, None, &RunEvent::Gap { through });
    }

    /// The run ended.
    pub fn finish(&mut self, out: &mut BytesMut, seq: Option<u64>, terminal: &Terminal) {
        let end = End::of(terminal, self.has_calls);
        let event = RunEvent::End {
            seq,
            status: end.status,
            finish_reason: end.finish_reason,
            usage: end.usage,
            error: end.error,
        };
        frame(out, seq, &event);
    }

    /// `seq`, when it is news.
    fn advance(&mut self, seq: u64) -> Option<u64> {
        let is_new = seq > self.last_seq;
        self.last_seq = self.last_seq.max(seq);
        is_new.then_some(seq)
    }

    fn shown(&self, seq: Option<u64>, event: &Event) -> Option<RunEvent> {
        Some(match event {
            Event::Text(text) => RunEvent::Text {
                seq,
                text: text.clone(),
            },
            Event::Reasoning(text) if self.show_reasoning => RunEvent::Reasoning {
                seq,
                text: text.clone(),
            },
            Event::Reasoning(_) | Event::Finished(_) => return None,
            Event::ToolCall(piece) => RunEvent::ToolCall {
                seq,
                index: piece.index,
                id: piece.id.clone(),
                name: piece.name.clone(),
                arguments: piece.arguments.clone(),
            },
            Event::Usage(tokens) => RunEvent::Usage {
                seq,
                usage: usage(tokens),
            },
            Event::ToolStart { .. } | Event::ToolUpdate { .. } | Event::ToolResult { .. } => {
                return own_tool(seq, event);
            }
        })
    }
}

/// What the agent does with its own tools.
fn own_tool(seq: Option<u64>, event: &Event) -> Option<RunEvent> {
    match event {
        Event::ToolStart {
            id,
            name,
            arguments,
        } => Some(RunEvent::ToolStart {
            seq,
            id: id.clone(),
            name: name.clone(),
            arguments: arguments.clone(),
        }),
        Event::ToolUpdate { id, name, partial } => Some(RunEvent::ToolUpdate {
            seq,
            id: id.clone(),
            name: name.clone(),
            partial: partial.clone(),
        }),
        Event::ToolResult {
            id,
            name,
            result,
            is_error,
        } => Some(RunEvent::ToolResult {
            seq,
            id: id.clone(),
            name: name.clone(),
            result: result.clone(),
            is_error: *is_error,
        }),
        Event::Text(_)
        | Event::Reasoning(_)
        | Event::ToolCall(_)
        | Event::Usage(_)
        | Event::Finished(_) => None,
    }
}

/// The end of a run, as both forms show it.
struct End {
    status: RunStatus,
    finish_reason: Option<AnswerEnd>,
    usage: Option<CompletionUsage>,
    error: Option<ErrorBody>,
}

impl End {
    fn of(terminal: &Terminal, has_calls: bool) -> Self {
        let (status, finish_reason) = match &terminal.outcome {
            Outcome::Ok(_) if has_calls => (RunStatus::Ok, Some(AnswerEnd::ToolCalls)),
            Outcome::Ok(FinishReason::Length) => (RunStatus::Ok, Some(AnswerEnd::Length)),
            Outcome::Ok(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Folded) => {
                (RunStatus::Ok, Some(AnswerEnd::Stop))
            }
            Outcome::Error(_) => (RunStatus::Error, None),
            Outcome::Aborted(_) => (RunStatus::Aborted, None),
            Outcome::TimedOut(_) => (RunStatus::Timeout, None),
            Outcome::Interrupted => (RunStatus::Interrupted, None),
        };
        Self {
            status,
            finish_reason,
            usage: terminal.usage.as_ref().map(usage),
            error: ApiError::of_outcome(&terminal.outcome).map(error_body),
        }
    }
}

fn usage(tokens: &Usage) -> CompletionUsage {
    CompletionUsage {
        prompt_tokens: tokens.input,
        completion_tokens: tokens.output,
        total_tokens: tokens.total(),
        prompt_tokens_details: (tokens.cached > 0).then_some(PromptTokensDetails {
            cached_tokens: tokens.cached,
        }),
        completion_tokens_details: tokens
            .reasoning
            .map(|reasoning_tokens| CompletionTokensDetails { reasoning_tokens }),
    }
}

fn error_body(error: ApiError) -> ErrorBody {
    ErrorBody {
        message: error.message.into_owned(),
        kind: error.kind.to_owned(),
        code: error.code.map(std::borrow::Cow::into_owned),
        param: error.param.map(str::to_owned),
        details: None,
    }
}

fn call(call: ToolCall) -> MessageToolCall {
    MessageToolCall {
        id: call.id,
        kind: "function".to_owned(),
        function: CalledFunction {
            name: call.name,
            arguments: call.arguments,
        },
    }
}

fn frame(out: &mut BytesMut, id: Option<u64>, event: &RunEvent) {
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        super::json::push_u64(out, id);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.name().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    write_json(out, event);
    out.extend_from_slice(b"\n\n");
}

/// Appends a value of ours as one line of JSON.
fn write_json<T: Serialize>(out: &mut BytesMut, value: &T) {
    let written = serde_json::to_writer(out.writer(), value);
    // Only maps with other keys than strings, and writers that fail, could make this fail.
    written.expect("our own types are JSON, and a growing buffer takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::run::{AbortCause, RunError};

    fn terminal(outcome: Outcome) -> Terminal {
        Terminal {
            outcome,
            started_at_ms: Some(2),
            ended_at_ms: 3,
            usage: None,
        }
    }

    fn state(terminal: Option<&Terminal>) -> RunState<'_> {
        RunState {
            id: "chatcmpl_1",
            agent: "main",
            session: "agent:main:main",
            accepted_at_ms: 1,
            started_at_ms: None,
            terminal,
            text: "hi".to_owned(),
            calls: Vec::new(),
            last_event: Some(4),
        }
    }

    fn check(state: RunState<'_>, expected: &str) {
        let json = run_json(state);
        let json = std::str::from_utf8(&json).unwrap();
        let rest = json
            .strip_prefix(r#"{"id":"chatcmpl_1","object":"run","status":""#)
            .unwrap();
        assert_eq!(rest, expected);
        serde_json::from_str::<Run>(json).unwrap();
    }

    #[test]
    fn a_run_says_where_it_is() {
        check(
            state(None),
            r#"queued","agent_id":"main","session_key":"agent:main:main","accepted_at_ms":1,"text":"hi","last_event":4}"#,
        );
        check(
            RunState {
                started_at_ms: Some(2),
                ..state(None)
            },
            r#"active","agent_id":"main","session_key":"agent:main:main","accepted_at_ms":1,"started_at_ms":2,"text":"hi","last_event":4}"#,
        );
    }

    #[test]
    fn an_ended_run_says_how() {
        let ok = terminal(Outcome::Ok(FinishReason::Length));
        check(
            RunState {
                last_event: None,
                ..state(Some(&ok))
            },
            r#"ok","agent_id":"main","session_key":"agent:main:main","accepted_at_ms":1,"ended_at_ms":3,"text":"hi","finish_reason":"length"}"#,
        );
        let failed = terminal(Outcome::Error(RunError::new(
            ErrorCode::UpstreamFailed,
            "x",
        )));
        check(
            state(Some(&failed)),
            r#"error","agent_id":"main","session_key":"agent:main:main","accepted_at_ms":1,"ended_at_ms":3,"text":"hi","error":{"message":"upstream provider error","type":"api_error"},"last_event":4}"#,
        );
        let stopped = terminal(Outcome::Aborted(AbortCause::Rpc));
        check(
            state(Some(&stopped)),
            r#"aborted","agent_id":"main","session_key":"agent:main:main","accepted_at_ms":1,"ended_at_ms":3,"text":"hi","error":{"message":"The run was aborted.","type":"api_error","code":"run_aborted"},"last_event":4}"#,
        );
        let pieces = [("c1", "{"), ("", "}")].map(|(id, arguments)| ToolCallDelta {
            index: 0,
            id: (!id.is_empty()).then(|| id.to_owned()),
            name: Some("f".to_owned()),
            arguments: arguments.to_owned(),
        });
        let ok = terminal(Outcome::Ok(FinishReason::Stop));
        check(
            RunState {
                calls: gathered_calls(&pieces.each_ref()),
                ..state(Some(&ok))
            },
            r#"ok","agent_id":"main","session_key":"agent:main:main","accepted_at_ms":1,"ended_at_ms":3,"text":"hi","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}],"finish_reason":"tool_calls","last_event":4}"#,
        );
    }

    #[test]
    fn frames_have_their_position_and_what_is_no_boundary_has_none() {
        let mut out = BytesMut::new();
        let mut stream = RunStream::new(false, 3);
        stream.started(&mut out, 4, 9);
        stream.text(&mut out, 4, "part".to_owned());
        stream.text(&mut out, 6, "whole\n".to_owned());
        stream.event(&mut out, 7, &Event::Reasoning("hidden".to_owned()));
        RunStream::gap(&mut out, 8);
        stream.event(
            &mut out,
            9,
            &Event::ToolStart {
                id: "t1".to_owned(),
                name: "clock".to_owned(),
                arguments: serde_json::json!({}),
            },
        );
        stream.finish(&mut out, Some(10), &terminal(Outcome::Interrupted));
        let expected = concat!(
            "id: 4\nevent: started\ndata: {\"type\":\"started\",\"seq\":4,\"at_ms\":9}\n\n",
            "event: text\ndata: {\"type\":\"text\",\"text\":\"part\"}\n\n",
            "id: 6\nevent: text\ndata: {\"type\":\"text\",\"seq\":6,\"text\":\"whole\\n\"}\n\n",
            "event: gap\ndata: {\"type\":\"gap\",\"through\":8}\n\n",
            "id: 9\nevent: tool_start\ndata: {\"type\":\"tool_start\",\"seq\":9,",
            "\"id\":\"t1\",\"name\":\"clock\",\"arguments\":{}}\n\n",
            "id: 10\nevent: end\ndata: {\"type\":\"end\",\"seq\":10,",
            "\"status\":\"interrupted\",\"error\":{",
            "\"message\":\"The gateway restarted before the run had ended.\",",
            "\"type\":\"service_unavailable\",\"code\":\"gateway_restarting\"}}\n\n",
        );
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn every_event_is_named_as_its_type() {
        let mut stream = RunStream::new(true, 0);
        let tool = |name: &str| (name.to_owned(), "t".to_owned(), serde_json::json!(1));
        let (id, name, value) = tool("a");
        let events = [
            Event::Reasoning("hm".to_owned()),
            Event::ToolUpdate {
                id: id.clone(),
                name: name.clone(),
                partial: value.clone(),
            },
            Event::ToolResult {
                id,
                name,
                result: value,
                is_error: true,
            },
            Event::ToolCall(ToolCallDelta {
                index: 0,
                id: None,
                name: None,
                arguments: "{}".to_owned(),
            }),
            Event::Usage(Usage::default()),
            Event::Finished(FinishReason::Stop),
        ];
        let mut out = BytesMut::new();
        for (seq, event) in (1..).zip(&events) {
            stream.event(&mut out, seq, event);
        }
        stream.finish(&mut out, None, &terminal(Outcome::Ok(FinishReason::Stop)));
        let text = std::str::from_utf8(&out).unwrap();
        let frames: Vec<_> = text.split_terminator("\n\n").collect();
        assert_eq!(frames.len(), 6);
        for frame in frames {
            let (head, data) = frame.split_once("\ndata: ").unwrap();
            let name = head
                .lines()
                .last()
                .unwrap()
                .strip_prefix("event: ")
                .unwrap();
            let event: RunEvent = serde_json::from_str(data).unwrap();
            assert_eq!(event.name(), name);
            assert_eq!(serde_json::to_value(&event).unwrap()["type"], name);
        }
        assert!(text.contains(r#""finish_reason":"tool_calls""#));
    }
}
