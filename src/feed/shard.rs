//! What one event loop has of the feed: its window, those who wait on it, and whose writes it has not seen.

use std::task::Waker;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use slab::Slab;

use super::cursor::{self, Cursor};
use super::event::{Batch, QueueChange};
use super::window::{IdMap, Window};

/// Size of the blocks that cursors' texts and empty answers are cut from: one allocation for some hundred.
const SCRATCH_BYTES: usize = 32 * 1_024;
/// Writes that a loop's part waits for, at most: more than are made in the longest wait while the tail reads at all. About
/// 100 bytes each.
const PENDING_MAX: usize = 16_384;
/// Stands for every user: none has this id.
const EVERYONE: u64 = 0;

/// Somebody who waits for news.
struct Waiter {
    user: u64,
    /// Their client shows the waiting queue.
    shows_queue: bool,
    fired: bool,
    waker: Option<Waker>,
}

/// One event loop's part. Only that loop and the tail's short visits lock it.
pub struct Shard {
    /// `None` until the feed was read for the first time.
    pub window: Option<Window>,
    waiters: Slab<Waiter>,
    waiters_of: IdMap<Vec<u32>>,
    /// Those whose clients show the waiting queue: nobody else is touched when it changes.
    of_queue: IdMap<()>,
    /// Events committed by users of this instance that the window lacks, until when to wait for each. [`EVERYONE`] waits
    /// while there were too many to note whose they are.
    pending: IdMap<Vec<(u64, Instant)>>,
    /// How many these are.
    pending_count: usize,
    scratch: BytesMut,
    random: u64,
}

impl Shard {
    /// Without a window yet.
    pub fn new(seed: u64) -> Self {
        Self {
            window: None,
            waiters: Slab::new(),
            waiters_of: IdMap::default(),
            of_queue: IdMap::default(),
            pending: IdMap::default(),
            pending_count: 0,
            scratch: BytesMut::new(),
            random: seed | 1,
        }
    }

    /// Takes in what was read; whom to wake.
    pub fn apply(&mut self, batch: &Batch, now: Instant) -> Vec<Waker> {
        let Some(window) = &mut self.window else { return Vec::new() };
        window.apply(batch);
        if !self.pending.is_empty() {
            let applied: std::collections::HashSet<u64> =
                batch.entries.iter().map(|entry| entry.id).collect();
            self.retain_writes(|id, until| !applied.contains(&id) && until > now);
        }
        let mut woken = Vec::new();
        if batch.entries.iter().any(|entry| entry.queue != QueueChange::None) {
            for &key in self.of_queue.keys() {
                if let Some(waiter) = self.waiters.get_mut(key as usize) {
                    waiter.fired = true;
                    woken.extend(waiter.waker.take());
                }
            }
        }
        for entry in &batch.entries {
            self.wake(entry.initiator_id, &mut woken);
            for expert in entry.expert_id.into_iter().chain(entry.former_expert_id) {
                self.wake(expert, &mut woken);
            }
        }
        woken
    }

    fn wake(&mut self, user: u64, woken: &mut Vec<Waker>) {
        for &key in self.waiters_of.get(&user).into_iter().flatten() {
            if let Some(waiter) = self.waiters.get_mut(key as usize) {
                waiter.fired = true;
                woken.extend(waiter.waker.take());
            }
        }
    }

    /// Whoever waits looks again.
    pub fn wake_all(&mut self) -> Vec<Waker> {
        let all = self.waiters.iter_mut();
        all.filter_map(|(_, waiter)| {
            waiter.fired = true;
            waiter.waker.take()
        })
        .collect()
    }

    /// Registers a waiter of `user`, whose client shows the waiting queue or not.
    pub fn wait(&mut self, user: u64, shows_queue: bool) -> usize {
        let key = self.waiters.insert(Waiter { user, shows_queue, fired: false, waker: None });
        if shows_queue {
            self.of_queue.insert(key as u64, ());
        }
        self.waiters_of.entry(user).or_insert_with(|| Vec::with_capacity(1)).push(key as u32);
        key
    }

    /// Whether the waiter was woken since; else `waker` will be called.
    pub fn is_woken(&mut self, key: usize, waker: &Waker) -> bool {
        let Some(waiter) = self.waiters.get_mut(key) else { return true };
        if !waiter.fired {
            waiter.waker = Some(waker.clone());
        }
        waiter.fired
    }

    /// Makes the waiter wait again.
    pub fn rearm(&mut self, key: usize) {
        if let Some(waiter) = self.waiters.get_mut(key) {
            waiter.fired = false;
        }
    }

    /// Forgets the waiter.
    pub fn leave(&mut self, key: usize) {
        let Some(waiter) = self.waiters.try_remove(key) else { return };
        if waiter.shows_queue {
            self.of_queue.remove(&(key as u64));
        }
        if let Some(keys) = self.waiters_of.get_mut(&waiter.user) {
            keys.retain(|&other| other as usize != key);
            if keys.is_empty() {
                self.waiters_of.remove(&waiter.user);
            }
        }
    }

