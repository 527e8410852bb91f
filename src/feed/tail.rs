//! The one task of each instance that reads the feed, and has numbers given where they are missing.
//!
//! A round is: read what comes after the last change, and what is committed without a number (one statement, one
//! snapshot, with the conversations of both); have the latter numbered, if that is for us to do; publish both.
//! Where nothing is expected a round only looks whether there is anything, for a third of the price. Rounds follow each
//! other at a short pace while there is work or somebody polls, slowly else, and at once after a write of our own or when
//! a poll waits.
//!
//! Whose turn it is to number is told by [`Turn`]. Who does not number reads what has no number without its messages and
//! conversations: they come with the number.
//!
//! # Fresh as of when?
//! The `since` polls need a moment F of which is certain: what was committed before F we have read, and what we
//! have not read got, or will get, a time (`at`) later than F. **A snapshot shows all that was committed before it
//! was asked for, numbered or not. Once all of it has been read with its number, whoever gave that, F is when
//! that snapshot was asked for**: what was not in it is committed later, whoever numbers it has read it in a
//! snapshot that is later still, and takes its time after that. A database whose commits hang leaves F where it
//! is and makes the polls wait, and then 503: never an empty answer.
//!
//! # The same history?
//! A restored backup, or a replica promoted without the last commits, gives the numbers anew to other changes. So each
//! read also tells the time of the last change that we have, and that must be the one we know: numbers come again,
//! times do not. For this the newest change is never purged. If it is not, the windows are thrown away, and so are the
//! positions in them ([`super::cursor`]).
//!
//! Numbers that no change has (a *hole*: rows that somebody deleted, or the mistake of an earlier version) are not
//! waited for either: the windows begin anew after them, and who has a position before gets all from the database.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::db::{Db, Error};

use super::assembly::Assembly;
use super::event::{Change, Event};
use super::position::Position;
use super::sequencer::Turn;
use super::store::{OUTBOX_ROWS_MAX, Page, Session, TAIL_ROWS_MAX};
use super::{Feed, sequencer};

/// Pause between rounds while there is work.
const BUSY_PACE_MS: u64 = 5;
/// Pause while somebody polls.
const PACE_MS: u64 = 10;
/// Pause while nothing happens: half of what a poll that comes then may find as age.
const IDLE_PACE_MS: u64 = 50;
/// Pause when nobody polled for a while; the first who does wakes the tail.
const ASLEEP_PACE_MS: u64 = 250;
/// Somebody polls, if they did so this lately: three times what existing clients pause.
const POLLED_MS: u64 = 15_000;
/// Shortest time from the begin of a round to the next: writes that come closer share one.
const ROUND_MS_MIN: u64 = 5;
/// After a round there is a pause as long as it took, up to this, and of this length where there were
/// [`MANY_CHANGES_MIN`]: a database that is busy is asked less often, and still often enough for
/// [`super::FRESH_MS_MAX`].
const REST_MS_MAX: u64 = 25;
/// So many changes in one round mean that the database is full: its writers need it more than its readers need to be
/// told soon. It is more than 1,000 writes a second make during the longest rest, or one slow round would make all that
/// follow slow.
const MANY_CHANGES_MIN: usize = 64;
/// Pause after the database failed.
const RETRY_MS: u64 = 200;
/// Changes read before they are published, if the window holds no more: beyond it all is loaded anew. All that there
/// are are published together, so that their conversations are of one snapshot with what lacks a number. Twice what is
/// loaded at the start (`feed.head`), for the cursors of other instances.
const READ_EVENTS_MIN: usize = 20_000;
/// Times a round reads, where others are faster to number what it read, before the pace decides again.
const READS_PER_ROUND_MAX: usize = 4;

/// What the task knows between rounds.
struct Tail {
    feed: Weak<Feed>,
    last: Position,
    assembly: Assembly,
    claim: Option<Claim>,
    /// Changes seen by the last round.
    changes: usize,
    turn: Turn,
}

/// What a snapshot showed without a number, as far as it has not been read with one: when nothing is left of it,
/// the feed is fresh as of when it was asked for.
struct Claim {
    asked: Instant,
    ids: HashSet<u64>,
}

