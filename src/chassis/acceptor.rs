//! Accepts new connections: a few at a time, and with a queue no longer than can be served soon.
//!
//! Both matter when very many clients connect at once. If all of them were served first, nobody else would be
//! meanwhile; if the queue were long, each would have waited in it for so long that its client has given up when it is
//! served. So the kernel has a short backlog, those who come out of it wait here, where it is seen how many there are, and of
//! those that come faster than they are served only a share is let through ([`super::syn`]). A client that is left out is not
//! refused: its kernel tries again after a second.
//!
//! Where the loop lags ([`super::lag`]) hardly any are accepted: the clients that are connected are as many as can be
//! answered while they wait, and each more is one too many. Others get in when the loop does not lag any more, by and by as
//! long as it lags a little. Of those who come for a while after that many have left: they are closed unread, or they would be
//! served before anybody else.

use std::collections::VecDeque;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use prometheus::{Gauge, IntGauge};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use crate::tasks::EVENTS_MAX;

use super::lag::Lag;
use super::syn::{Seen, SynShare};

/// The longest queue: connections that the kernel keeps until they are accepted, and that wait here, each.
pub(super) const QUEUE_MAX: usize = 4_096;
/// The shortest, to which they shrink while connections come faster than they are served.
const QUEUE_MIN: usize = 64;
/// However many wait, it is not too long before this, in milliseconds: a crowd may come at once.
const LONG_MS: u128 = 50;
/// Connections served before the loop does what is ready. Each causes two events, its first bytes and its end, of the
/// [`EVENTS_MAX`] that a loop handles at a time: so these connections do not wait for one another.
const SERVED_PER_TURN: usize = 16;
/// Connections served between two sweeps where the loop lags: so few that in a minute the clients that are served already
/// do not wait much longer for it.
const SERVED_PER_SWEEP_LAGGING: usize = 2;
/// The same for a while after that, where it still lags a little: or all who were kept out come at once, it lags for longer
/// than those wait who are served already, and they leave.
const SERVED_PER_SWEEP_RECOVERING: usize = 64;
/// Connections of clients who have left that are closed meanwhile, from sweep to sweep: they cost little, and not nothing.
const LEFT_PER_SWEEP_LAGGING: usize = 64;
/// So long after a loop lagged there are such clients: their kernels go on connecting for that long.
const LEFT_FOR: Duration = Duration::from_secs(60);
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
type Unserved = (Instant, net::TcpStream, SocketAddr);

/// The listener, and those who wait.
pub(super) struct Acceptor {
    listener: TcpListener,
    lag: Arc<Lag>,
    share: SynShare,
    /// The longest that either queue may be now.
    queue_max: usize,
    waiting: VecDeque<Unserved>,
    /// Connections served in this turn of the loop.
    in_turn: usize,
    /// Whether nobody waited at some moment since the last sweep.
    was_empty: bool,
    /// When the loop lagged, if it did lately: many of those who come have left.
    lagged: Option<Instant>,
    /// Of those served since the last sweep, connections whose clients had left.
    left: usize,
    /// What happened since the last sweep.
    seen: Seen,
    metrics: Metrics,
}

impl Acceptor {
    /// Takes over a listener whose backlog is [`QUEUE_MAX`].
    pub(super) fn new(listener: TcpListener, lag: Arc<Lag>, metrics: Metrics) -> Self {
        metrics.passing.set(1.0);
        let (share, waiting, seen) = (SynShare::new(), VecDeque::new(), Seen::default());
        Self {
            listener,
            lag,
            share,
            queue_max: QUEUE_MAX,
            waiting,
            in_turn: 0,
            was_empty: true,
            lagged: None,
            left: 0,
            seen,
            metrics,
        }
    }

    /// The next connection to serve; after [`SERVED_PER_TURN`] the loop has its turn first. Where the loop lags, not ready
    /// before the next sweep if as many were served as may be. There is `room` for so many connections.
    ///
    /// # Errors
    /// Where a client has left ([`io::ErrorKind::ConnectionAborted`]), or the kernel has no more descriptors or memory.
    pub(super) async fn accept(&mut self, room: usize) -> io::Result<(TcpStream, SocketAddr)> {
        if let Some(served_max) = self.served_max() {
            return self.accept_few(served_max).await;
        }
        if self.in_turn == SERVED_PER_TURN {
            self.in_turn = 0;
            tokio::task::yield_now().await;
            self.collect(room)?;
        } else if self.lagged.is_some() && self.waiting.is_empty() {
            self.collect(room)?;
        }
        if let Some(next) = self.take() {
            return next;
        }
        let accepted = match self.listener.accept().now_or_never() {
            Some(accepted) => accepted,
            None => {
                (self.was_empty, self.in_turn) = (true, 0);
                self.listener.accept().await
            }
        };
        self.seen.accepted += 1;
        self.served();
        accepted
    }

