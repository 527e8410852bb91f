//! Polls of every kind, answered by instances that did not do the writing.

use std::time::{Duration, Instant};

use hyperdesk::clock::Timestamp;
use hyperdesk::feed::Cursor;
use hyperdesk::feed::poll::{CursorPoll, SincePoll};
use hyperdesk::helpdesk::changes::{Class, NewEvent};
use hyperdesk::helpdesk::store;

use super::{
    ANN, BOB, EVE, Instance, LONG, SOON, all, change, claim, ids, migrated, open, parsed, post, time, unclaim,
};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_here_is_seen_here_at_once_and_elsewhere_soon() {
    let schema = migrated().await;
    let (one, two) = (Instance::start(&schema).await, Instance::start(&schema).await);
    // What an instance has not seen happen it may ask the database for.
    eventually(SOON, || async { one.feed.watermark().is_some() && two.feed.watermark().is_some() }).await;
    let begin = Timestamp::now();
    let conversation = open(&one, ANN).await;
    let mut newest = begin;
    for round in 0..20 {
        let message = post(&one, conversation, &format!("m{round}")).await;
        let seen = parsed(one.since(ANN, Class::Messages, newest).await);
        assert!(ids(&seen).contains(&message), "{seen}");
        newest = time(&seen.as_array().unwrap().last().unwrap()["timestamp"]);
        // An echo neither repeats nor loses.
        assert_eq!(parsed(one.since(ANN, Class::Messages, newest).await), serde_json::json!([]));
    }
    eventually(SOON, || async { two.feed.position() == 21 }).await;
    assert_eq!(parsed(two.since(ANN, Class::Messages, newest).await), serde_json::json!([]));
    assert_eq!(ids(&parsed(two.since(ANN, Class::Messages, begin).await)).len(), 20);
    let all = parsed(two.since(ANN, Class::Conversations, begin).await);
    assert_eq!((ids(&all), &all[0]["unreadCount"]), (vec![conversation], &serde_json::json!(0)));
    assert_eq!(parsed(two.since(EVE, Class::Messages, begin).await), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_given_whole_and_who_loses_a_conversation_sees_no_more_of_it() {
    let schema = migrated().await;
    let (one, two) = (Instance::start(&schema).await, Instance::start(&schema).await);
    let start = Timestamp::now();
    eventually(SOON, || async { one.feed.watermark().is_some() && two.feed.watermark().is_some() }).await;
    let bobs = two.feed.cursor(1, BOB).unwrap();
    let conversation = open(&one, ANN).await;
    post(&one, conversation, "before the claim").await;
    eventually(SOON, || async { two.feed.position() == 2 }).await;
    let queue = parsed(two.since(BOB, Class::Queue, start).await);
    assert_eq!(ids(&queue[0]["waitingConversations"]), [conversation]);
    assert_eq!(queue[0]["waitingConversations"][0]["unreadCount"], 1);
    assert_eq!(queue[0]["assignedConversations"], serde_json::json!([]));
    let newest = time(&queue[0]["waitingConversations"][0]["updatedAt"]);
    assert_eq!(parsed(two.since(BOB, Class::Queue, newest).await), serde_json::json!([]));

    claim(&two, conversation, BOB).await;
    let queue = parsed(two.since(BOB, Class::Queue, newest).await);
    assert_eq!(ids(&queue[0]["assignedConversations"]), [conversation]);
    assert_eq!(queue[0]["waitingConversations"], serde_json::json!([]));
    let message = post(&two, conversation, "while claimed").await;
    eventually(SOON, || async { two.feed.position() == 4 && one.feed.position() == 4 }).await;
    let (news, at_four) = two.news(BOB, bobs).await;
    assert_eq!((ids(&news["conversations"]), ids(&news["messages"])), (vec![conversation], vec![message]));
    assert_eq!(news["queue"]["left"], serde_json::json!([conversation.to_string()]));
    assert_eq!(news["queue"]["total"], 0);
    assert!(matches!(one.feed.cursor_later(0, BOB, all(at_four)).await.unwrap(), CursorPoll::Unchanged(_)));

    post(&two, conversation, "not fetched before the unclaim").await;
    unclaim(&two, conversation, BOB).await;
    eventually(SOON, || async { one.feed.position() == 6 }).await;
    let (news, _) = one.news(BOB, at_four).await;
    assert_eq!((ids(&news["conversations"]), ids(&news["messages"])), (vec![], vec![]));
    assert_eq!(ids(&news["queue"]["waiting"]), [conversation]);
    assert_eq!(parsed(one.since(BOB, Class::Messages, start).await), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_poll_is_answered_when_something_happens() {
    let schema = migrated().await;
    let (one, two) = (Instance::start(&schema).await, Instance::start(&schema).await);
    let conversation = open(&one, ANN).await;
    claim(&one, conversation, BOB).await;
    eventually(SOON, || async { two.feed.position() == 2 }).await;
    let cursor = two.feed.cursor(0, BOB).unwrap();
    let until = Instant::now() + Duration::from_millis(30);
    let idle = two.feed.held_poll(0, BOB, all(cursor), until).await.unwrap();
    assert!(matches!(idle, CursorPoll::Unchanged(same) if same == cursor));
    let feed = two.feed.clone();
    let held = tokio::spawn(async move { feed.held_poll(0, BOB, all(cursor), Instant::now() + LONG).await });
    let message = post(&one, conversation, "wake up").await;
    let CursorPoll::Changed(json, newer) = held.await.unwrap().unwrap() else { panic!("no news") };
    let news: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(ids(&news["messages"]), [message]);
    // A read mark moves no `updatedAt`, and is news for a cursor only.
    let newest = time(&news["conversations"][0]["updatedAt"]);
    change(&one, BOB, async |connection| {
        assert!(store::message_read(connection, message, conversation, ANN).await?);
        Ok(((), NewEvent::read(conversation, message)))
    })
    .await;
    let held = two.feed.held_poll(0, BOB, all(newer), Instant::now() + LONG).await.unwrap();
    let CursorPoll::Changed(json, newer) = held else { panic!("no news") };
    let news: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(news["messages"][0]["isRead"], true);
    assert_eq!(news["conversations"][0]["unreadCount"], 0);
    assert_eq!(parsed(two.since(BOB, Class::Conversations, newest).await), serde_json::json!([]));
    // Those who are held are let go when the process stops.
    let feed = two.feed.clone();
    let held = tokio::spawn(async move { feed.held_poll(1, BOB, all(newer), Instant::now() + LONG).await });
    two.feed.release();
    assert!(matches!(held.await.unwrap().unwrap(), CursorPoll::Unchanged(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_judged_and_what_only_another_version_knows_is_passed_over() {
    let schema = migrated().await;
    let one = Instance::start(&schema).await;
    let two = Instance::start(&schema).await;
    for _ in 0..3 {
        open(&one, ANN).await;
    }
    eventually(SOON, || async { one.feed.position() == 3 && two.feed.position() == 3 }).await;
    let good = one.feed.cursor(0, ANN).unwrap();
    assert!(matches!(two.feed.cursor_later(0, ANN, all(good)).await.unwrap(), CursorPoll::Unchanged(_)));
    assert!(
        matches!(two.feed.cursor_later(0, BOB, all(good)).await.unwrap(), CursorPoll::Reset),
        "another user's"
    );
    for bad in [
        Cursor { seq: 4, ..good },
        Cursor { seq: u64::MAX, ..good },
        Cursor { at: Timestamp::from_micros(1), ..good },
    ] {
        assert!(
            matches!(two.feed.cursor_later(0, ANN, all(bad)).await.unwrap(), CursorPoll::Reset),
            "{bad:?}"
        );
    }
    // As the version before this one told of a sign-out.
    let sign_out =
        "INSERT INTO outbox (kind, sid, sid_expires_at) VALUES ('signed_out', REPEAT('s', 16), NOW(6))";
    schema.execute(sign_out).await;
    eventually(SOON, || async { one.feed.position() == 4 }).await;
    assert!(matches!(one.feed.cursor_later(0, ANN, all(good)).await.unwrap(), CursorPoll::Unchanged(_)));
    // Another change has the number, as after a restore.
    eventually(SOON, || async { two.feed.position() == 4 }).await;
    let good = two.feed.cursor(0, ANN).unwrap();
    for table in ["runs", "feed_head"] {
        schema.execute(format!("UPDATE {table} SET at = at + INTERVAL 1 MICROSECOND WHERE seq = 4")).await;
    }
    eventually(SOON, || async {
        matches!(two.feed.cursor_later(0, ANN, all(good)).await.unwrap(), CursorPoll::Reset)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_overflows_sends_the_reader_elsewhere() {
    let schema = migrated().await;
    let one = Instance::at(&schema.url(), &[("FEED_WINDOW_EVENTS", "16")]).await;
    eventually(SOON, || async { one.feed.watermark().is_some() }).await;
    let (before, old) = (Timestamp::now(), one.feed.cursor(0, ANN).unwrap());
    let conversation = open(&one, ANN).await;
    for _ in 0..40 {
        post(&one, conversation, "x").await;
    }
    eventually(SOON, || async { one.feed.position() == 41 }).await;
    assert!(matches!(one.feed.cursor_later(0, ANN, all(old)).await.unwrap(), CursorPoll::Reset));
    let SincePoll::AskDatabase(asked) = one.since(ANN, Class::Messages, before).await else {
        panic!("answered from memory")
    };
    // What the database said is remembered: the same question is answered from memory.
    one.feed.answered(&asked, before);
    assert_eq!(parsed(one.since(ANN, Class::Messages, before).await), serde_json::json!([]));
    // For somebody who had nothing of it all, memory reaches back to the start.
    assert_eq!(parsed(one.since(EVE, Class::Messages, before).await), serde_json::json!([]));
}
