//! Takes new connections from the kernel: a few at a time, and it keeps no more of them than can be taken soon.
//!
//! Both are for a crowd in which everybody comes with a new connection. Without the first, all who knock are accepted
//! before anybody is served; without the second, each has waited in the kernel's queue for so long that it has left when
//! its turn comes. Who finds no room there is not refused: its kernel asks again after a second, and what is accepted is
//! still waited for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use crate::tasks::EVENTS_MAX;

use super::lag::Lag;

/// Connections not accepted yet that the kernel keeps, at most.
pub(super) const BACKLOG_MAX: usize = 4_096;
/// The same, at least, where they come faster than they are accepted.
const BACKLOG_MIN: usize = 64;
/// Connections that are accepted before the loop serves what is ready. Each makes two events, one to be read and one at its
/// end, of the [`EVENTS_MAX`] that a loop takes at a time: so those who are accepted do not wait for each other.
const ACCEPTED_PER_TURN: usize = 16;
/// The same where the loop lags.
const ACCEPTED_PER_TURN_LAGGING: usize = 1;
const _: () = assert!(2 * ACCEPTED_PER_TURN < EVENTS_MAX);

/// The listener, and how many connections the kernel keeps for it.
pub(super) struct Acceptor {
    listener: TcpListener,
    lag: Arc<Lag>,
    backlog: usize,
    /// Accepted in this turn of the loop.
    in_turn: usize,
    /// Accepted since the last sweep.
    since_sweep: usize,
    /// Since the last sweep there was a moment without anybody to accept.
    was_empty: bool,
}

impl Acceptor {
    /// Of a listener whose backlog is [`BACKLOG_MAX`].
    pub(super) fn new(listener: TcpListener, lag: Arc<Lag>) -> Self {
        Self { listener, lag, backlog: BACKLOG_MAX, in_turn: 0, since_sweep: 0, was_empty: true }
    }

    /// Accepts one connection; after a few the loop has its turn first.
    pub(super) async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let is_lagging = self.lag.is_long();
            let per_turn = if is_lagging { ACCEPTED_PER_TURN_LAGGING } else { ACCEPTED_PER_TURN };
            if self.in_turn >= per_turn {
                self.in_turn = 0;
                tokio::task::yield_now().await;
            }
            self.in_turn += 1;
            let accepted = if is_lagging {
                accept_now(&self.listener)
            } else if let Some(accepted) = self.listener.accept().now_or_never() {
                accepted
            } else {
                (self.was_empty, self.in_turn) = (true, 1);
                self.listener.accept().await
            };
            if !matches!(&accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                self.since_sweep += 1;
                return accepted;
            }
        }
    }

    /// Has the kernel keep as many as can be accepted soon; called with each sweep.
    pub(super) fn fit_backlog(&mut self) {
        let fitting = fitting_backlog(self.since_sweep, self.was_empty && !self.lag.is_long());
        if fitting != self.backlog && SockRef::from(&self.listener).listen(fitting as i32).is_ok() {
            self.backlog = fitting;
        }
        (self.since_sweep, self.was_empty) = (0, false);
    }

    pub(super) fn into_listener(self) -> TcpListener {
        self.listener
    }
}

/// Asks the kernel itself: where the loop lags, the runtime learns of a connection only after all that was ready before.
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
    async fn a_loop_that_lags_accepts_one_in_a_turn_and_has_few_wait() {
        let (mut acceptor, _crowd) = knocked_at(3);
        acceptor.lag.note(LAG_MAX);
        for _ in 0..3 {
            // Without having been told by the runtime, which has not looked yet.
            assert!(matches!(acceptor.accept().now_or_never(), Some(Ok(_))));
            assert!(acceptor.accept().now_or_never().is_none(), "it yields");
        }
        assert!(acceptor.accept().now_or_never().is_none(), "nobody is left");
        acceptor.fit_backlog();
        assert_eq!(acceptor.backlog, BACKLOG_MIN);
        acceptor.lag.note(LAG_MAX / 2);
        assert!(acceptor.accept().now_or_never().is_none());
        acceptor.fit_backlog();
        assert_eq!(acceptor.backlog, BACKLOG_MAX);
    }
}
