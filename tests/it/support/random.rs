//! Random numbers that can be had again: the seed is printed when the test fails.

use std::ops::RangeBounds;
use std::time::Duration;

/// A seeded generator. `TEST_SEED=n cargo test name` repeats a run.
pub struct Random {
    seed: u64,
    numbers: fastrand::Rng,
}

impl Random {
    /// Seeded from `TEST_SEED`, or differently each time.
    pub fn new() -> Random {
        let given = std::env::var("TEST_SEED").ok();
        Random::seeded(
            given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("TEST_SEED is a number")),
        )
    }

    pub fn seeded(seed: u64) -> Random {
        Random { seed, numbers: fastrand::Rng::with_seed(seed) }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn number(&mut self, range: impl RangeBounds<u64>) -> u64 {
        self.numbers.u64(range)
    }

    /// A duration of whole microseconds from `least` to `most`, both included.
    pub fn duration(&mut self, least: Duration, most: Duration) -> Duration {
        let micros = |length: Duration| u64::try_from(length.as_micros()).expect("a short time");
        Duration::from_micros(self.number(micros(least)..=micros(most)))
    }

    /// True once in `one_in` calls on average.
    pub fn chance(&mut self, one_in: u64) -> bool {
        self.number(0..one_in) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.numbers.usize(0..from.len())]
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.numbers.shuffle(items);
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.numbers.fill(&mut bytes);
        bytes
    }

    /// Lower-case letters and digits: a name that nobody else in this schema has.
    pub fn name(&mut self, count: usize) -> String {
        let mut sign =
            || char::from(*b"abcdefghijklmnopqrstuvwxyz0123456789".get(self.numbers.usize(0..36)).unwrap());
        (0..count).map(|_| sign()).collect()
    }
}

impl Default for Random {
    fn default() -> Random {
        Random::new()
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("repeat with TEST_SEED={}", self.seed);
        }
    }
}
