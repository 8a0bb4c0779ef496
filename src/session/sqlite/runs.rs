//! Steps over runs and their idempotency keys.
//!
//! A run is one row: its identity card, its idempotency key, its input while it waits, and its
//! terminal. Accepting one touches its row and its session's, ending it the same two.

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ids::{RunId, SessionId, SessionKey, WireId};
use crate::run::{Entry, Terminal};
use crate::session::ledger::{
    Begun, Guard, IdempotencyScope, Lease, LedgerError, NewRun, OpenRun, RunRecord, SessionTarget,
};
use crate::session::rules::{check_guard, key_kept_until};

use super::fault::StepError;
use super::rows::{
    self, Draft, ENTRY_COLUMNS, EntryRow, RUN_COLUMNS, blob, front_name, int, number,
};
use super::sessions;
use super::target::{Head, entry_rows};
use super::writer::Tx;

/// Runs of one wire id that are looked at for an idempotency key. A principal makes a new one only
/// when the key of its last one is over, so this many would have to be of different principals.
const SAME_DIGEST_MAX: u32 = 256;

/// [`crate::session::ledger::BeginRun`], its entries already text.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) run: NewRun,
    pub(super) target: SessionTarget,
    pub(super) input: Vec<Draft>,
    /// The input as one text, when the run has to wait.
    pub(super) waiting: Option<String>,
    pub(super) reset: bool,
    pub(super) guard: Guard,
}

/// What [`begin`] did.
#[derive(Debug)]
pub(super) enum BeginOutcome {
    New {
        session_id: SessionId,
        entries_before: u64,
        /// As text; absent when there are none.
        settings: Option<String>,
    },
    Known(Box<Begun>),
}

pub(super) fn begin(tx: &Tx<'_>, begin: &Begin) -> Result<BeginOutcome, StepError> {
    let run = &begin.run;
    if let Some(scope) = &run.idempotency
        && let Some(answer) = idempotent(tx.conn, scope, run.accepted_at_ms)?
    {
        return Ok(BeginOutcome::Known(Box::new(answer)));
    }
    let mut head = head(tx.conn, begin)?;
    let entries_before = head.entries;
    if begin.waiting.is_none() {
        head.append(tx.conn, &begin.input, Some((run.run_id, &run.wire_id)))?;
    }
    head.touch(tx.conn, begin.target.lease, run.accepted_at_ms)?;
    insert(tx.conn, begin, &head, entries_before)?;
    Ok(BeginOutcome::New {
        session_id: head.session_id,
        entries_before,
        settings: head.settings,
    })
}

/// The session of a new run, as it is to be for it.
fn head(conn: &Connection, begin: &Begin) -> Result<Head, StepError> {
    let target = &begin.target;
    let found = Head::by_key(conn, &target.key)?;
    if let Some(found) = &found {
        found.check(target.lease, target.expected_session_id)?;
    }
    let settings = found.as_ref().and_then(|head| head.settings.as_deref());
    if begin.guard != Guard::default() {
        let settings = settings.map(serde_json::from_str).transpose()?;
        check_guard(begin.guard, &settings.unwrap_or_default())?;
    }
    let head = Head::ensure(conn, target)?;
    if found.is_none() || !begin.reset {
        return Ok(head);
    }
    sessions::archive(conn, &head, target)?;
    Head::by_number(conn, head.session)?.ok_or_else(|| LedgerError::NotFound.into())
}

fn insert(
    conn: &Connection,
    begin: &Begin,
    head: &Head,
    entries_before: u64,
) -> Result<(), StepError> {
    let run = &begin.run;
    let is_placed = begin.waiting.is_none();
    let mut insert = conn.prepare_cached(
        "INSERT INTO run (run_id, wire_id, wire_digest, session, key, agent, front, principal, \
         transcript, session_id, idempotency, key_digest, fingerprint, accepted_at_ms, \
         started_at_ms, first_n, inputs, last_n, waiting, resume) VALUES \
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
         ?20)",
    )?;
    let scope = run.idempotency.as_ref();
    insert.execute(params![
        blob(run.run_id.as_uuid()),
        run.wire_id.as_str(),
        short_digest(run.wire_id.as_str()),
        head.session,
        run.session.as_str(),
        run.agent.as_str(),
        front_name(run.front),
        run.principal,
        head.transcript,
        blob(head.session_id.as_uuid()),
        scope.map(scope_digest),
        scope
            .filter(|scope| *scope.key != *run.wire_id.as_str())
            .map(|scope| short_digest(&scope.key)),
        scope.map(|scope| scope.fingerprint),
        int(run.accepted_at_ms),
        run.started_at_ms.map(int),
        is_placed.then(|| int(entries_before.saturating_add(1))),
        i64::try_from(begin.input.len()).unwrap_or(i64::MAX),
        is_placed.then(|| int(head.entries)),
        begin.waiting,
        run.resume,
    ])?;
    Ok(())
}

