//! The caps of `chat.history` (`protocol-facts` §6.5): one for each message, one for all.

use serde_json::value::RawValue;

use crate::run::Entry;

use super::{Block, Content, MessageMeta, TranscriptMessage, View, messages_of};

/// Longest message in `chat.history`, in bytes; a longer one becomes a placeholder.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Most bytes of messages in `chat.history`; the oldest are left out first.
pub const HISTORY_BYTES_MAX: usize = 6 * 1024 * 1024;

const OMITTED: &str = "[chat.history omitted: message too large]";

/// What `chat.history` returns of a transcript.
#[derive(Debug, Default)]
pub struct HistoryMessages {
    /// The messages, encoded, oldest first.
    pub messages: Vec<Box<RawValue>>,
    /// How many of the oldest entries did not fit.
    pub dropped_entries: usize,
}

/// Encodes entries for `chat.history`: each message within its cap, all within `bytes_max`, the
/// oldest left out first.
pub fn history_messages(entries: &[Entry], view: View, bytes_max: usize) -> HistoryMessages {
    let mut newest_first = Vec::new();
    let mut room = bytes_max.min(HISTORY_BYTES_MAX);
    let mut kept = 0;
    for entry in entries.iter().rev() {
        let messages = messages_of(entry, view);
        let mut group = encode_all(&messages, MESSAGE_BYTES_MAX);
        if bytes_of(&group) > room {
            if !newest_first.is_empty() {
                break;
            }
            // The newest message is told of even when its text does not fit.
            group = encode_all(&messages, room);
        }
        room = room.saturating_sub(bytes_of(&group));
        kept += 1;
        newest_first.extend(group.into_iter().rev());
    }
    newest_first.reverse();
    HistoryMessages {
        messages: newest_first,
        dropped_entries: entries.len() - kept,
    }
}

fn encode_all(messages: &[TranscriptMessage<'_>], bytes_max: usize) -> Vec<Box<RawValue>> {
    let encoded = messages
        .iter()
        .filter_map(|message| encode(message, bytes_max));
    encoded.collect()
}

/// The bytes of messages in a list, each with its comma.
fn bytes_of(messages: &[Box<RawValue>]) -> usize {
    messages.iter().map(|raw| raw.get().len() + 1).sum()
}

/// The message as JSON, or a placeholder when it is longer than `bytes_max`.
fn encode(message: &TranscriptMessage<'_>, bytes_max: usize) -> Option<Box<RawValue>> {
    let raw = serde_json::value::to_raw_value(message).ok()?;
    if raw.get().len() <= bytes_max {
        return Some(raw);
    }
    let placeholder = TranscriptMessage {
        role: message.role,
        content: Content::Blocks(vec![Block::Text {
            text: OMITTED.into(),
        }]),
        timestamp: message.timestamp,
        api: None,
        provider: None,
        model: None,
        usage: None,
        stop_reason: None,
        error_message: None,
        tool_call_id: message.tool_call_id.clone(),
        tool_name: message.tool_name.clone(),
        is_error: message.is_error,
        idempotency_key: message.idempotency_key.clone(),
        abort: message.abort.clone(),
        exclude_from_context: message.exclude_from_context,
        command: message.command,
        meta: MessageMeta {
            truncated: Some(true),
            reason: Some("oversized".into()),
            ..message.meta.clone()
        },
    };
    serde_json::value::to_raw_value(&placeholder).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use crate::ids::EntryId;
    use crate::run::EntryBody;

    use super::*;

    const WIDE: View = View {
        text_chars_max: 10_000_000,
        with_usage: false,
    };

    fn entries(lengths: &[usize]) -> Vec<Entry> {
        let numbered = lengths.iter().zip(1_u64..);
        numbered
            .map(|(length, n)| Entry {
                id: EntryId::from_uuid(Uuid::from_u128(n.into())),
                n,
                run: None,
                wire_id: None,
                at_ms: n,
                body: EntryBody::User {
                    text: "x".repeat(*length),
                    images: Vec::new(),
                    withheld: false,
                },
            })
            .collect()
    }

    fn positions(history: &HistoryMessages) -> Vec<u64> {
        let seq = |raw: &RawValue| {
            let message: Value = serde_json::from_str(raw.get()).unwrap();
            message["__openclaw"]["seq"].as_u64().unwrap()
        };
        history.messages.iter().map(|raw| seq(raw)).collect()
    }

    #[test]
    fn the_oldest_messages_go_first_when_the_budget_is_used_up() {
        let entries = entries(&[1_000, 1_000, 1_000]);
        let all = history_messages(&entries, WIDE, HISTORY_BYTES_MAX);
        assert_eq!(positions(&all), [1, 2, 3]);
        assert_eq!(all.dropped_entries, 0);
        let some = history_messages(&entries, WIDE, 2_500);
        assert_eq!(positions(&some), [2, 3]);
        assert_eq!(some.dropped_entries, 1);
        let bytes: usize = some.messages.iter().map(|raw| raw.get().len()).sum();
        assert!(bytes <= 2_500, "{bytes}");
    }

    #[test]
    fn a_message_that_is_too_long_becomes_a_placeholder() {
        let entries = entries(&[10, MESSAGE_BYTES_MAX, 10]);
        let history = history_messages(&entries, WIDE, HISTORY_BYTES_MAX);
        assert_eq!(positions(&history), [1, 2, 3]);
        let message: Value = serde_json::from_str(history.messages[1].get()).unwrap();
        assert_eq!(
            message,
            json!({"role": "user", "timestamp": 2,
                   "content": [{"type": "text", "text": OMITTED}],
                   "__openclaw": {"id": "00000000-0000-0000-0000-000000000002", "seq": 2,
                                  "recordTimestampMs": 2, "truncated": true,
                                  "reason": "oversized"}})
        );
    }

    #[test]
    fn the_newest_message_is_always_told_of() {
        let entries = entries(&[10, 5_000]);
        let history = history_messages(&entries, WIDE, 1_024);
        assert_eq!(positions(&history), [1, 2]);
        let message: Value = serde_json::from_str(history.messages[1].get()).unwrap();
        assert_eq!(message["__openclaw"]["truncated"], json!(true));
        assert_eq!(positions(&history_messages(&[], WIDE, 1)), [0; 0]);
    }

    #[test]
    fn the_budget_of_the_caller_cannot_exceed_ours() {
        let entries = entries(&[100_000; 80]);
        let history = history_messages(&entries, WIDE, usize::MAX);
        let bytes: usize = history.messages.iter().map(|raw| raw.get().len()).sum();
        assert!(bytes <= HISTORY_BYTES_MAX, "{bytes}");
        assert_eq!(history.dropped_entries, 80 - history.messages.len());
        assert!(history.dropped_entries > 0);
    }
}
