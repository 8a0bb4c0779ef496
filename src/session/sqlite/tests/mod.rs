//! What only a ledger on a disk can get wrong: opening, locking, batching, failing, and crashing.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::string_slice,
    reason = "tests"
)]

mod crash;
mod failing;
mod offline;
mod opening;

use std::path::Path;
use std::sync::mpsc;

use futures_util::future::{join, join_all};

use crate::session::conformance::{
    KEEP_ALL, accepted, begin, end, key, session_id, target, texts, transcript, user,
};
use crate::session::ledger::{Durability, Fault};

use super::*;

fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        dir: dir.to_owned(),
        durability: Durability::Full,
        retention: KEEP_ALL,
    }
}

async fn open(dir: &Path) -> SqliteLedger {
    open_with(dir, OpenOptions::default()).await
}

async fn open_with(dir: &Path, options: OpenOptions) -> SqliteLedger {
    SqliteLedger::open(&config(dir), options).await.unwrap()
}

/// Opens the directory of a ledger that was dropped, once its thread has ended.
async fn open_after_drop(dir: &Path) -> SqliteLedger {
    let options = OpenOptions {
        lock_wait: Duration::from_secs(30),
        ..OpenOptions::default()
    };
    open_with(dir, options).await
}

/// Holds up the writer until the returned sender is dropped.
async fn hold_up(ledger: &Arc<SqliteLedger>) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel::<()>();
    let (reached, is_reached) = oneshot::channel();
    let parts = std::sync::Mutex::new(Some((wait, reached)));
    let held = Arc::clone(ledger);
    tokio::spawn(async move {
        let step = move |_tx: &Tx<'_>| {
            let first = parts.lock().unwrap().take();
            if let Some((wait, reached)) = first {
                reached.send(()).unwrap();
                wait.recv().ok();
            }
            Ok(())
        };
        held.write(Purpose::Settle, step).await.unwrap();
    });
    is_reached.await.unwrap();
    release
}

/// Lets the writer go on once everything in `waiting` is queued, in the order it is written there.
async fn behind<F: Future>(release: mpsc::Sender<()>, waiting: F) -> F::Output {
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    drop(release);
    waiting.await
}

#[tokio::test]
async fn callers_that_wait_together_share_commits() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::default();
    let metrics = Arc::clone(&options.metrics);
    let ledger = Arc::new(open_with(dir.path(), options).await);
    let release = hold_up(&ledger).await;
    let runs = (1..=200).map(|number| {
        let name = format!("s{}", number % 7);
        ledger.begin_run(begin(&*ledger, number, &name, "hello"))
    });
    let before = metrics.ledger_commits.get();
    for begun in behind(release, join_all(runs)).await {
        accepted(begun);
    }
    // The write that was held up, and what came while it was.
    let commits = metrics.ledger_commits.get() - before;
    assert!(commits < 20, "{commits}");
    assert_eq!(ledger.list_runs(None, 999).await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_write_that_fails_in_a_batch_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(dir.path()).await);
    accepted(ledger.begin_run(begin(&*ledger, 1, "a", "x")).await);
    let release = hold_up(&ledger).await;
    let mut bad = begin(&*ledger, 1, "new", "y");
    bad.new_session_id = session_id(100);
    let runs = [
        begin(&*ledger, 2, "a", "two"),
        bad,
        begin(&*ledger, 3, "a", "three"),
    ];
    let runs = runs.map(|begin| ledger.begin_run(begin));
    let unknown = ledger.end_run(end(&*ledger, 99, "a", &[]));
    let (begun, unknown) = behind(release, join(join_all(runs), unknown)).await;
    let [two, bad, three]: [_; 3] = begun.try_into().unwrap();
    accepted(two);
    accepted(three);
    assert!(
        matches!(
            bad,
            Err(LedgerError::Failed {
                fault: Fault::Internal,
                ..
            })
        ),
        "{bad:?}"
    );
    assert!(matches!(unknown, Err(LedgerError::NotFound)));
    let entries = transcript(&*ledger, "a").await;
    assert_eq!(texts(&entries), [(1, "x"), (2, "two"), (3, "three")]);
    assert_eq!(ledger.session(key("new")).await.unwrap(), None);
}

#[tokio::test]
async fn a_full_queue_refuses_new_runs_but_not_the_end_of_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        writes_waiting_max: 2,
        ..OpenOptions::default()
    };
    let ledger = Arc::new(open_with(dir.path(), options).await);
    accepted(ledger.begin_run(begin(&*ledger, 1, "a", "x")).await);
    let release = hold_up(&ledger).await;
    let runs = (2..=4).map(|number| ledger.begin_run(begin(&*ledger, number, "a", "y")));
    let ended = ledger.end_run(end(&*ledger, 1, "a", &["z"]));
    let (begun, ended) = behind(release, join(join_all(runs), ended)).await;
    let refused = begun
        .iter()
        .filter(|begun| matches!(begun, Err(LedgerError::Busy)))
        .count();
    assert_eq!(refused, 1);
    assert_eq!(ended.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_write_nobody_waits_for_any_more_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(dir.path()).await);
    let release = hold_up(&ledger).await;
    let mut left = ledger.begin_run(begin(&*ledger, 1, "a", "x"));
    assert!(futures_util::poll!(&mut left).is_pending());
    drop(left);
    drop(release);
    accepted(ledger.begin_run(begin(&*ledger, 2, "b", "x")).await);
    assert_eq!(ledger.session(key("a")).await.unwrap(), None);
    assert_eq!(ledger.list_runs(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_waits_is_committed_when_the_ledger_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(dir.path()).await);
    let release = hold_up(&ledger).await;
    let begun = ledger.begin_run(begin(&*ledger, 1, "a", "x"));
    let (begun, closed) = behind(release, join(begun, ledger.close())).await;
    accepted(begun);
    closed.unwrap();
    // The log was moved into the file.
    assert!(!dir.path().join("clawport.db-wal").exists());
    let ledger = open(dir.path()).await;
    assert_eq!(transcript(&ledger, "a").await.len(), 1);
}

