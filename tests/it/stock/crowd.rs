//! Never oversold: with many buyers, several processes, and processes and databases that die.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::json;
use tokio::task::JoinSet;

use super::{OWN, Program, QUANTITY};
use crate::support::{Client, Hyperdesk, Proxy, Raw, Schema, Server, eventually};

const LONG: Duration = Duration::from_secs(30);
const ACQUIRED: &str = r#"{"message":"Hyper acquired successfully"}"#;
const SOLD_OUT: &str = r#"{"message":"No Hyper available for you"}"#;

/// What buyers were told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    acquired: u64,
    sold_out: u64,
    /// 503, or nothing at all: the outcome is unknown.
    unknown: u64,
}

/// `buyers` at once, spread over the servers, each on a connection of its own and buying `times` times.
async fn crowd(
    servers: &[SocketAddr],
    token: &str,
    buyers: usize,
    times: usize,
    acquired: &'static AtomicU64,
) -> Told {
    let mut tasks = JoinSet::new();
    for buyer in 0..buyers {
        let (client, token) = (Client::new(servers[buyer % servers.len()]), token.to_owned());
        tasks.spawn(async move {
            let mut told = Told::default();
            for _ in 0..times {
                match client.put(OWN).bearer(&token).limit(LONG).try_send().await {
                    Ok(answer) if answer.status == 200 => {
                        assert_eq!(answer.text(), ACQUIRED);
                        acquired.fetch_add(1, Relaxed);
                        told.acquired += 1;
                    }
                    Ok(answer) if answer.status == 404 => {
                        assert_eq!(answer.text(), SOLD_OUT);
                        told.sold_out += 1;
                    }
                    Ok(answer) => {
                        assert_eq!(answer.status, 503, "{}", answer.text());
                        assert!(answer.header("retry-after").is_some());
                        told.unknown += 1;
                    }
                    Err(_) => told.unknown += 1,
                }
            }
            told
        });
    }
    let mut all = Told::default();
    while let Some(told) = tasks.join_next().await {
        let told = told.unwrap();
        all.acquired += told.acquired;
        all.sold_out += told.sold_out;
        all.unknown += told.unknown;
    }
    all
}

async fn set(addr: SocketAddr, token: &str, quantity: u64) {
    let body = json!({"quantity": quantity});
    Client::new(addr).post(QUANTITY).bearer(token).json(body).send().await.expect_status(200);
}

async fn left(schema: &Schema) -> u64 {
    schema.query_one("SELECT quantity FROM hyper_stock").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_buyers_at_two_processes_get_the_five_hundred_there_are() {
    static ACQUIRED: AtomicU64 = AtomicU64::new(0);
    let schema = Schema::fresh().await;
    let one = Hyperdesk::builder(&schema).start().await;
    let two = Hyperdesk::builder(&schema).start().await;
    let token = Program::create(&schema, "read,stock").await.token(one.addr(), "").await;
    set(one.addr(), &token, 500).await;
    let told = crowd(&[one.addr(), two.addr()], &token, 2_000, 1, &ACQUIRED).await;
    assert_eq!(told, Told { acquired: 500, sold_out: 1_500, unknown: 0 });
    assert_eq!(left(&schema).await, 0);
    let mut sold = 0.0;
    let mut statements = 0.0;
    for desk in [&one, &two] {
        sold += desk.metric("stock_sold_total").await.unwrap();
        statements += desk.metric("stock_buyers_per_statement_count").await.unwrap();
        assert_eq!(desk.metric("stock_outcomes_unknown_total").await, Some(0.0));
    }
    println!("2,000 buyers took {statements} statements");
    assert_eq!(sold, 500.0);
    assert!(statements < 2_000.0, "buyers that arrive together go together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_sells_nothing_twice_and_loses_no_acknowledged_sale() {
    static ACQUIRED: AtomicU64 = AtomicU64::new(0);
    const STOCK: u64 = 8_000;
    let schema = Schema::fresh().await;
    // Answers on their way back keep both processes between the commit and the acknowledgement.
    let proxy = Proxy::start(schema.server_addr().await);
    let one = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr())).start().await;
    let two = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr())).start().await;
    let token = Program::create(&schema, "read,stock").await.token(one.addr(), "").await;
    set(one.addr(), &token, STOCK).await;
    proxy.delay_replies(Duration::from_millis(100));
    let servers = [one.addr(), two.addr()];
    let buying = tokio::spawn(async move { crowd(&servers, &token, 400, 12, &ACQUIRED).await });
    // Both have sold, and both have committed what they did not yet tell.
    eventually(LONG, || async { two.metric("stock_sold_total").await.unwrap() >= 400.0 }).await;
    eventually(LONG, || async { STOCK - left(&schema).await > ACQUIRED.load(Relaxed) + 200 }).await;
    two.kill();
    proxy.pass();
    let told = buying.await.unwrap();
    let sold = STOCK - left(&schema).await;
    println!("{told:?}, {sold} sold, {} of them to nobody", sold - told.acquired);
    assert!(told.acquired <= sold, "an acknowledged sale was lost: {told:?}, {sold} sold");
    assert!(sold <= told.acquired + told.unknown, "sold to nobody: {told:?}, {sold} sold");
    assert!(told.unknown > 0, "the kill came in the middle");
    assert_eq!(told.sold_out, 0);

    // What is left is sold to the last one, by the process that lives.
    let rest = left(&schema).await;
    let token = Program::create(&schema, "read").await.token(one.addr(), "").await;
    let buyers = usize::try_from(rest / 8 + 20).unwrap();
    let last = crowd(&[one.addr()], &token, buyers, 8, &ACQUIRED).await;
    assert_eq!((last.acquired, last.unknown, left(&schema).await), (rest, 0, 0));
}

