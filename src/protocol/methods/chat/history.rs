//! `chat.history`: a transcript and what is under way in it (`protocol-facts` §6.5).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::ids::{EntryId, SessionId, WireId};
use crate::protocol::methods::sessions::SessionDefaults;
use crate::protocol::outcome::visible_so_far;
use crate::protocol::params::{Few, params};
use crate::protocol::row::SessionRow;
use crate::protocol::{Bounded, Text};
use crate::run::RunInfo;

params! {
    /// Parameters of `chat.history`.
    ChatHistoryParams {
        required {
            /// The session.
            session_key: String,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: String,
            /// Only what came after this `deltaCursor`.
            cursor: String,
            /// At most this many messages; 200 when absent.
            limit: Bounded<1, 1000>,
            /// At most this many bytes.
            max_bytes: Bounded<1024, { u64::MAX }>,
            /// Leave out this many of the newest messages.
            offset: u64,
            /// Runs whose input the caller waits to see consumed.
            input_run_ids: Few<Text<1, 256>, 50>,
            /// Show what surrounds this message.
            message_id: String,
            /// The transcript of `messageId`.
            session_id: String,
            /// Longest text block, in characters.
            max_chars: Bounded<1, 500_000>,
        }
        unused {
            pending_before: u64,
        }
    }
}

/// Messages `chat.history` returns when the caller names no limit.
pub const HISTORY_LIMIT_DEFAULT: u64 = 200;

/// Most messages `chat.history` returns.
pub const HISTORY_LIMIT_MAX: u64 = 1000;

impl ChatHistoryParams {
    /// The refusal for members that exclude each other; `None` when they agree.
    pub const fn refusal(&self) -> Option<&'static str> {
        let message = self.message_id.is_some();
        if self.offset.is_some() && message {
            return Some("offset and messageId cannot be used together");
        }
        if self.cursor.is_some() && (self.offset.is_some() || message) {
            return Some("cursor cannot be used with offset or messageId");
        }
        if self.session_id.is_some() && !message {
            return Some("sessionId requires messageId");
        }
        None
    }
}

/// The result of `chat.history`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatHistoryResult {
    /// `delta` or `reset`, when the caller sent a cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<HistoryKind>,
    /// The session, as the caller wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// Its transcript; absent when it does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The messages, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<crate::protocol::transcript::TranscriptMessage<'static>>>")]
    pub messages: Option<Vec<Box<RawValue>>>,
    /// How hard the session thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<String>,
    /// How much of its tools it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose_level: Option<String>,
    /// What a new session uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<SessionDefaults>,
    /// The session as lists show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_info: Option<Box<SessionRow>>,
    /// Inputs that wait for their turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_inputs: Option<PendingInputs>,
    /// What became of `inputRunIds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_receipts: Option<Vec<InputReceipt>>,
    /// Those that were consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_consumptions: Option<Vec<InputConsumption>>,
    /// Where the next call can go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_cursor: Option<String>,
    /// How many of the newest messages were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The `offset` of the page before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<u64>,
    /// Whether there are older messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_more: Option<bool>,
    /// Messages of the transcript in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_messages: Option<u64>,
    /// Whether every message is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_snapshot: Option<bool>,
    /// The run that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_run: Option<InFlightRun>,
}

impl ChatHistoryResult {
    /// The answer to a cursor that is unknown or too old.
    pub fn reset() -> Self {
        Self {
            kind: Some(HistoryKind::Reset),
            ..Self::default()
        }
    }

    /// The result as protocol 3 knows it.
    #[must_use]
    pub fn for_v3(self) -> Self {
        Self {
            session_key: self.session_key,
            session_id: self.session_id,
            messages: self.messages,
            thinking_level: Some(self.thinking_level.unwrap_or_else(|| "off".to_owned())),
            verbose_level: Some(self.verbose_level.unwrap_or_else(|| "off".to_owned())),
            ..Self::default()
        }
    }
}

/// How the answer to a cursor is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HistoryKind {
    /// What came after the cursor.
    Delta,
    /// The cursor is no use; read everything again.
    Reset,
}

/// Inputs that wait for their turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingInputs {
    /// The first ones, in order.
    pub items: Vec<PendingInput>,
    /// How many wait in all.
    pub total: u64,
}

/// Most inputs that are listed as pending.
pub const PENDING_INPUTS_MAX: usize = 20;

impl PendingInputs {
    /// The inputs that wait, in order; those beyond [`PENDING_INPUTS_MAX`] are only counted.
    pub fn new(mut items: Vec<PendingInput>) -> Self {
        let total = u64::try_from(items.len()).unwrap_or(u64::MAX);
        items.truncate(PENDING_INPUTS_MAX);
        Self { items, total }
    }
}

