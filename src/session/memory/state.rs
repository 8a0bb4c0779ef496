//! The rows of the ledger in memory, and what every step over them shares.
//!
//! A step checks everything first and writes last, so a refused step leaves no trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Map;

use crate::ids::{RunId, SessionId, SessionKey, WireId};
use crate::run::{Entry, Usage};
use crate::session::ledger::{
    Fault, IdempotencyScope, Lease, LedgerError, NewEntry, Placed, RunRecord, SessionRecord,
    SessionTarget,
};
use crate::session::rules::fence;

use super::devices::Devices;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) epoch: u64,
    pub(super) failing: Option<Fault>,
    /// Numbers of sessions are never used twice; they order sessions of the same millisecond.
    pub(super) next_session: u64,
    pub(super) sessions: BTreeMap<SessionKey, Session>,
    pub(super) transcripts: BTreeMap<SessionId, Transcript>,
    /// Runs by number. The next run has one more than the newest there is, so that no number is
    /// missing among the newest and pruning can count them.
    pub(super) runs: BTreeMap<u64, Run>,
    pub(super) runs_by_id: BTreeMap<RunId, u64>,
    /// The newest run of each wire id and of each idempotency key.
    pub(super) runs_by_wire: BTreeMap<WireId, u64>,
    pub(super) runs_by_key: BTreeMap<KeyName, u64>,
    pub(super) devices: Devices,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) epoch: u64,
    pub(super) record: SessionRecord,
}

#[derive(Debug)]
pub(super) struct Transcript {
    pub(super) session: u64,
    pub(super) archived_at_ms: Option<u64>,
    pub(super) entries: Vec<Stored>,
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) entry: Entry,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) session: u64,
    pub(super) key: Option<Key>,
    pub(super) record: RunRecord,
    pub(super) input: Input,
    pub(super) resume: Option<String>,
    pub(super) restarts: u32,
    pub(super) folded_into: Option<RunId>,
    /// Whether it has input; a text command has none.
    pub(super) has_input: bool,
}

/// Where the input of a run is.
#[derive(Debug)]
pub(super) enum Input {
    /// It waits with the run.
    Waiting(Vec<NewEntry>),
    /// It is in the transcript.
    Placed(Placed),
}

/// An idempotency key with what it is unique in.
pub(super) type KeyName = (&'static str, Arc<str>, Arc<str>);

#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: KeyName,
    pub(super) fingerprint: [u8; 32],
    /// Absent while the run lives.
    pub(super) kept_until_ms: Option<u64>,
}

impl Key {
    pub(super) fn new(scope: &IdempotencyScope) -> Self {
        Self {
            name: key_name(scope),
            fingerprint: scope.fingerprint,
            kept_until_ms: None,
        }
    }

    pub(super) fn is_kept(&self, now_ms: u64) -> bool {
        self.kept_until_ms.is_none_or(|until| until > now_ms)
    }
}

pub(super) fn key_name(scope: &IdempotencyScope) -> KeyName {
    (
        scope.operation,
        Arc::clone(&scope.principal),
        Arc::clone(&scope.key),
    )
}

impl State {
    /// Checks lease and expected transcript of a session that need not exist.
    pub(super) fn check(
        &self,
        key: &SessionKey,
        lease: Lease,
        expected: Option<SessionId>,
    ) -> Result<(), LedgerError> {
        let Some(session) = self.sessions.get(key) else {
            return expected.map_or(Ok(()), |_id| Err(LedgerError::NotFound));
        };
        let session_id = session.record.session_id;
        if expected.is_some_and(|expected| expected != session_id) {
            return Err(LedgerError::SessionChanged { session_id });
        }
        fence(lease, session.epoch)
    }

    /// The number of the target's session, stamped; it is made when it does not exist.
    pub(super) fn ensure(&mut self, target: &SessionTarget) -> Result<u64, LedgerError> {
        if let Some(session) = self.sessions.get_mut(&target.key) {
            session.stamp(target.lease)?;
            return Ok(session.number);
        }
        let number = self.next_session + 1;
        self.insert_transcript(target.new_session_id, number)?;
        self.next_session = number;
        let record = SessionRecord {
            key: target.key.clone(),
            agent: target.agent.clone(),
            session_id: target.new_session_id,
            created_at_ms: target.at_ms,
            updated_at_ms: target.at_ms,
            entries: 0,
            label: None,
            settings: Map::new(),
            usage: Usage::default(),
            last_run: None,
        };
        let session = Session {
            number,
            epoch: target.lease.epoch,
            record,
        };
        self.sessions.insert(target.key.clone(), session);
        Ok(number)
    }

    pub(super) fn insert_transcript(
        &mut self,
        id: SessionId,
        session: u64,
    ) -> Result<(), LedgerError> {
        if self.transcripts.contains_key(&id) {
            return Err(internal("the transcript id is taken"));
        }
        let transcript = Transcript {
            session,
            archived_at_ms: None,
            entries: Vec::new(),
        };
        self.transcripts.insert(id, transcript);
        Ok(())
    }

    pub(super) fn write_entries(
        &mut self,
        key: &SessionKey,
        entries: Vec<NewEntry>,
        run: Option<&(RunId, WireId)>,
    ) -> Vec<Entry> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Vec::new();
        };
        let Some(transcript) = self.transcripts.get_mut(&session.record.session_id) else {
            return Vec::new();
        };
        let mut appended = Vec::with_capacity(entries.len());
        for new in entries {
            session.record.entries += 1;
            let entry = new.at(session.record.entries, run);
            let bytes = serde_json::to_vec(&entry.body).map_or(0, |json| count(&json));
            appended.push(entry.clone());
            transcript.entries.push(Stored { entry, bytes });
        }
        appended
    }
}

impl Session {
    /// Refuses an old lease, else notes this one.
    pub(super) fn stamp(&mut self, lease: Lease) -> Result<(), LedgerError> {
        fence(lease, self.epoch)?;
        self.epoch = lease.epoch;
        Ok(())
    }
}

pub(super) fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

pub(super) fn internal(reason: &str) -> LedgerError {
    LedgerError::Failed {
        fault: Fault::Internal,
        reason: reason.into(),
    }
}
