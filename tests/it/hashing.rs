//! Passwords are hashed dearly, a few at a time, and hold nobody else up.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use crate::helpdesk::Desk;
use crate::support::Client;

#[tokio::test]
async fn a_new_hash_is_argon2id_with_its_parameters_and_a_salt_of_its_own() {
    let desk = Desk::start().await;
    for name in ["ann", "bob"] {
        let fields = json!({"username": name, "password": "the same secret"});
        desk.client().post("/auth/register").json(fields).send().await.expect_status(201);
    }
    let digests: Vec<String> = desk.schema.query("SELECT password_digest FROM users ORDER BY id").await;
    for digest in &digests {
        let parts: Vec<&str> = digest.split('$').collect();
        assert_eq!(parts[..4], ["", "argon2id", "v=19", "m=19456,t=2,p=1"], "{digest}");
        assert!(parts[4].len() >= 22 && parts[5].len() >= 43, "{digest}");
    }
    assert_ne!(digests[0], digests[1]);
    assert_eq!(desk.server.logs().count(|line| line.text.contains("the same secret")), 0);
}

/// A crowd of people registers at once: more than the queue holds, and more than can be hashed in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_go_on_while_hundreds_register() {
    const PEOPLE: usize = 500;
    let desk = Desk::start_with(&[("HASH_CONCURRENCY", "1")]).await;
    let ann = desk.user("ann").await;
    let addr = desk.addr();
    let over = AtomicBool::new(false);
    let crowd = async {
        let people = (0..PEOPLE).map(|number| async move {
            let fields = json!({"username": format!("person-{number}"), "password": "secret"});
            Client::new(addr).post("/auth/register").json(fields).send().await
        });
        let answers = futures_util::future::join_all(people).await;
        over.store(true, Relaxed);
        answers
    };
    let polls = async {
        let client = Client::new(addr);
        let mut slowest = Duration::ZERO;
        let mut count = 0;
        while !over.load(Relaxed) {
            for path in
                ["/health", "/api/conversations/updates?since=2026-01-01T00:00:00", "/api/messages/updates"]
            {
                let answer = client.get(path).bearer(&ann.token).send().await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                slowest = slowest.max(answer.took);
                count += 1;
            }
        }
        (count, slowest)
    };
    let watch = async {
        let mut most = 0.0_f64;
        let mut queued = 0.0_f64;
        while !over.load(Relaxed) {
            most = most.max(desk.server.metric("auth_hash_running").await.unwrap());
            queued = queued.max(desk.server.metric("auth_hash_queue_length").await.unwrap());
        }
        (most, queued)
    };
    let (answers, (count, slowest), (most, queued)) = tokio::join!(crowd, polls, watch);
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (503, r#"{"error":"Service temporarily unavailable"}"#)
        );
        assert!((1..=60).contains(&answer.header("retry-after").unwrap().parse::<u32>().unwrap()));
    }
    println!(
        "{made} registered, {} sent away, {count} polls, slowest {slowest:?}, queue {queued}",
        PEOPLE - made
    );
    assert!(made > 0 && count > 30, "{made} {count}");
    assert_eq!(most, 1.0, "never more than HASH_CONCURRENCY at a time");
    assert!(queued <= 512.0);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let users: usize = desk.schema.query_one("SELECT COUNT(*) FROM users").await;
    let profiles: usize = desk.schema.query_one("SELECT COUNT(*) FROM expert_profiles").await;
    assert!(users > made && profiles == users, "{users} users, {profiles} profiles, {made} told");
    // And when the crowd has gone all is as before.
    let fields = json!({"username": "late", "password": "secret"});
    desk.client().post("/auth/register").json(fields).send().await.expect_status(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_queue_people_are_sent_away_at_once() {
    let desk = Desk::start_with(&[("HASH_CONCURRENCY", "1"), ("DB_POOL_SIZE", "20")]).await;
    let ann = desk.user("ann").await;
    let addr = desk.addr();
    // Names that nobody has need no look at the pool for long: they all come to the queue together.
    let people = (0..1_000).map(|number| async move {
        let fields = json!({"username": format!("nobody-{number}"), "password": "secret"});
        Client::new(addr).post("/auth/login").json(fields).send().await
    });
    let answers = futures_util::future::join_all(people).await;
    let turned_away: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 503)));
    assert!(turned_away.iter().all(|answer| answer.header("retry-after").is_some()));
    assert!(!turned_away.is_empty(), "one hasher cannot do a thousand in time");
    let rejected = desk.server.metric("auth_hash_rejected_total").await.unwrap();
    println!("{} sent away, {rejected} of them by the queue", turned_away.len());
    assert!(rejected > 0.0);
    ann.get("/conversations").await.expect_status(200);
}
