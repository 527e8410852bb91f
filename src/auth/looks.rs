//! How old what an instance knows of its callers is, and whether it may let somebody in by it.
//!
//! Who was signed out, which client was revoked and who registered of late is kept in memory and brought up to date
//! by a look at the database, again and again. What a look found may be gone by for [`KNOWN_MS_MAX`], the contract's
//! limit for a sign-out. An instance that was frozen or starved for longer has to look first: until then its callers
//! are [`Unknown`](super::token::TokenError::Unknown), and their requests wait for the next look.
//!
//! A database that does not answer is another matter: nobody can tell more then, so what is known is gone by for
//! [`UNANSWERED_MS_MAX`], as long as the feed answers from memory. An instance may say so only if it was awake all the
//! time and asked. It notes each while that it is ([`Looks::tick`]), and a gap in these notes means that it was not.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{sleep, timeout};

use crate::clock::Timestamp;

/// How long what a look found may be gone by, from the look's begin.
pub const KNOWN_MS_MAX: u64 = 2_000;
/// The same while the database does not answer.
pub const UNANSWERED_MS_MAX: u64 = 5_000;
/// Longest wait of a request for a look.
pub const LOOK_WAIT_MS_MAX: u64 = 2_000;
/// Pause between two looks, unless somebody asks for one.
const PAUSE_MS: u64 = 500;
/// Shortest time from the begin of one look to the next: those who ask closer together share one.
const PACE_MS: u64 = 20;
/// Pause between two notes that this instance is awake.
const TICK_MS: u64 = 250;
/// How long such a note holds, and the longest gap between two.
const AWAKE_MS_MAX: u64 = 1_500;

const _: () = assert!(PAUSE_MS < AWAKE_MS_MAX && TICK_MS < AWAKE_MS_MAX && AWAKE_MS_MAX < KNOWN_MS_MAX);

/// What is noted of the looks so far.
#[derive(Debug, Default)]
struct State {
    /// When the last look began that succeeded.
    as_of: Option<Timestamp>,
    /// When the last one began that is over, succeeded or failed.
    tried_at: Option<Instant>,
    /// When this instance last noted that it is awake.
    awake_at: Timestamp,
    /// When this instance last noticed that it had not been awake until then.
    slept_until: Timestamp,
}

impl State {
    /// Notes that this instance is awake at `now`.
    fn note_awake(&mut self, now: Timestamp) {
        if now.micros() > later(self.awake_at, AWAKE_MS_MAX) {
            self.slept_until = now;
        }
        self.awake_at = now;
    }
}

/// The looks at one kind of knowledge. Times are the system's: requests have theirs read already, and an idle poll pays
/// for one comparison. A clock that is set makes requests wait for one look, or is noticed by the next.
#[derive(Debug)]
pub struct Looks {
    /// Unix microseconds until when what is known may be gone by.
    good_until: AtomicI64,
    state: Mutex<State>,
    asked: Notify,
    over: Notify,
}

impl Default for Looks {
    /// Of what nobody looks at: everything goes by what is known, for ever.
    fn default() -> Self {
        Self {
            good_until: AtomicI64::new(i64::MAX),
            state: Mutex::default(),
            asked: Notify::new(),
            over: Notify::new(),
        }
    }
}

fn later(at: Timestamp, ms: u64) -> i64 {
    at.micros().saturating_add(i64::try_from(ms * 1_000).unwrap_or(i64::MAX))
}

impl Looks {
    /// From now on somebody looks: nothing is known until they did.
    pub fn follow(&self) {
        self.good_until.store(i64::MIN, Ordering::Release);
    }

    /// Whether a request that came at `at` may be judged by what is known.
    pub fn are_current(&self, at: Timestamp) -> bool {
        at.micros() <= self.good_until.load(Ordering::Acquire)
    }

