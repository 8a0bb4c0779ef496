//! From a turn to the steps of an answer.
//!
//! Owns what each mode says. Must not know when it is said: that is `play`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::agent::status;
use crate::error::ErrorCode;
use crate::run::{Event, FinishReason, RunError, Tool, ToolCallDelta, ToolChoice, Turn};

use super::config::{SimConfig, SimMode};
use super::demo;
use super::script::{SimCall, SimFailure, SimStep, SimTool};
use super::{arguments, tokens};
use crate::agent::rng::Rng;

/// One step of an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// Answer text, token by token.
    Say(String),
    /// Reasoning text, token by token.
    Think(String),
    /// An event that is not text, with the tokens it stands for.
    Emit(Event, u64),
    /// Silence.
    Wait(Duration),
    /// Another time between two tokens from here on.
    Pace(Duration),
    /// The run fails.
    Fail(RunError),
    /// Nothing follows, and the answer does not end.
    Stall,
    /// The cancel token is not looked at any more.
    IgnoreCancel,
    /// The agent panics.
    Panic(String),
}

/// What is done for one message, and how it ends.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: VecDeque<Step>,
    pub(super) finish: FinishReason,
}

impl Plan {
    pub(super) fn say(text: impl Into<String>) -> Self {
        Self::of([Step::Say(text.into())])
    }

    pub(super) fn of(steps: impl Into<VecDeque<Step>>) -> Self {
        Self {
            steps: steps.into(),
            finish: FinishReason::Stop,
        }
    }
}

/// What is answered: the turn, and what a plan draws from.
pub(super) struct Question<'a> {
    pub(super) config: &'a SimConfig,
    pub(super) turn: &'a Turn,
    /// What the user said before, oldest first; looked at by few.
    pub(super) earlier: &'a mut dyn FnMut() -> Vec<String>,
    /// Seeds the ids of tool calls.
    pub(super) ordinal: u64,
}

/// The steps that answer a turn.
pub(super) fn plan(question: &mut Question<'_>) -> Plan {
    if let Some(forced) = forced_call(question) {
        return forced;
    }
    let config = question.config;
    match config.mode {
        SimMode::Echo => Plan::say(question.turn.text()),
        SimMode::Lorem => Plan::say(lorem(config, question.turn)),
        SimMode::Demo => demo::plan(question),
        SimMode::Script => script(question),
    }
}

/// The failure a model server with this status would have caused.
pub(super) fn failure(failure: &SimFailure) -> RunError {
    let status = failure.status.unwrap_or(500);
    let text = failure.message.as_deref().unwrap_or("simulated failure");
    RunError {
        code: status::code(status),
        message: format!("{status} {text}").into(),
        upstream_code: failure.code.as_deref().map(Arc::from),
    }
}

/// The failure of a stream that breaks off.
pub(super) fn broken_off() -> RunError {
    RunError::new(
        ErrorCode::UpstreamFailed,
        "the simulated model broke off in the middle of its answer",
    )
}

/// The call a client demands with `tool_choice`. A script decides for itself.
fn forced_call(question: &Question<'_>) -> Option<Plan> {
    let turn = question.turn;
    let tool = match &turn.tool_choice {
        ToolChoice::Auto | ToolChoice::None => None,
        ToolChoice::Required => turn.tools.first(),
        ToolChoice::Named(name) => turn.tools.iter().find(|tool| tool.name == *name),
    };
    tool.filter(|_| question.config.mode != SimMode::Script)
        .map(|tool| call(question, tool, None))
}

/// A call of a client tool that is offered.
pub(super) fn call(question: &Question<'_>, tool: &Tool, given: Option<Value>) -> Plan {
    let arguments = given.unwrap_or_else(|| arguments::made_up(tool));
    let mut steps = VecDeque::new();
    push_call(&mut steps, 0, question, &tool.name, &arguments);
    Plan {
        steps,
        finish: FinishReason::ToolCalls,
    }
}

