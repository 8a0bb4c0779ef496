//! What simulated agents say, and when.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::string_slice,
    reason = "tests"
)]

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::agent::{Inbox, Steered};
use crate::error::ErrorCode;
use crate::ids::{IdSource, RunId, SessionKey, SystemIds, WireId};
use crate::run::Conversation;
use crate::run::{Event, FinishReason, Message, Role, RunError, Tool, ToolChoice, Turn, Usage};

/// Everything a stream yielded, put together.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    chunks: Vec<String>,
    reasoning: String,
    tools: Vec<String>,
    calls: Vec<(String, String, String)>,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    error: Option<RunError>,
}

impl Answer {
    fn text(&self) -> String {
        self.chunks.concat()
    }

    fn add(&mut self, item: Result<Event, RunError>) {
        assert_eq!(self.finish, None, "nothing follows the end");
        assert_eq!(self.error, None, "nothing follows a failure");
        match item {
            Ok(Event::Text(text)) => self.chunks.push(text),
            Ok(Event::Reasoning(text)) => self.reasoning.push_str(&text),
            Ok(Event::ToolStart { name, .. }) => self.tools.push(format!("start {name}")),
            Ok(Event::ToolUpdate { partial, .. }) => self.tools.push(format!("update {partial}")),
            Ok(Event::ToolResult {
                result, is_error, ..
            }) => self.tools.push(format!("result {result} {is_error}")),
            Ok(Event::ToolCall(delta)) => {
                if let (Some(id), Some(name)) = (delta.id, delta.name) {
                    self.calls.push((id, name, String::new()));
                }
                let at = usize::try_from(delta.index).unwrap();
                self.calls[at].2.push_str(&delta.arguments);
            }
            Ok(Event::Usage(usage)) => self.usage = Some(usage),
            Ok(Event::Finished(reason)) => self.finish = Some(reason),
            Err(error) => self.error = Some(error),
        }
    }
}

struct Room {
    cancel: CancellationToken,
    steer: mpsc::Sender<Steered>,
    context: RunContext,
}

fn room() -> Room {
    let (steer, inbox) = Inbox::new();
    let cancel = CancellationToken::new();
    let context = RunContext {
        run_id: RunId::from_uuid(SystemIds.ordered(1)),
        wire_id: WireId::parse("w").unwrap(),
        session: SessionKey::from_canonical("agent:main:main"),
        deadline: None,
        cancel: cancel.clone(),
        inbox,
    };
    Room {
        cancel,
        steer,
        context,
    }
}

fn turn(text: &str) -> AgentTurn {
    AgentTurn {
        turn: Turn {
            current: vec![Message::text(Role::User, text)],
            ..Turn::default()
        },
        session: Conversation::default(),
    }
}

fn with_tools(text: &str, choice: ToolChoice) -> AgentTurn {
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        description: None,
        parameters: Some(json!({"properties": {"q": {"type": "number"}}})),
        strict: None,
    };
    let mut turn = turn(text);
    turn.turn.tools = vec![tool("get_weather"), tool("get_time")];
    turn.turn.tool_choice = choice;
    turn
}

async fn ask(agent: &SimAgent, turn: AgentTurn) -> Answer {
    let mut stream = agent.run(turn, room().context);
    let mut answer = Answer::default();
    while let Some(item) = stream.next().await {
        answer.add(item);
    }
    answer
}

fn agent(name: &str) -> SimAgent {
    SimAgent::new(SimConfig::parse(name).unwrap())
}

async fn check(name: &str, text: &str, expected: &str) {
    let answer = ask(&agent(name), turn(text)).await;
    assert_eq!(answer.text(), expected, "{name}: {text}");
    assert_eq!(answer.finish, Some(FinishReason::Stop), "{name}: {text}");
}

#[tokio::test(start_paused = true)]
async fn echo_is_ready_at_once_and_counts_its_tokens() {
    let mut stream = agent("echo").run(turn("one two  three"), room().context);
    let mut answer = Answer::default();
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    while let std::task::Poll::Ready(Some(item)) = stream.poll_next_unpin(&mut cx) {
        answer.add(item);
    }
    assert_eq!(answer.chunks, ["one", " two", "  three"]);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.output), (4, 3));
    assert_eq!(answer.finish, Some(FinishReason::Stop));
}

