//! Counts failed authentications and locks out who guesses (`http-facts` §2.4,
//! `protocol-facts` §3.10).
//!
//! [`Failures`] is the pure core: it is told the time and never waits. [`FailureLimiter`] shares it
//! between tasks and does the waiting. Neither knows what a secret is.

mod failures;

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::address::{fold, limit_address};
use super::head::{Head, Locality};
use failures::Failures;

/// Most failures before a lock that are counted per key; a larger number means this one.
pub(super) const ATTEMPTS_MAX: u32 = 1_000;

/// Longest a failure is held back in all, however many others follow it.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// When a guesser is locked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterConfig {
    /// Failures inside the window that lock; from 1 to 1,000.
    pub attempts_max: u32,
    /// The sliding window.
    pub window: Duration,
    /// How long a lock holds.
    pub lockout: Duration,
    /// Whether loopback peers are delayed instead of locked out.
    pub exempt_loopback: bool,
}

impl Default for LimiterConfig {
    fn default() -> Self {
        Self {
            attempts_max: 10,
            window: Duration::from_mins(1),
            lockout: Duration::from_mins(5),
            exempt_loopback: true,
        }
    }
}

/// Which secret is guessed; each kind is counted on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Guessed {
    /// The token or password of the gateway, over HTTP and over WebSocket.
    SharedSecret,
    /// The token of a device.
    DeviceToken,
}

/// Who guesses. Several sources on one address are kept apart where one could otherwise lock out
/// the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A program on this machine. Loopback has 16 million addresses for one machine, so they are
    /// one source.
    Local,
    /// A page in a browser on this machine. Not told apart by origin: a program can claim any.
    Browser,
    /// A loopback peer that asked for another host: a page of a re-pointed name, or a port mapping.
    ForeignHost(IpAddr),
    /// Clients behind a proxy that may not say or does not say whom it speaks for.
    Proxy(IpAddr),
    /// Everybody else, IPv6 by its /64.
    Address(IpAddr),
}

impl Source {
    /// Who sent this head.
    pub(super) fn of(head: &Head) -> Self {
        let peer = fold(head.peer.ip());
        if head.unattributable {
            return Self::Proxy(limit_address(peer));
        }
        if !head.client.is_loopback() {
            return Self::Address(limit_address(head.client));
        }
        match head.locality {
            Locality::DirectLocal => Self::Local,
            Locality::BrowserLocal => Self::Browser,
            Locality::ContainerLocal | Locality::Remote if head.origin.is_some() => Self::Browser,
            Locality::ContainerLocal | Locality::Remote => Self::ForeignHost(peer),
        }
    }
}

/// What failures are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The secret.
    pub(super) guessed: Guessed,
    /// The guesser.
    pub(super) source: Source,
}

/// What was found about a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is right.
    Right,
    /// It is wrong.
    Wrong,
    /// It is not this secret, but no guess either: it is right for something else.
    Other,
}

impl From<bool> for Finding {
    fn from(is_right: bool) -> Self {
        if is_right { Self::Right } else { Self::Wrong }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The secret was right; the history is gone.
    Passed,
    /// The secret was right for something else; the history stays as it is.
    Other,
    /// The secret was wrong. When `locked`, this failure started a lock.
    Failed {
        /// Whether the key is locked from now on.
        locked: bool,
    },
    /// The secret was not looked at.
    Locked {
        /// How long the lock still holds.
        retry_after: Duration,
    },
}

/// Failure counts per key, shared by both fronts; bounded.
#[derive(Debug)]
pub(super) struct FailureLimiter {
    failures: Mutex<Failures>,
}

impl FailureLimiter {
    /// A limiter that has counted nothing.
    pub(super) fn new(config: LimiterConfig) -> Self {
        Self {
            failures: Mutex::new(Failures::new(config)),
        }
    }

    /// Puts other limits in force; what was counted stays counted.
    pub(super) fn configure(&self, config: LimiterConfig) {
        self.with(|failures| failures.configure(config));
    }

    /// How long the key is still locked, for requests that offer nothing to compare.
    pub(super) fn locked(&self, key: Key) -> Option<Duration> {
        self.with(|failures| failures.locked(key, Instant::now()))
    }

