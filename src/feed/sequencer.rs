//! Gives numbers to what is committed.
//!
//! # Why after the commit
//! Ids are given when a row is inserted, rows become visible when they are committed: whoever tails ids loses
//! those that are committed late. So a row is numbered when it can be seen, by whichever instance comes first. The
//! tail has read the head and, in the same snapshot, what the outbox holds; `sql/feed/sequence.sql` moves the
//! head on if it still is where it was, and then those rows from `outbox` to `events`.
//!
//! - The snapshot holds only what is committed, and with an effect always its cause. (A locking read, SKIP LOCKED
//!   included, is no snapshot, and numbered effects before causes.) The head has not moved since, so nobody
//!   numbered anything, and all of the rows are there still.
//! - Who finds the head moved on does nothing: the time of the numbers, `@feed_at`, is NULL then. Every statement
//!   succeeds all the same, so that the packet always gets to its COMMIT.
//! - No row in flight is touched, and so none is waited for: INSERT … SELECT reads a plain snapshot under READ
//!   COMMITTED, and what was inserted is deleted from the outbox by primary key, one by one. (The ids come as
//!   JSON_TABLE, which counts them as well; a window function over the outbox costs the database twice as much. What
//!   is in the rows stays there: a newer version may record what this one cannot name.)
//! - `events` has no AUTO_INCREMENT, whose lock INSERT … SELECT keeps until its end (MariaDB, and MySQL before 8);
//!   the outbox has, and is inserted into by VALUES only. So no writer waits for a run.
//! - Times of one run are a microsecond apart and never fall behind: `GREATEST(NOW(6), last + 1 µs)`.
//! - The times are taken after the snapshot: what a snapshot of anybody's lacks gets a later time than that
//!   snapshot's. The tail's freshness rests on it.
//!
//! # Why one packet
//! All of it is one text, sent at once: the server goes through it without asking back. There is no client round
//! trip while the head is locked, so an instance that is frozen, slow or cut off cannot hold it, and there is
//! no lock to take over; one that dies half-way is undone by its server, as is one that drops its connection
//! for an error. Nothing depends on `wait_timeout`, `idle_transaction_timeout` or their vendors. A stored
//! procedure would do the same but need CREATE ROUTINE.

use crate::clock::Timestamp;
use crate::db::Error;

use super::event::{Change, Event};
use super::metrics::FeedMetrics;
use super::store::Session;

/// Numbers `outbox`, which was read when the head of the feed `epoch` was `head`, and empties it; nothing when
/// somebody else was faster.
///
/// # Errors
/// See [`Error`]; the session is out of step then.
pub async fn run(
    session: &mut Session,
    (epoch, head): (u64, u64),
    outbox: &mut Vec<Change>,
    metrics: &FeedMetrics,
) -> Result<Vec<Event>, Error> {
    let ids: Vec<u64> = outbox.iter().map(|change| change.id).collect();
    let Some(last_at) = session.sequence(epoch, head, &ids).await? else {
        metrics.sequencer_contended();
        return Ok(Vec::new());
    };
    metrics.sequenced(ids.len() as u64);
    let first_at = last_at.micros() - (ids.len() as i64 - 1);
    let numbered = (1..).zip(first_at..).zip(outbox.drain(..));
    Ok(numbered
        .map(|((place, at), change)| Event { seq: head + place, at: Timestamp::from_micros(at), change })
        .collect())
}
