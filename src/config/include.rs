//! Reads the main file and everything it includes into one value.
//!
//! An object with `$include` is replaced by what the named files hold, merged in order; keys beside
//! it are merged over that. Objects merge key by key, lists are joined, anything else is replaced.
//! Paths are relative to the file that names them and stay under the directory of the main file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::json5;
use super::problem::{IncludeError, Origin, Problems};
use super::source::{FileId, Sources, Span};
use super::value::{KeyPath, Kind, Member, Value};

/// The key that includes files.
const INCLUDE: &str = "$include";
/// Most files inside each other.
const DEPTH_MAX: usize = 10;
/// Most files in all, so that a few files cannot stand for millions.
const FILES_MAX: usize = 100;

/// Reads files; collects their texts and what is wrong with them.
pub(super) struct Reader<'a> {
    /// The texts that were read.
    pub(super) sources: &'a mut Sources,
    /// What is wrong with them.
    pub(super) problems: &'a mut Problems,
    root: PathBuf,
    /// The files that are being read, outermost first.
    open: Vec<PathBuf>,
}

impl<'a> Reader<'a> {
    /// A reader of the main file at `path`.
    pub(super) fn new(path: &Path, sources: &'a mut Sources, problems: &'a mut Problems) -> Self {
        let path = canonical(path);
        let root = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self {
            sources,
            problems,
            root,
            open: vec![path],
        }
    }

    /// Reads the text of the main file and everything it includes.
    pub(super) fn main(&mut self, file: FileId) -> Option<Value> {
        let mut value = self.parse(file, &KeyPath::default())?;
        self.resolve(&mut value, &KeyPath::default());
        Some(value)
    }

    fn parse(&mut self, file: FileId, path: &KeyPath) -> Option<Value> {
        let text = Arc::clone(self.sources.get(file)?.text());
        let parsed = json5::parse(&text, file);
        for located in parsed.errors {
            let origin = Origin::Text {
                span: located.span,
                related: located.related,
            };
            self.problems.push(path.clone(), origin, located.error);
        }
        parsed.value
    }

    /// Replaces every `$include` inside of a value.
    fn resolve(&mut self, value: &mut Value, path: &KeyPath) {
        match &mut value.kind {
            Kind::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.resolve(item, &path.index(index));
                }
            }
            Kind::Object(members) => {
                let position = members.iter().position(|member| member.key == INCLUDE);
                let include = position.map(|position| members.remove(position));
                for member in members.iter_mut() {
                    self.resolve(&mut member.value, &path.key(&member.key));
                }
                if let Some(include) = include {
                    self.include(value, &include.value, path);
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::String(_) => {}
        }
    }

    /// Puts what is included under the keys beside the `$include`.
    fn include(&mut self, beside: &mut Value, include: &Value, path: &KeyPath) {
        let Some(included) = self.included(include, path) else {
            return;
        };
        let alone = matches!(&beside.kind, Kind::Object(members) if members.is_empty());
        if alone {
            *beside = included;
        } else if matches!(included.kind, Kind::Object(_)) {
            let over = std::mem::replace(beside, included);
            merge(beside, over);
        } else {
            let error = IncludeError::NotAnObject(included.kind.name());
            self.problems.at(path.clone(), include.span, error);
        }
    }

