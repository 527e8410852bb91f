//! The lease of a claim (`CLAIM_LEASE_SECONDS`): a conversation whose expert is gone waits again.
//!
//! # Signs of life
//! The claim itself, a message of the expert's in that conversation, and their asking for updates. The first two are in
//! the database. Who asks is noted in memory, beside the poll, and written to `users.last_active_at` by each instance in
//! batches: every [`Lease::every`], one statement however many ask, and only for experts who are at something. Who is held,
//! or listens to a stream, asks all the while.
//!
//! # When it lapses
//! Length L, writes every W (L/2, a minute at most). **A conversation is taken back once the database shows no sign of
//! life for L + 2W.** Proof that nobody loses one who asked within the L before: let the last asking written be of the time
//! t, and the next one, not written yet, of the time u. It is written by u + 2W: a round comes every W, and may take as
//! long again. So the taking back, at T ≥ t + L + 2W, comes before u + 2W, and u > t + L.
//!
//! - **The database decides, by its clock.** Whoever takes back has locked the conversation's row, as who posts,
//!   claims, gives back and resolves has; only then, by a statement that begins after that, it asks whether the lease is
//!   over. So of several instances one does it, and one that was frozen with an old list in its memory does nothing.
//! - **Silence counts only where it could have been broken.** An instance that has just started, that was frozen, or
//!   that could not write, takes nothing back before all rounds of the last L + 2W went well: while no server
//!   answers, nobody can ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::db::{self, Db};
use crate::feed::Room;
use crate::feed::window::IdMap;
use crate::service::Context;
use crate::tasks::Kind;
use crate::transaction;

use super::changes::{self, Feed, NewEvent};
use super::store;

/// Longest pause between two rounds.
const EVERY_MAX: Duration = Duration::from_secs(60);
/// Users noted by one event loop between two rounds, at most. Beyond it nobody's silence is certain.
const ASKED_MAX: usize = 262_144;
/// Users in one statement.
const WRITTEN_AT_ONCE: usize = 10_000;
/// Conversations that `helpdesk.lease_list_over` gives at once: its LIMIT.
const LISTED_MAX: usize = 100;

/// Who asked an event loop since the last round.
#[derive(Default)]
struct Asked {
    users: IdMap<()>,
    /// When the newest of them did.
    newest: Option<Instant>,
    /// How many held polls and streams each has.
    held: IdMap<u32>,
    /// Somebody could not be noted.
    is_full: bool,
}

/// The leases of all claims, as this instance keeps them.
pub(super) struct Lease {
    length: Duration,
    db: Arc<Db>,
    feed: Arc<Feed>,
    lapsed: IntCounter,
    /// One for each event loop, which nobody else but the rounds locks.
    asked: Box<[Mutex<Asked>]>,
}

/// Somebody who is held or listens: as long as this lives, they ask.
pub(super) struct Presence {
    lease: Arc<Lease>,
    event_loop: usize,
    user: u64,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut asked = self.lease.asked(self.event_loop);
        if let Some(count) = asked.held.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                asked.held.remove(&self.user);
            }
        }
        drop(asked);
        self.lease.note(self.event_loop, self.user, Instant::now());
    }
}

impl Lease {
    /// Starts it, where claims have one; `lapsed` counts what is taken back.
    pub(super) fn start(context: &Context, feed: &Arc<Feed>, lapsed: IntCounter) -> Option<Arc<Self>> {
        let length = Duration::from_secs(context.config.claim_lease_seconds);
        if length.is_zero() {
            return None;
        }
        let asked = (0..context.config.web_concurrency.max(1)).map(|_| Mutex::default()).collect();
        let lease = Arc::new(Self { length, db: context.db.clone(), feed: feed.clone(), lapsed, asked });
        let held = Arc::downgrade(&lease);
        context.tasks.spawn("claim_lease", Kind::Housekeeping, move || run(held.clone()));
        Some(lease)
    }

