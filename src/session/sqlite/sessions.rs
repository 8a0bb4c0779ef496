//! Steps over sessions and transcripts.

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde_json::{Map, Value};

use crate::ids::{AgentId, EntryId, SessionId, SessionKey};
use crate::run::{Entry, Usage};
use crate::session::ledger::{
    ENTRY_PAGE_BYTES_MAX, EntryPage, EntryRange, Lease, LedgerError, SessionPage, SessionPatch,
    SessionQuery, SessionRecord, SessionTarget,
};
use crate::session::rules::{Needle, merge_settings, positions};

use super::fault::StepError;
use super::rows::{self, Draft, ENTRY_COLUMNS, EntryRow, SESSION_COLUMNS, blob, int, uint};
use super::target::{Head, count_session, insert_transcript, own_transcript};
use super::writer::Tx;

pub(super) fn by_key(
    conn: &Connection,
    key: &SessionKey,
) -> Result<Option<SessionRecord>, StepError> {
    let sql = format!("SELECT {SESSION_COLUMNS} FROM session WHERE key = ?1");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([key.as_str()])?;
    rows.next()?.map(rows::session).transpose()
}

pub(super) fn by_id(conn: &Connection, id: SessionId) -> Result<Option<SessionRecord>, StepError> {
    let sql = format!(
        "SELECT {SESSION_COLUMNS} FROM transcript \
         JOIN session ON session.id = transcript.session AND session.transcript = transcript.id \
         WHERE transcript.session_id = ?1"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([blob(id.as_uuid())])?;
    rows.next()?.map(rows::session).transpose()
}

fn by_number(conn: &Connection, session: i64) -> Result<SessionRecord, StepError> {
    let sql = format!("SELECT {SESSION_COLUMNS} FROM session WHERE id = ?1");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([session])?;
    let row = rows.next()?.ok_or(LedgerError::NotFound)?;
    rows::session(row)
}

/// Sessions that match. Only a search looks at every session; everything else reads an index, and
/// the whole number comes from the counts per agent where no time is asked for.
pub(super) fn list(conn: &Connection, query: &SessionQuery) -> Result<SessionPage, StepError> {
    if let Some(text) = &query.search {
        return search(conn, query, &Needle::new(text));
    }
    let filter = Filter::new(query);
    let total = total(conn, query)?;
    let (limit, offset) = (i64::from(query.limit), int(query.offset));
    // Sorting the few is faster than looking for them among all.
    let index = if query.archived == Some(true) {
        "INDEXED BY session_archived"
    } else {
        ""
    };
    let sql = format!(
        "SELECT {SESSION_COLUMNS} FROM session {index} {} \
         ORDER BY updated_at_ms DESC, id DESC LIMIT :limit OFFSET :offset",
        filter.sql
    );
    let mut params = filter.params();
    params.push((":limit", &limit));
    params.push((":offset", &offset));
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params.as_slice())?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(rows::session(row)?);
    }
    Ok(SessionPage { sessions, total })
}

/// The part of a query that an index answers.
struct Filter {
    sql: String,
    params: Vec<(&'static str, Box<dyn ToSql>)>,
}

impl Filter {
    fn new(query: &SessionQuery) -> Self {
        let mut terms: Vec<&str> = Vec::new();
        let mut params: Vec<(&'static str, Box<dyn ToSql>)> = Vec::new();
        if let Some(agent) = &query.agent {
            terms.push("agent = :agent");
            params.push((":agent", Box::new(agent.as_str().to_owned())));
        }
        if let Some(since) = query.updated_since_ms {
            terms.push("updated_at_ms >= :since");
            params.push((":since", Box::new(int(since))));
        }
        if let Some(label) = &query.label {
            terms.push("label = :label");
            params.push((":label", Box::new(label.clone())));
        }
        let flags = [
            (
                query.archived,
                "settings ->> 'archived' = 1",
                "settings ->> 'archived' IS NOT 1",
            ),
            (
                query.pinned,
                "settings ->> 'pinned' = 1",
                "settings ->> 'pinned' IS NOT 1",
            ),
        ];
        for (flag, set, unset) in flags {
            terms.extend(flag.map(|is_set| if is_set { set } else { unset }));
        }
        let sql = if terms.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", terms.join(" AND "))
        };
        Self { sql, params }
    }

