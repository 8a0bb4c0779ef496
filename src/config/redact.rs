//! Which strings of a configuration are secrets, by the names of their keys.
//!
//! Errs on the side of hiding. Sections we do not use count as well: they hold secrets of others.

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