#[tokio::test]
async fn echo_says_what_it_is_given() {
    check("echo", "", "").await;
    check("echo", " spaces \n kept ", " spaces \n kept ").await;
    check("echo?chunkTokens=2", "日本語 text", "日本語 text").await;
}

#[tokio::test]
async fn chunks_hold_as_many_tokens_as_asked() {
    let answer = ask(&agent("echo?chunkTokens=2"), turn("a b c d e")).await;
    assert_eq!(answer.chunks, ["a b", " c d", " e"]);
    assert_eq!(answer.usage.unwrap().output, 5);
}

#[tokio::test]
async fn lorem_has_exactly_the_tokens_asked_for_and_follows_its_seed() {
    let lorem = |name: &'static str| async move { ask(&agent(name), turn("x")).await };
    let first = lorem("lorem?tokens=200&seed=3").await;
    assert_eq!(first.usage.unwrap().output, 200);
    assert_eq!(first.chunks.len(), 200);
    assert_eq!(first, lorem("lorem?tokens=200&seed=3").await);
    assert_ne!(first.text(), lorem("lorem?tokens=200&seed=4").await.text());
    assert_eq!(lorem("lorem?tokens=0").await.text(), "");

    let mut seeded = turn("x");
    seeded.turn.sampling.seed = Some(4);
    let by_request = ask(&agent("lorem?tokens=200&seed=3"), seeded).await;
    assert_eq!(
        by_request.text(),
        lorem("lorem?tokens=200&seed=4").await.text()
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_come_at_their_absolute_times() {
    let start = Instant::now();
    let mut stream = agent("lorem?tokens=4&ttftMs=300&tps=50").run(turn("x"), room().context);
    let mut times = Vec::new();
    while let Some(Ok(Event::Text(_))) = stream.next().await {
        times.push(start.elapsed().as_millis());
        // A slow reader does not shift the tokens after it.
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    assert_eq!(times, [300, 320, 340, 360]);
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_comes_at_once() {
    let start = Instant::now();
    let mut stream = agent("lorem?tokens=3&ttftMs=10&tps=100").run(turn("x"), room().context);
    tokio::time::sleep(Duration::from_millis(500)).await;
    while stream.next().await.is_some() {}
    assert_eq!(start.elapsed().as_millis(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_yielding_agent_gives_way_before_every_chunk() {
    let mut stream = agent("echo?yield=true").run(turn("a b"), room().context);
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    let ready: Vec<bool> = (0..6)
        .map(|_| stream.poll_next_unpin(&mut cx).is_ready())
        .collect();
    assert_eq!(ready, [false, true, false, true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_stream_at_once() {
    for name in [
        "lorem?ttftMs=60000",
        "echo?stallAfterTokens=1",
        "lorem?tps=0.1",
    ] {
        let Room {
            cancel, context, ..
        } = room();
        let mut stream = agent(name).run(turn("a b c"), context);
        let start = Instant::now();
        let cancelling = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            cancel.cancel();
        };
        let reading = async {
            let mut answer = Answer::default();
            while let Some(item) = stream.next().await {
                answer.add(item);
            }
            answer
        };
        let (answer, ()) = tokio::join!(reading, cancelling);
        assert_eq!(start.elapsed(), Duration::from_millis(5), "{name}");
        assert_eq!((answer.finish, answer.error), (None, None), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_answer_neither_goes_on_nor_ends() {
    let mut stream = agent("echo?stallAfterTokens=2").run(turn("a b c"), room().context);
    assert_eq!(stream.next().await, Some(Ok(Event::Text("a".to_owned()))));
    assert_eq!(stream.next().await, Some(Ok(Event::Text(" b".to_owned()))));
    let next = tokio::time::timeout(Duration::from_hours(1), stream.next()).await;
    assert!(next.is_err());
}

#[tokio::test]
async fn a_broken_answer_is_a_failure() {
    for (name, said) in [
        ("echo?disconnectAfterTokens=2", "a b"),
        ("echo?disconnectAfterTokens=3", "a b c"),
        ("echo?disconnectAfterTokens=0&chunkTokens=9", ""),
    ] {
        let answer = ask(&agent(name), turn("a b c")).await;
        assert_eq!(answer.text(), said, "{name}");
        assert_eq!(
            answer.error.unwrap().code,
            ErrorCode::UpstreamFailed,
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_callers_limits_end_an_answer() {
    for (limit, said, finish) in [
        (2, "a b", FinishReason::Length),
        (3, "a b c", FinishReason::Stop),
        (9, "a b c", FinishReason::Stop),
    ] {
        let mut turn = turn("a b c");
        turn.turn.sampling.max_tokens = Some(limit);
        let answer = ask(&agent("echo?chunkTokens=5"), turn).await;
        assert_eq!(
            (answer.text().as_str(), answer.finish),
            (said, Some(finish))
        );
    }
    let mut stopping = turn("count to 9");
    stopping.turn.sampling.stop = vec!["7".to_owned(), "4".to_owned()];
    let answer = ask(&agent("demo"), stopping).await;
    assert_eq!(answer.text(), "1 2 3 ");
    assert_eq!(answer.finish, Some(FinishReason::Stop));
}

#[tokio::test]
async fn failures_come_at_the_rate_asked_for_and_repeat_with_the_seed() {
    let failures = |name: &'static str| async move {
        let agent = agent(name);
        let mut failed = Vec::new();
        for _ in 0..200 {
            let error = ask(&agent, turn("x")).await.error;
            failed.push(error.map(|error| error.code));
        }
        failed
    };
    let quarter = failures("echo?failRate=0.25&failStatus=429&seed=9").await;
    let count = quarter.iter().flatten().count();
    assert!((30..70).contains(&count), "{count}");
    assert!(
        quarter
            .iter()
            .flatten()
            .all(|c| *c == ErrorCode::UpstreamRateLimit)
    );
    assert_eq!(
        quarter,
        failures("echo?failRate=0.25&failStatus=429&seed=9").await
    );
    assert_eq!(
        failures("echo?failRate=1").await.iter().flatten().count(),
        200
    );
    assert_eq!(
        failures("echo?failRate=0").await.iter().flatten().count(),
        0
    );
}

#[tokio::test]
async fn the_demo_agent_says_what_it_is_and_how_to_connect_a_model() {
    for text in ["help", "Hello!", "hi"] {
        let answer = ask(&agent("demo"), turn(text)).await.text();
        assert!(answer.contains("built-in demo agent"), "{text}: {answer}");
        assert!(
            answer.contains("baseUrl: \"http://127.0.0.1:11434/v1\""),
            "{answer}"
        );
        assert!(answer.contains("agents: { defaults: { model"), "{answer}");
    }
    let other = ask(&agent("demo"), turn("Is the sea deep?")).await.text();
    assert!(
        other.starts_with("You said: “Is the sea deep?”."),
        "{other}"
    );
    assert!(other.contains("built-in demo agent"), "{other}");
}

#[tokio::test]
async fn the_demo_agent_follows_its_rules() {
    check("demo", "count to 5", "1 2 3 4 5").await;
    check("demo", "Count to 5!", "1 2 3 4 5").await;
    check(
        "demo",
        "count to 1001",
        "I count to whole numbers from 1 to 1000.",
    )
    .await;
    check(
        "demo",
        "count to x",
        "I count to whole numbers from 1 to 1000.",
    )
    .await;
    check("demo", "repeat: a: b", "a: b").await;
    check("demo", "slow:", "").await;
    check(
        "demo",
        "call: nope {}",
        "You offered no tool named “nope”, so I cannot call it.",
    )
    .await;
    check(
        "demo",
        " ",
        "You said nothing. Say `help` to see what I understand.",
    )
    .await;
    let thought = ask(&agent("demo"), turn("think: deep  thoughts")).await;
    assert_eq!(thought.reasoning, "deep  thoughts");
    assert_eq!(thought.text(), "I have thought about it.");
    assert_eq!(thought.usage.unwrap().reasoning, Some(2));
    let tool = ask(&agent("demo"), turn("tool: ls {\"path\":\"/\"}")).await;
    assert_eq!(
        tool.tools,
        [
            "start ls",
            "update {\"progress\":0.5}",
            "result {\"arguments\":{\"path\":\"/\"},\"ok\":true} false"
        ]
    );
}

#[tokio::test]
async fn the_demo_agent_fails_on_demand() {
    for (text, code, message) in [
        ("fail:", ErrorCode::UpstreamFailed, "500 simulated failure"),
        (
            "fail: 429 slow down",
            ErrorCode::UpstreamRateLimit,
            "429 slow down",
        ),
        ("fail: oh no", ErrorCode::UpstreamFailed, "500 oh no"),
        ("fail: 200 x", ErrorCode::UpstreamFailed, "500 200 x"),
    ] {
        let error = ask(&agent("demo"), turn(text)).await.error.unwrap();
        assert_eq!((error.code, &*error.message), (code, message), "{text}");
    }
}

#[tokio::test]
async fn the_demo_agent_knows_the_conversation() {
    check(
        "demo",
        "What did I say?",
        "Nothing before this: it is the first thing I hear from you.",
    )
    .await;
    let mut later = turn("what did I say?");
    later.session = Conversation::from_iter([
        Message::text(Role::User, "my name is Ada"),
        Message::text(Role::Assistant, "hello"),
    ]);
    let answer = ask(&agent("demo"), later.clone()).await;
    assert_eq!(answer.text(), "You said: “my name is Ada”");
    later.turn.history = vec![Message::text(Role::User, "and I like tea")];
    let answer = ask(&agent("demo"), later).await;
    assert_eq!(
        answer.text(),
        "You said 2 things before this. The last one was: “and I like tea”"
    );
}

#[tokio::test(start_paused = true)]
async fn slow_answers_take_their_time() {
    let start = Instant::now();
    check("demo", "slow: one two three", "one two three").await;
    assert_eq!(start.elapsed(), Duration::from_millis(400));
}

#[tokio::test]
async fn client_tools_are_called_on_demand_and_by_force() {
    let called = |answer: &Answer| {
        assert_eq!(answer.finish, Some(FinishReason::ToolCalls));
        let calls = answer.calls.iter();
        calls
            .map(|(_, name, arguments)| format!("{name} {arguments}"))
            .collect::<Vec<_>>()
    };
    let demo = agent("demo");
    let asked = with_tools("call: get_time {\"zone\": \"UTC\"}", ToolChoice::Auto);
    let answer = ask(&demo, asked).await;
    assert_eq!(called(&answer), ["get_time {\"zone\":\"UTC\"}"]);
    assert!(answer.calls[0].0.starts_with("call_"), "{answer:?}");
    let again = with_tools("call: get_time", ToolChoice::Auto);
    assert_ne!(ask(&demo, again).await.calls[0].0, answer.calls[0].0);

    for name in ["demo", "echo", "lorem"] {
        let required = ask(&agent(name), with_tools("x", ToolChoice::Required)).await;
        assert_eq!(called(&required), ["get_weather {\"q\":1}"], "{name}");
        let named = ToolChoice::Named("get_time".to_owned());
        let named = ask(&agent(name), with_tools("x", named)).await;
        assert_eq!(called(&named), ["get_time {\"q\":1}"], "{name}");
    }
    let forbidden = ask(&demo, with_tools("call: get_time", ToolChoice::None)).await;
    assert_eq!(
        (forbidden.calls.len(), forbidden.finish),
        (0, Some(FinishReason::Stop))
    );
}

#[tokio::test]
async fn tool_results_are_read_back() {
    let mut answered = with_tools("", ToolChoice::Auto);
    let mut result = Message::text(Role::Tool, "12 degrees");
    result.tool_call_id = Some("call_1".to_owned());
    answered.turn.current = vec![result];
    let answer = ask(&agent("demo"), answered).await;
    assert_eq!(answer.text(), "The tool answered call_1: 12 degrees");
}

#[tokio::test]
async fn steered_messages_are_answered_one_after_the_other() {
    for name in ["echo", "echo?ttftMs=1"] {
        let Room { steer, context, .. } = room();
        for text in ["two", "three"] {
            steer.try_send(steered(text)).unwrap();
        }
        let mut stream = agent(name).run(turn("one"), context);
        let mut answer = Answer::default();
        while let Some(item) = stream.next().await {
            answer.add(item);
        }
        assert_eq!(answer.text(), "onetwothree");
        assert_eq!(answer.usage.unwrap().output, 3);
        assert_eq!(answer.finish, Some(FinishReason::Stop));
    }
}

#[tokio::test]
async fn a_steered_demo_agent_knows_what_it_just_answered() {
    let Room { steer, context, .. } = room();
    steer.try_send(steered("what did I say?")).unwrap();
    let mut stream = agent("demo").run(turn("count to 2"), context);
    let mut answer = Answer::default();
    while let Some(item) = stream.next().await {
        answer.add(item);
    }
    assert_eq!(answer.text(), "1 2You said: “count to 2”");
}

#[tokio::test]
async fn a_steered_message_is_not_answered_before_it_is_stored_who_does() {
    let Room { steer, context, .. } = room();
    let message = Message::text(Role::User, "two");
    let (steered, offer) = Steered::new(WireId::parse("w2").unwrap(), message);
    steer.try_send(steered).unwrap();
    let mut stream = agent("echo").run(turn("one"), context);
    let mut answer = Answer::default();
    for _ in 0..100 {
        if let Some(item) = stream.next().now_or_never() {
            answer.add(item.unwrap());
        }
    }
    assert!(!offer.withdraw(), "it was taken");
    assert_eq!(answer.text(), "one");
    drop(offer);
    while let Some(item) = stream.next().await {
        answer.add(item);
    }
    assert_eq!(answer.text(), "onetwo");
}

fn steered(text: &str) -> Steered {
    Steered::new(
        WireId::parse(text).unwrap(),
        Message::text(Role::User, text),
    )
    .0
}

fn scripted(script: serde_json::Value) -> SimAgent {
    let config = SimConfig::parse("script").unwrap();
    SimAgent::new(config.with_script(SimScript::from_value(script).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn a_script_is_followed_step_by_step() {
    let agent = scripted(json!([
        {"match": "weather", "steps": [{"say": "Let me see."}, {"call": {"name": "get_weather"}}]},
        {"match": "tools", "steps": [
            {"think": "hm"}, {"sleepMs": 250}, {"say": "a"},
            {"tool": {"name": "ls", "updates": [1], "result": "r", "isError": true}},
            {"say": " b"}, {"sleepMs": 250}]},
        {"match": "fail", "steps": [
            {"say": "part"}, {"sleepMs": 100},
            {"error": {"status": 503, "code": "busy", "message": "later"}}]},
    ]));
    assert_eq!(agent.isolation(), Isolation::Inline);
    let start = Instant::now();
    let tools = ask(&agent, turn("use Tools")).await;
    assert_eq!(start.elapsed(), Duration::from_millis(500));
    assert_eq!(
        (tools.reasoning.as_str(), tools.text().as_str()),
        ("hm", "a b")
    );
    assert_eq!(tools.tools, ["start ls", "update 1", "result \"r\" true"]);

    let weather = ask(&agent, with_tools("the weather", ToolChoice::Auto)).await;
    assert_eq!(weather.finish, Some(FinishReason::ToolCalls));
    assert_eq!(weather.calls[0].1, "get_weather");
    assert_eq!(weather.calls[0].2, "{\"q\":1}");

    let start = Instant::now();
    let failed = ask(&agent, turn("fail")).await;
    assert_eq!(
        (failed.text().as_str(), start.elapsed().as_millis()),
        ("part", 100)
    );
    let error = failed.error.unwrap();
    assert_eq!(error.code, ErrorCode::UpstreamOverloaded);
    assert_eq!(
        (&*error.message, error.upstream_code.as_deref()),
        ("503 later", Some("busy"))
    );

    let unmatched = ask(&agent, turn("else")).await.error.unwrap();
    assert_eq!(unmatched.code, ErrorCode::InvalidRequest);
    let missing = ask(&SimAgent::new(SimConfig::new(SimMode::Script)), turn("x")).await;
    assert_eq!(missing.error.unwrap().code, ErrorCode::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn a_script_can_ignore_being_cancelled() {
    let agent = scripted(json!([{"steps": [
        {"ignoreCancel": true}, {"say": "a"}, {"sleepMs": 1000}, {"say": "b"}]}]));
    let Room {
        cancel, context, ..
    } = room();
    let mut stream = agent.run(turn("x"), context);
    assert_eq!(stream.next().await, Some(Ok(Event::Text("a".to_owned()))));
    cancel.cancel();
    assert_eq!(stream.next().await, Some(Ok(Event::Text("b".to_owned()))));
}

#[tokio::test]
async fn a_script_that_panics_is_kept_apart() {
    let agent = scripted(json!([{"steps": [{"say": "a"}, {"panic": "on purpose"}]}]));
    assert_eq!(agent.isolation(), Isolation::Task);
    let mut stream = agent.run(turn("x"), room().context);
    let running = tokio::spawn(async move { while stream.next().await.is_some() {} });
    assert!(running.await.unwrap_err().is_panic());
}

#[test]
fn the_model_is_named_as_configured() {
    let model = agent("lorem?tokens=5").model();
    assert_eq!((&*model.provider, &*model.model), ("sim", "lorem?tokens=5"));
}
