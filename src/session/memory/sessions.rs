//! Steps over sessions and transcripts.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::ids::{EntryId, SessionId, SessionKey};
use crate::run::{Entry, Usage};
use crate::session::ledger::{
    ENTRY_PAGE_BYTES_MAX, EntryPage, EntryRange, Lease, LedgerError, NewEntry, Retention,
    SessionPage, SessionPatch, SessionQuery, SessionRecord, SessionTarget,
};
use crate::session::rules::{merge_settings, oldest_kept_ms, positions};

use super::state::{Session, State, Stored, count};

impl State {
    pub(super) fn session(&self, key: &SessionKey) -> Option<SessionRecord> {
        self.sessions.get(key).map(|session| session.record.clone())
    }

    pub(super) fn session_by_id(&self, id: SessionId) -> Option<SessionRecord> {
        let mut records = self.sessions.values().map(|session| &session.record);
        records.find(|record| record.session_id == id).cloned()
    }

    pub(super) fn list_sessions(&self, query: &SessionQuery) -> SessionPage {
        let mut found = self.newest_first();
        found.retain(|session| query.matches(&session.record));
        let total = count(&found);
        let skip = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let page = found.into_iter().skip(skip).take(limit);
        SessionPage {
            sessions: page.map(|session| session.record.clone()).collect(),
            total,
        }
    }

    pub(super) fn patch_session(
        &mut self,
        target: &SessionTarget,
        patch: SessionPatch,
    ) -> Result<SessionRecord, LedgerError> {
        self.check(&target.key, target.lease, target.expected_session_id)?;
        if let Some(Some(label)) = &patch.label {
            self.check_label(&target.key, label)?;
        }
        self.ensure(target)?;
        let session = self.sessions.get_mut(&target.key);
        let record = &mut session.ok_or(LedgerError::NotFound)?.record;
        if let Some(label) = patch.label {
            record.label = label.map(Into::into);
        }
        merge_settings(&mut record.settings, patch.settings);
        record.updated_at_ms = target.at_ms;
        Ok(record.clone())
    }

    fn check_label(&self, key: &SessionKey, label: &str) -> Result<(), LedgerError> {
        let mut others = self.sessions.values().map(|session| &session.record);
        if others.any(|other| other.key != *key && other.label.as_deref() == Some(label)) {
            return Err(LedgerError::LabelInUse {
                label: label.into(),
            });
        }
        Ok(())
    }

    pub(super) fn reset_session(
        &mut self,
        target: &SessionTarget,
    ) -> Result<SessionRecord, LedgerError> {
        self.check(&target.key, target.lease, target.expected_session_id)?;
        let old = self.sessions.get(&target.key);
        let old = old.map(|session| (session.number, session.record.session_id));
        if let Some((number, old)) = old {
            self.insert_transcript(target.new_session_id, number)?;
            if let Some(transcript) = self.transcripts.get_mut(&old) {
                transcript.archived_at_ms = Some(target.at_ms);
            }
        }
        self.ensure(target)?;
        let session = self.sessions.get_mut(&target.key);
        let record = &mut session.ok_or(LedgerError::NotFound)?.record;
        record.session_id = target.new_session_id;
        record.entries = 0;
        record.usage = Usage::default();
        record.last_run = None;
        record.updated_at_ms = target.at_ms;
        Ok(record.clone())
    }

    pub(super) fn delete_session(
        &mut self,
        lease: Lease,
        key: &SessionKey,
        expected: Option<SessionId>,
    ) -> Result<Option<SessionRecord>, LedgerError> {
        if !self.sessions.contains_key(key) {
            return Ok(None);
        }
        self.check(key, lease, expected)?;
        Ok(self.remove(key))
    }

    fn remove(&mut self, key: &SessionKey) -> Option<SessionRecord> {
        let gone = self.sessions.remove(key)?;
        self.transcripts
            .retain(|_id, transcript| transcript.session != gone.number);
        Some(gone.record)
    }

