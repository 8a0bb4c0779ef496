//! An agent whose turns may ask for another model than its own.
//!
//! Owns only the choice. Whether a caller may ask for the model is decided before a turn gets here.

use crate::run::ModelRef;

use super::{Agent, AgentRef, AgentTurn, EventStream, Isolation, RunContext};

/// Answers with its own backend, or with another one when the turn names a model of that one.
#[derive(Debug)]
pub struct ByModel {
    own: AgentRef,
    others: AgentRef,
}

impl ByModel {
    /// `own` answers unless a turn names another model than [`Agent::model`] of it; then `others`
    /// does, and fails the run when it does not know the model.
    pub fn new(own: AgentRef, others: AgentRef) -> Self {
        Self { own, others }
    }

    fn chosen(&self, model: Option<&str>) -> &AgentRef {
        match model {
            Some(name) if !self.own.model().is_called(name) => &self.others,
            Some(_) | None => &self.own,
        }
    }
}

impl Agent for ByModel {
    fn run(&self, turn: AgentTurn, context: RunContext) -> EventStream {
        self.chosen(turn.turn.model.as_deref()).run(turn, context)
    }

    fn model(&self) -> ModelRef {
        self.own.model()
    }

    /// The stricter of the two: which one answers is not known when a run is placed.
    fn isolation(&self) -> Isolation {
        match (self.own.isolation(), self.others.isolation()) {
            (Isolation::Inline, Isolation::Inline) => Isolation::Inline,
            (Isolation::Task, _) | (_, Isolation::Task) => Isolation::Task,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::agent::sim::{SimAgent, SimConfig, SimScript};

    #[test]
    fn a_turn_goes_to_the_backend_of_its_model() {
        let sim =
            |name: &str| -> AgentRef { Arc::new(SimAgent::new(SimConfig::parse(name).unwrap())) };
        let agent = ByModel::new(sim("echo"), sim("lorem"));
        let chosen = |model| agent.chosen(model).model().model.to_string();
        assert_eq!(chosen(None), "echo");
        assert_eq!(chosen(Some("sim/echo")), "echo");
        assert_eq!(chosen(Some("sim/lorem")), "lorem");
        assert_eq!(chosen(Some("echo")), "lorem");
        assert_eq!(&*agent.model().model, "echo");
        assert_eq!(agent.isolation(), Isolation::Inline);
        let script = serde_json::json!([{"steps": [{"panic": "x"}]}]);
        let script = SimScript::from_value(script).unwrap();
        let panics = SimConfig::parse("script").unwrap().with_script(script);
        let agent = ByModel::new(sim("echo"), Arc::new(SimAgent::new(panics)));
        assert_eq!(agent.isolation(), Isolation::Task);
    }
}
