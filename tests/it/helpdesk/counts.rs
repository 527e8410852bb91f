//! `messageCount`, by which a client proves that it has every message.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use super::{Desk, ask, claim};
use crate::support::schema::numbers;
use crate::support::{Random, Schema, User, eventually};

const SOON: Duration = Duration::from_secs(20);
/// A server of the version before posts so: it knows no count.
const BUMP_BEFORE: &str = "UPDATE conversations
    SET updated_at = GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND), last_message_at = updated_at,
        unread = unread + 1, unread_from_initiator = unread_from_initiator + 1
    WHERE id = ?";

/// What conversations have, by counting.
async fn truth(schema: &Schema) -> BTreeMap<String, u64> {
    let rows: Vec<(u64, u64)> = schema
        .query("SELECT c.id, COUNT(m.id) FROM conversations c LEFT JOIN messages m ON m.conversation_id = c.id GROUP BY c.id")
        .await;
    rows.into_iter().map(|(id, count)| (id.to_string(), count)).collect()
}

/// Panics unless every conversation in any of these lists tells the truth.
fn check(truth: &BTreeMap<String, u64>, lists: &[&Value], what: &str) {
    for conversation in lists.iter().flat_map(|list| list.as_array().expect("an array")) {
        let id = conversation["id"].as_str().unwrap();
        assert_eq!(conversation["messageCount"].as_u64(), Some(truth[id]), "{what}: {conversation}");
    }
}

/// Posts as a server of the version before does, or fails to.
async fn post_uncounted(schema: &Schema, conversation: &str, asker: i64, commits: bool) {
    let mut conn = schema.connect().await;
    conn.query_drop("SET time_zone = '+00:00'").await.unwrap();
    conn.query_drop("START TRANSACTION").await.unwrap();
    conn.exec_drop(BUMP_BEFORE, (conversation,)).await.unwrap();
    let insert = format!(
        "INSERT INTO messages (conversation_id, sender_id, content, sender_role, created_at, updated_at)
         SELECT id, {asker}, 'old', 'initiator', last_message_at, last_message_at FROM conversations WHERE id = ?"
    );
    conn.exec_drop(insert, (conversation,)).await.unwrap();
    let message = conn.last_insert_id().unwrap();
    let record = "INSERT INTO outbox (kind, conversation_id, message_id) VALUES ('message', ?, ?)";
    conn.exec_drop(record, (conversation, message)).await.unwrap();
    conn.query_drop(if commits { "COMMIT" } else { "ROLLBACK" }).await.unwrap();
    conn.disconnect().await.unwrap();
}

/// One random step of `user`'s, whatever comes of it.
async fn step(desk: &Desk, random: &mut Random, user: &User, ann: &User, id: &str) {
    let posted = json!({"conversationId": id, "content": "x"});
    match random.number(0..12) {
        0 => drop(user.post(&format!("/expert/conversations/{id}/claim"), json!({})).await),
        1 => drop(user.post(&format!("/expert/conversations/{id}/unclaim"), json!({})).await),
        2 if random.chance(4) => {
            drop(user.post(&format!("/expert/conversations/{id}/resolve"), json!({})).await)
        }
        3 => {
            let key = random.name(8);
            for _ in 0..2 {
                let request = user.request("POST", "/messages").header("idempotency-key", &key);
                request.json(&posted).send().await;
            }
        }
        4 => drop(user.post("/messages", json!({"conversationId": id, "content": ""})).await),
        5 => {
            let guarded = json!({"conversationId": id, "content": "x", "lastSeenMessageId": 0});
            drop(user.post("/messages", guarded).await);
        }
        6 => {
            let list = user.get(&format!("/conversations/{id}/messages")).await.json();
            for message in list.as_array().into_iter().flatten().take(2) {
                user.put(&format!("/messages/{}/read", message["id"].as_str().unwrap()), json!({})).await;
            }
        }
        7 => post_uncounted(&desk.schema, id, ann.id, true).await,
        8 => post_uncounted(&desk.schema, id, ann.id, false).await,
        _ => drop(user.post("/messages", &posted).await),
    }
}

