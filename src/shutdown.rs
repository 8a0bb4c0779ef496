//! Every task of the process, and the signal that winds the process down.
//!
//! [`Tasks`] is the only way to spawn; [`Drain`] tells everybody which phase the process is in.

use std::future::Future;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Spawns and counts tasks; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// A set without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` on the current runtime, under a span named `name`.
    ///
    /// Dropping the handle does not stop the task; it is joined by [`Tasks::join`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker
            .spawn(task.instrument(tracing::debug_span!("task", name)))
    }

    /// How many tasks have not ended.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether every task has ended.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until every task has ended; tasks may still be spawned meanwhile.
    ///
    /// # Cancel safety
    /// Cancel safe: the tasks go on and can be waited for again.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// How far the process is in winding down. Phases only move forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Parts are being built; probes answer, work is refused.
    Starting,
    /// Everything is accepted.
    Running,
    /// Probes answer, runs and sockets go on, new runs and upgrades are refused.
    Draining,
    /// Runs are settled: sockets say goodbye and close.
    Closing,
    /// The listener stops; tasks that are left are abandoned.
    Stopped,
}

/// The phase of the process, watched by every part; cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
}

impl Drain {
    /// A process that is starting.
    pub fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
        }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether new work is accepted.
    pub fn is_accepting(&self) -> bool {
        self.phase() == Phase::Running
    }

    /// Moves forward to `phase`; moving back is ignored.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let moves = phase > *now;
            if moves {
                *now = phase;
            }
            moves
        });
    }

    /// Waits until the process is in `phase` or beyond.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        let mut watcher = self.phase.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        if watcher.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn join_waits_for_every_task() {
        let tasks = Tasks::new();
        let (release, wait) = tokio::sync::oneshot::channel::<()>();
        let task = tasks.spawn("test", async move { wait.await.is_ok() });
        assert_eq!(tasks.len(), 1);
        release.send(()).unwrap();
        tasks.join().await;
        assert!(task.await.unwrap());
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn phases_only_move_forward() {
        let drain = Drain::new();
        drain.advance(Phase::Draining);
        drain.advance(Phase::Running);
        assert_eq!(drain.phase(), Phase::Draining);
        drain.reached(Phase::Running).await;
        assert!(!drain.is_accepting());
    }
}
