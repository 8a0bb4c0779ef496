//! Taking away what is not kept: old sessions, old runs, old transcripts, and what a delete left.
//!
//! Everything goes in steps of bounded size, each a write like any other, so that runs go on
//! between them.

use rusqlite::{Connection, OptionalExtension, params};

use crate::session::ledger::Retention;
use crate::session::rules::oldest_kept_ms;

use super::fault::StepError;
use super::rows::int;
use super::sessions;
use super::writer::Tx;

/// Sessions, or archived transcripts, that go in one step.
const SESSIONS_PER_STEP: u32 = 64;

/// Runs that go in one step.
const RUNS_PER_STEP: u32 = 256;

/// Entries that go in one step.
const ENTRIES_PER_STEP: u32 = 256;

/// How far pruning goes; worked out once, then followed step by step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Sessions before this one, in the order of their last use, go.
    sessions_before: (i64, i64),
    /// Transcripts archived before this time go.
    archived_before: i64,
    /// Ended runs up to this row go.
    runs_to: i64,
    now_ms: i64,
}

/// Where the next step begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) sessions_after: (i64, i64),
    pub(super) runs_after: i64,
}

impl Cursor {
    pub(super) const START: Self = Self {
        sessions_after: (i64::MIN, i64::MIN),
        runs_after: i64::MIN,
    };
}

pub(super) fn plan(conn: &Connection, limits: &Retention, now_ms: u64) -> Result<Plan, StepError> {
    let oldest = int(oldest_kept_ms(limits, now_ms));
    // The newest session that is one too many, and everything before it.
    let surplus: Option<(i64, i64)> = conn
        .prepare_cached(
            "SELECT updated_at_ms, id FROM session ORDER BY updated_at_ms DESC, id DESC \
             LIMIT 1 OFFSET ?1",
        )?
        .query_row([int(limits.sessions_max)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let too_many = surplus.map(|(updated, session)| (updated, session.saturating_add(1)));
    let too_old = (oldest, i64::MIN);
    let newest_run: Option<i64> = conn
        .prepare_cached("SELECT max(id) FROM run")?
        .query_row([], |row| row.get(0))?;
    Ok(Plan {
        sessions_before: too_many.map_or(too_old, |too_many| too_many.max(too_old)),
        archived_before: oldest,
        // Row numbers are given out without gaps, so the newest runs are the ones with the highest.
        runs_to: newest_run.unwrap_or(0).saturating_sub(int(limits.runs_max)),
        now_ms: int(now_ms),
    })
}

/// Removes some of the sessions that go; returns how many, and where to go on if there may be more.
pub(super) fn sessions_step(
    tx: &Tx<'_>,
    plan: &Plan,
    after: (i64, i64),
) -> Result<(u64, Option<(i64, i64)>), StepError> {
    let mut select = tx.conn.prepare_cached(
        "SELECT id, agent, updated_at_ms, EXISTS (SELECT 1 FROM run INDEXED BY run_open \
         WHERE run.session = session.id AND run.terminal IS NULL) FROM session \
         WHERE (updated_at_ms, id) > (?1, ?2) AND (updated_at_ms, id) < (?3, ?4) \
         ORDER BY updated_at_ms, id LIMIT ?5",
    )?;
    let bounds = params![
        after.0,
        after.1,
        plan.sessions_before.0,
        plan.sessions_before.1,
        SESSIONS_PER_STEP
    ];
    let rows = select.query_map(bounds, |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let candidates: Vec<(i64, String, i64, bool)> = rows.collect::<Result<_, _>>()?;
    let mut gone = 0;
    let mut last = None;
    for (session, agent, updated, is_busy) in candidates {
        last = Some((updated, session));
        if !is_busy {
            sessions::remove(tx, session, &agent)?;
            gone += 1;
        }
    }
    Ok((gone, last))
}

/// Lets go of some of the archived transcripts that are too old; true when there may be more. A run
/// that has not ended may still have its input there, so those of its session stay.
pub(super) fn archived_step(tx: &Tx<'_>, plan: &Plan) -> Result<bool, StepError> {
    let mut orphan = tx.conn.prepare_cached(
        "UPDATE transcript SET session = NULL, archived_at_ms = NULL WHERE id IN \
         (SELECT id FROM transcript WHERE archived_at_ms < ?1 AND NOT EXISTS \
         (SELECT 1 FROM run INDEXED BY run_open \
         WHERE run.session = transcript.session AND run.terminal IS NULL) LIMIT ?2)",
    )?;
    let count = orphan.execute(params![plan.archived_before, SESSIONS_PER_STEP])?;
    if count > 0 {
        tx.leave_garbage();
    }
    Ok(count > 0)
}

/// Removes some of the runs that go; returns how many, and where to go on if there may be more.
pub(super) fn runs_step(
    tx: &Tx<'_>,
    plan: &Plan,
    after: i64,
) -> Result<(u64, Option<i64>), StepError> {
    let mut select = tx.conn.prepare_cached(
        "SELECT id, terminal IS NOT NULL AND (kept_until_ms IS NULL OR kept_until_ms <= ?3) \
         FROM run WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?4",
    )?;
    let bounds = params![after, plan.runs_to, plan.now_ms, RUNS_PER_STEP];
    let rows = select.query_map(bounds, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let candidates: Vec<(i64, bool)> = rows.collect::<Result<_, _>>()?;
    let mut delete = tx.conn.prepare_cached("DELETE FROM run WHERE id = ?1")?;
    let mut gone = 0;
    let mut last = None;
    for (run, goes) in candidates {
        last = Some(run);
        if goes {
            delete.execute([run])?;
            gone += 1;
        }
    }
    Ok((gone, last))
}

/// Takes away some entries of transcripts that belong to no session; false when none are left.
pub(super) fn clear_garbage(conn: &Connection) -> Result<bool, StepError> {
    let mut select =
        conn.prepare_cached("SELECT id FROM transcript WHERE session IS NULL LIMIT 1")?;
    let orphan: Option<i64> = select.query_row([], |row| row.get(0)).optional()?;
    let Some(orphan) = orphan else {
        return Ok(false);
    };
    let mut delete = conn.prepare_cached(
        "DELETE FROM entry WHERE rowid IN \
         (SELECT rowid FROM entry WHERE transcript = ?1 ORDER BY n LIMIT ?2)",
    )?;
    let count = delete.execute(params![orphan, ENTRIES_PER_STEP])?;
    if count == 0 {
        conn.prepare_cached("DELETE FROM transcript WHERE id = ?1")?
            .execute([orphan])?;
    }
    Ok(true)
}
