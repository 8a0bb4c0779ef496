//! What clients see of a run, and when.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::ErrorCode;
use crate::ids::{AgentId, WireId};
use crate::protocol::events::agent::AgentEvent;
use crate::protocol::events::chat::{ChatEvent, ChatMessage, ChatState};
use crate::run::{AbortCause, Event as RunEvent, FinishReason, OnDisconnect, Owner};
use crate::run::{Storage, TimeoutPhase, Usage};

use super::*;

fn info(front: Front) -> RunInfo {
    RunInfo {
        run_id: RunId::from_uuid(Uuid::from_u128(1)),
        wire_id: WireId::parse("r\"1").unwrap(),
        session: SessionKey::from_canonical("agent:main:main"),
        agent: AgentId::parse("main").unwrap(),
        owner: Owner {
            credential: "token".into(),
            party: "p".into(),
            device: None,
            connection: None,
        },
        front,
        storage: Storage::Stored,
        on_disconnect: OnDisconnect::Continue,
        accepted_at_ms: 1,
    }
}

/// A projection with a clock that the test moves.
struct Watched {
    projection: RunProjection,
    start: Instant,
    elapsed_ms: u64,
    events: Vec<Projected>,
}

impl Watched {
    fn new(front: Front) -> Self {
        let mut watched = Self::unstarted(front);
        watched.projection.handle_started(1_000);
        watched.collect();
        watched
    }

    fn unstarted(front: Front) -> Self {
        Self::of(&info(front))
    }

    fn of(info: &RunInfo) -> Self {
        Self {
            projection: RunProjection::new(ProjectedRun {
                info,
                session_id: Some(SessionId::from_uuid(Uuid::nil())),
                model: Some(ModelRef {
                    provider: "local".into(),
                    model: "m".into(),
                }),
                show_reasoning: true,
            }),
            // Tests only add to it; the clippy ban is about code that could not be paused.
            start: tokio::time::Instant::now().into_std(),
            elapsed_ms: 0,
            events: Vec::new(),
        }
    }

    fn at(&self) -> Moment {
        Moment {
            now: self.start + Duration::from_millis(self.elapsed_ms),
            wall_ms: 1_000 + self.elapsed_ms,
        }
    }

    fn text(&mut self, delta: &str) {
        let at = self.at();
        self.projection.handle_text(delta, at);
        self.collect();
    }

    fn event(&mut self, event: &RunEvent) {
        let at = self.at();
        self.projection.handle_event(event, at);
        self.collect();
    }

    /// Lets time pass, firing the timer when it is due.
    fn pass(&mut self, ms: u64) {
        let end = self.elapsed_ms + ms;
        while let Some(due) = self.due_ms().filter(|due| *due <= end) {
            self.elapsed_ms = self.elapsed_ms.max(due);
            let at = self.at();
            self.projection.handle_timeout(at);
            self.collect();
        }
        self.elapsed_ms = end;
    }

    fn due_ms(&self) -> Option<u64> {
        let due = self.projection.poll_timeout()?;
        Some(u64::try_from((due - self.start).as_millis()).unwrap())
    }

    fn end(&mut self, outcome: Outcome) {
        let terminal = Terminal {
            outcome,
            started_at_ms: Some(1_000),
            ended_at_ms: 1_000 + self.elapsed_ms,
            usage: None,
        };
        let at = self.at();
        self.projection.handle_terminal(&terminal, at);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.projection.poll_event() {
            self.events.push(event);
        }
    }

    /// A short name for every event, in order.
    fn kinds(&self) -> Vec<String> {
        self.events.iter().map(kind_of).collect()
    }

    fn chats(&self) -> Vec<ChatEvent> {
        let chats = self
            .events
            .iter()
            .filter(|event| event.event == Event::Chat);
        chats
            .map(|event| serde_json::from_value(payload(event)).unwrap())
            .collect()
    }

    /// The text a client shows that follows `deltaText`.
    fn followed(&self) -> String {
        let mut text = String::new();
        for chat in self.chats() {
            if chat.replace == Some(true) {
                text.clear();
            }
            text.push_str(chat.delta_text.as_deref().unwrap_or_default());
        }
        text
    }
}

fn payload(event: &Projected) -> Value {
    let frame: Value = serde_json::from_str(&event.encoded.frame(1)).unwrap();
    assert_eq!(frame["event"], json!(event.event.name()));
    frame["payload"].clone()
}

