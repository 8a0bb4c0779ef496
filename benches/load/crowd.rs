//! What many do to one: what sessions leave behind (T12), and how long others wait while a crowd
//! streams (T19).

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use tokio::task::JoinSet;

use crate::child::Child;
use crate::gateway::TOKEN;
use crate::http;
use crate::measure::{Plan, p99_us};
use crate::native;

/// Calls whose sessions are counted, for each of the crowd.
const SESSIONS_EACH: usize = 100;

/// Times that are taken, for each answer of interest.
const SAMPLES: usize = 300;

/// How long a stream of the crowd is waited for.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// What one stateless call leaves in memory, in bytes.
pub(crate) fn growth(plan: &Plan) {
    let gateway = Child::start("--serve-gateway");
    let calls = plan.crowd * SESSIONS_EACH;
    let run = |calls: usize| {
        runtime().block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..64 {
                let request = http::chat_request(TOKEN, "main", false, None);
                clients.spawn(http::repeat(gateway.addr, request, calls / 64));
            }
            clients.join_all().await;
        });
    };
    // The logs of the last runs are kept for a while: they have to be there before it counts.
    run(calls / 2);
    let before = gateway.resident();
    run(calls);
    let grown = gateway.resident().saturating_sub(before);
    println!("\nT12 growth after {calls} more sessions");
    println!("  {grown} bytes, {} each", grown / calls as u64);
}

/// The slowest hundredth of handshakes and `health` answers, alone and beside a crowd.
pub(crate) fn latency(plan: &Plan) {
    let gateway = Child::start("--serve-gateway");
    println!(
        "\nT19 p99 while {} runs stream, 10 tokens a second each",
        plan.crowd
    );
    let alone = runtime().block_on(sample(&gateway));
    // The crowd has a thread of its own, so that reading it is not what is measured.
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let (addr, crowd) = (gateway.addr, plan.crowd);
    let (ready, streaming) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        runtime().block_on(async {
            let mut streams = JoinSet::new();
            for _ in 0..crowd {
                let request = http::chat_request(TOKEN, "paced", true, None);
                streams.spawn(http::endless(addr, request, ready.clone()));
            }
            ended.await.ok();
        });
    });
    for _ in 0..crowd {
        streaming
            .recv_timeout(FIRST_WORD)
            .expect("every run streams");
    }
    let beside = runtime().block_on(sample(&gateway));
    drop(end);
    reader.join().unwrap();
    for (name, alone, beside) in [
        ("handshake", alone.0, beside.0),
        ("health", alone.1, beside.1),
    ] {
        let ratio = beside / alone;
        println!("  {name:<12} alone {alone:>8.0} µs   beside {beside:>8.0} µs   × {ratio:.1}");
    }
}

/// The slowest hundredth of handshakes and of `health` answers, in microseconds.
async fn sample(gateway: &Child) -> (f64, f64) {
    let (mut handshakes, mut answers) = (Vec::new(), Vec::new());
    let mut asking = native::open(gateway.addr).await;
    native::hello(&mut asking, TOKEN).await;
    for n in 1..=SAMPLES {
        let since = Instant::now();
        let mut socket = native::open(gateway.addr).await;
        native::hello(&mut socket, TOKEN).await;
        handshakes.push(since.elapsed());
        let since = Instant::now();
        let request = format!(r#"{{"type":"req","id":"{n}","method":"health","params":{{}}}}"#);
        asking.send(request.into()).await.unwrap();
        native::await_response(&mut asking, n as u64, false).await;
        answers.push(since.elapsed());
    }
    (p99_us(&mut handshakes), p99_us(&mut answers))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
