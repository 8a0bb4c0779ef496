//! Recorded runs, played again: the same input must give the same kinds of events in the same
//! order, with the same members and the same text.

use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use crate::error::ErrorCode;
use crate::ids::{AgentId, RunId, SessionId, SessionKey, WireId};
use crate::protocol::projection::{Moment, Projected, ProjectedRun, RunProjection};
use crate::run::{
    AbortCause, Event as RunEvent, FinishReason, Front, ModelRef, OnDisconnect, Outcome, Owner,
    RunError, RunInfo, Storage, Terminal, Usage,
};

use super::{Reasons, compare, recording};

/// The `agent` and `chat` events of one run, as one connection got them.
struct RecordedRun {
    events: Vec<Value>,
}

impl RecordedRun {
    /// The run whose id begins like this, in a recording.
    fn load(name: &str, run: &str) -> Self {
        let frames = recording(name);
        let first = frames.iter().find(|line| line.dir == "c2s").unwrap();
        let events: Vec<Value> = frames
            .iter()
            .filter(|line| line.conn == first.conn && line.dir == "s2c")
            .map(|line| &line.frame)
            .filter(|frame| frame["event"] == "agent" || frame["event"] == "chat")
            .filter(|frame| frame["payload"]["runId"].as_str().unwrap().starts_with(run))
            .cloned()
            .collect();
        assert!(!events.is_empty(), "{name} has no run {run}");
        Self { events }
    }

    fn lifecycle(&self, phase: &str) -> Option<&Value> {
        let found = self.events.iter().find(|frame| {
            frame["payload"]["stream"] == "lifecycle" && frame["payload"]["data"]["phase"] == phase
        });
        found.map(|frame| &frame["payload"])
    }

    fn info(&self) -> RunInfo {
        let payload = &self.events[0]["payload"];
        let text = |name: &str| payload[name].as_str().unwrap();
        let is_chat = self
            .events
            .iter()
            .any(|frame| frame["payload"].get("isHeartbeat").is_some());
        RunInfo {
            run_id: RunId::from_uuid(Uuid::nil()),
            wire_id: WireId::parse(text("runId")).unwrap(),
            session: SessionKey::from_canonical(text("sessionKey")),
            agent: AgentId::parse(text("agentId")).unwrap(),
            owner: Owner {
                credential: "token".into(),
                party: "p".into(),
                device: None,
                connection: None,
            },
            front: if is_chat {
                Front::NativeChat
            } else {
                Front::NativeAgent
            },
            storage: Storage::Stored,
            on_disconnect: OnDisconnect::Continue,
            accepted_at_ms: 0,
        }
    }

    /// What the original's own events say happened, told to our projection.
    fn play(&self) -> Vec<Projected> {
        let info = self.info();
        let session = self.lifecycle("start").unwrap()["sessionId"]
            .as_str()
            .unwrap();
        let mut player = Player {
            projection: RunProjection::new(ProjectedRun {
                info: &info,
                session_id: Some(SessionId::from_uuid(Uuid::try_parse(session).unwrap())),
                model: Some(ModelRef {
                    provider: "mock".into(),
                    model: "mock-model".into(),
                }),
                show_reasoning: true,
            }),
            start: tokio::time::Instant::now().into_std(),
            text: String::new(),
            out: Vec::new(),
        };
        for frame in &self.events {
            player.step(frame);
        }
        player.out
    }
}

struct Player {
    projection: RunProjection,
    start: Instant,
    text: String,
    out: Vec<Projected>,
}

impl Player {
    fn step(&mut self, frame: &Value) {
        let payload = &frame["payload"];
        let data = &payload["data"];
        let ts = payload["ts"].as_u64().unwrap_or_default();
        let at = Moment {
            now: self.start + Duration::from_millis(ts % 10_000_000),
            wall_ms: ts,
        };
        let stream = payload["stream"].as_str().unwrap_or_default();
        let phase = data["phase"].as_str().unwrap_or_default();
        match (stream, phase) {
            ("lifecycle", "start") => {
                let started_at = data["startedAt"].as_u64().unwrap();
                self.projection.handle_started(started_at);
            }
            ("assistant", _) => self.say(data["delta"].as_str().unwrap(), at),
            ("usage", _) => {
                let usage = Usage {
                    output: data["outputTokens"].as_u64().unwrap(),
                    ..Usage::default()
                };
                self.projection.handle_event(&RunEvent::Usage(usage), at);
            }
            ("lifecycle", "end") => self.end(Outcome::Ok(FinishReason::Stop), data, at),
            ("lifecycle", "error") => {
                let message = data["error"].as_str().unwrap();
                let error = RunError::new(ErrorCode::UpstreamFailed, message);
                self.end(Outcome::Error(error), data, at);
            }
            _ if payload["state"] == "aborted" => {
                // The last words before an abort are only in its message.
                let message = payload["message"]["content"][0]["text"].as_str().unwrap();
                let rest = message.strip_prefix(self.text.as_str()).unwrap().to_owned();
                self.say(&rest, at);
                self.end(Outcome::Aborted(AbortCause::Rpc), data, at);
            }
            _ => {}
        }
        while let Some(event) = self.projection.poll_event() {
            self.out.push(event);
        }
    }

