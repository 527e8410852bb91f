//! Accepts new connections, and has them served a few at a time: if very many clients connect at once and all were served
//! first, nobody else would be meanwhile. The others wait here, where it is seen how many there are, not in the kernel. Of those
//! that come faster than they are served it lets only a share through ([`super::syn`]).
//!
//! Where the loop lags ([`super::lag`]) hardly any are served: the clients that are connected are as many as can be
//! answered while they wait, and each more is one too many. Others get in as soon as the loop does not lag any more.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use prometheus::{Gauge, IntGauge};
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};

use crate::tasks::EVENTS_MAX;

use super::lag::Lag;
use super::syn::{Seen, SynShare};

/// Connections that the kernel keeps until they are accepted.
pub(super) const BACKLOG: usize = 4_096;
/// Connections accepted and not served yet, at most.
const WAITING_MAX: usize = 4_096;
/// So many may wait however few are served.
const WAITING_MIN: usize = 64;
/// However many wait, it is not too long before this, in milliseconds: a crowd may come at once.
const LONG_MS: u128 = 50;
/// Connections served before the loop does what is ready. Each causes two events, its first bytes and its end, of the
/// [`EVENTS_MAX`] that a loop handles at a time: so these connections do not wait for one another.
const SERVED_PER_TURN: usize = 16;
/// Connections served between two sweeps where the loop lags: so few that in a minute the clients that are served already
/// do not wait much longer for it. Twice as many may wait.
const SERVED_PER_SWEEP_LAGGING: usize = 2;
const _: () = assert!(2 * SERVED_PER_TURN < EVENTS_MAX);

crate::metrics! {
    /// What is seen of those who connect.
    pub(super) struct Metrics {
        passing: Gauge = "http_syn_passing_ratio",
            "Share of the attempts to connect that the kernel lets through: below 1 where more come than can be served.";
        waiting: IntGauge = "http_connections_waiting", "Connections accepted and not served yet.";
    }
}

/// A connection that nobody serves yet, since when.
type Unserved = (Instant, Socket, SocketAddr);

/// The listener, and those who wait.
pub(super) struct Acceptor {
    listener: TcpListener,
    lag: Arc<Lag>,
    share: SynShare,
    waiting: VecDeque<Unserved>,
    /// Connections served in this turn of the loop.
    in_turn: usize,
    /// What happened since the last sweep.
    seen: Seen,
    metrics: Metrics,
}

impl Acceptor {
    /// Takes over a listener.
    pub(super) fn new(listener: TcpListener, lag: Arc<Lag>, metrics: Metrics) -> Self {
        metrics.passing.set(1.0);
        let (share, waiting, seen) = (SynShare::new(), VecDeque::new(), Seen::default());
        Self { listener, lag, share, waiting, in_turn: 0, seen, metrics }
    }

    /// The next connection to serve; after [`SERVED_PER_TURN`] the loop has its turn first. Where the loop lags, not ready
    /// before the next sweep if as many were served as may be. There is `room` for so many connections.
    pub(super) async fn accept(&mut self, room: usize) -> io::Result<(TcpStream, SocketAddr)> {
        if self.lag.is_long() {
            // Asks the kernel itself: the runtime learns of a connection only after all that was ready before.
            let collected = self.collect(room);
            if self.seen.served < SERVED_PER_SWEEP_LAGGING
                && let Some(next) = self.take()
            {
                return next;
            }
            collected?;
            return std::future::pending().await;
        }
        if self.in_turn == SERVED_PER_TURN {
            self.in_turn = 0;
            tokio::task::yield_now().await;
            self.collect(room)?;
        }
        if let Some(next) = self.take() {
            return next;
        }
        let accepted = match self.listener.accept().now_or_never() {
            Some(accepted) => accepted,
            None => {
                self.in_turn = 0;
                self.listener.accept().await
            }
        };
        self.seen.accepted += 1;
        self.served();
        accepted
    }

    /// The first of those who wait.
    fn take(&mut self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let (_, socket, peer) = self.waiting.pop_front()?;
        self.served();
        Some(TcpStream::from_std(socket.into()).map(|stream| (stream, peer)))
    }

    fn served(&mut self) {
        self.in_turn += 1;
        self.seen.served += 1;
    }

