//! Windows of load, interleaved between the cases of a group.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use crate::child::Child;
use crate::fan::Fan;
use crate::native::Ask;
use crate::{fan, http, native};

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// How many there are where many are wanted.
    pub(crate) crowd: usize,
}

/// One thing that is measured.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    /// The process whose CPU time counts; `None` for a gateway we did not start.
    pub(crate) server: Option<&'a Child>,
    pub(crate) addr: SocketAddr,
    pub(crate) connect: Connect,
}

/// What the clients do, one entry each.
pub(crate) enum Connect {
    Http(Vec<Vec<u8>>),
    Native(Vec<Ask>),
    Fan(Fan),
}

/// The windows of one case, in the order they were measured.
pub(crate) struct Windows {
    pub(crate) name: String,
    pub(crate) cpu_us_per_op: Vec<f64>,
    pub(crate) ops_per_second: Vec<f64>,
    /// How long the slowest hundredth of the operations took, in microseconds.
    pub(crate) p99_us: Vec<f64>,
}

/// Starts clients together, counts what they do, stops them together.
#[derive(Clone)]
pub(crate) struct Pulse {
    start: Arc<Barrier>,
    goes_on: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    took: Arc<Mutex<Vec<Duration>>>,
    end: watch::Receiver<()>,
}

impl Pulse {
    pub(crate) async fn ready(&self) {
        self.start.wait().await;
    }

    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on.load(Ordering::Relaxed)
    }

    /// Counts an operation.
    pub(crate) fn count(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how long what a client waits for took.
    pub(crate) fn note(&self, since: Instant) {
        self.took.lock().unwrap().push(since.elapsed());
    }

    /// Waits until every client has done its last operation.
    pub(crate) async fn ended(&mut self) {
        self.end.changed().await.ok();
    }
}

/// Measures the cases round by round, in rotated order.
pub(crate) fn interleaved(plan: &Plan, cases: &[Case<'_>]) -> Vec<Windows> {
    let mut results: Vec<Windows> = cases
        .iter()
        .map(|case| Windows {
            name: case.name.clone(),
            cpu_us_per_op: Vec::new(),
            ops_per_second: Vec::new(),
            p99_us: Vec::new(),
        })
        .collect();
    for round in 0..plan.rounds {
        for step in 0..cases.len() {
            let at = (round + step) % cases.len();
            let seen = window(plan, &cases[at]);
            results[at].cpu_us_per_op.push(seen.cpu_us_per_op);
            results[at].ops_per_second.push(seen.ops_per_second);
            results[at].p99_us.push(seen.p99_us);
        }
    }
    results
}

struct Window {
    cpu_us_per_op: f64,
    ops_per_second: f64,
    p99_us: f64,
}

fn window(plan: &Plan, case: &Case<'_>) -> Window {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let clients = match &case.connect {
            Connect::Http(requests) => requests.len(),
            Connect::Native(asks) => asks.len(),
            Connect::Fan(fan) => fan.subscribers + 1,
        };
        let (end, ended) = watch::channel(());
        let pulse = Pulse {
            start: Arc::new(Barrier::new(clients + 1)),
            goes_on: Arc::new(AtomicBool::new(true)),
            count: Arc::default(),
            took: Arc::default(),
            end: ended,
        };
        let (mut drivers, mut listeners) = (JoinSet::new(), JoinSet::new());
        match &case.connect {
            Connect::Http(requests) => {
                for request in requests.clone() {
                    drivers.spawn(http::drive(case.addr, request, pulse.clone()));
                }
            }
            Connect::Native(asks) => {
                for (client, ask) in asks.iter().cloned().enumerate() {
                    drivers.spawn(native::drive(case.addr, client, ask, pulse.clone()));
                }
            }
            Connect::Fan(fan) => fan::start(case.addr, fan, &pulse, &mut drivers, &mut listeners),
        }
        pulse.ready().await;
        tokio::time::sleep(plan.warm_up).await;
        pulse.took.lock().unwrap().clear();
        let (cpu, ops, since) = (
            cpu_ns(case),
            pulse.count.load(Ordering::Relaxed),
            Instant::now(),
        );
        tokio::time::sleep(plan.window).await;
        let took = since.elapsed();
        let ops = (pulse.count.load(Ordering::Relaxed) - ops).max(1) as f64;
        let cpu = (cpu_ns(case) - cpu) as f64;
        let p99_us = p99_us(&mut pulse.took.lock().unwrap());
        pulse.goes_on.store(false, Ordering::Relaxed);
        let joined = tokio::time::timeout(Duration::from_secs(10), drivers.join_all()).await;
        joined.expect("every client ends its last operation");
        drop(end);
        listeners.join_all().await;
        Window {
            cpu_us_per_op: cpu / 1000.0 / ops,
            ops_per_second: ops / took.as_secs_f64(),
            p99_us,
        }
    })
}

/// The time that a hundredth of the operations exceeded, in microseconds.
pub(crate) fn p99_us(took: &mut [Duration]) -> f64 {
    took.sort_unstable();
    let at = took.len() * 99 / 100;
    took.get(at)
        .map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
}

fn cpu_ns(case: &Case<'_>) -> u64 {
    case.server.map_or(0, Child::cpu_ns)
}
