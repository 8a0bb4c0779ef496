//! One answer of a model server while it arrives.
//!
//! Owns the body, its limits of time and size, and the rule of what makes an answer complete. Must
//! not know what was asked.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::ids::RunId;
use crate::run::{Event, FinishReason, Usage};

use super::calls::Calls;
use super::chunk::{Chunk, Complaint, Delta};
use super::client::{Framing, Opened};
use super::failure::CallError;
use super::sse::{EVENT_BYTES_MAX, SseError, SseParser};

/// How long the counts and the end may take after the answer said that it is complete.
const AFTER_FINISH: Duration = Duration::from_secs(2);

/// One answer while it arrives.
#[derive(Debug)]
pub(super) struct Reading {
    body: Incoming,
    framing: Framing,
    parser: SseParser,
    whole: BytesMut,
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

impl Reading {
    /// Reads an answer that may be silent for `idle`.
    pub(super) fn new(opened: Opened, idle: Duration, run: RunId) -> Self {
        let mut reading = Self {
            body: opened.body,
            framing: opened.framing,
            parser: SseParser::default(),
            whole: BytesMut::new(),
            events: VecDeque::new(),
            text: String::new(),
            calls: Calls::new(run),
            finish: None,
            usage: None,
            progress: Progress::Arriving,
            silence: Silence::new(idle),
        };
        reading.arrived(opened.first);
        reading
    }

    /// Takes a complete answer apart: its body, its text, its counts and why it ended.
    pub(super) fn close(self) -> (Incoming, String, Option<Usage>, FinishReason) {
        let finish = match self.finish {
            Some(FinishReason::Length) => FinishReason::Length,
            // Some servers say `stop` and mean calls, or the other way round.
            _ if !self.calls.is_empty() => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        (self.body, self.text, self.usage, finish)
    }

    /// The next event; `None` when the answer is complete.
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Event>, CallError>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Ok(Some(event)));
            }
            if self.progress == Progress::Complete {
                return Poll::Ready(Ok(None));
            }
            if let Some(data) = self.parser.next_event() {
                self.read(&data?)?;
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
                Poll::Ready(None) => self.ended()?,
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
    fn ended(&mut self) -> Result<(), CallError> {
        let rest = match self.framing {
            Framing::Events => self.parser.finish(),
            Framing::Whole => Some(self.whole.split().freeze()),
        };
        if let Some(data) = rest {
            self.read(&data)?;
        }
        if self.progress == Progress::Arriving && self.finish.is_none() {
            return Err(CallError::Truncated);
        }
        self.progress = Progress::Complete;
        Ok(())
    }

    /// Reads the data of one event.
    fn read(&mut self, data: &[u8]) -> Result<(), CallError> {
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
            self.add(&delta)?;
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
    fn add(&mut self, delta: &Delta<'_>) -> Result<(), CallError> {
        let reasoning = delta
            .reasoning_content
            .as_ref()
            .or(delta.reasoning.as_ref());
        if let Some(text) = reasoning.and_then(|text| text.some()) {
            self.events.push_back(Event::Reasoning(text.to_owned()));
        }
        let spoken = [delta.content.as_ref(), delta.refusal.as_ref()];
        for text in spoken.into_iter().flatten().filter_map(|text| text.some()) {
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
