//! The gateway as a process: first start, what talks to it, signals, what is taken.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::support::cli::{Home, Ran, Running, free_port, get, send, wait_until_ready};

fn url(address: SocketAddr) -> String {
    format!("ws://{address}")
}

fn json_of(ran: &Ran) -> Value {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Ends a gateway the way an operator does.
fn stop(running: Running) {
    running.signal("TERM");
    let ran = running.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn the_first_start_needs_no_configuration() {
    let home = Home::new();
    let (mut gateway, address) = home.gateway(&[]);
    assert!(address.ip().is_loopback());
    let token = home.state_dir().join("gateway-token");
    let named = gateway.log_line("peers need the token in this file");
    assert_eq!(named["fields"]["file"], token.to_str().unwrap());
    let mode = std::fs::metadata(&token).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    gateway.log_line("gateway.http.endpoints.chatCompletions.enabled: true");
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/v1/models").starts_with("HTTP/1.1 404"));
    stop(gateway);
    // The second start uses the same token.
    let kept = std::fs::read_to_string(&token).unwrap();
    let (gateway, _address) = home.gateway(&[]);
    assert_eq!(std::fs::read_to_string(&token).unwrap(), kept);
    stop(gateway);
}

#[test]
fn commands_find_a_gateway_by_its_configuration_and_print_only_answers() {
    let port = free_port();
    let home = Home::with_config(&format!(
        "{{gateway: {{port: {port}, auth: {{token: 'a-long-token'}}}},
           agents: {{list: [{{id: 'main', default: true, model: 'sim/echo'}}, {{id: 'beta', model: 'sim/demo'}}]}}}}"
    ));
    let mut gateway = Running::start(home.command(&["gateway"]));
    gateway.log_line("the gateway is up");

    let answer = home.run(&["agent", "-m", "say this back"]);
    assert_eq!(
        (answer.code, answer.stdout.as_str(), answer.stderr.as_str()),
        (Some(0), "say this back\n", "")
    );
    let streamed = home.run(&["agent", "-m", "one two three", "--stream"]);
    assert_eq!(
        (streamed.stdout.as_str(), streamed.stderr.as_str()),
        ("one two three\n", "")
    );
    let whole = json_of(&home.run(&["agent", "-m", "x", "--json"]));
    assert_eq!(whole["status"], "ok");
    assert_eq!(whole["result"]["payloads"][0]["text"], "x");
    let lines = home.run(&["agent", "-m", "one two", "--stream", "--json"]);
    let lines: Vec<Value> = lines
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["stream"], "lifecycle");
    assert!(lines.iter().any(|line| line["stream"] == "assistant"));
    assert_eq!(lines.last().unwrap()["status"], "ok");
    let other = home.run(&["agent", "-m", "count to 3", "--agent", "beta"]);
    assert_eq!(other.stdout, "1 2 3\n");

    let health = home.run(&["health"]);
    assert_eq!((health.code, health.stderr.as_str()), (Some(0), ""));
    assert!(
        health.stdout.starts_with("ok: ws://127.0.0.1:"),
        "{health:?}"
    );
    assert_eq!(json_of(&home.run(&["health", "--json"]))["ok"], true);
    let agents = json_of(&home.run(&["call", "agents.list"]));
    assert_eq!(agents["agents"].as_array().unwrap().len(), 2);
    let history = json!({"sessionKey": "main", "limit": 2}).to_string();
    let history = json_of(&home.run(&["call", "chat.history", &history, "--json"]));
    assert_eq!(history["sessionKey"], "main");
    let config = json_of(&home.run(&["call", "config.get"]));
    assert_eq!(
        config["config"]["gateway"]["auth"]["token"],
        "__OPENCLAW_REDACTED__"
    );
    let tail = json_of(&home.run(&["call", "logs.tail", r#"{"limit": 50}"#]));
    let lines = tail["lines"].as_array().unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.as_str().unwrap().contains("the gateway is up")),
        "{tail}"
    );

    stop(gateway);
}

