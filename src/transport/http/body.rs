//! The body of every answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project::pin_project;

/// The body of an answer.
#[pin_project]
#[derive(Debug)]
pub struct Body {
    whole: Option<Bytes>,
}

impl Body {
    /// Nothing.
    pub const fn empty() -> Self {
        Self { whole: None }
    }

    /// These bytes, with their length known.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            whole: Some(bytes.into()),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(
            self.project()
                .whole
                .take()
                .map(|bytes| Ok(Frame::data(bytes))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.whole.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}
