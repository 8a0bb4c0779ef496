//! What a simulated answer waits for: its time, its turn, or the end of its run.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::pace::Pace;

/// What wakes the stream.
#[derive(Debug)]
pub(super) struct Waiting {
    cancel: CancellationToken,
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    pub(super) ignores_cancel: bool,
    timer: Option<Pin<Box<Sleep>>>,
    gave_way: bool,
}

impl Waiting {
    pub(super) const fn new(cancel: CancellationToken) -> Self {
        Self {
            cancel,
            cancelled: None,
            ignores_cancel: false,
            timer: None,
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
