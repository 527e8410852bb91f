//! The one task of each instance that reads the feed, and has numbers given where they are missing.
//!
//! A round looks where the head is, what has no number, and reads the runs after its last, all in one statement. If this
//! instance leads ([`Leadership`]), it reads what has no number with the state it left, makes the run of it, and applies that
//! as everybody else does. How soon the next round comes is in [`super::pace`]; a write of our own and a poll that waits
//! begin it at once.
//!
//! # The watermark
//! The `since` polls need a moment of which is certain: what was committed before it we have read, and what we have not
//! read gets a later time (`at`). **A snapshot shows all that was committed before it was asked for, in the outbox or in
//! runs. Once all of its outbox has been read with numbers, whoever gave them, the watermark is when that snapshot was
//! asked for**: what it lacked is committed later, its leader reads it in a snapshot that is later still, and takes its time
//! after that. A database whose commits hang leaves the watermark where it is and makes the polls wait, and then 503: never
//! an empty answer.
//!
//! Nobody keeps a list of what a snapshot's outbox held: nothing of it is left when no id is left that is as small as its
//! newest one's. That may wait for a change that was committed later with a smaller id, and then for its number.
//!
//! # The same history?
//! A restored backup, or a replica promoted without the last commits, gives the numbers anew to other changes. So each
//! look also tells the time of the head, and each run that of the change before it: numbers come again and times do not. If
//! it is not the one we know, the windows are thrown away, and so are the positions in them ([`super::cursor`]).
//!
//! Numbers that no change has (a *hole*: rows that somebody deleted, or the mistake of an earlier version) are not
//! waited for either: the windows begin anew after them, and who has a position before gets all from the database.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::db::{Db, Dedicated, Error};

use super::cursor::Position;
use super::domain::Domain;
use super::item::Projection as _;
use super::pace::{Pace, Round};
use super::run::{Decoded, Outbox, RUN_ITEMS_MAX, Run, Unnumbered};
use super::sequencer::Leadership;
use super::store::{self, Look};
use super::{Feed, run, sequencer};

/// Pause after the database failed.
const RETRY_MS: u64 = 200;
/// Changes that an instance which fell behind reads, if its window holds no more: beyond it all is loaded anew.
const BEHIND_CHANGES_MIN: u64 = 20_000;
/// Changes that a window begins with at most, for the cursors of other instances.
const LOADED_CHANGES: u64 = 10_000;
/// Times a round reads, where others are faster to number what it read, before the pace decides again.
const READS_PER_ROUND_MAX: usize = 4;

/// What the task knows between rounds.
struct Tail<D: Domain> {
    feed: Weak<Feed<D>>,
    last: Position,
    /// What the service made of the items up to there; `None` where all is to be loaded anew.
    projection: Option<D::Projection>,
    /// [`super::item::Item::group`] of the next run, where the last one was cut.
    group: Option<u64>,
    /// The watermark's next place, once nothing is left of what a snapshot showed without a number.
    next_watermark: Option<NextWatermark>,
    /// The database was lost, and that was said.
    is_lost: bool,
    /// Changes that came with the last round.
    changes: u64,
    leadership: Leadership,
    pace: Pace,
    /// Bytes of the runs up to the last.
    bytes: u64,
    /// The last run that could not be read: the windows begin after it.
    unreadable: u64,
    /// Changes that are read of the outbox for the next run.
    changes_max: usize,
}

