//! Writes the frames of run events: one buffer, ids escaped once per run, long text copied once.

use std::ops::Range;

use serde::Serialize;
use serde_json::{Value, json};

use crate::ids::{SessionId, WireId};
use crate::protocol::events::Event;
use crate::protocol::events::agent::{AgentStream, Lifecycle};
use crate::protocol::events::chat::CommandAnswer;
use crate::protocol::outcome::{ErrorDetail, ErrorKind};
use crate::run::{Front, RunInfo};

use super::text::{PacedText, push_escaped};

/// Longest arguments or result of a tool in an event, in bytes; longer ones are left out.
const TOOL_BYTES_MAX: usize = 256 * 1024;

/// What all frames of a run share.
#[derive(Debug)]
pub(super) struct Encoder {
    /// `"runId":…,"sessionKey":…,"agentId":…`
    members: String,
    /// Where the session key stands in it, without quotes.
    key_span: Range<usize>,
    /// `,"sessionId":…`, or nothing.
    session_id: String,
    /// `,"isHeartbeat":false`, or nothing.
    heartbeat: &'static str,
    /// Names the one block of the answer.
    item_id: String,
    run: WireId,
}

impl Encoder {
    pub(super) fn new(info: &RunInfo, session_id: Option<SessionId>) -> Self {
        let mut run = String::new();
        push_escaped(&mut run, info.wire_id.as_str());
        let mut members = format!(r#""runId":"{run}","sessionKey":""#);
        let start = members.len();
        push_escaped(&mut members, info.session.as_str());
        let key_span = start..members.len();
        members.push_str(r#"","agentId":""#);
        push_escaped(&mut members, info.agent.as_str());
        members.push('"');
        Self {
            members,
            key_span,
            session_id: session_id
                .map(|id| format!(r#","sessionId":"{id}""#))
                .unwrap_or_default(),
            // The original marks only runs that a chat message asked for.
            heartbeat: match info.front {
                Front::NativeChat => r#","isHeartbeat":false"#,
                Front::NativeAgent | Front::Http => "",
            },
            item_id: format!("{run}:1"),
            run: info.wire_id.clone(),
        }
    }

    /// Where the session key stands in a frame of an event, without quotes.
    pub(super) fn key_span(&self, event: Event) -> Range<usize> {
        let offset = Opening::of(event).length();
        offset + self.key_span.start..offset + self.key_span.end
    }

    /// An `agent` event.
    pub(super) fn agent(&self, seq: u64, ts: u64, body: &AgentStream) -> String {
        let mut payload = self.begin(Event::Agent, seq, 256);
        self.push_agent_members(&mut payload, ts);
        push_members(&mut payload, body);
        payload.push('}');
        payload
    }

    /// A lifecycle event, with the escaped answer to repeat in it.
    pub(super) fn end(&self, seq: u64, ts: u64, data: &Lifecycle, reply: Option<&str>) -> String {
        let mut payload = self.begin(Event::Agent, seq, 512 + reply.map_or(0, str::len));
        payload.push_str(&self.session_id);
        self.push_agent_members(&mut payload, ts);
        payload.push_str(r#","stream":"lifecycle","data":{"#);
        let members = json_of(data);
        payload.push_str(members.get(1..members.len() - 1).unwrap_or_default());
        if let Some(reply) = reply {
            payload.push_str(r#","terminalReply":{"disposition":"visible","text":""#);
            payload.push_str(reply);
            payload.push_str(r#""}"#);
        }
        payload.push_str("}}");
        payload
    }

    /// An `agent` event with more answer text.
    pub(super) fn assistant(&self, seq: u64, ts: u64, text: &PacedText) -> String {
        let mut payload = self.begin(Event::Agent, seq, text.bytes() + text.pending().len() + 256);
        self.push_agent_members(&mut payload, ts);
        payload.push_str(r#","stream":"assistant","data":{"text":""#);
        payload.push_str(text.shown());
        payload.push_str(r#"","delta":""#);
        payload.push_str(text.pending());
        payload.push_str(r#"","itemId":""#);
        payload.push_str(&self.item_id);
        payload.push_str(r#""}}"#);
        payload
    }

    /// An `agent` event with more reasoning.
    pub(super) fn thinking(&self, seq: u64, ts: u64, text: &PacedText) -> String {
        let mut payload = self.begin(Event::Agent, seq, text.bytes() + text.pending().len() + 256);
        self.push_agent_members(&mut payload, ts);
        payload.push_str(r#","stream":"thinking","data":{"text":""#);
        payload.push_str(text.shown());
        payload.push_str(r#"","delta":""#);
        payload.push_str(text.pending());
        payload.push_str(r#""}}"#);
        payload
    }

    /// A `chat` event with more answer text.
    pub(super) fn delta(&self, seq: u64, ts: u64, text: &PacedText) -> String {
        let mut payload = self.begin(Event::Chat, seq, text.bytes() + text.pending().len() + 256);
        payload.push_str(r#","state":"delta","deltaText":""#);
        payload.push_str(text.pending());
        payload.push('"');
        push_message(&mut payload, text.shown(), ts);
        payload.push('}');
        payload
    }

    /// A `chat` event that says what the run is about to do.
    pub(super) fn status(&self, seq: u64, phase: &str) -> String {
        let mut payload = self.begin(Event::Chat, seq, 64);
        payload.push_str(r#","state":"status","phase":""#);
        payload.push_str(phase);
        payload.push_str(r#""}"#);
        payload
    }

    /// A `chat` event that ends the answer, with the escaped text and its time.
    pub(super) fn chat_end(
        &self,
        seq: u64,
        state: &str,
        stop_reason: Option<&str>,
        message: Option<(&str, u64)>,
    ) -> String {
        let mut payload = self.begin(
            Event::Chat,
            seq,
            256 + message.map_or(0, |(text, _)| text.len()),
        );
        payload.push_str(r#","state":""#);
        payload.push_str(state);
        payload.push('"');
        if let Some(reason) = stop_reason {
            payload.push_str(r#","stopReason":""#);
            push_escaped(&mut payload, reason);
            payload.push('"');
        }
        if let Some((text, ts)) = message {
            push_message(&mut payload, text, ts);
        }
        payload.push('}');
        payload
    }

    /// A `chat` event that ends a text command, with the escaped answer and its time.
    pub(super) fn command_end(&self, seq: u64, text: &str, ts: u64) -> String {
        let mut payload = self.begin(Event::Chat, seq, 768 + text.len());
        payload.push_str(r#","state":"final""#);
        push_message(&mut payload, text, ts);
        payload.pop();
        push_members(&mut payload, &CommandAnswer::new(&self.run));
        payload.push_str("}}");
        payload
    }

    /// A `chat` event that says the run failed.
    pub(super) fn chat_error(
        &self,
        seq: u64,
        message: &str,
        kind: Option<ErrorKind>,
        detail: Option<&ErrorDetail>,
    ) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Failure<'a> {
            state: &'static str,
            error_message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            error_kind: Option<ErrorKind>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error_detail: Option<&'a ErrorDetail>,
        }
        let mut payload = self.begin(Event::Chat, seq, 256);
        let failure = Failure {
            state: "error",
            error_message: message,
            error_kind: kind,
            error_detail: detail,
        };
        push_members(&mut payload, &failure);
        payload.push('}');
        payload
    }

    fn begin(&self, event: Event, seq: u64, more: usize) -> String {
        let opening = Opening::of(event);
        let mut payload = String::with_capacity(opening.length() + self.members.len() + more);
        opening.push_to(&mut payload);
        payload.push_str(&self.members);
        payload.push_str(r#","seq":"#);
        push_number(&mut payload, seq);
        payload
    }

    fn push_agent_members(&self, payload: &mut String, ts: u64) {
        payload.push_str(r#","ts":"#);
        push_number(payload, ts);
        payload.push_str(self.heartbeat);
    }
}

/// How the frame of an event opens, up to the first member of its payload.
struct Opening([&'static str; 3]);

impl Opening {
    const fn of(event: Event) -> Self {
        Self([
            r#"{"type":"event","event":""#,
            event.name(),
            r#"","payload":{"#,
        ])
    }

    fn length(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    fn push_to(&self, frame: &mut String) {
        self.0.iter().for_each(|part| frame.push_str(part));
    }
}

/// Appends `,"message":…` with escaped text.
fn push_message(payload: &mut String, text: &str, ts: u64) {
    payload.push_str(r#","message":{"role":"assistant","content":[{"type":"text","text":""#);
    payload.push_str(text);
    payload.push_str(r#""}],"timestamp":"#);
    push_number(payload, ts);
    payload.push('}');
}

/// Appends the members of an object to an object that has some.
fn push_members<T: Serialize>(payload: &mut String, object: &T) {
    let json = json_of(object);
    payload.push(',');
    payload.push_str(json.get(1..json.len() - 1).unwrap_or_default());
}

fn json_of<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own event types have no maps with odd keys")
}

fn push_number(payload: &mut String, number: u64) {
    payload.push_str(itoa::Buffer::new().format(number));
}

/// A value of a tool, or its size when it is too large for an event.
pub(super) fn bounded_value(value: &Value) -> Value {
    let bytes = serde_json::to_vec(value).map_or(0, |json| json.len());
    if bytes > TOOL_BYTES_MAX {
        return json!({ "truncated": true, "bytes": bytes });
    }
    value.clone()
}