fn kind_of(event: &Projected) -> String {
    let payload = payload(event);
    if event.event == Event::Chat {
        return format!("chat {}", payload["state"].as_str().unwrap());
    }
    let stream = payload["stream"].as_str().unwrap();
    let phase = payload["data"]["phase"].as_str().unwrap_or_default();
    format!("{stream} {phase}").trim_end().to_owned()
}

#[test]
fn a_command_is_told_of_by_its_marked_answer_alone() {
    let info = RunInfo {
        storage: Storage::Ephemeral,
        ..info(Front::NativeChat)
    };
    let mut run = Watched::of(&info);
    run.projection.handle_started(1_000);
    run.text("NO_");
    run.text("REPLY");
    run.pass(1_000);
    assert_eq!(run.kinds(), [""; 0], "nothing before the answer is whole");
    run.end(Outcome::Ok(FinishReason::Stop));
    assert_eq!(run.kinds(), ["chat final"]);
    assert!(run.events[0].is_last);
    let payload = payload(&run.events[0]);
    let message = &payload["message"];
    assert_eq!(
        message["content"],
        json!([{"type": "text", "text": "NO_REPLY"}]),
        "a command always has an answer"
    );
    assert_eq!(message["idempotencyKey"], "r\"1");
    assert_eq!(message["__openclaw"], json!({"contextFreeCommand": true}));
    let [chat]: [ChatEvent; 1] = run.chats().try_into().unwrap();
    assert!(chat.message.unwrap().answer.unwrap().command);
}

#[test]
fn a_chat_run_is_told_in_the_recorded_order() {
    let mut run = Watched::new(Front::NativeChat);
    run.text("w0");
    run.text(" w1");
    run.event(&RunEvent::Usage(Usage {
        output: 2,
        ..Usage::default()
    }));
    run.end(Outcome::Ok(FinishReason::Stop));
    assert_eq!(
        run.kinds(),
        [
            "lifecycle start",
            "chat status",
            "run_status starting_model",
            "lifecycle model",
            "assistant",
            "chat delta",
            "assistant",
            "chat delta",
            "usage",
            "lifecycle end",
            "chat final",
        ]
    );
    assert!(run.events.last().unwrap().is_last);
}

#[test]
fn every_payload_fits_its_type() {
    let mut run = Watched::new(Front::NativeChat);
    run.event(&RunEvent::Reasoning("hm".to_owned()));
    run.text("a \"quote\"\n");
    run.text("\u{1}😀");
    run.event(&RunEvent::ToolStart {
        id: "t1".to_owned(),
        name: "ls".to_owned(),
        arguments: json!({"path": "/"}),
    });
    run.event(&RunEvent::ToolUpdate {
        id: "t1".to_owned(),
        name: "ls".to_owned(),
        partial: json!("half"),
    });
    run.event(&RunEvent::ToolResult {
        id: "t1".to_owned(),
        name: "ls".to_owned(),
        result: json!(["x"]),
        is_error: false,
    });
    run.end(Outcome::Ok(FinishReason::Stop));
    let mut streams = Vec::new();
    for event in &run.events {
        let value = payload(event);
        let again = if event.event == Event::Chat {
            serde_json::to_value(serde_json::from_value::<ChatEvent>(value.clone()).unwrap())
        } else {
            streams.push(value["stream"].as_str().unwrap().to_owned());
            serde_json::to_value(serde_json::from_value::<AgentEvent>(value.clone()).unwrap())
        };
        assert_eq!(again.unwrap(), value);
        assert_eq!(value["runId"], json!("r\"1"));
        assert_eq!(value["agentId"], json!("main"));
    }
    for stream in ["thinking", "tool", "assistant", "lifecycle", "run_status"] {
        assert!(streams.iter().any(|seen| seen == stream), "{stream}");
    }
}

#[test]
fn tools_go_to_their_recipients_and_text_before_them_first() {
    let mut run = Watched::new(Front::NativeAgent);
    run.text("a");
    run.text("b");
    run.event(&RunEvent::ToolStart {
        id: "t".to_owned(),
        name: "ls".to_owned(),
        arguments: Value::Null,
    });
    let last = run.events.last().unwrap();
    assert_eq!(
        last.receivers,
        Receivers::ToolRecipients(RunId::from_uuid(Uuid::from_u128(1)))
    );
    assert_eq!(last.kind, Kind::Tool);
    assert_eq!(run.followed(), "ab");
    let text = &run.events[run.events.len() - 2];
    assert_eq!(
        text.receivers,
        Receivers::Session(SessionKey::from_canonical("agent:main:main"))
    );
}

