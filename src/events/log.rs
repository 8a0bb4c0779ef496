//! The events of one run, kept once for every reader.
//!
//! Appending never waits for a reader. Answer text and calls of client tools are kept until the log
//! goes (the run's output cap bounds them); everything else is kept up to a byte limit, oldest
//! dropped first, and a reader that missed some is told so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::run::{Event, RunInfo, Terminal, ToolCallDelta};

use super::pieces::Pieces;

/// Most text deltas that get a sequence number of their own; later ones share the last number.
const TEXT_MARKS_MAX: usize = 262_144;

/// What a record costs beside what it says.
const RECORD_BYTES: usize = 64;

/// How much a log may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of events that are neither text nor client tool calls.
    pub event_bytes_max: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            event_bytes_max: 1 << 20,
        }
    }
}

/// One thing in a log beside text.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The agent was started, at this wall-clock millisecond.
    Started {
        /// Wall-clock milliseconds.
        at_ms: u64,
    },
    /// Something the agent yielded; never `Event::Text`.
    Event(Event),
}

impl Record {
    /// Whether losing this record would lose part of the answer.
    const fn is_answer(&self) -> bool {
        match self {
            Self::Started { .. } => true,
            Self::Event(event) => matches!(
                event,
                Event::Text(_) | Event::ToolCall(_) | Event::Usage(_) | Event::Finished(_)
            ),
        }
    }

    fn bytes(&self) -> usize {
        let said = match self {
            Self::Started { .. } => 0,
            Self::Event(event) => match event {
                Event::Text(text) | Event::Reasoning(text) => text.len(),
                Event::ToolStart {
                    id,
                    name,
                    arguments: value,
                }
                | Event::ToolUpdate {
                    id,
                    name,
                    partial: value,
                }
                | Event::ToolResult {
                    id,
                    name,
                    result: value,
                    ..
                } => id.len() + name.len() + json_bytes(value),
                Event::ToolCall(delta) => call_bytes(delta),
                Event::Usage(_) | Event::Finished(_) => 0,
            },
        };
        RECORD_BYTES + said
    }
}

/// What a piece of a tool call says: its arguments, and the id and name that come with the first.
fn call_bytes(delta: &ToolCallDelta) -> usize {
    let named = [&delta.id, &delta.name].into_iter().flatten();
    delta.arguments.len() + named.map(String::len).sum::<usize>()
}

/// A close upper bound of what a JSON value occupies, without encoding it.
fn json_bytes(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(text) => 24 + text.len(),
        Value::Array(items) => 24 + items.iter().map(json_bytes).sum::<usize>(),
        Value::Object(map) => {
            24 + map
                .iter()
                .map(|(key, value)| 48 + key.len() + json_bytes(value))
                .sum::<usize>()
        }
    }
}

/// The bounded log of one run.
#[derive(Debug)]
pub struct Log {
    info: Arc<RunInfo>,
    limits: LogLimits,
    state: Mutex<State>,
}

/// Something that is part of an answer and no text.
#[derive(Debug)]
pub(super) enum Said {
    /// One record, with its sequence number.
    Record(u64, Arc<Record>),
    /// Pieces of a tool call that came one behind the other.
    Pieces(Pieces),
}

impl Said {
    /// The first sequence number in it.
    pub(super) const fn first_seq(&self) -> u64 {
        match self {
            Self::Record(seq, _) => *seq,
            Self::Pieces(pieces) => pieces.first_seq(),
        }
    }

