//! The answers to polls, as values: the help desk makes responses of them.
//!
//! A poll that finds nothing new takes its loop's lock, looks one user up, compares two numbers and gives a
//! constant. What has to wait (for the tail, for a list, for news) is a future; none of them keeps anything
//! of the database, so all may be dropped at any time.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::futures::Notified;
use tokio::time::timeout_at;

use crate::clock::Timestamp;

use super::answer::{List, NOTHING_BYTES_MAX, Nothing, Place, Updates, array, put_nothing};
use super::ask::CursorAsk;
use super::cursor::Cursor;
use super::shard::Shard;
use super::shown::Shown;
use super::window::{After, Class, Since, Tells};
use super::{FRESH_MS_MAX, Feed, SILENT_MS_MAX, STALE_MS_MAX, WAIT_MS_MAX};

/// What a client whose clock is fast is told each time: what changed of late. Nobody can say what of it it has.
const FAST_CLOCK_REACH_MICROS: i64 = 60_000_000;
/// What clients are asked to pause, and by how much they are spread.
const NEXT_POLL_MS: (u64, u64) = (4_500, 1_000);
/// The same while the process stops: early enough to find another, spread so that they do not all come at once.
const NEXT_POLL_RELEASED_MS: (u64, u64) = (1_000, 4_000);

/// From this age of the state on a `since` poll wakes the tail, also where it need not wait for it: so that those who come
/// next need not either, however late this machine gets to it.
const WORN_MS_MIN: u64 = FRESH_MS_MAX / 2;

/// The feed cannot answer now: 503 with `Retry-After`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The tail did not get fresh in time: its database is away or slow.
    #[error("the feed is not fresh")]
    Stale,
    /// A list of the queue could not be loaded, for this reason.
    #[error("the queue's lists cannot be loaded: {0}")]
    Lists(Arc<str>),
    /// As many wait as may.
    #[error("too many wait")]
    Full,
}

/// A poll that the database has to answer, because it reaches back further than memory.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    user: u64,
    class: Class,
    /// From when on: the poll's `since`, or what stands for it.
    pub since: Timestamp,
    /// What to give as `X-Updates-Cursor`: taken before the database is read.
    pub cursor: Cursor,
}

/// The answer to a `since` poll.
#[derive(Debug)]
pub enum SincePoll {
    /// `[]`, and the cursor's text: made at once, while the loop's part is locked anyway.
    Unchanged(Bytes),
    /// This JSON array.
    Changed(Bytes, Cursor),
    /// Ask the database for what has an `updated_at` or `created_at` later than five seconds before `since`
    /// (transactions commit later than their stamps, and last at most that long), then call
    /// [`Feed::answered`].
    AskDatabase(Asked),
    /// Await [`Feed::since_later`].
    Later,
}

/// The answer to a cursor poll.
#[derive(Debug)]
pub enum CursorPoll {
    /// Nothing is new. The cursor may be newer than the one that was sent, as others had news.
    Unchanged(Cursor),
    /// This JSON object.
    Changed(Bytes, Cursor),
    /// 410: too old, from the future, of another user or of another history.
    Reset,
    /// Await [`Feed::cursor_later`].
    Later,
}

/// How a cursor poll may be answered.
enum Readiness {
    /// From memory.
    Ready,
    /// Not before the tail's next read.
    Wait,
    /// From memory, without a move of the cursor, as the database does not answer: nothing better is to be had.
    Unread,
}

impl Feed {
    /// Answers a `since` poll of the caller `user` on event loop `event_loop`. It came now, by either clock.
    pub fn since_poll(
        &self,
        event_loop: usize,
        user: u64,
        class: Class,
        since: Timestamp,
        (now, at): (Instant, Timestamp),
    ) -> SincePoll {
        self.since_poll_of(event_loop, user, class, since, (now, now, at), None)
    }

    /// The same for a poll that `came` some time ago. `least` is the queue's newest change as of a moment after that, where
    /// one is known: where the queue moves on faster than it is read, an answer need not have what came later.
    fn since_poll_of(
        &self,
        event_loop: usize,
        user: u64,
        class: Class,
        since: Timestamp,
        (came, now, at): (Instant, Instant, Timestamp),
        least: Option<u64>,
    ) -> SincePoll {
        let now_micros = self.micros_since_born(now);
        let mut shard = self.shard(event_loop);
        // What counts is when the read began, not how long it took: a slow database makes polls late, not wrong.
        // Nearly every poll is answered when it comes.
        let came = if came == now { now_micros } else { self.micros_since_born(came) };
        let fresh = self.fresh.load(Relaxed);
        let is_fresh = fresh != 0 && fresh + FRESH_MS_MAX * 1_000 >= came;
        if fresh + WORN_MS_MIN * 1_000 < came {
            self.wake.notify_one();
        }
        if !is_fresh || shard.lacks_writes_of(user, now) {
            return SincePoll::Later;
        }
        self.since_now(&mut shard, user, class, since, (fresh >= came, at, least))
    }

