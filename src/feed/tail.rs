//! The one task of each instance that reads the feed, and has numbers given where they are missing.
//!
//! A round is: read what comes after the last change (one statement, and one for the conversations in it),
//! publish it; if the same snapshot showed committed changes without a number, have them numbered and read
//! again. Rounds follow each other at a short pace while there is work or somebody polls, slowly else, and at
//! once after a write of our own or when a poll waits.
//!
//! # Fresh as of when?
//! The `since` polls need a moment F of which is certain: what was committed before F we have read, and what we
//! have not read got, or will get, a time (`at`) later than F. A read alone does not give one: somebody may
//! have taken the time for a change, and commit it only after our read. But:
//!
//! - A change being numbered is committed, and its number is not. So it shows in a snapshot as one without a
//!   number. **A snapshot without such a row proves that nobody was numbering**: F is when it was asked for.
//! - Where there are such rows (under steady writing, always) our own run of the sequencer proves it, if it
//!   left none behind: when it got the lock nobody was numbering, and whoever numbers later takes the time
//!   later. F is when the run was asked for, once a read that began after it is complete.
//! - Else F stays. A database whose commits hang makes the polls wait, and then 503: never an empty answer.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::auth::Auth;
use crate::auth::token::SessionId;
use crate::clock::Timestamp;
use crate::db::{Db, Error};

use super::assembly::Assembly;
use super::event::{Batch, Event};
use super::store::{Page, Session, TAIL_ROWS_MAX};
use super::window::Position;
use super::{
    Feed,
    sequencer::{self, Run},
};

/// Pause between rounds while there is work or somebody polls.
const PACE_MS: u64 = 10;
/// Pause while nothing happens: half of what a poll that comes then may find as age.
const IDLE_PACE_MS: u64 = 50;
/// Pause when nobody polled for a while; the first who does wakes the tail.
const ASLEEP_PACE_MS: u64 = 250;
/// Somebody polls, if they did so this lately: three times what existing clients pause.
const POLLED_MS: u64 = 15_000;
/// Shortest time from the begin of a round to the next: writes that come closer share one.
const ROUND_MS_MIN: u64 = 8;
/// Pause after the database failed.
const RETRY_MS: u64 = 200;
/// Pages read before they are published: so that a conversation that changed often is given once.
const PAGES_MAX: usize = 20;
/// Changes loaded at the start, for the cursors of other instances.
const START_EVENTS: u64 = (PAGES_MAX * TAIL_ROWS_MAX) as u64;
/// Times a round has rows numbered before the pace decides again.
const SEQUENCED_PER_ROUND_MAX: usize = 3;

