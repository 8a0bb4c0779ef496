//! Reads a request body: bounded in size and in time, as a whole.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use crate::openai::ApiError;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It is larger than it may be.
    #[error("the request body is too large")]
    TooLarge,
    /// It did not arrive in time.
    #[error("the request body did not arrive in time")]
    Timeout,
    /// The peer closed, or broke the framing, before its end.
    #[error("the request body ended early")]
    Incomplete(#[source] hyper::Error),
}

impl ReadError {
    /// How the caller sees it.
    pub(super) fn to_api(&self) -> ApiError {
        match self {
            Self::TooLarge => ApiError::too_large(),
            Self::Timeout => ApiError::body_timeout(),
            Self::Incomplete(_) => ApiError::body_incomplete(),
        }
    }
}

/// A request body that may be read once.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Incoming,
}

impl RequestBody {
    pub(super) const fn new(incoming: Incoming) -> Self {
        Self { incoming }
    }

    /// Reads all of it. hyper answers `Expect: 100-continue` when this is first polled.
    ///
    /// # Errors
    /// [`ReadError`]; what is left of the body is not read then.
    pub(super) async fn read(
        &mut self,
        bytes_max: usize,
        limit: Duration,
    ) -> Result<Bytes, ReadError> {
        let announced = usize::try_from(self.incoming.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > bytes_max {
            return Err(ReadError::TooLarge);
        }
        let reading = collect(&mut self.incoming, announced, bytes_max);
        match tokio::time::timeout(limit, reading).await {
            Ok(read) => read,
            Err(_elapsed) => Err(ReadError::Timeout),
        }
    }

    /// What was not read, when there is so much of it that closing at once would lose the answer.
    pub(super) fn into_unread(self) -> Option<Incoming> {
        let hint = self.incoming.size_hint();
        let large = hint.upper().is_none_or(|bytes| bytes > LINGER_OVER_BYTES);
        (!self.incoming.is_end_stream() && large).then_some(self.incoming)
    }
}

/// hyper reads the rest of a smaller body by itself.
const LINGER_OVER_BYTES: u64 = 4096;

async fn collect(
    incoming: &mut Incoming,
    announced: usize,
    bytes_max: usize,
) -> Result<Bytes, ReadError> {
    let Some(first) = next(incoming).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > bytes_max {
        return Err(ReadError::TooLarge);
    }
    // The usual small body comes in one piece and is not copied.
    if incoming.is_end_stream() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(announced.max(first.len()));
    whole.extend_from_slice(&first);
    while let Some(more) = next(incoming).await? {
        if whole.len() + more.len() > bytes_max {
            return Err(ReadError::TooLarge);
        }
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

/// The next piece; trailers are skipped.
async fn next(incoming: &mut Incoming) -> Result<Option<Bytes>, ReadError> {
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(ReadError::Incomplete)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