    fn included(&mut self, include: &Value, path: &KeyPath) -> Option<Value> {
        match &include.kind {
            Kind::String(name) => self.file(name, include.span, path),
            Kind::Array(items) => {
                let mut merged: Option<Value> = None;
                for item in items {
                    let Some(part) = self.named(item, path) else {
                        continue;
                    };
                    match &mut merged {
                        Some(merged) => merge(merged, part),
                        None => merged = Some(part),
                    }
                }
                merged
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Object(_) => {
                let error = IncludeError::Form(include.kind.name());
                self.problems.at(path.clone(), include.span, error);
                None
            }
        }
    }

    fn named(&mut self, item: &Value, path: &KeyPath) -> Option<Value> {
        if let Some(name) = item.as_str() {
            return self.file(name, item.span, path);
        }
        let error = IncludeError::Form(item.kind.name());
        self.problems.at(path.clone(), item.span, error);
        None
    }

    /// Reads one included file with everything it includes itself.
    fn file(&mut self, name: &str, span: Span, path: &KeyPath) -> Option<Value> {
        let (file, absolute) = match self.open_file(name) {
            Ok(opened) => opened,
            Err(error) => {
                self.problems.at(path.clone(), span, error);
                return None;
            }
        };
        let mut value = self.parse(file, path)?;
        self.open.push(absolute);
        self.resolve(&mut value, path);
        self.open.pop();
        Some(value)
    }

    fn open_file(&mut self, name: &str) -> Result<(FileId, PathBuf), IncludeError> {
        if self.open.len() > DEPTH_MAX {
            return Err(IncludeError::TooDeep(DEPTH_MAX));
        }
        if self.sources.len() >= FILES_MAX {
            return Err(IncludeError::TooMany(FILES_MAX));
        }
        let beside = self.open.last().and_then(|open| open.parent());
        let written = beside.unwrap_or(&self.root).join(name);
        let shown = written.display().to_string();
        let read_error = |source: io::Error| IncludeError::Read {
            path: shown.clone(),
            source: Arc::new(source),
        };
        let absolute = written.canonicalize().map_err(read_error)?;
        if !absolute.starts_with(&self.root) {
            return Err(IncludeError::Outside(shown));
        }
        if self.open.contains(&absolute) {
            return Err(IncludeError::Circle(shown));
        }
        let bytes = read_bounded(&absolute).map_err(read_error)?;
        let text = String::from_utf8(bytes).map_err(|_invalid| IncludeError::NotUtf8(shown))?;
        Ok((self.sources.add(&absolute, text), absolute))
    }
}

/// Reads a file, but not much more of it than a configuration may have.
pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let limit = u64::try_from(json5::BYTES_MAX + 1).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?.take(limit);
    file.read_to_end(&mut bytes)?;
    // A character cut in half at the limit would hide that the file is too large.
    if bytes.len() > json5::BYTES_MAX {
        bytes.fill(b' ');
    }
    Ok(bytes)
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize()
        .unwrap_or_else(|_missing| path.to_path_buf())
}

/// Lays one value over another.
fn merge(under: &mut Value, over: Value) {
    match (&mut under.kind, over.kind) {
        (Kind::Object(members), Kind::Object(more)) => merge_members(members, more),
        (Kind::Array(items), Kind::Array(more)) => items.extend(more),
        (
            Kind::Null
            | Kind::Bool(_)
            | Kind::Number(_)
            | Kind::String(_)
            | Kind::Array(_)
            | Kind::Object(_),
            kind,
        ) => {
            *under = Value {
                span: over.span,
                kind,
            };
        }
    }
}

