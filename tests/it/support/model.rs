//! Model agents for tests, and everything their runs yield.

use std::sync::Arc;

use clawport::agent::model::{BaseUrl, Endpoint, ModelAgent, ModelClient, ModelConfig, Spawner};
use clawport::agent::{Agent, AgentTurn, EventStream, Inbox, RunContext, Steered};
use clawport::error::ErrorCode;
use clawport::ids::{IdSource, RunId, SessionKey, SystemIds, WireId};
use clawport::internals::metrics::Metrics;
use clawport::run::{Event, FinishReason, Message, ModelRef, Role, RunError, Turn, Usage};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::soon;
use super::upstream::{Part, Reply, Upstream};

/// Everything a run yielded.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) chunks: Vec<String>,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<(String, String, String)>,
    pub(crate) usage: Option<Usage>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) error: Option<RunError>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        self.chunks.concat()
    }

    pub(crate) fn code(&self) -> Option<ErrorCode> {
        self.error.as_ref().map(|error| error.code)
    }

    pub(crate) fn message(&self) -> &str {
        self.error.as_ref().map_or("", |error| &error.message)
    }

    pub(crate) fn add(&mut self, item: Result<Event, RunError>) {
        assert!(
            self.finish.is_none() && self.error.is_none(),
            "nothing follows the end"
        );
        match item {
            Ok(Event::Text(text)) => self.chunks.push(text),
            Ok(Event::Reasoning(text)) => self.reasoning.push_str(&text),
            Ok(Event::ToolCall(delta)) => {
                if let (Some(id), Some(name)) = (delta.id, delta.name) {
                    self.calls.push((id, name, String::new()));
                }
                self.calls[delta.index as usize]
                    .2
                    .push_str(&delta.arguments);
            }
            Ok(Event::Usage(usage)) => self.usage = Some(usage),
            Ok(Event::Finished(reason)) => self.finish = Some(reason),
            Ok(other) => unreachable!("a model has no tools of its own: {other:?}"),
            Err(error) => self.error = Some(error),
        }
    }
}

/// A run and the ends a test holds.
pub(crate) struct Room {
    pub(crate) context: RunContext,
    pub(crate) cancel: CancellationToken,
    pub(crate) steer: mpsc::Sender<Steered>,
}

pub(crate) fn room() -> Room {
    let (steer, inbox) = Inbox::new();
    let cancel = CancellationToken::new();
    let context = RunContext {
        run_id: RunId::from_uuid(SystemIds.random()),
        wire_id: WireId::parse("w").unwrap(),
        session: SessionKey::from_canonical("agent:main:main"),
        deadline: None,
        cancel: cancel.clone(),
        inbox,
    };
    Room {
        context,
        cancel,
        steer,
    }
}

pub(crate) fn turn(text: &str) -> AgentTurn {
    AgentTurn {
        turn: Turn {
            current: vec![Message::text(Role::User, text)],
            ..Turn::default()
        },
        ..AgentTurn::default()
    }
}

pub(crate) fn endpoint(base_url: BaseUrl) -> Endpoint {
    let model = ModelRef {
        provider: "mock".into(),
        model: "mock-model".into(),
    };
    Endpoint::new(model, base_url)
}

/// An agent with these endpoints, and what it counts.
pub(crate) fn agent_of(endpoints: Vec<Endpoint>, retries: u32) -> (ModelAgent, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let spawner = Spawner::new(|task| drop(tokio::spawn(task)));
    let client = ModelClient::new(spawner, Arc::clone(&metrics));
    let config = ModelConfig {
        endpoints,
        system: None,
        retries,
    };
    (ModelAgent::new(config, client), metrics)
}

pub(crate) fn agent_at(upstream: &Upstream) -> ModelAgent {
    agent_of(vec![endpoint(upstream.base_url())], 2).0
}

pub(crate) async fn read(mut stream: EventStream) -> Answer {
    let mut answer = Answer::default();
    while let Some(item) = soon(stream.next()).await {
        answer.add(item);
    }
    answer
}

pub(crate) async fn ask(agent: &ModelAgent, turn: AgentTurn) -> Answer {
    read(agent.run(turn, room().context)).await
}

/// The answer to a fresh agent without retries when the server does what it is told.
pub(crate) async fn told(parts: impl IntoIterator<Item = Part>) -> (Answer, Upstream) {
    let upstream = Upstream::start().await;
    upstream.replies([Reply::events(parts)]);
    let (agent, _) = agent_of(vec![endpoint(upstream.base_url())], 2);
    let answer = ask(&agent, turn("hi")).await;
    assert_eq!(
        upstream.counts().asked,
        1,
        "a call that was answered is never repeated"
    );
    (answer, upstream)
}
