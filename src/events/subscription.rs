//! A reader's cursor into a log: readers pull, writers never wait.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::run::Terminal;

use super::log::{Log, Record, Said, State};

/// Most text bytes one item carries, so that a late reader does not copy megabytes at once.
const ITEM_TEXT_BYTES_MAX: usize = 64 * 1024;

/// What a reader gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// More answer text; deltas that waited are merged.
    Text {
        /// Sequence number of the last delta in it.
        seq: u64,
        /// The text.
        text: String,
    },
    /// Something else.
    Record {
        /// Its sequence number.
        seq: u64,
        /// What it is.
        record: Arc<Record>,
    },
    /// Records were dropped before this reader saw them. No answer text was.
    Gap {
        /// Sequence number of the last dropped record.
        through: u64,
    },
    /// The run ended. Nothing follows.
    End {
        /// Its sequence number.
        seq: u64,
        /// How it ended.
        terminal: Arc<Terminal>,
    },
}

/// A sequence number a reader cannot go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {after} is not in the log any more, or never was (the last is {last})")]
pub struct ResumeError {
    /// What the reader asked for.
    pub after: u64,
    /// The last sequence number of the log.
    pub last: u64,
}

/// A cursor into a [`Log`].
#[derive(Debug)]
pub struct Subscription {
    log: Arc<Log>,
    slot: usize,
    /// Sequence number of the last thing delivered.
    seq: u64,
    /// Bytes of text delivered.
    text_end: usize,
    /// Sequence number of the last dropped record the reader was told of.
    gap_through: u64,
    ended: bool,
}

impl Subscription {
    /// A reader that starts with the first event.
    pub fn from_start(log: Arc<Log>) -> Self {
        Self::at(log, 0, 0)
    }

    /// A reader that gets what comes after event `after`.
    ///
    /// # Errors
    /// [`ResumeError`] when that event is not a boundary the log still knows.
    pub fn after(log: Arc<Log>, after: u64) -> Result<Self, ResumeError> {
        let text_end = {
            let state = log.lock();
            let refused = ResumeError {
                after,
                last: state.seq,
            };
            if after > state.seq || (after != 0 && after < state.dropped_through) {
                return Err(refused);
            }
            let marks = state.marks.partition_point(|(seq, _)| *seq <= after);
            let (mark_seq, end) = match marks.checked_sub(1) {
                Some(last) => state.marks.get(last).copied().unwrap_or_default(),
                None => (0, 0),
            };
            if !state.is_boundary(after, mark_seq) {
                return Err(refused);
            }
            end
        };
        Ok(Self::at(log, after, text_end))
    }

    fn at(log: Arc<Log>, seq: u64, text_end: usize) -> Self {
        let slot = log.lock().join();
        Self {
            log,
            slot,
            seq,
            text_end,
            gap_through: 0,
            ended: false,
        }
    }

    /// The log this reads.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The next item, if one is there.
    pub fn try_next(&mut self) -> Option<Item> {
        let log = Arc::clone(&self.log);
        let state = log.lock();
        self.pick(&state)
    }

    /// Polls for the next item; `None` after the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let log = Arc::clone(&self.log);
        let mut state = log.lock();
        if let Some(item) = self.pick(&state) {
            return Poll::Ready(Some(item));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        state.set_waker(self.slot, cx.waker());
        Poll::Pending
    }

    /// Waits for the next item; `None` after the end.
    ///
    /// # Cancel safety
    /// Cancel safe: the cursor moves only when an item is returned.
    pub async fn next(&mut self) -> Option<Item> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Waits for the end of the run, skipping everything else.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&mut self) -> Option<Arc<Terminal>> {
        while let Some(item) = self.next().await {
            if let Item::End { terminal, .. } = item {
                return Some(terminal);
            }
        }
        self.log.terminal()
    }

    fn pick(&mut self, state: &State) -> Option<Item> {
        if self.ended {
            return None;
        }
        if state.dropped_through > self.seq.max(self.gap_through) {
            // Only other records went: answer records before the gap are still to come.
            self.gap_through = state.dropped_through;
            return Some(Item::Gap {
                through: self.gap_through,
            });
        }
        let record = state.next_record(self.seq);
        let limit = match record {
            Some(next) => state.text_end_before(next.seq()),
            None => state.text.len(),
        };
        if self.text_end < limit {
            return Some(self.pick_text(state, limit));
        }
        if let Some(next) = record {
            let (seq, record) = next.read(self.seq);
            self.seq = seq;
            return Some(Item::Record { seq, record });
        }
        let terminal = state.terminal.as_ref()?;
        self.ended = true;
        if self.seq == state.seq {
            return None;
        }
        self.seq = state.seq;
        Some(Item::End {
            seq: state.seq,
            terminal: Arc::clone(terminal),
        })
    }

    fn pick_text(&mut self, state: &State, limit: usize) -> Item {
        let mut end = limit.min(self.text_end + ITEM_TEXT_BYTES_MAX);
        while !state.text.is_char_boundary(end) {
            end -= 1;
        }
        // Ends with a delta where one ends in reach, so that a reader can go on from there.
        end = state.delta_end_in(self.text_end, end).unwrap_or(end);
        let text = state
            .text
            .get(self.text_end..end)
            .unwrap_or_default()
            .to_owned();
        self.text_end = end;
        let marks = state
            .marks
            .partition_point(|(_, mark_end)| *mark_end <= end);
        if let Some((seq, _)) = marks.checked_sub(1).and_then(|last| state.marks.get(last)) {
            self.seq = self.seq.max(*seq);
        }
        Item::Text {
            seq: self.seq,
            text,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.log.lock().leave(self.slot);
    }
}

