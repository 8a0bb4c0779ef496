//! A gateway on a socket that outlives it: a restart refuses no connection.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::cli::{Home, Running};
use crate::support::http::{chat, frames, streamed_text};
use crate::support::{Connection, TOKEN, soon};

/// Callers at the same time.
const CALLERS: usize = 4;

/// Restarts under load.
const RESTARTS: usize = 4;

fn home(model: &str) -> Home {
    let settings = json!({
        "gateway": {
            "auth": {"mode": "token", "token": TOKEN},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
        },
        "agents": {"defaults": {"model": model}},
    });
    Home::with_config(&settings.to_string())
}

fn socket(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Starts the next process, which waits for this one, ends this one, and returns the next once it
/// serves.
fn hand_over(home: &Home, listener: &TcpListener, running: Running) -> Running {
    let mut next = home.activated(listener, &[]);
    next.log_line("waiting for another process to let go of the state directory");
    running.signal("TERM");
    assert_eq!(running.end().code, Some(0));
    next.log_line("the gateway is up");
    next
}

/// Calls on a new connection each time until told to stop; how many calls were answered.
async fn call_on(addr: SocketAddr, stop: Arc<AtomicBool>) -> usize {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"messages": messages}).to_string();
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        // A connection that is refused, reset or closed without an answer fails the test.
        let response = Connection::open(addr).await.ask(chat(&body)).await;
        match response.status() {
            200 => answered += 1,
            // It was accepted in the very moment the process was told to end.
            503 => assert!(response.header("retry-after").is_some()),
            other => panic!("{other}: {}", response.text()),
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_an_inherited_socket_refuses_no_connection() {
    let home = home("sim/echo");
    let (listener, addr) = socket("127.0.0.1:0");
    let mut running = home.activated(&listener, &[]);
    let line = running.log_line("the gateway is up");
    assert_eq!(line["fields"]["address"], addr.to_string());
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(call_on(addr, Arc::clone(&stop))))
        .collect();
    let running = tokio::task::spawn_blocking(move || {
        (0..RESTARTS).fold(running, |running, _| hand_over(&home, &listener, running))
    });
    let _running = soon(running).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let answered = soon(caller).await.unwrap();
        assert!(answered > RESTARTS, "{answered}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_in_the_old_process_while_new_connections_wait_for_the_next() {
    let home = home("sim/lorem?tokens=40&interTokenMs=20");
    let (listener, addr) = socket("127.0.0.1:0");
    let mut first = home.activated(&listener, &[]);
    first.log_line("the gateway is up");
    let mut stream = Connection::open(addr).await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"stream": true, "messages": messages}).to_string();
    stream.send(chat(&body)).await;
    assert_eq!(stream.head().await.status, 200);
    let mut text = stream.events().await;
    first.signal("TERM");
    first.log_line("accepting has ended");

    let mut waiting = Connection::open(addr).await;
    waiting.send(chat(&body)).await;
    text.push_str(std::str::from_utf8(&stream.rest_of_stream().await).unwrap());
    let words = streamed_text(&text);
    assert_eq!(words.split_whitespace().count(), 40, "{text}");
    assert_eq!(frames(&text).last().unwrap(), "[DONE]");
    assert_eq!(first.end().code, Some(0));
    let mut second = home.activated(&listener, &[]);
    second.log_line("the gateway is up");
    assert_eq!(waiting.head().await.status, 200);
}

#[test]
fn a_socket_open_to_the_network_needs_a_secret_of_its_own() {
    let home = Home::new();
    let (listener, _addr) = socket("0.0.0.0:0");
    let refused = home.activated(&listener, &[]).end();
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""));
    let why = "refusing the socket that was handed over on 0.0.0.0:";
    assert!(refused.stderr.contains(why), "{refused:?}");
    let mut open = home.activated(&listener, &["--token", "a-secret-of-its-own"]);
    open.log_line("the gateway is up");
}

#[test]
fn something_else_than_a_listening_socket_is_refused() {
    let home = Home::new();
    let mut command = home.command(&["gateway"]);
    let file = std::fs::File::open("/dev/null").unwrap();
    let script = "exec 3<&0; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" gateway";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script]).arg(command.get_program());
    shell
        .env_clear()
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    shell.stdin(file);
    command = shell;
    let refused = Running::start(command).end();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("not a socket"), "{refused:?}");
}
