//! Takes a stream of server-sent events apart.
//!
//! Owns line ends (LF, CR, CRLF), comments, multi-line data and the size limit of an event. Data of
//! one line that arrived in one piece is a slice of what arrived, not a copy. Only `data` is kept:
//! the dialects spoken here put everything into it.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

/// Most bytes of one event, and of one line.
pub(super) const EVENT_BYTES_MAX: usize = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A stream that cannot be taken apart any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SseError {
    /// A line or an event is larger than [`EVENT_BYTES_MAX`].
    #[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
}

/// The state of one stream. After an error nothing more comes out.
#[derive(Debug, Default)]
pub(super) struct SseParser {
    /// What arrived and was not looked at yet.
    input: Bytes,
    /// The beginning of a line whose end has not arrived.
    line: BytesMut,
    /// The data lines of the event so far.
    data: Data,
    /// The last line ended with CR, so a LF that follows belongs to it.
    after_cr: bool,
    began: bool,
    failed: bool,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    /// One line, as it arrived.
    Line(Bytes),
    /// Several lines, joined by LF.
    Lines(BytesMut),
}

impl SseParser {
    /// Adds what arrived. Everything before it must have been taken out with [`Self::next_event`].
    pub(super) fn push(&mut self, bytes: Bytes) {
        debug_assert!(
            self.input.is_empty(),
            "events are taken before more is pushed"
        );
        self.input = bytes;
    }

    /// The data of the next event that is complete.
    pub(super) fn next_event(&mut self) -> Option<Result<Bytes, SseError>> {
        while !self.failed {
            let line = match self.next_line() {
                Ok(line) => line?,
                Err(error) => return Some(Err(self.fail(error))),
            };
            if line.is_empty() {
                match std::mem::take(&mut self.data) {
                    Data::None => {}
                    Data::Line(data) => return Some(Ok(data)),
                    Data::Lines(data) => return Some(Ok(data.freeze())),
                }
            } else if let Some(value) = data_value(line)
                && let Err(error) = self.data.push(value)
            {
                return Some(Err(self.fail(error)));
            }
        }
        None
    }

    /// The data lines of an event whose empty line never came, when the stream has ended.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        match std::mem::take(&mut self.data) {
            Data::None => None,
            Data::Line(data) => Some(data),
            Data::Lines(data) => Some(data.freeze()),
        }
    }

    fn fail(&mut self, error: SseError) -> SseError {
        self.failed = true;
        self.input = Bytes::new();
        self.line = BytesMut::new();
        self.data = Data::None;
        error
    }

    /// The next complete line without its end; `Ok(None)` when more must arrive first.
    fn next_line(&mut self) -> Result<Option<Bytes>, SseError> {
        if self.after_cr && !self.input.is_empty() {
            self.after_cr = false;
            if self.input.first() == Some(&b'\n') {
                self.input.advance(1);
            }
        }
        let Some(end) = memchr2(b'\n', b'\r', &self.input) else {
            self.line.extend_from_slice(&self.input);
            self.input = Bytes::new();
            return fits(self.line.len()).map(|()| None);
        };
        let mut line = self.input.split_to(end);
        self.after_cr = self.input.first() == Some(&b'\r');
        self.input.advance(1);
        if !self.line.is_empty() {
            self.line.extend_from_slice(&line);
            line = self.line.split().freeze();
        }
        fits(line.len())?;
        if !std::mem::replace(&mut self.began, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.advance(BYTE_ORDER_MARK.len());
        }
        Ok(Some(line))
    }
}

impl Data {
    fn push(&mut self, value: Bytes) -> Result<(), SseError> {
        *self = match std::mem::take(self) {
            Self::None => Self::Line(value),
            Self::Line(first) => {
                let mut lines = BytesMut::with_capacity(first.len() + 1 + value.len());
                lines.extend_from_slice(&first);
                Self::Lines(joined(lines, &value)?)
            }
            Self::Lines(lines) => Self::Lines(joined(lines, &value)?),
        };
        Ok(())
    }
}

fn joined(mut lines: BytesMut, value: &[u8]) -> Result<BytesMut, SseError> {
    fits(lines.len() + 1 + value.len())?;
    lines.extend_from_slice(b"\n");
    lines.extend_from_slice(value);
    Ok(lines)
}

const fn fits(len: usize) -> Result<(), SseError> {
    if len > EVENT_BYTES_MAX {
        return Err(SseError::TooLarge);
    }
    Ok(())
}