fn runs_of(home: &Home) -> Vec<Value> {
    let list = home.run(&["runs", "list", "--json"]);
    assert_eq!(list.code, Some(0), "{list:?}");
    let lines = list.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn runs_are_listed_shown_and_stopped_and_looked_at_when_the_gateway_is_gone() {
    let port = free_port();
    let home = Home::with_config(&format!(
        "{{gateway: {{port: {port}, auth: {{token: 'a-long-token'}}}},
           agents: {{defaults: {{model: 'sim/lorem?tokens=100000&interTokenMs=20'}}}}}}"
    ));
    let mut gateway = Running::start(home.command(&["gateway"]));
    gateway.log_line("the gateway is up");
    assert_eq!(runs_of(&home), Vec::<Value>::new());
    let turn = Running::start(home.command(&["agent", "-m", "talk on", "--session-key", "s"]));
    let run = loop {
        match &*runs_of(&home) {
            [run] if run["status"] == "active" => break run["runId"].as_str().unwrap().to_owned(),
            runs => assert!(runs.len() < 2, "{runs:?}"),
        }
    };
    let table = home.run(&["runs", "list", "--session-key", "s"]);
    assert!(table.stdout.starts_with("active "), "{table:?}");
    assert!(
        table.stdout.trim_end().ends_with(" agent:main:s"),
        "{table:?}"
    );
    let shown = home.run(&["runs", "show", &run]);
    assert!(shown.stdout.contains("status    active\n"), "{shown:?}");
    assert!(shown.stdout.contains("\n> talk on\n"), "{shown:?}");

    let stopped = home.run(&["runs", "abort", &run]);
    let said = format!("{run} was stopped\n");
    assert_eq!((stopped.code, stopped.stdout), (Some(0), said));
    assert_eq!(turn.end().code, Some(1), "its caller is told");
    let again = home.run(&["runs", "abort", &run]);
    assert_eq!((again.code, &*again.stdout), (Some(1), ""));
    assert!(
        again.stderr.contains("has ended already: aborted"),
        "{again:?}"
    );
    let unknown = home.run(&["runs", "show", "nobody"]);
    assert_eq!((unknown.code, &*unknown.stdout), (Some(1), ""));
    assert!(
        unknown.stderr.contains("run not found: nobody"),
        "{unknown:?}"
    );
    let live = json_of(&home.run(&["runs", "show", &run, "--json"]));
    stop(gateway);

    let list = home.run(&["runs", "list"]);
    assert!(list.stdout.starts_with("aborted "), "{list:?}");
    assert!(list.stderr.contains("no gateway answers"), "{list:?}");
    for key in ["s", "S", "agent:main:s"] {
        let of_session = home.run(&["runs", "list", "--session-key", key]);
        assert_eq!(of_session.stdout, list.stdout, "{key}");
    }
    let other = home.run(&["runs", "list", "--session-key", "main"]);
    assert_eq!((other.code, &*other.stdout), (Some(0), ""));
    let kept = home.run(&["runs", "show", &run, "--json"]);
    let kept: Value = serde_json::from_str(&kept.stdout).unwrap();
    assert_eq!(kept, live, "the store tells the same");
    assert_eq!(kept["run"]["stopReason"], "rpc");
    let unknown = home.run(&["runs", "show", "nobody"]);
    assert_eq!((unknown.code, &*unknown.stdout), (Some(1), ""));
    let abort = home.run(&["runs", "abort", &run]);
    assert_eq!(abort.code, Some(1));
    assert!(
        abort.stderr.contains("is the gateway running?"),
        "{abort:?}"
    );
}

