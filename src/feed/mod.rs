//! The update feed: what changed, in order, from every instance's memory. One write, from commit to a poll's answer:
//!
//! ```text
//! writer's transaction ── one row in `outbox`, with the COMMIT
//!        │ then Feed::wrote(user, event): wakes the tail here
//! sequencer ── the leader reads what is committed in `outbox` with the state after it, gives it numbers and times, and
//!        │      stores it as readers need it, JSON included: one row of `runs`, one packet
//!        │
//! tail ── every instance reads `runs` after its last: the same bytes of the same moment everywhere
//!        │
//! window ── per event loop: recent items, per recipient and topic the newest position
//!        │
//! poll ── one look-up and a compare; held polls and streams are woken
//! ```
//!
//! It knows items by their numbers, recipients and topics, and no HTTP. What a change means, who gets it and how it is told
//! is said by the service whose feed it is: [`Domain`].
//!
//! # Invariants
//! 1. A change is numbered after it is committed, after every change that it could have been caused by, once.
//!    Numbers have no gap, times grow with them. ([`sequencer`])
//! 2. A window holds every change from its floor to its position, or it is thrown away and loaded anew: a gap,
//!    another history or a head that went back are never passed over. ([`tail`])
//! 3. What was committed before [`Feed::watermark`] is in the windows, and what is not has a later time ([`tail`] shows
//!    why). A `since` poll is answered only when that is at most [`FRESH_MS_MAX`] before the poll came, and no poll of any
//!    kind is told that nothing is new once it is [`SILENT_MS_MAX`] ago, whatever the cause.
//! 4. A poll is answered from the window only where that knows everything the answer could hold. ([`window`])
//! 5. Nobody sees an item that they are no recipient of. ([`window`], [`item::Payload::recipients`])
//! 6. A cursor never moves over something that was not delivered. ([`poll`])
//! 7. News that take the place of what a client has ([`item::PollClass::replaces`]) are told only once all that was
//!    committed before the poll came is in the window: another instance may have told it already, and its
//!    time, which the client echoes, must not cover what an older answer takes back. ([`poll`])
//! 8. **A writer's next poll here shows what they wrote.** Not the write waits for that, but the poll: [`Feed::wrote`]
//!    notes user and row in each loop's part, and the tail crosses the note out, under the same lock.

mod backlog;
pub(crate) mod block;
pub mod cursor;
pub(crate) mod domain;
mod held;
pub mod item;
mod metrics;
mod pace;
pub mod poll;
mod purge;
pub(crate) mod run;
mod sequencer;
mod shard;
pub mod store;
mod tail;
#[cfg(test)]
mod toy;
pub mod window;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus::Registry;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};

use crate::clock::Timestamp;
use crate::config::Config;
use crate::db::Db;
use crate::tasks::{Kind, Tasks};

pub use backlog::Room;
pub use cursor::{Cursor, Position};
pub use domain::{CursorAsk, Domain};
pub use metrics::FeedMetrics;

use backlog::Backlog;
use domain::WindowOf;
use item::Item;
use poll::Unavailable;
use shard::Shard;
use window::{Retention, Window};

/// How old, when a `since` poll comes, the state may be that it is answered from. Its answer reaches back as far before
/// its time.
pub const FRESH_MS_MAX: u64 = 100;
/// The same for a cursor poll while the database answers: an instance that was frozen reads on before it serves.
pub const STALE_MS_MAX: u64 = 1_000;
/// Longest wait for the tail. Beyond it a `since` poll gets a 503 and a cursor poll an answer from memory.
pub const WAIT_MS_MAX: u64 = 2_000;
/// Oldest state that anybody is answered from, whatever is wrong: the contract's 5 s. Beyond it every poll is a 503.
pub const SILENT_MS_MAX: u64 = 5_000;
/// Longest time from the moment that a transaction writes as a change's time to its commit.
pub const COMMIT_MICROS_MAX: i64 = 5_000_000;
/// How often it is looked whether that is so, to tell those who are held.
const SILENCE_CHECK_MS: u64 = 250;
/// From this on a clock that differs from the database's is a warning: more than a slow reply makes it seem.
const SKEW_MS_MAX: u64 = 2_000;
/// Ids of events remembered as applied, for writers that come late to say that they wrote them.
const RECENT_MAX: usize = 8_192;

const _: () =
    assert!(FRESH_MS_MAX < STALE_MS_MAX && STALE_MS_MAX < WAIT_MS_MAX && WAIT_MS_MAX < SILENT_MS_MAX);

/// What the feed is started with.
pub struct Parts {
    /// The database.
    pub db: Arc<Db>,
    /// The number of event loops, and the limits.
    pub config: Arc<Config>,
    /// What supervises its tasks.
    pub tasks: Tasks,
}

