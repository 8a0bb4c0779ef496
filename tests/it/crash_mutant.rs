//! The crash harness can fail: a gateway that acknowledges before it commits is found out.
//!
//! The same test is both sides. Started by itself with a home in its environment, it is that
//! gateway, over a real ledger whose acceptance is told early; else it kills that gateway at work.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawport::Gateway;
use clawport::ids::{EntryId, RunId, SessionId, SessionKey, WireId};
use clawport::internals::session::sqlite::{OpenOptions, SqliteLedger};
use clawport::internals::session::{
    Accepted, AppendAnswer, BeginRun, Begun, DevicePut, DeviceRow, DeviceStore, EndRun, EndedRow,
    EntryPage, EntryRange, IdempotencyScope, Lease, Ledger, LedgerError, NewEntry, OpenRun, Placed,
    PutDevice, Retention, RunRecord, SessionPage, SessionPatch, SessionQuery, SessionRecord,
    SessionTarget,
};
use clawport::run::Entry;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::crash::{Moment, behind, check, round, settings};
use crate::support::cli::{Home, Running};
use crate::support::gateway::config;
use crate::support::upstream::Upstream;
use crate::support::{Native, soon};

const ITSELF: &str = "crash_mutant::a_gateway_that_acknowledges_before_it_commits_is_found_out";

/// Names the home of the gateway that is started.
const HOME: &str = "CLAWPORT_EARLY_HOME";

/// How much later than it is told an acceptance is committed.
const LATE: Duration = Duration::from_millis(40);

/// Attempts to find it out; each kills it at work.
const ATTEMPTS: u64 = 10;

/// A ledger that says a run is accepted, then commits it.
#[derive(Debug)]
struct Early {
    inner: Arc<SqliteLedger>,
    commits: Mutex<HashMap<RunId, JoinHandle<()>>>,
}

impl Early {
    async fn accept(&self, begin: BeginRun) -> Result<Begun, LedgerError> {
        let run = &begin.run;
        if let Some(scope) = &run.idempotency
            && let Some(known) = self
                .inner
                .idempotent(scope.clone(), run.accepted_at_ms)
                .await?
        {
            return Ok(known);
        }
        let session = self.inner.session(run.session.clone()).await?;
        let (session_id, entries_before) =
            session.map_or((begin.new_session_id, 0), |it| (it.session_id, it.entries));
        let input = (entries_before + 1..)
            .zip(&begin.input)
            .map(|(n, new)| Entry {
                id: new.id,
                n,
                run: Some(run.run_id),
                wire_id: Some(run.wire_id.clone()),
                at_ms: new.at_ms,
                body: new.body.clone(),
            });
        let placed = run.started_at_ms.map(|_started| Placed {
            session_id,
            entries_before,
            input: input.collect(),
        });
        let (inner, run_id) = (Arc::clone(&self.inner), run.run_id);
        let commit = tokio::spawn(async move {
            tokio::time::sleep(LATE).await;
            inner.begin_run(begin).await.unwrap();
        });
        self.commits.lock().unwrap().insert(run_id, commit);
        Ok(Begun::New(Accepted {
            session_id,
            placed,
            settings: serde_json::Map::new(),
        }))
    }

    async fn committed(&self, run: RunId) {
        let commit = self.commits.lock().unwrap().remove(&run);
        if let Some(commit) = commit {
            commit.await.unwrap();
        }
    }
}

impl DeviceStore for Early {
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

impl Ledger for Early {
    fn lease(&self) -> Lease {
        self.inner.lease()
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
        let start = async move {
            self.committed(run_id).await;
            self.inner.start_run(lease, run_id, at_ms).await
        };
        start.boxed()
    }

    fn restart_run(
        &self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        self.inner.restart_run(lease, run_id, at_ms)
    }

