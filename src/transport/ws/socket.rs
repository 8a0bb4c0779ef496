//! One upgraded socket: the WebSocket codec over bounded input, and the outbox of the peer.
//!
//! The codec is driven directly: reading hands out whole messages and queues pongs and close
//! replies behind everything else in the outbox, so one place knows how much waits for the peer.
//! Must not know what messages say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, WebSocketContext,
};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::transport::io_budget::{InboundError, InboundLimits, IoBudget};

use super::outbox::Outbox;

/// What the codec reads at once. It zeroes and touches all of it before every read, so the
/// library's default of 128 KiB costs three times the CPU and nineteen times the memory.
const READ_BYTES: usize = 4096;

/// Messages read before what they brought about is written.
const READS_BEFORE_WRITE: u32 = 16;

/// Waiting bytes that are written before anything more is read.
const WRITE_SOON_BYTES: usize = 16 * 1024;

/// What came from the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The answer to a ping, with the ping's payload.
    Pong(Bytes),
    /// The closing handshake is done, or the peer has gone.
    Ended,
}

/// Why a socket cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// A frame or message is larger than allowed, or there were too many bytes or fragments.
    #[error("the peer sent more than it may")]
    TooLarge,
    /// Text that is not UTF-8.
    #[error("the peer sent text that is not UTF-8")]
    NotUtf8,
    /// The peer broke the WebSocket protocol.
    #[error("the peer broke the WebSocket protocol")]
    Protocol(#[source] Error),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
}

/// What a socket did.
#[derive(Debug)]
pub(super) enum Turn {
    /// Something came in.
    Incoming(Incoming),
    /// Everything that waited was written.
    Written,
}

/// An upgraded socket.
#[derive(Debug)]
pub(super) struct Socket<S> {
    io: IoBudget<S>,
    codec: WebSocketContext,
    config: WebSocketConfig,
    outbox: Outbox,
    reads: u32,
}

/// Bounds of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketLimits {
    /// Of what the peer sends.
    pub(super) inbound: InboundLimits,
    /// Bytes of one message, however many frames it comes in.
    pub(super) message_bytes_max: usize,
    /// Bytes that may wait for the peer.
    pub(super) outbox_bytes_max: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket whose upgrade is done; `leftover` came in behind the request.
    pub(super) fn new(io: S, leftover: Bytes, limits: SocketLimits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            // The codec writes control frames only, and the outbox takes all of them.
            .write_buffer_size(0)
            .max_write_buffer_size(1024)
            .max_frame_size(Some(limits.message_bytes_max))
            .max_message_size(Some(limits.message_bytes_max));
        Self {
            io: IoBudget::new(io, leftover, limits.inbound),
            codec: WebSocketContext::new(Role::Server, Some(config)),
            config,
            outbox: Outbox::new(limits.outbox_bytes_max),
            reads: 0,
        }
    }

    /// What waits for the peer.
    pub(super) const fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Replaces the bounds of what the peer may send.
    pub(super) fn set_inbound(&mut self, limits: InboundLimits) {
        self.io.set_limits(limits);
    }

    /// Queues a ping, unless the socket is closing.
    pub(super) fn ping(&mut self, payload: Bytes) {
        let (codec, mut bridge) = self.codec(None);
        codec.write(&mut bridge, Message::Ping(payload)).ok();
    }

    /// Queues a close frame; nothing can be sent after it.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        // Fails only when the closing handshake is under way already.
        let (codec, mut bridge) = self.codec(None);
        codec.close(&mut bridge, Some(frame)).ok();
    }

    /// Writes what waits and reads what has come, until there is something to tell.
    ///
    /// Reading comes first, so that answers to messages that came together go out together; but
    /// writing is not put off for long.
    ///
    /// # Errors
    /// [`SocketError`]; the socket cannot be read any more, but may still take a close frame.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub(super) async fn turn(&mut self, may_read: bool) -> Result<Turn, SocketError> {
        std::future::poll_fn(|cx| self.poll_turn(may_read, cx)).await
    }

    fn poll_turn(
        &mut self,
        may_read: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Turn, SocketError>> {
        let has_waiting = !self.outbox.is_empty();
        let is_due = self.reads >= READS_BEFORE_WRITE || self.outbox.bytes() >= WRITE_SOON_BYTES;
        if is_due && let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(SocketError::Io(error)));
        }
        if may_read && let Poll::Ready(incoming) = self.poll_read(cx) {
            self.reads += 1;
            return Poll::Ready(incoming.map(Turn::Incoming));
        }
        if self.outbox.is_empty() {
            // What was due is written: the caller may have held back more until now.
            return if has_waiting {
                Poll::Ready(Ok(Turn::Written))
            } else {
                Poll::Pending
            };
        }
        self.poll_write(cx)
            .map(|written| written.map(|()| Turn::Written).map_err(SocketError::Io))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reads = 0;
        let io = Pin::new(&mut self.io);
        self.outbox.poll_write(io, cx, Instant::now())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, SocketError>> {
        loop {
            let (codec, mut bridge) = self.codec(Some(&mut *cx));
            let read = codec.read(&mut bridge);
            let incoming = match read {
                Ok(Message::Text(text)) => {
                    self.give_buffer_back();
                    Incoming::Text(text)
                }
                Ok(Message::Binary(bytes)) => {
                    self.give_buffer_back();
                    Incoming::Binary(bytes)
                }
                Ok(Message::Pong(payload)) => Incoming::Pong(payload),
                // The codec queues the answer with the next read, which must wait when the peer
                // does not take its answers: writing is tried next and wakes this task.
                Ok(Message::Ping(_)) if self.outbox.bytes() >= WRITE_SOON_BYTES => {
                    return Poll::Pending;
                }
                Ok(Message::Ping(_) | Message::Close(_) | Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(ended(error)),
            };
            return Poll::Ready(Ok(incoming));
        }
    }

    /// Replaces the codec when its buffer has grown with a large frame: it would keep it for good.
    fn give_buffer_back(&mut self) {
        // Reads have stopped at the end of every frame since, so nothing is left in the buffer.
        if self.io.is_codec_replaceable() && self.codec.can_write() {
            // A pong that waits in the codec is written first.
            let (codec, mut bridge) = self.codec(None);
            codec.flush(&mut bridge).ok();
            self.codec = WebSocketContext::new(Role::Server, Some(self.config));
            self.io.codec_replaced();
        }
    }

    fn codec<'a, 'cx>(
        &'a mut self,
        cx: Option<&'a mut Context<'cx>>,
    ) -> (&'a mut WebSocketContext, Bridge<'a, 'cx, S>) {
        let bridge = Bridge {
            io: &mut self.io,
            outbox: &mut self.outbox,
            cx,
        };
        (&mut self.codec, bridge)
    }
}

