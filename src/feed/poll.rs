//! The answers to polls, as values: the service makes responses of them.
//!
//! A poll that finds nothing new takes its loop's lock once, looks one user up, compares two numbers and gives a constant.
//! What has to wait is a future that keeps nothing of the database, so it may be dropped at any time.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout_at;

use crate::clock::Timestamp;

use super::cursor::{Cursor, TEXT_BYTES};
use super::domain::{After, Ask as _, CursorAsk, Domain, Unwritten};
use super::item::{Payload, PollClass as _};
use super::shard::Shard;
use super::window::{Since, SinceTime};
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
    /// What else the service needs could not be loaded, for this reason.
    #[error("{0}")]
    Failed(Arc<str>),
    /// More is written than can be numbered.
    #[error("more is written than can be told")]
    Behind,
    /// As many wait as may.
    #[error("too many wait")]
    Full,
}

/// A poll that the database has to answer, because it reaches back further than memory.
#[derive(Clone, Copy, Debug)]
pub struct BeyondMemory<C> {
    /// The user who asks, by id: only what concerns them is told.
    pub user: u64,
    /// Which of the `since` polls it is.
    pub class: C,
    /// From when on: the poll's `since`, or what stands for it.
    pub since: Timestamp,
    /// What to give as `X-Updates-Cursor`: taken before the database is read.
    pub cursor: Cursor,
}

/// The class of a service's `since` polls.
type ClassOf<D> = <<D as Domain>::Payload as Payload>::Class;

/// The answer to a `since` poll.
#[derive(Debug)]
pub enum SincePoll<C> {
    /// `[]`, and the cursor's text: made at once, while the loop's part is locked anyway.
    Unchanged(Bytes),
    /// These, each as JSON.
    Changed(Vec<Bytes>, Cursor),
    /// What is told whole changed: the service has it, or waits for it.
    Whole,
    /// Ask the database for what has a time later than five seconds before `since` (transactions commit later than their
    /// stamps, and last at most that long), of which what is not later than `since` may be left out if it is a time that was
    /// shown and [`Feed::is_settled`]; then call [`Feed::answered`].
    AskDatabase(BeyondMemory<C>),
}

/// The answer to a cursor poll.
#[derive(Debug)]
pub enum CursorPoll {
    /// Nothing is new. The cursor may be newer than the one that was sent, as others had news.
    Unchanged(Cursor),
    /// This JSON object.
    Changed(Bytes, Cursor),
    /// 410: too old, from the future, of another user or of another history, or partial where all is told by now.
    Reset,
}

/// The answer to a cursor poll that finds nothing, and its cursor's text: no allocation of their own.
#[derive(Debug)]
pub struct Unchanged {
    /// The JSON object.
    pub json: Bytes,
    /// For the header.
    pub cursor: Bytes,
}

impl<D: Domain> Feed<D> {
    /// Answers a `since` poll of the caller `user` on event loop `event_loop`, which was received some time before now, by
    /// either clock; `None` where it has to wait: await [`Feed::since_later`].
    pub fn since_poll(
        &self,
        event_loop: usize,
        user: u64,
        class: ClassOf<D>,
        since: Timestamp,
        (received_at, now, wall_time): (Instant, Instant, Timestamp),
    ) -> Option<SincePoll<ClassOf<D>>> {
        let received_at = self.micros_since_born(received_at);
        let mut shard = self.shard(event_loop);
        // What counts is when the read began, not how long it took: a slow database makes polls late, not wrong.
        let fresh = self.watermark.load(Relaxed);
        let is_fresh = fresh != 0 && fresh + FRESH_MS_MAX * 1_000 >= received_at;
        if fresh + WORN_MS_MIN * 1_000 < received_at {
            self.wake.notify_one();
        }
        if !is_fresh || shard.lacks_writes_of(user, now) {
            return None;
        }
        let window = shard.window.as_ref()?;
        let cursor = Cursor::new(window.position(), user);
        // Times are the database's. What lies after all that it can have given is a client's own clock, and fast.
        let latest = Timestamp::from_micros(wall_time.micros().saturating_add(self.skew.load(Relaxed)));
        let since = if since > latest && since > cursor.at {
            let time = Timestamp::from_micros(latest.micros().saturating_sub(FAST_CLOCK_REACH_MICROS));
            SinceTime { time, is_told_again: true }
        } else {
            since.into()
        };
        Some(match window.since(user, class, since) {
            Since::Unchanged => SincePoll::Unchanged(shard.text_of(cursor)),
            // What only adds to what a client has takes nothing back, however old the answer is. The rest waits until all that
            // was committed before the poll was received is in the window.
            Since::News(..) | Since::Whole if class.replaces() && fresh < received_at => return None,
            Since::News(pieces, position) => SincePoll::Changed(pieces, Cursor::new(position, user)),
            Since::Whole => SincePoll::Whole,
            Since::Unknown => {
                self.metrics.asked_database.inc();
                SincePoll::AskDatabase(BeyondMemory { user, class, since: since.time, cursor })
            }
        })
    }

