//! The thread that owns the write connection.
//!
//! It takes the writes that wait, does them in one transaction, commits, and only then answers:
//! many callers share one sync of the disk. It must not know what a write is about.
//!
//! - A write that says no has written nothing and does not disturb the others. When one fails half
//!   way, the whole batch is rolled back and each write is done again in a transaction of its own,
//!   so it alone gets the error.
//! - When a commit fails, every write of the batch gets the error, and nothing is acknowledged
//!   again before a fresh connection has taken the place of the old one. The old one is closed
//!   after the new one is open: were it the only one, SQLite would read the log again and might
//!   find the failed commit in it.
//! - While the store fails, the thread tries by itself, now and then, whether it works again:
//!   whoever looks at that before they send a write would else never send one.
//! - When the thread ends, for whatever reason, every caller that waits is told that the store is
//!   closed.

use std::cell::Cell;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::metrics::Metrics;
use crate::session::ledger::{Fault, LedgerError};

use super::fault::{self, StepError};
use super::open::{self, Opened, Place, execute};
use super::prune;
use super::queue::{Queue, Taken};
use super::schema;

/// Most writes that share a commit.
const BATCH_MAX: usize = 256;

/// Pages of the log that are not in the file yet, above which they are moved there.
const LOG_PAGES_MAX: i64 = 4_000;

/// Rest between two steps that clear garbage away, so that writes find the thread free.
const GARBAGE_PAUSE: Duration = Duration::from_millis(5);

/// Rest between two attempts to write to a store that fails.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// What a write sees of the store.
#[derive(Debug)]
pub(super) struct Tx<'a> {
    pub(super) conn: &'a Connection,
    garbage: &'a Cell<bool>,
}

impl Tx<'_> {
    /// Says that rows were left behind which nothing refers to any more.
    pub(super) fn leave_garbage(&self) {
        self.garbage.set(true);
    }
}

/// How a write went inside its transaction.
#[derive(Debug)]
pub(super) enum Applied {
    /// It is written, and durable with the commit; or it said no and wrote nothing.
    Done,
    /// It failed, perhaps half way.
    Failed(LedgerError),
}

/// A write that waits for its commit.
pub(super) trait Job: Send {
    /// Whether somebody still waits for the answer.
    fn is_wanted(&self) -> bool;
    /// Does the write; may be called again after a rollback.
    fn apply(&mut self, tx: &Tx<'_>) -> Applied;
    /// Tells the caller what `apply` found, or why it was not committed.
    fn answer(self: Box<Self>, committed: Result<(), LedgerError>);
}

/// A [`Job`] made of a step and the way back to its caller.
pub(super) struct Write<T, F> {
    step: F,
    outcome: Option<Result<T, LedgerError>>,
    reply: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T, F> Write<T, F> {
    pub(super) fn new(step: F, reply: oneshot::Sender<Result<T, LedgerError>>) -> Self {
        Self {
            step,
            outcome: None,
            reply,
        }
    }
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: Fn(&Tx<'_>) -> Result<T, StepError> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn apply(&mut self, tx: &Tx<'_>) -> Applied {
        let before = tx.conn.total_changes();
        let (outcome, applied) = match (self.step)(tx) {
            Ok(value) => (Ok(value), Applied::Done),
            Err(StepError::Refused(refusal)) if tx.conn.total_changes() == before => {
                (Err(refusal), Applied::Done)
            }
            Err(error) => {
                let error = LedgerError::from(error);
                (Err(error.clone()), Applied::Failed(error))
            }
        };
        self.outcome = Some(outcome);
        applied
    }

    fn answer(self: Box<Self>, committed: Result<(), LedgerError>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(LedgerError::Closed),
            (Err(error), _) => Err(error),
        };
        // A caller that left does not want to know.
        self.reply.send(outcome).ok();
    }
}

/// The writes that wait.
pub(super) type Jobs = Queue<Box<dyn Job>>;

/// Starts the thread. The receiver is told when it has ended and the lock is free.
pub(super) fn spawn(
    opened: Opened,
    jobs: Arc<Jobs>,
    metrics: Arc<Metrics>,
) -> std::io::Result<watch::Receiver<()>> {
    let (ended, watcher) = watch::channel(());
    let writer = Writer {
        conn: opened.conn,
        place: opened.place,
        epoch: opened.epoch,
        is_epoch_stored: false,
        is_suspect: false,
        is_failing: false,
        changes_before: 0,
        garbage: Cell::new(true),
        jobs,
        metrics,
        lock: opened.lock,
        ended,
    };
    std::thread::Builder::new()
        .name("clawport-ledger".to_owned())
        .spawn(move || writer.run())?;
    Ok(watcher)
}

/// Fields are dropped in this order: the lock is free only when the connection is closed, and the
/// end is told last.
struct Writer {
    conn: Connection,
    place: Place,
    epoch: u64,
    is_epoch_stored: bool,
    /// The connection met a failure and is not trusted with another commit.
    is_suspect: bool,
    /// The last attempt to write failed.
    is_failing: bool,
    /// Rows the connection had changed when the transaction began.
    changes_before: u64,
    /// There may be rows to clear away.
    garbage: Cell<bool>,
    jobs: Arc<Jobs>,
    metrics: Arc<Metrics>,
    #[expect(
        dead_code,
        reason = "held, not used: the operating system frees it with the file"
    )]
    lock: File,
    #[expect(
        dead_code,
        reason = "held, not used: its drop tells that the thread has ended"
    )]
    ended: watch::Sender<()>,
}

