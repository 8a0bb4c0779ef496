//! `quickstart` from an empty home to a gateway anybody can call with the lines it prints.

use std::process::Command;

use crate::support::cli::{Home, Running, get, ran};

#[test]
fn it_answers_on_both_sides_prints_ready_lines_and_keeps_serving() {
    let home = Home::new();
    let mut quickstart = Running::start(home.command(&["quickstart", "--port", "0"]));
    let up = quickstart.line();
    let address = up
        .split("http://")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let address: std::net::SocketAddr = address.parse().unwrap();
    quickstart.line_with("> hello over HTTP");
    assert!(quickstart.line().contains("hello over HTTP"));
    quickstart.line_with("> hello over WebSocket");
    assert!(quickstart.line().contains("hello over WebSocket"));
    let token = quickstart.line_with("token: ");
    let token = token.strip_prefix("token: ").unwrap();
    let kept = std::fs::read_to_string(home.state_dir().join("gateway-token")).unwrap();
    assert_eq!(kept.trim(), token);
    let curl = quickstart.line_with("curl ");
    quickstart.line_with("python3 -c ");
    quickstart.line_with("node --input-type=module -e ");
    quickstart.line_with("clawport agent ");
    quickstart.line_with("Ctrl-C");

    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200"));
    let called = ran(Command::new("sh").args(["-c", &curl]).output().unwrap());
    assert_eq!(called.code, Some(0), "{called:?}");
    let answer: serde_json::Value = serde_json::from_str(&called.stdout).unwrap();
    assert_eq!(answer["object"], "chat.completion", "{answer}");
    assert!(!home.config().exists(), "no configuration is written");

    quickstart.signal("TERM");
    let ended = quickstart.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn it_works_with_a_configuration_that_has_no_endpoint() {
    let home = Home::with_config(
        "{gateway: {auth: {password: 'a-long-password'}}, agents: {defaults: {model: 'sim/echo'}}}",
    );
    let before = std::fs::read_to_string(home.config()).unwrap();
    let mut quickstart = Running::start(home.command(&["quickstart", "--port", "0"]));
    quickstart.line_with("> hello over WebSocket");
    assert_eq!(quickstart.line(), "hello over WebSocket");
    assert_eq!(quickstart.line_with("token: "), "token: a-long-password");
    quickstart.line_with("Ctrl-C");
    quickstart.signal("INT");
    assert_eq!(quickstart.end().code, Some(0));
    assert_eq!(std::fs::read_to_string(home.config()).unwrap(), before);
}

#[test]
fn it_fails_when_a_side_does_not_answer() {
    let home = Home::with_config("{agents: {defaults: {model: 'sim/echo?failRate=1'}}}");
    let failed = home.run(&["quickstart", "--port", "0"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("error: over HTTP: "), "{failed:?}");
    assert!(!failed.stdout.contains("token: "), "{failed:?}");
}
