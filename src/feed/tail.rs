//! The one task of each instance that reads the feed, and has numbers given where they are missing.
//!
//! A round looks where the head is and what has no number, reads the runs after its last, and numbers what has none if
//! that is for this instance to do ([`Turn`] tells): then it reads that with its messages and conversations, makes the run
//! of it, and applies it as everybody else does. Rounds follow each other at a short pace while there is work or somebody
//! polls, slowly else, and at once after a write of our own or when a poll waits.
//!
//! # Fresh as of when?
//! The `since` polls need a moment F of which is certain: what was committed before F we have read, and what we
//! have not read got, or will get, a time (`at`) later than F. **A snapshot shows all that was committed before it
//! was asked for: in the outbox, or in runs, which are read after it. Once all of the outbox has been read with its number,
//! whoever gave that, F is when that snapshot was asked for**: what was not in it is committed later, whoever numbers it
//! has read it in a snapshot that is later still, and takes its time after that. A database whose commits hang leaves F where it
//! is and makes the polls wait, and then 503: never an empty answer.
//!
//! # The same history?
//! A restored backup, or a replica promoted without the last commits, gives the numbers anew to other changes. So each
//! look also tells the time of the head, and each run that of the change before it: that must be the one we know, as
//! numbers come again and times do not. If it is not, the windows are thrown away, and so are the positions in them
//! ([`super::cursor`]).
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
use super::position::Position;
use super::run::Run;
use super::sequencer::Turn;
use super::store::{Look, OUTBOX_ROWS_MAX, Outbox, Session};
use super::{Feed, sequencer};

