//! `clawport chat`: messages line by line, through interruptions.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::cli::{Home, Ran, Running, ran};

fn home(model: &str) -> Home {
    let settings = json!({"agents": {"defaults": {"model": model}}});
    Home::with_config(&settings.to_string())
}

fn chat(home: &Home, url: &str, input: &str) -> Ran {
    let mut child = home
        .command(&["chat", "--url", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    ran(child.wait_with_output().unwrap())
}

#[test]
fn each_line_is_a_message_and_the_session_goes_on() {
    let home = home("sim/demo");
    let (_gateway, addr) = home.gateway(&[]);
    let url = format!("ws://{addr}");
    let first = chat(&home, &url, "count to 2\n\ncount to 3\n");
    assert_eq!(
        (first.code, first.stdout.as_str(), first.stderr.as_str()),
        (Some(0), "1 2\n1 2 3\n", "")
    );
    let later = chat(&home, &url, "what did I say?\n/quit\nsay never\n");
    assert!(later.stdout.contains("count to 3"), "{later:?}");
    assert!(!later.stdout.contains("never"), "{later:?}");
}

#[test]
fn a_failed_run_is_said_and_fails_a_script_but_not_the_rest_of_it() {
    let home = home("sim/echo?failRate=1");
    let (_gateway, addr) = home.gateway(&[]);
    let failed = chat(&home, &format!("ws://{addr}"), "a\nb\n");
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""));
    assert_eq!(failed.stderr.matches("error: ").count(), 2, "{failed:?}");
}

#[test]
fn nobody_there_is_said_at_once() {
    let home = home("sim/demo");
    let ended = chat(&home, "ws://127.0.0.1:1", "a\n");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("is the gateway running?"),
        "{ended:?}"
    );
}

/// Passes bytes on, and cuts its first connections in the middle of an answer.
struct Relay {
    addr: SocketAddr,
    cuts: Arc<AtomicUsize>,
}

/// Connections that are cut.
const CUTS: usize = 2;

/// Parts of an answer that a connection carries before it is cut.
const PARTS: usize = 5;

impl Relay {
    fn start(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for client in listener.incoming().take(CUTS + 1) {
                let client = client.unwrap();
                let server = TcpStream::connect(gateway).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to).ok());
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || pass_on(&server, &client, &counter));
            }
        });
        Self { addr, cuts }
    }
}

fn pass_on(mut server: &TcpStream, mut client: &TcpStream, cuts: &AtomicUsize) {
    let mut passed = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        if client.write_all(&buffer[..read]).is_err() {
            break;
        }
        passed.extend_from_slice(&buffer[..read]);
        let parts = passed.windows(15).filter(|at| at == b"\"state\":\"delta\"");
        if cuts.load(Ordering::SeqCst) < CUTS && parts.count() >= PARTS {
            cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
    }
    client.shutdown(Shutdown::Both).ok();
    server.shutdown(Shutdown::Both).ok();
}

#[test]
fn an_answer_goes_on_over_the_next_connection_without_a_gap() {
    let home = home("sim/lorem?tokens=60&interTokenMs=40");
    let (_gateway, addr) = home.gateway(&[]);
    let relay = Relay::start(addr);
    let ended = chat(&home, &format!("ws://{}", relay.addr), "go on\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(relay.cuts.load(Ordering::SeqCst), CUTS);
    assert_eq!(ended.stderr.matches("connecting again").count(), CUTS);
    let params = r#"{"sessionKey": "main"}"#;
    let history = home.run(&[
        "call",
        "chat.history",
        params,
        "--url",
        &format!("ws://{addr}"),
    ]);
    let history: Value = serde_json::from_str(&history.stdout).unwrap();
    assert_eq!(history["messages"].as_array().unwrap().len(), 2);
    let text = history["messages"][1]["content"][0]["text"].as_str();
    assert_eq!(ended.stdout.trim_end(), text.unwrap());
}

#[test]
fn an_interrupt_stops_the_run_and_the_next_message_is_answered() {
    let home = home("sim/demo?interTokenMs=50");
    let (_gateway, addr) = home.gateway(&[]);
    let mut command = home.command(&["chat", "--url", &format!("ws://{addr}")]);
    command.stdin(Stdio::piped());
    let mut talking = Running::start(command);
    talking.type_line("count to 1000");
    let viewer = format!("ws://{addr}");
    while !home
        .run(&["call", "sessions.list", "{}", "--url", &viewer])
        .stdout
        .contains("\"hasActiveRun\": true")
    {}
    talking.signal("INT");
    talking.type_line("say still here");
    talking.line_with("still here");
    talking.end_input();
    let ended = talking.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the run was stopped"), "{ended:?}");
}
