//! Every task of the process, and the signals that many tasks wait for.
//!
//! [`Tasks`] is the only way to spawn; [`Drain`] tells everybody which phase the process is in;
//! [`Bell`] wakes whoever waits for a change.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::Notify;
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

/// Wakes everybody who waits for a change of something that can be asked at any time.
///
/// The waiters are spread over several lists, so that they do not meet at one lock, and are woken
/// in an order that only depends on the order in which they came: on one thread, with the same
/// input, a process does the same again. A `tokio::sync::watch` channel draws lots instead.
#[derive(Debug, Default)]
pub struct Bell {
    lists: [Notify; 8],
    waiters: AtomicUsize,
}

impl Bell {
    /// Wakes those who wait now; what they wait for must have changed before.
    pub fn ring(&self) {
        for list in &self.lists {
            list.notify_waiters();
        }
    }

    /// Waits until `is_so`, which is asked at once and after every ring.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_until(&self, mut is_so: impl FnMut() -> bool) {
        let turn = self.waiters.fetch_add(1, Ordering::Relaxed);
        let list = self.lists.get(turn % self.lists.len());
        let list = list.expect("a remainder is less than the number of lists");
        let mut rings = pin!(list.notified());
        loop {
            // Before asking, so that no ring is missed in between.
            rings.as_mut().enable();
            if is_so() {
                return;
            }
            rings.as_mut().await;
            rings.set(list.notified());
        }
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

impl Phase {
    const fn rank(self) -> u8 {
        match self {
            Self::Starting => 0,
            Self::Running => 1,
            Self::Draining => 2,
            Self::Closing => 3,
            Self::Stopped => 4,
        }
    }

    const fn of_rank(rank: u8) -> Self {
        match rank {
            0 => Self::Starting,
            1 => Self::Running,
            2 => Self::Draining,
            3 => Self::Closing,
            _ => Self::Stopped,
        }
    }
}

/// The phase of the process, watched by every part; cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The rank of the phase.
    phase: AtomicU8,
    changed: Bell,
}

impl Drain {
    /// A process that is starting.
    pub fn new() -> Self {
        Self {
            state: Arc::new(State {
                phase: AtomicU8::new(Phase::Starting.rank()),
                changed: Bell::default(),
            }),
        }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        Phase::of_rank(self.state.phase.load(Ordering::Acquire))
    }

    /// Whether new work is accepted.
    pub fn is_accepting(&self) -> bool {
        self.phase() == Phase::Running
    }

    /// Moves forward to `phase`; moving back is ignored.
    pub fn advance(&self, phase: Phase) {
        let rank = phase.rank();
        if self.state.phase.fetch_max(rank, Ordering::AcqRel) < rank {
            self.state.changed.ring();
        }
    }

    /// Waits until the process is in `phase` or beyond.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        let changed = &self.state.changed;
        changed.wait_until(|| self.phase() >= phase).await;
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
    async fn every_waiter_is_woken_in_the_order_they_came() {
        let (bell, woken) = (
            Arc::new(Bell::default()),
            Arc::new(std::sync::Mutex::new(vec![])),
        );
        let count = Arc::new(AtomicUsize::new(0));
        let tasks = Tasks::new();
        for n in 0..20 {
            let (bell, woken) = (Arc::clone(&bell), Arc::clone(&woken));
            let count = Arc::clone(&count);
            tasks.spawn("waiter", async move {
                bell.wait_until(|| count.load(Ordering::Relaxed) > 1).await;
                woken.lock().unwrap().push(n);
            });
        }
        for _ in 0..2 {
            tokio::task::yield_now().await;
            assert!(woken.lock().unwrap().is_empty());
            count.fetch_add(1, Ordering::Relaxed);
            bell.ring();
        }
        tasks.join().await;
        let by_list = (0..8).flat_map(|list| (list..20).step_by(8));
        assert_eq!(*woken.lock().unwrap(), by_list.collect::<Vec<_>>());
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