#[test]
fn a_large_tool_result_is_told_by_its_size() {
    let mut run = Watched::new(Front::NativeAgent);
    run.event(&RunEvent::ToolResult {
        id: "t".to_owned(),
        name: "cat".to_owned(),
        result: json!("x".repeat(300_000)),
        is_error: true,
    });
    let data = payload(run.events.last().unwrap())["data"].clone();
    assert_eq!(data["result"], json!({"truncated": true, "bytes": 300_002}));
    assert_eq!(data["isError"], json!(true));
}

#[test]
fn the_first_delta_goes_at_once_and_later_ones_wait() {
    let mut run = Watched::new(Front::NativeAgent);
    run.text("a");
    assert_eq!(run.followed(), "a");
    assert_eq!(run.due_ms(), None);
    run.pass(10);
    run.text("b");
    run.text("c");
    assert_eq!(run.followed(), "a");
    assert_eq!(run.due_ms(), Some(75));
    run.pass(64);
    assert_eq!(run.followed(), "a");
    run.pass(1);
    assert_eq!(run.followed(), "abc");
    run.pass(500);
    assert_eq!(run.due_ms(), None);
    run.text("d");
    assert_eq!(run.followed(), "abcd");
}

#[test]
fn long_texts_are_repeated_less_often() {
    let mut run = Watched::new(Front::NativeAgent);
    run.text(&"x".repeat(200_000));
    run.text("y");
    // 200,001 bytes are four steps of 64 KiB.
    assert_eq!(run.due_ms(), Some(300));
    run.pass(299);
    assert_eq!(run.chats().len(), 1);
    run.pass(1);
    assert_eq!(run.chats().len(), 2);
}

#[test]
fn what_a_run_sends_per_second_is_bounded() {
    let mut run = Watched::new(Front::NativeAgent);
    run.text(&"x".repeat(2 << 20));
    let first = run.events.len();
    for _ in 0..200 {
        run.pass(50);
        run.text("y");
    }
    let bytes: usize = run.events[first..]
        .iter()
        .map(|event| event.encoded.bytes_max())
        .sum();
    let per_second = bytes / 10;
    assert!(per_second < 2 * 1024 * 1024, "{per_second}");
    run.end(Outcome::Ok(FinishReason::Stop));
    assert_eq!(run.followed().len(), (2 << 20) + 200);
}

#[test]
fn counting_with_every_token_costs_no_events() {
    let mut run = Watched::new(Front::NativeAgent);
    run.text("a");
    let before = run.events.len();
    for output in 0..1_000 {
        run.text("b");
        run.event(&RunEvent::Usage(Usage {
            output,
            ..Usage::default()
        }));
    }
    assert_eq!(run.events.len(), before);
    run.end(Outcome::Ok(FinishReason::Stop));
    let kinds = run.kinds();
    assert_eq!(
        kinds[before..],
        [
            "assistant",
            "chat delta",
            "usage",
            "lifecycle end",
            "chat final"
        ]
    );
    let usage = payload(&run.events[before + 2]);
    assert_eq!(usage["data"], json!({"outputTokens": 999}));
}

#[test]
fn a_stopped_run_keeps_its_text_and_says_why() {
    let mut run = Watched::new(Front::NativeChat);
    run.text("w0");
    run.text(" w1 ");
    run.end(Outcome::Aborted(AbortCause::Rpc));
    let kinds = run.kinds();
    assert_eq!(kinds[kinds.len() - 2..], ["chat aborted", "lifecycle end"]);
    let chat = run.chats().pop().unwrap();
    assert_eq!(chat.stop_reason.as_deref(), Some("rpc"));
    assert_eq!(chat.message.unwrap().text(), "w0 w1");
    let end = payload(run.events.last().unwrap());
    assert_eq!(
        end["data"],
        json!({"phase": "end", "status": "cancelled", "aborted": true, "stopReason": "rpc",
               "startedAt": 1000, "endedAt": 1000})
    );
    assert_eq!(end["seq"], json!(chat.seq));
    assert!(run.events.last().unwrap().is_last);
}

