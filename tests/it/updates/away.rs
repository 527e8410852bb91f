//! The database is away: cursors stay where they are, times are refused rather than answered with nothing.

use std::time::{Duration, Instant};

use hyperdesk::clock::Timestamp;
use serde_json::json;

use super::{SOON, after, last_cursor, news, state};
use crate::helpdesk::{ask, say};
use crate::support::{Hyperdesk, Proxy, Schema, Server, User, eventually};

/// The feed waits two seconds at most; the rest is the machine.
const REFUSED_LIMIT: Duration = Duration::from_millis(3_000);
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn cursor_polls_go_on_from_memory_and_since_polls_are_refused() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let (_, before) = state(&ann).await;
    let id = ask(&ann, "printer").await;
    let cursor = last_cursor(&ann).await;
    server.kill();
    let since = || async {
        let path = format!("/api/messages/updates?since={}", Timestamp::now());
        ann.get(&path).await
    };
    // From memory: what was known is told, and nothing moves.
    for _ in 0..3 {
        let idle = after(&ann, &cursor).await.expect_status(200).json();
        assert_eq!((&idle["cursor"], &idle["messages"]), (&json!(cursor), &json!([])));
    }
    let known = after(&ann, &before).await.expect_status(200).json();
    assert_eq!((&known["conversations"][0]["id"], &known["cursor"]), (&json!(id), &json!(cursor)));
    let held = after(&ann, &format!("{cursor}&wait=1")).await.expect_status(204);
    assert_eq!(held.header("x-updates-cursor"), Some(&*cursor));
    eventually(SOON, || async { since().await.status == 503 }).await;
    let begun = Instant::now();
    let refused = since().await.expect_status(503);
    assert!(begun.elapsed() < REFUSED_LIMIT, "{:?}", begun.elapsed());
    assert!(refused.header("retry-after").is_some());
    // Not for ever: nobody knows what was written elsewhere meanwhile.
    for wait in ["", "&wait=5"] {
        eventually(LONG, || async { after(&ann, &format!("{cursor}{wait}")).await.status == 503 }).await;
    }

    server.restart().await;
    eventually(LONG, || async { since().await.status == 200 }).await;
    eventually(LONG, || async { ann.get("/conversations").await.status == 200 }).await;
    let said = say(&ann, &id, "after all").await;
    assert_eq!(news(&ann, &cursor).await["messages"][0]["id"], said);
}

/// What a held poll waits for first is asked on another runtime, which ends before the event loops do.
#[tokio::test]
async fn a_held_poll_that_the_end_of_the_process_cuts_off_is_no_error_of_ours() {
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let builder = || {
        let desk = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr()));
        desk.env("SERVICES", "helpdesk").env("DRAIN_SECONDS", 1)
    };
    let first = builder().start().await;
    let ann = User::register(first.addr(), "ann").await;
    let cursor = last_cursor(&ann).await;
    // One that does not know yet who is an expert.
    let desk = builder().start().await;
    desk.client()
        .get(&format!("/api/messages/updates?since={}", Timestamp::now()))
        .bearer(&ann.token)
        .send()
        .await
        .expect_status(200);
    proxy.blackhole();
    let (client, token) = (desk.client(), ann.token.clone());
    let held = tokio::spawn(async move {
        let request = client.get(&format!("/api/updates?cursor={cursor}&wait=20")).bearer(&token);
        request.try_send().await.map(|answer| answer.status)
    });
    eventually(LONG, || async { desk.metric("http_requests_in_flight").await == Some(1.0) }).await;
    desk.terminate();
    let status = held.await.unwrap().unwrap_or(503);
    assert_eq!(status, 503);
}
