//! Bounds what a peer may send into a WebSocket before anything is buffered for it.
//!
//! [`IoBudget`] sits under the WebSocket codec and follows frame boundaries in the inbound bytes.
//! A frame that declares too much is refused on its header alone, a peer that is not authenticated
//! can send a fixed number of bytes in all, and a message cannot come in endless fragments. After a
//! large frame it stops every read at the end of a frame, so that the codec's buffer is empty when
//! the message is whole and can be given back. Knows nothing of what frames say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A frame with more payload than this makes the codec's buffer worth giving back.
pub const LARGE_FRAME_BYTES: u64 = 64 * 1024;

/// Fragments one message may come in.
const FRAGMENTS_MAX: u32 = 65_536;

/// Longest frame header (RFC 6455 §5.2).
const HEADER_BYTES_MAX: usize = 14;

/// What a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundLimits {
    /// Payload bytes of one frame.
    pub frame_bytes_max: u64,
    /// Bytes in all, headers included; `None` is no limit.
    pub total_bytes_max: Option<u64>,
}

/// A limit the peer has passed; travels inside an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    /// One frame declares more than it may hold.
    #[error("a frame of {declared} bytes is larger than {limit}")]
    Frame {
        /// What its header says.
        declared: u64,
        /// The limit.
        limit: u64,
    },
    /// The peer sent more than it may before it is authenticated.
    #[error("the peer has sent more than it may before it is authenticated")]
    Total,
    /// A message came in too many fragments.
    #[error("a message in more than {FRAGMENTS_MAX} fragments")]
    Fragments,
}

