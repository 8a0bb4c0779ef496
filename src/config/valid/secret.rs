//! Finds the shared secret and checks that it is one.

use super::super::SecretSource;
use super::super::env::{Env, PASSWORD, TOKEN};
use super::super::problem::{Fault, SecretFlaw};
use super::super::raw::{RawAuth, RawSecret};
use super::super::value::KeyPath;
use super::super::view::REDACTED;
use super::{Checks, Inputs, is_error};
use crate::auth::Secret;

/// Characters below which a secret is easily guessed.
const CHARS_MIN: usize = 8;

/// What people forget to replace. `YOUR_TOKEN` is missing on purpose: documented examples use it.
const PLACEHOLDERS: [&str; 8] = [
    "undefined",
    "null",
    "changeme",
    "change-me",
    "<token>",
    "<password>",
    "your-token",
    "your-password",
];

/// A shared secret and where it can come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    Token,
    Password,
}

impl Shared {
    const fn flag(self) -> &'static str {
        match self {
            Self::Token => "--token",
            Self::Password => "--password",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::Token => TOKEN,
            Self::Password => PASSWORD,
        }
    }

    fn path(self) -> KeyPath {
        KeyPath::of(match self {
            Self::Token => "gateway.auth.token",
            Self::Password => "gateway.auth.password",
        })
    }
}

/// A secret as it was found, not yet known to be one.
pub(super) struct Found {
    text: String,
    source: SecretSource,
    kind: Shared,
}

/// There is no secret, and why has been reported.
pub(super) struct Reported;

/// Looks for a secret: flag, then file, then environment.
pub(super) fn find(
    kind: Shared,
    raw: &RawAuth,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Result<Option<Found>, Reported> {
    let (flag, file) = match kind {
        Shared::Token => (&inputs.overrides.token, &raw.token),
        Shared::Password => (&inputs.overrides.password, &raw.password),
    };
    let found = if let Some(secret) = flag {
        Some((secret.expose().to_owned(), SecretSource::Flag))
    } else if let Some(secret) = file {
        let text = read(secret, inputs.env, &kind.path(), checks).ok_or(Reported)?;
        Some((text, SecretSource::File))
    } else {
        let variable = kind.variable();
        let text = inputs.env.get(variable);
        text.map(|text| (text.to_owned(), SecretSource::Environment(variable)))
    };
    Ok(found.map(|(text, source)| Found { text, source, kind }))
}

/// The text of a secret in the file; follows a reference to the environment.
pub(super) fn read(
    secret: &RawSecret,
    env: &Env,
    path: &KeyPath,
    checks: &mut Checks<'_>,
) -> Option<String> {
    match secret {
        RawSecret::Text(text) => Some(text.clone()),
        RawSecret::Reference(reference) if reference.source == "env" => {
            let found = env.get(&reference.id).map(str::to_owned);
            if found.is_none() {
                let fault = Fault::VariableMissing(reference.id.clone());
                checks.fault(&path.key("id"), fault);
            }
            found
        }
        RawSecret::Reference(reference) => {
            let fault = Fault::SecretSource(reference.source.clone());
            checks.fault(&path.key("source"), fault);
            None
        }
    }
}

/// Where a secret is kept that clawport cannot read.
pub(super) fn unreadable_source(secret: &RawSecret) -> Option<&str> {
    match secret {
        RawSecret::Text(_) => None,
        RawSecret::Reference(reference) => {
            Some(reference.source.as_str()).filter(|source| *source != "env")
        }
    }
}

impl Found {
    /// The secret, unless it is none.
    pub(super) fn check(self, checks: &mut Checks<'_>) -> Option<(Secret, SecretSource)> {
        if let Some(fault) = flaw(&self.text) {
            let stop = is_error(&fault);
            match self.source {
                SecretSource::Flag => checks.named(self.kind.flag(), fault),
                SecretSource::Environment(name) => checks.named(name, fault),
                SecretSource::File | SecretSource::Generated(_) | SecretSource::None => {
                    checks.fault(&self.kind.path(), fault);
                }
            }
            if stop {
                return None;
            }
        }
        Some((Secret::new(&self.text), self.source))
    }
}

/// What is wrong with a secret.
pub(super) fn flaw(text: &str) -> Option<Fault> {
    let text = text.trim();
    let lower = text.to_lowercase();
    let unresolved = text
        .split_once("${")
        .is_some_and(|(_, rest)| rest.contains('}'));
    let flaw = if text.is_empty() {
        SecretFlaw::Blank
    } else if text == REDACTED {
        SecretFlaw::Redacted
    } else if PLACEHOLDERS.contains(&lower.as_str()) {
        SecretFlaw::Placeholder
    } else if unresolved {
        SecretFlaw::Unresolved
    } else if text.chars().count() < CHARS_MIN {
        return Some(Fault::ShortSecret(CHARS_MIN));
    } else {
        return None;
    };
    Some(Fault::BadSecret(flaw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let found = flaw(text).map(|fault| fault.to_string());
        assert_eq!(found.as_deref(), expected, "{text:?}");
    }

    #[test]
    fn secrets_that_are_none_are_refused() {
        let placeholder = "the secret is a placeholder; choose one of your own";
        check("", Some("the secret is blank"));
        check(" \t", Some("the secret is blank"));
        for text in [
            "undefined",
            "null",
            "changeme",
            "<token>",
            "your-token",
            "CHANGEME",
            " Null ",
        ] {
            check(text, Some(placeholder));
        }
        let unresolved = "the secret holds an unresolved ${…}; names are upper case";
        check("${my_token}", Some(unresolved));
        check("x${}", Some(unresolved));
        let redacted = "the secret was replaced when this configuration was shown; put it in again";
        check("__OPENCLAW_REDACTED__", Some(redacted));
    }

    #[test]
    fn anything_else_is_a_secret_however_odd() {
        let short = "the secret is shorter than 8 characters and easily guessed";
        check("YOUR_TOKEN", None);
        check("seven77", Some(short));
        check("eight888", None);
        check("$ {x} } ${", None);
        check("ünïcödé!", None);
    }
}
