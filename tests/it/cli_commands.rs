//! Commands that need no gateway: what they print where, and how they end.

use serde_json::Value;

use crate::support::cli::{Home, Ran, ran};

#[track_caller]
fn check(ran: &Ran, code: i32, stdout: &str, stderr_parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert_eq!(ran.stdout, stdout, "{ran:?}");
    for part in stderr_parts {
        assert!(ran.stderr.contains(part), "{part:?} in {ran:?}");
    }
    if stderr_parts.is_empty() {
        assert_eq!(ran.stderr, "", "{ran:?}");
    }
}

#[test]
fn help_and_version_are_answers() {
    let home = Home::new();
    let version = format!("clawport {}\n", env!("CARGO_PKG_VERSION"));
    check(&home.run(&["--version"]), 0, &version, &[]);
    let help = home.run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    let commands = [
        "quickstart",
        "gateway",
        "agent",
        "chat",
        "call",
        "health",
        "devices",
        "sessions",
        "runs",
        "config",
        "completions",
    ];
    for command in commands {
        assert!(help.stdout.contains(command), "{command}");
        let own = home.run(&[command, "--help"]);
        assert_eq!((own.code, own.stderr.as_str()), (Some(0), ""), "{command}");
    }
}

#[test]
fn a_wrong_command_line_is_usage_and_no_answer() {
    let home = Home::new();
    check(&home.run(&[]), 2, "", &["Usage"]);
    check(
        &home.run(&["nonsense"]),
        2,
        "",
        &["unrecognized subcommand 'nonsense'"],
    );
    check(
        &home.run(&["gateway", "--port", "70000"]),
        2,
        "",
        &["70000"],
    );
    check(&home.run(&["agent"]), 2, "", &["--message"]);
    check(
        &home.run(&["call", "health", "{"]),
        2,
        "",
        &["the params of health are not JSON"],
    );
    check(&home.run(&["completions", "tcsh"]), 2, "", &["tcsh"]);
    let mut bad_filter = home.command(&["gateway", "--port", "0"]);
    bad_filter.env("RUST_LOG", "clawport=loud=very");
    check(&ran(bad_filter.output().unwrap()), 2, "", &["RUST_LOG"]);
}

#[test]
fn completions_are_made_for_the_usual_shells() {
    let home = Home::new();
    for (shell, part) in [
        ("bash", "complete -F _clawport"),
        ("zsh", "#compdef clawport"),
        ("fish", "complete -c clawport"),
    ] {
        let made = home.run(&["completions", shell]);
        assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(made.stdout.contains(part), "{shell}");
        assert!(made.stdout.contains("quickstart"), "{shell}");
    }
}

#[test]
fn the_schema_is_json_and_describes_the_file() {
    let made = Home::new().run(&["config", "schema"]);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
    let schema: Value = serde_json::from_str(&made.stdout).unwrap();
    let gateway = &schema["$defs"]["Gateway"]["properties"];
    assert_eq!(gateway["port"]["default"], 18_789);
    assert_eq!(gateway["port"]["maximum"], 65_535);
}

#[test]
fn a_machine_without_a_file_has_a_valid_configuration_and_keeps_nothing() {
    let home = Home::new();
    let path = home.config().display().to_string();
    let expected = format!("{path} (not there: defaults) is valid\n");
    check(&home.run(&["config", "check"]), 0, &expected, &[]);
    let shown = home.run(&["config", "show"]);
    let effective: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(effective["gateway"]["port"], 18_789);
    assert_eq!(effective["agents"]["list"][0]["id"], "main");
    assert_eq!(
        effective["gateway"]["auth"]["token"],
        "__OPENCLAW_REDACTED__"
    );
    assert!(!home.state_dir().exists(), "looking makes nothing");
}

const BROKEN: &str = "{
  gateway: {
    port: 99999,
    bnd: 'lan',
    auth: { token: 'changeme' },
  },
  channels: {},
}
";

#[test]
fn every_problem_of_a_file_is_shown_with_its_place() {
    let home = Home::with_config(BROKEN);
    let path = home.config().display().to_string();
    let places = ["3:11", "4:5", "5:20", "7:3"].map(|place| format!("--> {path}:{place}"));
    let mut parts = vec![
        "error: gateway.port: expected a whole number from 0 to 65535, found 99999",
        "error: gateway.bnd: unknown key `bnd`; did you mean `bind`?",
        "error: gateway.auth.token: the secret is a placeholder; choose one of your own",
        "warning: channels: the section is not used by clawport",
        "3 |     port: 99999,",
        "3 errors, 1 warning",
    ];
    parts.extend(places.iter().map(String::as_str));
    for command in [
        &["config", "check"][..],
        &["config", "show"],
        &["gateway"],
        &["quickstart"],
    ] {
        let ran = home.run(command);
        check(&ran, 2, "", &parts);
        assert!(
            !ran.stderr.contains('\u{1b}'),
            "no colour without a terminal"
        );
    }
    let json = home.run(&["config", "check", "--json"]);
    check(&json, 2, &json.stdout, &[]);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["problems"].as_array().unwrap().len(), 4);
    assert_eq!(report["problems"][0]["key"], "gateway.port");
    assert_eq!(report["problems"][0]["line"], 3);
    assert_eq!(report["problems"][0]["column"], 11);
}

