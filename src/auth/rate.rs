//! Rates: how often an address may connect or upgrade, and how often a principal may write to the
//! control plane.
//!
//! Owns the keyed limiters, each bounded. Counts nothing that failed: guessing is the business of
//! [`super::limiter`].

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::address::limit_address;
use super::head::Head;
use super::scope::Rules;
use super::{Principal, table};

/// Most keys each limiter remembers; the keys beyond share one allowance.
const KEYS_MAX: usize = 10_000;

/// Checks of one limiter between two sweeps.
const CHECKS_PER_SWEEP: u32 = 4_096;

/// Calls of a control-plane method per minute (`protocol-facts` §4.3).
const CONTROL_WRITES: u32 = 30;

/// The same under the rules of protocol 3.
const CONTROL_WRITES_V3: u32 = 3;

/// A number of events and the time in which the whole number grows back, one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events at once.
    pub count: NonZeroU32,
    /// The time in which `count` events grow back; at least a nanosecond for each.
    pub per: Duration,
}

impl Rate {
    const fn new(count: u32, per: Duration) -> Self {
        let count = match NonZeroU32::new(count) {
            Some(count) => count,
            None => NonZeroU32::MIN,
        };
        Self { count, per }
    }

    fn quota(self) -> Quota {
        let each = self.per / self.count.get();
        let quota = Quota::with_period(each.max(Duration::from_nanos(1)));
        quota
            .expect("the period is not zero")
            .allow_burst(self.count)
    }
}

/// How often things may happen. The defaults stay out of the way of honest load and bound what a
/// storm costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// Accepted sockets of one address.
    pub connects: Rate,
    /// WebSocket upgrades of one address.
    pub upgrades: Rate,
    /// WebSocket upgrades of one address that carry an `Origin`.
    pub browser_upgrades: Rate,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self {
            connects: Rate::new(50_000, Duration::from_secs(10)),
            upgrades: Rate::new(10_000, Duration::from_secs(20)),
            browser_upgrades: Rate::new(60, Duration::from_mins(1)),
        }
    }
}

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
pub struct Rates {
    connects: Keyed<IpAddr>,
    upgrades: Keyed<IpAddr>,
    browser_upgrades: Keyed<IpAddr>,
    control_writes: Keyed<u64>,
    control_writes_v3: Keyed<u64>,
    hasher: RandomState,
}

impl Rates {
    /// Limiters with these rates.
    pub fn new(config: RateConfig) -> Self {
        let per_minute = |count| Rate::new(count, Duration::from_mins(1));
        Self {
            connects: Keyed::new(config.connects),
            upgrades: Keyed::new(config.upgrades),
            browser_upgrades: Keyed::new(config.browser_upgrades),
            control_writes: Keyed::new(per_minute(CONTROL_WRITES)),
            control_writes_v3: Keyed::new(per_minute(CONTROL_WRITES_V3)),
            hasher: RandomState::new(),
        }
    }

    /// Counts an accepted socket of this address.
    ///
    /// # Errors
    /// [`RateLimited`]: close the socket.
    pub fn connect(&self, peer: IpAddr) -> Result<(), RateLimited> {
        self.connects.check(&limit_address(peer))
    }

    /// Counts an upgrade: per client address, and once more when a browser asks, because a page can
    /// open sockets without its user.
    ///
    /// # Errors
    /// [`RateLimited`]: answer 429 and do not upgrade.
    pub fn upgrade(&self, head: &Head) -> Result<(), RateLimited> {
        let address = limit_address(head.client);
        if head.origin.is_some() {
            self.browser_upgrades.check(&address)?;
        }
        self.upgrades.check(&address)
    }

    /// Counts a call of a control-plane method, per method and per device or else address. Other
    /// methods are not counted (`protocol-facts` §4.3).
    ///
    /// # Errors
    /// [`RateLimited`]: answer `UNAVAILABLE`.
    pub fn control_write(&self, principal: &Principal, method: &str) -> Result<(), RateLimited> {
        if !table::is_control_write(method, principal.rules) {
            return Ok(());
        }
        let address = limit_address(principal.address);
        let who = principal.device.as_deref().ok_or(address);
        let key = self.hasher.hash_one((who, method));
        match principal.rules {
            Rules::V3 => self.control_writes_v3.check(&key),
            Rules::V4 => self.control_writes.check(&key),
        }
    }

    /// Forgets keys that are as good as new. Busy limiters do so by themselves; call it now and
    /// then to give memory back after a storm.
    pub fn sweep(&self) {
        for limiter in [&self.connects, &self.upgrades, &self.browser_upgrades] {
            limiter.sweep();
        }
        self.control_writes.sweep();
        self.control_writes_v3.sweep();
    }
}

