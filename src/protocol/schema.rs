//! JSON Schema of everything on the wire, generated from the types that read and write it.
//!
//! The files under `proto/schema/` are made from this; a test fails when they differ.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::connect::ConnectParams;
use super::frame::{EventFrame, RequestFrame, ResponseFrame};
use super::hello::{Challenge, HelloOk};

/// A schema document, named by its file under `proto/schema/`.
#[derive(Clone, Debug)]
pub struct SchemaFile {
    /// The path, with `/` between its parts.
    pub path: String,
    /// The document.
    pub schema: Schema,
}

/// The schemas of all frames, of the handshake, and of every method and event served.
pub fn schema_files() -> Vec<SchemaFile> {
    vec![
        read_by_us::<RequestFrame<'static>>("frames/request"),
        written_by_us::<ResponseFrame<'static>>("frames/response"),
        written_by_us::<EventFrame<'static>>("frames/event"),
        read_by_us::<ConnectParams>("handshake/connect.params"),
        written_by_us::<HelloOk<'static>>("handshake/hello-ok"),
        written_by_us::<Challenge>("events/connect.challenge"),
    ]
}

/// The form of what a peer sends.
fn read_by_us<T: JsonSchema>(name: &str) -> SchemaFile {
    file::<T>(name, reading())
}

/// The form of what the gateway sends.
fn written_by_us<T: JsonSchema>(name: &str) -> SchemaFile {
    file::<T>(
        name,
        SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator(),
    )
}

fn file<T: JsonSchema>(name: &str, generator: SchemaGenerator) -> SchemaFile {
    SchemaFile {
        path: format!("{name}.json"),
        schema: generator.into_root_schema_for::<T>(),
    }
}

/// Makes schemas of what a reader accepts.
pub(super) fn reading() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
}

/// Says of members that may be left out that they are never null: the gateway leaves out what it
/// does not know.
#[derive(Clone, Debug)]
struct AbsentNotNull;

impl Transform for AbsentNotNull {
    fn transform(&mut self, schema: &mut Schema) {
        let required = schema.get("required").and_then(Value::as_array).cloned();
        let required = required.unwrap_or_default();
        let members = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, member) in members.into_iter().flatten() {
            if !required.iter().any(|other| other.as_str() == Some(name)) {
                forbid_null(member);
            }
        }
        transform_subschemas(self, schema);
    }
}

fn forbid_null(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(options)) = schema.get_mut("anyOf") else {
        return;
    };
    options.retain(|option| option.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = options.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        schema.extend(only);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::protocol::validate::Rules;

    /// Set to write `proto/schema/` anew instead of comparing it.
    const UPDATE: &str = "CLAWPORT_UPDATE_PROTO";

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/schema")
    }

    fn generated() -> BTreeMap<String, String> {
        let text = |schema: &Schema| serde_json::to_string_pretty(schema).unwrap() + "\n";
        let files = schema_files();
        let count = files.len();
        let files: BTreeMap<_, _> = files
            .into_iter()
            .map(|file| (file.path, text(&file.schema)))
            .collect();
        assert_eq!(files.len(), count, "two schemas have one name");
        files
    }

    /// Every file below `folder`, by its path below the root.
    fn checked_in(folder: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.append(&mut checked_in(&path));
            } else {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
                found.insert(name.replace('\\', "/"), fs::read_to_string(&path).unwrap());
            }
        }
        found
    }

    fn write_anew(files: &BTreeMap<String, String>) {
        if root().exists() {
            fs::remove_dir_all(root()).unwrap();
        }
        for (name, text) in files {
            let path = root().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the developer, not of the program"
    )]
    fn the_checked_in_schemas_are_up_to_date() {
        let files = generated();
        if std::env::var(UPDATE).is_ok() {
            write_anew(&files);
        }
        let checked_in = checked_in(&root());
        let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
        let advice = format!("proto/schema is out of date: run the tests once with {UPDATE}=1");
        assert_eq!(names(&checked_in), names(&files), "{advice}");
        for (name, text) in files {
            assert!(checked_in[&name] == text, "{name}: {advice}");
        }
    }

    #[test]
    fn every_keyword_of_every_schema_is_checked() {
        for file in schema_files() {
            let rules = Rules::of(file.schema.as_value());
            let unknown: Vec<&str> = rules.unknown_keywords().collect();
            assert_eq!(unknown, [""; 0], "{}", file.path);
        }
    }
}
