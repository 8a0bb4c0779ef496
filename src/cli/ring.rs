//! The newest log lines of the process, for `logs.tail`.
//!
//! Bounded by bytes, oldest dropped first. Each line is a JSON object in the shape log viewers of
//! the original read. Values are cut, and fields named like secrets are not kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::clock::Clock;
use crate::gateway::local::{LogTail, LogTailQuery, LogView};

/// Most bytes of lines.
const BYTES_MAX: usize = 1 << 20;
/// Most bytes of one value.
const VALUE_BYTES_MAX: usize = 256;
/// What stands for a value that may be a secret.
const HIDDEN: &str = "[secret]";
/// Parts of names of fields that may hold a secret.
const SECRET_NAMES: [&str; 6] = [
    "token",
    "password",
    "secret",
    "authorization",
    "api_key",
    "apikey",
];

/// The newest log lines; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    lines: Arc<Mutex<Lines>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    /// Bytes of the lines that were dropped, line ends included.
    dropped_bytes: u64,
    kept_bytes: usize,
}

impl Ring {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            lines: Arc::default(),
            clock,
        }
    }

    fn push(&self, line: String) {
        let mut lines = self.lock();
        lines.kept_bytes += line.len() + 1;
        lines.kept.push_back(line);
        while lines.kept_bytes > BYTES_MAX {
            let Some(oldest) = lines.kept.pop_front() else {
                break;
            };
            lines.kept_bytes -= oldest.len() + 1;
            lines.dropped_bytes += as_u64(oldest.len() + 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogView for Ring {
    fn tail(&self, query: LogTailQuery) -> LogTail {
        let lines = self.lock();
        let size = lines.dropped_bytes + as_u64(lines.kept_bytes);
        let known = query
            .cursor
            .filter(|cursor| (lines.dropped_bytes..=size).contains(cursor));
        let (tail, truncated) = lines.after(known, query);
        LogTail {
            file: "memory".into(),
            cursor: size,
            size,
            lines: tail,
            truncated,
            reset: query.cursor.is_some() && known.is_none(),
        }
    }
}

impl Lines {
    /// The lines after a byte position, as many of the newest as fit, and whether some did not.
    fn after(&self, cursor: Option<u64>, query: LogTailQuery) -> (Vec<String>, bool) {
        let from = cursor.unwrap_or(self.dropped_bytes);
        let mut end = self.dropped_bytes + as_u64(self.kept_bytes);
        let (mut bytes, mut taken) = (0, Vec::new());
        for line in self.kept.iter().rev() {
            let start = end - as_u64(line.len() + 1);
            if start < from {
                break;
            }
            bytes += line.len() + 1;
            if taken.len() == query.lines_max || bytes > query.bytes_max {
                taken.reverse();
                return (taken, true);
            }
            taken.push(line.clone());
            end = start;
        }
        taken.reverse();
        (taken, cursor.is_none() && self.dropped_bytes > 0)
    }
}

impl<S: Subscriber> Layer<S> for Ring {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.push(line(
            self.clock.now_ms(),
            *metadata.level(),
            metadata.target(),
            &fields,
        ));
    }
}

fn line(now_ms: u64, level: Level, target: &str, fields: &Fields) -> String {
    let subsystem = target.strip_prefix("clawport::").unwrap_or(target);
    let mut line = Map::new();
    line.insert("time".to_owned(), crate::clock::rfc3339(now_ms).into());
    line.insert("0".to_owned(), fields.text().into());
    line.insert(
        "_meta".to_owned(),
        json!({
            "logLevelName": level.as_str(),
            "name": json!({ "subsystem": subsystem }).to_string(),
        }),
    );
    Value::Object(line).to_string()
}

/// The message of an event and its fields.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.others {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        text
    }

    fn keep(&mut self, field: &Field, value: &str) {
        let name = field.name();
        let lower = name.to_lowercase();
        let value = if SECRET_NAMES.iter().any(|secret| lower.contains(secret)) {
            HIDDEN.to_owned()
        } else {
            cut(value)
        };
        if name == "message" {
            self.message = value;
        } else {
            self.others.push((name, value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, &format!("{value:?}"));
    }
}

/// A value with control characters escaped, no longer than a value may be.
fn cut(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        let before = text.len();
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
        if text.len() > VALUE_BYTES_MAX {
            text.truncate(before);
            text.push('…');
            break;
        }
    }
    text
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    fn ring() -> Ring {
        Ring::new(Arc::new(ManualClock::new(1_000)))
    }

    fn query(cursor: Option<u64>, lines_max: usize, bytes_max: usize) -> LogTailQuery {
        LogTailQuery {
            cursor,
            lines_max,
            bytes_max,
        }
    }

    fn filled(lines: &[&str]) -> Ring {
        let ring = ring();
        for line in lines {
            ring.push((*line).to_owned());
        }
        ring
    }

    #[test]
    fn events_become_lines_viewers_can_read() {
        let ring = ring();
        let subscriber = tracing_subscriber::registry().with(ring.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "clawport::transport", port = 80, "up\nand \u{1b}[31mred");
        });
        let tail = ring.tail(query(None, 10, 10_000));
        let line: Value = serde_json::from_str(&tail.lines[0]).unwrap();
        assert_eq!(line["0"], "up\\nand \\u{1b}[31mred port=80");
        assert_eq!(line["time"], "1970-01-01T00:00:01.000Z");
        assert_eq!(line["_meta"]["logLevelName"], "WARN");
        assert_eq!(line["_meta"]["name"], r#"{"subsystem":"transport"}"#);
    }

    #[test]
    fn secrets_are_not_kept_and_values_are_cut() {
        let ring = ring();
        let subscriber = tracing_subscriber::registry().with(ring.clone());
        tracing::subscriber::with_default(subscriber, || {
            let long = "ä".repeat(1000);
            tracing::info!(gateway_token = "hunter2", api_key = ?"hunter3", long, "m");
        });
        let line = ring.tail(query(None, 1, 10_000)).lines.remove(0);
        assert!(!line.contains("hunter"), "{line}");
        assert!(
            line.contains("gateway_token=[secret] api_key=[secret]"),
            "{line}"
        );
        assert!(
            line.contains(&format!("long={}…", "ä".repeat(128))),
            "{line}"
        );
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped() {
        let ring = filled(&["one", "two"]);
        let first = ring.tail(query(None, 10, 1000));
        assert_eq!(first.lines, ["one", "two"]);
        assert_eq!((first.cursor, first.size), (8, 8));
        assert!(!first.truncated && !first.reset);
        ring.push("three".to_owned());
        let next = ring.tail(query(Some(first.cursor), 10, 1000));
        assert_eq!(next.lines, ["three"]);
        assert!(!next.truncated && !next.reset);
        assert_eq!(
            ring.tail(query(Some(next.cursor), 10, 1000)).lines,
            Vec::<String>::new()
        );
    }

    #[test]
    fn limits_keep_the_newest_lines_and_say_so() {
        let ring = filled(&["one", "two", "three"]);
        let by_lines = ring.tail(query(None, 2, 1000));
        assert_eq!(by_lines.lines, ["two", "three"]);
        assert!(by_lines.truncated);
        let by_bytes = ring.tail(query(None, 10, 10));
        assert_eq!(by_bytes.lines, ["two", "three"]);
        assert!(by_bytes.truncated);
        let none = ring.tail(query(None, 10, 3));
        assert!(none.lines.is_empty() && none.truncated);
    }

    #[test]
    fn a_position_that_is_not_known_starts_over() {
        let ring = filled(&["one"]);
        let ahead = ring.tail(query(Some(99), 10, 1000));
        assert!(ahead.reset);
        assert_eq!(ahead.lines, ["one"]);
    }

    #[test]
    fn memory_is_bounded_and_what_was_dropped_is_noticed() {
        let ring = ring();
        let line = "x".repeat(99);
        for _ in 0..20_000 {
            ring.push(line.clone());
        }
        assert!(ring.lock().kept_bytes <= BYTES_MAX);
        let tail = ring.tail(query(Some(100), 5, 100_000));
        assert!(tail.reset);
        assert_eq!(tail.size, 2_000_000);
        assert_eq!(tail.lines.len(), 5);
        let all = ring.tail(query(None, usize::MAX, usize::MAX));
        assert!(all.truncated);
    }
}
