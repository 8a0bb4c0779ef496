//! What a simulated answer waits for: its time, its turn, or the end of its run.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::pace::Pace;

/// What wakes the stream.
pub(super) struct Waiting {
    cancel: CancellationToken,
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    pub(super) ignores_cancel: bool,
    timer: Option<Pin<Box<Sleep>>>,
    storing: Option<BoxFuture<'static, ()>>,
    gave_way: bool,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stores = self.storing.is_some();
        let waiting = (self.is_cancelled(), stores, self.timer.is_some());
        f.debug_tuple("Waiting").field(&waiting).finish()
    }
}

impl Waiting {
    pub(super) const fn new(cancel: CancellationToken) -> Self {
        Self {
            cancel,
            cancelled: None,
            ignores_cancel: false,
            timer: None,
            storing: None,
            gave_way: false,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        !self.ignores_cancel && self.cancel.is_cancelled()
    }

    /// Pends until what is scheduled is due (true) or the run is cancelled (false).
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>, pace: &Pace) -> Poll<bool> {
        let Some(due) = pace.pending_until() else {
            return Poll::Ready(true);
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        self.poll_forever(cx).map(|()| false)
    }

    /// Lets nothing more happen before `storing` is done.
    pub(super) fn wait_for(&mut self, storing: BoxFuture<'static, ()>) {
        self.storing = Some(storing);
    }

    /// Pends until what was to be waited for is done, or the run is cancelled.
    pub(super) fn poll_stored(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(storing) = &mut self.storing else {
            return Poll::Ready(());
        };
        if storing.as_mut().poll(cx).is_ready() {
            self.storing = None;
            return Poll::Ready(());
        }
        self.poll_forever(cx)
    }

    /// Pends until the run is cancelled.
    pub(super) fn poll_forever(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ignores_cancel {
            return Poll::Pending;
        }
        let cancelled = self
            .cancelled
            .get_or_insert_with(|| Box::pin(self.cancel.clone().cancelled_owned()));
        cancelled.as_mut().poll(cx)
    }

    /// Pends once, and is woken at once.
    pub(super) fn poll_give_way(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.gave_way = !self.gave_way;
        if self.gave_way {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