/// What an idempotency key stands for, if its time is not over.
pub(super) fn idempotent(
    conn: &Connection,
    scope: &IdempotencyScope,
    now_ms: u64,
) -> Result<Option<Begun>, StepError> {
    // Only a key that is not the wire id of its run is in the second index.
    match newest_with_key(conn, scope, "wire_digest", now_ms)? {
        Some(answer) => Ok(Some(answer)),
        None => newest_with_key(conn, scope, "key_digest", now_ms),
    }
}

/// The newest run with the key among the runs whose `column` has its digest. An older one with the
/// same key was over before the newer one could begin, so the newest decides.
fn newest_with_key(
    conn: &Connection,
    scope: &IdempotencyScope,
    column: &str,
    now_ms: u64,
) -> Result<Option<Begun>, StepError> {
    let sql = format!(
        "SELECT {RUN_COLUMNS}, idempotency, fingerprint, kept_until_ms FROM run \
         WHERE {column} = ?1 ORDER BY id DESC LIMIT {SAME_DIGEST_MAX}"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([short_digest(&scope.key)])?;
    let wanted = scope_digest(scope);
    while let Some(row) = rows.next()? {
        let found: Option<[u8; 16]> = row.get("idempotency")?;
        if found != Some(wanted) {
            continue;
        }
        let kept_until = rows::maybe_number(row, "kept_until_ms")?;
        if kept_until.is_some_and(|until| until <= now_ms) {
            return Ok(None);
        }
        let fingerprint: [u8; 32] = row.get("fingerprint")?;
        let record = rows::run(row)?;
        return Ok(Some(if fingerprint == scope.fingerprint {
            Begun::Existing(record)
        } else {
            Begun::Conflict(record)
        }));
    }
    Ok(None)
}

/// The digest that tells one idempotency key from another: of operation, principal and key, each
/// with its length.
fn scope_digest(scope: &IdempotencyScope) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [scope.operation, &scope.principal, &scope.key] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    first_bytes(hash)
}

/// The digest a wire id or an idempotency key is found by; what is found is compared in full.
fn short_digest(text: &str) -> i64 {
    i64::from_be_bytes(first_bytes(Sha256::new().chain_update(text)))
}

fn first_bytes<const N: usize>(hash: Sha256) -> [u8; N] {
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; N];
    for (to, from) in first.iter_mut().zip(digest) {
        *to = from;
    }
    first
}

/// A run as the steps that move it need it.
struct Current {
    row: i64,
    session: i64,
    transcript: i64,
    session_id: SessionId,
    wire_id: WireId,
    inputs: u64,
    first_n: Option<u64>,
    waiting: Option<String>,
    is_ended: bool,
    /// Runs that are part of it.
    folds: u64,
    /// The run it is part of.
    folded_into: Option<[u8; 16]>,
}

impl Current {
    fn find(conn: &Connection, run_id: RunId) -> Result<Self, StepError> {
        let mut select = conn.prepare_cached(
            "SELECT id, session, transcript, session_id, wire_id, inputs, first_n, waiting, \
             folds, folded_into, terminal IS NOT NULL AS is_ended FROM run WHERE run_id = ?1",
        )?;
        let mut rows = select.query([blob(run_id.as_uuid())])?;
        let row = rows.next()?.ok_or(LedgerError::NotFound)?;
        Ok(Self {
            row: row.get("id")?,
            session: row.get("session")?,
            transcript: row.get("transcript")?,
            session_id: SessionId::from_uuid(rows::id(row, "session_id")?),
            wire_id: rows::parsed(row.get("wire_id")?)?,
            inputs: number(row, "inputs")?,
            first_n: rows::maybe_number(row, "first_n")?,
            waiting: row.get("waiting")?,
            is_ended: row.get("is_ended")?,
            folds: number(row, "folds")?,
            folded_into: row.get("folded_into")?,
        })
    }

    /// The input, which is in the run's transcript from position `first` on.
    fn placed(&self, conn: &Connection, first: u64) -> Result<PlacedRows, StepError> {
        let last = first.saturating_add(self.inputs).saturating_sub(1);
        Ok(PlacedRows {
            session_id: self.session_id,
            entries_before: first.saturating_sub(1),
            input: entry_rows(conn, self.transcript, first, last)?,
        })
    }

