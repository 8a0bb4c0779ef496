//! One event of a streamed chat completion, read tolerantly.
//!
//! Servers disagree on what may be absent, null, empty or of another type; only what is not JSON is
//! refused. Texts without escapes are borrowed from the event.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::run::Usage;

/// An event of a stream, or a whole answer of a server that does not stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) choices: Option<First<Choice<'a>>>,
    pub(super) usage: Option<UsageBody>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// The first answer; others are not asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    pub(super) delta: Option<Delta<'a>>,
    /// The whole message, of a server that does not stream.
    #[serde(borrow)]
    pub(super) message: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<Text<'a>>,
}

/// What is added to the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<CallPiece<'a>>>,
}

/// A piece of a tool call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallPiece<'a> {
    pub(super) index: Number,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) function: Option<FunctionPiece<'a>>,
}

/// A piece of the function that is called.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionPiece<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

impl FunctionPiece<'_> {
    /// The arguments as text: servers send a text, or the JSON itself.
    pub(super) fn arguments(&self) -> Cow<'_, str> {
        let Some(raw) = self.arguments.map(RawValue::get) else {
            return Cow::Borrowed("");
        };
        match serde_json::from_str(raw) {
            Ok(Text(text)) if raw.starts_with('"') => text,
            _ => Cow::Borrowed(raw),
        }
    }
}

/// Tokens, as servers count them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageBody {
    prompt_tokens: Number,
    completion_tokens: Number,
    total_tokens: Number,
    prompt_cache_hit_tokens: Number,
    prompt_tokens_details: Option<TokenDetails>,
    completion_tokens_details: Option<TokenDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenDetails {
    cached_tokens: Number,
    reasoning_tokens: Number,
}

impl UsageBody {
    /// The tokens used, when the server counted any.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.prompt_tokens.0.or(self.completion_tokens.0)?;
        let prompt = self.prompt_tokens_details.as_ref();
        let completion = self.completion_tokens_details.as_ref();
        let cached = prompt.and_then(|details| details.cached_tokens.0);
        Some(Usage {
            input: self.prompt_tokens.0.unwrap_or(0),
            output: self.completion_tokens.0.unwrap_or(0),
            cached: cached.or(self.prompt_cache_hit_tokens.0).unwrap_or(0),
            reasoning: completion.and_then(|details| details.reasoning_tokens.0),
            total: self.total_tokens.0,
        })
    }
}

/// What a server says about a failure, in a body or in a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// What it says.
    pub(super) message: String,
    /// Its own code or type of error.
    pub(super) code: Option<String>,
    /// A status it gives inside the body.
    pub(super) status: Option<u16>,
}

