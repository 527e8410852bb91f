//! Memory that all clients share, of which an address may have as much as it leaves to others.
//!
//! So one address alone gets half, two get a third each, and whoever comes next finds as much free as any of them has.
//! It needs no share to be set, and keeps none for who does not come. Switches share their buffers among ports like this
//! (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Network;

/// So many bytes, and who has how many of them.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    /// Those that have any.
    by_network: HashMap<Network, usize>,
}

/// The bytes that one use of the memory has, given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    whose: Network,
    bytes: usize,
}

impl Budget {
    /// All of `bytes_max` is free.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, taken: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that somebody has.
    pub fn taken(&self) -> usize {
        self.lock().bytes
    }

    /// A share of no bytes yet.
    pub fn share(self: &Arc<Self>, whose: Network) -> Share {
        Share { budget: self.clone(), whose, bytes: 0 }
    }
}

impl Share {
    /// Takes `bytes` more. Nothing, where all shares of the address would then have more than is left.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> Option<()> {
        let mut taken = self.budget.lock();
        let own = taken.by_network.get(&self.whose).copied().unwrap_or(0).saturating_add(bytes);
        let all = taken.bytes.saturating_add(bytes);
        if own > self.budget.bytes_max.saturating_sub(all) {
            return None;
        }
        if bytes > 0 {
            taken.bytes = all;
            taken.by_network.insert(self.whose, own);
            self.bytes += bytes;
        }
        Some(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.budget.lock();
        taken.bytes -= self.bytes;
        if let Some(own) = taken.by_network.get_mut(&self.whose) {
            *own -= self.bytes;
            if *own == 0 {
                taken.by_network.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair::address;

    const MAX: usize = 600;

    fn take(budget: &Arc<Budget>, last: u8, bytes: usize) -> Option<Share> {
        let mut share = budget.share(address(last));
        share.grow(bytes).map(|()| share)
    }

    #[test]
    fn an_address_has_at_most_what_it_leaves() {
        let budget = Budget::new(MAX);
        let greedy: Vec<_> = (0..MAX).map_while(|_| take(&budget, 1, 10)).collect();
        assert_eq!((greedy.len() * 10, budget.taken()), (MAX / 2, MAX / 2));
        // The next one finds as much, up to where all have the same and leave the same.
        let second: Vec<_> = (0..MAX).map_while(|_| take(&budget, 2, 10)).collect();
        assert_eq!(second.len() * 10, MAX / 4);
        assert!(take(&budget, 1, 10).is_none());
        assert!(take(&budget, 3, 10).is_some());
        drop(greedy);
        assert_eq!(budget.taken(), MAX / 4);
        assert!(take(&budget, 1, 10).is_some());
        drop(second);
        assert_eq!(budget.taken(), 0);
        assert!(budget.lock().by_network.is_empty());
    }

    #[test]
    fn a_share_grows_until_there_is_no_more_and_keeps_what_it_has() {
        let budget = Budget::new(MAX);
        let mut share = take(&budget, 1, 0).unwrap();
        assert!(budget.lock().by_network.is_empty());
        assert_eq!([200, 100, 1].map(|bytes| share.grow(bytes).is_some()), [true, true, false]);
        assert!(share.grow(usize::MAX).is_none());
        assert_eq!(budget.taken(), 300);
        drop(share);
        assert_eq!(budget.taken(), 0);
        assert!(take(&budget, 1, MAX / 2 + 1).is_none());
    }
}
