//! The body of every answer: whole, a file, a stream of events, or whole with a slow goodbye.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project::pin_project;
use tokio::time::Sleep;

use super::control_ui::Pieces;
use super::sse_body::SseBody;

/// Most bytes of an unwanted request body that are read to let the answer through.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long an unwanted request body is read at most.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The body of an answer.
///
/// Every connection holds room for one, so the large kinds are boxed.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Option<Bytes>),
    File(Box<Pieces>),
    Events(Pin<Box<SseBody>>),
    Lingering(Pin<Box<Lingering>>),
}

impl Body {
    /// Nothing.
    pub const fn empty() -> Self {
        Self(Kind::Whole(None))
    }

    /// These bytes, with their length known.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(bytes.into())))
    }

    pub(super) fn file(pieces: Pieces) -> Self {
        Self(Kind::File(Box::new(pieces)))
    }

    /// Whether it is a stream of events.
    pub(in crate::transport) const fn is_events(&self) -> bool {
        matches!(self.0, Kind::Events(_))
    }

    pub(super) fn events(events: SseBody) -> Self {
        Self(Kind::Events(Box::pin(events)))
    }

    /// Goes on reading an unwanted request body after the answer was written.
    ///
    /// Closing a socket that still receives makes the kernel reset it, and a reset throws away the
    /// answer the peer has not read yet.
    #[must_use]
    pub(super) fn lingering(self, unread: Incoming) -> Self {
        match self.0 {
            Kind::Whole(whole) => Self(Kind::Lingering(Box::pin(Lingering {
                whole,
                unread: Some(unread),
                room: LINGER_BYTES_MAX,
                limit: tokio::time::sleep(LINGER_TIME),
            }))),
            other @ (Kind::File(_) | Kind::Events(_) | Kind::Lingering(_)) => Self(other),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Whole(whole) => Poll::Ready(whole.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::File(pieces) => pieces
                .poll_piece(cx)
                .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Events(events) => events.as_mut().poll_frame(cx),
            Kind::Lingering(lingering) => lingering
                .as_mut()
                .poll_bytes(cx)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(whole) => whole.is_none(),
            Kind::File(pieces) => pieces.left() == 0,
            Kind::Events(events) => events.is_end_stream(),
            Kind::Lingering(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(whole) => {
                let bytes = whole.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
            Kind::File(pieces) => SizeHint::with_exact(pieces.left()),
            // Without a known length the answer stays open while the rest is read.
            Kind::Events(_) | Kind::Lingering(_) => SizeHint::default(),
        }
    }
}

#[pin_project]
#[derive(Debug)]
struct Lingering {
    whole: Option<Bytes>,
    unread: Option<Incoming>,
    room: usize,
    #[pin]
    limit: Sleep,
}

impl Lingering {
    fn poll_bytes(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut this = self.project();
        if let Some(whole) = this.whole.take() {
            return Poll::Ready(Some(whole));
        }
        while let Some(unread) = this.unread.as_mut() {
            if this.limit.as_mut().poll(cx).is_ready() {
                break;
            }
            let frame = std::task::ready!(Pin::new(unread).poll_frame(cx));
            let data = frame
                .and_then(Result::ok)
                .and_then(|frame| frame.into_data().ok());
            let bytes = data.map_or(usize::MAX, |data| data.len());
            match this.room.checked_sub(bytes) {
                Some(room) => *this.room = room,
                None => *this.unread = None,
            }
        }
        *this.unread = None;
        Poll::Ready(None)
    }
}