#[test]
fn refusals_go_to_standard_error_and_end_with_1() {
    let home = Home::new();
    let (gateway, address) = home.gateway(&["--token", "the-right-token"]);
    let url = url(address);
    let right = ["--url", url.as_str(), "--token", "the-right-token"];
    let failing: [(&[&str], &str); 4] = [
        (
            &["call", "no.such.method"],
            "unknown method: no.such.method",
        ),
        (
            &["call", "chat.history", "{}"],
            "invalid chat.history params",
        ),
        (
            &["agent", "-m", "x", "--agent", "nobody"],
            "unknown agent id",
        ),
        (
            &["agent", "-m", "x", "--session-key", "agent:"],
            "malformed session key",
        ),
    ];
    for (command, part) in failing {
        let ran = home.run(&[command, &right].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains(part), "{part:?} in {ran:?}");
    }
    let wrong = home.run(&["health", "--url", &url, "--token", "the-wrong-token"]);
    assert_eq!(
        (wrong.code, wrong.stdout.as_str()),
        (Some(1), ""),
        "{wrong:?}"
    );
    assert!(wrong.stderr.contains("token mismatch"), "{wrong:?}");
    stop(gateway);
}

#[test]
fn sessions_are_listed_and_exported_beside_a_gateway_and_without_one() {
    let home = Home::with_config("{agents: {defaults: {model: 'sim/echo'}}}");
    let (gateway, address) = home.gateway(&[]);
    let url = url(address);
    let agent = |text: &str, session: &str| {
        let ran = home.run(&["agent", "-m", text, "--session-key", session, "--url", &url]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    agent("first", "one");
    agent("second", "one");
    agent("third", "two");
    let look = || {
        let list = home.run(&["sessions", "list", "--json"]);
        assert_eq!((list.code, list.stderr.as_str()), (Some(0), ""));
        let listed: Vec<Value> = list
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let keys: Vec<_> = listed
            .iter()
            .map(|session| session["key"].as_str().unwrap())
            .collect();
        assert_eq!(keys, ["agent:main:two", "agent:main:one"]);
        assert_eq!(listed[1]["entries"], 4);
        let export = home.run(&["sessions", "export", "agent:main:one"]);
        assert_eq!((export.code, export.stderr.as_str()), (Some(0), ""));
        assert_eq!(export.stdout.lines().count(), 5);
        assert!(export.stdout.contains("second"));
        let all = home.run(&["sessions", "export"]);
        assert_eq!(all.stdout.lines().count(), 8);
    };
    look();
    stop(gateway);
    look();
    let limited = home.run(&["sessions", "list", "--limit", "1"]);
    assert_eq!(limited.stdout.lines().count(), 1);
    assert!(limited.stderr.contains("1 more"), "{limited:?}");
    let file = home.state_dir().join("out.jsonl");
    let written = home.run(&["sessions", "export", "-o", file.to_str().unwrap()]);
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), ""));
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 8);
    let missing = home.run(&["sessions", "export", "agent:main:three"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(1), ""));
    assert!(
        missing.stderr.contains("no session agent:main:three"),
        "{missing:?}"
    );
}

#[test]
fn a_taken_port_names_its_holder_and_another_port() {
    let first = Home::new();
    let (gateway, address) = first.gateway(&[]);
    let port = address.port().to_string();
    for command in ["gateway", "quickstart"] {
        let ran = Home::new().run(&[command, "--port", &port]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        let holder = format!("clawport (process {}) listens there", gateway.pid());
        assert!(ran.stderr.contains(&holder), "{ran:?}");
        assert!(
            ran.stderr.contains("choose another port: --port "),
            "{ran:?}"
        );
    }
    stop(gateway);
}

#[test]
fn a_port_that_only_a_connection_has_is_waited_for_and_told_truly() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    client.bind(&any.into()).unwrap();
    client
        .connect(&server.local_addr().unwrap().into())
        .unwrap();
    let port = client.local_addr().unwrap().as_socket().unwrap().port();
    let (far, _peer) = server.accept().unwrap();
    let args = ["gateway", "--port", &port.to_string()];
    let ran = Home::new().run(&args);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(
        ran.stderr
            .contains("but a connection still has it; waiting"),
        "{ran:?}"
    );
    let holder = format!("(process {})", std::process::id());
    let told = ran.stderr.contains("nobody listens there") && ran.stderr.contains(&holder);
    assert!(told, "{ran:?}");
    assert!(
        ran.stderr.contains("choose another port: --port "),
        "{ran:?}"
    );

    let home = Home::new();
    let mut waiting = Running::start(home.command(&args));
    waiting.log_line("but a connection still has it; waiting");
    // Whoever closes second keeps nothing.
    drop(far);
    drop(client);
    waiting.log_line("the gateway is up");
    stop(waiting);
}

