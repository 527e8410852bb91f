//! The packet that numbers is cut off: at any byte, at any reply, while it waits for a lock, and with its whole process.
//! All of it is done then or nothing, and the feed goes on.

use std::sync::Arc;
use std::time::Duration;

use hyperdesk::db::Dedicated;
use hyperdesk::feed;
use hyperdesk::helpdesk::store::changes as store;
use mysql_async::prelude::Queryable;
use tokio::sync::Semaphore;

use super::{Instance, LONG, SOON, migrate, pool};
use crate::support::schema::CHANGES;
use crate::support::{Hyperdesk, Proxy, Random, Schema, Server, eventually};

/// Rows that one packet numbers.
const ROWS: u64 = 3;
/// Processes that are ended in a run of the suite, and as many as `ENDS` says by hand.
const ENDS: usize = 20;
/// Changes for each of them. So many, and not so many a second: each start reads all that was numbered before, which
/// would be ever more on a machine that takes longer for it.
const CHANGES_FOR_EACH: usize = 200;

async fn record(schema: &Schema) {
    for _ in 0..ROWS {
        schema.execute("INSERT INTO outbox (kind, conversation_id) VALUES ('message', 999999)").await;
    }
}

/// Every number up to the head has its change, in order and once, and no change is lost.
async fn is_whole(schema: &Schema, recorded: u64) -> bool {
    let (head, count, newest, ids, open): (u64, u64, u64, u64, u64) = schema
        .query_one(format!(
            "SELECT h.seq, COUNT(changes.seq), COALESCE(MAX(changes.seq), 0), COUNT(DISTINCT changes.id),
                 (SELECT COUNT(*) FROM outbox)
             FROM feed_head h LEFT JOIN {CHANGES} ON TRUE GROUP BY h.seq",
        ))
        .await;
    (head, head, head, recorded) == (count, newest, ids, head + open)
}

/// Has a packet sent and cut off by `cut`, which is told how many bytes it has.
async fn cut_off(schema: &Schema, proxy: &Proxy, recorded: &mut u64, cut: impl FnOnce(&Proxy)) {
    record(schema).await;
    *recorded += ROWS;
    let db = pool(&schema.url_via(proxy.addr()));
    let mut connection = Dedicated::open(&db).await.expect("a connection");
    let found = store::outbox(&mut connection, ROWS as usize).await.expect("what is to be numbered");
    let ids = found.rows.ids;
    assert!(!ids.is_empty());
    let item = |id: &u64| format!(r#"{{"id":{id},"kind":"message","conversation":999999}}"#);
    let items = ids.iter().map(item).collect::<Vec<_>>().join(",");
    let body = format!(r#"{{"isCut":false,"waiting":0,"items":[{items}]}}"#);
    cut(proxy);
    let _cut_off = feed::store::sequence(&mut connection, found.head, &ids, 0, body.as_bytes()).await;
    drop(connection);
    proxy.pass();
    eventually(SOON, || is_whole(schema, *recorded)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_reply_and_at_every_byte() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let proxy = Proxy::start(server.addr());
    let mut recorded = 0;
    // The packet itself is the first; its statements' replies come after it.
    for packets in 1..=16 {
        cut_off(&schema, &proxy, &mut recorded, |proxy| proxy.cut_after_packets(packets)).await;
    }
    let text = include_str!("../../../sql/feed/sequence.sql");
    for bytes in (1..text.len() as u64 + 600).step_by(31) {
        cut_off(&schema, &proxy, &mut recorded, |proxy| proxy.cut_after_bytes(bytes)).await;
    }
    let one = Instance::start(&schema).await;
    eventually(LONG, || async { one.feed.position() == recorded }).await;
    assert_eq!(one.metric("feed_holes_total"), 0);
}

/// The client is gone when the server comes to send its replies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_waits_for_the_head() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let proxy = Proxy::start(server.addr());
    let one = Instance::at(&schema.url_via(proxy.addr()), &[]).await;
    eventually(SOON, || async { one.feed.watermark().is_some() }).await;
    let mut admin = schema.admin().await;
    for round in 1..=20 {
        let mut holder = schema.admin().await;
        holder.query_drop("START TRANSACTION").await.unwrap();
        holder.query_drop("SELECT seq FROM feed_head WHERE id = 1 FOR UPDATE").await.unwrap();
        record(&schema).await;
        one.feed.nudge();
        let mut waits = false;
        while !waits {
            let all: Vec<mysql_async::Row> = admin.query("SHOW FULL PROCESSLIST").await.unwrap();
            let text = |row: &mysql_async::Row| row.get::<Option<String>, usize>(7).flatten();
            waits = all.iter().any(|row| text(row).is_some_and(|text| text.contains("INTO @feed_at")));
        }
        proxy.cut_all();
        holder.query_drop("ROLLBACK").await.unwrap();
        eventually(LONG, || async { one.feed.position() == round * ROWS }).await;
        assert!(is_whole(&schema, round * ROWS).await, "round {round}");
    }
    assert_eq!(one.metric("feed_holes_total"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_process() {
    let ends = std::env::var("ENDS").ok().map_or(ENDS, |given| given.parse().expect("a number"));
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let mut random = Random::new();
    let budget = Arc::new(Semaphore::new(0));
    let writers = (0..4).map(|_| {
        let (budget, opts) = (budget.clone(), server.admin_opts().db_name(Some(schema.name())));
        tokio::spawn(async move {
            let mut conn = mysql_async::Conn::new(opts).await.unwrap();
            let mut written = 0;
            while let Ok(change) = budget.acquire().await {
                change.forget();
                conn.query_drop("INSERT INTO outbox (kind, conversation_id) VALUES ('message', 999999)")
                    .await
                    .unwrap();
                written += 1;
                // They go on while a process ends, and are not all there before it.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            written
        })
    });
    let writers: Vec<_> = writers.collect();
    let start = || Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").env("DRAIN_SECONDS", 1).start();
    let (mut one, mut two) = tokio::join!(start(), start());
    for end in 0..ends {
        let desk = if end % 2 == 0 { &mut one } else { &mut two };
        budget.add_permits(CHANGES_FOR_EACH);
        let left = usize::try_from(random.number(0..=CHANGES_FOR_EACH as u64 / 2)).unwrap();
        eventually(LONG, || async { budget.available_permits() <= CHANGES_FOR_EACH / 2 + left }).await;
        if random.chance(2) {
            desk.kill();
        } else {
            desk.terminate();
            desk.wait_exit(LONG).await;
        }
        desk.start_again().await;
        let numbered = || async { desk.metric("feed_position").await > Some(0.0) };
        eventually(LONG, numbered).await;
    }
    budget.close();
    let mut written: u64 = 0;
    for writer in writers {
        written += writer.await.expect("a writer");
    }
    for desk in [&one, &two] {
        eventually(LONG, || async { desk.metric("feed_position").await == Some(written as f64) }).await;
        assert_eq!(desk.metric("feed_holes_total").await, Some(0.0));
    }
    assert!(is_whole(&schema, written).await);
    println!("{written} changes, {ends} ends");
}
