//! Arguments for a client tool, made up from its JSON Schema.
//!
//! Owns only what makes a plausible call; it does not validate.

use serde_json::{Map, Value, json};

use crate::run::Tool;

/// Deepest nesting of made-up arguments.
const DEPTH_MAX: usize = 8;

/// Arguments a client could take: every required property, or all when none is marked.
pub(super) fn made_up(tool: &Tool) -> Value {
    match &tool.parameters {
        Some(schema) => object(schema, 0),
        None => json!({}),
    }
}

fn object(schema: &Value, depth: usize) -> Value {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return json!({});
    };
    let required: Option<Vec<&str>> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect());
    let wanted = properties
        .iter()
        .filter(|(name, _)| required.as_ref().is_none_or(|r| r.contains(&name.as_str())));
    let filled: Map<String, Value> = wanted
        .map(|(name, schema)| (name.clone(), value(schema, depth + 1)))
        .collect();
    Value::Object(filled)
}

fn value(schema: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let given = ["const", "default"]
        .into_iter()
        .find_map(|key| schema.get(key))
        .or_else(|| schema.get("enum")?.get(0));
    if let Some(given) = given {
        return given.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first(),
        other => other,
    };
    match kind.and_then(Value::as_str) {
        Some("number" | "integer") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("null") => Value::Null,
        Some("object") => object(schema, depth),
        _ => json!("text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parameters: Value, expected: &Value) {
        let tool = Tool {
            name: "t".to_owned(),
            description: None,
            parameters: Some(parameters),
            strict: None,
        };
        assert_eq!(&made_up(&tool), expected);
    }

    #[test]
    fn arguments_follow_the_schema() {
        check(json!({}), &json!({}));
        check(
            json!({"type": "object", "properties": {"q": {"type": "number"}}}),
            &json!({"q": 1}),
        );
        check(
            json!({"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}),
            &json!({"a": "text"}),
        );
        check(
            json!({"properties": {
                "unit": {"enum": ["c", "f"]}, "n": {"type": "integer", "minimum": 3},
                "on": {"type": ["boolean", "null"]}, "list": {"type": "array"},
                "fix": {"const": 7}, "in": {"type": "object", "properties": {"x": {"default": 2}}},
            }}),
            &json!({"unit": "c", "n": 3, "on": true, "list": [], "fix": 7, "in": {"x": 2}}),
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let mut schema = json!({"type": "string"});
        for _ in 0..30 {
            schema = json!({"type": "object", "properties": {"in": schema}});
        }
        let mut depth = 0;
        let made = made_up(&Tool {
            name: "t".to_owned(),
            description: None,
            parameters: Some(schema),
            strict: None,
        });
        let mut at = &made;
        while let Some(inner) = at.get("in") {
            depth += 1;
            at = inner;
        }
        assert_eq!(depth, DEPTH_MAX + 1);
    }
}