    fn params(&self) -> Vec<(&str, &dyn ToSql)> {
        let named = self.params.iter();
        named.map(|(name, value)| (*name, value.as_ref())).collect()
    }
}

/// How many sessions a query without a text finds.
fn total(conn: &Connection, query: &SessionQuery) -> Result<u64, StepError> {
    let with = |archived| {
        Filter::new(&SessionQuery {
            archived,
            ..query.clone()
        })
    };
    if query.pinned.is_some() || query.archived == Some(true) {
        return count(conn, &Filter::new(query));
    }
    // The archived ones have an index, the others have not.
    let archived = match query.archived {
        Some(_) => count(conn, &with(Some(true)))?,
        None => 0,
    };
    let all = if query.label.is_none() && query.updated_since_ms.is_none() {
        counted(conn, query.agent.as_ref())?
    } else {
        count(conn, &with(None))?
    };
    Ok(all.saturating_sub(archived))
}

/// How many sessions there are, from the counts per agent.
fn counted(conn: &Connection, agent: Option<&AgentId>) -> Result<u64, StepError> {
    let count: Option<i64> = match agent {
        Some(agent) => conn
            .prepare_cached("SELECT sessions FROM agent_sessions WHERE agent = ?1")?
            .query_row([agent.as_str()], |row| row.get(0))
            .optional()?,
        None => conn
            .prepare_cached("SELECT sum(sessions) FROM agent_sessions")?
            .query_row([], |row| row.get(0))?,
    };
    Ok(uint(count.unwrap_or(0)))
}

fn count(conn: &Connection, filter: &Filter) -> Result<u64, StepError> {
    let sql = format!("SELECT count(*) FROM session {}", filter.sql);
    let mut select = conn.prepare_cached(&sql)?;
    let count: i64 = select.query_row(filter.params().as_slice(), |row| row.get(0))?;
    Ok(uint(count))
}

fn search(
    conn: &Connection,
    query: &SessionQuery,
    needle: &Needle,
) -> Result<SessionPage, StepError> {
    let filter = Filter::new(query);
    // In the order of the file, which is several times faster than in the order of an index.
    let sql = format!(
        "SELECT id, updated_at_ms, key, label, session_id FROM session NOT INDEXED {}",
        filter.sql
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(filter.params().as_slice())?;
    let mut found: Vec<(i64, i64)> = Vec::new();
    while let Some(row) = rows.next()? {
        let key = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        let label = row
            .get_ref(3)?
            .as_str_or_null()
            .map_err(rusqlite::Error::from)?;
        let id = uuid::Uuid::from_bytes(row.get(4)?).to_string();
        if needle.is_in(key, label, &id) {
            found.push((row.get(1)?, row.get(0)?));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    let skip = usize::try_from(query.offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let page = found.iter().skip(skip).take(limit);
    Ok(SessionPage {
        sessions: page
            .map(|(_updated, session)| by_number(conn, *session))
            .collect::<Result<_, _>>()?,
        total: u64::try_from(found.len()).unwrap_or(u64::MAX),
    })
}

pub(super) fn patch(
    tx: &Tx<'_>,
    target: &SessionTarget,
    patch: &SessionPatch,
) -> Result<SessionRecord, StepError> {
    if let Some(Some(label)) = &patch.label {
        check_label(tx.conn, target, label)?;
    }
    let head = Head::ensure(tx.conn, target)?;
    head.touch(tx.conn, target.lease, target.at_ms)?;
    let mut record = by_number(tx.conn, head.session)?;
    if let Some(label) = &patch.label {
        record.label = label.as_deref().map(Into::into);
    }
    merge_settings(&mut record.settings, patch.settings.clone());
    let settings = serde_json::to_string(&record.settings)?;
    let mut update = tx
        .conn
        .prepare_cached("UPDATE session SET label = ?2, settings = ?3 WHERE id = ?1")?;
    update.execute(params![head.session, record.label, settings])?;
    Ok(record)
}

/// Refuses a label another session has. The right to write is checked first: who may not write is
/// not told what labels there are.
fn check_label(conn: &Connection, target: &SessionTarget, label: &str) -> Result<(), StepError> {
    let head = Head::by_key(conn, &target.key)?;
    match &head {
        Some(head) => head.check(target.lease, target.expected_session_id)?,
        None if target.expected_session_id.is_some() => return Err(LedgerError::NotFound.into()),
        None => {}
    }
    let mut select = conn.prepare_cached("SELECT id FROM session WHERE label = ?1")?;
    let owner: Option<i64> = select.query_row([label], |row| row.get(0)).optional()?;
    if owner.is_some() && owner != head.map(|head| head.session) {
        return Err(LedgerError::LabelInUse {
            label: label.into(),
        }
        .into());
    }
    Ok(())
}

pub(super) fn reset(tx: &Tx<'_>, target: &SessionTarget) -> Result<SessionRecord, StepError> {
    let existed = Head::by_key(tx.conn, &target.key)?.is_some();
    let head = Head::ensure(tx.conn, target)?;
    if existed {
        archive(tx.conn, &head, target)?;
    }
    by_number(tx.conn, head.session)
}

/// Puts a new transcript in the place of the one the session has.
pub(super) fn archive(
    conn: &Connection,
    head: &Head,
    target: &SessionTarget,
) -> Result<(), StepError> {
    let transcript = insert_transcript(conn, target.new_session_id)?;
    own_transcript(conn, transcript, head.session)?;
    let mut archive =
        conn.prepare_cached("UPDATE transcript SET archived_at_ms = ?2 WHERE id = ?1")?;
    archive.execute(params![head.transcript, int(target.at_ms)])?;
    let mut update = conn.prepare_cached(
        "UPDATE session SET transcript = ?2, session_id = ?3, epoch = ?4, updated_at_ms = ?5, \
         entries = 0, usage = ?6, last_wire_id = NULL, last_terminal = NULL WHERE id = ?1",
    )?;
    update.execute(params![
        head.session,
        transcript,
        blob(target.new_session_id.as_uuid()),
        int(target.lease.epoch),
        int(target.at_ms),
        serde_json::to_string(&Usage::default())?,
    ])?;
    Ok(())
}

pub(super) fn delete(
    tx: &Tx<'_>,
    lease: Lease,
    key: &SessionKey,
    expected: Option<SessionId>,
) -> Result<Option<SessionRecord>, StepError> {
    let Some(head) = Head::by_key(tx.conn, key)? else {
        return Ok(None);
    };
    head.check(lease, expected)?;
    let record = by_number(tx.conn, head.session)?;
    remove(tx, head.session, record.agent.as_str())?;
    Ok(Some(record))
}

/// Removes a session's row; its transcripts become garbage, which goes in small steps.
pub(super) fn remove(tx: &Tx<'_>, session: i64, agent: &str) -> Result<(), StepError> {
    let mut delete = tx
        .conn
        .prepare_cached("DELETE FROM session WHERE id = ?1")?;
    delete.execute([session])?;
    let mut orphan = tx
        .conn
        .prepare_cached("UPDATE transcript SET session = NULL WHERE session = ?1")?;
    orphan.execute([session])?;
    tx.leave_garbage();
    count_session(tx.conn, agent, -1)
}

/// Appends one entry; returns its position.
pub(super) fn append(
    tx: &Tx<'_>,
    lease: Lease,
    key: &SessionKey,
    draft: &Draft,
) -> Result<u64, StepError> {
    let mut head = Head::by_key(tx.conn, key)?.ok_or(LedgerError::NotFound)?;
    head.check(lease, None)?;
    head.append(tx.conn, std::slice::from_ref(draft), None)?;
    head.touch(tx.conn, lease, draft.at_ms)?;
    Ok(head.entries)
}

/// Appends an entry and notes settings; returns the session and the entry's position.
pub(super) fn compact(
    tx: &Tx<'_>,
    target: &SessionTarget,
    draft: &Draft,
    note: &Map<String, Value>,
) -> Result<(SessionRecord, u64), StepError> {
    let mut head = Head::by_key(tx.conn, &target.key)?.ok_or(LedgerError::NotFound)?;
    head.check(target.lease, target.expected_session_id)?;
    head.append(tx.conn, std::slice::from_ref(draft), None)?;
    head.touch(tx.conn, target.lease, target.at_ms)?;
    let mut record = by_number(tx.conn, head.session)?;
    merge_settings(&mut record.settings, note.clone());
    let settings = serde_json::to_string(&record.settings)?;
    let mut update = tx
        .conn
        .prepare_cached("UPDATE session SET settings = ?2 WHERE id = ?1")?;
    update.execute(params![head.session, settings])?;
    Ok((record, head.entries))
}

pub(super) fn entries(
    conn: &Connection,
    key: &SessionKey,
    range: EntryRange,
) -> Result<Option<EntryPage>, StepError> {
    let Some(head) = Head::by_key(conn, key)? else {
        return Ok(None);
    };
    let (first, last) = positions(range, head.entries);
    let entries = match range {
        EntryRange::After { .. } => within_budget(conn, &head, (first, last), "ASC")?,
        EntryRange::Newest { .. } => {
            let mut newest_first = within_budget(conn, &head, (first, last), "DESC")?;
            newest_first.reverse();
            newest_first
        }
    };
    Ok(Some(EntryPage {
        session_id: head.session_id,
        entries,
        total: head.entries,
    }))
}

/// Looks at every position of the transcript: ids have no index, which would cost each entry more
/// than the rare question is worth.
pub(super) fn position(
    conn: &Connection,
    key: &SessionKey,
    id: EntryId,
) -> Result<Option<u64>, StepError> {
    let Some(head) = Head::by_key(conn, key)? else {
        return Ok(None);
    };
    let mut select =
        conn.prepare_cached("SELECT n FROM entry WHERE transcript = ?1 AND id = ?2 LIMIT 1")?;
    let found = select.query_row(params![head.transcript, blob(id.as_uuid())], |row| {
        rows::number(row, "n")
    });
    Ok(found.optional()?)
}

/// The first entries in this order, until they have more bytes than a page may have.
fn within_budget(
    conn: &Connection,
    head: &Head,
    (first, last): (u64, u64),
    order: &str,
) -> Result<Vec<Entry>, StepError> {
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM entry \
         WHERE transcript = ?1 AND n BETWEEN ?2 AND ?3 ORDER BY n {order}"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params![head.transcript, int(first), int(last)])?;
    let mut bytes = 0;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let entry = EntryRow::read(row)?;
        bytes += entry.bytes();
        if bytes > ENTRY_PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(entry.decode()?);
    }
    Ok(page)
}
