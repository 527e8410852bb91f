//! Requests at a fixed rate, whatever the server does (an open loop): each is due at a time that was set beforehand, and
//! its response time counts from then. So a server that stalls is charged for the requests that it kept from being sent
//! (coordinated omission), which a closed loop, where each client waits for its answer before it goes on, leaves out. The
//! time from the sending is given beside it: the difference is what a closed loop would not have seen.
//!
//!     openloop ADDRESS RATE SECONDS CONNECTIONS REQUESTS
//!
//! REQUESTS is a file with a request a line, `METHOD PATH TOKEN [BODY]`, taken in turn; `-` for no token. Prints one line
//! of JSON: rates by kind of answer, percentiles in ms, and one entry for each second. A request that is due while all
//! connections are busy waits for one, which counts; what is not answered when the time is over plus `PATIENCE` is
//! failed. One thread: its own ceiling is measured with a server that answers a constant (see ../RESULTS.md).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until, timeout_at};

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest time that is told apart, in microseconds.
const MICROS_MAX: u64 = 60_000_000;
const ANSWER_BYTES_MAX: usize = 4 << 20;

struct Plan {
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    rate: f64,
    begun: Instant,
    total: u64,
    connections: u64,
}

/// One request's end.
struct Outcome {
    /// Which second it was due in.
    second: usize,
    since_due: Duration,
    since_sent: Duration,
    /// Its status, or 0 for none.
    status: u16,
}

