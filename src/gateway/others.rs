//! Every configured model, for agents that are asked to use another one than their own.

use std::sync::Arc;

use futures_util::stream;

use crate::agent::model::{ModelAgent, ModelClient, ModelConfig};
use crate::agent::sim::SimAgent;
use crate::agent::{Agent, AgentRef, AgentTurn, EventStream, Isolation, RunContext};
use crate::config::{AgentConfig, AgentsConfig, Backend};
use crate::error::ErrorCode;
use crate::run::{ModelRef, RunError};

/// Answers with the model a turn names; a turn that names none of these fails.
#[derive(Debug)]
pub(super) struct OtherModels {
    own: ModelRef,
    models: Vec<(ModelRef, AgentRef)>,
    isolation: Isolation,
}

impl OtherModels {
    /// The models of a configuration, each as `agent` can use it: with its own system text.
    /// `sims` are the simulated ones.
    pub(super) fn new(
        agent: &AgentConfig,
        config: &AgentsConfig,
        sims: &[(ModelRef, AgentRef)],
        client: &ModelClient,
    ) -> Self {
        let at_servers = config.endpoints.iter().map(|(endpoint, retries)| {
            let answers = ModelAgent::new(
                ModelConfig {
                    endpoints: vec![endpoint.clone()],
                    system: agent.system.clone(),
                    retries: *retries,
                },
                client.clone(),
            );
            let answers: AgentRef = Arc::new(answers);
            (endpoint.model.clone(), answers)
        });
        let models: Vec<_> = at_servers.chain(sims.iter().cloned()).collect();
        let alone = models
            .iter()
            .any(|(_, answers)| matches!(answers.isolation(), Isolation::Task));
        let none = || ModelRef {
            provider: "none".into(),
            model: "none".into(),
        };
        Self {
            own: agent.models.first().cloned().unwrap_or_else(none),
            models,
            isolation: if alone {
                Isolation::Task
            } else {
                Isolation::Inline
            },
        }
    }
}

/// The simulated models of a configuration, each once.
pub(super) fn simulated(config: &AgentsConfig) -> Vec<(ModelRef, AgentRef)> {
    let mut sims: Vec<(ModelRef, AgentRef)> = Vec::new();
    for agent in &config.list {
        let Backend::Sim(sim) = &agent.backend else {
            continue;
        };
        let answers: AgentRef = Arc::new(SimAgent::new(sim.clone()));
        for model in &agent.models {
            if !sims.iter().any(|(known, _)| known == model) {
                sims.push((model.clone(), Arc::clone(&answers)));
            }
        }
    }
    sims
}

impl Agent for OtherModels {
    fn run(&self, turn: AgentTurn, context: RunContext) -> EventStream {
        let name = turn.turn.model.as_deref().unwrap_or_default();
        let mut models = self.models.iter();
        if let Some((_, answers)) = models.find(|(model, _)| model.is_called(name)) {
            return answers.run(without_model(turn), context);
        }
        let message = format!("there is no model {name}");
        let error = RunError::new(ErrorCode::UpstreamModel, message);
        Box::pin(stream::iter([Err(error)]))
    }

    fn model(&self) -> ModelRef {
        self.own.clone()
    }

    fn isolation(&self) -> Isolation {
        self.isolation
    }
}

/// The one that answers has only this model.
fn without_model(mut turn: AgentTurn) -> AgentTurn {
    turn.turn.model = None;
    turn
}
