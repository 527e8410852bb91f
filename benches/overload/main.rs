//! Too many clients: what share of its peak the server answers in time when as much, 2, 5 and 10 times as much is asked of it,
//! by clients who wait 20 s and by clients who give up after 3 s and come again, on kept and on new connections.
//!
//! `cargo bench --bench overload` (as root: the server is held to a share of one core by a control group, so that one
//! core is enough for its clients; needs MariaDB, 20,000 descriptors and 20 minutes). Options, as `name=value`:
//! `seconds` of each run, `clients`, `percent` of a core, `program` (another server to measure), and `kind` (`kept`
//! or `new`), `patience` and `times` to run only some; `obeys=yes` for clients who come again when
//! `Retry-After` says so, not by their own clock; `ask` (`polls`, `posts` or `both`: a post among ten) and `late=MS`, by
//! which each reply of the database comes later; `peak`, seconds of each measuring of the peak; `steer=yes`, see
//! [`steering`]. Under `cargo test` a few clients, nothing is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod clients;
mod probes;
mod quota;
mod steering;
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clients::{Manners, Tally, Target};
use hyperdesk::clock::Timestamp;
use probes::Probe;
use quota::Quota;
use serde_json::json;
use steering::Steering;
use support::{Hyperdesk, Proxy, Schema, User};

/// Users that poll, each with many clients, and as many others that post.
const USERS: u64 = 16;
/// Conversations of each of those: so many that two posts at a time hardly ever wait for the same one.
const CONVERSATIONS: u64 = 16;
/// Of `both`, one in so many posts.
const POST_AMONG: u64 = 10;
/// Loopback addresses of the server: each has 28,000 ports for clients, which are free again a minute after their use, and a kernel
/// that finds few of them free looks for long.
const ADDRESSES: u8 = 64;
const PEAK_SECONDS: u64 = 8;

/// What is to be run.
struct Options(Vec<(String, String)>);

impl Options {
    fn read() -> Self {
        let pairs = std::env::args().skip(1).filter_map(|argument| {
            argument.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        });
        Self(pairs.collect())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_yes(&self, name: &str) -> bool {
        self.text(name) == Some("yes")
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).map_or(default, |value| value.parse().expect("a whole number"))
    }

    /// Those of `all` that are asked for.
    fn some<T: ToString + Copy>(&self, name: &str, all: &[T]) -> Vec<T> {
        all.iter().copied().filter(|one| self.text(name).is_none_or(|text| text == one.to_string())).collect()
    }

    fn asks(&self) -> Asks {
        match self.text("ask") {
            None | Some("polls") => Asks::Polls,
            Some("posts") => Asks::Posts,
            Some("both") => Asks::Both,
            Some(other) => panic!("ask={other} is neither polls, posts nor both"),
        }
    }
}

/// What the clients want.
#[derive(Clone, Copy)]
enum Asks {
    Polls,
    Posts,
    Both,
}

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let _as_it_is = rlimit::increase_nofile_limit(u64::MAX);
    // One thread: clients on both cores would take the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let schema = Schema::fresh().await;
        if measuring { measure(&schema, &Options::read()).await } else { try_out(&schema).await }
    });
}

/// A few clients and no quota, so that it does not rot.
async fn try_out(schema: &Schema) {
    let requests = requests(schema, Asks::Both).await;
    let (desk, target) = start(schema, &requests, None, None).await;
    let connections = clients::arrive(&target, true, 8).await;
    let (peak, connections) = clients::peak(&target, true, connections, Duration::from_millis(200)).await;
    assert!(peak > 0.0);
    let manners = Manners { kept: false, patience: Duration::from_secs(20), obeys: true };
    let probe = Probe::start(desk.addr(), "/health", true);
    let tally = clients::flood(&target, manners, connections, 50.0, Duration::from_secs(3)).await;
    assert!(tally.good.load(Relaxed) > 0 && probe.stop().starts_with(|digit| digit > '0'));
    assert_eq!((tally.odd.load(Relaxed), tally.broken.load(Relaxed)), (0, 0));
    println!("1 passed, 0 failed");
}

/// The requests of all users, who register first.
async fn requests(schema: &Schema, asks: Asks) -> Vec<Vec<u8>> {
    let (desk, mut requests) = (Hyperdesk::builder(schema).start().await, Vec::new());
    let (polls, posts) = match asks {
        Asks::Polls => (1, false),
        Asks::Posts => (0, true),
        Asks::Both => (POST_AMONG - 1, true),
    };
    for number in 0..USERS {
        // Whoever polls has no news: others post.
        let user = User::register(desk.addr(), &format!("user{number}")).await;
        let poster = User::register(desk.addr(), &format!("poster{number}")).await;
        for _ in 0..CONVERSATIONS {
            requests.extend((0..polls).map(|_| poll(&user.token)));
            if posts {
                let opened = poster.post("/conversations", json!({ "title": "Printer" })).await;
                let opened = opened.expect_status(201).json();
                requests.push(post(&poster.token, opened["id"].as_str().expect("an id")));
            }
        }
    }
    requests
}

