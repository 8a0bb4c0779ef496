//! Pieces of one tool call that came one behind the other, kept as one text.
//!
//! Model servers send arguments a few bytes at a time: a record for each would weigh many times
//! what it says. Every piece keeps its sequence number, so that a reader can go on from any.

use std::sync::Arc;

use crate::run::{Event, ToolCallDelta};

use super::log::Record;

/// Most bytes of arguments one item carries, unless a single piece is longer.
const ITEM_BYTES_MAX: usize = 64 * 1024;

/// Pieces of the arguments of one call; their sequence numbers have no gap.
#[derive(Debug)]
pub(super) struct Pieces {
    index: u32,
    first_seq: u64,
    text: String,
    /// Where each piece ends in the text.
    ends: Vec<u32>,
}

impl Pieces {
    /// The first piece; none for one that names its call, or is too long.
    pub(super) fn begin(seq: u64, delta: &ToolCallDelta) -> Option<Self> {
        let is_bare = delta.id.is_none() && delta.name.is_none();
        let end = u32::try_from(delta.arguments.len()).ok()?;
        is_bare.then(|| Self {
            index: delta.index,
            first_seq: seq,
            text: delta.arguments.clone(),
            ends: vec![end],
        })
    }

    /// Whether event `seq` would go on with the last piece.
    pub(super) fn goes_on(&self, seq: u64, delta: &ToolCallDelta) -> bool {
        let is_bare = delta.id.is_none() && delta.name.is_none();
        let length = self.text.len().saturating_add(delta.arguments.len());
        is_bare
            && delta.index == self.index
            && seq == self.last_seq() + 1
            && u32::try_from(length).is_ok()
    }

