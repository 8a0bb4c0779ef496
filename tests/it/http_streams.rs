//! Streamed answers: order of frames, errors inside, silence, drain, characters.

use std::time::Duration;

use clawport::error::ErrorCode;
use clawport::internals::shutdown::Phase;
use clawport::run::{AbortCause, Event, FinishReason, RunError, ToolCallDelta, Usage};
use serde_json::{Value, json};

use crate::support::http::{Connection, chat, frames, streamed_text};
use crate::support::{Puppet, PuppetRun, Rig, RigConfig};

/// A streamed call with these further members.
fn stream(members: &str) -> String {
    chat(&format!(
        r#"{{"stream":true,{members}"messages":[{{"role":"user","content":"hi"}}]}}"#
    ))
}

struct Open {
    rig: Rig,
    connection: Connection,
    run: PuppetRun,
    first: String,
}

/// Opens a stream on a puppet; `agent` is what the puppet is called.
async fn open_as(agent_id: &'static str, members: &str, config: RigConfig) -> Open {
    let (agent, mut puppet) = Puppet::new();
    let config = RigConfig {
        agents: vec![(agent_id, agent)],
        default_agent: Some(agent_id),
        ..config
    };
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    connection.send(stream(members)).await;
    let head = connection.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let first = connection.events().await;
    let run = puppet.next().await;
    Open {
        rig,
        connection,
        run,
        first,
    }
}

async fn open(members: &str) -> Open {
    open_as("main", members, RigConfig::default()).await
}

/// Reads the stream to its end.
async fn rest(connection: &mut Connection) -> String {
    let mut text = String::new();
    while let Some(chunk) = connection.chunk().await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    text
}

fn parse(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap_or_else(|_| panic!("{frame}"))
}

#[tokio::test]
async fn the_role_chunk_comes_before_the_agent_says_anything() {
    let mut open = open(r#""model":"openclaw:main","#).await;
    let role = parse(&frames(&open.first)[0]);
    let id = role["id"].as_str().unwrap();
    assert!(id.starts_with("chatcmpl_"));
    assert_eq!(
        role["choices"],
        json!([{"index": 0, "delta": {"role": "assistant"}, "finish_reason": null}])
    );
    open.run.says("Hel").await;
    let hel = open.connection.events().await;
    assert_eq!(streamed_text(&hel), "Hel");
    open.run.says("lo!").await;
    open.run.ends().await;
    let rest = rest(&mut open.connection).await;
    let frames = frames(&rest);
    let (done, chunks) = frames.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    let finish = parse(chunks.last().unwrap());
    assert_eq!(
        finish["choices"],
        json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    );
    for chunk in chunks {
        let chunk = parse(chunk);
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["model"], "openclaw:main");
        assert_eq!(
            (&chunk["id"], &chunk["created"]),
            (&role["id"], &role["created"])
        );
        assert!(chunk["choices"].is_array() && chunk.get("usage").is_none());
    }
    assert_eq!(streamed_text(&hel) + &streamed_text(&rest), "Hello!");
}

#[tokio::test]
async fn the_headers_of_a_stream_keep_proxies_from_holding_it_back() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    connection.send(stream("")).await;
    let head = connection.head().await;
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(head.header("connection"), Some("keep-alive"));
    assert_eq!(head.header("content-length"), None);
    let run_id = head.header("x-openclaw-run-id").unwrap().to_owned();
    let first = connection.events().await;
    assert_eq!(parse(&frames(&first)[0])["id"], run_id.as_str());
    puppet.next().await.ends().await;
    rest(&mut connection).await;
    // A finished stream leaves the connection usable.
    connection.send(stream("")).await;
    assert_eq!(connection.head().await.status, 200);
}

#[tokio::test]
async fn usage_comes_last_and_only_when_asked_for() {
    let mut open = open(r#""stream_options":{"include_usage":true},"#).await;
    open.run.says("x").await;
    let usage = Usage {
        input: 812,
        output: 4,
        cached: 5,
        ..Usage::default()
    };
    open.run.yields(Event::Usage(usage)).await;
    open.run.ends().await;
    let all = frames(&rest(&mut open.connection).await);
    let usage = parse(&all[all.len() - 2]);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        usage["usage"],
        json!({"prompt_tokens": 812, "completion_tokens": 4, "total_tokens": 816,
               "prompt_tokens_details": {"cached_tokens": 5}})
    );
    for frame in &all[..all.len() - 2] {
        assert!(parse(frame).get("usage").is_none());
    }
}