    /// The same, when it has to wait.
    ///
    /// # Errors
    /// [`Unavailable::Stale`] after [`WAIT_MS_MAX`].
    pub async fn since_later(
        &self,
        event_loop: usize,
        user: u64,
        class: ClassOf<D>,
        since: Timestamp,
    ) -> Result<SincePoll<ClassOf<D>>, Unavailable> {
        let received_at = Instant::now();
        let times = || (received_at, Instant::now(), Timestamp::now());
        let look = || self.since_poll(event_loop, user, class, since, times());
        self.once(event_loop, received_at, look).await.ok_or_else(|| self.stale())
    }

    /// Waits until all that was committed before this call is here, at most [`WAIT_MS_MAX`].
    pub async fn caught_up(&self, event_loop: usize) -> Result<(), Unavailable> {
        let received_at = Instant::now();
        let has_all = || self.has_all_before(received_at).then_some(());
        self.once(event_loop, received_at, has_all).await.ok_or(Unavailable::Stale)
    }

    /// Whether all that was committed before `time` is here.
    pub fn has_all_before(&self, time: Instant) -> bool {
        self.watermark.load(Relaxed) >= self.micros_since_born(time)
    }

    /// Looks after each read of the tail, until there is something or [`WAIT_MS_MAX`] are over.
    async fn once<T>(
        &self,
        event_loop: usize,
        received_at: Instant,
        look: impl Fn() -> Option<T>,
    ) -> Option<T> {
        let deadline = tokio::time::Instant::from_std(received_at) + Duration::from_millis(WAIT_MS_MAX);
        loop {
            let ticked = self.ticked(event_loop);
            if let Some(found) = look() {
                return Some(found);
            }
            self.nudge();
            timeout_at(deadline, ticked).await.ok()?;
        }
    }

    /// Whether the poll's `since`, if it is a time that was shown to its user, certainly stands for all that shows it or an
    /// earlier one, of what was committed before this call. Waits until that is in memory; no, where that takes too long.
    pub async fn is_settled(&self, event_loop: usize, asked: &BeyondMemory<ClassOf<D>>) -> bool {
        let BeyondMemory { user, class, since, .. } = *asked;
        self.caught_up(event_loop).await.is_ok()
            && self
                .shard(event_loop)
                .window
                .as_ref()
                .is_some_and(|window| window.is_settled(user, class, since))
    }

    /// Notes the database's answer to a `since` poll, so that the next one is answered from memory: nothing of the user is
    /// newer than `newest`. That is the latest time in the answer, or the poll's `since` where that is later; where the
    /// answer is empty, the time that the database was asked for.
    pub fn answered(&self, asked: &BeyondMemory<ClassOf<D>>, newest: Timestamp) {
        for index in 0..self.shards.len() {
            let mut shard = self.shard(index);
            if let Some(window) = shard.window.as_mut().filter(|window| window.holds(asked.cursor.position()))
            {
                window.verify(asked.user, asked.class, newest, asked.cursor.seq);
            }
        }
    }

