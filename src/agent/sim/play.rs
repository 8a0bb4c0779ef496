//! The stream of a simulated answer: plays the steps of a plan at their times.
//!
//! A hand-written state machine: a token of an untimed answer costs its text and nothing else.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio_util::sync::CancellationToken;

use crate::agent::{AgentTurn, Inbox};
use crate::run::{Event, FinishReason, Message, Role, RunError, Usage};

use super::config::{SimConfig, SimMode};
use super::pace::Pace;
use super::plan::{Plan, Question, Step, broken_off, failure, plan};
use super::script::SimFailure;
use super::tokens;
use super::waiting::Waiting;
use crate::agent::rng::Rng;

/// Bytes that count as one token of a prompt.
const PROMPT_BYTES_PER_TOKEN: usize = 4;

/// One simulated answer.
#[derive(Debug)]
pub(super) struct Play {
    config: Arc<SimConfig>,
    ordinal: u64,
    steps: VecDeque<Step>,
    finish: FinishReason,
    stage: Stage,
    /// What is being said, and how far.
    saying: Option<Saying>,
    /// What is said next, once it is due.
    chunk: Option<Event>,
    pace: Pace,
    /// Texts that end the answer.
    stops: Vec<String>,
    cut: Option<Cut>,
    used: Used,
    conversation: Conversation,
    inbox: Inbox,
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Steps,
    Stalled,
    Usage,
    Finish,
    Ended,
}

#[derive(Debug)]
struct Saying {
    text: String,
    at: usize,
    is_reasoning: bool,
}

/// What happens after a number of tokens.
#[derive(Clone, Copy, Debug)]
struct Cut {
    after_tokens: u64,
    does: Cutting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cutting {
    Stall,
    Disconnect,
    Finish,
}

#[derive(Debug, Default)]
struct Used {
    prompt: u64,
    output: u64,
    reasoning: u64,
}

/// What the user said; kept only where an answer looks at it.
#[derive(Debug)]
struct Conversation {
    turn: AgentTurn,
    steered: Vec<String>,
}

impl Play {
    pub(super) fn new(
        config: Arc<SimConfig>,
        ordinal: u64,
        mut turn: AgentTurn,
        cancel: CancellationToken,
        inbox: Inbox,
    ) -> Self {
        let mut rng = Rng::new(config.seed, ordinal);
        let fails = config.fail_rate > 0.0 && rng.unit() < config.fail_rate;
        let mut this = Self {
            pace: Pace::new(&config, rng),
            stops: std::mem::take(&mut turn.turn.sampling.stop),
            cut: first_cut(&config, turn.turn.sampling.max_tokens),
            used: Used {
                prompt: prompt_tokens(&turn),
                ..Used::default()
            },
            conversation: Conversation {
                turn,
                steered: Vec::new(),
            },
            config,
            ordinal,
            steps: VecDeque::new(),
            finish: FinishReason::Stop,
            stage: Stage::Steps,
            saying: None,
            chunk: None,
            inbox,
            waiting: Waiting::new(cancel),
        };
        let plan = if fails {
            this.simulated_failure()
        } else {
            this.plan()
        };
        this.follow(plan);
        this
    }

    fn simulated_failure(&self) -> Plan {
        Plan::of([Step::Fail(failure(&SimFailure {
            status: Some(self.config.fail_status),
            ..SimFailure::default()
        }))])
    }

    fn plan(&mut self) -> Plan {
        let Conversation { turn, steered } = &self.conversation;
        plan(&mut Question {
            config: &self.config,
            turn: &turn.turn,
            earlier: &mut || said_before(turn, steered),
            ordinal: self.ordinal,
        })
    }

