//! How far an event loop is behind, and what it leaves undone while it is.
//!
//! Ready connections wait in the kernel in the order in which they became ready, and a loop takes a few at a time
//! ([`crate::tasks::EVENTS_MAX`]). So a message that a loop sends to itself comes back after everything that was ready
//! before it: it waits as long as a request that arrives now. That time is the loop's lag.
//!
//! A client that gives up while it waits and comes back on a new connection costs the server as much as one that is
//! answered. The clients behind it then wait longer and give up as well, until every answer is for a client that has gone,
//! and this does not end by itself. So while a loop lags for [`LAG_MAX`] or longer:
//!
//! - **Hardly any new connections are accepted** (`acceptor`). Connected clients stay connected and are answered in their
//!   turn. They are as many as can be answered while they wait, because if they were more, some would leave.
//! - **Clients that have left are not worked for** (`connection`). Their requests are not read, and their connections are
//!   closed a few at a time: closing thousands costs as much as answering them. A client that closes its sending half
//!   before it has its answer counts as one that has left.
//!
//! No request is refused because of the lag, and the order stays the order of arrival. A balancer's health checks belong on
//! the admin port, which a thread of its own serves.

use std::io;
use std::os::unix::net::UnixDatagram as Sender;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::UnixDatagram as Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Pause between two sweeps, and two measurements of the lag, in milliseconds.
pub(super) const SWEEP_MS: u64 = 250;
/// From this lag on a loop takes on less. A third of the three seconds after which the most impatient known clients give up,
/// so that the connections accepted before the lag was measured do not make them.
pub(super) const LAG_MAX: Duration = Duration::from_millis(1_000);

/// A lag below this is none to speak of.
const LAG_MIN: Duration = Duration::from_millis(100);

/// How far a loop lags, in milliseconds, for its connections and its listener.
#[derive(Default)]
pub(super) struct Lag(AtomicU32);

impl Lag {
    /// Whether the loop lags.
    pub(super) fn is_long(&self) -> bool {
        self.0.load(Relaxed) >= LAG_MAX.as_millis() as u32
    }

    /// Whether it lags at all.
    pub(super) fn is_any(&self) -> bool {
        self.0.load(Relaxed) >= LAG_MIN.as_millis() as u32
    }

    pub(super) fn note(&self, waited: Duration) {
        self.0.store(u32::try_from(waited.as_millis()).unwrap_or(u32::MAX), Relaxed);
    }
}

/// Where a loop sends messages to itself. Made before any loop accepts: clients may take the last descriptors.
pub(super) struct Ends(Sender, Sender);

impl Ends {
    pub(super) fn new() -> io::Result<Self> {
        let (sender, receiver) = Sender::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(Self(sender, receiver))
    }
}

/// Tells a loop when to sweep, and measures its lag meanwhile.
pub(super) struct Ticks {
    interval: Interval,
    lag: Arc<Lag>,
    sender: Sender,
    receiver: Receiver,
    /// When the message was sent that has not come back yet.
    sent: Option<Instant>,
}

impl Ticks {
    /// On the runtime of the loop whose lag it is.
    pub(super) fn new(lag: Arc<Lag>, Ends(sender, receiver): Ends) -> io::Result<Self> {
        let mut interval = interval(Duration::from_millis(SWEEP_MS));
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
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
        let mut ticks = Ticks::new(lag.clone(), Ends::new().unwrap()).unwrap();
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
