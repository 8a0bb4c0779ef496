//! What the gateway says unasked.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// An event.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub name: Box<str>,
    /// What happened.
    pub payload: Option<Box<RawValue>>,
    /// Its number on this connection, if it has one; a jump means that events were left out.
    pub seq: Option<u64>,
}

/// What comes out of an event stream.
#[derive(Clone, Debug)]
pub enum Received {
    /// An event.
    Event(Arc<Event>),
    /// The reader was too slow: this many events were thrown away.
    Lagged(u64),
}

/// A bounded stream of events. A reader that falls behind loses the oldest ones, and is told.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Arc<Event>>,
}

impl Events {
    pub(super) const fn new(receiver: broadcast::Receiver<Arc<Event>>) -> Self {
        Self { receiver }
    }

    /// Waits for the next event; `None` once the connection has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Received> {
        match self.receiver.recv().await {
            Ok(event) => Some(Received::Event(event)),
            Err(RecvError::Lagged(lost)) => Some(Received::Lagged(lost)),
            Err(RecvError::Closed) => None,
        }
    }

    /// Another stream of the same events, from now on.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.receiver.resubscribe())
    }
}
