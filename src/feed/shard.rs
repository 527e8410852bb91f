//! What one event loop has of the feed: its window, those who wait on it, and whose writes it has not seen.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;

use super::block::Block;
use super::cursor::{self, Cursor};
use super::domain::{Domain, WindowOf};
use super::item::{Item, Payload, Projection};
use super::window::IdMap;

/// Writes that a loop's part waits for, at most: more than are made in the longest wait while the tail reads at all. About
/// 100 bytes each.
const PENDING_MAX: usize = 16_384;
/// Stands for every user: none has this id.
const EVERYONE: u64 = 0;

/// Somebody who waits for news.
struct Waiter {
    user: u64,
    /// What they follow besides their own.
    topic: Option<usize>,
    fired: bool,
    waker: Option<Waker>,
}

/// One event loop's part. Only that loop and the tail's short visits lock it.
pub struct Shard<D: Domain> {
    /// `None` until the feed was read for the first time.
    pub window: Option<WindowOf<D>>,
    waiters: Slab<Waiter>,
    waiters_of: IdMap<Vec<u32>>,
    /// For each topic those who follow it: nobody else is touched when it changes.
    followers: Box<[IdMap<()>]>,
    /// Events committed by users of this instance that the window lacks, until when to wait for each, and how many there
    /// are. [`EVERYONE`] waits while there were too many to note whose they are.
    pending: IdMap<Vec<(u64, Instant)>>,
    pending_count: usize,
    /// What cursors' texts and empty answers are cut from.
    pub block: Block,
    random: u64,
}

impl<D: Domain> Shard<D> {
    /// Without a window yet.
    pub fn new(seed: u64) -> Self {
        Self {
            window: None,
            waiters: Slab::new(),
            waiters_of: IdMap::default(),
            followers: (0..D::Projection::TOPICS).map(|_| IdMap::default()).collect(),
            pending: IdMap::default(),
            pending_count: 0,
            block: Block::default(),
            random: seed | 1,
        }
    }

    /// Takes in a run's items; whom to wake.
    pub fn apply(&mut self, items: &[Arc<Item<D::Payload>>], now: Instant) -> Vec<Waker> {
        let Some(window) = &mut self.window else { return Vec::new() };
        window.apply(items);
        if !self.pending.is_empty() {
            let applied: HashSet<u64> = items.iter().map(|item| item.id).collect();
            self.retain_writes(|id, until| !applied.contains(&id) && until > now);
        }
        let mut woken = Vec::new();
        let Self { waiters, waiters_of, followers, .. } = self;
        let mut wake = |key: usize| {
            if let Some(waiter) = waiters.get_mut(key) {
                waiter.fired = true;
                woken.extend(waiter.waker.take());
            }
        };
        let topics: HashSet<usize> = items.iter().filter_map(|item| item.topic()).collect();
        for topic in topics {
            followers[topic].keys().for_each(|&key| wake(key as usize));
        }
        for user in items.iter().flat_map(|item| item.recipients().chain(item.withdrawn_from())) {
            waiters_of.get(&user).into_iter().flatten().for_each(|&key| wake(key as usize));
        }
        woken
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

    /// Registers a waiter of `user`, who follows this topic.
    pub fn wait(&mut self, user: u64, topic: Option<usize>) -> usize {
        let key = self.waiters.insert(Waiter { user, topic, fired: false, waker: None });
        if let Some(topic) = topic {
            self.followers[topic].insert(key as u64, ());
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
        if let Some(topic) = waiter.topic {
            self.followers[topic].remove(&(key as u64));
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

    /// The cursor's text.
    pub fn text_of(&mut self, cursor: Cursor) -> Bytes {
        self.block.text(cursor::TEXT_BYTES, |text| text.extend_from_slice(&cursor.text()))
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
    use std::task::{Context, Wake};
    use std::time::Duration;

    use super::super::toy::{self, Toy};
    use super::super::window::{Position, Retention, Window};
    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn an_item_on_a_topic_wakes_nobody_who_does_not_follow_it() {
        const HELD: u64 = 10_000;
        let retention = Retention { events_max: 100, bytes_max: usize::MAX };
        for (topic, expected) in [(None, 1), (Some(0), HELD as usize)] {
            let mut shard = Shard::<Toy>::new(1);
            shard.window = Some(Window::new(Position::default(), retention, toy::Nothing));
            let waker = Waker::from(Arc::new(Nobody));
            let context = Context::from_waker(&waker);
            let keys: Vec<usize> = (1..=HELD).map(|user| shard.wait(user, topic)).collect();
            assert!(keys.iter().all(|&key| !shard.is_woken(key, context.waker())));
            // Its recipient is, and whoever follows the topic.
            assert_eq!(shard.apply(&[toy::item(1, 1)], Instant::now()).len(), expected);
            keys.into_iter().for_each(|key| shard.leave(key));
            assert!(shard.followers[0].is_empty() && shard.waiters_of.is_empty());
        }
    }

    #[test]
    fn writes_that_are_never_applied_take_no_more_than_their_limit_and_nobody_is_told_too_soon() {
        let mut shard = Shard::<Toy>::new(1);
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