/// One limiter with a state per key.
#[derive(Debug)]
struct Keyed<K: Hash + Eq + Clone> {
    rate: Rate,
    limiter: RateLimiter<K, Cells<K>, TokioClock, NoOpMiddleware<std::time::Instant>>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(rate: Rate) -> Self {
        Self::with_keys_max(rate, KEYS_MAX)
    }

    fn with_keys_max(rate: Rate, keys_max: usize) -> Self {
        Self {
            rate,
            limiter: RateLimiter::new(rate.quota(), Cells::new(keys_max), TokioClock),
            checks: AtomicU32::new(0),
        }
    }

    fn check(&self, key: &K) -> Result<(), RateLimited> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_PER_SWEEP == CHECKS_PER_SWEEP - 1 {
            self.sweep();
        }
        self.limiter.check_key(key).map_err(|until| RateLimited {
            retry_after: until.wait_time_from(TokioClock.now()),
            limit: self.rate,
        })
    }

    fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Tokio's clock, so that rates follow the time a test pauses.
#[derive(Clone, Copy, Debug)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// The state of a bounded number of keys; those that find no place share one state, so that a flood
/// of addresses costs neither memory nor the allowance of those that were there before.
#[derive(Debug)]
struct Cells<K> {
    keys_max: usize,
    cells: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    by_key: HashMap<K, Nanos>,
    shared: Option<Nanos>,
}

impl<K> Cells<K> {
    fn new(keys_max: usize) -> Self {
        Self {
            keys_max,
            cells: Mutex::new(Inner {
                by_key: HashMap::new(),
                shared: None,
            }),
        }
    }

