//! The frames of the dialect (`protocol-facts` §1.2) and how they are read.
//!
//! A request is read borrowed: id and method point into the text, params stay raw. Only a frame
//! that cannot be read this way is looked at again, to say what is wrong with it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::bounded::has_length;
use super::error::ErrorBody;
use super::validate::{Violations, violations};

/// Longest request id and method name, in characters (`design.md` §6).
pub const REQUEST_ID_CHARS_MAX: usize = 128;

/// Longest trace context, in characters.
pub const TRACEPARENT_CHARS_MAX: usize = 128;

/// The id of a response to a frame without a usable id.
pub const INVALID_FRAME_ID: &str = "invalid";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
enum RequestTag {
    #[default]
    #[serde(rename = "req")]
    Request,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
enum ResponseTag {
    #[default]
    #[serde(rename = "res")]
    Response,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
enum EventTag {
    #[default]
    #[serde(rename = "event")]
    Event,
}

/// A request of the peer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestFrame<'a> {
    #[serde(rename = "type")]
    tag: RequestTag,
    /// Chosen by the peer and echoed in every response to this request.
    #[serde(borrow)]
    #[schemars(length(min = 1, max = 128))]
    pub id: Cow<'a, str>,
    /// The operation.
    #[serde(borrow)]
    #[schemars(length(min = 1, max = 128))]
    pub method: Cow<'a, str>,
    /// Input of the operation; absent means an empty object.
    #[serde(borrow, default, deserialize_with = "present_raw")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub params: Option<&'a RawValue>,
    /// W3C trace context; a malformed one is ignored.
    #[serde(borrow, default, deserialize_with = "present_text")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 128))]
    pub traceparent: Option<Cow<'a, str>>,
    /// A precondition on the user profile; read and ignored, because no profiles are served.
    #[serde(
        borrow,
        default,
        rename = "expectedProfileId",
        deserialize_with = "present_text"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 128))]
    pub expected_profile_id: Option<Cow<'a, str>>,
}

/// A response to one request; a request can get more than one (§8.3).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ResponseFrame<'a> {
    #[serde(rename = "type")]
    tag: ResponseTag,
    /// The id of the request, or `invalid`.
    #[serde(borrow)]
    #[schemars(length(min = 1))]
    pub id: Cow<'a, str>,
    /// Whether the operation was done.
    pub ok: bool,
    /// The result; may also come with an error.
    #[serde(borrow, default, deserialize_with = "present_raw")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub payload: Option<&'a RawValue>,
    /// Why the operation was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// Something the gateway says unasked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct EventFrame<'a> {
    #[serde(rename = "type")]
    tag: EventTag,
    /// The name of the event.
    #[serde(borrow)]
    #[schemars(length(min = 1))]
    pub event: Cow<'a, str>,
    /// What happened.
    #[serde(borrow, default, deserialize_with = "present_raw")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub payload: Option<&'a RawValue>,
    /// Number of the event on this connection, from 1 (§1.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Versions of gateway-wide state, on events that carry such state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_version: Option<StateVersion>,
}

/// Versions of gateway-wide state; each grows by one per change and starts at 1 (§1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateVersion {
    /// Version of the presence list.
    pub presence: u64,
    /// Version of the health snapshot.
    pub health: u64,
}

/// A frame of the gateway, as a client reads it.
#[derive(Clone, Debug)]
pub enum ServerFrame<'a> {
    /// A response.
    Response(ResponseFrame<'a>),
    /// An event.
    Event(EventFrame<'a>),
}

/// Why a text is not a request frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is not one JSON value.
    #[error("not json")]
    NotJson,
    /// It is JSON of another form.
    #[error("invalid request frame: {violations}")]
    Invalid {
        /// The id it carries, if that part is usable.
        id: Option<Box<str>>,
        /// What is wrong.
        violations: Violations,
    },
}

impl<'a> RequestFrame<'a> {
    /// A request without params.
    pub fn new(id: impl Into<Cow<'a, str>>, method: impl Into<Cow<'a, str>>) -> Self {
        Self {
            tag: RequestTag::Request,
            id: id.into(),
            method: method.into(),
            params: None,
            traceparent: None,
            expected_profile_id: None,
        }
    }

    /// Reads one request frame.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong in the words clients know (§1.8, §5.2).
    pub fn decode(text: &'a str) -> Result<Self, FrameError> {
        match serde_json::from_str::<Self>(text) {
            Ok(frame) if frame.keeps_bounds() => Ok(frame),
            Ok(_) | Err(_) => Err(FrameError::explain(text)),
        }
    }

    fn keeps_bounds(&self) -> bool {
        has_length(&self.id, 1, REQUEST_ID_CHARS_MAX)
            && has_length(&self.method, 1, REQUEST_ID_CHARS_MAX)
            && self
                .traceparent
                .as_deref()
                .is_none_or(|text| has_length(text, 0, TRACEPARENT_CHARS_MAX))
            && self
                .expected_profile_id
                .as_deref()
                .is_none_or(|text| has_length(text, 1, REQUEST_ID_CHARS_MAX))
    }
}