/// An input that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingInput {
    /// Id of the message, or of the run when the message is not known.
    pub id: String,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The message, as it will stand in the transcript.
    pub message: PendingMessage,
    /// When it was accepted, in wall-clock milliseconds.
    pub accepted_at: u64,
    /// `queued`.
    pub state: PendingState,
}

impl PendingInput {
    /// The input of a run that waits; `id` is that of its message, when it is known.
    pub fn queued(run: &RunInfo, id: Option<EntryId>, text: &str) -> Self {
        let run_id = run.wire_id.as_str();
        let id = id.map_or_else(|| run_id.to_owned(), |id| id.to_string());
        Self {
            message: PendingMessage {
                role: "user".into(),
                content: text.to_owned(),
                timestamp: run.accepted_at_ms,
                marks: PendingMarks {
                    id: format!("pending:{id}"),
                },
            },
            id,
            run_id: Some(run_id.to_owned()),
            accepted_at: run.accepted_at_ms,
            state: PendingState::Queued,
        }
    }
}

/// A message that is not in the transcript yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingMessage {
    /// `user`.
    pub role: Cow<'static, str>,
    /// The text.
    pub content: String,
    /// When it was accepted, in wall-clock milliseconds.
    pub timestamp: u64,
    /// What clients tell messages apart by.
    #[serde(rename = "__openclaw")]
    pub marks: PendingMarks,
}

/// What clients tell messages that wait apart by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingMarks {
    /// `pending:` and the id of the input.
    pub id: String,
}

/// The state of an input that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PendingState {
    /// It will run.
    Queued,
    /// It was taken back.
    Cancelled,
    /// The gateway ended before it ran.
    Interrupted,
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputReceipt {
    /// The run.
    pub run_id: String,
    /// Whether its input is in the conversation.
    pub state: ReceiptState,
    /// The message it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_by_event_id: Option<String>,
}

/// Whether an input is in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// Not yet.
    Pending,
    /// Yes.
    Consumed,
}

/// An input that is in the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputConsumption {
    /// The run.
    pub run_id: String,
    /// The message it became.
    pub consumed_by_event_id: String,
}

/// A run that is under way, for a client that just came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InFlightRun {
    /// The run.
    pub run_id: String,
    /// Its answer so far.
    pub text: String,
    /// When the agent was started, in wall-clock milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// Whether `chat.abort` without a run id stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_abortable: Option<bool>,
}

impl InFlightRun {
    /// A run with its answer so far.
    pub fn new(run: &WireId, text: &str, started_at_ms: Option<u64>) -> Self {
        Self {
            run_id: run.as_str().to_owned(),
            text: visible_so_far(text).unwrap_or_default().to_owned(),
            started_at: started_at_ms,
            session_abortable: Some(true),
        }
    }
}

/// A place in a transcript, as `deltaCursor` carries it: opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaCursor {
    /// The transcript.
    pub session_id: SessionId,
    /// Position of the last entry the reader has.
    pub n: u64,
}

impl DeltaCursor {
    /// The text clients carry.
    pub fn encode(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}:{}", self.session_id, self.n))
    }

    /// Reads the text back; `None` for a cursor that is not ours.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = std::str::from_utf8(&bytes).ok()?;
        let (session, n) = plain.split_once(':')?;
        Some(Self {
            session_id: SessionId::from_uuid(Uuid::try_parse(session).ok()?),
            n: n.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip_and_garbage_is_refused() {
        let cursor = DeltaCursor {
            session_id: SessionId::from_uuid(Uuid::from_u128(7)),
            n: 42,
        };
        assert_eq!(DeltaCursor::decode(&cursor.encode()), Some(cursor));
        for text in ["", "x", "%%", &URL_SAFE_NO_PAD.encode("7:42")] {
            assert_eq!(DeltaCursor::decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn members_that_exclude_each_other_are_refused() {
        let check = |value: Value, expected| {
            let params: ChatHistoryParams = serde_json::from_value(value).unwrap();
            assert_eq!(params.refusal(), expected);
        };
        check(json!({"sessionKey": "main", "limit": 5}), None);
        check(
            json!({"sessionKey": "main", "offset": 1, "messageId": "m"}),
            Some("offset and messageId cannot be used together"),
        );
        check(
            json!({"sessionKey": "main", "offset": 1, "cursor": "c"}),
            Some("cursor cannot be used with offset or messageId"),
        );
        check(
            json!({"sessionKey": "main", "sessionId": "s"}),
            Some("sessionId requires messageId"),
        );
    }
}