fn merge_members(members: &mut Vec<Member>, more: Vec<Member>) {
    use std::collections::HashMap;
    let index = |(position, member): (usize, &Member)| (member.key.clone(), position);
    let positions: HashMap<String, usize> = members.iter().enumerate().map(index).collect();
    for member in more {
        let known = positions.get(&member.key);
        match known.and_then(|position| members.get_mut(*position)) {
            Some(under) => {
                under.key_span = member.key_span;
                merge(&mut under.value, member.value);
            }
            None => members.push(member),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(files: &[(&str, &str)]) -> (Option<serde_json::Value>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let main = dir.path().join(files[0].0);
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        let file = sources.add(&main, files[0].1);
        let value = Reader::new(&main, &mut sources, &mut problems).main(file);
        let root = dir.path().canonicalize().unwrap().display().to_string();
        let messages = problems.into_list().into_iter().map(|problem| {
            let message = problem.fault.to_string().replace(&root, "DIR");
            format!("{}: {message}", problem.path)
        });
        (value.map(|value| value.to_json()), messages.collect())
    }

    #[expect(clippy::needless_pass_by_value, reason = "tables read better this way")]
    fn check(files: &[(&str, &str)], expected: serde_json::Value) {
        let (value, messages) = read(files);
        assert_eq!(messages, Vec::<String>::new());
        assert_eq!(value.unwrap(), expected);
    }

    fn check_message(files: &[(&str, &str)], expected: &[&str]) {
        let (_, messages) = read(files);
        assert_eq!(messages, expected);
    }

    #[test]
    fn an_include_alone_is_replaced_by_the_file() {
        check(
            &[("main", "{a: {$include: './b'}}"), ("b", "[1, 2]")],
            json!({"a": [1, 2]}),
        );
        check(
            &[("main", "{$include: 'b'}"), ("b", "{x: 1}")],
            json!({"x": 1}),
        );
    }

    #[test]
    fn files_merge_in_order_and_keys_beside_them_win() {
        check(
            &[
                ("main", "{$include: ['b', 'c'], o: {k: 3, l: [3]}, n: 3}"),
                ("b", "{o: {k: 1, m: 1, l: [1]}, p: 1}"),
                ("c", "{o: {k: 2, l: [2]}, p: {q: 2}}"),
            ],
            json!({"o": {"k": 3, "m": 1, "l": [1, 2, 3]}, "p": {"q": 2}, "n": 3}),
        );
        check(&[("main", "{a: {$include: []}}")], json!({"a": {}}));
    }

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        check(
            &[
                ("main", "{a: {$include: 'sub/b'}}"),
                ("sub/b", "{x: {$include: 'c'}, y: {$include: '../d'}}"),
                ("sub/c", "1"),
                ("d", "2"),
            ],
            json!({"a": {"x": 1, "y": 2}}),
        );
    }

    #[test]
    fn what_cannot_be_followed_is_reported_with_its_key() {
        check_message(
            &[("sub/main", "{a: {$include: '../b'}}"), ("b", "{}")],
            &["a: DIR/sub/../b is outside of the directory of the configuration"],
        );
        check_message(
            &[("main", "{a: {$include: 'none'}}")],
            &["a: DIR/none cannot be read: No such file or directory (os error 2)"],
        );
        check_message(
            &[
                ("main", "{a: [{$include: 7}, {$include: ['b', null]}]}"),
                ("b", "{}"),
            ],
            &[
                "a[0]: expected a path or a list of paths, found a number",
                "a[1]: expected a path or a list of paths, found null",
            ],
        );
        check_message(
            &[("main", "{a: {$include: 'b', k: 1}}"), ("b", "[]")],
            &["a: with keys beside it, what is included must be an object, found a list"],
        );
        check_message(
            &[("main", "{a: {$include: 'b'}}"), ("b", "{x: tru}")],
            &["a: unknown word `tru`; a string needs quotes"],
        );
    }

    #[test]
    fn circles_and_depth_are_bounded() {
        check_message(
            &[("main", "{a: {$include: 'main'}}")],
            &["a: DIR/main includes itself"],
        );
        check_message(
            &[
                ("main", "{a: {$include: 'b'}}"),
                ("b", "{c: {$include: 'main'}}"),
            ],
            &["a.c: DIR/main includes itself"],
        );
        let mut files: Vec<(String, String)> = (0..12)
            .map(|n| {
                (
                    format!("f{n}"),
                    format!("{{a: {{$include: 'f{}'}}}}", n + 1),
                )
            })
            .collect();
        files.push(("f12".to_owned(), "{}".to_owned()));
        let borrowed: Vec<_> = files
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect();
        check_message(
            &borrowed,
            &["a.a.a.a.a.a.a.a.a.a.a: more than 10 files inside each other"],
        );
    }

    #[test]
    fn a_few_files_cannot_stand_for_millions() {
        let ten = "[{$include: 'b'}, {$include: 'b'}, {$include: 'b'}, {$include: 'b'}]";
        let files: Vec<(String, String)> = (0..9)
            .map(|n| {
                (
                    format!("f{n}"),
                    ten.replace("'b'", &format!("'f{}'", n + 1)),
                )
            })
            .chain([("f9".to_owned(), "1".to_owned())])
            .collect();
        let borrowed: Vec<_> = files
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect();
        let (_, messages) = read(&borrowed);
        assert!(
            messages[0].ends_with("more than 100 files"),
            "{}",
            messages[0]
        );
    }

    #[test]
    fn a_link_out_of_the_directory_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::write(&outside, "{}").unwrap();
        std::fs::create_dir(dir.path().join("conf")).unwrap();
        std::os::unix::fs::symlink(&outside, dir.path().join("conf/link")).unwrap();
        let main = dir.path().join("conf/main");
        let mut sources = Sources::default();
        let mut problems = Problems::default();
        let file = sources.add(&main, "{a: {$include: 'link'}}");
        Reader::new(&main, &mut sources, &mut problems).main(file);
        let messages: Vec<_> = problems.into_list();
        assert!(messages[0].fault.to_string().contains("outside"));
    }
}
