//! Sessions behind HTTP calls: who shares one, what the agent sees, idempotency, a broken store.

use std::sync::Arc;

use clawport::error::ErrorCode;
use clawport::internals::session::Fault;
use clawport::internals::session::memory::MemoryLedger;
use clawport::run::{Event, FinishReason, Message, RunError, ToolCallDelta};

use crate::support::http::{Connection, chat, chat_with, frames, streamed_text};
use crate::support::{Puppet, Rig, RigConfig};

fn say(members: &str, text: &str) -> String {
    format!(r#"{{{members}"messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

async fn rig() -> (Rig, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Rig::start(RigConfig::with_agent(agent)).await, puppet)
}

fn texts<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<&'a str> {
    messages
        .into_iter()
        .map(|message| message.text.as_str())
        .collect()
}

#[tokio::test]
async fn calls_of_one_user_share_a_session_and_others_do_not() {
    let (rig, mut puppet) = rig().await;
    let mut connection = rig.connect().await;
    let mut turn = async |headers: &[(&str, &str)], members: &str| {
        connection
            .send(chat_with(headers, &say(members, "question")))
            .await;
        let run = puppet.next().await;
        run.says("answer").await;
        run.ends().await;
        assert_eq!(connection.response().await.status(), 200);
        (run.session.clone(), run.turn.session.len())
    };
    let alice = "agent:main:openai-user:alice";
    assert_eq!(turn(&[], r#""user":"Alice","#).await, (alice.to_owned(), 0));
    assert_eq!(turn(&[], r#""user":"alice","#).await, (alice.to_owned(), 2));
    let (bob, before) = turn(&[], r#""user":"bob","#).await;
    assert_eq!((bob.as_str(), before), ("agent:main:openai-user:bob", 0));
    let (fresh, before) = turn(&[], "").await;
    assert!(fresh.starts_with("agent:main:openai:"), "{fresh}");
    assert_eq!(before, 0);
    let key = [("x-openclaw-session-key", "plainkey")];
    let (named, before) = turn(&key, r#""user":"alice","#).await;
    assert_eq!((named.as_str(), before), ("agent:main:plainkey", 0));
    let full = [("x-openclaw-session-key", "agent:main:plainkey")];
    assert_eq!(turn(&full, "").await, ("agent:main:plainkey".to_owned(), 2));
}

#[tokio::test]
async fn a_session_with_turns_gets_only_the_new_message() {
    let (rig, mut puppet) = rig().await;
    let mut connection = rig.connect().await;
    let body = r#"{"user":"u","messages":[{"role":"system","content":"be brief"},
        {"role":"user","content":"a"},{"role":"assistant","content":"b"},
        {"role":"user","content":"c"}]}"#;
    connection.send(chat(body)).await;
    let run = puppet.next().await;
    assert_eq!(texts(&run.turn.turn.history), ["a", "b"]);
    assert_eq!(run.turn.turn.system.as_deref(), Some("be brief"));
    run.says("d").await;
    run.ends().await;
    assert_eq!(connection.response().await.content(), "d");
    let body = body.replace(
        r#""c"}]"#,
        r#""c"},{"role":"assistant","content":"d"},{"role":"user","content":"e"}]"#,
    );
    connection.send(chat(&body)).await;
    let run = puppet.next().await;
    assert!(run.turn.turn.history.is_empty());
    assert_eq!(texts(run.turn.session.iter()), ["c", "d"]);
    assert_eq!(texts(&run.turn.turn.current), ["e"]);
    assert_eq!(run.turn.turn.system.as_deref(), Some("be brief"));
    run.ends().await;
    assert_eq!(connection.response().await.status(), 200);
}

#[tokio::test]
async fn calls_of_one_session_run_one_after_the_other_and_others_beside() {
    let (rig, mut puppet) = rig().await;
    let mut connections = Vec::new();
    for (user, text) in [("a", "1"), ("a", "2"), ("a", "3")] {
        let mut connection = rig.connect().await;
        connection
            .send(chat(&say(&format!(r#""user":"{user}","#), text)))
            .await;
        // The order of arrival is the order of running, so wait until it is known.
        while rig.metrics.runs_accepted.get() <= connections.len() as u64 {
            tokio::task::yield_now().await;
        }
        connections.push(connection);
    }
    let mut other = rig.connect().await;
    let first = puppet.next().await;
    other.send(chat(&say(r#""user":"b","#, "beside"))).await;
    let beside = puppet.next().await;
    assert_eq!(beside.turn.turn.text(), "beside");
    beside.ends().await;
    assert_eq!(other.response().await.status(), 200);
    assert!(puppet.is_idle());
    assert_eq!(first.turn.turn.text(), "1");
    first.ends().await;
    for text in ["2", "3"] {
        let run = puppet.next().await;
        assert_eq!(run.turn.turn.text(), text);
        run.ends().await;
    }
    for connection in &mut connections {
        assert_eq!(connection.response().await.status(), 200);
    }
}

#[tokio::test]
async fn a_full_queue_is_refused_and_may_be_tried_again() {
    let (agent, mut puppet) = Puppet::new();
    let mut config = RigConfig::with_agent(agent);
    config.scheduler.queue.cap = 1;
    let rig = Rig::start(config).await;
    let mut connections = Vec::new();
    for n in 0..2 {
        let mut connection = rig.connect().await;
        connection.send(chat(&say(r#""user":"u","#, "x"))).await;
        while rig.metrics.runs_accepted.get() <= n {
            tokio::task::yield_now().await;
        }
        connections.push(connection);
    }
    for stream in ["", r#""stream":true,"#] {
        let body = say(&format!(r#""user":"u",{stream}"#), "x");
        let refused = rig.connect().await.ask(chat(&body)).await;
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.json()["error"]["code"], "gateway_overloaded");
        assert!(refused.header("retry-after").is_some());
        assert_eq!(refused.header("x-should-retry"), Some("true"));
    }
    for connection in &mut connections {
        puppet.next().await.ends().await;
        assert_eq!(connection.response().await.status(), 200);
    }
}

const KEY: (&str, &str) = ("Idempotency-Key", "key-1");

async fn finish(connection: &mut Connection, puppet: &mut Puppet, text: &str) -> String {
    let run = puppet.next().await;
    run.says(text).await;
    run.ends().await;
    let response = connection.response().await;
    assert_eq!(response.content(), text);
    response.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_same_key_gives_the_same_run() {
    let (rig, mut puppet) = rig().await;
    let mut connection = rig.connect().await;
    let body = say("", "once");
    connection.send(chat_with(&[KEY], &body)).await;
    let id = finish(&mut connection, &mut puppet, "done").await;
    let again = connection.ask(chat_with(&[KEY], &body)).await;
    assert_eq!(
        (again.content().as_str(), &again.json()["id"]),
        ("done", &id.as_str().into())
    );
    assert!(puppet.is_idle());

    let other = connection
        .ask(chat_with(&[KEY], &say("", "different")))
        .await;
    assert_eq!(other.status(), 409);
    assert_eq!(other.header("x-should-retry"), Some("false"));
    let other_session = [KEY, ("x-openclaw-session-key", "s")];
    assert_eq!(
        connection
            .ask(chat_with(&other_session, &body))
            .await
            .status(),
        409
    );

    let second_key = [("Idempotency-Key", "key-2")];
    connection.send(chat_with(&second_key, &body)).await;
    assert_ne!(finish(&mut connection, &mut puppet, "anew").await, id);
    let too_long = "k".repeat(257);
    let long = [("Idempotency-Key", too_long.as_str())];
    assert_eq!(connection.ask(chat_with(&long, &body)).await.status(), 400);
}

#[tokio::test]
async fn the_same_key_joins_a_run_that_goes_on() {
    let (rig, mut puppet) = rig().await;
    let (mut first, mut second) = (rig.connect().await, rig.connect().await);
    let body = say(r#""stream":true,"#, "once");
    first.send(chat_with(&[KEY], &body)).await;
    let run = puppet.next().await;
    run.says("a").await;
    second.send(chat_with(&[KEY], &body)).await;
    assert_eq!(second.head().await.status, 200);
    run.says("b").await;
    run.ends().await;
    for (connection, head_read) in [(&mut first, false), (&mut second, true)] {
        if !head_read {
            connection.head().await;
        }
        let mut text = String::new();
        while let Some(chunk) = connection.chunk().await {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert_eq!(streamed_text(&text), "ab");
    }
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn an_answer_is_found_again_after_a_restart() {
    let ledger = Arc::new(MemoryLedger::new());
    let body = say("", "once");
    let id = {
        let (agent, mut puppet) = Puppet::new();
        let mut config = RigConfig::with_agent(agent);
        config.ledger = Arc::clone(&ledger);
        let rig = Rig::start(config).await;
        let mut connection = rig.connect().await;
        connection.send(chat_with(&[KEY], &body)).await;
        finish(&mut connection, &mut puppet, "kept").await
    };
    let (agent, mut puppet) = Puppet::new();
    let mut config = RigConfig::with_agent(agent);
    config.ledger = Arc::new(ledger.reopen());
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    let again = connection.ask(chat_with(&[KEY], &body)).await;
    assert_eq!(
        (again.content().as_str(), &again.json()["id"]),
        ("kept", &id.as_str().into())
    );
    // The body decides what a key stands for, so a stream of it is another request.
    let streamed = say(r#""stream":true,"#, "once");
    assert_eq!(
        connection.ask(chat_with(&[KEY], &streamed)).await.status(),
        409
    );
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn a_stored_answer_streams_again() {
    let (rig, mut puppet) = rig().await;
    let mut connection = rig.connect().await;
    let body = say(r#""stream":true,"#, "once");
    let mut texts = Vec::new();
    for attempt in 0..2 {
        connection.send(chat_with(&[KEY], &body)).await;
        if attempt == 0 {
            let run = puppet.next().await;
            run.says("hello").await;
            run.ends().await;
        }
        let response = connection.response().await;
        assert_eq!(frames(response.text()).last().unwrap(), "[DONE]");
        texts.push(streamed_text(response.text()));
    }
    assert_eq!(texts, ["hello", "hello"]);
}

#[tokio::test]
async fn a_run_that_fails_answers_with_its_class_and_asks_not_to_be_repeated() {
    let (rig, mut puppet) = rig().await;
    let mut connection = rig.connect().await;
    for (code, status, kind) in [
        (ErrorCode::UpstreamAuth, 502, "api_error"),
        (ErrorCode::UpstreamRequest, 400, "invalid_request_error"),
        (ErrorCode::UpstreamRateLimit, 429, "rate_limit_error"),
        (ErrorCode::UpstreamFailed, 502, "api_error"),
        (ErrorCode::UpstreamTimeout, 504, "api_error"),
        (ErrorCode::ContextOverflow, 413, "invalid_request_error"),
        (ErrorCode::AgentFailed, 500, "api_error"),
    ] {
        connection.send(chat(&say("", "x"))).await;
        let run = puppet.next().await;
        run.says("half").await;
        run.fails(RunError::new(code, "what happened")).await;
        let response = connection.response().await;
        assert_eq!(response.status(), status, "{code:?}");
        assert_eq!(response.json()["error"]["type"], kind);
        assert_eq!(response.header("x-should-retry"), Some("false"));
        assert_eq!(response.header("www-authenticate"), None);
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_that_could_not_be_stored() {
    let ledger = Arc::new(MemoryLedger::new());
    let (agent, mut puppet) = Puppet::new();
    let mut config = RigConfig::with_agent(agent);
    config.ledger = Arc::clone(&ledger);
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    ledger.fail_writes(Some(Fault::DiskFull));
    let refused = connection.ask(chat(&say(r#""user":"u","#, "x"))).await;
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "store_failed");
    assert!(puppet.is_idle());
    // A call that stores nothing does not mind.
    connection.send(chat(&say("", "x"))).await;
    finish(&mut connection, &mut puppet, "fine").await;

    ledger.fail_writes(None);
    connection.send(chat(&say(r#""user":"u","#, "x"))).await;
    let run = puppet.next().await;
    ledger.fail_writes(Some(Fault::DiskFull));
    run.says("lost").await;
    run.ends().await;
    let failed = connection.response().await;
    assert_eq!(failed.status(), 503, "{}", failed.text());
    assert_eq!(failed.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn calls_and_reasoning_are_in_the_answer_a_key_finds_again() {
    let ledger = Arc::new(MemoryLedger::new());
    let body = r#"{"messages":[{"role":"user","content":"x"}],
        "tools":[{"type":"function","function":{"name":"f"}}]}"#;
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig {
        agents: vec![("thinker", agent)],
        default_agent: Some("thinker"),
        ledger: Arc::clone(&ledger),
        ..RigConfig::default()
    })
    .await;
    let mut connection = rig.connect().await;
    connection.send(chat_with(&[KEY], body)).await;
    let run = puppet.next().await;
    run.yields(Event::Reasoning("hm".to_owned())).await;
    run.yields(Event::ToolCall(ToolCallDelta {
        index: 0,
        id: Some("c1".to_owned()),
        name: Some("f".to_owned()),
        arguments: r#"{"a":1}"#.to_owned(),
    }))
    .await;
    run.yields(Event::Finished(FinishReason::ToolCalls)).await;
    let first = connection.response().await;
    let choice = first.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["reasoning_content"], "hm");
    let again = connection.ask(chat_with(&[KEY], body)).await;
    assert_eq!(again.text(), first.text());

    let (agent, _puppet) = Puppet::new();
    let rig = Rig::start(RigConfig {
        agents: vec![("thinker", agent)],
        default_agent: Some("thinker"),
        ledger: Arc::new(ledger.reopen()),
        ..RigConfig::default()
    })
    .await;
    let again = rig.connect().await.ask(chat_with(&[KEY], body)).await;
    let found = again.json()["choices"][0].clone();
    assert_eq!(
        found["message"]["tool_calls"],
        choice["message"]["tool_calls"]
    );
    assert_eq!(found["finish_reason"], "tool_calls");
    assert_eq!(found["message"]["reasoning_content"], "hm");
}
