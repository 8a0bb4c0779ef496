//! The stream of a run in front of a model server: ask, read, and ask again for steered messages.
//!
//! Owns the answer while it arrives. Cancelling or dropping it closes the connection.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::agent::{AgentTurn, RunContext};
use crate::run::{Event, FinishReason, Message, Role, RunError, Usage};

use super::call::{Caller, Conversation};
use super::calls::Calls;
use super::chunk::{Chunk, Complaint, Delta};
use super::client::{Framing, ModelClient, Opened};
use super::config::ModelConfig;
use super::failure::CallError;
use super::sse::{EVENT_BYTES_MAX, SseError, SseParser};

/// How long the counts and the end may take after the answer said that it is complete.
const AFTER_FINISH: Duration = Duration::from_secs(2);

/// The stream of one run.
pub(super) struct ModelStream {
    state: State,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

enum State {
    Opening(BoxFuture<'static, (Box<Run>, Result<(Opened, usize), RunError>)>),
    Reading(Box<Run>, Box<Reading>),
    /// What is left to yield after the last call.
    Closing(VecDeque<Event>),
    Ended,
}

/// What outlives a single call.
#[derive(Debug)]
struct Run {
    client: ModelClient,
    config: Arc<ModelConfig>,
    conversation: Conversation,
    context: RunContext,
    usage: Option<Usage>,
    /// Whether text was yielded: the answer of a later call begins after a blank line.
    has_text: bool,
}

/// One answer while it arrives.
#[derive(Debug)]
struct Reading {
    body: Incoming,
    framing: Framing,
    parser: SseParser,
    whole: BytesMut,
    /// The endpoint that answers.
    endpoint: usize,
    events: VecDeque<Event>,
    text: String,
    calls: Calls,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    progress: Progress,
    silence: Silence,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Arriving,
    /// The answer said that nothing follows.
    Complete,
}

/// Watches how long nothing arrives.
#[derive(Debug)]
struct Silence {
    longest: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl ModelStream {
    pub(super) fn new(
        client: ModelClient,
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
            has_text: false,
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

fn open(run: Box<Run>) -> BoxFuture<'static, (Box<Run>, Result<(Opened, usize), RunError>)> {
    Box::pin(async move {
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
    let mut past = session;
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

impl Stream for ModelStream {
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
                    Poll::Ready((run, Ok((opened, endpoint)))) => {
                        let reading = Reading::new(&run, opened, endpoint);
                        this.state = State::Reading(run, Box::new(reading));
                        false
                    }
                    Poll::Pending => true,
                },
                State::Reading(run, reading) => match reading.poll_event(cx, run) {
                    Poll::Ready(Ok(Some(event))) => return Poll::Ready(Some(Ok(event))),
                    Poll::Ready(Ok(None)) => {
                        this.next_call();
                        false
                    }
                    Poll::Ready(Err(error)) => {
                        let error = reading.failed(run, &error);
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

impl ModelStream {
    /// Goes on to the next call when messages were steered in, else to the end.
    fn next_call(&mut self) {
        let State::Reading(mut run, reading) = std::mem::replace(&mut self.state, State::Ended)
        else {
            return;
        };
        let Reading {
            body,
            text,
            usage,
            finish,
            calls,
            ..
        } = *reading;
        run.client.finish(body);
        run.add_usage(usage);
        let finish = match finish {
            Some(FinishReason::Length) => FinishReason::Length,
            _ if !calls.is_empty() => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        // A client that was asked to run its tools answers next, not the model.
        self.state = if finish != FinishReason::ToolCalls && run.take_steered(text) {
            State::Opening(open(run))
        } else {
            let usage = run.usage.map(Event::Usage);
            State::Closing(usage.into_iter().chain([Event::Finished(finish)]).collect())
        };
    }
}

impl Run {
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

impl Reading {
    fn new(run: &Run, opened: Opened, endpoint: usize) -> Self {
        let timeouts = run.config.endpoints.get(endpoint).map(|e| e.timeouts);
        let mut reading = Self {
            body: opened.body,
            framing: opened.framing,
            parser: SseParser::default(),
            whole: BytesMut::new(),
            endpoint,
            events: VecDeque::new(),
            text: String::new(),
            calls: Calls::new(run.context.run_id),
            finish: None,
            usage: None,
            progress: Progress::Arriving,
            silence: Silence::new(timeouts.unwrap_or_default().idle),
        };
        reading.arrived(opened.first);
        reading
    }

    fn failed(&self, run: &Run, error: &CallError) -> RunError {
        run.client.metrics.upstream_failures.add_one();
        let Some(endpoint) = run.config.endpoints.get(self.endpoint) else {
            return RunError::new(error.code(), error.to_string());
        };
        tracing::warn!(
            run_id = %run.context.run_id,
            provider = %endpoint.model.provider,
            model = %endpoint.model.model,
            code = error.code().as_str(),
            error = %error,
            cause = std::error::Error::source(error).map(tracing::field::display),
            "model answer failed",
        );
        error.run_error(endpoint)
    }

    /// The next event; `None` when the answer is complete.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        run: &mut Run,
    ) -> Poll<Result<Option<Event>, CallError>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Ok(Some(event)));
            }
            if self.progress == Progress::Complete {
                return Poll::Ready(Ok(None));
            }
            if let Some(data) = self.parser.next_event() {
                self.read(&data?, run)?;
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.arrived(data);
                    }
                    if self.whole.len() > EVENT_BYTES_MAX {
                        return Poll::Ready(Err(SseError::TooLarge.into()));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(self.broken(error)),
                Poll::Ready(None) => self.ended(run)?,
                Poll::Pending => return self.poll_silence(cx),
            }
        }
    }

    fn arrived(&mut self, data: Bytes) {
        self.silence.heard();
        match self.framing {
            Framing::Events => self.parser.push(data),
            Framing::Whole => self.whole.extend_from_slice(&data),
        }
    }

    /// Nothing arrives: the answer is over when it said so, and too late when it did not.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, CallError>> {
        let longest = match self.finish {
            Some(_) => self.silence.longest.min(AFTER_FINISH),
            None => self.silence.longest,
        };
        ready!(self.silence.poll_longer_than(longest, cx));
        if self.finish.is_none() {
            return Poll::Ready(Err(CallError::Idle(longest)));
        }
        self.progress = Progress::Complete;
        Poll::Ready(Ok(None))
    }

    fn broken(&mut self, error: hyper::Error) -> Result<Option<Event>, CallError> {
        if self.finish.is_none() {
            return Err(CallError::Broken(error));
        }
        self.progress = Progress::Complete;
        Ok(None)
    }

    /// The body has ended. Without a finish reason the answer is a part, whatever it looks like.
    fn ended(&mut self, run: &mut Run) -> Result<(), CallError> {
        let rest = match self.framing {
            Framing::Events => self.parser.finish(),
            Framing::Whole => Some(self.whole.split().freeze()),
        };
        if let Some(data) = rest {
            self.read(&data, run)?;
        }
        if self.progress == Progress::Arriving && self.finish.is_none() {
            return Err(CallError::Truncated);
        }
        self.progress = Progress::Complete;
        Ok(())
    }

    /// Reads the data of one event.
    fn read(&mut self, data: &[u8], run: &mut Run) -> Result<(), CallError> {
        if data.trim_ascii() == b"[DONE]" {
            let has_answer = !self.text.is_empty() || !self.calls.is_empty();
            if self.finish.is_none() && !has_answer {
                return Err(CallError::Truncated);
            }
            self.progress = Progress::Complete;
            return Ok(());
        }
        if data.is_empty() {
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(CallError::NotJson)?;
        if let Some(error) = chunk.error {
            return Err(CallError::Complained(Complaint::from_error(error)));
        }
        if let Some(usage) = chunk.usage.and_then(|usage| usage.usage()) {
            self.usage = Some(usage);
        }
        let Some(choice) = chunk.choices.and_then(|choices| choices.0) else {
            return Ok(());
        };
        if let Some(delta) = choice.delta.or(choice.message) {
            self.add(&delta, run)?;
        }
        let reason = choice
            .finish_reason
            .as_ref()
            .and_then(|reason| reason.some());
        self.finish = match reason {
            None => self.finish,
            Some("length" | "max_tokens" | "model_length") => Some(FinishReason::Length),
            Some("content_filter") => return Err(CallError::Filtered),
            Some("error") => return Err(CallError::Complained(Complaint::default())),
            // Every other reason, known or not, says that the answer is whole.
            Some(_) => Some(FinishReason::Stop),
        };
        Ok(())
    }

    /// Turns what is added to the answer into events.
    fn add(&mut self, delta: &Delta<'_>, run: &mut Run) -> Result<(), CallError> {
        let reasoning = delta
            .reasoning_content
            .as_ref()
            .or(delta.reasoning.as_ref());
        if let Some(text) = reasoning.and_then(|text| text.some()) {
            self.events.push_back(Event::Reasoning(text.to_owned()));
        }
        let spoken = [delta.content.as_ref(), delta.refusal.as_ref()];
        for text in spoken.into_iter().flatten().filter_map(|text| text.some()) {
            if self.text.is_empty() && run.has_text {
                self.events.push_back(Event::Text("\n\n".to_owned()));
            }
            run.has_text = true;
            self.text.push_str(text);
            self.events.push_back(Event::Text(text.to_owned()));
        }
        for piece in delta.tool_calls.iter().flatten() {
            let placed = self.calls.add(piece).map_err(|_| CallError::TooManyCalls)?;
            self.events.extend(placed.map(Event::ToolCall));
        }
        Ok(())
    }
}

impl Silence {
    fn new(longest: Duration) -> Self {
        let last = Instant::now();
        Self {
            longest,
            last,
            timer: Box::pin(sleep_until(last + longest)),
        }
    }

    fn heard(&mut self) {
        self.last = Instant::now();
    }

    /// Pends until nothing was heard for `longest`. The timer is set anew only when it fires or
    /// would fire too late, so that hearing something costs no more than a look at the clock.
    fn poll_longer_than(&mut self, longest: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.last + longest;
        if self.timer.deadline() > until {
            self.timer.as_mut().reset(until);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
    }
}

impl fmt::Debug for ModelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Opening(_) => "opening",
            State::Reading(..) => "reading",
            State::Closing(_) => "closing",
            State::Ended => "ended",
        };
        f.debug_struct("ModelStream")
            .field("state", &state)
            .finish()
    }
}
