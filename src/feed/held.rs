//! Polls that are held until there is news, and each piece of a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::Feed;
use super::domain::{Ask as _, CursorAsk, Domain};
use super::poll::{CursorPoll, Unavailable};

/// Minor news alone are told to who is held at most once in this time, and looked for as often.
pub const MINOR_EVERY: Duration = Duration::from_secs(5);

impl<D: Domain> Feed<D> {
    /// Waits until something is new after `cursor`, until `until`, or until the process stops. For held polls, and each
    /// piece of a stream.
    ///
    /// # Errors
    /// When as many wait as may, and as soon as nobody can say any more that nothing is new.
    pub async fn held_poll(
        self: &Arc<Self>,
        event_loop: usize,
        user: u64,
        CursorAsk { mut cursor, ask: asked }: CursorAsk<D::Ask>,
        until: Instant,
    ) -> Result<CursorPoll, Unavailable> {
        // Registered first, then read: what comes between is not lost.
        let mut waiter = self.wait_for(event_loop, user, asked.topic())?;
        let mut is_over = false;
        let mut minor_at = Instant::now() + if asked.minor() { Duration::ZERO } else { MINOR_EVERY };
        loop {
            // At the end they are told as well: nobody is woken by that.
            let minor = is_over || Instant::now() >= minor_at;
            let ask = CursorAsk { cursor, ask: asked.with_minor(minor) };
            // In a box that is gone while the client waits: without it each one that is held keeps room for its look.
            let answer = Box::pin(self.cursor_later(event_loop, user, ask)).await?;
            if minor {
                minor_at = Instant::now() + MINOR_EVERY;
            }
            match answer {
                CursorPoll::Unchanged(newer) => cursor = newer,
                answer => return Ok(answer),
            }
            // At the end it is looked once more: what was known when the wait began may be too old by now.
            if is_over || self.is_released() {
                return Ok(CursorPoll::Unchanged(cursor));
            }
            // The clock first: who is woken again and again would never get to see that the time is over.
            let has_minor = self.ask_window(event_loop, |window| D::has_minor(window, user));
            let next = if has_minor == Some(true) { until.min(minor_at) } else { until };
            let is_late = Instant::now() >= next || timeout_at(next.into(), &mut waiter).await.is_err();
            is_over = is_late && Instant::now() >= until;
            self.shard(event_loop).rearm(waiter.key);
        }
    }

    fn wait_for(
        self: &Arc<Self>,
        event_loop: usize,
        user: u64,
        topic: Option<usize>,
    ) -> Result<Woken<D>, Unavailable> {
        if self.waiters.fetch_add(1, Relaxed) >= self.config.feed_waiters_max {
            self.waiters.fetch_sub(1, Relaxed);
            self.metrics.refused_waiters.inc();
            return Err(Unavailable::Full);
        }
        let key = self.shard(event_loop).wait(user, topic);
        Ok(Woken { feed: self.clone(), event_loop, key })
    }
}

/// A registered waiter; ready when it was woken.
struct Woken<D: Domain> {
    feed: Arc<Feed<D>>,
    event_loop: usize,
    key: usize,
}

impl<D: Domain> Future for Woken<D> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let woken = self.feed.shard(self.event_loop).is_woken(self.key, context.waker());
        if woken { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<D: Domain> Drop for Woken<D> {
    fn drop(&mut self) {
        self.feed.shard(self.event_loop).leave(self.key);
        self.feed.waiters.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use std::collections::HashMap;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::Config;
    use crate::db::{Db, DbMetrics};
    use crate::feed::Cursor;
    use crate::feed::cursor::Position;
    use crate::feed::toy::{Anything, Nothing, Toy};
    use crate::feed::{Parts, STALE_MS_MAX};
    use crate::tasks::Tasks;

    /// A feed whose tasks get no turn: what they would find is set here.
    fn feed() -> Arc<Feed<Toy>> {
        let vars = HashMap::from([("DATABASE_URL".to_owned(), "mysql://u:p@127.0.0.1:1/d".to_owned())]);
        let config = Config::from_vars(&vars, &[]).unwrap();
        let registry = prometheus::Registry::new();
        let tasks = Tasks::new(&registry).unwrap();
        let db = Arc::new(Db::new(&config, DbMetrics::new(&registry).unwrap(), &tasks).unwrap());
        let parts = Parts { db, config: Arc::new(config), tasks };
        let feed = Feed::start(parts, Toy, &registry).unwrap();
        feed.restart(Position::default(), &Nothing);
        feed
    }

    fn all(cursor: Cursor) -> CursorAsk<Anything> {
        CursorAsk { cursor, ask: Anything }
    }

    /// Another instance was faster, or a backup was restored: the time tells, also while nobody can look.
    #[tokio::test]
    async fn a_position_beyond_memory_is_good_or_of_another_history() {
        let feed = feed();
        let position = |seq, micros| Position { seq, at: Timestamp::from_micros(micros) };
        feed.restart(position(5, 1_000), &Nothing);
        feed.away.store(true, Relaxed);
        let poll = async |seq, micros| {
            feed.watermark.store(feed.micros_since_born(Instant::now()).max(1), Relaxed);
            feed.cursor_later(0, 7, all(Cursor::new(position(seq, micros), 7))).await.unwrap()
        };
        assert!(matches!(poll(5, 1_000).await, CursorPoll::Unchanged(_)), "the same");
        assert!(matches!(poll(7, 1_001).await, CursorPoll::Unchanged(same) if same.seq == 7), "ahead");
        assert!(matches!(poll(7, 999).await, CursorPoll::Reset), "lost");
        assert!(matches!(poll(5, 999).await, CursorPoll::Reset), "lost");
    }

    /// By the thousand they are most of what an instance has in memory.
    #[tokio::test]
    async fn a_client_that_waits_keeps_no_room_for_its_looks() {
        let feed = feed();
        let held = feed.held_poll(0, 7, all(Cursor::new(Position::default(), 7)), Instant::now());
        assert!(size_of_val(&held) <= 512, "{} bytes", size_of_val(&held));
    }

    /// Each look has to wait for the tail, and each time the tail comes it has woken the waiter as well: so it has at
    /// the end of its time.
    #[tokio::test]
    async fn who_is_woken_again_and_again_sees_that_the_time_is_over() {
        let feed = feed();
        let stale = STALE_MS_MAX * 1_000;
        let now = || feed.micros_since_born(Instant::now());
        while now() <= 2 * stale {
            std::hint::spin_loop();
        }
        feed.watermark.store(1, Relaxed);
        let cursor = Cursor::new(Position::default(), 7);
        let until = Instant::now() + Duration::from_millis(5);
        let mut held = std::pin::pin!(feed.held_poll(0, 7, all(cursor), until));
        let mut looks_after = 0;
        while looks_after < 1_000 {
            if let Poll::Ready(answer) = poll!(&mut held) {
                assert!(matches!(answer, Ok(CursorPoll::Unchanged(same)) if same == cursor), "{answer:?}");
                assert!(Instant::now() >= until, "not before its time");
                return;
            }
            looks_after += u32::from(Instant::now() >= until);
            feed.wake_all();
            // Fresh enough for the look that waits, and not for the next one.
            feed.watermark.store(now() - stale, Relaxed);
            feed.tell_ticked();
        }
        panic!("still held");
    }
}