    fn follow(&mut self, plan: Plan) {
        self.steps = plan.steps;
        self.finish = plan.finish;
        if self.config.mode == SimMode::Echo {
            // An echo looks at nothing but the message it is answering.
            self.conversation.turn = AgentTurn::default();
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, RunError>>> {
        loop {
            // A crash before it is stored who answers a steered message would let it be answered
            // twice.
            ready!(self.waiting.poll_stored(cx));
            if self.waiting.is_cancelled() {
                self.stage = Stage::Ended;
            }
            match self.stage {
                Stage::Ended => return Poll::Ready(None),
                Stage::Stalled => ready!(self.waiting.poll_forever(cx)),
                Stage::Usage => {
                    self.stage = Stage::Finish;
                    return Poll::Ready(Some(Ok(Event::Usage(self.used.usage()))));
                }
                Stage::Finish => {
                    self.stage = Stage::Ended;
                    return Poll::Ready(Some(Ok(Event::Finished(self.finish))));
                }
                Stage::Steps => {
                    if let Some(item) = ready!(self.poll_step(cx)) {
                        return Poll::Ready(Some(item));
                    }
                }
            }
        }
    }

    /// Does what is next; `None` when there is nothing to yield yet.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, RunError>>> {
        if self.chunk.is_none() && !self.cuts_now() {
            self.chunk = self.next_chunk();
        }
        if self.chunk.is_some() {
            if !ready!(self.waiting.poll_due(cx, &self.pace)) {
                return Poll::Ready(None);
            }
            if self.config.yields {
                ready!(self.waiting.poll_give_way(cx));
            }
            return Poll::Ready(self.chunk.take().map(Ok));
        }
        if let Some(cut) = self.cut.filter(|_| self.cuts_now()) {
            return Poll::Ready(self.cut_off(cut.does));
        }
        // These have a time, but no chunk that waits for it.
        let ends = matches!(
            self.steps.front(),
            None | Some(Step::Fail(_) | Step::Panic(_))
        );
        if ends && !ready!(self.waiting.poll_due(cx, &self.pace)) {
            return Poll::Ready(None);
        }
        Poll::Ready(if let Some(step) = self.steps.pop_front() {
            self.begin(step).map(Err)
        } else {
            self.end_of_steps();
            None
        })
    }

    /// Begins a step; returns the failure if it is one.
    fn begin(&mut self, step: Step) -> Option<RunError> {
        match step {
            Step::Say(text) => self.say(text, false),
            Step::Think(text) => self.say(text, true),
            Step::Emit(event, tokens) => {
                self.used.output += tokens;
                self.chunk = Some(event);
            }
            Step::Wait(wait) => self.pace.wait(wait),
            Step::Pace(inter_token) => self.pace.set_inter_token(inter_token),
            Step::IgnoreCancel => self.waiting.ignores_cancel = true,
            Step::Stall => self.stage = Stage::Stalled,
            Step::Panic(message) => panic_as_told(&message),
            Step::Fail(error) => {
                self.stage = Stage::Ended;
                return Some(error);
            }
        }
        None
    }

    fn say(&mut self, text: String, is_reasoning: bool) {
        self.saying = Some(Saying {
            text: self.stopped(text, is_reasoning),
            at: 0,
            is_reasoning,
        });
    }

    /// The text up to the first of the caller's stop sequences.
    fn stopped(&mut self, mut text: String, is_reasoning: bool) -> String {
        let first = self
            .stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .filter_map(|stop| text.find(stop.as_str()))
            .min();
        if let Some(at) = first.filter(|_| !is_reasoning) {
            text.truncate(at);
            self.steps.clear();
            self.finish = FinishReason::Stop;
        }
        text
    }

    /// The next tokens of what is being said, scheduled.
    fn next_chunk(&mut self) -> Option<Event> {
        let saying = self.saying.as_mut()?;
        let left = self.cut.map_or(u64::MAX, |cut| {
            cut.after_tokens.saturating_sub(self.used.output)
        });
        let most = u64::from(self.config.chunk_tokens.get()).min(left);
        let rest = saying.text.get(saying.at..).unwrap_or_default();
        let mut tokens = 0;
        let mut end = 0;
        while tokens < most {
            let len = tokens::first_len(rest.get(end..).unwrap_or_default());
            if len == 0 {
                break;
            }
            end += len;
            tokens += 1;
            self.pace.token();
        }
        let piece = rest.get(..end).unwrap_or_default().to_owned();
        let is_reasoning = saying.is_reasoning;
        saying.at += end;
        if saying.at >= saying.text.len() {
            self.saying = None;
        }
        self.used.output += tokens;
        if is_reasoning {
            self.used.reasoning += tokens;
        }
        match (piece.is_empty(), is_reasoning) {
            (true, _) => None,
            (false, true) => Some(Event::Reasoning(piece)),
            (false, false) => Some(Event::Text(piece)),
        }
    }

    /// Whether the answer has as many tokens as it may have. A length limit that is met exactly
    /// cuts nothing off.
    fn cuts_now(&self) -> bool {
        self.cut.is_some_and(|cut| {
            let says_more = self.saying.is_some() || !self.steps.is_empty();
            self.used.output >= cut.after_tokens && (says_more || cut.does != Cutting::Finish)
        })
    }

    fn cut_off(&mut self, does: Cutting) -> Option<Result<Event, RunError>> {
        match does {
            Cutting::Stall => self.stage = Stage::Stalled,
            Cutting::Finish => {
                self.finish = FinishReason::Length;
                self.stage = Stage::Usage;
            }
            Cutting::Disconnect => {
                self.stage = Stage::Ended;
                return Some(Err(broken_off()));
            }
        }
        None
    }

    /// Takes the next steered message, or goes on to the end.
    fn end_of_steps(&mut self) {
        let takes = match self.config.mode {
            SimMode::Demo | SimMode::Echo => self.finish == FinishReason::Stop,
            SimMode::Lorem | SimMode::Script => false,
        };
        let steered = if takes { self.inbox.try_take() } else { None };
        match steered {
            Some(steered) => {
                self.waiting.wait_for(Box::pin(self.inbox.storing()));
                self.steer(steered.message);
            }
            None => self.stage = Stage::Usage,
        }
    }

    fn steer(&mut self, message: Message) {
        self.used.prompt += text_tokens(&message);
        let answered = std::mem::take(&mut self.conversation.turn.turn.current);
        let answered = answered.into_iter().filter(|m| m.role == Role::User);
        self.conversation.steered.extend(answered.map(|m| m.text));
        self.conversation.turn.turn.current = vec![message];
        let plan = self.plan();
        self.follow(plan);
    }
}

impl Stream for Play {
    type Item = Result<Event, RunError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl Used {
    fn usage(&self) -> Usage {
        Usage {
            input: self.prompt,
            output: self.output,
            cached: 0,
            reasoning: (self.reasoning > 0).then_some(self.reasoning),
            total: None,
        }
    }
}

#[expect(
    clippy::panic,
    reason = "a script asks for it, to show that the run alone fails"
)]
fn panic_as_told(message: &str) -> ! {
    panic!("{message}")
}

/// The first thing that cuts the answer off, if anything does.
fn first_cut(config: &SimConfig, max_tokens: Option<u64>) -> Option<Cut> {
    let stall = config.stall_after_tokens.map(u64::from);
    let disconnect = config.disconnect_after_tokens.map(u64::from);
    let cuts = [
        (stall, Cutting::Stall),
        (disconnect, Cutting::Disconnect),
        (max_tokens, Cutting::Finish),
    ];
    cuts.into_iter()
        .filter_map(|(after, does)| after.map(|after_tokens| Cut { after_tokens, does }))
        .min_by_key(|cut| cut.after_tokens)
}

fn text_tokens(message: &Message) -> u64 {
    u64::try_from(message.text.len().div_ceil(PROMPT_BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

fn prompt_tokens(turn: &AgentTurn) -> u64 {
    let messages = turn
        .session
        .iter()
        .chain(&turn.turn.history)
        .chain(&turn.turn.current);
    messages.map(text_tokens).sum()
}

/// What the user said before the message that is answered, oldest first.
fn said_before(turn: &AgentTurn, steered: &[String]) -> Vec<String> {
    let stored = turn.session.iter().chain(&turn.turn.history);
    let stored = stored
        .filter(|message| message.role == Role::User)
        .map(|message| message.text.clone());
    stored.chain(steered.iter().cloned()).collect()
}
