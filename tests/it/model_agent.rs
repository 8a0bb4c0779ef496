//! The model agent against a scripted model server: what is asked and what is read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clawport::agent::model::{ApiKey, ExtraHeaders, ModelAgent, ModelClient, ModelConfig, Spawner};
use clawport::agent::{Agent, Steered};
use clawport::error::ErrorCode;
use clawport::ids::WireId;
use clawport::run::{Conversation, FinishReason, Message, Role, Tool, ToolCall};
use serde_json::json;

use crate::support::model::{Room, agent_at, agent_of, ask, endpoint, read, room, told, turn};
use crate::support::upstream::{Part, Reply, Upstream};

#[tokio::test]
async fn tokens_are_passed_on_one_by_one_with_their_counts() {
    let upstream = Upstream::start().await;
    let answer = ask(&agent_at(&upstream), turn("hi [[mock tokens=3]]")).await;
    assert_eq!(answer.chunks, ["w0 ", "w1 ", "w2 "]);
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    let usage = answer.usage.unwrap();
    assert_eq!((usage.output, usage.total), (3, Some(usage.input + 3)));
}

#[tokio::test]
async fn a_call_says_who_asks_what() {
    let upstream = Upstream::start().await;
    let mut asked = endpoint(upstream.base_url());
    asked.api_key = Some(ApiKey::parse("key-1").unwrap());
    let mut headers = ExtraHeaders::default();
    headers.insert("X-Title", "mine").unwrap();
    asked.headers = headers;
    let (agent, _) = agent_of(vec![asked], 0);
    ask(&agent, turn("hi")).await;

    let call = &upstream.asked()[0];
    let header = |name| call.headers[name].to_str().unwrap();
    assert_eq!(call.path, "/v1/chat/completions");
    assert_eq!(header("authorization"), "Bearer key-1");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("accept"), "text/event-stream");
    assert_eq!(header("x-title"), "mine");
    assert!(header("user-agent").starts_with("clawport/"));
    assert_eq!(
        call.body,
        json!({"model": "mock-model", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "hi"}]})
    );
}

#[tokio::test]
async fn the_conversation_comes_in_order_with_the_agents_system_text_first() {
    let upstream = Upstream::start().await;
    let spawner = Spawner::new(|task| drop(tokio::spawn(task)));
    let config = ModelConfig {
        endpoints: vec![endpoint(upstream.base_url())],
        system: Some("You are mine.".into()),
        retries: 0,
    };
    let agent = ModelAgent::new(config, ModelClient::new(spawner, Arc::default()));
    let mut asked = turn("now");
    asked.turn.system = Some("Be brief.".to_owned());
    asked.turn.history = vec![Message::text(Role::User, "later")];
    asked.session = Conversation::from_iter([
        Message::text(Role::User, "first"),
        Message::text(Role::Assistant, "answer"),
    ]);
    ask(&agent, asked).await;
    assert_eq!(
        upstream.last_messages(),
        json!([
            {"role": "system", "content": "You are mine.\n\nBe brief."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "answer"},
            {"role": "user", "content": "later"},
            {"role": "user", "content": "now"},
        ])
    );
}

fn weather() -> Tool {
    Tool {
        name: "get_weather".to_owned(),
        description: None,
        parameters: Some(json!({"type": "object", "properties": {"q": {"type": "number"}}})),
        strict: None,
    }
}

#[tokio::test]
async fn a_client_tool_is_called_and_its_result_goes_back_under_its_id() {
    let upstream = Upstream::start().await;
    let agent = agent_at(&upstream);
    let mut first = turn("weather? [[mock tool=get_weather]]");
    first.turn.tools = vec![weather()];
    let called = ask(&agent, first.clone()).await;
    assert_eq!(called.finish, Some(FinishReason::ToolCalls));
    let (id, name, arguments) = called.calls[0].clone();
    assert_eq!(
        (id.as_str(), name.as_str(), arguments.as_str()),
        ("call_mock", "get_weather", "{\"q\":1}")
    );

    let mut calling = Message::text(Role::Assistant, "");
    calling.tool_calls.push(ToolCall {
        id: id.clone(),
        name,
        arguments,
    });
    let mut result = Message::text(Role::Tool, "12 degrees");
    result.tool_call_id = Some(id);
    let mut second = first.clone();
    second.session = first.turn.current.iter().cloned().collect();
    second.session.extend([calling]);
    second.turn.current = vec![result];
    let answer = ask(&agent, second).await;
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    let messages = upstream.last_messages();
    assert_eq!(messages[1]["tool_calls"][0]["id"], "call_mock");
    assert_eq!(
        messages[2],
        json!({"role": "tool", "tool_call_id": "call_mock", "content": "12 degrees"})
    );
}

