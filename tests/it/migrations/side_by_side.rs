//! Version N of the server and N+1 on one database: N goes on, and may start, on the schema of N+1; N+1 waits for its
//! schema, and serves what N left there; and N serves nothing any more once N+1 took away what it needs.

use std::cell::Cell;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hyperdesk::db::migrations::{MIGRATIONS, Migration};
use hyperdesk::services::{PACKETS, STATEMENTS};
use mysql_async::prelude::Queryable;
use serde_json::json;

use super::{migrate, migrates};
use crate::board;
use crate::helpdesk::{ask, claim, say};
use crate::stock::{OWN, Program, QUANTITY};
use crate::support::rails::{digest, password};
use crate::support::server::all_of;
use crate::support::{Hyperdesk, Schema, User, eventually};

const SOON: Duration = Duration::from_secs(30);
/// Servers at once.
const AT_ONCE: usize = 2;

/// As `hyperdesk migrate` makes it.
const MEMORY: &str = "CREATE TABLE hyperdesk_migrations (
    version INT UNSIGNED NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    checksum CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

async fn remember(schema: &Schema, version: u32, name: &str, checksum: &str) {
    schema
        .execute(format!(
            "INSERT INTO hyperdesk_migrations VALUES ({version}, '{name}', '{checksum}', NOW(6))"
        ))
        .await;
}

/// The schema as it was after the first so many migrations.
async fn after(count: usize) -> Schema {
    let schema = Schema::fresh().await;
    if count == 0 {
        return schema;
    }
    schema.execute(MEMORY).await;
    let mut conn = schema.connect().await;
    for migration in &MIGRATIONS[..count] {
        for statement in migration.statements() {
            conn.query_drop(statement).await.unwrap();
        }
        remember(&schema, migration.version, migration.name, &migration.checksum()).await;
    }
    schema
}

async fn tables(schema: &Schema) -> Vec<String> {
    schema
        .query(
            "SELECT table_name FROM information_schema.tables
            WHERE table_schema = DATABASE() AND table_name <> 'hyperdesk_migrations' ORDER BY table_name",
        )
        .await
}

/// Rows as that version wrote them, which names none of the columns that came later.
async fn fill(schema: &Schema) {
    let (ann, bob) = (digest("ann"), digest("bob"));
    let of_ann_and_bob = format!(
        "users (id, username, password_digest, created_at, updated_at)
        VALUES (1, 'ann', '{ann}', NOW(6), NOW(6)), (2, 'bob', '{bob}', NOW(6), NOW(6))"
    );
    let tables = tables(schema).await;
    for insert in [
        of_ann_and_bob.as_str(),
        "expert_profiles (user_id, bio, knowledge_base_links, created_at, updated_at)
            VALUES (2, 'knows', '[]', NOW(6), NOW(6))",
        "conversations (id, title, status, initiator_id, assigned_expert_id, last_message_at, unread,
            unread_from_initiator, unread_from_expert, created_at, updated_at)
            VALUES (1, 'kept', 'active', 1, 2, '2026-01-02', 1, 0, 1, '2026-01-01', '2026-01-02')",
        "expert_assignments (conversation_id, expert_id, status, assigned_at, created_at, updated_at)
            VALUES (1, 2, 'active', NOW(6), NOW(6), NOW(6))",
        "messages (conversation_id, sender_id, sender_role, content, is_read, created_at, updated_at)
            VALUES (1, 1, 'initiator', 'asked', TRUE, '2026-01-01', '2026-01-01'),
                (1, 2, 'expert', 'answered', FALSE, '2026-01-02', '2026-01-02')",
        "revoked_sessions (sid, expires_at) VALUES (REPEAT('s', 16), '2036-01-01')",
        "idempotency_keys (user_id, key_hash, request_hash, created_at)
            VALUES (1, REPEAT('k', 32), REPEAT('r', 32), NOW(6))",
        "outbox (kind, conversation_id) VALUES ('opened', 1)",
        "oauth_clients (name, secret_hash, scope, created_at) VALUES ('till', REPEAT('s', 32), 'read', NOW(6))",
        "books (id, seller_id, title, author, description, price, stock, created_at, updated_at)
            VALUES (1, 1, 'Dune', 'Herbert', 'Sand.', 9.50, 3, NOW(6), NOW(6))",
        "purchases (book_id, buyer_id, quantity, unit_price, total_price, status, created_at, updated_at)
            VALUES (1, 2, 1, 9.50, 9.50, 'Pending Payment', NOW(6), NOW(6))",
        "board_posts (message, picture, created_at) VALUES ('hello', 'x.gif', NOW(6))",
        "date_times (at) VALUES ('2026-01-01')",
    ] {
        let table = insert.split_whitespace().next().unwrap();
        if tables.iter().any(|known| known == table) {
            schema.execute(format!("INSERT INTO {insert}")).await;
        }
    }
}

