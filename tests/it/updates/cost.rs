//! What a page load of somebody with a long history costs: by the answer, not by the history; and that it is at
//! nobody else's cost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::cut::numbers;
use crate::helpdesk::{ask, say};
use crate::support::{Hyperdesk, Proxy, Response, Schema, Server, User, eventually};

/// Rows examined for each row given.
const EXAMINED_MAX: u64 = 5;
/// What the feed's tail looks at meanwhile, and the checks around a list.
const BESIDES: u64 = 400;
/// What costs no more need not be tried again.
const QUIET_MAX: u64 = 500;
const LONG: Duration = Duration::from_secs(20);
/// Rows of a counted list, at least: or the ratio says nothing.
const ROWS_MIN: u64 = 100;

/// An expert at `conversations` conversations of `messages` messages each, in turn or one conversation after the
/// other; their names are those of `desk`'s users.
async fn fill(schema: &Schema, (ann, eve): (i64, i64), conversations: u64, messages: u64, in_turn: bool) {
    let (all, each) = (numbers(conversations * messages), numbers(conversations));
    let at = if in_turn {
        "i".to_owned()
    } else {
        format!("i MOD {conversations} * {messages} + i DIV {conversations}")
    };
    for insert in [
        format!(
            "conversations (title, status, initiator_id, assigned_expert_id, created_at, updated_at, last_message_at,
                message_count, message_counted_at)
             SELECT 't', 'resolved', {ann}, {eve}, '2026-01-01', '2026-01-03' + INTERVAL i SECOND, '2026-01-03',
                {messages}, '2026-01-03'
             FROM {each}"
        ),
        format!(
            "messages (conversation_id, sender_id, sender_role, content, created_at, updated_at)
             SELECT first.id + i MOD {conversations}, IF(i MOD 2, {ann}, {eve}), 'initiator', 'c',
                '2026-01-02' + INTERVAL {at} SECOND, NOW(6)
             FROM {all} JOIN (SELECT MIN(id) AS id FROM conversations WHERE assigned_expert_id = {eve}) first"
        ),
        format!(
            "expert_assignments (conversation_id, expert_id, status, assigned_at, created_at, updated_at)
             SELECT id, {eve}, 'resolved', updated_at, NOW(6), NOW(6) FROM conversations WHERE assigned_expert_id = {eve}"
        ),
    ] {
        schema.execute(format!("INSERT INTO {insert}")).await;
    }
    for table in ["conversations", "messages", "expert_assignments", "users"] {
        schema.execute(format!("ANALYZE TABLE {table}")).await;
    }
}

/// The answer to `GET path`, and the rows that the server examines for it: also once all tables were opened anew, as the
/// server prepares its statements again then, by what it has kept of them.
async fn examined_by(schema: &Schema, user: &User, path: &str) -> (u64, Response) {
    let (first, _) = least_examined_by(schema, user, path).await;
    schema.execute("FLUSH TABLES").await;
    let (then, answer) = least_examined_by(schema, user, path).await;
    (first.max(then), answer)
}

/// The least of some times, because background tasks read, too, and MySQL's status is itself a table.
async fn least_examined_by(schema: &Schema, user: &User, path: &str) -> (u64, Response) {
    // Once before, so that the statements are prepared and the connection is open.
    let mut answer = user.get(path).await.expect_status(200);
    let (mut cost, mut own) = (u64::MAX, u64::MAX);
    // Until nobody else read: a task that goes through all conversations is done within a second.
    let until = Instant::now() + Duration::from_secs(2);
    let mut tries = 0;
    while tries < 5 || (cost > own.saturating_add(QUIET_MAX) && Instant::now() < until) {
        tries += 1;
        let begun = examined(schema).await;
        let before = examined(schema).await;
        answer = user.get(path).await.expect_status(200);
        let after = examined(schema).await;
        (own, cost) = (own.min(before - begun), cost.min(after - before));
    }
    (cost.saturating_sub(own), answer)
}

/// Rows that the server has examined.
async fn examined(schema: &Schema) -> u64 {
    let status: BTreeMap<String, String> =
        schema.query::<(String, String)>("SHOW GLOBAL STATUS LIKE 'Handler_%'").await.into_iter().collect();
    let counted = |name: &&String| name.starts_with("Handler_read") || *name == "Handler_icp_attempts";
    status.keys().filter(counted).map(|name| status[name].parse::<u64>().unwrap()).sum()
}

async fn register(desk: &Hyperdesk, name: &str) -> User {
    User::register(desk.addr(), name).await
}