    /// A cursor for `user` from before now: take it, then read the full state. An error while the feed was not read yet.
    pub fn cursor(&self, event_loop: usize, user: u64) -> Result<Cursor, Unavailable> {
        let shard = self.shard(event_loop);
        let window = shard.window.as_ref().ok_or(Unavailable::Stale)?;
        Ok(Cursor::new(window.position(), user))
    }

    /// The same, after what `user` wrote here: so that their first poll does not tell them of it again.
    pub async fn cursor_after_own_writes(&self, event_loop: usize, user: u64) -> Result<Cursor, Unavailable> {
        let is_settled = || {
            let shard = self.shard(event_loop);
            (shard.window.is_some() && !shard.lacks_writes_of(user, Instant::now())).then_some(())
        };
        let _in_time = self.once(event_loop, Instant::now(), is_settled).await;
        self.cursor(event_loop, user)
    }

    /// The cursor's text, for a header or a body, without an allocation of its own.
    pub fn cursor_text(&self, event_loop: usize, cursor: Cursor) -> Bytes {
        self.shard(event_loop).text_of(cursor)
    }

    /// What to give as `nextPollMs`.
    pub fn next_poll_ms(&self, event_loop: usize) -> u64 {
        self.pace(&mut self.shard(event_loop))
    }

    fn pace(&self, shard: &mut Shard<D>) -> u64 {
        let (least, spread) = if self.is_released() { NEXT_POLL_RELEASED_MS } else { NEXT_POLL_MS };
        least + shard.random_below(spread)
    }

    /// Answers a cursor poll of the caller `user` on event loop `event_loop`, received just now, under one lock.
    ///
    /// # Errors
    /// Anything but [`CursorPoll::Unchanged`]; `None` where it has to wait: await [`Feed::cursor_later`].
    pub fn poll(
        &self,
        event_loop: usize,
        user: u64,
        ask: CursorAsk<D::Ask>,
        received_at: Instant,
    ) -> Result<Unchanged, Option<CursorPoll>> {
        let mut shard = self.shard(event_loop);
        match self.cursor_poll(&mut shard, user, ask, (received_at, received_at)) {
            Some(CursorPoll::Unchanged(cursor)) => {
                let json = self.write(&mut shard, cursor, ask.ask, None);
                json.map(unchanged::<D>).ok_or(None)
            }
            found => Err(found),
        }
    }

    /// What [`Feed::poll`] writes where nothing is new after `cursor`; an error while the feed was not read yet.
    pub fn unchanged(
        &self,
        event_loop: usize,
        CursorAsk { cursor, ask }: CursorAsk<D::Ask>,
    ) -> Result<Unchanged, Unavailable> {
        let json = self.write(&mut self.shard(event_loop), cursor, ask, None);
        json.map(unchanged::<D>).ok_or(Unavailable::Stale)
    }

    /// The answer to a cursor poll, by the one who writes them.
    fn write(
        &self,
        shard: &mut Shard<D>,
        cursor: Cursor,
        ask: D::Ask,
        news: Option<D::News>,
    ) -> Option<Bytes> {
        let next_poll_ms = self.pace(shard);
        let window = shard.window.as_ref()?;
        Some(D::write(Unwritten { cursor, ask, news, window, next_poll_ms }, &mut shard.block))
    }

    /// The answer to a poll that was received at `received_at`; `None` where it has to wait: while what is here is older than
    /// it may be, while its user's own write is not here, and while its cursor is ahead: another instance was faster, or there
    /// is no such change; only a read that began after the poll was received can tell.
    fn cursor_poll(
        &self,
        shard: &mut Shard<D>,
        user: u64,
        ask: CursorAsk<D::Ask>,
        (received_at, now): (Instant, Instant),
    ) -> Option<CursorPoll> {
        let CursorAsk { cursor, ask: asked } = ask;
        if cursor.user != user || (cursor.is_partial && asked.topic().is_some()) {
            return Some(CursorPoll::Reset);
        }
        let window = shard.window.as_ref()?;
        let received_at = self.micros_since_born(received_at);
        let fresh = self.watermark.load(Relaxed);
        if fresh == 0 || shard.lacks_writes_of(user, now) {
            return None;
        }
        let is_ahead = cursor.seq > window.position().seq && fresh <= received_at;
        if !is_ahead && fresh + STALE_MS_MAX * 1_000 >= received_at {
            return self.cursor_now(shard, ask);
        }
        // While the database is away it is not waited for, as long as memory may be answered from.
        let may_be_unread = self.away.load(Relaxed) && !self.is_silent(now);
        may_be_unread.then(|| self.cursor_unread(shard, ask)).flatten()
    }

