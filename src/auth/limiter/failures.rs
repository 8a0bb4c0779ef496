//! Failure counts, locks and delays as pure bookkeeping: callers say what time it is.
//!
//! Owns the counts of every key, at most [`KEYS_MAX`] of them. Must not know tasks, sockets or
//! secrets.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{ATTEMPTS_MAX, Attempt, Finding, Guessed, Key, LimiterConfig, Source};

/// Most keys that are remembered at once.
const KEYS_MAX: usize = 10_000;

/// The delay of the first failure of a local program; each further one doubles it.
const DELAY_FIRST: Duration = Duration::from_millis(250);

/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Failures after which the delay grows no more, so that older ones need not be remembered.
const DELAY_STEPS: usize = 6;

/// The counts of all keys.
#[derive(Debug)]
pub(super) struct Failures {
    config: LimiterConfig,
    keys_max: usize,
    entries: HashMap<Key, Entry>,
    /// Keys that count, in the order of their last failure.
    counting: BTreeMap<u64, Key>,
    /// Keys that are locked, in the order in which they are freed.
    locks: BTreeMap<(Instant, u64), Key>,
    next_turn: u64,
    /// Until when keys that are not remembered are refused, because every place is locked.
    full_until: Option<Instant>,
    local: HashMap<Guessed, Local>,
}

/// What is remembered of a key.
#[derive(Debug)]
enum Entry {
    /// It failed at these times, in the window, oldest first.
    Counting {
        failed_at: VecDeque<Instant>,
        turn: u64,
    },
    /// It is locked.
    Locked { until: Instant, turn: u64 },
}

/// What is remembered of local programs, which are delayed and never locked.
#[derive(Debug, Default)]
struct Local {
    failed_at: VecDeque<Instant>,
    held_until: Option<Instant>,
}

impl Failures {
    /// Counts nothing yet.
    pub(super) fn new(config: LimiterConfig) -> Self {
        Self {
            config: bounded(config),
            keys_max: KEYS_MAX,
            entries: HashMap::new(),
            counting: BTreeMap::new(),
            locks: BTreeMap::new(),
            next_turn: 0,
            full_until: None,
            local: HashMap::new(),
        }
    }

    /// Puts other limits in force for what comes; locks that hold keep their end.
    pub(super) fn configure(&mut self, config: LimiterConfig) {
        self.config = bounded(config);
    }

    /// Lets `verify` look at the secret unless the key is locked, and counts the result.
    pub(super) fn attempt<F: Into<Finding>>(
        &mut self,
        key: Key,
        now: Instant,
        verify: impl FnOnce() -> F,
    ) -> Attempt {
        if let Some(retry_after) = self.locked(key, now) {
            return Attempt::Locked { retry_after };
        }
        match verify().into() {
            Finding::Right => {
                self.forget(key);
                return Attempt::Passed;
            }
            Finding::Other => return Attempt::Other,
            Finding::Wrong => {}
        }
        if self.is_exempt(key) {
            self.delay(key, now);
            return Attempt::Failed { locked: false };
        }
        Attempt::Failed {
            locked: self.count(key, now),
        }
    }

    /// How long the key is still locked.
    pub(super) fn locked(&mut self, key: Key, now: Instant) -> Option<Duration> {
        if self.is_exempt(key) {
            return None;
        }
        self.expire(now);
        match self.entries.get_mut(&key) {
            Some(Entry::Locked { until, .. }) => Some(until.saturating_duration_since(now)),
            Some(Entry::Counting { failed_at, .. }) => {
                forget_before(failed_at, now, self.config.window);
                // Only when the number of attempts was lowered meanwhile.
                let spent = failed_at.len() >= count_of(self.config.attempts_max);
                spent.then(|| {
                    self.lock(key, now);
                    self.config.lockout
                })
            }
            None => self
                .full_until
                .map(|until| until.saturating_duration_since(now)),
        }
    }

    /// Until when failures of the key are held back; `None` when they may be answered.
    pub(super) fn held_until(&self, key: Key, now: Instant) -> Option<Instant> {
        if !self.is_exempt(key) {
            return None;
        }
        let local = self.local.get(&key.guessed)?;
        local.held_until.filter(|until| *until > now)
    }

    /// Whether the key is delayed instead of locked.
    fn is_exempt(&self, key: Key) -> bool {
        self.config.exempt_loopback && matches!(key.source, Source::Local)
    }

