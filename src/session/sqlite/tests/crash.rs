//! A process that is gone in an instant: what the next one finds.

use std::fs;

use super::*;

/// What is on the disk at this moment, as a process that was killed now would leave it.
fn image(of: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in [DATABASE_FILE, "clawport.db-wal"] {
        let from = of.join(file);
        if from.exists() {
            fs::copy(from, dir.path().join(file)).unwrap();
        }
    }
    dir
}

/// The numbers of the runs in a store, each checked to be whole: its row, its entry and its session
/// belong to one commit.
async fn whole_runs(ledger: &SqliteLedger) -> Vec<u32> {
    let mut found = Vec::new();
    for run in ledger.list_runs(None, 9_999).await.unwrap().iter().rev() {
        let number = run
            .wire_id
            .as_str()
            .trim_start_matches("wire-")
            .parse()
            .unwrap();
        let entries = ledger.run_entries(run.run_id).await.unwrap();
        let expected = if run.terminal.is_some() { 2 } else { 1 };
        assert_eq!(entries.len(), expected, "run {number}");
        found.push(number);
    }
    let page = ledger
        .list_sessions(SessionQuery {
            limit: 99,
            ..SessionQuery::default()
        })
        .await;
    let mut counted = 0;
    for session in page.unwrap().sessions {
        let range = EntryRange::After { n: 0, limit: 9_999 };
        let page = ledger.entries(session.key, range).await.unwrap().unwrap();
        let positions: Vec<u64> = page.entries.iter().map(|entry| entry.n).collect();
        assert_eq!(positions, (1..=session.entries).collect::<Vec<_>>());
        counted += positions.len();
    }
    let terminals = ledger.list_runs(None, 9_999).await.unwrap();
    let terminals = terminals
        .iter()
        .filter(|run| run.terminal.is_some())
        .count();
    assert_eq!(counted, found.len() + terminals);
    found
}

async fn do_run(ledger: &SqliteLedger, number: u32) {
    let name = format!("s{}", number % 3);
    accepted(
        ledger
            .begin_run(begin(ledger, number, &name, "question"))
            .await,
    );
    if !number.is_multiple_of(4) {
        ledger
            .end_run(end(ledger, number, &name, &["answer"]))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    for number in 1..=40 {
        do_run(&ledger, number).await;
        let image = image(dir.path());
        let next = open(image.path()).await;
        assert_eq!(whole_runs(&next).await, (1..=number).collect::<Vec<_>>());
        assert_eq!(next.lease(), Lease { epoch: 2 });
        do_run(&next, number + 1).await;
    }
}

#[tokio::test]
async fn a_torn_log_loses_at_most_its_tail() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    for number in 1..=12 {
        do_run(&ledger, number).await;
    }
    let whole = image(dir.path());
    let log = fs::read(whole.path().join("clawport.db-wal")).unwrap();
    let all: Vec<u32> = (1..=12).collect();
    let mut seen = Vec::new();
    // Cut in the middle of pages, in headers, and everywhere near the end.
    let near_end = (0..40).map(|n| log.len() - n * 211);
    let everywhere = (0..40).map(|n| log.len() * n / 40 + n);
    for length in near_end.chain(everywhere) {
        let torn = image(dir.path());
        fs::write(torn.path().join("clawport.db-wal"), &log[..length]).unwrap();
        let next = open(torn.path()).await;
        let found = whole_runs(&next).await;
        assert_eq!(found, all[..found.len()], "cut at {length}");
        seen.push(found.len());
    }
    assert_eq!(seen.first(), Some(&12));
    assert!(
        seen.contains(&0) && seen.iter().any(|count| (1..12).contains(count)),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_loses_at_most_its_tail() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await;
    for number in 1..=8 {
        do_run(&ledger, number).await;
    }
    let whole = image(dir.path());
    let log = fs::read(whole.path().join("clawport.db-wal")).unwrap();
    let all: Vec<u32> = (1..=8).collect();
    for n in 0..60 {
        let mut spoiled = log.clone();
        let at = log.len() * n / 60 + n;
        spoiled[at] ^= 0x10;
        let torn = image(dir.path());
        fs::write(torn.path().join("clawport.db-wal"), &spoiled).unwrap();
        let next = open(torn.path()).await;
        let found = whole_runs(&next).await;
        assert_eq!(found, all[..found.len()], "flipped at {at}");
    }
}

#[tokio::test]
async fn a_ledger_that_is_dropped_lets_go_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..=5 {
        let ledger = open_after_drop(dir.path()).await;
        assert_eq!(ledger.lease().epoch, u64::from(number));
        do_run(&ledger, number).await;
    }
    let ledger = open_after_drop(dir.path()).await;
    assert_eq!(whole_runs(&ledger).await, [1, 2, 3, 4, 5]);
}
