//! How old an instance's knowledge of its callers is, and whether requests may still be judged by it.
//!
//! Which sessions were signed out, which clients were revoked and who registered lately is kept in memory. A task
//! refreshes it from the database again and again. Requests are judged by a refresh for [`KNOWN_MS_MAX`] after it began:
//! the contract's limit for a sign-out to take effect. An instance that was frozen or starved for longer must refresh
//! first: until then its callers are [`Unknown`](super::token::TokenError::Unknown), and their requests wait.
//!
//! While the database does not answer, no instance can know more. Then the last refresh counts for
//! [`UNANSWERED_MS_MAX`], which is how long the feed answers from memory, too. That holds only for an instance that was
//! awake and trying all that time: the task notes every [`TICK_MS`] that it is awake ([`Freshness::tick`]), and a gap in
//! these notes shows that it was not.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{sleep, timeout};

use crate::clock::Timestamp;

/// How long a refresh counts, from its begin.
pub const KNOWN_MS_MAX: u64 = 2_000;
/// How long it counts while the database does not answer.
pub const UNANSWERED_MS_MAX: u64 = 5_000;
/// Longest wait of a request for a refresh.
pub const REFRESH_WAIT_MS_MAX: u64 = 2_000;
/// Pause between two refreshes, unless a request needs one at once.
const PAUSE_MS: u64 = 500;
/// Shortest time from the begin of one refresh to the next: requests that come closer together share one.
const PACE_MS: u64 = 20;
/// Pause between two notes that this instance is awake.
const TICK_MS: u64 = 250;
/// How long such a note holds, and the longest gap between two.
const AWAKE_MS_MAX: u64 = 1_500;

const _: () = assert!(PAUSE_MS < AWAKE_MS_MAX && TICK_MS < AWAKE_MS_MAX && AWAKE_MS_MAX < KNOWN_MS_MAX);

/// How the refreshes went so far.
#[derive(Debug, Default)]
struct RefreshTimes {
    /// When the last refresh that succeeded began.
    as_of: Option<Timestamp>,
    /// When the last refresh that ended began, whether it succeeded or failed.
    tried_at: Option<Instant>,
    /// When this instance last noted that it is awake.
    awake_at: Timestamp,
    /// When this instance last noticed that it had slept until then: frozen, or starved of its core.
    slept_until: Timestamp,
}

impl RefreshTimes {
    /// Notes that this instance is awake at `now`.
    fn note_awake(&mut self, now: Timestamp) {
        if now.micros() > later(self.awake_at, AWAKE_MS_MAX) {
            self.slept_until = now;
        }
        self.awake_at = now;
    }
}

/// How fresh one kind of knowledge is. Times are wall-clock times, because a request has read its own already: so an idle
/// poll pays for one comparison. Where the clock is set, requests wait for one refresh at most.
#[derive(Debug)]
pub struct Freshness {
    /// Until when requests may be judged by what is known, in Unix microseconds.
    good_until: AtomicI64,
    state: Mutex<RefreshTimes>,
    /// Notified by a request that needs a refresh at once.
    requested: Notify,
    /// Notified when a refresh ends.
    ended: Notify,
}

impl Default for Freshness {
    /// Of knowledge that no task refreshes: it is always fresh. [`Freshness::require_refresh`] ends that.
    fn default() -> Self {
        Self {
            good_until: AtomicI64::new(i64::MAX),
            state: Mutex::default(),
            requested: Notify::new(),
            ended: Notify::new(),
        }
    }
}

fn later(at: Timestamp, ms: u64) -> i64 {
    at.micros().saturating_add(i64::try_from(ms * 1_000).unwrap_or(i64::MAX))
}

impl Freshness {
    /// From now on a task refreshes it: nothing is known until it did so for the first time.
    pub fn require_refresh(&self) {
        self.good_until.store(i64::MIN, Ordering::Release);
    }

    /// Whether a request received at `at` may be judged by what is known.
    pub fn are_current(&self, at: Timestamp) -> bool {
        at.micros() <= self.good_until.load(Ordering::Acquire)
    }

    /// Ends the pause before the next refresh.
    pub fn request_refresh(&self) {
        self.requested.notify_one();
    }

