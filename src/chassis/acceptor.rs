//! Accepts new connections: a few at a time, and with a backlog no longer than can be accepted soon.
//!
//! Both matter when very many clients connect at once. If all of them were accepted first, none would be served
//! meanwhile; if the backlog were long, each would have waited in it for so long that its client has given up when it is
//! accepted. A client that finds the backlog full is not refused: its kernel tries again after a second.
//!
//! Where the loop lags ([`super::lag`]) hardly any are accepted: the clients that are connected are as many as can be
//! answered while they wait, and each more is one too many. Others get in as soon as the loop does not lag any more.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use crate::tasks::EVENTS_MAX;

use super::lag::Lag;

/// The longest backlog: connections that the kernel keeps until they are accepted.
pub(super) const BACKLOG_MAX: usize = 4_096;
/// The shortest backlog, to which it shrinks while connections come faster than they are accepted.
const BACKLOG_MIN: usize = 64;
/// Connections accepted before the loop serves what is ready. Each causes two events, its first bytes and its end, of the
/// [`EVENTS_MAX`] that a loop handles at a time: so accepted connections do not wait for one another.
const ACCEPTED_PER_TURN: usize = 16;
/// Connections accepted between two sweeps where the loop lags: so few that in a minute the clients that are served already
/// do not wait much longer for it.
const ACCEPTED_PER_SWEEP_LAGGING: usize = 2;
/// The backlog meanwhile: whoever is in it is accepted within half a second.
const BACKLOG_LAGGING: usize = 2 * ACCEPTED_PER_SWEEP_LAGGING;
const _: () = assert!(2 * ACCEPTED_PER_TURN < EVENTS_MAX);

/// The listener, and how many connections the kernel keeps for it.
pub(super) struct Acceptor {
    listener: TcpListener,
    lag: Arc<Lag>,
    backlog: usize,
    /// Connections accepted in this turn of the loop.
    in_turn: usize,
    /// Connections accepted since the last sweep.
    since_sweep: usize,
    /// Whether the backlog was empty at some moment since the last sweep.
    was_empty: bool,
}

impl Acceptor {
    /// Takes over a listener whose backlog is [`BACKLOG_MAX`].
    pub(super) fn new(listener: TcpListener, lag: Arc<Lag>) -> Self {
        Self { listener, lag, backlog: BACKLOG_MAX, in_turn: 0, since_sweep: 0, was_empty: true }
    }

    /// Accepts one connection; after [`ACCEPTED_PER_TURN`] the loop has its turn first.
    pub(super) async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.lag.is_long() {
            return self.accept_lagging().await;
        }
        if self.in_turn == ACCEPTED_PER_TURN {
            self.in_turn = 0;
            tokio::task::yield_now().await;
        }
        let accepted = match self.listener.accept().now_or_never() {
            Some(accepted) => accepted,
            None => {
                (self.was_empty, self.in_turn) = (true, 0);
                self.listener.accept().await
            }
        };
        self.in_turn += 1;
        self.since_sweep += 1;
        accepted
    }

    /// The same where the loop lags; not ready before the next sweep where as many were accepted as may be. It asks the kernel
    /// itself: the runtime learns of a connection only after all that was ready before.
    async fn accept_lagging(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.since_sweep < ACCEPTED_PER_SWEEP_LAGGING {
            self.since_sweep += 1;
            let accepted = accept_now(&self.listener);
            if !matches!(&accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                return accepted;
            }
        }
        std::future::pending().await
    }

    /// Has the kernel keep as many as can be accepted soon; called with each sweep.
    pub(super) fn fit_backlog(&mut self) {
        let fitting = if self.lag.is_long() {
            BACKLOG_LAGGING
        } else {
            fitting_backlog(self.since_sweep, self.was_empty)
        };
        if fitting != self.backlog && SockRef::from(&self.listener).listen(fitting as i32).is_ok() {
            self.backlog = fitting;
        }
        (self.since_sweep, self.was_empty) = (0, false);
    }

    pub(super) fn into_listener(self) -> TcpListener {
        self.listener
    }
}

fn accept_now(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = SockRef::from(listener).accept()?;
    socket.set_nonblocking(true)?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((TcpStream::from_std(socket.into())?, peer))
}

/// How many connections the kernel is to keep, where so many were accepted since the last sweep: if they come faster than
/// that, as many as are accepted within two sweeps.
fn fitting_backlog(accepted: usize, was_empty: bool) -> usize {
    if was_empty { BACKLOG_MAX } else { (2 * accepted).clamp(BACKLOG_MIN, BACKLOG_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chassis::bind;
    use crate::chassis::lag::LAG_MAX;

    /// One that `count` clients knock at.
    fn knocked_at(count: usize) -> (Acceptor, Vec<std::net::TcpStream>) {
        let listener = bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let crowd = (0..count).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        (Acceptor::new(TcpListener::from_std(listener).unwrap(), Arc::default()), crowd)
    }

    #[test]
    fn the_kernel_keeps_no_more_than_are_accepted_soon_where_they_come_faster() {
        assert_eq!(fitting_backlog(0, true), BACKLOG_MAX, "nobody came");
        assert_eq!(fitting_backlog(500, true), BACKLOG_MAX, "all of them were accepted");
        assert_eq!(fitting_backlog(500, false), 1_000);
        assert_eq!(fitting_backlog(3, false), BACKLOG_MIN);
        assert_eq!(fitting_backlog(20_000, false), BACKLOG_MAX);
    }

    #[tokio::test]
    async fn the_loop_has_its_turn_between_a_few_connections() {
        let count = 2 * ACCEPTED_PER_TURN;
        let (mut acceptor, _crowd) = knocked_at(count);
        acceptor.listener.accept().await.unwrap();
        acceptor.fit_backlog();
        for _ in 0..ACCEPTED_PER_TURN {
            assert!(matches!(acceptor.accept().now_or_never(), Some(Ok(_))));
        }
        assert!(acceptor.accept().now_or_never().is_none(), "it yields");
        for _ in 1..ACCEPTED_PER_TURN {
            assert!(matches!(acceptor.accept().now_or_never(), Some(Ok(_))));
        }
        assert_eq!((acceptor.since_sweep, acceptor.was_empty), (count - 1, false));
        assert!(acceptor.accept().now_or_never().is_none() && acceptor.was_empty, "nobody is left");
    }

    #[tokio::test]
    async fn a_loop_that_lags_accepts_few_from_sweep_to_sweep_and_has_few_wait() {
        let (mut acceptor, _crowd) = knocked_at(ACCEPTED_PER_SWEEP_LAGGING + 1);
        acceptor.lag.note(LAG_MAX);
        for _ in 0..ACCEPTED_PER_SWEEP_LAGGING {
            // Without having been told by the runtime, which has not looked yet.
            assert!(matches!(acceptor.accept().now_or_never(), Some(Ok(_))));
        }
        assert!(acceptor.accept().now_or_never().is_none(), "it waits for the sweep");
        acceptor.fit_backlog();
        assert_eq!(acceptor.backlog, BACKLOG_LAGGING);
        assert!(matches!(acceptor.accept().now_or_never(), Some(Ok(_))));
        assert!(acceptor.accept().now_or_never().is_none(), "nobody is left");
        acceptor.lag.note(LAG_MAX / 2);
        acceptor.fit_backlog();
        assert!(acceptor.accept().now_or_never().is_none());
        acceptor.fit_backlog();
        assert_eq!(acceptor.backlog, BACKLOG_MAX);
    }
}
