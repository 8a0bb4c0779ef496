//! The request body: read once, borrowed, checked in the documented order (`http-facts` §1.4).
//!
//! [`Draft::read`] wants JSON, [`Draft::check`] checks types and ranges, [`ChatRequest::into_turn`]
//! tools, images and messages; between them the front checks who may and which agent is meant.

mod error;
mod fields;
mod images;
mod messages;
mod stop;
mod tools;

pub use error::{RequestError, ToolsError};
pub use images::{FetchedImages, IMAGE_BYTES_MAX};

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::run::{OutputFormat, Sampling, Turn};

use super::json::{Kind, Slot, json_object};
use super::model::ModelTarget;

use fields::Fields;
use messages::Messages;
use tools::{ChoiceIn, ToolsIn};

/// From this size on, the whole body is checked for UTF-8 first, which is faster than piecemeal.
const LARGE_BYTES: usize = 64 * 1024;

/// The largest whole number a double holds without gaps.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// The most bytes of a free-form field that is only passed on; a longer one is left out.
const EXTRA_BYTES_MAX: usize = 64 * 1024;

/// A request body that is JSON.
#[derive(Debug)]
pub struct Draft<'a>(Slot<Fields<'a>>);

impl<'a> Draft<'a> {
    /// Reads a body. Nothing but white space counts as an empty object.
    ///
    /// # Errors
    /// [`RequestError::Json`] or [`RequestError::NotUtf8`] when it is not JSON text.
    pub fn read(body: &'a [u8]) -> Result<Self, RequestError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Slot::Given(Fields::default())));
        }
        let read = if body.len() > LARGE_BYTES {
            let text = simdutf8::basic::from_utf8(body).map_err(|_bad| RequestError::NotUtf8)?;
            serde_json::from_str(text)
        } else {
            serde_json::from_slice(body)
        };
        match read {
            // Only `null` itself is absent here.
            Ok(Slot::Absent) => Ok(Self(Slot::Wrong(Kind::Null))),
            Ok(slot) => Ok(Self(slot)),
            Err(error) => Err(RequestError::Json(error)),
        }
    }

    /// Checks types, then token limits, `response_format`, `stop` and sampling ranges.
    ///
    /// # Errors
    /// The first fault in that order.
    pub fn check(self) -> Result<ChatRequest<'a>, RequestError> {
        let fields = typed(self.0, "", "object")?.unwrap_or_default();
        let request = ChatRequest {
            model: typed(fields.model, "model", "string")?,
            messages: typed(fields.messages, "messages", "array")?.unwrap_or_default(),
            stream: typed(fields.stream, "stream", "boolean")?.unwrap_or(false),
            include_usage: include_usage(fields.stream_options)?,
            user: typed(fields.user, "user", "string")?,
            tools: typed(fields.tools, "tools", "array")?,
            tool_choice: fields.tool_choice,
            sampling: Sampling::default(),
        };
        if request.messages.too_many() {
            return Err(RequestError::TooManyMessages(messages::MESSAGES_MAX));
        }
        let numbers = Numbers {
            max_completion_tokens: number(fields.max_completion_tokens, "max_completion_tokens")?,
            max_tokens: number(fields.max_tokens, "max_tokens")?,
            temperature: number(fields.temperature, "temperature")?,
            top_p: number(fields.top_p, "top_p")?,
            frequency_penalty: number(fields.frequency_penalty, "frequency_penalty")?,
            presence_penalty: number(fields.presence_penalty, "presence_penalty")?,
            seed: number(fields.seed, "seed")?,
            n: fields.n.given(),
        };
        let stop = match fields.stop.checked() {
            Ok(stop) => stop.unwrap_or_default(),
            Err(_kind) => return Err(RequestError::StopType),
        };
        if !stop.is_text() {
            return Err(RequestError::StopType);
        }
        let sampling = Sampling {
            max_tokens: numbers.tokens()?,
            output: output_format(fields.response_format)?,
            stop: stop.check()?,
            ..numbers.sampling()?
        };
        let sampling = Sampling {
            reasoning_effort: fields.reasoning_effort.given().map(Cow::into_owned),
            parallel_tool_calls: fields.parallel_tool_calls.given(),
            logit_bias: fields.logit_bias.and_then(extra),
            metadata: fields.metadata.and_then(extra),
            ..sampling
        };
        Ok(ChatRequest {
            sampling,
            ..request
        })
    }
}

