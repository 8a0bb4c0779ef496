//! The gateway-wide feed: every event that goes to more than one connection travels here once,
//! encoded.
//!
//! A bounded ring; each connection reads it with a cursor of its own, so publishing never waits and
//! a reader costs nothing but its place. What leaves the ring before a reader came to it is lost to
//! that reader, who is told and closed as a slow consumer. Knows nothing of what events say: who
//! gets one is decided by the reader from the item's audience.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::shutdown::Bell;

/// What an item costs beside its own bytes.
const ITEM_OVERHEAD_BYTES: u64 = 256;

/// How much the feed keeps for readers that are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedLimits {
    /// Bytes of items, overhead included.
    pub(super) bytes_max: u64,
    /// How long an item stays; longer than one write to a peer may take.
    pub(super) keep: Duration,
}

/// Something the feed can carry.
pub(super) trait Weigh {
    /// Bytes the item occupies.
    fn bytes(&self) -> usize;
}

/// The feed itself; shared by everybody who publishes or reads.
#[derive(Debug)]
pub(super) struct Feed<T> {
    limits: FeedLimits,
    ring: Mutex<Ring<T>>,
    /// Position of the next item to be published.
    head: AtomicU64,
    /// Wakes readers.
    published: Bell,
}

#[derive(Debug)]
struct Ring<T> {
    slots: VecDeque<Slot<T>>,
    /// Position of the oldest slot.
    first: u64,
    /// Bytes published so far.
    bytes_in: u64,
    /// Bytes of everything that was dropped.
    bytes_out: u64,
}

#[derive(Debug)]
struct Slot<T> {
    item: Arc<T>,
    at: Instant,
    /// `Ring::bytes_in` once this item was in.
    bytes_through: u64,
}

/// The reader's place is not in the ring any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader fell behind what the feed keeps")]
pub(super) struct Lagged;

