//! Gives numbers to what is committed.
//!
//! # Why after the commit
//! Ids are given when a row is inserted, rows become visible when they are committed: whoever tails ids loses
//! those that are committed late. So a row is numbered when it can be seen, by whichever instance comes first. The
//! tail has read the head and, in the same snapshot, what the outbox holds and the state after exactly that; from it the
//! run is made ([`super::run`]). `sql/feed/sequence.sql` stores the run, takes the rows out of the outbox and moves the
//! head on, if that still is where it was.
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
//! - No row in flight is touched, and so none is waited for: what was numbered is deleted from the outbox by primary key,
//!   one by one (the ids come as JSON_TABLE).
//! - The outbox has an AUTO_INCREMENT and is inserted into by VALUES only, `runs` has none. So no writer waits for a run.
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

use crate::db::Error;

use super::assembly::{Assembly, fitting};
use super::metrics::FeedMetrics;
use super::position::Position;
use super::run::{Run, encode};
use super::store::{OUTBOX_ROWS_MAX, Outbox, Session};

/// Numbers what `found` shows, as far as it fits into one run, and makes that run; `None` when somebody else was faster.
/// The runs before it took `bytes_before`.
///
/// # Errors
/// See [`Error`]; the session is out of step then.
pub(super) async fn run(
    session: &mut Session,
    assembly: &Assembly,
    found: Outbox,
    bytes_before: u64,
    metrics: &FeedMetrics,
) -> Result<Option<Run>, Error> {
    let Outbox { look, mut changes, conversations } = found;
    let is_whole = changes.len() < OUTBOX_ROWS_MAX;
    let mut later = changes.split_off(fitting(&changes, &conversations));
    if !is_whole && let Some(last) = later.last().or(changes.last()) {
        // They may be of a later moment than the snapshot: what that shows is shown with them at the latest.
        later.extend(session.outbox_rest(last.id).await?);
    }
    let rendered = assembly.render(look.head.seq + 1, &changes, &later, &conversations);
    let by = changes.iter().filter_map(|change| Some((change.id, change.expert_id?))).collect();
    let body = encode(rendered.header, &rendered.entries, &by);
    let bytes = bytes_before + body.len() as u64;
    let ids: Vec<u64> = changes.iter().map(|change| change.id).collect();
    let Some(at) = session.sequence(look.head, &ids, bytes, &body).await? else {
        metrics.sequencer_contended();
        return Ok(None);
    };
    metrics.sequenced(ids.len() as u64);
    let last = Position { seq: look.head.seq + ids.len() as u64, at };
    Ok(Some(Run { last, first: look.head.seq + 1, after_at: look.head.at, bytes, body: body.into() }))
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

    /// Whether others numbered something so lately that they are about to go on.
    pub fn follows(&self, now: Instant) -> bool {
        let lately = Duration::from_millis(FOLLOW_MS_MAX);
        self.others.is_some_and(|at| now.saturating_duration_since(at) < lately)
    }

    /// Whether it would be ours if anything lacked a number.
    pub fn is_ours(&self, now: Instant, is_wanted: bool) -> bool {
        self.is_ours || (is_wanted && !self.follows(now))
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
