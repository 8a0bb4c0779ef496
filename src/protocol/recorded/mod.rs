//! The recorded traffic of the original gateway (`tests/golden/ws/`) against our types.
//!
//! Ids and times are not compared; members, their kinds, the order of events and the words of
//! refusals are. Every difference is listed with its reason.

mod requests;
mod results;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// One recorded frame.
#[derive(Clone, Debug, Deserialize)]
struct Recorded {
    conn: String,
    dir: String,
    frame: Value,
}

/// The frames of a recording, in order.
fn recording(name: &str) -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/ws")
        .join(format!("{name}.jsonl"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let frames: Vec<Recorded> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(frames.len() > 2, "{name} has lost its frames");
    frames
}

/// Every recording.
fn recordings() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ws");
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.strip_suffix(".jsonl")?.to_owned())
        })
        .collect();
    names.sort();
    assert!(names.len() > 15, "recordings are missing");
    names
}

/// The responses to a request, in order.
fn responses<'a>(frames: &'a [Recorded], conn: &str, id: &Value) -> Vec<&'a Value> {
    frames
        .iter()
        .filter(|line| line.conn == conn && line.dir == "s2c")
        .map(|line| &line.frame)
        .filter(|frame| frame["type"] == "res" && frame["id"] == *id)
        .collect()
}

/// The first successful response to a method, as its payload.
fn answer(name: &str, method: &str, nth: usize) -> Value {
    let frames = recording(name);
    let requests = frames
        .iter()
        .filter(|line| line.dir == "c2s" && line.frame["method"] == method);
    let answers = requests.flat_map(|line| responses(&frames, &line.conn, &line.frame["id"]));
    let found = answers.filter(|frame| frame["ok"] == true).nth(nth);
    found.unwrap_or_else(|| panic!("{name} has no answer {nth} to {method}"))["payload"].clone()
}

/// The members of a value, each by its path, with the kinds it has. Items of a list share a path.
fn shape(value: &Value) -> Shape {
    let mut members = Shape::new();
    add_shape(&mut members, "", value);
    members
}

fn add_shape(members: &mut Shape, path: &str, value: &Value) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    members.entry(path.to_owned()).or_default().insert(kind);
    match value {
        Value::Object(object) => {
            for (name, member) in object {
                let path = format!("{path}.{name}");
                add_shape(members, &path, member);
            }
        }
        Value::Array(items) => {
            for item in items {
                add_shape(members, &format!("{path}[]"), item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Differences that are meant: the path of a member, and why.
type Reasons<'a> = &'a [(&'a str, &'a str)];

/// Compares what we write with what was recorded.
///
/// `omitted` are members (with all below them) the original has and we have not; `added` are those
/// only we have. Both lists must be exact, but for members that were only ever recorded as `null`:
/// those say nothing.
fn compare(what: &str, ours: &[Value], theirs: &[Value], omitted: Reasons<'_>, added: Reasons<'_>) {
    assert!(
        !ours.is_empty() && !theirs.is_empty(),
        "{what}: nothing to compare"
    );
    let (ours, theirs) = (merged(ours), merged(theirs));
    check_list(what, "omitted", omitted, &theirs, &ours);
    check_list(what, "added", added, &ours, &theirs);
    for (path, kinds) in &ours {
        let Some(recorded) = theirs.get(path) else {
            continue;
        };
        let strange: Vec<_> = kinds
            .difference(recorded)
            .filter(|kind| **kind != "null")
            .collect();
        let only_null = recorded.iter().all(|kind| *kind == "null");
        assert!(
            strange.is_empty() || only_null,
            "{what}: {path} is {strange:?}, recorded as {recorded:?}"
        );
    }
}

type Shape = BTreeMap<String, BTreeSet<&'static str>>;

fn merged(values: &[Value]) -> Shape {
    let mut all = Shape::new();
    for value in values {
        for (path, kinds) in shape(value) {
            all.entry(path).or_default().extend(kinds);
        }
    }
    all
}

/// Checks that exactly the listed members are in `has` and not in `lacks`.
fn check_list(what: &str, list: &str, reasons: Reasons<'_>, has: &Shape, lacks: &Shape) {
    let below = |path: &str, top: &str| {
        path.strip_prefix(top)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let says = |kinds: &BTreeSet<&str>| kinds.iter().any(|kind| *kind != "null");
    let missing: Vec<&String> = has
        .iter()
        .filter(|(path, kinds)| says(kinds) && !lacks.contains_key(*path))
        .map(|(path, _)| path)
        .collect();
    let unlisted: Vec<_> = missing
        .iter()
        .filter(|path| !reasons.iter().any(|(top, _)| below(path, top)))
        .collect();
    assert!(
        unlisted.is_empty(),
        "{what}: not listed as {list}: {unlisted:#?}"
    );
    for (top, reason) in reasons {
        assert!(!reason.is_empty());
        let used = missing.iter().any(|path| below(path, top));
        assert!(used, "{what}: {top} is listed as {list} for nothing");
    }
}