    /// Has somebody look at once.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Ready when a look is over that is not over yet.
    pub fn over(&self) -> Notified<'_> {
        self.over.notified()
    }

    /// Whether a look is over, succeeded or failed, that began after `since`.
    pub fn tried_since(&self, since: Instant) -> bool {
        self.state().tried_at.is_some_and(|tried_at| tried_at >= since)
    }

    /// Waits, where what is known is too old now, until it is not; false if that takes too long.
    pub async fn become_current(&self) -> bool {
        let at = Timestamp::now();
        let current = async {
            loop {
                let over = self.over.notified();
                if self.are_current(at) {
                    return;
                }
                self.ask();
                over.await;
            }
        };
        self.are_current(at) || timeout(Duration::from_millis(LOOK_WAIT_MS_MAX), current).await.is_ok()
    }

    /// Looks once, by `look`, and then pauses until the next look is due or asked for. The look's own result.
    pub async fn once<E>(&self, look: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let (begun, begun_at) = (Instant::now(), Timestamp::now());
        self.tick(begun_at);
        let mut look = std::pin::pin!(look);
        let result = loop {
            match timeout(Duration::from_millis(TICK_MS), &mut look).await {
                Ok(result) => break result,
                Err(_) => self.tick(Timestamp::now()),
            }
        };
        match &result {
            Ok(()) => self.succeeded(begun, begun_at, Timestamp::now()),
            Err(_) => self.failed(begun),
        }
        let _in_time = timeout(Duration::from_millis(PAUSE_MS), self.asked.notified()).await;
        sleep(Duration::from_millis(PACE_MS).saturating_sub(begun.elapsed())).await;
        result
    }

    /// A look that began then, `begun_at`, succeeded, and is over at `now`. Whoever slept meanwhile slept since that look
    /// began, whose answer may be as old as that.
    pub fn succeeded(&self, begun: Instant, begun_at: Timestamp, now: Timestamp) {
        let mut state = self.state();
        state.note_awake(now);
        (state.as_of, state.tried_at) = (Some(begun_at), Some(begun));
        self.good_until.store(later(begun_at, KNOWN_MS_MAX), Ordering::Release);
        drop(state);
        self.over.notify_waiters();
    }

    /// A look that began then failed: who waits for it need not wait longer.
    pub fn failed(&self, begun: Instant) {
        self.state().tried_at = Some(begun);
        self.over.notify_waiters();
    }

    /// Notes that this instance is awake at `now`. Where it was so since the last look that succeeded, and the next one
    /// is still without an answer, what is known may be gone by for longer.
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

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left behind here is mended by the next look.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(1_768_473_000_000_000 + ms * 1_000)
    }

    /// Looked at with success at 0 ms.
    fn looked() -> Looks {
        let looks = Looks::default();
        looks.follow();
        looks.tick(at(0));
        looks.succeeded(Instant::now(), at(0), at(0));
        looks
    }

    #[test]
    fn what_nobody_looks_at_is_gone_by_and_what_is_to_be_looked_at_is_not() {
        let looks = Looks::default();
        assert!(looks.are_current(at(0)));
        looks.follow();
        looks.tick(at(0));
        assert!(!looks.are_current(at(0)), "nobody looked yet");
    }

    #[test]
    fn an_instance_that_was_frozen_has_to_look() {
        let looks = looked();
        looks.tick(at(500));
        assert!(looks.are_current(at(2_000)) && !looks.are_current(at(2_001)));
        looks.tick(at(4_000));
        assert!(!looks.are_current(at(4_000)), "it slept");
        looks.failed(Instant::now());
        looks.tick(at(4_100));
        assert!(!looks.are_current(at(4_100)), "nobody answered it since");
        looks.succeeded(Instant::now(), at(4_200), at(4_200));
        assert!(looks.are_current(at(6_200)));
    }

    /// The database answered while nobody read it, and much may have happened since.
    #[test]
    fn a_look_that_was_under_way_while_it_was_frozen_is_not_gone_by_for_longer() {
        let looks = looked();
        looks.tick(at(500));
        looks.succeeded(Instant::now(), at(500), at(2_600));
        assert!(!looks.are_current(at(2_600)));
        for ms in (2_600..=5_600).step_by(250) {
            looks.tick(at(ms));
            assert!(!looks.are_current(at(ms)), "{ms}");
        }
        looks.succeeded(Instant::now(), at(5_700), at(5_750));
        looks.tick(at(5_800));
        assert!(looks.are_current(at(7_300)), "awake since that look began");
    }

    #[test]
    fn a_database_that_does_not_answer_is_given_some_time() {
        let looks = looked();
        for ms in (250..=10_000).step_by(250) {
            looks.tick(at(ms));
            assert_eq!(looks.are_current(at(ms)), ms <= 5_000, "{ms}");
        }
    }
}
