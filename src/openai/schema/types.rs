//! The shapes of requests and answers as documentation types.
//!
//! Requests are read and answers are written by hand, for speed; these types say the same in a form
//! a schema can be made of, and tests hold the two together.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of `POST /v1/chat/completions`. Unknown members are ignored, `null` counts as absent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChatCompletionRequest {
    /// The agent: `openclaw`, `openclaw/<agentId>`, `openclaw:<agentId>`, `agent:<agentId>`.
    pub model: Option<String>,
    /// The conversation. The last message of role `user` or `tool` is answered.
    pub messages: Option<Vec<RequestMessage>>,
    /// Whether the answer comes as Server-Sent Events.
    pub stream: Option<bool>,
    /// Only looked at when streaming.
    pub stream_options: Option<StreamOptions>,
    /// Names a stable session; without it every call has a session of its own.
    pub user: Option<String>,
    /// Functions of the caller that the model may call.
    pub tools: Option<Vec<RequestTool>>,
    /// `auto`, `none`, `required`, or an object that names a function.
    pub tool_choice: Option<RequestToolChoice>,
    /// Most tokens of the answer; wins over `max_tokens`.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub max_completion_tokens: Option<u64>,
    /// Most tokens of the answer.
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub max_tokens: Option<u64>,
    /// How freely the model samples.
    #[schemars(range(min = 0, max = 2))]
    pub temperature: Option<f64>,
    /// The probability mass the model samples from.
    #[schemars(range(min = 0, max = 1))]
    pub top_p: Option<f64>,
    /// Discourages what was said often.
    #[schemars(range(min = -2, max = 2))]
    pub frequency_penalty: Option<f64>,
    /// Discourages what was said at all.
    #[schemars(range(min = -2, max = 2))]
    pub presence_penalty: Option<f64>,
    /// For repeatable answers.
    pub seed: Option<i64>,
    /// Texts that end the answer: one, or up to four.
    pub stop: Option<RequestStop>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// Only 1 is possible.
    #[schemars(range(min = 1, max = 1))]
    pub n: Option<u32>,
    /// How long a reasoning model thinks.
    pub reasoning_effort: Option<String>,
    /// Whether several functions may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// Passed on to the model.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// Passed on to the model.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// One message of the conversation.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequestMessage {
    /// `system`, `developer`, `user`, `assistant`, `tool` or `function`; others are skipped.
    pub role: String,
    /// The text, or parts of it.
    pub content: Option<RequestContent>,
    /// The name of the speaker or of the function.
    pub name: Option<String>,
    /// The call a `tool` message answers.
    pub tool_call_id: Option<String>,
    /// The calls of an `assistant` message.
    pub tool_calls: Option<Vec<MessageToolCall>>,
}

/// The content of a message.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RequestContent {
    /// Text.
    Text(String),
    /// Parts: texts are joined by line breaks, images count in the current user message.
    Parts(Vec<RequestPart>),
}

/// A part of a content.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequestPart {
    /// `text`, `input_text` or `image_url`; others contribute nothing.
    #[serde(rename = "type")]
    pub kind: String,
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Text, in the words of another dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_text: Option<String>,
    /// An image of at most 10 MiB: PNG, JPEG, GIF or WebP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<RequestImageUrl>,
}

/// Where an image is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RequestImageUrl {
    /// A `data:` URL; `http` and `https` where they are allowed.
    pub url: String,
}

/// Options of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether the stream ends with a usage chunk.
    pub include_usage: Option<bool>,
}

/// A function of the caller.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RequestTool {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function.
    pub function: RequestFunction,
}

/// What a function is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequestFunction {
    /// Its name, unique in the request.
    pub name: String,
    /// What it does, for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether the arguments must follow the schema exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// How free the model is in calling functions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RequestToolChoice {
    /// `auto`, `none` or `required`.
    Word(String),
    /// This function must be called.
    Named(RequestTool),
}

/// Texts that end the answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RequestStop {
    /// One.
    One(String),
    /// Up to four, none of them empty.
    Several(#[schemars(length(max = 4))] Vec<String>),
}

/// The form of an answer; what belongs to a type is passed on as it came.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The schema of `json_schema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<Value>,
}

/// A call of a function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageToolCall {
    /// Id of the call.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is called.
    pub function: CalledFunction,
}