    /// How many may be served from sweep to sweep, where that is limited.
    fn served_max(&self) -> Option<usize> {
        if self.lag.is_long() {
            Some(SERVED_PER_SWEEP_LAGGING)
        } else {
            (self.lagged.is_some() && self.lag.is_any()).then_some(SERVED_PER_SWEEP_RECOVERING)
        }
    }

    /// The same where the loop lags. It asks the kernel itself: the runtime learns of a connection only after all that was
    /// ready before.
    async fn accept_few(&mut self, served_max: usize) -> io::Result<(TcpStream, SocketAddr)> {
        let served = self.seen.served - self.left;
        if served < served_max && self.left < LEFT_PER_SWEEP_LAGGING {
            if self.waiting.is_empty() {
                // Also where there is no room: whoever comes is told so.
                self.collect(1)?;
            }
            if let Some(next) = self.take() {
                return next;
            }
        }
        std::future::pending().await
    }

    /// The first of those who wait.
    fn take(&mut self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let (_, stream, peer) = self.waiting.pop_front()?;
        self.served();
        if self.lagged.is_some() && has_left(&stream) {
            self.left += 1;
            return Some(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Some(TcpStream::from_std(stream).map(|stream| (stream, peer)))
    }

    fn served(&mut self) {
        self.in_turn += 1;
        self.seen.served += 1;
    }

    /// Takes over what the kernel has, as far as so many may wait here.
    fn collect(&mut self, room: usize) -> io::Result<()> {
        let now = Instant::now();
        while self.waiting.len() < room.min(self.queue_max) {
            match SockRef::from(&self.listener).accept() {
                Ok((socket, peer)) => {
                    self.seen.accepted += 1;
                    let stream = net::TcpStream::from(socket);
                    stream.set_nonblocking(true)?;
                    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
                    self.waiting.push_back((now, stream, peer));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has the kernel keep, and let through, as many as can be served soon; called with each sweep.
    pub(super) fn adjust(&mut self) {
        let is_long = self.waiting.front().is_some_and(|(since, ..)| since.elapsed().as_millis() >= LONG_MS);
        let seen = Seen { waiting: self.waiting.len(), is_long, ..std::mem::take(&mut self.seen) };
        self.left = 0;
        let queue_max = if let Some(served_max) = self.served_max() {
            if self.lag.is_long() {
                self.lagged = Some(Instant::now());
            }
            self.share.let_all_pass(&self.listener);
            // Whoever is in it is served within half a second.
            2 * served_max
        } else {
            self.lagged.take_if(|at| at.elapsed() >= LEFT_FOR);
            self.share.follow(&self.listener, seen, (QUEUE_MIN, QUEUE_MAX / 2));
            fitting_queue(seen.served, self.was_empty)
        };
        if queue_max != self.queue_max && SockRef::from(&self.listener).listen(queue_max as i32).is_ok() {
            self.queue_max = queue_max;
        }
        self.was_empty = false;
        self.metrics.passing.set(self.share.get());
        self.metrics.waiting.set(self.waiting.len() as i64);
    }

    /// All who wait, here and in the kernel; then the listener is closed, which would have reset them.
    pub(super) fn end(mut self) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let rest = std::iter::from_fn(move || {
            if waiting.is_empty() {
                let _all_taken = self.collect(self.queue_max);
                waiting = std::mem::take(&mut self.waiting);
            }
            waiting.pop_front()
        });
        rest.filter_map(|(_, stream, peer)| Some((TcpStream::from_std(stream).ok()?, peer)))
    }
}

/// Whether the client closed its side, whatever it sent before.
#[cfg(target_os = "linux")]
fn has_left(stream: &net::TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut asked, Some(&Timespec::default())).is_ok_and(|left| left > 0)
}

#[cfg(not(target_os = "linux"))]
fn has_left(_stream: &net::TcpStream) -> bool {
    false
}

/// How long the queues may be, where so many were served since the last sweep: if they come faster than that, as many as are
/// served within two sweeps.
fn fitting_queue(served: usize, was_empty: bool) -> usize {
    if was_empty { QUEUE_MAX } else { (2 * served).clamp(QUEUE_MIN, QUEUE_MAX) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::chassis::bind;
    use crate::chassis::lag::LAG_MAX;

    /// One that `count` clients knock at.
    fn knocked_at(count: usize) -> (Acceptor, Vec<net::TcpStream>) {
        let listener = bind((net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let crowd = (0..count).map(|_| net::TcpStream::connect(address).unwrap()).collect();
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        (Acceptor::new(TcpListener::from_std(listener).unwrap(), Arc::default(), metrics), crowd)
    }

    #[test]
    fn no_more_wait_than_are_served_soon_where_they_come_faster() {
        assert_eq!(fitting_queue(0, true), QUEUE_MAX, "nobody came");
        assert_eq!(fitting_queue(500, true), QUEUE_MAX, "all of them were served");
        assert_eq!(fitting_queue(500, false), 1_000);
        assert_eq!(fitting_queue(3, false), QUEUE_MIN);
        assert_eq!(fitting_queue(20_000, false), QUEUE_MAX);
    }

    #[tokio::test]
    async fn the_loop_has_its_turn_between_a_few_connections() {
        let count = 2 * SERVED_PER_TURN;
        let (mut acceptor, _crowd) = knocked_at(count);
        acceptor.listener.accept().await.unwrap();
        acceptor.adjust();
        for _ in 0..SERVED_PER_TURN {
            assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        }
        assert!(acceptor.accept(1).now_or_never().is_none(), "it yields");
        for _ in 1..SERVED_PER_TURN {
            assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        }
        let Seen { served, accepted, .. } = acceptor.seen;
        assert_eq!((served, accepted, acceptor.was_empty), (count - 1, count - 1, false));
        assert!(acceptor.accept(1).now_or_never().is_none() && acceptor.was_empty, "nobody is left");
    }

    #[tokio::test]
    async fn a_loop_that_lags_serves_few_from_sweep_to_sweep_and_has_few_wait() {
        let (mut acceptor, _crowd) = knocked_at(SERVED_PER_SWEEP_LAGGING + 1);
        acceptor.lag.note(LAG_MAX);
        for _ in 0..SERVED_PER_SWEEP_LAGGING {
            // Without having been told by the runtime, which has not looked yet.
            assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        }
        assert!(acceptor.accept(1).now_or_never().is_none(), "it waits for the sweep");
        acceptor.adjust();
        assert_eq!(acceptor.queue_max, 2 * SERVED_PER_SWEEP_LAGGING);
        assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        assert!(acceptor.accept(1).now_or_never().is_none(), "nobody is left");
        acceptor.lag.note(Duration::ZERO);
        acceptor.adjust();
        assert!(acceptor.accept(1).now_or_never().is_none());
        acceptor.adjust();
        assert_eq!(acceptor.queue_max, QUEUE_MAX);
    }

    #[tokio::test]
    async fn a_loop_that_lagged_lets_them_in_by_and_by_until_it_does_not_lag_at_all() {
        let (mut acceptor, _crowd) = knocked_at(3 * SERVED_PER_SWEEP_RECOVERING);
        let served = |acceptor: &mut Acceptor| {
            let served = (0..2 * SERVED_PER_SWEEP_RECOVERING)
                .filter(|_| matches!(acceptor.accept(QUEUE_MAX).now_or_never(), Some(Ok(_))));
            served.count()
        };
        acceptor.lag.note(LAG_MAX);
        acceptor.adjust();
        let told = acceptor.accept(0).now_or_never();
        assert!(matches!(told, Some(Ok(_))), "where there is no room they are to be told so");
        acceptor.lag.note(LAG_MAX / 2);
        acceptor.adjust();
        assert_eq!(served(&mut acceptor), SERVED_PER_SWEEP_RECOVERING);
        assert_eq!(acceptor.queue_max, 2 * SERVED_PER_SWEEP_RECOVERING);
        acceptor.lag.note(Duration::ZERO);
        acceptor.adjust();
        assert!(served(&mut acceptor) > SERVED_PER_SWEEP_RECOVERING, "all the others, with pauses");
    }

    #[tokio::test]
    async fn where_they_wait_for_long_a_share_is_let_through_but_all_once_the_loop_lags() {
        let (mut acceptor, _crowd) = knocked_at(3 * SERVED_PER_TURN);
        acceptor.collect(QUEUE_MAX).unwrap();
        assert_eq!(acceptor.waiting.len(), 3 * SERVED_PER_TURN);
        let passing = |acceptor: &mut Acceptor, served| {
            let seen = Seen { accepted: 500, served, ..Seen::default() };
            acceptor.seen = seen;
            acceptor.adjust();
            acceptor.metrics.passing.get()
        };
        assert_eq!(passing(&mut acceptor, 1), 1.0, "they have just come");
        acceptor.waiting[0].0 = Instant::now().checked_sub(Duration::from_millis(LONG_MS as u64)).unwrap();
        assert_eq!(passing(&mut acceptor, 1), 1.0, "and are few");
        for _ in 0..QUEUE_MIN {
            let late = net::TcpStream::connect(acceptor.listener.local_addr().unwrap()).unwrap();
            acceptor.waiting.push_back((Instant::now(), late, acceptor.listener.local_addr().unwrap()));
        }
        assert!(passing(&mut acceptor, 1) < 1.0);
        assert_eq!(acceptor.metrics.waiting.get() as usize, acceptor.waiting.len());
        acceptor.lag.note(LAG_MAX);
        assert_eq!(passing(&mut acceptor, 1), 1.0);
    }

    #[tokio::test]
    async fn who_left_while_the_loop_lagged_is_not_served_and_keeps_nobody_out() {
        use io::ErrorKind::ConnectionAborted;
        let (mut acceptor, mut crowd) = knocked_at(LEFT_PER_SWEEP_LAGGING + SERVED_PER_TURN);
        let accept = |acceptor: &mut Acceptor| {
            let accepted = acceptor.accept(QUEUE_MAX).now_or_never()?;
            Some(accepted.map(|(_, peer)| peer).map_err(|error| error.kind()))
        };
        acceptor.lag.note(LAG_MAX);
        acceptor.adjust();
        for client in crowd.drain(..crowd.len() - 2) {
            (&client).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        }
        for _ in 0..LEFT_PER_SWEEP_LAGGING {
            assert_eq!(accept(&mut acceptor), Some(Err(ConnectionAborted)));
        }
        assert_eq!(accept(&mut acceptor), None, "no more before the sweep");
        acceptor.adjust();
        for _ in 0..SERVED_PER_TURN - 2 {
            assert_eq!(accept(&mut acceptor), Some(Err(ConnectionAborted)));
        }
        assert_eq!(accept(&mut acceptor), Some(crowd[0].local_addr().map_err(|error| error.kind())));

        acceptor.lag.note(Duration::ZERO);
        let later = net::TcpStream::connect(crowd[0].peer_addr().unwrap()).unwrap();
        drop(crowd.pop());
        assert_eq!(accept(&mut acceptor), Some(Err(ConnectionAborted)), "nor afterwards");
        assert_eq!(accept(&mut acceptor), Some(later.local_addr().map_err(|error| error.kind())));
        assert!(accept(&mut acceptor).is_none(), "nobody is left");
        acceptor.lagged = acceptor.lagged.and_then(|at| at.checked_sub(LEFT_FOR));
        acceptor.adjust();
        assert!(acceptor.lagged.is_none(), "whoever comes now is there");
    }

    #[tokio::test]
    async fn who_waits_at_the_end_is_taken_over() {
        let (mut acceptor, crowd) = knocked_at(3 * SERVED_PER_TURN);
        acceptor.listener.accept().await.unwrap();
        for _ in 0..SERVED_PER_TURN {
            assert!(matches!(acceptor.accept(1).now_or_never(), Some(Ok(_))));
        }
        acceptor.collect(QUEUE_MAX).unwrap();
        assert_eq!(acceptor.waiting.len(), 2 * SERVED_PER_TURN - 1);
        let late = net::TcpStream::connect(crowd[0].peer_addr().unwrap()).unwrap();
        let left: Vec<SocketAddr> = acceptor.end().map(|(_, peer)| peer).collect();
        assert_eq!(left.len(), 2 * SERVED_PER_TURN);
        assert_eq!(left.last(), late.local_addr().ok().as_ref(), "in their order");
    }
}
