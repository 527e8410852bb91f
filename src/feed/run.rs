//! Runs: changes that were numbered in one go, as one row each. What their text says is the service's. The leader writes it,
//! once, and everybody reads it, so that all instances have the same bytes of the same moment. Pure.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::cursor::Position;
use super::item::Item;

/// Bytes of a run's text, by an estimate that is never too low. It is sent as hexadecimal digits, and a packet has 16 MiB.
pub const RUN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Changes that one snapshot of the outbox shows at most, and so of one run.
pub const RUN_ITEMS_MAX: usize = 500;

/// A run's row.
#[derive(Clone, Debug)]
pub struct Run {
    /// The number and the time of its last change.
    pub last: Position,
    /// The number of its first.
    pub first: u64,
    /// The time of the change before that.
    pub after_at: Timestamp,
    /// Bytes of all runs' texts up to this one.
    pub bytes: u64,
    /// The column `runs.body`: what the domain encoded of the run's changes.
    pub body: Bytes,
}

/// What a run's text says.
#[derive(Debug)]
pub struct Decoded<P> {
    /// There was more without a number than it took: the next run goes on with that.
    pub is_cut: bool,
    /// For each change its outbox row's id and what it says.
    pub items: Vec<(u64, P)>,
}

/// What the outbox holds, of one snapshot with the state after exactly that.
#[derive(Debug)]
pub struct Outbox<S> {
    pub head: Position,
    /// The database's.
    pub clock: Timestamp,
    /// The rows' ids, in order: the first [`RUN_ITEMS_MAX`] there are.
    pub ids: Vec<u64>,
    /// What else a run is made of.
    pub state: S,
}

/// The group of the run that begins with `first`: [`Item::group`]. `open` is that of the run before, where that was cut.
pub fn group(open: &mut Option<u64>, first: u64, is_cut: bool) -> u64 {
    let group = open.unwrap_or(first);
    *open = is_cut.then_some(group);
    group
}

impl Run {
    /// How many changes it has.
    pub fn count(&self) -> u64 {
        self.last.seq + 1 - self.first
    }

    /// Its changes with their places: those of one run are a microsecond apart. `None` where they are not as many as it
    /// should have. `group` is the first change that was numbered from the same snapshot.
    pub fn items<P>(&self, payloads: Vec<(u64, P)>, group: u64) -> Option<Vec<Arc<Item<P>>>> {
        let first_at = self.last.at.micros() - (payloads.len() as i64 - 1);
        let is_whole = payloads.len() as u64 == self.count();
        let items = (self.first..).zip(first_at..).zip(payloads).map(|((seq, at), (id, payload))| {
            Arc::new(Item { seq, id, at: Timestamp::from_micros(at), group, payload })
        });
        is_whole.then(|| items.collect())
    }
}
