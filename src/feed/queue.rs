//! The queue as an expert sees it: two lists that are shown whole, put together so that an echo of the newest time in them
//! stands for both. See [`super::lists`].

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::poll::Unavailable;
use super::shard::Shard;
use super::window::{Position, Window};
use super::{Feed, WAIT_MS_MAX};

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

impl Feed {
    /// The whole queue of `user`, with all that was committed before this call: for a queue poll that memory
    /// cannot answer, and the full state.
    ///
    /// # Errors
    /// [`Unavailable`] after [`WAIT_MS_MAX`], for the tail and for the lists.
    pub async fn queue(&self, event_loop: usize, user: u64) -> Result<Queue, Unavailable> {
        let came = Instant::now();
        let until = || tokio::time::Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        let mut deadline = until();
        let mut least = None;
        loop {
            let ticked = self.ticked[event_loop % self.ticked.len()].notified();
            let loaded = self.lists.loaded.notified();
            if least.is_none() {
                least = self.queue_after(event_loop, came);
                // The lists have their own time: they can only be loaded when it is known what they must have.
                deadline = least.map_or(deadline, |_| until());
            }
            let found = least.and_then(|_| self.queue_now(&self.shard(event_loop), user, least));
            if let Some((queue, _)) = found {
                return Ok(queue);
            }
            // Not one after the other: where replies are slow, there is time for both only at once.
            self.want_queue(event_loop, user)?;
            self.nudge();
            self.either(deadline, ticked, loaded).await.map_err(|stale| self.why(stale))?;
        }
    }

    /// Why there was no queue in time.
    pub(super) fn why(&self, stale: Unavailable) -> Unavailable {
        self.lists.failure().map_or(stale, Unavailable::Lists)
    }

    /// The queue's newest change, once all that was committed before `came` is here.
    pub(super) fn queue_after(&self, event_loop: usize, came: Instant) -> Option<u64> {
        let is_fresh = self.fresh.load(Relaxed) >= self.micros_since_born(came);
        self.shard(event_loop).window.as_ref().filter(|_| is_fresh).map(Window::queue_seq)
    }

    /// Both lists, and the position up to which both have everything. An echo of the newest time in them must stand for
    /// both: so where the queue has moved on from the waiting list, that is at least as new as the user's own newest
    /// change. The assigned list lacks nothing yet.
    pub(super) fn queue_now(
        &self,
        shard: &Shard,
        user: u64,
        least: Option<u64>,
    ) -> Option<(Queue, Position)> {
        let window = shard.window.as_ref()?;
        let (moved, own) = window.queue_needs(user);
        let needs = (least.map_or(moved, |least| least.max(own).min(moved)), own);
        let (waiting, assigned, position) = self.lists.get(user, needs)?;
        let position = if position.seq >= moved { window.position() } else { position };
        Some((Queue { waiting, assigned }, position))
    }

    /// Has those lists loaded that [`Feed::queue`] will want. Where nobody can wait for them yet, that saves its time.
    ///
    /// # Errors
    /// [`Unavailable::Full`] when as many wait for lists as may.
    pub fn want_queue(&self, event_loop: usize, user: u64) -> Result<(), Unavailable> {
        let needs = self.shard(event_loop).window.as_ref().map(|window| window.queue_needs(user));
        let is_wanted = needs.is_none_or(|needs| self.lists.want(user, needs));
        if is_wanted { Ok(()) } else { Err(Unavailable::Full) }
    }
}