    pub(super) fn append(
        &mut self,
        lease: Lease,
        key: &SessionKey,
        entry: NewEntry,
    ) -> Result<Entry, LedgerError> {
        let session = self.sessions.get_mut(key).ok_or(LedgerError::NotFound)?;
        session.stamp(lease)?;
        session.record.updated_at_ms = entry.at_ms;
        let mut appended = self.write_entries(key, vec![entry], None);
        appended.pop().ok_or(LedgerError::NotFound)
    }

    pub(super) fn compact_session(
        &mut self,
        target: &SessionTarget,
        entry: NewEntry,
        note: Map<String, Value>,
    ) -> Result<(SessionRecord, Entry), LedgerError> {
        self.check(&target.key, target.lease, target.expected_session_id)?;
        let entry = self.append(target.lease, &target.key, entry)?;
        let session = self.sessions.get_mut(&target.key);
        let record = &mut session.ok_or(LedgerError::NotFound)?.record;
        merge_settings(&mut record.settings, note);
        record.updated_at_ms = target.at_ms;
        Ok((record.clone(), entry))
    }

    pub(super) fn entries(&self, key: &SessionKey, range: EntryRange) -> Option<EntryPage> {
        let record = &self.sessions.get(key)?.record;
        let transcript = self.transcripts.get(&record.session_id)?;
        let (first, last) = positions(range, record.entries);
        let stored = transcript.entries.iter();
        let wanted = stored.filter(|stored| (first..=last).contains(&stored.entry.n));
        let entries = match range {
            EntryRange::After { .. } => within_budget(wanted),
            EntryRange::Newest { .. } => {
                let mut newest_first = within_budget(wanted.rev());
                newest_first.reverse();
                newest_first
            }
        };
        Some(EntryPage {
            session_id: record.session_id,
            entries,
            total: record.entries,
        })
    }

    pub(super) fn position(&self, key: &SessionKey, id: EntryId) -> Option<u64> {
        let record = &self.sessions.get(key)?.record;
        let transcript = self.transcripts.get(&record.session_id)?;
        let mut stored = transcript.entries.iter();
        stored
            .find(|stored| stored.entry.id == id)
            .map(|stored| stored.entry.n)
    }

    pub(super) fn prune(&mut self, limits: &Retention, now_ms: u64) -> (u64, u64) {
        let oldest = oldest_kept_ms(limits, now_ms);
        let sessions = self.prune_sessions(limits.sessions_max, oldest);
        let runs = self.runs.values();
        let busy: BTreeSet<u64> = runs
            .filter(|run| run.record.terminal.is_none())
            .map(|run| run.session)
            .collect();
        self.transcripts.retain(|_id, transcript| {
            transcript.archived_at_ms.is_none_or(|at| at >= oldest)
                || busy.contains(&transcript.session)
        });
        let runs = self.prune_runs(limits.runs_max, now_ms);
        (sessions, runs)
    }

    fn prune_sessions(&mut self, sessions_max: u64, oldest: u64) -> u64 {
        let kept = usize::try_from(sessions_max).unwrap_or(usize::MAX);
        let ranked = self.newest_first().into_iter().enumerate();
        let old =
            ranked.filter(|(rank, session)| *rank >= kept || session.record.updated_at_ms < oldest);
        let idle = old.filter(|(_rank, session)| !self.is_busy(session));
        let gone: Vec<SessionKey> = idle
            .map(|(_rank, session)| session.record.key.clone())
            .collect();
        for key in &gone {
            self.remove(key);
        }
        count(&gone)
    }

    fn is_busy(&self, session: &Session) -> bool {
        let mut runs = self.runs.values();
        runs.any(|run| run.session == session.number && run.record.terminal.is_none())
    }

    fn newest_first(&self) -> Vec<&Session> {
        let mut sessions: Vec<&Session> = self.sessions.values().collect();
        sessions.sort_by_key(|session| Reverse((session.record.updated_at_ms, session.number)));
        sessions
    }
}

/// The first entries, until they have more bytes than a page may have.
fn within_budget<'a, I: Iterator<Item = &'a Stored>>(entries: I) -> Vec<Entry> {
    let mut bytes = 0;
    let mut page = Vec::new();
    for stored in entries {
        bytes += stored.bytes;
        if bytes > ENTRY_PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(stored.entry.clone());
    }
    page
}
