//! The agent that stands in where the configuration names a model server that cannot be used.

use std::sync::Arc;

use futures_util::stream;

use crate::agent::{Agent, AgentTurn, EventStream, Isolation, RunContext};
use crate::config::AgentConfig;
use crate::error::ErrorCode;
use crate::run::{ModelRef, RunError};

/// Fails every run and says why.
#[derive(Debug)]
pub(super) struct Unavailable {
    model: ModelRef,
    reason: Arc<str>,
}

impl Unavailable {
    /// A stand-in for the agent of `config`.
    pub(super) fn new(config: &AgentConfig, reason: &Arc<str>) -> Self {
        let none = || ModelRef {
            provider: "none".into(),
            model: "none".into(),
        };
        Self {
            model: config.models.first().cloned().unwrap_or_else(none),
            reason: Arc::clone(reason),
        }
    }
}

impl Agent for Unavailable {
    fn run(&self, _turn: AgentTurn, _context: RunContext) -> EventStream {
        let error = RunError::new(ErrorCode::UpstreamConnect, Arc::clone(&self.reason));
        Box::pin(stream::iter([Err(error)]))
    }

    fn model(&self) -> ModelRef {
        self.model.clone()
    }

    fn isolation(&self) -> Isolation {
        Isolation::Inline
    }
}
