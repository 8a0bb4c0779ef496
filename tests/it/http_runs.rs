//! Runs as resources over HTTP: their state, their events from any place on, stopping them, and who
//! may know of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use clawport::internals::auth::{
    AuthMethod, AuthMode, Locality, OriginPolicy, Principal, Role, Rules, ScopeSet,
};
use clawport::internals::dispatch::{AgentRun, Caller, Started};
use clawport::internals::session::memory::MemoryLedger;
use clawport::internals::shutdown::Phase;
use clawport::run::{Event, FinishReason, ToolCallDelta, Usage};
use serde_json::{Value, json};

use crate::support::http::{Connection, chat, request};
use crate::support::{Puppet, PuppetRun, Response, Rig, RigConfig, Served, Setup, TOKEN};

/// A frame of a run's events.
#[derive(Clone, Debug, PartialEq)]
struct Frame {
    id: Option<u64>,
    data: Value,
}

fn frames(text: &str) -> Vec<Frame> {
    let whole = text.split_terminator("\n\n");
    let whole = whole.filter(|frame| !frame.starts_with(':'));
    whole.map(frame).collect()
}

fn frame(text: &str) -> Frame {
    let (mut id, mut name, mut data) = (None, None, Value::Null);
    for line in text.lines() {
        let (field, value) = line.split_once(": ").unwrap();
        match field {
            "id" => id = Some(value.parse().unwrap()),
            "event" => name = Some(value.to_owned()),
            "data" => data = serde_json::from_str(value).unwrap(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(data["type"], name.unwrap(), "{text}");
    if data.get("seq").is_some() || id.is_some() {
        assert_eq!(data["seq"], json!(id), "{text}");
    }
    Frame { id, data }
}

fn text_of(frames: &[Frame]) -> String {
    let texts = frames.iter().filter(|frame| frame.data["type"] == "text");
    texts
        .map(|frame| frame.data["text"].as_str().unwrap())
        .collect()
}

fn authorized(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let token = format!("Bearer {TOKEN}");
    let mut all = vec![("Authorization", token.as_str())];
    all.extend_from_slice(headers);
    request(method, path, &all, "")
}

fn get(path: &str) -> String {
    authorized("GET", path, &[])
}

async fn state(connection: &mut Connection, id: &str) -> Value {
    let response = connection.ask(get(&format!("/v1/runs/{id}"))).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    response.json()
}

async fn events(connection: &mut Connection, id: &str, after: u64) -> Response {
    let path = format!("/v1/runs/{id}/events?after={after}");
    connection.ask(get(&path)).await
}

async fn cancel(connection: &mut Connection, id: &str) -> Value {
    let path = format!("/v1/runs/{id}/cancel");
    let response = connection.ask(authorized("POST", &path, &[])).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    response.json()
}

async fn rig() -> (Rig, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Rig::start(RigConfig::with_agent(agent)).await, puppet)
}

/// Starts a streamed call of this user and returns the id of its run.
async fn stream(connection: &mut Connection, user: &str) -> String {
    let body = format!(
        r#"{{"user":"{user}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}"#
    );
    connection.send(chat(&body)).await;
    let head = connection.head().await;
    assert_eq!(head.status, 200);
    let id = head.header("x-openclaw-run-id").unwrap().to_owned();
    let first = connection.events().await;
    assert!(first.contains(&format!(r#""id":"{id}""#)), "{first}");
    id
}

async fn say(run: &PuppetRun, id: &str, rig: &Rig, texts: &[&str]) {
    let log = || {
        let wire_id = clawport::ids::WireId::parse(id).unwrap();
        rig.dispatch.logs().by_wire_id(&wire_id).remove(0)
    };
    for text in texts {
        let before = log().text_bytes();
        run.says(text).await;
        // The next delta is to be one of its own.
        while log().text_bytes() == before {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_run_is_queued_then_active_then_ended() {
    let (rig, mut puppet) = rig().await;
    let (mut first, mut second) = (rig.connect().await, rig.connect().await);
    let mut reader = rig.connect().await;
    let one = stream(&mut first, "u").await;
    let run = puppet.next().await;
    let two = stream(&mut second, "u").await;
    let active = state(&mut reader, &one).await;
    assert_eq!(
        (&active["status"], &active["id"]),
        (&json!("active"), &json!(one))
    );
    assert_eq!(active["session_key"], "agent:main:openai-user:u");
    assert!(active["started_at_ms"].as_u64() >= active["accepted_at_ms"].as_u64());
    let queued = state(&mut reader, &two).await;
    assert_eq!(queued["status"], "queued");
    assert_eq!(queued.get("started_at_ms"), None);
    run.says("hello").await;
    let usage = Usage {
        input: 3,
        output: 1,
        ..Usage::default()
    };
    run.yields(Event::Usage(usage)).await;
    run.ends().await;
    first.rest_of_stream().await;
    let ended = state(&mut reader, &one).await;
    assert_eq!(ended["status"], "ok");
    assert_eq!(ended["text"], "hello");
    assert_eq!(ended["finish_reason"], "stop");
    assert_eq!(ended["usage"]["total_tokens"], 4);
    assert_eq!(ended.get("error"), None);
    puppet.next().await.ends().await;
    second.rest_of_stream().await;
}

#[tokio::test]
async fn a_reader_goes_on_from_every_event_without_loss_or_double() {
    let (rig, mut puppet) = rig().await;
    let (mut caller, mut reader) = (rig.connect().await, rig.connect().await);
    let id = stream(&mut caller, "u").await;
    let run = puppet.next().await;
    say(&run, &id, &rig, &["Hel", "lo ", "wörld"]).await;
    run.yields(Event::ToolCall(ToolCallDelta {
        index: 0,
        id: Some("c1".to_owned()),
        name: Some("f".to_owned()),
        arguments: "{}".to_owned(),
    }))
    .await;
    say(&run, &id, &rig, &["!"]).await;
    run.yields(Event::Finished(FinishReason::ToolCalls)).await;
    caller.rest_of_stream().await;
    let response = events(&mut reader, &id, 0).await;
    assert_eq!(
        response.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let whole = frames(response.text());
    assert_eq!(whole.first().unwrap().data["type"], "started");
    assert_eq!(text_of(&whole), "Hello wörld!");
    let last = whole.last().unwrap();
    assert_eq!(last.data["type"], "end");
    assert_eq!(last.data["finish_reason"], "tool_calls");
    let mut read = String::new();
    for frame in &whole {
        if frame.data["type"] == "text" {
            read.push_str(frame.data["text"].as_str().unwrap());
        }
        let after = frame.id.unwrap();
        let rest = events(&mut reader, &id, after).await;
        if frame == last {
            assert_eq!((rest.status(), rest.text()), (204, ""));
        } else {
            let rest = frames(rest.text());
            assert!(rest.iter().all(|frame| frame.id.unwrap() > after));
            assert_eq!(format!("{read}{}", text_of(&rest)), "Hello wörld!");
        }
    }
    let state = state(&mut reader, &id).await;
    assert_eq!(state["tool_calls"][0]["function"]["name"], "f");
    assert_eq!(state["last_event"], json!(last.id));
}

#[tokio::test]
async fn a_reader_that_comes_back_while_the_run_goes_on_sees_its_end() {
    let (rig, mut puppet) = rig().await;
    let (mut caller, mut reader) = (rig.connect().await, rig.connect().await);
    let id = stream(&mut caller, "u").await;
    let run = puppet.next().await;
    say(&run, &id, &rig, &["one ", "two "]).await;
    let path = format!("/v1/runs/{id}/events");
    reader.send(get(&path)).await;
    assert_eq!(reader.head().await.status, 200);
    let seen = frames(&reader.events().await);
    assert_eq!(text_of(&seen), "one two ");
    let cursor = seen.last().unwrap().id.unwrap().to_string();
    drop(reader);
    say(&run, &id, &rig, &["three "]).await;
    let mut reader = rig.connect().await;
    // A reader that reconnects by itself repeats its first query; the header says where it is.
    let again = authorized(
        "GET",
        &format!("{path}?after=0"),
        &[("Last-Event-ID", cursor.as_str())],
    );
    reader.send(again).await;
    assert_eq!(reader.head().await.status, 200);
    assert_eq!(text_of(&frames(&reader.events().await)), "three ");
    run.says("four").await;
    run.ends().await;
    let rest = String::from_utf8(reader.rest_of_stream().await).unwrap();
    let rest = frames(&rest);
    assert_eq!(text_of(&rest), "four");
    assert_eq!(rest.last().unwrap().data["status"], "ok");
    caller.rest_of_stream().await;
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_the_run_alone() {
    let (rig, mut puppet) = rig().await;
    let (mut caller, mut reader) = (rig.connect().await, rig.connect().await);
    let id = stream(&mut caller, "u").await;
    let run = puppet.next().await;
    reader.send(get(&format!("/v1/runs/{id}/events"))).await;
    assert_eq!(reader.head().await.status, 200);
    drop(reader);
    run.says("still here").await;
    run.ends().await;
    let rest = String::from_utf8(caller.rest_of_stream().await).unwrap();
    assert!(rest.contains("still here") && rest.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_cursor_that_is_not_in_the_log_is_answered_plainly() {
    let (rig, mut puppet) = rig().await;
    let (mut caller, mut reader) = (rig.connect().await, rig.connect().await);
    let id = stream(&mut caller, "u").await;
    let run = puppet.next().await;
    say(&run, &id, &rig, &["kept"]).await;
    // More than the log has room for, so that the oldest of these go.
    for _ in 0..20 {
        run.yields(Event::Reasoning("r".repeat(100_000))).await;
    }
    say(&run, &id, &rig, &[" text"]).await;
    let gone = events(&mut reader, &id, 3).await;
    assert_eq!(gone.status(), 410);
    assert_eq!(gone.json()["error"]["code"], "cursor_gone");
    assert_eq!(gone.json()["error"]["param"], "after");
    let never = events(&mut reader, &id, 1_000_000).await;
    assert_eq!(never.status(), 410);
    for wrong in ["x", "-1", "1.5", "99999999999999999999999"] {
        let path = format!("/v1/runs/{id}/events?after={wrong}");
        let response = reader.ask(get(&path)).await;
        assert_eq!(response.status(), 400, "{wrong}");
        assert_eq!(response.json()["error"]["param"], "after");
    }
    run.ends().await;
    caller.rest_of_stream().await;
    // From the start on a reader is told what it misses, and no text is missing.
    let whole = frames(events(&mut reader, &id, 0).await.text());
    assert!(whole.iter().any(|frame| frame.data["type"] == "gap"));
    assert!(
        whole.iter().all(|frame| frame.data["type"] != "reasoning"),
        "this agent does not show what it thinks"
    );
    assert_eq!(text_of(&whole), "kept text");
}

#[tokio::test]
async fn cancelling_stops_the_agent_and_keeps_what_was_written() {
    let (rig, mut puppet) = rig().await;
    let (mut caller, mut other) = (rig.connect().await, rig.connect().await);
    let id = stream(&mut caller, "u").await;
    let run = puppet.next().await;
    say(&run, &id, &rig, &["half"]).await;
    let mut waiting = rig.connect().await;
    let queued = stream(&mut waiting, "u").await;
    let stopped = cancel(&mut other, &queued).await;
    assert_eq!(stopped["status"], "aborted");
    let stopped = cancel(&mut other, &id).await;
    run.given_up().await;
    assert_eq!(stopped["status"], "aborted");
    assert_eq!(stopped["text"], "half");
    assert_eq!(stopped["error"]["code"], "run_aborted");
    let rest = String::from_utf8(caller.rest_of_stream().await).unwrap();
    assert!(
        rest.contains("run_aborted") && !rest.contains("finish_reason\":\"stop"),
        "{rest}"
    );
    // Again is the same, and an end stays what it was.
    assert_eq!(cancel(&mut other, &id).await, stopped);
    rig.quiet().await;
    assert!(puppet.is_idle(), "the run that waited never started");
    let done = stream(&mut caller, "v").await;
    let run = puppet.next().await;
    run.ends().await;
    caller.rest_of_stream().await;
    assert_eq!(cancel(&mut other, &done).await["status"], "ok");
}

#[tokio::test]
async fn a_failed_answer_names_its_run() {
    let (rig, mut puppet) = rig().await;
    let (mut caller, mut reader) = (rig.connect().await, rig.connect().await);
    caller
        .send(chat(r#"{"messages":[{"role":"user","content":"hi"}]}"#))
        .await;
    let run = puppet.next().await;
    let code = clawport::error::ErrorCode::UpstreamTimeout;
    run.fails(clawport::run::RunError::new(code, "x")).await;
    let failed = caller.response().await;
    assert_eq!(failed.status(), 504);
    let id = failed.header("x-openclaw-run-id").unwrap();
    let state = state(&mut reader, id).await;
    assert_eq!(state["status"], "error");
    assert_eq!(state["error"], failed.json()["error"]);
}

#[tokio::test]
async fn a_native_run_is_found_by_its_idempotency_key() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let mut native = served.native().await;
    native.send("main", "a key/with: signs", "hello").await;
    let run = puppet.next().await;
    let mut reader = served.connect().await;
    let id = "a%20key%2Fwith%3A%20signs";
    assert_eq!(state(&mut reader, id).await["status"], "active");
    run.says("native").await;
    run.ends().await;
    native.end("a key/with: signs").await;
    let response = events(&mut reader, id, 0).await;
    assert_eq!(text_of(&frames(response.text())), "native");
}

#[tokio::test]
async fn a_stored_run_is_known_after_a_restart_and_another_is_not() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let mut caller = served.connect().await;
    let kept = stream(&mut caller, "u").await;
    let run = puppet.next().await;
    run.says("kept text").await;
    run.ends().await;
    caller.rest_of_stream().await;
    caller
        .send(chat(r#"{"messages":[{"role":"user","content":"hi"}]}"#))
        .await;
    puppet.next().await.ends().await;
    let response = caller.response().await;
    let fresh = response.header("x-openclaw-run-id").unwrap();
    assert_eq!(state(&mut caller, fresh).await["status"], "ok");
    drop(caller);
    let state_dir = served.stop().await;

    let served = Setup::new(json!({})).over(state_dir).start().await;
    let mut reader = served.connect().await;
    let found = state(&mut reader, &kept).await;
    assert_eq!(found["status"], "ok");
    assert_eq!(found["text"], "kept text");
    assert_eq!(found["finish_reason"], "stop");
    assert_eq!(found.get("last_event"), None);
    let whole = frames(events(&mut reader, &kept, 0).await.text());
    assert_eq!(text_of(&whole), "kept text");
    assert_eq!(whole.last().unwrap().data["status"], "ok");
    let gone = events(&mut reader, &kept, 2).await;
    assert_eq!(gone.status(), 410);
    assert_eq!(gone.json()["error"]["code"], "cursor_gone");
    assert_eq!(cancel(&mut reader, &kept).await["status"], "ok");
    let lost = reader.ask(get(&format!("/v1/runs/{fresh}"))).await;
    assert_eq!(lost.status(), 404);
    assert_eq!(lost.json()["error"]["code"], "run_not_found");
}

/// A caller that came in by another way.
fn stranger(credential: &str) -> Caller {
    Caller {
        principal: Principal {
            method: AuthMethod::None,
            credential: credential.into(),
            device: None,
            role: Role::Operator,
            scopes: ScopeSet::from_header("operator.write"),
            rules: Rules::V4,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            locality: Locality::DirectLocal,
            generation: 0,
        },
        connection: None,
        user: None,
    }
}

#[tokio::test]
async fn the_run_of_another_principal_is_not_there() {
    let (agent, mut puppet) = Puppet::new();
    let ledger = Arc::new(MemoryLedger::new());
    let mut config = RigConfig::with_agent(agent);
    config.auth.mode = AuthMode::None;
    config.auth.origins = OriginPolicy::default();
    config.ledger = Arc::clone(&ledger);
    let rig = Rig::start(config).await;
    let order = AgentRun {
        message: "hi".to_owned(),
        idempotency_key: "theirs".to_owned(),
        ..AgentRun::default()
    };
    let started = rig.dispatch.agent_run(&stranger("somebody"), order).await;
    assert!(matches!(started, Ok(Started::New(_))));
    let run = puppet.next().await;
    let mut connection = rig.connect().await;
    let mut check = async |scopes: Option<&str>, method: &str, path: &str, status: u16| {
        let headers: Vec<_> = scopes.iter().map(|it| ("x-openclaw-scopes", *it)).collect();
        let response = connection.ask(request(method, path, &headers, "")).await;
        assert_eq!(
            response.status(),
            status,
            "{method} {path}: {}",
            response.text()
        );
        response.text().to_owned()
    };
    let narrow = Some("operator.read, operator.write");
    let hidden = check(narrow, "GET", "/v1/runs/theirs", 404).await;
    let unknown = check(narrow, "GET", "/v1/runs/unknown", 404).await;
    assert_eq!(hidden.replace("theirs", "unknown"), unknown);
    check(narrow, "GET", "/v1/runs/theirs/events", 404).await;
    check(narrow, "POST", "/v1/runs/theirs/cancel", 404).await;
    assert!(!run.cancel.is_cancelled());
    // Whoever may do everything sees everything.
    check(None, "GET", "/v1/runs/theirs", 200).await;
    check(Some("operator.write"), "GET", "/v1/runs/theirs/events", 404).await;
    check(Some("operator.read"), "POST", "/v1/runs/theirs/cancel", 403).await;
    check(Some(""), "GET", "/v1/runs/theirs", 403).await;
    run.ends().await;
    rig.quiet().await;

    // The ledger keeps to the same rule.
    let mut config = RigConfig::default();
    config.auth.mode = AuthMode::None;
    config.auth.origins = OriginPolicy::default();
    config.ledger = Arc::new(ledger.reopen());
    let rig = Rig::start(config).await;
    let mut connection = rig.connect().await;
    let path = "/v1/runs/theirs";
    for (scopes, status) in [("operator.read", 404), ("operator.admin", 200)] {
        let asked = request("GET", path, &[("x-openclaw-scopes", scopes)], "");
        assert_eq!(connection.ask(asked).await.status(), status, "{scopes}");
    }
}

#[tokio::test]
async fn paths_methods_and_secrets_are_checked_like_everywhere() {
    let rig = Rig::start(RigConfig::default()).await;
    let mut connection = rig.connect().await;
    for (method, path, status, allow) in [
        ("POST", "/v1/runs/x", 405, Some("GET")),
        ("DELETE", "/v1/runs/x", 405, Some("GET")),
        ("POST", "/v1/runs/x/events", 405, Some("GET")),
        ("GET", "/v1/runs/x/cancel", 405, Some("POST")),
        ("GET", "/v1/runs/x/other", 404, None),
        ("GET", "/v1/runs", 404, None),
        ("GET", "/v1/runs/%ff", 404, None),
        ("GET", "/v1/runs/unknown", 404, None),
        ("GET", "/v1/runs/unknown/", 404, None),
    ] {
        let response = connection.ask(authorized(method, path, &[])).await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.header("allow"), allow, "{method} {path}");
    }
    let long = "x".repeat(300);
    let response = connection.ask(get(&format!("/v1/runs/{long}"))).await;
    assert_eq!(response.status(), 404);
    let open = connection.ask(request("GET", "/v1/runs/x", &[], "")).await;
    assert_eq!(open.status(), 401);
    rig.chat.set(false);
    let off = connection.ask(get("/v1/runs/x")).await;
    assert_eq!((off.status(), off.text()), (404, "Not Found"));
}

#[tokio::test]
async fn runs_can_be_read_and_stopped_while_the_gateway_winds_down() {
    let (rig, mut puppet) = rig().await;
    let (mut caller, mut reader) = (rig.connect().await, rig.connect().await);
    let id = stream(&mut caller, "u").await;
    let run = puppet.next().await;
    rig.drain.advance(Phase::Draining);
    assert_eq!(state(&mut reader, &id).await["status"], "active");
    assert_eq!(cancel(&mut reader, &id).await["status"], "aborted");
    run.given_up().await;
}

#[tokio::test]
async fn the_events_say_what_the_chat_stream_says_and_only_they_have_ids() {
    let served = Served::start(json!({
        "agents": {"defaults": {"model": "sim/lorem?tokens=40&ttftMs=0&tps=10000"}},
    }))
    .await;
    let mut caller = served.connect().await;
    let id = stream(&mut caller, "u").await;
    let rest = String::from_utf8(caller.rest_of_stream().await).unwrap();
    assert!(!rest.contains("\nid:") && !rest.contains("retry:"));
    let mut reader = served.connect().await;
    let whole = frames(events(&mut reader, &id, 0).await.text());
    let state = state(&mut reader, &id).await;
    assert_eq!(state["text"], json!(text_of(&whole)));
    assert!(!text_of(&whole).is_empty());
}
