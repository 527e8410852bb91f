//! Numbers are given once and in order, whoever gives them, is killed while at it, or loses the database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyperdesk::clock::Timestamp;
use hyperdesk::feed::Cursor;
use hyperdesk::feed::poll::CursorPoll;
use hyperdesk::helpdesk::changes::{Class, Feed};
use mysql_async::prelude::Queryable;

use super::{ANN, EVE, Instance, LONG, SOON, all, ids, migrate, migrated, open, parsed, post};
use crate::support::schema::CHANGES;
use crate::support::{Proxy, Random, Schema, Server, eventually};

/// Writers that stall and roll back; each notes what had been acknowledged before it began.
struct Ledger {
    acknowledged: Vec<(u64, u64)>,
}

async fn write(schema: &Schema, on: Arc<AtomicBool>, newest: Arc<AtomicU64>, seed: u64) -> Ledger {
    let mut random = Random::seeded(seed);
    let mut conn = schema.connect().await;
    let mut acknowledged = Vec::new();
    while on.load(Ordering::Relaxed) {
        let cause = newest.load(Ordering::SeqCst);
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("INSERT INTO outbox (kind, conversation_id) VALUES ('message', 999999)")
            .await
            .unwrap();
        let id = conn.last_insert_id().unwrap();
        let stall = if random.chance(30) { 300 } else { random.number(0..8) };
        tokio::time::sleep(Duration::from_millis(stall)).await;
        if random.chance(20) {
            conn.query_drop("ROLLBACK").await.unwrap();
        } else {
            conn.query_drop("COMMIT").await.unwrap();
            acknowledged.push((cause, id));
            newest.store(id, Ordering::SeqCst);
        }
    }
    Ledger { acknowledged }
}

