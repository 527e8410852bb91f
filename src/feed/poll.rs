//! The answers to polls, as values: the help desk makes responses of them.
//!
//! A poll that finds nothing new takes its loop's lock, looks one user up, compares two numbers and gives a
//! constant. What has to wait (for the tail, for a list, for news) is a future; none of them keeps anything
//! of the database, so all may be dropped at any time.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::futures::Notified;
use tokio::time::timeout_at;

use crate::clock::Timestamp;

use super::cursor::Cursor;
use super::shard::Shard;
use super::window::{After, Class, News, Since};
use super::{FRESH_MS_MAX, Feed, STALE_MS_MAX, WAIT_MS_MAX};

/// A `since` this far ahead of our clock is no clock's error.
const FUTURE_MICROS_MAX: i64 = 60_000_000;
/// What clients are asked to pause, and by how much they are spread.
const NEXT_POLL_MS: (u64, u64) = (4_500, 1_000);
/// The same while the process stops: early enough to find another, spread so that they do not all come at once.
const NEXT_POLL_RELEASED_MS: (u64, u64) = (1_000, 4_000);
/// How lately somebody's interest must have been noted to be left alone: not each poll writes a shared word.
const POLLED_NOTE_MICROS: u64 = 200_000;

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
    seq: u64,
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
    /// 410: too old, from the future, of another user or of another feed.
    Reset,
    /// Await [`Feed::cursor_later`].
    Later,
}

/// The queue as an expert sees it.
#[derive(Clone, Debug)]
pub struct Queue {
    /// JSON array.
    pub waiting: Bytes,
    /// JSON array.
    pub assigned: Bytes,
}

impl Queue {
    /// `{"waitingConversations":…,"assignedConversations":…}`, between `before` and `after`.
    #[must_use]
    pub fn json(&self, before: &[u8], after: &[u8]) -> Bytes {
        let parts: [&[u8]; 7] = [
            before,
            b"{\"waitingConversations\":",
            &self.waiting,
            b",\"assignedConversations\":",
            &self.assigned,
            b"}",
            after,
        ];
        let mut json = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| json.extend_from_slice(part));
        json.freeze()
    }
}