/// A request whose types and ranges are right.
#[derive(Debug)]
pub struct ChatRequest<'a> {
    model: Option<Cow<'a, str>>,
    messages: Messages<'a>,
    stream: bool,
    include_usage: bool,
    user: Option<Cow<'a, str>>,
    tools: Option<ToolsIn<'a>>,
    tool_choice: Slot<ChoiceIn<'a>>,
    sampling: Sampling,
}

impl ChatRequest<'_> {
    /// `model` as it was sent, which is also how the answer names it.
    pub fn model(&self) -> &str {
        self.model.as_deref().unwrap_or("openclaw")
    }

    /// The agent `model` names.
    pub fn target(&self) -> ModelTarget<'_> {
        ModelTarget::parse(self.model())
    }

    /// Whether the answer is streamed.
    pub const fn is_stream(&self) -> bool {
        self.stream
    }

    /// Whether a stream ends with a usage chunk.
    pub const fn includes_usage(&self) -> bool {
        self.include_usage
    }

    /// `user`, trimmed; a blank one counts as absent.
    pub fn user(&self) -> Option<&str> {
        let user = self.user.as_deref().map(str::trim);
        user.filter(|user| !user.is_empty())
    }

    /// Checks tools, images and messages, and makes a turn of them.
    ///
    /// # Errors
    /// The first fault in that order.
    pub fn into_turn(self) -> Result<Turn, RequestError> {
        self.into_turn_with(&FetchedImages::new())
    }

    /// URLs of images somebody has to fetch for [`ChatRequest::into_turn_with`].
    pub fn remote_images(&self) -> Vec<&str> {
        self.messages.remote_images()
    }

    /// As [`ChatRequest::into_turn`], with images that were fetched.
    ///
    /// # Errors
    /// The first fault in the same order; a remote image that was not fetched is one.
    pub fn into_turn_with(self, fetched: &FetchedImages) -> Result<Turn, RequestError> {
        let user = self.user().map(str::to_owned);
        let (tools, tool_choice) = tools::check(self.tools, self.tool_choice)?;
        let parts = self.messages.split(fetched)?;
        Ok(Turn {
            system: parts.system,
            history: parts.history,
            current: parts.current,
            tools,
            tool_choice,
            sampling: Sampling {
                user,
                ..self.sampling
            },
            model: None,
            channel: None,
        })
    }
}

/// Checks the value of the `x-openclaw-message-channel` header; any name will do.
///
/// # Errors
/// [`RequestError::Channel`]: white space inside, control characters, or more than 64 bytes.
pub fn message_channel(text: &str) -> Result<String, RequestError> {
    let text = text.trim();
    let is_plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if is_plain && !text.is_empty() && text.len() <= 64 {
        Ok(text.to_lowercase())
    } else {
        Err(RequestError::Channel)
    }
}

/// Checks the value of the `x-openclaw-model` header: a model, or `provider/model`.
///
/// # Errors
/// [`RequestError::ModelOverride`].
pub fn model_override(text: &str) -> Result<String, RequestError> {
    let text = text.trim();
    let whole = text.split('/').all(|part| !part.is_empty());
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if whole && plain && text.len() <= 256 {
        Ok(text.to_owned())
    } else {
        Err(RequestError::ModelOverride)
    }
}

fn typed<T>(
    slot: Slot<T>,
    path: &'static str,
    expected: &'static str,
) -> Result<Option<T>, RequestError> {
    slot.checked().map_err(|received| RequestError::Type {
        path,
        expected,
        received,
    })
}

fn number(slot: Slot<f64>, path: &'static str) -> Result<Option<f64>, RequestError> {
    typed(slot, path, "number")
}

fn include_usage(options: Slot<fields::StreamOptions>) -> Result<bool, RequestError> {
    let options = typed(options, "stream_options", "object")?.unwrap_or_default();
    let include = typed(
        options.include_usage,
        "stream_options.include_usage",
        "boolean",
    )?;
    Ok(include.unwrap_or(false))
}

