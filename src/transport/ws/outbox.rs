//! Bytes that wait to be written to one peer.
//!
//! Small frames are gathered so that what is ready goes out in one write; large ones are kept as
//! they are and shared between connections. Owns the count of waiting bytes and the judgement
//! whether the peer takes them fast enough. Knows WebSocket framing of the server side, which never
//! masks, and nothing of what frames say.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// From this size on a payload is kept as it is instead of being copied behind others.
const SHARE_BYTES: usize = 4096;

/// Slices one write may take.
const SLICES_MAX: usize = 16;

/// Bytes a peer must take within the write timeout while more wait.
const PROGRESS_BYTES_MIN: u64 = 16 * 1024;

/// More bytes wait than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more bytes wait for the peer than may")]
pub(super) struct Overflow;

/// Text that several outboxes share.
struct Shared(Arc<str>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What waits for one peer.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Sealed pieces, oldest first.
    chunks: VecDeque<Bytes>,
    /// Frames gathered behind them.
    tail: Vec<u8>,
    bytes: usize,
    bytes_max: usize,
    /// Bytes handed to the socket so far.
    written: u64,
    stall: Option<Stall>,
}

/// Since when something waits, and what had been written then.
#[derive(Clone, Copy, Debug)]
struct Stall {
    since: Instant,
    written: u64,
}

