//! A TCP proxy between the server and its database that delays, loses and cuts on command.
//!
//! It runs on a thread and runtime of its own, so that neither a test that blocks nor paused time
//! changes what it does. The URL given to the server must not be TLS if packets are counted, and
//! its client must not prefer the local socket, or it goes round the proxy.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::ports::Reserved;
use super::raw::reset;

/// Pieces read and not yet passed on, for each direction of a connection.
const PIECES_MAX: usize = 64;
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// How soon the proxy's thread does what it was told, on a busy machine.
const FOLLOW_LIMIT: Duration = Duration::from_secs(10);

/// See the module. Connections through it end when it is dropped.
pub struct Proxy {
    port: Reserved,
    control: Option<watch::Sender<Control>>,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

/// What the test wants to happen now.
#[derive(Clone)]
struct Control {
    upstream: SocketAddr,
    listening: bool,
    /// False: bytes are taken and kept back, as by a network that drops packets for a while.
    flowing: bool,
    delay: (Duration, Duration),
    /// Replies and requests are passed on in pieces of at most this many bytes.
    piece_bytes: usize,
    /// Connections of an older number are cut.
    cuts: u64,
    /// Each connection is reset after so many packets of its own, counted from this setting.
    packets_each: Option<u64>,
    packets_each_set: u64,
    /// The connection that carries the packet of this number is reset.
    cut_at_packet: Option<u64>,
    /// The connection that carries the byte of this number to the database is reset.
    cut_at_byte: Option<u64>,
}

/// What has happened so far.
struct Seen {
    opened: AtomicU64,
    /// Open connections by the number of cuts there had been when they were accepted.
    open: Mutex<BTreeMap<u64, usize>>,
    closed: Condvar,
    packets: AtomicU64,
    /// Bytes passed on to the database.
    bytes: AtomicU64,
    /// Bytes passed on from it.
    bytes_replied: AtomicU64,
    random: Mutex<fastrand::Rng>,
    listening: Mutex<bool>,
    listening_changed: Condvar,
}

impl Proxy {
    /// Listens when this returns, and passes everything on.
    pub fn start(upstream: SocketAddr) -> Proxy {
        let port = Reserved::new();
        let (control, orders) = watch::channel(Control {
            upstream,
            listening: true,
            flowing: true,
            delay: (Duration::ZERO, Duration::ZERO),
            piece_bytes: PIECE_BYTES_MAX,
            cuts: 0,
            packets_each: None,
            packets_each_set: 0,
            cut_at_packet: None,
            cut_at_byte: None,
        });
        let seen = Arc::new(Seen {
            opened: AtomicU64::new(0),
            open: Mutex::default(),
            closed: Condvar::new(),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_replied: AtomicU64::new(0),
            random: Mutex::new(fastrand::Rng::with_seed(0)),
            listening: Mutex::new(false),
            listening_changed: Condvar::new(),
        });
        let (addr, shared) = (port.addr(), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(listen(addr, orders, shared));
        });
        let proxy = Proxy { port, control: Some(control), seen, thread: Some(thread) };
        proxy.wait_listening(true);
        proxy
    }

    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// All faults off (a changed upstream stays).
    pub fn pass(&self) {
        self.set(|control| {
            control.listening = true;
            control.flowing = true;
            control.delay = (Duration::ZERO, Duration::ZERO);
            control.piece_bytes = PIECE_BYTES_MAX;
            control.packets_each = None;
            control.cut_at_packet = None;
            control.cut_at_byte = None;
        });
        self.wait_listening(true);
    }

    /// What the database says arrives so much later; requests are not delayed.
    pub fn delay_replies(&self, delay: Duration) {
        self.set(|control| control.delay = (delay, delay));
    }

    /// The same with a delay between two bounds, drawn for each piece from this seed.
    pub fn delay_replies_randomly(&self, least: Duration, most: Duration, seed: u64) {
        *self.seen.random.lock().unwrap() = fastrand::Rng::with_seed(seed);
        self.set(|control| control.delay = (least, most));
    }

    /// Passes bytes on in pieces of at most so many.
    pub fn slice(&self, piece_bytes: usize) {
        self.set(|control| control.piece_bytes = piece_bytes.clamp(1, PIECE_BYTES_MAX));
    }

    /// Connections are accepted and stay open; nothing goes through until [`Proxy::pass`], when
    /// what was kept back arrives.
    pub fn blackhole(&self) {
        self.set(|control| control.flowing = false);
    }

    /// New connections are refused when this returns; open ones go on.
    pub fn refuse(&self) {
        self.set(|control| control.listening = false);
        self.wait_listening(false);
    }

    /// Resets (RST) all open connections, on both sides; they are gone when this returns.
    pub fn cut_all(&self) {
        let mut cuts = 0;
        self.set(|control| {
            control.cuts += 1;
            cuts = control.cuts;
        });
        let open = self.seen.open.lock().unwrap();
        let older = |open: &mut BTreeMap<u64, usize>| open.range(..cuts).next().is_some();
        let (mut open, _) = self.seen.closed.wait_timeout_while(open, FOLLOW_LIMIT, older).unwrap();
        assert!(!older(&mut open), "connections were not cut");
    }

