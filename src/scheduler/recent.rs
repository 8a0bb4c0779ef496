//! The conversations of sessions that ran lately, so that the next run need not read them again.
//!
//! A transcript only grows, and a commit tells how many entries it has: what is held is good
//! exactly when it ends at that position. Nothing has to be told here about resets or injected
//! messages; what is out of date is read again. Owns the bound on memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::SessionId;
use crate::run::{Conversation, Entry};

/// Entries of a transcript an agent gets; older ones are left out.
pub(super) const ENTRIES_MAX: u32 = 1000;

/// Bytes of all conversations that are held; the one used longest ago goes first.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one conversation that is held; a larger one is read for each run.
const CONVERSATION_BYTES_MAX: usize = 1024 * 1024;

/// What holding a conversation costs beside its messages.
const OVERHEAD_BYTES: usize = 256;

/// Conversations by transcript.
#[derive(Debug, Default)]
pub(super) struct Recent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<SessionId, Held>,
    /// By the turn of their last use.
    by_use: BTreeMap<u64, SessionId>,
    turn: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    conversation: Conversation,
    /// Position of the last entry it takes in.
    through: u64,
    used: u64,
}

impl Held {
    const fn bytes(&self) -> usize {
        self.conversation.bytes() + OVERHEAD_BYTES
    }
}

impl Recent {
    /// The conversation of the first `through` entries of a transcript, if it is held.
    pub(super) fn get(&self, transcript: SessionId, through: u64) -> Option<Conversation> {
        let mut state = self.lock();
        let held = state.take(transcript)?;
        let conversation = (held.through == through).then(|| held.conversation.clone());
        if conversation.is_some() {
            state.put(transcript, held);
        }
        conversation
    }

    /// Holds the conversation of the first `through` entries of a transcript.
    pub(super) fn put(&self, transcript: SessionId, through: u64, conversation: Conversation) {
        let mut state = self.lock();
        state.take(transcript);
        let held = Held {
            conversation,
            through,
            used: 0,
        };
        state.put(transcript, held);
    }

    /// Adds entries that were appended to a transcript, if what is held ends just before them.
    pub(super) fn append(&self, transcript: SessionId, entries: [&[Entry]; 2]) {
        let mut state = self.lock();
        let Some(mut held) = state.take(transcript) else {
            return;
        };
        // An agent that still holds its conversation would force a copy of the whole.
        if !held.conversation.is_alone() {
            return;
        }
        for entry in entries.into_iter().flatten() {
            if entry.n != held.through + 1 {
                return;
            }
            held.conversation.push(entry);
            held.through = entry.n;
        }
        let oldest = held.through.saturating_sub(u64::from(ENTRIES_MAX));
        held.conversation.forget_through(oldest);
        state.put(transcript, held);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever panics in here leaves at worst a conversation that is not held any more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, transcript: SessionId) -> Option<Held> {
        let held = self.held.remove(&transcript)?;
        self.by_use.remove(&held.used);
        self.bytes -= held.bytes();
        Some(held)
    }

    fn put(&mut self, transcript: SessionId, mut held: Held) {
        if held.bytes() > CONVERSATION_BYTES_MAX {
            return;
        }
        while self.bytes + held.bytes() > BYTES_MAX {
            let Some((_, oldest)) = self.by_use.first_key_value() else {
                break;
            };
            self.take(*oldest);
        }
        self.turn += 1;
        held.used = self.turn;
        self.by_use.insert(held.used, transcript);
        self.bytes += held.bytes();
        self.held.insert(transcript, held);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::EntryId;
    use crate::run::EntryBody;

    fn transcript(n: u128) -> SessionId {
        SessionId::from_uuid(Uuid::from_u128(n))
    }

    fn entry(n: u64, text: &str) -> Entry {
        Entry {
            id: EntryId::from_uuid(Uuid::nil()),
            n,
            run: None,
            wire_id: None,
            at_ms: 0,
            body: EntryBody::User {
                text: text.to_owned(),
                images: Vec::new(),
                withheld: false,
            },
        }
    }

    fn held(recent: &Recent, transcript: SessionId, through: u64) -> Option<Vec<String>> {
        let conversation = recent.get(transcript, through)?;
        Some(conversation.iter().map(|m| m.text.clone()).collect())
    }

    #[test]
    fn what_is_held_is_good_only_at_its_position() {
        let recent = Recent::default();
        let id = transcript(1);
        recent.put(id, 1, [&entry(1, "a")].into_iter().collect());
        recent.append(id, [&[entry(2, "b")], &[entry(3, "c")]]);
        assert_eq!(held(&recent, transcript(2), 3), None);
        assert_eq!(held(&recent, id, 3).unwrap(), ["a", "b", "c"]);
        // Somebody else has appended: what is held can never be good again.
        assert_eq!(held(&recent, id, 4), None);
        assert_eq!(held(&recent, id, 3), None);
        assert_eq!(recent.lock().bytes, 0);
    }

    #[test]
    fn a_gap_or_a_reader_that_is_not_done_lets_go_of_it() {
        let recent = Recent::default();
        let id = transcript(1);
        recent.put(id, 1, [&entry(1, "a")].into_iter().collect());
        recent.append(id, [&[entry(3, "c")], &[]]);
        assert_eq!(held(&recent, id, 3), None);
        recent.put(id, 1, [&entry(1, "a")].into_iter().collect());
        let reader = recent.get(id, 1).unwrap();
        recent.append(id, [&[entry(2, "b")], &[]]);
        assert_eq!(held(&recent, id, 2), None);
        assert_eq!(reader.len(), 1);
    }

    #[test]
    fn as_many_entries_are_held_as_would_be_read() {
        let recent = Recent::default();
        let id = transcript(1);
        recent.put(id, 0, Conversation::default());
        let last = u64::from(ENTRIES_MAX) + 5;
        for n in 1..=last {
            recent.append(id, [&[entry(n, &n.to_string())], &[]]);
        }
        let texts = held(&recent, id, last).unwrap();
        assert_eq!(texts.len(), 1000);
        assert_eq!(texts[0], "6");
    }

    #[test]
    fn the_longest_unused_go_first_and_the_largest_are_not_held() {
        let recent = Recent::default();
        let half = "x".repeat(CONVERSATION_BYTES_MAX / 2);
        let put = |n: u128| {
            recent.put(transcript(n), 1, [&entry(1, &half)].into_iter().collect());
        };
        for n in 0..40 {
            put(n);
            recent.get(transcript(0), 1).unwrap();
        }
        assert!(recent.get(transcript(0), 1).is_some());
        assert!(recent.get(transcript(1), 1).is_none());
        assert!(recent.get(transcript(39), 1).is_some());
        let state = recent.lock();
        assert!(state.bytes <= BYTES_MAX && state.held.len() > 20);
        assert_eq!(state.held.len(), state.by_use.len());
        drop(state);
        let large = "x".repeat(CONVERSATION_BYTES_MAX);
        recent.put(transcript(0), 1, [&entry(1, &large)].into_iter().collect());
        assert!(recent.get(transcript(0), 1).is_none());
    }
}
