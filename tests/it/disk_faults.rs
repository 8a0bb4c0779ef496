//! Writes and syncs that fail under a running gateway, at one call after the other.
//!
//! `strace` makes system calls of the real process fail. Whatever fails whenever: what was
//! acknowledged is there after a restart, once and with one end; what was not got a typed refusal;
//! the process stays up or ends its start with one line. A machine without `strace` or without the
//! right to trace fails these tests and says so.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use clawport::client::RequestError;
use serde_json::{Value, json};

use crate::support::cli::{Home, Running, get};
use crate::support::{Native, TOKEN};

const SESSION: &str = "agent:main:s";

/// Messages that are sent at most until one is refused.
const MESSAGES_MAX: usize = 14;

fn home() -> Home {
    let settings = json!({
        "gateway": {"auth": {"mode": "token", "token": TOKEN}},
        "agents": {"defaults": {"model": "sim/echo"}},
        "messages": {"queue": {"cap": 1000, "mode": "followup"}},
    });
    Home::with_config(&settings.to_string())
}

/// What `strace` is to do to which calls, such as `fsync:error=EIO:when=3+`.
fn traced(home: &Home, fault: &str) -> Command {
    let calls = fault.split(':').next().unwrap();
    let gateway = home.command(&[]);
    let mut command = Command::new("strace");
    // The tracer is a grandchild: the child is the gateway itself, so that it can be killed.
    command
        .args(["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"])
        .args(["-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={fault}")])
        .arg(gateway.get_program())
        .args(["gateway", "--port", "0"]);
    let variables = gateway
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(variables);
    command
}

/// Whether calls can be made to fail on this machine; says what is missing when not.
fn check_means() {
    let probe = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO"])
        .args(["-e", "trace=fsync", "true"])
        .output();
    match probe {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "strace may not trace here (a container needs the right to ptrace): {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("strace is missing (apt-get install strace): {error}"),
    }
}

/// A message that was acknowledged, by the name of its run, which is also its text.
type Acknowledged = Vec<String>;

/// Sends messages until one is refused; says whether one was.
async fn send(native: &Native, round: &str, kept: &mut Acknowledged) -> bool {
    for n in 0..MESSAGES_MAX {
        let run = format!("{round} message {n}");
        let params = json!({"sessionKey": SESSION, "idempotencyKey": run, "message": run});
        match native.client.request("chat.send", &params).await {
            Ok(_acknowledged) => kept.push(run),
            Err(RequestError::Remote(error)) => {
                assert_eq!(&*error.code, "UNAVAILABLE", "{run}: {error}");
                return true;
            }
            Err(error) => panic!("{run}: {error}"),
        }
        let wait = json!({"runId": format!("{round} message {n}"), "timeoutMs": 20_000});
        let ended = native.call("agent.wait", wait).await;
        assert!(ended["endedAt"].is_u64(), "{ended}");
    }
    false
}

fn is_ready(addr: SocketAddr) -> bool {
    let answer = get(addr, "/readyz");
    if answer.starts_with("HTTP/1.1 200") {
        return true;
    }
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("store-failing"), "{answer}");
    false
}

