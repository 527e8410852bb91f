//! The database layer, by what it must survive: clients that hang up, a database that goes away, other
//! transactions in the way.

mod away;
mod codes;
mod conflict;
mod crossing;
mod hostile;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperdesk::config::Config;
use hyperdesk::db::{Connection, Db, DbMetrics, Error, Statement};
use hyperdesk::tasks::Tasks;
use prometheus::Registry;
use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::ports::Reserved;
use crate::support::server::run_command;
use crate::support::{Client, Hyperdesk, Proxy, Response, Schema, User, eventually};

/// What is asked must be what is answered.
const ECHO: Statement = Statement { name: "test.echo", sql: "SELECT ?" };
const CONNECTION_ID: Statement = Statement { name: "test.connection_id", sql: "SELECT CONNECTION_ID()" };
/// As a condition, not as a column: there MySQL ends it at the statement's limit, but as if all were well.
const SLEEP: Statement = Statement {
    name: "test.sleep",
    sql: "SELECT COUNT(*) FROM (SELECT 1 UNION SELECT 2) rows_of_it WHERE SLEEP(?)",
};

/// The layer as the server uses it, in this process.
struct Library {
    db: Arc<Db>,
    registry: Registry,
}

impl Library {
    fn new(url: &str, reader: Option<&str>, pool_size: usize) -> Library {
        let mut vars = HashMap::from([
            ("DATABASE_URL".to_owned(), url.to_owned()),
            ("DB_POOL_SIZE".to_owned(), pool_size.to_string()),
        ]);
        vars.extend(reader.map(|url| ("DATABASE_READER_URL".to_owned(), url.to_owned())));
        let config = Config::from_vars(&vars, hyperdesk::services::NAMES).expect("a right configuration");
        let registry = Registry::new();
        let metrics = DbMetrics::new(&registry).expect("fresh names");
        let db = Db::new(&config, metrics, &Tasks::new(&registry).expect("a fresh name")).expect("a pool");
        db.register_gauges(&registry).expect("a fresh name");
        Library { db: Arc::new(db), registry }
    }

    /// One series of the exposition; 0 when it is not there.
    fn metric(&self, series: &str) -> f64 {
        let text = hyperdesk::metrics::render(&self.registry).expect("an exposition");
        let text = String::from_utf8(text).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

async fn connection_id(connection: &mut Connection) -> Result<u64, Error> {
    Ok(connection.first(&CONNECTION_ID, ()).await?.expect("a row"))
}

async fn echo(connection: &mut Connection, nonce: u64) -> Result<(), Error> {
    let answer: Option<u64> = connection.first(&ECHO, (nonce,)).await?;
    assert_eq!(answer, Some(nonce), "somebody else's answer");
    Ok(())
}

/// Transactions of this schema's user that are open now. The table is refreshed once in 100 ms only, and
/// only when nobody reads it.
async fn open_transactions(schema: &Schema) -> u64 {
    tokio::time::sleep(Duration::from_millis(150)).await;
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.innodb_trx t
         JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE p.user = '{}'",
        schema.name()
    );
    schema.query_one(sql).await
}

/// One post of a message.
fn post<'a>(client: &'a Client, user: &User, conversation: &Value, content: &str) -> Request<'a> {
    let fields = json!({"conversationId": conversation, "content": content});
    client.post("/messages").bearer(&user.token).json(fields)
}

async fn open_conversation(user: &User) -> Value {
    let made = user.post("/conversations", json!({"title": "Printer"})).await.expect_status(201);
    made.json()["id"].clone()
}

fn messages_path(conversation: &Value) -> String {
    format!("/conversations/{}/messages", conversation.as_str().expect("an id"))
}

/// The contents of an answer that lists messages.
fn contents(answer: &Response) -> Vec<String> {
    let list = answer.json();
    let list = list.as_array().expect("a list");
    list.iter().map(|message| message["content"].as_str().expect("a text").to_owned()).collect()
}

/// How often each content is in the database.
async fn counted(schema: &Schema) -> HashMap<String, u64> {
    schema.query("SELECT content, COUNT(*) FROM messages GROUP BY content").await.into_iter().collect()
}

/// What was acknowledged is there once, what was not is there once or not at all.
async fn assert_ledger(schema: &Schema, acknowledged: &[String]) {
    let counted = counted(schema).await;
    for content in acknowledged {
        assert_eq!(counted.get(content), Some(&1), "{content} was acknowledged");
    }
    for (content, count) in &counted {
        assert_eq!(*count, 1, "{content} is there more than once");
    }
    let mut distinct = acknowledged.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), acknowledged.len(), "the test's contents are unique");
}

