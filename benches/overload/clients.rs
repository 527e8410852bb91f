//! The clients: thousands of them, each with a time for its next poll that does not depend on how the server does.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Requests at a time that keep the server busy.
const WORKERS: usize = 64;
/// Pause after a connection that broke: a client that is reset does not come again in the same moment.
const BROKEN_PAUSE: Duration = Duration::from_millis(100);

/// What the clients do.
#[derive(Clone, Copy)]
pub struct Manners {
    /// Connections are used again, else each request has one of its own.
    pub kept: bool,
    /// How long a client waits; then it closes its connection and comes again.
    pub patience: Duration,
    /// Who is told by `Retry-After` when to come again does so; else they come by their own clock.
    pub obeys: bool,
}

/// What they ask, and where. Several addresses of one server, since one has not ports enough for all of them.
pub struct Target {
    pub addresses: Vec<SocketAddr>,
    /// Whole requests, one for each user.
    pub requests: Vec<Vec<u8>>,
}

/// What came of their requests.
#[derive(Default)]
pub struct Tally {
    pub asked: AtomicU64,
    /// 200 or 201 while the client was there.
    pub good: AtomicU64,
    /// Gave up.
    pub gave_up: AtomicU64,
    /// Resets, and connections that ended without an answer.
    pub broken: AtomicU64,
    /// Anything but those, and 503 with `Retry-After`.
    pub odd: AtomicU64,
    /// From asking (and connecting, where that was needed) to having read the 503.
    pub refused: Mutex<Vec<Duration>>,
}

/// One answer's head.
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    closes: bool,
}

impl Answer {
    /// What was asked for was given.
    pub fn is_good(&self) -> bool {
        matches!(self.status, 200 | 201)
    }
}

/// One client's connection, if it has one.
#[derive(Default)]
pub struct Connection(Option<TcpStream>);

impl Connection {
    /// Asks, on the connection that is there or a new one.
    pub async fn ask(&mut self, address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.0.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(request).await?;
        let answer = read_answer(&mut stream).await?;
        // Not reached when the client gives up: the connection is closed then.
        self.0 = (!answer.closes).then_some(stream);
        Ok(answer)
    }
}

async fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let (mut bytes, mut filled) = ([0; 4_096], 0);
    loop {
        let read = stream.read(&mut bytes[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let text = String::from_utf8_lossy(&bytes[..filled]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = value("content-length:").and_then(|value| value.parse().ok()).unwrap_or(0);
        if body.len() >= length {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            return Ok(Answer {
                status: status.ok_or(io::ErrorKind::InvalidData)?,
                retry_after: value("retry-after:")
                    .and_then(|value| value.parse().ok())
                    .map(Duration::from_secs),
                closes: value("connection:") == Some("close"),
            });
        }
    }
}

/// The connections of all clients, each opened and used once before it is wanted.
pub async fn arrive(target: &Arc<Target>, kept: bool, clients: usize) -> Vec<Connection> {
    let mut tasks = JoinSet::new();
    for worker in 0..WORKERS {
        let target = target.clone();
        tasks.spawn(async move {
            let mut connections = Vec::new();
            for number in (worker..clients).step_by(WORKERS) {
                let (mut connection, (address, request)) = (Connection::default(), target.of(number));
                if kept {
                    connection.ask(address, request).await.expect("an answer before it is too much");
                }
                connections.push(connection);
            }
            connections
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// What is answered a second when it is not too much: a few requests at a time, over all connections in turn, because
/// many cost more than few.
pub async fn peak(
    target: &Arc<Target>,
    kept: bool,
    connections: Vec<Connection>,
    length: Duration,
) -> (f64, Vec<Connection>) {
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    let mut shares: Vec<Vec<Connection>> = (0..WORKERS).map(|_| Vec::new()).collect();
    for (number, connection) in connections.into_iter().enumerate() {
        shares[number % WORKERS].push(connection);
    }
    for (worker, mut share) in shares.into_iter().enumerate() {
        let target = target.clone();
        tasks.spawn(async move {
            let mut answered = 0_u64;
            while !share.is_empty() && begun.elapsed() < length {
                let at = answered as usize % share.len();
                let (address, request) = target.of(worker + answered as usize);
                let answer = share[at].ask(address, request).await.expect("an answer at the peak");
                answered += u64::from(answer.is_good());
                if !kept {
                    share[at] = Connection::default();
                }
            }
            (answered, share)
        });
    }
    let (answered, shares): (Vec<u64>, Vec<_>) = tasks.join_all().await.into_iter().unzip();
    // Until the last answer: where each takes a second, those that were under way would count for an eighth.
    let rate = answered.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64();
    (rate, shares.into_iter().flatten().collect())
}

/// All clients together want `rate` answers a second, for `length`.
pub async fn flood(
    target: &Arc<Target>,
    manners: Manners,
    connections: Vec<Connection>,
    rate: f64,
    length: Duration,
) -> Arc<Tally> {
    let (tally, mut tasks, begun) = (Arc::new(Tally::default()), JoinSet::new(), Instant::now());
    let pause = Duration::from_secs_f64(connections.len() as f64 / rate);
    for (number, connection) in connections.into_iter().enumerate() {
        let (target, tally) = (target.clone(), tally.clone());
        let first = begun + pause.mul_f64(fastrand::f64());
        tasks.spawn(async move {
            client(&target, manners, number, connection, first, pause, &tally).await;
        });
    }
    sleep_until(begun + length).await;
    // All of them leave, whatever they are waiting for.
    tasks.shutdown().await;
    tally
}

async fn client(
    target: &Target,
    manners: Manners,
    number: usize,
    mut connection: Connection,
    first: Instant,
    pause: Duration,
    tally: &Tally,
) {
    let mut due = first;
    loop {
        sleep_until(due).await;
        let (begun, (address, request)) = (Instant::now(), target.of(number));
        tally.asked.fetch_add(1, Relaxed);
        let answer = timeout(manners.patience, connection.ask(address, request)).await;
        // Its next poll is due by its own clock, as if this one had been answered at once.
        due = (due + pause.mul_f64(0.5 + fastrand::f64())).max(Instant::now());
        match answer {
            Ok(Ok(answer)) if answer.is_good() => drop(tally.good.fetch_add(1, Relaxed)),
            Ok(Ok(Answer { status: 503, retry_after: Some(pause), .. })) => {
                tally.refused.lock().unwrap().push(begun.elapsed());
                if manners.obeys {
                    due = due.max(Instant::now() + pause);
                }
            }
            Ok(Ok(_)) => drop(tally.odd.fetch_add(1, Relaxed)),
            Ok(Err(_)) => {
                tally.broken.fetch_add(1, Relaxed);
                due = due.max(Instant::now() + BROKEN_PAUSE);
            }
            Err(_) => {
                tally.gave_up.fetch_add(1, Relaxed);
                connection = Connection::default();
                due = Instant::now();
            }
        }
        if !manners.kept {
            connection = Connection::default();
        }
    }
}

impl Target {
    fn of(&self, number: usize) -> (SocketAddr, &[u8]) {
        (self.addresses[number % self.addresses.len()], &self.requests[number % self.requests.len()])
    }
}