/// A service's update feed in this process.
pub struct Feed<D: Domain> {
    /// What only the service knows.
    pub domain: D,
    shards: Box<[Mutex<Shard<D>>]>,
    /// Told after each read of the tail, one for each event loop.
    ticked: Box<[Notify]>,
    /// The ids of the events applied last. Held while a run goes into the shards, so that [`Feed::wrote`] sees it in all or
    /// in none.
    recent: Mutex<BTreeSet<u64>>,
    backlog: Backlog,
    config: Arc<Config>,
    born: Instant,
    /// Microseconds since `born`: see [`Feed::watermark`]; 0 for never.
    watermark: AtomicU64,
    /// The last attempt to read failed.
    away: AtomicBool,
    /// Somebody here waits for what was committed since the last round.
    wanted: AtomicBool,
    /// How many microseconds the database's clock is ahead of ours.
    skew: AtomicI64,
    /// Nobody is held any more: the process stops.
    released: AtomicBool,
    /// The tail is to end before its next packet.
    closing: AtomicBool,
    /// Told when it has.
    closed: Semaphore,
    waiters: AtomicUsize,
    wake: Notify,
    metrics: FeedMetrics,
}

impl<D: Domain> Feed<D> {
    /// Starts the tail and the purge on the runtime that this is called on (the background runtime). Returns at once: polls
    /// wait until the feed was read for the first time.
    pub fn start(parts: Parts, domain: D, registry: &Registry) -> Result<Arc<Self>, prometheus::Error> {
        let metrics = FeedMetrics::new(registry)?;
        let born = Instant::now();
        let seed = Timestamp::now().micros().unsigned_abs();
        let Parts { db, config, tasks } = parts;
        let loops = config.web_concurrency.max(1);
        let feed = Arc::new(Self {
            domain,
            shards: (0..loops)
                .map(|index| Mutex::new(Shard::new(seed.wrapping_mul(2 * index as u64 + 1))))
                .collect(),
            ticked: (0..loops).map(|_| Notify::new()).collect(),
            recent: Mutex::default(),
            backlog: Backlog::new(),
            config,
            born,
            watermark: AtomicU64::new(0),
            away: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            skew: AtomicI64::new(0),
            released: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: Semaphore::new(0),
            waiters: AtomicUsize::new(0),
            wake: Notify::new(),
            metrics,
        });
        metrics::register_gauges(&feed, registry)?;
        // The tasks hold the feed weakly: they end with its last user.
        let (held, tail_db) = (Arc::downgrade(&feed), db.clone());
        let tail = move || tail::run(held.clone(), tail_db.clone());
        tasks.spawn("feed_tail", Kind::Needed, tail);
        let held = Arc::downgrade(&feed);
        tasks.spawn("feed_silence", Kind::Needed, move || tell_silence(held.clone()));
        let held = Arc::downgrade(&feed);
        let purge = move || purge::run(held.clone(), db.clone());
        tasks.spawn("feed_purge", Kind::Housekeeping, purge);
        Ok(feed)
    }

    /// Room for a change of so many bytes, as JSON, in what has no number yet: to be waited for before its transaction, and
    /// given to [`Feed::wrote`].
    ///
    /// # Errors
    /// [`Unavailable::Behind`] where there is none in [`WAIT_MS_MAX`].
    pub async fn room(&self, bytes: usize) -> Result<Room, Unavailable> {
        self.backlog.room(bytes).await.ok_or_else(|| {
            self.metrics.refused_writes.inc();
            Unavailable::Behind
        })
    }

    /// To be called after the commit of a transaction that recorded `event` (its outbox row's id), with the user who caused
    /// it, and the room it has, before they are answered. Costs a short lock for each event loop, waits for nothing.
    pub fn wrote(&self, user: u64, event: u64, room: Room) {
        let until = Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        let recent = self.recent();
        if !recent.contains(&event) {
            for index in 0..self.shards.len() {
                self.shard(index).wrote(user, event, until);
            }
            self.backlog.add(event, room, until);
        }
        drop(recent);
        self.nudge();
    }

    /// Has what is committed by now numbered and read at once: somebody waits for it.
    pub fn nudge(&self) {
        self.wanted.store(true, Relaxed);
        self.wake.notify_one();
    }

    /// Answers all held polls and ends all streams, now and from now on: the process stops.
    pub fn release(&self) {
        self.released.store(true, Relaxed);
        self.wake_all();
    }

    fn wake_all(&self) {
        for index in 0..self.shards.len() {
            let woken = self.shard(index).wake_all();
            woken.into_iter().for_each(std::task::Waker::wake);
        }
    }

    /// Waits until the feed was read for the first time.
    pub async fn loaded(&self) {
        loop {
            let ticked = self.ticked[0].notified();
            if self.watermark().is_some() {
                return;
            }
            ticked.await;
        }
    }

    /// Ends the tail between two packets, so that the database is left with nothing half done; to be called last, as
    /// nothing is read any more. Returns when it has ended: within a statement's limit at the latest.
    pub async fn close(&self) {
        self.closing.store(true, Relaxed);
        self.wake.notify_one();
        // The semaphore is closed by the tail: that is an error, and the signal.
        let _ended = self.closed.acquire().await;
    }

