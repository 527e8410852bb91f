//! The feed against a real database: several instances in this process, each with a database pool of its own.

mod behind;
mod cut;
mod echo;
mod numbering;
mod polls;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyperdesk::chassis::list;
use hyperdesk::clock::Timestamp;
use hyperdesk::config::Config;
use hyperdesk::db::{Connection, Db, DbMetrics, Error, migrations};
use hyperdesk::feed::poll::{CursorPoll, SincePoll};
use hyperdesk::feed::{self, Cursor};
use hyperdesk::helpdesk::changes::{self, Class, CursorAsk, Feed, NewEvent, Shown};
use hyperdesk::helpdesk::store;
use hyperdesk::tasks::Tasks;
use hyperdesk::transaction;
use prometheus::Registry;

use crate::support::Schema;

const LONG: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(5);
const ANN: u64 = 1;
const BOB: u64 = 2;
const EVE: u64 = 3;

/// What a client asks that shows all, after this cursor.
fn all(cursor: Cursor) -> CursorAsk {
    CursorAsk { cursor, ask: Shown::ALL.told(true) }
}

/// One instance: its own pool, its own feed.
struct Instance {
    db: Arc<Db>,
    feed: Arc<Feed>,
    registry: Registry,
}

impl Instance {
    async fn start(schema: &Schema) -> Instance {
        Instance::at(&schema.url(), &[]).await
    }

    async fn at(url: &str, vars: &[(&str, &str)]) -> Instance {
        let mut all = HashMap::from([
            ("DATABASE_URL".to_owned(), url.to_owned()),
            ("WEB_CONCURRENCY".to_owned(), "2".to_owned()),
        ]);
        all.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = Config::from_vars(&all, &["helpdesk"]).expect("a configuration");
        let registry = Registry::new();
        let tasks = Tasks::new(&registry).unwrap();
        let db = Db::new(&config, DbMetrics::new(&registry).unwrap(), &tasks).expect("a pool");
        let db = Arc::new(db);
        let parts = feed::Parts { db: db.clone(), config: Arc::new(config), tasks };
        let feed = changes::start(parts, &registry).expect("a feed");
        Instance { db, feed, registry }
    }

    /// A counter.
    fn metric(&self, name: &str) -> u64 {
        let text = hyperdesk::metrics::render(&self.registry).expect("metrics");
        let text = String::from_utf8(text).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect(name).parse().expect("a whole number")
    }

    async fn since(&self, user: u64, class: Class, since: Timestamp) -> SincePoll<Class> {
        self.feed.since_waiting(0, user, class, since).await.expect("a fresh feed")
    }

    /// The JSON of a cursor poll that finds something.
    async fn news(&self, user: u64, cursor: Cursor) -> (serde_json::Value, Cursor) {
        match self.feed.cursor_later(1, user, all(cursor)).await.expect("a fresh feed") {
            CursorPoll::Changed(json, newer) => (serde_json::from_slice(&json).expect("JSON"), newer),
            other => panic!("no news: {other:?}"),
        }
    }
}

async fn migrated() -> Schema {
    let schema = Schema::fresh().await;
    migrate(&schema).await;
    schema
}

/// Three users and one waiting conversation of Ann's.
async fn migrate(schema: &Schema) {
    let instance = pool(&schema.url());
    migrations::apply(&instance).await.expect("a schema");
    // As if the feed had been there for a while: a `since` from before its begin is the database's business.
    schema.execute("UPDATE feed_head SET at = at - INTERVAL 1 HOUR").await;
    for (id, name) in [(ANN, "ann"), (BOB, "bob"), (EVE, "eve")] {
        schema
            .execute(format!(
                "INSERT INTO users (id, username, password_digest, created_at, updated_at)
                 VALUES ({id}, '{name}', '', NOW(6), NOW(6))"
            ))
            .await;
    }
}

fn pool(url: &str) -> Db {
    let vars = HashMap::from([("DATABASE_URL".to_owned(), url.to_owned())]);
    let config = Config::from_vars(&vars, &["helpdesk"]).expect("a configuration");
    let registry = Registry::new();
    let (metrics, tasks) = (DbMetrics::new(&registry).unwrap(), Tasks::new(&registry).unwrap());
    Db::new(&config, metrics, &tasks).expect("a pool")
}

/// Runs a change in a transaction, records it, and says that `user` wrote it.
async fn change<T>(
    instance: &Instance,
    user: u64,
    mut body: impl AsyncFnMut(&mut Connection) -> Result<(T, NewEvent), Error>,
) -> T {
    let done = async {
        transaction!(instance.db, connection => {
            let (value, event) = body(connection).await?;
            let id = changes::record_and_commit(connection, &event).await?;
            Ok::<_, Error>((value, id))
        })
    };
    let (value, id) = done.await.expect("a committed transaction");
    instance.feed.wrote(user, id, feed::Room::default());
    value
}

async fn open(instance: &Instance, user: u64) -> u64 {
    change(instance, user, async |connection| {
        let id = store::conversation_insert(connection, "T", user).await?;
        Ok((id, NewEvent::opened(id)))
    })
    .await
}

async fn post(instance: &Instance, conversation: u64, text: &str) -> u64 {
    change(instance, ANN, async |connection| {
        let posting = store::conversation_bump(connection, conversation, ANN).await?.expect("takes part");
        let id = store::message_insert(connection, posting, text.to_owned()).await?.id;
        Ok((id, NewEvent::message(conversation, id)))
    })
    .await
}

async fn claim(instance: &Instance, conversation: u64, expert: u64) {
    change(instance, expert, async |connection| {
        assert!(store::conversation_claim(connection, conversation, expert).await?);
        Ok(((), NewEvent::claimed(conversation, expert)))
    })
    .await;
}

async fn unclaim(instance: &Instance, conversation: u64, expert: u64) {
    change(instance, expert, async |connection| {
        assert!(store::conversation_unclaim(connection, conversation, expert).await?);
        Ok(((), NewEvent::unclaimed(conversation, expert)))
    })
    .await;
}

fn parsed(poll: SincePoll<Class>) -> serde_json::Value {
    match poll {
        SincePoll::Unchanged(_) => serde_json::json!([]),
        SincePoll::Changed(found, _) => serde_json::from_slice(&list::joined(&found)).expect("JSON"),
        other => panic!("no answer: {other:?}"),
    }
}

fn time(value: &serde_json::Value) -> Timestamp {
    Timestamp::parse_lenient(value.as_str().expect("a time")).expect("a time")
}

fn ids(list: &serde_json::Value) -> Vec<u64> {
    let list = list.as_array().expect("an array");
    list.iter().map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}