/// Whether to answer or to wait for the tail first.
enum Readiness {
    Ready,
    Wait,
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
        self.since_poll_of(event_loop, user, class, since, (now, now, at))
    }

    /// The same for a poll that `came` some time ago.
    fn since_poll_of(
        &self,
        event_loop: usize,
        user: u64,
        class: Class,
        since: Timestamp,
        (came, now, at): (Instant, Instant, Timestamp),
    ) -> SincePoll {
        let micros = self.micros_since_born(now);
        self.note_interest(micros);
        let mut shard = self.shard(event_loop);
        let fresh = self.fresh.load(Relaxed);
        let is_fresh = fresh != 0 && micros.saturating_sub(fresh) <= FRESH_MS_MAX * 1_000;
        if !is_fresh || shard.lacks_writes_of(user, now) {
            return SincePoll::Later;
        }
        let has_all = || fresh >= self.micros_since_born(came);
        self.since_now(&mut shard, user, class, since, (has_all, at))
    }

    /// `has_all` tells whether all that was committed before the poll came is in the window.
    fn since_now(
        &self,
        shard: &mut Shard,
        user: u64,
        class: Class,
        since: Timestamp,
        (has_all, at): (impl Fn() -> bool, Timestamp),
    ) -> SincePoll {
        let epoch = shard.epoch;
        let Some(window) = &shard.window else { return SincePoll::Later };
        let cursor = Cursor { epoch, seq: window.seq(), user };
        let found = if since.micros() > at.micros() + FUTURE_MICROS_MAX {
            Since::Unknown
        } else {
            window.since(user, class, since)
        };
        match found {
            Since::Unchanged => SincePoll::Unchanged(shard.text_of(cursor)),
            // Messages never change: an older answer takes nothing back.
            Since::News(..) | Since::Queue if class != Class::Messages && !has_all() => SincePoll::Later,
            Since::News(pieces, seq) => SincePoll::Changed(array(&pieces), Cursor { seq, ..cursor }),
            Since::Queue => match self.queue_now(shard, user) {
                Some(queue) => SincePoll::Changed(queue.json(b"[", b"]"), cursor),
                None => SincePoll::Later,
            },
            Since::Unknown => {
                self.metrics.asked_database.inc();
                SincePoll::AskDatabase(Asked { user, class, seq: cursor.seq, cursor })
            }
        }
    }

    /// The same, when it has to wait. Never [`SincePoll::Later`].
    ///
    /// # Errors
    /// [`Unavailable`] after [`WAIT_MS_MAX`].
    pub async fn since_later(
        &self,
        event_loop: usize,
        user: u64,
        class: Class,
        since: Timestamp,
    ) -> Result<SincePoll, Unavailable> {
        let came = Instant::now();
        let deadline = tokio::time::Instant::from_std(came) + Duration::from_millis(WAIT_MS_MAX);
        loop {
            let ticked = self.ticked[event_loop % self.ticked.len()].notified();
            let loaded = self.lists.loaded.notified();
            let times = (came, Instant::now(), Timestamp::now());
            match self.since_poll_of(event_loop, user, class, since, times) {
                SincePoll::Later => {}
                answer => return Ok(answer),
            }
            // Which of the two it lacks is not worth telling apart: a list that is there is not loaded again.
            if class == Class::Queue {
                self.want_queue(event_loop, user)?;
            }
            self.nudge();
            let waited = either(deadline, ticked, loaded).await;
            waited.map_err(|stale| if class == Class::Queue { self.why(stale) } else { stale })?;
        }
    }

    /// The whole queue of `user`, with all that was committed before this call: for a queue poll that memory
    /// cannot answer, and the full state.
    ///
    /// # Errors
    /// [`Unavailable`] after [`WAIT_MS_MAX`].
    pub async fn queue(&self, event_loop: usize, user: u64) -> Result<Queue, Unavailable> {
        let came = Instant::now();
        let deadline = tokio::time::Instant::from_std(came) + Duration::from_millis(WAIT_MS_MAX);
        loop {
            let ticked = self.ticked[event_loop % self.ticked.len()].notified();
            let loaded = self.lists.loaded.notified();
            if self.fresh.load(Relaxed) >= self.micros_since_born(came) {
                if let Some(queue) = self.queue_now(&self.shard(event_loop), user) {
                    return Ok(queue);
                }
                self.want_queue(event_loop, user)?;
            }
            self.nudge();
            either(deadline, ticked, loaded).await.map_err(|stale| self.why(stale))?;
        }
    }

    /// Why there was no queue in time.
    fn why(&self, stale: Unavailable) -> Unavailable {
        self.lists.failure().map_or(stale, Unavailable::Lists)
    }

    /// Both lists, where they have everything up to the window's position.
    fn queue_now(&self, shard: &Shard, user: u64) -> Option<Queue> {
        let needs = shard.window.as_ref()?.queue_needs(user);
        self.lists.get(user, needs).map(|(waiting, assigned)| Queue { waiting, assigned })
    }

    /// Has those lists loaded that are too old.
    fn want_queue(&self, event_loop: usize, user: u64) -> Result<(), Unavailable> {
        let needs = self.shard(event_loop).window.as_ref().map(|window| window.queue_needs(user));
        let is_wanted = needs.is_none_or(|needs| self.lists.want(user, needs));
        if is_wanted { Ok(()) } else { Err(Unavailable::Full) }
    }

    /// How many conversations wait: `X-Total-Count`.
    #[must_use]
    pub fn waiting_total(&self, event_loop: usize) -> u64 {
        self.shard(event_loop).window.as_ref().map_or(0, super::window::Window::waiting)
    }

    /// Notes the database's answer to a `since` poll, so that the next one is answered from memory: nothing
    /// of the user is newer than `newest`, the latest `updatedAt` or `timestamp` in the answer, or the
    /// poll's `since` where that is later.
    pub fn answered(&self, asked: &Asked, newest: Timestamp) {
        for index in 0..self.shards.len() {
            let mut shard = self.shard(index);
            if shard.epoch == asked.cursor.epoch
                && let Some(window) = &mut shard.window
            {
                window.verify(asked.user, asked.class, newest, asked.seq);
            }
        }
    }

    /// A cursor for `user` from before now: take it, then read the full state.
    ///
    /// # Errors
    /// [`Unavailable`] while the feed was not read yet.
    pub fn cursor(&self, event_loop: usize, user: u64) -> Result<Cursor, Unavailable> {
        self.note_interest(self.micros_since_born(Instant::now()));
        let shard = self.shard(event_loop);
        let window = shard.window.as_ref().ok_or(Unavailable::Stale)?;
        Ok(Cursor { epoch: shard.epoch, seq: window.seq(), user })
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
        let (least, spread) = if self.is_released() { NEXT_POLL_RELEASED_MS } else { NEXT_POLL_MS };
        least + self.shard(event_loop).random_below(spread)
    }

    /// Answers a cursor poll of the caller `user`.
    pub fn cursor_poll(&self, event_loop: usize, user: u64, cursor: Cursor) -> CursorPoll {
        let now = Instant::now();
        self.note_interest(self.micros_since_born(now));
        if cursor.user != user {
            return CursorPoll::Reset;
        }
        let mut shard = self.shard(event_loop);
        match self.readiness(&shard, user, cursor, now, now) {
            Readiness::Ready => self.cursor_now(&mut shard, cursor),
            Readiness::Wait => CursorPoll::Later,
        }
    }

    /// A poll that came at `came` waits while what is here is older than it may be, while its user's own
    /// write is not here, and while its cursor is ahead: another instance was faster, or there is no such
    /// change; only a read that began after the poll came can tell.
    fn readiness(&self, shard: &Shard, user: u64, cursor: Cursor, came: Instant, now: Instant) -> Readiness {
        let Some(window) = &shard.window else { return Readiness::Wait };
        let read = self.read.load(Relaxed);
        let age = self.micros_since_born(now).saturating_sub(read);
        let stale = read == 0 || (age > STALE_MS_MAX * 1_000 && !self.away.load(Relaxed));
        let ahead =
            cursor.epoch == shard.epoch && cursor.seq > window.seq() && read <= self.micros_since_born(came);
        if stale || ahead || shard.lacks_writes_of(user, now) { Readiness::Wait } else { Readiness::Ready }
    }

    fn cursor_now(&self, shard: &mut Shard, cursor: Cursor) -> CursorPoll {
        let pace = if self.is_released() { NEXT_POLL_RELEASED_MS } else { NEXT_POLL_MS };
        let next_poll_ms = pace.0 + shard.random_below(pace.1);
        let epoch = shard.epoch;
        let Some(window) = &shard.window else { return CursorPoll::Unchanged(cursor) };
        if cursor.epoch != epoch || cursor.seq > window.seq() {
            return CursorPoll::Reset;
        }
        match window.after(cursor.user, cursor.seq) {
            After::Unchanged => CursorPoll::Unchanged(Cursor { seq: window.seq(), ..cursor }),
            After::TooOld => CursorPoll::Reset,
            After::News(news) => {
                let cursor = Cursor { seq: news.seq, ..cursor };
                CursorPoll::Changed(news_json(&news, cursor, next_poll_ms), cursor)
            }
        }
    }

    /// The same, when it has to wait. Never [`CursorPoll::Later`]. When the database is away the answer is from
    /// memory, and a cursor that is ahead of it stays where it is.
    pub async fn cursor_later(&self, event_loop: usize, user: u64, cursor: Cursor) -> CursorPoll {
        if cursor.user != user {
            return CursorPoll::Reset;
        }
        let came = Instant::now();
        let deadline = tokio::time::Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        loop {
            let ticked = self.ticked[event_loop % self.ticked.len()].notified();
            {
                let mut shard = self.shard(event_loop);
                if let Readiness::Ready = self.readiness(&shard, user, cursor, came, Instant::now()) {
                    return self.cursor_now(&mut shard, cursor);
                }
            }
            self.nudge();
            if timeout_at(deadline, ticked).await.is_err() {
                let mut shard = self.shard(event_loop);
                let ahead = shard.window.as_ref().is_none_or(|window| cursor.seq > window.seq());
                return if ahead {
                    CursorPoll::Unchanged(cursor)
                } else {
                    self.cursor_now(&mut shard, cursor)
                };
            }
        }
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

    fn note_interest(&self, now: u64) {
        if now.saturating_sub(self.polled.load(Relaxed)) > POLLED_NOTE_MICROS {
            self.polled.store(now, Relaxed);
        }
    }
}

