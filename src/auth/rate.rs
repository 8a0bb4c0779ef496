//! Rates: how often an address may connect or upgrade, and how often a principal may write to the
//! control plane.
//!
//! Counts nothing that failed: guessing is the business of [`super::limiter`].

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Head, Principal};

/// A number of events and the time in which the whole number grows back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events at once.
    pub count: NonZeroU32,
    /// The time in which `count` events grow back, one by one.
    pub per: Duration,
}

/// How often things may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateConfig {}

/// A rate is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit exceeded")]
pub struct RateLimited {
    /// When the next event is allowed.
    pub retry_after: Duration,
    /// The rate.
    pub limit: Rate,
}

/// The rates of the process, per address and per principal; bounded.
#[derive(Debug)]
pub struct Rates {}

impl Rates {
    /// Limiters with these rates.
    pub fn new(_config: RateConfig) -> Self {
        Self {}
    }

    /// Counts an accepted socket of this address.
    ///
    /// # Errors
    /// [`RateLimited`]: close the socket.
    pub fn connect(&self, _peer: std::net::IpAddr) -> Result<(), RateLimited> {
        Ok(())
    }

    /// Counts an upgrade: per client address, and once more when a browser asks.
    ///
    /// # Errors
    /// [`RateLimited`]: answer 429 and do not upgrade.
    pub fn upgrade(&self, _head: &Head) -> Result<(), RateLimited> {
        Ok(())
    }

    /// Counts a call of a control-plane method, per method and per device or else address. Other
    /// methods are not counted (`protocol-facts` §4.3).
    ///
    /// # Errors
    /// [`RateLimited`]: answer `UNAVAILABLE`.
    pub fn control_write(&self, _principal: &Principal, _method: &str) -> Result<(), RateLimited> {
        Ok(())
    }

    /// Forgets keys that are as good as new; call it now and then to give memory back.
    pub fn sweep(&self) {}
}
