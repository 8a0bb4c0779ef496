//! A disk that fails: what is answered, and what is there afterwards.

use futures_util::future::join3;

use super::*;

fn failed<T: fmt::Debug>(outcome: Result<T, LedgerError>, expected: Fault) {
    match outcome {
        Err(LedgerError::Failed { fault, .. }) => assert_eq!(fault, expected),
        other => panic!("{other:?}"),
    }
}

/// A ledger whose writer has cleared away what there was, so that it writes nothing by itself.
async fn open_at_rest(dir: &Path) -> SqliteLedger {
    let options = OpenOptions::default();
    let metrics = Arc::clone(&options.metrics);
    let ledger = open_with(dir, options).await;
    let cleared = async {
        while metrics.ledger_commits.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), cleared)
        .await
        .unwrap();
    ledger
}

#[tokio::test]
async fn a_failed_commit_acknowledges_nothing_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::default();
    let metrics = Arc::clone(&options.metrics);
    let ledger = Arc::new(open_with(dir.path(), options).await);
    accepted(ledger.begin_run(begin(&*ledger, 1, "a", "before")).await);
    let release = hold_up(&ledger).await;
    // An entry of a transcript that is not there, which SQLite only notices at the commit.
    let poison = ledger.write(Purpose::Admit, |tx: &Tx<'_>| {
        tx.conn.execute_batch(
            "PRAGMA defer_foreign_keys = ON; \
             INSERT INTO entry (transcript, n, id, at_ms, body) VALUES (77, 1, x'00', 0, '')",
        )?;
        Ok(())
    });
    let good = ledger.begin_run(begin(&*ledger, 2, "a", "with it"));
    let (good, poison) = behind(release, join(good, poison)).await;
    failed(good, Fault::Internal);
    failed(poison, Fault::Internal);
    assert_eq!(metrics.ledger_failures.get(), 1);
    assert_eq!(ledger.list_runs(None, 9).await.unwrap().len(), 1);
    accepted(ledger.begin_run(begin(&*ledger, 2, "a", "after")).await);
    let entries = transcript(&*ledger, "a").await;
    assert_eq!(texts(&entries), [(1, "before"), (2, "after")]);
    drop(ledger);
    let ledger = open_after_drop(dir.path()).await;
    assert_eq!(transcript(&ledger, "a").await, entries);
}

#[tokio::test]
async fn a_connection_that_cannot_write_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_at_rest(dir.path()).await;
    let stop_writing = |tx: &Tx<'_>| {
        tx.conn.pragma_update(None, "query_only", true)?;
        Ok(())
    };
    ledger.write(Purpose::Settle, stop_writing).await.unwrap();
    let run = begin(&ledger, 1, "a", "x");
    failed(ledger.begin_run(run.clone()).await, Fault::ReadOnly);
    assert_eq!(ledger.session(key("a")).await.unwrap(), None);
    accepted(ledger.begin_run(run).await);
}

