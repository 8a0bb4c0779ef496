//! The state machine against recorded handshakes, against its bounds, and against arbitrary peers.

#![allow(
    clippy::disallowed_methods,
    reason = "the machine takes any instant; these tests need one to start from"
)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::protocol::testing::{challenge, connect_frame, hello};
use crate::protocol::{Audience, AuthFailure, AuthReason, ServerFrame, unauthorized_role};

fn start() -> (Machine, Instant) {
    let now = Instant::now();
    let mut machine = Machine::new(MachineConfig::default(), &challenge(), now);
    let first = machine.poll_output().unwrap();
    let sent = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n-1","ts":1760000000000}}"#;
    assert!(matches!(first, Output::Send(frame) if frame == sent));
    (machine, now)
}

/// A connection that was let in, with its hello taken out.
fn opened() -> (Machine, Instant) {
    let (mut machine, now) = start();
    machine.handle_text(&connect_frame(json!({})), now);
    assert!(matches!(
        machine.poll_output(),
        Some(Output::Authenticate(_))
    ));
    machine.handle_auth(AuthDecision::Accepted(Box::new(hello(&["operator.read"]))));
    assert!(
        matches!(machine.poll_output(), Some(Output::Send(frame)) if frame.contains("hello-ok"))
    );
    assert!(machine.is_open());
    (machine, now)
}

/// What came out, one line an output.
fn drain(machine: &mut Machine) -> Vec<String> {
    std::iter::from_fn(|| machine.poll_output())
        .map(|output| match output {
            Output::Send(frame) => frame,
            Output::Authenticate(connect) => format!("authenticate v{}", connect.protocol.number()),
            Output::Request(request) => {
                let params = request.params.as_deref().map_or("-", RawValue::get);
                format!("request {} {} {params}", request.id, request.method)
            }
            Output::Close(close) => format!("close {} {}", close.code(), close.reason()),
        })
        .collect()
}

