//! `Idempotency-Key`.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::json;

use super::{Desk, ask};
use crate::support::{Client, Hyperdesk, Response, User, eventually};

const SOON: Duration = Duration::from_secs(20);

async fn post(user: &User, path: &str, key: &str, body: serde_json::Value) -> Response {
    user.request("POST", path).header("idempotency-key", key).json(body).send().await
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_makes_nothing() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let body = json!({"title": "printer"});
    let first = post(&ann, "/conversations", "key-1", body.clone()).await.expect_status(201);
    let repeat = post(&ann, "/conversations", "key-1", body.clone()).await.expect_status(201);
    assert_eq!(first.text(), repeat.text());
    let other = post(&ann, "/conversations", "key-1", json!({"title": "mouse"})).await.expect_status(409);
    assert!(other.json()["error"].is_string());
    // A key is its user's and its route's own.
    let his = post(&bob, "/conversations", "key-1", body.clone()).await.expect_status(201);
    assert_ne!(his.json()["id"], first.json()["id"]);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let message = json!({"conversationId": id, "content": "hello"});
    let one = post(&ann, "/messages", "key-1", message.clone()).await.expect_status(201);
    let two = post(&ann, "/messages", "key-1", message.clone()).await.expect_status(201);
    assert_eq!(one.text(), two.text());
    post(&ann, "/messages", "key-1", json!({"conversationId": id, "content": "bye"}))
        .await
        .expect_status(409);
    post(&ann, "/messages", "key-2", message).await.expect_status(201);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM conversations").await, 2);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await, 2);
    for key in [String::new(), "k".repeat(256)] {
        post(&ann, "/conversations", &key, body.clone()).await.expect_status(400);
    }
    post(&ann, "/conversations", &"k".repeat(255), body).await.expect_status(201);
}

#[tokio::test]
async fn a_refused_request_keeps_no_key() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    post(&ann, "/messages", "k", json!({"conversationId": id, "content": ""})).await.expect_status(422);
    post(&ann, "/messages", "k", json!({"conversationId": "999", "content": "x"})).await.expect_status(404);
    post(&ann, "/messages", "k", json!({"conversationId": id, "content": "x"})).await.expect_status(201);
    post(&ann, "/conversations", "k", json!({})).await.expect_status(422);
    post(&ann, "/conversations", "k", json!({"title": "x"})).await.expect_status(201);
}

#[tokio::test]
async fn repeats_at_once_over_two_processes_make_one_message() {
    let desk = Desk::start().await;
    let other = desk.second().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    for round in 0..20 {
        let key = format!("round-{round}");
        let tries = (0..6).map(|number| {
            let addr = if number % 2 == 0 { desk.addr() } else { other.addr() };
            let (key, id, token) = (&key, &id, &ann.token);
            async move {
                let client = Client::new(addr);
                let body = json!({"conversationId": id, "content": "once"});
                let request =
                    client.post("/messages").bearer(token).header("idempotency-key", key).json(body);
                request.send().await
            }
        });
        let answers = futures_util::future::join_all(tries).await;
        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (201, answers[0].text()));
        }
    }
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await, 20);
    assert_eq!(desk.schema.changes("message").await, 20);
}

/// How often an instance ran a statement of the keys.
async fn ran(server: &Hyperdesk, verb: &str) -> f64 {
    let labels = format!(r#"{{statement="helpdesk.idempotency_{verb}"}}"#);
    server.metric(&format!("db_statement_duration_seconds_count{labels}")).await.unwrap_or_default()
}

/// Keys of the ages 0 h, 1 h, … 999 h.
async fn old_keys(desk: &Desk) {
    desk.schema
        .execute(
            "INSERT INTO idempotency_keys (user_id, key_hash, request_hash, response, created_at)
             WITH RECURSIVE ages AS (SELECT 0 AS age UNION ALL SELECT age + 1 FROM ages WHERE age < 999)
             SELECT 1, UNHEX(LPAD(HEX(age), 64, '0')), UNHEX(LPAD('', 64, '0')), '{}', NOW(6) - INTERVAL age HOUR
             FROM ages",
        )
        .await;
}

#[tokio::test]
async fn keys_are_forgotten_after_a_day_by_one_instance_at_a_time() {
    let desk = Desk::start().await;
    eventually(SOON, || async { ran(&desk.server, "purge").await == 1.0 }).await;
    old_keys(&desk).await;

    // Somebody else is at it: nothing is touched.
    let mut other = desk.schema.connect().await;
    let lock = "SELECT GET_LOCK(CONCAT('hyperdesk.idempotency.', LEFT(SHA2(DATABASE(), 256), 32)), 0)";
    assert_eq!(other.query_first::<u64, _>(lock).await.unwrap(), Some(1));
    let second = desk.second().await;
    eventually(SOON, || async { ran(&second, "lock").await == 1.0 }).await;
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM idempotency_keys").await, 1000);

    // The lock goes with its connection, and steps follow until nothing is left to forget.
    drop(other);
    let free = "SELECT IS_FREE_LOCK(CONCAT('hyperdesk.idempotency.', LEFT(SHA2(DATABASE(), 256), 32)))";
    eventually(SOON, || async { desk.schema.query_one::<u64>(free).await == 1 }).await;
    let third = desk.second().await;
    eventually(SOON, || async { ran(&third, "purge").await == 3.0 }).await;
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM idempotency_keys").await, 24);
    assert_eq!(ran(&second, "purge").await, 0.0);
    // It holds nobody up afterwards: the connection is closed with the round.
    eventually(SOON, || async { desk.schema.query_one::<u64>(free).await == 1 }).await;
}
