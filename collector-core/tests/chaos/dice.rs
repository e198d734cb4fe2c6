//! Chance that can be repeated.

use std::time::Duration;

/// A small generator of pseudo-random numbers (splitmix64): the same seed, the same case.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below a usize")
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn millis(&mut self, bound: usize) -> Duration {
        Duration::from_millis(self.below(bound) as u64)
    }

    /// Dice of its own, for a part that is thrown independently.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }
}

/// Runs a case for each of so many seeds, each in paused time; the first one that fails is named.
pub(crate) fn each_seed<F: Future<Output = ()>>(seeds: u64, case: impl Fn(u64) -> F) {
    let only = std::env::var("COLLECTOR_CHAOS_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let told = Told(seed);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(case(seed));
        std::mem::forget(told);
    }
}

/// Names the seed when the case ends by a panic.
struct Told(u64);

impl Drop for Told {
    #[allow(clippy::print_stderr, reason = "a test tells how to repeat it")]
    fn drop(&mut self) {
        eprintln!("failed with COLLECTOR_CHAOS_SEED={}", self.0);
    }
}