/// What is called, and with what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalledFunction {
    /// Name of the function.
    pub name: String,
    /// The arguments: JSON in a string.
    pub arguments: String,
}

/// The answer to a call that is not streamed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatCompletion {
    /// `chatcmpl_` and a UUID; also the run id native clients see.
    pub id: String,
    /// Always `chat.completion`.
    pub object: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// `model` as the request had it; `openclaw` when it had none.
    pub model: String,
    /// Always one.
    pub choices: Vec<Choice>,
    /// Tokens used; zeros when the model does not tell.
    pub usage: CompletionUsage,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Always 0.
    pub index: u32,
    /// What the agent says.
    pub message: AnswerMessage,
    /// Why the answer ended.
    pub finish_reason: AnswerEnd,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerMessage {
    /// Always `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
    /// What the model thought, where the agent is configured to show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Functions of the caller to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<MessageToolCall>>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerEnd {
    /// It is complete.
    Stop,
    /// The output budget was used up.
    Length,
    /// The caller is to answer function calls.
    ToolCalls,
}

/// Tokens used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// At least the sum.
    pub total_tokens: u64,
    /// Only when some came from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
    /// Only when the model tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<CompletionTokensDetails>,
}

/// Where tokens of the prompt came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptTokensDetails {
    /// From a cache.
    pub cached_tokens: u64,
}

/// What tokens of the answer were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionTokensDetails {
    /// Reasoning.
    pub reasoning_tokens: u64,
}

/// One `data:` line of a stream, before `[DONE]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatCompletionChunk {
    /// The same in all chunks.
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: String,
    /// The same in all chunks.
    pub created: u64,
    /// The same in all chunks.
    pub model: String,
    /// One; none in the usage chunk.
    pub choices: Vec<ChunkChoice>,
    /// Only in the usage chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<CompletionUsage>,
}

/// A piece of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChunkChoice {
    /// Always 0.
    pub index: u32,
    /// What is new; empty in the finish chunk.
    pub delta: ChunkDelta,
    /// `null` but for the finish chunk.
    pub finish_reason: Option<AnswerEnd>,
}

/// What is new.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChunkDelta {
    /// `assistant`, in the first chunk only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// More text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// More of what the model thought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// A piece of a function call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ChunkToolCall>>,
}

/// A piece of a function call: identity first, then arguments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChunkToolCall {
    /// Which call.
    pub index: u32,
    /// In the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// In the first piece: `function`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What is called.
    pub function: ChunkFunction,
}

/// A piece of what is called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChunkFunction {
    /// In the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More of the arguments.
    pub arguments: String,
}

/// An error, as the body of an answer or as a `data:` line of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorEnvelope {
    /// `false`, and only there when a scope is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// For people.
    pub message: String,
    /// The class of the failure.
    #[serde(rename = "type")]
    pub kind: String,
    /// A stable name, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The member of the request that is at fault, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// Which scope is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<MissingScope>,
}

/// Which scope is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MissingScope {
    /// Always `MISSING_SCOPE`.
    pub code: String,
    /// The scope.
    pub missing_scope: String,
    /// Every scope that is needed.
    pub required_scopes: Vec<String>,
}

/// The agents, as models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// Always `list`.
    pub object: String,
    /// Each id works as `model`.
    pub data: Vec<Model>,
}

/// An agent, as a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What to put into `model`.
    pub id: String,
    /// Always `model`.
    pub object: String,
    /// Always 0.
    pub created: u64,
    /// Always `openclaw`.
    pub owned_by: String,
    /// Always empty.
    pub permission: Vec<Value>,
}

/// `/healthz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Always `true`.
    pub ok: bool,
    /// Always `live`.
    pub status: String,
}

/// `/readyz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Readiness {
    /// Whether new work is taken.
    pub ready: bool,
    /// Why not; for local or authenticated callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Vec<String>>,
    /// How long the process runs; for local or authenticated callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
}

/// `/startupz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Startup {
    /// Whether the process has come up and is not going down.
    pub ok: bool,
    /// `starting`, `started` or `draining`.
    pub status: String,
    /// clawport's version; for local or authenticated callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long the process runs; for local or authenticated callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// What it waits for while it starts; for local or authenticated callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_reason: Option<String>,
}
