//! The body of a call to an OpenAI-compatible server.
//!
//! Borrows everything it says; owns only the JSON it becomes.

use std::fmt;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::Value;

use crate::run::{Image, Message, OutputFormat, Role, Sampling, Tool, ToolCall, ToolChoice, Turn};

use super::config::{Endpoint, TokenLimitField};

/// What is asked, already cut to what fits the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The system text, when there is one.
    pub(super) system: Option<&'a str>,
    /// The conversation before the current messages.
    pub(super) past: &'a [Message],
    /// What is to be answered.
    pub(super) current: &'a [Message],
    /// Tools, tool choice and sampling of the turn.
    pub(super) turn: &'a Turn,
}

impl Question<'_> {
    /// The JSON an endpoint is sent.
    pub(super) fn encode(&self, endpoint: &Endpoint) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(&self.body(endpoint)).map(Bytes::from)
    }

    fn body<'a>(&'a self, endpoint: &'a Endpoint) -> Body<'a> {
        let sampling = &self.turn.sampling;
        let limit = answer_tokens(sampling, endpoint);
        let (max_tokens, max_completion_tokens) = match endpoint.token_limit_field {
            TokenLimitField::MaxTokens => (limit, None),
            TokenLimitField::MaxCompletionTokens => (None, limit),
        };
        let has_tools = !self.turn.tools.is_empty();
        Body {
            model: &endpoint.model.model,
            messages: Messages(self),
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
            tools: self.turn.tools.iter().map(ToolBody::new).collect(),
            tool_choice: has_tools
                .then(|| ChoiceBody::new(&self.turn.tool_choice))
                .flatten(),
            parallel_tool_calls: sampling.parallel_tool_calls.filter(|_| has_tools),
            max_tokens,
            max_completion_tokens,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            seed: sampling.seed,
            stop: &sampling.stop,
            response_format: match &sampling.output {
                OutputFormat::Unset => None,
                OutputFormat::Requested(format) => Some(format),
            },
            reasoning_effort: sampling.reasoning_effort.as_deref(),
            logit_bias: sampling.logit_bias.as_ref(),
            user: sampling.user.as_deref(),
            metadata: sampling.metadata.as_ref(),
        }
    }
}

/// Most tokens the answer may have: what the caller asks for, at most what the model is
/// configured with.
pub(super) fn answer_tokens(sampling: &Sampling, endpoint: &Endpoint) -> Option<u64> {
    match (sampling.max_tokens, endpoint.max_tokens) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (asked, most) => asked.or(most),
    }
}

/// Bytes the tools of a turn take in a call.
pub(super) fn tools_bytes(tools: &[Tool]) -> u64 {
    if tools.is_empty() {
        return 0;
    }
    let bodies: Vec<_> = tools.iter().map(ToolBody::new).collect();
    let len = serde_json::to_vec(&bodies).map_or(0, |json| json.len());
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[derive(serde::Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Messages<'a>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ChoiceBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_bias: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
}

#[derive(serde::Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(serde::Serialize)]
struct ToolBody<'a> {
    r#type: &'static str,
    function: FunctionBody<'a>,
}

#[derive(serde::Serialize)]
struct FunctionBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> ToolBody<'a> {
    fn new(tool: &'a Tool) -> Self {
        Self {
            r#type: "function",
            function: FunctionBody {
                name: &tool.name,
                description: tool.description.as_deref(),
                parameters: tool.parameters.as_ref(),
                strict: tool.strict,
            },
        }
    }
}

/// `tool_choice`: a word, or the name of a function.
enum ChoiceBody<'a> {
    Word(&'static str),
    Named(&'a str),
}

impl<'a> ChoiceBody<'a> {
    fn new(choice: &'a ToolChoice) -> Option<Self> {
        match choice {
            ToolChoice::Auto => None,
            ToolChoice::None => Some(Self::Word("none")),
            ToolChoice::Required => Some(Self::Word("required")),
            ToolChoice::Named(name) => Some(Self::Named(name)),
        }
    }
}

impl Serialize for ChoiceBody<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Function<'a> {
            name: &'a str,
        }
        #[derive(serde::Serialize)]
        struct Named<'a> {
            r#type: &'static str,
            function: Function<'a>,
        }
        match *self {
            Self::Word(word) => to.serialize_str(word),
            Self::Named(name) => Named {
                r#type: "function",
                function: Function { name },
            }
            .serialize(to),
        }
    }
}

