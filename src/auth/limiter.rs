//! Counts failed authentications and locks out who guesses (`http-facts` §2.4).

use std::time::Duration;

/// When a guesser is locked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterConfig {
    /// Failures inside the window that lock.
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

/// Whether a key may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// It is locked for this long.
    Locked(Duration),
}

/// Failure counts per key; bounded.
#[derive(Debug, Default)]
pub struct FailureLimiter {}
