//! More than one run numbers, and more than one read takes.

use hyperdesk::feed::Cursor;
use hyperdesk::feed::poll::CursorPoll;
use mysql_async::prelude::Queryable;

use super::{ANN, Instance, LONG, SOON, all, ids, migrate, migrated, open, post};
use crate::support::schema::{CHANGES, numbers};
use crate::support::{Proxy, Schema, Server, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_is_numbered_in_one_go_is_numbered_in_several() {
    let schema = migrated().await;
    let (one, two) = (Instance::start(&schema).await, Instance::start(&schema).await);
    let conversation = open(&one, ANN).await;
    let cursor = one.feed.cursor_after_own_writes(0, ANN).await.unwrap();
    schema
        .execute(format!(
            "INSERT INTO outbox (kind, conversation_id) SELECT 'resolved', {conversation} FROM {}",
            numbers(1, 1_300)
        ))
        .await;
    eventually(SOON, || async { one.feed.position() == 1_301 && two.feed.position() == 1_301 }).await;
    let in_order: u64 = schema
        .query_one(format!(
            "SELECT COUNT(*) FROM (
                SELECT seq - LAG(seq) OVER w AS step, id > LAG(id) OVER w AS ids, at > LAG(at) OVER w AS times
                FROM {CHANGES} WINDOW w AS (ORDER BY seq)
             ) pairs WHERE step = 1 AND ids AND times"
        ))
        .await;
    assert_eq!(in_order, 1_300);
    for instance in [&one, &two] {
        // An answer goes through a thousand changes, and on until there is something to tell: the last shows the
        // conversation.
        let (news, newer) = instance.news(ANN, cursor).await;
        assert_eq!((ids(&news["conversations"]), newer.seq), (vec![conversation], 1_301));
    }
}

/// Or whoever posts a few hundred large messages stops the feed of all instances: with each run the leader would read all of
/// them anew, of which few have room in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_large_messages_is_read_hardly_more_than_once() {
    const MESSAGES: u64 = 300;
    const BYTES: u64 = 60_000;
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let proxy = Proxy::start(server.addr());
    let one = Instance::at(&schema.url_via(proxy.addr()), &[]).await;
    let conversation = open(&one, ANN).await;
    eventually(SOON, || async { one.feed.position() == 1 }).await;
    let before = (proxy.bytes_replied(), one.metric("feed_sequencer_runs_total"));
    let mut conn = schema.connect().await;
    for statement in [
        "BEGIN".to_owned(),
        format!(
            "INSERT INTO messages (conversation_id, sender_id, sender_role, content, created_at, updated_at)
             SELECT {conversation}, {ANN}, 'initiator', REPEAT('\"', {BYTES}), NOW(6), NOW(6) FROM {}",
            numbers(1, MESSAGES)
        ),
        format!(
            "INSERT INTO outbox (kind, conversation_id, message_id)
             SELECT 'message', {conversation}, id FROM messages WHERE conversation_id = {conversation}"
        ),
        "COMMIT".to_owned(),
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    one.feed.nudge();
    eventually(LONG, || async { one.feed.position() == 1 + MESSAGES }).await;
    let replied = (proxy.bytes_replied() - before.0) as f64 / (MESSAGES * BYTES) as f64;
    let runs = one.metric("feed_sequencer_runs_total") - before.1;
    assert!((1.0..3.0).contains(&replied), "{replied} times as much was read, for {runs} runs");
    // A text of quotes takes twice its bytes as JSON; of the worst there is, as many runs are made as that needs.
    assert!((18..=30).contains(&runs), "{runs} runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_fell_behind_reads_on_as_far_as_its_window_holds_and_begins_anew_beyond() {
    let schema = migrated().await;
    let one = Instance::at(&schema.url(), &[("FEED_WINDOW_EVENTS", "16")]).await;
    let conversation = open(&one, ANN).await;
    let cursor = one.feed.cursor_after_own_writes(0, ANN).await.unwrap();
    // As other instances number them while this one is frozen: all are there when it looks again.
    let numbered = async |first: u64, last: u64| {
        let mut conn = schema.connect().await;
        conn.query_drop("BEGIN").await.unwrap();
        for run in (first..=last).collect::<Vec<u64>>().chunks(500) {
            let (begin, end) = (run[0], run[run.len() - 1]);
            let item = |seq: &u64| {
                format!(
                    r#"{{"id":{},"kind":"read","conversation":{conversation},"initiator":{ANN}}}"#,
                    1_000_000 + seq
                )
            };
            let items = run.iter().map(item).collect::<Vec<_>>().join(",");
            let body = format!(r#"{{"isCut":false,"waiting":1,"items":[{items}]}}"#);
            let after = if begin == first { 0 } else { begin - 1 };
            conn.query_drop(format!(
                "INSERT INTO runs (seq, first, after_at, at, bytes, body)
                 SELECT {end}, {begin}, at + INTERVAL {after} MICROSECOND, at + INTERVAL {end} MICROSECOND, 0, '{body}'
                 FROM feed_head"
            ))
            .await
            .unwrap();
        }
        let head = format!("UPDATE feed_head SET seq = {last}, at = at + INTERVAL {last} MICROSECOND");
        conn.query_drop(head).await.unwrap();
        conn.query_drop("COMMIT").await.unwrap();
    };
    let resyncs = || one.metric("feed_resyncs_total");
    numbered(2, 3_000).await;
    eventually(LONG, || async { one.feed.position() == 3_000 }).await;
    assert_eq!(resyncs(), 0, "they are read page after page");
    assert!(
        matches!(one.feed.cursor_later(0, ANN, all(cursor)).await.unwrap(), CursorPoll::Reset),
        "it holds 16"
    );
    numbered(3_001, 30_000).await;
    eventually(LONG, || async { one.feed.position() == 30_000 }).await;
    assert_eq!(resyncs(), 1, "more than is kept is not read");
    let last = one.feed.cursor(0, ANN).unwrap();
    let message = post(&one, conversation, "after all").await;
    let cursor = Cursor { user: cursor.user, ..last };
    assert_eq!(ids(&one.news(ANN, cursor).await.0["messages"]), [message]);
}