#[test]
fn the_file_can_be_named_and_must_then_exist() {
    let home = Home::with_config("{gateway: {port: 1}}");
    let other = home.state_dir().join("other.json5");
    std::fs::write(&other, "{gateway: {port: 2}}").unwrap();
    let port = |ran: &Ran| {
        let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
        shown["gateway"]["port"].as_u64().unwrap()
    };
    assert_eq!(port(&home.run(&["config", "show"])), 1);
    let named = other.to_str().unwrap();
    assert_eq!(port(&home.run(&["config", "show", "--config", named])), 2);
    let mut by_variable = home.command(&["config", "show"]);
    by_variable.env("OPENCLAW_CONFIG_PATH", named);
    assert_eq!(port(&ran(by_variable.output().unwrap())), 2);
    std::fs::remove_file(&other).unwrap();
    check(
        &home.run(&["config", "check", "--config", named]),
        2,
        "",
        &["the file does not exist", named],
    );
}

#[test]
fn variables_of_the_state_directory_fill_in_what_is_not_set() {
    let home = Home::with_config("{gateway: {auth: {token: '${FROM_FILE}'}}}");
    check(
        &home.run(&["config", "check"]),
        2,
        "",
        &["the variable FROM_FILE is not set"],
    );
    std::fs::write(
        home.state_dir().join(".env"),
        "FROM_FILE=\"a-long-secret\"\n",
    )
    .unwrap();
    assert_eq!(home.run(&["config", "check"]).code, Some(0));
}

#[test]
fn what_would_be_unsafe_does_not_start() {
    let home = Home::new();
    let open = &["refusing to listen on 0.0.0.0"];
    check(&home.run(&["gateway", "--bind", "lan"]), 2, "", open);
    check(
        &home.run(&["gateway", "--bind", "lan", "--auth", "none"]),
        2,
        "",
        open,
    );
    for token in [
        "",
        " ",
        "undefined",
        "null",
        "changeme",
        "<token>",
        "your-token",
        "${X}",
    ] {
        let ran = home.run(&["gateway", "--port", "0", "--token", token]);
        check(&ran, 2, "", &["--token", "the secret "]);
    }
    let two = home.run(&[
        "gateway",
        "--token",
        "long-enough-1",
        "--password",
        "long-enough-2",
    ]);
    check(&two, 2, "", &["token and password are both set"]);
    let mut bad_port = home.command(&["gateway"]);
    bad_port.env("OPENCLAW_GATEWAY_PORT", "many");
    check(
        &ran(bad_port.output().unwrap()),
        2,
        "",
        &["OPENCLAW_GATEWAY_PORT", "found \"many\""],
    );
    assert!(!home.state_dir().exists(), "nothing was kept");
}

#[test]
fn talking_to_nobody_fails_and_says_what_to_do() {
    let home = Home::new();
    let hint = &["cannot connect to 127.0.0.1:9", "is the gateway running?"];
    let url = ["--url", "ws://127.0.0.1:9"];
    for command in [&["health"][..], &["call", "status"], &["agent", "-m", "hi"]] {
        check(&home.run(&[command, &url].concat()), 1, "", hint);
    }
    check(&home.run(&["sessions", "list"]), 1, "", &["error: "]);
    let elsewhere = ["runs", "list", "--url", "ws://127.0.0.1:9"];
    check(&home.run(&elsewhere), 1, "", hint);
}

#[test]
fn closed_streams_are_no_reason_to_fail() {
    let home = Home::new();
    let binary = env!("CARGO_BIN_EXE_clawport");
    for script in [
        "\"$0\" config show >&-",
        "\"$0\" config show 2>&-",
        "\"$0\" --help >&- 2>&-",
    ] {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", script, binary])
            .env("HOME", home.state_dir());
        let output = shell.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{script}");
    }
    let mut usage = std::process::Command::new("sh");
    usage.args(["-c", "\"$0\" nonsense 2>&-", binary]);
    assert_eq!(usage.status().unwrap().code(), Some(2));
}
