//! The queue as an expert sees it: two lists that are shown whole, put together so that an echo of the newest time in them
//! stands for both. See [`super::lists`].

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout_at;

use crate::clock::Timestamp;
use crate::feed::poll::{SincePoll, Unavailable};
use crate::feed::{Cursor, Position, WAIT_MS_MAX};

use super::Feed;
use super::answer::QueuePosition;
use super::item::{Class, QUEUE};

/// The queue as an expert sees it: two JSON arrays.
#[derive(Clone, Debug)]
pub struct Queue {
    pub waiting: Bytes,
    pub assigned: Bytes,
}

impl Queue {
    /// `{"waitingConversations":…,"assignedConversations":…}`
    pub fn json(&self) -> Bytes {
        let (waiting, assigned) = (&*self.waiting, &*self.assigned);
        let begin = &b"{\"waitingConversations\":"[..];
        Bytes::from([begin, waiting, b",\"assignedConversations\":", assigned, b"}"].concat())
    }
}

impl Feed {
    /// The whole queue of `user`, with all that was committed before this call: for a queue poll that memory
    /// cannot answer, and the full state.
    ///
    /// # Errors
    /// [`Unavailable`] after [`WAIT_MS_MAX`], for the tail and for the lists.
    pub async fn queue(&self, event_loop: usize, user: u64) -> Result<Queue, Unavailable> {
        let look = |_, least: Option<u64>| {
            least.and_then(|_| self.queue_now(event_loop, user, least)).map(|(queue, _)| queue)
        };
        self.queue_later(event_loop, user, look).await
    }

    /// Answers a `since` poll of any class, from memory if it can, and never by [`SincePoll::Whole`]. It was
    /// received just now, by either clock.
    pub fn since(
        &self,
        event_loop: usize,
        user: u64,
        class: Class,
        since: Timestamp,
        (received_at, wall_time): (Instant, Timestamp),
    ) -> Option<SincePoll<Class>> {
        match self.since_poll(event_loop, user, class, since, (received_at, received_at, wall_time))? {
            SincePoll::Whole => self.queue_changed(event_loop, user, None),
            answer => Some(answer),
        }
    }

    /// The same, when it has to wait, as long as [`Feed::queue`]. Never [`SincePoll::Whole`].
    pub async fn since_waiting(
        &self,
        event_loop: usize,
        user: u64,
        class: Class,
        since: Timestamp,
    ) -> Result<SincePoll<Class>, Unavailable> {
        if class != Class::Queue {
            return self.since_later(event_loop, user, class, since).await;
        }
        let look = |received_at, least| {
            let times = (received_at, Instant::now(), Timestamp::now());
            match self.since_poll(event_loop, user, class, since, times)? {
                SincePoll::Whole => self.queue_changed(event_loop, user, least),
                answer => Some(answer),
            }
        };
        self.queue_later(event_loop, user, look).await
    }

    fn queue_changed(&self, event_loop: usize, user: u64, least: Option<u64>) -> Option<SincePoll<Class>> {
        let (queue, position) = self.queue_now(event_loop, user, least)?;
        Some(SincePoll::Changed(vec![queue.json()], Cursor::new(position, user)))
    }

    /// Looks after each read of the tail and each load of lists, with the time of this call and, once all that was committed
    /// before it is here, the queue's newest change: where the queue moves on faster than it is read, an answer need not
    /// have what came later.
    async fn queue_later<T>(
        &self,
        event_loop: usize,
        user: u64,
        look: impl Fn(Instant, Option<u64>) -> Option<T>,
    ) -> Result<T, Unavailable> {
        let received_at = Instant::now();
        let until = || tokio::time::Instant::now() + Duration::from_millis(WAIT_MS_MAX);
        let (mut deadline, mut least) = (until(), None);
        loop {
            let ticked = self.ticked(event_loop);
            let loaded = self.domain.lists.loaded.notified();
            if least.is_none() && self.has_all_before(received_at) {
                least = self.ask_window(event_loop, |window| window.topic_seq(QUEUE));
                // The lists have their own time: they can only be loaded when it is known what they must have.
                deadline = least.map_or(deadline, |_| until());
            }
            if let Some(found) = look(received_at, least) {
                return Ok(found);
            }
            // Not one after the other: where replies are slow, there is time for both only at once. A list that is there is
            // not loaded again.
            self.want_queue(event_loop, user)?;
            self.nudge();
            let first = async {
                tokio::select! {
                    () = ticked => {}
                    () = loaded => {}
                }
            };
            if timeout_at(deadline, first).await.is_err() {
                let stale = self.stale();
                let why = |cause| format!("the queue's lists cannot be loaded: {cause}").into();
                let failure = self.domain.lists.failure();
                return Err(failure.map_or(stale, |cause| Unavailable::Failed(why(cause))));
            }
        }
    }

    /// How new the waiting page and the user's assigned list must at least be, and where the window is.
    fn queue_needs(&self, event_loop: usize, user: u64) -> Option<((u64, u64), Position)> {
        let needs =
            |window: &super::Window| ((window.topic_seq(QUEUE), window.own_seq(user)), window.position());
        self.ask_window(event_loop, needs)
    }

    /// Both lists, and the position up to which both have everything. An echo of the newest time in them must stand for
    /// both: so where the queue has moved on from the waiting list, that is at least as new as the user's own newest
    /// change. The assigned list lacks nothing yet.
    fn queue_now(&self, event_loop: usize, user: u64, least: Option<u64>) -> Option<(Queue, Position)> {
        let ((moved, own), end) = self.queue_needs(event_loop, user)?;
        let needs = (least.map_or(moved, |least| least.max(own).min(moved)), own);
        let (waiting, assigned, position) = self.domain.lists.get(user, needs)?;
        let position = if position.seq >= moved { end } else { position };
        Some((Queue { waiting, assigned }, position))
    }

    /// Has those lists loaded that [`Feed::queue`] will want. Where nobody can wait for them yet, that saves its time.
    ///
    /// # Errors
    /// [`Unavailable::Full`] when as many wait for lists as may.
    pub fn want_queue(&self, event_loop: usize, user: u64) -> Result<(), Unavailable> {
        let needs = self.queue_needs(event_loop, user);
        let is_wanted = needs.is_none_or(|(needs, _)| self.domain.lists.want(user, needs));
        if is_wanted { Ok(()) } else { Err(Unavailable::Full) }
    }

    /// How many conversations wait: `X-Total-Count`.
    pub fn waiting_total(&self, event_loop: usize) -> u64 {
        self.ask_window(event_loop, |window| window.projection().count()).unwrap_or(0)
    }

    /// Where `user`'s conversations stand that wait, as far as is known here.
    pub fn positions(&self, event_loop: usize, user: u64) -> Vec<QueuePosition> {
        self.ask_window(event_loop, |window| window.projection().of(user)).unwrap_or_default()
    }
}