#[tokio::test]
async fn a_list_examines_a_few_rows_for_each_that_it_gives_however_long_the_history() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    let ann = register(&desk, "ann").await;
    for (name, conversations, messages, in_turn) in [
        ("small", 100, 100, true),
        ("deep", 30, 1_500, true),
        ("wide", 300, 150, true),
        ("tidy", 300, 150, false),
    ] {
        let eve = register(&desk, name).await;
        fill(&schema, (ann.id, eve.id), conversations, messages, in_turn).await;
        for path in [
            "/api/messages/updates",
            "/api/messages/updates?since=1970-01-01",
            "/api/messages/updates?since=2026-01-02T01:00:00",
            "/api/conversations/updates",
            "/api/conversations/updates?since=1970-01-01",
            "/conversations",
            "/expert/queue",
            "/expert/assignments/history",
        ] {
            let (cost, answer) = examined_by(&schema, &eve, path).await;
            let answer = answer.json();
            let rows = answer.as_array().map_or(0, |list| list.len() as u64);
            assert!(rows >= ROWS_MIN.min(conversations) || path == "/expert/queue", "{name} {path}: {rows}");
            assert!(cost <= EXAMINED_MAX * rows + BESIDES, "{name} {path}: {cost} examined for {rows}");
            println!("{name} {path}: {cost} examined for {rows}");
        }
    }
}

#[tokio::test]
async fn the_queue_costs_what_it_shows_not_what_waits_nor_what_was_done() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    let (ann, eve, zoe) =
        (register(&desk, "ann").await, register(&desk, "eve").await, register(&desk, "zoe").await);
    schema
        .execute(format!(
            "INSERT INTO conversations (title, status, initiator_id, assigned_expert_id, created_at, updated_at)
             SELECT 't', CASE WHEN i < 3000 THEN 'waiting' WHEN i < 6000 THEN 'resolved' ELSE 'active' END, {},
                CASE WHEN i < 3000 THEN NULL WHEN i < 6000 OR i >= 9000 THEN {} ELSE {} END,
                '2026-01-01' + INTERVAL i SECOND, '2026-01-01' + INTERVAL i SECOND
             FROM {}",
            ann.id,
            eve.id,
            zoe.id,
            numbers(9_003)
        ))
        .await;
    schema.execute("ANALYZE TABLE conversations").await;
    // One that has counted them: as it starts.
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    let eve = super::at(&eve, &desk);
    for path in ["/expert/queue", "/api/expert-queue/updates"] {
        let (cost, answer) = examined_by(&schema, &eve, path).await;
        assert!(cost <= EXAMINED_MAX * 103 + BESIDES, "{path}: {cost} examined for 103");
        let queue = answer.json();
        let queue = if queue.is_array() { queue[0].clone() } else { queue };
        let shown = ["waitingConversations", "assignedConversations"]
            .map(|part| queue[part].as_array().unwrap().len());
        assert_eq!(shown, [100, 3], "{path}");
        if path == "/expert/queue" {
            assert_eq!(answer.header("x-total-count"), Some("3000"));
        }
    }
}

#[tokio::test]
async fn many_page_loads_at_once_leave_a_connection_to_whoever_writes() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let proxy = Proxy::start(server.addr());
    let desk = Hyperdesk::builder(&schema)
        .env("SERVICES", "helpdesk")
        .env("DB_POOL_SIZE", 2)
        .env("DATABASE_URL", schema.url_via(proxy.addr()))
        .start()
        .await;
    let (ann, eve, bob) =
        (register(&desk, "ann").await, register(&desk, "eve").await, register(&desk, "bob").await);
    fill(&schema, (ann.id, eve.id), 100, 20, true).await;
    let id = ask(&bob, "printer").await;
    // A page load takes some ten replies, so those that come at once take all connections for longer than anybody
    // waits for one.
    proxy.delay_replies(Duration::from_millis(100));
    let done = AtomicBool::new(false);
    let loads = join_all((0..40).map(|number| {
        let there = super::at(&eve, &desk);
        let path =
            ["/api/messages/updates", "/api/messages/updates?since=1970-01-01", "/conversations"][number % 3];
        let done = &done;
        async move {
            let mut statuses = Vec::new();
            while !done.load(Ordering::Relaxed) {
                statuses.push(there.get(path).await.status);
            }
            statuses
        }
    }));
    let posts = async {
        eventually(LONG, || async { desk.metric("db_heavy_read_wait_seconds_count").await > Some(1.0) })
            .await;
        for number in 0..10 {
            say(&bob, &id, &format!("m{number}")).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let (loads, ()) = tokio::join!(loads, posts);
    let loads = loads.concat();
    assert!(loads.iter().all(|status| [200, 503].contains(status)), "{loads:?}");
    assert!(loads.contains(&200), "{loads:?}");
    proxy.delay_replies(Duration::ZERO);
    let refused = loads.iter().filter(|status| **status == 503).count();
    assert!(desk.metric("db_heavy_reads_refused_total").await <= Some(refused as f64));
    let seen = bob.get(&format!("/conversations/{id}/messages")).await.json();
    assert_eq!((seen.as_array().unwrap().len(), &seen[0]["content"]), (10, &json!("m0")));
}