#[tokio::test]
async fn the_pool_tells_how_it_is() {
    let schema = Schema::fresh().await;
    let library = Library::new(&schema.url(), None, 2);
    let gauge =
        |state: &str| library.metric(&format!("db_pool_connections{{pool=\"writer\",state=\"{state}\"}}"));
    let mut first = library.db.writer().await.unwrap();
    let second = library.db.writer().await.unwrap();
    assert_eq!((gauge("open"), gauge("idle"), gauge("max")), (2.0, 0.0, 2.0));

    let begun = Instant::now();
    let waiting = library.db.writer();
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert_eq!(gauge("waiting"), 1.0);
    assert!(matches!(waiting.await, Err(Error::Busy)));
    assert!(begun.elapsed() < Duration::from_secs(3), "the wait is limited");
    assert_eq!(library.metric("db_errors_total{kind=\"busy\"}"), 1.0);
    assert_eq!(library.metric("db_pool_wait_seconds_count"), 3.0);

    drop(second);
    assert_eq!((gauge("open"), gauge("idle"), gauge("waiting")), (2.0, 1.0, 0.0));
    echo(&mut first, 7).await.unwrap();
    let echoes = "db_statement_duration_seconds_count{statement=\"test.echo\"}";
    assert_eq!(library.metric(echoes), 1.0);
    assert_eq!(library.metric("db_connections_discarded_total"), 0.0);
    let cut = tokio::time::timeout(Duration::from_millis(50), first.run(&SLEEP, (1,))).await;
    assert!(cut.is_err(), "still asleep");
    drop(first);
    assert_eq!(library.metric("db_connections_discarded_total"), 1.0);
    assert_eq!((gauge("open"), gauge("idle")), (1.0, 1.0));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends_in_step() {
    let schema = Schema::fresh().await;
    let library = Library::new(&schema.url(), None, 1);
    let mut connection = library.db.writer().await.unwrap();
    let id = connection_id(&mut connection).await.unwrap();
    let begun = Instant::now();
    // The server's own limit comes first, so the connection lives on.
    let outcome = connection.run(&SLEEP, (30,)).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(4));
    drop(connection);
    let mut connection = library.db.writer().await.unwrap();
    echo(&mut connection, 1).await.unwrap();
    assert_eq!(connection_id(&mut connection).await.unwrap(), id, "the same connection");
}

#[tokio::test]
async fn a_killed_connection_never_goes_back() {
    let schema = Schema::fresh().await;
    let library = Library::new(&schema.url(), None, 1);
    for how in ["KILL", "KILL QUERY"] {
        let mut connection = library.db.writer().await.unwrap();
        let id = connection_id(&mut connection).await.unwrap();
        let asleep = async {
            let outcome = connection.run(&SLEEP, (2,)).await;
            drop(connection);
            outcome
        };
        let killed = async {
            let sleeps = format!(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id} AND info LIKE '%SLEEP%'"
            );
            eventually(Duration::from_secs(2), || async { schema.query_one::<u64>(&sleeps).await == 1 })
                .await;
            schema.execute(format!("{how} {id}")).await;
        };
        let (_outcome, ()) = tokio::join!(asleep, killed);
        // Whatever became of the statement, the next user's is answered.
        let mut next = library.db.writer().await.unwrap();
        echo(&mut next, id).await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_is_away_is_replaced_by_the_writer() {
    let schema = Schema::fresh().await;
    let refusing = Reserved::new();
    let silent = Proxy::start(schema.server_addr().await);
    silent.blackhole();
    for (dead, first_limit) in [(refusing.addr(), 1_000), (silent.addr(), 2_500)] {
        let library = Library::new(&schema.url(), Some(&schema.url_via(dead)), 4);
        for (asked, limit) in [(1, first_limit), (2, first_limit), (3, first_limit)] {
            let begun = Instant::now();
            let mut connection = library.db.reader().await.unwrap();
            echo(&mut connection, asked).await.unwrap();
            assert!(begun.elapsed() < Duration::from_millis(limit), "{:?}", begun.elapsed());
        }
        assert_eq!(library.metric("db_reader_fallbacks_total"), 3.0);
    }
    silent.pass();
    let with_reader = Library::new(&schema.url(), Some(&schema.url_via(silent.addr())), 2);
    let before = silent.opened();
    echo(&mut with_reader.db.reader().await.unwrap(), 4).await.unwrap();
    // The library before this one may still look for its reader there.
    assert!(silent.opened() > before, "a living reader is used");
    assert_eq!(with_reader.metric("db_reader_fallbacks_total"), 0.0);
    let without_reader = Library::new(&schema.url(), None, 2);
    echo(&mut without_reader.db.reader().await.unwrap(), 5).await.unwrap();
    assert_eq!(without_reader.metric("db_reader_fallbacks_total"), 1.0, "counted as the contract says");
}

#[tokio::test]
async fn migrations_run_twice_at_once_beside_a_server() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let conversation = open_conversation(&ann).await;
    let url = schema.url();
    let env = [("DATABASE_URL", url.as_str())];
    let migrations = async {
        let (one, two) = tokio::join!(run_command(&["migrate"], &env), run_command(&["migrate"], &env));
        assert!(one.status.success() && two.status.success(), "{one:?} {two:?}");
    };
    tokio::pin!(migrations);
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let content = format!("beside {number}");
        post(&ann.client, &ann, &conversation, &content).send().await.expect_status(201);
        acknowledged.push(content);
        if tokio::time::timeout(Duration::from_millis(5), &mut migrations).await.is_ok() {
            break;
        }
    }
    assert_ledger(&schema, &acknowledged).await;
    let versions: u64 = schema.query_one("SELECT COUNT(*) FROM hyperdesk_migrations").await;
    assert_eq!(versions, hyperdesk::db::migrations::MIGRATIONS.len() as u64);
}
