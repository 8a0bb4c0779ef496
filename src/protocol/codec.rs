//! How frames become text: events are encoded once for all connections, the envelope's `seq` is
//! written around them per connection; responses are written in one pass.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::error::{ErrorBody, WireCode};
use super::frame::{RequestFrame, StateVersion};

/// Longest frame in bytes, in both directions (25 MiB, `policy.maxPayload`).
pub const FRAME_BYTES_MAX: usize = 26_214_400;

/// Room for `,"seq":<20 digits>` and the closing brace.
const SEQ_BYTES_MAX: usize = 28;

/// Why something cannot be encoded as a frame.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as json")]
    NotJson(#[source] serde_json::Error),
    /// The frame would be longer than [`FRAME_BYTES_MAX`].
    #[error("the frame is longer than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
}

/// An event encoded once, for any number of connections; cheap to clone.
#[derive(Clone)]
pub struct EncodedEvent {
    name: &'static str,
    /// `{"type":"event","event":…,"payload":…`, without `seq` and without the closing brace.
    head: Arc<str>,
    state_version: Option<StateVersion>,
}

impl EncodedEvent {
    /// Encodes an event.
    ///
    /// # Errors
    /// The payload is no JSON or makes the frame too long.
    pub fn new(name: &'static str, payload: &impl Serialize) -> Result<Self, EncodeError> {
        let frame = Envelope {
            tag: "event",
            event: name,
            payload,
        };
        let mut head = serde_json::to_string(&frame).map_err(EncodeError::NotJson)?;
        // The closing brace comes after the number.
        head.pop();
        Self::from_head(name, head)
    }

    /// Takes an event that was written by hand: its frame up to the end of the payload.
    ///
    /// # Errors
    /// The frame is too long.
    pub(super) fn from_head(name: &'static str, head: String) -> Result<Self, EncodeError> {
        let event = Self {
            name,
            head: head.into(),
            state_version: None,
        };
        if event.bytes_max() > FRAME_BYTES_MAX {
            return Err(EncodeError::TooLarge);
        }
        Ok(event)
    }

    /// The frame up to the end of the payload: the part every connection shares.
    pub const fn head(&self) -> &Arc<str> {
        &self.head
    }

    /// The rest of the frame for one connection, with its number.
    pub fn tail(&self, seq: u64) -> String {
        let mut digits = itoa::Buffer::new();
        let seq = digits.format(seq);
        let version = self.state_version.map(state_version_member);
        let version = version.as_deref().unwrap_or_default();
        let length = r#","seq":"#.len() + seq.len() + version.len() + 1;
        let mut tail = String::with_capacity(length);
        tail.push_str(r#","seq":"#);
        tail.push_str(seq);
        tail.push_str(version);
        tail.push('}');
        tail
    }

    /// The same event with versions of gateway-wide state.
    #[must_use]
    pub fn with_state_version(mut self, version: StateVersion) -> Self {
        self.state_version = Some(version);
        self
    }

    /// The name of the event.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Upper bound of the frame's length in bytes, for outbox accounting.
    pub fn bytes_max(&self) -> usize {
        const STATE_VERSION_BYTES_MAX: usize = 80;
        self.head.len() + SEQ_BYTES_MAX + STATE_VERSION_BYTES_MAX
    }

    /// The frame for one connection, with its number.
    pub fn frame(&self, seq: u64) -> String {
        let tail = self.tail(seq);
        let mut frame = String::with_capacity(self.head.len() + tail.len());
        frame.push_str(&self.head);
        frame.push_str(&tail);
        frame
    }

    /// The frame without a number, as only the challenge before `hello-ok` has it.
    pub(super) fn unnumbered(&self) -> String {
        format!("{}}}", self.head)
    }
}

impl fmt::Debug for EncodedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedEvent")
            .field("name", &self.name)
            .field("bytes", &self.head.len())
            .finish_non_exhaustive()
    }
}

fn state_version_member(version: StateVersion) -> String {
    let StateVersion { presence, health } = version;
    format!(r#","stateVersion":{{"presence":{presence},"health":{health}}}"#)
}

/// A response, encoded and ready for [`Machine::handle_reply`](super::Machine::handle_reply).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub(super) frame: String,
    /// Whether it says that the peer's role may not call the method (§3.11).
    pub(super) is_role_refusal: bool,
}

impl Reply {
    /// The operation was done.
    pub fn ok(id: &str, payload: &impl Serialize) -> Self {
        Self::encode(id, Some(payload), None)
    }

    /// The operation was done, if the result fits into a frame.
    pub(super) fn try_ok(id: &str, payload: &impl Serialize) -> Result<Self, EncodeError> {
        let frame = write_response(id, Some(payload), None)?;
        Ok(Self {
            frame,
            is_role_refusal: false,
        })
    }

    /// The operation was refused.
    pub fn error(id: &str, error: &ErrorBody) -> Self {
        Self::encode(id, None::<&()>, Some(error))
    }

