//! Looking for a text in the messages of sessions.

use crate::auth::Operation;
use crate::run::{Entry, EntryBody};
use crate::session::EntryRange;

use super::{Caller, Dispatch, DispatchError, SessionList, SessionView, SessionsPage};

/// Most sessions that are looked through, last used first.
const SESSIONS_MAX: u32 = 200;

/// Most entries of a session that are looked through, newest first.
const ENTRIES_MAX: u32 = 500;

/// Most bytes of texts one search looks through.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Characters of a snippet before the text, and of all of it.
const SNIPPET_CHARS: (usize, usize) = (60, 200);

/// A search for a text.
#[derive(Clone, Debug)]
pub struct MessageSearch {
    /// The sessions to look through; its limit is not used.
    pub list: SessionList,
    /// Only these, by key, if they are among the sessions to look through; at most 200 of them.
    pub keys: Option<Vec<String>>,
    /// The text, without regard to case.
    pub text: String,
    /// Most messages to return.
    pub limit: usize,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct FoundMessages {
    /// Sessions with the text, last used first or as they were named. Each has its messages, newest
    /// first.
    pub sessions: Vec<(SessionView, Vec<FoundMessage>)>,
    /// Whether more was there than could be looked through.
    pub is_truncated: bool,
}

/// A message with the text.
#[derive(Clone, Debug)]
pub struct FoundMessage {
    /// The message.
    pub entry: Entry,
    /// The text and some of what stands around it.
    pub snippet: String,
    /// How often the text is in it.
    pub count: usize,
}

impl Dispatch {
    /// Messages of users and agents that contain a text.
    ///
    /// # Errors
    /// As [`Dispatch::sessions_list`].
    pub async fn sessions_search(
        &self,
        caller: &Caller,
        search: MessageSearch,
    ) -> Result<FoundMessages, DispatchError> {
        let list = SessionList {
            limit: SESSIONS_MAX,
            ..search.list
        };
        let page = match search.keys {
            Some(keys) => self.named_sessions(caller, &list, &keys).await?,
            None => self.sessions_list(caller, list).await?,
        };
        let needle = search.text.to_lowercase();
        let mut found = FoundMessages {
            is_truncated: page.total > u64::from(SESSIONS_MAX),
            ..FoundMessages::default()
        };
        let (mut room, mut bytes) = (search.limit, BYTES_MAX);
        for view in page.sessions {
            let key = view.record.key.clone();
            if room == 0 || bytes == 0 {
                found.is_truncated = true;
                break;
            }
            let range = EntryRange::Newest {
                skip: 0,
                limit: ENTRIES_MAX,
            };
            let Some(page) = self.parts.ledger.entries(key, range).await? else {
                continue;
            };
            // A page of large entries ends early.
            found.is_truncated |= u64::try_from(page.entries.len()).is_ok_and(|n| n < page.total);
            let mut hits = Vec::new();
            for entry in page.entries.into_iter().rev() {
                let text = said(&entry).unwrap_or_default();
                bytes = bytes.saturating_sub(text.len());
                if room == 0 || bytes == 0 {
                    found.is_truncated = true;
                    break;
                }
                if let Some((snippet, count)) = snippet(text, &needle) {
                    room -= 1;
                    hits.push(FoundMessage {
                        entry,
                        snippet,
                        count,
                    });
                }
            }
            if !hits.is_empty() {
                found.sessions.push((view, hits));
            }
        }
        Ok(found)
    }
}

impl Dispatch {
    /// The sessions with these keys that a list would have, in the order of the keys.
    async fn named_sessions(
        &self,
        caller: &Caller,
        list: &SessionList,
        keys: &[String],
    ) -> Result<SessionsPage, DispatchError> {
        self.require(caller, Operation::Method("sessions.list"))?;
        let query = self.session_query(list)?;
        let mut page = SessionsPage {
            sessions: Vec::new(),
            total: u64::try_from(keys.len()).unwrap_or(u64::MAX),
        };
        for (raw, _room) in keys.iter().zip(0..SESSIONS_MAX) {
            // A key that cannot be one names no session.
            let Ok((key, _agent)) = self.resolve_key(raw, None) else {
                continue;
            };
            let is_active = !self.parts.logs.live_in(&key).is_empty();
            let record = self.parts.ledger.session(key).await?;
            let record =
                record.filter(|record| query.matches(record) && (is_active || !list.active_only));
            if let Some(record) = record {
                page.sessions.push(self.view(record, list.texts).await?);
            }
        }
        Ok(page)
    }
}

/// What a user or an agent says in an entry.
fn said(entry: &Entry) -> Option<&str> {
    match &entry.body {
        EntryBody::User { text, .. } | EntryBody::Assistant { text, .. } => Some(text),
        EntryBody::Tool { .. }
        | EntryBody::ToolResult { .. }
        | EntryBody::Injected { .. }
        | EntryBody::Command { .. }
        | EntryBody::Compaction { .. } => None,
    }
}

/// The place of a lower-case text with what stands around it, and how often the text is there.
fn snippet(text: &str, needle: &str) -> Option<(String, usize)> {
    let lower = text.to_lowercase();
    let before = lower.split(needle).next().filter(|it| *it != lower)?;
    let count = lower.matches(needle).count();
    // Few characters change their number with their case; the snippet is then a little off.
    let (lead, all) = SNIPPET_CHARS;
    let start = before.chars().count().saturating_sub(lead);
    Some((text.chars().skip(start).take(all).collect(), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_begins_shortly_before_the_text() {
        let check = |text: &str, needle: &str, expected: Option<(&str, usize)>| {
            let found = snippet(text, needle);
            let found = found.as_ref().map(|(text, count)| (text.as_str(), *count));
            assert_eq!(found, expected, "{text}");
        };
        check("Hello HELLO", "hello", Some(("Hello HELLO", 2)));
        check("hello", "bye", None);
        check("", "x", None);
        let long = format!("{}Ähre{}", "x".repeat(100), "y".repeat(500));
        let (found, count) = snippet(&long, "ähre").unwrap();
        assert_eq!((found.chars().count(), count), (200, 1));
        assert!(
            found.starts_with(&format!("{}Ähre", "x".repeat(60))),
            "{found}"
        );
    }
}
