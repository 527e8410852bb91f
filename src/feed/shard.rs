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

/// Somebody who waits for news.
struct Waiter {
    user: u64,
    fired: bool,
    waker: Option<Waker>,
}

/// One event loop's part. Only that loop and the tail's short visits lock it.
pub struct Shard {
    /// `None` until the feed was read for the first time.
    pub window: Option<Window>,
    waiters: Slab<Waiter>,
    waiters_of: IdMap<Vec<u32>>,
    /// Events committed by users of this instance that the window lacks, until when to wait for each.
    pending: IdMap<Vec<(u64, Instant)>>,
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
            pending: IdMap::default(),
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
            self.pending.retain(|_, written| {
                written.retain(|(id, until)| !applied.contains(id) && *until > now);
                !written.is_empty()
            });
        }
        if batch.entries.iter().any(|entry| entry.queue != QueueChange::None) {
            return self.wake_all();
        }
        let mut woken = Vec::new();
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

    /// Registers a waiter of `user`.
    pub fn wait(&mut self, user: u64) -> usize {
        let key = self.waiters.insert(Waiter { user, fired: false, waker: None });
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
        if let Some(keys) = self.waiters_of.get_mut(&waiter.user) {
            keys.retain(|&other| other as usize != key);
            if keys.is_empty() {
                self.waiters_of.remove(&waiter.user);
            }
        }
    }

    /// Notes that `user` committed `event`, which the window lacks.
    pub fn wrote(&mut self, user: u64, event: u64, until: Instant) {
        self.pending.entry(user).or_default().push((event, until));
    }

    /// Whether the window lacks something that `user` wrote.
    pub fn lacks_writes_of(&self, user: u64, now: Instant) -> bool {
        !self.pending.is_empty()
            && self.pending.get(&user).is_some_and(|written| written.iter().any(|(_, until)| *until > now))
    }

    /// Forgets what is awaited: the window was loaded anew.
    pub fn forget_writes(&mut self) {
        self.pending.clear();
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
