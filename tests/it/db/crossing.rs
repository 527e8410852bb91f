//! No answer ever crosses: whoever hangs up, times out or panics, the next one on the connection reads the
//! answer to what they asked.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyperdesk::db::{Db, Error, Statement};
use hyperdesk::transaction;
use serde_json::Value;

use super::{
    Library, assert_ledger, contents, counted, echo, messages_path, open_conversation, open_transactions,
    post,
};
use crate::support::{Client, Hyperdesk, Proxy, Random, Raw, Schema, User, eventually};

/// Requests and their clients, each at once.
const CLIENTS: u64 = 8;
const REQUESTS_EACH: u64 = 125;
/// Bounds of the delay that each answer of the database gets.
const DELAY: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(5));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_hang_up() {
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let desk = Hyperdesk::builder(&schema)
        .env("DATABASE_URL", schema.url_via(proxy.addr()))
        .env("DB_POOL_SIZE", 2)
        .start()
        .await;
    let mut random = Random::new();
    let mut people = Vec::new();
    for name in ["ann", "bob", "cem", "dee"] {
        let user = User::register(desk.addr(), name).await;
        let conversation = open_conversation(&user).await;
        people.push((user, conversation));
    }
    proxy.delay_replies_randomly(DELAY.0, DELAY.1, random.seed());
    let people = Arc::new(people);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (people, acknowledged) = (people.clone(), acknowledged.clone());
        let (addr, seed) = (desk.addr(), random.number(..));
        clients.spawn(async move {
            let mut random = Random::seeded(seed);
            for number in 0..REQUESTS_EACH {
                let (user, conversation) = &people[random.number(0..people.len() as u64) as usize];
                let content = format!("{}'s {client}-{number}", user.username);
                let acknowledgement =
                    hang_up_somewhere(addr, user, conversation, &content, &mut random).await;
                acknowledged.lock().unwrap().extend(acknowledgement);
            }
        });
    }
    clients.join_all().await;

    proxy.pass();
    // What was begun ends without its client.
    eventually(Duration::from_secs(10), || async { open_transactions(&schema).await == 0 }).await;
    for (user, conversation) in people.iter() {
        eventually(Duration::from_secs(10), || async {
            let told = user.get(&messages_path(conversation)).await;
            if told.status != 200 {
                return false;
            }
            let sql = format!("SELECT content FROM messages WHERE sender_id = {} ORDER BY id", user.id);
            contents(&told) == schema.query::<String>(sql).await
        })
        .await;
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > 50, "only {} were waited for", acknowledged.len());
    assert_ledger(&schema, &acknowledged).await;
    let kept = counted(&schema).await.len();
    println!("{} acknowledged, {kept} in the database", acknowledged.len());
    assert!(kept > acknowledged.len(), "some finished without their client");
    assert!(proxy.open() <= 4, "{} connections for a pool of 2", proxy.open());
}

