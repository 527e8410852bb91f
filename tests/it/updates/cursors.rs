//! Cursors and waiting.

use std::time::Instant;

use hyperdesk::clock::Timestamp;
use hyperdesk::feed::Cursor;
use serde_json::json;

use super::{SOON, TWO_SECONDS, after, at, last_cursor, news, state};
use crate::helpdesk::{Desk, ask, claim, say};
use crate::support::{eventually, eventually_some};

const GONE: &str = r#"{"error":"Cursor is no longer valid","reset":true}"#;
const BAD: &str = r#"{"error":"Invalid cursor"}"#;

fn text(cursor: Cursor) -> String {
    String::from_utf8(cursor.text().to_vec()).unwrap()
}

#[tokio::test]
async fn the_answer_has_exactly_this_shape() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let (empty, cursor) = state(&ann).await;
    let pace = empty["nextPollMs"].as_u64().unwrap();
    assert!((4_500..5_500).contains(&pace), "{pace}");
    let expected = json!({
        "cursor": cursor, "conversations": [], "messages": [],
        "queue": {"waiting": [], "left": [], "total": 0}, "nextPollMs": pace
    });
    assert_eq!(empty, expected);
    let (_, eves) = state(&eve).await;
    // Idle: the same, as small as can be.
    let idle = after(&ann, &cursor).await.expect_status(200).json();
    assert_eq!((&idle["messages"], &idle["queue"]), (&json!([]), &empty["queue"]));

    let id = ask(&ann, "printer").await;
    let opened = ann.get(&format!("/conversations/{id}")).await.json();
    let found = after(&ann, &cursor).await.expect_status(200);
    assert_eq!(found.header("x-updates-cursor"), found.json()["cursor"].as_str());
    let found = found.json();
    assert_eq!(found["conversations"], json!([opened]));
    assert_eq!(found["queue"], json!({"waiting": [opened], "left": [], "total": 1}));
    let mut keys: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    // Whose question waits is told its place.
    assert_eq!(keys, ["conversations", "cursor", "messages", "nextPollMs", "positions", "queue"]);

    let queued = news(&eve, &eves).await;
    assert_eq!((&queued["conversations"], &queued["messages"]), (&json!([]), &json!([])));
    assert_eq!(queued["queue"], json!({"waiting": [opened], "left": [], "total": 1}));
    claim(&eve, &id).await;
    let hello = say(&eve, &id, "hello").await;
    let since_claim = after(&eve, queued["cursor"].as_str().unwrap()).await.json();
    assert_eq!(since_claim["queue"], json!({"waiting": [], "left": [id], "total": 0}));
    let messages = eve.get(&format!("/conversations/{id}/messages")).await.json();
    assert_eq!(since_claim["messages"], messages);
    // A mark is news for cursors, to both.
    let anns = last_cursor(&ann).await;
    ann.put(&format!("/messages/{hello}/read"), json!({})).await.expect_status(200);
    for (user, cursor) in [(&ann, &*anns), (&eve, since_claim["cursor"].as_str().unwrap())] {
        let marked = news(user, cursor).await;
        assert_eq!(
            (&marked["messages"][0]["id"], &marked["messages"][0]["isRead"]),
            (&json!(hello), &json!(true))
        );
        assert_eq!(marked["conversations"][0]["unreadCount"], 0);
    }
}

#[tokio::test]
async fn a_cursor_that_cannot_be_resumed_is_refused_and_never_moves_on() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    ask(&ann, "printer").await;
    let good = last_cursor(&ann).await;
    let parsed = Cursor::parse(&good).unwrap();
    assert_eq!(parsed.user, ann.id.unsigned_abs());
    let strange = [
        ("another user's", text(Cursor { user: bob.id.unsigned_abs(), ..parsed })),
        ("of the future", text(Cursor { seq: parsed.seq + 1_000, ..parsed })),
        ("2^63", text(Cursor { seq: 1 << 63, ..parsed })),
        ("the largest", text(Cursor { seq: u64::MAX, ..parsed })),
        ("of another history", text(Cursor { at: Timestamp::from_micros(parsed.at.micros() + 1), ..parsed })),
    ];
    for (what, cursor) in strange {
        for wait in ["", "&wait=5"] {
            let begun = Instant::now();
            let answer = after(&ann, &format!("{cursor}{wait}")).await;
            assert_eq!((answer.status, answer.text()), (410, GONE.to_owned()), "{what}");
            assert_eq!(answer.header("x-updates-cursor"), None, "{what}");
            assert!(begun.elapsed() < SOON, "{what} is not held");
        }
        let stream = ann.request("GET", "/api/updates/stream").header("last-event-id", &cursor).send().await;
        assert_eq!((stream.status, stream.text()), (410, GONE.to_owned()), "{what}");
    }
    for bad in ["0", "-1", "9223372036854775808", "-9223372036854775809", "letters", "%00", "%F0%9F%91%8D"] {
        let answer = after(&ann, bad).await;
        assert_eq!((answer.status, answer.text()), (400, BAD.to_owned()), "{bad}");
    }
    let altered = format!("{}A", &good[..good.len() - 1]);
    if altered != good {
        assert_eq!(after(&ann, &altered).await.status, 400);
    }
    for bad in ["x", "-1", "1.5", "%20"] {
        let answer = after(&ann, &format!("{good}&wait={bad}")).await.expect_status(400);
        assert_eq!(answer.text(), r#"{"error":"wait must be a number of seconds"}"#);
    }
    assert_eq!(bob.get(&format!("/api/updates?cursor={good}")).await.status, 410);
    assert_eq!(after(&ann, &good).await.expect_status(200).json()["conversations"], json!([]));
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_refused_and_a_time_is_answered_by_the_database() {
    let desk = Desk::start_with(&[("FEED_WINDOW_EVENTS", "16")]).await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    let old = last_cursor(&ann).await;
    let begun = Timestamp::now();
    for number in 0..30 {
        say(&ann, &id, &format!("m{number}")).await;
    }
    let answer = after(&ann, &old).await;
    assert_eq!((answer.status, answer.text()), (410, GONE.to_owned()));
    let all = ann.get(&format!("/api/messages/updates?since={begun}")).await.expect_status(200).json();
    assert_eq!(all.as_array().unwrap().len(), 30, "nothing is missing: {all}");
}

#[tokio::test]
async fn an_instance_that_has_just_started_answers_any_position() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let (_, cursor) = state(&ann).await;
    let begun = Timestamp::now();
    let id = ask(&ann, "printer").await;
    let said = say(&ann, &id, "hello").await;
    let second = desk.second().await;
    let there = at(&ann, &second);
    let found = after(&there, &cursor).await.expect_status(200).json();
    assert_eq!((&found["conversations"][0]["id"], &found["messages"][0]["id"]), (&json!(id), &json!(said)));
    let since = there.get(&format!("/api/messages/updates?since={begun}")).await.expect_status(200).json();
    assert_eq!(since[0]["id"], said);
    // And its cursors mean the same here.
    let newer = found["cursor"].as_str().unwrap();
    assert_eq!(after(&ann, newer).await.expect_status(200).json()["messages"], json!([]));
}

