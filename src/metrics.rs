//! Counters and gauges of the process; read by `status` and the metrics route.
//!
//! Labels are closed sets: never a session, a user or a run.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the number.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Every number the process keeps.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Accepted sockets that are open.
    pub connections_open: Gauge,
    /// Accepted sockets since the start.
    pub connections_accepted: Counter,
    /// Sockets refused because a connection limit was reached.
    pub connections_refused: Counter,
    /// Native connections that are authenticated.
    pub native_open: Gauge,
    /// Native connections closed because they read too slowly.
    pub slow_consumers: Counter,
    /// Requests and connects with a wrong secret.
    pub auth_failures: Counter,
    /// Requests and connects refused by the failure limiter.
    pub auth_lockouts: Counter,
    /// Runs that wait for their lane.
    pub runs_waiting: Gauge,
    /// Runs that are active.
    pub runs_active: Gauge,
    /// Runs accepted since the start.
    pub runs_accepted: Counter,
    /// Runs refused before acceptance.
    pub runs_refused: Counter,
    /// Runs that ended `ok`.
    pub runs_ok: Counter,
    /// Runs that ended `error`.
    pub runs_error: Counter,
    /// Runs that ended `aborted`.
    pub runs_aborted: Counter,
    /// Runs that ended `timeout`.
    pub runs_timeout: Counter,
    /// Runs that ended `interrupted`.
    pub runs_interrupted: Counter,
    /// Milliseconds runs have waited for their lane, in all.
    pub queue_wait_ms: Counter,
    /// Runs whose slot was taken back because the backend did not end in time.
    pub runs_abandoned: Counter,
    /// Commits of the ledger.
    pub ledger_commits: Counter,
    /// Commits of the ledger that failed.
    pub ledger_failures: Counter,
    /// Calls to model servers.
    pub upstream_calls: Counter,
    /// Calls to model servers that were repeated.
    pub upstream_retries: Counter,
    /// Calls to model servers that failed.
    pub upstream_failures: Counter,
}