/// What a server that runs completes by itself, bit by bit.
const COMPLETED_LATER: &str = "'username_key', 'message_count', 'message_counted_at'";

/// All rows, in the columns that the tables have now: to be read again when they have more. Without the feed's own.
async fn rows(schema: &Schema) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for table in tables(schema).await {
        if ["outbox", "events", "runs", "feed_head"].contains(&table.as_str()) {
            continue;
        }
        let columns: Vec<String> = schema
            .query(format!(
                "SELECT CONCAT('COALESCE(HEX(', column_name, '), 0)') FROM information_schema.columns
                WHERE table_schema = DATABASE() AND table_name = '{table}'
                AND column_name NOT IN ({COMPLETED_LATER}) ORDER BY ordinal_position"
            ))
            .await;
        let read = format!("SELECT CONCAT_WS(',', {}) AS one FROM {table} ORDER BY one", columns.join(", "));
        let lines = schema.query(&read).await;
        all.push((read, lines));
    }
    all
}

/// What the rows of [`fill`] are by the API; and that they can be gone on with.
async fn serves_what_was_there(desk: &Hyperdesk, tables_before: &[String]) {
    let had = |table: &str| tables_before.iter().any(|known| known == table);
    if had("users") {
        let ann = User::login(desk.addr(), "ann", &password("ann")).await;
        let shown = ann.get("/conversations").await.expect_status(200).json();
        assert_eq!((&shown[0]["title"], shown.as_array().unwrap().len()), (&json!("kept"), 1));
        assert_eq!(shown[0]["unreadCount"], 1, "{shown}");
        let messages = ann.get("/conversations/1/messages").await.expect_status(200).json();
        let contents: Vec<&str> =
            messages.as_array().unwrap().iter().filter_map(|message| message["content"].as_str()).collect();
        assert_eq!(contents, ["asked", "answered"]);
        say(&ann, "1", "more").await;
    }
    if had("books") {
        let book = desk.client().get("/books/1").send().await.expect_status(200).json();
        assert_eq!((&book["title"], &book["price"]), (&json!("Dune"), &json!("9.50")));
    }
    if had("board_posts") {
        let read = desk.client().get("/readMessages").send().await.expect_status(200);
        assert!(read.text().contains("hello"));
    }
    if had("date_times") {
        let latest = desk.client().get("/latest_date_time").send().await.expect_status(200);
        assert_eq!(latest.json()["date"], "2026-01-01");
    }
}

async fn is_ready(desk: &Hyperdesk) -> bool {
    desk.admin_client().get("/ready").send().await.status == 200
}

/// Not ready, with these words; and 503 for what needs the database.
async fn is_refused(desk: &Hyperdesk, words: &str) {
    let told = || async {
        let answer = desk.admin_client().get("/ready").send().await;
        answer.status == 503 && answer.text().contains(words)
    };
    eventually(SOON, told).await;
    let fields = json!({"username": "ann", "password": password("ann")});
    desk.client().post("/auth/login").json(fields).send().await.expect_status(503);
    desk.client().get("/date_time").send().await.expect_status(503);
    desk.client().get("/health").send().await.expect_status(200);
}

