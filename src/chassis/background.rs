//! Work that waits for the database, a password's hash or another server: done apart from the event loops.
//!
//! A client that hangs up does not cancel it: so no write is left half done, and no database connection is left with an answer
//! unread. It has a number of places, a time limit, and ends in an answer whatever happens.
//!
//! While an answer is made it takes more memory than its length (`answers`), and some are as long as what the database holds.
//! Those are made [`LARGE_AT_ONCE_MAX`] at a time.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::metrics;

use super::Error;
use super::response::Response;

/// Work at once, at most; beyond it 503.
pub const DETACHED_MAX: usize = 2_048;
/// The longest that it may take, all its statements together. The contract's 5 s less the time to say so.
pub const DETACHED_MS_MAX: u64 = 4_500;
/// Answers of [`super::route::Spec::list`] routes that are made at once; the next ones wait.
pub(super) const LARGE_AT_ONCE_MAX: usize = 8;
/// Longest wait for a permit to make one, then 503: each takes some tens of milliseconds.
const LARGE_WAIT_MS_MAX: u64 = 2_000;

/// The background runtime, as requests use it.
pub struct Background {
    runtime: Handle,
    permits: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The permit to make a large answer, which goes with the answer until its bytes are counted.
#[derive(Clone)]
pub(super) struct Making {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Background {
    /// The runtime that this is called on.
    ///
    /// # Errors
    /// When a metric's name is taken: a mistake of ours.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let large = Arc::new(Semaphore::new(LARGE_AT_ONCE_MAX));
        let permits = large.clone();
        metrics::gauge(registry, "http_large_answers_making", "Large answers being made.", move || {
            (LARGE_AT_ONCE_MAX - permits.available_permits()) as f64
        })?;
        Ok(Self { runtime: Handle::current(), permits: Arc::new(Semaphore::new(DETACHED_MAX)), large })
    }

    /// Begins `work`, which is done also where the caller does not wait for its end. What is returned holds a handle only: polls
    /// that are held keep no room for work that they may need.
    ///
    /// # Errors
    /// Those of the work, and that it did not begin, took too long, panicked, or was cut off by the end of the process.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        let task = self.permits.clone().try_acquire_owned().map(|permit| {
            self.runtime.spawn(async move {
                let _permit = permit;
                timeout(Duration::from_millis(DETACHED_MS_MAX), work).await
            })
        });
        async move {
            let Ok(task) = task else { return Err(Error::busy("the queue of requests under way")) };
            match task.await? {
                Ok(result) => result,
                Err(_) => Err(Error::Unavailable("the work took too long".to_owned())),
            }
        }
    }

    /// The same for an answer that may be large, which waits for its turn.
    ///
    /// # Errors
    /// The same, and that its turn did not come.
    pub fn run_large(
        &self,
        work: impl Future<Output = Result<Response, Error>> + Send + 'static,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        let large = self.large.clone();
        self.run(async move {
            let limit = Duration::from_millis(LARGE_WAIT_MS_MAX);
            let Ok(Ok(permit)) = timeout(limit, large.acquire_owned()).await else {
                return Err(Error::busy("the queue of large answers"));
            };
            let mut response = work.await?;
            response.extensions_mut().insert(Making { _permit: Arc::new(permit) });
            Ok(response)
        })
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.permits.available_permits() == DETACHED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_work_keeps_a_handle_and_no_room_for_it() {
        let background = Background::new(&Registry::new()).unwrap();
        let work = async {
            let room = [7_u8; 4_096];
            tokio::task::yield_now().await;
            Ok(room.iter().map(|&byte| u64::from(byte)).sum::<u64>())
        };
        assert!(size_of_val(&work) > 4_096);
        let waiting = background.run(work);
        assert!(size_of_val(&waiting) <= 128, "{} bytes", size_of_val(&waiting));
        assert!(!background.is_idle(), "it has begun");
        assert_eq!(waiting.await.unwrap(), 7 * 4_096);
        assert!(background.is_idle());
    }
}
