//! Turns what one run does into the `agent` and `chat` events clients follow (`protocol-facts`
//! §7.2, §7.3, §8.5).
//!
//! Owns the text shown so far, the pacing of deltas and the run's sequence numbers. Every payload
//! is encoded once, whoever gets it, and serves protocol 3 and 4. Knows no socket, no clock and no
//! log: callers feed what happened with the time it is, send what [`RunProjection::poll_event`]
//! gives, and come back at [`RunProjection::poll_timeout`].

mod encode;
mod text;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::ids::{RunId, SessionId, SessionKey};
use crate::protocol::events::Event;
use crate::protocol::events::agent::{AgentStream, Lifecycle, RunStatusData, ToolData, UsageData};
use crate::protocol::events::session::ToolStep;
use crate::protocol::methods::agent::{LIVENESS_WORKING, TERMINAL_REPLY_BYTES_MAX};
use crate::protocol::outcome::{ErrorDetail, ErrorKind, stop_reason, timeout_phase};
use crate::protocol::{EncodeError, EncodedEvent, FRAME_BYTES_MAX};
use crate::run::{self, Front, ModelRef, Outcome, RunError, RunInfo, Terminal};

use encode::{Encoder, bounded_value};
use text::{PacedText, Silence};

/// Least time between two text deltas of a run while its text is short.
pub const DELTA_INTERVAL: Duration = Duration::from_millis(75);

/// Every delta repeats the whole text, so the interval grows by [`DELTA_INTERVAL`] for each of
/// these bytes: what a run sends per second stays bounded however long its answer gets.
pub const STRETCH_BYTES: usize = 64 * 1024;

/// Most reasoning text that is shown; what comes after is left out.
const THINKING_BYTES_MAX: usize = 256 * 1024;

/// Longest message of a failure that is shown, in characters.
const ERROR_CHARS_MAX: usize = 4_000;

/// Most escaped text in one frame. Text that escapes to more (it would have to be megabytes of
/// control characters) is not streamed; its end is told without it and the transcript has it.
const TEXT_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;

/// When something happened.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For pacing.
    pub now: Instant,
    /// For clients, in wall-clock milliseconds.
    pub wall_ms: u64,
}

/// An event ready to be sent.
#[derive(Clone, Debug)]
pub struct Projected {
    /// Which event it is.
    pub event: Event,
    /// The event, encoded.
    pub encoded: EncodedEvent,
    /// Who gets it.
    pub receivers: Receivers,
    /// What it tells.
    pub kind: Kind,
    /// Whether a reader that is too slow loses it rather than its connection.
    pub droppable: bool,
    /// Whether nothing of the run follows.
    pub is_last: bool,
    /// The step with a tool, for those who are told of it in another form.
    pub step: Option<Box<ToolStep>>,
    key_span: Range<usize>,
}

impl Projected {
    /// The event with another session key: protocol 3 clients compare the key with what they sent
    /// in `chat.send`.
    ///
    /// # Errors
    /// The frame becomes too long.
    pub fn with_session_key(&self, key: &str) -> Result<EncodedEvent, EncodeError> {
        let Range { start, end } = self.key_span;
        let head = self.encoded.head();
        let mut frame = String::with_capacity(head.len() + key.len());
        frame.push_str(head.get(..start).unwrap_or_default());
        text::push_escaped(&mut frame, key);
        frame.push_str(head.get(end..).unwrap_or_default());
        EncodedEvent::from_head(self.event.name(), frame)
    }
}

/// Who gets an event of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// Everybody who may follow this session.
    Session(SessionKey),
    /// Connections with the cap `tool-events` that are registered for this run.
    ToolRecipients(RunId),
}

/// What an event of a run tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The run began or gets on.
    Progress,
    /// More answer text; superseded by the next one.
    Text,
    /// More reasoning.
    Thinking,
    /// A tool.
    Tool,
    /// The run ended.
    Terminal,
}

/// The run to follow.
#[derive(Clone, Debug)]
pub struct ProjectedRun<'a> {
    /// The run.
    pub info: &'a RunInfo,
    /// Its transcript; `None` for a run that is not stored.
    pub session_id: Option<SessionId>,
    /// The model that answers, when it is known.
    pub model: Option<ModelRef>,
    /// Whether reasoning is shown.
    pub show_reasoning: bool,
}

