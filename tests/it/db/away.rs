//! The database is away: killed, frozen, full, read-only, out of reach. The server stays up, says so in time,
//! and is back soon after it, with nothing lost.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyperdesk::db::Statement;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::Value;

use super::{Library, assert_ledger, contents, messages_path, open_conversation, open_transactions, post};
use crate::support::database::{Server, connect, opts_from_url};
use crate::support::{Client, Hyperdesk, Proxy, Schema, User, eventually, eventually_some};

/// The contract: a call that needs a database that is away is refused within this time.
const REFUSED_LIMIT: Duration = Duration::from_secs(5);
/// And served again this long after the database is.
const BACK_LIMIT: Duration = Duration::from_secs(5);
/// For an answer that needs no database, on a busy machine.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);
/// Attempts to connect in one second, at most.
const CONNECTS_PER_S_MAX: f64 = 20.0;
/// A signal stops a process when its threads run next.
const STRIKE_LIMIT: Duration = Duration::from_millis(250);
const POOL_SIZE: usize = 4;
const WRITERS: usize = 6;

/// A server, its database, and people who use it all the time.
struct Drill {
    // In the order in which they may go.
    desk: Hyperdesk,
    schema: Schema,
    proxy: Proxy,
    database: Server,
}

/// One answer.
struct Seen {
    begun: Instant,
    took: Duration,
    status: u16,
    is_write: bool,
}

#[derive(Default)]
struct Diary {
    seen: Mutex<Vec<Seen>>,
    acknowledged: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Drill {
    async fn start() -> Drill {
        let database = Server::start().await;
        let schema = Schema::on(&database).await;
        let proxy = Proxy::start(database.addr());
        let desk = Hyperdesk::builder(&schema)
            .env("DATABASE_URL", schema.url_via(proxy.addr()))
            .env("DB_POOL_SIZE", POOL_SIZE)
            .start()
            .await;
        Drill { desk, schema, proxy, database }
    }

    /// Lets people work, `strike`s, waits for `lasting`, `mend`s, and looks at what they saw.
    async fn run(
        self,
        strike: impl AsyncFnOnce(&Drill) -> Vec<Conn>,
        lasting: Duration,
        mend: impl AsyncFnOnce(&Drill, Vec<Conn>),
    ) {
        let user = Arc::new(User::register(self.desk.addr(), "ann").await);
        let conversation = open_conversation(&user).await;
        let diary = Arc::new(Diary::default());
        let mut people = tokio::task::JoinSet::new();
        for number in 0..WRITERS {
            let (user, conversation) = (user.clone(), conversation.clone());
            people.spawn(work(self.desk.addr(), user, conversation, number, diary.clone()));
        }
        people.spawn(look_at_health(self.desk.addr(), diary.clone()));
        let served = |after: Instant, count: usize| {
            let seen = diary.seen.lock().unwrap();
            let mut written = seen.iter().filter(|seen| seen.is_write && seen.status == 201);
            written.by_ref().filter(|seen| seen.begun > after).take(count).count() == count
        };
        let began = Instant::now();
        eventually(Duration::from_secs(20), || async { served(began, 2 * WRITERS) }).await;
        let descriptors = self.desk.open_fds();

        let held = strike(&self).await;
        let struck = Instant::now();
        let opened = self.proxy.opened();
        tokio::time::sleep(lasting).await;
        let (mending, away) = (Instant::now(), struck.elapsed());
        let reconnects = (self.proxy.opened() - opened) as f64 / away.as_secs_f64();
        mend(&self, held).await;
        let mended = Instant::now();
        eventually(Duration::from_secs(20), || async { served(mended, 2 * WRITERS) }).await;
        diary.over.store(true, Relaxed);
        people.join_all().await;

        let back = judge(&diary, struck, mending, mended);
        println!("back after {back:?}, {reconnects:.1} connects/s while away");
        assert!(back < BACK_LIMIT, "back after {back:?}");
        assert!(reconnects < CONNECTS_PER_S_MAX, "{reconnects} connects/s");
        let acknowledged = diary.acknowledged.lock().unwrap().clone();
        assert_ledger(&self.schema, &acknowledged).await;
        // The pool is back to its size, and nothing is left open.
        eventually(Duration::from_secs(10), || async { open_transactions(&self.schema).await == 0 }).await;
        let connected = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}'",
            self.schema.name()
        );
        eventually(Duration::from_secs(10), || async {
            self.schema.query_one::<usize>(&connected).await <= POOL_SIZE + 2
                && self.proxy.open() <= POOL_SIZE + 2
                && self.desk.open_fds() <= descriptors + 2
        })
        .await;
    }
}

