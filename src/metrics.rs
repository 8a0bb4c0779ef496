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

/// Upper bounds of the steps of a [`Histogram`], in milliseconds.
pub const STEPS_MS: [u64; 12] = [
    1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000, 300_000, 600_000,
];

/// How often something took how long, in the steps of [`STEPS_MS`].
#[derive(Debug, Default)]
pub struct Histogram {
    /// Per step what took no longer and longer than the step before; what took longer than the last
    /// step is in `count` only.
    steps: [Counter; STEPS_MS.len()],
    count: Counter,
    sum_ms: Counter,
}

impl Histogram {
    /// Notes one time, in milliseconds.
    pub fn observe_ms(&self, ms: u64) {
        let steps = STEPS_MS.iter().zip(&self.steps);
        if let Some((_, step)) = steps.into_iter().find(|(bound, _)| ms <= **bound) {
            step.add_one();
        }
        self.count.add_one();
        self.sum_ms.add(ms);
    }

    /// All times together, in milliseconds.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms.get()
    }

    /// How many times were noted.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Each step with how many times were no longer than it, shortest first.
    pub fn steps(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut below = 0;
        STEPS_MS.iter().zip(&self.steps).map(move |(bound, step)| {
            below += step.get();
            (*bound, below)
        })
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
    /// How long runs that started have waited for their lane.
    pub queue_wait: Histogram,
    /// How long runs that started took from their start to their end.
    pub run_time: Histogram,
    /// Runs whose slot was taken back because the backend did not end in time.
    pub runs_abandoned: Counter,
    /// Commits of the ledger.
    pub ledger_commits: Counter,
    /// Commits of the ledger that failed.
    pub ledger_failures: Counter,
    /// 1 while the ledger cannot be written: the last attempt failed; else 0.
    pub ledger_failing: Gauge,
    /// Calls to model servers.
    pub upstream_calls: Counter,
    /// Calls to model servers that were repeated.
    pub upstream_retries: Counter,
    /// Calls to model servers that failed.
    pub upstream_failures: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_its_step_and_in_every_longer_one() {
        let histogram = Histogram::default();
        for ms in [0, 1, 2, 600_000, 600_001] {
            histogram.observe_ms(ms);
        }
        let steps: Vec<_> = histogram.steps().collect();
        assert_eq!(steps[..2], [(1, 2), (5, 3)]);
        assert_eq!(steps[10..], [(300_000, 3), (600_000, 4)]);
        assert_eq!((histogram.count(), histogram.sum_ms()), (5, 1_200_004));
    }
}
