//! The `models` section, and how agents name models.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawSecret;

/// Model servers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawModels {
    /// Model servers, by the name that stands before the `/` of a model.
    pub providers: BTreeMap<String, RawProvider>,
    /// Names a request may use as `model`, and the agents they stand for.
    pub aliases: BTreeMap<String, String>,
}

/// A model server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawProvider {
    /// Where it is, up to and including the version: `http://127.0.0.1:11434/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The key for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<RawSecret>,
    /// The dialect it speaks; `openai-completions` is the one clawport speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Headers added to every call.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, RawSecret>,
    /// Longest silence, in seconds, at any point of a call.
    #[schemars(range(min = 1, max = 86_400))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// How often a call is repeated before its first byte; 2 when nothing is said.
    #[schemars(range(min = 0, max = 10))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Its models.
    pub models: RawModelList,
}

/// Models of one server.
pub type RawModelList = Vec<RawModel>;

/// A model of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RawModel {
    /// The name it has at the server.
    pub id: String,
    /// Its display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it reasons before it answers.
    #[serde(default)]
    pub reasoning: bool,
    /// What it takes: `text`, `image`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<String>,
    /// Tokens it can take in and give out together.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Tokens of one answer.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// What the server wants otherwise than others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<RawCompat>,
}

/// What a server wants otherwise than others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RawCompat {
    /// The request field that limits an answer: `max_tokens` or `max_completion_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_field: Option<String>,
}

/// The model of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RawModelChoice {
    /// `provider/model`.
    One(String),
    /// A model and what stands in for it.
    Several {
        /// The model that is asked first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        primary: Option<String>,
        /// The models asked when it fails before its first byte, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fallbacks: Vec<String>,
    },
}
