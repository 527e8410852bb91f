//! Numbers that no change has: however they came about, the instances go on by themselves, and nobody is told "nothing
//! new" meanwhile.

use std::time::Duration;

use hyperdesk::clock::Timestamp;
use mysql_async::prelude::Queryable;
use serde_json::json;

use super::{SOON, after, at, last_cursor};
use crate::helpdesk::{Desk, ask, each, say};
use crate::support::{EventStream, eventually};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_hole_is_passed_within_seconds_and_nothing_is_lost() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    let cursor = last_cursor(&ann).await;
    assert_eq!(last_cursor(&at(&ann, &second)).await, cursor);
    let since = Timestamp::now();
    // What a packet left behind that was cut off between its first statement and the others.
    desk.schema.execute("UPDATE feed_head SET seq = seq + 3, at = at + INTERVAL 3 MICROSECOND").await;
    let said = say(&ann, &id, "after it").await;
    for server in [&desk.server, &second] {
        let ann = at(&ann, server);
        let found = ann.get(&format!("/api/messages/updates?since={since}")).await.expect_status(200).json();
        assert_eq!(each(&found, "id")[0], said);
        assert_eq!(after(&ann, &cursor).await.status, 410, "its way to the news is not whole");
        assert!(server.metric("feed_holes_total").await >= Some(1.0));
        // And on it goes.
        let cursor = last_cursor(&ann).await;
        let more = say(&ann, &id, "more").await;
        assert_eq!(each(&after(&ann, &cursor).await.expect_status(200).json()["messages"], "id"), [&more]);
    }
    let holes = desk.server.metric("feed_holes_total").await;
    let resyncs = desk.server.metric("feed_resyncs_total").await;
    say(&ann, &id, "and on").await;
    assert_eq!(
        (desk.server.metric("feed_holes_total").await, desk.server.metric("feed_resyncs_total").await),
        (holes, resyncs),
        "once"
    );
}

/// Where changes cannot be numbered nothing is told, so nobody may be told that there is nothing.
#[tokio::test]
async fn a_feed_that_cannot_go_on_refuses_every_kind_of_poll() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    let cursor = last_cursor(&ann).await;
    let there = at(&ann, &second);
    assert_eq!(last_cursor(&there).await, cursor);
    let path = format!("{cursor}&wait=55");
    // Somebody holds the head, so that nobody can give a number; what is written is acknowledged all the same.
    let mut holder = desk.schema.admin().await;
    let (held, ()) = tokio::join!(after(&there, &path), async {
        eventually(SOON, || async { second.metric("feed_waiters").await == Some(1.0) }).await;
        holder.query_drop("START TRANSACTION").await.unwrap();
        holder.query_drop("SELECT seq FROM feed_head WHERE id = 1 FOR UPDATE").await.unwrap();
        say(&ann, &id, "not numbered").await;
        for server in [&desk.server, &second] {
            let ann = at(&ann, server);
            for path in [
                format!("/api/updates?cursor={cursor}"),
                format!("/api/updates?cursor={cursor}&wait=1"),
                format!("/api/conversations/updates?since={}", Timestamp::now()),
                format!("/api/messages/updates?since={}", Timestamp::now()),
                format!("/api/expert-queue/updates?since={}", Timestamp::now()),
            ] {
                let refused = || async {
                    let answer = ann.request("GET", &path).limit(LONG).send().await;
                    answer.status == 503 && answer.header("retry-after").is_some()
                };
                eventually(LONG, refused).await;
            }
            let stream = EventStream::open(server.addr(), &ann.token, Some(&cursor)).await.unwrap();
            assert_eq!(stream.status, 503);
            assert!(server.metric("feed_polls_refused_total").await > Some(0.0));
        }
    });
    assert_eq!(held.status, 503, "who is held is told at once: {}", held.text());
    holder.query_drop("ROLLBACK").await.unwrap();
    for user in [&ann, &there] {
        eventually(LONG, || async {
            let answer = after(user, &cursor).await;
            answer.status == 200 && answer.json()["messages"][0]["content"] == "not numbered"
        })
        .await;
    }
}

/// Or whoever posts large messages faster than they can be numbered makes the polls of everybody late, and then refused.
#[tokio::test]
async fn large_messages_wait_until_those_before_them_are_numbered_and_small_ones_do_not() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let (id, other) = (ask(&ann, "printer").await, ask(&bob, "scanner").await);
    let before = last_cursor(&ann).await;
    let mut holder = desk.schema.admin().await;
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder.query_drop("SELECT seq FROM feed_head WHERE id = 1 FOR UPDATE").await.unwrap();
    // A character that JSON writes as six bytes: eight of these are 1.9 MB.
    let large = "\u{1}".repeat(40_000);
    let post = async || ann.post("/messages", json!({ "conversationId": id, "content": large })).await;
    for _ in 0..8 {
        post().await.expect_status(201);
    }
    let refused = post().await.expect_status(503);
    assert!(refused.header("retry-after").is_some());
    say(&bob, &other, "small").await;
    holder.query_drop("ROLLBACK").await.unwrap();
    eventually(LONG, || async { post().await.status == 201 }).await;
    eventually(LONG, || async { desk.server.metric("feed_unnumbered_bytes").await == Some(0.0) }).await;
    let told = after(&ann, &before).await.expect_status(200).json();
    assert_eq!(told["messages"].as_array().map(Vec::len), Some(9), "what was refused is not there");
}