    /// Once: resets the connection that carries the `count`th packet from now (1 is the next),
    /// after passing that packet on. Packets are the database protocol's, of both directions and
    /// of all connections together.
    pub fn cut_after_packets(&self, count: u64) {
        let now = self.packets();
        self.set(|control| control.cut_at_packet = Some(now + count));
    }

    /// Once: resets the connection that carries the `count`th byte from now to the database, after passing that byte on.
    pub fn cut_after_bytes(&self, count: u64) {
        let now = self.seen.bytes.load(Ordering::SeqCst);
        self.set(|control| control.cut_at_byte = Some(now + count));
    }

    /// Until [`Proxy::pass`]: resets every connection after `count` packets of its own, those
    /// that are open counting from now. A sign-in alone takes about 5.
    pub fn cut_each_after_packets(&self, count: u64) {
        self.set(|control| {
            control.packets_each = Some(count);
            control.packets_each_set += 1;
        });
    }

    /// Where new connections go, as after a failover.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.set(|control| control.upstream = upstream);
    }

    /// Connections accepted since the start.
    pub fn opened(&self) -> u64 {
        self.seen.opened.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.seen.open.lock().unwrap().values().sum()
    }

    /// Bytes that the database sent, passed on since the start.
    pub fn bytes_replied(&self) -> u64 {
        self.seen.bytes_replied.load(Ordering::SeqCst)
    }

    /// Packets passed on since the start, both directions.
    pub fn packets(&self) -> u64 {
        self.seen.packets.load(Ordering::SeqCst)
    }

    fn set(&self, change: impl FnOnce(&mut Control)) {
        self.control.as_ref().expect("there until dropped").send_modify(change);
    }

    fn wait_listening(&self, wanted: bool) {
        let now = self.seen.listening.lock().unwrap();
        let (now, _) =
            self.seen.listening_changed.wait_timeout_while(now, FOLLOW_LIMIT, |now| *now != wanted).unwrap();
        assert_eq!(*now, wanted, "the proxy's listener does not follow");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.control = None; // ends `listen`, and its runtime with all connections
        let _ = self.thread.take().expect("joined once").join();
    }
}

impl Seen {
    fn set_listening(&self, now: bool) {
        *self.listening.lock().unwrap() = now;
        self.listening_changed.notify_all();
    }

    fn delay(&self, (least, most): (Duration, Duration)) -> Duration {
        let spread = u64::try_from((most.saturating_sub(least)).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.random.lock().unwrap().u64(0..=spread))
    }
}

/// Accepts until the proxy is dropped.
async fn listen(addr: SocketAddr, mut orders: watch::Receiver<Control>, seen: Arc<Seen>) {
    while orders.wait_for(|control| control.listening).await.is_ok() {
        let listener = TcpListener::bind(addr).await.expect("our own port");
        seen.set_listening(true);
        loop {
            let for_next = orders.clone();
            tokio::select! {
                accepted = listener.accept() => if let Ok((client, _)) = accepted {
                    seen.opened.fetch_add(1, Ordering::SeqCst);
                    let counted = Counted::new(&seen, for_next.borrow().cuts);
                    tokio::spawn(carry(client, for_next, counted));
                },
                refusing = orders.wait_for(|control| !control.listening) => {
                    if refusing.is_err() {
                        return;
                    }
                    break;
                }
            }
        }
        drop(listener);
        seen.set_listening(false);
    }
}

/// Counts a connection as long as it lives.
struct Counted {
    seen: Arc<Seen>,
    cuts: u64,
}

impl Counted {
    fn new(seen: &Arc<Seen>, cuts: u64) -> Counted {
        *seen.open.lock().unwrap().entry(cuts).or_default() += 1;
        Counted { seen: Arc::clone(seen), cuts }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.seen.open.lock().unwrap();
        if let Some(count) = open.get_mut(&self.cuts) {
            *count -= 1;
        }
        open.retain(|_, count| *count > 0);
        self.seen.closed.notify_all();
    }
}

