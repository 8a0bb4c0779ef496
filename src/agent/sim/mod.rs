//! The built-in simulated agent: needs no key and no network, and does the same thing every time.
//!
//! Four modes (`demo`, `echo`, `lorem`, `script`) and the knobs of [`SimConfig`] make it a
//! newcomer's first agent, a load generator and a source of every failure a model server can have.

mod arguments;
mod config;
mod demo;
mod pace;
mod plan;
mod play;

mod script;
mod tokens;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::run::ModelRef;

use super::{Agent, AgentTurn, EventStream, Isolation, RunContext};

pub use config::{Jitter, SimConfig, SimConfigError, SimMode};
pub use script::{
    RULES_MAX, STEPS_MAX, SimCall, SimFailure, SimRule, SimScript, SimScriptError, SimStep, SimTool,
};

/// The provider of every simulated model.
pub const PROVIDER: &str = "sim";

/// A simulated agent.
#[derive(Debug)]
pub struct SimAgent {
    config: Arc<SimConfig>,
    /// How many runs it has started; failures and ids are drawn anew for each.
    runs: AtomicU64,
}

impl SimAgent {
    /// An agent that does what `config` says.
    pub fn new(config: SimConfig) -> Self {
        Self {
            config: Arc::new(config),
            runs: AtomicU64::new(0),
        }
    }
}

impl Agent for SimAgent {
    fn run(&self, turn: AgentTurn, context: RunContext) -> EventStream {
        let ordinal = self.runs.fetch_add(1, Ordering::Relaxed);
        let config = Arc::clone(&self.config);
        let play = play::Play::new(config, ordinal, turn, context.cancel, context.inbox);
        Box::pin(play)
    }

    fn model(&self) -> ModelRef {
        ModelRef {
            provider: PROVIDER.into(),
            model: Arc::clone(&self.config.name),
        }
    }

    fn isolation(&self) -> Isolation {
        match &self.config.script {
            Some(script) if script.misbehaves() => Isolation::Task,
            _ => Isolation::Inline,
        }
    }
}

#[cfg(test)]
mod tests;