/// Why a round ended.
enum Broken {
    /// The database failed: connect anew and go on from where we are.
    Database(Error),
    /// What was read does not follow from what we have: load anew.
    Feed(&'static str),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// Runs until the feed is dropped.
pub(super) async fn run(feed: Weak<Feed>, db: Arc<Db>) {
    let mut tail = Tail {
        feed,
        last: Position::default(),
        assembly: Assembly::default(),
        claim: None,
        changes: 0,
        turn: Turn::default(),
    };
    let mut loaded = false;
    let mut told = false;
    loop {
        let ended = match Session::open(&db).await {
            Ok(mut session) => match tail.read_on(&mut session, &mut loaded, &mut told).await {
                Ok(()) => {
                    session.close().await;
                    Ok(())
                }
                broken => broken,
            },
            Err(error) => Err(Broken::Database(error)),
        };
        let Some(feed) = tail.feed.upgrade() else { return };
        if feed.closing.load(Relaxed) {
            feed.closed.close();
            return;
        }
        match ended {
            Ok(()) => return,
            Err(Broken::Database(error)) => {
                feed.away.store(true, Relaxed);
                feed.metrics.failures.inc();
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the feed lost its database");
                }
            }
            Err(Broken::Feed(why)) => {
                loaded = false;
                feed.metrics.resyncs.inc();
                tracing::warn!(why, "the feed is read anew");
            }
        }
        feed.tell_ticked();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(RETRY_MS)) => {}
            () = feed.wake.notified(), if feed.closing.load(Relaxed) => {}
        }
    }
}