impl InboundError {
    /// The limit an I/O error stands for, if it stands for one.
    pub fn from_io(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

/// A stream whose inbound bytes are bounded.
#[pin_project]
#[derive(Debug)]
pub struct IoBudget<S> {
    #[pin]
    io: S,
    /// Bytes that came in behind the upgrade request.
    leftover: Bytes,
    meter: FrameMeter,
    total_left: Option<u64>,
}

impl<S> IoBudget<S> {
    /// Bounds `io`; `leftover` is read before anything else and counts too.
    pub fn new(io: S, leftover: Bytes, limits: InboundLimits) -> Self {
        Self {
            io,
            leftover,
            meter: FrameMeter::new(limits.frame_bytes_max),
            total_left: limits.total_bytes_max,
        }
    }

    /// Replaces the limits, from the next frame header on.
    pub fn set_limits(&mut self, limits: InboundLimits) {
        self.meter.frame_bytes_max = limits.frame_bytes_max;
        self.total_left = limits.total_bytes_max;
    }

    /// Whether a large frame has passed since the last [`IoBudget::codec_replaced`], and the codec
    /// has been given whole frames only, so that its buffer is empty once it has no more to tell.
    pub const fn is_codec_replaceable(&self) -> bool {
        self.meter.is_exact && matches!(self.meter.place, Place::Header { len: 0, .. })
    }

    /// Notes that the codec's buffer was given back.
    pub const fn codec_replaced(&mut self) {
        self.meter.is_exact = false;
    }

    /// The stream itself.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.io
    }
}

impl<S: AsyncRead> AsyncRead for IoBudget<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let mut most = buf.remaining().min(this.meter.read_bytes_max());
        if let Some(left) = *this.total_left {
            // One byte more than allowed tells a peer that goes on from one that has stopped.
            let over = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .saturating_add(1);
            most = most.min(over);
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        if this.leftover.is_empty() {
            ready!(this.io.poll_read(cx, &mut part))?;
        } else {
            part.put_slice(&this.leftover.split_to(this.leftover.len().min(most)));
        }
        let read = part.filled().len();
        this.meter.handle(part.filled()).map_err(refuse)?;
        if let Some(left) = this.total_left {
            let read = u64::try_from(read).unwrap_or(u64::MAX);
            *left = left
                .checked_sub(read)
                .ok_or_else(|| refuse(InboundError::Total))?;
        }
        // Only now: a read that fails must not look as if it had given bytes.
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

fn refuse(error: InboundError) -> io::Error {
    io::Error::other(error)
}

impl<S: AsyncWrite> AsyncWrite for IoBudget<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Follows frame boundaries without keeping payload.
#[derive(Debug)]
struct FrameMeter {
    frame_bytes_max: u64,
    place: Place,
    /// Fragments of the message that is under way.
    fragments: u32,
    /// Whether reads must not cross the end of a frame.
    is_exact: bool,
}

#[derive(Debug)]
enum Place {
    Header {
        bytes: [u8; HEADER_BYTES_MAX],
        len: usize,
    },
    Payload {
        left: u64,
    },
}

impl Place {
    const START: Self = Self::Header {
        bytes: [0; HEADER_BYTES_MAX],
        len: 0,
    };
}

impl FrameMeter {
    const fn new(frame_bytes_max: u64) -> Self {
        Self {
            frame_bytes_max,
            place: Place::START,
            fragments: 0,
            is_exact: false,
        }
    }

    /// How many bytes the next read may take at most.
    fn read_bytes_max(&self) -> usize {
        if !self.is_exact {
            return usize::MAX;
        }
        match &self.place {
            Place::Header { bytes, len } => header_bytes(bytes, *len) - len,
            Place::Payload { left } => usize::try_from(*left).unwrap_or(usize::MAX),
        }
    }

    fn handle(&mut self, mut read: &[u8]) -> Result<(), InboundError> {
        while !read.is_empty() {
            match &mut self.place {
                Place::Payload { left } => {
                    let skipped = read.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    read.advance(skipped);
                    *left -= u64::try_from(skipped).unwrap_or(u64::MAX);
                    if *left == 0 {
                        self.place = Place::START;
                    }
                }
                Place::Header { bytes, len } => {
                    let (first, rest) = read.split_first().unwrap_or((&0, &[]));
                    read = rest;
                    if let Some(place) = bytes.get_mut(*len) {
                        *place = *first;
                    }
                    *len += 1;
                    if *len == header_bytes(bytes, *len) {
                        let bytes = *bytes;
                        self.place = self.begin_payload(bytes)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_payload(&mut self, header: [u8; HEADER_BYTES_MAX]) -> Result<Place, InboundError> {
        let declared = payload_bytes(header);
        if declared > self.frame_bytes_max {
            return Err(InboundError::Frame {
                declared,
                limit: self.frame_bytes_max,
            });
        }
        let [first, ..] = header;
        let (is_final, is_control) = (first & 0x80 != 0, first & 0x08 != 0);
        if is_final && !is_control {
            self.fragments = 0;
        } else if !is_control {
            self.fragments += 1;
        }
        if self.fragments > FRAGMENTS_MAX {
            return Err(InboundError::Fragments);
        }
        self.is_exact |= declared > LARGE_FRAME_BYTES;
        Ok(match declared {
            0 => Place::START,
            left => Place::Payload { left },
        })
    }
}

/// Length of a header of which `len` bytes are known; the least it can be while the second byte,
/// which decides, is not.
const fn header_bytes(header: &[u8; HEADER_BYTES_MAX], len: usize) -> usize {
    if len < 2 {
        return 2;
    }
    let [_, second, ..] = *header;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + mask
}

const fn payload_bytes(header: [u8; HEADER_BYTES_MAX]) -> u64 {
    let [_, second, extended @ ..] = header;
    let extended = extended.as_slice();
    match second & 0x7f {
        126 => match extended.first_chunk() {
            Some([high, low]) => u64::from_be_bytes([0, 0, 0, 0, 0, 0, *high, *low]),
            None => u64::MAX,
        },
        127 => match extended.first_chunk() {
            Some(length) => u64::from_be_bytes(*length),
            None => u64::MAX,
        },
        short => u64::from_be_bytes([0, 0, 0, 0, 0, 0, 0, short]),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const OPEN: InboundLimits = InboundLimits {
        frame_bytes_max: 1 << 20,
        total_bytes_max: None,
    };

    /// A masked frame with a payload of zeros.
    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = declared(first, u64::try_from(payload).unwrap());
        bytes.resize(bytes.len() + payload, 0);
        bytes
    }

    fn declared(first: u8, payload: u64) -> Vec<u8> {
        let mut bytes = vec![first];
        if payload < 126 {
            bytes.push(0x80 | u8::try_from(payload).unwrap());
        } else if let Ok(medium) = u16::try_from(payload) {
            bytes.push(0x80 | 0x7e);
            bytes.extend(medium.to_be_bytes());
        } else {
            bytes.push(0x80 | 0x7f);
            bytes.extend(payload.to_be_bytes());
        }
        bytes.extend([1, 2, 3, 4]);
        bytes
    }

    /// Sends `bytes` in pieces of `piece` through a budget and returns what came out.
    async fn pass(
        bytes: &[u8],
        piece: usize,
        limits: InboundLimits,
    ) -> Result<Vec<u8>, InboundError> {
        let (mut peer, ours) = duplex(piece);
        let (leftover, rest) = bytes.split_at(bytes.len().min(3));
        let mut io = IoBudget::new(ours, Bytes::copy_from_slice(leftover), limits);
        let mut seen = Vec::new();
        let writing = async {
            // A refused peer cannot write on.
            peer.write_all(rest).await.ok();
            drop(peer);
        };
        let reading = async {
            let read = io.read_to_end(&mut seen).await;
            drop(io);
            read.map(drop)
        };
        let ((), read) = tokio::join!(writing, reading);
        read.map(|()| seen)
            .map_err(|error| InboundError::from_io(&error).unwrap())
    }

    async fn check(bytes: &[u8], limits: InboundLimits, expected: Result<(), InboundError>) {
        for piece in [1, 2, 7, 4096] {
            let passed = pass(bytes, piece, limits).await;
            let expected = expected.map(|()| bytes.to_vec());
            assert!(passed == expected, "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn frames_of_every_length_pass_unchanged() {
        let mut bytes = Vec::new();
        for payload in [0, 1, 125, 126, 4_000, 65_535, 65_536, 70_000] {
            bytes.extend(frame(0x82, payload));
            bytes.extend(frame(0x89, 3));
        }
        check(&bytes, OPEN, Ok(())).await;
    }

    #[tokio::test]
    async fn a_frame_that_declares_too_much_is_refused_on_its_header() {
        for (payload, limit) in [(65_537, 65_536), (u64::MAX >> 1, 1 << 20), (200, 125)] {
            let limits = InboundLimits {
                frame_bytes_max: limit,
                ..OPEN
            };
            let refused = InboundError::Frame {
                declared: payload,
                limit,
            };
            let mut bytes = frame(0x81, 100);
            bytes.extend(declared(0x81, payload));
            check(&bytes, limits, Err(refused)).await;
        }
    }

    #[tokio::test]
    async fn the_total_counts_every_byte_and_the_last_allowed_one_passes() {
        let bytes = [frame(0x01, 20), frame(0x00, 20), frame(0x89, 20)].concat();
        let total = u64::try_from(bytes.len()).unwrap();
        let limited = |total| InboundLimits {
            total_bytes_max: Some(total),
            ..OPEN
        };
        check(&bytes, limited(total), Ok(())).await;
        check(&bytes, limited(total - 1), Err(InboundError::Total)).await;
        check(&bytes, limited(0), Err(InboundError::Total)).await;
    }

    #[tokio::test]
    async fn endless_fragments_are_refused_and_control_frames_do_not_count() {
        let fragments = usize::try_from(FRAGMENTS_MAX).unwrap();
        let mut bytes = frame(0x01, 0);
        bytes.extend(frame(0x00, 0).repeat(fragments - 1));
        bytes.extend(frame(0x89, 0).repeat(10));
        let whole = [bytes.clone(), frame(0x80, 0)].concat();
        let again = [whole.clone(), bytes.clone()].concat();
        assert!(pass(&again, 4096, OPEN).await.is_ok());
        bytes.extend(frame(0x00, 0));
        let passed = pass(&bytes, 4096, OPEN).await;
        assert_eq!(passed.unwrap_err(), InboundError::Fragments);
    }

    #[tokio::test]
    async fn after_a_large_frame_no_read_crosses_the_end_of_a_frame() {
        let large = frame(0x01, 70_000);
        let small = frame(0x80, 200);
        let bytes = [large.clone(), small.clone(), frame(0x81, 5)].concat();
        let (mut peer, ours) = duplex(1 << 20);
        peer.write_all(&bytes).await.unwrap();
        let mut io = IoBudget::new(ours, Bytes::new(), OPEN);
        assert!(!io.is_codec_replaceable());
        let mut seen = 0;
        let mut ends = Vec::new();
        while seen < large.len() + small.len() {
            seen += io.read(&mut [0; 4096]).await.unwrap();
            ends.push(seen);
        }
        assert!(io.is_codec_replaceable());
        assert!(ends.contains(&large.len()), "{ends:?}");
        assert_eq!(seen, large.len() + small.len());
        io.codec_replaced();
        assert_eq!(io.read(&mut [0; 4096]).await.unwrap(), 11);
    }
}
