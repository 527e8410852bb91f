//! Other transactions in the way, and the commit whose answer is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperdesk::db::{Db, Error, Statement};
use hyperdesk::transaction;
use mysql_async::prelude::Queryable;
use tokio::sync::{Barrier, Notify};

use super::{Library, assert_ledger, counted, open_conversation, open_transactions, post};
use crate::support::{Hyperdesk, Proxy, Schema, User, eventually};

const MOVE: Statement =
    Statement { name: "test.move", sql: "UPDATE accounts SET amount = amount + ? WHERE id = ?" };
const BOOK: Statement = Statement { name: "test.book", sql: "INSERT INTO moves (nonce) VALUES (?)" };

async fn accounts(schema: &Schema) {
    schema.execute("CREATE TABLE accounts (id INT PRIMARY KEY, amount BIGINT) ENGINE = InnoDB").await;
    schema.execute("INSERT INTO accounts VALUES (1, 1000), (2, 1000)").await;
    schema.execute("CREATE TABLE moves (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, nonce BIGINT NOT NULL) ENGINE = InnoDB").await;
}

async fn amounts(schema: &Schema) -> (i64, i64) {
    let amounts: Vec<i64> = schema.query("SELECT amount FROM accounts ORDER BY id").await;
    (amounts[0], amounts[1])
}

/// Moves 1 from one account to the other. `met` is where both have their first row, the first time.
async fn transfer(db: Arc<Db>, from: u32, to: u32, nonce: u64, met: Arc<Barrier>) -> Result<(), Error> {
    let mut runs = 0;
    transaction!(db, tx => {
        runs += 1;
        tx.run(&BOOK, (nonce,)).await?;
        tx.run(&MOVE, (-1, from)).await?;
        if runs == 1 {
            met.wait().await;
        }
        tx.run(&MOVE, (1, to)).await?;
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocks_rerun_the_whole_transaction() {
    const ROUNDS: u64 = 20;
    let schema = Schema::fresh().await;
    accounts(&schema).await;
    let library = Library::new(&schema.url(), None, 4);
    for round in 0..ROUNDS {
        let met = Arc::new(Barrier::new(2));
        let one = tokio::spawn(transfer(library.db.clone(), 1, 2, 2 * round, met.clone()));
        let two = tokio::spawn(transfer(library.db.clone(), 2, 1, 2 * round + 1, met));
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
    }
    assert_eq!(amounts(&schema).await, (1_000, 1_000));
    let booked: (u64, u64) = schema.query_one("SELECT COUNT(*), COUNT(DISTINCT nonce) FROM moves").await;
    assert_eq!(booked, (2 * ROUNDS, 2 * ROUNDS), "each is booked once");
    let reruns = library.metric("db_transaction_reruns_total");
    println!("{reruns} reruns in {ROUNDS} rounds");
    assert!(reruns >= ROUNDS as f64, "each round is a deadlock: {reruns}");
    assert!(library.metric("db_errors_total{kind=\"conflict\"}") >= reruns);
    assert_eq!(library.metric("db_connections_discarded_total"), 0.0, "they stay in step");
    assert_eq!(open_transactions(&schema).await, 0);
}

#[tokio::test]
async fn a_lock_wait_reruns_the_whole_transaction() {
    let schema = Schema::fresh().await;
    accounts(&schema).await;
    let library = Library::new(&schema.url(), None, 2);
    let mut holder = schema.connect().await;
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder.query_drop("UPDATE accounts SET amount = amount + 10 WHERE id = 2").await.unwrap();
    let again = Notify::new();
    let mut runs = 0;
    let moved = async {
        transaction!(library.db, tx => {
            runs += 1;
            if runs == 2 {
                again.notify_one();
            }
            tx.run(&MOVE, (-1, 1)).await?;
            // Only this statement is undone by the server when it gives up: the first must be, too.
            tx.run(&MOVE, (1, 2)).await?;
            Ok::<_, Error>(())
        })
    };
    let released = async {
        again.notified().await;
        holder.query_drop("COMMIT").await.unwrap();
    };
    let (moved, ()) = tokio::join!(moved, released);
    moved.unwrap();
    assert_eq!(amounts(&schema).await, (999, 1_011));
    let reruns = library.metric("db_transaction_reruns_total");
    assert!(reruns >= 1.0 && reruns == f64::from(runs - 1), "{reruns} reruns, {runs} runs");
}

#[tokio::test]
async fn a_post_that_keeps_losing_is_asked_to_come_again() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let conversation = open_conversation(&ann).await;
    let mut holder = schema.connect().await;
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder.query_drop("UPDATE conversations SET title = 'held'").await.unwrap();
    let refused = post(&ann.client, &ann, &conversation, "once").send().await.expect_status(503);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.took < Duration::from_secs(5), "{:?}", refused.took);
    let reruns = desk.metric("db_transaction_reruns_total").await.unwrap();
    assert!(reruns >= 2.0, "{reruns}");
    holder.query_drop("ROLLBACK").await.unwrap();
    eventually(Duration::from_secs(5), || async { open_transactions(&schema).await == 0 }).await;
    post(&ann.client, &ann, &conversation, "once").send().await.expect_status(201);
    assert_ledger(&schema, &["once".to_owned()]).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_by_its_key() {
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let desk = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr())).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let conversation = open_conversation(&ann).await;
    let client = desk.client();
    post(&client, &ann, &conversation, "warm").header("idempotency-key", "warm").send().await;

    // Late enough that the row is seen before the server hears of the commit.
    proxy.delay_replies(Duration::from_millis(300));
    let posted = post(&client, &ann, &conversation, "lost").header("idempotency-key", "lost").send();
    let cut = async {
        let committed = || async { counted(&schema).await.contains_key("lost") };
        eventually(Duration::from_secs(10), committed).await;
        proxy.cut_all();
        proxy.pass();
    };
    let (unknown, ()) = tokio::join!(posted, cut);
    assert_eq!(unknown.status, 503, "{}", unknown.text());
    assert!(unknown.header("retry-after").is_some());

    let again = || post(&client, &ann, &conversation, "lost").header("idempotency-key", "lost");
    let mut repeat = again().send().await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while repeat.status == 503 && Instant::now() < deadline {
        repeat = again().send().await;
    }
    let repeat = repeat.expect_status(201);
    assert_eq!(repeat.json()["content"], "lost");
    assert_eq!(again().send().await.expect_status(201).body, repeat.body, "the first answer");
    assert_ledger(&schema, &["warm".to_owned(), "lost".to_owned()]).await;
}

