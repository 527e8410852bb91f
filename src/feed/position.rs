//! A place in the feed. Pure.

use crate::clock::Timestamp;

/// A place in the feed, by number and by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The change's number.
    pub seq: u64,
    /// When that change was numbered, by the database's clock.
    pub at: Timestamp,
}
