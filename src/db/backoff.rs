//! Pauses between attempts at what just failed: longer with each failure, never in step with other instances'.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How attempts at one thing went of late.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    shortest_ms: u64,
    longest_ms: u64,
    failures: u32,
}

impl Backoff {
    /// Pauses of `shortest_ms` at first and `longest_ms` at last.
    #[must_use]
    pub const fn new(shortest_ms: u64, longest_ms: u64) -> Self {
        Self { shortest_ms, longest_ms, failures: 0 }
    }

    /// Notes a failure; the pause before the next attempt. Half of it is fixed and half random, so that those who
    /// failed together do not come back together.
    pub fn failed(&mut self) -> Duration {
        let doubled = self.shortest_ms << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let longest = doubled.min(self.longest_ms);
        Duration::from_millis(longest - longest / 2 + random_below(longest / 2))
    }

    /// Notes that it went well; whether it had failed before.
    pub const fn succeeded(&mut self) -> bool {
        std::mem::replace(&mut self.failures, 0) > 0
    }

    /// Failures since it last went well.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// A random number below `limit`, 0 for a limit of 0. Good enough to spread things out in time; no secret.
pub fn random_below(limit: u64) -> u64 {
    // The standard library takes its keys from the operating system once for each thread, then counts them up.
    RandomState::new().hash_one(0) % limit.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut backoff = Backoff::new(50, 1_000);
        for longest in [50, 100, 200, 400, 800, 1_000, 1_000] {
            let pause = u64::try_from(backoff.failed().as_millis()).unwrap();
            assert!(pause >= longest / 2 && pause <= longest, "{pause} of {longest}");
        }
        assert_eq!(backoff.failures(), 7);
        assert!(backoff.succeeded() && !backoff.succeeded());
        assert!(backoff.failed() <= Duration::from_millis(50), "from the beginning");
        for _ in 0..100 {
            backoff.failed();
        }
    }
}