#[tokio::test]
async fn a_lost_answer_of_the_database_sells_too_little_and_never_too_much() {
    static ACQUIRED: AtomicU64 = AtomicU64::new(0);
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let desk = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr())).start().await;
    let token = Program::create(&schema, "read,stock").await.token(desk.addr(), "").await;
    // Enough warm connections, so that none has to be opened through the slow proxy.
    let mut warm = JoinSet::new();
    for _ in 0..8 {
        let (addr, token) = (desk.addr(), token.clone());
        warm.spawn(async move { set(addr, &token, 20).await });
    }
    warm.join_all().await;
    let addr = desk.addr();
    let told = crowd(&[addr], &token, 1, 1, &ACQUIRED).await;
    assert_eq!(told.acquired, 1);
    proxy.delay_replies(Duration::from_millis(1_500));
    let buyer = token.clone();
    let buying = tokio::spawn(async move { crowd(&[addr], &buyer, 5, 1, &ACQUIRED).await });
    eventually(LONG, || async { left(&schema).await < 19 }).await;
    proxy.cut_all();
    proxy.pass();
    let told = buying.await.unwrap();
    assert_eq!(told.acquired + told.unknown, 5);
    assert!(told.unknown > 0);
    let after = left(&schema).await;
    assert!(after <= 19 - told.acquired && after >= 14, "{after} left, {told:?}");
    eventually(LONG, || async {
        let client = Client::new(addr);
        client.put(OWN).bearer(&token).try_send().await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    assert!(desk.metric("stock_outcomes_unknown_total").await.unwrap() > 0.0);
}

#[tokio::test]
async fn who_hangs_up_in_the_queue_takes_nothing() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let token = Program::create(&schema, "read,stock").await.token(desk.addr(), "").await;
    set(desk.addr(), &token, 100).await;
    // Somebody holds the row: the first buyer's statement waits for it, the others wait in the process.
    let mut holder = schema.connect().await;
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder.query_drop("SELECT quantity FROM hyper_stock WHERE id = 1 FOR UPDATE").await.unwrap();
    let first = tokio::spawn({
        let (client, token) = (desk.client(), token.clone());
        async move { client.put(OWN).bearer(&token).send().await }
    });
    let waiting = || async { desk.metric("stock_buyers_per_statement_count").await.unwrap() };
    eventually(LONG, || async { waiting().await == 1.0 }).await;
    let request = desk.client().put(OWN).bearer(&token).to_bytes();
    let mut leavers = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(desk.addr()).await;
        raw.write(&request).await.unwrap();
        leavers.push(raw);
    }
    eventually(LONG, || async { desk.metric("http_requests_in_flight").await == Some(11.0) }).await;
    for raw in leavers {
        raw.reset();
    }
    eventually(LONG, || async { desk.metric("http_requests_in_flight").await == Some(1.0) }).await;
    holder.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(first.await.unwrap().text(), ACQUIRED);
    let client = desk.client();
    assert_eq!(client.put(OWN).bearer(&token).send().await.text(), ACQUIRED);
    assert_eq!(left(&schema).await, 98);
}

#[tokio::test]
async fn a_row_that_others_hold_is_waited_for_and_then_given_up_unsold() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let token = Program::create(&schema, "read,stock").await.token(desk.addr(), "").await;
    set(desk.addr(), &token, 5).await;
    let mut holder = schema.connect().await;
    let buy = || {
        let (client, token) = (desk.client(), token.clone());
        tokio::spawn(async move { client.put(OWN).bearer(&token).send().await })
    };
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder.query_drop("SELECT quantity FROM hyper_stock WHERE id = 1 FOR UPDATE").await.unwrap();
    let buyer = buy();
    let lost = || async { desk.metric(r#"db_errors_total{kind="conflict"}"#).await.unwrap_or_default() };
    eventually(LONG, || async { lost().await > 0.0 }).await;
    holder.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(buyer.await.unwrap().text(), ACQUIRED, "the lost statement is run again");

    holder.query_drop("START TRANSACTION").await.unwrap();
    holder.query_drop("SELECT quantity FROM hyper_stock WHERE id = 1 FOR UPDATE").await.unwrap();
    let refused = buy().await.unwrap().expect_status(503);
    assert!(refused.header("retry-after").is_some() && refused.took < Duration::from_secs(10));
    holder.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(buy().await.unwrap().text(), ACQUIRED);
    assert_eq!(left(&schema).await, 3);
}

#[tokio::test]
async fn a_database_that_is_away_is_a_503_and_comes_back() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let token = Program::create(&schema, "read,stock").await.token(desk.addr(), "").await;
    set(desk.addr(), &token, 3).await;
    server.kill();
    let client = desk.client();
    for (method, path) in [("GET", QUANTITY), ("PUT", OWN)] {
        let answer = client.request(method, path).bearer(&token).send().await.expect_status(503);
        assert_eq!(answer.text(), r#"{"error":"Service temporarily unavailable"}"#);
        assert!(answer.header("retry-after").is_some());
    }
    server.restart().await;
    eventually(LONG, || async {
        client.get(QUANTITY).bearer(&token).send().await.text() == r#"{"quantity":3}"#
    })
    .await;
    client.put(OWN).bearer(&token).send().await.expect_status(200);
    assert_eq!(left(&schema).await, 2);
}
