//! When the tokens of a simulated answer are due.
//!
//! Owns one absolute timeline per run: a token that is late does not delay those after it.

use std::time::Duration;

use tokio::time::Instant;

use super::config::{Jitter, SimConfig};
use crate::agent::rng::Rng;

/// Bounds of one interval, as shares of the mean.
const SHARE_MIN: f64 = 0.3;
const SHARE_MAX: f64 = 1.7;

/// Standard deviation of `normal`, as a share of the mean.
const NORMAL_SPREAD: f64 = 0.3;

/// Shape of `lognormal`.
const LOGNORMAL_SIGMA: f64 = 0.5;

/// The timeline of one answer.
#[derive(Debug)]
pub(super) struct Pace {
    /// When what was scheduled last is due; `None` as long as nothing takes time.
    due: Option<Instant>,
    inter_token: Duration,
    jitter: Jitter,
    rng: Rng,
    is_first: bool,
}

impl Pace {
    pub(super) fn new(config: &SimConfig, rng: Rng) -> Self {
        let takes_time = !config.ttft.is_zero() || !config.inter_token.is_zero();
        Self {
            due: takes_time.then(|| Instant::now() + config.ttft),
            inter_token: config.inter_token,
            jitter: config.jitter,
            rng,
            is_first: true,
        }
    }

    /// Schedules one more token.
    pub(super) fn token(&mut self) {
        if std::mem::take(&mut self.is_first) || self.inter_token.is_zero() {
            return;
        }
        let share = match self.jitter {
            Jitter::None => return self.wait(self.inter_token),
            Jitter::Normal => 1.0 + NORMAL_SPREAD * self.rng.bell(),
            Jitter::Lognormal => {
                (LOGNORMAL_SIGMA * self.rng.bell() - LOGNORMAL_SIGMA * LOGNORMAL_SIGMA / 2.0).exp()
            }
        };
        let share = share.clamp(SHARE_MIN, SHARE_MAX);
        self.wait(self.inter_token.mul_f64(share));
    }

    /// Schedules a silence.
    pub(super) fn wait(&mut self, wait: Duration) {
        let due = self.due.unwrap_or_else(Instant::now);
        self.due = Some(due.checked_add(wait).unwrap_or(due));
    }

    /// Changes the mean time between two tokens from here on.
    pub(super) fn set_inter_token(&mut self, inter_token: Duration) {
        self.inter_token = inter_token;
        self.due.get_or_insert_with(Instant::now);
    }

    /// When what was scheduled last is due, if it is not due already.
    pub(super) fn pending_until(&self) -> Option<Instant> {
        self.due.filter(|due| *due > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::sim::SimMode;

    fn config(jitter: Jitter) -> SimConfig {
        SimConfig {
            ttft: Duration::from_millis(300),
            inter_token: Duration::from_millis(20),
            jitter,
            ..SimConfig::new(SimMode::Lorem)
        }
    }

    fn offsets(config: &SimConfig, seed: u64) -> Vec<Duration> {
        let start = Instant::now();
        let mut pace = Pace::new(config, Rng::new(seed, 0));
        (0..500)
            .map(|_| {
                pace.token();
                pace.due.unwrap() - start
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn without_jitter_tokens_are_due_on_a_grid() {
        let offsets = offsets(&config(Jitter::None), 0);
        assert_eq!(offsets[0], Duration::from_millis(300));
        assert_eq!(offsets[1], Duration::from_millis(320));
        assert_eq!(offsets[499], Duration::from_millis(300 + 499 * 20));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_keeps_the_mean_the_bounds_and_the_seed() {
        for jitter in [Jitter::Normal, Jitter::Lognormal] {
            let first = offsets(&config(jitter), 1);
            let gaps: Vec<_> = first
                .windows(2)
                .map(|w| w[1].abs_diff(w[0]).as_secs_f64())
                .collect();
            assert!(gaps.iter().all(|gap| (0.006..=0.034_001).contains(gap)));
            assert!(gaps.iter().any(|gap| (gap - gaps[0]).abs() > 0.001));
            let count = f64::from(u32::try_from(gaps.len()).unwrap());
            let mean = gaps.iter().sum::<f64>() / count;
            assert!((0.017..0.022).contains(&mean), "{jitter:?}: {mean}");
            assert_eq!(first, offsets(&config(jitter), 1));
            assert_ne!(first, offsets(&config(jitter), 2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_no_time_has_no_timeline() {
        let mut pace = Pace::new(&SimConfig::new(SimMode::Echo), Rng::new(0, 0));
        pace.token();
        pace.token();
        assert_eq!(pace.due, None);
        pace.wait(Duration::from_millis(5));
        assert!(pace.pending_until().is_some());
        tokio::time::advance(Duration::from_millis(6)).await;
        assert_eq!(pace.pending_until(), None);
    }
}
