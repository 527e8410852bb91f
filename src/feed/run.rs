//! Runs: changes that were numbered in one go, as one row each. What their text says is the service's. The leader writes it,
//! once, and everybody reads it, so that all instances have the same bytes of the same moment. Pure.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::cursor::Position;
use super::item::Item;

/// Bytes of a run's text, by an estimate that is never too low. It is sent as hexadecimal digits, and a packet has 16 MiB.
pub const RUN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Changes that are read of the outbox at most, and so of one run.
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
    pub rows: Rows,
    /// What else a run is made of.
    pub state: S,
}

/// The outbox's rows, of one snapshot.
#[derive(Debug, Default)]
pub struct Rows {
    /// The ids of the first, in order.
    pub ids: Vec<u64>,
    /// The last one's, whether it is among them or not.
    pub newest: Option<u64>,
}

/// Changes that have no number, of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unnumbered {
    /// The first one's id, or less.
    pub oldest: u64,
    /// The last one's.
    pub newest: u64,
}

impl Rows {
    /// Whether all were read.
    pub fn is_whole(&self) -> bool {
        self.ids.last().copied() == self.newest
    }

    /// What there is when the first `count` have numbers.
    pub fn left_after(&self, count: usize) -> Option<Unnumbered> {
        let unread = || self.ids.last().map(|last| last + 1);
        let (oldest, newest) = (self.ids.get(count).copied().or_else(unread)?, self.newest?);
        (oldest <= newest).then_some(Unnumbered { oldest, newest })
    }
}

/// The group of the run that begins with `first`: [`Item::group`]. `open` is that of the run before, where that was cut.
pub fn group(open: &mut Option<u64>, first: u64, is_cut: bool) -> u64 {
    let group = open.unwrap_or(first);
    *open = is_cut.then_some(group);
    group
}

/// How many changes are read of the outbox for the next run, where so many of those that were `read` had room in this one. Or
/// with a backlog of large texts each run would take reading hundreds of which it has room for a few: the longer the backlog,
/// the slower it would get shorter.
pub fn read_next(changes_max: usize, read: usize, had_room: usize) -> usize {
    let next = if had_room < read { 2 * had_room } else { 2 * changes_max };
    next.min(RUN_ITEMS_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_known_though_not_all_was_read() {
        let rows = |newest| Rows { ids: vec![3, 5, 8], newest: Some(newest) };
        let left = |newest, count| rows(newest).left_after(count).map(|left| (left.oldest, left.newest));
        assert_eq!((left(8, 2), left(8, 3), rows(8).is_whole()), (Some((8, 8)), None, true));
        assert_eq!((left(20, 1), left(20, 3), rows(20).is_whole()), (Some((5, 20)), Some((9, 20)), false));
        assert!(Rows::default().is_whole() && Rows::default().left_after(0).is_none());
    }

    #[test]
    fn no_more_is_read_than_twice_what_has_room() {
        assert_eq!(read_next(RUN_ITEMS_MAX, 200, 5), 10);
        assert_eq!(read_next(10, 10, 1), 2);
        assert_eq!((read_next(10, 10, 10), read_next(10, 3, 3)), (20, 20), "there was room for more");
        assert_eq!(read_next(RUN_ITEMS_MAX, 500, 400), RUN_ITEMS_MAX);
    }
}
