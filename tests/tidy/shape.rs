//! Sizes, headers, names and attributes of Rust sources.

use crate::code::{Source, sources, words};
use crate::{assert_complaint, assert_tidy};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 100;

/// Words that say nothing about what a thing is.
const EMPTY_WORDS: &[&str] = &["manager", "managers", "helper", "helpers", "util", "utils"];

/// Names others gave.
const FOREIGN_NAMES: &[&str] = &["tokio_util", "hyper_util", "http_body_util", "futures_util"];

fn header(source: &Source) -> Vec<String> {
    let starts = source.text.starts_with("//!");
    let complaint = format!("{}: opens without `//!`", source.path);
    (!starts).then_some(complaint).into_iter().collect()
}

fn file_size(source: &Source) -> Vec<String> {
    let lines = source.product_lines().len();
    let complaint = format!("{}: {lines} lines without tests", source.path);
    (lines > FILE_LINES_MAX)
        .then_some(complaint)
        .into_iter()
        .collect()
}

fn line_length(source: &Source) -> Vec<String> {
    let lines = source.product_lines().into_iter();
    lines
        .filter(|(_, text)| text.chars().count() > LINE_CHARS_MAX)
        .map(|(line, _)| format!("{}:{line}: over {LINE_CHARS_MAX} characters", source.path))
        .collect()
}

/// Of the product; tables in tests are long, and clippy looks at those.
fn function_size(source: &Source) -> Vec<String> {
    let lines: Vec<_> = source.product.lines().collect();
    functions(&source.product)
        .into_iter()
        .filter_map(|(name, from, to)| {
            let body = lines.get(from..to.saturating_sub(1))?;
            let count = body.iter().filter(|line| !line.trim().is_empty()).count();
            let path = &source.path;
            (count > FUNCTION_LINES_MAX)
                .then(|| format!("{path}:{from}: function `{name}` has {count} lines"))
        })
        .collect()
}

/// Each function with the lines its body begins and ends on.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let words = words(code);
    let starts = words.windows(2).enumerate();
    starts
        .filter(|(_, pair)| pair[0].1 == "fn" && pair[1].1 != "(")
        .filter_map(|(at, pair)| {
            let (from, to) = body(&words[at + 2..])?;
            Some((pair[1].1, from, to))
        })
        .collect()
}

/// The lines of the first braces outside of parentheses; `None` when a semicolon comes first.
fn body(words: &[(usize, &str)]) -> Option<(usize, usize)> {
    let mut outer = 0_i32;
    let mut braces = 0_i32;
    let mut from = 0;
    for &(line, word) in words {
        match word {
            "(" | "[" if braces == 0 => outer += 1,
            ")" | "]" if braces == 0 => outer -= 1,
            ";" if braces == 0 && outer == 0 => return None,
            "{" if braces > 0 || outer == 0 => {
                if braces == 0 {
                    from = line;
                }
                braces += 1;
            }
            "}" if braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some((from, line));
                }
            }
            _ => {}
        }
    }
    None
}

fn names(source: &Source) -> Vec<String> {
    let path = &source.path;
    let stems = path
        .trim_end_matches(".rs")
        .split('/')
        .map(|stem| (0, stem));
    let all = words(&source.code).into_iter().chain(stems);
    all.filter(|(_, name)| !FOREIGN_NAMES.contains(name))
        .filter(|(_, name)| {
            parts(name)
                .iter()
                .any(|part| EMPTY_WORDS.contains(&part.as_str()))
        })
        .map(|(line, name)| format!("{path}:{line}: the name `{name}` says nothing"))
        .collect()
}

/// The words a name is made of, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || c == '-' || (c.is_uppercase() && was_lower) {
            parts.push(String::new());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
        if c.is_alphanumeric() {
            parts.last_mut().unwrap().extend(c.to_lowercase());
        }
    }
    parts
}

fn ignored_tests(source: &Source) -> Vec<String> {
    let words = words(&source.code);
    let attribute = ["#", "[", "ignore"];
    words
        .windows(3)
        .filter(|three| three.iter().map(|it| it.1).eq(attribute))
        .map(|three| format!("{}:{}: an ignored test", source.path, three[0].0))
        .collect()
}

fn check(rule: fn(&Source) -> Vec<String>, text: &str, expected: &str) {
    assert_complaint(&rule(&Source::new("src/a.rs", text)), expected);
}

fn check_fine(rule: fn(&Source) -> Vec<String>, text: &str) {
    assert_tidy(&rule(&Source::new("src/a.rs", text)));
}

fn all(rule: fn(&Source) -> Vec<String>) -> Vec<String> {
    let sources = sources(&["src", "tests", "benches", "fuzz"]);
    assert!(sources.len() > 30, "the tree is where it was");
    sources.iter().flat_map(rule).collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    check(header, "use a;", "opens without");
    check(header, "// a\n//! b", "opens without");
    check_fine(header, "//! a");
    assert_tidy(&all(header));
}

#[test]
fn files_are_small() {
    let long = "//! a\n".repeat(FILE_LINES_MAX + 1);
    check(file_size, &long, "801 lines");
    let tests = format!(
        "//! a\n#[cfg(test)]\nmod tests {{\n{}}}",
        "\n".repeat(2_000)
    );
    check_fine(file_size, &tests);
    assert_tidy(&all(file_size));
}

#[test]
fn lines_are_short() {
    let long = format!("//! {}\n", "ä".repeat(LINE_CHARS_MAX - 3));
    check(line_length, &long, ":1: over 100");
    check_fine(
        line_length,
        &format!("//! {}\n", "ä".repeat(LINE_CHARS_MAX - 4)),
    );
    assert_tidy(&all(line_length));
}

#[test]
fn functions_are_small() {
    let function = |lines| format!("fn a(b: [u8; 4]) -> u8 {{\n{}}}\n", "b();\n".repeat(lines));
    check(function_size, &function(71), "function `a` has 71 lines");
    check_fine(function_size, &function(70));
    let nested = format!("impl A {{ {} {} }}", function(70), function(70));
    check_fine(function_size, &nested);
    let commented = format!("fn a() {{\n{}}}", "// a\n\n".repeat(100));
    check_fine(function_size, &commented);
    check_fine(
        function_size,
        &format!("trait A {{ fn a(); }}\n{}", "\nb!{}".repeat(100)),
    );
    assert_tidy(&all(function_size));
}

#[test]
fn names_say_something() {
    for word in ["Manager", "Helper", "Util"] {
        check(names, &format!("struct Session{word};"), "says nothing");
        check(
            names,
            &format!("fn session_{}() {{}}", word.to_lowercase()),
            "says nothing",
        );
        let path = format!("src/{}.rs", word.to_lowercase());
        assert_complaint(&names(&Source::new(&path, "")), "says nothing");
    }
    check_fine(
        names,
        "use tokio_util::sync; struct Utility; fn management() {} // helper",
    );
    assert_tidy(&all(names));
}

#[test]
fn no_test_is_ignored() {
    check(
        ignored_tests,
        "#[test]\n#[ignore]\nfn a() {}",
        ":2: an ignored test",
    );
    check(ignored_tests, "#[ignore = \"slow\"]", "an ignored test");
    check_fine(ignored_tests, "// #[ignore]\nlet ignore = 1;");
    assert_tidy(&all(ignored_tests));
}
