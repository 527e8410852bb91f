//! Held polls: what one costs in memory and in time while nothing happens, and how soon one message reaches its
//! readers among them. `cargo bench --bench held` (18,000 clients, about two minutes; needs MariaDB and 20,000
//! descriptors); under `cargo test` 2,000 clients, and only their memory is asserted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyperdesk::auth::token::{Claims, Keys, SessionId};
use hyperdesk::clock::Timestamp;
use serde_json::json;
use support::server::SECRET;
use support::{Hyperdesk, Schema, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOLD: &str = "--hold";
/// A goal of the project: see benches/RESULTS.md.
const BYTES_MAX: u64 = 20 * 1024;
/// The holders' user ids begin here.
const FIRST_USER: u64 = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == HOLD) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime
            .block_on(hold(arguments[at + 1].parse().unwrap(), arguments[at + 2].parse().unwrap()));
    }
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    tokio::runtime::Runtime::new().unwrap().block_on(measure(measuring));
}

/// The client process: so many connections, each of a user of its own, each holding a poll again and again.
async fn hold(address: SocketAddr, count: u64) {
    let keys = Keys::new(SECRET.as_bytes(), None).unwrap();
    let (sender, mut held) = tokio::sync::mpsc::unbounded_channel();
    for user in FIRST_USER..FIRST_USER + count {
        let mut client = Holder::connect(address, token(&keys, user)).await;
        let sender = sender.clone();
        client.send_held().await;
        tokio::spawn(async move {
            sender.send(()).unwrap();
            loop {
                client.receive().await;
                client.send_held().await;
            }
        });
    }
    for _ in 0..count {
        held.recv().await;
    }
    println!("held");
    std::future::pending::<()>().await;
}

fn token(keys: &Keys, user_id: u64) -> String {
    let issued_at = Timestamp::now().unix_seconds();
    let session = SessionId::from_bytes((u128::from(user_id)).to_be_bytes());
    keys.sign(&Claims {
        user_id,
        session,
        expires_at: issued_at + 3_600,
        issued_at: Some(issued_at),
        user_created_at: None,
    })
}

/// One client.
struct Holder {
    stream: TcpStream,
    address: SocketAddr,
    token: String,
    cursor: String,
}

impl Holder {
    /// Connects and gets a cursor.
    async fn connect(address: SocketAddr, token: String) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream, address, token, cursor: String::new() };
        let since = Timestamp::now();
        client.send(&format!("/api/conversations/updates?since={since}")).await;
        client.receive().await;
        client
    }

    async fn send(&mut self, path: &str) {
        let (address, token) = (self.address, &self.token);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://localhost:3000\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
             Accept: application/json\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
    }

    async fn send_held(&mut self) {
        let path = format!("/api/updates?cursor={}&wait=55", self.cursor);
        self.send(&path).await;
    }

    /// The whole answer; notes its cursor.
    async fn receive(&mut self) -> String {
        let mut answer = Vec::new();
        loop {
            let mut piece = [0; 4_096];
            let read = self.stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "closed");
            answer.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let value = |name| {
                head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
            };
            if body.len() < value("content-length").map_or(0, |length| length.parse().unwrap()) {
                continue;
            }
            assert!(head.starts_with("HTTP/1.1 20"), "{head}");
            self.cursor = value("x-updates-cursor").unwrap();
            return text.into_owned();
        }
    }
}

/// The client process; ended on drop.
struct Crowd(Child);

impl Crowd {
    fn start(address: SocketAddr, count: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([HOLD, &address.to_string(), &count.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

async fn measure(measuring: bool) {
    let (count, rounds, idle) = if measuring { (18_000, 300, 20) } else { (2_000, 5, 0) };
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema)
        .env("WEB_CONCURRENCY", 1)
        .env("SECRET_KEY_BASE", SECRET)
        .without_env("CONNECTIONS_MAX")
        .start()
        .await;
    let address = desk.addr();
    let ann = User::register(address, "ann").await;
    // Ids up to the newest user's count as known, so the holders need no rows of their own.
    let user = "INSERT INTO users (id, username, password_digest, created_at, updated_at) VALUES";
    schema.execute(format!("{user} ({}, 'u', 'x', NOW(6), NOW(6))", 2 * FIRST_USER)).await;
    let eve = User::register(address, "eve").await;
    let opened = ann.post("/conversations", json!({ "title": "Printer" })).await.expect_status(201);
    let id = opened.json()["id"].as_str().unwrap().to_owned();
    eve.post(&format!("/expert/conversations/{id}/claim"), json!({})).await.expect_status(200);
    // Buffers that the first clients of all fill are not the later ones'.
    drop(Holder::connect(address, ann.token.clone()).await);
    let base_cpu = cpu_over(&desk, idle).await;
    let base = desk.rss_bytes();
    let crowd =
        tokio::task::spawn_blocking(move || Crowd::start(address, count)).await.expect("a crowd of clients");
    let each = desk.rss_bytes().saturating_sub(base) / count;
    println!("{count} held polls: {each} bytes resident each, above a base of {} MB", base / 1_000_000);
    assert!(each <= BYTES_MAX, "{each} bytes for each held poll");
    if idle > 0 {
        let cpu = cpu_over(&desk, idle).await;
        let micros = (cpu - base_cpu) * 1e6 / count as f64;
        println!(
            "{micros:.2} µs of CPU a second and client while idle ({:.1} ms/s in all, {:.1} without clients)",
            cpu * 1e3,
            base_cpu * 1e3
        );
    }
    let mut times = latencies(&ann, &eve, &id, rounds).await;
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "a message to its reader's held poll: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!("{} bytes resident each afterwards", desk.rss_bytes().saturating_sub(base) / count);
    drop(crowd);
}

/// Seconds of CPU in each of so many seconds.
async fn cpu_over(desk: &Hyperdesk, seconds: u64) -> f64 {
    let before = desk.cpu_time();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    (desk.cpu_time() - before).as_secs_f64() / seconds.max(1) as f64
}

/// From the begin of the POST to the whole answer of the held poll of who reads it.
async fn latencies(ann: &User, eve: &User, conversation: &str, rounds: usize) -> Vec<Duration> {
    let mut reader = Holder::connect(ann.client.addr(), ann.token.clone()).await;
    let mut times = Vec::new();
    for round in 0..rounds {
        reader.send_held().await;
        // The news of a round ends when the message is there: its claim or read mark may come first.
        tokio::time::sleep(Duration::from_millis(7)).await;
        let content = format!("message {round}");
        let begun = Instant::now();
        let body = json!({ "conversationId": conversation, "content": content });
        let (posted, ()) = tokio::join!(eve.post("/messages", body), async {
            while !reader.receive().await.contains(&content) {
                reader.send_held().await;
            }
            times.push(begun.elapsed());
        });
        posted.expect_status(201);
    }
    times
}
