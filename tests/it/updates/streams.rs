//! `GET /api/updates/stream`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{SOON, at, state};
use crate::helpdesk::{Desk, ask, say};
use crate::support::{EventStream, User, eventually};

/// A heartbeat comes every 15 s, and the machine is busy.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(20);

async fn open(user: &User, last_id: Option<&str>) -> EventStream {
    let stream = EventStream::open(user.client.addr(), &user.token, last_id).await.expect("a stream");
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream
}

/// The next event's id and data.
async fn next(stream: &mut EventStream) -> (String, Value) {
    let event =
        timeout(SOON, stream.next()).await.expect("in time").expect("a whole event").expect("an event");
    assert_eq!(event.name, "updates");
    let data: Value = serde_json::from_str(&event.data).expect("JSON");
    assert_eq!(data["cursor"], *event.id, "the id is the cursor");
    (event.id, data)
}

async fn ends(stream: &mut EventStream, limit: Duration) {
    let end = timeout(limit, stream.next()).await.expect("it ends in time");
    assert!(end.expect("it ends in order").is_none());
}

#[tokio::test]
async fn a_stream_begins_with_the_state_goes_on_with_events_and_is_resumed_elsewhere() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let ann = desk.user("ann").await;
    let there = at(&ann, &second);
    let mut stream = open(&there, None).await;
    let head = stream.head.to_ascii_lowercase();
    for line in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
        assert!(head.contains(line), "{head}");
    }
    let (_, first) = next(&mut stream).await;
    assert_eq!(first["conversations"], json!([]));
    let id = ask(&ann, "printer").await;
    let (last, opened) = next(&mut stream).await;
    assert_eq!(opened["conversations"][0]["id"], id);
    drop(stream);
    let (one, two) = (say(&ann, &id, "while away").await, say(&ann, &id, "again").await);
    let mut resumed = open(&ann, Some(&last)).await;
    let (_, missed) = next(&mut resumed).await;
    assert_eq!((&missed["messages"][0]["id"], &missed["messages"][1]["id"]), (&json!(one), &json!(two)));
    // By the parameter, for a client that cannot set the header.
    let path = format!("/api/updates/stream?cursor={}", "x".repeat(38));
    ann.get(&path).await.expect_status(400);
}

#[tokio::test]
async fn a_quiet_stream_has_heartbeats_and_ends_when_the_server_drains() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let mut stream = open(&ann, None).await;
    next(&mut stream).await;
    let begun = Instant::now();
    let beat = timeout(HEARTBEAT_LIMIT, stream.next_block()).await.expect("in time").expect("whole");
    assert_eq!(beat.as_deref(), Some(": heartbeat"));
    assert!(begun.elapsed() > Duration::from_secs(10), "{:?}", begun.elapsed());
    desk.server.terminate();
    ends(&mut stream, SOON).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let ann = desk.user("ann").await;
    let there = at(&ann, &second);
    let (_, cursor) = state(&there).await;
    let mut stream = open(&there, Some(&cursor)).await;
    eventually(SOON, || async { second.metric("feed_waiters").await == Some(1.0) }).await;
    ann.post("/auth/logout", json!({})).await.expect_status(200);
    // At the latest with the next heartbeat, and nothing is told any more.
    ends(&mut stream, HEARTBEAT_LIMIT).await;
}