#[test]
fn one_state_directory_has_one_gateway() {
    let home = Home::new();
    let (gateway, _address) = home.gateway(&[]);
    let second = home.run(&["gateway", "--port", "0"]);
    assert_eq!(
        (second.code, second.stdout.as_str()),
        (Some(1), ""),
        "{second:?}"
    );
    assert!(
        second.stderr.contains("uses the state directory"),
        "{second:?}"
    );
    stop(gateway);
}

const SLOW: &str = "{
  gateway: { auth: { token: 'a-long-token' }, http: { endpoints: { chatCompletions: { enabled: true } } } },
  agents: { defaults: { model: 'sim/script?file=slow.json5' } },
}";

/// A home whose agent says something, is silent for `ms`, and ends.
fn slow(ms: u64) -> Home {
    let home = Home::with_config(SLOW);
    let script =
        format!("[{{ steps: [{{ say: 'begun' }}, {{ sleepMs: {ms} }}, {{ say: ' ended' }}] }}]");
    std::fs::write(home.state_dir().join("slow.json5"), script).unwrap();
    home
}

fn stream_request(address: SocketAddr) -> String {
    let body = r#"{"model":"openclaw","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer a-long-token\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_stream_that_runs_finishes_before_the_process_ends() {
    let home = slow(1500);
    let (mut gateway, address) = home.gateway(&[]);
    let request = stream_request(address);
    let stream = std::thread::spawn(move || send(address, &request));
    // The run is known to the gateway once it shows in its numbers.
    wait_until_active(&home, address);
    gateway.signal("TERM");
    gateway.log_line("draining: no new work is taken");
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 503"));
    let streamed = stream.join().unwrap();
    assert!(
        streamed.contains("begun") && streamed.contains(" ended"),
        "{streamed}"
    );
    assert!(streamed.contains("data: [DONE]"), "{streamed}");
    assert_eq!(gateway.end().code, Some(0));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let home = slow(600_000);
    let (mut gateway, address) = home.gateway(&[]);
    let request = stream_request(address);
    let stream =
        std::thread::spawn(move || std::panic::catch_unwind(|| send(address, &request)).ok());
    wait_until_active(&home, address);
    gateway.signal("TERM");
    gateway.log_line("draining: no new work is taken");
    gateway.signal("INT");
    assert_eq!(gateway.end().code, Some(1));
    let cut = stream.join().unwrap().unwrap_or_default();
    assert!(!cut.contains("[DONE]"), "{cut}");
}

/// Waits until a run is active.
fn wait_until_active(home: &Home, address: SocketAddr) {
    let url = url(address);
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while std::time::Instant::now() < deadline {
        let listed = json_of(&home.run(&["call", "status", "--url", &url]));
        if listed["runs"]["active"].as_u64().unwrap_or(0) > 0 {
            return;
        }
    }
    panic!("no run became active");
}

#[test]
fn interrupting_the_agent_command_aborts_the_run() {
    let home = slow(600_000);
    let (gateway, address) = home.gateway(&[]);
    let url = url(address);
    let mut agent =
        Running::start(home.command(&["agent", "-m", "hi", "--stream", "--json", "--url", &url]));
    let line = agent.line_with("begun");
    let event: Value = serde_json::from_str(&line).unwrap();
    agent.signal("INT");
    let ended = agent.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("aborting the run"), "{ended:?}");
    let waited = json!({"runId": event["runId"], "timeoutMs": 0}).to_string();
    let waited = json_of(&home.run(&["call", "agent.wait", &waited, "--url", &url]));
    assert_eq!(waited["status"], "timeout", "{waited}");
    assert_eq!(waited["stopReason"], "rpc", "{waited}");
    stop(gateway);
}

