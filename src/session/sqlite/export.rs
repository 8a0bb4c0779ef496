//! Reading a store without being its gateway: lists and exports for the command line.
//!
//! Works beside a running gateway and on a stopped one; never writes. Calls block, so they belong on
//! a thread that may.

use std::io::{self, Write};
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::ids::{AgentId, EntryId, SessionId, SessionKey};
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
    /// The session was reset or deleted while it was read; the lines so far are of the old transcript.
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

    /// Writes a session's transcript as JSON lines, a header and one line per entry, and returns the
    /// number of entries.
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
                timestamp: timestamp(record.created_at_ms),
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
                timestamp: timestamp(entry.at_ms),
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

/// A wall-clock time in the form `2026-01-31T23:59:59.999Z`.
fn timestamp(at_ms: u64) -> String {
    let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a number of days since the Unix epoch, counted in years that begin in
/// March, so that the leap day is the last of its year, and in eras of 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let since_era_0 = days + 719_468;
    let (era, day_of_era) = (since_era_0 / 146_097, since_era_0 % 146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(at_ms: u64, expected: &str) {
        assert_eq!(timestamp(at_ms), expected, "{at_ms}");
    }

    #[test]
    fn times_are_written_in_utc() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_709_164_800_000, "2024-02-29T00:00:00.000Z");
        check(1_709_251_199_001, "2024-02-29T23:59:59.001Z");
        check(1_735_689_599_000, "2024-12-31T23:59:59.000Z");
        check(1_795_343_400_000, "2026-11-22T10:30:00.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }
}