fn error(id: &str, body: &str) -> String {
    format!(r#"{{"type":"res","id":"{id}","ok":false,"error":{{{body}}}}}"#)
}

fn invalid(id: &str, message: &str) -> String {
    error(
        id,
        &format!(r#""code":"INVALID_REQUEST","message":"{message}""#),
    )
}

/// What a fresh connection does with one frame.
fn check_first(frame: &str, expected: &[&str]) {
    let (mut machine, now) = start();
    machine.handle_text(frame, now);
    assert_eq!(drain(&mut machine), expected, "{frame}");
}

#[test]
fn a_first_frame_that_cannot_be_read_is_closed_without_a_word() {
    check_first("{nope", &["close 1000 "]);
    check_first("", &["close 1000 "]);
    let frame = r#"{"type":"event","event":"x"}"#;
    check_first(frame, &["close 1008 invalid request frame"]);
    check_first("[]", &["close 1008 invalid request frame"]);
    let frame = r#"{"type":"req","id":"1","method":"connect","x":1}"#;
    check_first(frame, &["close 1008 invalid request frame"]);
}

#[test]
fn a_first_request_that_is_no_good_connect_is_answered_and_closed() {
    let message = "invalid handshake: first request must be connect";
    check_first(
        r#"{"type":"req","id":"7","method":"health"}"#,
        &[&invalid("7", message), &format!("close 1008 {message}")],
    );
    let message = "invalid connect params: must have required property 'client'";
    check_first(
        &connect_frame(json!({"client": null})),
        &[&invalid("c1", message), &format!("close 1008 {message}")],
    );
    check_first(
        &connect_frame(json!({"role": "wizard"})),
        &[&invalid("c1", "invalid role"), "close 1008 invalid role"],
    );
    check_first(
        &connect_frame(json!({"minProtocol": 99, "maxProtocol": 99})),
        &[
            &error(
                "c1",
                r#""code":"INVALID_REQUEST","message":"protocol mismatch","details":{"clientMaxProtocol":99,"clientMinProtocol":99,"code":"PROTOCOL_MISMATCH","expectedProtocol":4,"minimumProbeProtocol":3}"#,
            ),
            "close 1002 protocol mismatch",
        ],
    );
}

#[test]
fn both_versions_are_let_in() {
    check_first(&connect_frame(json!({})), &["authenticate v4"]);
    check_first(
        &connect_frame(json!({"minProtocol": 3, "maxProtocol": 5})),
        &["authenticate v4"],
    );
    check_first(
        &connect_frame(json!({"minProtocol": 3, "maxProtocol": 3})),
        &["authenticate v3"],
    );
}

#[test]
fn members_of_connect_that_are_not_known_are_tolerated() {
    let frame = connect_frame(json!({
        "modelCatalog": {"agentId": "main"},
        "client": {"id": "cli", "version": "1", "platform": "x", "mode": "cli", "new": 1},
        "role": "node",
    }));
    check_first(&frame, &["authenticate v4"]);
}

#[test]
fn a_closed_gate_comes_before_the_version() {
    let check = |gate: Gate, expected: &[&str]| {
        let (mut machine, now) = start();
        machine.set_gate(gate);
        machine.handle_text(
            &connect_frame(json!({"minProtocol": 99, "maxProtocol": 99})),
            now,
        );
        assert_eq!(drain(&mut machine), expected);
    };
    check(
        Gate::Starting,
        &[
            &error(
                "c1",
                r#""code":"UNAVAILABLE","message":"gateway starting; retry shortly","details":{"reason":"startup-sidecars"},"retryable":true,"retryAfterMs":500"#,
            ),
            "close 1013 gateway starting",
        ],
    );
    check(
        Gate::Draining,
        &[
            &error(
                "c1",
                r#""code":"UNAVAILABLE","message":"connect unavailable during gateway restart","details":{"method":"connect","reason":"gateway-restarting"},"retryable":true,"retryAfterMs":1000"#,
            ),
            "close 1013 gateway restart in progress",
        ],
    );
}

#[test]
fn a_refused_peer_gets_one_response_and_one_close() {
    let (mut machine, now) = start();
    machine.handle_text(&connect_frame(json!({})), now);
    machine.handle_text(r#"{"type":"req","id":"2","method":"health"}"#, now);
    machine.handle_auth(AuthDecision::Refused(HandshakeFailure::Unauthorized(
        AuthFailure {
            reason: AuthReason::TokenMismatch,
            audience: Audience::Other,
            device_retry: false,
        },
    )));
    machine.handle_text(r#"{"type":"req","id":"3","method":"health"}"#, now);
    machine.handle_auth(AuthDecision::Accepted(Box::new(hello(&[]))));
    let message = "unauthorized: gateway token mismatch (provide gateway auth token)";
    assert_eq!(
        drain(&mut machine),
        [
            "authenticate v4".to_owned(),
            error(
                "c1",
                &format!(
                    r#""code":"INVALID_REQUEST","message":"{message}","details":{{"authReason":"token_mismatch","canRetryWithDeviceToken":false,"code":"AUTH_TOKEN_MISMATCH","recommendedNextStep":"update_auth_credentials"}}"#
                )
            ),
            format!("close 1008 {message}"),
        ]
    );
}

#[test]
fn frames_sent_while_deciding_wait_for_hello() {
    let (mut machine, now) = start();
    machine.handle_text(&connect_frame(json!({})), now);
    machine.handle_text(
        r#"{"type":"req","id":"2","method":"health","params":{"a":1}}"#,
        now,
    );
    machine.handle_text(&connect_frame(json!({})), now);
    machine.handle_text("{nope", now);
    assert_eq!(drain(&mut machine), ["authenticate v4"]);
    machine.handle_auth(AuthDecision::Accepted(Box::new(hello(&[]))));
    let outputs = drain(&mut machine);
    assert!(
        outputs[0].starts_with(r#"{"type":"res","id":"c1","ok":true,"payload":{"type":"hello-ok""#)
    );
    assert_eq!(
        outputs[1..],
        [
            r#"request 2 health {"a":1}"#.to_owned(),
            invalid("c1", "connect is only valid as the first request"),
        ]
    );
}

#[test]
fn the_sixteenth_waiting_frame_closes() {
    let (mut machine, now) = start();
    machine.handle_text(&connect_frame(json!({})), now);
    for _ in 0..PENDING_FRAMES_MAX {
        machine.handle_text("{}", now);
    }
    assert_eq!(drain(&mut machine), ["authenticate v4"]);
    machine.handle_text("{}", now);
    assert_eq!(
        drain(&mut machine),
        ["close 1008 too many pending handshake frames"]
    );
}

#[test]
fn bytes_before_hello_are_bounded_by_frame_and_in_all() {
    let padded = |bytes: usize| {
        let mut frame = connect_frame(json!({}));
        frame.push_str(&" ".repeat(bytes - frame.len()));
        frame
    };
    check_first(&padded(PREAUTH_FRAME_BYTES_MAX), &["authenticate v4"]);
    check_first(&padded(PREAUTH_FRAME_BYTES_MAX + 1), &["close 1009 "]);

    let (mut machine, now) = start();
    machine.handle_text(&padded(PREAUTH_FRAME_BYTES_MAX), now);
    machine.handle_text(&padded(PREAUTH_FRAME_BYTES_MAX), now);
    assert_eq!(drain(&mut machine), ["authenticate v4"]);
    machine.handle_text("{", now);
    assert_eq!(drain(&mut machine), ["close 1009 "]);

    let (mut machine, now) = start();
    machine.handle_binary(&vec![0xff; PREAUTH_FRAME_BYTES_MAX + 1], now);
    assert_eq!(drain(&mut machine), ["close 1009 "]);
    let (mut machine, _) = start();
    machine.handle_oversize();
    assert_eq!(drain(&mut machine), ["close 1009 "]);
}

#[test]
fn an_open_connection_takes_large_frames_and_not_larger_ones() {
    let (mut machine, now) = opened();
    assert_eq!(machine.frame_bytes_max(), FRAME_BYTES_MAX);
    let frame = |bytes: usize| {
        let empty = r#"{"type":"req","id":"1","method":"m","params":""}"#;
        empty.replace(
            r#""""#,
            &format!(r#""{}""#, "x".repeat(bytes - empty.len())),
        )
    };
    machine.handle_text(&frame(FRAME_BYTES_MAX), now);
    assert!(matches!(machine.poll_output(), Some(Output::Request(_))));
    machine.handle_text(&frame(FRAME_BYTES_MAX + 1), now);
    assert_eq!(drain(&mut machine), ["close 1009 "]);
}

#[test]
fn a_peer_that_does_not_finish_its_handshake_in_time_is_closed() {
    let timeout = MachineConfig::default().handshake_timeout;
    for frames in [vec![], vec![connect_frame(json!({}))]] {
        let (mut machine, now) = start();
        for frame in &frames {
            machine.handle_text(frame, now);
        }
        drain(&mut machine);
        assert_eq!(machine.poll_timeout(), Some(now + timeout));
        machine.handle_timeout(now + timeout.saturating_sub(Duration::from_millis(1)));
        assert_eq!(drain(&mut machine), Vec::<String>::new());
        machine.handle_timeout(now + timeout);
        assert_eq!(drain(&mut machine), ["close 1000 "]);
        assert_eq!(machine.poll_timeout(), None);
    }
    let (mut machine, now) = start();
    machine.handle_text(&connect_frame(json!({})), now + timeout);
    assert_eq!(
        drain(&mut machine),
        ["close 1000 "],
        "a late frame is no excuse"
    );

    let (machine, _) = opened();
    assert_eq!(machine.poll_timeout(), None);
}

#[test]
fn an_open_connection_forgives_bad_frames() {
    let check = |frame: &str, expected: &[&str]| {
        let (mut machine, now) = opened();
        machine.handle_text(frame, now);
        assert_eq!(drain(&mut machine), expected, "{frame}");
        assert!(machine.is_open());
    };
    check("{nope", &[]);
    check(
        r#"{"type":"req","id":"3","method":""}"#,
        &[&invalid(
            "3",
            "invalid request frame: at /method: must not have fewer than 1 characters",
        )],
    );
    check(
        "7",
        &[&invalid("invalid", "invalid request frame: must be object")],
    );
    check(
        &connect_frame(json!({})),
        &[&invalid("c1", "connect is only valid as the first request")],
    );
    check(
        r#"{"type":"req","id":"3","method":"x"}"#,
        &["request 3 x -"],
    );
    check(
        r#"{"type":"req","id":"3","method":"x","params":null}"#,
        &["request 3 x null"],
    );
}

#[test]
fn binary_frames_are_text() {
    let (mut machine, now) = start();
    machine.handle_binary(connect_frame(json!({})).as_bytes(), now);
    assert_eq!(drain(&mut machine), ["authenticate v4"]);
    let (mut machine, now) = opened();
    machine.handle_binary(&[0xff, 0xfe], now);
    assert_eq!(drain(&mut machine), Vec::<String>::new());
    assert!(machine.is_open());
}

#[test]
fn events_are_numbered_per_connection_and_a_skipped_one_leaves_a_gap() {
    let (mut machine, _) = opened();
    let tick = EncodedEvent::new("tick", &json!({"ts": 5})).unwrap();
    machine.handle_event(&tick);
    machine.skip_event();
    machine.handle_event(&tick);
    let frame =
        |seq: u64| format!(r#"{{"type":"event","event":"tick","payload":{{"ts":5}},"seq":{seq}}}"#);
    assert_eq!(drain(&mut machine), [frame(1), frame(3)]);
}

#[test]
fn events_and_replies_outside_an_open_connection_go_nowhere() {
    let tick = EncodedEvent::new("tick", &json!({"ts": 5})).unwrap();
    let (mut machine, now) = start();
    machine.handle_event(&tick);
    machine.handle_reply(Reply::ok("1", &json!({})));
    machine.handle_text(&connect_frame(json!({})), now);
    machine.handle_event(&tick);
    assert_eq!(drain(&mut machine), ["authenticate v4"]);
    machine.close(Close::ServiceRestart);
    machine.handle_event(&tick);
    machine.handle_reply(Reply::ok("1", &json!({})));
    machine.close(Close::SlowConsumer);
    assert_eq!(drain(&mut machine), ["close 1012 service restart"]);
}

#[test]
fn repeated_calls_of_the_wrong_role_close_the_connection() {
    let refusal = || Reply::error("1", &unauthorized_role("node"));
    let (mut machine, _) = opened();
    for _ in 0..10 {
        machine.handle_reply(refusal());
    }
    machine.handle_reply(Reply::ok("2", &json!({})));
    for _ in 0..10 {
        machine.handle_reply(refusal());
    }
    assert!(
        machine.is_open(),
        "an answer in between starts the count again"
    );
    machine.handle_reply(refusal());
    let outputs = drain(&mut machine);
    assert_eq!(outputs.len(), 23);
    assert_eq!(outputs[22], "close 1008 repeated unauthorized calls");
}

/// What a peer, the gateway or time can do to a connection.
#[derive(Clone, Debug)]
enum Action {
    Text(String),
    Binary(Vec<u8>),
    Oversize,
    Accept,
    Refuse,
    Reply(bool),
    Event,
    Skip,
    Wait(u64),
    Gate(Gate),
    Close,
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(connect_frame(json!({}))),
        1 => Just(connect_frame(json!({"minProtocol": 1, "maxProtocol": 3}))),
        1 => Just(connect_frame(json!({"client": 7}))),
        2 => Just(r#"{"type":"req","id":"a","method":"health"}"#.to_owned()),
        1 => r#"\{"type":"(req|event|res)","id":"[a-z]{0,3}","method":"[a-z]{0,3}"(,"params":(1|null|\[\]))?\}"#,
        1 => r#"[\[\]{}":,a-z0-9\\ ]{0,40}"#,
        1 => any::<String>(),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => any_text().prop_map(Action::Text),
        2 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Action::Binary),
        1 => Just(Action::Oversize),
        6 => Just(Action::Accept),
        2 => Just(Action::Refuse),
        4 => any::<bool>().prop_map(Action::Reply),
        4 => Just(Action::Event),
        2 => Just(Action::Skip),
        3 => (0_u64..4000).prop_map(Action::Wait),
        1 => prop_oneof![Just(Gate::Open), Just(Gate::Starting), Just(Gate::Draining)]
            .prop_map(Action::Gate),
        1 => Just(Action::Close),
    ]
}

fn act(machine: &mut Machine, action: &Action, now: &mut Instant) {
    match action {
        Action::Text(text) => machine.handle_text(text, *now),
        Action::Binary(bytes) => machine.handle_binary(bytes, *now),
        Action::Oversize => machine.handle_oversize(),
        Action::Accept => machine.handle_auth(AuthDecision::Accepted(Box::new(hello(&[])))),
        Action::Refuse => {
            machine.handle_auth(AuthDecision::Refused(
                HandshakeFailure::DeviceIdentityRequired,
            ));
        }
        Action::Reply(true) => machine.handle_reply(Reply::ok("r", &json!({"a": 1}))),
        Action::Reply(false) => {
            machine.handle_reply(Reply::error("r", &unauthorized_role("node")));
        }
        Action::Event => {
            let event = EncodedEvent::new("tick", &json!({})).unwrap();
            machine.handle_event(&event);
        }
        Action::Skip => machine.skip_event(),
        Action::Wait(ms) => {
            *now += Duration::from_millis(*ms);
            machine.handle_timeout(*now);
        }
        Action::Gate(gate) => machine.set_gate(*gate),
        Action::Close => machine.close(Close::ServiceRestart),
    }
}

/// What a peer has seen so far, and the rules it may rely on.
#[derive(Default)]
struct Seen {
    frames: usize,
    is_greeted: bool,
    authentications: usize,
    seq: u64,
    closes: usize,
}

impl Seen {
    fn note(&mut self, output: &Output) {
        assert_eq!(self.closes, 0, "nothing comes after a close");
        match output {
            Output::Send(text) => self.note_frame(text),
            Output::Authenticate(_) => {
                self.authentications += 1;
                assert_eq!((self.authentications, self.is_greeted), (1, false));
            }
            Output::Request(_) => assert!(self.is_greeted, "no request before hello"),
            Output::Close(close) => {
                self.closes += 1;
                assert!(close.reason().len() <= 123);
            }
        }
    }

    fn note_frame(&mut self, text: &str) {
        self.frames += 1;
        assert!(text.len() <= FRAME_BYTES_MAX);
        match ServerFrame::decode(text).unwrap() {
            ServerFrame::Event(event) if self.frames == 1 => {
                assert_eq!((&*event.event, event.seq), ("connect.challenge", None));
            }
            ServerFrame::Event(event) => {
                assert!(self.is_greeted, "no event before hello");
                assert!(event.seq.unwrap() > self.seq, "numbers grow");
                self.seq = event.seq.unwrap();
            }
            ServerFrame::Response(response) if !self.is_greeted => {
                assert_eq!(self.frames, 2, "one response before or with hello");
                self.is_greeted = response.ok;
                assert_eq!(response.ok, text.contains("hello-ok"));
            }
            ServerFrame::Response(_) => assert!(!text.contains("hello-ok")),
        }
    }
}

proptest! {
    #[test]
    fn no_peer_breaks_the_rules(actions in proptest::collection::vec(any_action(), 0..60)) {
        let mut now = Instant::now();
        let mut machine = Machine::new(MachineConfig::default(), &challenge(), now);
        let mut seen = Seen::default();
        for action in &actions {
            act(&mut machine, action, &mut now);
            while let Some(output) = machine.poll_output() {
                seen.note(&output);
            }
            let is_deciding = machine.poll_timeout().is_some();
            prop_assert_eq!(seen.closes == 0, machine.is_open() || is_deciding);
            prop_assert_eq!(machine.is_open(), machine.protocol().is_some());
        }
        machine.close(Close::Internal);
        while let Some(output) = machine.poll_output() {
            seen.note(&output);
        }
        prop_assert_eq!(seen.closes, 1);
    }

    #[test]
    fn no_text_makes_decoding_panic(text in any_text()) {
        let decoded = RequestFrame::decode(&text);
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(matches!(decoded, Err(FrameError::NotJson)), !is_json);
    }
}
