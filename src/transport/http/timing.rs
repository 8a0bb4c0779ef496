//! Where the time of an answer went, as `Server-Timing`.
//!
//! An answer in one piece carries it as a header. A stream's headers leave before its run starts,
//! so there it is a trailer, for callers who say that they read one.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue, TE, TRAILER};
use tokio::time::Instant;

use crate::events::{Item, Record};
use crate::run::Event;

static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Whether a caller reads fields that follow a body (RFC 9110 §6.5.1).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// Announces the trailer of a stream.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.insert(TRAILER, HeaderValue::from_static("server-timing"));
}

/// Notes when a run left its queue and when it said its first word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    since: Instant,
    queue: Option<Duration>,
    first: Option<Duration>,
}

impl Timing {
    /// Counts from now.
    pub(super) fn start() -> Self {
        Self {
            since: Instant::now(),
            queue: None,
            first: None,
        }
    }

    /// Looks at what a reader got.
    pub(super) fn note(&mut self, item: &Item) {
        let place = match item {
            Item::Record { record, .. } => match &**record {
                Record::Started { .. } => &mut self.queue,
                Record::Event(Event::Text(_) | Event::Reasoning(_) | Event::ToolCall(_)) => {
                    &mut self.first
                }
                Record::Event(_) => return,
            },
            Item::Text { .. } => &mut self.first,
            Item::Gap { .. } | Item::End { .. } => return,
        };
        if place.is_none() {
            *place = Some(self.since.elapsed());
        }
    }

    /// Adds the header.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        headers.extend(self.value().map(|value| (SERVER_TIMING.clone(), value)));
    }

    /// The trailer.
    pub(super) fn trailer(&self) -> HeaderMap {
        let mut trailer = HeaderMap::with_capacity(1);
        self.add_to(&mut trailer);
        trailer
    }

    /// Time in the queue, time to the first word, time in all, in milliseconds.
    fn value(&self) -> Option<HeaderValue> {
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let entry = |name: &str, time: Duration| format!("{name};dur={:.1}", millis(time));
        let known = [("queue", self.queue), ("ttft", self.first)];
        let known = known
            .into_iter()
            .filter_map(|(name, time)| Some(entry(name, time?)));
        let total = entry("total", self.since.elapsed());
        let text = known.chain([total]).collect::<Vec<_>>().join(", ");
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_did_not_happen_is_left_out_and_the_first_time_counts() {
        let mut timing = Timing::start();
        assert_eq!(timing.value().unwrap(), "total;dur=0.0");
        tokio::time::advance(Duration::from_millis(12)).await;
        let started = Record::Started { at_ms: 1 };
        timing.note(&Item::Record {
            seq: 1,
            record: Arc::new(started),
        });
        tokio::time::advance(Duration::from_micros(3500)).await;
        for _ in 0..2 {
            timing.note(&Item::Text {
                seq: 2,
                text: "a".to_owned(),
            });
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(
            timing.value().unwrap(),
            "queue;dur=12.0, ttft;dur=15.5, total;dur=17.5"
        );
    }

    #[test]
    fn only_who_says_so_takes_trailers() {
        let check = |values: &[&'static str], expected| {
            let values = values
                .iter()
                .map(|value| (TE, HeaderValue::from_static(value)));
            assert_eq!(takes_trailers(&values.collect()), expected);
        };
        check(&[], false);
        check(&["gzip"], false);
        check(&["trailersx"], false);
        check(&["trailers"], true);
        check(&["gzip, Trailers "], true);
    }
}