/// This version started on the schema of each one before it: it waits, says for what, loses nothing of what is there
/// when it is brought forward, and serves it, all in one process.
#[tokio::test]
async fn each_older_schema_is_waited_for_and_its_data_served() {
    let walk = async |count: usize| {
        let schema = after(count).await;
        fill(&schema).await;
        let (tables_before, before) = (tables(&schema).await, rows(&schema).await);
        let desk = Hyperdesk::builder(&schema).without_migrate().start().await;
        let words = match count {
            0 => "the schema is empty: run `hyperdesk migrate`".to_owned(),
            _ => format!("lacks the migrations {}", MIGRATIONS[count].version),
        };
        is_refused(&desk, &words).await;
        migrates(&schema).await;
        for (read, lines) in before {
            assert_eq!(schema.query::<String>(&read).await, lines, "after {count} migrations: {read}");
        }
        eventually(SOON, || is_ready(&desk)).await;
        serves_what_was_there(&desk, &tables_before).await;
    };
    let walks = stream::iter(0..MIGRATIONS.len()).map(walk).buffer_unordered(AT_ONCE);
    walks.collect::<Vec<()>>().await;
}

/// What each service does with its tables. `name` is not used twice on one schema.
async fn journeys(desk: &Hyperdesk, schema: &Schema, name: &str) {
    let ann = User::register(desk.addr(), &format!("ann-{name}")).await;
    let eve = User::register(desk.addr(), &format!("eve-{name}")).await;
    let id = ask(&ann, "Side by side").await;
    claim(&eve, &id).await;
    say(&ann, &id, "hello").await;
    let message = say(&eve, &id, "yes").await;
    ann.put(&format!("/messages/{message}/read"), json!({})).await.expect_status(200);
    assert_eq!(ann.get(&format!("/conversations/{id}/messages")).await.json().as_array().unwrap().len(), 2);
    eve.put("/expert/profile", json!({"bio": "knows", "knowledgeBaseLinks": []})).await.expect_status(200);
    eve.get("/expert/queue").await.expect_status(200);
    eve.post(&format!("/expert/conversations/{id}/unclaim"), json!({})).await.expect_status(200);
    ann.get("/api/updates").await.expect_status(200);
    ann.post("/auth/logout", json!({})).await.expect_status(200);

    let program = Program::create(schema, "read,stock").await;
    let token = program.token(desk.addr(), "stock").await;
    let client = desk.client();
    client.post(QUANTITY).bearer(&token).json(json!({"quantity": 1})).send().await.expect_status(200);
    client.put(OWN).bearer(&token).send().await.expect_status(200);

    let book =
        json!({"title": name, "author": "Ann Author", "description": "Good.", "price": "19.90", "stock": 3});
    let book = eve.post("/books", book).await.expect_status(201).json()["id"].as_u64().unwrap();
    eve.post(&format!("/books/{book}/purchases"), json!({"quantity": 1})).await.expect_status(201);
    board::upload(&client, name, "cat.gif", board::GIF).await.expect_status(200);
    assert!(client.get("/readMessages").send().await.expect_status(200).text().contains(name));
    client.get("/date_time").send().await.expect_status(200);
}

/// What a newer version may do at most by the rule in [`super::additive`]: columns in every table, before all others, so
/// that nobody may count columns; keys; tables.
async fn make_newer(schema: &Schema) {
    let mut conn = schema.connect().await;
    for table in tables(schema).await {
        for alter in [
            "ADD COLUMN newer VARCHAR(20) NULL FIRST",
            "ADD COLUMN newest INT NOT NULL DEFAULT 7, ADD KEY n (newer)",
        ] {
            conn.query_drop(format!("ALTER TABLE {table} {alter}")).await.unwrap();
        }
    }
    conn.query_drop("CREATE TABLE moods (id BIGINT NOT NULL PRIMARY KEY)").await.unwrap();
    remember(schema, 9001, "moods", &"0".repeat(64)).await;
}

