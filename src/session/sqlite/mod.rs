//! The ledger in SQLite: one thread writes and shares commits, a few connections read.
//!
//! Owns the state directory through a lock of the operating system. Text is made and read on the
//! callers' side, so that the thread that writes does little but write. Tests that pause time need
//! [`crate::session::memory::MemoryLedger`]: a paused runtime does not wait for this one's thread.

mod devices;
mod export;
mod fault;
mod open;
mod prune;
mod queue;
mod readers;
mod rows;
mod runs;
mod schema;
mod sessions;
mod target;
#[cfg(test)]
mod tests;
mod writer;

pub use export::{ExportError, Offline};
pub use open::{DATABASE_FILE, LOCK_FILE, OpenError};

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::Connection;
use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::ids::{EntryId, RunId, SessionId, SessionKey, WireId};
use crate::metrics::Metrics;
use crate::run::Entry;

use super::devices::{DevicePut, DeviceRow, DeviceStore, PutDevice};
use super::ledger::{
    Accepted, AppendAnswer, BeginRun, Begun, EndRun, EndedRow, EntryPage, EntryRange,
    IdempotencyScope, Lease, Ledger, LedgerError, NewEntry, OpenRun, Placed, Retention, RunRecord,
    SessionPage, SessionPatch, SessionQuery, SessionRecord, SessionTarget, StoreConfig,
};
use fault::StepError;
use queue::{Purpose, Queue, Refusal};
use readers::Readers;
use rows::{Draft, EntryRow};
use writer::{Jobs, Tx, Write};

/// Time between two attempts to take the lock of the state directory.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// How a store is opened, beside its [`StoreConfig`].
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// How long to wait for another process to let go of the state directory: zero for a process
    /// that found it taken by chance, more for one that takes over from its predecessor.
    pub lock_wait: Duration,
    /// Writes that may wait before new runs are refused.
    pub writes_waiting_max: usize,
    /// Most pages (of 4 KiB) the database may have; `None` leaves it to the disk.
    pub pages_max: Option<u32>,
    /// Where commits and failures are counted.
    pub metrics: Arc<Metrics>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            lock_wait: Duration::ZERO,
            writes_waiting_max: 16_384,
            pages_max: None,
            metrics: Arc::default(),
        }
    }
}

/// A ledger in a state directory. When it is dropped, what waits is still committed.
pub struct SqliteLedger {
    jobs: Arc<Jobs>,
    readers: Readers,
    lease: Lease,
    ended: watch::Receiver<()>,
}

impl SqliteLedger {
    /// Opens the store of a state directory, which is made when it does not exist, and starts its
    /// thread.
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do about it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the directory unlocked, once an opening that is under way is
    /// done.
    pub async fn open(config: &StoreConfig, options: OpenOptions) -> Result<Self, OpenError> {
        let lock = wait_for_lock(&config.dir, options.lock_wait).await?;
        let place = open::Place {
            file: config.dir.join(DATABASE_FILE),
            durability: config.durability,
            pages_max: options.pages_max,
        };
        let readers = Readers::new(place.file.clone());
        let opened = blocking(move || open::open(lock, place)).await?;
        let lease = Lease {
            epoch: opened.epoch,
        };
        let jobs: Arc<Jobs> = Arc::new(Queue::new(options.writes_waiting_max));
        let ended = writer::spawn(opened, Arc::clone(&jobs), options.metrics)
            .map_err(|source| OpenError::Thread { source })?;
        Ok(Self {
            jobs,
            readers,
            lease,
            ended,
        })
    }

