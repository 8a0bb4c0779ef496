//! Rust sources as the rules see them: text, and code without comments and literals.

use std::fs;
use std::path::{Path, PathBuf};

use crate::root;

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where it is, from the top of the project.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
    /// The same with comments and literals blanked; lines stay where they are.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    /// The code that is not a test: everything before the test module, nothing of a test file.
    pub(crate) fn product(&self) -> &str {
        if is_test_file(&self.path) {
            return "";
        }
        let mut from = 0;
        while let Some(at) = self.code[from..].find("#[cfg(test)]") {
            let start = from + at;
            from = start + "#[cfg(test)]".len();
            if next_after_attributes(&self.code[from..]) == Some("mod") {
                return &self.code[..start];
            }
        }
        &self.code
    }
}

/// The first word that belongs to no attribute.
fn next_after_attributes(code: &str) -> Option<&str> {
    let mut depth = 0;
    words(code)
        .into_iter()
        .map(|(_line, word)| word)
        .find(|word| match *word {
            "#" => false,
            "[" => {
                depth += 1;
                false
            }
            "]" => {
                depth -= 1;
                false
            }
            _ => depth == 0,
        })
}

/// Every Rust file below the given folders.
pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|it| it == "rs"));
    paths
        .iter()
        .map(|path| Source::new(&shown(path), &fs::read_to_string(path).unwrap()))
        .collect()
}

/// Every file below a folder, without what is built or fetched.
pub(crate) fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let skipped = [
        "target",
        ".git",
        "node_modules",
        ".venv",
        "corpus",
        "artifacts",
    ];
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy();
        if skipped.contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            collect(&path, paths);
        } else if path.is_file() {
            paths.push(path);
        }
    }
}

/// A path from the top of the project.
pub(crate) fn shown(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// The words of code with the lines they stand in; `::` and single signs are words too.
pub(crate) fn words(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push((line + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Replaces comments and literals by spaces.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = if is_word(before) && is_word(first) {
            0
        } else {
            skipped(rest)
        };
        if length == 0 {
            out.push(first);
            before = first;
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            before = ' ';
            rest = &rest[length..];
        }
    }
    out
}

/// The length of the comment or literal the text begins with; 0 when it begins with neither.
fn skipped(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.starts_with(prefix) && text[prefix.len()..].starts_with(['"', '#', '\''])
    });
    let Some(prefix) = prefix else {
        return 0;
    };
    let body = &text[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    if prefix.ends_with('r') && body[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let inner = prefix.len() + hashes + 1;
        return text[inner..]
            .find(&end)
            .map_or(text.len(), |at| inner + at + end.len());
    }
    match body.chars().next() {
        Some('"') => prefix.len() + quoted(body, '"'),
        Some('\'') if is_char(body) => prefix.len() + quoted(body, '\''),
        _ => 0,
    }
}

/// Tells a character from a lifetime.
fn is_char(body: &str) -> bool {
    let mut chars = body.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn quoted(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    body.len()
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().unwrap().len_utf8();
        }
    }
    text.len()
}

fn check_blank(text: &str, expected: &str) {
    let found: String = blank(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(found, expected, "{text:?}");
}

#[test]
fn comments_and_literals_are_blanked() {
    check_blank("a // b\nc", "a c");
    check_blank("a /* b /* c */ d */ e", "a e");
    check_blank(r#"a("b // c") d"#, "a( ) d");
    check_blank(r#"a("\"b") c"#, "a( ) c");
    check_blank("a(r#\"b \" c\"#) d", "a( ) d");
    check_blank("a(b\"c\", br\"d\", b'e', '\\'', '\"') f", "a( , , , , ) f");
    check_blank("fn a<'b>(c: &'b str) {}", "fn a<'b>(c: &'b str) {}");
    check_blank("r#type + xr", "r#type + xr");
    check_blank("\"ünïcode\" a", "a");
}

#[test]
fn words_are_names_paths_and_signs() {
    let words: Vec<_> = words("use a::b_c;\n x+1").into_iter().collect();
    let expected = [
        (1, "use"),
        (1, "a"),
        (1, "::"),
        (1, "b_c"),
        (1, ";"),
        (2, "x"),
        (2, "+"),
        (2, "1"),
    ];
    assert_eq!(words, expected);
}

#[test]
fn tests_are_told_from_the_product() {
    let text = "fn a() {}\n#[cfg(test)]\nuse b;\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {}";
    let source = Source::new("src/a.rs", text);
    assert!(source.product().contains("use b"));
    assert!(!source.product().contains("mod tests"));
    assert_eq!(Source::new("src/a/tests.rs", "fn a() {}").product(), "");
}
