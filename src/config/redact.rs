//! Which strings of a configuration are secrets, by the names of their keys.
//!
//! Errs on the side of hiding. Sections we do not use count as well: they hold secrets of others.

use std::ops::Range;

use super::source::{Sources, Span};
use super::value::{Kind, Value};
use super::vars;

/// Endings of keys that hold secrets, in lower case.
const ENDINGS: [&str; 11] = [
    "token",
    "tokens",
    "password",
    "passwords",
    "passphrase",
    "secret",
    "secrets",
    "apikey",
    "api_key",
    "privatekey",
    "credentials",
];

/// Sections in which every string is a secret.
const WHOLE: [&str; 2] = ["env", "headers"];

/// Where the secrets of a value are written. A string that is only a `${NAME}` is none.
pub(super) fn secrets(root: &Value, sources: &Sources) -> Vec<Span> {
    let mut found = Vec::new();
    collect(root, false, sources, &mut found);
    found
}

fn collect(value: &Value, secret: bool, sources: &Sources, found: &mut Vec<Span>) {
    match &value.kind {
        Kind::String(text) => {
            let written = sources.text_of(value.span).unwrap_or_default();
            let inside = written.trim_matches(['"', '\'']);
            if (secret || has_user_info(text)) && !vars::is_reference(inside) && !text.is_empty() {
                found.push(value.span);
            }
        }
        Kind::Array(items) => {
            for item in items {
                collect(item, secret, sources, found);
            }
        }
        Kind::Object(members) => {
            // An object says where a secret is; only its own keys may hold one.
            let whole = secret && !members.iter().any(|member| member.key == "source");
            for member in members {
                let secret = whole || is_secret(&member.key);
                collect(&member.value, secret, sources, found);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    WHOLE.contains(&key.as_str()) || ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// Whether a text is a URL with a user name or password in it.
fn has_user_info(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest);
    let authority = authority.and_then(|rest| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

/// Where secrets may be written in a text that is not JSON5, judged by what stands before a colon.
pub(super) fn likely(text: &str) -> Vec<Range<usize>> {
    text.match_indices(':')
        .filter(|(colon, _)| key_before(text, *colon).is_some_and(is_secret))
        .flat_map(|(colon, _)| values_after(text, colon + 1))
        .collect()
}

/// The key that ends before a colon, quotes and space left out.
fn key_before(text: &str, colon: usize) -> Option<&str> {
    let before = text.get(..colon)?.trim_end();
    let before = before.trim_end_matches(['"', '\'']);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '.');
    let start = before.trim_end_matches(is_part).len();
    before.get(start..)
}

/// The value that begins at `start`: a string, a word, or every string of a list or object.
fn values_after(text: &str, start: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut cursor = start;
    while let Some(c) = text.get(cursor..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(cursor..).unwrap_or_default();
        let length = match c {
            '"' | '\'' => quoted_length(rest, c),
            '{' | '[' => {
                depth += 1;
                1
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                1
            }
            c if c.is_whitespace() || matches!(c, ',' | ':') => c.len_utf8(),
            _ => rest
                .find(|c: char| c.is_whitespace() || "{}[],:\"'".contains(c))
                .unwrap_or(rest.len()),
        };
        let is_value = length > 1 || !matches!(c, '{' | '[' | '}' | ']' | ',' | ':');
        if is_value && !c.is_whitespace() {
            found.push(cursor..cursor + length);
        }
        cursor += length;
        let complete = depth == 0 && (is_value || matches!(c, '}' | ']' | ','));
        if complete && !c.is_whitespace() {
            break;
        }
    }
    found
}

/// The length of a string with its quotes, or of what is left of its line.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            '\n' | '\r' => return offset,
            c if c == quote && !escaped => return offset + 1,
            c => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// A text with `replace` applied to each of the spans in `file`; spans do not overlap.
pub(super) fn replaced(text: &str, spans: &[Span], replace: impl Fn(&str) -> String) -> String {
    let mut spans: Vec<&Span> = spans.iter().collect();
    spans.sort_by_key(|span| span.start);
    let mut out = String::with_capacity(text.len());
    let mut position = 0;
    for span in spans {
        let (Some(before), Some(secret)) = (
            text.get(position..span.start),
            text.get(span.start..span.end),
        ) else {
            continue;
        };
        out.push_str(before);
        out.push_str(&replace(secret));
        position = span.end;
    }
    out.push_str(text.get(position..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::super::json5::parse;
    use super::*;

    fn check(text: &str, expected: &str) {
        let mut sources = Sources::default();
        let file = sources.add("test", text);
        let value = parse(text, file).value.unwrap();
        let spans = secrets(&value, &sources);
        assert_eq!(replaced(text, &spans, |_| "#".to_owned()), expected);
    }

    #[test]
    fn secrets_are_found_by_the_names_of_their_keys() {
        check(
            "{token: 'a', botToken: \"b\", apiKey: 'c', PASSWORD: 'd'}",
            "{token: #, botToken: #, apiKey: #, PASSWORD: #}",
        );
        check(
            "{env: {A: 'x', vars: {B: 'y'}}, headers: {'X-Y': 'z'}}",
            "{env: {A: #, vars: {B: #}}, headers: {'X-Y': #}}",
        );
        check(
            "{channels: {x: [{secret: 'a'}, {tokens: ['b', 'c']}]}}",
            "{channels: {x: [{secret: #}, {tokens: [#, #]}]}}",
        );
        check(
            "{proxy: 'http://me:pw@host/x', url: 'http://host/@x'}",
            "{proxy: #, url: 'http://host/@x'}",
        );
    }

    #[track_caller]
    fn check_likely(text: &str, expected: &[&str]) {
        let found: Vec<_> = likely(text)
            .into_iter()
            .map(|at| text.get(at).unwrap())
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn secrets_in_broken_text_are_found_by_what_stands_before_them() {
        check_likely("token: 'a' b", &["'a'"]);
        check_likely("{ \"botToken\" : \"a\\\"b\" } x", &["\"a\\\"b\""]);
        check_likely("password: hunter2, port: 1", &["hunter2"]);
        check_likely("token:\n  'open\nport: 1", &["'open"]);
        check_likely(
            "env: { A: 'x', B: [\"y\"] }, port: 'z'",
            &["A", "'x'", "B", "\"y\""],
        );
        check_likely("secrets: [", &[]);
        check_likely("apiKey: é\u{1F600}", &["é\u{1F600}"]);
        check_likely("port: 1, mode: 'token', url: 'http://x'", &[]);
        check_likely("token:", &[]);
    }

    #[test]
    fn what_names_a_secret_is_none() {
        for text in [
            "{token: '${TOKEN}', password: \"${P}\"}",
            "{apiKey: {source: 'env', provider: 'default', id: 'KEY'}}",
            "{maxTokens: 5, contextTokens: 9, token: '', mode: 'token'}",
        ] {
            check(text, text);
        }
        check("{token: 'x${TOKEN}'}", "{token: #}");
    }
}
