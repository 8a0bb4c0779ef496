//! Whether the peer is still there: a ping now and then, and a deadline for its pong.
//!
//! Pure: it is told the time and what was queued, written and received. The pong has its full time
//! from the moment its ping was written, and nothing else the peer sends makes that longer.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// A timer that fires this late says that the whole process stood still, not the peer.
const STANDSTILL: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    None,
    /// Send a ping with this payload, then call [`Keepalive::handle_queued`].
    Ping(Bytes),
    /// The peer has gone.
    Dead,
}

/// The pings of one connection.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    next_ping: Instant,
    count: u32,
    awaited: Option<Awaited>,
}

/// A ping whose pong has not come.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    /// Where its last byte stands in everything written to the peer.
    position: u64,
    /// When the pong must be there; `None` until the ping was written.
    deadline: Option<Instant>,
}

impl Keepalive {
    /// The first ping is due after one interval.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            next_ping: now + interval,
            count: 0,
            awaited: None,
        }
    }

    /// When [`Keepalive::handle_timeout`] is due.
    pub(super) fn deadline(&self) -> Instant {
        let pong = self.awaited.and_then(|awaited| awaited.deadline);
        pong.map_or(self.next_ping, |pong| pong.min(self.next_ping))
    }

    /// Takes the time. `may_read` tells whether a pong could have been seen.
    pub(super) fn handle_timeout(&mut self, now: Instant, may_read: bool) -> Action {
        if let Some(awaited) = &mut self.awaited
            && let Some(deadline) = awaited.deadline.filter(|deadline| *deadline <= now)
        {
            if may_read && now < deadline + STANDSTILL {
                return Action::Dead;
            }
            awaited.deadline = Some(now + self.interval);
        }
        if now < self.next_ping {
            return Action::None;
        }
        self.next_ping = now + self.interval;
        if self.awaited.is_some() {
            return Action::None;
        }
        self.count = self.count.wrapping_add(1);
        Action::Ping(Bytes::copy_from_slice(&self.count.to_be_bytes()))
    }

    /// Takes the place of the ping's end in everything written to the peer.
    pub(super) fn handle_queued(&mut self, position: u64) {
        self.awaited = Some(Awaited {
            position,
            deadline: None,
        });
    }

    /// Takes the news that more was written to the peer.
    pub(super) fn handle_written(&mut self, has_written: impl Fn(u64) -> bool, now: Instant) {
        if let Some(awaited) = &mut self.awaited
            && awaited.deadline.is_none()
            && has_written(awaited.position)
        {
            awaited.deadline = Some(now + self.interval);
        }
    }

    /// Takes a pong; one that answers no ping of ours changes nothing.
    pub(super) fn handle_pong(&mut self, payload: &[u8]) {
        if payload == self.count.to_be_bytes() {
            self.awaited = None;
        }
    }

    /// Takes the pong to another ping, which ended at `position`: a peer may answer the latest one
    /// only (RFC 6455, 5.5.3).
    pub(super) fn handle_later_pong(&mut self, position: u64) {
        self.awaited = self.awaited.filter(|awaited| awaited.position > position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);

    fn ping(keepalive: &mut Keepalive, now: Instant) -> Bytes {
        match keepalive.handle_timeout(now, true) {
            Action::Ping(payload) => payload,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_lives_and_is_asked_again() {
        let mut now = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, now);
        assert_eq!(keepalive.handle_timeout(now, true), Action::None);
        for _ in 0..3 {
            assert_eq!(keepalive.deadline(), now + INTERVAL);
            now += INTERVAL;
            let payload = ping(&mut keepalive, now);
            keepalive.handle_queued(10);
            keepalive.handle_written(|position| position <= 10, now);
            keepalive.handle_pong(&payload);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_pong_to_a_later_ping_answers_this_one_too() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, start);
        ping(&mut keepalive, start + INTERVAL);
        keepalive.handle_queued(10);
        let written = start + INTERVAL;
        keepalive.handle_written(|position| position <= 10, written);
        keepalive.handle_later_pong(9);
        let deadline = written + INTERVAL;
        assert_eq!(keepalive.handle_timeout(deadline, true), Action::Dead);
        keepalive.handle_later_pong(10);
        assert!(matches!(
            keepalive.handle_timeout(deadline, true),
            Action::Ping(_)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pong_has_its_full_time_from_the_moment_its_ping_was_written() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, start);
        ping(&mut keepalive, start + INTERVAL);
        keepalive.handle_queued(10);
        keepalive.handle_written(|position| position <= 9, start + INTERVAL);
        // Unwritten: the write timeout is the judge, and no second ping joins the first.
        assert_eq!(
            keepalive.handle_timeout(start + INTERVAL * 2, true),
            Action::None
        );
        let written = start + INTERVAL * 2 + Duration::from_secs(1);
        keepalive.handle_written(|position| position <= 10, written);
        keepalive.handle_written(|_| true, written + INTERVAL / 2);
        keepalive.handle_pong(b"other");
        let just_before = written + INTERVAL - Duration::from_millis(1);
        assert_eq!(keepalive.handle_timeout(just_before, true), Action::None);
        assert_eq!(
            keepalive.handle_timeout(written + INTERVAL, true),
            Action::Dead
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_of_ours_is_no_silence_of_the_peer() {
        let start = Instant::now();
        let ask = || {
            let mut keepalive = Keepalive::new(INTERVAL, start);
            ping(&mut keepalive, start + INTERVAL);
            keepalive.handle_queued(10);
            keepalive.handle_written(|_| true, start + INTERVAL);
            keepalive
        };
        let due = start + INTERVAL * 2;
        for (now, may_read) in [(due + STANDSTILL, true), (due, false)] {
            let mut keepalive = ask();
            assert_eq!(keepalive.handle_timeout(now, may_read), Action::None);
            assert_eq!(keepalive.handle_timeout(now + INTERVAL, true), Action::Dead);
        }
    }
}