impl Tail {
    async fn read_on(
        &mut self,
        session: &mut Session,
        loaded: &mut bool,
        told: &mut bool,
    ) -> Result<(), Broken> {
        if !*loaded {
            self.load(session).await?;
            *loaded = true;
        }
        loop {
            let begun = Instant::now();
            let Some(feed) = self.feed.upgrade().filter(|feed| !feed.closing.load(Relaxed)) else {
                return Ok(());
            };
            self.changes = self.round(&feed, session).await?;
            if std::mem::replace(told, false) {
                tracing::info!("the feed has its database again");
            }
            feed.tell_ticked();
            let took = begun.elapsed();
            let since_poll = feed.micros_since_born(begun).saturating_sub(feed.polled.load(Relaxed));
            let pace = if self.changes > 0 {
                BUSY_PACE_MS
            } else if since_poll < 1_000 * POLLED_MS {
                if since_poll < 1_000 * super::STALE_MS_MAX { PACE_MS } else { IDLE_PACE_MS }
            } else {
                ASLEEP_PACE_MS
            };
            let pause = async {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(pace)) => {}
                    () = feed.wake.notified() => {}
                }
            };
            pause.await;
            let longest = Duration::from_millis(REST_MS_MAX);
            let rest = if self.changes < MANY_CHANGES_MIN { took.min(longest) } else { longest };
            let least = Duration::from_millis(ROUND_MS_MIN).max(took + rest);
            tokio::time::sleep(least.saturating_sub(begun.elapsed())).await;
        }
    }

    /// Finds the place to begin at, and empties the windows.
    async fn load(&mut self, session: &mut Session) -> Result<(), Broken> {
        let asked = Instant::now();
        let head = session.head().await?;
        let Some(feed) = self.feed.upgrade() else { return Ok(()) };
        feed.set_clock(head.clock, asked);
        let has_newest = head.newest == Some(head.position.seq);
        let floor = match head.first.filter(|_| has_newest) {
            // Nothing came before the first change of all.
            Some(Position { seq: 1, at }) => {
                Position { seq: 0, at: Timestamp::from_micros(at.micros().saturating_sub(1)) }
            }
            Some(first) => first,
            None => head.position,
        };
        let begins_late = floor.seq > head.oldest.unwrap_or(0) && floor.seq + 10_000 > head.position.seq;
        if head.newest.is_some() && (!has_newest || (floor.seq > 0 && begins_late)) {
            feed.metrics.holes.inc();
            tracing::error!(
                floor.seq,
                head = head.position.seq,
                "numbers that no change has: the feed begins after them, and older positions are refused"
            );
        }
        (self.last, self.claim) = (floor, None);
        let waiting = session.waiting_ids().await?;
        self.assembly = Assembly::new(waiting.iter().map(|one| one.conversation).collect());
        feed.restart(floor, &waiting);
        Ok(())
    }

    /// Reads to the end, numbers what is ours to number, publishes. How many changes it saw.
    async fn round(&mut self, feed: &Feed, session: &mut Session) -> Result<usize, Broken> {
        // Taken back before the read, which then shows what they wait for.
        let is_wanted = feed.wanted.swap(false, Relaxed);
        let mut is_quiet = !is_wanted && self.changes == 0;
        let mut to_be_numbered = self.turn.is_ours(Instant::now(), is_wanted);
        let mut changes = 0;
        for _ in 0..READS_PER_ROUND_MAX {
            let asked = Instant::now();
            let nothing = if std::mem::take(&mut is_quiet) { self.look(feed, session).await? } else { None };
            let mut read = match nothing {
                Some(nothing) => nothing,
                None => self.read(feed, session, to_be_numbered).await?,
            };
            feed.away.store(false, Relaxed);
            feed.set_clock(read.clock, asked);
            feed.metrics.outbox.set(i64::try_from(read.outbox.len()).unwrap_or(i64::MAX));
            changes = changes.max(read.events.len() + read.outbox.len());
            let all_of_outbox = read.outbox.len() < OUTBOX_ROWS_MAX;
            if !read.events.is_empty() {
                self.turn.end(asked);
            }
            let left_since = self.left_since(&read.outbox);
            let is_ours = !read.outbox.is_empty() && self.turn.take(asked, is_wanted, left_since);
            if is_ours && !to_be_numbered && all_of_outbox {
                to_be_numbered = true;
                continue;
            }
            let mut was_last = true;
            if is_ours || !all_of_outbox {
                let numbered = sequencer::run(session, read.head, &mut read.outbox, &feed.metrics).await?;
                // Where others were faster, what they numbered is there to be read: at once for who waits.
                was_last = !is_wanted || !numbered.is_empty();
                read.events.extend(numbered);
            }
            if !all_of_outbox {
                // The conversations may show what is not in sight yet: once more, then.
                continue;
            }
            self.publish(feed, &read);
            if let Some(fresh) = self.fresh_as_of(asked, &read) {
                feed.fresh.store(feed.micros_since_born(fresh), Relaxed);
            }
            if was_last {
                break;
            }
            feed.tell_ticked();
        }
        Ok(changes)
    }

    /// Since when something of this lacks its number, if that is longer than this read.
    fn left_since(&self, outbox: &[Change]) -> Option<Instant> {
        let claim = self.claim.as_ref()?;
        outbox.iter().any(|change| claim.ids.contains(&change.id)).then_some(claim.asked)
    }

    /// The moment as of which the feed is fresh after `read`, which was asked for at `asked`; `None` while that is
    /// still to be shown.
    fn fresh_as_of(&mut self, asked: Instant, read: &Page) -> Option<Instant> {
        if read.outbox.is_empty() {
            self.claim = None;
            return Some(asked);
        }
        if let Some(claim) = &mut self.claim {
            for event in &read.events {
                claim.ids.remove(&event.change.id);
            }
        }
        let proven = self.claim.take_if(|claim| claim.ids.is_empty()).map(|claim| claim.asked);
        let ids = || read.outbox.iter().map(|change| change.id).collect();
        self.claim.get_or_insert_with(|| Claim { asked, ids: ids() });
        proven
    }

    /// The page that comes next, if there is nothing on it.
    async fn look(&self, feed: &Feed, session: &mut Session) -> Result<Option<Page>, Broken> {
        let page = session.look(self.last).await?;
        feed.metrics.looks.inc();
        if let Some(page) = &page {
            check(self.last, page)?;
        }
        Ok(page)
    }

    /// Reads to the end: the last page, with what those before it have.
    async fn read(&self, feed: &Feed, session: &mut Session, to_be_numbered: bool) -> Result<Page, Broken> {
        let mut read = Page::default();
        let mut position = self.last;
        loop {
            let page = session.tail(position.seq, to_be_numbered).await?;
            feed.metrics.reads.inc();
            check(position, &page)?;
            let was_last = page.events.len() < TAIL_ROWS_MAX;
            position = page.events.last().map_or(position, Event::position);
            (read.head, read.clock, read.outbox) = (page.head, page.clock, page.outbox);
            read.events.extend(page.events);
            // A conversation that changed again is in the later page as well.
            read.conversations.extend(page.conversations);
            if was_last {
                return Ok(read);
            }
            if read.events.len() > feed.settings.window_events.max(READ_EVENTS_MIN) {
                return Err(Broken::Feed("there is more than the window holds"));
            }
        }
    }

    fn publish(&mut self, feed: &Feed, read: &Page) {
        let Some(last) = read.events.last() else { return };
        self.last = last.position();
        let batch = self.assembly.batch(&read.events, &read.conversations, &read.outbox);
        let now = Timestamp::now().micros();
        for entry in &batch.entries {
            feed.metrics.lagged(now - entry.at.micros());
        }
        feed.metrics.events.inc_by(batch.entries.len() as u64);
        feed.publish(&batch);
    }
}

/// What was read must follow what we have, which ends at `last`, without a gap and in the same history.
fn check(last: Position, page: &Page) -> Result<(), Broken> {
    if page.head.seq < last.seq {
        return Err(Broken::Feed("the head went back"));
    }
    let known = if page.head.seq == last.seq { Some(page.head.at) } else { page.anchor };
    if last.seq > 0 && known != Some(last.at) {
        return Err(Broken::Feed("the last change is another one than before, or is gone: another history"));
    }
    let numbers = page.events.iter().map(|event| event.seq);
    let is_gapless = (last.seq + 1..).zip(numbers).all(|(expected, seq)| expected == seq);
    let end = last.seq + page.events.len() as u64;
    if !is_gapless || (page.events.len() < TAIL_ROWS_MAX && page.head.seq != end) {
        return Err(Broken::Feed("numbers are missing"));
    }
    Ok(())
}
