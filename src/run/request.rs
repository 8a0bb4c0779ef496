//! What an agent is asked to do.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One turn of a conversation, as a dialect read it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// Text the caller adds to the agent's own system text.
    pub system: Option<String>,
    /// The caller's own account of the conversation so far, oldest first.
    pub history: Vec<Message>,
    /// What is to be answered now. Several messages when a client returns several tool results.
    pub current: Vec<Message>,
    /// Tools of the client the model may call.
    pub tools: Vec<Tool>,
    /// How free the model is in calling them.
    pub tool_choice: ToolChoice,
    /// Sampling and output wishes, passed on where the model can take them.
    pub sampling: Sampling,
    /// Another model for this run (`provider/model`), already authorized.
    pub model: Option<String>,
    /// The channel the caller says the message came through, such as `webchat`; in lower case.
    pub channel: Option<String>,
}

impl Turn {
    /// The text of the current messages, joined by a blank line.
    pub fn text(&self) -> String {
        let mut texts = self
            .current
            .iter()
            .map(|m| m.text.as_str())
            .filter(|t| !t.is_empty());
        let mut text = texts.next().unwrap_or_default().to_owned();
        for more in texts {
            text.push_str("\n\n");
            text.push_str(more);
        }
        text
    }
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The human or the program in front of the gateway.
    User,
    /// The agent.
    Assistant,
    /// The result of a client tool.
    Tool,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    #[serde(default)]
    pub text: String,
    /// Images of a user message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Client tools an assistant message calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call a tool message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The name of the tool, or of the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Message {
    /// A message that is only text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            text: text.into(),
            images: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
        }
    }
}

/// An image, decoded and with its type sniffed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The media type, such as `image/png`.
    pub media_type: Arc<str>,
    /// The bytes of the file; base64 in the ledger.
    #[serde(with = "base64_bytes")]
    pub bytes: Bytes,
}

mod base64_bytes {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(D::Error::custom)
    }
}

/// A complete call of a client tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Id of the call.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// The JSON arguments, as text.
    pub arguments: String,
}

/// A function tool of the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Name of the function.
    pub name: String,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether the arguments must follow the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// How free the model is in calling client tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No client tool may be called.
    None,
    /// At least one client tool must be called.
    Required,
    /// This client tool must be called.
    Named(String),
}

/// Sampling and output wishes; `None` leaves the choice to the model server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// For repeatable answers.
    pub seed: Option<i64>,
    /// At most four texts that end the answer.
    pub stop: Vec<String>,
    /// Most tokens of the answer.
    pub max_tokens: Option<u64>,
    /// The form of the answer.
    pub output: OutputFormat,
    /// `minimal`, `low`, `medium`, `high`, as the client wrote it.
    pub reasoning_effort: Option<String>,
    /// Whether several tools may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// Token id to bias.
    pub logit_bias: Option<Value>,
    /// The caller's end user, for the model server's abuse checks.
    pub user: Option<String>,
    /// Free metadata.
    pub metadata: Option<Value>,
}

/// The form of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum OutputFormat {
    /// Whatever the model says.
    #[default]
    Unset,
    /// `response_format`, validated and passed on as it came.
    Requested(Value),
}

impl QueueMode {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steer => "steer",
            Self::Collect => "collect",
            Self::Followup => "followup",
            Self::Interrupt => "interrupt",
        }
    }

    /// Reads the wire name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Steer, Self::Collect, Self::Followup, Self::Interrupt]
            .into_iter()
            .find(|mode| mode.as_str() == name)
    }
}

/// What happens to a message that arrives while its session is busy (`design.md` §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueMode {
    /// Hand it to the running agent, else `followup`.
    Steer,
    /// Merge what waits into one turn.
    Collect,
    /// One turn after the other.
    Followup,
    /// Abort the running turn, then run this one.
    Interrupt,
}
