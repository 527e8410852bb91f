//! Slows down the guessing of one account's password from one address.
//!
//! Only failures count, and only for the pair of name and address: a stranger cannot lock a user out, and a
//! load test or an office behind one address is not held up. Each instance counts for itself. The work that
//! guessing causes is bounded anyway by the queue of passwords to hash.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one name from one address in one [`WINDOW`]; beyond it 429.
pub const FAILURES_MAX: u32 = 20;
/// How long failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// Pairs remembered; beyond it those that no longer count are forgotten, then all.
const PAIRS_MAX: usize = 65_536;

/// The failures of late.
pub struct Attempts {
    /// Pairs are kept as hashes with a key of this process: nobody can make two of them collide.
    hasher: RandomState,
    failures: Mutex<HashMap<u64, (Instant, u32)>>,
}

impl Attempts {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { hasher: RandomState::new(), failures: Mutex::new(HashMap::new()) }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<u64, (Instant, u32)>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another attempt is looked at.
    pub fn may_try(&self, name: &str, client: IpAddr) -> bool {
        let pair = self.hasher.hash_one((name, client));
        self.failures()
            .get(&pair)
            .is_none_or(|(begun, count)| begun.elapsed() > WINDOW || *count < FAILURES_MAX)
    }

    /// Counts a failure.
    pub fn failed(&self, name: &str, client: IpAddr) {
        let pair = self.hasher.hash_one((name, client));
        let mut failures = self.failures();
        if failures.len() >= PAIRS_MAX {
            failures.retain(|_, (begun, _)| begun.elapsed() <= WINDOW);
            if failures.len() >= PAIRS_MAX {
                failures.clear();
            }
        }
        let entry = failures.entry(pair).or_insert((Instant::now(), 0));
        if entry.0.elapsed() > WINDOW {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_is_slowed_down_and_no_other() {
        let attempts = Attempts::new();
        let here: IpAddr = [127, 0, 0, 1].into();
        for _ in 0..FAILURES_MAX {
            assert!(attempts.may_try("ann", here));
            attempts.failed("ann", here);
        }
        assert!(!attempts.may_try("ann", here));
        assert!(attempts.may_try("bob", here));
        assert!(attempts.may_try("ann", [127, 0, 0, 2].into()));
    }
}