    /// Whether what is here is so old that "nothing new" must not be said any more, by nobody.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let fresh = self.watermark.load(Relaxed);
        fresh == 0 || fresh + SILENT_MS_MAX * 1_000 < self.micros_since_born(now)
    }

    fn cursor_now(
        &self,
        shard: &mut Shard<D>,
        CursorAsk { cursor, ask }: CursorAsk<D::Ask>,
    ) -> Option<CursorPoll> {
        let window = shard.window.as_ref()?;
        if !window.holds(cursor.position()) {
            return Some(CursorPoll::Reset);
        }
        let at =
            |position| Cursor::new(position, cursor.user).partial_if(cursor.is_partial || ask.is_denied());
        Some(match D::after(window, cursor.user, cursor.seq, ask) {
            After::Unchanged(position) => CursorPoll::Unchanged(at(position)),
            After::TooOld => CursorPoll::Reset,
            After::HeldBack => CursorPoll::Unchanged(cursor),
            After::News(news, position) => {
                let cursor = at(position);
                CursorPoll::Changed(self.write(shard, cursor, ask, Some(news))?, cursor)
            }
        })
    }

    /// The same while the database cannot be read: what memory has is told, and beyond that the cursor stays. One that
    /// is ahead by its number and not by its time is of a history that is no more (times never come again), and lacks
    /// what memory has of the one that took its place.
    fn cursor_unread(&self, shard: &mut Shard<D>, ask: CursorAsk<D::Ask>) -> Option<CursorPoll> {
        let cursor = ask.cursor;
        let end = shard.window.as_ref()?.position();
        if cursor.seq > end.seq {
            let is_lost = cursor.at < end.at;
            return Some(if is_lost { CursorPoll::Reset } else { CursorPoll::Unchanged(cursor) });
        }
        match self.cursor_now(shard, ask)? {
            CursorPoll::Unchanged(_) => Some(CursorPoll::Unchanged(cursor)),
            found => Some(found),
        }
    }

    /// The same as [`Feed::poll`], when it may have to wait.
    ///
    /// # Errors
    /// [`Unavailable::Stale`] when what is in memory is older than [`SILENT_MS_MAX`], or lacks what `user` wrote here.
    pub async fn cursor_later(
        &self,
        event_loop: usize,
        user: u64,
        ask: CursorAsk<D::Ask>,
    ) -> Result<CursorPoll, Unavailable> {
        let received_at = Instant::now();
        let look = || self.cursor_poll(&mut self.shard(event_loop), user, ask, (received_at, Instant::now()));
        if let Some(found) = self.once(event_loop, received_at, look).await.or_else(look) {
            return Ok(found);
        }
        let (mut shard, now) = (self.shard(event_loop), Instant::now());
        let is_refused = self.is_silent(now) || shard.lacks_writes_of(user, now);
        let found = if is_refused { None } else { self.cursor_unread(&mut shard, ask) };
        found.ok_or_else(|| self.stale())
    }

    /// Counts a poll that is refused because what is here is too old.
    pub fn stale(&self) -> Unavailable {
        self.metrics.refused_stale.inc();
        Unavailable::Stale
    }
}

/// The cursor's text stands in the JSON already.
fn unchanged<D: Domain>(json: Bytes) -> Unchanged {
    let cursor = json.slice(D::CURSOR_AT..D::CURSOR_AT + TEXT_BYTES);
    Unchanged { json, cursor }
}