    fn asked(&self, event_loop: usize) -> MutexGuard<'_, Asked> {
        self.asked[event_loop % self.asked.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `user` asked for updates.
    pub(super) fn note(&self, event_loop: usize, user: u64, received_at: Instant) {
        let mut asked = self.asked(event_loop);
        if asked.users.len() < ASKED_MAX {
            asked.users.insert(user, ());
        } else {
            asked.is_full |= !asked.users.contains_key(&user);
        }
        asked.newest = asked.newest.max(Some(received_at));
    }

    /// Notes that `user` is held or listens, until this is dropped.
    pub(super) fn hold(self: &Arc<Self>, event_loop: usize, user: u64) -> Presence {
        *self.asked(event_loop).held.entry(user).or_default() += 1;
        Presence { lease: self.clone(), event_loop, user }
    }

    /// Pause between two rounds.
    fn every(&self) -> Duration {
        (self.length / 2).min(EVERY_MAX)
    }

    /// The silence after which a conversation is taken back.
    fn silence(&self) -> Duration {
        self.length + 2 * self.every()
    }

    /// Who asked since the last round and when the newest of them did; `None` where somebody could not be noted.
    fn take(&self) -> (Vec<u64>, Option<Instant>, bool) {
        let (mut users, mut newest, mut is_full) = (Vec::new(), None, false);
        for event_loop in 0..self.asked.len() {
            let mut asked = self.asked(event_loop);
            users.extend(asked.users.drain().map(|(user, ())| user));
            newest = newest.max(asked.newest.take());
            is_full |= std::mem::take(&mut asked.is_full);
            if !asked.held.is_empty() {
                users.extend(asked.held.keys());
                newest = Some(Instant::now());
            }
        }
        users.sort_unstable();
        users.dedup();
        (users, newest, is_full)
    }

    /// Writes who asked; false where somebody is missing.
    async fn write(&self) -> Result<bool, db::Error> {
        let (users, newest, is_full) = self.take();
        let Some(newest) = newest else { return Ok(!is_full) };
        let written = self.write_all(&users, newest).await;
        if written.is_err() {
            // They did ask; the next round says so.
            users.iter().for_each(|&user| self.note(0, user, newest));
        }
        written.map(|()| !is_full)
    }

    async fn write_all(&self, users: &[u64], newest: Instant) -> Result<(), db::Error> {
        let mut db = self.db.writer().await?;
        for users in users.chunks(WRITTEN_AT_ONCE) {
            let at_work = store::expert_list_at_work(&mut db, users).await?;
            if !at_work.is_empty() {
                // As of the newest asking, not of now: this instance may have been frozen since.
                store::user_asked(&mut db, &at_work, micros(newest.elapsed())).await?;
            }
        }
        Ok(())
    }

    /// Takes back all that is over.
    async fn take_back(&self, watch: &Watch) -> Result<(), db::Error> {
        loop {
            let silence = micros(self.silence());
            let over = store::lease_list_over(&mut self.db.writer().await?, silence).await?;
            for &(conversation, expert) in &over {
                if !watch.is_awake(Instant::now()) {
                    return Ok(());
                }
                if let Some(event) = self.lapse(conversation, expert).await? {
                    self.lapsed.inc();
                    self.feed.wrote(expert, event, Room::default());
                    tracing::info!(conversation, expert, "a claim lapsed: the conversation waits again");
                }
            }
            if over.len() < LISTED_MAX {
                return Ok(());
            }
        }
    }

    /// Takes a conversation back from this expert if their lease is over; the event.
    async fn lapse(&self, conversation: u64, expert: u64) -> Result<Option<u64>, db::Error> {
        let silence = micros(self.silence());
        transaction!(self.db, db => {
            let standing = store::conversation_lock(db, conversation).await?;
            let is_theirs = standing.is_some_and(|(status, of)| status == "active" && of == Some(expert));
            if !is_theirs || !store::lease_is_over(db, conversation, silence).await? {
                return Ok(None);
            }
            store::conversation_unclaim(db, conversation, expert).await?;
            store::assignment_end(db, "unassigned", conversation, expert).await?;
            changes::record_and_commit(db, &NewEvent::unclaimed(conversation, expert)).await.map(Some)
        })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Since when this instance would have seen who asks.
struct Watch {
    since: Instant,
    /// Before the last round that went well.
    last: Instant,
    every: Duration,
}

impl Watch {
    fn begin(every: Duration) -> Self {
        let now = Instant::now();
        Self { since: now, last: now, every }
    }

    /// Whether the last round was not too long ago for who asked since to have been written by the next.
    fn is_awake(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) <= 2 * self.every
    }

    /// A round that began at `begun` went well at `now`.
    fn went_well(&mut self, begun: Instant, now: Instant) {
        if !self.is_awake(now) {
            self.since = begun;
        }
        self.last = begun;
    }
}

/// Writes and takes back until the help desk is dropped.
async fn run(lease: Weak<Lease>) {
    let Some(every) = lease.upgrade().map(|lease| lease.every()) else { return };
    let mut watch = Watch::begin(every);
    let mut failed = false;
    loop {
        tokio::time::sleep(every).await;
        let Some(lease) = lease.upgrade() else { return };
        let outcome = round(&lease, &mut watch).await;
        if let Err(error) = &outcome
            && !failed
        {
            tracing::warn!(%error, "the leases of claims are looked at later");
        }
        failed = outcome.is_err();
    }
}

async fn round(lease: &Lease, watch: &mut Watch) -> Result<(), db::Error> {
    let begun = Instant::now();
    if !lease.write().await? {
        *watch = Watch::begin(watch.every);
        return Ok(());
    }
    watch.went_well(begun, Instant::now());
    if watch.since.elapsed() >= lease.silence() {
        lease.take_back(watch).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_only_while_somebody_listened() {
        let every = Duration::from_secs(1);
        let mut watch = Watch::begin(every);
        let begun = watch.since;
        let at = |ms| begun + Duration::from_millis(ms);
        for second in 1..=10 {
            watch.went_well(at(1_000 * second), at(1_000 * second + 500));
        }
        assert_eq!(watch.since, begun);
        assert!(watch.is_awake(at(12_000)) && !watch.is_awake(at(12_001)));
        // Frozen, or without a database: what was asked meanwhile nobody has seen.
        watch.went_well(at(12_100), at(12_101));
        assert_eq!(watch.since, at(12_100));
        // A round that took too long likewise.
        watch.went_well(at(13_000), at(14_101));
        assert_eq!(watch.since, at(13_000));
    }
}