/// What the task knows between rounds.
struct Tail {
    feed: Weak<Feed>,
    auth: Arc<Auth>,
    epoch: u64,
    last: u64,
    assembly: Assembly,
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
pub(super) async fn run(feed: Weak<Feed>, db: Arc<Db>, auth: Arc<Auth>) {
    let mut tail = Tail { feed, auth, epoch: 0, last: 0, assembly: Assembly::default() };
    let mut loaded = false;
    let mut told = false;
    loop {
        let ended = match Session::open(&db).await {
            Ok(mut session) => tail.read_on(&mut session, &mut loaded, &mut told).await,
            Err(error) => Err(Broken::Database(error)),
        };
        let Some(feed) = tail.feed.upgrade() else { return };
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
        drop(feed);
        tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
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
            let Some(feed) = self.feed.upgrade() else { return Ok(()) };
            let worked = self.round(&feed, session).await?;
            if std::mem::replace(told, false) {
                tracing::info!("the feed has its database again");
            }
            feed.tell_ticked();
            let since_poll = feed.micros_since_born(begun).saturating_sub(feed.polled.load(Relaxed));
            let pace = if worked {
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
            let least = Duration::from_millis(ROUND_MS_MIN);
            tokio::time::sleep(least.saturating_sub(begun.elapsed())).await;
        }
    }

    /// Finds the place to begin at, empties the windows, and loads what was signed out.
    async fn load(&mut self, session: &mut Session) -> Result<(), Broken> {
        let head = session.head().await?;
        let oldest = head.oldest.map_or(head.seq, |oldest| oldest.saturating_sub(1));
        let floor = head.seq.saturating_sub(START_EVENTS).max(oldest.min(head.seq));
        let at = if floor == head.seq { Some(head.at) } else { session.position_at(floor).await? };
        // What was purged was older than what follows it.
        let at = match at {
            Some(at) => at,
            None => session.position_at(floor + 1).await?.unwrap_or(head.at),
        };
        (self.epoch, self.last) = (head.epoch, floor);
        self.assembly = Assembly::new(session.waiting_ids().await?);
        let mut after = SessionId::from_bytes([0; 16]);
        loop {
            let (sessions, more) = session.revoked(after).await?;
            for (sid, until) in &sessions {
                self.revoke(*sid, *until);
            }
            match sessions.last() {
                Some((sid, _)) if more => after = *sid,
                _ => break,
            }
        }
        if let Some(feed) = self.feed.upgrade() {
            feed.restart(head.epoch, Position { seq: floor, at });
        }
        Ok(())
    }

    /// Reads to the end, has numbered what lacks a number, reads that. Whether there was anything.
    async fn round(&mut self, feed: &Feed, session: &mut Session) -> Result<bool, Broken> {
        let mut worked = false;
        let mut proven = None;
        if feed.written.swap(false, Relaxed) {
            // Our own write lacks a number for certain: no need to look first.
            let asked = Instant::now();
            proven = (sequencer::run(session, &feed.metrics).await? == Run::All).then_some(asked);
        }
        for run in 0..=SEQUENCED_PER_ROUND_MAX {
            let begun = Instant::now();
            let (page, complete) = self.read(feed, session).await?;
            worked |= page.1;
            if complete {
                feed.read.store(feed.micros_since_born(begun), Relaxed);
                let fresh = if page.0 { proven } else { Some(begun) };
                if let Some(fresh) = fresh {
                    feed.fresh.store(feed.micros_since_born(fresh), Relaxed);
                }
            }
            feed.away.store(false, Relaxed);
            if complete && (!page.0 || run == SEQUENCED_PER_ROUND_MAX) {
                break;
            }
            if page.0 {
                worked = true;
                feed.tell_ticked();
                let asked = Instant::now();
                match sequencer::run(session, &feed.metrics).await? {
                    Run::All => proven = Some(asked),
                    Run::Part => {}
                    // Somebody else gives the numbers: theirs are there at the next round.
                    Run::Contended => break,
                }
            }
        }
        Ok(worked)
    }

    /// Reads to the end and publishes. Whether the last snapshot showed rows without a number and whether
    /// anything was new; whether the end was reached.
    async fn read(&mut self, feed: &Feed, session: &mut Session) -> Result<((bool, bool), bool), Broken> {
        let mut events = Vec::new();
        let mut pages = 0;
        let mut position = self.last;
        let (unnumbered, complete) = loop {
            let page = session.tail(position).await?;
            feed.metrics.reads.inc();
            self.check(position, &page)?;
            let full = page.events.len() == TAIL_ROWS_MAX;
            position += page.events.len() as u64;
            let unnumbered = page.unnumbered;
            events.extend(page.events);
            pages += 1;
            if !full || pages == PAGES_MAX {
                break (unnumbered, !full);
            }
        };
        let worked = !events.is_empty();
        if worked {
            let batch = self.batch(session, &events, position).await?;
            // What was read is taken for read only now: an error above leaves it to be read again.
            self.last = position;
            for entry in &batch.entries {
                feed.metrics.lagged(Timestamp::now().micros() - entry.at.micros());
            }
            feed.metrics.events.inc_by(batch.entries.len() as u64);
            feed.publish(&batch);
        }
        Ok(((unnumbered, worked), complete))
    }

    /// What was read must follow what we have without a gap.
    fn check(&self, position: u64, page: &Page) -> Result<(), Broken> {
        if page.epoch != self.epoch {
            return Err(Broken::Feed("another feed stands in its place"));
        }
        if page.head < position {
            return Err(Broken::Feed("the head went back"));
        }
        let mut expected = position;
        for event in &page.events {
            expected += 1;
            if event.seq != expected {
                return Err(Broken::Feed("changes were purged before they were read"));
            }
        }
        if page.events.len() < TAIL_ROWS_MAX && page.head != expected {
            return Err(Broken::Feed("changes were purged before they were read"));
        }
        Ok(())
    }

    fn revoke(&self, session: SessionId, until: Timestamp) {
        if let Err(full) = self.auth.revocations.revoke(session, until.unix_seconds() + 1) {
            tracing::error!(%full, "a sign-out could not be remembered");
        }
    }

    async fn batch(
        &mut self,
        session: &mut Session,
        events: &[Event],
        position: u64,
    ) -> Result<Batch, Error> {
        let ids: HashSet<u64> = events.iter().filter_map(|event| event.conversation_id).collect();
        let ids: Vec<u64> = ids.into_iter().collect();
        let conversations = session.conversations(&ids, position).await?;
        for (session, until) in events.iter().filter_map(|event| event.signed_out) {
            self.revoke(session, until);
        }
        Ok(self.assembly.batch(events, &conversations))
    }
}
