//! Gives numbers to what is committed.
//!
//! # Why after the commit
//! Ids are given when a row is inserted, rows become visible when they are committed: whoever tails ids loses
//! those that are committed late. So a row is numbered when it can be seen, by the leader. Its tail has read the head and,
//! in the same snapshot, what the outbox holds and the state after exactly that; from it the run is made ([`super::run`]).
//! `sql/feed/sequence.sql` stores the run, takes the rows out of the outbox and moves the head on, if that still is where
//! it was.
//!
//! - The snapshot holds only what is committed, and with an effect always its cause. (A locking read, SKIP LOCKED
//!   included, is no snapshot, and numbered effects before causes.) The head has not moved since, so nobody
//!   numbered anything, and all of the rows are there still.
//! - Who finds the head moved on does nothing: `@feed_at` is NULL then. Every statement succeeds all the same, so that the
//!   packet always gets to its COMMIT.
//! - The packet decides by that variable, which a locking read of the head set, and not by `ROW_COUNT()` after an UPDATE:
//!   that is another number where the client is gone when the server sends the UPDATE's reply, and the packet goes on to
//!   its COMMIT: the head moved on over changes that nobody had numbered.
//! - The head is told from one of another history (a restored backup) by its time: see [`super::tail`].
//! - No row in flight is touched, and so none is waited for: what was numbered is deleted from the outbox by primary key,
//!   one by one (the ids come as JSON_TABLE). The outbox has an AUTO_INCREMENT and is inserted into by VALUES only, `runs`
//!   has none. So no writer waits for a run.
//! - Times of one run are a microsecond apart, never fall behind (`GREATEST(NOW(6), last + 1 µs)`), and are taken after the
//!   snapshot: what anybody's snapshot lacks gets a later time than that snapshot's. The watermark rests on it.
//!
//! # Why one packet
//! The server goes through it without asking back. There is no client round trip while the head is locked, so an instance
//! that is frozen, slow or cut off cannot hold it; one that dies half-way is undone by its server, as is one that drops its
//! connection for an error. Nothing depends on `wait_timeout`, `idle_transaction_timeout` or their vendors. A stored
//! procedure would do the same but need CREATE ROUTINE.

use std::time::{Duration, Instant};

use crate::db::{Dedicated, Error};

use super::cursor::Position;
use super::domain::Domain;
use super::metrics::FeedMetrics;
use super::run::{Rows, Run};
use super::store;

/// Numbers the outbox's rows that were read when the feed was at `head`, with their `state`, as far as they fit into one run,
/// and makes that run; `None` when somebody else was faster.
/// The runs before it took `bytes_before`.
///
/// # Errors
/// The connection is out of step then.
pub(super) async fn run<D: Domain>(
    db: &mut Dedicated,
    projection: &D::Projection,
    head: Position,
    rows: &Rows,
    state: D::State,
    bytes_before: u64,
    metrics: &FeedMetrics,
) -> Result<Option<Run>, Error> {
    let (body, count) = D::render(db, projection, state, rows.is_whole()).await?;
    let ids = &rows.ids[..count];
    let bytes = bytes_before + body.len() as u64;
    let Some(at) = store::sequence(db, head, ids, bytes, &body).await? else {
        metrics.sequencer_contended.inc();
        return Ok(None);
    };
    metrics.sequencer_runs.inc();
    metrics.numbered.inc_by(ids.len() as u64);
    let last = Position { seq: head.seq + ids.len() as u64, at };
    Ok(Some(Run { last, first: head.seq + 1, after_at: head.at, bytes, body: body.into() }))
}

/// An instance that numbered something so lately is about to number what comes next: about as long as a round and the rest
/// after it take under load.
const FOLLOW_MS_MAX: u64 = 30;
/// Longest that something is left to others where nobody waits for it: half of [`super::FRESH_MS_MAX`]. So long those
/// others look for it at a short pace.
const LEFT_MS_MAX: u64 = 50;

