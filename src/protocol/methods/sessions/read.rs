//! `sessions.get` and `sessions.preview`: what was said in sessions (`protocol-facts` §6.6).

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::protocol::params::params;
use crate::protocol::{Bounded, NonEmpty};
use crate::run::{Entry, EntryBody};

/// Sessions `sessions.preview` looks at in one call; further ones are left out.
pub const PREVIEW_SESSIONS_MAX: usize = 64;

/// Messages of one session when the caller names no number.
const PREVIEW_ITEMS_DEFAULT: u64 = 12;

/// Most messages of one session, whatever the caller asks for.
const PREVIEW_ITEMS_MAX: u64 = 50;

/// Longest text of a message when the caller names no length, in characters.
const PREVIEW_CHARS_DEFAULT: u64 = 240;

/// Longest text of a message, whatever the caller asks for, in characters.
const PREVIEW_CHARS_MAX: u64 = 2_000;

/// What stands for the rest of a text that is too long.
const ELLIPSIS: &str = "...";

params! {
    /// Parameters of `sessions.get`: a session by either name of the member.
    SessionsGetParams {
        optional {
            /// The session.
            key: String,
            /// The same.
            session_key: String,
            /// The agent; must agree with the key.
            agent_id: NonEmpty,
            /// At most this many of the newest messages; 200 when absent.
            limit: Bounded<1, 1000>,
        }
    }
}

impl SessionsGetParams {
    /// The session that is asked for.
    pub fn session(&self) -> Option<&str> {
        let given = self.key.as_deref().or(self.session_key.as_deref());
        given.filter(|key| !key.trim().is_empty())
    }
}

/// The result of `sessions.get`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SessionsGetResult {
    /// The messages, oldest first; none when the session does not exist.
    #[schemars(with = "Vec<crate::protocol::transcript::TranscriptMessage<'static>>")]
    pub messages: Vec<Box<RawValue>>,
}

params! {
    /// Parameters of `sessions.preview`.
    SessionsPreviewParams {
        required {
            /// The sessions.
            keys: Keys,
        }
        optional {
            /// Newest messages of each; 12 when absent, at most 50.
            limit: Bounded<1, { u64::MAX }>,
            /// Longest text, in characters; 240 when absent, at most 2,000.
            max_chars: Bounded<20, { u64::MAX }>,
        }
    }
}

/// Keys of sessions, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Keys(#[schemars(length(min = 1))] Vec<NonEmpty>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let keys = Vec::deserialize(from)?;
        if keys.is_empty() {
            return Err(D::Error::custom("no keys"));
        }
        Ok(Self(keys))
    }
}

impl SessionsPreviewParams {
    /// The sessions, each once; those beyond [`PREVIEW_SESSIONS_MAX`] are left out.
    pub fn sessions(&self) -> Vec<String> {
        let mut sessions: Vec<String> = Vec::new();
        for key in &self.keys.0 {
            if sessions.len() >= PREVIEW_SESSIONS_MAX {
                break;
            }
            if !sessions.iter().any(|known| *known == **key) {
                sessions.push(key.to_string());
            }
        }
        sessions
    }

    /// Newest messages of each.
    pub fn items_max(&self) -> u32 {
        let asked = self.limit.map_or(PREVIEW_ITEMS_DEFAULT, Bounded::get);
        u32::try_from(asked.min(PREVIEW_ITEMS_MAX)).unwrap_or(u32::MAX)
    }

    /// Longest text, in characters.
    pub fn chars_max(&self) -> usize {
        let asked = self.max_chars.map_or(PREVIEW_CHARS_DEFAULT, Bounded::get);
        usize::try_from(asked.min(PREVIEW_CHARS_MAX)).unwrap_or(usize::MAX)
    }
}

/// The result of `sessions.preview`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsPreviewResult {
    /// When this was true, in wall-clock milliseconds.
    pub ts: u64,
    /// The sessions, as they were asked for.
    pub previews: Vec<SessionPreview>,
}

/// What was said last in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionPreview {
    /// The session, as the caller wrote it.
    pub key: String,
    /// Whether there is something to show.
    pub status: PreviewStatus,
    /// The messages, oldest first.
    pub items: Vec<PreviewItem>,
}

/// Whether there is something to show of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PreviewStatus {
    /// There is.
    Ok,
    /// Nothing was said.
    Empty,
    /// There is no such session.
    Missing,
    /// It could not be read.
    Error,
}