    /// Notes that `user` committed `event`, which the window lacks.
    pub fn wrote(&mut self, user: u64, event: u64, until: Instant) {
        if self.pending_count >= PENDING_MAX {
            let now = Instant::now();
            if !self.lacks(EVERYONE, now) {
                // While nothing is applied nobody else takes out what is over.
                self.retain_writes(|_, until| until > now);
            }
            if self.pending_count >= PENDING_MAX {
                self.pending.insert(EVERYONE, vec![(0, until)]);
                return;
            }
        }
        self.pending.entry(user).or_default().push((event, until));
        self.pending_count += 1;
    }

    fn retain_writes(&mut self, keep: impl Fn(u64, Instant) -> bool) {
        self.pending_count = 0;
        self.pending.retain(|_, written| {
            written.retain(|&(id, until)| keep(id, until));
            self.pending_count += written.len();
            !written.is_empty()
        });
    }

    /// Whether the window lacks something that `user` wrote.
    pub fn lacks_writes_of(&self, user: u64, now: Instant) -> bool {
        !self.pending.is_empty() && (self.lacks(user, now) || self.lacks(EVERYONE, now))
    }

    fn lacks(&self, user: u64, now: Instant) -> bool {
        self.pending.get(&user).is_some_and(|written| written.iter().any(|(_, until)| *until > now))
    }

    /// Forgets what is awaited: the window was loaded anew.
    pub fn forget_writes(&mut self) {
        self.pending.clear();
        self.pending_count = 0;
    }

    /// The cursor's text, cut from a larger block.
    pub fn text_of(&mut self, cursor: Cursor) -> Bytes {
        self.text(cursor::TEXT_BYTES, |text| text.extend_from_slice(&cursor.text()))
    }

    /// What `write` writes, at most `bytes_max`, cut from a larger block.
    pub fn text(&mut self, bytes_max: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if self.scratch.capacity() < bytes_max {
            // The same block again where nothing of it is in use any more.
            self.scratch.reserve(SCRATCH_BYTES.max(bytes_max));
        }
        write(&mut self.scratch);
        self.scratch.split().freeze()
    }

    /// A number below `limit` (xorshift64).
    pub fn random_below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Wake};
    use std::time::Duration;

    use super::super::event::{Entry, Kind};
    use super::super::window::{Limits, Position};
    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    /// A question of user 1's.
    fn question() -> Batch {
        let entry = Entry {
            seq: 1,
            id: 1,
            at: crate::clock::Timestamp::from_micros(1),
            group: 1,
            kind: Kind::Opened,
            conversation_id: 7,
            initiator_id: 1,
            expert_id: None,
            former_expert_id: None,
            conversation: None,
            message: None,
            queue: QueueChange::Waits,
        };
        Batch { entries: vec![Arc::new(entry)], waiting: 1 }
    }

    #[test]
    fn a_new_question_wakes_nobody_who_does_not_show_the_queue() {
        const HELD: u64 = 10_000;
        let limits = Limits { events_max: 100, bytes_max: usize::MAX };
        for (shows_queue, expected) in [(false, 1), (true, HELD as usize)] {
            let mut shard = Shard::new(1);
            shard.window = Some(Window::new(Position::default(), limits));
            let waker = Waker::from(Arc::new(Nobody));
            let context = Context::from_waker(&waker);
            let keys: Vec<usize> = (1..=HELD).map(|user| shard.wait(user, shows_queue)).collect();
            assert!(keys.iter().all(|&key| !shard.is_woken(key, context.waker())));
            // The asker is, and whoever shows the queue.
            assert_eq!(shard.apply(&question(), Instant::now()).len(), expected);
            keys.into_iter().for_each(|key| shard.leave(key));
            assert!(shard.of_queue.is_empty() && shard.waiters_of.is_empty());
        }
    }

    #[test]
    fn writes_that_are_never_applied_take_no_more_than_their_limit_and_nobody_is_told_too_soon() {
        let mut shard = Shard::new(1);
        let now = Instant::now();
        let long = now + Duration::from_secs(60);
        for user in 1..=PENDING_MAX as u64 {
            shard.wrote(user, user, now + Duration::from_nanos(1));
        }
        // What is over makes room, though nothing was applied.
        shard.wrote(1, 1, long);
        assert_eq!(shard.pending_count, 1);
        for user in 2..2 * PENDING_MAX as u64 {
            shard.wrote(user, user, long);
        }
        assert_eq!(shard.pending_count, PENDING_MAX);
        assert!(shard.pending.len() <= PENDING_MAX + 1);
        for user in [1, PENDING_MAX as u64, 2 * PENDING_MAX as u64 - 1, u64::MAX] {
            assert!(shard.lacks_writes_of(user, now), "whose write could not be noted waits as well: {user}");
        }
        let later = long + Duration::from_secs(1);
        assert!(!shard.lacks_writes_of(u64::MAX, later));
        shard.forget_writes();
        assert!(!shard.lacks_writes_of(1, now));
    }
}
