//! Requests at a fixed rate, whatever the server does (an open loop): each is due at a time that was set beforehand, and
//! its response time counts from then. So a server that stalls is charged for the requests that it kept from being sent
//! (coordinated omission), which a closed loop, where each client waits for its answer before it goes on, leaves out. The
//! time from the sending is given beside it: the difference is what a closed loop would not have seen.
//!
//! `openloop ADDRESS RATE SECONDS CONNECTIONS REQUESTS`
//!
//! REQUESTS is a file with a request a line, `METHOD PATH TOKEN [BODY]`, taken in turn; `-` for no token. Prints one line
//! of JSON: rates by kind of answer, and percentiles in ms. A thread for each connection, kept open; a request that is due
//! while its connection is busy waits for it, which counts. What is not answered `PATIENCE` after it was sent, or after
//! the last one was due, is failed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// An answer that takes longer is none; and what is not answered so long after the last request was due.
const PATIENCE: Duration = Duration::from_secs(5);
const STACK_BYTES: usize = 128 << 10;
const ANSWER_BYTES_MAX: usize = 4 << 20;
const PIECE_BYTES: usize = 16 << 10;

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

/// The place of `needle`, whatever its case.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

/// Whether the answer is whole: by `Content-Length`, by its last chunk, or because it has no body.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = find(answer, b"\r\n\r\n").map(|at| at + 4) else { return false };
    let body = &answer[head..];
    if let Some(at) = find(&answer[..head], b"\r\ncontent-length:") {
        let text = answer[at + 17..head].iter().skip_while(|byte| **byte == b' ');
        let digits = text.take_while(|byte| byte.is_ascii_digit());
        return body.len() >= digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    }
    find(&answer[..head], b"\r\ntransfer-encoding: chunked").is_none() || body.ends_with(b"0\r\n\r\n")
}

/// A connection that is kept, and the buffer of its answers.
struct Client {
    stream: Option<TcpStream>,
    answer: Vec<u8>,
}

impl Client {
    fn ask(&mut self, address: SocketAddr, request: &[u8]) -> io::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream
            }
        };
        stream.write_all(request)?;
        self.answer.clear();
        let mut piece = [0; PIECE_BYTES];
        while !is_whole(&self.answer) {
            let read = stream.read(&mut piece)?;
            if read == 0 || self.answer.len() > ANSWER_BYTES_MAX {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend_from_slice(&piece[..read]);
        }
        let status = self.answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let head = find(&self.answer, b"\r\n\r\n").unwrap_or(0);
        // Else it is closed here, as its other end is.
        if find(&self.answer[..head], b"\r\nconnection: close").is_none() {
            self.stream = Some(stream);
        }
        status.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Every `connections`-th request from the `first` on, each when it is due, or as soon as the one before is answered.
fn client(plan: &Plan, first: u64) -> Vec<Outcome> {
    let mut client = Client { stream: None, answer: Vec::with_capacity(PIECE_BYTES) };
    let mut outcomes = Vec::new();
    let end = plan.begun + Duration::from_secs_f64(plan.total as f64 / plan.rate) + PATIENCE;
    for number in (first..plan.total).step_by(plan.connections as usize) {
        let due = plan.begun + Duration::from_secs_f64(number as f64 / plan.rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        let request = &plan.requests[number as usize % plan.requests.len()];
        // Not asked any more once the time is over.
        let status = if sent < end { client.ask(plan.address, request).unwrap_or(0) } else { 0 };
        let now = Instant::now();
        outcomes.push(Outcome { since_due: now - due, since_sent: now - sent, status });
    }
    outcomes
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let shares = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];
    let parts: Vec<String> =
        shares.iter().map(|(name, share)| format!("\"{name}\":{:.3}", at(*share))).collect();
    format!("{{{}}}", parts.join(","))
}

fn told(plan: &Plan, outcomes: &[Outcome], seconds: f64) -> String {
    let mut statuses = BTreeMap::new();
    for outcome in outcomes {
        *statuses.entry(outcome.status).or_insert(0_u64) += 1;
    }
    let good: u64 =
        statuses.iter().filter(|(status, _)| (200..300).contains(*status)).map(|(_, count)| count).sum();
    let statuses: Vec<String> =
        statuses.iter().map(|(status, count)| format!("\"{status}\":{count}")).collect();
    let took = plan.begun.elapsed().as_secs_f64();
    format!(
        "{{\"rate\":{},\"seconds\":{seconds},\"took_s\":{took:.3},\"requests\":{},\"good_per_s\":{:.2},\"failed\":{},\
         \"statuses\":{{{}}},\"ms\":{},\"ms_uncorrected\":{}}}",
        plan.rate,
        outcomes.len(),
        good as f64 / took.max(seconds),
        outcomes.len() as u64 - good,
        statuses.join(","),
        percentiles(outcomes.iter().map(|outcome| outcome.since_due).collect()),
        percentiles(outcomes.iter().map(|outcome| outcome.since_sent).collect()),
    )
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
    let total = (rate * seconds) as u64;
    if requests.is_empty() || total == 0 {
        return Err("there is nothing to ask".into());
    }
    let connections = connections.parse::<u64>()?.clamp(1, total);
    // The threads are there by then.
    let begun = Instant::now() + Duration::from_millis(200);
    let plan = Arc::new(Plan { address, requests, rate, begun, total, connections });
    let mut clients = Vec::new();
    for first in 0..connections {
        let plan = plan.clone();
        clients.push(thread::Builder::new().stack_size(STACK_BYTES).spawn(move || client(&plan, first))?);
    }
    let mut outcomes = Vec::new();
    for one in clients {
        outcomes.append(&mut one.join().map_err(|_| "a client panicked")?);
    }
    println!("{}", told(&plan, &outcomes, seconds));
    Ok(())
}
