//! A slow database is not one that is away: polls are later, and right.

use std::time::Duration;

use futures_util::future::join_all;
use hyperdesk::clock::Timestamp;

use super::{after, last_cursor};
use crate::helpdesk::{ask, each, say};
use crate::support::{Hyperdesk, Proxy, Schema, User, eventually};

const LONG: Duration = Duration::from_secs(30);

async fn polls_work_at(delay: Duration, writers: usize) {
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let desk = Hyperdesk::builder(&schema)
        .env("DATABASE_URL", schema.url_via(proxy.addr()))
        .env("SERVICES", "helpdesk")
        .start()
        .await;
    let ann = User::register(desk.addr(), "ann").await;
    let own = ask(&ann, "own").await;
    let mut others = Vec::new();
    for number in 0..writers {
        let user = User::register(desk.addr(), &format!("writer{number}")).await;
        let id = ask(&user, "busy").await;
        others.push((user, id));
    }
    // The pool's connections know their statements by then, as those of a database that becomes slow do.
    for _ in 0..20 {
        last_cursor(&ann).await;
        say(&ann, &own, "before").await;
    }
    let cursor = last_cursor(&ann).await;
    proxy.delay_replies(delay);
    let done = std::sync::atomic::AtomicBool::new(false);
    let write = join_all(others.iter().map(async |(user, id)| {
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            say(user, id, "again").await;
        }
    }));
    let poll = async {
        for round in 0..4 {
            let before = Timestamp::now();
            let cursor =
                after(&ann, &cursor).await.expect_status(200).json()["cursor"].as_str().unwrap().to_owned();
            let said = say(&ann, &own, &format!("{round}")).await;
            for (path, list) in [
                (format!("/api/messages/updates?since={before}"), ""),
                (format!("/api/updates?cursor={cursor}"), "messages"),
                (format!("/api/updates?cursor={cursor}&wait=10"), "messages"),
            ] {
                let found = ann.get(&path).await.expect_status(200).json();
                let found = if list.is_empty() { &found } else { &found[list] };
                assert!(each(found, "id").contains(&&*said), "{delay:?}, {writers} writers: {path}: {found}");
            }
            let paths = ["/api/conversations/updates", "/api/expert-queue/updates"];
            for path in paths {
                ann.get(&format!("{path}?since={}", Timestamp::now())).await.expect_status(200);
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(write, poll);
    proxy.delay_replies(Duration::ZERO);
    eventually(LONG, || async { after(&ann, &last_cursor(&ann).await).await.status == 200 }).await;
}

#[tokio::test]
async fn fifty_milliseconds_and_four_writers() {
    polls_work_at(Duration::from_millis(50), 4).await;
}

#[tokio::test]
async fn a_hundred_milliseconds() {
    polls_work_at(Duration::from_millis(100), 0).await;
}

#[tokio::test]
async fn four_hundred_milliseconds() {
    polls_work_at(Duration::from_millis(400), 0).await;
}

#[tokio::test]
async fn four_hundred_milliseconds_and_four_writers() {
    polls_work_at(Duration::from_millis(400), 4).await;
}