    /// Lets `verify` look at the secret unless the key is locked, and counts the result. Checking,
    /// comparing and counting are one step, so that guesses sent side by side cannot all pass the
    /// check before the first of them is counted.
    ///
    /// A failure must not be answered before [`FailureLimiter::hold_back`] has returned.
    pub(super) fn attempt<F: Into<Finding>>(
        &self,
        key: Key,
        verify: impl FnOnce() -> F,
    ) -> Attempt {
        self.with(|failures| failures.attempt(key, Instant::now(), verify))
    }

    /// Waits until failures of the key may be answered: all that wait are released together, at the
    /// time of the latest. Only failures of local programs wait at all.
    ///
    /// # Cancel safety
    /// The failure was counted before, so dropping the future saves a guesser nothing.
    pub(super) async fn hold_back(&self, key: Key) {
        let last = Instant::now() + HOLD_MAX;
        while let Some(until) = self.with(|failures| failures.held_until(key, Instant::now())) {
            let until = until.min(last);
            tokio::time::sleep_until(until).await;
            if until == last {
                return;
            }
        }
    }

    /// The counts stay consistent even if a panic interrupts a change, so a poisoned lock is taken.
    fn with<T>(&self, change: impl FnOnce(&mut Failures) -> T) -> T {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut failures)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn key(source: Source) -> Key {
        Key {
            guessed: Guessed::SharedSecret,
            source,
        }
    }

    fn address(text: &str) -> Key {
        key(Source::Address(text.parse().unwrap()))
    }

