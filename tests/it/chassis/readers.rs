//! Memory under the worst clients there are: many connections that ask for the longest answers and read none, or that send
//! long bodies but for the end.

use std::time::Duration;

use http::header::RETRY_AFTER;

use crate::helpdesk::{Desk, ask, say};
use crate::support::{Raw, User, eventually};

use super::builder;

/// What the whole process may take, whoever reads how.
const RSS_BYTES_MAX: u64 = 600_000_000;
/// Answers of about 4 MB, or less where lists are cut before.
const MESSAGES: usize = 66;
const MESSAGE_BYTES: usize = 60_000;
/// They ask for four times what all answers under way may take.
const READERS: usize = 240;
/// Asked at once of the database, which is slow work in a debug build.
const WAVE: usize = 5;
/// What all answers under way may take.
const ANSWERS_BYTES_MAX: f64 = 256.0 * 1024.0 * 1024.0;
/// Another address than that of those who do not read, as a proxy sees it.
const ELSEWHERE: &str = "192.0.2.7";
/// For all to be answered, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection that asks for something and does not read what it gets.
async fn ask_and_do_not_read(desk: &Desk, user: &User, path: &str) -> Raw {
    let mut raw = Raw::connect_slow_reader(desk.addr(), 4_096).await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", user.token);
    raw.write(head).await.unwrap();
    raw
}

/// Requests that were answered so far.
async fn answered(desk: &Desk) -> f64 {
    let page = desk.server.admin_client().get("/metrics").send().await.expect_status(200).text();
    let counts = page.lines().filter(|line| line.starts_with("http_requests_total{"));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn readers_that_do_not_read_take_no_more_than_their_limit() {
    let desk = Desk::start_with(&[("TRUSTED_PROXY_HOPS", "1")]).await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let (long, short) = (ask(&ann, "long").await, ask(&bob, "short").await);
    let since = desk.time("NOW(6) FROM DUAL").await;
    let cursor = ann.get("/api/updates").await.json()["cursor"].as_str().unwrap().to_owned();
    for _ in 0..MESSAGES {
        say(&ann, &long, &"x".repeat(MESSAGE_BYTES)).await;
    }
    let messages = format!("/conversations/{long}/messages");
    let since = format!("/api/messages/updates?since={since}");
    let (cursor, stream) =
        (format!("/api/updates?cursor={cursor}"), format!("/api/updates/stream?cursor={cursor}"));
    let from_database: [&str; WAVE] =
        [&messages, "/api/messages/updates", "/api/updates", "/api/updates/stream", "/conversations"];
    let (before, answered_before) = (desk.server.rss_bytes(), answered(&desk).await);
    let all = async |count: usize| {
        let wanted = answered_before + count as f64;
        eventually(LIMIT, || async { answered(&desk).await >= wanted }).await;
    };
    let mut readers = Vec::new();
    for path in from_database {
        readers.push(ask_and_do_not_read(&desk, &ann, path).await);
    }
    all(WAVE).await;
    for number in WAVE..READERS {
        readers.push(ask_and_do_not_read(&desk, &ann, [&*since, &cursor, &stream][number % 3]).await);
    }
    all(READERS).await;
    let (now, peak) = (desk.server.rss_bytes(), desk.server.peak_rss_bytes());
    let under_way = desk.server.metric("http_answers_bytes").await.unwrap();
    let refused = desk.server.metric("http_answers_refused_total").await.unwrap();
    println!("{READERS} readers: {before} bytes before, {now} now, {peak} at the most");
    println!("{under_way} bytes of answers under way, {refused} refused");
    assert!(peak <= RSS_BYTES_MAX, "{peak} bytes at the most, {now} now, {before} before");

    // An address has no more than it leaves to others, who are served, with long lists too.
    assert!(under_way <= ANSWERS_BYTES_MAX / 2.0, "{under_way}");
    let elsewhere = ann.request("GET", &messages).header("x-forwarded-for", ELSEWHERE).send().await;
    assert!(elsewhere.expect_status(200).text().len() > MESSAGE_BYTES);

    // And so is everybody, with short ones.
    say(&bob, &short, "still here").await;
    for path in ["/conversations", &format!("/conversations/{short}/messages"), "/expert/queue", "/auth/me"] {
        bob.get(path).await.expect_status(200);
    }
    // Those that got no answer are told so, in words.
    let mut told = 0;
    for mut raw in readers.into_iter().rev().take(9) {
        let head = String::from_utf8(raw.read_through("\r\n\r\n").await.unwrap()).unwrap();
        if head.starts_with("HTTP/1.1 503 ") {
            assert!(head.contains(RETRY_AFTER.as_str()), "{head}");
            told += 1;
        }
    }
    assert!(told > 0 && refused > 0.0, "{told} told, {refused} refused");
    // What they took is free again when they are gone.
    eventually(LIMIT, || async { desk.server.metric("http_answers_bytes").await == Some(0.0) }).await;
    ann.get(&messages).await.expect_status(200);
}

/// Bodies that lack their end: of a megabyte each, together more than the memory for all bodies.
const UPLOADS: usize = 70;
const BODIES_MEGABYTES_MAX: usize = 64;
const MEGABYTE: usize = 1 << 20;

#[tokio::test]
async fn senders_that_do_not_end_leave_as_much_memory_as_they_take() {
    let desk = builder().env("TRUSTED_PROXY_HOPS", 1).start().await;
    let mut uploads = Vec::new();
    for _ in 0..UPLOADS {
        let mut raw = Raw::connect(desk.addr()).await;
        let head = format!("POST /upload/ HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", MEGABYTE + 1);
        raw.write(head).await.unwrap();
        raw.write(vec![b'x'; MEGABYTE]).await.unwrap();
        uploads.push(raw);
    }
    let refused = async || {
        let page = desk.admin_client().get("/metrics").send().await.expect_status(200).text();
        let counts =
            page.lines().filter(|line| line.contains("\"/upload/\"") && line.contains("status=\"503\""));
        counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum::<usize>()
    };
    let held = async || desk.metric("http_bodies_bytes").await.unwrap() as usize;
    eventually(LIMIT, || async { refused().await * MEGABYTE + held().await == UPLOADS * MEGABYTE }).await;
    let held = held().await / MEGABYTE;
    assert!((BODIES_MEGABYTES_MAX / 4..=BODIES_MEGABYTES_MAX / 2).contains(&held), "{held} MB");
    let long = "x".repeat(12_000);
    let request = desk.client();
    let request = request.post("/auth/login").header("x-forwarded-for", ELSEWHERE).json(long);
    assert_eq!(request.send().await.status, 400, "it was read");
}
