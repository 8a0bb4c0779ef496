//! One model call: which endpoint is asked, how often, and when it is given up.
//!
//! Owns repeats and fallbacks. Everything happens before the first byte of an answer; after it a
//! call is never sent again.

use std::time::Duration;

use bytes::Bytes;
use hyper_util::client::legacy::connect::Connect;
use tokio::time::{Instant, sleep};

use crate::agent::rng::Rng;
use crate::ids::RunId;
use crate::run::{Message, RunError, Turn};

use super::client::{ModelClient, Opened};
use super::config::{Endpoint, ModelConfig, RETRIES_MAX};
use super::failure::CallError;
use super::request::{Question, answer_tokens, tools_bytes};
use super::window::Window;

/// The wait before the first repeat is drawn from zero to this; it doubles with every repeat.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// What is asked, whichever endpoint answers.
#[derive(Debug)]
pub(super) struct Conversation {
    /// The agent's system text, then the caller's.
    pub(super) system: Option<String>,
    /// Everything before the current messages, oldest first.
    pub(super) past: Vec<Message>,
    /// What is to be answered.
    pub(super) current: Vec<Message>,
    /// Tools, tool choice and sampling.
    pub(super) turn: Turn,
}

/// Asks the endpoints of one configuration.
#[derive(Debug)]
pub(super) struct Caller<'a, C> {
    pub(super) client: &'a ModelClient<C>,
    pub(super) config: &'a ModelConfig,
    pub(super) conversation: &'a Conversation,
    pub(super) run_id: RunId,
    /// When the run is cut, if it is.
    pub(super) deadline: Option<Instant>,
}

impl<C: Connect + Clone + Send + Sync + 'static> Caller<'_, C> {
    /// Waits for the first byte of an answer, from the first endpoint that gives one; returns its
    /// position too. When none does, the failure of the first one counts.
    pub(super) async fn open(&self) -> Result<(Opened, usize), RunError> {
        let mut first_failure = None;
        for (at, endpoint) in self.config.endpoints.iter().enumerate() {
            match self.ask(endpoint).await {
                Ok(opened) => return Ok((opened, at)),
                Err(error) => {
                    first_failure.get_or_insert_with(|| error.run_error(endpoint));
                }
            }
        }
        Err(first_failure.unwrap_or_else(no_endpoint))
    }

    async fn ask(&self, endpoint: &Endpoint) -> Result<Opened, CallError> {
        let body = self
            .encode(endpoint)
            .inspect_err(|error| self.failed(endpoint, error))?;
        let mut repeats = 0;
        loop {
            let error = match self.client.call(endpoint, body.clone()).await {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            self.failed(endpoint, &error);
            let wait = self.wait_before_repeat(&error, repeats);
            let Some(wait) = wait.filter(|_| repeats < self.config.retries.min(RETRIES_MAX)) else {
                return Err(error);
            };
            sleep(wait).await;
            repeats += 1;
            self.client.metrics.upstream_retries.add_one();
        }
    }

    fn failed(&self, endpoint: &Endpoint, error: &CallError) {
        self.client.metrics.upstream_failures.add_one();
        note(self.run_id, endpoint, error);
    }

    fn encode(&self, endpoint: &Endpoint) -> Result<Bytes, CallError> {
        let Conversation {
            system,
            past,
            current,
            turn,
        } = self.conversation;
        let has_images = current.iter().any(|message| !message.images.is_empty());
        if has_images && endpoint.refuses_images() {
            return Err(CallError::NoImages);
        }
        let system_bytes = system.as_ref().map_or(0, String::len);
        let past = match endpoint.context_window {
            None => past,
            Some(tokens) => {
                let system_bytes = u64::try_from(system_bytes).unwrap_or(u64::MAX);
                let window = Window {
                    tokens,
                    answer: answer_tokens(&turn.sampling, endpoint).unwrap_or(0),
                    fixed_bytes: system_bytes.saturating_add(tools_bytes(&turn.tools)),
                };
                window
                    .fit(past, current)
                    .map_err(|_overflow| CallError::Overflow)?
            }
        };
        let question = Question {
            system: system.as_deref(),
            past,
            current,
            turn,
        };
        question.encode(endpoint).map_err(CallError::Encode)
    }

    /// How long to wait before the call is repeated; `None` when it is not.
    fn wait_before_repeat(&self, error: &CallError, repeats: u32) -> Option<Duration> {
        if !error.is_passing() {
            return None;
        }
        let most = BACKOFF_FIRST
            .saturating_mul(1 << repeats.min(16))
            .min(BACKOFF_MAX);
        let (high, low) = self.run_id.as_uuid().as_u64_pair();
        let share = Rng::new(high ^ low, u64::from(repeats)).unit();
        let wait = most
            .mul_f64(share)
            .max(error.retry_after().unwrap_or_default());
        let is_in_time = |deadline: Instant| Instant::now() + wait < deadline;
        self.deadline.is_none_or(is_in_time).then_some(wait)
    }
}

/// Tells the log what happened, with its causes.
pub(super) fn note(run_id: RunId, endpoint: &Endpoint, error: &CallError) {
    tracing::warn!(
        %run_id,
        provider = %endpoint.model.provider,
        model = %endpoint.model.model,
        code = error.code().as_str(),
        %error,
        cause = std::error::Error::source(error).map(tracing::field::display),
        "model call failed",
    );
}

fn no_endpoint() -> RunError {
    RunError::new(
        crate::error::ErrorCode::Internal,
        "no model is configured for this agent",
    )
}