/// The events of one run.
#[derive(Debug)]
pub struct RunProjection {
    encoder: Encoder,
    session: SessionKey,
    run: RunId,
    front: Front,
    is_command: bool,
    model: Option<ModelRef>,
    show_reasoning: bool,
    seq: u64,
    text: PacedText,
    thinking: PacedText,
    silence: Silence,
    last_sent: Option<Instant>,
    output_tokens: Option<u64>,
    ended: bool,
    out: VecDeque<Projected>,
}

impl RunProjection {
    /// Follows a run from its beginning.
    pub fn new(run: ProjectedRun<'_>) -> Self {
        Self {
            encoder: Encoder::new(run.info, run.session_id),
            session: run.info.session.clone(),
            run: run.info.run_id,
            front: run.info.front,
            is_command: run.info.is_command(),
            model: run.model,
            show_reasoning: run.show_reasoning,
            seq: 0,
            text: PacedText::default(),
            thinking: PacedText::default(),
            silence: Silence::default(),
            last_sent: None,
            output_tokens: None,
            ended: false,
            out: VecDeque::new(),
        }
    }

    /// The agent was started.
    pub fn handle_started(&mut self, started_at_ms: u64) {
        if self.ended || self.is_command {
            return;
        }
        let start = Lifecycle::Start {
            started_at: started_at_ms,
        };
        self.push_lifecycle(&start, started_at_ms);
        if self.front == Front::NativeChat {
            self.push_starting_model(started_at_ms);
        }
        if let Some(model) = &self.model {
            let model = Lifecycle::Model {
                provider: model.provider.as_ref().to_owned(),
                model: model.model.as_ref().to_owned(),
            };
            self.push_lifecycle(&model, started_at_ms);
        }
    }

    /// More answer text.
    pub fn handle_text(&mut self, delta: &str, at: Moment) {
        if self.ended {
            return;
        }
        self.silence.feed(delta);
        self.text.push(delta);
        self.flush_if_due(at);
    }

    /// Something else the agent yielded.
    pub fn handle_event(&mut self, event: &run::Event, at: Moment) {
        if self.ended {
            return;
        }
        match event {
            run::Event::Text(delta) => self.handle_text(delta, at),
            run::Event::Reasoning(delta) => self.handle_reasoning(delta, at),
            run::Event::ToolStart {
                id,
                name,
                arguments,
            } => self.push_tool(at, || ToolData::Start {
                name: name.clone(),
                tool_call_id: id.clone(),
                args: bounded_value(arguments),
            }),
            run::Event::ToolUpdate { id, name, partial } => {
                self.push_tool(at, || ToolData::Update {
                    name: name.clone(),
                    tool_call_id: id.clone(),
                    partial_result: bounded_value(partial),
                });
            }
            run::Event::ToolResult {
                id,
                name,
                result,
                is_error,
            } => self.push_tool(at, || ToolData::Result {
                name: name.clone(),
                tool_call_id: id.clone(),
                is_error: *is_error,
                result: bounded_value(result),
            }),
            // Some model servers count with every token, so only the last count is told.
            run::Event::Usage(usage) => self.output_tokens = Some(usage.output),
            // Calls of client tools belong to the HTTP dialect; the end comes as the terminal.
            run::Event::ToolCall(_) | run::Event::Finished(_) => {}
        }
    }

    /// The run ended. Nothing is projected after this.
    pub fn handle_terminal(&mut self, terminal: &Terminal, at: Moment) {
        if self.ended {
            return;
        }
        match &terminal.outcome {
            Outcome::Ok(_) if self.is_command => self.push_command_end(at),
            Outcome::Ok(_) => {
                if !self.silence.is_silent() {
                    self.silence = Silence::Broken;
                }
                self.flush(at);
                self.push_usage(at);
                self.push_end(terminal, at);
                self.push_chat_end("final", Some(stop_reason(&terminal.outcome)), at);
            }
            Outcome::Error(error) => {
                self.flush(at);
                self.push_error(error, terminal, at);
            }
            Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted => {
                self.flush(at);
                self.seq += 1;
                self.push_chat_end("aborted", Some(stop_reason(&terminal.outcome)), at);
                self.push_stopped(terminal, at);
            }
        }
        self.ended = true;
        if let Some(last) = self.out.back_mut() {
            last.is_last = true;
        }
        self.text = PacedText::default();
        self.thinking = PacedText::default();
    }

