//! A ledger with very many sessions: a start and a run take no longer than with few.
//!
//! `CLAWPORT_SESSIONS=1000000` by hand; a smaller number otherwise. What was measured goes to
//! standard error.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::support::cli::{Home, get};
use crate::support::{Native, TOKEN};

/// Sessions of the full ledger, unless `CLAWPORT_SESSIONS` says so.
const SESSIONS: u32 = 30_000;

/// Sessions of the ledger it is compared with.
const FEW: u32 = 100;

/// Starts of each kind; the fastest counts, because others share the machine.
const STARTS: u32 = 5;

/// Runs that are timed; the median counts.
const RUNS: usize = 61;

/// A session made by hand, as a model of all others.
const FIRST: &str = "agent:main:s0";

fn home() -> Home {
    let settings = json!({
        "gateway": {"auth": {"mode": "token", "token": TOKEN}},
        "agents": {"defaults": {"model": "sim/echo"}},
        "store": {"retainSessions": 100_000_000, "retainRuns": 100_000_000},
    });
    Home::with_config(&settings.to_string())
}

/// Runs once in one session and ends in order, so that everything is in the one file.
async fn first_run(home: &Home) {
    let (gateway, addr) = home.gateway(&[]);
    let mut native = Native::connect(addr).await;
    native.send(FIRST, "first", "hello").await;
    native.end("first").await;
    drop(native);
    gateway.signal("TERM");
    assert_eq!(gateway.end().code, Some(0));
}

/// Copies the first session, its entries and its run `sessions` times.
fn fill(file: &Path, sessions: u32) {
    let conn = Connection::open(file).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA synchronous = OFF;
         BEGIN;
         CREATE TEMP TABLE n (n INTEGER PRIMARY KEY);
         INSERT INTO n WITH RECURSIVE count (n) AS
             (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {sessions}) SELECT n FROM count;
         INSERT INTO transcript (id, session_id, session)
             SELECT n + 10, randomblob(16), n + 10 FROM n;
         INSERT INTO session (id, key, agent, transcript, session_id, epoch, created_at_ms,
                 updated_at_ms, entries, last_wire_id, last_terminal)
             SELECT n + 10, 'agent:main:s' || n, 'main', n + 10, transcript.session_id, epoch,
                 created_at_ms - n, updated_at_ms - n, entries, last_wire_id, last_terminal
             FROM n JOIN transcript ON transcript.id = n + 10
             JOIN session AS model ON model.key = '{FIRST}';
         UPDATE agent_sessions SET sessions = sessions + {sessions} WHERE agent = 'main';
         INSERT INTO entry (transcript, n, id, run, wire_id, at_ms, body)
             SELECT n.n + 10, model.n, randomblob(16), model.run, model.wire_id, model.at_ms, body
             FROM n JOIN (SELECT entry.* FROM entry JOIN session USING (transcript)
                 WHERE session.key = '{FIRST}') AS model;
         INSERT INTO run (run_id, wire_id, wire_digest, session, key, agent, front, principal,
                 transcript, session_id, accepted_at_ms, started_at_ms, first_n, inputs, last_n,
                 terminal)
             SELECT randomblob(16), 'run ' || n, random(), n + 10, 'agent:main:s' || n, agent,
                 front, principal, n + 10, session_id, accepted_at_ms, started_at_ms, first_n,
                 inputs, last_n, terminal
             FROM n JOIN (SELECT * FROM run WHERE wire_id = 'first') AS model;
         COMMIT;"
    ))
    .unwrap();
    let (found, agents): (u32, u32) = conn
        .query_row(
            "SELECT (SELECT count(*) FROM session), (SELECT sum(sessions) FROM agent_sessions)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((found, agents), (sessions + 1, sessions + 1));
    drop(conn);
    // Else the first syncs of the gateway would have to wait for all of this.
    std::fs::File::open(file).unwrap().sync_all().unwrap();
}

/// The time from the start of the process to `/readyz` 200.
fn start(home: &Home) -> Duration {
    let began = Instant::now();
    let (gateway, addr) = home.gateway(&[]);
    assert!(get(addr, "/readyz").starts_with("HTTP/1.1 200"));
    let took = began.elapsed();
    gateway.signal("KILL");
    gateway.end();
    took
}

/// The time from a message to the stored end of its run, in sessions all over the ledger.
async fn run(home: &Home, sessions: u32) -> Duration {
    let (gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    let mut times = Vec::new();
    for n in 0..RUNS {
        let number = u32::try_from(n).unwrap().wrapping_mul(2_654_435_761) % (sessions + 1);
        let (session, id) = (format!("agent:main:s{number}"), format!("timed {n}"));
        let began = Instant::now();
        native.send(&session, &id, "hello again").await;
        let wait = json!({"runId": id, "timeoutMs": 20_000});
        let ended = native.call("agent.wait", wait).await;
        times.push(began.elapsed());
        assert_eq!(ended["status"], "ok", "{ended}");
        assert_eq!(native.history(&session).await.len() % 2, 0);
    }
    let listed = native.call("sessions.list", json!({"limit": 50})).await;
    let listed = listed["sessions"].as_array().unwrap().len();
    assert_eq!(listed, 50.min(usize::try_from(sessions).unwrap() + 1));
    gateway.signal("KILL");
    gateway.end();
    times.sort();
    times[RUNS / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_and_a_run_take_no_longer_with_very_many_sessions() {
    let wanted = std::env::var("CLAWPORT_SESSIONS");
    let sessions = wanted.map_or(SESSIONS, |sessions| sessions.parse().unwrap());
    let (few, many) = (home(), home());
    for home in [&few, &many] {
        first_run(home).await;
    }
    fill(&few.state_dir().join("clawport.db"), FEW);
    let began = Instant::now();
    fill(&many.state_dir().join("clawport.db"), sessions);
    let filled = began.elapsed();
    let mut starts = [Duration::MAX; 2];
    for _ in 0..STARTS {
        for (home, fastest) in [&few, &many].into_iter().zip(&mut starts) {
            *fastest = start(home).min(*fastest);
        }
    }
    let mut runs = [Duration::MAX; 2];
    for _ in 0..3 {
        runs[0] = run(&few, FEW).await.min(runs[0]);
        runs[1] = run(&many, sessions).await.min(runs[1]);
    }
    let said = format!(
        "{sessions} sessions, written in {filled:?}: ready after {:?} (with {FEW}: {:?}); \
         a durable run takes {:?} (with {FEW}: {:?})\n",
        starts[1], starts[0], runs[1], runs[0]
    );
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    // A look at every row of a million would take a second and more.
    let is_flat = |few: Duration, many: Duration| many < few * 2 + Duration::from_millis(30);
    assert!(is_flat(starts[0], starts[1]), "{said}");
    assert!(is_flat(runs[0], runs[1]), "{said}");
}