/// What a snapshot showed without a number: when nothing is left of it, the watermark is when it was asked for.
struct NextWatermark {
    asked: Instant,
    /// The newest one's id.
    newest: u64,
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
pub(super) async fn run<D: Domain>(feed: Weak<Feed<D>>, db: Arc<Db>) {
    let mut tail = Tail {
        feed,
        last: Position::default(),
        projection: None,
        group: None,
        next_watermark: None,
        is_lost: false,
        changes: 0,
        leadership: Leadership::default(),
        pace: Pace::default(),
        bytes: 0,
        unreadable: 0,
        changes_max: RUN_ITEMS_MAX,
    };
    loop {
        let ended = tail.connect(&db).await;
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
                if !std::mem::replace(&mut tail.is_lost, true) {
                    tracing::warn!(%error, "the feed lost its database");
                }
            }
            Err(Broken::Feed(why)) => {
                tail.projection = None;
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

impl<D: Domain> Tail<D> {
    async fn connect(&mut self, db: &Db) -> Result<(), Broken> {
        let mut connection = Dedicated::open(db).await?;
        self.read_on(db, &mut connection).await?;
        connection.close().await;
        Ok(())
    }

    async fn read_on(&mut self, db: &Db, connection: &mut Dedicated) -> Result<(), Broken> {
        if self.projection.is_none() {
            self.load(connection).await?;
        }
        loop {
            let begun = Instant::now();
            let Some(feed) = self.feed.upgrade().filter(|feed| !feed.closing.load(Relaxed)) else {
                return Ok(());
            };
            // A newer version may have taken away what this one reads and writes.
            db.gate().check()?;
            self.changes = self.round(&feed, connection).await?;
            if std::mem::take(&mut self.is_lost) {
                tracing::info!("the feed has its database again");
            }
            feed.tell_ticked();
            let leads = self.leadership.leads(begun);
            let is_held = feed.waiters.load(Relaxed) > 0;
            let round = Round { begun, took: begun.elapsed(), changes: self.changes, leads, is_held };
            let next = self.pace.after(round);
            tokio::time::sleep_until(next.earliest.into()).await;
            tokio::select! {
                () = tokio::time::sleep_until(next.latest.into()) => {}
                () = feed.wake.notified() => {}
            }
        }
    }

    /// Finds the place to begin at, and empties the windows.
    async fn load(&mut self, connection: &mut Dedicated) -> Result<(), Broken> {
        let asked = Instant::now();
        let (head, clock) = store::head(connection).await?;
        let oldest = head.seq.saturating_sub(LOADED_CHANGES).max(self.unreadable.min(head.seq));
        let runs = store::run_list(connection, oldest).await?;
        let Some(feed) = self.feed.upgrade() else { return Ok(()) };
        feed.set_clock(clock, asked);
        // The first of those that lead up to the newest without a gap.
        let begins = |at: usize| at == 0 || runs[at].first != runs[at - 1].last.seq + 1;
        let first = (0..runs.len()).rev().find(|&at| begins(at));
        let reaches_head = runs.last().is_some_and(|run| run.last.seq >= head.seq);
        let (floor, bytes) = match first.map(|first| &runs[first]).filter(|_| reaches_head) {
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
        (self.last, self.bytes, self.next_watermark, self.group) = (floor, bytes, None, None);
        let projection = D::load(connection).await?;
        feed.restart(floor, &projection);
        self.projection = Some(projection);
        Ok(())
    }

    /// Reads what has numbers, and numbers what is ours to number. How many changes came with it.
    async fn round(&mut self, feed: &Feed<D>, connection: &mut Dedicated) -> Result<u64, Broken> {
        // Taken back before the read, which then shows what they wait for.
        let is_wanted = feed.wanted.swap(false, Relaxed);
        let is_quiet = !is_wanted && self.changes == 0;
        let mut leads = !is_quiet && self.leadership.is_ours(Instant::now(), is_wanted);
        let before = self.last.seq;
        for _ in 0..READS_PER_ROUND_MAX {
            if !leads {
                let (asked, look) = self.follow(feed, connection).await?;
                leads = look
                    .open
                    .is_some_and(|open| self.leadership.take(asked, is_wanted, self.left_since(open)));
                self.advance_watermark(feed, asked, look.open);
                if !leads {
                    break;
                }
                continue;
            }
            match self.lead(feed, connection).await? {
                Some(false) => break,
                Some(true) => feed.tell_ticked(),
                // What others numbered is there to be read.
                None => leads = false,
            }
        }
        Ok(self.last.seq - before)
    }

    /// Reads up to the head. Returns the look that reached it, and when that was asked for.
    async fn follow(
        &mut self,
        feed: &Feed<D>,
        connection: &mut Dedicated,
    ) -> Result<(Instant, Look), Broken> {
        let behind_max = BEHIND_CHANGES_MIN.max(feed.config.feed_window_events as u64);
        loop {
            let asked = Instant::now();
            let look = store::look(connection, self.last.seq, self.bytes).await?;
            feed.metrics.looks.inc();
            self.read(feed, asked, look.clock, look.head, look.open)?;
            if look.head.seq - self.last.seq > behind_max {
                return Err(Broken::Feed("there is more than the window holds"));
            }
            if look.head != self.last {
                let ago = look.clock.micros().saturating_sub(look.head.at.micros());
                self.leadership.end(asked, Duration::from_micros(ago.try_into().unwrap_or(0)));
            }
            for run in &look.runs {
                self.apply(feed, run)?;
            }
            if self.last == look.head {
                return Ok((asked, look));
            }
            if look.runs.is_empty() {
                return Err(Broken::Feed("numbers are missing"));
            }
        }
    }

    /// Numbers what has no number: whether more is left. `None` when others were faster.
    async fn lead(&mut self, feed: &Feed<D>, connection: &mut Dedicated) -> Result<Option<bool>, Broken> {
        let asked = Instant::now();
        let Outbox { head, clock, rows, state } = D::outbox(connection, self.changes_max).await?;
        feed.metrics.reads.inc();
        self.read(feed, asked, clock, head, rows.left_after(0))?;
        if head != self.last {
            return Ok(None);
        }
        let Some(projection) = &self.projection else { return Ok(None) };
        let mut count = 0;
        if !rows.ids.is_empty() {
            self.leadership.keep(asked);
            let (bytes, metrics) = (self.bytes, &feed.metrics);
            let run = sequencer::run::<D>(connection, projection, head, &rows, state, bytes, metrics).await?;
            let Some(run) = run else { return Ok(None) };
            self.apply(feed, &run)?;
            count = run.count() as usize;
            self.changes_max = run::read_next(self.changes_max, rows.ids.len(), count);
        }
        let left = rows.left_after(count);
        self.advance_watermark(feed, asked, left);
        Ok(Some(left.is_some()))
    }

    /// Takes in what every read shows: the head, the database's clock, and what has no number.
    fn read(
        &self,
        feed: &Feed<D>,
        asked: Instant,
        clock: Timestamp,
        head: Position,
        open: Option<Unnumbered>,
    ) -> Result<(), Broken> {
        feed.away.store(false, Relaxed);
        feed.set_clock(clock, asked);
        let open = open.map_or(0, |open| open.newest - open.oldest + 1);
        feed.metrics.outbox.set(i64::try_from(open).unwrap_or(i64::MAX));
        if head.seq < self.last.seq {
            return Err(Broken::Feed("the head went back"));
        }
        if head.seq == self.last.seq && head.at != self.last.at {
            return Err(Broken::Feed("the last change is another one than before: another history"));
        }
        Ok(())
    }

    /// Takes in the run that follows.
    fn apply(&mut self, feed: &Feed<D>, run: &Run) -> Result<(), Broken> {
        if run.first != self.last.seq + 1 {
            return Err(Broken::Feed("numbers are missing"));
        }
        if run.after_at != self.last.at {
            return Err(Broken::Feed("the last change is another one than before: another history"));
        }
        let decoded = D::decode(&run.body).and_then(|Decoded { is_cut, items }| {
            run.items(items, run::group(&mut self.group, run.first, is_cut))
        });
        let (Some(items), Some(projection)) = (decoded, &mut self.projection) else {
            self.unreadable = run.last.seq;
            return Err(Broken::Feed("a run cannot be read"));
        };
        (self.last, self.bytes) = (run.last, run.bytes);
        projection.apply(&items);
        let now = Timestamp::now().micros();
        for item in &items {
            feed.metrics.lag.observe((now - item.at.micros()).max(0) as f64 / 1e6);
        }
        feed.metrics.events.inc_by(items.len() as u64);
        feed.publish(&items);
        Ok(())
    }

    /// Since when something of this lacks its number, if that is longer than this read.
    fn left_since(&self, open: Unnumbered) -> Option<Instant> {
        self.next_watermark.as_ref().filter(|next| open.oldest <= next.newest).map(|next| next.asked)
    }

    /// Takes in what a snapshot that was asked for at `asked` left without a number.
    fn advance_watermark(&mut self, feed: &Feed<D>, asked: Instant, open: Option<Unnumbered>) {
        let fresh = match open {
            None => {
                self.next_watermark = None;
                Some(asked)
            }
            Some(Unnumbered { oldest, newest }) => {
                let proven = self.next_watermark.take_if(|next| next.newest < oldest).map(|next| next.asked);
                self.next_watermark.get_or_insert(NextWatermark { asked, newest });
                proven
            }
        };
        if let Some(fresh) = fresh {
            feed.watermark.store(feed.micros_since_born(fresh), Relaxed);
        }
    }
}
