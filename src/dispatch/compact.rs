//! Summing a transcript up, so that the next run has less to read (`protocol-facts` §6.7).
//!
//! The session's own agent is asked for the summary, in a run of its own that is stored nowhere;
//! when it gives none, only the newest messages are kept. Transcripts only grow: what is summed up
//! stays in them, behind an entry that says which part an agent gets from now on.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::auth::Operation;
use crate::events::{ChangeReason, CompactionPhase, Notice, Subscription};
use crate::ids::{EntryId, SessionId, SessionKey};
use crate::run::{Compactions, Conversation, Entry, EntryBody, Message, Outcome, Role, Turn};
use crate::session::{EntryRange, NewEntry, SessionRecord, SessionTarget};

use super::sessions::of_transcript;
use super::{Caller, Compacted, CompactedHow, Dispatch, DispatchError, SessionCompact, Started};

/// Entries that are looked at: what an agent gets of a transcript at most.
const ENTRIES_MAX: u32 = 1000;

/// Newest entries that are kept when there is no summary.
const KEPT_WITHOUT_SUMMARY: usize = 20;

/// Sessions that are summed up at once; further ones are refused.
const COMPACTING_MAX: usize = 64;

/// When to try again after a refusal.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bytes of text that make a token, about.
const BYTES_PER_TOKEN: usize = 4;

/// What the agent is asked.
const PROMPT: &str = "Sum up the conversation so far, so that it can go on from the summary alone. \
     Keep names, numbers, decisions, open questions and what the user wants. Answer with the \
     summary only.";

/// Sessions that are being summed up.
#[derive(Clone, Debug, Default)]
pub(super) struct Compacting(Arc<Mutex<HashSet<SessionKey>>>);

/// A session's place among them; given up when it is dropped.
struct Place {
    all: Compacting,
    key: SessionKey,
}

