//! How rows become records.
//!
//! Times, counts and positions are stored as SQLite's signed integers; a value beyond their range
//! is cut to it, which is 292 million years in milliseconds.

use std::sync::Arc;

use rusqlite::Row;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::ids::{AgentId, EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::{Entry, EntryBody, Front};
use crate::session::ledger::{LastRun, LedgerError, NewEntry, RunRecord, SessionRecord};

use super::fault::StepError;

pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The bytes of an id, as they are stored.
pub(super) fn blob(id: Uuid) -> [u8; 16] {
    id.into_bytes()
}

/// A column with a count, a time or a position.
pub(super) fn number(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get(column).map(uint)
}

/// A column with a count, a time or a position that may be absent.
pub(super) fn maybe_number(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    Ok(value.map(uint))
}

/// A column with an id.
pub(super) fn id(row: &Row<'_>, column: &str) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

/// An id that its own grammar checked before it was stored.
pub(super) fn parsed<T: for<'de> Deserialize<'de>>(text: String) -> Result<T, StepError> {
    Ok(serde_json::from_value(serde_json::Value::String(text))?)
}

fn json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, StepError> {
    Ok(serde_json::from_str(text)?)
}

/// Columns of [`session`], from the table `session`.
pub(super) const SESSION_COLUMNS: &str = "session.key, session.agent, session.session_id, \
     session.created_at_ms, session.updated_at_ms, session.entries, session.label, \
     session.settings, session.usage, session.last_wire_id, session.last_terminal";

/// A session from a row with [`SESSION_COLUMNS`].
pub(super) fn session(row: &Row<'_>) -> Result<SessionRecord, StepError> {
    let last: (Option<String>, Option<String>) =
        (row.get("last_wire_id")?, row.get("last_terminal")?);
    let last_run = match last {
        (Some(wire_id), Some(terminal)) => Some(LastRun {
            wire_id: parsed(wire_id)?,
            terminal: json(&terminal)?,
        }),
        (Some(_) | None, _) => None,
    };
    Ok(SessionRecord {
        key: SessionKey::from_canonical(row.get::<_, Arc<str>>("key")?),
        agent: parsed::<AgentId>(row.get("agent")?)?,
        session_id: SessionId::from_uuid(id(row, "session_id")?),
        created_at_ms: number(row, "created_at_ms")?,
        updated_at_ms: number(row, "updated_at_ms")?,
        entries: number(row, "entries")?,
        label: row.get("label")?,
        settings: json(row.get_ref("settings")?.as_str().map_err(column)?)?,
        usage: json(row.get_ref("usage")?.as_str().map_err(column)?)?,
        last_run,
    })
}

/// Columns of [`run`], from the table `run`.
pub(super) const RUN_COLUMNS: &str = "run.run_id, run.wire_id, run.key, run.session_id, run.agent, \
     run.front, run.principal, run.accepted_at_ms, run.started_at_ms, run.terminal";

/// A run from a row with [`RUN_COLUMNS`].
pub(super) fn run(row: &Row<'_>) -> Result<RunRecord, StepError> {
    let terminal: Option<String> = row.get("terminal")?;
    Ok(RunRecord {
        run_id: RunId::from_uuid(id(row, "run_id")?),
        wire_id: parsed::<WireId>(row.get("wire_id")?)?,
        session: SessionKey::from_canonical(row.get::<_, Arc<str>>("key")?),
        session_id: SessionId::from_uuid(id(row, "session_id")?),
        agent: parsed::<AgentId>(row.get("agent")?)?,
        front: front(row.get_ref("front")?.as_str().map_err(column)?)?,
        principal: row.get("principal")?,
        accepted_at_ms: number(row, "accepted_at_ms")?,
        started_at_ms: maybe_number(row, "started_at_ms")?,
        terminal: terminal.as_deref().map(json).transpose()?,
    })
}

/// The stored name of a front.
pub(super) const fn front_name(front: Front) -> &'static str {
    match front {
        Front::Http => "http",
        Front::NativeAgent => "native_agent",
        Front::NativeChat => "native_chat",
    }
}

fn front(name: &str) -> Result<Front, StepError> {
    let fronts = [Front::Http, Front::NativeAgent, Front::NativeChat];
    let found = fronts.into_iter().find(|front| front_name(*front) == name);
    found.ok_or_else(|| {
        let unknown = serde::de::Error::custom(format_args!("unknown front {name:?}"));
        StepError::Row(unknown)
    })
}

fn column(error: rusqlite::types::FromSqlError) -> StepError {
    StepError::Sql(error.into())
}

/// Columns of [`EntryRow::read`], from the table `entry`.
pub(super) const ENTRY_COLUMNS: &str = "id, n, run, wire_id, at_ms, body";

/// An entry whose body is still text, so that the thread that writes need not parse it.
#[derive(Clone, Debug)]
pub(super) struct EntryRow {
    id: Uuid,
    n: u64,
    run: Option<Uuid>,
    wire_id: Option<String>,
    at_ms: u64,
    body: String,
}

impl EntryRow {
    /// An entry from a row with [`ENTRY_COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let run: Option<[u8; 16]> = row.get("run")?;
        Ok(Self {
            id: id(row, "id")?,
            n: number(row, "n")?,
            run: run.map(Uuid::from_bytes),
            wire_id: row.get("wire_id")?,
            at_ms: number(row, "at_ms")?,
            body: row.get("body")?,
        })
    }

    /// Bytes of the body.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.body.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn decode(self) -> Result<Entry, StepError> {
        Ok(Entry {
            id: EntryId::from_uuid(self.id),
            n: self.n,
            run: self.run.map(RunId::from_uuid),
            wire_id: self.wire_id.map(parsed::<WireId>).transpose()?,
            at_ms: self.at_ms,
            body: json(&self.body)?,
        })
    }
}

/// An entry that is to be written, its body already text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) id: Uuid,
    pub(super) at_ms: u64,
    pub(super) body: Box<RawValue>,
}

impl Draft {
    pub(super) fn new(entry: &NewEntry) -> Result<Self, LedgerError> {
        let body = serde_json::value::to_raw_value(&entry.body).map_err(StepError::from)?;
        Ok(Self {
            id: entry.id.as_uuid(),
            at_ms: entry.at_ms,
            body,
        })
    }

    pub(super) fn all(entries: &[NewEntry]) -> Result<Vec<Self>, LedgerError> {
        entries.iter().map(Self::new).collect()
    }

    /// Marks input no agent is to get.
    pub(super) fn withhold(&mut self) -> Result<(), StepError> {
        let mut body: EntryBody = json(self.body.get())?;
        body.withhold();
        self.body = serde_json::value::to_raw_value(&body)?;
        Ok(())
    }

    /// The entry this draft of a run's input stands for, without a position.
    pub(super) fn waiting(&self, run: &RunRecord) -> Result<Entry, StepError> {
        Ok(Entry {
            id: EntryId::from_uuid(self.id),
            n: 0,
            run: Some(run.run_id),
            wire_id: Some(run.wire_id.clone()),
            at_ms: self.at_ms,
            body: json::<EntryBody>(self.body.get())?,
        })
    }
}
