//! Event loops: each a thread with a runtime of its own that serves the connections given to it.
//!
//! The first loop accepts and hands each connection to the loop that has the fewest. One listener for all:
//! with one per loop (SO_REUSEPORT) the kernel spreads by hash, unevenly, and closing one loses its queue.

use std::cmp::Reverse;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::{Either, ready};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::tasks::Tasks;

use super::acceptor::{Acceptor, QUEUE_MAX};
use super::connection::{self, Activity, Phase, Watched};
use super::drain::Stage;
use super::event_loop::{EventLoop, HEAD_BYTES_MAX};
use super::lag::{Ends, Ticks};
use super::pipeline::{self, Serving};
use super::{Application, Chassis};

/// Connections accepted but not yet taken over by their loop.
const HANDOVER_MAX: usize = 1_024;
/// Abandoned connections closed by one sweep, at most: those that were put aside while the loop lagged. So few that those who
/// come now do not wait for it.
const ABANDONED_CLOSED: usize = 128;
/// The same where they keep others out, as all connections are in use.
const ABANDONED_CLOSED_FULL: usize = 512;
/// The same while it lags, unless more connections were accepted since the last sweep.
const ABANDONED_CLOSED_LAGGING: usize = 32;
/// Idle connections closed by one sweep where all are in use: those idle for longest make room for whoever comes.
const IDLE_CLOSED_FULL: usize = 128;
/// Pause after an accept that failed for want of descriptors or memory: retrying at once would spin.
const ACCEPT_PAUSE_MS: u64 = 100;
/// What the kernel has of an answer and has not sent, at most, for each connection. Its buffers grow to megabytes and take
/// more only when a third is free: a client that reads 50 kB a second would seem to stall for longer than it may.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// Clients being told at once that there is no room, at most; half of the descriptors kept for other things.
pub(super) const REFUSALS_MAX: usize = 256;
const _: () = assert!((REFUSALS_MAX as u64) < crate::config::DESCRIPTORS_RESERVED);
/// How long telling one may take.
const REFUSAL_MS_MAX: u64 = 1_000;

