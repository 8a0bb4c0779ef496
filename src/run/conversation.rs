//! From transcript entries to the conversation an agent gets.
//!
//! Cheap to clone, because a busy session hands the same one to run after run. Owns the order of
//! the messages and how many bytes they have; knows nothing of where entries are kept.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;

use super::{Entry, EntryBody, Message, Role};

/// The conversation a transcript stands for, oldest first. What came before the last compaction is
/// represented by its summary; calls of the agent's own tools and text commands are not part of it.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    said: Arc<VecDeque<Said>>,
    bytes: usize,
}

/// One message, with the position of its entry.
#[derive(Clone, Debug)]
struct Said {
    n: u64,
    message: Message,
}

impl Conversation {
    /// The messages, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Message> + ExactSizeIterator {
        self.said.iter().map(|said| &said.message)
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.said.len()
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// About how many bytes the messages occupy in memory.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nobody else holds these messages, so that more can be added without copying them.
    pub(crate) fn is_alone(&mut self) -> bool {
        Arc::get_mut(&mut self.said).is_some()
    }

    /// Adds what the next entry of the transcript says.
    pub(crate) fn push(&mut self, entry: &Entry) {
        if entry.body.is_withheld() {
            return;
        }
        let message = match &entry.body {
            EntryBody::User { text, images, .. } => {
                let mut message = Message::text(Role::User, text.clone());
                message.images.clone_from(images);
                message
            }
            EntryBody::Assistant {
                text, tool_calls, ..
            } => {
                if text.is_empty() && tool_calls.is_empty() {
                    return;
                }
                let mut message = Message::text(Role::Assistant, text.clone());
                message.tool_calls.clone_from(tool_calls);
                message
            }
            EntryBody::ToolResult {
                tool_call_id,
                name,
                text,
                ..
            } => {
                let mut message = Message::text(Role::Tool, text.clone());
                message.tool_call_id = Some(tool_call_id.clone());
                message.name.clone_from(name);
                message
            }
            EntryBody::Injected { label, text } => {
                let text = match label {
                    Some(label) => format!("[{label}]\n\n{text}"),
                    None => text.clone(),
                };
                Message::text(Role::Assistant, text)
            }
            EntryBody::Compaction { summary, kept_from } => {
                return self.shorten(summary, kept_from.unwrap_or(entry.n));
            }
            EntryBody::Tool { .. } | EntryBody::Command { .. } => return,
        };
        self.add(entry.n, message);
    }

    /// Puts a summary in the place of everything before position `kept_from`.
    fn shorten(&mut self, summary: &str, kept_from: u64) {
        let replaced = kept_from.saturating_sub(1);
        self.forget_through(replaced);
        if summary.is_empty() {
            return;
        }
        let text = format!("Summary of the conversation so far:\n\n{summary}");
        let message = Message::text(Role::User, text);
        self.bytes = self.bytes.saturating_add(weight(&message));
        // It is as old as the last of what it stands for.
        let said = Said {
            n: replaced,
            message,
        };
        Arc::make_mut(&mut self.said).push_front(said);
    }

    /// Forgets what entries up to position `n` said.
    pub(crate) fn forget_through(&mut self, n: u64) {
        while self.said.front().is_some_and(|said| said.n <= n) {
            if let Some(said) = Arc::make_mut(&mut self.said).pop_front() {
                self.bytes = self.bytes.saturating_sub(weight(&said.message));
            }
        }
    }

    fn add(&mut self, n: u64, message: Message) {
        self.bytes = self.bytes.saturating_add(weight(&message));
        Arc::make_mut(&mut self.said).push_back(Said { n, message });
    }
}

impl Extend<Message> for Conversation {
    /// Adds messages that are in no transcript.
    fn extend<I: IntoIterator<Item = Message>>(&mut self, messages: I) {
        for message in messages {
            self.add(0, message);
        }
    }
}

impl FromIterator<Message> for Conversation {
    /// A conversation that is in no transcript.
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        let mut conversation = Self::default();
        conversation.extend(messages);
        conversation
    }
}

impl<'a> FromIterator<&'a Entry> for Conversation {
    fn from_iter<I: IntoIterator<Item = &'a Entry>>(entries: I) -> Self {
        let mut conversation = Self::default();
        for entry in entries {
            conversation.push(entry);
        }
        conversation
    }
}

