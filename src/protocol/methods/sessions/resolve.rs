//! `sessions.resolve`: finding a session by one of its names (`protocol-facts` §6.6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::params::params;

params! {
    /// Parameters of `sessions.resolve`: exactly one of `key`, `sessionId`, `label`, `shortId`,
    /// `reference`.
    SessionsResolveParams {
        optional {
            /// A key.
            key: String,
            /// A transcript.
            session_id: String,
            /// A label.
            label: String,
            /// The first digits of a transcript's id, or of the id a key ends in.
            short_id: String,
            /// A name of the session that goes with `shortId`; for people.
            slug_hint: String,
            /// What a link says of the session.
            reference: SessionReference,
            /// The agent.
            agent_id: String,
            /// Sessions of another session: none here.
            spawned_by: String,
            /// Whether a miss is an answer rather than an error.
            allow_missing: bool,
        }
        unused {
            include_global: bool,
            include_unknown: bool,
        }
    }
}

/// What a link says of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionReference {
    /// Its key, or what stands in its place.
    pub key: String,
    /// Its name, in lower case with strokes between the words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
}

/// A name as links show it: lower case, strokes for everything but letters and digits.
pub fn slug_of(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// How `sessions.resolve` names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRef<'a> {
    /// By key.
    Key(&'a str),
    /// By transcript id.
    Id(&'a str),
    /// By label.
    Label(&'a str),
    /// By the first 8 to 32 hexadecimal digits of the transcript id, or of the id a key ends in.
    ShortId(&'a str),
    /// By a link.
    Reference(&'a SessionReference),
}

impl SessionRef<'_> {
    /// The message of a miss.
    pub fn not_found(self) -> String {
        match self {
            Self::Key(name) | Self::Id(name) | Self::ShortId(name) => {
                format!("No session found: {name}")
            }
            Self::Reference(reference) => format!("No session found: {}", reference.key),
            Self::Label(label) => format!("No session found with label: {label}"),
        }
    }

    /// The message when several sessions have the name.
    pub fn ambiguous(self, keys: &[&str]) -> String {
        let keys = keys.join(", ");
        match self {
            Self::Key(name) | Self::Id(name) | Self::ShortId(name) => {
                format!("Multiple sessions found for sessionId: {name} ({keys})")
            }
            Self::Reference(reference) => {
                format!("Multiple sessions found: {} ({keys})", reference.key)
            }
            Self::Label(label) => format!("Multiple sessions found with label: {label} ({keys})"),
        }
    }
}

impl SessionsResolveParams {
    /// The one name given.
    ///
    /// # Errors
    /// The documented message when there is none, more than one, or a malformed short id.
    pub fn name(&self) -> Result<SessionRef<'_>, &'static str> {
        let given = [
            self.key.as_deref().map(SessionRef::Key),
            self.session_id.as_deref().map(SessionRef::Id),
            self.label.as_deref().map(SessionRef::Label),
            self.short_id.as_deref().map(SessionRef::ShortId),
            self.reference.as_ref().map(SessionRef::Reference),
        ];
        let mut names = given.into_iter().flatten();
        let first = names
            .next()
            .ok_or("Either key, sessionId, label, shortId, or reference is required")?;
        if names.next().is_some() {
            return Err(
                "Provide either key, sessionId, label, shortId, or reference (not multiple)",
            );
        }
        if self.slug_hint.is_some() && self.short_id.is_none() {
            return Err("slugHint requires shortId");
        }
        match first {
            SessionRef::ShortId(id) if !is_short_id(id) => {
                Err("shortId must be 8-32 hexadecimal characters")
            }
            SessionRef::Key(_)
            | SessionRef::Id(_)
            | SessionRef::Label(_)
            | SessionRef::ShortId(_)
            | SessionRef::Reference(_) => Ok(first),
        }
    }
}

fn is_short_id(text: &str) -> bool {
    (8..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The result of `sessions.resolve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsResolveResult {
    /// Whether exactly one was found.
    pub ok: bool,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The sessions, when several have the name; ten at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<ResolveCandidate>,
}

impl SessionsResolveResult {
    /// The result as protocol 3 knows it.
    #[must_use]
    pub fn for_v3(self) -> Self {
        Self {
            ok: self.ok,
            key: self.key,
            ..Self::default()
        }
    }
}

/// One of several sessions with the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolveCandidate {
    /// Its key.
    pub key: String,
    /// Its agent.
    pub agent_id: String,
}

impl ResolveCandidate {
    /// Most candidates in one result.
    pub const MAX: usize = 10;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_slug_is_made_of_words() {
        for (name, expected) in [
            ("Fix the Build!", "fix-the-build"),
            ("  a  b ", "a-b"),
            ("é", ""),
        ] {
            assert_eq!(slug_of(name), expected);
        }
    }

    #[test]
    fn a_session_is_named_in_exactly_one_way() {
        let check = |value: Value, expected: Result<SessionRef<'_>, &str>| {
            let params: SessionsResolveParams = serde_json::from_value(value).unwrap();
            assert_eq!(params.name(), expected);
        };
        check(json!({"key": "main"}), Ok(SessionRef::Key("main")));
        check(json!({"label": "x"}), Ok(SessionRef::Label("x")));
        let link = SessionReference {
            key: "agent:main:x".to_owned(),
            slug: None,
        };
        check(
            json!({"reference": {"key": "agent:main:x"}, "includeGlobal": true}),
            Ok(SessionRef::Reference(&link)),
        );
        check(
            json!({"key": "a", "slugHint": "b"}),
            Err("slugHint requires shortId"),
        );
        check(
            json!({"shortId": "00ff00ff"}),
            Ok(SessionRef::ShortId("00ff00ff")),
        );
        check(
            json!({"shortId": "xyz"}),
            Err("shortId must be 8-32 hexadecimal characters"),
        );
        check(
            json!({}),
            Err("Either key, sessionId, label, shortId, or reference is required"),
        );
        check(
            json!({"key": "a", "label": "b"}),
            Err("Provide either key, sessionId, label, shortId, or reference (not multiple)"),
        );
    }
}
