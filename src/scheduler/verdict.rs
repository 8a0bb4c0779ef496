//! Who decides how a run ends: the first of its agent, a cancellation or the scheduler.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::run::AbortCause;

/// Why a run is made to end before its agent is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Somebody or something cancelled it.
    Abort(AbortCause),
    /// It waited too long for its lane.
    WaitedTooLong,
    /// Its slot was taken back.
    Reclaimed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Stop(Stop),
    Settled,
}

/// The one decision about the end of a run, and the signal that tells its task.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    decision: OnceLock<Decision>,
    signal: CancellationToken,
    news: Notify,
    abandoned: AtomicBool,
}

impl Verdict {
    /// Makes the run end, unless its end is decided; true when this call decided it.
    pub(super) fn stop(&self, stop: Stop) -> bool {
        let decided = self.decision.set(Decision::Stop(stop)).is_ok();
        if decided {
            self.signal.cancel();
        }
        decided
    }

    /// Claims the end for the agent; a stop that came first is returned instead.
    pub(super) fn settle(&self) -> Option<Stop> {
        match *self.decision.get_or_init(|| Decision::Settled) {
            Decision::Stop(stop) => Some(stop),
            Decision::Settled => None,
        }
    }

    /// Whether its end is decided.
    pub(super) fn is_decided(&self) -> bool {
        self.decision.get().is_some()
    }

    /// What makes it end, if something does but its agent.
    pub(super) fn stopped(&self) -> Option<Stop> {
        match self.decision.get() {
            Some(Decision::Stop(stop)) => Some(*stop),
            Some(Decision::Settled) | None => None,
        }
    }

    /// Has the task of a waiting run look what it is to do next.
    pub(super) fn look(&self) {
        self.news.notify_one();
    }

    /// Waits until there is something to look for.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Notes that nobody waits for the backend any more; true for the first to find out.
    pub(super) fn abandon(&self) -> bool {
        !self.abandoned.swap(true, Ordering::Relaxed)
    }

    /// Fires when the run is stopped; also what the agent watches.
    pub(super) const fn signal(&self) -> &CancellationToken {
        &self.signal
    }
}