/// The system text, the past and the current messages, in this order.
struct Messages<'a>(&'a Question<'a>);

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Question {
            system,
            past,
            current,
            ..
        } = self.0;
        let mut list = to.serialize_seq(None)?;
        if let Some(text) = system {
            list.serialize_element(&MessageBody {
                content: Some(Content::Text(text)),
                ..MessageBody::of("system")
            })?;
        }
        for message in past.iter().chain(*current) {
            list.serialize_element(&MessageBody::new(message))?;
        }
        list.end()
    }
}

#[derive(serde::Serialize)]
struct MessageBody<'a> {
    role: &'static str,
    /// Null in a message that only calls tools.
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

impl<'a> MessageBody<'a> {
    const fn of(role: &'static str) -> Self {
        Self {
            role,
            content: None,
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    fn new(message: &'a Message) -> Self {
        let text = Some(Content::Text(&message.text));
        match message.role {
            Role::User => Self {
                content: Some(if message.images.is_empty() {
                    Content::Text(&message.text)
                } else {
                    Content::Parts(message)
                }),
                name: message.name.as_deref(),
                ..Self::of("user")
            },
            Role::Assistant => Self {
                content: text.filter(|_| !message.text.is_empty() || message.tool_calls.is_empty()),
                tool_calls: message.tool_calls.iter().map(CallBody::new).collect(),
                ..Self::of("assistant")
            },
            Role::Tool => Self {
                content: text,
                tool_call_id: message.tool_call_id.as_deref(),
                ..Self::of("tool")
            },
        }
    }
}

#[derive(serde::Serialize)]
struct CallBody<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CalledBody<'a>,
}

#[derive(serde::Serialize)]
struct CalledBody<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> CallBody<'a> {
    fn new(call: &'a ToolCall) -> Self {
        Self {
            id: &call.id,
            r#type: "function",
            function: CalledBody {
                name: &call.name,
                arguments: &call.arguments,
            },
        }
    }
}

/// A text, or the text and images of a message as content parts.
enum Content<'a> {
    Text(&'a str),
    Parts(&'a Message),
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct TextPart<'a> {
            r#type: &'static str,
            text: &'a str,
        }
        #[derive(serde::Serialize)]
        struct Url<'a> {
            url: DataUrl<'a>,
        }
        #[derive(serde::Serialize)]
        struct ImagePart<'a> {
            r#type: &'static str,
            image_url: Url<'a>,
        }
        let message = match *self {
            Self::Text(text) => return to.serialize_str(text),
            Self::Parts(message) => message,
        };
        let mut parts = to.serialize_seq(None)?;
        if !message.text.is_empty() {
            parts.serialize_element(&TextPart {
                r#type: "text",
                text: &message.text,
            })?;
        }
        for image in &message.images {
            parts.serialize_element(&ImagePart {
                r#type: "image_url",
                image_url: Url {
                    url: DataUrl(image),
                },
            })?;
        }
        parts.end()
    }
}

/// An image inside a URL.
struct DataUrl<'a>(&'a Image);

impl fmt::Display for DataUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = Base64Display::new(&self.0.bytes, &STANDARD);
        write!(f, "data:{};base64,{data}", self.0.media_type)
    }
}