    /// `has_all` tells whether all that was committed before the poll came is in the window.
    fn since_now(
        &self,
        shard: &mut Shard,
        user: u64,
        class: Class,
        since: Timestamp,
        (has_all, at, least): (bool, Timestamp, Option<u64>),
    ) -> SincePoll {
        let Some(window) = &shard.window else { return SincePoll::Later };
        let cursor = Cursor::new(window.position(), user);
        // Times are the database's. What lies after all that it can have given is a client's own clock, and fast.
        let now = Timestamp::from_micros(at.micros().saturating_add(self.skew.load(Relaxed)));
        let since = if since > now && since > cursor.at {
            Timestamp::from_micros(now.micros().saturating_sub(FAST_CLOCK_REACH_MICROS))
        } else {
            since
        };
        match window.since(user, class, since) {
            Since::Unchanged => SincePoll::Unchanged(shard.text_of(cursor)),
            // Messages never change: an older answer takes nothing back.
            Since::News(..) | Since::Queue if class != Class::Messages && !has_all => SincePoll::Later,
            Since::News(pieces, position) => SincePoll::Changed(array(&pieces), Cursor::new(position, user)),
            Since::Queue => match self.queue_now(shard, user, least) {
                Some((queue, position)) => {
                    SincePoll::Changed(queue.json(b"[", b"]"), Cursor::new(position, user))
                }
                None => SincePoll::Later,
            },
            Since::Unknown => {
                self.metrics.asked_database.inc();
                SincePoll::AskDatabase(Asked { user, class, since, cursor })
            }
        }
    }

    /// The same, when it has to wait. Never [`SincePoll::Later`].
    ///
    /// # Errors
    /// [`Unavailable`] after [`WAIT_MS_MAX`], for the tail and for the lists.
    pub async fn since_later(
        &self,
        event_loop: usize,
        user: u64,
        class: Class,
        since: Timestamp,
    ) -> Result<SincePoll, Unavailable> {
        let came = Instant::now();
        let until = || tokio::time::Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        let (mut deadline, mut least) = (until(), None);
        loop {
            let ticked = self.ticked[event_loop % self.ticked.len()].notified();
            let loaded = self.lists.loaded.notified();
            if class == Class::Queue && least.is_none() {
                least = self.queue_after(event_loop, came);
                // The lists have their own time: they can only be loaded when it is known what they must have.
                deadline = least.map_or(deadline, |_| until());
            }
            let times = (came, Instant::now(), Timestamp::now());
            match self.since_poll_of(event_loop, user, class, since, times, least) {
                SincePoll::Later => {}
                answer => return Ok(answer),
            }
            // Which of the two it lacks is not worth telling apart: a list that is there is not loaded again.
            if class == Class::Queue {
                self.want_queue(event_loop, user)?;
            }
            self.nudge();
            let waited = self.either(deadline, ticked, loaded).await;
            waited.map_err(|stale| if class == Class::Queue { self.why(stale) } else { stale })?;
        }
    }

    /// How many conversations wait: `X-Total-Count`.
    #[must_use]
    pub fn waiting_total(&self, event_loop: usize) -> u64 {
        self.shard(event_loop).window.as_ref().map_or(0, super::window::Window::waiting)
    }

    /// The same with all that was committed before this call.
    ///
    /// # Errors
    /// [`Unavailable`] after [`WAIT_MS_MAX`].
    pub async fn waiting_total_now(&self, event_loop: usize) -> Result<u64, Unavailable> {
        let came = Instant::now();
        let deadline = tokio::time::Instant::from_std(came) + Duration::from_millis(WAIT_MS_MAX);
        loop {
            let ticked = self.ticked[event_loop % self.ticked.len()].notified();
            if self.fresh.load(Relaxed) >= self.micros_since_born(came) {
                return Ok(self.waiting_total(event_loop));
            }
            self.nudge();
            timeout_at(deadline, ticked).await.map_err(|_| Unavailable::Stale)?;
        }
    }

    /// Notes the database's answer to a `since` poll, so that the next one is answered from memory: nothing
    /// of the user is newer than `newest`, the latest `updatedAt` or `timestamp` in the answer, or the
    /// poll's `since` where that is later.
    pub fn answered(&self, asked: &Asked, newest: Timestamp) {
        for index in 0..self.shards.len() {
            let mut shard = self.shard(index);
            if let Some(window) = shard.window.as_mut().filter(|window| window.holds(asked.cursor.position()))
            {
                window.verify(asked.user, asked.class, newest, asked.cursor.seq);
            }
        }
    }

