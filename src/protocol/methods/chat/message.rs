//! `chat.message.get`: one message whole (`protocol-facts` §6.5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::protocol::params::params;
use crate::protocol::transcript::{HISTORY_BYTES_MAX, View, messages_of};
use crate::protocol::{Bounded, NonEmpty};
use crate::run::Entry;

/// Longest text block `chat.message.get` shows when the caller names no limit, in characters.
const MESSAGE_CHARS_MAX: u64 = 2_000_000;

/// What the id of a message about a call of the agent's own tool has behind the id of its entry.
const CALL_SUFFIX: &str = "-call";

params! {
    /// Parameters of `chat.message.get`.
    ChatMessageGetParams {
        required {
            /// The session.
            session_key: NonEmpty,
            /// The message.
            message_id: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: NonEmpty,
            /// The transcript; must be the session's.
            session_id: NonEmpty,
            /// Longest text block, in characters.
            max_chars: Bounded<1, MESSAGE_CHARS_MAX>,
        }
    }
}

/// The id of the entry a message stands for.
pub fn entry_id(message_id: &str) -> &str {
    message_id.strip_suffix(CALL_SUFFIX).unwrap_or(message_id)
}

/// The result of `chat.message.get`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatMessageGetResult {
    /// Whether the message is here.
    pub ok: bool,
    /// The message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::protocol::transcript::TranscriptMessage<'static>>")]
    pub message: Option<Box<RawValue>>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_reason: Option<UnavailableReason>,
}

/// Why a message is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnavailableReason {
    /// There is no such message in the session's transcript.
    NotFound,
    /// It is longer than a frame may be.
    Oversized,
    /// It is there, and transcripts do not show it.
    NotVisible,
}

impl ChatMessageGetResult {
    /// A message that is not shown.
    pub const fn unavailable(reason: UnavailableReason) -> Self {
        Self {
            ok: false,
            message: None,
            unavailable_reason: Some(reason),
        }
    }

    /// The message the caller asks for, of the entry it stands for.
    pub fn of(params: &ChatMessageGetParams, entry: &Entry) -> Self {
        let chars = params.max_chars.map_or(MESSAGE_CHARS_MAX, Bounded::get);
        let view = View {
            text_chars_max: usize::try_from(chars).unwrap_or(usize::MAX),
            with_usage: true,
        };
        let messages = messages_of(entry, view);
        let mut messages = messages.iter();
        let wanted = messages.find(|message| message.meta.id == params.message_id.as_str());
        let Some(Ok(raw)) = wanted.map(serde_json::value::to_raw_value) else {
            return Self::unavailable(UnavailableReason::NotVisible);
        };
        if raw.get().len() > HISTORY_BYTES_MAX {
            return Self::unavailable(UnavailableReason::Oversized);
        }
        Self {
            ok: true,
            message: Some(raw),
            unavailable_reason: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::ids::EntryId;
    use crate::run::EntryBody;

    fn entry(body: EntryBody) -> Entry {
        Entry {
            id: EntryId::from_uuid(Uuid::nil()),
            n: 1,
            run: None,
            wire_id: None,
            at_ms: 1,
            body,
        }
    }

    fn user(text: String) -> EntryBody {
        EntryBody::User {
            text,
            images: Vec::new(),
            withheld: false,
        }
    }

    fn get(message_id: &str, max_chars: Option<u64>, body: EntryBody) -> Value {
        let mut params = json!({"sessionKey": "main", "messageId": message_id});
        if let Some(chars) = max_chars {
            params["maxChars"] = chars.into();
        }
        let params: ChatMessageGetParams = serde_json::from_value(params).unwrap();
        assert_eq!(entry_id(&params.message_id), Uuid::nil().to_string());
        serde_json::to_value(ChatMessageGetResult::of(&params, &entry(body))).unwrap()
    }

    #[test]
    fn a_message_is_shown_whole_unless_the_caller_wants_less() {
        let id = Uuid::nil().to_string();
        let text = "x".repeat(300_000);
        let whole = get(&id, None, user(text.clone()));
        assert_eq!(whole["message"]["content"], text);
        let cut = get(&id, Some(3), user(text));
        assert_eq!(cut["message"]["content"], "xxx\n...(truncated)...");
    }

    #[test]
    fn what_is_not_shown_says_why() {
        let id = Uuid::nil().to_string();
        let unavailable = |reason| json!({"ok": false, "unavailableReason": reason});
        let huge = user("\u{1}".repeat(1_500_000));
        assert_eq!(get(&id, None, huge), unavailable("oversized"));
        let call = format!("{id}-call");
        assert_eq!(
            get(&call, None, user("x".to_owned())),
            unavailable("not_visible")
        );
        let tool = EntryBody::Tool {
            id: "t".to_owned(),
            name: "look".to_owned(),
            arguments: json!({"at": 1}),
            result: json!("seen"),
            is_error: false,
        };
        assert_eq!(
            get(&call, None, tool)["message"]["content"][0]["name"],
            "look"
        );
    }
}
