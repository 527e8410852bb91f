//! What the feed costs a write, how soon a write is seen on another instance, and what instances cost their database:
//! `cargo bench --bench feed` (needs MariaDB; some four minutes). Under `cargo test` a few writes are made and nothing is
//! measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyperdesk::config::Config;
use hyperdesk::db::{Db, DbMetrics, Error};
use hyperdesk::helpdesk::changes::{self, NewEvent};
use hyperdesk::helpdesk::store;
use hyperdesk::tasks::Tasks;
use hyperdesk::transaction;
use prometheus::Registry;
use serde_json::json;
use support::database::Server;
use support::{EventStream, Hyperdesk, Schema, User};

/// Conversations that are written to, each by one writer at a time.
const WRITERS: usize = 16;
/// Each round writes with the feed and without it, so that a machine whose speed drifts hurts both alike.
const ROUNDS: usize = 5;
const WRITES_PER_S: u64 = 1_000;
/// Instances that tail, and writes a second, of which the database's CPU is taken.
const INSTANCES: [usize; 3] = [1, 10, 20];
const RATES: [u64; 2] = [100, 300];
/// Kernel time is counted in these: `CLK_TCK`, which Linux has fixed.
const TICK_MICROS: u64 = 10_000;
/// The suite's databases are small and do not flush their log; one that is written to for long must.
const AS_IN_PRODUCTION: [&str; 4] = [
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=256M",
    // The same in MariaDB and in MySQL.
    "--loose-innodb-log-file-size=256M",
    "--loose-innodb-redo-log-capacity=256M",
];

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    tokio::runtime::Runtime::new().unwrap().block_on(measure(measuring));
}

async fn measure(measuring: bool) {
    let database = Server::start_with(&AS_IN_PRODUCTION).await;
    let schema = Schema::on(&database).await;
    let start = || Hyperdesk::builder(&schema).env("WEB_CONCURRENCY", 1).env("DB_POOL_SIZE", 20).start();
    let (one, two) = (start().await, start().await);
    let eve = User::register(one.addr(), "eve").await;
    let conversations = conversations(&one, &eve).await;
    throughput(&schema, &conversations, measuring).await;
    visibility(&two, &eve, conversations, if measuring { 10 } else { 1 }).await;
    drop((one, two));
    for writes_per_s in RATES {
        for instances in if measuring { &INSTANCES[..] } else { &[2] } {
            cost(&database, *instances, writes_per_s, if measuring { 10 } else { 0 }).await;
        }
    }
}

/// One conversation for each writer, claimed by `eve`.
async fn conversations(one: &Hyperdesk, eve: &User) -> Vec<(User, String)> {
    let mut conversations = Vec::new();
    for number in 0..WRITERS {
        let asker = User::register(one.addr(), &format!("asker{number}")).await;
        let opened = asker.post("/conversations", json!({ "title": "Printer" })).await.expect_status(201);
        let id = opened.json()["id"].as_str().unwrap().to_owned();
        eve.post(&format!("/expert/conversations/{id}/claim"), json!({})).await.expect_status(200);
        conversations.push((asker, id));
    }
    conversations
}

/// The transaction of POST /messages, with the feed's row and without.
async fn throughput(schema: &Schema, conversations: &[(User, String)], measuring: bool) {
    let vars = HashMap::from([
        ("DATABASE_URL".to_owned(), schema.url()),
        ("DB_POOL_SIZE".to_owned(), WRITERS.to_string()),
    ]);
    let config = Config::from_vars(&vars, &["helpdesk"]).expect("a configuration");
    let registry = Registry::new();
    let (metrics, tasks) = (DbMetrics::new(&registry).unwrap(), Tasks::new(&registry).unwrap());
    let db = Arc::new(Db::new(&config, metrics, &tasks).expect("a pool"));
    let length = Duration::from_millis(if measuring { 2_000 } else { 50 });
    let (mut ratios, mut best) = (Vec::new(), (0.0f64, 0.0f64));
    for _ in 0..if measuring { ROUNDS } else { 1 } {
        let without = write_for(&db, conversations, length, false).await;
        let with = write_for(&db, conversations, length, true).await;
        ratios.push(with / without);
        best = (best.0.max(with), best.1.max(without));
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "messages posted a second with the feed's row: {:.2} of those without (median of {}; best {:.0} of {:.0})",
        ratios[ratios.len() / 2],
        ratios.len(),
        best.0,
        best.1
    );
}

