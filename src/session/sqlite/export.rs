//! Reading a store without being its gateway: lists and exports for the command line.
//!
//! Works beside a running gateway and on a stopped one; never writes. Calls block, so they belong
//! on a thread that may.

use std::io::{self, Write};
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::clock::rfc3339;
use crate::ids::{AgentId, EntryId, SessionId, SessionKey, WireId};
use crate::run::Entry;
use crate::session::ledger::{
    EntryRange, LedgerError, RunRecord, SessionPage, SessionQuery, SessionRecord,
};

use super::open::{self, OpenError};
use super::{runs, sessions};

/// Version of the lines of an export.
const EXPORT_VERSION: u32 = 1;

/// Entries that are read at once; between two reads the gateway can tidy its log.
const ENTRIES_PER_READ: u32 = 256;

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such session.
    #[error("no session {0}")]
    NotFound(SessionKey),
    /// The session was reset or deleted while it was read; the lines so far are of the old
    /// transcript.
    #[error("session {0} was reset or deleted while it was read")]
    Changed(SessionKey),
    /// The store failed.
    #[error("cannot read the store")]
    Store(#[from] LedgerError),
    /// The lines could not be written.
    #[error("cannot write the export")]
    Write(#[from] io::Error),
}

/// A store, opened to be read only.
#[derive(Debug)]
pub struct Offline {
    conn: Connection,
}

#[derive(Serialize)]
struct HeaderLine<'a> {
    r#type: &'static str,
    version: u32,
    id: SessionId,
    key: &'a SessionKey,
    agent: &'a AgentId,
    timestamp: String,
}

#[derive(Serialize)]
struct MessageLine<'a> {
    r#type: &'static str,
    id: EntryId,
    #[serde(rename = "parentId")]
    parent_id: Option<EntryId>,
    timestamp: String,
    message: &'a Entry,
}

impl Offline {
    /// Opens the store of a state directory.
    ///
    /// # Errors
    /// [`OpenError`] when there is none, or none this program can read.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let conn = open::open_read_only(dir)?;
        Ok(Self { conn })
    }

    /// Sessions that match, newest first.
    ///
    /// # Errors
    /// [`LedgerError`] when the store cannot be read.
    pub fn sessions(&self, query: &SessionQuery) -> Result<SessionPage, LedgerError> {
        Ok(sessions::list(&self.conn, query)?)
    }

    /// One session.
    ///
    /// # Errors
    /// [`LedgerError`] when the store cannot be read.
    pub fn session(&self, key: &SessionKey) -> Result<Option<SessionRecord>, LedgerError> {
        Ok(sessions::by_key(&self.conn, key)?)
    }

    /// The newest runs of all sessions or of one, newest first.
    ///
    /// # Errors
    /// [`LedgerError`] when the store cannot be read.
    pub fn runs(
        &self,
        session: Option<&SessionKey>,
        limit: u32,
    ) -> Result<Vec<RunRecord>, LedgerError> {
        Ok(runs::list(&self.conn, session, limit)?)
    }

    /// The newest run with this wire id, and its input and answer as far as they are in a
    /// transcript.
    ///
    /// # Errors
    /// [`LedgerError`] when the store cannot be read.
    pub fn run(&self, wire_id: &WireId) -> Result<Option<(RunRecord, Vec<Entry>)>, LedgerError> {
        let Some(record) = runs::find(&self.conn, wire_id, None)? else {
            return Ok(None);
        };
        let entries = runs::entries(&self.conn, record.run_id)?;
        Ok(Some((record, entries)))
    }

    /// Writes a session's transcript as JSON lines, a header and one line per entry, and returns
    /// the number of entries.
    ///
    /// # Errors
    /// [`ExportError`]; what was written until then is whole lines.
    pub fn export(&self, key: &SessionKey, out: &mut dyn Write) -> Result<u64, ExportError> {
        let record = self
            .session(key)?
            .ok_or_else(|| ExportError::NotFound(key.clone()))?;
        write_line(
            out,
            &HeaderLine {
                r#type: "session",
                version: EXPORT_VERSION,
                id: record.session_id,
                key,
                agent: &record.agent,
                timestamp: rfc3339(record.created_at_ms),
            },
        )?;
        let mut parent_id = None;
        let mut written = 0;
        loop {
            let page = self.page(&record, written)?;
            write_page(out, parent_id, &page)?;
            let Some(last) = page.last() else { break };
            (written, parent_id) = (last.n, Some(last.id));
        }
        out.flush()?;
        Ok(written)
    }

    fn page(&self, record: &SessionRecord, after: u64) -> Result<Vec<Entry>, ExportError> {
        let range = EntryRange::After {
            n: after,
            limit: ENTRIES_PER_READ,
        };
        let page = sessions::entries(&self.conn, &record.key, range).map_err(LedgerError::from)?;
        match page {
            Some(page) if page.session_id == record.session_id => Ok(page.entries),
            Some(_) | None => Err(ExportError::Changed(record.key.clone())),
        }
    }
}

fn write_page(
    out: &mut dyn Write,
    mut parent_id: Option<EntryId>,
    page: &[Entry],
) -> Result<(), ExportError> {
    for entry in page {
        write_line(
            out,
            &MessageLine {
                r#type: "message",
                id: entry.id,
                parent_id,
                timestamp: rfc3339(entry.at_ms),
                message: entry,
            },
        )?;
        parent_id = Some(entry.id);
    }
    Ok(())
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}