    async fn wait_of_a_failure(limiter: &FailureLimiter, key: Key) -> Duration {
        let start = Instant::now();
        let outcome = limiter.attempt(key, || false);
        assert!(matches!(outcome, Attempt::Failed { .. }), "{outcome:?}");
        limiter.hold_back(key).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn local_failures_wait_longer_and_longer() {
        let limiter = FailureLimiter::new(LimiterConfig {
            window: Duration::from_hours(1),
            ..LimiterConfig::default()
        });
        for wait_ms in [250, 500, 1000, 2000, 4000, 5000, 5000] {
            let waited = wait_of_a_failure(&limiter, key(Source::Local)).await;
            assert_eq!(waited, Duration::from_millis(wait_ms));
        }
        let passed = limiter.attempt(key(Source::Local), || true);
        assert_eq!(passed, Attempt::Passed);
        let waited = wait_of_a_failure(&limiter, key(Source::Local)).await;
        assert_eq!(waited, Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn local_delays_forget_what_left_the_window() {
        let limiter = FailureLimiter::new(LimiterConfig::default());
        for _ in 0..4 {
            wait_of_a_failure(&limiter, key(Source::Local)).await;
        }
        tokio::time::advance(Duration::from_mins(2)).await;
        let waited = wait_of_a_failure(&limiter, key(Source::Local)).await;
        assert_eq!(waited, Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn local_failures_side_by_side_are_released_together() {
        let limiter = FailureLimiter::new(LimiterConfig::default());
        let local = key(Source::Local);
        let waits = tokio::join!(
            wait_of_a_failure(&limiter, local),
            wait_of_a_failure(&limiter, local),
            wait_of_a_failure(&limiter, local),
        );
        let latest = Duration::from_secs(1);
        assert_eq!(waits, (latest, latest, latest));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_held_back_for_ten_seconds_at_most() {
        let limiter = FailureLimiter::new(LimiterConfig::default());
        let local = key(Source::Local);
        let guesser = async {
            for _ in 0..200 {
                limiter.with(|failures| failures.attempt(local, Instant::now(), || false));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let (waited, ()) = tokio::join!(wait_of_a_failure(&limiter, local), guesser);
        assert_eq!(waited, HOLD_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_failure_is_counted() {
        let limiter = FailureLimiter::new(LimiterConfig::default());
        for _ in 0..2 {
            let attempt = wait_of_a_failure(&limiter, key(Source::Local));
            let dropped = tokio::time::timeout(Duration::from_millis(1), attempt).await;
            assert!(dropped.is_err());
        }
        let waited = wait_of_a_failure(&limiter, key(Source::Local)).await;
        assert_eq!(waited, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn other_failures_do_not_wait() {
        let limiter = FailureLimiter::new(LimiterConfig::default());
        let foreign = Source::ForeignHost("127.0.0.1".parse().unwrap());
        for key in [address("203.0.113.9"), key(Source::Browser), key(foreign)] {
            assert_eq!(wait_of_a_failure(&limiter, key).await, Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_looks_at_no_secret_and_ends() {
        let limiter = FailureLimiter::new(LimiterConfig::default());
        let guesser = address("203.0.113.9");
        for n in 1..=10 {
            let outcome = limiter.attempt(guesser, || false);
            assert_eq!(outcome, Attempt::Failed { locked: n == 10 });
        }
        let retry_after = Duration::from_mins(5);
        let looked = AtomicU32::new(0);
        let verify = || {
            looked.fetch_add(1, Ordering::Relaxed);
            true
        };
        let outcome = limiter.attempt(guesser, verify);
        assert_eq!(outcome, Attempt::Locked { retry_after });
        assert_eq!(limiter.locked(guesser), Some(retry_after));
        assert_eq!(limiter.locked(address("203.0.113.10")), None);
        assert_eq!(looked.load(Ordering::Relaxed), 0);
        tokio::time::advance(retry_after).await;
        assert_eq!(limiter.locked(guesser), None);
        assert_eq!(limiter.attempt(guesser, verify), Attempt::Passed);
    }

    #[test]
    fn guesses_side_by_side_are_compared_no_more_often_than_one_after_another() {
        let limiter = Arc::new(FailureLimiter::new(LimiterConfig::default()));
        let compared = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                let compared = Arc::clone(&compared);
                std::thread::spawn(move || {
                    let guess = || {
                        compared.fetch_add(1, Ordering::Relaxed);
                        false
                    };
                    for _ in 0..50 {
                        limiter.attempt(address("203.0.113.9"), guess);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(compared.load(Ordering::Relaxed), 10);
    }

    fn check_source(peer: &str, lines: &[(&str, &str)], expected: Source) {
        let mut headers = hyper::HeaderMap::new();
        for (name, value) in lines {
            let name: hyper::header::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let policy = super::super::head::ProxyPolicy {
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            allow_real_ip: false,
        };
        let head = Head::read(&headers, peer.parse().unwrap(), &policy).unwrap();
        assert_eq!(Source::of(&head), expected, "{peer} {lines:?}");
    }

    #[test]
    fn only_a_direct_local_program_is_the_exempt_source() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let loopback = ip("127.0.0.1");
        let local = ("host", "localhost:18789");
        check_source("127.0.0.1:1", &[local], Source::Local);
        check_source("127.5.5.5:1", &[local], Source::Local);
        check_source("[::1]:1", &[local], Source::Local);
        for origin in ["http://localhost:18789", "https://evil.example", "null"] {
            check_source("127.0.0.1:1", &[local, ("origin", origin)], Source::Browser);
        }
        check_source(
            "127.0.0.1:1",
            &[("host", "evil.example:18789")],
            Source::ForeignHost(loopback),
        );
        check_source("127.0.0.1:1", &[], Source::ForeignHost(loopback));
        check_source(
            "127.0.0.1:1",
            &[("host", "192.168.1.5:18789")],
            Source::ForeignHost(loopback),
        );
        check_source(
            "127.0.0.1:1",
            &[local, ("x-forwarded-for", "127.0.0.1")],
            Source::Proxy(loopback),
        );
    }

    #[test]
    fn remote_sources_are_addresses_that_cannot_be_chosen() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let plain = Source::Address(ip("203.0.113.9"));
        check_source("203.0.113.9:1", &[("host", "localhost")], plain);
        check_source("[::ffff:203.0.113.9]:1", &[], plain);
        check_source("203.0.113.9:2", &[("origin", "http://localhost")], plain);
        check_source(
            "10.0.0.7:1",
            &[("x-forwarded-for", "198.51.100.1, 203.0.113.9")],
            plain,
        );
        check_source(
            "[2001:db8:1:2::3]:1",
            &[],
            Source::Address(ip("2001:db8:1:2::")),
        );
        for spoofed in ["1.1.1.1", "2.2.2.2", "127.0.0.1"] {
            check_source(
                "203.0.113.9:1",
                &[("x-forwarded-for", spoofed)],
                Source::Proxy(ip("203.0.113.9")),
            );
        }
        check_source("10.0.0.7:1", &[], Source::Proxy(ip("10.0.0.7")));
    }
}