    /// Waits for the next refresh to end.
    pub fn next_refresh(&self) -> Notified<'_> {
        self.ended.notified()
    }

    /// Whether a refresh that began after `since` has ended, whether it succeeded or failed.
    pub fn tried_since(&self, since: Instant) -> bool {
        self.state().tried_at.is_some_and(|tried_at| tried_at >= since)
    }

    /// Waits until what is known is fresh enough for now; false if that takes longer than [`REFRESH_WAIT_MS_MAX`].
    pub async fn become_current(&self) -> bool {
        let at = Timestamp::now();
        let current = async {
            loop {
                let ended = self.ended.notified();
                if self.are_current(at) {
                    return;
                }
                self.request_refresh();
                ended.await;
            }
        };
        self.are_current(at) || timeout(Duration::from_millis(REFRESH_WAIT_MS_MAX), current).await.is_ok()
    }

    /// Refreshes by `read`, then pauses until the next refresh is due or requested. Returns what `read` returned.
    pub async fn refresh<E>(&self, read: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let (begun, begun_at) = (Instant::now(), Timestamp::now());
        self.tick(begun_at);
        let mut read = std::pin::pin!(read);
        let result = loop {
            match timeout(Duration::from_millis(TICK_MS), &mut read).await {
                Ok(result) => break result,
                Err(_) => self.tick(Timestamp::now()),
            }
        };
        match &result {
            Ok(()) => self.succeeded(begun, begun_at, Timestamp::now()),
            Err(_) => self.failed(begun),
        }
        let _in_time = timeout(Duration::from_millis(PAUSE_MS), self.requested.notified()).await;
        sleep(Duration::from_millis(PACE_MS).saturating_sub(begun.elapsed())).await;
        result
    }

    /// Notes that a refresh that began at `begun_at` succeeded, and ended at `now`. An instance that slept meanwhile slept
    /// after the refresh began, and what it read may be as old as that.
    pub fn succeeded(&self, begun: Instant, begun_at: Timestamp, now: Timestamp) {
        let mut state = self.state();
        state.note_awake(now);
        (state.as_of, state.tried_at) = (Some(begun_at), Some(begun));
        self.good_until.store(later(begun_at, KNOWN_MS_MAX), Ordering::Release);
        drop(state);
        self.ended.notify_waiters();
    }

    /// Notes that a refresh that began at this time failed: requests that wait for it get their answer.
    pub fn failed(&self, begun: Instant) {
        self.state().tried_at = Some(begun);
        self.ended.notify_waiters();
    }

    /// Notes that this instance is awake at `now`. If it was awake ever since the last refresh that succeeded, and the
    /// database has not answered the next one yet, what is known counts for longer.
    fn tick(&self, now: Timestamp) {
        let mut state = self.state();
        state.note_awake(now);
        if let Some(as_of) = state.as_of
            && state.slept_until <= as_of
        {
            let unanswered = later(now, AWAKE_MS_MAX).min(later(as_of, UNANSWERED_MS_MAX));
            self.good_until.store(unanswered.max(later(as_of, KNOWN_MS_MAX)), Ordering::Release);
        }
    }

    fn state(&self) -> MutexGuard<'_, RefreshTimes> {
        // Whatever state a panic left behind, the next refresh repairs it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(1_768_473_000_000_000 + ms * 1_000)
    }

    /// Refreshed with success at 0 ms.
    fn refreshed() -> Freshness {
        let freshness = Freshness::default();
        freshness.require_refresh();
        freshness.tick(at(0));
        freshness.succeeded(Instant::now(), at(0), at(0));
        freshness
    }

    #[test]
    fn what_no_task_refreshes_is_fresh_and_what_is_to_be_refreshed_is_not() {
        let freshness = Freshness::default();
        assert!(freshness.are_current(at(0)));
        freshness.require_refresh();
        freshness.tick(at(0));
        assert!(!freshness.are_current(at(0)), "no refresh yet");
    }

    #[test]
    fn an_instance_that_was_frozen_must_refresh() {
        let freshness = refreshed();
        freshness.tick(at(500));
        assert!(freshness.are_current(at(2_000)) && !freshness.are_current(at(2_001)));
        freshness.tick(at(4_000));
        assert!(!freshness.are_current(at(4_000)), "it slept");
        freshness.failed(Instant::now());
        freshness.tick(at(4_100));
        assert!(!freshness.are_current(at(4_100)), "nobody answered it since");
        freshness.succeeded(Instant::now(), at(4_200), at(4_200));
        assert!(freshness.are_current(at(6_200)));
    }

    /// The database answered while nobody read it, and much may have happened since.
    #[test]
    fn a_refresh_during_which_it_was_frozen_counts_for_no_longer() {
        let freshness = refreshed();
        freshness.tick(at(500));
        freshness.succeeded(Instant::now(), at(500), at(2_600));
        assert!(!freshness.are_current(at(2_600)));
        for ms in (2_600..=5_600).step_by(250) {
            freshness.tick(at(ms));
            assert!(!freshness.are_current(at(ms)), "{ms}");
        }
        freshness.succeeded(Instant::now(), at(5_700), at(5_750));
        freshness.tick(at(5_800));
        assert!(freshness.are_current(at(7_300)), "awake since that refresh began");
    }

    #[test]
    fn a_database_that_does_not_answer_is_given_some_time() {
        let freshness = refreshed();
        for ms in (250..=10_000).step_by(250) {
            freshness.tick(at(ms));
            assert_eq!(freshness.are_current(at(ms)), ms <= 5_000, "{ms}");
        }
    }
}