#[test]
fn a_gateway_without_standard_error_goes_on() {
    let home = Home::new();
    let port = free_port();
    let mut shell = Command::new("sh");
    let script = format!("exec \"$0\" gateway --port {port} --log-level trace 2>&-");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_clawport")]);
    shell.env_clear().env("HOME", home.state_dir());
    let gateway = Running::start(shell);
    wait_until_ready(port);
    stop(gateway);
}

/// The first line a gateway logs.
fn first_log_line(home: &Home, args: &[&str], variable: Option<&str>) -> String {
    let port = free_port();
    let named = port.to_string();
    let mut command = home.command(&[&["gateway", "--port", &named], args].concat());
    if let Some(value) = variable {
        command.env("RUST_LOG", value);
    }
    let gateway = Running::start(command);
    wait_until_ready(port);
    gateway.signal("TERM");
    let ran = gateway.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stderr.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn log_lines_follow_flag_then_variable_then_file() {
    let silent = Home::with_config("{logging: {level: 'silent'}}");
    let json = first_log_line(&Home::new(), &[], None);
    assert!(json.starts_with('{'), "{json}");
    let compact = first_log_line(&Home::new(), &["--log-format", "compact"], None);
    let is_compact = compact.contains(" INFO ") && !compact.starts_with('{');
    assert!(is_compact, "{compact}");
    assert!(!compact.contains('\u{1b}'), "no colour without a terminal");
    assert_eq!(first_log_line(&silent, &[], None), "");
    assert_eq!(first_log_line(&Home::new(), &[], Some("off")), "");
    let flag = first_log_line(&silent, &["--log-level", "info"], Some("off"));
    assert!(flag.contains("the gateway is up"), "{flag}");
}

#[test]
fn members_that_are_ignored_are_named_in_one_line_for_who_looks_closely() {
    let home = Home::new();
    let port = free_port().to_string();
    let url = format!("ws://127.0.0.1:{port}");
    let start = |level: &str| {
        Running::start(home.command(&["gateway", "--port", &port, "--log-level", level]))
    };
    let params = r#"{"strange":1,"odd":2}"#;
    let ask = || home.run(&["call", "models.list", params, "--url", &url]);
    let mut gateway = start("debug");
    gateway.log_line("the gateway is up");
    assert_eq!(ask().code, Some(0));
    let line = gateway.log_line("params were ignored");
    assert_eq!(line["fields"]["method"], "models.list");
    assert_eq!(line["fields"]["members"], "odd, strange");
    gateway.signal("TERM");
    assert!(
        !gateway.end().stderr.contains("params were ignored"),
        "once only"
    );
    let mut gateway = start("info");
    gateway.log_line("the gateway is up");
    assert_eq!(ask().code, Some(0));
    gateway.signal("TERM");
    assert!(!gateway.end().stderr.contains("params were ignored"));
}

#[test]
fn a_fresh_machine_is_told_how_to_connect_what_it_has() {
    let home = Home::new();
    let start = |home: &Home| {
        let mut command = home.command(&["gateway", "--port", "0"]);
        command.env("OPENAI_API_KEY", "sk-not-a-real-key");
        Running::start(command)
    };
    let mut gateway = start(&home);
    let found = gateway.log_line("found OPENAI_API_KEY in the environment");
    let message = found["fields"]["message"].as_str().unwrap();
    assert!(!message.contains("sk-not-a-real-key"), "{message}");
    stop(gateway);
    // The line is a configuration that works as it is.
    let (_, line) = message.split_once("connects it: ").unwrap();
    let configured = Home::with_config(line);
    let mut check = configured.command(&["config", "check"]);
    check.env("OPENAI_API_KEY", "sk-not-a-real-key");
    assert_eq!(check.output().unwrap().status.code(), Some(0), "{line}");
    // Whoever has a configuration has decided already.
    let mut gateway = start(&configured);
    gateway.log_line("the gateway is up");
    gateway.signal("TERM");
    let ran = gateway.end();
    assert!(!ran.stderr.contains("found OPENAI_API_KEY"), "{ran:?}");
}
