//! Bodies against the field table of `http-facts` §3.1, message by message.

use super::*;
use crate::run::ToolChoice;

/// A body with one user message and these further members.
fn with(members: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{members}}}"#)
}

fn read(body: &[u8]) -> Result<Turn, RequestError> {
    Draft::read(body)?.check()?.into_turn()
}

fn check_refused(body: &str, expected: &str) {
    let error = read(body.as_bytes()).expect_err(body);
    assert_eq!(error.to_string(), expected, "{body}");
}

fn check_taken(body: &str) -> Turn {
    read(body.as_bytes()).expect(body)
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_path() {
    let check = |members: &str, expected: &str| {
        let body = format!("{{{members}}}");
        check_refused(&body, expected);
    };
    check(
        r#""model":5"#,
        "model: Invalid input: expected string, received number",
    );
    check(
        r#""messages":"hi""#,
        "messages: Invalid input: expected array, received string",
    );
    check(
        r#""messages":{"role":"user"}"#,
        "messages: Invalid input: expected array, received object",
    );
    check(
        r#""stream":"yes""#,
        "stream: Invalid input: expected boolean, received string",
    );
    check(
        r#""stream":1"#,
        "stream: Invalid input: expected boolean, received number",
    );
    check(
        r#""stream_options":[]"#,
        "stream_options: Invalid input: expected object, received array",
    );
    check(
        r#""stream_options":{"include_usage":"true"}"#,
        "stream_options.include_usage: Invalid input: expected boolean, received string",
    );
    check(
        r#""user":7"#,
        "user: Invalid input: expected string, received number",
    );
    check(
        r#""tools":{}"#,
        "tools: Invalid input: expected array, received object",
    );
    for number in [
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "seed",
    ] {
        check(
            &format!(r#""{number}":"1""#),
            &format!("{number}: Invalid input: expected number, received string"),
        );
    }
    check(r#""stop":5"#, "stop: Invalid input");
    check(r#""stop":["a",5]"#, "stop: Invalid input");
}

#[test]
fn a_body_that_is_not_an_object_is_refused() {
    check_refused("[1,2]", ": Invalid input: expected object, received array");
    check_refused("5", ": Invalid input: expected object, received number");
    check_refused("null", ": Invalid input: expected object, received null");
    check_refused(
        r#""x""#,
        ": Invalid input: expected object, received string",
    );
}

#[test]
fn broken_json_is_refused_with_the_text_of_the_parser() {
    for body in [
        "{",
        "{not json",
        "{}x",
        r#"{"a":1,}"#,
        r#"{"a":NaN}"#,
        "\u{feff}{}",
    ] {
        let error = read(body.as_bytes()).expect_err(body);
        assert!(matches!(error, RequestError::Json(_)), "{body}");
    }
    let deep = format!("{{\"tools\":{}", "[".repeat(200_000));
    assert!(matches!(
        read(deep.as_bytes()).unwrap_err(),
        RequestError::Json(_)
    ));
    let mut bad = with("\"x\":1").into_bytes();
    *bad.get_mut(30).unwrap() = 0xff;
    assert!(matches!(read(&bad).unwrap_err(), RequestError::Json(_)));
    bad.resize(LARGE_BYTES + 1, b' ');
    assert!(matches!(read(&bad).unwrap_err(), RequestError::NotUtf8));
}

#[test]
fn an_empty_body_counts_as_an_empty_object() {
    for body in ["", " \r\n", "{}"] {
        check_refused(body, "Missing user message in `messages`.");
    }
}

#[test]
fn numbers_have_ranges() {
    let check = |members: &str, expected: &str| check_refused(&with(members), expected);
    check(
        r#""temperature":3"#,
        "`temperature` must be between 0 and 2.",
    );
    check(
        r#""temperature":-0.1"#,
        "`temperature` must be between 0 and 2.",
    );
    check(r#""top_p":2"#, "`top_p` must be between 0 and 1.");
    check(
        r#""frequency_penalty":2.1"#,
        "`frequency_penalty` must be between -2.0 and 2.0.",
    );
    check(
        r#""presence_penalty":-3"#,
        "`presence_penalty` must be between -2.0 and 2.0.",
    );
    check(r#""seed":1.5"#, "`seed` must be an integer.");
    for field in ["max_tokens", "max_completion_tokens"] {
        let check = |value: &str, expected: &str| {
            check_refused(
                &with(&format!(r#""{field}":{value}"#)),
                &format!("{field}{expected}"),
            );
        };
        check("0", ": Too small: expected number to be >0");
        check("-1", ": Too small: expected number to be >0");
        check("1.5", ": Invalid input: expected int, received number");
        check("9007199254740992", " must be a positive safe integer");
        check("1e300", " must be a positive safe integer");
    }
    check(r#""n":2"#, "`n` must be 1: one request gets one answer.");
}

#[test]
fn stop_and_response_format_have_rules() {
    let check = |members: &str, expected: &str| check_refused(&with(members), expected);
    check(
        r#""stop":["a","b","c","d","e"]"#,
        "Invalid stop: stop supports at most 4 sequences",
    );
    check(
        r#""stop":["a",""]"#,
        "Invalid stop: stop entries must be non-empty strings",
    );
    check(
        r#""response_format":"json""#,
        "Invalid response_format: response_format must be an object",
    );
    for bad in ["{}", r#"{"type":"xml"}"#, r#"{"type":5}"#] {
        check(
            &format!(r#""response_format":{bad}"#),
            "Invalid response_format: response_format.type must be text, json_object, or \
             json_schema",
        );
    }
}

#[test]
fn tools_and_choice_have_rules() {
    let check = |members: &str, expected: &str| {
        check_refused(
            &with(members),
            &format!("Invalid tools/tool_choice: {expected}"),
        );
    };
    check(r#""tools":[5]"#, "each tool must be an object");
    check(r#""tools":[null]"#, "each tool must be an object");
    check(
        r#""tools":[{"type":"web_search"}]"#,
        "only function tools are supported",
    );
    check(
        r#""tools":[{"type":"function"}]"#,
        "tool.function is required",
    );
    check(
        r#""tools":[{"type":"function","function":{}}]"#,
        "tool.function.name is required",
    );
    check(
        r#""tools":[{"type":"function","function":{"name":" "}}]"#,
        "tool.function.name is required",
    );
    check(
        r#""tool_choice":"required""#,
        "tool_choice=required but no tools were provided",
    );
    check(
        r#""tool_choice":5"#,
        "tool_choice must be a string or object",
    );
    check(
        r#""tool_choice":"maybe""#,
        "tool_choice maybe is not supported",
    );
    check(
        r#""tool_choice":{"type":"allowed_tools"}"#,
        "tool_choice allowed_tools is not supported",
    );
    check(r#""tool_choice":{}"#, "unsupported tool_choice type");
    check(
        r#""tool_choice":{"type":"function"}"#,
        "tool_choice.function.name is required",
    );
    let weather = r#""tools":[{"type":"function","function":{"name":"get_weather"}}]"#;
    check(
        &format!(r#"{weather},"tool_choice":{{"type":"function","function":{{"name":"zzz"}}}}"#),
        "tool_choice requested unknown tool: zzz",
    );
    check_refused(
        &with(
            r#""tools":[{"type":"function","function":{"name":"a"}},
                        {"type":"function","function":{"name":"a"}}]"#,
        ),
        "invalid tool configuration",
    );
}

#[test]
fn null_means_absent_everywhere() {
    let fields = [
        "model",
        "stream",
        "stream_options",
        "user",
        "tools",
        "tool_choice",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "stop",
        "response_format",
        "n",
        "reasoning_effort",
        "parallel_tool_calls",
        "logit_bias",
        "metadata",
    ];
    let members: Vec<_> = fields.iter().map(|f| format!("\"{f}\":null")).collect();
    assert_eq!(
        check_taken(&with(&members.join(","))),
        check_taken(&with(r#""unknown":1"#))
    );
    check_refused(
        r#"{"messages":null}"#,
        "Missing user message in `messages`.",
    );
    check_taken(&with(r#""stream_options":{"include_usage":null}"#));
}

#[test]
fn fields_that_mean_nothing_here_are_never_a_reason_to_refuse() {
    check_taken(&with(
        r#""n":1,"logprobs":true,"top_logprobs":"x","store":{},"metadata":[1],"modalities":5,
           "audio":"x","prediction":[],"service_tier":7,"safety_identifier":{},"functions":"x",
           "function_call":{},"web_search_options":1,"verbosity":2,"reasoning_effort":5,
           "parallel_tool_calls":"x","logit_bias":"x","foo":1"#,
    ));
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    let body = r#"{"stream":"x","stream":true,"user":"a","user":"b",
        "messages":[{"role":"user","content":"hi"}]}"#;
    let request = Draft::read(body.as_bytes()).unwrap().check().unwrap();
    assert!(request.is_stream());
    assert_eq!(request.user(), Some("b"));
}

#[test]
fn wishes_arrive_in_the_turn() {
    let turn = check_taken(&with(
        r#""temperature":0.5,"top_p":1,"frequency_penalty":-2,"presence_penalty":2.0,"seed":42,
           "stop":["a","b"],"max_tokens":5,"max_completion_tokens":7.0,"user":" u ",
           "response_format":{"type":"json_object","x":1},"reasoning_effort":"low",
           "parallel_tool_calls":false,"logit_bias":{"5":1},"metadata":{"a":"b"}"#,
    ));
    let expected = Sampling {
        temperature: Some(0.5),
        top_p: Some(1.0),
        frequency_penalty: Some(-2.0),
        presence_penalty: Some(2.0),
        seed: Some(42),
        stop: vec!["a".to_owned(), "b".to_owned()],
        max_tokens: Some(7),
        output: OutputFormat::Requested(serde_json::json!({"type": "json_object", "x": 1})),
        reasoning_effort: Some("low".to_owned()),
        parallel_tool_calls: Some(false),
        logit_bias: Some(serde_json::json!({"5": 1})),
        user: Some("u".to_owned()),
        metadata: Some(serde_json::json!({"a": "b"})),
    };
    assert_eq!(turn.sampling, expected);
    assert_eq!(check_taken(&with(r#""stop":"x""#)).sampling.stop, ["x"]);
    assert!(check_taken(&with(r#""stop":[]"#)).sampling.stop.is_empty());
    check_refused(
        &with(r#""stop":"""#),
        "Invalid stop: stop entries must be non-empty strings",
    );
}

#[test]
fn tools_arrive_in_the_turn() {
    let tools = r#""tools":[{"type":"function","function":{"name":" f ","description":"d",
        "parameters":{"type":"object"},"strict":true}}]"#;
    let turn = check_taken(&with(tools));
    let tool = turn.tools.first().unwrap();
    assert_eq!((tool.name.as_str(), tool.strict), ("f", Some(true)));
    assert_eq!(tool.parameters, Some(serde_json::json!({"type": "object"})));
    let choice = |members: &str| check_taken(&with(&format!("{tools},{members}"))).tool_choice;
    assert_eq!(choice(r#""tool_choice":"auto""#), ToolChoice::Auto);
    assert_eq!(choice(r#""tool_choice":"none""#), ToolChoice::None);
    assert_eq!(choice(r#""tool_choice":"required""#), ToolChoice::Required);
    assert_eq!(
        choice(r#""tool_choice":{"type":"function","function":{"name":"f"}}"#),
        ToolChoice::Named("f".to_owned())
    );
}

#[test]
fn faults_are_found_in_the_documented_order() {
    let order = [
        (r#""stream":"yes""#, "stream: Invalid input"),
        (
            r#""max_completion_tokens":0"#,
            "max_completion_tokens: Too small",
        ),
        (r#""max_tokens":0"#, "max_tokens: Too small"),
        (r#""response_format":5"#, "Invalid response_format"),
        (r#""stop":[""]"#, "Invalid stop"),
        (r#""temperature":9"#, "`temperature`"),
        (r#""tool_choice":"required""#, "Invalid tools/tool_choice"),
        (
            r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":"http://x"}]}]"#,
            "Invalid image_url",
        ),
    ];
    let mut members = Vec::new();
    for (member, expected) in order.into_iter().rev() {
        members.push(member);
        let body = format!("{{{}}}", members.join(","));
        let message = read(body.as_bytes()).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{body}: {message}");
    }
}

#[test]
fn a_user_that_is_blank_counts_as_absent() {
    let user = |json: &str| {
        let body = with(&format!("\"user\":{json}"));
        let request = Draft::read(body.as_bytes()).unwrap().check().unwrap();
        request.user().map(str::to_owned)
    };
    assert_eq!(user(r#"" ""#), None);
    assert_eq!(user(r#""""#), None);
    assert_eq!(user(r#"" x ""#).as_deref(), Some("x"));
}

#[test]
fn the_model_is_echoed_as_it_was_sent() {
    let model = |json: &str| {
        let body = with(&format!("\"model\":{json}"));
        let request = Draft::read(body.as_bytes()).unwrap().check().unwrap();
        request.model().to_owned()
    };
    assert_eq!(model("null"), "openclaw");
    assert_eq!(model(r#""""#), "");
    assert_eq!(model(r#"" OpenClaw/Main ""#), " OpenClaw/Main ");
}

#[test]
fn a_model_override_is_one_or_two_words() {
    let check = |text: &str, fits: bool| {
        assert_eq!(model_override(text).is_ok(), fits, "{text:?}");
    };
    check("mock/mock-model", true);
    check(" gpt-5 ", true);
    check("openrouter/meta/llama-3", true);
    check("openai/", false);
    check("/x", false);
    check("", false);
    check("a b", false);
    check(&"x".repeat(257), false);
}

#[test]
fn a_large_body_is_read_like_a_small_one() {
    let text = "漢字 \u{1f980} ".repeat(20_000);
    let body = serde_json::json!({"messages": [{"role": "user", "content": &text}]}).to_string();
    assert!(body.len() > LARGE_BYTES);
    assert_eq!(check_taken(&body).text(), text.trim());
}
