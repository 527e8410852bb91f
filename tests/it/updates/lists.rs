//! The queue's lists cannot be loaded, and each attempt fails at once.

use std::time::Duration;

use serde_json::json;

use crate::helpdesk::ask;
use crate::support::{Hyperdesk, Schema, Server, User, eventually};

const LONG: Duration = Duration::from_secs(20);
/// What one poll's wait may cost the database: attempts at the lists and at the feed, each with its connection.
const STATEMENTS_MAX: u64 = 200;

/// Statements that the server was asked so far, those that it refused included.
async fn asked(schema: &Schema) -> u64 {
    let counts =
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_select', 'Com_stmt_prepare', 'Com_stmt_execute')";
    let counts = schema.query::<(String, u64)>(counts).await;
    counts.iter().map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a_list_that_fails_at_once_is_asked_again_after_pauses_and_says_why() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let since = schema.query_one::<String>("SELECT DATE_FORMAT(NOW(6), '%Y-%m-%dT%H:%i:%s.%fZ')").await;
    ask(&ann, "printer").await;
    eventually(LONG, || async { desk.metric("feed_position").await == Some(1.0) }).await;
    let path = format!("/api/expert-queue/updates?since={since}");
    schema.execute("RENAME TABLE conversations TO gone").await;

    let before = asked(&schema).await;
    let refused = ann.get(&path).await.expect_status(503);
    assert!(refused.header("retry-after").is_some());
    let asked = asked(&schema).await - before;
    assert!(asked <= STATEMENTS_MAX, "{asked} statements for one poll");
    let failures = desk.metric("feed_list_failures_total").await.unwrap();
    assert!((2.0..=12.0).contains(&failures), "{failures} failures");

    // Said once for the outage, and by each poll that it cost.
    let about = |text: &'static str| desk.logs().count(|line| line.message().contains(text));
    eventually(LONG, || async {
        desk.logs().count(|line| {
            let cause = line.str("cause").unwrap_or_default();
            line.message() == "request failed"
                && cause.contains("lists cannot be loaded")
                && cause.contains("exist")
        }) == 1
    })
    .await;
    assert_eq!(about("the queue's lists cannot be loaded"), 1);

    schema.execute("RENAME TABLE gone TO conversations").await;
    eventually(LONG, || async { ann.get(&path).await.status == 200 }).await;
    eventually(LONG, || async { about("the queue's lists can be loaded again") == 1 }).await;
    let queue = ann.get(&path).await.expect_status(200).json();
    assert_eq!(queue[0]["waitingConversations"][0]["title"], json!("printer"));
}
