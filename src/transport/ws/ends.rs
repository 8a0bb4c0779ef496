//! Ends of runs that wait until the acknowledgement of their start was read.
//!
//! The official clients in front of people never notice the end of a run that they read together
//! with its acknowledgement. So a ping goes out behind the acknowledgement, and the end not before
//! its pong. Pure: knows neither socket nor clock.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::ids::WireId;

/// How long an end stays behind the acknowledgement, at least.
const AFTER_ACK: Duration = Duration::from_millis(20);

/// How long an end waits for the pong, at most.
const PONG_WAIT_MAX: Duration = Duration::from_secs(2);

/// Runs whose end is kept, at once; beyond that the end of the oldest waits no longer.
const RUNS_MAX: usize = 64;

/// What the payload of a ping behind an acknowledgement begins with.
const PING: &[u8] = b"ack";

/// The runs of one connection whose start was acknowledged only just now.
#[derive(Debug, Default)]
pub(super) struct Ends {
    runs: Vec<Acknowledged>,
    /// Number of the last ping.
    pings: u32,
}

#[derive(Debug)]
struct Acknowledged {
    run: WireId,
    /// The ping behind the acknowledgement, and where it ends in what is written to the peer.
    ping: Option<(u32, u64)>,
    written: Option<Instant>,
    is_read: bool,
}

impl Ends {
    /// Keeps the end of this run, whose start is acknowledged now, behind the acknowledgement.
    pub(super) fn hold(&mut self, run: WireId) {
        if self.runs.len() >= RUNS_MAX {
            self.runs.remove(0);
        }
        self.runs.push(Acknowledged {
            run,
            ping: None,
            written: None,
            is_read: false,
        });
    }

    /// Whether no end is kept back: the usual case, which costs nothing.
    pub(super) const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether the end of this run is kept back.
    pub(super) fn holds(&self, run: &WireId) -> bool {
        self.runs.iter().any(|held| held.run == *run)
    }

    /// The ping to send behind the acknowledgements that were handed to the outbox since the last
    /// one.
    pub(super) fn next_ping(&mut self) -> Option<Bytes> {
        if self.runs.iter().all(|held| held.ping.is_some()) {
            return None;
        }
        self.pings = self.pings.wrapping_add(1);
        Some([PING, &self.pings.to_be_bytes()].concat().into())
    }

    /// Notes that the ping is in the outbox, which ends at `position`.
    pub(super) fn note_ping(&mut self, position: u64) {
        for held in &mut self.runs {
            held.ping.get_or_insert((self.pings, position));
        }
    }

    /// Notes which pings were handed to the socket.
    pub(super) fn handle_written(&mut self, is_written: impl Fn(u64) -> bool, now: Instant) {
        for held in &mut self.runs {
            let ping = held.ping.filter(|(_, position)| is_written(*position));
            if ping.is_some() {
                held.written.get_or_insert(now);
            }
        }
    }

    /// Notes a pong: whatever was acknowledged before its ping was read. Returns where the ping
    /// ended in what was written to the peer, while a run is kept for it.
    pub(super) fn handle_pong(&mut self, payload: &[u8]) -> Option<u64> {
        let number = payload.strip_prefix(PING)?;
        let number = u32::from_be_bytes(number.try_into().ok()?);
        let mut read = None;
        for held in &mut self.runs {
            if let Some((_, position)) = held.ping.filter(|(ping, _)| *ping <= number) {
                held.is_read = true;
                read = read.max(Some(position));
            }
        }
        read
    }

    /// When the next end may go out, as far as that is known.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.runs.iter().filter_map(Acknowledged::deadline).min()
    }

    /// Lets the ends go out whose time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.runs
            .retain(|held| held.deadline().is_none_or(|at| now < at));
        // An idle connection keeps nothing.
        self.runs.shrink_to_fit();
    }
}

impl Acknowledged {
    /// When its end may go out, once that is known.
    fn deadline(&self) -> Option<Instant> {
        let wait = if self.is_read {
            AFTER_ACK
        } else {
            PONG_WAIT_MAX
        };
        self.written.map(|written| written + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run whose acknowledgement is written now, and the ping behind that.
    fn acknowledged(ends: &mut Ends, run: &WireId, now: Instant) -> Bytes {
        ends.hold(run.clone());
        let ping = ends.next_ping().unwrap();
        ends.note_ping(10);
        assert_eq!(ends.next_ping(), None);
        ends.handle_written(|position| position == 10, now);
        ping
    }

    #[test]
    fn an_end_waits_for_the_pong_and_some_time_after_the_acknowledgement_was_written() {
        const MS: Duration = Duration::from_millis(1);
        let mut ends = Ends::default();
        let (a, b) = (WireId::parse("a").unwrap(), WireId::parse("b").unwrap());
        let start = Instant::now();
        acknowledged(&mut ends, &a, start);
        let second = acknowledged(&mut ends, &b, start + 15 * MS);
        assert_eq!(ends.handle_pong(b"something else"), None);
        ends.handle_timeout(start + 30 * MS);
        assert!(ends.holds(&a) && ends.holds(&b));
        // The pong to the second ping tells that what was before the first was read, too.
        assert_eq!(ends.handle_pong(&second), Some(10));
        assert_eq!(ends.deadline(), Some(start + AFTER_ACK));
        ends.handle_timeout(start + 30 * MS);
        assert!(!ends.holds(&a) && ends.holds(&b));
        ends.handle_timeout(start + 15 * MS + AFTER_ACK - MS);
        assert!(ends.holds(&b));
        ends.handle_timeout(start + 15 * MS + AFTER_ACK);
        assert!(!ends.holds(&b));
        assert_eq!(ends.deadline(), None);
    }

    #[test]
    fn a_peer_without_pongs_gets_its_end_all_the_same() {
        let mut ends = Ends::default();
        let run = WireId::parse("a").unwrap();
        ends.hold(run.clone());
        assert!(ends.next_ping().is_some());
        ends.note_ping(10);
        let now = Instant::now();
        ends.handle_written(|_position| false, now);
        assert_eq!(ends.deadline(), None, "not written");
        ends.handle_written(|_position| true, now);
        let end = now + PONG_WAIT_MAX;
        assert_eq!(ends.deadline(), Some(end));
        ends.handle_timeout(end);
        assert!(!ends.holds(&run));
    }

    #[test]
    fn a_peer_that_starts_runs_faster_than_it_answers_pings_takes_bounded_room() {
        let mut ends = Ends::default();
        let run = |n: usize| WireId::parse(&format!("r{n}")).unwrap();
        for n in 0..=RUNS_MAX {
            ends.hold(run(n));
        }
        assert_eq!(ends.runs.len(), RUNS_MAX);
        assert!(!ends.holds(&run(0)));
        assert!(ends.holds(&run(1)) && ends.holds(&run(RUNS_MAX)));
    }
}
