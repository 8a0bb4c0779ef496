//! `config.get` and `config.schema`: the configuration as it is, secrets replaced, and as it could
//! be (`protocol-facts` §6.10).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::params::params;

params! {
    /// Parameters of `config.get`.
    ConfigGetParams {}
}

params! {
    /// Parameters of `config.schema`.
    ConfigSchemaParams {}
}

/// The result of `config.schema`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSchemaResult {
    /// JSON Schema of the configuration file.
    pub schema: Value,
    /// How a form shows keys: nothing but the schema says so.
    pub ui_hints: serde_json::Map<String, Value>,
    /// Version of the program the schema is of.
    pub version: String,
    /// When it was made: now.
    pub generated_at: String,
}

/// The result of `config.get`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigGetResult {
    /// Path of the file.
    pub path: String,
    /// Whether the file exists.
    pub exists: bool,
    /// The text of the file, secrets replaced.
    pub raw: Option<String>,
    /// The file as a value.
    pub parsed: Value,
    /// The file with its includes and variables filled in.
    pub source_config: Value,
    /// The same, as older clients call it.
    pub resolved: Value,
    /// Always true: a gateway with an invalid configuration does not start.
    pub valid: bool,
    /// The configuration in force, defaults filled in.
    pub config: Value,
    /// The same, as older clients call it.
    pub runtime_config: Value,
    /// Hex SHA-256 of the file.
    pub hash: String,
    /// Problems: none.
    pub issues: Vec<ConfigIssue>,
    /// Warnings of the last load.
    pub warnings: Vec<ConfigIssue>,
    /// Old keys: none.
    pub legacy_issues: Vec<ConfigIssue>,
    /// Names the text of the file.
    pub config_revision_hash: String,
    /// Names the text that is in force.
    pub applied_config_hash: String,
}

/// A problem at a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigIssue {
    /// The key.
    pub path: String,
    /// What is the matter.
    pub message: String,
}

/// What `config.get` shows, secrets already replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigParts {
    /// Path of the file.
    pub path: String,
    /// Whether the file exists.
    pub exists: bool,
    /// The text of the file.
    pub raw: Option<String>,
    /// The file as a value.
    pub parsed: Value,
    /// The configuration in force.
    pub effective: Value,
    /// Hex SHA-256 of the file.
    pub hash: String,
    /// Warnings of the last load.
    pub warnings: Vec<ConfigIssue>,
}

impl From<ConfigParts> for ConfigGetResult {
    fn from(parts: ConfigParts) -> Self {
        Self {
            path: parts.path,
            exists: parts.exists,
            raw: parts.raw,
            source_config: parts.parsed.clone(),
            resolved: parts.parsed.clone(),
            parsed: parts.parsed,
            valid: true,
            config: parts.effective.clone(),
            runtime_config: parts.effective,
            config_revision_hash: parts.hash.clone(),
            applied_config_hash: parts.hash.clone(),
            hash: parts.hash,
            issues: Vec::new(),
            warnings: parts.warnings,
            legacy_issues: Vec::new(),
        }
    }
}
