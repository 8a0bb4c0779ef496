//! An agent that answers like the scripted model server behind the recorded traffic.

use clawport::agent::{Agent, AgentTurn, EventStream, Isolation, RunContext};
use clawport::error::ErrorCode;
use clawport::run::{
    Event, FinishReason, ModelRef, RunError, ToolCallDelta, ToolChoice, Turn, Usage,
};

/// Follows the directives of the last message; see `tests/golden/README.md`.
#[derive(Debug)]
pub(crate) struct MockAgent;

#[derive(Debug, Default)]
struct Directives {
    tokens: Option<usize>,
    status: Option<u16>,
    tool: Option<String>,
    text: Option<String>,
}

impl Directives {
    fn parse(message: &str) -> Self {
        let mut directives = Self::default();
        let Some((_, tail)) = message.rsplit_once("[[mock ") else {
            return directives;
        };
        let (inside, _) = tail.split_once("]]").unwrap();
        for pair in inside.split(' ') {
            let (key, value) = pair.split_once('=').unwrap();
            match key {
                "tokens" => directives.tokens = Some(value.parse().unwrap()),
                "status" => directives.status = Some(value.parse().unwrap()),
                "tool" => directives.tool = Some(value.to_owned()),
                "text" => directives.text = Some(value.replace('_', " ")),
                "delay" | "first" | "etype" => {}
                other => panic!("unknown directive {other}"),
            }
        }
        directives
    }
}

fn failure(status: u16, text: Option<&str>) -> RunError {
    let code = match status {
        400 => ErrorCode::UpstreamRequest,
        401 => ErrorCode::UpstreamAuth,
        429 => ErrorCode::UpstreamRateLimit,
        _ => ErrorCode::UpstreamFailed,
    };
    let message = match text {
        Some(text) => format!("{status} {text}"),
        None if status == 400 => "mock upstream error 400".to_owned(),
        None => format!("{status} mock upstream error {status}"),
    };
    RunError::new(code, message)
}

fn answer(turn: &Turn) -> Vec<Result<Event, RunError>> {
    let directives = Directives::parse(&turn.text());
    if let Some(status) = directives.status {
        return vec![Err(failure(status, directives.text.as_deref()))];
    }
    let tokens = directives.tokens.unwrap_or(20);
    let usage = Event::Usage(Usage {
        input: 15_000,
        output: u64::try_from(tokens).unwrap(),
        ..Usage::default()
    });
    if let Some(name) = directives.tool {
        let call = Event::ToolCall(ToolCallDelta {
            index: 0,
            id: Some("call_mock".to_owned()),
            name: Some(name),
            arguments: r#"{"q":1}"#.to_owned(),
        });
        let end = Event::Finished(FinishReason::ToolCalls);
        return vec![Ok(call), Ok(usage), Ok(end)];
    }
    if turn.tool_choice == ToolChoice::Required {
        let message = "tool_choice=required was not satisfied by the agent response";
        return vec![Err(RunError::new(ErrorCode::ToolChoiceUnmet, message))];
    }
    if tokens == 0 {
        let message = "the model answered nothing";
        return vec![Err(RunError::new(ErrorCode::AgentFailed, message))];
    }
    let word = |n: usize| {
        let gap = if n == 0 { "" } else { " " };
        Ok(Event::Text(format!("{gap}w{n}")))
    };
    let end = [Ok(usage), Ok(Event::Finished(FinishReason::Stop))];
    (0..tokens).map(word).chain(end).collect()
}

impl Agent for MockAgent {
    fn run(&self, turn: AgentTurn, _context: RunContext) -> EventStream {
        Box::pin(futures_util::stream::iter(answer(&turn.turn)))
    }

    fn model(&self) -> ModelRef {
        ModelRef {
            provider: "mock".into(),
            model: "mock-model".into(),
        }
    }

    fn isolation(&self) -> Isolation {
        Isolation::Inline
    }
}