    /// Adds a piece that goes on with the last one.
    pub(super) fn push(&mut self, delta: &ToolCallDelta) {
        self.text.push_str(&delta.arguments);
        self.ends
            .push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// Sequence number of the first piece.
    pub(super) const fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Sequence number of the last piece.
    pub(super) fn last_seq(&self) -> u64 {
        let more = self.ends.len().saturating_sub(1);
        self.first_seq + u64::try_from(more).unwrap_or(u64::MAX)
    }

    /// Bytes they occupy.
    pub(super) const fn bytes(&self) -> usize {
        self.text.len() + size_of::<u32>() * self.ends.len()
    }

    /// Gives back what was held for more.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// The pieces behind event `after`, merged, and the last one's sequence number; of many only as
    /// much as one item carries.
    pub(super) fn item_after(&self, after: u64) -> (u64, Arc<Record>) {
        let from = self.count_through(after);
        let begin = self.end_of(from);
        let most = begin.saturating_add(ITEM_BYTES_MAX);
        let fitting = self
            .ends
            .partition_point(|end| usize::try_from(*end).is_ok_and(|end| end <= most));
        self.merged(from, fitting.max(from + 1))
    }

    /// Everything through event `split`, and everything behind it.
    pub(super) fn split_at(&self, split: u64) -> impl Iterator<Item = (u64, Arc<Record>)> {
        let at = self.count_through(split);
        let parts = [(0, at), (at, self.ends.len())].into_iter();
        parts
            .filter(|(from, to)| from < to)
            .map(|(from, to)| self.merged(from, to))
    }

    fn merged(&self, from: usize, to: usize) -> (u64, Arc<Record>) {
        let arguments = self.text.get(self.end_of(from)..self.end_of(to));
        let delta = ToolCallDelta {
            index: self.index,
            id: None,
            name: None,
            arguments: arguments.unwrap_or_default().to_owned(),
        };
        let last = u64::try_from(to.saturating_sub(1)).unwrap_or(u64::MAX);
        let record = Record::Event(Event::ToolCall(delta));
        (self.first_seq + last, Arc::new(record))
    }

    /// How many of the pieces are not behind event `seq`.
    fn count_through(&self, seq: u64) -> usize {
        let count = (seq + 1).saturating_sub(self.first_seq);
        usize::try_from(count).map_or(self.ends.len(), |count| count.min(self.ends.len()))
    }

    /// Where the first `count` pieces end.
    fn end_of(&self, count: usize) -> usize {
        let end = count.checked_sub(1).and_then(|last| self.ends.get(last));
        end.map_or(0, |end| usize::try_from(*end).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events::logs::test_info;
    use crate::events::{Item, Log, LogLimits, Subscription};

    /// What an agent may yield.
    #[derive(Clone, Debug)]
    enum Said {
        Text(String),
        Thought,
        Call(u32, bool, String),
    }

    fn said() -> impl Strategy<Value = Said> {
        prop_oneof![
            1 => "[a-c]{1,3}".prop_map(Said::Text),
            1 => Just(Said::Thought),
            6 => (0..2_u32, proptest::bool::weighted(0.1), "[x-zä]{0,3}")
                .prop_map(|(index, is_named, text)| Said::Call(index, is_named, text)),
        ]
    }

    fn call(index: u32, is_named: bool, arguments: &str) -> Event {
        Event::ToolCall(ToolCallDelta {
            index,
            id: is_named.then(|| "id".to_owned()),
            name: is_named.then(|| "name".to_owned()),
            arguments: arguments.to_owned(),
        })
    }

    fn write(log: &Log, said: &Said) {
        match said {
            Said::Text(text) => log.append_text(text),
            Said::Thought => log.append(Record::Event(Event::Reasoning("hm".to_owned()))),
            Said::Call(index, is_named, text) => {
                log.append(Record::Event(call(*index, *is_named, text)));
            }
        }
    }

    /// Writes down one record so that merged pieces read like single ones.
    fn note(seen: &mut Vec<String>, record: &Record) {
        let Record::Event(Event::ToolCall(delta)) = record else {
            return seen.push(format!("{record:?}"));
        };
        let goes_on = format!("{} ", delta.index);
        match seen.last_mut() {
            Some(last) if delta.id.is_none() && last.starts_with(&goes_on) => {
                last.push_str(&delta.arguments);
            }
            _ if delta.id.is_none() => seen.push(goes_on + &delta.arguments),
            _ => seen.push(format!("{goes_on}named {}", delta.arguments)),
        }
    }

    /// Reads what there is; returns the place to go on from.
    fn read(reader: &mut Subscription, seen: &mut Vec<String>) -> Option<u64> {
        let mut at = None;
        while let Some(item) = reader.try_next() {
            match item {
                Item::Text { seq, text } => {
                    match seen.last_mut().filter(|last| last.starts_with('"')) {
                        Some(last) => last.push_str(&text),
                        None => seen.push(format!("\"{text}")),
                    }
                    at = Some(seq);
                }
                Item::Record { seq, record } => {
                    note(seen, &record);
                    at = Some(seq);
                }
                Item::Gap { .. } | Item::End { .. } => panic!("{item:?}"),
            }
        }
        at
    }

    proptest! {
        #[test]
        fn every_reader_sees_the_same_whenever_it_comes(
            yielded in proptest::collection::vec(said(), 0..60),
            split in 0..60_u64,
        ) {
            let log = Log::new(test_info("w1"), LogLimits::default());
            let mut live = Subscription::from_start(Arc::clone(&log));
            let (mut seen, mut places) = (Vec::new(), Vec::new());
            for one in &yielded {
                write(&log, one);
                let at = read(&mut live, &mut seen);
                places.push((at, seen.clone()));
            }
            let mut late = Vec::new();
            read(&mut Subscription::from_start(Arc::clone(&log)), &mut late);
            prop_assert_eq!(&late, &seen);
            for (at, mut before) in places {
                let mut reader = Subscription::after(Arc::clone(&log), at.unwrap()).unwrap();
                read(&mut reader, &mut before);
                prop_assert_eq!(&before, &seen);
            }
            let (mut kept, mut parts) = (Vec::new(), [0, 0]);
            for (seq, record) in log.records(split) {
                note(&mut kept, &record);
                if let Record::Event(Event::ToolCall(delta)) = &*record {
                    parts[usize::from(seq > split)] += delta.arguments.len();
                }
            }
            let mut told = [0, 0];
            for (seq, one) in (1..).zip(&yielded) {
                if let Said::Call(_, _, text) = one {
                    told[usize::from(seq > split)] += text.len();
                }
            }
            prop_assert_eq!(parts, told);
        }
    }

    #[test]
    fn single_bytes_are_kept_in_few() {
        let log = Log::new(test_info("w1"), LogLimits::default());
        let first = call(0, true, "");
        assert_eq!(log.output_bytes(&first), 64 + 6);
        log.append(Record::Event(first));
        let mut counted = 0;
        for _ in 0..100_000 {
            counted += log.output_bytes(&call(0, false, "x"));
            log.append(Record::Event(call(0, false, "x")));
        }
        assert_eq!(counted, 64 + 100_000);
        assert!(log.bytes() < 6 * 100_000, "{}", log.bytes());
        // One that goes on with nothing counts for what keeping it costs.
        assert_eq!(log.output_bytes(&call(1, false, "x")), 65);
        assert_eq!(log.output_bytes(&call(0, false, "")), 1);
        let mut reader = Subscription::from_start(log);
        let items = std::iter::from_fn(|| reader.try_next()).count();
        assert_eq!(items, 1 + 100_000_usize.div_ceil(ITEM_BYTES_MAX));
    }
}
