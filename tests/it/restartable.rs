//! Runs that may be started over: a process is killed while they run, and the next one goes on.

use clawport::client::RequestError;
use serde_json::{Value, json};

use crate::crash::{behind, settings};
use crate::support::Native;
use crate::support::TOKEN;
use crate::support::cli::{Home, Running};
use crate::support::http::{Connection, request};
use crate::support::upstream::{Part, Reply, Upstream};

const SESSION: &str = "agent:main:s";

/// A home whose only agent may be started over, or not.
fn home(upstream: &Upstream, restartable: bool) -> Home {
    let mut settings = settings(&behind(upstream));
    settings["agents"]["defaults"]["restartable"] = json!(restartable);
    Home::with_config(&settings.to_string())
}

/// Says a little and then nothing more.
fn stalls() -> Reply {
    Reply::events([Part::text("half an ans"), Part::Stall])
}

fn answers(text: &str) -> Reply {
    let end = [Part::finish("stop"), Part::usage(1, 1), Part::done()];
    Reply::events([Part::text(text)].into_iter().chain(end))
}

fn kill(gateway: Running) {
    gateway.signal("KILL");
    assert_eq!(gateway.end().code, None);
}

async fn wait(native: &Native, run: &str) -> Value {
    let params = json!({"runId": run, "timeoutMs": 20_000});
    native.call("agent.wait", params).await
}

/// The ends among the events of a run.
async fn ends(addr: std::net::SocketAddr, run: &str) -> usize {
    let token = format!("Bearer {TOKEN}");
    let path = format!("/v1/runs/{run}/events?after=0");
    let mut connection = Connection::open(addr).await;
    let ask = request("GET", &path, &[("Authorization", &token)], "");
    let text = connection.ask(ask).await.text().to_owned();
    text.matches("event: end\n").count()
}

fn said(role: &str, text: &str) -> (String, String) {
    (role.to_owned(), text.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_a_restartable_agent_is_started_over_after_a_kill() {
    let upstream = Upstream::start().await;
    let home = home(&upstream, true);
    let (gateway, addr) = home.gateway(&[]);
    let mut native = Native::connect(addr).await;
    upstream.replies([answers("hi"), stalls()]);
    native.send(SESSION, "before", "hello").await;
    native.end("before").await;
    native.send(SESSION, "cut", "tell me").await;
    native.delta("cut").await;
    let queued = json!({"sessionKey": SESSION, "idempotencyKey": "waits", "message": "and then?",
        "queueMode": "followup"});
    native.call("chat.send", queued).await;
    kill(gateway);

    upstream.replies([answers("a whole answer"), answers("that was all")]);
    let (_gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    for run in ["cut", "waits"] {
        assert_eq!(wait(&native, run).await["status"], "ok", "{run}");
        assert_eq!(ends(addr, run).await, 1, "{run}");
    }
    let expected = [
        said("user", "hello"),
        said("assistant", "hi"),
        said("user", "tell me"),
        said("assistant", "a whole answer"),
        said("user", "and then?"),
        said("assistant", "that was all"),
    ];
    assert_eq!(native.history(SESSION).await, expected);
    // The caller that asks again gets the run it knows.
    let again = native.send(SESSION, "cut", "tell me").await;
    assert_ne!(again["status"], "started", "{again}");
    let asked = upstream.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[1].body["messages"], asked[2].body["messages"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_another_agent_is_interrupted_by_a_kill() {
    let upstream = Upstream::start().await;
    let home = home(&upstream, false);
    let (gateway, addr) = home.gateway(&[]);
    let mut native = Native::connect(addr).await;
    upstream.replies([stalls()]);
    native.send(SESSION, "cut", "tell me").await;
    native.delta("cut").await;
    kill(gateway);

    let (_gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    let end = wait(&native, "cut").await;
    assert_eq!(
        (&end["status"], &end["stopReason"]),
        (&json!("timeout"), &json!("restart"))
    );
    assert_eq!(native.history(SESSION).await, [said("user", "tell me")]);
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_sees_too_many_processes_die_is_interrupted() {
    let upstream = Upstream::start().await;
    let home = home(&upstream, true);
    let (gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    upstream.replies((0..9).map(|_| stalls()));
    native.send(SESSION, "deadly", "tell me").await;
    upstream.until(|counts| counts.asked == 1).await;
    kill(gateway);
    for times in 2..=4 {
        let (gateway, _addr) = home.gateway(&[]);
        upstream.until(|counts| counts.asked == times).await;
        kill(gateway);
    }

    let (_gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    let end = wait(&native, "deadly").await;
    assert_eq!(
        (&end["status"], &end["stopReason"]),
        (&json!("timeout"), &json!("restart"))
    );
    assert_eq!(native.history(SESSION).await, [said("user", "tell me")]);
    assert_eq!(upstream.asked().len(), 4, "three restarts and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_over_http_is_gone_so_its_run_is_not_started_over() {
    let upstream = Upstream::start().await;
    let home = home(&upstream, true);
    let (gateway, addr) = home.gateway(&[]);
    upstream.replies([stalls()]);
    let body = json!({"user": "u", "messages": [{"role": "user", "content": "tell me"}]});
    let mut call = Connection::open(addr).await;
    call.send(crate::support::http::chat(&body.to_string()))
        .await;
    upstream.until(|counts| counts.asked == 1).await;
    kill(gateway);

    let (_gateway, addr) = home.gateway(&[]);
    let native = Native::connect(addr).await;
    let runs = native.client.request("runs.list", &json!({})).await;
    let runs: Value = match runs {
        Ok(runs) => serde_json::from_str(runs.get()).unwrap(),
        Err(RequestError::Remote(error)) => panic!("{error}"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(runs["runs"][0]["status"], "interrupted", "{runs}");
    assert_eq!(upstream.asked().len(), 1);
}