async fn write_for(db: &Arc<Db>, conversations: &[(User, String)], length: Duration, fed: bool) -> f64 {
    let written = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for (asker, conversation) in conversations {
        let (db, written) = (db.clone(), written.clone());
        let (asker, conversation) = (asker.id as u64, conversation.parse().unwrap());
        writers.spawn(async move {
            while begun.elapsed() < length {
                write(&db, asker, conversation, fed).await.unwrap();
                written.fetch_add(1, Relaxed);
            }
        });
    }
    writers.join_all().await;
    written.load(Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

async fn write(db: &Db, asker: u64, conversation: u64, fed: bool) -> Result<(), Error> {
    transaction!(db, db => {
        let posting = store::conversation_bump(db, conversation, asker).await?.expect("takes part");
        let message = store::message_insert(db, posting, "It is on.".to_owned()).await?;
        if fed {
            changes::record_and_commit(db, &NewEvent::message(conversation, message.id)).await?;
        }
        Ok::<_, Error>(())
    })
}

/// Posts to one instance at a fixed rate; eve's stream on the other shows when each message is there.
async fn visibility(two: &Hyperdesk, eve: &User, conversations: Vec<(User, String)>, seconds: u64) {
    let since = hyperdesk::clock::Timestamp::now();
    let path = format!("/api/messages/updates?since={since}");
    let client = two.client();
    let polled = client.get(&path).bearer(&eve.token).send().await.expect_status(200);
    let cursor = polled.header("x-updates-cursor").unwrap().to_owned();
    let mut stream = EventStream::open(two.addr(), &eve.token, Some(&cursor)).await.unwrap();
    let total = WRITES_PER_S * seconds;
    let begun = Instant::now();
    let writers = post(conversations, WRITES_PER_S, total);
    let mut seen = HashMap::new();
    while seen.len() < total as usize {
        let event = stream.next().await.unwrap().expect("an event");
        let now = Instant::now();
        for number in numbers(&event.data) {
            seen.entry(number).or_insert(now);
        }
    }
    let answered: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    let rate = total as f64 / answered.iter().map(|(_, _, at)| *at - begun).max().unwrap().as_secs_f64();
    let after = answered.iter().map(|(number, _, at)| seen[number].saturating_duration_since(*at));
    let due = answered.iter().map(|(number, due, _)| seen[number].saturating_duration_since(*due));
    println!("{rate:.0} writes/s; a message's way from its writer's answer to a stream on another instance:");
    println!("  {}", spread(after.collect()));
    println!("  from the moment its POST was due: {}", spread(due.collect()));
}

type Posted = Vec<(u64, Instant, Instant)>;

/// Posts `total` messages at a fixed rate; for each its number, when it was due, and when it was answered.
fn post(conversations: Vec<(User, String)>, writes_per_s: u64, total: u64) -> tokio::task::JoinSet<Posted> {
    let begun = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for (asker, conversation) in conversations {
        let next = next.clone();
        writers.spawn(async move {
            let mut answered = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= total {
                    return answered;
                }
                let due = begun + Duration::from_micros(number * 1_000_000 / writes_per_s);
                tokio::time::sleep_until(due.into()).await;
                let content = format!("message {number}.");
                let body = json!({ "conversationId": conversation, "content": content });
                asker.post("/messages", body).await.expect_status(201);
                answered.push((number, due, Instant::now()));
            }
        });
    }
    writers
}

/// What a write through one instance costs the database in all, by its own CPU, while so many are polled once a second.
async fn cost(database: &Server, instances: usize, writes_per_s: u64, seconds: u64) {
    let schema = Schema::on(database).await;
    let start = || {
        let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").env("WEB_CONCURRENCY", 1);
        desk.env("DB_POOL_SIZE", 4).start()
    };
    let mut desks = vec![start().await];
    for _ in 1..instances {
        desks.push(start().await);
    }
    let eve = User::register(desks[0].addr(), "eve").await;
    let conversations = conversations(&desks[0], &eve).await;
    let mut pollers = tokio::task::JoinSet::new();
    for desk in &desks {
        let (client, token) = (desk.client(), eve.token.clone());
        pollers.spawn(async move {
            let mut path = "/api/updates".to_owned();
            loop {
                let told = client.get(&path).bearer(&token).send().await.expect_status(200).json();
                path = format!("/api/updates?cursor={}", told["cursor"].as_str().unwrap());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    let file: String = schema.query_one("SELECT @@pid_file").await;
    let pid = std::fs::read_to_string(file).unwrap().trim().to_owned();
    tokio::time::sleep(Duration::from_secs(seconds.min(2))).await;
    let before = cpu_micros(&pid);
    tokio::time::sleep(Duration::from_secs(seconds / 2)).await;
    let idle = cpu_micros(&pid) - before;
    let (total, before) = ((writes_per_s * seconds).max(20), cpu_micros(&pid));
    let looks_before = looks(&desks).await;
    post(conversations, writes_per_s, total).join_all().await;
    let took = cpu_micros(&pid) - before;
    let looks = looks(&desks).await - looks_before;
    pollers.shutdown().await;
    println!(
        "{instances} instances, {writes_per_s} writes/s: {} us of the database's CPU for each, {:.0} looks/s; idle {:.2} % of a core",
        took / total,
        looks / seconds.max(1) as f64,
        idle as f64 / (seconds / 2).max(1) as f64 / 10_000.0
    );
}

/// How often all instances read of the feed so far.
async fn looks(desks: &[Hyperdesk]) -> f64 {
    let mut all = 0.0;
    for desk in desks {
        for series in ["feed_tail_looks_total", "feed_tail_reads_total"] {
            all += desk.metric(series).await.expect("a counter");
        }
    }
    all
}

/// User and system time of a process.
fn cpu_micros(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks * TICK_MICROS
}

fn numbers(event: &str) -> impl Iterator<Item = u64> {
    event.split("\"content\":\"message ").skip(1).filter_map(|rest| rest.split('.').next()?.parse().ok())
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(0.5), at(0.99), at(1.0))
}
