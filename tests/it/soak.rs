//! Crowds: memory comes back when they leave, and readers that do not read hold up nobody.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use clawport::client::{ClientOptions, Connected, Disconnect, connect_over};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::cli::{Home, Running};
use crate::support::http::{chat, streamed_text};
use crate::support::native::options;
use crate::support::{Connection, Native, Served, TOKEN, soon};

/// Native connections that say nothing and hear nothing.
const IDLE: usize = 1_000;

/// Calls whose streams are read to their ends.
const STREAMS: usize = 200;

/// Readers that do not read, half of them on either front.
const STUCK: usize = 200;

/// Crowds that come before it counts, and most that come then.
const CROWDS: usize = 2;

/// Tokens of a stream that is read.
const TOKENS: usize = 30;

/// Open files this process and the gateway each need for a crowd, with room for other tests.
const FILES: u64 = 4_096;

/// `gateway.limits.outboxBytes`: what a reader may be behind, and what is kept for such readers.
const EVENT_BYTES: usize = 8 * 1024 * 1024;

/// Connections that are opened at the same time; fewer than `gateway.limits.preauthPerAddress`.
const AT_ONCE: usize = 16;

/// What a reader that does not read takes into its socket, so that the rest stays in the gateway.
const RECEIVE_BYTES: u32 = 4_096;

/// Makes sure that a crowd fits into the limit of open files; children inherit it.
fn allow_files() {
    let (soft, hard) = file_limits();
    if soft >= FILES {
        return;
    }
    assert!(
        hard >= FILES,
        "this test opens {FILES} files, and the hard limit is {hard}: raise it (ulimit -Hn)"
    );
    let pid = std::process::id().to_string();
    let limit = format!("--nofile={FILES}:{hard}");
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    let is_raised = raised.is_ok_and(|status| status.success()) && file_limits().0 >= FILES;
    assert!(
        is_raised,
        "this test opens {FILES} files, and the soft limit is {soft}: raise it (ulimit -n)"
    );
}

/// Soft and hard limit of open files.
fn file_limits() -> (u64, u64) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers = line.unwrap().split_whitespace().skip(3).take(2);
    let numbers: Vec<u64> = numbers.map(|it| it.parse().unwrap_or(u64::MAX)).collect();
    (numbers[0], numbers[1])
}

/// A gateway with a process of its own.
struct Crowded {
    gateway: Running,
    addr: SocketAddr,
    /// Open files when nobody is connected but `watch`.
    files: usize,
    watch: Native,
}

impl Crowded {
    async fn start(home: &Home) -> Self {
        let (gateway, addr) = home.gateway(&[]);
        let watch = deaf(addr).await;
        let mut crowded = Self {
            gateway,
            addr,
            files: 0,
            watch,
        };
        crowded.files = crowded.open_files();
        crowded
    }

    fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.gateway.pid());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Resident memory, in KiB.
    fn resident(&self) -> u64 {
        let status = format!("/proc/{}/status", self.gateway.pid());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse().unwrap()
    }

    /// Waits until everybody has gone, nothing runs, and no lane is left.
    async fn empty(&self) {
        let empty = async {
            loop {
                let status = self.watch.call("status", json!({})).await;
                let runs = &status["runs"];
                let is_idle = ["active", "waiting", "lanes"]
                    .iter()
                    .all(|part| runs[part] == 0);
                if is_idle && self.open_files() <= self.files {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let emptied = tokio::time::timeout(Duration::from_mins(1), empty).await;
        assert!(emptied.is_ok(), "{} files are open", self.open_files());
    }

    /// Fills what the gateway keeps for readers that are behind.
    async fn fill(&self) {
        let native = Native::connect(self.addr).await;
        for n in 0..20 {
            native
                .call_final("agent", saying(n, "agent:loud:fill"))
                .await;
        }
    }

    /// Lets a crowd come, talk and go.
    async fn crowd(&self) {
        let addr = self.addr;
        let idle = crowd_of(IDLE, |_n| native(addr, &[])).await;
        let stuck = crowd_of(STUCK / 2, |_n| native(addr, &["operator.read"])).await;
        let unread = crowd_of(STUCK / 2, |_n| async move {
            let mut connection = Connection::over(narrow(addr).await);
            connection.send(call("openclaw:talkative")).await;
            connection
        })
        .await;
        let streams = (0..STREAMS).map(|_n| async move {
            let mut connection = Connection::open(addr).await;
            let response = connection.ask(call("openclaw:main")).await;
            let text = streamed_text(response.text());
            assert_eq!(text.split_whitespace().count(), TOKENS, "{text}");
            assert!(response.text().ends_with("data: [DONE]\n\n"));
        });
        futures_util::future::join_all(streams).await;
        drop((idle, stuck, unread));
        self.empty().await;
    }
}

/// Opens so many connections, a few at a time.
async fn crowd_of<T, F: Future<Output = T>>(size: usize, open: impl Fn(usize) -> F) -> Vec<T> {
    stream::iter((0..size).map(open))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// A socket that takes little while nobody reads from it.
async fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
    soon(socket.connect(addr)).await.unwrap()
}

/// A native connection with these scopes that nobody reads from.
async fn native(addr: SocketAddr, scopes: &[&str]) -> Connected<TcpStream> {
    let options = ClientOptions {
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        events_max: 1,
        connect_timeout: Duration::from_mins(1),
        ..options(addr)
    };
    let socket = narrow(addr).await;
    connect_over(socket, &options).await.unwrap()
}

/// The params of an `agent` run with a long message.
fn saying(n: usize, session: &str) -> Value {
    let text = "a lot of text ".repeat(10_000);
    json!({"message": text, "idempotencyKey": format!("{session} {n}"), "sessionKey": session})
}

/// A streamed chat completion.
fn call(model: &str) -> String {
    let messages = json!([{"role": "user", "content": "hi"}]);
    chat(&json!({"model": model, "stream": true, "messages": messages}).to_string())
}

fn home() -> Home {
    let spoken = format!("sim/lorem?tokens={TOKENS}&interTokenMs=25");
    let settings = json!({
        "gateway": {
            "auth": {"mode": "token", "token": TOKEN},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
            "limits": {"outboxBytes": EVENT_BYTES},
        },
        "agents": {"list": [
            {"id": "main", "default": true, "model": spoken},
            {"id": "talkative", "model": "sim/lorem?tokens=600&chunkTokens=5"},
            {"id": "loud", "model": "sim/echo?chunkTokens=1000"},
        ]},
        "events": {"keepSeconds": 1},
    });
    Home::with_config(&settings.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_leaves_gives_its_memory_back_and_leaves_no_lane() {
    allow_files();
    let home = home();
    let crowded = Crowded::start(&home).await;
    // The first crowds make the allocator, the tables and the caches as large as they get.
    crowded.fill().await;
    for _ in 0..CROWDS {
        crowded.crowd().await;
    }
    let before = crowded.resident();
    let limit = before + before / 10;
    let mut after = Vec::new();
    for _ in 0..CROWDS {
        crowded.crowd().await;
        after.push(crowded.resident());
        // What one crowd leaves behind grows with the next; what the allocator keeps for a while
        // does not.
        if after.last() <= Some(&limit) {
            return;
        }
    }
    panic!("{before} KiB before, {after:?} KiB after each crowd");
}

/// Most a burst of large reads may add to what is resident, in KiB.
const BURST_KIB_MAX: u64 = 300 * 1024;

/// Messages of a large transcript, and characters of each.
const LARGE: (usize, usize) = (4, 4_000_000);

/// Many readers of one large transcript at once; returns the most that was resident meanwhile.
async fn read_much(crowded: &Crowded) -> u64 {
    let params = json!({"sessionKey": "agent:main:large", "maxChars": 500_000});
    let readers = crowd_of(5, |_n| Native::connect(crowded.addr)).await;
    let calls = readers.iter().flat_map(|reader| {
        let params = &params;
        (0..30).map(move |_call| reader.call("chat.history", params.clone()))
    });
    let mut reading = std::pin::pin!(futures_util::future::join_all(calls));
    let mut most = 0;
    loop {
        most = most.max(crowded.resident());
        let done = tokio::time::timeout(Duration::from_millis(20), reading.as_mut()).await;
        if let Ok(answers) = done {
            assert!(answers.iter().all(|answer| answer["sessionId"].is_string()));
            return most;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_large_transcript_share_the_memory_for_it() {
    let home = home();
    let crowded = Crowded::start(&home).await;
    for n in 0..LARGE.0 {
        let text = "m".repeat(LARGE.1);
        let params = json!({"message": text, "idempotencyKey": format!("large {n}"),
            "sessionKey": "agent:main:large"});
        let native = Native::connect(crowded.addr).await;
        native.call_final("agent", params).await;
    }
    let before = crowded.resident();
    // Held all at once these answers would take 150 times 16 MB.
    let first = read_much(&crowded).await;
    let after = crowded.resident();
    let second = read_much(&crowded).await;
    let most = first.max(second);
    assert!(most < before + BURST_KIB_MAX, "{before} KiB, then {most}");
    // What stays is used again: it does not grow with every burst.
    let later = crowded.resident();
    assert!(later < after + after / 4, "{after} KiB, then {later}");
}

/// Requests of a client that wants to notice when it is held up.
const PROBES: usize = 300;

/// How long all but the slowest hundredth of them may take. A gateway that waits for a reader waits
/// until it is closed, which takes seconds; a machine that is busy may take its time once.
const DELAY_MAX: Duration = Duration::from_millis(100);

/// Tries until one shows no delay.
const TRIES: u64 = 5;

/// The time all but the slowest hundredth took.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() - 1 - times.len() / 100]
}

/// A connection that hears of no run, and has nothing to do but ask.
async fn deaf(addr: SocketAddr) -> Native {
    Native::with(ClientOptions {
        caps: vec!["session-scoped-events".to_owned()],
        ..options(addr)
    })
    .await
}

/// Sends messages that are said back, until it is told to stop; every run makes several events with
/// the whole text.
async fn flood(addr: SocketAddr, name: String, stop: CancellationToken) {
    let native = deaf(addr).await;
    for n in 0.. {
        let session = format!("agent:main:{name}-{n}");
        native.call_final("agent", saying(n, &session)).await;
        if stop.is_cancelled() {
            return;
        }
    }
}

/// Asks again and again while others flood and one reader does not read; how long 99 of 100 answers
/// took at most. The reader reads again once it is given up, and is told why.
async fn probe(served: &Served, number: u64) -> Duration {
    let addr = served.addr();
    let closed = &served.gateway.metrics().slow_consumers;
    let stuck = native(addr, &["operator.read"]).await;
    let probe = deaf(addr).await;
    let stop = CancellationToken::new();
    let flooding = tokio::spawn(flood(addr, format!("flood-{number}"), stop.clone()));
    let told = async {
        while closed.get() < number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let told = stuck.driver.run().await;
        stop.cancel();
        told
    };
    let probing = async {
        let mut times = Vec::new();
        while times.len() < PROBES || !stop.is_cancelled() {
            let from = Instant::now();
            probe.call("status", json!({})).await;
            times.push(from.elapsed());
        }
        p99(times)
    };
    let (told, p99) = tokio::join!(soon(told), probing);
    let is_said = matches!(&told, Disconnect::Closed { code: 1008, reason: Some(reason) }
        if &**reason == "slow consumer");
    assert!(is_said, "{told:?}");
    soon(flooding).await.unwrap();
    p99
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_does_not_read_is_closed_and_holds_up_nobody() {
    let served = Served::start(json!({
        "gateway": {"limits": {"outboxBytes": EVENT_BYTES}},
        "agents": {"defaults": {"model": "sim/echo?chunkTokens=1000"}},
    }))
    .await;
    let mut best = Duration::MAX;
    for number in 1..=TRIES {
        best = best.min(probe(&served, number).await);
        if best <= DELAY_MAX {
            served.quiet().await;
            return;
        }
    }
    panic!("99 of 100 requests took up to {best:?}, not {DELAY_MAX:?}");
}