#[tokio::test]
async fn a_schema_that_becomes_a_newer_versions_is_served_on() {
    let schema = Schema::fresh().await;
    let mut desk = Hyperdesk::builder(&schema).start().await;
    // Its statements are prepared, and its lists in memory.
    journeys(&desk, &schema, "before").await;
    let poster = User::register(desk.addr(), "poster").await;
    let id = ask(&poster, "Posted into meanwhile").await;
    let cursor = poster.get("/api/updates").await.json()["cursor"].as_str().unwrap().to_owned();

    let (mut posted, is_newer) = (Vec::new(), Cell::new(false));
    let post = async {
        // One more after it is done.
        loop {
            let is_last = is_newer.get();
            posted.push(say(&poster, &id, "meanwhile").await);
            poster.get(&format!("/conversations/{id}")).await.expect_status(200);
            if is_last {
                return;
            }
        }
    };
    let make = async {
        make_newer(&schema).await;
        is_newer.set(true);
    };
    tokio::join!(make, post);
    assert!(posted.len() > 1);
    let path = format!("/api/updates?cursor={cursor}&wait=5");
    let news = || async {
        let text = poster.get(&path).await.expect_status(200).text();
        posted.iter().all(|message| text.contains(&format!("\"id\":\"{message}\"")))
    };
    eventually(SOON, news).await;
    journeys(&desk, &schema, "after").await;

    // A crash meanwhile, and one more of this version.
    desk.kill();
    desk.start_again().await;
    eventually(SOON, || is_ready(&desk)).await;
    journeys(&desk, &schema, "again").await;
    let another = Hyperdesk::builder(&schema).start().await;
    journeys(&another, &schema, "another").await;
    let said = another.logs().last(|line| line.message().contains("newer version"));
    assert!(said.is_some_and(|line| line.text.contains("9001")));
    migrates(&schema).await;
    assert_eq!(
        schema.query_one::<u64>("SELECT COUNT(*) FROM messages WHERE newer IS NULL").await,
        schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await
    );

    // And what no journey came by.
    let mut conn = schema.connect().await;
    let packets = PACKETS.iter().flat_map(|store| store.iter());
    let packets = packets.flat_map(|packet| packet.sql.split(';').map(move |text| (packet.name, text)));
    let statements = STATEMENTS.iter().flat_map(|store| store.iter());
    let statements = statements.map(|statement| (statement.name, statement.sql));
    for (name, text) in statements.chain(packets) {
        if text.trim() != "COMMIT" && !text.contains("START TRANSACTION") {
            let prepared = conn.prep(text.replace("'[?]'", "'[1]'")).await;
            assert!(prepared.is_ok(), "{name}: {prepared:?}");
        }
    }
}

#[tokio::test]
async fn where_a_newer_version_took_something_away_nothing_is_served() {
    const WHY: &str = "migration 9002_breaking_moods of a newer version took away what this version needs";
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    journeys(&desk, &schema, "before").await;
    let ann = User::register(desk.addr(), "ann").await;
    ann.get("/api/updates").await.expect_status(200);
    remember(&schema, 9002, "breaking_moods", &"0".repeat(64)).await;

    is_refused(&desk, WHY).await;
    // Nor is it answered from memory.
    eventually(SOON, || async { ann.get("/api/updates").await.status == 503 }).await;
    let said = desk.logs().last(|line| line.message().contains("not ready any more"));
    assert!(said.is_some_and(|line| line.message().contains(WHY)));
    let another = Hyperdesk::builder(&schema).without_migrate().start().await;
    is_refused(&another, WHY).await;
    let done = migrate(&schema).await;
    assert_eq!(done.status.code(), Some(65));
    assert!(all_of(&done).contains(WHY), "{}", all_of(&done));

    // A backup of before: both serve again by themselves.
    schema.execute("DELETE FROM hyperdesk_migrations WHERE version = 9002").await;
    for server in [&desk, &another] {
        eventually(SOON, || is_ready(server)).await;
    }
    eventually(SOON, || async { ann.get("/api/updates").await.status == 200 }).await;
    journeys(&desk, &schema, "after").await;
    journeys(&another, &schema, "another").await;
}

/// What this version calls breaking is no obstacle to it.
#[test]
fn numbers_of_migrations_rise() {
    let numbers: Vec<u32> = MIGRATIONS.iter().map(|Migration { version, .. }| *version).collect();
    assert!(numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");
}