fn request(line: &str, host: SocketAddr) -> Vec<u8> {
    let mut parts = line.splitn(4, ' ');
    let mut next = || parts.next().unwrap_or("");
    let (method, path, token, body) = (next(), next(), next(), next());
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n");
    if token != "-" {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    if method != "GET" {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// The place of `needle`, whatever its case, in an answer's head.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

/// Whether the answer is whole: its length by `Content-Length`, by its last chunk, or by its status.
fn is_whole(answer: &[u8]) -> Option<bool> {
    let head = find(answer, b"\r\n\r\n")? + 4;
    let body = answer.len() - head;
    if let Some(at) = find(&answer[..head], b"\r\ncontent-length:") {
        let digits = answer[at + 17..head]
            .iter()
            .skip_while(|byte| **byte == b' ')
            .take_while(|byte| byte.is_ascii_digit());
        let length = digits.fold(0_usize, |length, digit| length * 10 + usize::from(digit - b'0'));
        return Some(body >= length);
    }
    if find(&answer[..head], b"\r\ntransfer-encoding: chunked").is_some() {
        return Some(answer[head..].ends_with(b"0\r\n\r\n"));
    }
    Some(true)
}

async fn ask(
    stream: &mut Option<TcpStream>,
    plan: &Plan,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> io::Result<u16> {
    let mut open = match stream.take() {
        Some(open) => open,
        None => {
            let open = TcpStream::connect(plan.address).await?;
            open.set_nodelay(true)?;
            open
        }
    };
    open.write_all(request).await?;
    buffer.clear();
    while !is_whole(buffer).unwrap_or(false) {
        if open.read_buf(buffer).await? == 0 || buffer.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = buffer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let head = find(buffer, b"\r\n\r\n").unwrap_or(0);
    if find(&buffer[..head], b"\r\nconnection: close").is_none() {
        *stream = Some(open);
    }
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Every `connections`-th request from the `first` on, each when it is due, or as soon as the one before is answered.
async fn client(plan: Rc<Plan>, first: u64) -> Vec<Outcome> {
    let (mut outcomes, mut stream, mut buffer) = (Vec::new(), None, Vec::with_capacity(4_096));
    let end = plan.begun + Duration::from_secs_f64(plan.total as f64 / plan.rate) + PATIENCE;
    for number in (first..plan.total).step_by(plan.connections as usize) {
        let offset = number as f64 / plan.rate;
        let due = plan.begun + Duration::from_secs_f64(offset);
        sleep_until(due).await;
        let sent = Instant::now();
        let request = &plan.requests[number as usize % plan.requests.len()];
        let until = end.min(sent + PATIENCE);
        let answer = timeout_at(until, ask(&mut stream, &plan, request, &mut buffer)).await;
        let status = match answer {
            Ok(Ok(status)) => status,
            Ok(Err(_)) | Err(_) => {
                stream = None;
                0
            }
        };
        let now = Instant::now();
        outcomes.push(Outcome {
            second: offset as usize,
            since_due: now - due,
            since_sent: now - sent,
            status,
        });
    }
    outcomes
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let at = |share: f64| histogram.value_at_quantile(share) as f64 / 1e3;
    json!({ "p50": at(0.5), "p90": at(0.9), "p95": at(0.95), "p99": at(0.99), "p999": at(0.999), "max": histogram.max() as f64 / 1e3 })
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(MICROS_MAX, 3).expect("bounds that fit")
}

/// What is counted, for the whole run or for one second of it.
struct Tally {
    since_due: Histogram<u64>,
    since_sent: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
}

impl Tally {
    fn new() -> Self {
        Self { since_due: histogram(), since_sent: histogram(), statuses: BTreeMap::new() }
    }

    fn add(&mut self, outcome: &Outcome) {
        *self.statuses.entry(outcome.status).or_default() += 1;
        let micros = |time: Duration| (time.as_micros() as u64).min(MICROS_MAX);
        self.since_due.saturating_record(micros(outcome.since_due));
        self.since_sent.saturating_record(micros(outcome.since_sent));
    }

    fn good(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| (200..300).contains(*status)).map(|(_, count)| count).sum()
    }

    fn json(&self, seconds: f64) -> Value {
        let all: u64 = self.statuses.values().sum();
        json!({
            "requests": all,
            "good_per_s": self.good() as f64 / seconds,
            "failed": all - self.good(),
            "statuses": self.statuses,
            "ms": percentiles(&self.since_due),
            "ms_uncorrected": percentiles(&self.since_sent),
        })
    }
}

async fn run(plan: Plan, seconds: f64) {
    let plan = Rc::new(plan);
    let clients: Vec<_> =
        (0..plan.connections).map(|first| tokio::task::spawn_local(client(plan.clone(), first))).collect();
    let (mut whole, mut each) = (Tally::new(), Vec::new());
    each.resize_with(seconds.ceil() as usize, Tally::new);
    for client in clients {
        for outcome in client.await.expect("no panic") {
            whole.add(&outcome);
            each[outcome.second].add(&outcome);
        }
    }
    let took = plan.begun.elapsed().as_secs_f64();
    let mut line = whole.json(took.max(seconds));
    line["rate"] = json!(plan.rate);
    line["seconds"] = json!(seconds);
    line["took_s"] = json!(took);
    line["each_second"] = each.iter().map(|tally| tally.json(1.0)).collect();
    println!("{line}");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, rate, seconds, connections, file] = arguments.as_slice() else {
        eprintln!("usage: openloop ADDRESS RATE SECONDS CONNECTIONS REQUESTS");
        std::process::exit(64);
    };
    let (address, rate, seconds): (SocketAddr, f64, f64) =
        (address.parse()?, rate.parse()?, seconds.parse()?);
    let text = std::fs::read_to_string(file)?;
    let requests: Vec<_> =
        text.lines().filter(|line| !line.is_empty()).map(|line| request(line, address)).collect();
    if requests.is_empty() || rate <= 0.0 {
        return Err("there is nothing to ask".into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now() + Duration::from_millis(200);
    let total = (rate * seconds) as u64;
    let plan =
        Plan { address, requests, rate, begun, total, connections: connections.parse::<u64>()?.max(1) };
    LocalSet::new().block_on(&runtime, run(plan, seconds));
    Ok(())
}
