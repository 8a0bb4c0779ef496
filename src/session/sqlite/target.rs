//! What every write does first: find the session, check the right to write, make it if need be.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::ids::{RunId, SessionId, SessionKey, WireId};
use crate::run::Usage;
use crate::session::ledger::{Lease, LedgerError, SessionTarget};
use crate::session::rules::fence;

use super::fault::StepError;
use super::rows::{Draft, ENTRY_COLUMNS, EntryRow, blob, id, int, number};

/// A session as a write needs it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) session: i64,
    pub(super) transcript: i64,
    pub(super) session_id: SessionId,
    pub(super) entries: u64,
    epoch: u64,
    /// As text; absent in a session that was just made.
    usage: Option<String>,
    /// As text; absent when there are none.
    pub(super) settings: Option<String>,
}

const HEAD_COLUMNS: &str = "id, transcript, session_id, entries, epoch, usage, settings";

/// How no settings are stored.
const NO_SETTINGS: &str = "{}";

impl Head {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            session: row.get("id")?,
            transcript: row.get("transcript")?,
            session_id: SessionId::from_uuid(id(row, "session_id")?),
            entries: number(row, "entries")?,
            epoch: number(row, "epoch")?,
            usage: row.get("usage")?,
            settings: match row.get_ref("settings")?.as_str()? {
                NO_SETTINGS => None,
                settings => Some(settings.to_owned()),
            },
        })
    }

    pub(super) fn by_key(conn: &Connection, key: &SessionKey) -> Result<Option<Self>, StepError> {
        let sql = format!("SELECT {HEAD_COLUMNS} FROM session WHERE key = ?1");
        let mut select = conn.prepare_cached(&sql)?;
        Ok(select.query_row([key.as_str()], Self::read).optional()?)
    }

    pub(super) fn by_number(conn: &Connection, session: i64) -> Result<Option<Self>, StepError> {
        let sql = format!("SELECT {HEAD_COLUMNS} FROM session WHERE id = ?1");
        let mut select = conn.prepare_cached(&sql)?;
        Ok(select.query_row([session], Self::read).optional()?)
    }

    /// Refuses an old lease and a transcript the caller does not expect.
    pub(super) fn check(
        &self,
        lease: Lease,
        expected: Option<SessionId>,
    ) -> Result<(), LedgerError> {
        if expected.is_some_and(|expected| expected != self.session_id) {
            return Err(LedgerError::SessionChanged {
                session_id: self.session_id,
            });
        }
        fence(lease, self.epoch)
    }

    /// The session of `target`, checked; made when it does not exist.
    pub(super) fn ensure(conn: &Connection, target: &SessionTarget) -> Result<Self, StepError> {
        if let Some(head) = Self::by_key(conn, &target.key)? {
            head.check(target.lease, target.expected_session_id)?;
            return Ok(head);
        }
        if target.expected_session_id.is_some() {
            return Err(LedgerError::NotFound.into());
        }
        Self::make(conn, target)
    }

    fn make(conn: &Connection, target: &SessionTarget) -> Result<Self, StepError> {
        let transcript = insert_transcript(conn, target.new_session_id)?;
        let mut insert = conn.prepare_cached(
            "INSERT INTO session \
             (key, agent, transcript, session_id, epoch, created_at_ms, updated_at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )?;
        let session = insert.insert(params![
            target.key.as_str(),
            target.agent.as_str(),
            transcript,
            blob(target.new_session_id.as_uuid()),
            int(target.lease.epoch),
            int(target.at_ms),
        ])?;
        own_transcript(conn, transcript, session)?;
        count_session(conn, target.agent.as_str(), 1)?;
        Ok(Self {
            session,
            transcript,
            session_id: target.new_session_id,
            entries: 0,
            epoch: target.lease.epoch,
            usage: None,
            settings: None,
        })
    }

    /// The usage of the session's runs with that of one more, as text.
    pub(super) fn usage_with(&self, more: &Usage) -> Result<String, StepError> {
        let mut usage: Usage = match &self.usage {
            Some(text) => serde_json::from_str(text)?,
            None => Usage::default(),
        };
        usage.add(more);
        Ok(serde_json::to_string(&usage)?)
    }

    /// Notes the use of the session: its entries, the time and the lease.
    pub(super) fn touch(
        &self,
        conn: &Connection,
        lease: Lease,
        at_ms: u64,
    ) -> Result<(), StepError> {
        let mut update = conn.prepare_cached(
            "UPDATE session SET entries = ?2, epoch = ?3, updated_at_ms = ?4 WHERE id = ?1",
        )?;
        update.execute(params![
            self.session,
            int(self.entries),
            int(lease.epoch),
            int(at_ms)
        ])?;
        Ok(())
    }

    /// Appends entries to the transcript and counts them in `self`; the row is written by the
    /// caller.
    pub(super) fn append(
        &mut self,
        conn: &Connection,
        drafts: &[Draft],
        origin: Option<(RunId, &WireId)>,
    ) -> Result<(), StepError> {
        let mut insert = conn.prepare_cached(
            "INSERT INTO entry (transcript, n, id, run, wire_id, at_ms, body) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for draft in drafts {
            self.entries = self.entries.saturating_add(1);
            insert.execute(params![
                self.transcript,
                int(self.entries),
                blob(draft.id),
                origin.map(|(run_id, _wire_id)| blob(run_id.as_uuid())),
                origin.map(|(_run_id, wire_id)| wire_id.as_str()),
                int(draft.at_ms),
                draft.body.get(),
            ])?;
        }
        Ok(())
    }
}

/// Adds a transcript that no session has yet.
pub(super) fn insert_transcript(conn: &Connection, id: SessionId) -> Result<i64, StepError> {
    let mut insert = conn.prepare_cached("INSERT INTO transcript (session_id) VALUES (?1)")?;
    Ok(insert.insert([blob(id.as_uuid())])?)
}

/// Gives a transcript to a session.
pub(super) fn own_transcript(
    conn: &Connection,
    transcript: i64,
    session: i64,
) -> Result<(), StepError> {
    let mut update = conn.prepare_cached("UPDATE transcript SET session = ?2 WHERE id = ?1")?;
    update.execute([transcript, session])?;
    Ok(())
}

/// Adds to the number of sessions of an agent.
pub(super) fn count_session(conn: &Connection, agent: &str, by: i64) -> Result<(), StepError> {
    let mut count = conn.prepare_cached(
        "INSERT INTO agent_sessions (agent, sessions) VALUES (?1, ?2) \
         ON CONFLICT (agent) DO UPDATE SET sessions = sessions + ?2",
    )?;
    count.execute(params![agent, by])?;
    Ok(())
}

/// Entries of a transcript from position `first` to `last`, oldest first.
pub(super) fn entry_rows(
    conn: &Connection,
    transcript: i64,
    first: u64,
    last: u64,
) -> Result<Vec<EntryRow>, StepError> {
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM entry WHERE transcript = ?1 AND n BETWEEN ?2 AND ?3 ORDER BY n"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let rows = select.query_map(params![transcript, int(first), int(last)], EntryRow::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
