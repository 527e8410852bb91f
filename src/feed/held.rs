//! Polls that are held until there is news, and each piece of a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::timeout_at;

use super::Feed;
use super::cursor::Cursor;
use super::poll::{CursorPoll, Unavailable};

impl Feed {
    /// Waits until something is new after `cursor`, until `until`, or until the process stops. Never
    /// [`CursorPoll::Later`]. For held polls, and each piece of a stream.
    ///
    /// # Errors
    /// [`Unavailable::Full`] when as many wait as may; [`Unavailable::Stale`] as soon as nobody can say any more that
    /// nothing is new.
    pub async fn held_poll(
        self: &Arc<Self>,
        event_loop: usize,
        user: u64,
        cursor: Cursor,
        until: Instant,
    ) -> Result<CursorPoll, Unavailable> {
        // Registered first, then read: what comes between is not lost.
        let mut waiting = self.wait_for(event_loop, user)?;
        let mut cursor = cursor;
        let mut is_over = false;
        loop {
            let answer = match self.cursor_poll(event_loop, user, cursor) {
                CursorPoll::Later => self.cursor_later(event_loop, user, cursor).await?,
                answer => answer,
            };
            match answer {
                CursorPoll::Unchanged(newer) => cursor = newer,
                answer => return Ok(answer),
            }
            // At the end it is looked once more: what was known when the wait began may be too old by now.
            if is_over || self.is_released() {
                return Ok(CursorPoll::Unchanged(cursor));
            }
            // The clock first: who is woken again and again would never get to see that the time is over.
            is_over = Instant::now() >= until || timeout_at(until.into(), &mut waiting).await.is_err();
            self.shard(event_loop).rearm(waiting.key);
        }
    }

    fn wait_for(self: &Arc<Self>, event_loop: usize, user: u64) -> Result<Waiting, Unavailable> {
        if self.waiters.fetch_add(1, Relaxed) >= self.settings.waiters_max {
            self.waiters.fetch_sub(1, Relaxed);
            self.metrics.refused_waiters.inc();
            return Err(Unavailable::Full);
        }
        let key = self.shard(event_loop).wait(user);
        Ok(Waiting { feed: self.clone(), event_loop, key })
    }
}

/// A registered waiter; ready when it was woken.
struct Waiting {
    feed: Arc<Feed>,
    event_loop: usize,
    key: usize,
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let woken = self.feed.shard(self.event_loop).is_woken(self.key, context.waker());
        if woken { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.feed.shard(self.event_loop).leave(self.key);
        self.feed.waiters.fetch_sub(1, Relaxed);
    }
}
