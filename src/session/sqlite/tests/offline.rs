//! Reading a store beside its gateway, or without one.

use std::io::Write;

use serde_json::{Value, json};

use super::*;

fn lines(export: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(export).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn export(dir: &Path, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let count = Offline::open(dir)
        .unwrap()
        .export(&key(name), &mut out)
        .unwrap();
    assert_eq!(usize::try_from(count).unwrap() + 1, lines(&out).len());
    out
}

#[tokio::test]
async fn a_transcript_is_exported_while_the_gateway_runs_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    accepted(ledger.begin_run(begin(&ledger, 1, "a", "hello")).await);
    ledger.end_run(end(&ledger, 1, "a", &["hi"])).await.unwrap();
    let running = export(dir.path(), "a");
    ledger.close().await.unwrap();
    assert_eq!(export(dir.path(), "a"), running);

    let lines = lines(&running);
    assert_eq!(
        lines[0],
        json!({
            "type": "session",
            "version": 1,
            "id": session_id(1).to_string(),
            "key": "agent:main:a",
            "agent": "main",
            "timestamp": "1970-01-01T00:00:01.001Z",
        })
    );
    assert_eq!(lines[1]["type"], "message");
    assert_eq!(lines[1]["parentId"], Value::Null);
    assert_eq!(
        lines[1]["message"]["body"],
        json!({"user": {"text": "hello"}})
    );
    assert_eq!(lines[1]["message"]["wire_id"], "wire-1");
    assert_eq!(lines[2]["parentId"], lines[1]["id"]);
    assert_eq!(lines[2]["message"]["n"], 2);
    assert_eq!(lines[2]["timestamp"], "1970-01-01T00:00:05.001Z");
}

#[tokio::test]
async fn a_long_transcript_is_exported_whole() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    let mut long = begin(&ledger, 1, "a", "x");
    long.input = (1..=1_000).map(|n| user(&format!("m{n}"), n)).collect();
    accepted(ledger.begin_run(long).await);
    let lines = lines(&export(dir.path(), "a"));
    assert_eq!(lines.len(), 1_001);
    for (n, pair) in lines.windows(2).enumerate().skip(1) {
        assert_eq!(pair[1]["message"]["n"], n + 1);
        assert_eq!(pair[1]["parentId"], pair[0]["id"]);
    }
}

#[tokio::test]
async fn lists_are_read_without_a_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    accepted(ledger.begin_run(begin(&ledger, 1, "a", "hello")).await);
    accepted(ledger.begin_run(begin(&ledger, 2, "b", "hello")).await);
    let query = SessionQuery {
        limit: 9,
        ..SessionQuery::default()
    };
    let page = ledger.list_sessions(query.clone()).await.unwrap();
    let runs = ledger.list_runs(Some(key("a")), 9).await.unwrap();
    ledger.close().await.unwrap();
    let offline = Offline::open(dir.path()).unwrap();
    assert_eq!(offline.sessions(&query).unwrap(), page);
    assert_eq!(offline.runs(Some(&key("a")), 9).unwrap(), runs);
    assert_eq!(
        offline.session(&key("b")).unwrap().as_ref(),
        page.sessions.first()
    );
    // It does not keep a gateway from starting.
    open(dir.path()).await;
}

#[tokio::test]
async fn an_export_of_what_is_not_there_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Offline::open(dir.path());
    assert!(
        matches!(missing, Err(OpenError::Missing { .. })),
        "{missing:?}"
    );
    let ledger = open(dir.path()).await;
    ledger.close().await.unwrap();
    let offline = Offline::open(dir.path()).unwrap();
    let none = offline.export(&key("a"), &mut Vec::new());
    assert_eq!(none.unwrap_err().to_string(), "no session agent:main:a");
}

#[test]
fn an_export_of_a_foreign_file_is_refused() {
    let check = |setup: &str| {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
        conn.execute_batch(setup).unwrap();
        drop(conn);
        Offline::open(dir.path()).unwrap_err()
    };
    let error = check("CREATE TABLE session (id)");
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    let ours = schema::APPLICATION_ID;
    let error = check(&format!(
        "PRAGMA application_id = {ours}; PRAGMA user_version = 99"
    ));
    assert!(
        matches!(error, OpenError::Newer { found: 99, .. }),
        "{error:?}"
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(DATABASE_FILE), "my diary, which is long").unwrap();
    let error = Offline::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Store { .. }), "{error:?}");
}

/// An output that lets something happen once the first line is written.
struct Meanwhile<F>(Option<F>);

impl<F: FnOnce()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(happen) = self.0.take() {
            happen();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_export_of_a_session_that_is_reset_meanwhile_stops() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(dir.path()).await);
    accepted(ledger.begin_run(begin(&*ledger, 1, "a", "hello")).await);
    let path = dir.path().to_owned();
    let runtime = tokio::runtime::Handle::current();
    let export = tokio::task::spawn_blocking(move || {
        let reset = || {
            let reset = ledger.reset_session(target(&*ledger, "a", 9));
            runtime.block_on(reset).map(drop).unwrap();
        };
        Offline::open(&path)
            .unwrap()
            .export(&key("a"), &mut Meanwhile(Some(reset)))
    });
    let changed = export.await.unwrap();
    assert!(
        matches!(changed, Err(ExportError::Changed(_))),
        "{changed:?}"
    );
}

#[tokio::test]
async fn an_output_that_fails_stops_the_export() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    accepted(ledger.begin_run(begin(&ledger, 1, "a", "hello")).await);
    let offline = Offline::open(dir.path()).unwrap();
    let failed = offline.export(&key("a"), &mut &mut [0_u8; 16][..]);
    assert!(matches!(failed, Err(ExportError::Write(_))), "{failed:?}");
}
