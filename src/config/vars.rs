//! Puts variables into values: `${NAME}` in any string.
//!
//! Names are upper case (`[A-Z_][A-Z0-9_]*`); anything else in braces stays as it is. `$${NAME}`
//! stands for the text `${NAME}`. A variable that is missing or empty is an error.

use super::env::Env;
use super::problem::{Fault, Origin, Problems};
use super::source::{Sources, Span};
use super::value::{KeyPath, Kind, Value};

/// Puts variables into the sections `is_ours` picks, reporting those that are missing.
pub(super) struct Substitution<'a> {
    /// The environment.
    pub(super) env: &'a Env,
    /// The texts, to point at the variable rather than at the string.
    pub(super) sources: &'a Sources,
    /// Where missing variables are reported.
    pub(super) problems: &'a mut Problems,
}

impl Substitution<'_> {
    /// Puts variables into every string of a value.
    pub(super) fn apply(&mut self, value: &mut Value, path: &KeyPath) {
        match &mut value.kind {
            Kind::String(text) => {
                let result = substitute(text, self.env);
                for name in result.missing {
                    self.report(&name, path, value.span);
                }
                *text = result.text;
            }
            Kind::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.apply(item, &path.index(index));
                }
            }
            Kind::Object(members) => {
                for member in members {
                    self.apply(&mut member.value, &path.key(&member.key));
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
        }
    }

    fn report(&mut self, name: &str, path: &KeyPath, string: Span) {
        let written = format!("${{{name}}}");
        let text = self.sources.text_of(string).unwrap_or_default();
        let span = match text.find(&written) {
            Some(offset) => Span {
                start: string.start + offset,
                end: string.start + offset + written.len(),
                ..string
            },
            None => string,
        };
        let fault = Fault::VariableMissing(name.to_owned());
        let origin = Origin::Text {
            span,
            related: None,
        };
        self.problems.push(path.clone(), origin, fault);
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Substituted {
    text: String,
    missing: Vec<String>,
}

impl Substituted {
    /// Adds a variable as it is written.
    fn push_written(&mut self, name: &str) {
        for part in ["${", name, "}"] {
            self.text.push_str(part);
        }
    }
}

fn substitute(text: &str, env: &Env) -> Substituted {
    let mut result = Substituted::default();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(dollar);
        result.text.push_str(before);
        let escaped = from_dollar.strip_prefix("$$").and_then(braced);
        let plain = from_dollar.strip_prefix('$').and_then(braced);
        if let Some((name, after)) = escaped {
            result.push_written(name);
            rest = after;
        } else if let Some((name, after)) = plain {
            if let Some(value) = env.get(name) {
                result.text.push_str(value);
            } else {
                result.push_written(name);
                result.missing.push(name.to_owned());
            }
            rest = after;
        } else {
            result.text.push('$');
            rest = from_dollar.strip_prefix('$').unwrap_or_default();
        }
    }
    result.text.push_str(rest);
    result
}

/// Reads `{NAME}` and returns the name and what follows.
fn braced(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let first = name.bytes().next()?;
    let is_name = (first.is_ascii_uppercase() || first == b'_')
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    is_name.then_some((name, after))
}

/// Whether a string is written as one variable and nothing else.
pub(super) fn is_reference(text: &str) -> bool {
    text.strip_prefix('$')
        .and_then(braced)
        .is_some_and(|(_, after)| after.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str, missing: &[&str]) {
        let env: Env = [("A", "one"), ("_B2", "two"), ("EMPTY", "")]
            .into_iter()
            .collect();
        let result = substitute(text, &env);
        assert_eq!(result.text, expected, "{text:?}");
        assert_eq!(result.missing, missing, "{text:?}");
    }

    #[test]
    fn variables_are_put_in() {
        check("", "", &[]);
        check("${A}", "one", &[]);
        check("x${A}y${_B2}z", "xoneytwoz", &[]);
        check("${A}${A}", "oneone", &[]);
        check("€${A}€", "€one€", &[]);
    }

    #[test]
    fn missing_and_empty_variables_are_named_and_stay() {
        check("${NONE}", "${NONE}", &["NONE"]);
        check(
            "${EMPTY}/${A}/${NONE}",
            "${EMPTY}/one/${NONE}",
            &["EMPTY", "NONE"],
        );
    }

    #[test]
    fn an_escaped_variable_is_text() {
        check("$${A}", "${A}", &[]);
        check("$$${A}", "$${A}", &[]);
        check("$${NONE}", "${NONE}", &[]);
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for text in [
            "$A", "${a}", "${1A}", "${}", "${A", "$", "$$", "{A}", "${A B}", "$ {A}", "${A-x}",
        ] {
            check(text, text, &[]);
        }
    }

    #[test]
    fn a_reference_is_one_variable_and_nothing_else() {
        assert!(is_reference("${A}"));
        for text in ["${A}x", "x${A}", "${a}", "$${A}", "${A}${B}", ""] {
            assert!(!is_reference(text), "{text:?}");
        }
    }

    /// Values are put in as they are: what looks like a variable in them is not looked up again.
    #[test]
    fn values_are_not_read_again() {
        let env: Env = [("A", "${B}"), ("B", "x")].into_iter().collect();
        assert_eq!(substitute("${A}", &env).text, "${B}");
    }
}