impl Compacting {
    fn enter(&self, key: &SessionKey) -> Result<Place, DispatchError> {
        let mut sessions = self.lock();
        if sessions.contains(key) {
            return Err(DispatchError::SessionActive(key.clone()));
        }
        if sessions.len() >= COMPACTING_MAX {
            return Err(DispatchError::Overloaded {
                what: "the number of sessions that are summed up at once",
                retry_after: RETRY_AFTER,
            });
        }
        sessions.insert(key.clone());
        Ok(Place {
            all: self.clone(),
            key: key.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<SessionKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

/// What an agent would get of a transcript now.
pub(super) struct Snapshot {
    session_id: SessionId,
    conversation: Conversation,
    /// The summary in force; empty when there is none.
    summary: String,
    /// Entries that are said word for word.
    live: Vec<Entry>,
    /// Position of the newest entry.
    through: u64,
}

/// How a transcript is to be shortened.
struct Shorter {
    summary: String,
    kept_from: u64,
    is_summed_up: bool,
}

/// What became of the question for a summary.
enum Answer {
    Summary(String),
    None,
    Stopped,
}

impl Dispatch {
    /// Sums a session's transcript up, or keeps only its newest entries. The run that is active
    /// goes on with what it was given; what is said meanwhile is kept word for word.
    ///
    /// # Errors
    /// A missing scope, a malformed key, a session that is being summed up already, a full queue,
    /// a transcript that was replaced meanwhile, a failing ledger.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the transcript as it was, unless it was just being written.
    pub async fn sessions_compact(
        &self,
        caller: &Caller,
        request: SessionCompact,
    ) -> Result<Compacted, DispatchError> {
        self.require(caller, Operation::Method("sessions.compact"))?;
        self.accepting()?;
        let (key, agent) = self.resolve_key(&request.session_key, request.agent_id.as_deref())?;
        let nothing = |reason, kept| Compacted {
            key: key.clone(),
            how: CompactedHow::NotAtAll { reason, kept },
        };
        let Some(session) = self.parts.ledger.session(key.clone()).await? else {
            return Ok(nothing(Some("no sessionId"), None));
        };
        let Some(snapshot) = self.snapshot(&key).await? else {
            return Ok(nothing(Some("no transcript"), None));
        };
        let lines = request
            .lines_max
            .map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
        if lines.is_some_and(|lines| snapshot.live.len() <= lines) {
            return Ok(nothing(None, Some(count(&snapshot.live))));
        }
        let _place = self.compacting.enter(&key)?;
        let operation = self.parts.ids.random();
        let tell = |phase| {
            self.parts.bus.publish(Notice::Compaction {
                session: key.clone(),
                agent: agent.clone(),
                operation,
                phase,
            });
        };
        tell(CompactionPhase::Started);
        let asked = Asked {
            caller,
            session: &session,
            snapshot: &snapshot,
            lines,
            instructions: request.instructions.as_deref(),
        };
        let how = self.shorten(asked).await;
        let failure = match &how {
            Ok(CompactedHow::NotAtAll { reason, .. }) => *reason,
            Ok(CompactedHow::Shortened { .. }) => None,
            Err(_refused) => Some("failed"),
        };
        tell(CompactionPhase::Ended { failure });
        Ok(Compacted {
            key: key.clone(),
            how: how?,
        })
    }

    pub(super) async fn snapshot(
        &self,
        key: &SessionKey,
    ) -> Result<Option<Snapshot>, DispatchError> {
        let range = EntryRange::Newest {
            skip: 0,
            limit: ENTRIES_MAX,
        };
        let page = self.parts.ledger.entries(key.clone(), range).await?;
        Ok(page.and_then(|page| Snapshot::of(page.session_id, page.entries)))
    }

    async fn shorten(&self, asked: Asked<'_>) -> Result<CompactedHow, DispatchError> {
        let snapshot = asked.snapshot;
        let unchanged = |reason| CompactedHow::NotAtAll {
            reason: Some(reason),
            kept: Some(count(&snapshot.live)),
        };
        let shorter = match asked.lines {
            Some(lines) => snapshot.newest(lines),
            None => match self.summary(&asked).await? {
                Answer::Summary(summary) => Some(Shorter {
                    summary,
                    kept_from: snapshot.through + 1,
                    is_summed_up: true,
                }),
                Answer::None => snapshot.newest(KEPT_WITHOUT_SUMMARY),
                Answer::Stopped => return Ok(unchanged("aborted")),
            },
        };
        match shorter {
            Some(shorter) => self.write(&asked, shorter).await,
            None => Ok(unchanged("no summary")),
        }
    }

    /// Asks the session's agent, with the model the session uses.
    async fn summary(&self, asked: &Asked<'_>) -> Result<Answer, DispatchError> {
        let text = match asked.instructions {
            Some(instructions) => format!("{PROMPT}\n\n{instructions}"),
            None => PROMPT.to_owned(),
        };
        let model = asked.session.settings.get("model");
        let turn = Turn {
            history: asked.snapshot.conversation.iter().cloned().collect(),
            current: vec![Message::text(Role::User, text)],
            model: model.and_then(|model| model.as_str()).map(str::to_owned),
            ..Turn::default()
        };
        let started = self.ask(asked.caller, &asked.session.agent, turn).await?;
        let Started::New(admitted) = started else {
            return Err(DispatchError::Stopped);
        };
        let mut reader = Subscription::from_start(Arc::clone(&admitted.log));
        let ended = reader.ended().await.ok_or(DispatchError::Stopped)?;
        Ok(match &ended.outcome {
            Outcome::Ok(_) => match admitted.log.text().trim() {
                "" => Answer::None,
                text => Answer::Summary(text.to_owned()),
            },
            Outcome::Error(error) => {
                tracing::warn!(session = %asked.session.key, %error, "there is no summary");
                Answer::None
            }
            Outcome::TimedOut(_) => Answer::None,
            Outcome::Aborted(_) | Outcome::Interrupted => Answer::Stopped,
        })
    }

    /// Commits the entry, and tells of it.
    async fn write(
        &self,
        asked: &Asked<'_>,
        shorter: Shorter,
    ) -> Result<CompactedHow, DispatchError> {
        let (session, snapshot) = (asked.session, asked.snapshot);
        let now_ms = self.parts.clock.now_ms();
        let entry = NewEntry {
            id: EntryId::from_uuid(self.parts.ids.ordered(now_ms)),
            body: EntryBody::Compaction {
                summary: shorter.summary.clone(),
                kept_from: Some(shorter.kept_from),
            },
            at_ms: now_ms,
        };
        let target = SessionTarget {
            expected_session_id: Some(snapshot.session_id),
            ..self.target(session.key.clone(), session.agent.clone(), None)
        };
        let note = Compactions::next(&session.settings, snapshot.session_id, now_ms);
        let ledger = &self.parts.ledger;
        let written = ledger.compact_session(target, entry, note).await;
        let (record, entry) = written.map_err(|error| of_transcript(error, &session.key))?;
        self.tell_compacted(&record, entry.clone());
        let mut after = snapshot.conversation.clone();
        after.push(&entry);
        let is_kept = |entry: &&Entry| entry.n >= shorter.kept_from;
        let kept = snapshot.live.iter().filter(is_kept).count();
        Ok(CompactedHow::Shortened {
            kept: u64::try_from(kept).unwrap_or(u64::MAX),
            tokens_before: tokens(&snapshot.conversation),
            tokens_after: tokens(&after),
            summary: shorter.is_summed_up.then_some(shorter.summary),
        })
    }

    fn tell_compacted(&self, record: &SessionRecord, entry: Entry) {
        self.parts.bus.publish(Notice::Message {
            session: record.key.clone(),
            agent: record.agent.clone(),
            session_id: record.session_id,
            entry: Arc::new(entry),
        });
        self.publish_change(
            record.key.clone(),
            record.agent.clone(),
            ChangeReason::Compact,
        );
    }
}

/// What is to be shortened, for whom and how.
struct Asked<'a> {
    caller: &'a Caller,
    session: &'a SessionRecord,
    snapshot: &'a Snapshot,
    /// Entries to keep, when there is to be no summary.
    lines: Option<usize>,
    /// What the caller adds to the question for a summary.
    instructions: Option<&'a str>,
}

impl Snapshot {
    /// The messages the agent would get.
    pub(super) const fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// `None` when nothing is said word for word.
    fn of(session_id: SessionId, entries: Vec<Entry>) -> Option<Self> {
        let conversation = entries.iter().collect();
        let through = entries.last()?.n;
        let mut summary_in_force = String::new();
        let mut live: Vec<Entry> = Vec::new();
        for entry in entries {
            match entry.body {
                EntryBody::Compaction { summary, kept_from } => {
                    let kept_from = kept_from.unwrap_or(entry.n);
                    live.retain(|earlier| earlier.n >= kept_from);
                    summary_in_force = summary;
                }
                // An agent does not get them anyway.
                EntryBody::Command { .. } => {}
                EntryBody::User { .. }
                | EntryBody::Assistant { .. }
                | EntryBody::Tool { .. }
                | EntryBody::ToolResult { .. }
                | EntryBody::Injected { .. } => live.push(entry),
            }
        }
        (!live.is_empty()).then_some(Self {
            session_id,
            conversation,
            summary: summary_in_force,
            live,
            through,
        })
    }

    /// Only the newest entries, from a message of the user on where there is one: an answer or the
    /// result of a tool makes no sense without what it belongs to. `None` when that is all of them.
    fn newest(&self, lines: usize) -> Option<Shorter> {
        let first = self
            .live
            .len()
            .checked_sub(lines)
            .filter(|left| *left > 0)?;
        let is_user = |entry: &&Entry| matches!(entry.body, EntryBody::User { .. });
        let from = self.live.iter().skip(first).find(is_user);
        let from = from.or_else(|| self.live.get(first));
        Some(Shorter {
            summary: self.summary.clone(),
            kept_from: from.map_or(self.through + 1, |entry| entry.n),
            is_summed_up: false,
        })
    }
}

fn count(entries: &[Entry]) -> u64 {
    u64::try_from(entries.len()).unwrap_or(u64::MAX)
}

/// About how many tokens a model reads of a conversation.
fn tokens(conversation: &Conversation) -> u64 {
    tokens_of(conversation.iter().map(|message| message.text.len()).sum())
}

/// About how many tokens a text of this many bytes has.
pub(super) fn tokens_of(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

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

    fn user() -> EntryBody {
        EntryBody::User {
            text: "u".to_owned(),
            images: Vec::new(),
            withheld: false,
        }
    }

    fn answer() -> EntryBody {
        EntryBody::Injected {
            label: None,
            text: "a".to_owned(),
        }
    }

    fn compaction(kept_from: u64) -> EntryBody {
        EntryBody::Compaction {
            summary: "s".to_owned(),
            kept_from: Some(kept_from),
        }
    }

    fn check(bodies: Vec<EntryBody>, lines: usize, expected: Option<(u64, &str)>) {
        let id = SessionId::from_uuid(Uuid::nil());
        let snapshot = Snapshot::of(id, entries(bodies));
        let shorter = snapshot.and_then(|snapshot| snapshot.newest(lines));
        let found = shorter
            .as_ref()
            .map(|it| (it.kept_from, it.summary.as_str()));
        assert_eq!(found, expected, "{lines}");
    }

    #[test]
    fn what_is_kept_begins_with_a_message_of_the_user() {
        let talk = || vec![user(), answer(), user(), answer()];
        check(talk(), 4, None);
        check(talk(), 3, Some((3, "")));
        check(talk(), 2, Some((3, "")));
        check(talk(), 1, Some((4, "")));
        check(vec![], 1, None);
    }

    #[test]
    fn what_was_summed_up_before_stays_summed_up() {
        let talk = || vec![user(), answer(), compaction(2), user(), user()];
        check(talk(), 3, None);
        check(talk(), 1, Some((5, "s")));
        check(vec![user(), compaction(2)], 1, None);
    }

    #[test]
    fn a_session_is_summed_up_once_at_a_time() {
        let all = Compacting::default();
        let key = |n: usize| SessionKey::from_canonical(format!("agent:main:{n}"));
        let first = all.enter(&key(0)).unwrap();
        assert!(matches!(
            all.enter(&key(0)),
            Err(DispatchError::SessionActive(_))
        ));
        let more: Vec<_> = (1..COMPACTING_MAX).map(|n| all.enter(&key(n))).collect();
        assert!(more.iter().all(Result::is_ok));
        assert!(matches!(
            all.enter(&key(COMPACTING_MAX)),
            Err(DispatchError::Overloaded { .. })
        ));
        drop(first);
        assert!(all.enter(&key(0)).is_ok());
    }
}