/// The value of a `data` line; `None` for comments and every other field.
fn data_value(mut line: Bytes) -> Option<Bytes> {
    let rest = line.strip_prefix(b"data")?;
    let skip = match rest {
        [] => return Some(Bytes::new()),
        [b':', b' ', ..] => 2,
        [b':', ..] => 1,
        _ => return None,
    };
    line.advance(b"data".len() + skip);
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The events of a stream that arrives in these pieces.
    fn events(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, SseError>> {
        let mut parser = SseParser::default();
        let mut seen = Vec::new();
        for piece in pieces {
            parser.push(Bytes::copy_from_slice(piece));
            while let Some(event) = parser.next_event() {
                seen.push(event.map(|data| data.to_vec()));
            }
        }
        seen.extend(parser.finish().map(|data| Ok(data.to_vec())));
        seen
    }

    fn check(stream: &str, expected: &[&str]) {
        let seen: Vec<_> = events(&[stream.as_bytes()])
            .into_iter()
            .map(|event| String::from_utf8(event.unwrap()).unwrap())
            .collect();
        assert_eq!(seen, expected, "{stream:?}");
    }

    #[test]
    fn every_line_end_ends_a_line() {
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check("data: a\r\n\ndata: b\n\r\n", &["a", "b"]);
    }

    #[test]
    fn fields_follow_the_format() {
        check("data:a\n\n", &["a"]);
        check("data:  a \n\n", &[" a "]);
        check("data\n\n", &[""]);
        check("data: a\ndata\ndata: b\n\n", &["a\n\nb"]);
        check(": ping\n\n:\n\ndata: a\n\n", &["a"]);
        check("event: error\nid: 7\nretry: 3\ndata: a\n\n", &["a"]);
        check("datax: a\ndat: b\n DATA: c\n\n", &[]);
        check("\n\n\n", &[]);
        check("\u{feff}data: a\n\n", &["a"]);
        check("data: \u{feff}a\n\n", &["\u{feff}a"]);
    }

    #[test]
    fn an_event_without_its_empty_line_counts_at_the_end() {
        check("data: a\n\ndata: [DONE]\n", &["a", "[DONE]"]);
        check("data: a\n\ndata: {\"cut", &["a"]);
    }

    #[test]
    fn one_line_data_is_not_copied() {
        let mut parser = SseParser::default();
        let arrived = Bytes::from_static(b"data: hello\n\n");
        parser.push(arrived.clone());
        let data = parser.next_event().unwrap().unwrap();
        assert_eq!(data.as_ptr(), arrived.slice(6..).as_ptr());
    }

    #[test]
    fn events_have_a_largest_size() {
        let largest = format!("data: {}\n\n", "x".repeat(EVENT_BYTES_MAX - 6));
        assert_eq!(events(&[largest.as_bytes()]).len(), 1);
        let too_large = format!(
            "data: a\n\ndata: {}\n\ndata: b\n\n",
            "x".repeat(EVENT_BYTES_MAX)
        );
        let expected = [Ok(b"a".to_vec()), Err(SseError::TooLarge)];
        assert_eq!(events(&[too_large.as_bytes()]), expected);
        let pieces: Vec<_> = too_large.as_bytes().chunks(100_000).collect();
        assert_eq!(events(&pieces), expected);

        let line = format!("data: {}\n", "x".repeat(1000));
        let many_lines = line.repeat(EVENT_BYTES_MAX / 1000 + 1);
        assert_eq!(events(&[many_lines.as_bytes()]), [Err(SseError::TooLarge)]);
    }

    #[test]
    fn a_line_that_never_ends_is_not_kept() {
        let mut parser = SseParser::default();
        let piece = Bytes::from(vec![b'x'; 65_536]);
        let pushed = (1..100).find(|_| {
            parser.push(piece.clone());
            parser.next_event().is_some()
        });
        assert_eq!(pushed, Some(17));
        assert_eq!(parser.line.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "data: a", "data:", "data", "data: {\"x\":1}", ":c", "event: e", "é",
                    "\n", "\n", "\n", "\r", "\r\n", "\r\n", " ", "\u{feff}",
                ]),
                0..40,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let stream = parts.concat().into_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<_> = at.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[&stream]));
        }

        #[test]
        fn any_bytes_are_survived(stream in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes: Vec<_> = stream.chunks(1).collect();
            prop_assert_eq!(events(&bytes), events(&[&stream]));
        }
    }
}
