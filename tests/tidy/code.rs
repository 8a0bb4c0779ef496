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
    /// The same with tests blanked too.
    pub(crate) product: String,
    /// Paths without extension of files that are modules for tests.
    test_files: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let mut product = code.clone();
        let mut test_files = Vec::new();
        if path.starts_with("tests/") {
            product = spaces(&code);
        }
        while let Some(start) = product.find("#[cfg(test)]") {
            let item = &product[start..];
            let length = item_length(item);
            test_files.extend(declared_file(path, &item[..length]));
            let blanked = spaces(&item[..length]);
            product.replace_range(start..start + length, &blanked);
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            product,
            test_files,
        }
    }

    /// The lines that are not part of a test, comments included, with their numbers.
    pub(crate) fn product_lines(&self) -> Vec<(usize, &str)> {
        let lines = self
            .text
            .lines()
            .zip(self.code.lines())
            .zip(self.product.lines());
        let mut in_test = false;
        let mut found = Vec::new();
        for (at, ((text, code), product)) in lines.enumerate() {
            // A line without code belongs to what was before it.
            if !code.trim().is_empty() {
                in_test = product.trim().is_empty();
            }
            if !in_test {
                found.push((at + 1, text));
            }
        }
        found
    }
}

/// The file a declaration such as `mod tests;` in the file at `path` stands for.
fn declared_file(path: &str, item: &str) -> Option<String> {
    let words: Vec<_> = words(item).into_iter().map(|(_line, word)| word).collect();
    let at = words.iter().position(|word| *word == "mod")?;
    let name = words.get(at + 1).filter(|_| words.last() == Some(&";"))?;
    let folder = path
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .trim_end_matches("/lib");
    Some(format!("{folder}/{name}"))
}

/// The length of the item that follows an attribute: to its semicolon or closing brace.
fn item_length(item: &str) -> usize {
    let mut depth = 0;
    let mut is_use = false;
    let mut word = String::new();
    for (at, c) in item.char_indices() {
        if is_word(c) {
            word.push(c);
            continue;
        }
        is_use |= depth == 0 && word == "use";
        word.clear();
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth -= 1,
            '}' => {
                depth -= 1;
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

fn spaces(code: &str) -> String {
    code.chars()
        .map(|c| if c == '\n' { c } else { ' ' })
        .collect()
}

/// Every Rust file below the given folders; files only tests use have no product.
pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|it| it == "rs"));
    let mut sources: Vec<_> = paths
        .iter()
        .map(|path| Source::new(&shown(path), &fs::read_to_string(path).unwrap()))
        .collect();
    let tests: Vec<_> = sources
        .iter()
        .flat_map(|it| it.test_files.clone())
        .collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs");
        let is_test = |file: &String| {
            let rest = stem.strip_prefix(file.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if tests.iter().any(is_test) {
            source.product = spaces(&source.code);
        }
    }
    sources
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
    if !text.starts_with(['/', '"', '\'', 'b', 'c', 'r']) {
        return 0;
    }
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

fn check_product(text: &str, expected: &str) {
    let product = Source::new("src/a.rs", text).product;
    assert_eq!(product.lines().count(), text.lines().count(), "{text:?}");
    let found: Vec<_> = product.split_whitespace().collect();
    assert_eq!(found.join(" "), expected, "{text:?}");
}

#[test]
fn tests_are_told_from_the_product() {
    check_product(
        "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}",
        "fn a() {} fn c() {}",
    );
    check_product("#[cfg(test)]\nuse a::{b, c};\nuse d;", "use d;");
    check_product(
        "#[cfg(test)]\n#[path = \"x\"]\npub(crate) mod b;\nmod c;",
        "mod c;",
    );
    check_product(
        "#[cfg(test)]\nfn a(b: [u8; 2]) -> c { d }\nfn e() {}",
        "fn e() {}",
    );
    check_product("#[cfg(not(test))] mod a;", "#[cfg(not(test))] mod a;");
    assert!(
        Source::new("tests/a.rs", "fn a() {}")
            .product
            .trim()
            .is_empty()
    );
}

#[test]
fn files_for_tests_are_known_by_their_declaration() {
    let declared = |path| Source::new(path, "#[cfg(test)]\nmod tests;\nmod b;").test_files;
    assert_eq!(declared("src/a.rs"), ["src/a/tests"]);
    assert_eq!(declared("src/a/mod.rs"), ["src/a/tests"]);
    assert_eq!(declared("src/lib.rs"), ["src/tests"]);
    let sources = sources(&["src/protocol"]);
    let golden = sources
        .iter()
        .find(|it| it.path == "src/protocol/golden.rs")
        .unwrap();
    assert!(golden.product.trim().is_empty());
}

#[test]
fn comments_belong_to_what_is_before_them() {
    let text = "// a\nfn b() {}\n\n#[cfg(test)]\nmod tests {\n // c\n}\n// d\nfn e() {}";
    let source = Source::new("src/a.rs", text);
    let lines: Vec<_> = source
        .product_lines()
        .into_iter()
        .map(|(line, _)| line)
        .collect();
    assert_eq!(lines, [1, 2, 3, 9]);
}
