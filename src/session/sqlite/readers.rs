//! The read-only connections, used on tokio's blocking threads.
//!
//! Owns how many reads run and wait at once. A connection that met a failure is not used again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::session::ledger::{Fault, LedgerError};

use super::fault::StepError;
use super::open::{self, execute};

/// Reads that run at once.
const READERS_MAX: usize = 4;

/// Reads that wait for their turn; more are refused.
const WAITING_MAX: usize = 4_096;

#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    waiting: AtomicUsize,
    is_closed: AtomicBool,
}

impl Readers {
    pub(super) fn new(file: PathBuf) -> Self {
        Self(Arc::new(Pool {
            file,
            idle: Mutex::new(Vec::new()),
            permits: Semaphore::new(READERS_MAX),
            waiting: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Runs `step` on a blocking thread with a connection of its own.
    ///
    /// # Cancel safety
    /// A read that is dropped while it runs ends by itself and keeps its place until then.
    pub(super) async fn read<T, F>(&self, step: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StepError> + Send + 'static,
    {
        let turn = self.wait_for_turn().await?;
        let read = move || {
            let outcome = turn.0.run(step);
            drop(turn);
            outcome
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => Err(LedgerError::Failed {
                fault: Fault::Internal,
                reason: "a read panicked".into(),
            }),
            Err(_runtime_stops) => Err(LedgerError::Closed),
        }
    }

    /// Refuses every further read and closes the connections that are not in use.
    pub(super) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.permits.close();
        self.0.take_all();
    }

    async fn wait_for_turn(&self) -> Result<Turn, LedgerError> {
        let place = Waiting::take(&self.0)?;
        let permit = self.0.permits.acquire().await;
        drop(place);
        // The turn gives the permit back, because a permit that borrows cannot move to the thread.
        permit.map_err(|_closed| LedgerError::Closed)?.forget();
        Ok(Turn(Arc::clone(&self.0)))
    }
}

impl Pool {
    fn run<T, F>(&self, step: F) -> Result<T, LedgerError>
    where
        F: FnOnce(&Connection) -> Result<T, StepError>,
    {
        let conn = match self.take() {
            Some(conn) => conn,
            None => open::reader(&self.file).map_err(StepError::from)?,
        };
        let outcome = at_one_moment(&conn, step);
        if !matches!(outcome, Err(StepError::Sql(_))) {
            self.put(conn);
        }
        Ok(outcome?)
    }

    fn take(&self) -> Option<Connection> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    fn put(&self, conn: Connection) {
        if !self.is_closed.load(Ordering::Acquire) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(conn);
        }
    }

    fn take_all(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = std::mem::take(&mut *idle);
        drop(idle);
        drop(closed);
    }
}

/// Runs a step in a transaction, so that everything it reads is of one moment.
fn at_one_moment<T, F>(conn: &Connection, step: F) -> Result<T, StepError>
where
    F: FnOnce(&Connection) -> Result<T, StepError>,
{
    execute(conn, "BEGIN")?;
    let outcome = step(conn);
    execute(conn, "ROLLBACK")?;
    outcome
}

/// The right to run one read; given back when dropped.
struct Turn(Arc<Pool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.permits.add_permits(1);
    }
}

/// A place among the reads that wait.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn take(pool: &'a Pool) -> Result<Self, LedgerError> {
        let place = Self(pool);
        if pool.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_MAX {
            return Err(LedgerError::Busy);
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