#[tokio::test]
async fn an_answer_without_text_says_so() {
    let mut open = open("").await;
    open.run.ends().await;
    let text = rest(&mut open.connection).await;
    assert_eq!(streamed_text(&text), "No response from OpenClaw.");
}

#[tokio::test]
async fn client_tools_end_the_turn_with_their_calls() {
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}],"#;
    let mut open = open(tools).await;
    assert_eq!(open.run.turn.turn.tools.len(), 1);
    let piece = |id: Option<&str>, arguments: &str| {
        Event::ToolCall(ToolCallDelta {
            index: 0,
            id: id.map(str::to_owned),
            name: id.map(|_| "f".to_owned()),
            arguments: arguments.to_owned(),
        })
    };
    open.run.yields(piece(Some("c1"), "")).await;
    open.run.yields(piece(None, r#"{"q":"#)).await;
    open.run.yields(piece(None, "1}")).await;
    open.run
        .yields(Event::Finished(FinishReason::ToolCalls))
        .await;
    let all = frames(&rest(&mut open.connection).await);
    let calls: Vec<_> = all
        .iter()
        .filter(|frame| *frame != "[DONE]")
        .map(|frame| parse(frame)["choices"][0]["delta"]["tool_calls"][0].clone())
        .filter(|call| !call.is_null())
        .collect();
    assert_eq!(calls[0]["id"], "c1");
    assert_eq!(calls[0]["function"], json!({"name": "f", "arguments": ""}));
    let arguments: String = calls
        .iter()
        .map(|c| c["function"]["arguments"].as_str().unwrap())
        .collect();
    assert_eq!(arguments, r#"{"q":1}"#);
    let finish = parse(&all[all.len() - 2]);
    assert_eq!(finish["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn the_tools_of_the_agent_stay_inside() {
    let mut open = open("").await;
    let call = Event::ToolStart {
        id: "t1".to_owned(),
        name: "exec".to_owned(),
        arguments: json!({}),
    };
    open.run.yields(call).await;
    open.run.yields(Event::Reasoning("hidden".to_owned())).await;
    open.run.says("done").await;
    open.run.ends().await;
    let text = rest(&mut open.connection).await;
    assert!(!text.contains("exec") && !text.contains("hidden"), "{text}");
    assert_eq!(streamed_text(&text), "done");
}

#[tokio::test]
async fn reasoning_is_shown_where_the_agent_is_configured_to() {
    let mut open = open_as("thinker", "", RigConfig::default()).await;
    open.run.yields(Event::Reasoning("hm".to_owned())).await;
    open.run.says("done").await;
    open.run.ends().await;
    let text = rest(&mut open.connection).await;
    let reasoning = parse(&frames(&text)[0])["choices"][0]["delta"]["reasoning_content"].clone();
    assert_eq!(reasoning, "hm");
}

#[tokio::test]
async fn a_run_that_fails_sends_an_error_and_no_finish_chunk() {
    let mut open = open("").await;
    open.run.says("half").await;
    let error = RunError::new(ErrorCode::UpstreamFailed, "secret detail");
    open.run.fails(error).await;
    let text = rest(&mut open.connection).await;
    assert_eq!(streamed_text(&text), "half");
    let all = frames(&text);
    assert_eq!(
        all[all.len() - 2..],
        [
            r#"{"error":{"message":"upstream provider error","type":"api_error"}}"#,
            "[DONE]"
        ]
    );
    assert!(!text.contains("\"stop\""));
}

#[tokio::test]
async fn a_request_that_is_wrong_is_json_even_when_a_stream_was_asked_for() {
    let rig = Rig::start(RigConfig::default()).await;
    let response = rig
        .connect()
        .await
        .ask(stream(r#""model":"openclaw:nope","#))
        .await;
    assert_eq!(response.status(), 400);
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/json; charset=utf-8"));
    assert_eq!(response.message(), "Unknown agent 'nope'.");
}

#[tokio::test]
async fn silence_is_filled_with_comments() {
    let mut config = RigConfig::default();
    config.transport.sse_heartbeat = Duration::from_millis(30);
    let mut open = open_as("main", "", config).await;
    for _ in 0..3 {
        assert_eq!(open.connection.events().await, ": keepalive\n\n");
    }
    open.run.says("a").await;
    open.run.ends().await;
    let text = rest(&mut open.connection).await;
    assert_eq!(streamed_text(&text), "a");
}

#[tokio::test]
async fn a_queued_stream_shows_its_role_and_comments_while_it_waits() {
    let (agent, mut puppet) = Puppet::new();
    let mut config = RigConfig::with_agent(agent);
    config.transport.sse_heartbeat = Duration::from_millis(30);
    let rig = Rig::start(config).await;
    let (mut first, mut second) = (rig.connect().await, rig.connect().await);
    first.send(stream(r#""user":"same","#)).await;
    let run = puppet.next().await;
    second.send(stream(r#""user":"same","#)).await;
    assert_eq!(second.head().await.status, 200);
    assert!(second.events().await.contains("assistant"));
    assert_eq!(second.events().await, ": keepalive\n\n");
    assert!(puppet.is_idle());
    run.ends().await;
    let next = puppet.next().await;
    next.says("second").await;
    next.ends().await;
    assert_eq!(streamed_text(&rest(&mut second).await), "second");
}

#[tokio::test]
async fn no_chunk_ever_splits_a_character() {
    let mut open = open("").await;
    let text = "🦀漢字ä".repeat(20_000);
    for piece in text.chars().collect::<Vec<_>>().chunks(777) {
        open.run.says(&piece.iter().collect::<String>()).await;
    }
    open.run.ends().await;
    let mut seen = String::new();
    while let Some(chunk) = open.connection.chunk().await {
        // Every chunk is text by itself and holds whole frames.
        let chunk = String::from_utf8(chunk).unwrap();
        seen.push_str(&streamed_text(&chunk));
    }
    assert_eq!(seen, text);
}

#[tokio::test]
async fn a_stream_never_holds_any_line_but_data_and_comments() {
    let mut config = RigConfig::default();
    config.transport.sse_heartbeat = Duration::from_millis(20);
    let mut open = open_as("main", "", config).await;
    assert_eq!(open.connection.events().await, ": keepalive\n\n");
    open.run.says("line\nbreak\r\ndata: x\n\nid: 5").await;
    open.run.ends().await;
    let text = open.first + &rest(&mut open.connection).await;
    for line in text.lines().filter(|line| !line.is_empty()) {
        assert!(
            line.starts_with("data: ") || line.starts_with(": "),
            "{line:?}"
        );
    }
    assert_eq!(streamed_text(&text), "line\nbreak\r\ndata: x\n\nid: 5");
}

#[tokio::test]
async fn a_stream_goes_on_while_the_gateway_drains() {
    let mut open = open("").await;
    open.rig.drain.advance(Phase::Draining);
    open.rig.scheduler.drain();
    let refused = open.rig.connect().await.ask(stream("")).await;
    assert_eq!(refused.status(), 503);
    open.run.says("to the end").await;
    open.run.ends().await;
    let text = rest(&mut open.connection).await;
    assert_eq!(streamed_text(&text), "to the end");
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_stream_cut_by_the_restart_says_so() {
    let mut open = open("").await;
    open.run.says("half").await;
    assert_eq!(streamed_text(&open.connection.events().await), "half");
    open.rig
        .scheduler
        .cancel_where(|_run| true, AbortCause::Restart);
    let all = frames(&rest(&mut open.connection).await);
    let error = parse(&all[0]);
    assert_eq!(error["error"]["code"], "gateway_restarting");
    assert_eq!(all[1], "[DONE]");
}

#[tokio::test]
async fn a_run_stopped_by_somebody_else_is_an_error() {
    let mut open = open("").await;
    open.run.says("half").await;
    let id = parse(&frames(&open.first)[0])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let wire_id = clawport::ids::WireId::parse(&id).unwrap();
    let logs = open.rig.dispatch.logs().by_wire_id(&wire_id);
    let run_id = logs[0].info().run_id;
    open.rig.scheduler.cancel(run_id, AbortCause::Rpc);
    let text = rest(&mut open.connection).await;
    let all = frames(&text);
    assert_eq!(parse(&all[all.len() - 2])["error"]["code"], "run_aborted");
}

#[tokio::test]
async fn many_streams_at_once_each_get_their_own_text() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connections = Vec::new();
    for n in 0..20 {
        let mut connection = rig.connect().await;
        let body = format!(r#"{{"stream":true,"messages":[{{"role":"user","content":"{n}"}}]}}"#);
        connection.send(chat(&body)).await;
        connections.push(connection);
    }
    for _ in 0..20 {
        let run = puppet.next().await;
        let asked = run.turn.turn.text();
        run.says(&format!("answer {asked}")).await;
        run.ends().await;
    }
    let mut ids = std::collections::HashSet::new();
    for (n, connection) in connections.iter_mut().enumerate() {
        let head = connection.head().await;
        assert!(ids.insert(head.header("x-openclaw-run-id").unwrap().to_owned()));
        let text = rest(connection).await;
        assert_eq!(streamed_text(&text), format!("answer {n}"));
    }
}