    /// The last sequence number in it.
    pub(super) fn last_seq(&self) -> u64 {
        match self {
            Self::Record(seq, _) => *seq,
            Self::Pieces(pieces) => pieces.last_seq(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Record(_, record) => record.bytes(),
            Self::Pieces(pieces) => RECORD_BYTES + pieces.bytes(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Sequence number of the last thing appended; the first is 1.
    pub(super) seq: u64,
    /// The whole answer so far.
    pub(super) text: String,
    /// For each text delta: its sequence number and where it ends in `text`.
    pub(super) marks: Vec<(u64, usize)>,
    /// What is part of the answer beside its text, in order.
    pub(super) answer: Vec<Said>,
    /// Other records, bounded by bytes.
    pub(super) extra: VecDeque<(u64, Arc<Record>)>,
    extra_bytes: usize,
    /// Sequence number of the last record that was dropped; 0 when none was.
    pub(super) dropped_through: u64,
    pub(super) terminal: Option<Arc<Terminal>>,
    wakers: Vec<Option<Waker>>,
}

impl Log {
    /// An empty log for a run.
    pub fn new(info: Arc<RunInfo>, limits: LogLimits) -> Arc<Self> {
        Arc::new(Self {
            info,
            limits,
            state: Mutex::default(),
        })
    }

    /// Whose events these are.
    pub fn info(&self) -> &Arc<RunInfo> {
        &self.info
    }

    /// Adds answer text. Ignored once the log is closed.
    pub fn append_text(&self, delta: &str) {
        if delta.is_empty() {
            return;
        }
        let wakers = {
            let mut state = self.lock();
            if state.terminal.is_some() {
                return;
            }
            state.text.push_str(delta);
            state.seq += 1;
            let mark = (state.seq, state.text.len());
            if state.marks.len() < TEXT_MARKS_MAX {
                state.marks.push(mark);
            } else if let Some(last) = state.marks.last_mut() {
                *last = mark;
            }
            state.take_wakers()
        };
        wake(wakers);
    }

    /// Adds a record. Ignored once the log is closed.
    pub fn append(&self, record: Record) {
        let wakers = {
            let mut state = self.lock();
            if state.terminal.is_some() {
                return;
            }
            if record.is_answer() {
                state.push_answer(record);
            } else {
                state.push_extra(record, self.limits.event_bytes_max);
            }
            state.take_wakers()
        };
        wake(wakers);
    }

    /// What an event would count as part of the answer: what it says, and what keeping it costs
    /// when it does not go on with the event before it.
    pub fn output_bytes(&self, event: &Event) -> usize {
        match event {
            Event::Text(text) => text.len(),
            Event::ToolCall(delta) => match self.lock().goes_on(delta) {
                Some(_) => call_bytes(delta).max(1),
                None => call_bytes(delta) + RECORD_BYTES,
            },
            Event::Usage(_) => RECORD_BYTES,
            Event::Reasoning(_)
            | Event::ToolStart { .. }
            | Event::ToolUpdate { .. }
            | Event::ToolResult { .. }
            | Event::Finished(_) => 0,
        }
    }

    /// Closes the log with the run's one terminal; true for the first call, false later.
    pub fn close(&self, terminal: Terminal) -> bool {
        let wakers = {
            let mut state = self.lock();
            if state.terminal.is_some() {
                return false;
            }
            state.seq += 1;
            state.terminal = Some(Arc::new(terminal));
            state.shrink();
            state.take_wakers()
        };
        wake(wakers);
        true
    }

    /// How the run ended, once it has.
    pub fn terminal(&self) -> Option<Arc<Terminal>> {
        self.lock().terminal.clone()
    }

    /// When the agent was started, in wall-clock milliseconds, once it was.
    pub fn started_at_ms(&self) -> Option<u64> {
        let state = self.lock();
        let mut answer = state.answer.iter();
        answer.find_map(|said| match said {
            Said::Record(_, record) => match **record {
                Record::Started { at_ms } => Some(at_ms),
                Record::Event(_) => None,
            },
            Said::Pieces(_) => None,
        })
    }

    /// Sequence number of the last thing appended; 0 when nothing was.
    pub fn last_seq(&self) -> u64 {
        self.lock().seq
    }

    /// The answer so far.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// The answer so far, from this many bytes on.
    pub fn text_after(&self, bytes: usize) -> String {
        self.lock().text.get(bytes..).unwrap_or_default().to_owned()
    }

    /// Bytes of answer text so far.
    pub fn text_bytes(&self) -> usize {
        self.lock().text.len()
    }

    /// Every record that is kept, in order, with its sequence number. Pieces of a tool call that
    /// came one behind the other are merged, but for those on either side of event `split`.
    pub fn records(&self, split: u64) -> Vec<(u64, Arc<Record>)> {
        let mut records = Vec::new();
        {
            let state = self.lock();
            for said in &state.answer {
                match said {
                    Said::Record(seq, record) => records.push((*seq, Arc::clone(record))),
                    Said::Pieces(pieces) => records.extend(pieces.split_at(split)),
                }
            }
            records.extend(state.extra.iter().cloned());
        }
        records.sort_unstable_by_key(|(seq, _)| *seq);
        records
    }

    /// The bytes the log holds, for the limit on logs of ended runs.
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        let answer: usize = state.answer.iter().map(Said::bytes).sum();
        size_of::<Self>()
            + state.text.capacity()
            + 16 * state.marks.len()
            + answer
            + state.extra_bytes
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The pieces that this one would go on with.
    fn goes_on(&mut self, delta: &ToolCallDelta) -> Option<&mut Pieces> {
        let next = self.seq + 1;
        match self.answer.last_mut() {
            Some(Said::Pieces(last)) => last.goes_on(next, delta).then_some(last),
            Some(Said::Record(..)) | None => None,
        }
    }

    /// Adds part of an answer as the next event.
    fn push_answer(&mut self, record: Record) {
        let mut said = None;
        if let Record::Event(Event::ToolCall(delta)) = &record {
            if let Some(pieces) = self.goes_on(delta) {
                pieces.push(delta);
                self.seq += 1;
                return;
            }
            said = Pieces::begin(self.seq + 1, delta).map(Said::Pieces);
        }
        self.seq += 1;
        let seq = self.seq;
        let said = said.unwrap_or_else(|| Said::Record(seq, Arc::new(record)));
        self.answer.push(said);
    }

    /// Gives back what was held for more of the answer.
    fn shrink(&mut self) {
        self.text.shrink_to_fit();
        for said in &mut self.answer {
            if let Said::Pieces(pieces) = said {
                pieces.shrink();
            }
        }
    }

    fn push_extra(&mut self, record: Record, bytes_max: usize) {
        self.seq += 1;
        self.extra_bytes += record.bytes();
        self.extra.push_back((self.seq, Arc::new(record)));
        while self.extra_bytes > bytes_max {
            let Some((dropped, record)) = self.extra.pop_front() else {
                break;
            };
            self.extra_bytes -= record.bytes();
            self.dropped_through = dropped;
        }
    }

    /// Registers a reader and returns its slot.
    pub(super) fn join(&mut self) -> usize {
        if let Some(free) = self.wakers.iter().position(Option::is_none) {
            self.set_waker(free, Waker::noop());
            return free;
        }
        self.wakers.push(Some(Waker::noop().clone()));
        self.wakers.len() - 1
    }

    pub(super) fn leave(&mut self, slot: usize) {
        if let Some(waker) = self.wakers.get_mut(slot) {
            *waker = None;
        }
    }

    pub(super) fn set_waker(&mut self, slot: usize, waker: &Waker) {
        if let Some(place) = self.wakers.get_mut(slot) {
            match place {
                Some(old) => old.clone_from(waker),
                None => *place = Some(waker.clone()),
            }
        }
    }

    fn take_wakers(&mut self) -> Wakers {
        let mut wakers = Wakers::default();
        for waker in self.wakers.iter_mut().flatten() {
            let taken = std::mem::replace(waker, Waker::noop().clone());
            match wakers.first {
                None => wakers.first = Some(taken),
                Some(_) => wakers.rest.push(taken),
            }
        }
        wakers
    }
}

/// Wakers to call after the lock is gone; one reader, the usual case, allocates nothing.
#[derive(Default)]
struct Wakers {
    first: Option<Waker>,
    rest: Vec<Waker>,
}

fn wake(wakers: Wakers) {
    wakers
        .first
        .into_iter()
        .chain(wakers.rest)
        .for_each(Waker::wake);
}
