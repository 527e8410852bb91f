//! Stopping without a failed request.
//!
//! 1. **Leaving.** `/ready` says 503, so balancers turn away; requests are still taken, answered, and told
//!    `Connection: close`. Held polls are answered early. This lasts most of `DRAIN_SECONDS`: a connection that
//!    were closed while idle could have a request on its way.
//! 2. **Closing.** No new connections; idle ones are closed; requests under way are finished.
//! 3. At the deadline everything that is left is cut.
//!
//! A person's Ctrl-C skips the first step, since no balancer stands in front of them.
//!
//! Why so, as `tests/it/chassis/rolling.rs` and `drain.rs` there show:
//! - A balancer keeps idle connections to us and sends the next request into one of them at any moment. So while
//!   leaving, none is closed for being idle: each ends with an answer that says so, or is no longer used
//!   once the balancer's check has failed. That takes its interval times the failures it wants, which must fit
//!   into the first step (5 s of the default 8; a check every second that wants one or two failures does).
//! - The listener stays open while leaving, for clients that were just told to come back on a new connection. When it
//!   is closed, what the kernel had accepted for us is served first; only a client that connects in that very
//!   moment is reset, and there is no way to spare it that.
//! - While closing, a connection that has not asked anything yet has a moment left: its request may be on its way.
//!   A stream counts as under way until its last piece.
//! - Work whose client has left is waited for as well: it is a write, and ends or is rolled back as a whole.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;

/// The share of `DRAIN_SECONDS` that the first step takes.
const LEAVING_SHARE: f64 = 0.625;

/// How far the process is with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Not at all.
    Serving,
    /// Turning clients away politely.
    Leaving,
    /// Finishing what is under way.
    Closing,
}

/// Shared by all who must know.
#[derive(Default)]
pub struct Drain {
    stage: AtomicU8,
    changed: Notify,
}

impl Drain {
    /// How far it is.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Serving,
            1 => Stage::Leaving,
            _ => Stage::Closing,
        }
    }

    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
        self.changed.notify_waiters();
    }

    /// Waits until `stage` is reached.
    pub async fn reached(&self, stage: Stage) {
        loop {
            let changed = self.changed.notified();
            if self.stage() >= stage {
                return;
            }
            changed.await;
        }
    }

    /// Goes through the stages. `is_idle` tells when nothing is left to wait for.
    pub async fn run(&self, seconds: u64, politely: bool, is_idle: impl Fn() -> bool) {
        let whole = Duration::from_secs(seconds);
        let leaving = if politely { whole.mul_f64(LEAVING_SHARE) } else { Duration::ZERO };
        self.enter(Stage::Leaving);
        tokio::time::sleep(leaving).await;
        self.enter(Stage::Closing);
        let finished = async {
            while !is_idle() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(whole.saturating_sub(leaving), finished).await.is_err() {
            tracing::warn!("requests under way at the deadline were cut");
        }
    }
}
