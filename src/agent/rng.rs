//! Seeded numbers: the same seed gives the same sequence on every machine.

/// A small generator (splitmix64); not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// A sequence of its own for each `ordinal` of a seed.
    pub(super) fn new(seed: u64, ordinal: u64) -> Self {
        let mut first = Self(seed);
        Self(first.next() ^ ordinal.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    /// Any number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn upper(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)
    }

    /// A number from 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(self.upper()) / 4_294_967_296.0
    }

    /// One of `items`; `None` when there is none.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        let at = (u64::from(self.upper()).saturating_mul(count)) >> 32;
        usize::try_from(at).ok().and_then(|at| items.get(at))
    }

    /// A number around 0 as a bell curve spreads it, with standard deviation 1.
    pub(super) fn bell(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let take = |seed, ordinal| {
            let mut rng = Rng::new(seed, ordinal);
            [rng.next(), rng.next(), rng.next()]
        };
        assert_eq!(take(1, 0), take(1, 0));
        assert_ne!(take(1, 0), take(2, 0));
        assert_ne!(take(1, 0), take(1, 1));
    }

    #[test]
    fn shares_and_picks_stay_in_range_and_spread() {
        let mut rng = Rng::new(0, 0);
        let items = [0_usize, 1, 2];
        let mut seen = [0; 3];
        let mut low = 0;
        for _ in 0..3_000 {
            let unit = rng.unit();
            assert!((0.0..1.0).contains(&unit));
            low += usize::from(unit < 0.5);
            seen[*rng.pick(&items).unwrap()] += 1;
        }
        assert!((1_300..1_700).contains(&low), "{low}");
        assert!(seen.iter().all(|n| (800..1_200).contains(n)), "{seen:?}");
        assert_eq!(rng.pick::<u8>(&[]), None);
    }
}
