//! From transcript entries to the conversation an agent gets.

use crate::run::{Entry, EntryBody, Message, Role};

/// The conversation a transcript stands for, oldest first. What came before the last compaction is
/// represented by its summary; calls of the agent's own tools are not part of it.
pub fn conversation(entries: &[Entry]) -> Vec<Message> {
    let mut messages = Vec::with_capacity(entries.len());
    for entry in entries {
        match &entry.body {
            EntryBody::User { text, images } => {
                let mut message = Message::text(Role::User, text.clone());
                message.images.clone_from(images);
                messages.push(message);
            }
            EntryBody::Assistant {
                text, tool_calls, ..
            } => {
                if !text.is_empty() || !tool_calls.is_empty() {
                    let mut message = Message::text(Role::Assistant, text.clone());
                    message.tool_calls.clone_from(tool_calls);
                    messages.push(message);
                }
            }
            EntryBody::ToolResult {
                tool_call_id,
                name,
                text,
            } => {
                let mut message = Message::text(Role::Tool, text.clone());
                message.tool_call_id = Some(tool_call_id.clone());
                message.name.clone_from(name);
                messages.push(message);
            }
            EntryBody::Injected { label, text } => {
                let text = match label {
                    Some(label) => format!("[{label}]\n\n{text}"),
                    None => text.clone(),
                };
                messages.push(Message::text(Role::Assistant, text));
            }
            EntryBody::Compaction { summary } => {
                messages.clear();
                let text = format!("Summary of the conversation so far:\n\n{summary}");
                messages.push(Message::text(Role::User, text));
            }
            EntryBody::Tool { .. } => {}
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::EntryId;

    fn check(bodies: Vec<EntryBody>, expected: &[(Role, &str)]) {
        let entries: Vec<Entry> = bodies
            .into_iter()
            .map(|body| Entry {
                id: EntryId::from_uuid(Uuid::nil()),
                n: 1,
                run: None,
                wire_id: None,
                at_ms: 0,
                body,
            })
            .collect();
        let messages = conversation(&entries);
        let seen: Vec<_> = messages.iter().map(|m| (m.role, m.text.as_str())).collect();
        assert_eq!(seen, expected);
    }

    fn user(text: &str) -> EntryBody {
        EntryBody::User {
            text: text.to_owned(),
            images: Vec::new(),
        }
    }

    #[test]
    fn labels_and_summaries_are_part_of_the_conversation() {
        check(
            vec![
                user("old"),
                EntryBody::Compaction {
                    summary: "they said old".to_owned(),
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
}