// Letting go of a socket that said goodbye: what waits is written, then the peer is read until it
// has closed too, so that the close frame is not lost to a reset. The caller bounds the time.
impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Waits for the end of the closing handshake.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket at once.
    pub(super) async fn finish(&mut self) {
        loop {
            match self.turn(true).await {
                Ok(Turn::Incoming(Incoming::Ended)) => return self.flush().await,
                Ok(Turn::Incoming(_) | Turn::Written) => {}
                Err(SocketError::Io(_)) => return,
                Err(SocketError::TooLarge | SocketError::NotUtf8 | SocketError::Protocol(_)) => {
                    return self.discard_rest().await;
                }
            }
        }
    }

    /// Waits for the end after the codec has given the peer's bytes up.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket at once.
    pub(super) async fn discard_rest(&mut self) {
        self.flush().await;
        if self.io.get_mut().shutdown().await.is_err() {
            return;
        }
        let mut discarded = [0; 1024];
        while let Ok(1..) = self.io.get_mut().read(&mut discarded).await {}
    }

    /// Writes what waits.
    ///
    /// # Cancel safety
    /// Cancel safe: what was not written still waits.
    pub(super) async fn flush(&mut self) {
        let written = std::future::poll_fn(|cx| self.poll_write(cx)).await;
        if let Err(error) = written {
            tracing::trace!(%error, "the peer left before everything was written");
        }
    }
}

fn ended(error: Error) -> Result<Incoming, SocketError> {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ok(Incoming::Ended),
        Error::Io(error) if InboundError::from_io(&error).is_some() => Err(SocketError::TooLarge),
        Error::Io(error) => Err(SocketError::Io(error)),
        Error::Capacity(_) => Err(SocketError::TooLarge),
        Error::Utf8(_) => Err(SocketError::NotUtf8),
        other => Err(SocketError::Protocol(other)),
    }
}

/// What the codec sees of the socket: it reads from the peer and writes into the outbox.
struct Bridge<'a, 'cx, S> {
    io: &'a mut IoBudget<S>,
    outbox: &'a mut Outbox,
    cx: Option<&'a mut Context<'cx>>,
}