/// What comes next beside text.
#[derive(Clone, Copy)]
enum Next<'a> {
    Answer(&'a Said),
    Extra(u64, &'a Arc<Record>),
}

impl Next<'_> {
    /// The first sequence number in it; no text stands between that and the last.
    const fn seq(&self) -> u64 {
        match self {
            Self::Answer(said) => said.first_seq(),
            Self::Extra(seq, _) => *seq,
        }
    }

    /// What of it is behind event `after`.
    fn read(&self, after: u64) -> (u64, Arc<Record>) {
        match self {
            Self::Answer(Said::Pieces(pieces)) => pieces.item_after(after),
            Self::Answer(Said::Record(seq, record)) => (*seq, Arc::clone(record)),
            Self::Extra(seq, record) => (*seq, Arc::clone(record)),
        }
    }
}

impl State {
    /// The first record with a sequence number above `seq`.
    fn next_record(&self, seq: u64) -> Option<Next<'_>> {
        let answer = self.answer.partition_point(|said| said.last_seq() <= seq);
        let extra = self.extra.partition_point(|(at, _)| *at <= seq);
        let answer = self.answer.get(answer).map(Next::Answer);
        let extra = self.extra.get(extra);
        let extra = extra.map(|(at, record)| Next::Extra(*at, record));
        match (answer, extra) {
            (Some(a), Some(b)) => Some(if a.seq() < b.seq() { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// Where the text written before event `seq` ends.
    fn text_end_before(&self, seq: u64) -> usize {
        let marks = self.marks.partition_point(|(at, _)| *at < seq);
        marks
            .checked_sub(1)
            .and_then(|last| self.marks.get(last))
            .map_or(0, |(_, end)| *end)
    }

    /// Where the last text delta that ends after `from` and not after `to` ends.
    fn delta_end_in(&self, from: usize, to: usize) -> Option<usize> {
        let marks = self.marks.partition_point(|(_, end)| *end <= to);
        let (_, end) = self.marks.get(marks.checked_sub(1)?)?;
        (*end > from).then_some(*end)
    }

    /// Whether an event is part of the answer and no text.
    fn is_in_answer(&self, seq: u64) -> bool {
        let at = self.answer.partition_point(|said| said.last_seq() < seq);
        let said = self.answer.get(at);
        said.is_some_and(|said| said.first_seq() <= seq)
    }

    fn is_boundary(&self, seq: u64, last_mark_seq: u64) -> bool {
        seq == 0
            || seq == last_mark_seq
            || seq == self.dropped_through
            || (seq == self.seq && self.terminal.is_some())
            || self.is_in_answer(seq)
            || self.extra.binary_search_by_key(&seq, |(at, _)| *at).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::LogLimits;
    use crate::events::logs::test_info;
    use crate::run::{Event, FinishReason, Outcome};

    fn log(event_bytes_max: usize) -> Arc<Log> {
        Log::new(test_info("w1"), LogLimits { event_bytes_max })
    }

    fn terminal() -> Terminal {
        Terminal {
            outcome: Outcome::Ok(FinishReason::Stop),
            started_at_ms: Some(1),
            ended_at_ms: 2,
            usage: None,
        }
    }

    fn drain(subscription: &mut Subscription) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(item) = subscription.try_next() {
            seen.push(match item {
                Item::Text { seq, text } => format!("{seq}:{text}"),
                Item::Record { seq, record } => match &*record {
                    Record::Event(Event::Reasoning(text)) => format!("{seq}:({text})"),
                    other => format!("{seq}:{other:?}"),
                },
                Item::Gap { through } => format!("gap {through}"),
                Item::End { seq, .. } => format!("{seq}:end"),
            });
        }
        seen
    }

    fn think(log: &Log, text: &str) {
        log.append(Record::Event(Event::Reasoning(text.to_owned())));
    }

    #[test]
    fn a_late_reader_gets_merged_text_in_the_order_it_was_written() {
        let log = log(1 << 20);
        log.append_text("a");
        log.append_text("b");
        think(&log, "hm");
        log.append_text("c");
        assert!(log.close(terminal()));
        let mut late = Subscription::from_start(Arc::clone(&log));
        assert_eq!(drain(&mut late), ["2:ab", "3:(hm)", "4:c", "5:end"]);
        assert_eq!(drain(&mut late), [""; 0]);
    }

    #[test]
    fn a_reader_resumes_at_every_boundary_without_loss_or_double() {
        let log = log(1 << 20);
        for text in ["x", "yy", "z"] {
            log.append_text(text);
            think(&log, text);
        }
        log.close(terminal());
        for after in 0..=7 {
            let mut whole = Subscription::from_start(Arc::clone(&log));
            let expected: Vec<_> = drain(&mut whole)
                .into_iter()
                .filter(|line| line.split(':').next().unwrap().parse::<u64>().unwrap() > after)
                .collect();
            let mut resumed = Subscription::after(Arc::clone(&log), after).unwrap();
            assert_eq!(drain(&mut resumed), expected, "after {after}");
        }
        assert_eq!(
            Subscription::after(Arc::clone(&log), 8).unwrap_err(),
            ResumeError { after: 8, last: 7 }
        );
    }

    #[test]
    fn old_extra_events_go_first_text_stays_and_the_reader_is_told() {
        let log = log(200);
        log.append_text("keep");
        for _ in 0..10 {
            think(&log, &"t".repeat(100));
        }
        let mut late = Subscription::from_start(Arc::clone(&log));
        let seen = drain(&mut late);
        assert_eq!(seen.first().unwrap(), "gap 10");
        assert_eq!(seen.get(1).unwrap(), "1:keep");
        assert_eq!(log.text(), "keep");
        assert!(Subscription::after(log, 3).is_err());
    }

    #[test]
    fn nothing_follows_the_one_terminal() {
        let log = log(1 << 20);
        assert!(log.close(terminal()));
        assert!(!log.close(terminal()));
        log.append_text("late");
        think(&log, "late");
        let mut reader = Subscription::from_start(log);
        assert_eq!(drain(&mut reader), ["1:end"]);
    }

    #[test]
    fn large_text_is_cut_at_character_boundaries() {
        let log = log(1 << 20);
        let text = "ä".repeat(50_000);
        log.append_text(&text);
        let mut reader = Subscription::from_start(log);
        let mut whole = String::new();
        while let Some(Item::Text { text, .. }) = reader.try_next() {
            assert!(text.len() <= ITEM_TEXT_BYTES_MAX);
            whole.push_str(&text);
        }
        assert_eq!(whole, text);
    }

    #[test]
    fn every_item_of_a_long_text_is_a_place_to_go_on_from() {
        let log = log(1 << 20);
        let delta = "d".repeat(10_000);
        for _ in 0..20 {
            log.append_text(&delta);
        }
        let mut reader = Subscription::from_start(Arc::clone(&log));
        let mut read = 0;
        while let Some(Item::Text { seq, text }) = reader.try_next() {
            read += text.len();
            let mut resumed = Subscription::after(Arc::clone(&log), seq).unwrap();
            let rest = std::iter::from_fn(|| resumed.try_next());
            let rest: usize = rest
                .map(|item| match item {
                    Item::Text { text, .. } => text.len(),
                    other => panic!("{other:?}"),
                })
                .sum();
            assert_eq!(read + rest, 200_000, "after {seq}");
        }
        assert_eq!(read, 200_000);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let log = log(1 << 20);
        let mut reader = Subscription::from_start(Arc::clone(&log));
        let mut other = Subscription::from_start(Arc::clone(&log));
        let writer = async {
            tokio::task::yield_now().await;
            log.append_text("hi");
            log.close(terminal());
        };
        let (first, ended, ()) = tokio::join!(reader.next(), other.ended(), writer);
        assert_eq!(
            first,
            Some(Item::Text {
                seq: 1,
                text: "hi".to_owned()
            })
        );
        assert_eq!(*ended.unwrap(), terminal());
    }
}