impl Complaint {
    /// Reads a whole error body, in any of the shapes in use.
    pub(super) fn from_body(body: &[u8]) -> Option<Self> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body<'a> {
            #[serde(borrow)]
            error: Option<&'a RawValue>,
            #[serde(borrow)]
            message: Option<Text<'a>>,
            #[serde(borrow)]
            detail: Option<Text<'a>>,
        }
        let body: Body<'_> = serde_json::from_slice(body).ok()?;
        if let Some(error) = body.error {
            return Some(Self::from_error(error));
        }
        let message = body.message.or(body.detail)?;
        Some(Self {
            message: message.0.into_owned(),
            ..Self::default()
        })
    }

    /// Reads the value of `error`: a text, or an object with `message`, `type` and `code`.
    pub(super) fn from_error(error: &RawValue) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body<'a> {
            #[serde(borrow)]
            message: Option<Text<'a>>,
            #[serde(borrow)]
            code: Option<&'a RawValue>,
            #[serde(borrow, rename = "type")]
            kind: Option<Text<'a>>,
        }
        let text = |text: Text<'_>| Some(text.0.into_owned()).filter(|text| !text.is_empty());
        if let Ok(body) = serde_json::from_str::<Body<'_>>(error.get()) {
            let code = body.code.map(RawValue::get);
            let named = code.and_then(|raw| serde_json::from_str(raw).ok());
            let status = code.and_then(|raw| raw.parse().ok());
            return Self {
                message: body.message.and_then(text).unwrap_or_default(),
                code: named.and_then(text).or(body.kind.and_then(text)),
                status: status.filter(|status| (400..=599).contains(status)),
            };
        }
        let message = serde_json::from_str(error.get()).ok().and_then(text);
        Self {
            message: message.unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// The first item of a list; a single item counts as a list of one.
#[derive(Debug)]
pub(super) struct First<T>(pub(super) Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = First<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<First<T>, A::Error> {
                let first = items.next_element()?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        from.deserialize_seq(Items(PhantomData))
    }
}

/// A text, or the text in a list of content parts. What is neither is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Text<'_> {
    /// The text, when there is any.
    pub(super) fn some(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let mut whole = String::new();
        while let Some(part) = parts.next_element::<Text<'_>>()? {
            whole.push_str(&part.0);
        }
        Ok(Cow::Owned(whole))
    }

    /// A content part: the text of a part of type `text`, or an error's `msg`.
    fn visit_map<A: MapAccess<'de>>(self, mut part: A) -> Result<Self::Value, A::Error> {
        let mut text = Cow::Borrowed("");
        let mut is_text = true;
        while let Some(Text(key)) = part.next_key()? {
            match &*key {
                "type" => {
                    let kind: Text<'_> = part.next_value()?;
                    is_text = matches!(&*kind.0, "text" | "output_text");
                }
                "text" | "msg" => text = part.next_value::<Text<'_>>()?.0,
                _ => {
                    part.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(if is_text { text } else { Cow::Borrowed("") })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }
}

/// A count; what is no count is as good as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NumberVisitor).map(Self)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
        Ok(Some(count))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(count).ok())
    }

    fn visit_f64<E>(self, count: f64) -> Result<Self::Value, E> {
        // Some servers write `12.0`; the text of a whole number is the shortest safe way to it.
        Ok(format!("{count:.0}").parse().ok())
    }

    fn visit_str<E>(self, count: &str) -> Result<Self::Value, E> {
        Ok(count.parse().ok())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Chunk<'_> {
        serde_json::from_slice(json.as_bytes()).unwrap()
    }

    /// Text, reasoning, finish reason and number of tool call pieces of a chunk.
    fn check(json: &str, expected: (&str, &str, &str, usize)) {
        let chunk = read(json);
        let choice = chunk
            .choices
            .and_then(|choices| choices.0)
            .unwrap_or_default();
        let delta = choice.delta.or(choice.message).unwrap_or_default();
        let reasoning = delta
            .reasoning_content
            .or(delta.reasoning)
            .unwrap_or_default();
        let seen = (
            &*delta.content.or(delta.refusal).unwrap_or_default().0,
            &*reasoning.0,
            &*choice.finish_reason.unwrap_or_default().0,
            delta.tool_calls.unwrap_or_default().len(),
        );
        assert_eq!(seen, expected, "{json}");
    }

    #[test]
    fn chunks_of_every_kind_of_server_are_read() {
        check(
            r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[
                {"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}"#,
            ("hi", "", "", 0),
        );
        check(
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            ("", "", "stop", 0),
        );
        check(
            r#"{"choices":[{"delta":{"content":null}}]}"#,
            ("", "", "", 0),
        );
        check(
            r#"{"choices":[{"delta":null,"finish_reason":""}]}"#,
            ("", "", "", 0),
        );
        check(r#"{"choices":[],"usage":{}}"#, ("", "", "", 0));
        check(r#"{"choices":null}"#, ("", "", "", 0));
        check(r#"{"anything":[1,{"else":2}]}"#, ("", "", "", 0));
        check(
            r#"{"choices":[{"delta":{"reasoning_content":"hm","content":""}}]}"#,
            ("", "hm", "", 0),
        );
        check(
            r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#,
            ("", "hm", "", 0),
        );
        check(
            r#"{"choices":[{"delta":{"refusal":"no"}}]}"#,
            ("no", "", "", 0),
        );
        check(
            r#"{"choices":[{"delta":{"content":[{"type":"thinking","text":"x"},
                {"type":"text","text":"a\n"},{"type":"text","text":"b"}]}}]}"#,
            ("a\nb", "", "", 0),
        );
        check(
            r#"{"choices":[{"delta":{"content":7},"finish_reason":3}]}"#,
            ("", "", "", 0),
        );
        check(
            r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#,
            ("a", "", "", 0),
        );
        check(
            r#"{"choices":[{"message":{"role":"assistant","content":"whole"},
                "finish_reason":"stop"}]}"#,
            ("whole", "", "stop", 0),
        );
        check(
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0},{"index":null},{}]}}]}"#,
            ("", "", "", 3),
        );
    }

    #[test]
    fn texts_without_escapes_are_borrowed() {
        let plain = read(r#"{"choices":[{"delta":{"content":"plain"}}]}"#);
        let delta = plain.choices.unwrap().0.unwrap().delta.unwrap();
        assert!(matches!(delta.content, Some(Text(Cow::Borrowed("plain")))));
    }

    #[test]
    fn arguments_come_as_text_or_as_json() {
        let arguments = |json: &str| {
            let piece: FunctionPiece<'_> = serde_json::from_str(json).unwrap();
            piece.arguments().into_owned()
        };
        assert_eq!(arguments(r#"{"arguments":"{\"a\":1}"}"#), r#"{"a":1}"#);
        assert_eq!(arguments(r#"{"arguments":{"a":1}}"#), r#"{"a":1}"#);
        assert_eq!(arguments(r#"{"arguments":null}"#), "");
        assert_eq!(arguments("{}"), "");
    }

    fn check_usage(json: &str, expected: Option<Usage>) {
        assert_eq!(
            read(json).usage.and_then(|usage| usage.usage()),
            expected,
            "{json}"
        );
    }

    #[test]
    fn usage_is_read_when_there_is_any() {
        check_usage("{}", None);
        check_usage(r#"{"usage":null}"#, None);
        check_usage(r#"{"usage":{}}"#, None);
        check_usage(
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#,
            Some(Usage {
                input: 5,
                output: 2,
                total: Some(7),
                ..Usage::default()
            }),
        );
        check_usage(
            r#"{"usage":{"prompt_tokens":5.0,"completion_tokens":"2","total_tokens":[],
                "prompt_tokens_details":{"cached_tokens":3},
                "completion_tokens_details":{"reasoning_tokens":1}}}"#,
            Some(Usage {
                input: 5,
                output: 2,
                cached: 3,
                reasoning: Some(1),
                total: None,
            }),
        );
        check_usage(
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":-1,"prompt_cache_hit_tokens":4,
                "prompt_tokens_details":null}}"#,
            Some(Usage {
                input: 5,
                cached: 4,
                ..Usage::default()
            }),
        );
    }

    fn check_complaint(json: &str, message: &str, code: Option<&str>, status: Option<u16>) {
        let seen = Complaint::from_body(json.as_bytes()).unwrap();
        let expected = Complaint {
            message: message.to_owned(),
            code: code.map(str::to_owned),
            status,
        };
        assert_eq!(seen, expected, "{json}");
    }

    #[test]
    fn error_bodies_of_every_shape_are_read() {
        check_complaint(
            r#"{"error":{"message":"m","type":"t","code":"c","param":null}}"#,
            "m",
            Some("c"),
            None,
        );
        check_complaint(
            r#"{"error":{"message":"m","type":"t","code":null}}"#,
            "m",
            Some("t"),
            None,
        );
        check_complaint(
            r#"{"error":{"message":"m","code":429}}"#,
            "m",
            None,
            Some(429),
        );
        check_complaint(r#"{"error":"m"}"#, "m", None, None);
        check_complaint(r#"{"error":{}}"#, "", None, None);
        check_complaint(r#"{"error":[1]}"#, "", None, None);
        check_complaint(
            r#"{"object":"error","message":"m","code":404}"#,
            "m",
            None,
            None,
        );
        check_complaint(r#"{"detail":"m"}"#, "m", None, None);
        check_complaint(
            r#"{"detail":[{"loc":["body"],"msg":"m"}]}"#,
            "m",
            None,
            None,
        );
        assert_eq!(Complaint::from_body(b"<html>"), None);
        assert_eq!(Complaint::from_body(b"{}"), None);
    }
}
