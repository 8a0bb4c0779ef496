//! Recorded answers of the original, request by request.
//!
//! Compared are status, content type, JSON with ids and times masked, and of streams the joined
//! text and the order of kinds. Where clawport answers differently, `exceptions.json` says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clawport::internals::auth::LimiterConfig;
use serde_json::{Value, json};

use crate::support::http::{frames, request, streamed_text};
use crate::support::mock::MockAgent;
use crate::support::{Response, Rig, RigConfig, TOKEN};

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every recorded case by name.
fn cases() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(golden().join("http")).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            let case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, case)
        })
        .collect()
}

fn exceptions() -> BTreeMap<String, Value> {
    let text = std::fs::read(golden().join("exceptions.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The recorded request as text.
fn to_text(case: &Value) -> String {
    let recorded = &case["request"];
    let headers: Vec<(&str, String)> = recorded["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str(),
                value.as_str().unwrap().replace("<token>", TOKEN),
            )
        })
        .collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let body = match recorded["body"].as_str() {
        None => String::new(),
        Some(body) => match body
            .strip_prefix('<')
            .and_then(|b| b.strip_suffix(" bytes>"))
        {
            Some(bytes) => "x".repeat(bytes.parse().unwrap()),
            None => body.to_owned(),
        },
    };
    let method = recorded["method"].as_str().unwrap();
    request(method, recorded["path"].as_str().unwrap(), &headers, &body)
}

/// What of an answer is compared.
#[derive(Debug, PartialEq)]
struct Seen {
    status: Value,
    content_type: Value,
    body: Body,
}

#[derive(Debug, PartialEq)]
enum Body {
    Json(Value),
    Text(String),
    Stream { kinds: Vec<String>, text: String },
}

impl Body {
    fn read(content_type: &str, text: &str) -> Self {
        if content_type.starts_with("text/event-stream") {
            return Self::Stream {
                kinds: kinds(text),
                text: streamed_text(text),
            };
        }
        if content_type.starts_with("application/json") && !text.is_empty() {
            return Self::Json(masked(serde_json::from_str(text).unwrap()));
        }
        Self::Text(text.to_owned())
    }
}

/// The kinds of frames in their order, repeats left out.
fn kinds(stream: &str) -> Vec<String> {
    let mut kinds = Vec::new();
    for frame in frames(stream) {
        let kind = if frame == "[DONE]" {
            "done".to_owned()
        } else {
            kind(&serde_json::from_str(&frame).unwrap())
        };
        if kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

fn kind(chunk: &Value) -> String {
    if !chunk["error"].is_null() {
        return format!("error {}", chunk["error"]);
    }
    if !chunk["usage"].is_null() {
        return format!("usage {}", chunk["usage"]["completion_tokens"]);
    }
    let choice = &chunk["choices"][0];
    match &choice["delta"] {
        delta if !delta["role"].is_null() => "role".to_owned(),
        delta if !delta["content"].is_null() => "content".to_owned(),
        delta if !delta["tool_calls"].is_null() => "call".to_owned(),
        _ => format!("finish {}", choice["finish_reason"].as_str().unwrap()),
    }
}

/// Masks what differs from run to run. Token counts depend on prompts the original adds.
fn masked(mut value: Value) -> Value {
    for pointer in [
        "/created",
        "/uptimeMs",
        "/usage/prompt_tokens",
        "/usage/total_tokens",
    ] {
        let found = value
            .pointer_mut(pointer)
            .filter(|found| **found != json!(0));
        if let Some(found) = found {
            *found = json!("<masked>");
        }
    }
    if value["id"]
        .as_str()
        .is_some_and(|id| id.starts_with("chatcmpl_"))
    {
        value["id"] = json!("<masked>");
    }
    let calls = value.pointer_mut("/choices/0/message/tool_calls");
    for call in calls.and_then(Value::as_array_mut).into_iter().flatten() {
        call["id"] = json!("<masked>");
    }
    value
}

fn seen(response: &Response) -> Seen {
    let content_type = response.header("content-type").unwrap_or_default();
    Seen {
        status: json!(response.status()),
        content_type: json!(content_type),
        body: Body::read(content_type, response.text()),
    }
}

fn recorded(case: &Value) -> Seen {
    let response = &case["response"];
    let headers = response["headers"].as_array().cloned().unwrap_or_default();
    let content_type = headers
        .iter()
        .find(|header| {
            header[0]
                .as_str()
                .unwrap()
                .eq_ignore_ascii_case("content-type")
        })
        .map_or(json!(""), |header| header[1].clone());
    Seen {
        status: response["status"].clone(),
        body: Body::read(
            content_type.as_str().unwrap(),
            response["body"].as_str().unwrap(),
        ),
        content_type,
    }
}

/// What an exception expects instead.
fn excepted(exception: &Value) -> Seen {
    assert!(
        exception["clause"]
            .as_str()
            .is_some_and(|clause| clause.len() > 20)
    );
    let stream = |kinds: &Value| Body::Stream {
        kinds: serde_json::from_value(kinds.clone()).unwrap(),
        text: exception["text"].as_str().unwrap().to_owned(),
    };
    let (content_type, body) = match &exception["kinds"] {
        Value::Null => (
            "application/json; charset=utf-8",
            Body::Json(exception["body"].clone()),
        ),
        kinds => ("text/event-stream; charset=utf-8", stream(kinds)),
    };
    Seen {
        status: exception["status"].clone(),
        content_type: json!(content_type),
        body,
    }
}

/// Whether an answer of which only the beginning was recorded begins like ours.
fn begins_alike(ours: &Seen, theirs: &Seen) -> bool {
    match (&ours.body, &theirs.body) {
        (
            Body::Stream { kinds, text },
            Body::Stream {
                kinds: first_kinds,
                text: first_text,
            },
        ) => kinds.starts_with(first_kinds) && text.starts_with(first_text.as_str()),
        _ => false,
    }
}

/// Compares one answer; the text says what is wrong.
fn compare(name: &str, case: &Value, response: &Response) -> Result<(), String> {
    let (ours, theirs) = (seen(response), recorded(case));
    let is_cut = !case["response"]["clientAbortedAtMs"].is_null();
    let same = ours == theirs || (is_cut && begins_alike(&ours, &theirs));
    match exceptions().get(name) {
        None if same => Ok(()),
        None => Err(format!("{name}: {ours:?}\n  recorded: {theirs:?}")),
        Some(_) if same => Err(format!("{name}: the exception is not needed any more")),
        Some(exception) => {
            let expected = excepted(exception);
            (ours == expected)
                .then_some(())
                .ok_or_else(|| format!("{name}: {ours:?}\n  expected: {expected:?}"))
        }
    }
}

fn config() -> RigConfig {
    RigConfig::with_agent(Arc::new(MockAgent))
}

/// Runs cases in the given order against one gateway, each on a connection of its own.
async fn check(rig: &Rig, names: &[&str]) {
    let all = cases();
    let mut wrong = Vec::new();
    for name in names {
        let case = &all[*name];
        let mut connection = rig.connect().await;
        connection.send(to_text(case)).await;
        let response = if case["request"]["method"] == "HEAD" {
            Response {
                head: connection.head().await,
                body: Vec::new(),
            }
        } else {
            connection.response().await
        };
        wrong.extend(compare(name, case, &response).err());
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

const LOCKED_OUT: [&str; 7] = [
    "ratelimit-wrong-1",
    "ratelimit-wrong-2",
    "ratelimit-wrong-4",
    "ratelimit-wrong-5",
    "ratelimit-then-missing",
    "ratelimit-models",
    "ratelimit-healthz",
];

fn is_single(name: &str) -> bool {
    !name.starts_with("ratelimit-") && !name.starts_with("disabled-") && !name.starts_with("user-")
}

#[tokio::test]
async fn single_requests_are_answered_as_recorded() {
    let rig = Rig::start(config()).await;
    let all = cases();
    let names: Vec<_> = all
        .keys()
        .map(String::as_str)
        .filter(|name| is_single(name))
        .collect();
    assert!(names.len() > 60, "{}", names.len());
    check(&rig, &names).await;
}

#[tokio::test]
async fn a_disabled_endpoint_answers_as_recorded() {
    let mut config = config();
    config.transport.chat_enabled = false;
    let rig = Rig::start(config).await;
    let all = cases();
    let names: Vec<_> = all
        .keys()
        .map(String::as_str)
        .filter(|name| name.starts_with("disabled-"))
        .collect();
    assert_eq!(names.len(), 4);
    check(&rig, &names).await;
}

#[tokio::test]
async fn a_locked_out_peer_is_answered_as_recorded() {
    let mut config = config();
    config.auth.limiter = LimiterConfig {
        attempts_max: 3,
        exempt_loopback: false,
        ..LimiterConfig::default()
    };
    let rig = Rig::start(config).await;
    let (before, after) = LOCKED_OUT.split_at(2);
    check(&rig, before).await;
    // The third attempt, which starts the lock, was answered like the first two.
    check(&rig, &["ratelimit-wrong-2"]).await;
    check(&rig, after).await;
    let recorded = cases()
        .keys()
        .filter(|name| name.starts_with("ratelimit-"))
        .count();
    assert_eq!(recorded, LOCKED_OUT.len());
}

#[tokio::test]
async fn two_calls_of_one_user_are_answered_as_recorded() {
    let rig = Rig::start(config()).await;
    check(&rig, &["user-first", "user-second"]).await;
}

#[test]
fn every_exception_names_a_recorded_case() {
    let all = cases();
    for name in exceptions().keys() {
        assert!(all.contains_key(name), "{name}");
    }
}
