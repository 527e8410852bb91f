//! What an idle poll asks the database: nothing, in whichever way a client asks.

use hyperdesk::clock::Timestamp;

use super::{SOON, after, last_cursor};
use crate::helpdesk::{ask, say};
use crate::support::{EventStream, Hyperdesk, Schema, Server, User, eventually};

const POLLS: u64 = 100;
/// What the instance itself may ask meanwhile besides its tail and its look at the users, such as a purge.
const OTHERS: u64 = 10;
const PATHS: [&str; 3] = ["/api/conversations/updates", "/api/messages/updates", "/api/expert-queue/updates"];

struct Count {
    executed: u64,
    tasks: u64,
}

/// Statements that the server executed, and those of them that grow with time and not with polls: one for each look
/// and each read of the tail, two for each look at users and sign-outs, and one for each look at the schema.
async fn count(schema: &Schema, desk: &Hyperdesk) -> Count {
    let (_, executed): (String, u64) = schema.query_one("SHOW GLOBAL STATUS LIKE 'Com_stmt_execute'").await;
    let looks = desk.metric("feed_tail_looks_total").await.unwrap();
    let reads = desk.metric("feed_tail_reads_total").await.unwrap();
    let asked = async |statement: &str| {
        let count = format!("db_statement_duration_seconds_count{{statement=\"{statement}\"}}");
        desk.metric(&count).await.unwrap_or_default()
    };
    let users = 2.0 * asked("users.newest").await;
    // The schema is looked at again only after a while.
    let schemas = asked("migrations.breaking").await;
    Count { executed, tasks: (looks + reads + users + schemas) as u64 }
}

/// Polls as idly as `poll` does, and counts.
async fn costs_nothing(what: &str, schema: &Schema, desk: &Hyperdesk, polls: u64, poll: impl AsyncFn()) {
    poll().await; // a first one may have to be looked up
    let before = count(schema, desk).await;
    for _ in 0..polls {
        poll().await;
    }
    let after = count(schema, desk).await;
    let executed = after.executed - before.executed;
    let tasks = after.tasks - before.tasks;
    assert!(
        executed <= tasks + OTHERS,
        "{what}: {executed} statements for {polls} polls, {tasks} of the tasks"
    );
}

#[tokio::test]
async fn no_kind_of_idle_poll_asks_the_database() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let desk =
        Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").env("FEED_WINDOW_EVENTS", 16).start().await;
    let (ann, bob) = (User::register(desk.addr(), "ann").await, User::register(desk.addr(), "bob").await);
    let eve = User::register(desk.addr(), "eve").await;
    let quiet = ask(&ann, "quiet").await;
    say(&ann, &quiet, "long ago").await;
    let conversation = ann.get(&format!("/conversations/{quiet}")).await.json();
    let messages = ann.get(&format!("/conversations/{quiet}/messages")).await.json();
    let queue = ann.get("/expert/queue").await.json();
    // Behind the window: what is Ann's was evicted long ago, and her client still echoes its time.
    let busy = ask(&bob, "busy").await;
    for number in 0..40 {
        say(&bob, &busy, &format!("{number}")).await;
    }
    let newest = |list: &serde_json::Value, name: &str| list[0][name].as_str().unwrap().to_owned();
    let behind = [
        conversation["updatedAt"].as_str().unwrap().to_owned(),
        newest(&messages, "timestamp"),
        newest(&queue["waitingConversations"], "updatedAt"),
    ];
    let said = bob.get(&format!("/conversations/{busy}/messages")).await.json();
    let last = said.as_array().unwrap().last().unwrap()["timestamp"].as_str().unwrap().to_owned();
    for (path, behind) in PATHS.into_iter().zip(&behind) {
        let is_queue = path.contains("queue");
        let get = async |user: &User, since: &str| {
            let answer = user.get(&format!("{path}?since={since}")).await.expect_status(200);
            // The queue of everybody moved on with the busy conversation.
            assert!(is_queue || answer.text() == "[]", "{path}?since={since}: {}", answer.text());
        };
        costs_nothing(&format!("{path}: echo"), &schema, &desk, POLLS, async || get(&bob, &last).await).await;
        let clock = async || get(&eve, &Timestamp::now().to_string()).await;
        costs_nothing(&format!("{path}: clock"), &schema, &desk, POLLS, clock).await;
        let fast = async || {
            let since = Timestamp::from_micros(Timestamp::now().micros() + 300_000_000);
            get(&eve, &since.to_string()).await;
        };
        costs_nothing(&format!("{path}: fast clock"), &schema, &desk, POLLS, fast).await;
        if !is_queue {
            // The database reaches back further than asked; what it said is remembered.
            ann.get(&format!("{path}?since={behind}")).await.expect_status(200);
            let get = async || get(&ann, behind).await;
            costs_nothing(&format!("{path}: behind the window"), &schema, &desk, POLLS, get).await;
            // Of several clients of one user, too, each of which asks by a time of its own from before the feed began.
            let behind = Timestamp::parse_lenient(behind).unwrap().micros();
            let tabs =
                (3_601..=3_609).map(|tab| Timestamp::from_micros(behind - tab * 1_000_000).to_string());
            let tabs: Vec<String> = tabs.collect();
            let mut asked = Vec::new();
            for _ in 0..3 {
                for since in &tabs {
                    eve.get(&format!("{path}?since={since}")).await.expect_status(200);
                }
                asked.push(desk.metric("feed_polls_from_database_total").await.unwrap());
            }
            assert!(asked[2] == asked[0], "{path}: several clients: the database was asked {asked:?} times");
        }
    }
    let asked = desk.metric("feed_polls_from_database_total").await.unwrap();
    assert!(asked >= 2.0, "behind the window the database is asked, once: {asked}");
    let cursor = last_cursor(&eve).await;
    let poll = async || drop(after(&eve, &cursor).await.expect_status(200));
    costs_nothing("cursor", &schema, &desk, POLLS, poll).await;
    let held = async || drop(after(&eve, &format!("{cursor}&wait=1")).await.expect_status(204));
    costs_nothing("held", &schema, &desk, 2, held).await;
    let stream = async || {
        let stream = EventStream::open(desk.addr(), &eve.token, Some(&cursor)).await.unwrap();
        assert_eq!(stream.status, 200);
        eventually(SOON, || async { desk.metric("feed_waiters").await == Some(1.0) }).await;
        drop(stream);
        eventually(SOON, || async { desk.metric("feed_waiters").await == Some(0.0) }).await;
    };
    costs_nothing("stream", &schema, &desk, 20, stream).await;
}
