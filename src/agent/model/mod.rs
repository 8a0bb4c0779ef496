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

use std::fmt;
use std::sync::Arc;

use futures_util::stream as streams;
use hyper_util::client::legacy::connect::Connect;

use crate::error::ErrorCode;
use crate::run::{ModelRef, RunError};

use super::{Agent, AgentTurn, EventStream, Isolation, RunContext};

pub use client::{ClientTask, ModelClient, NetConnector, Spawner};
pub use config::{
    ApiKey, BaseUrl, BaseUrlError, Endpoint, ExtraHeaders, HeaderError, ModelConfig,
    RETRIES_DEFAULT, RETRIES_MAX, Timeouts, TokenLimitField,
};

/// An agent that asks a model server.
#[derive(Debug)]
pub struct ModelAgent<C = NetConnector> {
    config: Arc<ModelConfig>,
    client: ModelClient<C>,
}

impl<C> ModelAgent<C> {
    /// An agent that asks the endpoints of `config`, in order, through the shared `client`.
    pub fn new(config: ModelConfig, client: ModelClient<C>) -> Self {
        Self {
            config: Arc::new(config),
            client,
        }
    }

    /// The configuration for a run: only the model it names, or all of them in order.
    fn config_for(&self, model: Option<&str>) -> Result<Arc<ModelConfig>, RunError> {
        let Some(name) = model else {
            return Ok(Arc::clone(&self.config));
        };
        let mut endpoints = self.config.endpoints.iter();
        let named = endpoints.find(|endpoint| endpoint.model.is_called(name));
        let endpoint = named.ok_or_else(|| {
            let message = format!("the agent has no model {name}");
            RunError::new(ErrorCode::UpstreamModel, message)
        })?;
        Ok(Arc::new(ModelConfig {
            endpoints: vec![endpoint.clone()],
            system: self.config.system.clone(),
            retries: self.config.retries,
        }))
    }
}

impl<C> Agent for ModelAgent<C>
where
    C: Connect + Clone + fmt::Debug + Send + Sync + 'static,
{
    /// A turn that names a model is answered by that model alone, without fallbacks.
    fn run(&self, turn: AgentTurn, context: RunContext) -> EventStream {
        let config = match self.config_for(turn.turn.model.as_deref()) {
            Ok(config) => config,
            Err(error) => return Box::pin(streams::iter([Err(error)])),
        };
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