/// One request whose client leaves at some point, or stays; the content, if its post was acknowledged.
async fn hang_up_somewhere(
    addr: std::net::SocketAddr,
    user: &User,
    conversation: &Value,
    content: &str,
    random: &mut Random,
) -> Option<String> {
    let client = Client::new(addr);
    let is_post = random.number(0..3) > 0;
    let request = if is_post {
        post(&client, user, conversation, content)
    } else {
        client.get(&messages_path(conversation)).bearer(&user.token)
    };
    let bytes = request.to_bytes();
    let mut wire = Raw::connect(addr).await;
    let leaves_while_sending = random.chance(4);
    let sent = if leaves_while_sending { random.number(0..bytes.len() as u64) } else { bytes.len() as u64 };
    wire.write(&bytes[..sent as usize]).await.unwrap();
    if !leaves_while_sending && random.chance(3) {
        let answer = wire.read_response().await.unwrap();
        if is_post && answer.status == 201 {
            assert_eq!(answer.json()["content"], content, "somebody else's message");
            return Some(content.to_owned());
        }
        if !is_post && answer.status == 200 {
            let own = format!("{}'s ", user.username);
            let others: Vec<_> =
                contents(&answer).into_iter().filter(|content| !content.starts_with(&own)).collect();
            assert!(others.is_empty(), "{others:?} in {own} conversation");
            return None;
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        return None;
    }
    // Hangs up: this pause is the point in time that is tried.
    tokio::time::sleep(random.duration(Duration::ZERO, Duration::from_millis(60))).await;
    if random.chance(2) {
        wire.reset();
    }
    None
}

/// A nonce may come twice: that is what is looked for.
const NOTES_TABLE: &str = "CREATE TABLE notes (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, nonce BIGINT NOT NULL) ENGINE = InnoDB";
const NOTE: Statement = Statement { name: "test.note", sql: "INSERT INTO notes (nonce) VALUES (?)" };
const NOTES: Statement = Statement {
    name: "test.notes",
    sql: "SELECT ? + a.n * 10 + b.n FROM digits a JOIN digits b ORDER BY a.n, b.n",
};
/// Refused (1568) while a transaction is open, in any MySQL.
const NOT_IN_TRANSACTION: Statement =
    Statement { name: "test.not_in_transaction", sql: "SET TRANSACTION ISOLATION LEVEL READ COMMITTED" };

/// Below the server: futures dropped at whatever await they are at, with no task to shelter them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_dropped_at_any_await() {
    let schema = Schema::fresh().await;
    schema.execute(NOTES_TABLE).await;
    schema.execute("CREATE TABLE digits (n BIGINT NOT NULL PRIMARY KEY) ENGINE = InnoDB").await;
    schema.execute("INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)").await;
    let proxy = Proxy::start(schema.server_addr().await);
    let library = Library::new(&schema.url_via(proxy.addr()), None, 2);
    let mut random = Random::new();
    proxy.delay_replies_randomly(DELAY.0, DELAY.1, random.seed());
    let next = Arc::new(AtomicU64::new(1));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let answered = Arc::new(AtomicU64::new(0));
    let mut users = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (db, next, seed) = (library.db.clone(), next.clone(), random.number(..));
        let (acknowledged, answered) = (acknowledged.clone(), answered.clone());
        users.spawn(async move {
            let mut random = Random::seeded(seed);
            for _ in 0..100 {
                let nonce = next.fetch_add(1_000, Relaxed);
                let kind = random.number(0..5);
                let patience = random.duration(Duration::ZERO, Duration::from_millis(25));
                let work = tokio::spawn(use_it(db.clone(), kind, nonce, random.chance(8)));
                let stop = work.abort_handle();
                match tokio::time::timeout(patience, work).await {
                    Ok(Ok(Ok(true))) => {
                        acknowledged.lock().unwrap().push(if kind == 1 { nonce } else { nonce + 499 })
                    }
                    Ok(Ok(Ok(false) | Err(Error::Busy | Error::Unavailable(_)))) => {}
                    Ok(Ok(Err(error))) => panic!("somebody else's error: {error}"),
                    Ok(Err(ended)) => {
                        let panic = ended.into_panic();
                        let said = panic.downcast_ref::<&str>().copied().unwrap_or_default();
                        assert_eq!(said, "on purpose", "a panic that was not asked for");
                    }
                    Err(_) => stop.abort(),
                }
                // The next user of the pool.
                if let Ok(mut connection) = db.writer().await {
                    let nonce = next.fetch_add(1_000, Relaxed);
                    match echo(&mut connection, nonce).await {
                        Ok(()) => answered.fetch_add(1, Relaxed),
                        Err(error) => panic!("somebody else's error: {error}"),
                    };
                }
            }
        });
    }
    users.join_all().await;
    proxy.pass();

    eventually(Duration::from_secs(10), || async { open_transactions(&schema).await == 0 }).await;
    let (mut one, mut two) = (library.db.writer().await.unwrap(), library.db.writer().await.unwrap());
    for connection in [&mut one, &mut two] {
        connection.run(&NOT_IN_TRANSACTION, ()).await.expect("no transaction is open");
        echo(connection, 1).await.unwrap();
    }
    let discarded = library.metric("db_connections_discarded_total");
    let answered = answered.load(Relaxed);
    println!("{discarded} connections discarded, {answered} answers checked");
    assert!(discarded >= 20.0 && answered >= 300, "{discarded} {answered}: nothing was tried");
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert_notes(&schema, &acknowledged).await;
    drop((one, two));
    assert!(proxy.open() <= 2);
}

