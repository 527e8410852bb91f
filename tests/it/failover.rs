//! The writer is failed over to a server that followed it, under load, and the feed goes on there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::helpdesk::{ask, each, say};
use crate::support::{Hyperdesk, Pair, Proxy, Schema, User, eventually};

const LONG: Duration = Duration::from_secs(40);
const WRITERS: usize = 4;
/// Messages before the failover, and after it.
const ENOUGH: usize = 40;

/// Posts for as long as it is on; the ids of what was acknowledged.
async fn write(ann: User, conversation: String, on: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    while on.load(Ordering::Relaxed) {
        let fields = json!({"conversationId": conversation, "content": format!("{}", acknowledged.len())});
        let answer = ann.post("/messages", fields).await;
        match answer.status {
            201 => acknowledged.push(answer.json()["id"].as_str().unwrap().to_owned()),
            503 => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("{other}: {}", answer.text()),
        }
    }
    acknowledged
}

/// Two instances, and the database that they will lose: a writer, and a server that follows it.
///
/// The fields are dropped in this order: the instances before what they use.
struct Failover {
    desks: [Hyperdesk; 2],
    schema: Schema,
    /// How the instances reach their writer, as by a name that the failover moves.
    way: Proxy,
    pair: Pair,
    /// Signed in at the first instance, where she asked something.
    ann: User,
    conversation: String,
}

impl Failover {
    async fn prepare() -> Self {
        let pair = Pair::start_with(&[]).await;
        let schema = Schema::on(&pair.writer).await;
        let way = Proxy::start(pair.writer.addr());
        let url = schema.url_via(way.addr());
        let start =
            || Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").env("DATABASE_URL", &url).start();
        let desks = [start().await, start().await];
        let ann = User::register(desks[0].addr(), "ann").await;
        let conversation = ask(&ann, "printer").await;
        Self { desks, schema, way, pair, ann, conversation }
    }

    /// The server that followed is the writer from now on, and the instances are led to it.
    async fn promote(&self) {
        self.pair.promote().await;
        self.way.set_upstream(self.pair.reader.addr());
    }
}

async fn posted(schema: &Schema) -> u64 {
    schema.query_one("SELECT COUNT(*) FROM messages").await
}

/// The same person over a connection of its own.
fn anew(user: &User, desk: &Hyperdesk) -> User {
    User {
        id: user.id,
        username: user.username.clone(),
        password: user.password.clone(),
        token: user.token.clone(),
        cookie: user.cookie.clone(),
        client: desk.client(),
    }
}

/// Everything after a cursor, polled for until it is so many messages.
async fn all_after(user: &User, cursor: &str, count: usize) -> Vec<String> {
    let (mut cursor, mut ids) = (cursor.to_owned(), Vec::new());
    let deadline = std::time::Instant::now() + LONG;
    while ids.len() < count {
        assert!(std::time::Instant::now() < deadline, "{} of {count}", ids.len());
        let answer = user.get(&format!("/api/updates?cursor={cursor}&wait=2")).await;
        match answer.status {
            200 => {
                let news = answer.json();
                ids.extend(each(&news["messages"], "id").into_iter().map(str::to_owned));
                cursor = news["cursor"].as_str().unwrap().to_owned();
            }
            204 | 503 => {}
            other => panic!("{other}: {}", answer.text()),
        }
    }
    ids
}