/// What a client gets when all connections are in use: it costs no task and no parsing.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\n\
    content-length: 43\r\nconnection: close\r\n\r\n{\"error\":\"Service temporarily unavailable\"}";

impl<A: Application> EventLoop<A> {
    /// Serves one connection in a task of its own.
    fn take(self: &Arc<Self>, stream: TcpStream, peer: IpAddr, permit: ConnectionPermit<A>) {
        let activity = Arc::new(Activity::default());
        activity.enter(Phase::Idle, self.tick.load(Relaxed));
        let key = self.connections().insert((activity.clone(), None));
        self.metrics().connections_changed(1);
        self.taken.fetch_add(1, Relaxed);
        let open = OpenConnection { event_loop: self.clone(), key, _permit: permit };
        let task = tokio::spawn(async move {
            let event_loop = &open.event_loop;
            let io = Watched::new(stream, activity.clone(), event_loop.tick.clone(), event_loop.lag.clone());
            let service = service_fn(|request| {
                activity.enter(Phase::Busy, event_loop.tick.load(Relaxed));
                let (activity, tick) = (&activity, &event_loop.tick);
                // Not inside the future: before it polls that, hyper reads on, and would do so into a new buffer
                // as long as the request's head is in the one it has.
                match pipeline::serve(event_loop, peer, request) {
                    Serving::Now(mut response) => {
                        connection::answered(&mut response, activity, tick);
                        Either::Left(ready(Ok::<_, Infallible>(response)))
                    }
                    Serving::Later(response) => Either::Right(async move {
                        let mut response = response.await;
                        connection::answered(&mut response, activity, tick);
                        Ok(response)
                    }),
                }
            });
            // A connection's end, however it comes about, is the client's business and no error of ours.
            let _ended = http().serve_connection(io, service).await;
        });
        if let Some((_, abort)) = self.connections().get_mut(key) {
            *abort = Some(task.abort_handle());
        }
    }

    /// Ends the connections that took too long, and while closing those that do nothing.
    fn sweep(&self) {
        let tick = self.tick.load(Relaxed).wrapping_add(1).max(1);
        self.tick.store(tick, Relaxed);
        let closing = self.chassis.drain.stage() == Stage::Closing;
        // A lagging loop closes only as many abandoned connections as it has accepted meanwhile, so that they do not
        // pile up, and a few more: closing one costs as much as an answer.
        let taken = self.taken.swap(0, Relaxed);
        let is_full = self.chassis.room() == 0;
        let mut abandoned_max = if is_full { ABANDONED_CLOSED_FULL } else { ABANDONED_CLOSED };
        if self.lag.is_long() {
            self.chassis.lagging_sweeps.inc();
            abandoned_max = taken.max(ABANDONED_CLOSED_LAGGING);
        }
        for (_, (activity, abort)) in self.connections().iter() {
            let is_abandoned = activity.phase() == Phase::Abandoned;
            if is_abandoned && abandoned_max == 0 {
                continue;
            }
            let over = is_abandoned || activity.is_overdue(tick) || (closing && activity.may_close(tick));
            if over && let Some(abort) = abort {
                if is_abandoned {
                    abandoned_max -= 1;
                    self.chassis.connections_abandoned.inc();
                }
                abort.abort();
            }
        }
        if is_full && !self.lag.is_any() {
            self.make_room(tick);
        }
    }

    /// Closes the connections that have been idle for longest, if for long enough.
    fn make_room(&self, tick: u32) {
        let connections = self.connections();
        let idle = connections.iter().filter_map(|(_, (activity, abort))| {
            Some((Reverse(activity.idle_ticks(tick)?), abort.as_ref()?))
        });
        let mut idle: Vec<_> = idle.collect();
        if idle.len() > IDLE_CLOSED_FULL {
            idle.select_nth_unstable_by_key(IDLE_CLOSED_FULL, |(ticks, _)| *ticks);
            idle.truncate(IDLE_CLOSED_FULL);
        }
        self.chassis.idle_closed.inc_by(idle.len() as u64);
        for (_, abort) in idle {
            abort.abort();
        }
    }
}

/// hyper's options, all written out.
fn http() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(true)
        .half_close(false)
        .pipeline_flush(false)
        // Head and body in one piece: `connection` gives it no large ones.
        .writev(false)
        .allow_multiple_spaces_in_request_line_delimiters(false)
        .ignore_invalid_headers(false)
        .title_case_headers(false)
        .preserve_header_case(false)
        .auto_date_header(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        // The sweep keeps this limit, and the idle one apart from it, without a timer per connection.
        .header_read_timeout(None);
    builder
}

/// The permit of one connection, taken when it is accepted: the limit and the choice of an event loop must also count
/// connections that are still on their way to their loop.
struct ConnectionPermit<A: Application> {
    chassis: Arc<Chassis<A>>,
    index: usize,
}

impl<A: Application> ConnectionPermit<A> {
    /// A permit for the loop with the fewest connections; none where as many as allowed are open.
    fn find(chassis: &Arc<Chassis<A>>) -> Option<Self> {
        let taken = |index: usize| chassis.open_per_loop[index].load(Relaxed);
        let loops = 0..chassis.open_per_loop.len();
        if chassis.room() == 0 {
            return None;
        }
        let index = loops.min_by_key(|&index| taken(index))?;
        chassis.open_per_loop[index].fetch_add(1, Relaxed);
        Some(Self { chassis: chassis.clone(), index })
    }
}

impl<A: Application> Drop for ConnectionPermit<A> {
    fn drop(&mut self) {
        self.chassis.open_per_loop[self.index].fetch_sub(1, Relaxed);
    }
}

/// An accepted connection on its way to its loop.
type Accepted<A> = (std::net::TcpStream, IpAddr, ConnectionPermit<A>);
type Handover<A> = mpsc::Sender<Accepted<A>>;

/// Counts a connection while it is open.
struct OpenConnection<A: Application> {
    event_loop: Arc<EventLoop<A>>,
    key: usize,
    _permit: ConnectionPermit<A>,
}

impl<A: Application> Drop for OpenConnection<A> {
    fn drop(&mut self) {
        self.event_loop.connections().try_remove(self.key);
        self.event_loop.metrics().connections_changed(-1);
    }
}

/// Starts `count` loops, each a thread that `tasks` supervises, which serve what `listener` accepts until the process
/// ends.
///
/// # Errors
/// When a thread or a runtime cannot be made.
pub fn start<A: Application>(
    chassis: &Arc<Chassis<A>>,
    listener: std::net::TcpListener,
    count: usize,
    tasks: &Tasks,
) -> io::Result<()> {
    let mut senders = Vec::new();
    for index in 1..count {
        let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
        senders.push(sender);
        begin(chassis, index, tasks, |event_loop, ticks| serve_handed(event_loop, ticks, receiver))?;
    }
    begin(chassis, 0, tasks, |event_loop, ticks| async move {
        match TcpListener::from_std(listener) {
            Ok(listener) => serve_accepted(&event_loop, ticks, listener, &senders).await,
            Err(error) => tracing::error!(%error, "the listener cannot be used"),
        }
    })
}

/// Starts one loop, whose ticks measure its lag.
fn begin<A: Application, F: Future<Output = ()>>(
    chassis: &Arc<Chassis<A>>,
    index: usize,
    tasks: &Tasks,
    serve: impl FnOnce(Arc<EventLoop<A>>, Ticks) -> F + Send + 'static,
) -> io::Result<()> {
    let event_loop = Arc::new(EventLoop::new(index, chassis.clone()));
    let ends = Ends::new()?;
    tasks.thread(format!("loop-{index}"), move || async move {
        match Ticks::new(event_loop.lag.clone(), ends) {
            Ok(ticks) => serve(event_loop, ticks).await,
            Err(error) => tracing::error!(%error, "a loop cannot measure its lag"),
        }
    })
}

/// The first loop: accepts, serves its share, and hands the rest over.
async fn serve_accepted<A: Application>(
    event_loop: &Arc<EventLoop<A>>,
    mut ticks: Ticks,
    listener: TcpListener,
    others: &[Handover<A>],
) {
    let chassis = event_loop.chassis.clone();
    let mut acceptor = Acceptor::new(listener, event_loop.lag.clone(), chassis.accepting.clone());
    loop {
        tokio::select! {
            biased;
            () = ticks.next() => {
                event_loop.sweep();
                acceptor.adjust();
            }
            () = chassis.drain.reached(Stage::Closing) => break,
            accepted = acceptor.accept(chassis.room()) => match accepted {
                Ok((stream, peer)) => place(event_loop, others, stream, peer),
                Err(error) => refused(&chassis, &error).await,
            },
        }
    }
    for (stream, peer) in acceptor.end() {
        place(event_loop, others, stream, peer);
    }
    loop {
        ticks.next().await;
        event_loop.sweep();
    }
}

/// The other loops: serve what they are handed.
async fn serve_handed<A: Application>(
    event_loop: Arc<EventLoop<A>>,
    mut ticks: Ticks,
    mut handed: mpsc::Receiver<Accepted<A>>,
) {
    loop {
        tokio::select! {
            biased;
            () = ticks.next() => event_loop.sweep(),
            Some((stream, peer, permit)) = handed.recv() => match TcpStream::from_std(stream) {
                Ok(stream) => event_loop.take(stream, peer, permit),
                Err(error) => tracing::warn!(%error, "a connection could not be taken over"),
            },
        }
    }
}

/// Gives an accepted connection to the loop that has the fewest.
fn place<A: Application>(
    event_loop: &Arc<EventLoop<A>>,
    others: &[Handover<A>],
    stream: TcpStream,
    peer: SocketAddr,
) {
    // An answer is one write; waiting to fill a packet would only delay it.
    let _best_effort = stream.set_nodelay(true);
    let Some(permit) = ConnectionPermit::find(&event_loop.chassis) else {
        event_loop.chassis.connections_refused.inc();
        // Where too many clients are being told so already, the connection is just closed.
        if let Ok(permit) = event_loop.chassis.refusals.clone().try_acquire_owned() {
            tokio::spawn(async move {
                let _permit = permit;
                refuse(stream).await;
            });
        }
        return;
    };
    let Some(other) = permit.index.checked_sub(1).and_then(|index| others.get(index)) else {
        event_loop.take(stream, peer.ip(), permit);
        return;
    };
    // A connection that cannot be handed over is dropped, which closes it: its loop is stuck, and the client would be, too.
    let handed = stream.into_std().map(|stream| other.try_send((stream, peer.ip(), permit)));
    if !matches!(handed, Ok(Ok(()))) {
        event_loop.chassis.connections_refused.inc();
    }
}

/// Tells a client that there is no room, without waiting for its request. What it sends is read and dropped until it
/// closes the connection: closing with bytes unread would reset it, and the client might lose the answer.
async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _best_effort = tokio::time::timeout(Duration::from_millis(REFUSAL_MS_MAX), told).await;
}

/// Handles an accept that failed: the client went away again, or this process ran out of descriptors or memory. The
/// latter is counted, and followed by a pause, so that accepting neither ends nor spins.
async fn refused<A: Application>(chassis: &Chassis<A>, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    match error.kind() {
        ConnectionAborted => return chassis.connections_abandoned.inc(),
        ConnectionReset | Interrupted => return,
        _ => {}
    }
    if chassis.accept_errors.get().is_multiple_of(100) {
        tracing::error!(%error, "connections cannot be accepted");
    }
    chassis.accept_errors.inc();
    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
}

/// Binds a listener: address reuse, so that a restart does not wait for old connections to fade.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted connections inherit it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.bind(&address.into())?;
    socket.listen(QUEUE_MAX as i32)?;
    Ok(socket.into())
}
