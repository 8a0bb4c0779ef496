//! An agent in front of OpenAI-compatible model servers.
//!
//! Knows their dialect and their faults; must not know lanes, storage, or who listens. A call is
//! repeated, and fallbacks are asked, only until the first byte of an answer has come.

mod call;
mod calls;
mod chunk;
mod client;
mod config;
mod failure;
mod reading;
mod request;
mod sse;
mod stream;
mod window;

use std::sync::Arc;

use crate::run::ModelRef;

use super::{Agent, AgentTurn, EventStream, Isolation, RunContext};

pub use client::{ClientTask, ModelClient, Spawner};
pub use config::{
    ApiKey, BaseUrl, BaseUrlError, Endpoint, ExtraHeaders, HeaderError, ModelConfig,
    RETRIES_DEFAULT, RETRIES_MAX, Timeouts, TokenLimitField,
};

/// An agent that asks a model server.
#[derive(Debug)]
pub struct ModelAgent {
    config: Arc<ModelConfig>,
    client: ModelClient,
}

impl ModelAgent {
    /// An agent that asks the endpoints of `config`, in order, through the shared `client`.
    pub fn new(config: ModelConfig, client: ModelClient) -> Self {
        Self {
            config: Arc::new(config),
            client,
        }
    }
}

impl Agent for ModelAgent {
    fn run(&self, turn: AgentTurn, context: RunContext) -> EventStream {
        let config = Arc::clone(&self.config);
        let stream = stream::ModelStream::new(self.client.clone(), config, turn, context);
        Box::pin(stream)
    }

    fn model(&self) -> ModelRef {
        match self.config.endpoints.first() {
            Some(endpoint) => endpoint.model.clone(),
            None => ModelRef {
                provider: "".into(),
                model: "".into(),
            },
        }
    }

    fn isolation(&self) -> Isolation {
        Isolation::Inline
    }
}
