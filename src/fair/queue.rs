//! Who gets the next permit: addresses take turns, however many each has waiting.
//!
//! So one address that asks a thousand times a second waits for itself, and somebody else's turn comes after at
//! most one of each address that waits. When the queue is full, the newest of the longest line makes room for
//! who has less waiting: a flood takes no place from anybody but itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Network;

/// The bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most callers that wait.
    pub queue_max: usize,
    /// The longest that each of them waits.
    pub wait_max: Duration,
}

/// Permits, and those who wait for one.
#[derive(Debug)]
pub struct FairQueue {
    limits: Limits,
    state: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    /// Permits that nobody has; none while somebody waits.
    free: usize,
    /// Who waits, by address, the oldest first; no line is empty.
    lines: HashMap<Network, VecDeque<Queued>>,
    /// The addresses that have a line, in the order of their turns.
    turns: VecDeque<Network>,
    /// Waiters in all lines.
    waiting: usize,
    /// Rises with each waiter, so that a line is sorted by it.
    last_id: u64,
}

#[derive(Debug)]
struct Queued {
    id: u64,
    permit: oneshot::Sender<Permit>,
}

/// One piece of work may be done while this lives.
#[derive(Debug)]
pub struct Permit(Arc<FairQueue>);

impl Drop for Permit {
    fn drop(&mut self) {
        let next = self.0.lock().pass_on();
        if let Some(next) = next {
            // Who left in this very moment gives it back: the permit that could not be sent is dropped here.
            drop(next.permit.send(Self(self.0.clone())));
        }
    }
}

/// A place in a line, left when this is dropped.
struct Place<'a> {
    queue: &'a FairQueue,
    whose: Network,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.lock().leave(self.whose, self.id);
    }
}

impl FairQueue {
    /// A queue for so many permits, at least one.
    #[must_use]
    pub fn new(permits: usize, limits: Limits) -> Arc<Self> {
        let state = Waiters {
            free: permits.max(1),
            lines: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            last_id: 0,
        };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// How many permits nobody has.
    pub fn free(&self) -> usize {
        self.lock().free
    }

    /// A permit when it is the turn of `whose`; nothing where the queue is full or the wait too long.
    pub async fn permit(self: &Arc<Self>, whose: Network) -> Option<Permit> {
        let (id, permit) = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Some(Permit(self.clone()));
            }
            state.join(whose, self.limits.queue_max)?
        };
        let _place = Place { queue: self, whose, id };
        timeout(self.limits.wait_max, permit).await.ok()?.ok()
    }
}

impl Waiters {
    /// Joins the line of `whose`.
    fn join(&mut self, whose: Network, queue_max: usize) -> Option<(u64, oneshot::Receiver<Permit>)> {
        if self.waiting >= queue_max {
            self.make_room(whose)?;
        }
        self.last_id += 1;
        let (permit, receiver) = oneshot::channel();
        let line = self.lines.entry(whose).or_default();
        if line.is_empty() {
            self.turns.push_back(whose);
        }
        line.push_back(Queued { id: self.last_id, permit });
        self.waiting += 1;
        Some((self.last_id, receiver))
    }

    /// Sends the newest of the longest line away, where that line is then still as long as that of `whose`.
    fn make_room(&mut self, whose: Network) -> Option<()> {
        let own = self.lines.get(&whose).map_or(0, VecDeque::len);
        let longest = self.lines.values_mut().max_by_key(|line| line.len())?;
        if longest.len() <= own + 1 {
            return None;
        }
        longest.pop_back()?;
        self.waiting -= 1;
        Some(())
    }

    /// A permit is free: it goes to the oldest of the line whose turn it is, or to nobody.
    fn pass_on(&mut self) -> Option<Queued> {
        let next = self.turns.pop_front().and_then(|whose| {
            let line = self.lines.get_mut(&whose)?;
            let next = line.pop_front();
            if line.is_empty() {
                self.lines.remove(&whose);
            } else {
                self.turns.push_back(whose);
            }
            next
        });
        match &next {
            Some(_) => self.waiting -= 1,
            None => self.free += 1,
        }
        next
    }

    /// Takes a waiter out of its line, where it is still there.
    fn leave(&mut self, whose: Network, id: u64) {
        let Some(line) = self.lines.get_mut(&whose) else { return };
        let Ok(place) = line.binary_search_by_key(&id, |waiter| waiter.id) else { return };
        line.remove(place);
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(&whose);
            self.turns.retain(|other| *other != whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair::address;

    const LIMITS: Limits = Limits { queue_max: 4, wait_max: Duration::from_secs(60) };

    /// A queue whose one permit is taken.
    async fn taken() -> (Arc<FairQueue>, Permit) {
        let queue = FairQueue::new(1, LIMITS);
        let permit = queue.permit(address(0)).await.unwrap();
        (queue, permit)
    }

    /// Joins, and waits apart from this task; `who` is noted when the turn comes.
    async fn join(
        queue: &Arc<FairQueue>,
        address: Network,
        who: &'static str,
        served: &Arc<Mutex<Vec<&'static str>>>,
    ) {
        let before = queue.lock().last_id;
        let (queue_too, served) = (queue.clone(), served.clone());
        tokio::spawn(async move {
            let who = if queue_too.permit(address).await.is_some() { who } else { "nobody" };
            served.lock().unwrap().push(who);
        });
        while queue.lock().last_id == before {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn addresses_take_turns() {
        let (queue, permit) = taken().await;
        let served = Arc::default();
        for (last, who) in [(1, "flood 1"), (1, "flood 2"), (1, "flood 3"), (2, "ann")] {
            join(&queue, address(last), who, &served).await;
        }
        drop(permit);
        while served.lock().unwrap().len() < 4 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*served.lock().unwrap(), ["flood 1", "ann", "flood 2", "flood 3"]);
        assert_eq!((queue.waiting(), queue.free()), (0, 1));
        let state = queue.lock();
        assert!(state.lines.is_empty() && state.turns.is_empty());
    }

    #[tokio::test]
    async fn a_full_queue_makes_room_for_who_has_less_waiting() {
        let (queue, permit) = taken().await;
        let served = Arc::default();
        for who in ["flood 1", "flood 2", "flood 3", "flood 4"] {
            join(&queue, address(1), who, &served).await;
        }
        assert!(queue.permit(address(1)).await.is_none(), "a flood takes no place of its own");
        join(&queue, address(2), "ann", &served).await;
        join(&queue, address(3), "bob", &served).await;
        join(&queue, address(4), "carl", &served).await;
        assert_eq!(queue.waiting(), 4);
        // One each: whoever comes now has no better claim than those who wait.
        assert!(queue.permit(address(5)).await.is_none());
        drop(permit);
        while served.lock().unwrap().len() < 7 {
            tokio::task::yield_now().await;
        }
        let served = served.lock().unwrap();
        assert_eq!(served[..3], ["nobody"; 3], "{served:?}");
        assert_eq!(served[3..], ["flood 1", "ann", "bob", "carl"], "{served:?}");
    }

    #[tokio::test]
    async fn who_leaves_is_in_nobodys_way() {
        let (queue, permit) = taken().await;
        let waits = queue.permit(address(1));
        assert!(timeout(Duration::ZERO, waits).await.is_err());
        assert_eq!(queue.waiting(), 0);
        assert!(queue.lock().lines.is_empty() && queue.lock().turns.is_empty());
        drop(permit);
        assert_eq!(queue.free(), 1);
    }
}