    /// The operation failed and says so in a result as well (§8.3).
    pub fn failed(id: &str, payload: &impl Serialize, error: &ErrorBody) -> Self {
        Self::encode(id, Some(payload), Some(error))
    }

    /// Length of the frame in bytes.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    fn encode(id: &str, payload: Option<&impl Serialize>, error: Option<&ErrorBody>) -> Self {
        let frame = write_response(id, payload, error).unwrap_or_else(|_unencodable| {
            let error = ErrorBody::new(WireCode::Unavailable, "response serialization failed");
            write_response(id, None::<&()>, Some(&error))
                .expect("an id of at most 128 characters and a fixed text fit into a frame")
        });
        Self {
            frame,
            is_role_refusal: error.is_some_and(ErrorBody::is_role_refusal),
        }
    }
}

fn write_response(
    id: &str,
    payload: Option<&impl Serialize>,
    error: Option<&ErrorBody>,
) -> Result<String, EncodeError> {
    let frame = serde_json::to_string(&Answer {
        tag: "res",
        id,
        ok: error.is_none(),
        payload,
        error,
    })
    .map_err(EncodeError::NotJson)?;
    if frame.len() > FRAME_BYTES_MAX {
        return Err(EncodeError::TooLarge);
    }
    Ok(frame)
}

/// An event frame up to its number, in the order of members on the wire.
#[derive(Serialize)]
struct Envelope<'a, P> {
    #[serde(rename = "type")]
    tag: &'static str,
    event: &'static str,
    payload: &'a P,
}

/// A response frame whose payload is not encoded yet.
#[derive(Serialize)]
struct Answer<'a, P> {
    #[serde(rename = "type")]
    tag: &'static str,
    id: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorBody>,
}

/// Encodes a request, for a client.
///
/// # Errors
/// The frame would be too long.
pub fn encode_request(request: &RequestFrame<'_>) -> Result<String, EncodeError> {
    let frame = serde_json::to_string(request).map_err(EncodeError::NotJson)?;
    if frame.len() > FRAME_BYTES_MAX {
        return Err(EncodeError::TooLarge);
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::{Protocol, missing_scope};

    #[test]
    fn an_event_is_encoded_once_and_numbered_per_connection() {
        let event = EncodedEvent::new("chat", &json!({"text": "a\"b"})).unwrap();
        assert_eq!(
            event.frame(7),
            r#"{"type":"event","event":"chat","payload":{"text":"a\"b"},"seq":7}"#
        );
        let event = event.with_state_version(StateVersion {
            presence: u64::MAX,
            health: 2,
        });
        let frame = event.frame(u64::MAX);
        assert_eq!(
            frame,
            r#"{"type":"event","event":"chat","payload":{"text":"a\"b"},"seq":18446744073709551615,"stateVersion":{"presence":18446744073709551615,"health":2}}"#
        );
        assert!(frame.len() <= event.bytes_max());
        assert_eq!(frame.len(), frame.capacity());
    }

    #[test]
    fn an_event_that_would_be_too_long_is_refused() {
        let fits = "x".repeat(FRAME_BYTES_MAX - 1000);
        let event = EncodedEvent::new("chat", &fits).unwrap();
        assert!(event.frame(u64::MAX).len() <= FRAME_BYTES_MAX);
        let long = "x".repeat(FRAME_BYTES_MAX);
        assert!(matches!(
            EncodedEvent::new("chat", &long),
            Err(EncodeError::TooLarge)
        ));
    }

    fn check(reply: &Reply, expected: &str) {
        assert_eq!(reply.frame, expected);
    }

    #[test]
    fn responses_carry_a_result_an_error_or_both() {
        let error = missing_scope(Protocol::V3, "operator.read");
        check(
            &Reply::ok("1", &json!({"a": null})),
            r#"{"type":"res","id":"1","ok":true,"payload":{"a":null}}"#,
        );
        check(
            &Reply::error("\"1\"", &error),
            r#"{"type":"res","id":"\"1\"","ok":false,"error":{"code":"INVALID_REQUEST","message":"missing scope: operator.read"}}"#,
        );
        check(
            &Reply::failed("1", &json!(7), &error),
            r#"{"type":"res","id":"1","ok":false,"payload":7,"error":{"code":"INVALID_REQUEST","message":"missing scope: operator.read"}}"#,
        );
    }

    #[test]
    fn a_result_that_cannot_be_sent_becomes_an_error() {
        let failed = r#"{"type":"res","id":"1","ok":false,"error":{"code":"UNAVAILABLE","message":"response serialization failed"}}"#;
        check(&Reply::ok("1", &"x".repeat(FRAME_BYTES_MAX)), failed);
        let not_json = std::collections::HashMap::from([(vec![1_u8], 1)]);
        check(&Reply::ok("1", &not_json), failed);
    }
}
