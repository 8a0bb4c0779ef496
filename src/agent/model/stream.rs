//! The stream of a run in front of a model server: ask, read, and ask again for steered messages.
//!
//! Owns what outlives a single call. Cancelling or dropping it closes the connection.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::Connect;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::agent::{AgentTurn, RunContext};
use crate::run::{Event, FinishReason, Message, Role, RunError, Usage};

use super::call::{self, Caller, Conversation};
use super::client::{ModelClient, Opened};
use super::config::ModelConfig;
use super::failure::CallError;
use super::reading::Reading;

/// The stream of one run.
pub(super) struct ModelStream<C> {
    state: State<C>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A run, and the answer that was opened for it by the endpoint at that position.
type Opening<C> = (Box<Run<C>>, Result<(Opened, usize), RunError>);

enum State<C> {
    Opening(BoxFuture<'static, Opening<C>>),
    Reading(Box<Run<C>>, Box<Reading>),
    /// What is left to yield after the last call.
    Closing(VecDeque<Event>),
    Ended,
}

/// What outlives a single call.
#[derive(Debug)]
struct Run<C> {
    client: ModelClient<C>,
    config: Arc<ModelConfig>,
    conversation: Conversation,
    context: RunContext,
    usage: Option<Usage>,
    /// Position of the endpoint that answers.
    endpoint: usize,
}

impl<C: Connect + Clone + Send + Sync + 'static> ModelStream<C> {
    pub(super) fn new(
        client: ModelClient<C>,
        config: Arc<ModelConfig>,
        turn: AgentTurn,
        context: RunContext,
    ) -> Self {
        let cancelled = Box::pin(context.cancel.clone().cancelled_owned());
        let conversation = conversation(&config, turn);
        let run = Box::new(Run {
            client,
            config,
            conversation,
            context,
            usage: None,
            endpoint: 0,
        });
        Self {
            state: State::Opening(open(run)),
            cancelled,
        }
    }

    /// Ends the stream, and with it what it has open.
    fn end(&mut self, with: Option<RunError>) -> Poll<Option<Result<Event, RunError>>> {
        self.state = State::Ended;
        Poll::Ready(with.map(Err))
    }
}

fn open<C>(mut run: Box<Run<C>>) -> BoxFuture<'static, Opening<C>>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    Box::pin(async move {
        run.context.inbox.stored().await;
        let caller = Caller {
            client: &run.client,
            config: &run.config,
            conversation: &run.conversation,
            run_id: run.context.run_id,
            deadline: run.context.deadline,
        };
        let opened = caller.open().await;
        (run, opened)
    })
}

/// System text and messages in the order the model gets them.
fn conversation(config: &ModelConfig, turn: AgentTurn) -> Conversation {
    let AgentTurn { mut turn, session } = turn;
    let mut past: Vec<_> = session.iter().cloned().collect();
    past.append(&mut turn.history);
    let texts = [config.system.as_deref(), turn.system.as_deref()];
    let texts: Vec<_> = texts
        .into_iter()
        .flatten()
        .filter(|t| !t.is_empty())
        .collect();
    Conversation {
        system: (!texts.is_empty()).then(|| texts.join("\n\n")),
        past,
        current: std::mem::take(&mut turn.current),
        turn,
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Stream for ModelStream<C> {
    type Item = Result<Event, RunError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let waits = match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Closing(left) => match left.pop_front() {
                    Some(event) => return Poll::Ready(Some(Ok(event))),
                    None => return this.end(None),
                },
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready((_, Err(error))) => return this.end(Some(error)),
                    Poll::Ready((mut run, Ok((opened, endpoint)))) => {
                        run.endpoint = endpoint;
                        let reading = run.reading(opened);
                        this.state = State::Reading(run, Box::new(reading));
                        false
                    }
                    Poll::Pending => true,
                },
                State::Reading(run, reading) => match reading.poll_event(cx) {
                    Poll::Ready(Ok(Some(event))) => return Poll::Ready(Some(Ok(event))),
                    Poll::Ready(Ok(None)) => {
                        this.next_call();
                        false
                    }
                    Poll::Ready(Err(error)) => {
                        let error = run.failed(&error);
                        return this.end(Some(error));
                    }
                    Poll::Pending => true,
                },
            };
            if waits {
                ready!(this.cancelled.as_mut().poll(cx));
                return this.end(None);
            }
        }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> ModelStream<C> {
    /// Goes on to the next call when messages were steered in, else to the end.
    fn next_call(&mut self) {
        let State::Reading(mut run, reading) = std::mem::replace(&mut self.state, State::Ended)
        else {
            return;
        };
        let (body, text, usage, finish) = reading.close();
        run.client.finish(body);
        run.add_usage(usage);
        // A client that was asked to run its tools answers next, not the model.
        self.state = if finish != FinishReason::ToolCalls && run.take_steered(text) {
            State::Opening(open(run))
        } else {
            let usage = run.usage.map(Event::Usage);
            State::Closing(usage.into_iter().chain([Event::Finished(finish)]).collect())
        };
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Run<C> {
    fn reading(&self, opened: Opened) -> Reading {
        let timeouts = self.config.endpoints.get(self.endpoint).map(|e| e.timeouts);
        let idle = timeouts.unwrap_or_default().idle;
        Reading::new(opened, idle, self.context.run_id)
    }

    fn failed(&self, error: &CallError) -> RunError {
        self.client.metrics.upstream_failures.add_one();
        let Some(endpoint) = self.config.endpoints.get(self.endpoint) else {
            return RunError::new(error.code(), error.to_string());
        };
        call::note(self.context.run_id, endpoint, error);
        error.run_error(endpoint)
    }

    fn add_usage(&mut self, usage: Option<Usage>) {
        match (&mut self.usage, usage) {
            (Some(sum), Some(usage)) => sum.add(&usage),
            (sum @ None, usage) => *sum = usage,
            (Some(_), None) => {}
        }
    }

    /// Makes the messages that wait in the inbox the next question; false when none waits.
    fn take_steered(&mut self, answer: String) -> bool {
        let mut steered = Vec::new();
        while let Some(next) = self.context.inbox.try_take() {
            steered.push(next.message);
        }
        if steered.is_empty() {
            return false;
        }
        let asked = std::mem::replace(&mut self.conversation.current, steered);
        self.conversation.past.extend(asked);
        self.conversation
            .past
            .push(Message::text(Role::Assistant, answer));
        true
    }
}

impl<C> fmt::Debug for ModelStream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Opening(_) => "opening",
            State::Reading(..) => "reading",
            State::Closing(_) => "closing",
            State::Ended => "ended",
        };
        f.debug_struct("ModelStream")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
