//! Maps by id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Hashes ids: they are ours, so nobody can choose them to collide.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        let mixed = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A map by id.
pub type IdMap<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};

    use super::*;

    /// How many of the 4,096 places of a table these keys get, and how many hashes they have.
    fn spread<K: Hash>(keys: impl Iterator<Item = K>) -> (usize, usize) {
        let build = BuildHasherDefault::<IdHasher>::default();
        let hashes: HashSet<u64> = keys.map(|key| build.hash_one(key)).collect();
        let places: HashSet<u64> = hashes.iter().map(|hash| hash % 4_096).collect();
        (places.len(), hashes.len())
    }

    #[test]
    fn ids_have_hashes_of_their_own_over_the_whole_table() {
        for step in [1, 2, 10, 4_096] {
            let (places, hashes) = spread((0..4_096_u64).map(|id| id * step));
            assert!(places > 2_048 && hashes == 4_096, "steps of {step}: {places}, {hashes}");
        }
        assert!(spread((0..4_096_u32).map(|id| id.to_be_bytes())).1 == 4_096, "and so do bytes");
    }
}