/// The line is cut after each packet of a post in turn, connecting and preparing included.
#[tokio::test]
async fn a_line_cut_anywhere_leaves_one_message() {
    const PACKETS: u64 = 60;
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let desk = Hyperdesk::builder(&schema)
        .env("DATABASE_URL", schema.url_via(proxy.addr()))
        .env("DB_POOL_SIZE", 2)
        .start()
        .await;
    let ann = User::register(desk.addr(), "ann").await;
    let conversation = open_conversation(&ann).await;
    let client = desk.client();
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for packet in 1..=PACKETS {
        let content = format!("cut after {packet}");
        if packet % 2 == 0 {
            proxy.cut_all(); // the next post connects anew
        }
        proxy.cut_after_packets(packet);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let request = post(&client, &ann, &conversation, &content);
            let answer = request.header("idempotency-key", &content).send().await;
            if answer.status == 201 {
                break;
            }
            assert_eq!(answer.status, 503, "{packet}: {}", answer.text());
            assert!(Instant::now() < deadline, "{packet}: refused for too long");
            refused += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        acknowledged.push(content);
    }
    proxy.pass();
    assert_ledger(&schema, &acknowledged).await;
    assert_eq!(open_transactions(&schema).await, 0);
    println!("{refused} times refused for {PACKETS} cuts");
}