#[tokio::test]
async fn reasoning_refusals_and_empty_deltas_are_told_apart() {
    let (answer, _) = told([
        Part::delta(&json!({"role": "assistant", "content": null})),
        Part::delta(&json!({"reasoning_content": "hm"})),
        Part::delta(&json!({"reasoning": ", well", "content": ""})),
        Part::text("yes"),
        Part::delta(&json!({"refusal": "no"})),
        Part::event(&json!({"choices": [], "usage": {}})),
        Part::finish("some_new_reason"),
        Part::done(),
    ])
    .await;
    assert_eq!(answer.reasoning, "hm, well");
    assert_eq!(answer.chunks, ["yes", "no"]);
    assert_eq!(
        (answer.finish, answer.usage),
        (Some(FinishReason::Stop), None)
    );
}

#[tokio::test]
async fn an_answer_that_was_cut_by_its_limit_says_so() {
    let (answer, _) = told([Part::text("a"), Part::finish("length"), Part::done()]).await;
    assert_eq!(answer.finish, Some(FinishReason::Length));
}

#[tokio::test]
async fn a_stop_reason_does_not_hide_tool_calls() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f",
        "arguments": {"x": 1}}}]});
    let (answer, _) = told([Part::delta(&call), Part::finish("stop"), Part::done()]).await;
    assert_eq!(answer.finish, Some(FinishReason::ToolCalls));
    assert_eq!(answer.calls[0].2, "{\"x\":1}");
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let upstream = Upstream::start().await;
    let whole = json!({"choices": [{"message": {"role": "assistant", "content": "whole"},
        "finish_reason": "stop"}], "usage": {"prompt_tokens": 2, "completion_tokens": 1}});
    let text = whole.to_string();
    let (first, second) = text.split_at(20);
    let parts = [Part::raw(first.to_owned()), Part::raw(second.to_owned())];
    upstream.replies([Reply::Body(
        "application/json; charset=utf-8",
        parts.to_vec(),
    )]);
    let answer = ask(&agent_at(&upstream), turn("hi")).await;
    assert_eq!(answer.chunks, ["whole"]);
    assert_eq!(answer.usage.unwrap().output, 1);
    assert_eq!(answer.finish, Some(FinishReason::Stop));
}

#[tokio::test]
async fn connections_are_used_again() {
    let upstream = Upstream::start().await;
    let agent = agent_at(&upstream);
    for run in 1..=5 {
        ask(&agent, turn("hi [[mock tokens=2]]")).await;
        upstream.until(|counts| counts.finished == run).await;
        // The end of a body is read in the background.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(upstream.counts().connections, 1);
}

#[tokio::test]
async fn many_runs_at_once_keep_their_answers_apart() {
    let upstream = Upstream::start().await;
    let agent = agent_at(&upstream);
    let runs = (0..32).map(|n| {
        let text = format!("[[mock text=answer_{n} first=50]]");
        let stream = agent.run(turn(&text), room().context);
        async move { (n, read(stream).await.text()) }
    });
    for (n, text) in futures_util::future::join_all(runs).await {
        assert_eq!(text, format!("answer {n}"));
    }
    assert!(upstream.counts().active_max > 1);
}

// The context window.

#[tokio::test]
async fn oldest_turns_are_left_out_when_the_window_is_full() {
    let upstream = Upstream::start().await;
    let mut small = endpoint(upstream.base_url());
    small.context_window = Some(200);
    let (agent, _) = agent_of(vec![small], 0);
    let mut asked = turn("now");
    asked.turn.system = Some("system".to_owned());
    for text in ["old", "new"] {
        let long = format!("{text} {}", "x".repeat(400));
        asked.session.extend([Message::text(Role::User, long)]);
        asked.session.extend([Message::text(Role::Assistant, text)]);
    }
    let answer = ask(&agent, asked.clone()).await;
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    let messages = upstream.last_messages();
    let roles: Vec<_> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["role"])
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert!(messages[1]["content"].as_str().unwrap().starts_with("new"));

    asked.turn.current = vec![Message::text(Role::User, "x".repeat(2_000))];
    let answer = ask(&agent, asked).await;
    assert_eq!(answer.code(), Some(ErrorCode::ContextOverflow));
    assert_eq!(upstream.counts().asked, 1);
}