/// By whatever way it is asked for, and also while servers of the version before post.
#[tokio::test]
async fn the_count_is_the_truth_after_any_history() {
    let desk = Desk::start().await;
    let other = desk.second().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let far = User::login(other.addr(), "ann", &ann.password).await;
    let mut random = Random::new();
    let mut ids = Vec::new();
    for title in ["a", "b", "c"] {
        ids.push(ask(&ann, title).await);
    }
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    let mut cursor = ann.get("/api/updates").await.json()["cursor"].as_str().unwrap().to_owned();
    for round in 0..30 {
        for _ in 0..4 {
            let id = random.pick(&ids).clone();
            let user = *random.pick(&[&ann, &eve, &far]);
            step(&desk, &mut random, user, &ann, &id).await;
        }
        let truth = truth(&desk.schema).await;
        for user in [&ann, &eve, &far] {
            let what = format!("round {round}, {}", user.username);
            check(&truth, &[&user.get("/conversations").await.json()], &what);
            check(&truth, &[&user.get("/api/conversations/updates").await.json()], &what);
            let queue = user.get("/expert/queue").await.json();
            check(&truth, &[&queue["waitingConversations"], &queue["assignedConversations"]], &what);
            let state = user.get("/api/updates").await.json();
            check(&truth, &[&state["conversations"], &state["queue"]["waiting"]], &what);
        }
        for id in &ids {
            let one = ann.get(&format!("/conversations/{id}")).await.json();
            check(&truth, &[&json!([one])], "one");
        }
        // What the feed told of them one after the other ends there as well.
        let agrees = |seen: &BTreeMap<String, Value>| {
            seen.iter().all(|(id, one)| one["messageCount"].as_u64() == Some(truth[id]))
        };
        let deadline = std::time::Instant::now() + SOON;
        loop {
            let news = ann.get(&format!("/api/updates?cursor={cursor}")).await.json();
            cursor = news["cursor"].as_str().unwrap().to_owned();
            for one in news["conversations"].as_array().unwrap() {
                seen.insert(one["id"].as_str().unwrap().to_owned(), one.clone());
            }
            if agrees(&seen) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "round {round}: {seen:?} is not {truth:?}");
        }
    }
}

/// A post by a server that counts sets right what others have left, and a while after its start a server does.
#[tokio::test]
async fn what_nobody_counted_is_set_right() {
    let uncounted = "SELECT COUNT(*) FROM conversations WHERE NOT (message_counted_at <=> last_message_at)";
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    claim(&eve, &id).await;
    for _ in 0..3 {
        post_uncounted(&desk.schema, &id, ann.id, true).await;
    }
    assert_eq!(desk.schema.query_one::<u64>(uncounted).await, 1);
    assert_eq!(eve.get(&format!("/conversations/{id}")).await.json()["messageCount"], 3);
    super::say(&eve, &id, "x").await;
    assert_eq!(desk.schema.query_one::<u64>(uncounted).await, 0);
    assert_eq!(desk.schema.query_one::<u64>("SELECT message_count FROM conversations").await, 4);

    // As of before there was a count.
    desk.schema
        .execute(format!(
            "INSERT INTO conversations (title, status, initiator_id, created_at, updated_at, last_message_at)
             SELECT 't', 'resolved', {}, '2026-01-01', '2026-01-01', '2026-01-01' + INTERVAL i MICROSECOND FROM {}",
            ann.id,
            numbers(1, 1_100)
        ))
        .await;
    desk.schema
        .execute(
            "INSERT INTO messages (conversation_id, sender_id, sender_role, content, created_at, updated_at)
             SELECT id, initiator_id, 'initiator', 'c', created_at, created_at FROM conversations WHERE title = 't'",
        )
        .await;
    let _another = desk.second().await;
    let are_counted = || async { desk.schema.query_one::<u64>(uncounted).await == 0 };
    // Not at once: it waits until the start is over.
    eventually(6 * SOON, are_counted).await;
    let wrong = "SELECT COUNT(*) FROM conversations WHERE title = 't' AND message_count <> 1";
    assert_eq!(desk.schema.query_one::<u64>(wrong).await, 0);
}