/// Waits for the tail's next read or for a list, whichever comes first.
async fn either(
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
    timeout_at(deadline, first).await.map_err(|_| Unavailable::Stale)
}

fn array(pieces: &[Bytes]) -> Bytes {
    let mut json = BytesMut::with_capacity(2 + pieces.iter().map(|piece| piece.len() + 1).sum::<usize>());
    put_array(&mut json, pieces);
    json.freeze()
}

fn put_array(json: &mut BytesMut, pieces: &[Bytes]) {
    json.put_u8(b'[');
    for (place, piece) in pieces.iter().enumerate() {
        if place > 0 {
            json.put_u8(b',');
        }
        json.extend_from_slice(piece);
    }
    json.put_u8(b']');
}

fn news_json(news: &News, cursor: Cursor, next_poll_ms: u64) -> Bytes {
    let lists = [&news.conversations, &news.messages, &news.waiting];
    let texts: usize = lists.iter().flat_map(|list| list.iter()).map(|piece| piece.len() + 1).sum();
    let mut json = BytesMut::with_capacity(256 + texts + 24 * news.left.len());
    json.extend_from_slice(b"{\"cursor\":\"");
    json.extend_from_slice(&cursor.text());
    json.extend_from_slice(b"\",\"conversations\":");
    put_array(&mut json, &news.conversations);
    json.extend_from_slice(b",\"messages\":");
    put_array(&mut json, &news.messages);
    json.extend_from_slice(b",\"queue\":{\"waiting\":");
    put_array(&mut json, &news.waiting);
    json.extend_from_slice(b",\"left\":[");
    let mut digits = itoa::Buffer::new();
    for (place, id) in news.left.iter().enumerate() {
        json.extend_from_slice(if place > 0 { b",\"" } else { b"\"" });
        json.extend_from_slice(digits.format(*id).as_bytes());
        json.put_u8(b'"');
    }
    json.extend_from_slice(b"],\"total\":");
    json.extend_from_slice(digits.format(news.total).as_bytes());
    json.extend_from_slice(b"},\"nextPollMs\":");
    json.extend_from_slice(digits.format(next_poll_ms).as_bytes());
    json.put_u8(b'}');
    json.freeze()
}