#[test]
fn deadlines_and_crashes_end_a_run_like_a_stop() {
    let check = |outcome: Outcome, reason: &str, phase: Option<&str>| {
        let mut run = Watched::unstarted(Front::NativeAgent);
        run.end(outcome);
        assert_eq!(run.kinds(), ["chat aborted", "lifecycle end"]);
        let chat = run.chats().pop().unwrap();
        assert_eq!(chat.stop_reason.as_deref(), Some(reason));
        assert_eq!(chat.message, None);
        let end = payload(run.events.last().unwrap());
        assert_eq!(
            end["data"].get("timeoutPhase").and_then(Value::as_str),
            phase
        );
    };
    check(
        Outcome::TimedOut(TimeoutPhase::Queue),
        "timeout",
        Some("queue"),
    );
    check(Outcome::Interrupted, "restart", None);
    check(Outcome::Aborted(AbortCause::Restart), "restart", None);
    check(Outcome::Aborted(AbortCause::Dropped), "dropped", None);
}

#[test]
fn a_failed_run_is_told_as_failed() {
    let mut run = Watched::new(Front::NativeAgent);
    run.text("half");
    let error = RunError::new(ErrorCode::UpstreamRateLimit, "slow down");
    run.end(Outcome::Error(error));
    let kinds = run.kinds();
    assert_eq!(kinds[kinds.len() - 2..], ["lifecycle error", "chat error"]);
    let value = payload(run.events.last().unwrap());
    assert_eq!(
        value,
        json!({"runId": "r\"1", "sessionKey": "agent:main:main", "agentId": "main",
               "seq": value["seq"], "state": "error", "errorMessage": "slow down",
               "errorKind": "rate_limit",
               "errorDetail": {"provider": "local", "model": "m",
                               "failoverReason": "rate_limit"}})
    );
}

#[test]
fn a_silent_answer_is_never_shown() {
    let mut run = Watched::new(Front::NativeChat);
    for piece in ["\nNO", "_RE", "PLY", " \n"] {
        run.text(piece);
        run.pass(100);
    }
    run.end(Outcome::Ok(FinishReason::Stop));
    assert_eq!(run.followed(), "");
    let last = run.chats().pop().unwrap();
    assert_eq!((last.state, last.message), (ChatState::Final, None));
}

#[test]
fn an_answer_that_only_began_like_silence_is_shown_in_full() {
    let mut run = Watched::new(Front::NativeChat);
    run.text("NO");
    run.pass(100);
    assert_eq!(run.followed(), "");
    run.text("PE");
    assert_eq!(run.followed(), "NOPE");

    let mut run = Watched::new(Front::NativeChat);
    run.text("NO");
    run.end(Outcome::Ok(FinishReason::Stop));
    assert_eq!(run.followed(), "NO");
    let last = run.chats().pop().unwrap();
    assert_eq!(last.message.unwrap().text(), "NO");

    // A stopped run might have become silent, so nothing of it is shown.
    let mut run = Watched::new(Front::NativeChat);
    run.text("NO");
    run.end(Outcome::Aborted(AbortCause::Stop));
    assert_eq!(run.chats().pop().unwrap().message, None);
}

#[test]
fn reasoning_is_shown_only_where_it_is_wanted_and_is_bounded() {
    let mut run = Watched::new(Front::NativeAgent);
    run.event(&RunEvent::Reasoning("r".repeat(300_000)));
    run.event(&RunEvent::Reasoning("more".to_owned()));
    run.pass(1_000);
    let count = |run: &Watched| {
        run.kinds()
            .iter()
            .filter(|kind| *kind == "thinking")
            .count()
    };
    assert_eq!(count(&run), 1);

    let mut run = Watched::new(Front::NativeAgent);
    run.projection.show_reasoning = false;
    run.event(&RunEvent::Reasoning("r".to_owned()));
    assert_eq!(count(&run), 0);
}

#[test]
fn an_older_client_gets_its_own_session_key() {
    let mut run = Watched::new(Front::NativeChat);
    run.text("agent:main:main");
    for event in &run.events {
        let renamed = event.with_session_key("main \"x\"").unwrap();
        let frame: Value = serde_json::from_str(&renamed.frame(9)).unwrap();
        let mut expected = payload(event);
        expected["sessionKey"] = json!("main \"x\"");
        assert_eq!(frame["payload"], expected);
    }
}