/// Every number of a request.
#[derive(Debug)]
struct Numbers {
    max_completion_tokens: Option<f64>,
    max_tokens: Option<f64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    seed: Option<f64>,
    n: Option<f64>,
}

impl Numbers {
    /// The token limit; both fields are checked, the newer one wins.
    fn tokens(&self) -> Result<Option<u64>, RequestError> {
        let newer = tokens(self.max_completion_tokens, "max_completion_tokens")?;
        let older = tokens(self.max_tokens, "max_tokens")?;
        Ok(newer.or(older))
    }

    fn sampling(&self) -> Result<Sampling, RequestError> {
        let sampling = Sampling {
            temperature: in_range(self.temperature, "temperature", 0.0..=2.0, "0 and 2")?,
            top_p: in_range(self.top_p, "top_p", 0.0..=1.0, "0 and 1")?,
            frequency_penalty: penalty(self.frequency_penalty, "frequency_penalty")?,
            presence_penalty: penalty(self.presence_penalty, "presence_penalty")?,
            seed: self.seed.map(seed).transpose()?,
            ..Sampling::default()
        };
        if self.n.is_some_and(|n| n > 1.0) {
            return Err(RequestError::ManyAnswers);
        }
        Ok(sampling)
    }
}

fn tokens(value: Option<f64>, field: &'static str) -> Result<Option<u64>, RequestError> {
    let Some(value) = value else {
        return Ok(None);
    };
    if value.fract() != 0.0 {
        return Err(RequestError::NotWhole(field));
    }
    if value <= 0.0 {
        return Err(RequestError::TooSmall(field));
    }
    if value > SAFE_INTEGER_MAX {
        return Err(RequestError::Unsafe(field));
    }
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was just checked to be whole, positive and small enough"
    )]
    let whole = value as u64;
    Ok(Some(whole))
}

fn seed(value: f64) -> Result<i64, RequestError> {
    if value.fract() != 0.0 {
        return Err(RequestError::Seed);
    }
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "whole, and one that does not fit may become the nearest that does"
    )]
    let whole = value as i64;
    Ok(whole)
}

fn in_range(
    value: Option<f64>,
    field: &'static str,
    range: std::ops::RangeInclusive<f64>,
    shown: &'static str,
) -> Result<Option<f64>, RequestError> {
    match value {
        Some(value) if !range.contains(&value) => Err(RequestError::Range {
            field,
            range: shown,
        }),
        other => Ok(other),
    }
}

fn penalty(value: Option<f64>, field: &'static str) -> Result<Option<f64>, RequestError> {
    in_range(value, field, -2.0..=2.0, "-2.0 and 2.0")
}

json_object! {
    for<'de> struct FormatIn<'de> {
        "type" => kind: Slot<Cow<'de, str>>,
    }
}

fn output_format(raw: Option<&RawValue>) -> Result<OutputFormat, RequestError> {
    let Some(raw) = raw else {
        return Ok(OutputFormat::Unset);
    };
    let format = parse::<Slot<FormatIn<'_>>>(raw)?;
    let format = format.given().ok_or(RequestError::FormatNotObject)?;
    match format.kind.given().as_deref() {
        Some("text" | "json_object" | "json_schema") => Ok(OutputFormat::Requested(parse(raw)?)),
        Some(_) | None => Err(RequestError::FormatType),
    }
}

fn parse<'de, T: serde::Deserialize<'de>>(raw: &'de RawValue) -> Result<T, RequestError> {
    serde_json::from_str(raw.get()).map_err(RequestError::Json)
}

/// A free-form field that is passed on where it can be; never a reason to refuse.
fn extra<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    let small = raw.get().len() <= EXTRA_BYTES_MAX;
    small
        .then(|| serde_json::from_str(raw.get()).ok())
        .flatten()
}

/// The members of a body that are read.
#[cfg(test)]
pub(super) const fn members() -> &'static [&'static str] {
    <Fields<'_> as super::json::Shape<'_>>::KEYS
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
