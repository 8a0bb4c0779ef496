//! What the demo agent knows: a few rules, the same answer every time.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::run::{Role, ToolChoice, Turn};

use super::plan::{self, Plan, Question, Step};
use super::script::{SimFailure, SimTool};

/// Highest number it counts to.
const COUNT_MAX: u32 = 1_000;

/// Time between two tokens of `slow:`.
const SLOW_TOKEN: Duration = Duration::from_millis(200);

/// What it is and how a real model takes its place.
const ABOUT: &str =
    "I am clawport's built-in demo agent: no model is connected, and I answer by a \
few fixed rules. To connect a real model, here a local Ollama, put this into openclaw.json and \
start the gateway again:

```json5
{
  models: { providers: { local: { baseUrl: \"http://127.0.0.1:11434/v1\", apiKey: \"none\",
    api: \"openai-completions\", models: [{ id: \"llama3.2\" }] } } },
  agents: { defaults: { model: { primary: \"local/llama3.2\" } } },
}
```";

const RULES: &str = "What I understand:

- `help`: this text
- `count to N`: numbers, up to 1000
- `repeat: TEXT`: says it again
- `think: TEXT`: thinks it, then answers
- `slow: TEXT`: says it slowly, to watch a stream
- `tool: NAME {\"key\": 1}`: uses a tool of my own
- `call: NAME {\"key\": 1}`: calls a tool that you offered
- `fail: 429 TEXT`: fails as a model server would
- `what did I say?`: shows that I know the conversation

Anything else I give back to you.";

/// The answer to a turn.
pub(super) fn plan(question: &mut Question<'_>) -> Plan {
    let turn = question.turn;
    if let Some(answer) = tool_results(turn) {
        return Plan::say(answer);
    }
    let text = turn.text();
    let text = text.trim();
    if let Some(plan) = command(question, text) {
        return plan;
    }
    let bare = text
        .trim_end_matches(['?', '!', '.'])
        .trim_end()
        .to_lowercase();
    match bare.as_str() {
        "help" | "/help" => Plan::say(format!("{ABOUT}\n\n{RULES}")),
        "hello" | "hi" | "hey" => Plan::say(format!("Hello! {ABOUT}")),
        "what did i say" => Plan::say(recall(&(question.earlier)())),
        "" => Plan::say(nothing_said(turn)),
        counted if counted.starts_with("count to ") => count(counted),
        _ => Plan::say(give_back(text, images(turn))),
    }
}

/// The rules with a word and a colon.
fn command(question: &Question<'_>, text: &str) -> Option<Plan> {
    let (word, rest) = text.split_once(':')?;
    let rest = rest.trim();
    let plan = match word.to_lowercase().as_str() {
        "repeat" => Plan::say(rest),
        "think" => Plan::of([
            Step::Think(rest.to_owned()),
            Step::Say("I have thought about it.".to_owned()),
        ]),
        "slow" => Plan::of([Step::Pace(SLOW_TOKEN), Step::Say(rest.to_owned())]),
        "tool" => own_tool(rest),
        "call" => client_tool(question, rest),
        "fail" => Plan::of([Step::Fail(plan::failure(&fail(rest)))]),
        _ => return None,
    };
    Some(plan)
}

fn own_tool(rest: &str) -> Plan {
    let (name, arguments) = name_and_arguments(rest);
    let arguments = arguments.unwrap_or(Value::Null);
    let tool = SimTool {
        name: name.to_owned(),
        result: json!({ "ok": true, "arguments": arguments }),
        arguments,
        updates: vec![json!({ "progress": 0.5 })],
        is_error: false,
    };
    let mut steps = VecDeque::new();
    plan::push_tool(&mut steps, "tool_1", &tool);
    steps.push_back(Step::Say(format!("I used my tool “{name}”.")));
    Plan::of(steps)
}

fn client_tool(question: &Question<'_>, rest: &str) -> Plan {
    let (name, arguments) = name_and_arguments(rest);
    let turn = question.turn;
    match turn.tools.iter().find(|tool| tool.name == name) {
        Some(_) if turn.tool_choice == ToolChoice::None => {
            Plan::say("You asked me not to call tools (`tool_choice`).")
        }
        Some(tool) => plan::call(question, tool, arguments),
        None => Plan::say(format!(
            "You offered no tool named “{name}”, so I cannot call it."
        )),
    }
}

/// A name, and what follows it: as JSON when it is JSON, else as a text.
fn name_and_arguments(rest: &str) -> (&str, Option<Value>) {
    let (name, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let tail = tail.trim();
    if tail.is_empty() {
        return (name, None);
    }
    let arguments = serde_json::from_str(tail).unwrap_or_else(|_not_json| json!({ "text": tail }));
    (name, Some(arguments))
}

/// `429 slow down`, `429`, or `slow down`.
fn fail(rest: &str) -> SimFailure {
    let (first, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let status = first.parse().ok().filter(|s| (400..=599).contains(s));
    let message = if status.is_some() { tail.trim() } else { rest };
    SimFailure {
        status,
        code: None,
        message: (!message.is_empty()).then(|| message.to_owned()),
    }
}

fn count(text: &str) -> Plan {
    let number = text.strip_prefix("count to ").map(str::trim);
    match number.and_then(|n| n.parse::<u32>().ok()) {
        Some(last) if (1..=COUNT_MAX).contains(&last) => {
            let numbers: Vec<_> = (1..=last).map(|n| n.to_string()).collect();
            Plan::say(numbers.join(" "))
        }
        _ => Plan::say(format!("I count to whole numbers from 1 to {COUNT_MAX}.")),
    }
}

fn recall(earlier: &[String]) -> String {
    match earlier.last() {
        None => "Nothing before this: it is the first thing I hear from you.".to_owned(),
        Some(last) if earlier.len() == 1 => format!("You said: “{last}”"),
        Some(last) => format!(
            "You said {} things before this. The last one was: “{last}”",
            earlier.len()
        ),
    }
}

fn nothing_said(turn: &Turn) -> String {
    match images(turn) {
        0 => "You said nothing. Say `help` to see what I understand.".to_owned(),
        _ => give_back("", images(turn)),
    }
}

fn give_back(text: &str, images: usize) -> String {
    let said = match text {
        "" => "You said nothing".to_owned(),
        text => format!("You said: “{text}”"),
    };
    let seen = match images {
        0 => String::new(),
        1 => " and sent an image".to_owned(),
        n => format!(" and sent {n} images"),
    };
    format!(
        "{said}{seen}. I am the built-in demo agent and no model is connected, so I can only \
         give it back; say `help` to see what I understand and how to connect a model."
    )
}

fn images(turn: &Turn) -> usize {
    turn.current.iter().map(|m| m.images.len()).sum()
}

fn tool_results(turn: &Turn) -> Option<String> {
    let results: Vec<String> = turn
        .current
        .iter()
        .filter(|message| message.role == Role::Tool)
        .map(|message| {
            let call = message.tool_call_id.as_deref().unwrap_or("a call");
            format!("The tool answered {call}: {}", message.text)
        })
        .collect();
    (!results.is_empty()).then(|| results.join("\n"))
}
