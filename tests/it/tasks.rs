//! Every background task is supervised: a panic planted in each, in the real process.
//!
//! Planted by `/panic/<task>` of the admin port, which debug builds have: nothing else makes each of them panic at
//! will, and so shows that none is forgotten. A release build has no such URL, and these tests are not in one.

use std::collections::BTreeSet;
use std::time::Duration;

use hyperdesk::clock::Timestamp;

use crate::helpdesk::{ask, say};
use crate::support::logs::Line;
use crate::support::{Hyperdesk, Proxy, Schema, User, eventually};

const SOON: Duration = Duration::from_secs(20);
/// EX_SOFTWARE.
const SOFTWARE: i32 = 70;

/// Those that requests cannot do without, while they run.
const NEEDED: [&str; 7] = [
    "feed_tail",
    "feed_lists",
    "feed_silence",
    "stock_sell",
    "stock_tell",
    "stock_revocations",
    "users_look",
];
/// Those whose work can wait.
const HOUSEKEEPING: [&str; 7] = [
    "users_purge",
    "feed_purge",
    "feed_release",
    "idempotency_forget",
    "message_counts",
    "claim_lease",
    "board_sweep",
];

async fn plant(desk: &Hyperdesk, task: &str) {
    desk.admin_client().get(&format!("/panic/{task}")).send().await.expect_status(200);
}

async fn restarts(desk: &Hyperdesk, task: &str) -> f64 {
    let series = format!(r#"background_task_restarts_total{{task="{task}"}}"#);
    desk.metric(&series).await.expect("it is counted from the start")
}

/// Plants until the task was there to be hit.
async fn restarted(desk: &Hyperdesk, task: &str) {
    let is_hit = || async {
        plant(desk, task).await;
        restarts(desk, task).await > 0.0
    };
    eventually(SOON, is_hit).await;
    // What panicked where, and what comes of it.
    let cause = format!("planted in {task}");
    let is_told = |message: &str, field: &str, value: &str| {
        let is_it = |line: &Line| {
            line.message() == message
                && line.str("cause") == Some(&cause)
                && line.str(field).is_some_and(|found| found.starts_with(value))
        };
        desk.logs().last(is_it).is_some()
    };
    let are_told = || async {
        is_told("panicked", "location", "src/tasks.rs")
            && is_told("a background task panicked and is started anew", "task", task)
    };
    eventually(SOON, are_told).await;
}

async fn ready(desk: &Hyperdesk) -> (u16, String) {
    let answer = desk.admin_client().get("/ready").send().await;
    (answer.status, answer.text())
}

async fn is_ready(desk: &Hyperdesk) {
    eventually(SOON, || async { ready(desk).await.0 == 200 }).await;
}

#[tokio::test]
async fn each_task_that_panics_is_started_anew() {
    let schema = Schema::fresh().await;
    // A reader that is away is looked for by a task, too.
    let reader = schema.url_via("127.0.0.1:1".parse().unwrap());
    let desk = Hyperdesk::builder(&schema).env("DATABASE_READER_URL", reader);
    let desk = desk.env("CLAIM_LEASE_SECONDS", 3_600).start().await;
    is_ready(&desk).await;
    let ann = User::register(desk.addr(), "ann").await;
    let id = ask(&ann, "printer").await;
    ann.get("/books").await;
    eventually(SOON, || async {
        desk.logs().last(|line| line.text.contains("the reader is away")).is_some()
    })
    .await;
    for task in HOUSEKEEPING.into_iter().chain(["reader_look"]) {
        restarted(&desk, task).await;
        assert_eq!(ready(&desk).await.0, 200, "{task}");
    }
    for task in NEEDED {
        let is_known = || async {
            plant(&desk, task).await;
            ready(&desk).await == (503, "a background task is being started anew\n".to_owned())
        };
        eventually(SOON, is_known).await;
        restarted(&desk, task).await;
        is_ready(&desk).await;
    }
    // Who asks the admin port meanwhile is answered a little later.
    restarted(&desk, "admin").await;

    let page = desk.admin_client().get("/metrics").send().await.text();
    let named = page.lines().filter_map(|line| line.strip_prefix("background_task_restarts_total{task=\""));
    let named: BTreeSet<&str> = named.map(|line| line.split('"').next().unwrap()).collect();
    let known = NEEDED.into_iter().chain(HOUSEKEEPING).chain(["reader_look", "schema_look", "admin"]);
    assert_eq!(named, known.collect(), "every task is tried here");

    // What they do is done as before.
    let before = Timestamp::now();
    say(&ann, &id, "after all").await;
    let found = || async {
        let answer = ann.get(&format!("/api/messages/updates?since={before}")).await;
        answer.status == 200 && answer.text().contains("after all")
    };
    eventually(SOON, found).await;
    let (status, waiting) = {
        let answer = ann.get("/api/expert-queue/updates?since=1970-01-01T00:00:00Z").await;
        (answer.status, answer.text())
    };
    assert!(status == 200 && waiting.contains("printer"), "{status} {waiting}");
    desk.terminate();
    assert_eq!(desk.wait_exit(SOON).await.code(), Some(0));
}

/// While its database is away it looks for the schema.
#[tokio::test]
async fn the_look_for_the_schema_is_started_anew() {
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let desk = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr()));
    proxy.refuse();
    let desk = desk.start().await;
    restarted(&desk, "schema_look").await;
    assert_eq!(ready(&desk).await.0, 503);
    proxy.pass();
    is_ready(&desk).await;
}

#[tokio::test]
async fn an_event_loop_that_panics_ends_the_process() {
    for name in ["loop-0", "loop-1"] {
        let desk = crate::chassis::builder().start().await;
        // Again until the loop is there to be hit: the port listens before the loops run.
        let has_ended = || async {
            let _the_last_may_be_unanswered =
                desk.admin_client().get(&format!("/panic/{name}")).try_send().await;
            desk.exited().is_some()
        };
        eventually(SOON, has_ended).await;
        assert_eq!(desk.wait_exit(SOON).await.code(), Some(SOFTWARE), "{name}");
        desk.logs().finish();
        let last = desk.logs().lines().pop().unwrap();
        assert_eq!(last.message(), "stopped", "{last:?}");
        assert_eq!(last.str("why"), Some(&*format!("{name} panicked: planted in {name}")));
    }
}