/// Which instance is the leader, which numbers. Any instance may number; but the more try at once, the more try in vain.
///
/// The leader continues, takes all that there is each time, and stops when it sees another's numbers. An instance that sees
/// another's numbers follows, as long as they come. Otherwise an instance begins that has a user who waits: one who wrote
/// here, or whose poll cannot be answered yet. What nobody waits for, or whose leader died, is anyone's after
/// [`LEFT_MS_MAX`].
#[derive(Debug, Default)]
pub struct Leadership {
    /// We lead since there was something to number, at that time last.
    ours: Option<Instant>,
    /// When others numbered something, as far as was seen.
    others: Option<Instant>,
}

impl Leadership {
    /// It was seen that others numbered something, `ago` before `now`.
    pub fn end(&mut self, now: Instant, ago: Duration) {
        *self = Self { ours: None, others: now.checked_sub(ago) };
    }

    /// Whether others numbered something so lately that they are about to go on.
    fn follows(&self, now: Instant) -> bool {
        let lately = Duration::from_millis(FOLLOW_MS_MAX);
        self.others.is_some_and(|at| now.saturating_duration_since(at) < lately)
    }

    /// Whether others may leave something to this instance.
    pub fn leads(&self, now: Instant) -> bool {
        let lately = Duration::from_millis(LEFT_MS_MAX);
        self.ours.is_some_and(|at| now.saturating_duration_since(at) < lately)
    }

    /// Whether it would be ours if anything lacked a number.
    pub fn is_ours(&self, now: Instant, is_wanted: bool) -> bool {
        self.ours.is_some() || (is_wanted && !self.follows(now))
    }

    /// It is ours, and there was something to number at `now`.
    pub fn keep(&mut self, now: Instant) {
        self.ours = Some(now);
    }

    /// Something lacks its number, known since `left_since` if that is before `now`: whether to number it. If so, the
    /// turn is ours from now on.
    pub fn take(&mut self, now: Instant, is_wanted: bool, left_since: Option<Instant>) -> bool {
        let is_left = left_since.is_some_and(|since| now - since > Duration::from_millis(LEFT_MS_MAX));
        self.ours = (is_left || self.is_ours(now, is_wanted)).then_some(now);
        self.ours.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_and_the_others_follow() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let (mut one, mut two) = (Leadership::default(), Leadership::default());
        assert!(!one.take(at(0), false, None), "nobody waits");
        assert!(one.take(at(1), true, None), "somebody does");
        assert!(one.take(at(2), false, None), "and it goes on");
        two.end(at(3), Duration::ZERO);
        for ms in 4..40 {
            two.end(at(ms), Duration::ZERO);
            assert!(!two.take(at(ms + 1), true, Some(at(0))), "others are at it");
        }
        assert!(!two.is_ours(at(68), true), "they may be yet");
        assert!(two.take(at(69), true, None), "they stopped");
        one.end(at(70), Duration::ZERO);
        assert!(!one.take(at(71), true, None), "one in place of the other");
    }

    #[test]
    fn what_counts_is_when_others_numbered_and_not_when_that_was_seen() {
        let now = Instant::now();
        let ago = Duration::from_millis;
        let mut leadership = Leadership::default();
        leadership.end(now, ago(29));
        assert!(!leadership.is_ours(now, true));
        leadership.end(now, ago(30));
        assert!(leadership.is_ours(now, true));
    }

    /// Or something would be left to an instance that pauses.
    #[test]
    fn who_numbers_leads_for_longer_than_others_leave_it_something() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let (mut one, mut two) = (Leadership::default(), Leadership::default());
        assert!(!one.leads(at(0)));
        assert!(one.take(at(0), true, None));
        two.end(at(1), Duration::from_millis(1));
        assert!((0..100).all(|ms| one.leads(at(ms)) || two.is_ours(at(ms.saturating_sub(10)), true)));
        assert!(!one.leads(at(50)) && one.is_ours(at(50), false), "it goes on, at its leisure");
    }

    #[test]
    fn what_is_left_is_anyones() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut leadership = Leadership::default();
        assert!(!leadership.take(at(50), false, Some(at(0))));
        assert!(leadership.take(at(51), false, Some(at(0))));
        leadership.end(at(60), Duration::ZERO);
        assert!(
            leadership.take(at(61), false, Some(at(10))),
            "though others are at it: it is not among what they took"
        );
    }
}
