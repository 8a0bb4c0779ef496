//! The JSON Schema of a configuration file, generated from [`RawConfig`].

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::raw::RawConfig;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<RawConfig>().to_value();
    tidy(&mut schema);
    schema
});

/// The schema of a configuration file.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// The same without references, for forms that cannot follow them.
pub(super) fn inlined() -> &'static Value {
    static INLINED: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = SCHEMA.clone();
        if let Value::Object(members) = &mut schema {
            members.remove("$defs");
        }
        inline(&mut schema);
        schema
    });
    &INLINED
}

/// Puts what references stand for in their place; a description beside one goes first. No type of
/// the configuration contains itself.
fn inline(node: &mut Value) {
    let Value::Object(members) = node else {
        return;
    };
    if members.contains_key("$ref") {
        let target = resolve(&Value::Object(members.clone())).clone();
        members.remove("$ref");
        if let Value::Object(target) = target {
            for (name, member) in target {
                members.entry(name).or_insert(member);
            }
        }
    }
    for (key, member) in members.iter_mut() {
        match (key.as_str(), member) {
            ("properties", Value::Object(parts)) => parts.values_mut().for_each(inline),
            ("anyOf" | "oneOf", Value::Array(parts)) => parts.iter_mut().for_each(inline),
            ("items" | "additionalProperties", part) => inline(part),
            _ => {}
        }
    }
}

/// What a `$ref` stands for; a schema without one stands for itself.
pub(super) fn resolve(node: &Value) -> &Value {
    let name = node.get("$ref").and_then(Value::as_str);
    let name = name.and_then(|reference| reference.strip_prefix(DEFS));
    name.and_then(|name| SCHEMA.get("$defs")?.get(name))
        .unwrap_or(node)
}

const DEFS: &str = "#/$defs/";

/// Makes a schema say what people need: a key is left out rather than set to `null`, the default of
/// a section is the defaults of its keys, and the names of our types are our own business.
fn tidy(node: &mut Value) {
    let Value::Object(members) = node else {
        return;
    };
    drop_null(members);
    let default = members.get("default");
    if default.is_some_and(|default| default.is_object() || default.is_null()) {
        members.remove("default");
    }
    if let Some(Value::String(reference)) = members.get_mut("$ref") {
        *reference = reference.replace("#/$defs/Raw", DEFS);
    }
    for (key, member) in members.iter_mut() {
        match (key.as_str(), member) {
            ("properties", Value::Object(parts)) => parts.values_mut().for_each(tidy),
            ("$defs", Value::Object(parts)) => tidy_defs(parts),
            ("anyOf" | "oneOf", Value::Array(parts)) => parts.iter_mut().for_each(tidy),
            ("items" | "additionalProperties", part) => tidy(part),
            _ => {}
        }
    }
}

fn tidy_defs(defs: &mut Map<String, Value>) {
    *defs = std::mem::take(defs)
        .into_iter()
        .map(|(name, mut part)| {
            tidy(&mut part);
            let name = name.strip_prefix("Raw").unwrap_or(&name).to_owned();
            (name, part)
        })
        .collect();
}

fn drop_null(members: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(branches)) = members.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = branches.as_mut_slice() {
            let only = std::mem::take(only);
            members.remove("anyOf");
            members.extend(only);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `visit` for every schema inside `node`, with the way to it.
    fn walk(node: &Value, way: &str, visit: &mut dyn FnMut(&str, &Map<String, Value>)) {
        let Value::Object(members) = node else {
            return;
        };
        visit(way, members);
        for (key, member) in members {
            match (key.as_str(), member) {
                ("properties" | "$defs", Value::Object(parts)) => {
                    for (name, part) in parts {
                        walk(part, &format!("{way}/{name}"), visit);
                    }
                }
                ("anyOf" | "oneOf", Value::Array(parts)) => {
                    for part in parts {
                        walk(part, way, visit);
                    }
                }
                ("items" | "additionalProperties", part) => walk(part, way, visit),
                _ => {}
            }
        }
    }

    #[test]
    fn every_whole_number_has_a_range() {
        walk(schema(), "", &mut |way, members| {
            if members.get("type").is_some_and(|name| name == "integer") {
                let bounded = members.contains_key("minimum") && members.contains_key("maximum");
                assert!(bounded, "{way} has no range");
            }
        });
    }

    #[test]
    fn every_key_is_described() {
        walk(schema(), "", &mut |way, members| {
            let Some(Value::Object(properties)) = members.get("properties") else {
                return;
            };
            for (name, property) in properties {
                assert!(property.get("description").is_some(), "{way}/{name}");
            }
        });
    }

    #[test]
    fn no_key_may_be_null_and_no_reference_dangles() {
        walk(schema(), "", &mut |way, members| {
            let shown = serde_json::to_string(members).unwrap();
            assert_ne!(members.get("type"), Some(&"null".into()), "{way}: {shown}");
            let types = members.get("type").and_then(Value::as_array);
            assert_eq!(types, None, "{way}: {shown}");
            if let Some(reference) = members.get("$ref") {
                assert_ne!(resolve(&Value::Object(members.clone())), reference, "{way}");
                let name = reference.as_str().unwrap().strip_prefix(DEFS).unwrap();
                assert!(schema()["$defs"].get(name).is_some(), "{way}: {name}");
            }
        });
    }

    /// Whether the form of the Control UI can draw a value: its type must be said, a choice must be
    /// among constants or among values whose types are said, and every keyword must be known to it.
    fn is_drawable(members: &Map<String, Value>) -> bool {
        const KEYWORDS: &[&str] = &[
            "$schema",
            "title",
            "description",
            "default",
            "examples",
            "writeOnly",
            "const",
            "enum",
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "minimum",
            "maximum",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "pattern",
            "format",
            "anyOf",
            "oneOf",
        ];
        const TYPES: &[&str] = &["string", "number", "integer", "boolean", "object", "array"];
        let has_type = |node: &Value| node["type"].as_str().is_some_and(|it| TYPES.contains(&it));
        let options = members.get("anyOf").or_else(|| members.get("oneOf"));
        let is_typed = match options.and_then(Value::as_array) {
            Some(options) => {
                let is_constant = |it: &Value| it.get("const").or(it.get("enum")).is_some();
                options.iter().all(is_constant) || options.iter().all(has_type)
            }
            None => has_type(&Value::Object(members.clone())),
        };
        is_typed && members.keys().all(|key| KEYWORDS.contains(&key.as_str()))
    }

    #[test]
    fn the_form_of_the_control_ui_can_draw_every_key() {
        let mut nodes = 0;
        walk(inlined(), "", &mut |way, members| {
            nodes += 1;
            let shown = serde_json::to_string(members).unwrap();
            assert!(is_drawable(members), "{way}: {shown}");
        });
        assert!(nodes > 200, "only {nodes} nodes");
    }

    #[test]
    fn keys_called_default_are_keys() {
        assert!(schema()["$defs"]["Agent"]["properties"]["default"].is_object());
        assert_eq!(
            schema()["$defs"]["Agent"]["required"],
            serde_json::json!(["id"])
        );
        let port = &schema()["$defs"]["Gateway"]["properties"]["port"];
        assert_eq!(port["default"], 18_789);
    }
}