/// One connection, from accept to its end on both sides.
async fn carry(mut client: TcpStream, orders: watch::Receiver<Control>, counted: Counted) {
    let (seen, cuts) = (&counted.seen, counted.cuts);
    let mut cut = orders.clone();
    let connect = async {
        let upstream = {
            let mut orders = orders.clone();
            let control = orders.wait_for(|control| control.flowing).await;
            control.map_err(io::Error::other)?.upstream
        };
        TcpStream::connect(upstream).await
    };
    let connected = tokio::select! {
        connected = connect => connected,
        _ = cut.wait_for(|control| control.cuts != cuts) => Err(io::ErrorKind::ConnectionReset.into()),
    };
    let Ok(mut database) = connected else {
        return reset(client);
    };
    let _ = (client.set_nodelay(true), database.set_nodelay(true));
    let carried = {
        let (from_client, to_client) = client.split();
        let (from_database, to_database) = database.split();
        let packets = ConnectionPackets::new(&orders);
        let pump = |delayed| Pump {
            orders: orders.clone(),
            seen,
            packets: &packets,
            delayed,
            framing: Framing::default(),
        };
        tokio::select! {
            done = async {
                tokio::try_join!(
                    pump(false).run(from_client, to_database),
                    pump(true).run(from_database, to_client),
                )
            } => done.map(|_| ()),
            _ = cut.wait_for(|control| control.cuts != cuts) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    };
    if carried.is_err() {
        reset(client);
        reset(database);
    }
}

/// How many packets a connection has carried since the last `cut_each_after_packets`.
struct ConnectionPackets {
    since: AtomicU64,
    count: AtomicU64,
}

impl ConnectionPackets {
    fn new(orders: &watch::Receiver<Control>) -> ConnectionPackets {
        ConnectionPackets {
            since: AtomicU64::new(orders.borrow().packets_each_set),
            count: AtomicU64::new(0),
        }
    }

    /// Counts one packet; true if the connection is to be cut after it.
    fn passed(&self, control: &Control, seen: &Seen) -> bool {
        if self.since.swap(control.packets_each_set, Ordering::SeqCst) != control.packets_each_set {
            self.count.store(0, Ordering::SeqCst);
        }
        let own = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let all = seen.packets.fetch_add(1, Ordering::SeqCst) + 1;
        control.packets_each.is_some_and(|limit| own >= limit) || control.cut_at_packet == Some(all)
    }
}

/// Finds the ends of the database protocol's packets: 3 bytes of length, 1 of sequence, payload.
#[derive(Default)]
struct Framing {
    header: Vec<u8>,
    payload_left: usize,
}

impl Framing {
    /// Takes bytes up to the end of a packet: how many, and whether one ended there.
    fn next(&mut self, bytes: &[u8]) -> (usize, bool) {
        let wanted = (4 - self.header.len()).min(bytes.len());
        self.header.extend_from_slice(&bytes[..wanted]);
        if self.header.len() < 4 {
            return (wanted, false);
        }
        if wanted > 0 {
            let [a, b, c] = [0, 1, 2].map(|place| usize::from(self.header[place]));
            self.payload_left = a | b << 8 | c << 16;
        }
        let payload = self.payload_left.min(bytes.len() - wanted);
        self.payload_left -= payload;
        let ended = self.payload_left == 0;
        if ended {
            self.header.clear();
        }
        (wanted + payload, ended)
    }
}

/// One direction of one connection. Ends with an error when the connection is to be reset.
struct Pump<'a> {
    orders: watch::Receiver<Control>,
    seen: &'a Seen,
    packets: &'a ConnectionPackets,
    delayed: bool,
    framing: Framing,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        // Read ahead of the delay: it is a long line, not a slow one.
        let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
        let (orders, seen, delayed) = (self.orders.clone(), self.seen, self.delayed);
        let read = async move {
            loop {
                let mut piece = Vec::with_capacity(PIECE_BYTES_MAX);
                if from.read_buf(&mut piece).await? == 0 {
                    return io::Result::Ok(());
                }
                let range = orders.borrow().delay;
                let delay = if delayed { seen.delay(range) } else { Duration::ZERO };
                if pieces.send((Instant::now() + delay, piece)).await.is_err() {
                    return Ok(());
                }
            }
        };
        let write = async move {
            while let Some((when, piece)) = due.recv().await {
                tokio::time::sleep_until(when).await;
                self.pass_on(&piece, &mut to).await?;
            }
            to.shutdown().await
        };
        tokio::try_join!(read, write).map(|_| ())
    }

    async fn pass_on(&mut self, mut piece: &[u8], to: &mut WriteHalf<'_>) -> io::Result<()> {
        while !piece.is_empty() {
            let flowing = self.orders.wait_for(|control| control.flowing).await;
            let control = flowing.map_err(io::Error::other)?.clone();
            let counting = control.packets_each.is_some() || control.cut_at_packet.is_some();
            // As much as may go at once: all, a slice, or up to the packet after which to cut.
            let most = piece.len().min(control.piece_bytes);
            let (mut taken, mut cut) = (0, false);
            while taken < most && !cut {
                let (step, ended) = self.framing.next(&piece[taken..most]);
                taken += step;
                cut = ended && self.packets.passed(&control, self.seen) && counting;
            }
            if self.delayed {
                self.seen.bytes_replied.fetch_add(taken as u64, Ordering::SeqCst);
            } else {
                let before = self.seen.bytes.fetch_add(taken as u64, Ordering::SeqCst);
                if let Some(left) = control.cut_at_byte.and_then(|at| at.checked_sub(before))
                    && left > 0
                    && left <= taken as u64
                {
                    (taken, cut) = (left as usize, true);
                }
            }
            to.write_all(&piece[..taken]).await?;
            if cut {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            piece = &piece[taken..];
        }
        Ok(())
    }
}