/// Whether the old writer is still there, and only writes no more.
async fn nothing_acknowledged_is_lost(is_alive: bool) {
    let failover = Failover::prepare().await;
    let Failover { pair, schema, desks, ann, conversation, .. } = &failover;
    pair.in_step().await;
    pair.synchronise().await;
    let cursor =
        ann.get("/api/updates").await.expect_status(200).json()["cursor"].as_str().unwrap().to_owned();

    let on = Arc::new(AtomicBool::new(true));
    let writers = (0..WRITERS).map(|number| {
        let ann = anew(ann, &desks[number % 2]);
        tokio::spawn(write(ann, conversation.clone(), on.clone()))
    });
    let writers: Vec<_> = writers.collect();
    eventually(LONG, || async { posted(schema).await >= ENOUGH as u64 }).await;
    if is_alive {
        pair.demote().await;
    } else {
        pair.writer.kill();
    }
    failover.promote().await;
    let later = schema.at(&pair.reader).await;
    let before = posted(&later).await;
    eventually(LONG, || async { posted(&later).await >= before + ENOUGH as u64 }).await;
    on.store(false, Ordering::Relaxed);
    let acknowledged: Vec<String> =
        join_all(writers).await.into_iter().flat_map(|done| done.expect("a writer")).collect();

    let stored: Vec<String> = later.query("SELECT CAST(id AS CHAR) FROM messages").await;
    for id in &acknowledged {
        assert!(stored.contains(id), "message {id} was acknowledged and is lost");
    }
    // Each change once, on either instance, after a cursor from before.
    for desk in desks {
        let mut ids = all_after(&anew(ann, desk), &cursor, stored.len()).await;
        ids.sort();
        let mut expected = stored.clone();
        expected.sort();
        assert_eq!(ids, expected);
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_a_writer_that_is_demoted() {
    nothing_acknowledged_is_lost(true).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_a_writer_that_dies() {
    nothing_acknowledged_is_lost(false).await;
}

/// It has no write that would be refused, and the old writer still answers what it reads there.
#[tokio::test]
async fn an_instance_that_only_reads_leaves_a_writer_that_was_demoted() {
    let failover = Failover::prepare().await;
    let Failover { pair, desks, ann, conversation, .. } = &failover;
    let there = anew(ann, &desks[1]);
    let cursor = last_cursor(&there, conversation, "before").await;
    let messages = format!("/conversations/{conversation}/messages");
    let known = async || there.get(&messages).await.expect_status(200).json().as_array().unwrap().len();
    assert_eq!(known().await, 1);
    pair.in_step().await;
    pair.demote().await;
    failover.promote().await;
    let new = loop {
        let fields = json!({"conversationId": conversation, "content": "after"});
        let answer = ann.post("/messages", fields).await;
        match answer.status {
            201 => break answer.json()["id"].as_str().unwrap().to_owned(),
            503 => tokio::task::yield_now().await,
            other => panic!("{other}: {}", answer.text()),
        }
    };
    assert_eq!(all_after(&there, &cursor, 1).await, [new]);
    assert_eq!(known().await, 2);
    ann.post("/auth/logout", json!({})).await.expect_status(200);
    eventually(LONG, || async { there.get("/auth/me").await.status == 401 }).await;
}

/// It lacks the last changes, whose numbers come again: a position among them is of no use any more.
#[tokio::test]
async fn positions_of_what_the_new_writer_lacks_are_refused() {
    let failover = Failover::prepare().await;
    let Failover { pair, desks, ann, conversation, .. } = &failover;
    // Numbered by then: a cursor of the state alone is from before it was read.
    let kept = last_cursor(ann, conversation, "kept").await;
    pair.in_step().await;
    pair.stop().await;
    let lost = last_cursor(ann, conversation, "lost").await;
    pair.writer.kill();
    failover.promote().await;
    let after = |user: &User, cursor: &str| {
        let (user, path) = (anew(user, &desks[0]), format!("/api/updates?cursor={cursor}"));
        async move { user.get(&path).await }
    };
    eventually(LONG, || async { after(ann, &lost).await.status == 410 }).await;
    let new = say(ann, conversation, "new").await;
    for desk in desks {
        let ann = anew(ann, desk);
        eventually(LONG, || async { ann.get(&format!("/api/updates?cursor={lost}")).await.status == 410 })
            .await;
        assert_eq!(all_after(&ann, &kept, 1).await, std::slice::from_ref(&new));
    }
}

/// The cursor that comes with a message that was just posted.
async fn last_cursor(ann: &User, conversation: &str, content: &str) -> String {
    let state = ann.get("/api/updates").await.expect_status(200).json();
    let mut cursor = state["cursor"].as_str().unwrap().to_owned();
    let id = say(ann, conversation, content).await;
    loop {
        let answer = ann.get(&format!("/api/updates?cursor={cursor}&wait=5")).await;
        if answer.status != 200 {
            continue;
        }
        let news = answer.json();
        cursor = news["cursor"].as_str().unwrap().to_owned();
        if each(&news["messages"], "id").contains(&id.as_str()) {
            return cursor;
        }
    }
}