fn weight(message: &Message) -> usize {
    let calls = message.tool_calls.iter();
    let calls = calls.map(|call| call.id.len() + call.name.len() + call.arguments.len());
    let images = message.images.iter().map(|image| image.bytes.len());
    size_of::<Said>() + message.text.len() + calls.sum::<usize>() + images.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::EntryId;

    fn entries(bodies: Vec<EntryBody>) -> Vec<Entry> {
        (1..)
            .zip(bodies)
            .map(|(n, body)| Entry {
                id: EntryId::from_uuid(Uuid::nil()),
                n,
                run: None,
                wire_id: None,
                at_ms: 0,
                body,
            })
            .collect()
    }

    fn check(bodies: Vec<EntryBody>, expected: &[(Role, &str)]) {
        let conversation: Conversation = entries(bodies).iter().collect();
        let seen: Vec<_> = conversation
            .iter()
            .map(|m| (m.role, m.text.as_str()))
            .collect();
        assert_eq!(seen, expected);
    }

    fn user(text: &str) -> EntryBody {
        EntryBody::User {
            text: text.to_owned(),
            images: Vec::new(),
            withheld: false,
        }
    }

    #[test]
    fn what_is_kept_is_said_word_for_word_behind_the_summary() {
        let compaction = |summary: &str, kept_from| EntryBody::Compaction {
            summary: summary.to_owned(),
            kept_from: Some(kept_from),
        };
        let first = "Summary of the conversation so far:\n\nfirst";
        let second = "Summary of the conversation so far:\n\nsecond";
        let mut bodies = vec![user("a"), user("b"), user("c"), compaction("first", 3)];
        check(bodies.clone(), &[(Role::User, first), (Role::User, "c")]);
        bodies.extend([user("d"), compaction("second", 5)]);
        check(bodies.clone(), &[(Role::User, second), (Role::User, "d")]);
        bodies.extend([user("e"), compaction("", 7)]);
        check(bodies.clone(), &[(Role::User, "e")]);
        bodies.push(compaction("first", 1));
        check(bodies, &[(Role::User, first), (Role::User, "e")]);
    }

    #[test]
    fn labels_and_summaries_are_part_of_the_conversation() {
        check(
            vec![
                user("old"),
                EntryBody::Compaction {
                    summary: "they said old".to_owned(),
                    kept_from: None,
                },
                user("new"),
                EntryBody::Injected {
                    label: Some("note".to_owned()),
                    text: "x".to_owned(),
                },
            ],
            &[
                (
                    Role::User,
                    "Summary of the conversation so far:\n\nthey said old",
                ),
                (Role::User, "new"),
                (Role::Assistant, "[note]\n\nx"),
            ],
        );
    }

    #[test]
    fn commands_are_no_part_of_the_conversation() {
        let command = |is_answer| EntryBody::Command {
            wire_id: crate::ids::WireId::parse("c").unwrap(),
            is_answer,
            text: "/status".to_owned(),
        };
        let said = vec![user("a"), command(false), command(true), user("b")];
        check(said, &[(Role::User, "a"), (Role::User, "b")]);
    }

    #[test]
    fn an_answer_without_text_leaves_no_message() {
        let failed = EntryBody::Assistant {
            text: String::new(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            stop_reason: "error".into(),
            usage: None,
            model: None,
            abort: None,
            error: Some("boom".into()),
        };
        check(vec![user("a"), failed], &[(Role::User, "a")]);
    }

    #[test]
    fn what_is_forgotten_weighs_nothing_and_a_copy_keeps_it() {
        let mut conversation: Conversation = entries(vec![user("a"), user("bc"), user("d")])
            .iter()
            .collect();
        let copy = conversation.clone();
        assert!(!conversation.is_alone());
        conversation.forget_through(2);
        assert_eq!(conversation.iter().next().unwrap().text, "d");
        assert_eq!(conversation.bytes(), size_of::<Said>() + 1);
        assert_eq!(copy.len(), 3);
        assert!(conversation.is_alone());
        conversation.forget_through(3);
        assert_eq!((conversation.len(), conversation.bytes()), (0, 0));
    }
}
