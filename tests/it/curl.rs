//! The two `curl` examples of the document, run by the real `curl`: nothing but port and token is
//! put in.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::http::{frames, streamed_text};
use crate::support::seed::example;
use crate::support::{Served, TOKEN, soon};

const PLAIN: &str = "curl -sS ";
const STREAMED: &str = "curl -N ";

/// What stands in the examples for the caller's own.
const PORT: &str = "18789";
const PLACEHOLDER: &str = "YOUR_TOKEN";

/// Says the last message again, so that an answer shows what arrived.
fn echo() -> Value {
    json!({"agents": {"defaults": {"model": "sim/echo"}}})
}

/// Runs an example in a shell.
async fn run(example: &str) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", example]).stdin(Stdio::null());
    let finished = tokio::task::spawn_blocking(move || shell.output());
    let output = soon(finished).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    output
}

/// Runs an example against a gateway, with this token in place of the placeholder.
async fn ask(served: &Served, beginning: &str, token: &str) -> String {
    let text = example(beginning);
    assert_eq!(text.matches(PORT).count(), 1, "{text}");
    assert_eq!(text.matches(PLACEHOLDER).count(), 1, "{text}");
    let port = served.addr().port().to_string();
    let text = text.replace(PORT, &port).replace(PLACEHOLDER, token);
    String::from_utf8(run(&text).await.stdout).unwrap()
}

fn check_plain(answer: &str, content: &str) {
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "openclaw");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], content, "{answer}");
    assert_eq!(choice["finish_reason"], "stop");
}

fn check_streamed(answer: &str, content: &str) {
    let all = frames(answer);
    assert_eq!(streamed_text(answer), content);
    assert_eq!(all.last().unwrap(), "[DONE]");
    let finish: Value = serde_json::from_str(&all[all.len() - 2]).unwrap();
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["model"], "openclaw");
}

#[tokio::test]
async fn the_plain_example_is_answered() {
    let served = Served::start(echo()).await;
    check_plain(&ask(&served, PLAIN, TOKEN).await, "hi");
}

#[tokio::test]
async fn the_streamed_example_is_answered() {
    let served = Served::start(echo()).await;
    check_streamed(&ask(&served, STREAMED, TOKEN).await, "hi");
}

#[tokio::test]
async fn the_examples_work_as_they_stand_where_the_token_is_the_placeholder() {
    let mut settings = echo();
    settings["gateway"] = json!({"auth": {"token": PLACEHOLDER}});
    let served = Served::start(settings).await;
    check_plain(&ask(&served, PLAIN, PLACEHOLDER).await, "hi");
    check_streamed(&ask(&served, STREAMED, PLACEHOLDER).await, "hi");
}

#[tokio::test]
async fn the_agent_of_a_fresh_machine_answers_both() {
    let served = Served::start(json!({})).await;
    let plain = ask(&served, PLAIN, TOKEN).await;
    let plain: Value = serde_json::from_str(&plain).unwrap();
    let content = plain["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.contains("clawport"), "{content}");
    check_streamed(&ask(&served, STREAMED, TOKEN).await, content);
}

#[tokio::test]
async fn the_examples_are_refused_without_the_right_token_and_without_the_endpoint() {
    let served = Served::start(echo()).await;
    let answer: Value = serde_json::from_str(&ask(&served, PLAIN, PLACEHOLDER).await).unwrap();
    assert_eq!(answer["error"]["type"], "unauthorized");
    let disabled = json!({"gateway": {"http": {"endpoints": {"chatCompletions":
        {"enabled": false}}}}});
    let served = Served::start(disabled).await;
    assert_eq!(ask(&served, PLAIN, TOKEN).await, "Not Found");
}
