//! The memory of answers that may be large: each takes its share of a budget of bytes before
//! anything is read for it, and waits for that.
//!
//! Owns the budget of all connections and that of each. What an answer needs is not known before,
//! so it reserves the most it may need and gives back the difference when it is made; it keeps the
//! rest until the connection has taken it. The answers of one connection wait for each other first,
//! so that many of one peer stand in the way of another peer's only once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::session::ENTRY_PAGE_BYTES_MAX;

/// Bytes that one permit stands for.
const UNIT_BYTES: u64 = 1024;

/// The most an answer from a page of a transcript needs: the page, and half as much again for what
/// is made of it.
const PAGE_BYTES: u64 = ENTRY_PAGE_BYTES_MAX + ENTRY_PAGE_BYTES_MAX / 2;

/// How long an answer waits for its share.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The budget stayed used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "large answers wait for too long (gateway.limits.answerBytes, answerBytesPerConnection); \
     try again"
)]
pub(super) struct BudgetUsedUp;

/// The budget of all connections.
#[derive(Debug)]
pub(super) struct AnswerBudget {
    all: Pot,
    per_connection_bytes: u64,
}

/// The budget of one connection; made when it is first needed.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionBudget(Option<Pot>);

/// So many bytes; who comes first is served first.
#[derive(Clone, Debug)]
struct Pot {
    permits: Arc<Semaphore>,
    /// What one answer takes: the most it may need, or all there is.
    each: u32,
}

/// What an answer holds of both budgets; given back when dropped.
#[derive(Debug)]
pub(super) struct Reserved([OwnedSemaphorePermit; 2]);

impl AnswerBudget {
    /// A budget of `all_bytes`, of which one connection gets `per_connection_bytes`.
    pub(super) fn new(all_bytes: u64, per_connection_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            all: Pot::new(all_bytes),
            per_connection_bytes,
        })
    }

    /// The share of a connection.
    pub(super) fn share_of(&self, connection: &mut ConnectionBudget) -> ConnectionBudget {
        let budget = self.per_connection_bytes;
        let pot = connection.0.get_or_insert_with(|| Pot::new(budget));
        ConnectionBudget(Some(pot.clone()))
    }

    /// Waits for what an answer may need.
    ///
    /// # Errors
    /// [`BudgetUsedUp`] when that takes too long.
    ///
    /// # Cancel safety
    /// Cancel safe: the place in the queue is lost, and nothing else.
    pub(super) async fn reserve(&self, own: ConnectionBudget) -> Result<Reserved, BudgetUsedUp> {
        let waiting = async {
            let own = match own.0 {
                Some(own) => own.take().await,
                None => None,
            };
            Some(Reserved([own?, self.all.take().await?]))
        };
        let reserved = timeout(WAIT_MAX, waiting).await;
        reserved.ok().flatten().ok_or(BudgetUsedUp)
    }
}

impl Pot {
    fn new(bytes: u64) -> Self {
        let permits = units(bytes).max(1);
        Self {
            permits: Arc::new(Semaphore::new(usize::try_from(permits).unwrap_or(1))),
            each: units(PAGE_BYTES).min(permits),
        }
    }

    /// `None` never comes: nobody closes the semaphore.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.permits);
        permits.acquire_many_owned(self.each).await.ok()
    }
}

impl Reserved {
    /// Gives back what is over `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let keep = u64::try_from(bytes).map_or(u32::MAX, |bytes| units(bytes) + 1);
        for permit in &mut self.0 {
            let over = permit.num_permits();
            let over = over.saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
            drop(permit.split(over));
        }
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn answers_wait_in_order_and_give_back_what_they_do_not_need() {
        let budget = AnswerBudget::new(PAGE_BYTES * 2, PAGE_BYTES);
        let (mut one, mut two) = (ConnectionBudget::default(), ConnectionBudget::default());
        let mut first = budget.reserve(budget.share_of(&mut one)).await.unwrap();
        let mut same = Box::pin(budget.reserve(budget.share_of(&mut one)));
        assert!(same.as_mut().now_or_never().is_none());
        // Another connection does not wait for the answers of this one.
        let other = budget.reserve(budget.share_of(&mut two)).await.unwrap();
        first.shrink(MIB);
        assert!(same.as_mut().now_or_never().is_none());
        drop(first);
        let same = same.await.unwrap();
        drop((same, other));
        let whole = usize::try_from(PAGE_BYTES * 2 / UNIT_BYTES).unwrap();
        assert_eq!(budget.all.permits.available_permits(), whole);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_stays_used_up_is_told() {
        let budget = AnswerBudget::new(1, 1);
        let mut own = ConnectionBudget::default();
        let _all = budget.reserve(budget.share_of(&mut own)).await.unwrap();
        let refused = budget.reserve(budget.share_of(&mut own)).await;
        assert_eq!(refused.err(), Some(BudgetUsedUp));
    }

    #[tokio::test]
    async fn answers_that_were_made_leave_room_for_more() {
        let budget = AnswerBudget::new(PAGE_BYTES + 8 * PAGE_BYTES / 10, PAGE_BYTES * 2);
        let mut own = ConnectionBudget::default();
        let mut made = Vec::new();
        for _ in 0..100 {
            let mut one = budget.reserve(budget.share_of(&mut own)).await.unwrap();
            one.shrink(10_000);
            made.push(one);
        }
    }
}