    async fn write<T, F>(&self, purpose: Purpose, step: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: Fn(&Tx<'_>) -> Result<T, StepError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write::new(step, reply));
        self.jobs
            .push(job, purpose)
            .map_err(|refusal| match refusal {
                Refusal::Full => LedgerError::Busy,
                Refusal::Closed => LedgerError::Closed,
            })?;
        answer.await.map_err(|_dropped| LedgerError::Closed)?
    }

    async fn accept(&self, begin: BeginRun) -> Result<Begun, LedgerError> {
        let is_placed = begin.run.started_at_ms.is_some();
        let origin = (begin.run.run_id, begin.run.wire_id.clone());
        let drafts = Draft::all(&begin.input)?;
        let waiting = serde_json::to_string(&drafts).map_err(StepError::from)?;
        let step = runs::Begin {
            target: SessionTarget {
                lease: begin.lease,
                key: begin.run.session.clone(),
                agent: begin.run.agent.clone(),
                new_session_id: begin.new_session_id,
                expected_session_id: begin.expected_session_id,
                at_ms: begin.run.accepted_at_ms,
            },
            run: begin.run,
            input: drafts,
            waiting: (!is_placed).then_some(waiting),
            reset: begin.reset,
            guard: begin.guard,
        };
        let step = move |tx: &Tx<'_>| runs::begin(tx, &step);
        let (session_id, entries_before, settings) = match self.write(Purpose::Admit, step).await? {
            runs::BeginOutcome::Known(answer) => return Ok(*answer),
            runs::BeginOutcome::New {
                session_id,
                entries_before,
                settings,
            } => (session_id, entries_before, settings),
        };
        let settings = settings.as_deref().map(serde_json::from_str).transpose();
        let placed = is_placed.then(|| Placed {
            session_id,
            entries_before,
            input: at_positions(begin.input, entries_before.saturating_add(1), &origin),
        });
        Ok(Begun::New(Accepted {
            session_id,
            placed,
            settings: settings.map_err(StepError::from)?.unwrap_or_default(),
        }))
    }

    async fn place<F>(&self, step: F) -> Result<Placed, LedgerError>
    where
        F: Fn(&Tx<'_>) -> Result<runs::PlacedRows, StepError> + Send + 'static,
    {
        let placed = self.write(Purpose::Settle, step).await?;
        Ok(Placed {
            session_id: placed.session_id,
            entries_before: placed.entries_before,
            input: decode(placed.input)?,
        })
    }

    async fn answer(&self, answer: AppendAnswer) -> Result<Vec<Entry>, LedgerError> {
        let step = runs::Answer {
            lease: answer.lease,
            run_id: answer.run_id,
            drafts: Draft::all(&answer.entries)?,
            at_ms: answer.at_ms,
        };
        let step = move |tx: &Tx<'_>| runs::answer(tx, &step);
        let Some((first, wire_id)) = self.write(Purpose::Settle, step).await? else {
            return Ok(Vec::new());
        };
        let origin = (answer.run_id, wire_id);
        Ok(at_positions(answer.entries, first, &origin))
    }

    async fn settle(&self, end: EndRun) -> Result<EndedRow, LedgerError> {
        let run_id = end.run_id;
        let step = runs::End {
            lease: end.lease,
            run_id,
            answer: Draft::all(&end.entries)?,
            terminal_text: serde_json::to_string(&end.terminal).map_err(StepError::from)?,
            terminal: end.terminal.clone(),
        };
        let step = move |tx: &Tx<'_>| runs::end(tx, &step);
        let (terminal, entries) = match self.write(Purpose::Settle, step).await? {
            runs::Ended::Before(terminal) => (terminal, Vec::new()),
            runs::Ended::Now(None) => (end.terminal, Vec::new()),
            runs::Ended::Now(Some(appended)) => {
                let mut entries = decode(appended.input)?;
                let origin = (run_id, appended.wire_id);
                entries.extend(at_positions(end.entries, appended.answer_from, &origin));
                (end.terminal, entries)
            }
        };
        Ok(EndedRow { terminal, entries })
    }

    async fn prune_all(&self, limits: Retention, now_ms: u64) -> Result<(u64, u64), LedgerError> {
        let plan = move |conn: &Connection| prune::plan(conn, &limits, now_ms);
        let plan = self.readers.read(plan).await?;
        let mut cursor = prune::Cursor::START;
        let (mut sessions, mut runs) = (0, 0);
        loop {
            let after = cursor.sessions_after;
            let step = move |tx: &Tx<'_>| prune::sessions_step(tx, &plan, after);
            let (gone, last) = self.write(Purpose::Admit, step).await?;
            sessions += gone;
            let Some(last) = last else { break };
            cursor.sessions_after = last;
        }
        let archived = move |tx: &Tx<'_>| prune::archived_step(tx, &plan);
        while self.write(Purpose::Admit, archived).await? {}
        loop {
            let after = cursor.runs_after;
            let step = move |tx: &Tx<'_>| prune::runs_step(tx, &plan, after);
            let (gone, last) = self.write(Purpose::Admit, step).await?;
            runs += gone;
            let Some(last) = last else { break };
            cursor.runs_after = last;
        }
        Ok((sessions, runs))
    }
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLedger")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.readers.close();
        self.jobs.close();
    }
}

/// The entries that were appended from position `first` on.
fn at_positions(entries: Vec<NewEntry>, first: u64, origin: &(RunId, WireId)) -> Vec<Entry> {
    let numbered = (first..).zip(entries);
    numbered
        .map(|(n, entry)| entry.at(n, Some(origin)))
        .collect()
}

fn decode(rows: Vec<EntryRow>) -> Result<Vec<Entry>, LedgerError> {
    let entries = rows.into_iter().map(EntryRow::decode);
    Ok(entries.collect::<Result<_, _>>()?)
}

async fn wait_for_lock(dir: &Path, patience: Duration) -> Result<File, OpenError> {
    let deadline = Instant::now() + patience;
    let mut waits = false;
    loop {
        let path = dir.to_owned();
        match blocking(move || open::lock(&path)).await {
            Err(OpenError::Locked { .. }) if Instant::now() < deadline => {
                if !waits {
                    tracing::info!("waiting for another process to let go of the state directory");
                    waits = true;
                }
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Runs what may wait for the disk on a blocking thread.
async fn blocking<T, F>(work: F) -> Result<T, OpenError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, OpenError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(OpenError::Thread {
            source: error.into(),
        }),
    }
}

impl Ledger for SqliteLedger {
    fn lease(&self) -> Lease {
        self.lease
    }

    fn begin_run(&self, begin: BeginRun) -> BoxFuture<'_, Result<Begun, LedgerError>> {
        self.accept(begin).boxed()
    }

    fn start_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.place(move |tx| runs::start(tx, lease, run_id, at_ms))
            .boxed()
    }

    fn restart_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.place(move |tx| runs::restart(tx, lease, run_id, at_ms))
            .boxed()
    }