#[tokio::test]
async fn a_poll_is_held_until_there_is_news_or_the_time_is_over() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let ann = desk.user("ann").await;
    let there = at(&ann, &second);
    let (_, cursor) = state(&ann).await;
    let begun = Instant::now();
    let idle = after(&ann, &format!("{cursor}&wait=1")).await.expect_status(204);
    assert!(idle.body.is_empty() && begun.elapsed().as_millis() >= 990, "{:?}", begun.elapsed());
    assert_eq!(idle.header("x-updates-cursor"), Some(&*cursor));
    let path = format!("{cursor}&wait=30");
    let (held, id) = tokio::join!(after(&there, &path), async {
        eventually(SOON, || async { second.metric("feed_waiters").await == Some(1.0) }).await;
        ask(&ann, "printer").await
    });
    assert_eq!(held.expect_status(200).json()["conversations"][0]["id"], id);
}

#[tokio::test]
async fn a_held_poll_is_answered_early_when_the_server_drains() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let (_, cursor) = state(&ann).await;
    let path = format!("{cursor}&wait=50");
    let held = async {
        let begun = Instant::now();
        let idle = after(&ann, &path).await.expect_status(204);
        (idle, begun.elapsed())
    };
    let ((idle, took), ()) = tokio::join!(held, async {
        eventually(SOON, || async { desk.server.metric("feed_waiters").await == Some(1.0) }).await;
        desk.server.terminate();
    });
    assert!(took < SOON, "{took:?}");
    assert_eq!(idle.header("x-updates-cursor"), Some(&*cursor));
}

#[tokio::test]
async fn a_token_dies_on_every_instance_and_its_held_polls_with_it() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let ann = desk.user("ann").await;
    let there = at(&ann, &second);
    let (_, cursor) = state(&there).await;
    for path in ["/api/messages/updates?since=2026-01-01T00:00:00", "/conversations"] {
        there.get(path).await.expect_status(200);
    }
    ann.post("/auth/logout", json!({})).await.expect_status(200);
    let begun = Instant::now();
    eventually_some(TWO_SECONDS, || async { (after(&there, &cursor).await.status == 401).then_some(()) })
        .await;
    for path in ["/api/messages/updates?since=2026-01-01T00:00:00", "/conversations", "/api/updates/stream"] {
        assert_eq!(there.get(path).await.status, 401, "{path} {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn more_than_may_wait_are_told_to_come_back() {
    let desk = Desk::start_with(&[("FEED_WAITERS_MAX", "2")]).await;
    let ann = desk.user("ann").await;
    let (_, cursor) = state(&ann).await;
    let waiting = [at(&ann, &desk.server), at(&ann, &desk.server)];
    let path = format!("{cursor}&wait=30");
    let ((), one, two) = tokio::join!(
        async {
            eventually(SOON, || async { desk.server.metric("feed_waiters").await == Some(2.0) }).await;
            let refused = after(&ann, &path).await.expect_status(503);
            assert!(refused.header("retry-after").is_some());
            assert!(refused.json()["error"].is_string());
            // Who does not wait is answered all the same, and waiting goes on when a place is free.
            after(&ann, &cursor).await.expect_status(200);
            ask(&ann, "printer").await;
        },
        after(&waiting[0], &path),
        after(&waiting[1], &path),
    );
    assert_eq!((one.status, two.status), (200, 200));
    let newer = one.json()["cursor"].as_str().unwrap().to_owned();
    after(&ann, &format!("{newer}&wait=1")).await.expect_status(204);
}