/// Each note once, all that were acknowledged, and no part of a transaction.
async fn assert_notes(schema: &Schema, acknowledged: &[u64]) {
    let doubled: u64 = schema.query_one("SELECT COUNT(*) - COUNT(DISTINCT nonce) FROM notes").await;
    assert_eq!(doubled, 0);
    let kept: std::collections::HashSet<u64> =
        schema.query("SELECT nonce FROM notes").await.into_iter().collect();
    for nonce in acknowledged {
        assert!(kept.contains(nonce), "{nonce} was acknowledged");
    }
    // No half transactions: these write three notes.
    for first in kept.iter().filter(|nonce| **nonce % 1_000 == 500) {
        assert!(kept.contains(&(first + 1)) && kept.contains(&(first + 2)), "half of {first}");
    }
    let thirds = [500, 501, 502].map(|third| kept.iter().filter(|nonce| **nonce % 1_000 == third).count());
    assert!(thirds[0] == thirds[1] && thirds[1] == thirds[2], "{thirds:?}");
}

/// A process that stops drops its connections with its runtime, whatever they are at.
#[tokio::test]
async fn a_runtime_stops_in_the_middle() {
    let schema = Schema::fresh().await;
    schema.execute(NOTES_TABLE).await;
    let library = Library::new(&schema.url(), None, 3);
    let db = library.db.clone();
    let stopped = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let in_transaction = |db: Arc<Db>| async move {
            let mut transaction = db.transaction().await.unwrap();
            transaction.begin().run(&NOTE, (1,)).await.unwrap();
            transaction
        };
        let outlives = runtime.block_on(in_transaction(db.clone()));
        let (tell, told) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let held = in_transaction(db).await;
            tell.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(held);
        });
        told.recv().unwrap();
        runtime.shutdown_timeout(Duration::from_secs(1));
        drop(outlives);
    });
    tokio::task::spawn_blocking(|| stopped.join()).await.unwrap().expect("no panic");
    eventually(Duration::from_secs(10), || async { open_transactions(&schema).await == 0 }).await;
    assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM notes").await, 0);
    echo(&mut library.db.writer().await.unwrap(), 1).await.unwrap();
    assert_eq!(library.metric("db_connections_discarded_total"), 2.0);
}

/// Asks something of each kind; true when a note was written for sure.
async fn use_it(db: Arc<Db>, kind: u64, nonce: u64, panics: bool) -> Result<bool, Error> {
    match kind {
        0 => {
            let mut connection = db.writer().await?;
            echo(&mut connection, nonce).await?;
            assert!(!panics, "on purpose");
            Ok(false)
        }
        // One packet as the answer: the kind that a later ping takes for its own.
        1 => {
            let mut connection = db.writer().await?;
            let done = connection.run(&NOTE, (nonce,)).await?;
            assert_eq!(done.affected, 1);
            Ok(true)
        }
        2 => {
            let mut connection = db.writer().await?;
            let rows = connection.rows::<u64>(&NOTES, (nonce,)).await?;
            assert_eq!(rows, (nonce..nonce + 100).collect::<Vec<_>>(), "somebody else's rows");
            Ok(false)
        }
        _ => {
            transaction!(db, tx => {
                tx.run(&NOTE, (nonce + 499,)).await?;
                echo(tx, nonce).await?;
                assert!(!panics, "on purpose");
                tx.run(&NOTE, (nonce + 500,)).await?;
                tx.run(&NOTE, (nonce + 501,)).await?;
                Ok(())
            })?;
            Ok(true)
        }
    }
}
