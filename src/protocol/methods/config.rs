//! `config.get` and `config.schema`: the configuration as it is, secrets replaced, and as it could
//! be (`protocol-facts` §6.10).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::Text;
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

params! {
    /// Parameters of `config.schema.lookup`.
    ConfigLookupParams {
        required {
            /// The key, its parts joined by dots; `.` is the whole file.
            path: Text<1, 1024>,
        }
    }
}

/// Most parts of a key that is looked up.
const PATH_PARTS_MAX: usize = 32;

/// The result of `config.schema.lookup`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigLookupResult {
    /// The key.
    pub path: String,
    /// Its schema.
    pub schema: Value,
    /// The keys below it.
    pub children: Vec<ConfigSchemaChild>,
}

/// A key below another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSchemaChild {
    /// Its last part; `*` stands for any.
    pub key: String,
    /// All of it.
    pub path: String,
    /// The type of its value, where it has just one.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether it must be there.
    pub required: bool,
    /// Whether there are keys below it.
    pub has_children: bool,
}

impl ConfigLookupResult {
    /// Finds a key in a schema without references; `None` for one it does not have.
    pub fn find(schema: &Value, path: &str) -> Option<Self> {
        let parts: Vec<&str> = path
            .split(['.', '/', '[', ']'])
            .filter(|part| !part.is_empty())
            .collect();
        if parts.len() > PATH_PARTS_MAX || (parts.is_empty() && path.trim() != ".") {
            return None;
        }
        let mut node = schema;
        for part in &parts {
            node = below(node, part)?;
        }
        let prefix = parts.join(".");
        let children = children(node, &prefix);
        let path = if parts.is_empty() {
            ".".to_owned()
        } else {
            prefix
        };
        Some(Self {
            path,
            schema: node.clone(),
            children,
        })
    }
}

/// The schema of one part of a key: a member, any member, or an item of a list.
fn below<'a>(node: &'a Value, part: &str) -> Option<&'a Value> {
    let member = node.get("properties").and_then(|all| all.get(part));
    let any = || node.get("additionalProperties").filter(|it| it.is_object());
    let is_index = part == "*" || part.bytes().all(|byte| byte.is_ascii_digit());
    let item = || node.get("items").filter(|_items| is_index);
    member.or_else(any).or_else(item)
}

fn children(node: &Value, prefix: &str) -> Vec<ConfigSchemaChild> {
    let members = node.get("properties").and_then(Value::as_object);
    let members = members.into_iter().flatten();
    let members = members.map(|(name, member)| (name.as_str(), member));
    let required = node.get("required").and_then(Value::as_array);
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|it| it.as_str() == Some(name)));
    let any = below(node, "*").map(|any| ("*", any));
    members
        .chain(any)
        .map(|(name, member)| ConfigSchemaChild {
            key: name.to_owned(),
            path: if prefix.is_empty() {
                name.to_owned()
            } else {
                format!("{prefix}.{name}")
            },
            kind: member
                .get("type")
                .and_then(Value::as_str)
                .map(str::to_owned),
            required: is_required(name),
            has_children: member.get("properties").is_some() || below(member, "*").is_some(),
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_looked_up_by_their_parts() {
        let schema = json!({"type": "object", "properties": {
            "agents": {"type": "object", "required": ["list"], "properties": {
                "list": {"type": "array", "items": {"type": "object", "properties": {
                    "id": {"type": "string"}}}},
            }},
            "aliases": {"type": "object", "additionalProperties": {"type": "string"}},
        }});
        let check = |path: &str, kind: &str, keys: &[&str]| {
            let found = ConfigLookupResult::find(&schema, path).unwrap();
            assert_eq!(found.schema["type"], kind, "{path}");
            let found: Vec<_> = found.children.iter().map(|it| it.path.as_str()).collect();
            assert_eq!(found, keys, "{path}");
        };
        check(".", "object", &["agents", "aliases"]);
        check("agents", "object", &["agents.list"]);
        check("agents.list", "array", &["agents.list.*"]);
        check("agents.list[0]", "object", &["agents.list.0.id"]);
        check("aliases", "object", &["aliases.*"]);
        check("aliases.fast", "string", &[]);
        for path in ["", "nope", "agents.list.x", "aliases.fast.more"] {
            assert_eq!(ConfigLookupResult::find(&schema, path), None, "{path}");
        }
        let agents = ConfigLookupResult::find(&schema, "agents").unwrap();
        let list = &agents.children[0];
        assert!(list.required && list.has_children, "{list:?}");
    }
}
