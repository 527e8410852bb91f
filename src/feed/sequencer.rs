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
//! - What the packet decides by is that variable, set by a locking read of the head, and not `ROW_COUNT()` after an
//!   UPDATE: where the client is gone when the server sends the UPDATE's reply, that number is another one, and the
//!   packet still goes on to its COMMIT. Then the head moved on over changes that nobody had numbered.
//! - The head is told from one of another history (a restored backup) by its time: see [`super::tail`].
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

use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::db::Error;

use super::event::{Change, Event};
use super::metrics::FeedMetrics;
use super::position::Position;
use super::store::Session;

/// Numbers `outbox`, which was read when the feed was at `head`, and empties it; nothing when somebody else was
/// faster.
///
/// # Errors
/// See [`Error`]; the session is out of step then.
pub async fn run(
    session: &mut Session,
    head: Position,
    outbox: &mut Vec<Change>,
    metrics: &FeedMetrics,
) -> Result<Vec<Event>, Error> {
    let ids: Vec<u64> = outbox.iter().map(|change| change.id).collect();
    let Some(last_at) = session.sequence(head, &ids).await? else {
        metrics.sequencer_contended();
        return Ok(Vec::new());
    };
    metrics.sequenced(ids.len() as u64);
    let first_at = last_at.micros() - (ids.len() as i64 - 1);
    let numbered = (1..).zip(first_at..).zip(outbox.drain(..));
    Ok(numbered
        .map(|((place, at), change)| Event { seq: head.seq + place, at: Timestamp::from_micros(at), change })
        .collect())
}

/// Others who numbered something so lately are about to number what comes next: about as long as a round and the rest
/// after it take under load.
const FOLLOW_MS_MAX: u64 = 30;
/// Longest that something is left to others where nobody waits for it: half of [`super::FRESH_MS_MAX`].
const LEFT_MS_MAX: u64 = 50;

/// Whose turn it is to number. Anyone may; but the more try at once, the more try for nothing.
///
/// Who numbers goes on, takes all that there is each time, and ends when it sees others' numbers. Who sees others'
/// numbers follows them, as long as they come. Else whoever has a user who waits begins: one who wrote here, or whose
/// poll cannot be answered yet. What nobody waits for, or whose instance died, is anyone's after a while.
#[derive(Debug, Default)]
pub struct Turn {
    is_ours: bool,
    /// When a read that showed others' numbers was asked for, the last time.
    others: Option<Instant>,
}

impl Turn {
    /// Others' numbers were seen by a read asked for at `asked`.
    pub fn end(&mut self, asked: Instant) {
        *self = Self { is_ours: false, others: Some(asked) };
    }

    /// Whether it would be ours if anything lacked a number.
    pub fn is_ours(&self, now: Instant, is_wanted: bool) -> bool {
        let follows = self.others.is_some_and(|at| now - at < Duration::from_millis(FOLLOW_MS_MAX));
        self.is_ours || (is_wanted && !follows)
    }

    /// Something lacks its number, known since `left_since` if that is before `now`: whether to number it. If so, the
    /// turn is ours from now on.
    pub fn take(&mut self, now: Instant, is_wanted: bool, left_since: Option<Instant>) -> bool {
        let is_left = left_since.is_some_and(|since| now - since > Duration::from_millis(LEFT_MS_MAX));
        self.is_ours = is_left || self.is_ours(now, is_wanted);
        self.is_ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_and_the_others_follow() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let (mut one, mut two) = (Turn::default(), Turn::default());
        assert!(!one.take(at(0), false, None), "nobody waits");
        assert!(one.take(at(1), true, None), "somebody does");
        assert!(one.take(at(2), false, None), "and it goes on");
        two.end(at(3));
        for ms in 4..40 {
            two.end(at(ms));
            assert!(!two.take(at(ms + 1), true, Some(at(0))), "others are at it");
        }
        assert!(!two.is_ours(at(68), true), "they may be yet");
        assert!(two.take(at(69), true, None), "they stopped");
        one.end(at(70));
        assert!(!one.take(at(71), true, None), "one in place of the other");
    }

    #[test]
    fn what_is_left_is_anyones() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut turn = Turn::default();
        assert!(!turn.take(at(50), false, Some(at(0))));
        assert!(turn.take(at(51), false, Some(at(0))));
        turn.end(at(60));
        assert!(
            turn.take(at(61), false, Some(at(10))),
            "though others are at it: it is not among what they took"
        );
    }
}
