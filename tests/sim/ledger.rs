//! The ledger in memory, with writes that take their time as on a disk; and ledgers that lie, for
//! the oracle to find.

use std::sync::{Arc, Mutex};

use clawport::ids::{EntryId, RunId, SessionId, SessionKey, WireId};
use clawport::internals::session::memory::MemoryLedger;
use clawport::internals::session::{
    AppendAnswer, BeginRun, Begun, DevicePut, DeviceRow, DeviceStore, EndRun, EndedRow, EntryPage,
    EntryRange, IdempotencyScope, Lease, Ledger, LedgerError, NewEntry, OpenRun, Placed, PutDevice,
    Retention, RunRecord, SessionPage, SessionPatch, SessionQuery, SessionRecord, SessionTarget,
};
use clawport::run::Entry;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::mutants::Mutant;
use crate::plan::Rng;

/// A ledger whose writes wait before and after they are done.
#[derive(Debug)]
pub(crate) struct SimLedger {
    inner: MemoryLedger,
    /// The one writer: writes are done and answered in the order they came.
    writer: Semaphore,
    rng: Mutex<Rng>,
    mutant: Mutant,
}

impl SimLedger {
    pub(crate) fn new(inner: MemoryLedger, rng: Rng, mutant: Mutant) -> Self {
        Self {
            inner,
            writer: Semaphore::new(1),
            rng: Mutex::new(rng),
            mutant,
        }
    }

    async fn pause(&self) {
        let pause = self.rng.lock().unwrap().ms(0, 8);
        sleep(pause).await;
    }

    fn write<'a, T: Send + 'a>(
        &'a self,
        write: impl FnOnce() -> BoxFuture<'a, Result<T, LedgerError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, LedgerError>> {
        let write = async move {
            let _turn = self.writer.acquire().await;
            self.pause().await;
            let written = write().await;
            self.pause().await;
            written
        };
        write.boxed()
    }
}

impl DeviceStore for SimLedger {
    fn device(&self, device: Arc<str>) -> BoxFuture<'_, Result<Option<DeviceRow>, LedgerError>> {
        self.inner.device(device)
    }

    fn device_of_request(
        &self,
        request_id: Arc<str>,
    ) -> BoxFuture<'_, Result<Option<DeviceRow>, LedgerError>> {
        self.inner.device_of_request(request_id)
    }

    fn devices(&self, limit: u32) -> BoxFuture<'_, Result<Vec<DeviceRow>, LedgerError>> {
        self.inner.devices(limit)
    }

    fn put_device(&self, put: PutDevice) -> BoxFuture<'_, Result<DevicePut, LedgerError>> {
        self.inner.put_device(put)
    }
}

impl Ledger for SimLedger {
    fn lease(&self) -> Lease {
        self.inner.lease()
    }

    fn begin_run(&self, mut begin: BeginRun) -> BoxFuture<'_, Result<Begun, LedgerError>> {
        if self.mutant == Mutant::ForgetsKeys {
            begin.run.idempotency = None;
        }
        self.write(move || self.inner.begin_run(begin))
    }

    fn start_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.write(move || self.inner.start_run(lease, run_id, at_ms))
    }

    fn restart_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.write(move || self.inner.restart_run(lease, run_id, at_ms))
    }

    fn fold_run(
        &self,
        lease: Lease,
        run_id: RunId,
        into: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.write(move || self.inner.fold_run(lease, run_id, into, at_ms))
    }

    fn append_answer(
        &self,
        answer: AppendAnswer,
    ) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.write(move || self.inner.append_answer(answer))
    }

    fn end_run(&self, end: EndRun) -> BoxFuture<'_, Result<EndedRow, LedgerError>> {
        if self.mutant == Mutant::LosesEnds {
            let terminal = end.terminal;
            let entries = Vec::new();
            return async move { Ok(EndedRow { terminal, entries }) }.boxed();
        }
        self.write(move || self.inner.end_run(end))
    }

    fn find_run(
        &self,
        wire_id: WireId,
        principal: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<Option<RunRecord>, LedgerError>> {
        self.inner.find_run(wire_id, principal)
    }

    fn idempotent(
        &self,
        scope: IdempotencyScope,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Option<Begun>, LedgerError>> {
        self.inner.idempotent(scope, now_ms)
    }

    fn run_entries(&self, run_id: RunId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.inner.run_entries(run_id)
    }

    fn open_runs(&self, limit: u32) -> BoxFuture<'_, Result<Vec<OpenRun>, LedgerError>> {
        self.inner.open_runs(limit)
    }

    fn open_runs_of(
        &self,
        session: SessionKey,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OpenRun>, LedgerError>> {
        self.inner.open_runs_of(session, limit)
    }

    fn list_runs(
        &self,
        session: Option<SessionKey>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<RunRecord>, LedgerError>> {
        self.inner.list_runs(session, limit)
    }

    fn session(
        &self,
        key: SessionKey,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        self.inner.session(key)
    }

    fn session_by_id(
        &self,
        id: SessionId,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        self.inner.session_by_id(id)
    }

    fn list_sessions(
        &self,
        query: SessionQuery,
    ) -> BoxFuture<'_, Result<SessionPage, LedgerError>> {
        self.inner.list_sessions(query)
    }

    fn patch_session(
        &self,
        target: SessionTarget,
        patch: SessionPatch,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>> {
        self.write(move || self.inner.patch_session(target, patch))
    }

    fn reset_session(
        &self,
        target: SessionTarget,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>> {
        self.write(move || self.inner.reset_session(target))
    }

    fn compact_session(
        &self,
        target: SessionTarget,
        summary: NewEntry,
        settings: Map<String, Value>,
    ) -> BoxFuture<'_, Result<(SessionRecord, Entry), LedgerError>> {
        self.write(move || self.inner.compact_session(target, summary, settings))
    }

    fn delete_session(
        &self,
        lease: Lease,
        key: SessionKey,
        expected: Option<SessionId>,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        self.write(move || self.inner.delete_session(lease, key, expected))
    }

    fn append(
        &self,
        lease: Lease,
        key: SessionKey,
        entry: NewEntry,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        self.write(move || self.inner.append(lease, key, entry))
    }

    fn entries(
        &self,
        key: SessionKey,
        range: EntryRange,
    ) -> BoxFuture<'_, Result<Option<EntryPage>, LedgerError>> {
        self.inner.entries(key, range)
    }

    fn position(
        &self,
        key: SessionKey,
        entry: EntryId,
    ) -> BoxFuture<'_, Result<Option<u64>, LedgerError>> {
        self.inner.position(key, entry)
    }

    fn prune(
        &self,
        limits: Retention,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<(u64, u64), LedgerError>> {
        self.inner.prune(limits, now_ms)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.inner.close()
    }
}