#[tokio::test]
async fn images_are_not_sent_to_a_model_that_takes_none() {
    let upstream = Upstream::start().await;
    let mut blind = endpoint(upstream.base_url());
    blind.input = vec!["text".into()];
    let mut asked = turn("what is this?");
    asked.turn.current[0].images.push(clawport::run::Image {
        media_type: "image/png".into(),
        bytes: Bytes::from_static(b"png"),
    });
    let answer = ask(&agent_of(vec![blind.clone()], 0).0, asked.clone()).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamRequest));
    assert_eq!(upstream.counts().asked, 0);
    let seeing = endpoint(upstream.base_url());
    let answer = ask(&agent_of(vec![blind, seeing], 0).0, asked).await;
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    let url = &upstream.last_messages()[0]["content"][1]["image_url"]["url"];
    assert_eq!(url, "data:image/png;base64,cG5n");
}

// Messages steered into a run.

fn steered(text: &str) -> Steered {
    Steered::new(
        WireId::parse("w2").unwrap(),
        Message::text(Role::User, text),
    )
    .0
}

#[tokio::test]
async fn steered_messages_are_asked_in_the_same_run() {
    let upstream = Upstream::start().await;
    let stream = |text, tokens| {
        Reply::events([
            Part::text(text),
            Part::finish("stop"),
            Part::usage(10, tokens),
            Part::done(),
        ])
    };
    upstream.replies([stream("one", 1), stream("two and three", 3)]);
    let Room { context, steer, .. } = room();
    steer.try_send(steered("TWO")).unwrap();
    steer.try_send(steered("THREE")).unwrap();
    let answer = read(agent_at(&upstream).run(turn("ONE"), context)).await;
    assert_eq!(answer.text(), "onetwo and three");
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.output, usage.total()), (20, 4, 24));
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    assert_eq!(
        upstream.last_messages(),
        json!([
            {"role": "user", "content": "ONE"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "TWO"},
            {"role": "user", "content": "THREE"},
        ])
    );
}

#[tokio::test]
async fn steered_messages_wait_while_a_client_runs_its_tools() {
    let upstream = Upstream::start().await;
    let Room { context, steer, .. } = room();
    steer.try_send(steered("and?")).unwrap();
    let mut asked = turn("[[mock tool=get_weather]]");
    asked.turn.tools = vec![weather()];
    let answer = read(agent_at(&upstream).run(asked, context)).await;
    assert_eq!(answer.finish, Some(FinishReason::ToolCalls));
    assert_eq!(upstream.counts().asked, 1);
}

#[tokio::test]
async fn a_steered_call_that_fails_fails_the_run_and_keeps_the_text() {
    let upstream = Upstream::start().await;
    upstream.replies([
        Reply::events([Part::text("one"), Part::finish("stop"), Part::done()]),
        Reply::refusal(400, "no"),
    ]);
    let Room { context, steer, .. } = room();
    steer.try_send(steered("TWO")).unwrap();
    let answer = read(agent_at(&upstream).run(turn("ONE"), context)).await;
    assert_eq!(
        (answer.text().as_str(), answer.message()),
        ("one", "400 no")
    );
    assert_eq!(answer.finish, None);
}