    /// Every change is one assignment, so a poisoned lock holds nothing half done.
    fn with<T>(&self, change: impl FnOnce(&mut Inner<K>) -> T) -> T {
        change(&mut self.cells.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K: Hash + Eq + Clone> StateStore for Cells<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.with(|inner| {
            if let Some(state) = inner.by_key.get_mut(key) {
                let (answer, next) = measure(Some(*state))?;
                *state = next;
                return Ok(answer);
            }
            if inner.by_key.len() < self.keys_max {
                let (answer, next) = measure(None)?;
                inner.by_key.insert(key.clone(), next);
                return Ok(answer);
            }
            let (answer, next) = measure(inner.shared)?;
            inner.shared = Some(next);
            Ok(answer)
        })
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Cells<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.with(|inner| {
            inner.by_key.retain(|_key, state| *state > drop_below);
            inner.shared = inner.shared.filter(|state| *state > drop_below);
        });
    }

    fn shrink_to_fit(&self) {
        self.with(|inner| inner.by_key.shrink_to_fit());
    }

    fn len(&self) -> usize {
        self.with(|inner| inner.by_key.len())
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{AuthMethod, Locality, Role, ScopeSet};
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn rates(count: u32, per_secs: u64) -> Rates {
        let rate = Rate::new(count, Duration::from_secs(per_secs));
        Rates::new(RateConfig {
            connects: rate,
            upgrades: Rate::new(count * 2, Duration::from_secs(per_secs)),
            browser_upgrades: rate,
        })
    }

    fn head(peer: &str, lines: &[(&str, &str)]) -> Head {
        let mut headers = hyper::HeaderMap::new();
        for (name, value) in lines {
            let name: hyper::header::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        Head::read(
            &headers,
            peer.parse().unwrap(),
            &super::super::ProxyPolicy::default(),
        )
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_burst_and_then_its_pace() {
        let rates = rates(3, 30);
        for _ in 0..3 {
            assert_eq!(rates.connect(ip("203.0.113.9")), Ok(()));
        }
        let refused = rates.connect(ip("203.0.113.9")).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(10));
        assert_eq!(refused.limit, Rate::new(3, Duration::from_secs(30)));
        assert_eq!(rates.connect(ip("203.0.113.10")), Ok(()));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(rates.connect(ip("203.0.113.9")).is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(rates.connect(ip("203.0.113.9")), Ok(()));
        assert!(rates.connect(ip("203.0.113.9")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_has_one_allowance() {
        let rates = rates(2, 60);
        assert!(rates.connect(ip("2001:db8:1:2::1")).is_ok());
        assert!(rates.connect(ip("2001:db8:1:2::2")).is_ok());
        assert!(rates.connect(ip("2001:db8:1:2::3")).is_err());
        assert!(rates.connect(ip("2001:db8:1:3::1")).is_ok());
        assert!(rates.connect(ip("1.2.3.4")).is_ok());
        assert!(rates.connect(ip("::ffff:1.2.3.4")).is_ok());
        assert!(rates.connect(ip("1.2.3.4")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn browsers_have_an_allowance_of_their_own_inside_that_of_the_address() {
        let rates = rates(2, 60);
        let page = head("127.0.0.1:1", &[("origin", "http://localhost")]);
        let program = head("127.0.0.1:1", &[]);
        assert!(rates.upgrade(&page).is_ok());
        assert!(rates.upgrade(&page).is_ok());
        assert!(rates.upgrade(&page).is_err());
        assert!(rates.upgrade(&program).is_ok());
        assert!(rates.upgrade(&program).is_ok());
        assert!(rates.upgrade(&program).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_spoofed_forwarding_header_buys_no_allowance() {
        let rates = rates(1, 60);
        let spoof = |value: &'static str| head("203.0.113.9:1", &[("x-forwarded-for", value)]);
        assert!(rates.upgrade(&spoof("1.1.1.1")).is_ok());
        assert!(rates.upgrade(&spoof("2.2.2.2")).is_ok());
        assert!(rates.upgrade(&spoof("3.3.3.3")).is_err());
    }

    fn principal(address: &str, device: Option<&str>, rules: Rules) -> Principal {
        Principal {
            method: AuthMethod::Token,
            credential: Arc::from("token"),
            device: device.map(Arc::from),
            role: Role::Operator,
            scopes: ScopeSet::full(),
            rules,
            address: ip(address),
            locality: Locality::Remote,
            generation: 0,
        }
    }

    fn check_writes(rates: &Rates, principal: &Principal, method: &str, expected: usize) {
        let allowed = (0..100)
            .take_while(|_| rates.control_write(principal, method).is_ok())
            .count();
        assert_eq!(allowed, expected, "{method} {principal:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn control_plane_writes_are_counted_per_method_and_device_or_address() {
        let rates = Rates::new(RateConfig::default());
        let one = principal("203.0.113.9", None, Rules::V4);
        check_writes(&rates, &one, "config.apply", 30);
        check_writes(&rates, &one, "config.patch", 30);
        check_writes(&rates, &one, "config.apply", 0);
        check_writes(
            &rates,
            &principal("203.0.113.10", None, Rules::V4),
            "config.apply",
            30,
        );
        check_writes(
            &rates,
            &principal("203.0.113.9", Some("d1"), Rules::V4),
            "config.apply",
            30,
        );
        check_writes(
            &rates,
            &principal("203.0.113.11", Some("d1"), Rules::V4),
            "config.apply",
            0,
        );
        let refused = rates.control_write(&one, "config.apply").unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(2));
        assert_eq!(refused.limit, Rate::new(30, Duration::from_mins(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn methods_that_write_elsewhere_are_not_counted() {
        let rates = Rates::new(RateConfig::default());
        let one = principal("203.0.113.9", None, Rules::V4);
        for method in [
            "chat.send",
            "config.get",
            "config.set",
            "agents.create",
            "unknown",
            "",
        ] {
            check_writes(&rates, &one, method, 100);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn protocol_3_has_fewer_methods_and_fewer_calls() {
        let rates = Rates::new(RateConfig::default());
        let old = principal("203.0.113.9", None, Rules::V3);
        check_writes(&rates, &old, "config.apply", 3);
        check_writes(&rates, &old, "update.run", 3);
        check_writes(&rates, &old, "cron.add", 100);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_beyond_the_bound_share_one_allowance() {
        let limiter = Keyed::with_keys_max(Rate::new(2, Duration::from_mins(1)), 3);
        for key in 0..3 {
            assert!(limiter.check(&key).is_ok());
        }
        assert!(limiter.check(&100).is_ok());
        assert!(limiter.check(&101).is_ok());
        assert!(limiter.check(&102).is_err());
        assert!(limiter.check(&0).is_ok(), "a known key keeps its allowance");
        assert_eq!(limiter.limiter.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_forgets_only_keys_that_are_as_good_as_new() {
        let limiter = Keyed::with_keys_max(Rate::new(2, Duration::from_mins(1)), 3);
        for key in [1, 1, 1, 2] {
            limiter.check(&key).ok();
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        limiter.sweep();
        assert_eq!(limiter.limiter.len(), 1, "the key that spent its burst");
        assert!(limiter.check(&1).is_ok());
        tokio::time::advance(Duration::from_secs(200)).await;
        limiter.sweep();
        assert!(limiter.limiter.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn busy_limiters_sweep_by_themselves() {
        let limiter = Keyed::with_keys_max(Rate::new(1, Duration::from_secs(1)), KEYS_MAX);
        for key in 0..CHECKS_PER_SWEEP - 1 {
            limiter.check(&key).unwrap();
        }
        tokio::time::advance(Duration::from_mins(1)).await;
        limiter.check(&u32::MAX).unwrap();
        assert_eq!(limiter.limiter.len(), 1);
    }

    #[test]
    fn the_smallest_and_largest_rates_make_a_quota() {
        for (count, per) in [
            (1, Duration::ZERO),
            (u32::MAX, Duration::from_nanos(1)),
            (0, Duration::MAX),
        ] {
            assert_eq!(
                Rate::new(count, per).quota().burst_size().get(),
                count.max(1)
            );
        }
    }
}
