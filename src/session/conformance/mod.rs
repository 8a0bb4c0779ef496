//! What every ledger must do, as one suite that runs against each of them.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::string_slice,
    clippy::option_option,
    clippy::too_many_lines,
    reason = "tests"
)]

mod devices;
mod random;
mod runs;
mod sessions;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::error::ErrorCode;
use crate::ids::{AgentId, EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::{
    AbortCause, Entry, EntryBody, FinishReason, Front, Outcome, RunError, Terminal, Usage,
};

use super::ledger::*;
use super::memory::MemoryLedger;
use super::sqlite::{OpenOptions, SqliteLedger};

/// A ledger and a way to close it and open it again.
pub(super) trait Bed: Sized {
    fn ledger(&self) -> Arc<dyn Ledger>;
    /// The next process: the same rows, a newer epoch.
    fn reopen(self) -> BoxFuture<'static, Self>;
}

pub(super) struct Memory(Arc<MemoryLedger>);

impl Memory {
    fn new() -> Self {
        Self(Arc::new(MemoryLedger::new()))
    }
}

impl Bed for Memory {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.0) as Arc<dyn Ledger>
    }

    fn reopen(self) -> BoxFuture<'static, Self> {
        async move { Self(Arc::new(self.0.reopen())) }.boxed()
    }
}

pub(super) struct Sqlite {
    dir: tempfile::TempDir,
    ledger: Arc<SqliteLedger>,
}

impl Sqlite {
    async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await
    }

    async fn open(dir: tempfile::TempDir) -> Self {
        let config = StoreConfig {
            dir: dir.path().to_owned(),
            durability: Durability::Normal,
            retention: KEEP_ALL,
        };
        let ledger = SqliteLedger::open(&config, OpenOptions::default())
            .await
            .unwrap();
        Self {
            dir,
            ledger: Arc::new(ledger),
        }
    }
}

impl Bed for Sqlite {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledger) as Arc<dyn Ledger>
    }

    fn reopen(self) -> BoxFuture<'static, Self> {
        async move {
            self.ledger.close().await.unwrap();
            Self::open(self.dir).await
        }
        .boxed()
    }
}

/// Makes a module per ledger with one test per scenario.
macro_rules! against_every_ledger {
    ($($scenario:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $scenario() {
                super::$scenario(crate::session::conformance::Memory::new()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $scenario() {
                super::$scenario(crate::session::conformance::Sqlite::new().await).await;
            })*
        }
    };
}
use against_every_ledger;

pub(super) const KEEP_ALL: Retention = Retention {
    days: 0,
    sessions_max: u64::MAX,
    runs_max: u64::MAX,
};

pub(super) fn key(name: &str) -> SessionKey {
    SessionKey::from_canonical(format!("agent:main:{name}"))
}

pub(super) fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

pub(super) fn session_id(number: u32) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(0x1000_0000 + u128::from(number)))
}

pub(super) fn run_id(number: u32) -> RunId {
    RunId::from_uuid(Uuid::from_u128(0x2000_0000 + u128::from(number)))
}

pub(super) fn wire(name: &str) -> WireId {
    WireId::parse(name).unwrap()
}

pub(super) fn user(text: &str, at_ms: u64) -> NewEntry {
    NewEntry {
        id: entry_id(text),
        body: EntryBody::User {
            text: text.to_owned(),
            images: Vec::new(),
            withheld: false,
        },
        at_ms,
    }
}