#[test]
fn text_that_fits_no_frame_is_left_to_the_transcript() {
    let mut run = Watched::new(Front::NativeAgent);
    // Each of these is escaped to six bytes.
    run.text(&"\u{1}".repeat(4_400_000));
    run.text("x");
    run.end(Outcome::Ok(FinishReason::Stop));
    assert_eq!(run.followed(), "");
    let last = run.chats().pop().unwrap();
    assert_eq!((last.state, last.message), (ChatState::Final, None));
    assert!(run.events.last().unwrap().is_last);
}

/// Something that happens to a run, or time that passes.
#[derive(Clone, Debug)]
enum Step {
    Text(String),
    Reasoning(String),
    Tool,
    Usage(u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let word = prop_oneof![
        "[ \n]{0,3}",
        "[a-z\"\\\\ ]{1,8}",
        Just("NO_REPLY".to_owned()),
        Just("NO".to_owned()),
        "\\PC{1,4}",
    ];
    prop_oneof![
        6 => word.prop_map(Step::Text),
        1 => "[a-z]{1,4}".prop_map(Step::Reasoning),
        1 => Just(Step::Tool),
        1 => (0_u64..50).prop_map(Step::Usage),
        2 => (0_u64..200).prop_map(Step::Pass),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Ok(FinishReason::Stop)),
        Just(Outcome::Error(RunError::new(ErrorCode::AgentFailed, "x"))),
        Just(Outcome::Aborted(AbortCause::Rpc)),
        Just(Outcome::TimedOut(TimeoutPhase::Run)),
        Just(Outcome::Interrupted),
    ]
}

proptest! {
    #[test]
    fn clients_always_end_with_the_text(
        steps in proptest::collection::vec(step(), 0..40),
        outcome in outcome(),
    ) {
        let mut run = Watched::new(Front::NativeChat);
        let mut text = String::new();
        for step in steps {
            match step {
                Step::Text(delta) => {
                    text.push_str(&delta);
                    run.text(&delta);
                }
                Step::Reasoning(delta) => run.event(&RunEvent::Reasoning(delta)),
                Step::Tool => run.event(&RunEvent::ToolStart {
                    id: "t".to_owned(),
                    name: "n".to_owned(),
                    arguments: Value::Null,
                }),
                Step::Usage(output) => run.event(&RunEvent::Usage(Usage {
                    output,
                    ..Usage::default()
                })),
                Step::Pass(ms) => run.pass(ms),
            }
        }
        let finished = matches!(outcome, Outcome::Ok(_));
        let failed = matches!(outcome, Outcome::Error(_));
        run.end(outcome);
        // Late output is ignored.
        run.text("late");
        run.end(Outcome::Interrupted);

        let shown = if finished {
            crate::protocol::outcome::visible_text(&text)
        } else {
            crate::protocol::outcome::visible_so_far(&text)
        };
        prop_assert_eq!(run.followed(), shown.unwrap_or_default());

        let chats = run.chats();
        let ends = chats.iter().filter(|chat| chat.state.is_terminal()).count();
        prop_assert_eq!(ends, 1);
        let last = chats.last().unwrap();
        prop_assert!(last.state.is_terminal());
        let message = last.message.as_ref().map(ChatMessage::text);
        prop_assert_eq!(message.as_deref(), shown.filter(|_| !failed));

        let mut followed = String::new();
        for chat in &chats {
            followed.push_str(chat.delta_text.as_deref().unwrap_or_default());
            if chat.state == ChatState::Delta {
                let message = chat.message.as_ref().unwrap().text();
                prop_assert_eq!(&message, &followed);
            }
        }

        let agent = run.events.iter().filter(|event| event.event == Event::Agent);
        let numbers: Vec<u64> = agent
            .map(|event| payload(event)["seq"].as_u64().unwrap())
            .collect();
        prop_assert_eq!(numbers.first(), Some(&1));
        prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", numbers);
        let marked = run.events.iter().filter(|event| event.is_last).count();
        prop_assert_eq!(marked, 1);
        prop_assert!(run.events.last().unwrap().is_last);
    }
}