impl<T: Weigh> Feed<T> {
    /// An empty feed.
    pub(super) fn new(limits: FeedLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            ring: Mutex::new(Ring {
                slots: VecDeque::new(),
                first: 0,
                bytes_in: 0,
                bytes_out: 0,
            }),
            head: AtomicU64::new(0),
            published: Bell::default(),
        })
    }

    /// Puts items into the feed, in this order, and wakes the readers once.
    pub(super) fn publish(&self, items: impl IntoIterator<Item = T>) {
        let now = Instant::now();
        let mut ring = self.lock();
        for item in items {
            let bytes = u64::try_from(item.bytes()).unwrap_or(u64::MAX);
            ring.bytes_in += bytes.saturating_add(ITEM_OVERHEAD_BYTES);
            let bytes_through = ring.bytes_in;
            ring.slots.push_back(Slot {
                item: Arc::new(item),
                at: now,
                bytes_through,
            });
        }
        ring.trim(self.limits, now);
        let head = ring.head();
        drop(ring);
        if self.head.fetch_max(head, Ordering::AcqRel) < head {
            self.published.ring();
        }
    }

    /// Drops what is too old, for times when nothing is published.
    pub(super) fn trim(&self, now: Instant) {
        self.lock().trim(self.limits, now);
    }

    /// A reader that gets what is published from now on.
    pub(super) fn cursor(self: &Arc<Self>) -> Cursor<T> {
        let ring = self.lock();
        Cursor {
            next: ring.head(),
            bytes_read: ring.bytes_in,
            feed: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring<T>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Ring<T> {
    fn head(&self) -> u64 {
        self.first + u64::try_from(self.slots.len()).unwrap_or(u64::MAX)
    }

    fn trim(&mut self, limits: FeedLimits, now: Instant) {
        while let Some(oldest) = self.slots.front() {
            let is_over = self.bytes_in - self.bytes_out > limits.bytes_max;
            if !is_over && now.duration_since(oldest.at) < limits.keep {
                break;
            }
            self.bytes_out = oldest.bytes_through;
            self.first += 1;
            self.slots.pop_front();
        }
        if self.slots.is_empty() {
            self.slots.shrink_to_fit();
        }
    }
}

/// A reader's place in the feed.
#[derive(Debug)]
pub(super) struct Cursor<T> {
    /// Position of the next item to read.
    next: u64,
    /// `Ring::bytes_in` as of the last item read.
    bytes_read: u64,
    feed: Arc<Feed<T>>,
}

impl<T: Weigh> Cursor<T> {
    /// Takes up to `most` items that are ready into `batch`; returns how many bytes the reader was
    /// behind.
    ///
    /// # Errors
    /// [`Lagged`] when items were lost to this reader.
    pub(super) fn take(
        &mut self,
        batch: &mut VecDeque<Arc<T>>,
        most: usize,
    ) -> Result<u64, Lagged> {
        if !self.has_more() {
            return Ok(0);
        }
        let ring = self.feed.lock();
        let behind = self.next.checked_sub(ring.first).ok_or(Lagged)?;
        let behind = usize::try_from(behind).unwrap_or(usize::MAX);
        let bytes_behind = ring.bytes_in - self.bytes_read;
        for slot in ring.slots.iter().skip(behind).take(most) {
            batch.push_back(Arc::clone(&slot.item));
            self.bytes_read = slot.bytes_through;
            self.next += 1;
        }
        Ok(bytes_behind)
    }

    /// Waits until something is ready to be taken.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn ready(&self) {
        let published = &self.feed.published;
        published.wait_until(|| self.has_more()).await;
    }

    /// Waits until something was lost to a reader that takes nothing for the time being.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn lost(&self) {
        let is_lost = || self.feed.lock().first > self.next;
        self.feed.published.wait_until(is_lost).await;
    }

    fn has_more(&self) -> bool {
        self.feed.head.load(Ordering::Acquire) > self.next
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    impl Weigh for &'static str {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    const KEEP: Duration = Duration::from_mins(1);

    fn feed(items_max: u64) -> Arc<Feed<&'static str>> {
        Feed::new(FeedLimits {
            bytes_max: items_max * (ITEM_OVERHEAD_BYTES + 1),
            keep: KEEP,
        })
    }

    fn take(cursor: &mut Cursor<&'static str>, most: usize) -> Result<(String, u64), Lagged> {
        let mut batch = VecDeque::new();
        let behind = cursor.take(&mut batch, most)?;
        Ok((batch.iter().map(|item| **item).collect(), behind))
    }

    #[tokio::test(start_paused = true)]
    async fn every_reader_gets_everything_since_it_came_in_order() {
        let feed = feed(100);
        let mut early = feed.cursor();
        feed.publish(["a", "b"]);
        let mut late = feed.cursor();
        feed.publish(["c"]);
        let one = ITEM_OVERHEAD_BYTES + 1;
        assert_eq!(take(&mut early, 2), Ok(("ab".to_owned(), 3 * one)));
        assert_eq!(take(&mut early, 2), Ok(("c".to_owned(), one)));
        assert_eq!(take(&mut early, 2), Ok((String::new(), 0)));
        assert_eq!(take(&mut late, 9), Ok(("c".to_owned(), one)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_falls_behind_the_ring_is_told() {
        let feed = feed(3);
        let mut slow = feed.cursor();
        let mut fast = feed.cursor();
        for item in ["a", "b", "c", "d"] {
            feed.publish([item]);
            assert_eq!(take(&mut fast, 9).unwrap().0, item);
        }
        assert_eq!(take(&mut slow, 1), Err(Lagged));
        let mut fresh = feed.cursor();
        assert_eq!(take(&mut fresh, 1), Ok((String::new(), 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_told_as_soon_as_it_loses_something() {
        let feed = feed(3);
        let mut slow = feed.cursor();
        for item in ["a", "b", "c"] {
            feed.publish([item]);
            assert!(slow.lost().now_or_never().is_none(), "{item}");
        }
        let lost = slow.lost();
        let publish = async { feed.publish(["d"]) };
        tokio::join!(lost, publish);
        assert_eq!(take(&mut slow, 1), Err(Lagged));
    }

    #[tokio::test(start_paused = true)]
    async fn old_items_go_even_when_nothing_is_published() {
        let feed = feed(100);
        let mut slow = feed.cursor();
        let mut done = feed.cursor();
        feed.publish(["a"]);
        assert_eq!(take(&mut done, 1).unwrap().0, "a");
        feed.trim(Instant::now() + KEEP / 2);
        feed.trim(Instant::now() + KEEP);
        assert!(feed.lock().slots.is_empty());
        assert_eq!(take(&mut slow, 1), Err(Lagged));
        feed.publish(["b"]);
        assert_eq!(take(&mut done, 1).unwrap().0, "b");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_readers_are_woken_and_never_miss_an_item() {
        let feed = feed(10_000);
        let readers = (0..8).map(|_| {
            let mut cursor = feed.cursor();
            async move {
                let mut seen = String::new();
                while !seen.ends_with('z') {
                    cursor.ready().await;
                    seen.push_str(&take(&mut cursor, 3).unwrap().0);
                }
                seen
            }
        });
        let writer = async {
            for _ in 0..50 {
                feed.publish(["x", "y"]);
                tokio::task::yield_now().await;
            }
            feed.publish(["z"]);
        };
        let (seen, ()) = tokio::join!(futures_util::future::join_all(readers), writer);
        for seen in seen {
            assert_eq!(seen, "xy".repeat(50) + "z");
        }
    }
}