    fn delay(&mut self, key: Key, now: Instant) {
        let local = self.local.entry(key.guessed).or_default();
        forget_before(&mut local.failed_at, now, self.config.window);
        if local.failed_at.len() == DELAY_STEPS {
            local.failed_at.pop_front();
        }
        local.failed_at.push_back(now);
        let doublings = u32::try_from(local.failed_at.len() - 1).unwrap_or(u32::MAX);
        let delay = DELAY_FIRST
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(DELAY_MAX);
        local.held_until = local.held_until.max(Some(now + delay));
    }

    /// Counts a failure and says whether it locked the key.
    fn count(&mut self, key: Key, now: Instant) -> bool {
        if !self.entries.contains_key(&key) && !self.make_room() {
            self.full_until = self.locks.last_key_value().map(|((until, _), _)| *until);
            return false;
        }
        let turn = self.take_turn();
        let entry = self.entries.entry(key).or_insert_with(|| Entry::Counting {
            failed_at: VecDeque::new(),
            turn,
        });
        let Entry::Counting {
            failed_at,
            turn: at,
        } = entry
        else {
            return false;
        };
        self.counting.remove(at);
        self.counting.insert(turn, key);
        *at = turn;
        forget_before(failed_at, now, self.config.window);
        failed_at.push_back(now);
        let spent = failed_at.len() >= count_of(self.config.attempts_max);
        if spent {
            self.lock(key, now);
        }
        spent
    }

    fn lock(&mut self, key: Key, now: Instant) {
        self.forget(key);
        let turn = self.take_turn();
        let until = now + self.config.lockout;
        self.entries.insert(key, Entry::Locked { until, turn });
        self.locks.insert((until, turn), key);
    }

    fn forget(&mut self, key: Key) {
        if self.is_exempt(key)
            && let Some(local) = self.local.get_mut(&key.guessed)
        {
            local.failed_at.clear();
        }
        match self.entries.remove(&key) {
            Some(Entry::Counting { turn, .. }) => {
                self.counting.remove(&turn);
            }
            Some(Entry::Locked { until, turn }) => {
                self.locks.remove(&(until, turn));
            }
            None => {}
        }
    }

    /// Forgets the key that failed longest ago when there is no place for another one. Locked keys
    /// stay; `false` when all are.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < self.keys_max {
            return true;
        }
        let oldest = self.counting.first_key_value().map(|(_turn, key)| *key);
        oldest.is_some_and(|key| {
            self.forget(key);
            true
        })
    }

    /// Forgets locks that ended, with their history, and keys without failures in the window.
    fn expire(&mut self, now: Instant) {
        self.full_until = self.full_until.filter(|until| *until > now);
        while let Some((&(until, _), &key)) = self.locks.first_key_value()
            && until <= now
        {
            self.forget(key);
        }
        while let Some((_, &key)) = self.counting.first_key_value()
            && self.is_stale(key, now)
        {
            self.forget(key);
        }
    }

    fn is_stale(&self, key: Key, now: Instant) -> bool {
        match self.entries.get(&key) {
            Some(Entry::Counting { failed_at, .. }) => failed_at
                .back()
                .is_none_or(|last| now.saturating_duration_since(*last) >= self.config.window),
            Some(Entry::Locked { .. }) | None => false,
        }
    }

    fn take_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }
}

fn bounded(config: LimiterConfig) -> LimiterConfig {
    LimiterConfig {
        attempts_max: config.attempts_max.clamp(1, ATTEMPTS_MAX),
        ..config
    }
}

fn count_of(attempts: u32) -> usize {
    usize::try_from(attempts).unwrap_or(usize::MAX)
}