impl<S: AsyncRead + Unpin> io::Read for Bridge<'_, '_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(cx) = self.cx.as_deref_mut() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let mut buf = ReadBuf::new(bytes);
        match Pin::new(&mut *self.io).poll_read(cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S> io::Write for Bridge<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbox.push_raw(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{DuplexStream, duplex};
    use tokio_tungstenite::WebSocketStream;

    use super::*;

    const LIMITS: SocketLimits = SocketLimits {
        inbound: InboundLimits {
            frame_bytes_max: 1 << 20,
            total_bytes_max: None,
        },
        message_bytes_max: 1 << 20,
        outbox_bytes_max: 1 << 20,
    };

    type Peer = WebSocketStream<DuplexStream>;

    async fn pair(buffer: usize, limits: SocketLimits) -> (Peer, Socket<DuplexStream>) {
        let (theirs, ours) = duplex(buffer);
        let peer = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        (peer, Socket::new(ours, Bytes::new(), limits))
    }

    async fn next(socket: &mut Socket<DuplexStream>) -> Result<Incoming, SocketError> {
        loop {
            if let Turn::Incoming(incoming) = socket.turn(true).await? {
                return Ok(incoming);
            }
        }
    }

    #[tokio::test]
    async fn messages_pass_both_ways_and_pings_are_answered_in_order() {
        let (mut peer, mut socket) = pair(1 << 20, LIMITS).await;
        peer.feed(Message::Ping(Bytes::from_static(b"p")))
            .await
            .unwrap();
        peer.feed(Message::text("one")).await.unwrap();
        peer.send(Message::binary(&b"two"[..])).await.unwrap();
        assert_eq!(
            next(&mut socket).await.unwrap(),
            Incoming::Text("one".into())
        );
        let two = Incoming::Binary(Bytes::from_static(b"two"));
        assert_eq!(next(&mut socket).await.unwrap(), two);
        socket.outbox().push_text("three".to_owned()).unwrap();
        assert!(matches!(socket.turn(true).await.unwrap(), Turn::Written));
        let pong = Message::Pong(Bytes::from_static(b"p"));
        assert_eq!(peer.next().await.unwrap().unwrap(), pong);
        assert_eq!(peer.next().await.unwrap().unwrap(), Message::text("three"));
    }

    #[tokio::test]
    async fn a_large_message_leaves_no_large_buffer_and_nothing_is_lost() {
        let (mut peer, mut socket) = pair(1 << 20, LIMITS).await;
        let large = "x".repeat(300_000);
        for text in [&*large, "a", &*large, "b", "c"] {
            peer.feed(Message::text(text)).await.unwrap();
        }
        peer.flush().await.unwrap();
        for expected in [&*large, "a", &*large, "b", "c"] {
            let incoming = next(&mut socket).await.unwrap();
            assert_eq!(incoming, Incoming::Text(expected.into()));
        }
        // It was given back after each large message, so reads may cross ends of frames again.
        assert!(!socket.io.is_codec_replaceable());
    }

    #[tokio::test]
    async fn a_fragmented_large_message_keeps_what_comes_after_it() {
        let (mut raw, ours) = duplex(1 << 20);
        let mut socket = Socket::new(ours, Bytes::new(), LIMITS);
        let large = vec![b'x' ^ 1; 70_000];
        let mask = [1, 1, 1, 1];
        let mut bytes = vec![0x01, 0x80 | 0x7f];
        bytes.extend(70_000_u64.to_be_bytes());
        bytes.extend(mask);
        bytes.extend(&large);
        // A ping between the fragments, the last fragment, and another message at once.
        bytes.extend([0x89, 0x80, 1, 1, 1, 1]);
        bytes.extend([0x80, 0x81, 1, 1, 1, 1, b'y' ^ 1]);
        bytes.extend([0x81, 0x81, 1, 1, 1, 1, b'z' ^ 1]);
        raw.write_all(&bytes).await.unwrap();
        let whole = "x".repeat(70_000) + "y";
        assert_eq!(
            next(&mut socket).await.unwrap(),
            Incoming::Text(whole.into())
        );
        assert_eq!(next(&mut socket).await.unwrap(), Incoming::Text("z".into()));
        let mut pong = [0; 2];
        assert!(matches!(socket.turn(true).await.unwrap(), Turn::Written));
        raw.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_outbox_that_was_written_is_told_whether_or_not_the_peer_speaks() {
        for may_read in [false, true] {
            let (_peer, mut socket) = pair(1 << 20, LIMITS).await;
            let text = "x".repeat(WRITE_SOON_BYTES);
            socket.outbox().push_text(text).unwrap();
            let turn = tokio::time::timeout(Duration::from_secs(1), socket.turn(may_read));
            assert!(matches!(turn.await, Ok(Ok(Turn::Written))), "{may_read}");
            assert!(socket.outbox().is_empty());
        }
    }

    async fn check_refused(bytes: &[u8], is_expected: fn(&SocketError) -> bool) {
        let (mut raw, ours) = duplex(1 << 20);
        let mut socket = Socket::new(ours, Bytes::new(), LIMITS);
        raw.write_all(bytes).await.unwrap();
        let error = next(&mut socket).await.unwrap_err();
        assert!(is_expected(&error), "{bytes:x?}: {error:?}");
        socket.close(1002, "bye");
        let closing = async {
            socket.discard_rest().await;
            drop(socket);
        };
        let mut seen = Vec::new();
        let reading = async {
            raw.read_to_end(&mut seen).await.unwrap();
            drop(raw);
        };
        tokio::join!(closing, reading);
        assert!(seen.ends_with(b"\x88\x05\x03\xeabye"), "{seen:x?}");
    }

    #[tokio::test]
    async fn what_breaks_the_protocol_is_told_by_its_kind_and_still_gets_a_close_frame() {
        let is_protocol: fn(&SocketError) -> bool = |e| matches!(e, SocketError::Protocol(_));
        let is_too_large: fn(&SocketError) -> bool = |e| matches!(e, SocketError::TooLarge);
        let is_not_utf8: fn(&SocketError) -> bool = |e| matches!(e, SocketError::NotUtf8);
        // Unmasked, reserved bits, reserved opcode, fragmented ping, large ping, stray end.
        check_refused(&[0x81, 0x01, b'a'], is_protocol).await;
        check_refused(&[0xc1, 0x80, 0, 0, 0, 0], is_protocol).await;
        check_refused(&[0x83, 0x80, 0, 0, 0, 0], is_protocol).await;
        check_refused(&[0x09, 0x80, 0, 0, 0, 0], is_protocol).await;
        let mut ping = vec![0x89, 0x80 | 0x7e, 0, 126, 0, 0, 0, 0];
        ping.resize(8 + 126, 0);
        check_refused(&ping, is_protocol).await;
        check_refused(&[0x80, 0x80, 0, 0, 0, 0], is_protocol).await;
        // An overlong encoding, a surrogate, and half a character.
        for text in [&[0xc0, 0xaf][..], &[0xed, 0xa0, 0x80], &[0xe2, 0x82]] {
            let length = u8::try_from(text.len()).unwrap();
            let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
            frame.extend(text);
            check_refused(&frame, is_not_utf8).await;
        }
        let mut giant = vec![0x81, 0x80 | 0x7f];
        giant.extend((u64::MAX >> 1).to_be_bytes());
        giant.extend([0; 4]);
        check_refused(&giant, is_too_large).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_pings_and_never_reads_fills_no_memory() {
        let (mut raw, ours) = duplex(1024);
        let mut socket = Socket::new(ours, Bytes::new(), LIMITS);
        let flood = async {
            let ping = [0x89, 0x80, 0, 0, 0, 0].repeat(1000);
            while raw.write_all(&ping).await.is_ok() {}
        };
        let serving = async {
            loop {
                socket.turn(true).await.unwrap();
            }
        };
        let patience = Duration::from_secs(5);
        tokio::select! {
            () = flood => {}
            () = serving => {}
            () = tokio::time::sleep(patience) => {}
        }
        let waiting = socket.outbox().bytes();
        assert!(waiting < 2 * WRITE_SOON_BYTES, "{waiting} bytes wait");
        assert!(socket.outbox().stall_deadline(patience).is_some());
    }

    #[tokio::test]
    async fn the_closing_handshake_ends_on_both_sides() {
        let (mut peer, mut socket) = pair(1 << 20, LIMITS).await;
        socket.outbox().push_text("last".to_owned()).unwrap();
        socket.close(1012, "service restart");
        let reading = async {
            assert_eq!(peer.next().await.unwrap().unwrap(), Message::text("last"));
            let Message::Close(Some(frame)) = peer.next().await.unwrap().unwrap() else {
                panic!("no close frame");
            };
            assert_eq!(
                (u16::from(frame.code), &*frame.reason),
                (1012, "service restart")
            );
            assert!(peer.next().await.is_none());
        };
        let closing = async {
            socket.finish().await;
            drop(socket);
        };
        tokio::join!(reading, closing);
    }

    #[tokio::test]
    async fn a_peer_that_says_goodbye_gets_its_answer() {
        let (mut peer, mut socket) = pair(1 << 20, LIMITS).await;
        peer.close(None).await.unwrap();
        assert_eq!(next(&mut socket).await.unwrap(), Incoming::Ended);
        socket.finish().await;
        drop(socket);
        assert!(matches!(peer.next().await, Some(Ok(Message::Close(None)))));
        assert!(peer.next().await.is_none());
    }
}