/// Leaves no caller waiting when the thread ends, not even by a panic.
struct Bell {
    jobs: Arc<Jobs>,
    metrics: Arc<Metrics>,
}

impl Drop for Bell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the writer of the ledger panicked; the store is closed");
            self.metrics.ledger_failing.set(1);
        }
        self.jobs.abandon();
    }
}

impl Writer {
    fn run(mut self) {
        let _bell = Bell {
            jobs: Arc::clone(&self.jobs),
            metrics: Arc::clone(&self.metrics),
        };
        loop {
            match self.jobs.take(BATCH_MAX, self.patience()) {
                Taken::Batch(batch) => self.work(batch),
                // Clearing away is a write, too, and may be what makes room for others.
                Taken::Idle if self.garbage.get() => self.clear_garbage(),
                Taken::Idle => self.probe(),
                Taken::Closed => break,
            }
        }
        if let Err(error) = checkpoint(&self.conn, "TRUNCATE") {
            tracing::warn!(%error, "the log of the ledger stays for the next start");
        }
    }

    /// How long to wait for writes before there is something else to do.
    fn patience(&self) -> Option<Duration> {
        if self.garbage.get() {
            return Some(GARBAGE_PAUSE);
        }
        self.is_failing.then_some(PROBE_PAUSE)
    }

    fn work(&mut self, mut batch: Vec<Box<dyn Job>>) {
        batch.retain(|job| job.is_wanted());
        let Err(error) = self.ensure_trusted() else {
            return self.write(batch);
        };
        for job in batch {
            job.answer(Err(error.clone()));
        }
    }

    fn write(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let committed = match self.together(&mut batch) {
            Together::Ended(committed) => committed,
            Together::Apart => {
                for job in batch {
                    self.alone(job);
                }
                return;
            }
        };
        for job in batch {
            job.answer(committed.clone());
        }
        self.tend_log();
    }

    fn together(&mut self, batch: &mut [Box<dyn Job>]) -> Together {
        if batch.len() == 1 {
            return Together::Apart;
        }
        if let Err(error) = self.begin() {
            return Together::Ended(Err(error));
        }
        for job in batch {
            if let Applied::Failed(_) = job.apply(&self.tx()) {
                self.roll_back();
                return Together::Apart;
            }
        }
        Together::Ended(self.commit())
    }

    fn alone(&mut self, mut job: Box<dyn Job>) {
        let committed = self.begin().and_then(|()| match job.apply(&self.tx()) {
            Applied::Done => self.commit(),
            Applied::Failed(error) => {
                self.note(&error);
                self.roll_back();
                Err(error)
            }
        });
        job.answer(committed);
        self.tend_log();
    }