/// Runs writers for a while, meanwhile `hurt`, and checks that all of it is in the feed as it must be.
async fn nothing_is_lost(schema: &Schema, feeds: &[&Feed], hurt: impl AsyncFnOnce()) {
    let mut random = Random::new();
    let (on, newest) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let ledgers = async {
        let writers = (0..12).map(|_| write(schema, on.clone(), newest.clone(), random.number(..)));
        futures_util::future::join_all(writers.collect::<Vec<_>>()).await
    };
    let (ledgers, ()) = tokio::join!(ledgers, async {
        hurt().await;
        on.store(false, Ordering::Relaxed);
    });
    let count = schema.changes("%").await;
    for feed in feeds {
        eventually(LONG, || async { feed.position() == count }).await;
    }
    let rows: Vec<(u64, u64)> = schema.query(format!("SELECT id, seq FROM {CHANGES} ORDER BY at")).await;
    let places: HashMap<u64, u64> = rows.iter().copied().collect();
    let in_time: Vec<u64> = rows.iter().map(|row| row.1).collect();
    assert_eq!(in_time, (1..=count).collect::<Vec<_>>(), "no gap, and times in the same order");
    let times: u64 = schema.query_one(format!("SELECT COUNT(DISTINCT at) FROM {CHANGES}")).await;
    assert_eq!(times, count, "times are strictly increasing");
    let mut acknowledged = HashSet::new();
    for (cause, effect) in ledgers.iter().flat_map(|ledger| &ledger.acknowledged) {
        let place = places[effect];
        assert!(acknowledged.insert(place), "numbered once");
        assert!(*cause == 0 || places[cause] < place, "causes come before effects");
    }
    assert_eq!(acknowledged.len() as u64, count);
    println!("{count} changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_sequencers_number_everything_once_and_in_order() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let (one, two) = (Instance::start(&schema).await, Instance::start(&schema).await);
    let three = Instance::start(&schema).await;
    nothing_is_lost(&schema, &[&one.feed, &two.feed, &three.feed], async || {
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            for instance in [&one, &two, &three] {
                instance.feed.nudge();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    for instance in [&one, &two, &three] {
        assert_eq!(instance.metric("feed_failures_total"), 0, "finding another at it is no failure");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequencers_may_be_killed_at_any_moment() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let (one, two) = (Instance::start(&schema).await, Instance::start(&schema).await);
    let three = Instance::start(&schema).await;
    nothing_is_lost(&schema, &[&one.feed, &two.feed, &three.feed], async || {
        let begun = Instant::now();
        let mut admin = schema.admin().await;
        let (mut known, mut killed) = (HashSet::new(), 0);
        while begun.elapsed() < Duration::from_secs(3) || (killed <= 10 && begun.elapsed() < LONG) {
            // Those that tail and number, not those that write: whoever was seen tailing.
            // (MariaDB 10.11 crashes when information_schema.processlist is read while threads are killed.)
            let all: Vec<mysql_async::Row> = admin.query("SHOW FULL PROCESSLIST").await.unwrap();
            known.extend(all.iter().filter_map(|row| {
                let text = |at| row.get::<Option<String>, usize>(at).flatten().unwrap_or_default();
                let at_it = ["feed.look", "helpdesk.outbox", "@feed_at"];
                let is_tail = text(1) == schema.name() && at_it.iter().any(|what| text(7).contains(what));
                is_tail.then(|| row.get::<u64, usize>(0)).flatten()
            }));
            if let Some(&id) = known.iter().next() {
                known.remove(&id);
                killed += usize::from(admin.query_drop(format!("KILL {id}")).await.is_ok());
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..8))).await;
        }
        assert!(killed > 10, "{killed}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_cut_off_while_it_numbers_holds_nobody_up() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let proxy = Proxy::start(server.addr());
    let frozen = Instance::at(&schema.url_via(proxy.addr()), &[]).await;
    let one = Instance::start(&schema).await;
    eventually(SOON, || async { frozen.feed.watermark().is_some() && one.feed.watermark().is_some() }).await;
    freeze_while_numbering(&schema, &proxy, &one, &frozen).await;
}

/// Far longer than any hiccup of a busy machine, so that who waits for the one that is cut off is told from that.
const CUT_OFF: Duration = Duration::from_secs(4);

/// Replies no longer reach one instance; the other one's writes must go on being seen at once.
async fn freeze_while_numbering(schema: &Schema, proxy: &Proxy, one: &Instance, frozen: &Instance) {
    let (on, newest) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let writer = write(schema, on.clone(), newest.clone(), 1);
    let check = async {
        for _ in 0..10 {
            // Wherever in its round this catches it, sooner or later in a run of the sequencer.
            proxy.delay_replies(CUT_OFF);
            frozen.feed.nudge();
            for _ in 0..10 {
                let before = Instant::now();
                let conversation = open(one, EVE).await;
                let seen = ids(&parsed(one.since(EVE, Class::Conversations, Timestamp::now()).await));
                assert!(seen.contains(&conversation));
                assert!(before.elapsed() < CUT_OFF / 2, "{:?}", before.elapsed());
            }
            proxy.delay_replies(Duration::ZERO);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        on.store(false, Ordering::Relaxed);
    };
    tokio::join!(writer, check);
    eventually(LONG, || async { frozen.feed.position() == one.feed.position() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_a_cursor_stays_and_a_since_poll_is_refused() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    migrate(&schema).await;
    let one = Instance::start(&schema).await;
    let conversation = open(&one, ANN).await;
    eventually(SOON, || async { one.feed.position() == 1 }).await;
    let cursor = one.feed.cursor(0, ANN).unwrap();
    server.kill();
    eventually(SOON, || async {
        one.feed.since_waiting(0, ANN, Class::Messages, Timestamp::now()).await.is_err()
    })
    .await;
    let before = Instant::now();
    assert!(
        matches!(one.feed.cursor_later(0, ANN, all(cursor)).await.unwrap(), CursorPoll::Unchanged(same) if same == cursor)
    );
    let ahead = Cursor { seq: 2, ..cursor };
    assert!(
        matches!(one.feed.cursor_later(0, ANN, all(ahead)).await.unwrap(), CursorPoll::Unchanged(same) if same == ahead)
    );
    assert!(before.elapsed() < SOON);
    server.restart().await;
    eventually(LONG, || async {
        one.feed.since_waiting(0, ANN, Class::Messages, Timestamp::now()).await.is_ok()
    })
    .await;
    // The pool finds out that its connections are gone.
    eventually(LONG, || async { one.db.capacity().await.is_ok() }).await;
    let message = post(&one, conversation, "after all").await;
    assert_eq!(ids(&one.news(ANN, cursor).await.0["messages"]), [message]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_in_flight_is_neither_waited_for_nor_passed_over() {
    let schema = migrated().await;
    let one = Instance::start(&schema).await;
    let mut slow = schema.connect().await;
    slow.query_drop("BEGIN").await.unwrap();
    slow.query_drop("INSERT INTO outbox (kind, conversation_id) VALUES ('message', 9)").await.unwrap();
    let before = Instant::now();
    for _ in 0..5 {
        let conversation = open(&one, ANN).await;
        let seen = parsed(one.since(ANN, Class::Conversations, Timestamp::now()).await);
        assert!(ids(&seen).contains(&conversation));
    }
    assert!(before.elapsed() < SOON, "nobody waits for the one in flight");
    assert_eq!(one.feed.position(), 5);
    slow.query_drop("COMMIT").await.unwrap();
    eventually(SOON, || async { one.feed.position() == 6 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_happens_there_is_only_a_look() {
    let schema = migrated().await;
    let one = Instance::start(&schema).await;
    let conversation = open(&one, ANN).await;
    one.since(ANN, Class::Conversations, Timestamp::now()).await;
    let looks = async |more: u64| {
        let before = one.metric("feed_tail_looks_total");
        eventually(LONG, || async { one.metric("feed_tail_looks_total") >= before + more }).await;
    };
    looks(2).await;
    let reads = one.metric("feed_tail_reads_total");
    looks(10).await;
    assert_eq!(one.metric("feed_tail_reads_total"), reads);
    // One that shows something is followed by a read.
    schema
        .execute(format!("INSERT INTO outbox (kind, conversation_id) VALUES ('resolved', {conversation})"))
        .await;
    eventually(SOON, || async { one.feed.position() == 2 }).await;
}
