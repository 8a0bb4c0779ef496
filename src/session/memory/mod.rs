//! A ledger in memory, for simulation and tests: the same semantics as the one in SQLite, without a
//! thread, a clock or a random choice.
//!
//! Owns its state behind one mutex that no future holds while it waits. [`MemoryLedger::reopen`]
//! stands for a restart, [`MemoryLedger::fail_writes`] for a broken disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::ids::{EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::Entry;

use super::devices::{DevicePut, DeviceRow, DeviceStore, PutDevice};
use super::ledger::{
    AppendAnswer, BeginRun, Begun, EndRun, EndedRow, EntryPage, EntryRange, Fault,
    IdempotencyScope, Lease, Ledger, LedgerError, NewEntry, OpenRun, Placed, Retention, RunRecord,
    SessionPage, SessionPatch, SessionQuery, SessionRecord, SessionTarget,
};
use state::State;

mod devices;
mod runs;
mod sessions;
mod state;

/// A ledger that lives as long as its handles.
#[derive(Debug)]
pub struct MemoryLedger {
    state: Arc<Mutex<State>>,
    lease: Lease,
    closed: AtomicBool,
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::open(Arc::default())
    }

    /// Another node, or the next process, on the same state: it has a newer epoch.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self::open(Arc::clone(&self.state))
    }

    /// Lets every write fail like this until it is called with `None`; reads go on.
    pub fn fail_writes(&self, fault: Option<Fault>) {
        lock(&self.state).failing = fault;
    }

    fn open(state: Arc<Mutex<State>>) -> Self {
        let epoch = {
            let mut state = lock(&state);
            state.epoch += 1;
            state.epoch
        };
        Self {
            state,
            lease: Lease { epoch },
            closed: AtomicBool::new(false),
        }
    }

    fn read<'a, T, F>(&'a self, step: F) -> BoxFuture<'a, Result<T, LedgerError>>
    where
        F: FnOnce(&State) -> T + Send + 'a,
    {
        let read = async move {
            self.check_open()?;
            Ok(step(&lock(&self.state)))
        };
        read.boxed()
    }

    fn write<'a, T, F>(&'a self, step: F) -> BoxFuture<'a, Result<T, LedgerError>>
    where
        F: FnOnce(&mut State) -> Result<T, LedgerError> + Send + 'a,
    {
        let write = async move {
            self.check_open()?;
            let mut state = lock(&self.state);
            match state.failing {
                Some(fault) => Err(LedgerError::Failed {
                    fault,
                    reason: "told to fail".into(),
                }),
                None => step(&mut state),
            }
        };
        write.boxed()
    }

    fn check_open(&self) -> Result<(), LedgerError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(LedgerError::Closed);
        }
        Ok(())
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every step checks first and writes last, so a panic in a caller leaves the state whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger for MemoryLedger {
    fn lease(&self) -> Lease {
        self.lease
    }

    fn begin_run(&self, begin: BeginRun) -> BoxFuture<'_, Result<Begun, LedgerError>> {
        self.write(move |state| state.begin_run(begin))
    }

    fn start_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.write(move |state| state.start_run(lease, run_id, at_ms))
    }

    fn restart_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.write(move |state| state.restart_run(lease, run_id, at_ms))
    }

    fn fold_run(
        &self,
        lease: Lease,
        run_id: RunId,
        into: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.write(move |state| state.fold_run(lease, run_id, into, at_ms))
    }

    fn append_answer(
        &self,
        answer: AppendAnswer,
    ) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.write(move |state| state.append_answer(answer))
    }

    fn end_run(&self, end: EndRun) -> BoxFuture<'_, Result<EndedRow, LedgerError>> {
        self.write(move |state| state.end_run(end))
    }

    fn find_run(
        &self,
        wire_id: WireId,
        principal: Option<Arc<str>>,
    ) -> BoxFuture<'_, Result<Option<RunRecord>, LedgerError>> {
        self.read(move |state| state.find_run(&wire_id, principal.as_deref()))
    }

    fn idempotent(
        &self,
        scope: IdempotencyScope,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Option<Begun>, LedgerError>> {
        self.read(move |state| state.known(&scope, now_ms))
    }

    fn run_entries(&self, run_id: RunId) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.read(move |state| state.run_entries(run_id))
    }

    fn open_runs(&self, limit: u32) -> BoxFuture<'_, Result<Vec<OpenRun>, LedgerError>> {
        self.read(move |state| state.open_runs(None, limit))
    }

    fn open_runs_of(
        &self,
        session: SessionKey,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<OpenRun>, LedgerError>> {
        self.read(move |state| state.open_runs(Some(&session), limit))
    }

    fn list_runs(
        &self,
        session: Option<SessionKey>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<RunRecord>, LedgerError>> {
        self.read(move |state| state.list_runs(session.as_ref(), limit))
    }

    fn session(
        &self,
        key: SessionKey,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        self.read(move |state| state.session(&key))
    }

    fn session_by_id(
        &self,
        id: SessionId,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        self.read(move |state| state.session_by_id(id))
    }

    fn list_sessions(
        &self,
        query: SessionQuery,
    ) -> BoxFuture<'_, Result<SessionPage, LedgerError>> {
        self.read(move |state| state.list_sessions(&query))
    }

    fn patch_session(
        &self,
        target: SessionTarget,
        patch: SessionPatch,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>> {
        self.write(move |state| state.patch_session(&target, patch))
    }

    fn reset_session(
        &self,
        target: SessionTarget,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>> {
        self.write(move |state| state.reset_session(&target))
    }

    fn delete_session(
        &self,
        lease: Lease,
        key: SessionKey,
        expected_session_id: Option<SessionId>,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        self.write(move |state| state.delete_session(lease, &key, expected_session_id))
    }

    fn append(
        &self,
        lease: Lease,
        key: SessionKey,
        entry: NewEntry,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        self.write(move |state| state.append(lease, &key, entry))
    }

    fn compact_session(
        &self,
        target: SessionTarget,
        entry: NewEntry,
        note: Map<String, Value>,
    ) -> BoxFuture<'_, Result<(SessionRecord, Entry), LedgerError>> {
        self.write(move |state| state.compact_session(&target, entry, note))
    }

    fn entries(
        &self,
        key: SessionKey,
        range: EntryRange,
    ) -> BoxFuture<'_, Result<Option<EntryPage>, LedgerError>> {
        self.read(move |state| state.entries(&key, range))
    }

    fn position(
        &self,
        key: SessionKey,
        id: EntryId,
    ) -> BoxFuture<'_, Result<Option<u64>, LedgerError>> {
        self.read(move |state| state.position(&key, id))
    }

    fn prune(
        &self,
        limits: Retention,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<(u64, u64), LedgerError>> {
        self.write(move |state| Ok(state.prune(&limits, now_ms)))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        let close = async move {
            self.closed.store(true, Ordering::Release);
            Ok(())
        };
        close.boxed()
    }
}

impl DeviceStore for MemoryLedger {
    fn device(&self, device: Arc<str>) -> BoxFuture<'_, Result<Option<DeviceRow>, LedgerError>> {
        self.read(move |state| state.devices.by_id(&device))
    }

    fn device_of_request(
        &self,
        request_id: Arc<str>,
    ) -> BoxFuture<'_, Result<Option<DeviceRow>, LedgerError>> {
        self.read(move |state| state.devices.by_request(&request_id))
    }

    fn devices(&self, limit: u32) -> BoxFuture<'_, Result<Vec<DeviceRow>, LedgerError>> {
        self.read(move |state| state.devices.list(limit))
    }

    fn put_device(&self, put: PutDevice) -> BoxFuture<'_, Result<DevicePut, LedgerError>> {
        self.write(move |state| Ok(state.devices.put(put)))
    }
}