    /// Whether [`Feed::release`] was called.
    pub fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }

    /// What was committed before this moment is visible here; what is not, was numbered after it. `None` before
    /// the first read.
    pub fn watermark(&self) -> Option<Instant> {
        match self.watermark.load(Relaxed) {
            0 => None,
            micros => Some(self.born + Duration::from_micros(micros)),
        }
    }

    /// The last change that is visible here.
    pub fn position(&self) -> u64 {
        self.position_of_all().map_or(0, |position| position.seq)
    }

    /// What [`Window::size`] says.
    fn window_size(&self) -> (usize, usize, usize, Option<Timestamp>) {
        self.ask_window(0, Window::size).unwrap_or_default()
    }

    /// Where the windows of all loops are. None gets ahead of it before this returns, and none is behind.
    pub fn position_of_all(&self) -> Option<Position> {
        let _no_batch_between = self.recent();
        self.shard(0).window.as_ref().map(Window::position)
    }

    /// Asks the window of an event loop something; `None` before the feed was read for the first time.
    pub fn ask_window<T>(&self, event_loop: usize, ask: impl FnOnce(&WindowOf<D>) -> T) -> Option<T> {
        self.shard(event_loop).window.as_ref().map(ask)
    }

    /// Told after each read of the tail.
    pub fn ticked(&self, event_loop: usize) -> Notified<'_> {
        self.ticked[event_loop % self.ticked.len()].notified()
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard<D>> {
        // A panic inside cannot have left a window half changed that matters more than going on.
        self.shards[index % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros_since_born(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.born);
        // 64 bits hold 500,000 years of them.
        (since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())).max(1)
    }

    /// New windows: nothing of the old ones holds any more.
    fn restart(&self, floor: Position, projection: &D::Projection) {
        let Config { feed_window_events: events_max, feed_window_bytes: bytes_max, .. } = *self.config;
        let retention = Retention { events_max, bytes_max };
        let mut recent = self.recent();
        // Another history may give the same ids again.
        recent.clear();
        self.watermark.store(0, Relaxed);
        self.domain.restarted();
        for index in 0..self.shards.len() {
            let mut shard = self.shard(index);
            shard.window = Some(Window::new(floor, retention, projection.clone()));
            shard.forget_writes();
            let woken = shard.wake_all();
            drop(shard);
            woken.into_iter().for_each(std::task::Waker::wake);
        }
    }

    /// Puts what was read into every window and wakes who waits for it.
    fn publish(&self, items: &[Arc<Item<D::Payload>>]) {
        let now = Instant::now();
        let mut recent = self.recent();
        for index in 0..self.shards.len() {
            let woken = self.shard(index).apply(items, now);
            self.metrics.woken.inc_by(woken.len() as u64);
            woken.into_iter().for_each(std::task::Waker::wake);
        }
        self.backlog.remove(items.iter().map(|item| item.id));
        recent.extend(items.iter().map(|item| item.id));
        // A row's id is given with its commit, so the smallest are the oldest.
        while recent.len() > RECENT_MAX {
            recent.pop_first();
        }
    }

    /// Takes in what the database's clock showed in a read that was asked for at `asked`.
    fn set_clock(&self, clock: Timestamp, asked: Instant) {
        let half_way = i64::try_from(asked.elapsed().as_micros() / 2).unwrap_or(i64::MAX);
        let skew = clock.micros() - (Timestamp::now().micros() - half_way);
        let before = self.skew.swap(skew, Relaxed);
        self.metrics.clock_skew_seconds.set(skew as f64 / 1e6);
        let is_off = |skew: i64| skew.unsigned_abs() > SKEW_MS_MAX * 1_000;
        if is_off(skew) && !is_off(before) {
            let seconds = skew as f64 / 1e6;
            tracing::warn!(
                seconds,
                "the database's clock is ahead of this machine's (behind it, if less than 0)"
            );
        }
    }

    fn tell_ticked(&self) {
        for ticked in &self.ticked {
            ticked.notify_waiters();
        }
    }
}

/// Wakes those who are held when nobody can say any more that nothing is new, and says so in the log.
async fn tell_silence<D: Domain>(feed: Weak<Feed<D>>) {
    let mut was_silent = false;
    loop {
        tokio::time::sleep(Duration::from_millis(SILENCE_CHECK_MS)).await;
        let Some(feed) = feed.upgrade() else { return };
        let is_silent = feed.is_silent(Instant::now());
        if is_silent != was_silent && feed.watermark().is_some() {
            if is_silent {
                tracing::error!("the feed is too old to say that nothing is new: every poll is refused");
                feed.wake_all();
            } else {
                tracing::info!("the feed answers polls again");
            }
        }
        was_silent = is_silent;
    }
}
