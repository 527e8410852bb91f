//! Work that waits for the database, a password's hash or another server: done apart from the event loops.
//!
//! A client that hangs up does not cancel it: so no write is left half done, and no database connection is left with an answer
//! unread. It has a number of places, a time limit, and ends in an answer whatever happens.
//!
//! While an answer is made it takes more memory than its length (`answers`), and some are as long as what the database holds.
//! Those are made [`LARGE_AT_ONCE_MAX`] at a time, for which the clients' addresses take turns.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::fair::Network;
use crate::fair::queue::{FairQueue, Limits, Permit};
use crate::metrics;

use super::Error;
use super::response::Response;

/// Work at once, at most; beyond it 503.
pub const DETACHED_MAX: usize = 2_048;
/// The longest that it may take, all its statements together. The contract's 5 s less the time to say so.
pub const DETACHED_MS_MAX: u64 = 4_500;
/// Answers of [`super::route::Spec::list`] routes that are made at once; the next ones wait in [`LARGE_QUEUE`].
pub(super) const LARGE_AT_ONCE_MAX: usize = 8;
/// How many wait to be made and for how long, beyond which there is a 503. Each takes some tens of milliseconds, so these
/// many are made in as long; and of [`DETACHED_MAX`] they leave most to others.
const LARGE_QUEUE: Limits = Limits { queue_max: 256, wait_max: Duration::from_secs(2) };

/// The background runtime, as requests use it.
pub struct Background {
    runtime: Handle,
    permits: Arc<Semaphore>,
    large: Arc<FairQueue>,
}

/// The permit to make a large answer, which goes with the answer until its bytes are counted.
#[derive(Clone)]
pub(super) struct Making {
    _permit: Arc<Permit>,
}

impl Background {
    /// The runtime that this is called on.
    ///
    /// # Errors
    /// When a metric's name is taken: a mistake of ours.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let large = FairQueue::new(LARGE_AT_ONCE_MAX, LARGE_QUEUE);
        let permits = large.clone();
        metrics::gauge(registry, "http_large_answers_making", "Large answers being made.", move || {
            (LARGE_AT_ONCE_MAX - permits.free()) as f64
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

    /// The same for an answer to `client` that may be large, which waits for its turn.
    ///
    /// # Errors
    /// The same, and that its turn did not come.
    pub fn run_large(
        &self,
        work: impl Future<Output = Result<Response, Error>> + Send + 'static,
        client: Network,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        let large = self.large.clone();
        self.run(async move {
            let permit =
                large.permit(client).await.ok_or_else(|| Error::busy("the queue of large answers"))?;
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
    use futures_util::FutureExt as _;

    use super::*;
    use crate::chassis::response;
    use crate::fair::address;

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

    #[tokio::test]
    async fn addresses_take_turns_for_large_answers() {
        let background = Background::new(&Registry::new()).unwrap();
        let (gate, empty) = (Arc::new(Semaphore::new(0)), || response::empty(http::StatusCode::OK));
        let ask = |last| {
            let gate = gate.clone();
            let work = async move {
                gate.acquire().await.unwrap().forget();
                Ok(empty())
            };
            background.run_large(work, address(last))
        };
        let mut flood: Vec<_> = (0..LARGE_AT_ONCE_MAX + LARGE_QUEUE.queue_max).map(|_| ask(1)).collect();
        let waiting = async |count| {
            while background.large.waiting() != count {
                tokio::task::yield_now().await;
            }
        };
        waiting(LARGE_QUEUE.queue_max).await;
        assert!(matches!(ask(1).await, Err(Error::Busy(..))), "a flood waits for itself");
        let mut ann = Box::pin(ask(2));
        assert!(matches!(flood.pop().unwrap().await, Err(Error::Busy(..))), "its newest made room");
        // Eight are made now, then one more of the flood, then hers, however many of the flood wait.
        for done in 0..LARGE_AT_ONCE_MAX + 2 {
            assert!(ann.as_mut().now_or_never().is_none());
            gate.add_permits(1);
            let Some(first) = (done < LARGE_AT_ONCE_MAX + 1).then(|| flood.remove(0)) else { break };
            // Its permit goes with the answer, to the next who waits.
            drop(first.await.unwrap());
        }
        ann.await.unwrap();
    }
}