    /// The input that waits with the run.
    fn drafts(&self) -> Result<Vec<Draft>, StepError> {
        match &self.waiting {
            Some(text) => Ok(serde_json::from_str(text)?),
            None => Ok(Vec::new()),
        }
    }
}

/// Where the input of a run is, as [`start`] found or put it.
#[derive(Debug)]
pub(super) struct PlacedRows {
    pub(super) session_id: SessionId,
    pub(super) entries_before: u64,
    pub(super) input: Vec<EntryRow>,
}

pub(super) fn start(
    tx: &Tx<'_>,
    lease: Lease,
    run_id: RunId,
    at_ms: u64,
) -> Result<PlacedRows, StepError> {
    let run = Current::find(tx.conn, run_id)?;
    if run.is_ended {
        return Err(LedgerError::Ended.into());
    }
    let mut head = Head::by_number(tx.conn, run.session)?.ok_or(LedgerError::NotFound)?;
    head.check(lease, None)?;
    if let Some(first) = run.first_n {
        return run.placed(tx.conn, first);
    }
    let first = head.entries.saturating_add(1);
    head.append(tx.conn, &run.drafts()?, Some((run_id, &run.wire_id)))?;
    head.touch(tx.conn, lease, at_ms)?;
    let mut update = tx.conn.prepare_cached(
        "UPDATE run SET started_at_ms = coalesce(started_at_ms, ?2), transcript = ?3, \
         session_id = ?4, first_n = ?5, last_n = ?6, waiting = NULL WHERE id = ?1",
    )?;
    update.execute(params![
        run.row,
        int(at_ms),
        head.transcript,
        blob(head.session_id.as_uuid()),
        int(first),
        int(head.entries),
    ])?;
    let run = Current {
        transcript: head.transcript,
        session_id: head.session_id,
        ..run
    };
    run.placed(tx.conn, first)
}

/// Starts a run over: as [`start`], and counted. The session takes the new owner's lease, so that
/// an earlier one is fenced out.
pub(super) fn restart(
    tx: &Tx<'_>,
    lease: Lease,
    run_id: RunId,
    at_ms: u64,
) -> Result<PlacedRows, StepError> {
    let placed = start(tx, lease, run_id, at_ms)?;
    let run = Current::find(tx.conn, run_id)?;
    let head = Head::by_number(tx.conn, run.session)?.ok_or(LedgerError::NotFound)?;
    head.touch(tx.conn, lease, at_ms)?;
    let mut update = tx
        .conn
        .prepare_cached("UPDATE run SET restarts = restarts + 1 WHERE id = ?1")?;
    update.execute([run.row])?;
    Ok(placed)
}

/// Makes a run part of another one: as [`start`], and tied to that.
pub(super) fn fold(
    tx: &Tx<'_>,
    lease: Lease,
    run_id: RunId,
    into: RunId,
    at_ms: u64,
) -> Result<PlacedRows, StepError> {
    let head = Current::find(tx.conn, into)?;
    if head.is_ended {
        return Err(LedgerError::Ended.into());
    }
    let placed = start(tx, lease, run_id, at_ms)?;
    let run = Current::find(tx.conn, run_id)?;
    if run.folded_into.is_some() {
        return Ok(placed);
    }
    let mut tie = tx
        .conn
        .prepare_cached("UPDATE run SET folded_into = ?2 WHERE id = ?1")?;
    tie.execute(params![run.row, blob(into.as_uuid())])?;
    let mut count = tx
        .conn
        .prepare_cached("UPDATE run SET folds = folds + 1 WHERE id = ?1")?;
    count.execute([head.row])?;
    Ok(placed)
}

/// [`crate::session::ledger::AppendAnswer`], its entries already text.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) lease: Lease,
    pub(super) run_id: RunId,
    pub(super) drafts: Vec<Draft>,
    pub(super) at_ms: u64,
}

/// Appends part of an answer; returns where it begins, and whose it is. Nothing is appended unless
/// the run is active and its transcript still the session's.
pub(super) fn answer(tx: &Tx<'_>, answer: &Answer) -> Result<Option<(u64, WireId)>, StepError> {
    let run = Current::find(tx.conn, answer.run_id)?;
    let head = Head::by_number(tx.conn, run.session)?;
    if let Some(head) = &head {
        head.check(answer.lease, None)?;
    }
    let is_active = run.first_n.is_some() && !run.is_ended;
    let head = head.filter(|head| is_active && head.transcript == run.transcript);
    let Some(mut head) = head else {
        return Ok(None);
    };
    let first = head.entries.saturating_add(1);
    head.append(tx.conn, &answer.drafts, Some((answer.run_id, &run.wire_id)))?;
    head.touch(tx.conn, answer.lease, answer.at_ms)?;
    let mut update = tx
        .conn
        .prepare_cached("UPDATE run SET last_n = ?2 WHERE id = ?1")?;
    update.execute(params![run.row, int(head.entries)])?;
    Ok(Some((first, run.wire_id)))
}

