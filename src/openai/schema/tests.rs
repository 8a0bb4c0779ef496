//! Holds the document, the types it is made of, the reader and the writer together.

use std::path::Path;

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{
    ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, ErrorEnvelope, Model, Models,
};
use super::*;
use crate::ids::AgentId;
use crate::openai::request::members;
use crate::openai::{
    Answer, ApiError, Draft, ModelList, ReplyHead, RequestError, Stream, StreamOptions,
};
use crate::run::{Event, FinishReason, Outcome, Terminal, ToolCallDelta, Usage};

/// Set to write `proto/openapi.json` anew instead of comparing it.
const UPDATE: &str = "CLAWPORT_UPDATE_PROTO";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the developer, not of the program"
)]
fn the_checked_in_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/openapi.json");
    let text = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    if std::env::var(UPDATE).is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == text,
        "proto/openapi.json is out of date: run the tests once with {UPDATE}=1"
    );
}

/// Every `$ref` leads somewhere and every schema is used.
#[test]
fn references_and_schemas_match() {
    fn collect(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    out.push(target.clone());
                }
                map.values().for_each(|value| collect(value, out));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, out)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = openapi();
    let mut references = Vec::new();
    collect(&document, &mut references);
    references.sort();
    references.dedup();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let defined: Vec<_> = schemas
        .keys()
        .map(|name| format!("#/components/schemas/{name}"))
        .collect();
    assert_eq!(references, defined);
}

#[test]
fn the_reader_knows_exactly_the_documented_members() {
    let document = openapi();
    let schema = &document["components"]["schemas"]["ChatCompletionRequest"];
    let documented: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    let mut read = members().to_vec();
    read.sort_unstable();
    assert_eq!(documented, read);
}

#[test]
fn a_request_with_every_documented_member_is_read() {
    let request: ChatCompletionRequest = serde_json::from_value(json!({
        "model": "openclaw",
        "messages": [
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } },
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "4" },
            { "role": "user", "name": "me", "content": [
                { "type": "text", "text": "hi" },
                { "type": "image_url", "image_url": { "url": "data:;base64,R0lGODlhAA" } },
            ] },
        ],
        "stream": true,
        "stream_options": { "include_usage": true },
        "user": "u",
        "tools": [{ "type": "function", "function": { "name": "f", "parameters": {} } }],
        "tool_choice": { "type": "function", "function": { "name": "f" } },
        "max_completion_tokens": 7,
        "max_tokens": 5,
        "temperature": 1.0,
        "top_p": 1.0,
        "frequency_penalty": 1.0,
        "presence_penalty": 1.0,
        "seed": 1,
        "stop": ["a"],
        "response_format": { "type": "json_schema", "json_schema": {} },
        "n": 1,
        "reasoning_effort": "low",
        "parallel_tool_calls": true,
        "logit_bias": { "5": 1.0 },
        "metadata": { "a": "b" },
    }))
    .unwrap();
    let body = serde_json::to_vec(&request).unwrap();
    let checked = Draft::read(&body).unwrap().check().unwrap();
    assert!(checked.is_stream() && checked.includes_usage());
    let turn = checked.into_turn().unwrap();
    assert_eq!((turn.history.len(), turn.tools.len()), (2, 1));
    assert_eq!(turn.current.first().unwrap().images.len(), 1);
}

/// Checks that an answer has exactly the documented members, in the documented order.
fn check_written<T: Serialize + DeserializeOwned>(json: &[u8]) {
    let read: T = serde_json::from_slice(json).unwrap();
    assert_eq!(
        serde_json::to_string(&read).unwrap(),
        std::str::from_utf8(json).unwrap()
    );
}

fn head() -> ReplyHead {
    ReplyHead {
        id: "chatcmpl_1".to_owned(),
        created: 1,
        model: "openclaw".to_owned(),
    }
}

fn events() -> Vec<Event> {
    vec![
        Event::Reasoning("hm".to_owned()),
        Event::Text("hi".to_owned()),
        Event::ToolCall(ToolCallDelta {
            index: 0,
            id: Some("c1".to_owned()),
            name: Some("f".to_owned()),
            arguments: "{}".to_owned(),
        }),
    ]
}

fn terminal() -> Terminal {
    Terminal {
        outcome: Outcome::Ok(FinishReason::ToolCalls),
        started_at_ms: None,
        ended_at_ms: 2,
        usage: Some(Usage {
            input: 1,
            output: 2,
            cached: 1,
            reasoning: Some(1),
            total: None,
        }),
    }
}

#[test]
fn answers_have_exactly_the_documented_members() {
    let mut answer = Answer::new(head(), true);
    for event in events() {
        answer.push_event(&event);
    }
    check_written::<ChatCompletion>(&answer.finish(&terminal()).unwrap());
    let agents = [AgentId::parse("main").unwrap()];
    let list = ModelList::new(agents.first(), &agents);
    check_written::<Models>(&list.to_json());
    check_written::<Model>(&list.one_json("openclaw").unwrap());
}

#[test]
fn chunks_have_exactly_the_documented_members() {
    let options = StreamOptions {
        include_usage: true,
        show_reasoning: true,
    };
    let mut stream = Stream::new(&head(), options);
    let mut out = BytesMut::new();
    stream.open(&mut out);
    for event in events() {
        stream.push_event(&mut out, &event);
    }
    stream.finish(&mut out, &terminal());
    let text = std::str::from_utf8(&out).unwrap();
    let frames: Vec<_> = text.split_terminator("\n\n").collect();
    let (done, chunks) = frames.split_last().unwrap();
    assert_eq!(*done, "data: [DONE]");
    assert_eq!(chunks.len(), 7);
    for chunk in chunks {
        check_written::<ChatCompletionChunk>(chunk.strip_prefix("data: ").unwrap().as_bytes());
    }
}

#[test]
fn errors_have_exactly_the_documented_members() {
    check_written::<ErrorEnvelope>(&ApiError::unauthorized().to_json());
    check_written::<ErrorEnvelope>(&ApiError::unknown_agent("x").to_json());
    check_written::<ErrorEnvelope>(&ApiError::from(RequestError::ManyAnswers).to_json());
    let scope: ErrorEnvelope =
        serde_json::from_slice(&ApiError::missing_scope("operator.write").to_json()).unwrap();
    let details = scope.error.details.unwrap();
    assert_eq!(details.required_scopes, ["operator.write"]);
}