/// Posts, and now and then reads, until it is over. The pauses are a person's, and keep the machine usable.
async fn work(
    addr: std::net::SocketAddr,
    user: Arc<User>,
    conversation: Value,
    number: usize,
    diary: Arc<Diary>,
) {
    let client = Client::new(addr);
    for turn in 0.. {
        if diary.over.load(Relaxed) {
            break;
        }
        let content = format!("{number}-{turn}");
        let is_write = turn % 4 != 3;
        let begun = Instant::now();
        let answer = if is_write {
            post(&client, &user, &conversation, &content).send().await
        } else {
            client.get(&messages_path(&conversation)).bearer(&user.token).send().await
        };
        let status = answer.status;
        match status {
            201 => diary.acknowledged.lock().unwrap().push(content),
            200 => assert!(contents(&answer).iter().all(|content| content.contains('-'))),
            503 => assert!(answer.header("retry-after").is_some(), "503 without Retry-After"),
            _ => panic!("{status}: {}", answer.text()),
        }
        diary.seen.lock().unwrap().push(Seen { begun, took: answer.took, status, is_write });
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

async fn look_at_health(addr: std::net::SocketAddr, diary: Arc<Diary>) {
    let client = Client::new(addr);
    while !diary.over.load(Relaxed) {
        let health = client.get("/health").send().await.expect_status(200);
        assert!(health.took < HEALTH_LIMIT, "/health took {:?}", health.took);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks what people saw; how long after the mending the first write got through.
fn judge(diary: &Diary, struck: Instant, mending: Instant, mended: Instant) -> Duration {
    let seen = diary.seen.lock().unwrap();
    let slowest = seen.iter().map(|seen| seen.took).max().unwrap();
    assert!(slowest < REFUSED_LIMIT, "an answer took {slowest:?}");
    let meanwhile =
        seen.iter().filter(|seen| seen.begun > struck + STRIKE_LIMIT && seen.begun + seen.took < mending);
    let (mut refused, mut slowest_refusal) = (0, Duration::ZERO);
    for seen in meanwhile {
        // Reads may go on where only writing is impossible.
        assert!(seen.status == 503 || !seen.is_write, "{} while the database was away", seen.status);
        refused += u32::from(seen.status == 503);
        slowest_refusal = slowest_refusal.max(seen.took);
    }
    assert!(refused > 0, "nobody noticed");
    let late = seen.iter().filter(|seen| seen.begun > mended + BACK_LIMIT);
    assert_eq!(late.filter(|seen| seen.status == 503).count(), 0, "503 long after");
    println!("{refused} refused, the slowest after {slowest_refusal:?}; slowest of all {slowest:?}");
    let through = seen.iter().filter(|seen| seen.status == 201).map(|seen| seen.begun + seen.took);
    through.filter(|at| *at > mending).min().unwrap().saturating_duration_since(mended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted() {
    let strike = async |drill: &Drill| {
        drill.database.kill();
        Vec::new()
    };
    let mend = async |drill: &Drill, _: Vec<Conn>| drill.database.restart().await;
    Drill::start().await.run(strike, Duration::from_secs(3), mend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_twenty_seconds() {
    let strike = async |drill: &Drill| {
        drill.database.freeze();
        Vec::new()
    };
    let mend = async |drill: &Drill, _: Vec<Conn>| drill.database.thaw();
    Drill::start().await.run(strike, Duration::from_secs(20), mend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_of_other_peoples_connections() {
    let strike = async |drill: &Drill| {
        drill.database.set_max_connections(10).await;
        drill.proxy.refuse();
        drill.proxy.cut_all();
        let mut others = Vec::new();
        // Those that were cut take a moment to go.
        let full = || async {
            let opts = opts_from_url(&drill.schema.url());
            match Conn::new(opts).await {
                Ok(conn) => Some(Ok(conn)),
                Err(error) => Some(Err(error)),
            }
        };
        let mut refusals = 0;
        while refusals < 20 {
            match eventually_some(Duration::from_secs(5), full).await {
                Ok(conn) => others.push(conn),
                Err(_) => refusals += 1,
            }
        }
        drill.proxy.pass();
        others
    };
    let mend = async |_: &Drill, others: Vec<Conn>| {
        for conn in others {
            conn.disconnect().await.unwrap();
        }
    };
    Drill::start().await.run(strike, Duration::from_secs(5), mend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_for_a_while() {
    let strike = async |drill: &Drill| {
        drill.database.set_read_only(true).await;
        Vec::new()
    };
    let mend = async |drill: &Drill, _: Vec<Conn>| drill.database.set_read_only(false).await;
    Drill::start().await.run(strike, Duration::from_secs(4), mend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_through() {
    let strike = async |drill: &Drill| {
        drill.proxy.blackhole();
        Vec::new()
    };
    let mend = async |drill: &Drill, _: Vec<Conn>| drill.proxy.pass();
    Drill::start().await.run(strike, Duration::from_secs(8), mend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused() {
    let strike = async |drill: &Drill| {
        drill.proxy.refuse();
        drill.proxy.cut_all();
        Vec::new()
    };
    let mend = async |drill: &Drill, _: Vec<Conn>| drill.proxy.pass();
    Drill::start().await.run(strike, Duration::from_secs(4), mend).await;
}

/// Nobody asks anything while it restarts; the pool does not know yet.
#[tokio::test]
async fn restarted_while_idle() {
    let drill = Drill::start().await;
    let ann = User::register(drill.desk.addr(), "ann").await;
    let conversation = open_conversation(&ann).await;
    post(&ann.client, &ann, &conversation, "before").send().await.expect_status(201);
    drill.database.restart().await;
    post(&ann.client, &ann, &conversation, "after").send().await.expect_status(201);
    drill.database.restart().await;
    let read = ann.get(&messages_path(&conversation)).await;
    assert!(matches!(read.status, 200 | 503), "{}", read.text());
    assert_ledger(&drill.schema, &["before".to_owned(), "after".to_owned()]).await;
}

/// A pool full of idle connections to a frozen server costs a request one ping and one attempt to connect,
/// however many they are, and a crowd waits no longer than one.
#[tokio::test]
async fn frozen_while_idle() {
    const IDLE: usize = 10;
    const CROWD: usize = 50;
    let database = Server::start().await;
    let schema = Schema::on(&database).await;
    let library = Library::new(&schema.url(), None, IDLE);
    let mut held = Vec::new();
    for _ in 0..IDLE {
        held.push(library.db.writer().await.unwrap());
    }
    drop(held);
    tokio::time::sleep(Duration::from_millis(1_100)).await; // idle for long enough to be pinged
    database.freeze();
    // The signal takes a moment: until a stranger is not greeted.
    eventually(BACK_LIMIT, || async {
        let greeted = Conn::new(database.admin_opts());
        tokio::time::timeout(Duration::from_millis(300), greeted).await.is_err()
    })
    .await;
    let begun = Instant::now();
    assert!(library.db.writer().await.is_err());
    let alone = begun.elapsed();
    assert!(alone < Duration::from_millis(3_500), "one waited {alone:?}");
    let begun = Instant::now();
    let crowd = futures_util::future::join_all((0..CROWD).map(|_| library.db.writer())).await;
    assert!(crowd.iter().all(Result::is_err));
    let together = begun.elapsed();
    assert!(together < Duration::from_millis(3_500), "a crowd waited {together:?}");
    println!("one waited {alone:?}, a crowd {together:?}");
    database.thaw();
    eventually(BACK_LIMIT, || async { library.db.writer().await.is_ok() }).await;
}

/// A connection that the server closed a moment ago, too short for a ping, costs a transaction nothing.
#[tokio::test]
async fn cut_a_moment_ago() {
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let desk = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr())).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let conversation = open_conversation(&ann).await;
    let mut posted = Vec::new();
    for number in 0..10 {
        let content = format!("{number}");
        post(&ann.client, &ann, &conversation, &content).send().await.expect_status(201);
        posted.push(content);
        proxy.cut_all();
    }
    assert_ledger(&schema, &posted).await;
}

const HOLD: Statement = Statement { name: "test.hold", sql: "UPDATE marks SET nonce = 2 WHERE nonce = 1" };

/// A client whose machine or network is gone in the middle of a transaction: the server cannot know, and must not
/// keep others from what it locked for minutes.
#[tokio::test]
async fn what_a_vanished_client_locked_is_soon_free() {
    let schema = Schema::fresh().await;
    schema.execute("CREATE TABLE marks (nonce BIGINT PRIMARY KEY)").await;
    schema.execute("INSERT INTO marks VALUES (1)").await;
    let proxy = Proxy::start(schema.server_addr().await);
    let library = Library::new(&schema.url_via(proxy.addr()), None, 1);
    let mut transaction = library.db.transaction().await.unwrap();
    transaction.begin().run(&HOLD, ()).await.unwrap();
    proxy.blackhole();
    // Longer than the longest that a client may be silent with a transaction open.
    eventually(Duration::from_secs(40), || async {
        let mut other = schema.connect().await;
        other.query_drop("SET innodb_lock_wait_timeout = 1").await.unwrap();
        other.query_drop("UPDATE marks SET nonce = 3 WHERE nonce = 1").await.is_ok()
    })
    .await;
    assert_eq!(schema.query_one::<u64>("SELECT nonce FROM marks").await, 3);
    drop(transaction);
}

const WRITE: Statement = Statement { name: "test.write", sql: "INSERT INTO marks (nonce) VALUES (?)" };

/// A failover: the name leads elsewhere now, the old writer is still there and read-only.
#[tokio::test]
async fn a_demoted_writer_is_left_for_the_new_one() {
    let (old, new) = tokio::join!(Server::start(), Server::start());
    let schema = Schema::on(&old).await;
    let name = schema.name();
    let mut on_new = new.admin().await;
    for statement in [
        format!("CREATE DATABASE {name}"),
        format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{name}'"),
        format!("CREATE USER '{name}'@'localhost' IDENTIFIED BY '{name}'"),
        format!("GRANT ALL ON {name}.* TO '{name}'@'%'"),
        format!("GRANT ALL ON {name}.* TO '{name}'@'localhost'"),
        format!("CREATE TABLE {name}.marks (nonce BIGINT PRIMARY KEY)"),
    ] {
        on_new.query_drop(statement).await.unwrap();
    }
    schema.execute("CREATE TABLE marks (nonce BIGINT PRIMARY KEY)").await;
    let proxy = Proxy::start(old.addr());
    let library = Library::new(&schema.url_via(proxy.addr()), None, POOL_SIZE);
    let write = async |nonce: u64| -> bool {
        let Ok(mut connection) = library.db.writer().await else { return false };
        connection.run(&WRITE, (nonce,)).await.is_ok()
    };
    // All connections of the pool lead to the old one.
    let mut held = Vec::new();
    for _ in 0..POOL_SIZE {
        held.push(library.db.writer().await.unwrap());
    }
    drop(held);
    assert!(write(1).await);
    old.set_read_only(true).await;
    proxy.set_upstream(new.addr());
    let begun = Instant::now();
    let mut failed = 0;
    for nonce in 2..20 {
        if !write(nonce).await {
            failed += 1;
            eventually(BACK_LIMIT, || write(nonce)).await;
        }
    }
    println!("{failed} writes failed, {:?} for all", begun.elapsed());
    assert_eq!(failed, 1, "the first failure tells of all connections");
    let on_old: Vec<u64> = schema.query("SELECT nonce FROM marks").await;
    assert_eq!(on_old, [1]);
    let count: u64 = on_new.query_first(format!("SELECT COUNT(*) FROM {name}.marks")).await.unwrap().unwrap();
    assert_eq!(count, 18);
    // And never back to one that is read-only.
    proxy.set_upstream(old.addr());
    proxy.cut_all();
    assert!(!write(100).await, "taken by a read-only server");
    drop(connect(old.admin_opts()).await);
}
