//! What answers take of the memory: while they are made, and from then until the kernel has their last byte.
//!
//! A client that does not read keeps its answer here for as long as `connection` puts up with it, and anyone can open
//! many connections. So all answers under way share [`ANSWERS_BYTES_MAX`], and an answer keeps its share as long as its
//! bytes live, wherever hyper has them. Small ones, of which an idle poll's is one, are left out: they cost no
//! counting, and a connection has more in its buffers than they take.
//!
//! Bytes that several answers share count for each of them: more than they take, never less.
//!
//! While an answer is made it takes more than its length: its rows, and a buffer that doubles as it fills. So those
//! whose length depends on what the database holds are made a few at a time (`background`).

use std::sync::Arc;

use bytes::Bytes;
use prometheus::{IntCounter, Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;

use super::Error;
use super::background::{LARGE_AT_ONCE_MAX, Making};
use super::response::{Body, Response};

/// Bytes of all answers that are made and not yet with the kernel, small ones left out; beyond it 503.
pub(super) const ANSWERS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Up to so many bytes an answer is not counted: about what its connection has in buffers anyway.
pub(super) const SMALL_BYTES_MAX: usize = 16 * 1024;
/// The longest that a large answer should be. Services cut their lists at it.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What an answer takes while it is made, in its lengths: its rows, and the buffer that it is written into, which has
/// twice its length at worst, and half of that once more while it is enlarged.
const MAKING_FACTOR: usize = 4;

/// All answers together take no more than this, beside what the process takes anyway.
const _: () =
    assert!(ANSWERS_BYTES_MAX + LARGE_AT_ONCE_MAX * MAKING_FACTOR * ANSWER_BYTES_MAX <= 540_000_000);

/// The memory of all answers.
pub(super) struct Answers {
    room: Arc<Semaphore>,
    refused: IntCounter,
}

/// Bytes and their share of the memory.
struct Weighed {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Weighed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// With all of the memory free.
    ///
    /// # Errors
    /// When a metric's name is taken: a mistake of ours.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let room = Arc::new(Semaphore::new(ANSWERS_BYTES_MAX));
        let refused = metrics::counter(
            registry,
            "http_answers_refused_total",
            "Answers refused, and streams ended, because those under way took all of their memory.",
        )?;
        let free = room.clone();
        metrics::gauge(
            registry,
            "http_answers_bytes",
            "Bytes of answers that clients have yet to take, small answers not counted.",
            move || (ANSWERS_BYTES_MAX - free.available_permits()) as f64,
        )?;
        Ok(Self { room, refused })
    }

    /// Gives an answer that is made its share.
    pub(super) fn weigh(&self, mut response: Response) -> Result<Response, Error> {
        if let Body::Whole(Some(bytes)) = response.body_mut()
            && bytes.len() > SMALL_BYTES_MAX
        {
            *bytes = self.weighed(std::mem::take(bytes))?;
        }
        response.extensions_mut().remove::<Making>();
        Ok(response)
    }

    /// The same bytes, with their share until the last of them is dropped.
    pub(super) fn weighed(&self, bytes: Bytes) -> Result<Bytes, Error> {
        if bytes.len() <= SMALL_BYTES_MAX {
            return Ok(bytes);
        }
        let share = u32::try_from(bytes.len()).ok();
        let share = share.and_then(|share| self.room.clone().try_acquire_many_owned(share).ok());
        let Some(share) = share else {
            self.refused.inc();
            return Err(Error::busy("memory for answers"));
        };
        Ok(Bytes::from_owner(Weighed { bytes, _share: share }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(answers: &Answers) -> usize {
        answers.room.available_permits()
    }

    #[test]
    fn a_share_lasts_as_long_as_the_bytes() {
        let answers = Answers::new(&Registry::new()).unwrap();
        let whole = answers.weighed(Bytes::from(vec![b'x'; SMALL_BYTES_MAX + 1])).unwrap();
        assert_eq!(free(&answers), ANSWERS_BYTES_MAX - SMALL_BYTES_MAX - 1);
        let end = whole.slice(SMALL_BYTES_MAX..);
        drop(whole);
        assert_eq!(free(&answers), ANSWERS_BYTES_MAX - SMALL_BYTES_MAX - 1, "one byte keeps all");
        drop(end);
        assert_eq!(free(&answers), ANSWERS_BYTES_MAX);
    }

    #[test]
    fn small_answers_are_not_counted_and_too_many_large_ones_refused() {
        let answers = Answers::new(&Registry::new()).unwrap();
        let small = answers.weighed(Bytes::from(vec![b'x'; SMALL_BYTES_MAX])).unwrap();
        assert_eq!(free(&answers), ANSWERS_BYTES_MAX);
        let large = Bytes::from(vec![b'x'; ANSWERS_BYTES_MAX / 2]);
        let both = [large.clone(), large].map(|bytes| answers.weighed(bytes).unwrap());
        let more = Bytes::from(vec![b'x'; SMALL_BYTES_MAX + 1]);
        assert!(matches!(answers.weighed(more.clone()), Err(Error::Busy(..))));
        assert_eq!(answers.refused.get(), 1);
        assert!(answers.weighed(small).is_ok(), "small ones go on");
        drop(both);
        assert!(answers.weighed(more).is_ok());
    }
}