/// [`crate::session::ledger::EndRun`], its entries already text.
#[derive(Debug)]
pub(super) struct End {
    pub(super) lease: Lease,
    pub(super) run_id: RunId,
    pub(super) answer: Vec<Draft>,
    pub(super) terminal: Terminal,
    pub(super) terminal_text: String,
}

/// How a run has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// As was asked, with what was appended; nothing when its transcript is not the session's any
    /// more.
    Now(Option<Appended>),
    /// Before, like this.
    Before(Terminal),
}

/// What [`end`] appended: input that had waited until then, and the answer from a position on.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) input: Vec<EntryRow>,
    pub(super) answer_from: u64,
    pub(super) wire_id: WireId,
}

pub(super) fn end(tx: &Tx<'_>, end: &End) -> Result<Ended, StepError> {
    let run = Current::find(tx.conn, end.run_id)?;
    if run.is_ended {
        return Ok(Ended::Before(terminal(tx.conn, run.row)?));
    }
    let head = Head::by_number(tx.conn, run.session)?;
    if let Some(head) = &head {
        head.check(end.lease, None)?;
    }
    if run.folds > 0 {
        end_folded(tx.conn, end, &run)?;
    }
    let head = head.filter(|head| head.transcript == run.transcript);
    let Some(mut head) = head else {
        finish(tx.conn, end, run.row, None)?;
        return Ok(Ended::Now(None));
    };
    let before = head.entries;
    let mut waiting = run.drafts()?;
    for draft in &mut waiting {
        draft.withhold()?;
    }
    let origin = Some((end.run_id, &run.wire_id));
    head.append(tx.conn, &waiting, origin)?;
    let answer_from = head.entries.saturating_add(1);
    head.append(tx.conn, &end.answer, origin)?;
    if run.inputs == 0 {
        // A text command is not among the session's runs.
        head.touch(tx.conn, end.lease, end.terminal.ended_at_ms)?;
    } else {
        count(tx.conn, &head, end, &run.wire_id)?;
    }
    let first = run.first_n.unwrap_or(before.saturating_add(1));
    finish(tx.conn, end, run.row, Some((first, head.entries)))?;
    let input = if waiting.is_empty() {
        Vec::new()
    } else {
        entry_rows(
            tx.conn,
            head.transcript,
            first,
            answer_from.saturating_sub(1),
        )?
    };
    Ok(Ended::Now(Some(Appended {
        input,
        answer_from,
        wire_id: run.wire_id,
    })))
}

/// The terminal of a run that has ended.
fn terminal(conn: &Connection, row: i64) -> Result<Terminal, StepError> {
    let mut select = conn.prepare_cached("SELECT terminal FROM run WHERE id = ?1")?;
    let text: String = select.query_row([row], |row| row.get(0))?;
    Ok(serde_json::from_str(&text)?)
}

/// Ends the runs that are part of one that ends.
fn end_folded(conn: &Connection, end: &End, head: &Current) -> Result<(), StepError> {
    let terminal = end.terminal.of_folded();
    let mut update = conn.prepare_cached(
        "UPDATE run INDEXED BY run_open SET terminal = ?3, \
         kept_until_ms = iif(idempotency IS NULL, NULL, ?4), waiting = NULL, resume = NULL \
         WHERE session = ?1 AND terminal IS NULL AND folded_into = ?2",
    )?;
    update.execute(params![
        head.session,
        blob(end.run_id.as_uuid()),
        serde_json::to_string(&terminal)?,
        int(key_kept_until(&terminal)),
    ])?;
    Ok(())
}

/// Adds an ended run to its session's counts.
fn count(conn: &Connection, head: &Head, end: &End, wire_id: &WireId) -> Result<(), StepError> {
    let usage = end.terminal.usage.as_ref();
    let usage = usage.map(|more| head.usage_with(more)).transpose()?;
    let mut update = conn.prepare_cached(
        "UPDATE session SET entries = ?2, epoch = ?3, updated_at_ms = ?4, \
         usage = coalesce(?5, usage), last_wire_id = ?6, last_terminal = ?7 WHERE id = ?1",
    )?;
    update.execute(params![
        head.session,
        int(head.entries),
        int(end.lease.epoch),
        int(end.terminal.ended_at_ms),
        usage,
        wire_id.as_str(),
        end.terminal_text,
    ])?;
    Ok(())
}

