//! How much of what is written here may have no number yet.
//!
//! The leader numbers so many bytes a second, and large texts can be written faster than that. Whoever did so would make the
//! polls of everybody late, and then refused, for as long as it takes to number all that waits. So a large change waits
//! before it is written until there is room for it, and has that room until it is in the windows. Small changes need none:
//! they do not come so fast, and who writes them does not wait behind those who write large ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::WAIT_MS_MAX;
use super::run::RUN_BYTES_MAX;

/// Bytes of large changes, as JSON, written here and not numbered yet: what one run takes.
const UNNUMBERED_BYTES_MAX: usize = RUN_BYTES_MAX;
/// From so many bytes on a change is large. Nearly all are smaller.
const LARGE_BYTES: usize = 2 * 1024;

/// Room for one change that is about to be written; none where it needs none.
#[derive(Debug, Default)]
pub struct Room(Option<OwnedSemaphorePermit>);

/// What was written here and has no number yet.
pub(super) struct Backlog {
    room: Arc<Semaphore>,
    /// The room of each change, and how long it has it at most: where nothing is numbered, others write on slowly.
    taken: Mutex<HashMap<u64, (Room, Instant)>>,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(UNNUMBERED_BYTES_MAX)), taken: Mutex::default() }
    }

    /// Waits for room for a change of so many `bytes`; `None` where there is none in [`WAIT_MS_MAX`].
    pub(super) async fn room(&self, bytes: usize) -> Option<Room> {
        if bytes < LARGE_BYTES {
            return Some(Room::default());
        }
        let now = Instant::now();
        self.taken().retain(|_, (_, until)| *until > now);
        let room = self.room.clone().acquire_many_owned(bytes.min(UNNUMBERED_BYTES_MAX) as u32);
        let room = timeout(Duration::from_millis(WAIT_MS_MAX), room).await.ok()?;
        room.ok().map(|room| Room(Some(room)))
    }

    /// The change `event` is written, and has its room until it is numbered.
    pub(super) fn add(&self, event: u64, room: Room, until: Instant) {
        if room.0.is_some() {
            self.taken().insert(event, (room, until));
        }
    }

    /// These are numbered.
    pub(super) fn remove(&self, events: impl Iterator<Item = u64>) {
        let mut taken = self.taken();
        if !taken.is_empty() {
            events.for_each(|event| drop(taken.remove(&event)));
        }
    }

    /// Bytes of large changes that have no number yet, or are about to be written.
    pub(super) fn bytes(&self) -> usize {
        UNNUMBERED_BYTES_MAX - self.room.available_permits()
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, (Room, Instant)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn large_changes_wait_until_others_are_numbered_and_small_ones_do_not() {
        const HALF: usize = UNNUMBERED_BYTES_MAX / 2;
        let backlog = Backlog::new();
        let until = Instant::now() + Duration::from_secs(60);
        for event in [1, 2] {
            backlog.add(event, backlog.room(HALF).await.unwrap(), until);
        }
        assert_eq!(backlog.bytes(), UNNUMBERED_BYTES_MAX);
        assert!(backlog.room(LARGE_BYTES - 1).now_or_never().is_some());
        assert!(backlog.room(LARGE_BYTES).await.is_none(), "not in two seconds");
        let mut next = Box::pin(backlog.room(10 * UNNUMBERED_BYTES_MAX));
        assert!(next.as_mut().now_or_never().is_none());
        backlog.remove([7, 1].into_iter());
        assert!(next.as_mut().now_or_never().is_none(), "there is not enough");
        backlog.remove([2].into_iter());
        assert!(next.now_or_never().flatten().is_some(), "one that is larger than all takes all");
        assert_eq!(backlog.bytes(), 0, "it was not written");

        backlog.add(3, backlog.room(UNNUMBERED_BYTES_MAX).await.unwrap(), Instant::now());
        assert!(backlog.room(HALF).now_or_never().flatten().is_some(), "what is not numbered in time");
    }
}
