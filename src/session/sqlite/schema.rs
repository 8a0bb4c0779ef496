//! The tables, and how a file of an older version becomes one of this version.
//!
//! Tables that grow are rowid tables, so new rows go to the end of the file; what they are looked
//! up by is in an index beside them. Nothing is clustered by session: that would make every commit
//! touch one page per session. Every index whose order is not the order of time costs each run a
//! page, so there are few, and what only an operator asks for (the runs of one session) is found by
//! looking.

use rusqlite::{Connection, TransactionBehavior};

/// Marks a file as ours: "clwp".
pub(super) const APPLICATION_ID: i32 = 0x636c_7770;

/// One step per version; the file's `user_version` says how many were taken.
const MIGRATIONS: [&str; 5] = [V1, V2, V3, V4, V5];

/// The version this program reads and writes.
pub(super) const VERSION: usize = MIGRATIONS.len();

const V1: &str = "
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO meta (id, epoch) VALUES (1, 0);

-- A transcript without a session is garbage: its entries go in small steps, then it goes.
CREATE TABLE transcript (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id BLOB NOT NULL UNIQUE,
    session INTEGER,
    archived_at_ms INTEGER
) STRICT;
CREATE INDEX transcript_session ON transcript (session);
CREATE INDEX transcript_archived ON transcript (archived_at_ms) WHERE archived_at_ms IS NOT NULL;

CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    agent TEXT NOT NULL,
    transcript INTEGER NOT NULL REFERENCES transcript (id),
    session_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    entries INTEGER NOT NULL DEFAULT 0,
    label TEXT,
    settings TEXT NOT NULL DEFAULT '{}',
    usage TEXT NOT NULL DEFAULT '{\"input\":0,\"output\":0}',
    last_wire_id TEXT,
    last_terminal TEXT
) STRICT;
CREATE UNIQUE INDEX session_key ON session (key);
CREATE UNIQUE INDEX session_label ON session (label) WHERE label IS NOT NULL;
-- With the agent in it, so that a list of one agent's sessions passes over the others' cheaply. An
-- index per agent would cost every run another page.
CREATE INDEX session_updated ON session (updated_at_ms, id, agent);

-- How many sessions each agent has, so that nobody has to count them.
CREATE TABLE agent_sessions (
    agent TEXT PRIMARY KEY,
    sessions INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
    rowid INTEGER PRIMARY KEY,
    transcript INTEGER NOT NULL REFERENCES transcript (id),
    n INTEGER NOT NULL,
    id BLOB NOT NULL,
    run BLOB,
    wire_id TEXT,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX entry_n ON entry (transcript, n);

-- A run is found by a short digest of its wire id, which is also its idempotency key unless
-- `key_digest` is set. `idempotency` is the digest of operation, principal and key. While a run
-- waits, its input is in `waiting`; once placed, it and the answer are the entries from `first_n`
-- to `last_n`, among which there may be entries of others.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    run_id BLOB NOT NULL UNIQUE,
    wire_id TEXT NOT NULL,
    wire_digest INTEGER NOT NULL,
    session INTEGER NOT NULL,
    key TEXT NOT NULL,
    agent TEXT NOT NULL,
    front TEXT NOT NULL,
    principal TEXT,
    transcript INTEGER NOT NULL,
    session_id BLOB NOT NULL,
    idempotency BLOB,
    key_digest INTEGER,
    fingerprint BLOB,
    kept_until_ms INTEGER,
    accepted_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    first_n INTEGER,
    inputs INTEGER NOT NULL DEFAULT 0,
    last_n INTEGER,
    waiting TEXT,
    resume TEXT,
    terminal TEXT
) STRICT;
CREATE INDEX run_wire ON run (wire_digest);
CREATE INDEX run_key ON run (key_digest) WHERE key_digest IS NOT NULL;
CREATE INDEX run_open ON run (session) WHERE terminal IS NULL;
";

const V2: &str = "
ALTER TABLE meta ADD COLUMN device_revision INTEGER NOT NULL DEFAULT 0;

-- A device that only asks to be paired has no `pairing`.
CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    pairing TEXT,
    is_expendable INTEGER NOT NULL,
    last_seen_at_ms INTEGER
) STRICT;
CREATE INDEX device_expendable ON device (last_seen_at_ms) WHERE is_expendable = 1;

-- `digests` are digests of 32 bytes each, one after the other.
CREATE TABLE device_token (
    device INTEGER NOT NULL REFERENCES device (id),
    role TEXT NOT NULL,
    digests BLOB NOT NULL,
    scopes TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    rotated_at_ms INTEGER,
    revoked_at_ms INTEGER,
    last_used_at_ms INTEGER,
    PRIMARY KEY (device, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_request (
    device INTEGER PRIMARY KEY REFERENCES device (id),
    request_id TEXT NOT NULL UNIQUE,
    at_ms INTEGER NOT NULL,
    details TEXT NOT NULL
) STRICT;
CREATE INDEX device_request_at ON device_request (at_ms);
";

/// How often a run was started over after a crash.
const V3: &str = "
ALTER TABLE run ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;
";

/// Entries may be text commands, which earlier programs cannot read. Archived sessions are few and
/// are left out of most lists: with an index nobody has to look for them.
const V4: &str = "
CREATE INDEX session_archived ON session (agent) WHERE settings ->> 'archived' = 1;
";

/// A run that was merged or steered into another one ends with that: `folds` says how many there
/// are, so that most runs need not look for them.
const V5: &str = "
ALTER TABLE run ADD COLUMN folded_into BLOB;
ALTER TABLE run ADD COLUMN folds INTEGER NOT NULL DEFAULT 0;
";

/// The version of an open file; 0 when it has no tables yet.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<usize> {
    conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        // A negative version is none of ours, so it counts as far ahead.
        .map(|version| usize::try_from(version).unwrap_or(usize::MAX))
}

/// Writes the version that stands there already: what a row says may be left alone when it stays
/// the same, but the head of the file is always written.
pub(super) fn write_version(conn: &Connection) -> rusqlite::Result<()> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    conn.pragma_update(None, "user_version", version)
}

/// Takes every step the file has not taken yet, each in its own transaction.
pub(super) fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let taken = version(conn)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(taken) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        let version = i64::try_from(step).unwrap_or(i64::MAX).saturating_add(1);
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gets_every_step_once() {
        let mut conn = Connection::open_in_memory().unwrap();
        assert_eq!(version(&conn).unwrap(), 0);
        migrate(&mut conn).unwrap();
        assert_eq!(version(&conn).unwrap(), VERSION);
        migrate(&mut conn).unwrap();
        let epoch: i64 = conn
            .query_row("SELECT epoch FROM meta", [], |row| row.get(0))
            .unwrap();
        assert_eq!(epoch, 0);
    }

    #[test]
    fn a_negative_version_is_a_foreign_future() {
        let conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "user_version", -1).unwrap();
        assert!(version(&conn).unwrap() > VERSION);
    }
}
