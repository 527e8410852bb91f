//! How long what is ready waits for its event loop.
//!
//! What is ready waits in the kernel, in the order in which it came, and a loop takes a little of it at a time
//! ([`crate::tasks::EVENTS_MAX`]). So a message that a loop sends to itself comes back after all that was ready before: it
//! waits as long as a request that comes now.
//!
//! A client that gives up in that time and comes again with a new connection costs as much as one that is answered, for
//! nothing, and those behind wait the longer: once begun that does not end. So while a loop lags,
//!
//! - **new connections are accepted slowly** (`acceptor`). Whose connection is open keeps it, and is answered in its turn:
//!   they are as many as can be answered while they wait, because of more than that some leave.
//! - **who left is not worked for**: its request is not even read. A client that closes its sending half before it has
//!   its answer counts as one who left.
//!
//! Nobody is refused for it, and the order stays the one in which they came.

use std::io;
use std::os::unix::net::UnixDatagram as Sender;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::UnixDatagram as Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// How often a loop looks over its connections and at its lag, in milliseconds.
pub(super) const SWEEP_MS: u64 = 250;
/// A third of what the most impatient clients that are known wait: those who are accepted before the loop knows of its lag
/// have room in the rest.
pub(super) const LAG_MAX: Duration = Duration::from_millis(1_000);

/// What a loop's connections need to know of its lag.
#[derive(Default)]
pub(super) struct Lag(AtomicBool);

impl Lag {
    /// Whether the loop lags.
    pub(super) fn is_long(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(super) fn note(&self, waited: Duration) {
        self.0.store(waited >= LAG_MAX, Relaxed);
    }
}

/// A loop's clock for what it does a few times a second, which measures its lag besides.
pub(super) struct Ticks {
    interval: Interval,
    lag: Arc<Lag>,
    sender: Sender,
    receiver: Receiver,
    /// When the message left that is under way.
    sent: Option<Instant>,
}

impl Ticks {
    /// On the runtime of the loop whose lag it is.
    pub(super) fn new(lag: Arc<Lag>) -> io::Result<Self> {
        let mut interval = interval(Duration::from_millis(SWEEP_MS));
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (sender, receiver) = Sender::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(Self { interval, lag, sender, receiver: Receiver::from_std(receiver)?, sent: None })
    }

    /// The next one; may be given up at any time.
    pub(super) async fn next(&mut self) {
        let mut message = [0];
        loop {
            tokio::select! {
                biased;
                _ = self.interval.tick() => break,
                _ = self.receiver.recv(&mut message) => {
                    if let Some(sent) = self.sent.take() {
                        self.lag.note(sent.elapsed());
                    }
                }
            }
        }
        match self.sent {
            // What comes back late is late before it does.
            Some(sent) if sent.elapsed() >= LAG_MAX => self.lag.note(sent.elapsed()),
            Some(_) => {}
            None => self.sent = self.sender.send(&[0]).is_ok().then(Instant::now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_that_comes_back_tells_the_lag_and_so_does_one_that_does_not() {
        let lag: Arc<Lag> = Arc::default();
        let mut ticks = Ticks::new(lag.clone()).unwrap();
        ticks.next().await;
        assert!(ticks.sent.is_some() && !lag.is_long());
        lag.note(LAG_MAX);
        assert!(lag.is_long());
        ticks.next().await;
        assert!(!lag.is_long(), "it came back at once");

        // None is under way, but the loop believes so.
        ticks.receiver.recv(&mut [0]).await.unwrap();
        ticks.sent = Instant::now().checked_sub(LAG_MAX);
        ticks.next().await;
        assert!(lag.is_long(), "late before it comes back");
    }
}