impl<'a> ServerFrame<'a> {
    /// Reads a frame of the gateway; `None` for anything a client must ignore (§1.2).
    pub fn decode(text: &'a str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, rename = "type")]
            tag: Cow<'a, str>,
        }
        match &*serde_json::from_str::<Kind<'_>>(text).ok()?.tag {
            "res" => serde_json::from_str(text).ok().map(Self::Response),
            "event" => serde_json::from_str(text).ok().map(Self::Event),
            _ => None,
        }
    }
}

impl FrameError {
    /// Looks again at a text that is no request frame.
    fn explain(text: &str) -> Self {
        if serde_json::from_str::<IgnoredAny>(text).is_err() {
            return Self::NotJson;
        }
        Self::Invalid {
            id: usable_id(text),
            violations: violations::<RequestFrame<'static>>(text),
        }
    }
}

fn usable_id(text: &str) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let raw = serde_json::from_str::<Id<'_>>(text).ok()?.id;
    let id = serde_json::from_str::<String>(raw.get()).ok()?;
    has_length(&id, 1, REQUEST_ID_CHARS_MAX).then(|| id.into_boxed_str())
}

/// Reads a member that is there, `null` included: only absence makes it `None`.
fn present_raw<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

/// Reads text that is there, borrowed where it holds no escapes; `null` is not text.
fn present_text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    Borrowed::deserialize(d).map(|text| Some(text.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as clients send it, 300 bytes.
    const TYPICAL: &str = concat!(
        r#"{"type":"req","id":"17:5f0c9a3e-2b7d-4c1a-9e8f-6a5b4c3d2e1f","method":"chat.send","#,
        r#""params":{"sessionKey":"agent:main:main","sessionId":"0f9e8d7c-6b5a-4f3e-8d2c-1b0a9f8e7d6c","#,
        r#""message":"What is the weather like in Vienna today?","deliver":false,"#,
        r#""idempotencyKey":"9a8b7c6d-5e4f-4a3b-8c2d-1e0f9a8b7c6d"}}"#,
    );

    #[test]
    fn a_typical_request_is_read_without_copies() {
        let frame = RequestFrame::decode(TYPICAL).unwrap();
        assert!(matches!(frame.id, Cow::Borrowed(_)));
        assert!(matches!(frame.method, Cow::Borrowed("chat.send")));
        let params = frame.params.unwrap().get();
        assert!(TYPICAL.as_bytes().as_ptr_range().contains(&params.as_ptr()));
        let traced = r#"{"type":"req","id":"1","method":"m","traceparent":"00-x"}"#;
        let frame = RequestFrame::decode(traced).unwrap();
        assert!(matches!(frame.traceparent, Some(Cow::Borrowed("00-x"))));
    }

    #[test]
    fn a_text_that_is_not_one_json_value_is_told_apart() {
        for text in [
            "",
            "{nope",
            "{} {}",
            r#"{"type":"req","id":"1","method":"x"} ,"#,
            "\u{feff}{}",
        ] {
            assert_eq!(
                RequestFrame::decode(text).unwrap_err(),
                FrameError::NotJson,
                "{text}"
            );
        }
    }

    fn check_id(text: &str, expected: Option<&str>) {
        match RequestFrame::decode(text).unwrap_err() {
            FrameError::NotJson => panic!("{text} is JSON"),
            FrameError::Invalid { id, .. } => assert_eq!(id.as_deref(), expected, "{text}"),
        }
    }

    #[test]
    fn the_answer_to_a_bad_frame_carries_its_id_when_it_has_a_usable_one() {
        check_id(r#"{"type":"req","id":"9","method":""}"#, Some("9"));
        check_id(r#"{"id":"\u0041","x":[]}"#, Some("A"));
        check_id(r#"{"type":"req","id":9,"method":"x"}"#, None);
        check_id(r#"{"type":"req","id":"","method":"x"}"#, None);
        check_id(r#"{"id":"1","id":"2"}"#, None);
        check_id(&format!(r#"{{"id":"{}"}}"#, "x".repeat(129)), None);
        check_id("[]", None);
    }

    #[test]
    fn a_bad_frame_costs_no_memory_worth_its_size() {
        let many: Vec<String> = (0..10_000).map(|n| format!(r#""m{n}":[{{}}]"#)).collect();
        let text = format!("{{{}}}", many.join(","));
        let error = RequestFrame::decode(&text).unwrap_err().to_string();
        assert!(error.len() < 1000, "{error}");
    }

    #[test]
    fn clients_ignore_what_they_do_not_know() {
        for text in [
            "{",
            "[]",
            "{}",
            r#"{"type":"other"}"#,
            r#"{"type":"res","id":"1"}"#,
        ] {
            assert!(ServerFrame::decode(text).is_none(), "{text}");
        }
        let newer = r#"{"type":"event","event":"tick","payload":{},"recipientProfileId":"p"}"#;
        assert!(matches!(
            ServerFrame::decode(newer),
            Some(ServerFrame::Event(_))
        ));
    }
}