#[tokio::test]
async fn what_a_deleted_session_had_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    for number in 1..=3 {
        let mut begin = begin(&ledger, number, "a", "x");
        begin.input = (0..400).map(|n| user(&format!("m{n}"), 1)).collect();
        accepted(ledger.begin_run(begin).await);
        ledger
            .reset_session(target(&ledger, "a", 100 + number))
            .await
            .unwrap();
    }
    accepted(ledger.begin_run(begin(&ledger, 9, "b", "stays")).await);
    ledger
        .delete_session(ledger.lease(), key("a"), None)
        .await
        .unwrap();
    let rows = async || {
        let count = |conn: &Connection| {
            let sql = "SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM transcript)";
            Ok(conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
        };
        ledger.readers.read(count).await.unwrap()
    };
    let cleared = async {
        while rows().await != (1_i64, 1_i64) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), cleared)
        .await
        .unwrap();
}

/// The plans of the queries that may not depend on how many sessions and runs there are.
#[tokio::test]
async fn no_everyday_query_looks_at_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    let check = async |sql: &'static str| {
        let plan = ledger.readers.read(move |conn| {
            let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let rows = explain.query_map([], |row| row.get::<_, String>(3))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?.join("; "))
        });
        let plan = plan.await.unwrap();
        let in_order = plan.contains("INDEX session_updated");
        let reads_all = plan.contains("SCAN") && !in_order;
        assert!(!reads_all && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    };
    for sql in [
        "SELECT * FROM session ORDER BY updated_at_ms DESC, id DESC LIMIT 9",
        "SELECT * FROM session WHERE agent = 'a' ORDER BY updated_at_ms DESC, id DESC LIMIT 9",
        "SELECT * FROM session WHERE agent = 'a' AND updated_at_ms >= 5 \
         ORDER BY updated_at_ms DESC, id DESC LIMIT 9",
        "SELECT * FROM session WHERE updated_at_ms >= 5 ORDER BY updated_at_ms DESC, id DESC",
        "SELECT id FROM session WHERE label = 'a'",
        "SELECT id FROM session WHERE key = 'a'",
        "SELECT id FROM session WHERE (updated_at_ms, id) > (1, 1) AND (updated_at_ms, id) < (2, 2) \
         ORDER BY updated_at_ms, id LIMIT 9",
        "SELECT * FROM entry WHERE transcript = 1 AND n BETWEEN 1 AND 2 ORDER BY n DESC",
        "SELECT * FROM run WHERE run_id = x'00'",
        "SELECT * FROM run WHERE wire_digest = 7 AND wire_id = 'a' ORDER BY id DESC LIMIT 1",
        "SELECT * FROM run WHERE wire_digest = 7 ORDER BY id DESC LIMIT 9",
        "SELECT * FROM run WHERE key_digest = 7 ORDER BY id DESC LIMIT 9",
        "SELECT * FROM run INDEXED BY run_open WHERE session = 1 AND terminal IS NULL",
        "SELECT id FROM transcript WHERE session IS NULL LIMIT 1",
        "SELECT id FROM transcript WHERE archived_at_ms < 5 LIMIT 9",
        "SELECT id FROM transcript WHERE session_id = x'00'",
    ] {
        check(sql).await;
    }
}

/// Pages written by a run, from acceptance to end, in a store with this many sessions.
async fn pages_per_run(sessions: u32) -> u64 {
    const RUNS: u32 = 100;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    let fill = move |tx: &Tx<'_>| {
        tx.conn.execute_batch(&format!(
            "INSERT INTO transcript (id, session_id, session)
             SELECT value, randomblob(16), value FROM (
                 WITH RECURSIVE n (value) AS
                     (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {sessions})
                 SELECT value FROM n);
             INSERT INTO session (id, key, agent, transcript, session_id, epoch, created_at_ms,
                 updated_at_ms)
             SELECT id, 'agent:main:s' || id, 'main', id, session_id, 0, id, id FROM transcript;
             INSERT INTO agent_sessions VALUES ('main', {sessions});"
        ))?;
        Ok(())
    };
    ledger.write(Purpose::Settle, fill).await.unwrap();
    ledger.close().await.unwrap();
    // The log begins anew, and is not moved into the file before it is longer than this.
    let ledger = open(dir.path()).await;
    for number in 1..=RUNS {
        let name = format!("s{}", number.wrapping_mul(2_654_435_761) % sessions + 1);
        accepted(
            ledger
                .begin_run(begin(&ledger, number, &name, "question"))
                .await,
        );
        ledger
            .end_run(end(&ledger, number, &name, &["answer"]))
            .await
            .unwrap();
    }
    let log = std::fs::metadata(dir.path().join("clawport.db-wal")).unwrap();
    log.len() / u64::from(RUNS) / 4096
}

#[tokio::test]
async fn a_run_costs_the_same_however_many_sessions_there_are() {
    let few = pages_per_run(100).await;
    let many = pages_per_run(100_000).await;
    assert!(
        many <= few + 4,
        "{few} pages with 100 sessions, {many} with 100,000"
    );
}