impl Serialize for DataUrl<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::model::BaseUrl;
    use crate::run::ModelRef;
    use serde_json::json;

    fn endpoint() -> Endpoint {
        Endpoint::new(
            ModelRef {
                provider: "local".into(),
                model: "org/model:7b".into(),
            },
            BaseUrl::parse("http://127.0.0.1:1/v1").unwrap(),
        )
    }

    fn check(question: &Question<'_>, endpoint: &Endpoint, expected: &Value) {
        let body = question.encode(endpoint).unwrap();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        let fields = body.as_object_mut().unwrap();
        assert_eq!(fields.remove("model"), Some(json!("org/model:7b")));
        assert_eq!(fields.remove("stream"), Some(json!(true)));
        let usage = Some(json!({"include_usage": true}));
        assert_eq!(fields.remove("stream_options"), usage);
        assert_eq!(&body, expected);
    }

    #[test]
    fn a_plain_question_says_no_more_than_it_must() {
        let current = [Message::text(Role::User, "hi")];
        let question = Question {
            system: None,
            past: &[],
            current: &current,
            turn: &Turn {
                tool_choice: ToolChoice::Required,
                ..Turn::default()
            },
        };
        let expected = json!({"messages": [{"role": "user", "content": "hi"}]});
        check(&question, &endpoint(), &expected);
    }

    #[test]
    fn messages_keep_their_order_their_calls_and_their_ids() {
        let mut calling = Message::text(Role::Assistant, "");
        calling.tool_calls.push(ToolCall {
            id: "call_1".to_owned(),
            name: "get_weather".to_owned(),
            arguments: "{\"q\":1}".to_owned(),
        });
        let mut result = Message::text(Role::Tool, "12");
        result.tool_call_id = Some("call_1".to_owned());
        result.name = Some("get_weather".to_owned());
        let mut asking = Message::text(Role::User, "and this?");
        asking.name = Some("ada".to_owned());
        asking.images.push(Image {
            media_type: "image/png".into(),
            bytes: Bytes::from_static(&[1, 2, 3, 4]),
        });
        let mut picture = Message::text(Role::User, "");
        picture.images.clone_from(&asking.images);
        let past = [Message::text(Role::User, "weather?"), calling, result];
        let question = Question {
            system: Some("Be brief."),
            past: &past,
            current: &[asking, picture, Message::text(Role::Assistant, "")],
            turn: &Turn::default(),
        };
        let image = json!({"type": "image_url", "image_url":
            {"url": "data:image/png;base64,AQIDBA=="}});
        let expected = json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": "{\"q\":1}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "12"},
            {"role": "user", "name": "ada", "content":
                [{"type": "text", "text": "and this?"}, image]},
            {"role": "user", "content": [image]},
            {"role": "assistant", "content": ""},
        ]});
        check(&question, &endpoint(), &expected);
    }

    #[test]
    fn tools_and_sampling_are_passed_through() {
        let turn = Turn {
            tools: vec![Tool {
                name: "f".to_owned(),
                description: Some("does f".to_owned()),
                parameters: Some(json!({"type": "object"})),
                strict: Some(true),
            }],
            tool_choice: ToolChoice::Named("f".to_owned()),
            sampling: Sampling {
                temperature: Some(0.5),
                top_p: Some(1.0),
                frequency_penalty: Some(-2.0),
                presence_penalty: Some(2.0),
                seed: Some(-7),
                stop: vec!["END".to_owned()],
                max_tokens: Some(100),
                output: OutputFormat::Requested(json!({"type": "json_object"})),
                reasoning_effort: Some("low".to_owned()),
                parallel_tool_calls: Some(false),
                logit_bias: Some(json!({"50256": -100})),
                user: Some("ada".to_owned()),
                metadata: Some(json!({"k": "v"})),
            },
            ..Turn::default()
        };
        let question = Question {
            system: None,
            past: &[],
            current: &[],
            turn: &turn,
        };
        let mut endpoint = endpoint();
        endpoint.token_limit_field = TokenLimitField::MaxCompletionTokens;
        endpoint.max_tokens = Some(50);
        let expected = json!({
            "messages": [],
            "tools": [{"type": "function", "function": {"name": "f", "description": "does f",
                "parameters": {"type": "object"}, "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "parallel_tool_calls": false, "max_completion_tokens": 50,
            "temperature": 0.5, "top_p": 1.0, "frequency_penalty": -2.0, "presence_penalty": 2.0,
            "seed": -7, "stop": ["END"], "response_format": {"type": "json_object"},
            "reasoning_effort": "low", "logit_bias": {"50256": -100}, "user": "ada",
            "metadata": {"k": "v"},
        });
        check(&question, &endpoint, &expected);
    }

    #[test]
    fn the_smaller_limit_of_the_answer_counts() {
        for (asked, most, expected) in [
            (None, None, None),
            (Some(5), None, Some(5)),
            (None, Some(9), Some(9)),
            (Some(5), Some(9), Some(5)),
            (Some(10), Some(9), Some(9)),
        ] {
            let sampling = Sampling {
                max_tokens: asked,
                ..Sampling::default()
            };
            let mut endpoint = endpoint();
            endpoint.max_tokens = most;
            assert_eq!(answer_tokens(&sampling, &endpoint), expected);
        }
    }
}
