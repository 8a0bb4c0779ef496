//! The state directory: who may use it, and which files are refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn refused(dir: &Path) -> OpenError {
    SqliteLedger::open(&config(dir), OpenOptions::default())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_new_state_directory_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("deep/er");
    let ledger = open(&state).await;
    accepted(ledger.begin_run(begin(&ledger, 1, "a", "x")).await);
    assert_eq!(mode(&state), 0o700);
    for file in [
        DATABASE_FILE,
        "clawport.db-wal",
        "clawport.db-shm",
        LOCK_FILE,
    ] {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_second_gateway_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    let message = refused(dir.path()).await.to_string();
    assert_eq!(
        message,
        format!(
            "another clawport (process {}) uses the state directory {}: stop it, or set \
             OPENCLAW_STATE_DIR to another directory",
            std::process::id(),
            dir.path().display()
        )
    );
    // The first one did not notice.
    accepted(ledger.begin_run(begin(&ledger, 1, "a", "x")).await);
    ledger.close().await.unwrap();
    open(dir.path()).await;
}

#[tokio::test]
async fn a_successor_waits_for_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let options = OpenOptions {
        lock_wait: Duration::from_secs(30),
        ..OpenOptions::default()
    };
    let config = config(dir.path());
    let mut second = Box::pin(SqliteLedger::open(&config, options));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut second).await;
    assert!(early.is_err());
    accepted(first.begin_run(begin(&first, 1, "a", "x")).await);
    first.close().await.unwrap();
    let second = second.await.unwrap();
    assert_eq!(second.lease(), Lease { epoch: 2 });
}

#[tokio::test]
async fn waiting_for_the_lock_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).await;
    let options = OpenOptions {
        lock_wait: Duration::from_millis(120),
        ..OpenOptions::default()
    };
    let second = SqliteLedger::open(&config(dir.path()), options).await;
    assert!(
        matches!(second, Err(OpenError::Locked { .. })),
        "{second:?}"
    );
}

#[tokio::test]
async fn a_killed_process_leaves_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    // The lock belongs to the open file, which the child inherits as its input.
    let lock = open::lock(dir.path()).unwrap();
    let mut child = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::from(lock))
        .spawn()
        .unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    open(dir.path()).await;
}

/// A directory with one file under the name of the database.
fn with_database(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(DATABASE_FILE), bytes).unwrap();
    dir
}

async fn check_foreign(bytes: &[u8]) {
    let dir = with_database(bytes);
    let file = dir.path().join(DATABASE_FILE);
    let error = refused(dir.path()).await;
    assert!(
        matches!(&error, OpenError::Foreign { path } if *path == file),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("is not a clawport database"),
        "{error}"
    );
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, [DATABASE_FILE, LOCK_FILE]);
}

fn sqlite_file(setup: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.db");
    let conn = Connection::open(&file).unwrap();
    conn.execute_batch(setup).unwrap();
    drop(conn);
    fs::read(file).unwrap()
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_alone() {
    check_foreign(b"my diary").await;
    check_foreign(&[0; 4096]).await;
    check_foreign(b"SQLite format 3\0").await;
    check_foreign(&sqlite_file("CREATE TABLE session (id INTEGER)")).await;
    check_foreign(&sqlite_file(
        "PRAGMA application_id = 7; CREATE TABLE t (x)",
    ))
    .await;
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let bytes = sqlite_file(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = 99; CREATE TABLE t (x)",
        schema::APPLICATION_ID
    ));
    let dir = with_database(&bytes);
    let error = refused(dir.path()).await;
    assert!(
        matches!(&error, OpenError::Newer { found: 99, known, .. } if *known == schema::VERSION),
        "{error:?}"
    );
    assert!(error.to_string().contains("update clawport"), "{error}");
    assert_eq!(fs::read(dir.path().join(DATABASE_FILE)).unwrap(), bytes);
}

#[tokio::test]
async fn an_empty_file_becomes_a_database() {
    let dir = with_database(b"");
    let ledger = open(dir.path()).await;
    accepted(ledger.begin_run(begin(&ledger, 1, "a", "x")).await);
}

#[tokio::test]
async fn a_database_whose_first_tables_never_came_is_completed() {
    let bytes = sqlite_file(&format!(
        "PRAGMA application_id = {}; PRAGMA journal_mode = WAL",
        schema::APPLICATION_ID
    ));
    let dir = with_database(&bytes);
    let ledger = open(dir.path()).await;
    assert_eq!(ledger.lease(), Lease { epoch: 1 });
}

#[tokio::test]
async fn a_damaged_database_is_an_error_and_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    for number in 1..=50 {
        accepted(
            ledger
                .begin_run(begin(&ledger, number, &format!("s{number}"), "x"))
                .await,
        );
    }
    ledger.close().await.unwrap();
    let file = dir.path().join(DATABASE_FILE);
    let mut bytes = fs::read(&file).unwrap();
    // The header stays, so the file is still recognised.
    for byte in bytes.iter_mut().skip(100) {
        *byte = 0xA5;
    }
    fs::write(&file, &bytes).unwrap();
    let error = refused(dir.path()).await;
    assert!(
        matches!(
            &error,
            OpenError::Store {
                source: LedgerError::Failed {
                    fault: Fault::Corrupt,
                    ..
                },
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.join("state"), file.clone()] {
        let error = refused(&path).await;
        assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(file.to_str().unwrap()), "{message}");
    }
}

#[tokio::test]
async fn a_directory_without_the_right_to_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser may write everywhere but where the kernel itself keeps the files.
    let state = match fs::write(state.join("probe"), b"") {
        Ok(()) => Path::new("/proc/self").to_owned(),
        Err(_refused) => state,
    };
    let error = refused(&state).await;
    assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
}

#[test]
fn a_file_system_without_shared_memory_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(DATABASE_FILE);
    let flags =
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_CREATE;
    // SQLite's file system layer with lock files stands for one that cannot share memory.
    let conn = Connection::open_with_flags_and_vfs(&file, flags, c"unix-dotfile").unwrap();
    assert!(!open::use_log(&conn).unwrap());
    let message = OpenError::NoLog { path: file }.to_string();
    assert!(message.contains("local disk"), "{message}");
}