/// The database's replies come so much later where there is a proxy.
async fn start(
    schema: &Schema,
    requests: &[Vec<u8>],
    program: Option<&str>,
    proxy: Option<&Proxy>,
) -> (Hyperdesk, Arc<Target>) {
    let mut builder = Hyperdesk::builder(schema).env("WEB_CONCURRENCY", 1).env("BIND_ADDRESS", "0.0.0.0");
    if let Some(program) = program {
        builder = builder.program(program);
    }
    if let Some(proxy) = proxy {
        builder = builder.env("DATABASE_URL", schema.url_via(proxy.addr()));
    }
    let desk = builder.start().await;
    let port = desk.addr().port();
    let addresses = (1..=ADDRESSES).map(|last| ([127, 0, 0, last], port).into()).collect();
    let target = Target { addresses, requests: requests.to_vec() };
    let mut first = clients::Connection::default();
    let answer = first.ask(target.addresses[0], &target.requests[0]).await.expect("an answer");
    assert!(answer.is_good());
    (desk, Arc::new(target))
}

/// An idle poll as a browser sends it, from a time after everything.
fn poll(token: &str) -> Vec<u8> {
    let since = Timestamp::from_micros(Timestamp::now().micros() + 1_000_000);
    format!(
        "GET /api/conversations/updates?since={since} HTTP/1.1\r\nHost: localhost\r\n\
         Accept: application/json\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

fn post(token: &str, conversation: &str) -> Vec<u8> {
    let body = json!({ "conversationId": conversation, "content": "It is broken." }).to_string();
    format!(
        "POST /messages HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn measure(schema: &Schema, options: &Options) {
    println!(
        "| connections | patience | asked | peak/s before, after | in time/s | of the first; of their mean | refused/s: p50, p99, max | \
         broken, odd | gave up/s | MB before, at most | `/health` kept | new | `/ready` | well after |"
    );
    let requests = requests(schema, options.asks()).await;
    let obeys = options.is_yes("obeys");
    let this = i32::try_from(std::process::id()).unwrap();
    let _preferred = Quota::set(this, 100).expect("a group for the clients");
    let _steered = options.is_yes("steer").then(|| Steering::start().expect("receive flow steering"));
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for kind in options.some("kind", &["kept", "new"]) {
        for patience in options.some("patience", &[20_u64, 3]) {
            for times in options.some("times", &[1_u64, 2, 5, 10]) {
                let manners =
                    Manners { kept: kind == "kept", patience: Duration::from_secs(patience), obeys };
                let row = run(schema, &requests, options, manners, times).await;
                println!("| {kind} | {patience} s | {times} × | {row}");
            }
        }
    }
}

/// One run on a new server: its peak, then too much, then nothing, then its peak again. A row of the table.
async fn run(
    schema: &Schema,
    requests: &[Vec<u8>],
    options: &Options,
    manners: Manners,
    times: u64,
) -> String {
    let late = Duration::from_millis(options.number("late", 0));
    let proxy = (!late.is_zero()).then_some(schema.server_addr().await).map(Proxy::start);
    let (desk, target) = start(schema, requests, options.text("program"), proxy.as_ref()).await;
    if let Some(proxy) = &proxy {
        proxy.delay_replies(late);
    }
    let quota = Quota::set(desk.pid(), options.number("percent", 10)).expect("a share of a core");
    let length = Duration::from_secs(options.number("seconds", 60));
    let peak_length = Duration::from_secs(options.number("peak", PEAK_SECONDS));
    let clients = options.number("clients", 14_000) as usize;
    let connections = clients::arrive(&target, manners.kept, clients).await;
    let (peak, connections) = clients::peak(&target, manners.kept, connections, peak_length).await;
    let probes = [("/health", true), ("/health", false)]
        .map(|(path, kept)| Probe::start(([127, 0, 0, 1], desk.addr().port()).into(), path, kept));
    let ready = Probe::start(([127, 0, 0, 1], desk.admin_addr().port()).into(), "/ready", false);
    let before = megabytes(desk.rss_bytes());
    let tally = clients::flood(&target, manners, connections, peak * times as f64, length).await;
    let memory = format!("{before:.0}, {:.0}", megabytes(desk.peak_rss_bytes()));
    let seen = probes.map(Probe::stop).join(" | ");
    let (seen, well) =
        (format!("{memory} | {seen} | {}", ready.stop()), probes::time_until_well(&target).await);
    let well = well.map_or("never".to_owned(), |well| format!("{:.1} s", well.as_secs_f64()));
    // The machine's speed changes within minutes: the mean of before and after is nearer to what it was meanwhile.
    let connections = clients::arrive(&target, manners.kept, clients).await;
    let (after, _connections) = clients::peak(&target, manners.kept, connections, peak_length).await;
    drop(desk);
    drop(quota);
    let told = told(&tally, peak, after, length.as_secs_f64());
    format!("{peak:.0}, {after:.0} | {told} | {seen} | {well} |")
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn told(tally: &Tally, peak: f64, after: f64, seconds: f64) -> String {
    let each = |count: u64| count as f64 / seconds;
    let good = each(tally.good.load(Relaxed));
    let mut refused = std::mem::take(&mut *tally.refused.lock().unwrap());
    refused.sort_unstable();
    let at = |share: f64| {
        let index = (refused.len() as f64 * share) as usize;
        refused.get(index.min(refused.len().saturating_sub(1))).map_or(0, Duration::as_millis)
    };
    format!(
        "{good:.0} | {:.0}; {:.0} % | {:.0}: {}, {}, {} ms | {}, {} | {:.0}",
        good / peak * 100.0,
        good / f64::midpoint(peak, after) * 100.0,
        each(refused.len() as u64),
        at(0.5),
        at(0.99),
        at(1.0),
        tally.broken.load(Relaxed),
        tally.odd.load(Relaxed),
        each(tally.gave_up.load(Relaxed)),
    )
}