    /// The next event to send.
    pub fn poll_event(&mut self) -> Option<Projected> {
        self.out.pop_front()
    }

    /// When to call [`RunProjection::handle_timeout`]; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = !self.ended && (self.has_text() || self.thinking.has_pending());
        self.last_sent
            .filter(|_| waits)
            .map(|last| last + self.interval())
    }

    /// Sends text that waited long enough.
    pub fn handle_timeout(&mut self, at: Moment) {
        if !self.ended {
            self.flush_if_due(at);
        }
    }

    fn handle_reasoning(&mut self, delta: &str, at: Moment) {
        if self.show_reasoning && self.thinking.bytes() < THINKING_BYTES_MAX {
            self.thinking.push(delta);
            self.flush_if_due(at);
        }
    }

    /// Whether there is answer text to send, no chance any more that the answer is silent, and room
    /// for it in a frame.
    const fn has_text(&self) -> bool {
        self.text.has_pending() && self.silence.is_broken() && self.text.fits(TEXT_BYTES_MAX)
    }

    fn interval(&self) -> Duration {
        let bytes = self.text.bytes() + self.thinking.bytes();
        let steps = bytes.div_ceil(STRETCH_BYTES).max(1);
        DELTA_INTERVAL.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
    }

    fn flush_if_due(&mut self, at: Moment) {
        if self.is_command {
            return;
        }
        let due = self
            .last_sent
            .is_none_or(|last| at.now.saturating_duration_since(last) >= self.interval());
        if due {
            self.flush(at);
        }
    }

    /// Sends all text that waits, reasoning first.
    fn flush(&mut self, at: Moment) {
        if self.thinking.has_pending() {
            self.seq += 1;
            let frame = self.encoder.thinking(self.seq, at.wall_ms, &self.thinking);
            self.thinking.mark_sent();
            self.push_agent(frame, Kind::Thinking);
            self.last_sent = Some(at.now);
        }
        if self.has_text() {
            self.seq += 1;
            let agent = self.encoder.assistant(self.seq, at.wall_ms, &self.text);
            let chat = self.encoder.delta(self.seq, at.wall_ms, &self.text);
            self.text.mark_sent();
            self.push_agent(agent, Kind::Text);
            self.push_chat(chat, Kind::Text, true);
            self.last_sent = Some(at.now);
        }
    }

    fn push_starting_model(&mut self, at_ms: u64) {
        self.seq += 1;
        let phase = "starting_model";
        let chat = self.encoder.status(self.seq, phase);
        let data = AgentStream::RunStatus(RunStatusData {
            phase: phase.to_owned(),
        });
        let agent = self.encoder.agent(self.seq, at_ms, &data);
        self.push_chat(chat, Kind::Progress, true);
        self.push_agent(agent, Kind::Progress);
    }

    fn push_usage(&mut self, at: Moment) {
        let Some(output_tokens) = self.output_tokens else {
            return;
        };
        self.seq += 1;
        let data = AgentStream::Usage(UsageData { output_tokens });
        let frame = self.encoder.agent(self.seq, at.wall_ms, &data);
        self.push_agent(frame, Kind::Progress);
    }

    fn push_tool(&mut self, at: Moment, data: impl FnOnce() -> ToolData) {
        self.flush(at);
        self.seq += 1;
        let data = data();
        let step = ToolStep {
            seq: self.seq,
            ts: at.wall_ms,
            data: data.clone(),
        };
        let frame = self
            .encoder
            .agent(self.seq, at.wall_ms, &AgentStream::Tool(data));
        let receivers = Receivers::ToolRecipients(self.run);
        self.push(Event::Agent, frame, receivers, Kind::Tool);
        if let Some(pushed) = self.out.back_mut().filter(|it| it.kind == Kind::Tool) {
            pushed.step = Some(Box::new(step));
        }
    }

    fn push_end(&mut self, terminal: &Terminal, at: Moment) {
        let end = Lifecycle::End {
            status: None,
            aborted: false,
            stop_reason: stop_reason(&terminal.outcome).to_owned(),
            timeout_phase: None,
            started_at: terminal.started_at_ms,
            ended_at: terminal.ended_at_ms,
            liveness_state: Some(LIVENESS_WORKING.to_owned()),
            terminal_reply: None,
            execution_settled: Some(true),
        };
        self.seq += 1;
        let reply = self
            .shown()
            .filter(|text| text.len() <= TERMINAL_REPLY_BYTES_MAX);
        let frame = self.encoder.end(self.seq, at.wall_ms, &end, reply);
        self.push_agent(frame, Kind::Terminal);
    }

    fn push_stopped(&mut self, terminal: &Terminal, at: Moment) {
        let end = Lifecycle::End {
            status: Some("cancelled".to_owned()),
            aborted: true,
            stop_reason: stop_reason(&terminal.outcome).to_owned(),
            timeout_phase: timeout_phase(&terminal.outcome).map(|phase| phase.as_str().to_owned()),
            started_at: terminal.started_at_ms,
            ended_at: terminal.ended_at_ms,
            liveness_state: None,
            terminal_reply: None,
            execution_settled: None,
        };
        let frame = self.encoder.end(self.seq, at.wall_ms, &end, None);
        self.push_agent(frame, Kind::Terminal);
    }

    fn push_error(&mut self, error: &RunError, terminal: &Terminal, at: Moment) {
        let detail = ErrorDetail::new(error, self.model.as_ref());
        let message: String = error.message.chars().take(ERROR_CHARS_MAX).collect();
        let lifecycle = Lifecycle::Error {
            error: message.clone(),
            started_at: terminal.started_at_ms,
            ended_at: terminal.ended_at_ms,
            error_observation: detail.clone(),
            execution_settled: true,
        };
        self.seq += 1;
        let frame = self.encoder.end(self.seq, at.wall_ms, &lifecycle, None);
        self.push_agent(frame, Kind::Terminal);
        let kind = ErrorKind::of(error.code);
        let frame = self
            .encoder
            .chat_error(self.seq, &message, kind, detail.as_ref());
        self.push_chat(frame, Kind::Terminal, false);
    }

    fn push_chat_end(&mut self, state: &str, reason: Option<&str>, at: Moment) {
        let message = self.shown();
        let frame = self.encoder.chat_end(
            self.seq,
            state,
            reason,
            message.map(|text| (text, at.wall_ms)),
        );
        self.push_chat(frame, Kind::Terminal, false);
    }

    /// A command is told of by its answer alone, as the original does.
    fn push_command_end(&mut self, at: Moment) {
        self.seq += 1;
        let frame = self
            .encoder
            .command_end(self.seq, self.text.shown(), at.wall_ms);
        self.push_chat(frame, Kind::Terminal, false);
    }

    /// The answer shown so far, escaped; `None` when it is empty or silent.
    fn shown(&self) -> Option<&str> {
        let text = self.text.shown();
        let fits = text.len() <= TEXT_BYTES_MAX;
        (!text.is_empty() && fits && self.silence.is_broken()).then_some(text)
    }

    fn push_lifecycle(&mut self, data: &Lifecycle, at_ms: u64) {
        self.seq += 1;
        let frame = self.encoder.end(self.seq, at_ms, data, None);
        self.push_agent(frame, Kind::Progress);
    }

    fn push_agent(&mut self, frame: String, kind: Kind) {
        let receivers = Receivers::Session(self.session.clone());
        self.push(Event::Agent, frame, receivers, kind);
    }

    fn push_chat(&mut self, frame: String, kind: Kind, droppable: bool) {
        let receivers = Receivers::Session(self.session.clone());
        self.push(Event::Chat, frame, receivers, kind);
        if let Some(last) = self.out.back_mut() {
            last.droppable = droppable;
        }
    }

    fn push(&mut self, event: Event, frame: String, receivers: Receivers, kind: Kind) {
        // Text is bounded above and everything else is small, so every frame fits.
        let Ok(encoded) = EncodedEvent::from_head(event.name(), frame) else {
            return;
        };
        self.out.push_back(Projected {
            event,
            encoded,
            receivers,
            kind,
            droppable: false,
            is_last: false,
            step: None,
            key_span: self.encoder.key_span(event),
        });
    }
}

#[cfg(test)]
mod tests;
