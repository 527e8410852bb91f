//! From a row for each change (`events`) to runs: what waits for its number is told after the upgrade, who has the newest
//! position goes on, and neither version serves the other's schema.

use std::time::Duration;

use hyperdesk::db::migrations::MIGRATIONS;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use super::migrates;
use crate::support::schema::numbers;
use crate::support::{Hyperdesk, Schema, User, eventually};

const LONG: Duration = Duration::from_secs(60);
/// More than one run takes.
const WAITING: u64 = 10_000;

/// As the version before numbered: it read the head, and what it found is one change.
const OLD_PACKET: &str = "START TRANSACTION;
SET @feed_at = NULL;
SELECT GREATEST(NOW(6), at + INTERVAL 1 MICROSECOND) INTO @feed_at FROM feed_head WHERE id = 1 AND seq = 1 FOR UPDATE;
INSERT INTO events (seq, at, id, kind, conversation_id, message_id, expert_id, sid, sid_expires_at)
SELECT 2, @feed_at, o.id, o.kind, o.conversation_id, o.message_id, o.expert_id, o.sid, o.sid_expires_at
FROM outbox o WHERE @feed_at IS NOT NULL ORDER BY o.id LIMIT 1;
DELETE FROM outbox WHERE @feed_at IS NOT NULL ORDER BY id LIMIT 1;
UPDATE feed_head SET seq = seq + 1, at = @feed_at WHERE id = 1 AND @feed_at IS NOT NULL;
COMMIT";

async fn cursor(ann: &User) -> String {
    let state = ann.get("/api/updates").await.expect_status(200).json();
    state["cursor"].as_str().unwrap().to_owned()
}

/// Makes of a schema with one numbered change what the version before had.
async fn go_back(schema: &Schema) {
    schema.execute("DROP TABLE runs").await;
    let feed = MIGRATIONS.iter().find(|migration| migration.version == 102).unwrap();
    for statement in feed.statements() {
        schema.execute(statement).await;
    }
    schema
        .execute(
            "INSERT INTO events (seq, at, id, kind, conversation_id)
             SELECT seq, at, 1, 'opened', (SELECT MAX(id) FROM conversations) FROM feed_head",
        )
        .await;
    schema.execute("DELETE FROM hyperdesk_migrations WHERE version = 110").await;
}

#[tokio::test]
async fn what_waits_for_its_number_is_told_after_the_upgrade() {
    let schema = Schema::fresh().await;
    let mut desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let older = cursor(&ann).await;
    let asked = ann.post("/conversations", json!({"title": "Printer"})).await.expect_status(201).json();
    let id: u64 = asked["id"].as_str().unwrap().parse().unwrap();
    let newest = cursor(&ann).await;
    desk.terminate();
    desk.wait_exit(LONG).await;
    go_back(&schema).await;
    // Acknowledged by the version before, and not numbered yet; among them what only that one knows.
    for insert in [
        format!(
            "messages (conversation_id, sender_id, sender_role, content, created_at, updated_at)
             SELECT {id}, {}, 'initiator', CONCAT('m', i), NOW(6), NOW(6) FROM {}",
            ann.id,
            numbers(1, WAITING)
        ),
        "outbox (kind, sid, sid_expires_at) VALUES ('signed_out', REPEAT('s', 16), NOW(6))".to_owned(),
        "outbox (kind, conversation_id, message_id)
         SELECT 'message', conversation_id, id FROM messages ORDER BY id"
            .to_owned(),
    ] {
        schema.execute(format!("INSERT INTO {insert}")).await;
    }

    // This version does not serve before the schema is its own.
    desk.start_again().await;
    let ann = User { client: desk.client(), ..ann };
    let ready = || async { desk.admin_client().get("/ready").send().await };
    eventually(LONG, || async { ready().await.text().contains("lacks the migrations 110") }).await;
    ann.get(&format!("/api/updates?cursor={newest}")).await.expect_status(503);
    migrates(&schema).await;
    eventually(LONG, || async { ready().await.status == 200 }).await;

    // And polls are answered as soon as all of it has its number.
    let all = 1.0 + 1.0 + WAITING as f64;
    eventually(LONG, || async { desk.metric("feed_position").await == Some(all) }).await;

    // Who has the newest position is told all of it, once; who has an older one reads everything anew.
    let (mut at, mut told) = (newest, Vec::new());
    while told.len() < WAITING as usize {
        let news: Value =
            ann.get(&format!("/api/updates?cursor={at}&wait=20")).await.expect_status(200).json();
        let messages = news["messages"].as_array().unwrap();
        told.extend(messages.iter().map(|message| message["content"].as_str().unwrap().to_owned()));
        at = news["cursor"].as_str().unwrap().to_owned();
    }
    let expected: Vec<String> = schema.query("SELECT content FROM messages ORDER BY id").await;
    assert_eq!(told, expected);
    ann.get(&format!("/api/updates?cursor={older}")).await.expect_status(410);
    assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM outbox").await, 0);
    assert_eq!(desk.metric("feed_holes_total").await, Some(0.0));
}

#[tokio::test]
async fn an_instance_of_the_version_before_numbers_nothing_on_the_new_schema() {
    let schema = Schema::fresh().await;
    migrates(&schema).await;
    schema.execute("UPDATE feed_head SET seq = 1").await;
    schema.execute("INSERT INTO outbox (kind, conversation_id) VALUES ('opened', 1)").await;
    let mut conn = schema.connect().await;
    let done = conn.query_drop(OLD_PACKET).await;
    assert!(done.is_err_and(|error| error.to_string().contains("events")));
    drop(conn);
    let left: (u64, u64) = schema.query_one("SELECT seq, (SELECT COUNT(*) FROM outbox) FROM feed_head").await;
    assert_eq!(left, (1, 1), "nothing is passed over");
}
