//! Why a request body is refused; the texts are part of the dialect (`http-facts` §3.1).

use crate::error::ErrorCode;
use crate::openai::json::Kind;

/// Why a request body is refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The body is not JSON; the text is the parser's own.
    #[error("{0}")]
    Json(#[source] serde_json::Error),
    /// The body is not text.
    #[error("the request body is not valid UTF-8")]
    NotUtf8,
    /// A field has another type than it may have; the path of the body itself is empty.
    #[error("{path}: Invalid input: expected {expected}, received {}", .received.as_str())]
    Type {
        /// Which field.
        path: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        received: Kind,
    },
    /// `stop` is neither a string nor an array of strings.
    #[error("stop: Invalid input")]
    StopType,
    /// A number that must be positive is not.
    #[error("{0}: Too small: expected number to be >0")]
    TooSmall(&'static str),
    /// A number that must be whole is not.
    #[error("{0}: Invalid input: expected int, received number")]
    NotWhole(&'static str),
    /// A number is too large to be exact.
    #[error("{0} must be a positive safe integer")]
    Unsafe(&'static str),
    /// There are more messages than one call may hold.
    #[error("messages: Too big: expected array to have <={0} items")]
    TooManyMessages(usize),
    /// `response_format` is not an object.
    #[error("Invalid response_format: response_format must be an object")]
    FormatNotObject,
    /// `response_format` has an unknown type.
    #[error(
        "Invalid response_format: response_format.type must be text, json_object, or json_schema"
    )]
    FormatType,
    /// `stop` has more than four entries.
    #[error("Invalid stop: stop supports at most 4 sequences")]
    TooManyStops,
    /// `stop` has an empty entry.
    #[error("Invalid stop: stop entries must be non-empty strings")]
    EmptyStop,
    /// A sampling number is out of its range.
    #[error("`{field}` must be between {range}.")]
    Range {
        /// Which field.
        field: &'static str,
        /// The range, as it is shown.
        range: &'static str,
    },
    /// `seed` is not whole.
    #[error("`seed` must be an integer.")]
    Seed,
    /// More than one answer is asked for.
    #[error("`n` must be 1: one request gets one answer.")]
    ManyAnswers,
    /// `model` names no agent.
    #[error("Invalid `model`. Use `openclaw` or `openclaw/<agentId>`.")]
    Model,
    /// `x-openclaw-model` names no model.
    #[error("Invalid `x-openclaw-model`.")]
    ModelOverride,
    /// `x-openclaw-message-channel` is no name.
    #[error("Invalid `x-openclaw-message-channel`.")]
    Channel,
    /// `tools` or `tool_choice` cannot be used.
    #[error("Invalid tools/tool_choice: {0}")]
    Tools(#[source] ToolsError),
    /// Two tools have one name.
    #[error("invalid tool configuration")]
    ToolClash,
    /// An image cannot be used.
    #[error("Invalid image_url content in `messages`.")]
    Image,
    /// There is nothing to answer.
    #[error("Missing user message in `messages`.")]
    NoMessage,
}

impl RequestError {
    /// The class of the refusal.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::InvalidRequest
    }

    /// The field the caller must change, where the dialect names it.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            Self::ManyAnswers => Some("n"),
            Self::Json(_)
            | Self::NotUtf8
            | Self::Type { .. }
            | Self::StopType
            | Self::TooSmall(_)
            | Self::NotWhole(_)
            | Self::Unsafe(_)
            | Self::TooManyMessages(_)
            | Self::FormatNotObject
            | Self::FormatType
            | Self::TooManyStops
            | Self::EmptyStop
            | Self::Range { .. }
            | Self::Seed
            | Self::Model
            | Self::ModelOverride
            | Self::Channel
            | Self::Tools(_)
            | Self::ToolClash
            | Self::Image
            | Self::NoMessage => None,
        }
    }
}

/// What is wrong with `tools` or `tool_choice`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolsError {
    /// An entry of `tools` is not an object.
    #[error("each tool must be an object")]
    NotObject,
    /// A tool is not a function.
    #[error("only function tools are supported")]
    NotFunction,
    /// A tool has no `function`.
    #[error("tool.function is required")]
    NoFunction,
    /// A function has no name.
    #[error("tool.function.name is required")]
    NoName,
    /// A forced function has no name.
    #[error("tool_choice.function.name is required")]
    NoChoiceName,
    /// A forced function is not among the tools.
    #[error("tool_choice requested unknown tool: {0}")]
    UnknownChoice(String),
    /// A call is demanded and there is nothing to call.
    #[error("tool_choice=required but no tools were provided")]
    NothingToCall,
    /// `tool_choice` is of another JSON type.
    #[error("tool_choice must be a string or object")]
    ChoiceType,
    /// `tool_choice` has a type or word that is not supported.
    #[error("tool_choice {0} is not supported")]
    ChoiceUnsupported(String),
    /// `tool_choice` is an object without a type.
    #[error("unsupported tool_choice type")]
    ChoiceUntyped,
}