/// A message in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewItem {
    /// Who speaks.
    pub role: PreviewRole,
    /// How it begins.
    pub text: String,
}

/// Who speaks in a preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PreviewRole {
    /// The human or program in front of the gateway.
    User,
    /// The agent.
    Assistant,
    /// A tool.
    Tool,
    /// The gateway.
    System,
}

impl SessionPreview {
    /// A session of which there is nothing to show.
    pub const fn without(key: String, status: PreviewStatus) -> Self {
        Self {
            key,
            status,
            items: Vec::new(),
        }
    }

    /// The newest messages of a session.
    pub fn of(key: String, entries: &[Entry], chars_max: usize) -> Self {
        let items: Vec<_> = entries
            .iter()
            .filter_map(|entry| item(entry, chars_max))
            .collect();
        let status = if items.is_empty() {
            PreviewStatus::Empty
        } else {
            PreviewStatus::Ok
        };
        Self { key, status, items }
    }
}

fn item(entry: &Entry, chars_max: usize) -> Option<PreviewItem> {
    let (role, text) = match &entry.body {
        EntryBody::User { text, .. }
        | EntryBody::Command {
            is_answer: false,
            text,
            ..
        } => (PreviewRole::User, text),
        EntryBody::Assistant { text, .. } | EntryBody::Injected { text, .. } => {
            (PreviewRole::Assistant, text)
        }
        EntryBody::Tool { name: text, .. } | EntryBody::ToolResult { text, .. } => {
            (PreviewRole::Tool, text)
        }
        EntryBody::Command { text, .. } | EntryBody::Compaction { summary: text, .. } => {
            (PreviewRole::System, text)
        }
    };
    let text = text.trim();
    let text = if text.chars().nth(chars_max).is_some() {
        let kept = chars_max.saturating_sub(ELLIPSIS.len());
        text.chars().take(kept).chain(ELLIPSIS.chars()).collect()
    } else {
        text.to_owned()
    };
    (!text.is_empty()).then_some(PreviewItem { role, text })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::ids::EntryId;

    fn params(value: Value) -> SessionsPreviewParams {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_a_preview_costs_is_bounded() {
        let keys: Vec<String> = (0..100).map(|n| format!("k{}", n / 2)).collect();
        let asked = params(json!({"keys": keys, "limit": 9_999, "maxChars": 99_999}));
        assert_eq!(asked.sessions().len(), 50, "each once");
        assert_eq!((asked.items_max(), asked.chars_max()), (50, 2_000));
        let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
        let asked = params(json!({ "keys": keys }));
        assert_eq!(asked.sessions().len(), PREVIEW_SESSIONS_MAX);
        assert_eq!((asked.items_max(), asked.chars_max()), (12, 240));
    }

    #[test]
    fn messages_are_shown_in_short() {
        let entry = |body| Entry {
            id: EntryId::from_uuid(Uuid::nil()),
            n: 1,
            run: None,
            wire_id: None,
            at_ms: 1,
            body,
        };
        let user = |text: &str| {
            entry(EntryBody::User {
                text: text.to_owned(),
                images: Vec::new(),
                withheld: false,
            })
        };
        let summary = "s".to_owned();
        let entries = [
            user("0123456789"),
            user(" 01234567 "),
            user(" "),
            entry(EntryBody::Compaction {
                summary,
                kept_from: None,
            }),
        ];
        let shown = SessionPreview::of("k".to_owned(), &entries, 8);
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!({"key": "k", "status": "ok", "items": [
                {"role": "user", "text": "01234..."},
                {"role": "user", "text": "01234567"},
                {"role": "system", "text": "s"},
            ]})
        );
        let empty = SessionPreview::of("k".to_owned(), &[], 8);
        assert_eq!(empty.status, PreviewStatus::Empty);
    }

    #[test]
    fn a_session_has_one_name_or_none() {
        let session = |value| {
            let params: SessionsGetParams = serde_json::from_value(value).unwrap();
            params.session().map(str::to_owned)
        };
        assert_eq!(session(json!({"key": "k"})), Some("k".to_owned()));
        assert_eq!(session(json!({"sessionKey": "s"})), Some("s".to_owned()));
        assert_eq!(session(json!({"key": " "})), None);
        assert_eq!(session(json!({})), None);
    }
}