fn push_call(
    steps: &mut VecDeque<Step>,
    index: u32,
    question: &Question<'_>,
    name: &str,
    arguments: &Value,
) {
    let mut rng = Rng::new(
        question.config.seed,
        question.ordinal ^ (u64::from(index) << 48),
    );
    let piece = |id, name, arguments: &str| {
        Event::ToolCall(ToolCallDelta {
            index,
            id,
            name,
            arguments: arguments.to_owned(),
        })
    };
    let id = format!("call_{:016x}", rng.next());
    steps.push_back(Step::Emit(
        piece(Some(id), Some(name.to_owned()), ""),
        tokens::count(name),
    ));
    let text = arguments.to_string();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (token, after) = rest.split_at(tokens::first_len(rest));
        steps.push_back(Step::Emit(piece(None, None, token), 1));
        rest = after;
    }
}

/// A use of a tool of the agent's own.
pub(super) fn push_tool(steps: &mut VecDeque<Step>, id: &str, tool: &SimTool) {
    let id = || id.to_owned();
    let name = || tool.name.clone();
    let updates = tool.updates.iter().map(|partial| Event::ToolUpdate {
        id: id(),
        name: name(),
        partial: partial.clone(),
    });
    let start = Event::ToolStart {
        id: id(),
        name: name(),
        arguments: tool.arguments.clone(),
    };
    let result = Event::ToolResult {
        id: id(),
        name: name(),
        result: tool.result.clone(),
        is_error: tool.is_error,
    };
    let events = [start].into_iter().chain(updates).chain([result]);
    steps.extend(events.map(|event| Step::Emit(event, 0)));
}

fn script(question: &Question<'_>) -> Plan {
    let Some(script) = &question.config.script else {
        return refusal("the simulated model has no script: give it one with ?file=…");
    };
    let Some(steps) = script.steps_for(&question.turn.text()) else {
        return refusal("no rule of the simulated model's script matches the message");
    };
    let mut plan = Plan::of([]);
    let mut calls = 0;
    for (at, step) in steps.iter().enumerate() {
        let out = &mut plan.steps;
        match step {
            SimStep::Say(text) => out.push_back(Step::Say(text.clone())),
            SimStep::Think(text) => out.push_back(Step::Think(text.clone())),
            SimStep::Tool(tool) => push_tool(out, &format!("tool_{}", at + 1), tool),
            SimStep::Call(wanted) => {
                script_call(out, calls, question, wanted);
                calls += 1;
            }
            SimStep::SleepMs(ms) => out.push_back(Step::Wait(Duration::from_millis(*ms))),
            SimStep::Error(error) => out.push_back(Step::Fail(failure(error))),
            SimStep::Disconnect(true) => out.push_back(Step::Fail(broken_off())),
            SimStep::Stall(true) => out.push_back(Step::Stall),
            SimStep::IgnoreCancel(true) => out.push_back(Step::IgnoreCancel),
            SimStep::Disconnect(false) | SimStep::Stall(false) | SimStep::IgnoreCancel(false) => {}
            SimStep::Panic(message) => out.push_back(Step::Panic(message.clone())),
        }
    }
    if calls > 0 {
        plan.finish = FinishReason::ToolCalls;
    }
    plan
}

fn script_call(out: &mut VecDeque<Step>, at: u32, question: &Question<'_>, wanted: &SimCall) {
    let offered = question.turn.tools.iter().find(|t| t.name == wanted.name);
    let arguments = match (&wanted.arguments, offered) {
        (Some(given), _) => given.clone(),
        (None, Some(tool)) => arguments::made_up(tool),
        (None, None) => Value::Object(serde_json::Map::new()),
    };
    push_call(out, at, question, &wanted.name, &arguments);
}

fn refusal(message: &'static str) -> Plan {
    Plan::of([Step::Fail(RunError::new(
        ErrorCode::InvalidRequest,
        message,
    ))])
}

const WORDS: [&str; 32] = [
    "amet", "aliqua", "anim", "aute", "cillum", "commodo", "culpa", "dolor", "dolore", "duis",
    "elit", "enim", "esse", "et", "ex", "fugiat", "id", "in", "ipsum", "irure", "labore", "lorem",
    "magna", "minim", "mollit", "nisi", "nostrud", "officia", "quis", "sint", "ut", "velit",
];

fn lorem(config: &SimConfig, turn: &Turn) -> String {
    let seed = turn.sampling.seed.map_or(config.seed, i64::cast_unsigned);
    let mut rng = Rng::new(seed, 0);
    let mut text = String::new();
    for _ in 0..config.tokens {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(rng.pick(&WORDS).copied().unwrap_or_default());
    }
    text
}
