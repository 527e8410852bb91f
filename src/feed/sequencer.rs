//! Gives numbers to what is committed.
//!
//! # Why after the commit
//! Ids are given when a row is inserted, rows become visible when they are committed: whoever tails ids loses
//! those that are committed late. So a row is numbered when it can be seen, by whichever instance comes first:
//! `sql/feed/sequence.sql` locks the one row of `feed_head` (NOWAIT: somebody else is at it, which is as
//! good), reads the rows without a number as a plain consistent read, numbers them, moves the head, commits.
//!
//! - The read is a snapshot taken under the lock: it holds only what is committed, and with an effect always
//!   its cause. (A locking read, SKIP LOCKED included, is no snapshot, and numbered effects before causes.) A
//!   SELECT of its own is one, and under READ COMMITTED one that is taken after the lock; within the UPDATE it
//!   would lock what it reads.
//! - Rows are written by primary key, one by one: what was read comes back as a JSON table, and FORCE INDEX keeps the
//!   optimizer from scanning. So no row in flight is touched. An INSERT … ON DUPLICATE KEY UPDATE would do that
//!   as well, but holds the table's AUTO_INCREMENT lock until its end (MariaDB, and MySQL before 8): every
//!   writer waited for it, and posted at half the speed.
//! - Times of one run are a microsecond apart and never fall behind: `GREATEST(NOW(6), last + 1 µs)`.
//!
//! # Why one packet
//! All of it is one constant text of seven statements, sent at once: the server goes through them without
//! asking back. There is no client round trip while the head is locked, so an instance that is frozen, slow
//! or cut off cannot hold it, and there is no lock to take over; one that dies half-way is undone by its
//! server. Nothing depends on `wait_timeout`, `idle_transaction_timeout` or their vendors. A stored procedure
//! would do the same but need CREATE ROUTINE; an optimistic head (`UPDATE … WHERE seq = ?`) reads without the
//! lock, so what it read may have been numbered by somebody else when it writes.
//!
//! When the NOWAIT is refused the rest of the packet is not run; the open transaction holds nothing, and the
//! next packet's START TRANSACTION ends it.

use crate::db::Error;

use super::metrics::FeedMetrics;
use super::store::{SEQUENCE_ROWS_MAX, Session};

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything that was committed when it was asked for has its number.
    All,
    /// There is more than one run numbers.
    Part,
    /// Somebody else has the lock.
    Contended,
}

/// Numbers what is committed.
///
/// # Errors
/// See [`Error`]; the session is out of step then.
pub async fn run(session: &mut Session, metrics: &FeedMetrics) -> Result<Run, Error> {
    let Some(numbered) = session.sequence().await? else {
        metrics.sequencer_contended();
        return Ok(Run::Contended);
    };
    metrics.sequenced(numbered);
    Ok(if numbered < SEQUENCE_ROWS_MAX { Run::All } else { Run::Part })
}