fn finish(
    conn: &Connection,
    end: &End,
    row: i64,
    placed: Option<(u64, u64)>,
) -> Result<(), StepError> {
    let mut update = conn.prepare_cached(
        "UPDATE run SET terminal = ?2, started_at_ms = coalesce(started_at_ms, ?3), \
         kept_until_ms = iif(idempotency IS NULL, NULL, ?4), \
         first_n = coalesce(?5, first_n), last_n = coalesce(?6, last_n), \
         waiting = NULL, resume = NULL WHERE id = ?1",
    )?;
    update.execute(params![
        row,
        end.terminal_text,
        end.terminal.started_at_ms.map(int),
        int(key_kept_until(&end.terminal)),
        placed.map(|(first, _last)| int(first)),
        placed.map(|(_first, last)| int(last)),
    ])?;
    Ok(())
}

pub(super) fn find(
    conn: &Connection,
    wire_id: &WireId,
    principal: Option<&str>,
) -> Result<Option<RunRecord>, StepError> {
    let sql = format!(
        "SELECT {RUN_COLUMNS} FROM run WHERE wire_digest = ?1 AND wire_id = ?2 \
         ORDER BY ?3 IS NOT NULL AND principal IS NOT ?3, id DESC LIMIT 1"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let digest = short_digest(wire_id.as_str());
    let mut rows = select.query(params![digest, wire_id.as_str(), principal])?;
    rows.next()?.map(rows::run).transpose()
}

pub(super) fn entries(conn: &Connection, run_id: RunId) -> Result<Vec<Entry>, StepError> {
    let sql = format!(
        "SELECT {} FROM run \
         JOIN transcript ON transcript.id = run.transcript AND transcript.session IS NOT NULL \
         JOIN entry ON entry.transcript = run.transcript \
         AND entry.n BETWEEN run.first_n AND run.last_n AND entry.run = run.run_id \
         WHERE run.run_id = ?1 ORDER BY entry.n",
        ENTRY_COLUMNS
            .split(", ")
            .map(|column| format!("entry.{column} AS {column}"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([blob(run_id.as_uuid())])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(EntryRow::read(row)?.decode()?);
    }
    Ok(entries)
}

pub(super) fn open(
    conn: &Connection,
    session: Option<&SessionKey>,
    limit: u32,
) -> Result<Vec<OpenRun>, StepError> {
    let (filter, session) = match session {
        None => ("", None),
        Some(key) => match Head::by_key(conn, key)? {
            None => return Ok(Vec::new()),
            Some(head) => ("AND session = ?2", Some(head.session)),
        },
    };
    // Only the open runs are in this index: the ones that ended, however many, are not looked at.
    let sql = format!(
        "SELECT {RUN_COLUMNS}, run.waiting, run.resume, run.restarts, run.folded_into \
         FROM run INDEXED BY run_open \
         WHERE terminal IS NULL {filter} ORDER BY id LIMIT ?1"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = match session {
        None => select.query([limit])?,
        Some(session) => select.query(params![limit, session])?,
    };
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        let record = rows::run(row)?;
        let waiting: Option<String> = row.get("waiting")?;
        let drafts: Vec<Draft> = match &waiting {
            Some(text) => serde_json::from_str(text)?,
            None => Vec::new(),
        };
        let folded_into: Option<[u8; 16]> = row.get("folded_into")?;
        let input = drafts.iter().map(|draft| draft.waiting(&record));
        open.push(OpenRun {
            input: input.collect::<Result<_, _>>()?,
            resume: row.get("resume")?,
            restarts: row.get("restarts")?,
            folded_into: folded_into.map(|id| RunId::from_uuid(Uuid::from_bytes(id))),
            record,
        });
    }
    Ok(open)
}

pub(super) fn list(
    conn: &Connection,
    session: Option<&SessionKey>,
    limit: u32,
) -> Result<Vec<RunRecord>, StepError> {
    let (filter, session) = match session {
        None => ("", None),
        Some(key) => match Head::by_key(conn, key)? {
            None => return Ok(Vec::new()),
            Some(head) => ("WHERE session = ?2", Some(head.session)),
        },
    };
    let sql = format!("SELECT {RUN_COLUMNS} FROM run {filter} ORDER BY id DESC LIMIT ?1");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = match session {
        None => select.query([limit])?,
        Some(session) => select.query(params![limit, session])?,
    };
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(rows::run(row)?);
    }
    Ok(runs)
}
