//! Bodies nobody would think of: whatever comes, the answer is a turn or a proper refusal.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Draft, RequestError, members};
use crate::openai::ApiError;
use crate::run::Turn;

/// Words that mean something somewhere in a body.
const WORDS: [&str; 26] = [
    "",
    " ",
    "type",
    "text",
    "input_text",
    "image_url",
    "url",
    "role",
    "content",
    "name",
    "user",
    "assistant",
    "system",
    "developer",
    "tool",
    "function",
    "tool_calls",
    "tool_call_id",
    "id",
    "arguments",
    "parameters",
    "auto",
    "none",
    "required",
    "openclaw:main",
    "data:;base64,R0lGODlhAA",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
    ]
}

fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(members()).prop_map(str::to_owned),
        1 => word(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..5).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(word(), inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

fn read(body: &[u8]) -> Result<Turn, RequestError> {
    Draft::read(body)?.check()?.into_turn()
}

/// A refusal is a client's mistake, told as JSON.
fn check_refusal(error: RequestError) {
    let error = ApiError::from(error);
    assert_eq!(error.status, 400, "{}", error.message);
    let told: Value = serde_json::from_slice(&error.to_json()).unwrap();
    assert!(told["error"]["message"].is_string());
}

fn check(body: &[u8]) {
    match read(body) {
        Ok(turn) => {
            assert!(!turn.current.is_empty());
            let sampling = &turn.sampling;
            assert!(
                sampling
                    .temperature
                    .is_none_or(|it| (0.0..=2.0).contains(&it))
            );
            assert!(sampling.top_p.is_none_or(|it| (0.0..=1.0).contains(&it)));
            assert!(sampling.max_tokens != Some(0));
            assert!(sampling.stop.len() <= 4);
        }
        Err(error) => check_refusal(error),
    }
}

/// A request with every kind of member that can be left out.
fn whole() -> Map<String, Value> {
    let whole = json!({
        "model": "openclaw",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 1.0,
        "max_tokens": 5,
        "stop": ["a"],
        "user": "u",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "logit_bias": {"5": 1.0},
        "stream_options": {"include_usage": true},
    });
    match whole {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn bytes(members: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(members).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bytes_are_read_or_refused(body in vec(any::<u8>(), 0..64)) {
        check(&body);
    }

    #[test]
    fn values_are_read_or_refused(body in value()) {
        check(body.to_string().as_bytes());
    }

    #[test]
    fn members_of_any_shape_are_read_or_refused(
        body in btree_map(member(), value(), 0..12),
    ) {
        check(Value::from_iter(body).to_string().as_bytes());
    }

    #[test]
    fn conversations_of_any_shape_are_read_or_refused(
        messages in vec(btree_map(word(), value(), 0..6), 0..8),
    ) {
        let messages: Vec<_> = messages.into_iter().map(Value::from_iter).collect();
        check(json!({ "messages": messages }).to_string().as_bytes());
    }

    #[test]
    fn a_body_cut_anywhere_is_refused(at in 0..1_000usize) {
        let body = bytes(&whole());
        let at = at % body.len();
        if at > 0 {
            check_refusal(read(&body[..at]).unwrap_err());
        }
    }

    #[test]
    fn null_counts_as_absent_and_unknown_members_change_nothing(
        nulls in vec(any::<bool>(), 32),
        name in "x-[a-z]{1,8}",
        unknown in value(),
    ) {
        let (mut absent, mut null) = (whole(), whole());
        for (name, is_null) in members().iter().zip(nulls) {
            if is_null && *name != "messages" {
                absent.remove(*name);
                null.insert((*name).to_owned(), Value::Null);
            }
        }
        null.insert(name, unknown);
        let turns = [absent, null].map(|body| format!("{:?}", read(&bytes(&body))));
        prop_assert_eq!(&turns[0], &turns[1]);
    }
}