fn forget_before(failed_at: &mut VecDeque<Instant>, now: Instant, window: Duration) {
    while let Some(first) = failed_at.front()
        && now.saturating_duration_since(*first) >= window
    {
        failed_at.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn config(attempts_max: u32) -> LimiterConfig {
        LimiterConfig {
            attempts_max,
            ..LimiterConfig::default()
        }
    }

    fn key(n: u32) -> Key {
        Key {
            guessed: Guessed::SharedSecret,
            source: Source::Address(Ipv4Addr::from_bits(n).into()),
        }
    }

    fn small(attempts_max: u32, keys_max: usize) -> Failures {
        Failures {
            keys_max,
            ..Failures::new(config(attempts_max))
        }
    }

    fn fail(failures: &mut Failures, key: Key, now: Instant) -> Attempt {
        failures.attempt(key, now, || false)
    }

    const FAILED: Attempt = Attempt::Failed { locked: false };
    const LOCKS: Attempt = Attempt::Failed { locked: true };

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let mut failures = small(3, 10);
        for at in [0, 30, 60, 89] {
            // At 60 s the failure of 0 s has left, at 89 s those of 30 s and 60 s are two.
            let outcome = fail(&mut failures, key(1), start + SECOND * at);
            let expected = if at == 89 { LOCKS } else { FAILED };
            assert_eq!(outcome, expected, "{at} s");
        }
    }

    #[test]
    fn a_success_clears_the_history_of_its_key_only() {
        let now = Instant::now();
        let mut failures = small(3, 10);
        for _ in 0..2 {
            assert_eq!(fail(&mut failures, key(1), now), FAILED);
            assert_eq!(fail(&mut failures, key(2), now), FAILED);
        }
        assert_eq!(failures.attempt(key(1), now, || true), Attempt::Passed);
        assert_eq!(fail(&mut failures, key(1), now), FAILED);
        assert_eq!(fail(&mut failures, key(2), now), LOCKS);
    }

    #[test]
    fn a_lock_is_not_extended_and_its_end_clears_the_history() {
        let start = Instant::now();
        let mut failures = small(2, 10);
        assert_eq!(fail(&mut failures, key(1), start), FAILED);
        assert_eq!(fail(&mut failures, key(1), start), LOCKS);
        let later = start + SECOND * 299;
        let retry_after = SECOND;
        assert_eq!(
            fail(&mut failures, key(1), later),
            Attempt::Locked { retry_after }
        );
        let free = start + SECOND * 300;
        assert_eq!(fail(&mut failures, key(1), free), FAILED);
        assert_eq!(fail(&mut failures, key(1), free), LOCKS);
    }

    #[test]
    fn a_lowered_number_of_attempts_locks_at_the_next_check() {
        let now = Instant::now();
        let mut failures = small(10, 10);
        for _ in 0..3 {
            fail(&mut failures, key(1), now);
        }
        failures.configure(config(3));
        assert_eq!(failures.locked(key(1), now), Some(SECOND * 300));
        assert_eq!(failures.locked(key(2), now), None);
    }

    #[test]
    fn zero_and_huge_numbers_of_attempts_are_bounded() {
        let now = Instant::now();
        assert_eq!(fail(&mut small(0, 10), key(1), now), LOCKS);
        let mut failures = small(u32::MAX, 10);
        let locked = (0..2_000).position(|_| fail(&mut failures, key(1), now) == LOCKS);
        assert_eq!(locked, Some(999));
    }

    #[test]
    fn a_full_table_forgets_the_key_that_failed_longest_ago_and_keeps_locks() {
        let now = Instant::now();
        let mut failures = small(2, 3);
        for n in [1, 1, 2, 3] {
            fail(&mut failures, key(n), now);
        }
        assert_eq!(fail(&mut failures, key(4), now), FAILED);
        assert_eq!(failures.entries.len(), 3);
        assert!(failures.locked(key(1), now).is_some());
        assert_eq!(fail(&mut failures, key(3), now), LOCKS);
        assert_eq!(fail(&mut failures, key(2), now), FAILED);
    }

    #[test]
    fn a_table_full_of_locks_refuses_strangers_until_the_latest_lock_ends() {
        let start = Instant::now();
        let mut failures = small(1, 2);
        assert_eq!(fail(&mut failures, key(1), start), LOCKS);
        assert_eq!(fail(&mut failures, key(2), start + SECOND * 10), LOCKS);
        let now = start + SECOND * 20;
        // Before anybody else fails, a stranger with the right secret passes.
        assert_eq!(failures.attempt(key(3), now, || true), Attempt::Passed);
        assert_eq!(fail(&mut failures, key(3), now), FAILED);
        let retry_after = SECOND * 290;
        assert_eq!(
            failures.attempt(key(4), now, || true),
            Attempt::Locked { retry_after }
        );
        assert_eq!(failures.entries.len(), 2);
        let local = Key {
            guessed: Guessed::SharedSecret,
            source: Source::Local,
        };
        assert_eq!(failures.attempt(local, now, || true), Attempt::Passed);
        let free = start + SECOND * 310;
        assert_eq!(failures.attempt(key(4), free, || true), Attempt::Passed);
        assert!(failures.entries.is_empty());
    }

    #[test]
    fn ten_thousand_keys_are_the_most() {
        let now = Instant::now();
        let mut failures = Failures::new(config(2));
        for n in 0..12_000 {
            assert_eq!(fail(&mut failures, key(n), now), FAILED);
        }
        assert_eq!(failures.entries.len(), 10_000);
        assert_eq!(failures.counting.len(), 10_000);
        assert_eq!(fail(&mut failures, key(2_000), now), LOCKS);
        assert_eq!(fail(&mut failures, key(0), now), FAILED);
        failures.locked(key(0), now + SECOND * 60);
        assert_eq!(failures.entries.len(), 1);
    }

    #[test]
    fn without_the_exemption_local_programs_are_locked_too() {
        let now = Instant::now();
        let mut failures = Failures::new(LimiterConfig {
            exempt_loopback: false,
            ..config(2)
        });
        let local = Key {
            guessed: Guessed::SharedSecret,
            source: Source::Local,
        };
        assert_eq!(fail(&mut failures, local, now), FAILED);
        assert_eq!(failures.held_until(local, now), None);
        assert_eq!(fail(&mut failures, local, now), LOCKS);
        assert!(failures.locked(local, now).is_some());
    }

    #[test]
    fn browsers_are_never_exempt() {
        let now = Instant::now();
        let mut failures = small(2, 10);
        let browser = Key {
            guessed: Guessed::SharedSecret,
            source: Source::Browser,
        };
        assert_eq!(fail(&mut failures, browser, now), FAILED);
        assert_eq!(fail(&mut failures, browser, now), LOCKS);
    }

    /// The rules told naively: a list of keys, looked through from end to end.
    struct Model {
        config: LimiterConfig,
        keys_max: usize,
        keys: Vec<ModelKey>,
        full_until: Option<Instant>,
    }

    struct ModelKey {
        key: Key,
        failed_at: Vec<Instant>,
        locked_until: Option<Instant>,
    }

    impl Model {
        fn attempt(&mut self, key: Key, now: Instant, right: bool) -> Attempt {
            let LimiterConfig {
                attempts_max,
                window,
                lockout,
                ..
            } = self.config;
            self.keys
                .retain(|it| it.locked_until.is_none_or(|until| until > now));
            for it in &mut self.keys {
                it.failed_at.retain(|at| now - *at < window);
            }
            self.keys
                .retain(|it| it.locked_until.is_some() || !it.failed_at.is_empty());
            self.full_until = self.full_until.filter(|until| *until > now);

            let known = self.keys.iter_mut().find(|it| it.key == key);
            let locked_until = match known {
                Some(it) => {
                    if it.locked_until.is_none() && it.failed_at.len() >= count_of(attempts_max) {
                        it.locked_until = Some(now + lockout);
                    }
                    it.locked_until
                }
                None => self.full_until,
            };
            if let Some(until) = locked_until {
                let retry_after = until - now;
                return Attempt::Locked { retry_after };
            }
            if right {
                self.keys.retain(|it| it.key != key);
                return Attempt::Passed;
            }
            let mut it = match self.keys.iter().position(|it| it.key == key) {
                Some(at) => self.keys.remove(at),
                None => ModelKey {
                    key,
                    failed_at: Vec::new(),
                    locked_until: None,
                },
            };
            if self.keys.len() == self.keys_max {
                let oldest = self.keys.iter().position(|it| it.locked_until.is_none());
                let Some(oldest) = oldest else {
                    self.full_until = self.keys.iter().filter_map(|it| it.locked_until).max();
                    return Attempt::Failed { locked: false };
                };
                self.keys.remove(oldest);
            }
            it.failed_at.push(now);
            let locked = it.failed_at.len() >= count_of(attempts_max);
            it.locked_until = locked.then_some(now + lockout);
            // The newest failure last, so that the first unlocked key is the oldest.
            self.keys.push(it);
            Attempt::Failed { locked }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Attempt(u32, bool),
        Wait(u64),
        Configure(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..8_u32, prop::bool::weighted(0.1)).prop_map(|(n, right)| Step::Attempt(n, right)),
            3 => (0..40_000_u64).prop_map(Step::Wait),
            1 => (0..400_000_u64).prop_map(Step::Wait),
            1 => (1..5_u32).prop_map(Step::Configure),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn behaves_like_the_naive_rules(steps in steps(), keys_max in 1..6_usize) {
            let mut now = Instant::now();
            let mut failures = small(3, keys_max);
            let mut model = Model { config: config(3), keys_max, keys: Vec::new(), full_until: None };
            for step in steps {
                match step {
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::Configure(attempts_max) => {
                        failures.configure(config(attempts_max));
                        model.config = config(attempts_max);
                    }
                    Step::Attempt(n, right) => {
                        let mut looked = false;
                        let found = failures.attempt(key(n), now, || { looked = true; right });
                        prop_assert_eq!(found, model.attempt(key(n), now, right));
                        prop_assert_eq!(looked, !matches!(found, Attempt::Locked { .. }));
                    }
                }
                prop_assert!(failures.entries.len() <= keys_max);
                prop_assert_eq!(
                    failures.entries.len(),
                    failures.counting.len() + failures.locks.len()
                );
            }
        }
    }
}
