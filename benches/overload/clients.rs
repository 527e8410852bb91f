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

/// Pause after a connection that broke: a client that is reset does not come again in the same moment.
const BROKEN_PAUSE: Duration = Duration::from_millis(100);

/// What the clients do.
#[derive(Clone, Copy)]
pub struct Manners {
    /// Connections are used again, else each request has one of its own.
    pub kept: bool,
    /// How long a client waits; then it closes its connection and comes again.
    pub patience: Duration,
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
    /// 200 while the client was there.
    pub good: AtomicU64,
    /// Gave up.
    pub gave_up: AtomicU64,
    /// Resets, and connections that ended without an answer.
    pub broken: AtomicU64,
    /// Anything but 200, and 503 with `Retry-After`.
    pub odd: AtomicU64,
    /// From asking (and connecting, where that was needed) to having read the 503.
    pub refused: Mutex<Vec<Duration>>,
}

/// One answer's head.
pub struct Answer {
    pub status: u16,
    pub has_retry_after: bool,
    closes: bool,
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
                has_retry_after: value("retry-after:").is_some(),
                closes: value("connection:") == Some("close"),
            });
        }
    }
}

/// So many clients ask as often as they can for `length`; how many were answered a second.
pub async fn peak(target: &Arc<Target>, kept: bool, clients: usize, length: Duration) -> f64 {
    let (until, mut tasks) = (Instant::now() + length, JoinSet::new());
    for number in 0..clients {
        let target = target.clone();
        tasks.spawn(async move {
            let (mut connection, mut answered) = (Connection::default(), 0_u64);
            while Instant::now() < until {
                let (address, request) = target.of(number);
                let answer = timeout(length, connection.ask(address, request)).await;
                answered += u64::from(matches!(answer, Ok(Ok(answer)) if answer.status == 200));
                if !kept {
                    connection = Connection::default();
                }
            }
            answered
        });
    }
    tasks.join_all().await.iter().sum::<u64>() as f64 / length.as_secs_f64()
}

/// In this time the clients arrive, and ask once each; then it begins.
pub const ARRIVAL: Duration = Duration::from_secs(10);

/// So many clients, who want `rate` answers a second together, for `length`.
pub async fn flood(
    target: &Arc<Target>,
    manners: Manners,
    clients: usize,
    rate: f64,
    length: Duration,
) -> Arc<Tally> {
    let (tally, mut tasks) = (Arc::new(Tally::default()), JoinSet::new());
    let (arrived, pause) = (Instant::now() + ARRIVAL, Duration::from_secs_f64(clients as f64 / rate));
    for number in 0..clients {
        let (target, tally) = (target.clone(), tally.clone());
        let (came, first) =
            (arrived - ARRIVAL.mul_f64(fastrand::f64()), arrived + pause.mul_f64(fastrand::f64()));
        tasks.spawn(async move {
            let (mut connection, (address, request)) = (Connection::default(), target.of(number));
            sleep_until(came).await;
            let _any = timeout(manners.patience, connection.ask(address, request)).await;
            if !manners.kept {
                connection = Connection::default();
            }
            client(&target, manners, number, connection, first, pause, &tally).await;
        });
    }
    sleep_until(arrived + length).await;
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
            Ok(Ok(answer)) if answer.status == 200 => drop(tally.good.fetch_add(1, Relaxed)),
            Ok(Ok(answer)) if answer.status == 503 && answer.has_retry_after => {
                tally.refused.lock().unwrap().push(begun.elapsed());
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
