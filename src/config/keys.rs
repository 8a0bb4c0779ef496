//! `docs/keys.md`: every key of the configuration, from the schema, so that the page cannot lie.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::schema::{resolve, schema};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/keys.md");

const HEAD: &str = "# Every key\n\n\
    All keys of the configuration file, from its schema (`clawport config schema`). A test compares\n\
    the two: after a change of `src/config/raw`, run `UPDATE_DOCS=1 cargo test --lib config::keys`.\n\
    How the file is found and read: [configuration.md](configuration.md). `[]` stands for each\n\
    entry of a list, `<name>` for a name of your own.\n";

/// The sections, each with its keys.
fn document() -> String {
    let mut text = HEAD.to_owned();
    for (name, section) in properties(schema()) {
        write!(text, "\n## `{name}`\n\n{}\n\n", description(section)).unwrap();
        let mut rows = Vec::new();
        collect(name, section, &mut rows);
        if rows.is_empty() {
            rows.push(row(name, section));
        }
        text.push_str("| key | value | default | |\n| --- | --- | --- | --- |\n");
        text.push_str(&rows.concat());
    }
    text
}

fn properties(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let node = resolve(node);
    let members = node.get("properties").and_then(Value::as_object);
    members.into_iter().flat_map(Map::iter)
}

/// The rows of everything below a key.
fn collect(way: &str, node: &Value, rows: &mut Vec<String>) {
    for (name, property) in properties(node) {
        let way = format!("{way}.{name}");
        let before = rows.len();
        rows.push(row(&way, property));
        collect(&way, property, rows);
        below(&way, property, rows);
        // A section is its keys.
        if rows.len() > before + 1 && property.get("type").is_none() {
            rows.remove(before);
        }
    }
    if !way.contains('.') {
        below(way, node, rows);
    }
}

/// The rows of the entries of a list or of a table.
fn below(way: &str, property: &Value, rows: &mut Vec<String>) {
    for part in alternatives(property) {
        if let Some(items) = part.get("items") {
            collect(&format!("{way}[]"), items, rows);
        }
        if let Some(entry @ Value::Object(_)) = part.get("additionalProperties") {
            collect(&format!("{way}.<name>"), entry, rows);
        }
    }
}

fn alternatives(node: &Value) -> Vec<&Value> {
    let node = resolve(node);
    let parts = ["anyOf", "oneOf"].iter().find_map(|key| node.get(key));
    match parts.and_then(Value::as_array) {
        Some(parts) => parts.iter().flat_map(alternatives).collect(),
        None => vec![node],
    }
}

fn description(node: &Value) -> String {
    let text = node.get("description").and_then(Value::as_str);
    text.unwrap_or_default()
        .replace('\n', " ")
        .replace('|', "\\|")
}

fn row(way: &str, property: &Value) -> String {
    let default = property.get("default").filter(|value| !is_nothing(value));
    let default = default
        .map(|value| format!("`{value}`"))
        .unwrap_or_default();
    let text = description(property);
    format!("| `{way}` | {} | {default} | {text} |\n", kinds(property))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What a key may be: a type with its range, or the words it may be.
fn kinds(property: &Value) -> String {
    let kinds = alternatives(property).into_iter().filter_map(|part| {
        if let Some(word) = part.get("const") {
            return Some(format!("`{word}`"));
        }
        if let Some(words) = part.get("enum").and_then(Value::as_array) {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            return Some(words.join(", "));
        }
        let kind = match part.get("type")?.as_str()? {
            "boolean" => "true or false",
            "string" => "text",
            "array" => "list",
            "object" => "table",
            other => other,
        };
        let range = part.get("minimum").zip(part.get("maximum"));
        Some(match range {
            Some((least, most)) => format!("{least} to {most}"),
            None => kind.to_owned(),
        })
    });
    let mut kinds: Vec<_> = kinds.collect();
    kinds.dedup();
    kinds.join(", ")
}

#[test]
fn the_document_shows_every_key() {
    let document = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCUMENT, &document).unwrap();
    }
    for key in [
        "store.retainDays",
        "agents.list[].id",
        "models.providers.<name>.baseUrl",
    ] {
        assert!(document.contains(&format!("| `{key}` |")), "{key}");
    }
    let found = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(
        found == document,
        "docs/keys.md is stale: run with UPDATE_DOCS=1"
    );
}