pub(super) fn assistant(text: &str, at_ms: u64) -> NewEntry {
    NewEntry {
        id: entry_id(text),
        body: EntryBody::Assistant {
            text: text.to_owned(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            stop_reason: "stop".into(),
            usage: None,
            model: None,
            abort: None,
            error: None,
        },
        at_ms,
    }
}

fn entry_id(text: &str) -> EntryId {
    EntryId::from_uuid(Uuid::from_bytes(std::array::from_fn(|i| {
        text.as_bytes().get(i).copied().unwrap_or(0)
    })))
}

pub(super) fn text(entry: &Entry) -> &str {
    match &entry.body {
        EntryBody::User { text, .. } | EntryBody::Assistant { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

pub(super) fn texts(entries: &[Entry]) -> Vec<(u64, &str)> {
    entries.iter().map(|e| (e.n, text(e))).collect()
}

/// A run in session `name` that says `text`, with the number and the wire id of the call.
pub(super) fn begin(ledger: &dyn Ledger, number: u32, name: &str, text: &str) -> BeginRun {
    let at_ms = 1_000 + u64::from(number);
    BeginRun {
        lease: ledger.lease(),
        run: NewRun {
            run_id: run_id(number),
            wire_id: wire(&format!("wire-{number}")),
            session: key(name),
            agent: agent("main"),
            front: Front::NativeChat,
            principal: Some("token/alice".into()),
            idempotency: None,
            accepted_at_ms: at_ms,
            started_at_ms: Some(at_ms),
            resume: None,
        },
        input: vec![user(text, at_ms)],
        new_session_id: session_id(number),
        expected_session_id: None,
        reset: false,
        guard: Guard::default(),
    }
}

/// The same, but the run has to wait.
pub(super) fn queue(ledger: &dyn Ledger, number: u32, name: &str, text: &str) -> BeginRun {
    let mut begin = begin(ledger, number, name, text);
    begin.run.started_at_ms = None;
    begin.run.resume = Some(format!("{{\"run\":{number}}}"));
    begin
}

pub(super) fn scope(key: &str, input: u8) -> IdempotencyScope {
    IdempotencyScope {
        operation: "chat",
        principal: "token/alice".into(),
        key: key.into(),
        fingerprint: [input; 32],
    }
}

pub(super) fn terminal(outcome: Outcome, ended_at_ms: u64) -> Terminal {
    Terminal {
        outcome,
        started_at_ms: None,
        ended_at_ms,
        usage: None,
    }
}

pub(super) fn ok(ended_at_ms: u64) -> Terminal {
    terminal(Outcome::Ok(FinishReason::Stop), ended_at_ms)
}

pub(super) fn end(ledger: &dyn Ledger, number: u32, name: &str, answer: &[&str]) -> EndRun {
    let at_ms = 5_000 + u64::from(number);
    EndRun {
        lease: ledger.lease(),
        run_id: run_id(number),
        session: key(name),
        entries: answer.iter().map(|text| assistant(text, at_ms)).collect(),
        terminal: ok(at_ms),
    }
}

pub(super) fn answer(ledger: &dyn Ledger, number: u32, texts: &[&str]) -> AppendAnswer {
    let at_ms = 4_000 + u64::from(number);
    AppendAnswer {
        lease: ledger.lease(),
        run_id: run_id(number),
        entries: texts.iter().map(|text| assistant(text, at_ms)).collect(),
        at_ms,
    }
}

pub(super) fn target(ledger: &dyn Ledger, name: &str, number: u32) -> SessionTarget {
    SessionTarget {
        lease: ledger.lease(),
        key: key(name),
        agent: agent("main"),
        new_session_id: session_id(number),
        expected_session_id: None,
        at_ms: 1_000 + u64::from(number),
    }
}

pub(super) fn accepted(begun: Result<Begun, LedgerError>) -> Accepted {
    match begun.unwrap() {
        Begun::New(accepted) => accepted,
        other => panic!("{other:?}"),
    }
}

/// Run 1 of session `a`, which holds its slot, and run 2, which waits behind it.
pub(super) async fn one_runs_and_one_waits(ledger: &dyn Ledger, first: &str, second: &str) {
    accepted(ledger.begin_run(begin(ledger, 1, "a", first)).await);
    accepted(ledger.begin_run(queue(ledger, 2, "a", second)).await);
}

/// The newest entries of a session's transcript.
pub(super) async fn transcript(ledger: &dyn Ledger, name: &str) -> Vec<Entry> {
    let range = EntryRange::Newest {
        skip: 0,
        limit: 1_000,
    };
    let page = ledger.entries(key(name), range).await.unwrap().unwrap();
    assert_eq!(page.total, u64::try_from(page.entries.len()).unwrap());
    page.entries
}

pub(super) fn is_fenced<T: std::fmt::Debug>(outcome: &Result<T, LedgerError>) {
    assert!(
        matches!(outcome, Err(LedgerError::Fenced { stored: 2, ours: 1 })),
        "{outcome:?}"
    );
}

#[test]
fn every_error_has_its_code() {
    let check = |error: &LedgerError, expected: ErrorCode| assert_eq!(error.code(), expected);
    check(
        &LedgerError::Fenced { stored: 2, ours: 1 },
        ErrorCode::StoreFailed,
    );
    check(&LedgerError::NotFound, ErrorCode::InvalidRequest);
    check(&LedgerError::Busy, ErrorCode::Overloaded);
    check(&LedgerError::Ended, ErrorCode::Conflict);
    check(&LedgerError::Closed, ErrorCode::Restarting);
    let failed = LedgerError::Failed {
        fault: Fault::DiskFull,
        reason: "x".into(),
    };
    check(&failed, ErrorCode::StoreFailed);
    assert_eq!(failed.to_string(), "the store failed (disk full): x");
}

#[tokio::test]
async fn a_memory_ledger_fails_its_writes_when_told_and_reads_on() {
    let ledger = MemoryLedger::new();
    accepted(ledger.begin_run(begin(&ledger, 1, "a", "hello")).await);
    ledger.fail_writes(Some(Fault::DiskFull));
    let failed = ledger.end_run(end(&ledger, 1, "a", &["late"])).await;
    assert!(matches!(
        failed,
        Err(LedgerError::Failed {
            fault: Fault::DiskFull,
            ..
        })
    ));
    assert_eq!(transcript(&ledger, "a").await.len(), 1);
    ledger.fail_writes(None);
    assert_eq!(
        ledger
            .end_run(end(&ledger, 1, "a", &["x"]))
            .await
            .unwrap()
            .entries
            .len(),
        1
    );
}

pub(super) fn failed_run() -> Outcome {
    Outcome::Error(RunError::new(ErrorCode::UpstreamFailed, "no answer"))
}

pub(super) const ABORTED: Outcome = Outcome::Aborted(AbortCause::Rpc);

pub(super) fn usage(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        cached: 0,
        reasoning: None,
        total: None,
    }
}