async fn until_ready(addr: SocketAddr) {
    let ready = async {
        while !is_ready(addr) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    crate::support::soon(ready).await;
}

/// Waits until what an earlier process left open has its end.
async fn until_all_ended(native: &Native, point: &str) {
    let listed: Value = native.call("runs.list", json!({"limit": 1000})).await;
    for run in listed["runs"].as_array().unwrap() {
        let id = run["runId"].as_str().unwrap();
        let wait = json!({"runId": id, "timeoutMs": 20_000});
        let ended = native.call("agent.wait", wait).await;
        assert!(ended["endedAt"].is_u64(), "{point}: {id}: {ended}");
    }
}

/// Checks, in a process without faults, that every message is there once and that its run ended.
async fn check_kept(home: &Home, kept: &Acknowledged, point: &str) {
    let (gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    until_all_ended(&native, point).await;
    let history = native.history(SESSION).await;
    for run in kept {
        let said = |entry: &&(String, String)| entry.0 == "user" && entry.1 == *run;
        assert_eq!(history.iter().filter(said).count(), 1, "{point}: {run}");
    }
    assert!(is_ready(addr));
    gateway.signal("KILL");
    gateway.end();
}

/// How often which end of a round was met.
#[derive(Debug, Default)]
struct Met {
    refused_starts: usize,
    refused_messages: usize,
}

/// One life of a gateway whose disk fails, and a look at what it left.
async fn life(home: &Home, fault: &str, kept: &mut Acknowledged, met: &mut Met) {
    let mut gateway = Running::start(traced(home, fault));
    let Some(addr) = gateway.address() else {
        met.refused_starts += 1;
        let said = gateway.seen().to_vec();
        assert_eq!(gateway.end().code, Some(1), "{fault}: {said:?}");
        assert_eq!(said.len(), 1, "{fault}: {said:?}");
        assert!(said[0].contains("input or output error"), "{said:?}");
        return check_kept(home, kept, fault).await;
    };
    let native = Native::connect(addr).await;
    if send(&native, fault, kept).await {
        met.refused_messages += 1;
        if fault.ends_with('+') {
            assert!(!is_ready(addr), "{fault}");
        } else {
            // The disk works again, and the store finds out by itself.
            until_ready(addr).await;
            let again = format!("{fault} again");
            assert!(!send(&native, &again, kept).await, "{again}");
        }
    }
    // What needs no store goes on.
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200"), "{fault}");
    assert_eq!(native.call("health", json!({})).await["ok"], true);
    gateway.signal("KILL");
    gateway.end();
    check_kept(home, kept, fault).await;
}

/// Lets each fault in turn hit a gateway; every one over what the ones before left behind.
async fn check(faults: impl IntoIterator<Item = String>) -> Met {
    check_means();
    let home = home();
    let (mut kept, mut met) = (Vec::new(), Met::default());
    // The first start makes the file: its faults are those of the store's own tests.
    check_kept(&home, &kept, "first").await;
    for fault in faults {
        life(&home, &fault, &mut kept, &mut met).await;
    }
    assert!(!kept.is_empty());
    met
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stops_syncing_at_any_moment_loses_nothing_that_was_acknowledged() {
    let faults = (1..=14).map(|n| format!("fsync,fdatasync:error=EIO:when={n}+"));
    let met = check(faults).await;
    assert_eq!(met.refused_messages, 14, "{met:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stops_writing_at_any_moment_loses_nothing_that_was_acknowledged() {
    let at = (1..=8).chain((12..=68).step_by(8));
    let faults = at.map(|n| format!("pwrite64,pwritev:error=EIO:when={n}+"));
    let met = check(faults).await;
    assert!(met.refused_messages > 5, "{met:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_whose_disk_fails_at_any_moment_says_so_and_the_next_one_works() {
    check_means();
    let syncs = (1..=6).map(|n| format!("fsync,fdatasync:error=EIO:when={n}+"));
    let writes = (1..=5).map(|n| format!("pwrite64:error=EIO:when={}+", n * n));
    let mut met = Met::default();
    for fault in syncs.chain(writes) {
        let mut kept = Vec::new();
        life(&home(), &fault, &mut kept, &mut met).await;
    }
    assert!(met.refused_starts > 5, "{met:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_once_is_used_again() {
    let syncs = (3..=8).map(|n| format!("fsync,fdatasync:error=EIO:when={n}"));
    let writes = (1..=6).map(|n| format!("pwrite64:error=EIO:when={}", n * 9));
    let met = check(syncs.chain(writes)).await;
    assert!(met.refused_messages > 0, "{met:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_turns_read_only_or_full_is_an_error_and_nothing_more() {
    let errors = ["EROFS", "ENOSPC"].into_iter();
    let faults = errors.flat_map(|error| {
        let at = [2, 5, 9].into_iter();
        let writes = at.map(move |n| format!("pwrite64:error={error}:when={}+", n * 8));
        writes.chain([format!("fsync,fdatasync:error={error}:when=6+")])
    });
    let met = check(faults).await;
    assert!(met.refused_messages > 3, "{met:?}");
}

/// A gateway whose state directory is a small file system of its own, and after its end another one.
/// Files called `ballast` and `reserve` take a part of it.
fn on_a_small_file_system(home: &Home) -> Running {
    let script = "set -e
        state=\"$HOME/.clawport\"
        cp \"$state/openclaw.json\" \"$HOME/\"
        mount -t tmpfs -o size=4m tmpfs \"$state\"
        cp \"$HOME/openclaw.json\" \"$state/\"
        head -c 1500000 /dev/zero > \"$state/ballast\"
        head -c 500000 /dev/zero > \"$state/reserve\"
        \"$0\" gateway --port 0 & gateway=$!
        echo $gateway > \"$HOME/pid\"
        wait $gateway || exec \"$0\" gateway --port 0";
    let gateway = home.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(gateway.get_program());
    let variables = gateway
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(variables);
    Running::start(command)
}

/// Kills the process whose id is in a file when the test is over, however that ends.
struct KilledAtLast(PathBuf);

impl KilledAtLast {
    fn kill(&self) {
        let pid = std::fs::read_to_string(&self.0).unwrap_or_default();
        let kill = Command::new("kill")
            .args(["-s", "KILL", pid.trim()])
            .output();
        kill.unwrap();
    }
}

impl Drop for KilledAtLast {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends long messages until one is refused.
async fn fill(native: &Native, round: &str, kept: &mut Acknowledged) {
    let padding = "x".repeat(20_000);
    for n in 0..1000 {
        let run = format!("{round} {n}");
        let message = format!("{run} {padding}");
        let params = json!({"sessionKey": SESSION, "idempotencyKey": run, "message": message});
        match native.client.request("chat.send", &params).await {
            Ok(_acknowledged) => kept.push(run),
            Err(RequestError::Remote(error)) => {
                assert_eq!(&*error.code, "UNAVAILABLE", "{run}: {error}");
                return;
            }
            Err(error) => panic!("{run}: {error}"),
        }
    }
    panic!("the file system is never full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system_is_survived_and_used_again_once_there_is_space() {
    let home = home();
    let first = KilledAtLast(home.state_dir().with_file_name("pid"));
    let mut gateway = on_a_small_file_system(&home);
    let Some(addr) = gateway.address() else {
        panic!(
            "no file system can be mounted here (a container needs user namespaces): {:?}",
            gateway.end()
        );
    };
    let native = Native::connect(addr).await;
    let mut kept = Vec::new();
    fill(&native, "before", &mut kept).await;
    let full = kept.len();
    assert!(full > 10);
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200"));

    let root = format!("/proc/{}/root{}", gateway.pid(), home.state_dir().display());
    std::fs::remove_file(format!("{root}/ballast")).unwrap();
    until_ready(addr).await;
    fill(&native, "after", &mut kept).await;
    assert!(kept.len() > full + 5, "the space that came back is used");
    // Without it the next process could not put what waited into the transcript.
    std::fs::remove_file(format!("{root}/reserve")).unwrap();
    first.kill();

    let addr = gateway.address().expect("the next process");
    let native = Native::connect(addr).await;
    for run in &kept {
        let wait = json!({"runId": run, "timeoutMs": 20_000});
        let ended = native.call("agent.wait", wait).await;
        assert!(ended["endedAt"].is_u64(), "{run}: {ended}");
    }
    let history = native.history(SESSION).await;
    for run in &kept {
        // A long message is shown by its beginning.
        let start = format!("{run} ");
        let said = |entry: &&(String, String)| entry.0 == "user" && entry.1.starts_with(&start);
        let times = history.iter().filter(said).count();
        if times == 0 {
            // There was no room for its answer: it is kept with its run, for the next start.
            let stored = native.call("runs.get", json!({"runId": run})).await;
            assert_eq!(stored["run"]["status"], "queued", "{run}: {stored}");
        } else {
            assert_eq!(times, 1, "{run}");
        }
    }
}