    /// A cursor for `user` from before now: take it, then read the full state.
    ///
    /// # Errors
    /// [`Unavailable`] while the feed was not read yet.
    pub fn cursor(&self, event_loop: usize, user: u64) -> Result<Cursor, Unavailable> {
        let shard = self.shard(event_loop);
        let window = shard.window.as_ref().ok_or(Unavailable::Stale)?;
        Ok(Cursor::new(window.position(), user))
    }

    /// The same, after what `user` wrote here: so that their first poll does not tell them of it again.
    ///
    /// # Errors
    /// [`Unavailable`] while the feed was not read yet.
    pub async fn cursor_after_own_writes(&self, event_loop: usize, user: u64) -> Result<Cursor, Unavailable> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        self.settle(event_loop, user, deadline).await;
        self.cursor(event_loop, user)
    }

    /// The cursor's text, for a header or a body, without an allocation of its own.
    #[must_use]
    pub fn cursor_text(&self, event_loop: usize, cursor: Cursor) -> Bytes {
        self.shard(event_loop).text_of(cursor)
    }

    /// What to give as `nextPollMs`.
    #[must_use]
    pub fn next_poll_ms(&self, event_loop: usize) -> u64 {
        self.pace(&mut self.shard(event_loop))
    }

    fn pace(&self, shard: &mut Shard) -> u64 {
        let (least, spread) = if self.is_released() { NEXT_POLL_RELEASED_MS } else { NEXT_POLL_MS };
        least + shard.random_below(spread)
    }

    /// What to answer where nothing is new after `cursor`, without an allocation of its own.
    #[must_use]
    pub fn nothing(&self, event_loop: usize, cursor: Cursor, shown: Shown) -> Nothing {
        let shard = &mut self.shard(event_loop);
        let total = shard.window.as_ref().map_or(0, super::window::Window::waiting);
        let next_poll_ms = self.pace(shard);
        let json = if shown == Shown::ALL {
            shard.text(NOTHING_BYTES_MAX, |text| put_nothing(text, cursor, total, next_poll_ms))
        } else {
            let none = List::Array(b"[]");
            let updates = Updates {
                cursor,
                shown,
                conversations: none,
                messages: none,
                waiting: none,
                left: &[],
                total,
                positions: &[],
                next_poll_ms,
            };
            shard.text(updates.bytes_max(), |text| updates.put(text))
        };
        // It stands in there already.
        let cursor = json.slice(Updates::CURSOR);
        Nothing { json, cursor }
    }

    /// Where `user`'s conversations stand that wait, as far as is known here.
    #[must_use]
    pub fn positions(&self, event_loop: usize, user: u64) -> Vec<Place> {
        self.shard(event_loop).window.as_ref().map_or_else(Vec::new, |window| window.positions(user))
    }

    /// Whether `user` has a conversation that waits.
    pub(super) fn has_place(&self, event_loop: usize, user: u64) -> bool {
        self.shard(event_loop).window.as_ref().is_some_and(|window| window.has_place(user))
    }

    /// Answers a cursor poll of the caller `user` on event loop `event_loop`. It came `now`.
    pub fn cursor_poll(
        &self,
        event_loop: usize,
        user: u64,
        ask: impl Into<CursorAsk>,
        now: Instant,
    ) -> CursorPoll {
        let CursorAsk { cursor, tells } = ask.into();
        let came = self.micros_since_born(now);
        if cursor.user != user {
            return CursorPoll::Reset;
        }
        let mut shard = self.shard(event_loop);
        match self.readiness(&shard, cursor, came, now) {
            Readiness::Ready => self.cursor_now(&mut shard, cursor, tells),
            Readiness::Unread => self.cursor_unread(&mut shard, cursor, tells),
            Readiness::Wait => CursorPoll::Later,
        }
    }

    /// A poll that came at `came` (microseconds since the feed was born) waits while what is here is older than it may be, while its user's own
    /// write is not here, and while its cursor is ahead: another instance was faster, or there is no such
    /// change; only a read that began after the poll came can tell.
    fn readiness(&self, shard: &Shard, cursor: Cursor, came: u64, now: Instant) -> Readiness {
        let Some(window) = &shard.window else { return Readiness::Wait };
        let fresh = self.fresh.load(Relaxed);
        if fresh == 0 || shard.lacks_writes_of(cursor.user, now) {
            return Readiness::Wait;
        }
        let is_ahead = cursor.seq > window.seq() && fresh <= came;
        if !is_ahead && fresh + STALE_MS_MAX * 1_000 >= came {
            return Readiness::Ready;
        }
        // While the database is away it is not waited for, as long as memory may be answered from.
        if self.away.load(Relaxed) && !self.is_silent(now) { Readiness::Unread } else { Readiness::Wait }
    }

    /// Whether what is here is so old that "nothing new" must not be said any more, by nobody.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let fresh = self.fresh.load(Relaxed);
        fresh == 0 || fresh + SILENT_MS_MAX * 1_000 < self.micros_since_born(now)
    }

    fn cursor_now(&self, shard: &mut Shard, cursor: Cursor, tells: Tells) -> CursorPoll {
        let Some(window) = &shard.window else { return CursorPoll::Later };
        if !window.holds(cursor.position()) {
            return CursorPoll::Reset;
        }
        match window.after(cursor.user, cursor.seq, tells) {
            After::Unchanged => CursorPoll::Unchanged(Cursor::new(window.position(), cursor.user)),
            After::TooOld => CursorPoll::Reset,
            After::News(news) if news.is_held_back => CursorPoll::Unchanged(cursor),
            After::News(news) if news.is_empty() => {
                CursorPoll::Unchanged(Cursor::new(news.position, cursor.user))
            }
            After::News(news) => {
                let cursor = Cursor::new(news.position, cursor.user);
                let updates = Updates {
                    cursor,
                    shown: tells.shown,
                    conversations: List::Pieces(&news.conversations),
                    messages: List::Pieces(&news.messages),
                    waiting: List::Pieces(&news.waiting),
                    left: &news.left,
                    total: news.total,
                    positions: &news.positions,
                    next_poll_ms: self.pace(shard),
                };
                CursorPoll::Changed(updates.json(), cursor)
            }
        }
    }

    /// The same while the database cannot be read: what memory has is told, and beyond that the cursor stays. One that
    /// is ahead by its number and not by its time is of a history that is no more (times never come again), and lacks
    /// what memory has of the one that took its place.
    fn cursor_unread(&self, shard: &mut Shard, cursor: Cursor, tells: Tells) -> CursorPoll {
        match shard.window.as_ref().map(super::window::Window::position) {
            Some(end) if cursor.seq <= end.seq => {}
            Some(end) if cursor.position().at < end.at => return CursorPoll::Reset,
            _ => return CursorPoll::Unchanged(cursor),
        }
        match self.cursor_now(shard, cursor, tells) {
            CursorPoll::Unchanged(_) => CursorPoll::Unchanged(cursor),
            found => found,
        }
    }

    /// The same, when it has to wait. Never [`CursorPoll::Later`].
    ///
    /// # Errors
    /// [`Unavailable::Stale`] when what is in memory is older than [`SILENT_MS_MAX`], or lacks what `user` wrote here.
    pub async fn cursor_later(
        &self,
        event_loop: usize,
        user: u64,
        ask: impl Into<CursorAsk>,
    ) -> Result<CursorPoll, Unavailable> {
        let CursorAsk { cursor, tells } = ask.into();
        if cursor.user != user {
            return Ok(CursorPoll::Reset);
        }
        let came = self.micros_since_born(Instant::now());
        let deadline = tokio::time::Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        let mut is_over = false;
        loop {
            let ticked = self.ticked[event_loop % self.ticked.len()].notified();
            {
                let (mut shard, now) = (self.shard(event_loop), Instant::now());
                match self.readiness(&shard, cursor, came, now) {
                    Readiness::Ready => return Ok(self.cursor_now(&mut shard, cursor, tells)),
                    Readiness::Unread => return Ok(self.cursor_unread(&mut shard, cursor, tells)),
                    Readiness::Wait if !is_over => {}
                    Readiness::Wait if self.is_silent(now) || shard.lacks_writes_of(user, now) => {
                        return Err(self.stale());
                    }
                    Readiness::Wait => return Ok(self.cursor_unread(&mut shard, cursor, tells)),
                }
            }
            self.nudge();
            is_over = timeout_at(deadline, ticked).await.is_err();
        }
    }

    /// Counts a poll that is refused because what is here is too old.
    pub(super) fn stale(&self) -> Unavailable {
        self.metrics.refused_stale.inc();
        Unavailable::Stale
    }

    /// Waits until the tail is fresh and has the user's own writes, or the deadline.
    async fn settle(&self, event_loop: usize, user: u64, deadline: tokio::time::Instant) {
        loop {
            let ticked = self.ticked[event_loop % self.ticked.len()].notified();
            let now = Instant::now();
            if self.shard(event_loop).window.is_some() && !self.shard(event_loop).lacks_writes_of(user, now) {
                return;
            }
            self.nudge();
            if timeout_at(deadline, ticked).await.is_err() {
                return;
            }
        }
    }

    /// Waits for the tail's next read or for a list, whichever comes first.
    pub(super) async fn either(
        &self,
        deadline: tokio::time::Instant,
        ticked: Notified<'_>,
        loaded: Notified<'_>,
    ) -> Result<(), Unavailable> {
        let first = async {
            tokio::select! {
                () = ticked => {}
                () = loaded => {}
            }
        };
        timeout_at(deadline, first).await.map_err(|_| self.stale())
    }
}