    fn fold_run(
        &self,
        lease: Lease,
        run_id: RunId,
        into: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.place(move |tx| runs::fold(tx, lease, run_id, into, at_ms))
            .boxed()
    }

    fn append_answer(
        &self,
        answer: AppendAnswer,
    ) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.answer(answer).boxed()
    }

    fn end_run(&self, end: EndRun) -> BoxFuture<'_, Result<EndedRow, LedgerError>> {
        self.settle(end).boxed()
    }

    fn find_run(
        &self,
        wire_id: WireId,
        principal: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<Option<RunRecord>, LedgerError>> {
        let step = move |conn: &Connection| runs::find(conn, &wire_id, principal.as_deref());
        self.readers.read(step).boxed()
    }

    fn idempotent(
        &self,
        scope: IdempotencyScope,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Option<Begun>, LedgerError>> {
        let step = move |conn: &Connection| runs::idempotent(conn, &scope, now_ms);
        self.readers.read(step).boxed()
    }

    fn run_entries(&self, run_id: RunId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        let step = move |conn: &Connection| runs::entries(conn, run_id);
        self.readers.read(step).boxed()
    }

    fn open_runs(&self, limit: u32) -> BoxFuture<'_, Result<Vec<OpenRun>, LedgerError>> {
        let step = move |conn: &Connection| runs::open(conn, None, limit);
        self.readers.read(step).boxed()
    }

    fn open_runs_of(
        &self,
        session: SessionKey,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OpenRun>, LedgerError>> {
        let step = move |conn: &Connection| runs::open(conn, Some(&session), limit);
        self.readers.read(step).boxed()
    }

    fn list_runs(
        &self,
        session: Option<SessionKey>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<RunRecord>, LedgerError>> {
        let step = move |conn: &Connection| runs::list(conn, session.as_ref(), limit);
        self.readers.read(step).boxed()
    }

    fn session(
        &self,
        key: SessionKey,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        let step = move |conn: &Connection| sessions::by_key(conn, &key);
        self.readers.read(step).boxed()
    }

    fn session_by_id(
        &self,
        id: SessionId,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        let step = move |conn: &Connection| sessions::by_id(conn, id);
        self.readers.read(step).boxed()
    }

    fn list_sessions(
        &self,
        query: SessionQuery,
    ) -> BoxFuture<'_, Result<SessionPage, LedgerError>> {
        let step = move |conn: &Connection| sessions::list(conn, &query);
        self.readers.read(step).boxed()
    }

    fn patch_session(
        &self,
        target: SessionTarget,
        patch: SessionPatch,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>> {
        let step = move |tx: &Tx<'_>| sessions::patch(tx, &target, &patch);
        self.write(Purpose::Admit, step).boxed()
    }

    fn reset_session(
        &self,
        target: SessionTarget,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>> {
        let step = move |tx: &Tx<'_>| sessions::reset(tx, &target);
        self.write(Purpose::Admit, step).boxed()
    }

    fn delete_session(
        &self,
        lease: Lease,
        key: SessionKey,
        expected_session_id: Option<SessionId>,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        let step = move |tx: &Tx<'_>| sessions::delete(tx, lease, &key, expected_session_id);
        self.write(Purpose::Admit, step).boxed()
    }

    fn append(
        &self,
        lease: Lease,
        key: SessionKey,
        entry: NewEntry,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        let append = async move {
            let draft = Draft::new(&entry)?;
            let step = move |tx: &Tx<'_>| sessions::append(tx, lease, &key, &draft);
            let n = self.write(Purpose::Settle, step).await?;
            Ok(entry.at(n, None))
        };
        append.boxed()
    }

    fn compact_session(
        &self,
        target: SessionTarget,
        entry: NewEntry,
        note: Map<String, Value>,
    ) -> BoxFuture<'_, Result<(SessionRecord, Entry), LedgerError>> {
        let compact = async move {
            let draft = Draft::new(&entry)?;
            let step = move |tx: &Tx<'_>| sessions::compact(tx, &target, &draft, &note);
            let (record, n) = self.write(Purpose::Settle, step).await?;
            Ok((record, entry.at(n, None)))
        };
        compact.boxed()
    }

    fn entries(
        &self,
        key: SessionKey,
        range: EntryRange,
    ) -> BoxFuture<'_, Result<Option<EntryPage>, LedgerError>> {
        let step = move |conn: &Connection| sessions::entries(conn, &key, range);
        self.readers.read(step).boxed()
    }

    fn position(
        &self,
        key: SessionKey,
        id: EntryId,
    ) -> BoxFuture<'_, Result<Option<u64>, LedgerError>> {
        let step = move |conn: &Connection| sessions::position(conn, &key, id);
        self.readers.read(step).boxed()
    }

    fn prune(
        &self,
        limits: Retention,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<(u64, u64), LedgerError>> {
        self.prune_all(limits, now_ms).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        let mut ended = self.ended.clone();
        let close = async move {
            self.readers.close();
            self.jobs.close();
            // Nothing is ever sent: the change is that the thread has dropped the other end.
            while ended.changed().await.is_ok() {}
            Ok(())
        };
        close.boxed()
    }
}

impl DeviceStore for SqliteLedger {
    fn device(&self, device: Arc<str>) -> BoxFuture<'_, Result<Option<DeviceRow>, LedgerError>> {
        let step = move |conn: &Connection| devices::by_id(conn, &device);
        self.readers.read(step).boxed()
    }

    fn device_of_request(
        &self,
        request_id: Arc<str>,
    ) -> BoxFuture<'_, Result<Option<DeviceRow>, LedgerError>> {
        let step = move |conn: &Connection| devices::by_request(conn, &request_id);
        self.readers.read(step).boxed()
    }

    fn devices(&self, limit: u32) -> BoxFuture<'_, Result<Vec<DeviceRow>, LedgerError>> {
        let step = move |conn: &Connection| devices::list(conn, limit);
        self.readers.read(step).boxed()
    }

    fn put_device(&self, put: PutDevice) -> BoxFuture<'_, Result<DevicePut, LedgerError>> {
        let step = move |tx: &Tx<'_>| devices::put(tx, &put);
        self.write(Purpose::Admit, step).boxed()
    }
}