impl Outbox {
    /// An empty outbox that takes up to `bytes_max`.
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            tail: Vec::new(),
            bytes: 0,
            bytes_max,
            written: 0,
            stall: None,
        }
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where the next byte will stand in everything written to this peer; see
    /// [`Outbox::has_written`].
    pub(super) fn position(&self) -> u64 {
        self.written + u64::try_from(self.bytes).unwrap_or(u64::MAX)
    }

    /// Whether everything before `position` was handed to the socket.
    pub(super) const fn has_written(&self, position: u64) -> bool {
        self.written >= position
    }

    /// Adds a text frame whose payload is nobody else's.
    ///
    /// # Errors
    /// [`Overflow`]: nothing was added.
    pub(super) fn push_text(&mut self, payload: String) -> Result<(), Overflow> {
        self.begin_text(payload.len())?;
        if payload.len() < SHARE_BYTES {
            self.push_raw(payload.as_bytes());
        } else {
            self.push_chunk(payload.into());
        }
        Ok(())
    }

    /// Adds a text frame whose payload is `shared` followed by `end`.
    ///
    /// # Errors
    /// [`Overflow`]: nothing was added.
    pub(super) fn push_shared(&mut self, shared: &Arc<str>, end: &str) -> Result<(), Overflow> {
        self.begin_text(shared.len() + end.len())?;
        if shared.len() < SHARE_BYTES {
            self.push_raw(shared.as_bytes());
        } else {
            self.push_chunk(Bytes::from_owner(Shared(Arc::clone(shared))));
        }
        self.push_raw(end.as_bytes());
        Ok(())
    }

    /// Adds bytes that are framed already: control frames, which are small and always fit.
    pub(super) fn push_raw(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    fn begin_text(&mut self, length: usize) -> Result<(), Overflow> {
        if self.bytes.saturating_add(length) > self.bytes_max {
            return Err(Overflow);
        }
        let (header, header_bytes) = text_header(length);
        self.push_raw(header.get(..header_bytes).unwrap_or_default());
        Ok(())
    }

    fn push_chunk(&mut self, chunk: Bytes) {
        self.seal_tail();
        self.bytes += chunk.len();
        self.chunks.push_back(chunk);
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Hands to the socket what it takes; ready when nothing waits any more.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn poll_write<W: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut W>,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<io::Result<()>> {
        while self.bytes > 0 {
            let polled = if self.chunks.is_empty() {
                io.as_mut().poll_write(cx, &self.tail)
            } else {
                self.poll_write_chunks(io.as_mut(), cx)
            };
            let Poll::Ready(taken) = polled else {
                self.note_stall(now);
                return Poll::Pending;
            };
            match taken? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.advance(taken),
            }
        }
        self.stall = None;
        ready!(io.poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_write_chunks<W: AsyncWrite>(
        &self,
        io: Pin<&mut W>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let tail = (!self.tail.is_empty()).then_some(&*self.tail);
        let waiting = self.chunks.iter().map(|chunk| &**chunk).chain(tail);
        let mut used = 0;
        for (slice, bytes) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(bytes);
            used += 1;
        }
        io.poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    fn advance(&mut self, taken: usize) {
        self.bytes -= taken;
        self.written += u64::try_from(taken).unwrap_or(u64::MAX);
        let mut left = taken;
        while let Some(first) = self.chunks.front_mut() {
            if left < first.len() {
                first.advance(left);
                return;
            }
            left -= first.len();
            self.chunks.pop_front();
        }
        if left == self.tail.len() {
            // An idle connection keeps no buffer.
            self.tail = Vec::new();
        } else if left > 0 {
            self.seal_tail();
            if let Some(first) = self.chunks.front_mut() {
                first.advance(left);
            }
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
    }

    fn note_stall(&mut self, now: Instant) {
        let written = self.written;
        self.stall.get_or_insert(Stall {
            since: now,
            written,
        });
    }

    /// When [`Outbox::is_stalled`] is to be asked, while something waits.
    pub(super) fn stall_deadline(&self, timeout: Duration) -> Option<Instant> {
        self.stall.map(|stall| stall.since + timeout)
    }

    /// Whether the peer has taken too little within `timeout`; starts the next stretch of time
    /// otherwise.
    pub(super) fn is_stalled(&mut self, timeout: Duration, now: Instant) -> bool {
        let Some(stall) = self.stall.filter(|stall| now >= stall.since + timeout) else {
            return false;
        };
        if self.written - stall.written < PROGRESS_BYTES_MIN {
            return true;
        }
        self.stall = None;
        self.note_stall(now);
        false
    }
}

/// The header of an unfragmented text frame (RFC 6455 §5.2), and its length.
fn text_header(payload: usize) -> ([u8; 10], usize) {
    const FINAL_TEXT: u8 = 0x81;
    let mut header = [0; 10];
    let [first, second, rest @ ..] = &mut header;
    *first = FINAL_TEXT;
    if let Some(short) = u8::try_from(payload).ok().filter(|length| *length < 126) {
        *second = short;
        (header, 2)
    } else if let Ok(medium) = u16::try_from(payload) {
        *second = 126;
        let [high, low, ..] = rest;
        [*high, *low] = medium.to_be_bytes();
        (header, 4)
    } else {
        *second = 127;
        *rest = u64::try_from(payload).unwrap_or(u64::MAX).to_be_bytes();
        (header, 10)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio_tungstenite::tungstenite::protocol::frame::FrameSocket;

    use super::*;

    /// Takes up to `step` bytes a call, `calls` times, then refuses.
    struct Trickle {
        step: usize,
        calls: usize,
        taken: Vec<u8>,
    }

    impl Trickle {
        const fn new(step: usize, calls: usize) -> Self {
            Self {
                step,
                calls,
                taken: Vec::new(),
            }
        }
    }

    impl AsyncWrite for Trickle {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            if self.calls == 0 {
                return Poll::Pending;
            }
            self.calls -= 1;
            let before = self.taken.len();
            let offered = slices.iter().flat_map(|slice| slice.iter().copied());
            let step = self.step;
            self.taken.extend(offered.take(step));
            let taken = self.taken.len() - before;
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(outbox: &mut Outbox, to: &mut Trickle, now: Instant) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match outbox.poll_write(Pin::new(to), &mut context, now) {
            Poll::Ready(written) => {
                written.unwrap();
                true
            }
            Poll::Pending => false,
        }
    }

    /// Reads frames back with the codec of the library.
    fn texts(bytes: Vec<u8>) -> Vec<String> {
        let mut socket = FrameSocket::new(io::Cursor::new(bytes));
        std::iter::from_fn(|| socket.read(None).unwrap())
            .map(|frame| String::from_utf8(frame.into_payload().to_vec()).unwrap())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_every_size_arrive_in_order_whatever_the_socket_takes() {
        let sizes = [
            0, 1, 125, 126, 4_000, 4_096, 65_535, 65_536, 70_000, 3, 5_000,
        ];
        for step in [1, 7, 4_096, usize::MAX] {
            let mut outbox = Outbox::new(1 << 20);
            let mut expected = Vec::new();
            for (at, size) in sizes.into_iter().enumerate() {
                let text = "x".repeat(size);
                if at % 2 == 0 {
                    outbox.push_text(text.clone()).unwrap();
                    expected.push(text);
                } else {
                    let shared = Arc::from(text.as_str());
                    outbox.push_shared(&shared, "-end").unwrap();
                    expected.push(text + "-end");
                }
            }
            let position = outbox.position();
            let mut socket = Trickle::new(step, usize::MAX);
            assert!(write(&mut outbox, &mut socket, Instant::now()));
            assert!(outbox.is_empty() && outbox.has_written(position));
            assert_eq!(u64::try_from(socket.taken.len()), Ok(position));
            assert_eq!(texts(socket.taken), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_the_limit_is_refused_and_nothing_is_lost() {
        let mut outbox = Outbox::new(100);
        outbox.push_text("a".repeat(60)).unwrap();
        assert_eq!(outbox.push_text("b".repeat(60)), Err(Overflow));
        let shared = Arc::from("c".repeat(60));
        assert_eq!(outbox.push_shared(&shared, ""), Err(Overflow));
        let mut socket = Trickle::new(usize::MAX, usize::MAX);
        assert!(write(&mut outbox, &mut socket, Instant::now()));
        assert_eq!(texts(socket.taken), ["a".repeat(60)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_too_little_is_stalled_and_one_that_reads_is_not() {
        let timeout = Duration::from_secs(30);
        let check = |step: usize, expected: bool| {
            let start = Instant::now();
            let mut outbox = Outbox::new(1 << 20);
            outbox.push_text("x".repeat(100_000)).unwrap();
            assert_eq!(outbox.stall_deadline(timeout), None);
            assert!(!write(&mut outbox, &mut Trickle::new(1, 0), start));
            assert_eq!(outbox.stall_deadline(timeout), Some(start + timeout));
            assert!(!outbox.is_stalled(timeout, start + timeout / 2));
            assert!(!write(
                &mut outbox,
                &mut Trickle::new(step, 1),
                start + timeout
            ));
            assert_eq!(
                outbox.is_stalled(timeout, start + timeout),
                expected,
                "{step}"
            );
            let next = outbox.stall_deadline(timeout);
            assert_eq!(next, Some(start + timeout * if expected { 1 } else { 2 }));
        };
        check(1_000, true);
        check(20_000, false);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_half_is_not_kept_for_ever_under_steady_traffic() {
        let mut outbox = Outbox::new(1 << 20);
        for _ in 0..1_000 {
            outbox.push_text("y".repeat(100)).unwrap();
            write(&mut outbox, &mut Trickle::new(101, 1), Instant::now());
        }
        assert_eq!(outbox.bytes(), 1_000);
        let kept: usize = outbox.chunks.iter().map(Bytes::len).sum();
        assert_eq!(kept + outbox.tail.len(), 1_000);
    }
}