#[tokio::test]
async fn a_store_that_was_taken_over_is_not_written_to_again() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_at_rest(dir.path()).await;
    let take_over = |tx: &Tx<'_>| {
        tx.conn.execute_batch("UPDATE meta SET epoch = 5")?;
        Ok(())
    };
    ledger.write(Purpose::Settle, take_over).await.unwrap();
    let stop_writing = |tx: &Tx<'_>| {
        tx.conn.pragma_update(None, "query_only", true)?;
        Ok(())
    };
    ledger.write(Purpose::Settle, stop_writing).await.unwrap();
    let run = begin(&ledger, 1, "a", "x");
    failed(ledger.begin_run(run.clone()).await, Fault::ReadOnly);
    for _ in 0..2 {
        let refused = ledger.begin_run(run.clone()).await;
        assert!(
            matches!(refused, Err(LedgerError::Fenced { stored: 5, ours: 1 })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        pages_max: Some(201),
        ..OpenOptions::default()
    };
    let ledger = open_with(dir.path(), options).await;
    let long = "x".repeat(20_000);
    let mut number = 0;
    let full = loop {
        number += 1;
        assert!(number < 200, "the disk is never full");
        match ledger.begin_run(begin(&ledger, number, "a", &long)).await {
            Ok(begun) => drop(accepted(Ok(begun))),
            Err(error) => break error,
        }
    };
    failed::<()>(Err(full), Fault::DiskFull);
    // Nothing of the refused run is there, and what was acknowledged is.
    let entries = transcript(&ledger, "a").await;
    assert_eq!(entries.len(), usize::try_from(number).unwrap() - 1);
    let runs = ledger.list_runs(None, 999).await.unwrap();
    assert_eq!(runs.len(), entries.len());
    // A run that needs no space can end, and space that comes back is used.
    ledger.end_run(end(&ledger, 1, "a", &[])).await.unwrap();
    ledger
        .delete_session(ledger.lease(), key("a"), None)
        .await
        .unwrap();
    let recovered = async {
        while let Err(error) = ledger.begin_run(begin(&ledger, 900, "b", &long)).await {
            failed::<()>(Err(error), Fault::DiskFull);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), recovered)
        .await
        .unwrap();
    assert_eq!(transcript(&ledger, "b").await.len(), 1);
}

#[tokio::test]
async fn a_full_disk_in_a_batch_spares_the_writes_that_fit() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        pages_max: Some(100),
        ..OpenOptions::default()
    };
    let ledger = Arc::new(open_with(dir.path(), options).await);
    let release = hold_up(&ledger).await;
    let small = ledger.begin_run(begin(&*ledger, 1, "a", "small"));
    let large = ledger.begin_run(begin(&*ledger, 2, "b", &"x".repeat(2_000_000)));
    let other = ledger.begin_run(begin(&*ledger, 3, "c", "small too"));
    let (small, large, other) = behind(release, join3(small, large, other)).await;
    accepted(small);
    failed(large, Fault::DiskFull);
    accepted(other);
    assert_eq!(ledger.session(key("b")).await.unwrap(), None);
}

#[tokio::test]
async fn a_writer_that_panics_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(dir.path()).await);
    accepted(ledger.begin_run(begin(&*ledger, 1, "a", "x")).await);
    let release = hold_up(&ledger).await;
    let waiting = ledger.begin_run(begin(&*ledger, 2, "a", "y"));
    let panics = ledger.write(Purpose::Settle, |_tx: &Tx<'_>| -> Result<(), StepError> {
        panic!("a fault in a step")
    });
    let (waiting, panics) = behind(release, join(waiting, panics)).await;
    assert!(matches!(waiting, Err(LedgerError::Closed)), "{waiting:?}");
    assert!(matches!(panics, Err(LedgerError::Closed)), "{panics:?}");
    let late = ledger.end_run(end(&*ledger, 1, "a", &[])).await;
    assert!(matches!(late, Err(LedgerError::Closed)), "{late:?}");
    // Reads still work, closing does not hang, and the next process finds what was acknowledged.
    assert_eq!(transcript(&*ledger, "a").await.len(), 1);
    ledger.close().await.unwrap();
    let ledger = open_after_drop(dir.path()).await;
    assert_eq!(ledger.list_runs(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_read_that_panics_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    for _ in 0..20 {
        let read = ledger
            .readers
            .read(|_conn| -> Result<(), StepError> { panic!("a fault in a read") });
        failed(read.await, Fault::Internal);
    }
    assert_eq!(ledger.session(key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    accepted(ledger.begin_run(begin(&ledger, 1, "a", "x")).await);
    let spoil = |tx: &Tx<'_>| {
        tx.conn.execute_batch(
            "UPDATE entry SET body = '{\"nothing\":1}'; UPDATE run SET front = 'x'",
        )?;
        Ok(())
    };
    ledger.write(Purpose::Settle, spoil).await.unwrap();
    let range = EntryRange::After { n: 0, limit: 9 };
    failed(ledger.entries(key("a"), range).await, Fault::Corrupt);
    failed(ledger.list_runs(None, 9).await, Fault::Corrupt);
    // The rest of the store is well.
    ledger.end_run(end(&ledger, 1, "a", &["y"])).await.unwrap();
    accepted(ledger.begin_run(begin(&ledger, 2, "a", "z")).await);
}
