//! Writes payloads of run events: one buffer, ids escaped once per run, long text copied once.

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::ids::SessionId;
use crate::protocol::events::agent::{AgentStream, Lifecycle};
use crate::protocol::outcome::{ErrorDetail, ErrorKind};
use crate::run::{Front, RunInfo};

use super::text::{PacedText, push_escaped};

/// Longest arguments or result of a tool in an event, in bytes; longer ones are left out.
const TOOL_BYTES_MAX: usize = 256 * 1024;

/// What all payloads of a run share.
#[derive(Debug)]
pub(super) struct Encoder {
    /// `{"runId":…,"sessionKey":…,"agentId":…`
    head: String,
    /// Where the session key stands in it, without quotes.
    key_span: Range<usize>,
    /// `,"sessionId":…`, or nothing.
    session_id: String,
    /// `,"isHeartbeat":false`, or nothing.
    heartbeat: &'static str,
    /// Names the one block of the answer.
    item_id: String,
}

impl Encoder {
    pub(super) fn new(info: &RunInfo, session_id: Option<SessionId>) -> Self {
        let mut run = String::new();
        push_escaped(&mut run, info.wire_id.as_str());
        let mut head = format!(r#"{{"runId":"{run}","sessionKey":""#);
        let start = head.len();
        push_escaped(&mut head, info.session.as_str());
        let key_span = start..head.len();
        head.push_str(r#"","agentId":""#);
        push_escaped(&mut head, info.agent.as_str());
        head.push('"');
        Self {
            head,
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
        }
    }

    pub(super) fn key_span(&self) -> Range<usize> {
        self.key_span.clone()
    }

    /// An `agent` event.
    pub(super) fn agent(&self, seq: u64, ts: u64, body: &AgentStream) -> Arc<str> {
        let mut payload = self.begin(seq, 256);
        self.push_agent_members(&mut payload, ts);
        push_members(&mut payload, body);
        payload.push('}');
        payload.into()
    }

    /// A lifecycle event, with the escaped answer to repeat in it.
    pub(super) fn end(&self, seq: u64, ts: u64, data: &Lifecycle, reply: Option<&str>) -> Arc<str> {
        let mut payload = self.begin(seq, 512 + reply.map_or(0, str::len));
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
        payload.into()
    }

    /// An `agent` event with more answer text.
    pub(super) fn assistant(&self, seq: u64, ts: u64, text: &PacedText) -> Arc<str> {
        let mut payload = self.begin(seq, text.bytes() + text.pending().len() + 256);
        self.push_agent_members(&mut payload, ts);
        payload.push_str(r#","stream":"assistant","data":{"text":""#);
        payload.push_str(text.shown());
        payload.push_str(r#"","delta":""#);
        payload.push_str(text.pending());
        payload.push_str(r#"","itemId":""#);
        payload.push_str(&self.item_id);
        payload.push_str(r#""}}"#);
        payload.into()
    }

    /// An `agent` event with more reasoning.
    pub(super) fn thinking(&self, seq: u64, ts: u64, text: &PacedText) -> Arc<str> {
        let mut payload = self.begin(seq, text.bytes() + text.pending().len() + 256);
        self.push_agent_members(&mut payload, ts);
        payload.push_str(r#","stream":"thinking","data":{"text":""#);
        payload.push_str(text.shown());
        payload.push_str(r#"","delta":""#);
        payload.push_str(text.pending());
        payload.push_str(r#""}}"#);
        payload.into()
    }

    /// A `chat` event with more answer text.
    pub(super) fn delta(&self, seq: u64, ts: u64, text: &PacedText) -> Arc<str> {
        let mut payload = self.begin(seq, text.bytes() + text.pending().len() + 256);
        payload.push_str(r#","state":"delta","deltaText":""#);
        payload.push_str(text.pending());
        payload.push('"');
        push_message(&mut payload, text.shown(), ts);
        payload.push('}');
        payload.into()
    }

    /// A `chat` event that says what the run is about to do.
    pub(super) fn status(&self, seq: u64, phase: &str) -> Arc<str> {
        let mut payload = self.begin(seq, 64);
        payload.push_str(r#","state":"status","phase":""#);
        payload.push_str(phase);
        payload.push_str(r#""}"#);
        payload.into()
    }

    /// A `chat` event that ends the answer, with the escaped text and its time.
    pub(super) fn chat_end(
        &self,
        seq: u64,
        state: &str,
        stop_reason: Option<&str>,
        message: Option<(&str, u64)>,
    ) -> Arc<str> {
        let mut payload = self.begin(seq, 256 + message.map_or(0, |(text, _)| text.len()));
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
        payload.into()
    }

    /// A `chat` event that says the run failed.
    pub(super) fn chat_error(
        &self,
        seq: u64,
        message: &str,
        kind: Option<ErrorKind>,
        detail: Option<&ErrorDetail>,
    ) -> Arc<str> {
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
        let mut payload = self.begin(seq, 256);
        let failure = Failure {
            state: "error",
            error_message: message,
            error_kind: kind,
            error_detail: detail,
        };
        push_members(&mut payload, &failure);
        payload.push('}');
        payload.into()
    }

    fn begin(&self, seq: u64, more: usize) -> String {
        let mut payload = String::with_capacity(self.head.len() + more);
        payload.push_str(&self.head);
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
