//! Windows of load, interleaved between the cases of a group.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Barrier, watch};

use crate::child::Child;
use crate::native::Ask;
use crate::{http, native};

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
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
}

/// The windows of one case, in the order they were measured.
pub(crate) struct Windows {
    pub(crate) name: String,
    pub(crate) cpu_us_per_op: Vec<f64>,
    pub(crate) ops_per_second: Vec<f64>,
}

/// Starts clients together, counts what they do, stops them together.
#[derive(Clone)]
pub(crate) struct Pulse {
    start: Arc<Barrier>,
    goes_on: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    _end: watch::Receiver<()>,
}

impl Pulse {
    pub(crate) async fn ready(&self) {
        self.start.wait().await;
    }

    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
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
        })
        .collect();
    for round in 0..plan.rounds {
        for step in 0..cases.len() {
            let at = (round + step) % cases.len();
            let (cpu_us, rate) = window(plan, &cases[at]);
            results[at].cpu_us_per_op.push(cpu_us);
            results[at].ops_per_second.push(rate);
        }
    }
    results
}

/// One window: CPU µs of the server per operation, and operations per second.
fn window(plan: &Plan, case: &Case<'_>) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let clients = match &case.connect {
            Connect::Http(requests) => requests.len(),
            Connect::Native(asks) => asks.len(),
        };
        let (end, ended) = watch::channel(());
        let pulse = Pulse {
            start: Arc::new(Barrier::new(clients + 1)),
            goes_on: Arc::new(AtomicBool::new(true)),
            count: Arc::default(),
            _end: ended,
        };
        let mut drivers = tokio::task::JoinSet::new();
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
        }
        pulse.ready().await;
        tokio::time::sleep(plan.warm_up).await;
        let (cpu, ops, since) = (
            cpu_ns(case),
            pulse.count.load(Ordering::Relaxed),
            Instant::now(),
        );
        tokio::time::sleep(plan.window).await;
        let took = since.elapsed();
        let ops = (pulse.count.load(Ordering::Relaxed) - ops).max(1) as f64;
        let cpu = (cpu_ns(case) - cpu) as f64;
        pulse.goes_on.store(false, Ordering::Relaxed);
        let joined = tokio::time::timeout(Duration::from_secs(10), drivers.join_all()).await;
        joined.expect("every client ends its last operation");
        drop(end);
        (cpu / 1000.0 / ops, ops / took.as_secs_f64())
    })
}

fn cpu_ns(case: &Case<'_>) -> u64 {
    case.server.map_or(0, Child::cpu_ns)
}