    fn say(&mut self, delta: &str, at: Moment) {
        self.text.push_str(delta);
        self.projection.handle_text(delta, at);
    }

    fn end(&mut self, outcome: Outcome, data: &Value, at: Moment) {
        let terminal = Terminal {
            outcome,
            started_at_ms: Some(data["startedAt"].as_u64().unwrap_or(1)),
            ended_at_ms: data["endedAt"].as_u64().unwrap_or(2),
            usage: None,
        };
        self.projection.handle_terminal(&terminal, at);
    }
}

fn name_of(frame: &Value) -> String {
    let payload = &frame["payload"];
    if let Some(state) = payload["state"].as_str() {
        let phase = payload["phase"].as_str().unwrap_or_default();
        return format!("chat {state} {phase}").trim_end().to_owned();
    }
    let stream = payload["stream"].as_str().unwrap();
    let phase = payload["data"]["phase"].as_str().unwrap_or_default();
    format!("{stream} {phase}").trim_end().to_owned()
}

/// Events of the original we do not send, and why.
const NOT_SENT: &[(&str, &str)] = &[
    (
        "chat status preparing_workspace",
        "there is no workspace to prepare",
    ),
    (
        "run_status preparing_workspace",
        "there is no workspace to prepare",
    ),
    (
        "chat status preparing_context",
        "the context is ready when the agent starts",
    ),
    (
        "run_status preparing_context",
        "the context is ready when the agent starts",
    ),
    (
        "lifecycle finishing",
        "the end is told once, when it is durable",
    ),
];