/// Pause between rounds while there is work for this instance. Who follows another that numbers needs no shorter pause than
/// [`PACE_MS`]: each round of each instance is the database's work.
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
/// Changes that an instance which fell behind reads, if its window holds no more: beyond it all is loaded anew.
const BEHIND_CHANGES_MIN: u64 = 20_000;
/// Changes that a window begins with at most, for the cursors of other instances.
const LOADED_CHANGES: u64 = 10_000;
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
    /// Bytes of the runs up to the last.
    bytes: u64,
    /// The last run that could not be read: the windows begin after it.
    unreadable: u64,
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
        bytes: 0,
        unreadable: 0,
    };
    let mut loaded = false;
    let mut told = false;
    loop {
        let ended = match Session::open(&db).await {
            Ok(mut session) => match tail.read_on(&db, &mut session, &mut loaded, &mut told).await {
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
        db: &Db,
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
            // A newer version may have taken away what this one reads and writes.
            db.gate().check()?;
            self.changes = self.round(&feed, session).await?;
            if std::mem::replace(told, false) {
                tracing::info!("the feed has its database again");
            }
            feed.tell_ticked();
            let took = begun.elapsed();
            let since_poll = feed.micros_since_born(begun).saturating_sub(feed.polled.load(Relaxed));
            let pace = if self.changes > 0 && !self.turn.follows(begun) {
                BUSY_PACE_MS
            } else if self.changes > 0 {
                PACE_MS
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
        let Look { head, clock, .. } = session.look().await?;
        let oldest = head.seq.saturating_sub(LOADED_CHANGES).max(self.unreadable.min(head.seq));
        let runs = session.run_list(oldest).await?;
        let Some(feed) = self.feed.upgrade() else { return Ok(()) };
        feed.set_clock(clock, asked);
        // The first of those that lead up to the newest without a gap.
        let begins = |at: usize| at == 0 || runs[at].first != runs[at - 1].last + 1;
        let first = (0..runs.len()).rev().find(|&at| begins(at));
        let reaches_head = runs.last().is_some_and(|run| run.last >= head.seq);
        let (floor, bytes) = match first.map(|first| runs[first]).filter(|_| reaches_head) {
            Some(run) => (Position { seq: run.first - 1, at: run.after_at }, run.bytes),
            None => (head, 0),
        };
        if !runs.is_empty() && (!reaches_head || first != Some(0)) {
            feed.metrics.holes.inc();
            tracing::error!(
                floor.seq,
                head = head.seq,
                "numbers that no run has: the feed begins after them, and older positions are refused"
            );
        }
        (self.last, self.bytes, self.claim) = (floor, bytes, None);
        let waiting = session.waiting_ids().await?;
        self.assembly = Assembly::new(waiting.iter().map(|one| one.conversation).collect());
        feed.restart(floor, &waiting);
        Ok(())
    }

    /// Looks, reads what has numbers, numbers what is ours to number. How many changes it saw.
    async fn round(&mut self, feed: &Feed, session: &mut Session) -> Result<usize, Broken> {
        // Taken back before the read, which then shows what they wait for.
        let is_wanted = feed.wanted.swap(false, Relaxed);
        let is_quiet = !is_wanted && self.changes == 0;
        let mut leads = !is_quiet && self.turn.is_ours(Instant::now(), is_wanted);
        let mut changes = 0;
        for _ in 0..READS_PER_ROUND_MAX {
            let asked = Instant::now();
            let mut found = self.look(feed, session, leads).await?;
            feed.away.store(false, Relaxed);
            feed.set_clock(found.look.clock, asked);
            let ids = std::mem::take(&mut found.look.ids);
            feed.metrics.outbox.set(i64::try_from(ids.len()).unwrap_or(i64::MAX));
            let mut applied = HashSet::new();
            if found.look.head != self.last {
                self.catch_up(feed, session, found.look.head, &mut applied).await?;
                self.turn.end(asked);
            }
            changes = changes.max(ids.len() + applied.len());
            let is_whole = ids.len() < OUTBOX_ROWS_MAX;
            // So much that one look does not show it waits for anyone who is not behind another.
            let is_wanted = is_wanted || !is_whole;
            let is_ours = !ids.is_empty() && self.turn.take(asked, is_wanted, self.left_since(&ids));
            if is_ours && !leads {
                leads = true;
                continue;
            }
            let numbered = is_ours && self.number(feed, session, found, &mut applied).await?;
            let left: HashSet<u64> = ids.iter().copied().filter(|id| !applied.contains(id)).collect();
            let is_more = !left.is_empty() || !is_whole;
            if let Some(fresh) = self.fresh_as_of(asked, &applied, left, is_whole) {
                feed.fresh.store(feed.micros_since_born(fresh), Relaxed);
            }
            // What did not fit into the run is next. Where others were faster, what they numbered is there to be read: at
            // once for who waits.
            let goes_on = if numbered { is_more } else { is_ours && is_wanted };
            if !goes_on {
                break;
            }
            feed.tell_ticked();
        }
        Ok(changes)
    }

    /// Looks where the head is and what has no number: all of that, where this instance `leads` and is to number it.
    async fn look(&self, feed: &Feed, session: &mut Session, leads: bool) -> Result<Outbox, Broken> {
        let found = if leads {
            feed.metrics.reads.inc();
            session.outbox().await?
        } else {
            feed.metrics.looks.inc();
            Outbox { look: session.look().await?, ..Outbox::default() }
        };
        let head = found.look.head;
        if head.seq < self.last.seq {
            return Err(Broken::Feed("the head went back"));
        }
        if head.seq == self.last.seq && head.at != self.last.at {
            return Err(Broken::Feed("the last change is another one than before: another history"));
        }
        Ok(found)
    }

    /// Reads the runs up to `head`, and whatever came meanwhile.
    async fn catch_up(
        &mut self,
        feed: &Feed,
        session: &mut Session,
        head: Position,
        applied: &mut HashSet<u64>,
    ) -> Result<(), Broken> {
        let behind_max = BEHIND_CHANGES_MIN.max(feed.settings.window_events as u64);
        if head.seq - self.last.seq > behind_max {
            return Err(Broken::Feed("there is more than the window holds"));
        }
        while self.last.seq < head.seq {
            let runs = session.runs(self.last.seq, self.bytes).await?;
            feed.metrics.reads.inc();
            if runs.is_empty() {
                return Err(Broken::Feed("numbers are missing"));
            }
            for run in &runs {
                self.apply(feed, run, applied)?;
            }
        }
        Ok(())
    }

    /// Numbers what was found when the feed was where we are: whether nobody was faster.
    async fn number(
        &mut self,
        feed: &Feed,
        session: &mut Session,
        found: Outbox,
        applied: &mut HashSet<u64>,
    ) -> Result<bool, Broken> {
        if found.look.head != self.last {
            return Ok(false);
        }
        let Some(run) = sequencer::run(session, &self.assembly, found, self.bytes, &feed.metrics).await?
        else {
            return Ok(false);
        };
        self.apply(feed, &run, applied)?;
        Ok(true)
    }

    /// Takes in the run that follows.
    fn apply(&mut self, feed: &Feed, run: &Run, applied: &mut HashSet<u64>) -> Result<(), Broken> {
        if run.first != self.last.seq + 1 {
            return Err(Broken::Feed("numbers are missing"));
        }
        if run.after_at != self.last.at {
            return Err(Broken::Feed("the last change is another one than before: another history"));
        }
        let decoded = run
            .decode(self.assembly.group(run.first))
            .ok()
            .filter(|(_, batch)| batch.entries.len() as u64 == run.count());
        let Some((header, batch)) = decoded else {
            self.unreadable = run.last.seq;
            return Err(Broken::Feed("a run cannot be read"));
        };
        applied.extend(batch.entries.iter().map(|entry| entry.id));
        (self.last, self.bytes) = (run.last, run.bytes);
        self.assembly.apply(header, &batch);
        let now = Timestamp::now().micros();
        for entry in &batch.entries {
            feed.metrics.lagged(now - entry.at.micros());
        }
        feed.metrics.events.inc_by(batch.entries.len() as u64);
        feed.publish(&batch);
        Ok(())
    }

    /// Since when something of this lacks its number, if that is longer than this read.
    fn left_since(&self, ids: &[u64]) -> Option<Instant> {
        let claim = self.claim.as_ref()?;
        ids.iter().any(|id| claim.ids.contains(id)).then_some(claim.asked)
    }

    /// The moment as of which the feed is fresh after a look that was asked for at `asked`: it showed `left`, which still has
    /// no number, and `is_whole` if there was no more. `None` while that is still to be shown.
    fn fresh_as_of(
        &mut self,
        asked: Instant,
        applied: &HashSet<u64>,
        left: HashSet<u64>,
        is_whole: bool,
    ) -> Option<Instant> {
        if left.is_empty() && is_whole {
            self.claim = None;
            return Some(asked);
        }
        if let Some(claim) = &mut self.claim {
            claim.ids.retain(|id| !applied.contains(id));
        }
        let proven = self.claim.take_if(|claim| claim.ids.is_empty()).map(|claim| claim.asked);
        if is_whole {
            self.claim.get_or_insert(Claim { asked, ids: left });
        }
        proven
    }
}