    fn fold_run(
        &self,
        lease: Lease,
        run_id: RunId,
        into: RunId,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Placed, LedgerError>> {
        let fold = async move {
            self.committed(into).await;
            self.committed(run_id).await;
            self.inner.fold_run(lease, run_id, into, at_ms).await
        };
        fold.boxed()
    }

    fn append_answer(
        &self,
        answer: AppendAnswer,
    ) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        let append = async move {
            self.committed(answer.run_id).await;
            self.inner.append_answer(answer).await
        };
        append.boxed()
    }

    fn end_run(&self, end: EndRun) -> BoxFuture<'_, Result<EndedRow, LedgerError>> {
        let end = async move {
            self.committed(end.run_id).await;
            self.inner.end_run(end).await
        };
        end.boxed()
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
        self.inner.patch_session(target, patch)
    }

    fn reset_session(
        &self,
        target: SessionTarget,
    ) -> BoxFuture<'_, Result<SessionRecord, LedgerError>> {
        self.inner.reset_session(target)
    }

    fn delete_session(
        &self,
        lease: Lease,
        key: SessionKey,
        expected: Option<SessionId>,
    ) -> BoxFuture<'_, Result<Option<SessionRecord>, LedgerError>> {
        self.inner.delete_session(lease, key, expected)
    }

    fn append(
        &self,
        lease: Lease,
        key: SessionKey,
        entry: NewEntry,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        self.inner.append(lease, key, entry)
    }

    fn entries(
        &self,
        key: SessionKey,
        range: EntryRange,
    ) -> BoxFuture<'_, Result<Option<EntryPage>, LedgerError>> {
        self.inner.entries(key, range)
    }

    fn compact_session(
        &self,
        target: SessionTarget,
        entry: NewEntry,
        note: serde_json::Map<String, serde_json::Value>,
    ) -> BoxFuture<'_, Result<(SessionRecord, Entry), LedgerError>> {
        self.inner.compact_session(target, entry, note)
    }

    fn position(
        &self,
        key: SessionKey,
        id: EntryId,
    ) -> BoxFuture<'_, Result<Option<u64>, LedgerError>> {
        self.inner.position(key, id)
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

/// Is the gateway, until it is killed.
async fn serve(home: &Path) {
    let text = std::fs::read_to_string(home.join("openclaw.json")).unwrap();
    let config = config(home, &text, &[]);
    let opened = SqliteLedger::open(&config.store, OpenOptions::default()).await;
    let ledger = Early {
        inner: Arc::new(opened.unwrap()),
        commits: Mutex::default(),
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let builder = Gateway::builder(config).listener(listener);
    let gateway = builder.ledger(Arc::new(ledger)).start().await.unwrap();
    let fields = json!({"message": "the gateway is up", "address": gateway.addr()});
    let line = format!("{}\n", json!({ "fields": fields }));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    gateway.closed().await;
}

fn start(home: &Home) -> (Running, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ITSELF, "--exact", "--nocapture"]);
    command.env(HOME, home.state_dir());
    let mut running = Running::start(command);
    let line = running.log_line("the gateway is up");
    let address = line["fields"]["address"].as_str().unwrap();
    (running, address.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_acknowledges_before_it_commits_is_found_out() {
    if let Some(home) = std::env::var_os(HOME) {
        return serve(Path::new(&home)).await;
    }
    let upstream = Upstream::start().await;
    let mut found = 0;
    for number in 0..ATTEMPTS {
        let home = Home::with_config(&settings(&behind(&upstream)).to_string());
        let moment = Moment {
            promises: 4,
            delay_ms: number,
        };
        let promises = round(start(&home), number, moment).await;
        let (_gateway, addr) = home.gateway(&[]);
        let native = Native::connect(addr).await;
        let checking = tokio::spawn(async move { check(&native, &promises).await });
        if soon(checking).await.is_err() {
            found += 1;
            break;
        }
    }
    assert!(found > 0, "nothing was lost in {ATTEMPTS} crashes");
}