/// The names of events in order: text in one or more pieces counts once, as `text`.
fn sequence(frames: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for frame in frames {
        let cleared = frame["payload"]["data"]["provider"].is_null();
        let name = match name_of(frame).as_str() {
            "assistant" | "chat delta" => "text".to_owned(),
            // The original clears the model at the end; the end itself says as much.
            "lifecycle model" if cleared => continue,
            name if NOT_SENT.iter().any(|(other, _)| *other == name) => continue,
            name => name.to_owned(),
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names
}

/// What the original's sequence becomes where ours is meant to differ.
fn as_we_do(mut names: Vec<String>) -> Vec<String> {
    let position = |names: &[String], name: &str| names.iter().position(|other| other == name);
    if let Some(end) = position(&names, "lifecycle end") {
        // The original flushes the last text between the two ends of a run; we flush it before.
        if names.get(end + 1).is_some_and(|name| name == "text") {
            names.remove(end + 1);
        }
        // After an abort the original tells the same run's failure once more; one end is enough.
        if position(&names, "chat aborted").is_some() {
            names.truncate(end + 1);
        }
    }
    names
}

fn frames_of(events: &[Projected]) -> Vec<Value> {
    events
        .iter()
        .map(|event| serde_json::from_str(&event.encoded.frame(1)).unwrap())
        .collect()
}

fn deltas(frames: &[Value]) -> String {
    frames
        .iter()
        .filter_map(|frame| frame["payload"]["deltaText"].as_str())
        .collect()
}

fn check_order(name: &str, run: &str) {
    let recorded = RecordedRun::load(name, run);
    let ours = frames_of(&recorded.play());
    let expected = as_we_do(sequence(&recorded.events));
    assert_eq!(sequence(&ours), expected, "{name}");

    let text_of = |frames: &[Value], states: [&str; 2]| {
        let end = frames.iter().find(|frame| {
            let state = frame["payload"]["state"].as_str().unwrap_or_default();
            states.contains(&state)
        });
        end.and_then(|frame| frame["payload"]["message"]["content"][0]["text"].as_str())
            .map(str::to_owned)
    };
    let ends = ["final", "aborted"];
    assert_eq!(
        text_of(&ours, ends),
        text_of(&recorded.events, ends),
        "{name}"
    );
    // The original loses the last words of an aborted run from its deltas; we do not.
    let said = text_of(&recorded.events, ends).unwrap_or_default();
    assert!(said.starts_with(&deltas(&recorded.events)), "{name}");
    assert_eq!(deltas(&ours), said, "{name}");
}

#[test]
fn recorded_runs_give_the_recorded_events_in_order() {
    check_order("chat-send", "e7993782");
    check_order("chat-abort", "9625f9a3");
    check_order("chat-idempotent", "8eb4e6c3");
    check_order("agent-two-stage", "6e036ee2");
    check_order("agent-abort", "d1dd2a21");
    check_order("agent-idempotent", "f6a50e85");
    check_order("agent-wait-timeout", "8fc55a22");
    check_order("http-run-seen-on-ws", "chatcmpl_1cbc6a36");
    check_order("sessions-lifecycle", "77bb93a5");
}

/// Events of one kind in recordings, with the differences in their members.
struct Kind {
    name: &'static str,
    omitted: Reasons<'static>,
    added: Reasons<'static>,
}

const LIFECYCLE_END: Kind = Kind {
    name: "lifecycle end",
    omitted: &[
        (
            ".payload.data.terminalReceipt",
            "which model really answered is not known to a run",
        ),
        (".payload.data.replayInvalid", "runs are not replayed"),
    ],
    added: &[],
};

const NO_DIFFERENCE: [&str; 9] = [
    "lifecycle start",
    "lifecycle model",
    "chat status starting_model",
    "run_status starting_model",
    "assistant",
    "usage",
    "chat delta",
    "chat final",
    "chat aborted",
];

const LIFECYCLE_ERROR: Kind = Kind {
    name: "lifecycle error",
    omitted: &[(
        ".payload.data.errorObservation.providerRuntimeFailureKind",
        "retries are not classified a second time",
    )],
    added: &[],
};

const CHAT_ERROR: Kind = Kind {
    name: "chat error",
    omitted: &[(
        ".payload.errorDetail.providerRuntimeFailureKind",
        "retries are not classified a second time",
    )],
    added: &[],
};

fn check_members(kind: &Kind, runs: &[(&str, &str)]) {
    let of_kind = |frames: &[Value]| -> Vec<Value> {
        let cleared = |frame: &Value| {
            name_of(frame) == "lifecycle model" && frame["payload"]["data"]["provider"].is_null()
        };
        frames
            .iter()
            .filter(|frame| name_of(frame) == kind.name && !cleared(frame))
            .cloned()
            .collect()
    };
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for (name, run) in runs {
        let recorded = RecordedRun::load(name, run);
        ours.extend(of_kind(&frames_of(&recorded.play())));
        theirs.extend(of_kind(&recorded.events));
    }
    compare(kind.name, &ours, &theirs, kind.omitted, kind.added);
}

#[test]
fn events_have_the_recorded_members() {
    let runs = [
        ("chat-send", "e7993782"),
        ("chat-abort", "9625f9a3"),
        ("agent-two-stage", "6e036ee2"),
        ("agent-abort", "d1dd2a21"),
    ];
    for name in NO_DIFFERENCE {
        let kind = Kind {
            name,
            omitted: &[],
            added: &[],
        };
        check_members(&kind, &runs);
    }
    check_members(&LIFECYCLE_END, &runs);
}

#[test]
fn a_failure_has_the_recorded_members() {
    // The recording of this run begins in the middle; its start is made up by the player's rule
    // that a run without a start has none.
    let frames = recording("http-run-seen-on-ws");
    let theirs = |name: &str| -> Vec<Value> {
        let events = frames.iter().map(|line| &line.frame);
        events
            .filter(|frame| frame["event"] == "agent" || frame["event"] == "chat")
            .filter(|frame| name_of(frame) == name)
            .cloned()
            .collect()
    };
    let recorded = RecordedRun::load("http-run-seen-on-ws", "chatcmpl_1cbc6a36");
    let mut failed = recorded.events.clone();
    failed.retain(|frame| name_of(frame) == "lifecycle start");
    failed.extend(theirs("lifecycle error"));
    let ours = frames_of(&RecordedRun { events: failed }.play());
    for kind in [LIFECYCLE_ERROR, CHAT_ERROR] {
        let ours: Vec<Value> = ours
            .iter()
            .filter(|frame| name_of(frame) == kind.name)
            .cloned()
            .collect();
        compare(
            kind.name,
            &ours,
            &theirs(kind.name),
            kind.omitted,
            kind.added,
        );
    }
}