    /// Takes over all that the kernel has, and there is room for.
    fn collect(&mut self, room: usize) -> io::Result<()> {
        let now = Instant::now();
        while self.waiting.len() < room.clamp(SERVED_PER_TURN, WAITING_MAX) {
            match SockRef::from(&self.listener).accept() {
                Ok((socket, peer)) => {
                    self.seen.accepted += 1;
                    socket.set_nonblocking(true)?;
                    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
                    self.waiting.push_back((now, socket, peer));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has the kernel let as many through as can be served; called with each sweep.
    pub(super) fn adjust(&mut self) {
        let is_held_back = self.lag.is_long();
        let least = if is_held_back { 2 * SERVED_PER_SWEEP_LAGGING } else { WAITING_MIN };
        let is_long = self.waiting.front().is_some_and(|(since, ..)| since.elapsed().as_millis() >= LONG_MS);
        let seen =
            Seen { waiting: self.waiting.len(), is_long, is_held_back, ..std::mem::take(&mut self.seen) };
        self.share.follow(&self.listener, seen, (least, WAITING_MAX / 2));
        self.metrics.passing.set(self.share.get());
        self.metrics.waiting.set(self.waiting.len() as i64);
    }

    /// All who wait, here and in the kernel; then the listener is closed, which would have reset them.
    pub(super) fn end(mut self) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let rest = std::iter::from_fn(move || {
            if waiting.is_empty() {
                let _all_taken = self.collect(WAITING_MAX);
                waiting = std::mem::take(&mut self.waiting);
            }
            waiting.pop_front()
        });
        rest.filter_map(|(_, socket, peer)| Some((TcpStream::from_std(socket.into()).ok()?, peer)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chassis::bind;
    use crate::chassis::lag::LAG_MAX;

    /// One that `count` clients knock at.
    fn knocked_at(count: usize) -> (Acceptor, Vec<std::net::TcpStream>) {
        let listener = bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let crowd = (0..count).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        (Acceptor::new(TcpListener::from_std(listener).unwrap(), Arc::default(), metrics), crowd)
    }

    #[tokio::test]
    async fn the_loop_has_its_turn_between_a_few_connections() {
        let count = 2 * SERVED_PER_TURN;
        let (mut acceptor, _crowd) = knocked_at(count);
        acceptor.listener.accept().await.unwrap();
        for _ in 0..SERVED_PER_TURN {
            assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        }
        assert!(acceptor.accept(1).now_or_never().is_none(), "it yields");
        for _ in 1..SERVED_PER_TURN {
            assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        }
        assert_eq!((acceptor.seen.served, acceptor.seen.accepted), (count - 1, count - 1));
        assert!(acceptor.accept(1).now_or_never().is_none() && acceptor.in_turn == 0, "nobody is left");
    }

    #[tokio::test]
    async fn a_loop_that_lags_serves_few_from_sweep_to_sweep_and_lets_fewer_knock() {
        let (mut acceptor, _crowd) = knocked_at(20);
        acceptor.lag.note(LAG_MAX);
        for _ in 0..SERVED_PER_SWEEP_LAGGING {
            // Without having been told by the runtime, which has not looked yet.
            assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        }
        assert!(acceptor.accept(1).now_or_never().is_none(), "it waits for the sweep");
        let adjusted = |acceptor: &mut Acceptor| {
            acceptor.adjust();
            acceptor.metrics.passing.get()
        };
        assert_eq!(adjusted(&mut acceptor), 1.0, "nobody waits for long yet");
        assert_eq!(acceptor.metrics.waiting.get(), SERVED_PER_TURN as i64, "no more than there is room for");
        acceptor.waiting[0].0 = Instant::now().checked_sub(Duration::from_millis(LONG_MS as u64)).unwrap();
        acceptor.seen = Seen { accepted: 20, served: SERVED_PER_SWEEP_LAGGING, ..Seen::default() };
        let share = adjusted(&mut acceptor);
        assert!(share < 1.0);
        assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        acceptor.lag.note(LAG_MAX / 2);
        while acceptor.accept(1).now_or_never().is_some() {}
        assert!(adjusted(&mut acceptor) > share, "nobody waits and nothing lags");
    }

    #[tokio::test]
    async fn who_waits_at_the_end_is_taken_over() {
        let (mut acceptor, crowd) = knocked_at(3 * SERVED_PER_TURN);
        acceptor.listener.accept().await.unwrap();
        for _ in 0..SERVED_PER_TURN {
            assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        }
        acceptor.collect(WAITING_MAX).unwrap();
        assert_eq!(acceptor.waiting.len(), 2 * SERVED_PER_TURN - 1);
        let late = std::net::TcpStream::connect(crowd[0].peer_addr().unwrap()).unwrap();
        let left: Vec<SocketAddr> = acceptor.end().map(|(_, peer)| peer).collect();
        assert_eq!(left.len(), 2 * SERVED_PER_TURN);
        assert_eq!(left.last(), late.local_addr().ok().as_ref(), "in their order");
    }
}