    fn tx(&self) -> Tx<'_> {
        Tx {
            conn: &self.conn,
            garbage: &self.garbage,
        }
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        self.changes_before = self.conn.total_changes();
        let begun = execute(&self.conn, "BEGIN IMMEDIATE").and_then(|()| {
            if self.is_epoch_stored {
                return Ok(());
            }
            open::store_epoch(&self.conn, self.epoch)
        });
        begun.map_err(|error| {
            self.roll_back();
            self.failed(&error)
        })
    }

    fn commit(&mut self) -> Result<(), LedgerError> {
        let committed = execute(&self.conn, "COMMIT");
        let committed = committed.map_err(|error| {
            // Whatever it was, it hit the moment that decides: look at the file anew.
            self.is_suspect = true;
            self.roll_back();
            self.failed(&error)
        });
        if committed.is_ok() {
            // A commit of nothing touches no disk and shows nothing.
            if self.conn.total_changes() != self.changes_before {
                self.works(true);
            }
            self.is_epoch_stored = true;
            self.metrics.ledger_commits.add_one();
        }
        committed
    }

    /// Ends the transaction, unless SQLite has done so itself.
    fn roll_back(&mut self) {
        if self.conn.is_autocommit() {
            return;
        }
        if let Err(error) = execute(&self.conn, "ROLLBACK") {
            self.failed(&error);
            self.is_suspect = true;
        }
    }

    fn failed(&mut self, error: &rusqlite::Error) -> LedgerError {
        let error = fault::sql(error);
        self.note(&error);
        error
    }

    fn note(&mut self, error: &LedgerError) {
        self.metrics.ledger_failures.add_one();
        tracing::error!(%error, "a write of the ledger failed");
        if let LedgerError::Failed {
            fault: Fault::Io | Fault::Corrupt | Fault::ReadOnly,
            ..
        } = error
        {
            self.is_suspect = true;
        }
        if let LedgerError::Failed {
            fault: Fault::Io | Fault::Corrupt | Fault::ReadOnly | Fault::DiskFull,
            ..
        } = error
        {
            self.works(false);
        }
    }

    /// Notes whether the store can be written, for whoever asks whether the process is ready.
    fn works(&mut self, works: bool) {
        if works && self.is_failing {
            tracing::info!("the ledger can be written again");
        }
        self.is_failing = !works;
        self.metrics.ledger_failing.set(i64::from(!works));
    }

    /// Finds out whether the store works again, when nobody writes.
    fn probe(&mut self) {
        let written = self.ensure_trusted().and_then(|()| {
            self.begin()?;
            schema::write_version(&self.conn).map_err(|error| {
                self.roll_back();
                self.failed(&error)
            })?;
            self.commit()
        });
        match written {
            Ok(()) => self.works(true),
            Err(error) => {
                tracing::debug!(%error, "the ledger still cannot be written");
            }
        }
    }

    /// Replaces a connection that met a failure.
    fn ensure_trusted(&mut self) -> Result<(), LedgerError> {
        if !self.is_suspect {
            return Ok(());
        }
        let fresh = open::connect(&self.place).map_err(|error| {
            self.works(false);
            LedgerError::from(error)
        })?;
        let stored = open::stored_epoch(&fresh).map_err(|error| fault::sql(&error))?;
        let is_before_ours = stored.saturating_add(1) == self.epoch && !self.is_epoch_stored;
        if stored != self.epoch && !is_before_ours {
            self.works(false);
            return Err(LedgerError::Fenced {
                stored,
                ours: self.epoch,
            });
        }
        self.conn = fresh;
        self.is_suspect = false;
        self.garbage.set(true);
        tracing::warn!("the ledger was opened again after a failure");
        Ok(())
    }

    /// Moves the log into the file when it has grown long. A failure costs nothing but space: what
    /// is in the log is durable, and the next attempt comes with the next commit.
    fn tend_log(&self) {
        let moved = log_pages(&self.conn).and_then(|pages| {
            if pages < LOG_PAGES_MAX {
                return Ok(());
            }
            checkpoint(&self.conn, "PASSIVE")
        });
        if let Err(error) = moved {
            self.metrics.ledger_failures.add_one();
            tracing::warn!(%error, "the log of the ledger could not be moved into its file");
        }
    }

    fn clear_garbage(&mut self) {
        let cleared = self.ensure_trusted().and_then(|()| {
            self.begin()?;
            match prune::clear_garbage(&self.conn) {
                Ok(is_left) => self.commit().map(|()| is_left),
                Err(error) => {
                    let error = LedgerError::from(error);
                    self.note(&error);
                    self.roll_back();
                    Err(error)
                }
            }
        });
        // After a failure the next delete, or the next start, tries again.
        self.garbage.set(cleared.unwrap_or(false));
        self.tend_log();
    }
}

enum Together {
    /// The batch was tried in one transaction; this is how it ended.
    Ended(Result<(), LedgerError>),
    /// Each write is to have its own transaction.
    Apart,
}

/// Pages of the log that are not in the file yet.
fn log_pages(conn: &Connection) -> rusqlite::Result<i64> {
    let mut noop = conn.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    noop.query_row([], |row| {
        let (log, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(log.saturating_sub(moved))
    })
}

fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    statement.query_row([], |_row| Ok(()))
}
