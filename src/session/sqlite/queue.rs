//! The bounded queue in front of the writer thread.
//!
//! Owns the order of writes: first come, first served. A full queue refuses new runs first; the end
//! of a run that was accepted still finds room.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a write is for, which decides how full the queue may be when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It takes on new work.
    Admit,
    /// It belongs to work that was taken on.
    Settle,
}

/// Why a write was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too many wait already.
    Full,
    /// The writer takes nothing any more.
    Closed,
}

/// What the writer got.
#[derive(Debug)]
pub(super) enum Taken<T> {
    /// The oldest writes, at least one.
    Batch(Vec<T>),
    /// There was nothing for the given time.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    /// Writes that may wait before new work is refused; twice as many before anything is.
    waiting_max: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(waiting_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                is_closed: false,
            }),
            filled: Condvar::new(),
            waiting_max,
        }
    }

    pub(super) fn push(&self, item: T, purpose: Purpose) -> Result<(), Refusal> {
        let room = match purpose {
            Purpose::Admit => self.waiting_max,
            Purpose::Settle => self.waiting_max.saturating_mul(2),
        };
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refusal::Closed);
        }
        if state.waiting.len() >= room {
            return Err(Refusal::Full);
        }
        state.waiting.push_back(item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for writes, at most for `patience` when it is given, and takes the oldest of them.
    pub(super) fn take(&self, batch_max: usize, patience: Option<Duration>) -> Taken<T> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.is_closed {
                return Taken::Closed;
            }
            state = match patience {
                None => self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (state, waited) = self
                        .filled
                        .wait_timeout(state, patience)
                        .unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() && state.waiting.is_empty() {
                        return Taken::Idle;
                    }
                    state
                }
            };
        }
        let count = state.waiting.len().min(batch_max);
        Taken::Batch(state.waiting.drain(..count).collect())
    }

    /// Takes nothing more; what waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// Takes nothing more and drops what waits.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing between lock and unlock can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(taken: Taken<u32>) -> Vec<u32> {
        match taken {
            Taken::Batch(items) => items,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn writes_come_out_in_order_and_in_bounded_batches() {
        let queue = Queue::new(10);
        for item in 0..5 {
            queue.push(item, Purpose::Admit).unwrap();
        }
        assert_eq!(batch(queue.take(3, None)), [0, 1, 2]);
        assert_eq!(batch(queue.take(3, None)), [3, 4]);
    }

    #[test]
    fn a_full_queue_refuses_new_work_first() {
        let queue = Queue::new(2);
        queue.push(1, Purpose::Admit).unwrap();
        queue.push(2, Purpose::Admit).unwrap();
        assert_eq!(queue.push(3, Purpose::Admit), Err(Refusal::Full));
        queue.push(4, Purpose::Settle).unwrap();
        queue.push(5, Purpose::Settle).unwrap();
        assert_eq!(queue.push(6, Purpose::Settle), Err(Refusal::Full));
        assert_eq!(batch(queue.take(9, None)), [1, 2, 4, 5]);
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits() {
        let queue = Queue::new(2);
        queue.push(1, Purpose::Admit).unwrap();
        queue.close();
        assert_eq!(queue.push(2, Purpose::Settle), Err(Refusal::Closed));
        assert_eq!(batch(queue.take(9, None)), [1]);
        assert!(matches!(queue.take(9, None), Taken::Closed));
    }

    #[test]
    fn an_abandoned_queue_is_empty() {
        let queue = Queue::new(2);
        queue.push(1, Purpose::Admit).unwrap();
        queue.abandon();
        assert!(matches!(queue.take(9, None), Taken::Closed));
    }

    #[test]
    fn patience_ends() {
        let queue: Queue<u32> = Queue::new(2);
        assert!(matches!(queue.take(9, Some(Duration::ZERO)), Taken::Idle));
    }
}
