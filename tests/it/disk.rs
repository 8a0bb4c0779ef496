//! A disk that fails under a running gateway: nothing is acknowledged that is not kept, the rest
//! goes on, and the next start finds everything that was acknowledged.

use std::process::Command;

use clawport::client::RequestError;
use serde_json::json;

use crate::support::cli::{Home, Running, get};
use crate::support::{Native, TOKEN};

/// Bytes of a message that fills the disk soon.
const MESSAGE_BYTES: usize = 20_000;

/// A gateway none of whose files may become longer than a megabyte or two, as on a full disk.
fn cramped(home: &Home) -> (Running, std::net::SocketAddr) {
    let gateway = home.command(&[]);
    // The signal would end the process; ignored, the write fails instead.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" gateway --port 0";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(gateway.get_program());
    let variables = gateway
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(variables);
    let mut running = Running::start(command);
    let line = running.log_line("the gateway is up");
    let address = line["fields"]["address"].as_str().unwrap();
    (running, address.parse().unwrap())
}

/// The runs that were acknowledged before the first one that was not.
async fn fill(native: &Native) -> Vec<String> {
    let padding = "x".repeat(MESSAGE_BYTES);
    let mut acknowledged = Vec::new();
    loop {
        let run = format!("run {}", acknowledged.len());
        assert!(acknowledged.len() < 1000, "the disk is never full");
        let message = format!("{run} {padding}");
        let params = json!({"sessionKey": "main", "idempotencyKey": run, "message": message});
        match native.client.request("chat.send", &params).await {
            Ok(_acknowledged) => acknowledged.push(run),
            Err(RequestError::Remote(error)) => {
                assert_eq!(&*error.code, "UNAVAILABLE", "{error}");
                return acknowledged;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_an_error_and_what_was_acknowledged_is_kept() {
    let settings = json!({
        "gateway": {"auth": {"mode": "token", "token": TOKEN}},
        "agents": {"defaults": {"model": "sim/lorem?tokens=1"}},
        "messages": {"queue": {"cap": 1000, "mode": "followup"}},
    });
    let home = Home::with_config(&settings.to_string());
    let (gateway, addr) = cramped(&home);
    let native = Native::connect(addr).await;
    let acknowledged = fill(&native).await;
    assert!(!acknowledged.is_empty());
    // What needs no store goes on.
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(native.call("health", json!({})).await["ok"], true);
    gateway.signal("KILL");
    gateway.end();

    let (_gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    for run in &acknowledged {
        let wait = json!({"runId": run, "timeoutMs": 20_000});
        let ended = native.call("agent.wait", wait).await;
        assert!(ended["endedAt"].is_u64(), "{run}: {ended}");
    }
    let refused = format!("run {}", acknowledged.len());
    let history = native.history("main").await;
    let said = |run: &str| {
        let start = format!("{run} ");
        let mine = history
            .iter()
            .filter(|(role, text)| role == "user" && text.starts_with(&start));
        mine.count()
    };
    for run in &acknowledged {
        assert_eq!(said(run), 1, "{run}");
    }
    assert_eq!(said(&refused), 0, "it was not acknowledged");
    native.send("main", "after", "there is space again").await;
    let wait = json!({"runId": "after", "timeoutMs": 20_000});
    assert_eq!(native.call("agent.wait", wait).await["status"], "ok");
}

#[test]
fn a_state_directory_that_cannot_be_written_ends_the_start_with_one_line() {
    let home = Home::new();
    let mut command = home.command(&["gateway", "--port", "0", "--token", "a-long-token"]);
    // Nobody, not even root, can make a directory there.
    command.env("OPENCLAW_STATE_DIR", "/proc/self/clawport");
    let refused = Running::start(command).end();
    assert_eq!(
        (refused.code, &*refused.stdout),
        (Some(1), ""),
        "{refused:?}"
    );
    let why = "cannot use the state directory /proc/self/clawport";
    assert!(refused.stderr.contains(why), "{refused:?}");
    assert_eq!(refused.stderr.trim_end().lines().count(), 1, "{refused:?}");
}
