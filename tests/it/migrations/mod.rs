//! Databases that older builds made are brought forward, whatever happens meanwhile; others are refused, and left
//! alone: none of our commands panics, and each says what to do.

mod additive;
mod refusals;
mod runs;
mod side_by_side;
mod waits;

use hyperdesk::db::migrations::{MIGRATIONS, Migration};
use mysql_async::prelude::Queryable;

use crate::support::server::all_of;
use crate::support::{Hyperdesk, Schema, User, run_command};

/// As the first build made it. 101 and 102 were changed after that.
const FIRST_BUILD: &str = include_str!("first_build.sql");
/// What the builds before 104 remembered their migrations in.
const OLDER_MEMORY: &str = "CREATE TABLE schema_migrations (
    version INT UNSIGNED NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// What a cursor names.
const POSITION: &str = "SELECT CONCAT(seq, ' ', at) FROM feed_head";

pub async fn migrate(schema: &Schema) -> std::process::Output {
    run_command(&["migrate"], &[("DATABASE_URL", &schema.url())]).await
}

async fn migrates(schema: &Schema) {
    let done = migrate(schema).await;
    assert!(done.status.success(), "{}", all_of(&done));
}

fn statements(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(";\n")
        .map(str::trim)
        .filter(|statement| statement.lines().any(|line| !line.trim().is_empty() && !line.starts_with("--")))
}

async fn remember(schema: &Schema, table: &str, migration: &Migration) {
    let Migration { version, name, .. } = migration;
    schema
        .execute(format!(
            "INSERT INTO {table} (version, name, applied_at) VALUES ({version}, '{name}', NOW(6))"
        ))
        .await;
}

/// A database that the first build made, with two conversations and five messages, three of them unread.
async fn of_first_build() -> Schema {
    let schema = Schema::fresh().await;
    schema.execute(OLDER_MEMORY).await;
    for statement in statements(FIRST_BUILD) {
        schema.execute(statement).await;
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version % 100 < 3) {
        remember(&schema, "schema_migrations", migration).await;
    }
    for insert in [
        "users (id, username, password_digest, created_at, updated_at) VALUES
            (1, 'ann', 'x', NOW(6), NOW(6)), (2, 'bob', 'x', NOW(6), NOW(6))",
        "conversations (id, title, status, initiator_id, assigned_expert_id, created_at, updated_at) VALUES
            (1, 'a', 'active', 1, 2, NOW(6), NOW(6)), (2, 'b', 'waiting', 2, NULL, NOW(6), NOW(6))",
        "messages (conversation_id, sender_id, sender_role, content, is_read, created_at, updated_at) VALUES
            (1, 1, 'initiator', 'read', TRUE, NOW(6), NOW(6)), (1, 1, 'initiator', 'new', FALSE, NOW(6), NOW(6)),
            (1, 2, 'expert', 'new', FALSE, NOW(6), NOW(6)), (1, 2, 'expert', 'newer', FALSE, NOW(6), NOW(6)),
            (2, 2, 'initiator', 'read', TRUE, NOW(6), NOW(6))",
        "events (seq, at, kind, conversation_id) VALUES (1, NOW(6), 'opened', 1), (NULL, NULL, 'opened', 2)",
    ] {
        schema.execute(format!("INSERT INTO {insert}")).await;
    }
    schema.execute("UPDATE feed_head SET seq = 1").await;
    schema
}

/// A database of the builds before this table of migrations: their files are still the same.
async fn of_older_build() -> Schema {
    let schema = Schema::fresh().await;
    schema.execute(OLDER_MEMORY).await;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version % 100 < 4) {
        for statement in migration.statements() {
            schema.execute(statement).await;
        }
        remember(&schema, "schema_migrations", migration).await;
    }
    schema
}

/// All tables' columns and keys, in a text; but for the older memory of migrations, which stays where it was.
async fn shape(schema: &Schema) -> String {
    let columns: Vec<String> = schema
        .query(
            "SELECT CONCAT_WS(' ', table_name, column_name, column_type, is_nullable, column_default, extra,
                collation_name)
            FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name <> 'schema_migrations'
            ORDER BY table_name, ordinal_position",
        )
        .await;
    let keys: Vec<String> = schema
        .query(
            "SELECT CONCAT_WS(' ', table_name, index_name, seq_in_index, column_name, non_unique)
            FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name <> 'schema_migrations'
            ORDER BY table_name, index_name, seq_in_index",
        )
        .await;
    assert!(columns.len() > 50 && keys.len() > 20);
    format!("{}\n{}", columns.join("\n"), keys.join("\n"))
}

async fn fresh_shape() -> String {
    let schema = Schema::fresh().await;
    migrates(&schema).await;
    shape(&schema).await
}

async fn unread(schema: &Schema) -> Vec<(i64, i64, i64)> {
    schema
        .query("SELECT unread, unread_from_initiator, unread_from_expert FROM conversations ORDER BY id")
        .await
}

async fn checksums(schema: &Schema) -> Vec<(u32, Option<String>)> {
    schema.query("SELECT version, checksum FROM hyperdesk_migrations ORDER BY version").await
}

fn expected_checksums() -> Vec<(u32, Option<String>)> {
    MIGRATIONS.iter().map(|migration| (migration.version, Some(migration.checksum()))).collect()
}

#[tokio::test]
async fn the_first_builds_database_is_brought_forward() {
    let schema = of_first_build().await;
    let position: String = schema.query_one(POSITION).await;
    let all = (0..3).map(|_| migrate(&schema));
    for done in futures_util::future::join_all(all).await {
        assert!(done.status.success(), "{}", all_of(&done));
    }
    assert_eq!(shape(&schema).await, fresh_shape().await);
    assert_eq!(unread(&schema).await, [(3, 1, 2), (0, 0, 0)]);
    assert_eq!(checksums(&schema).await, expected_checksums());
    assert_ne!(schema.query_one::<String>(POSITION).await, position, "cursors begin anew");
    // And is served: people, questions, answers.
    let desk = Hyperdesk::builder(&schema).without_migrate().start().await;
    let eve = User::register(desk.addr(), "eve").await;
    let made = eve.post("/conversations", serde_json::json!({"title": "New"})).await.expect_status(201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    eve.post("/messages", serde_json::json!({"conversationId": id, "content": "hello"}))
        .await
        .expect_status(201);
}

/// Whether a statement leaves something behind when its connection is gone.
fn lasts(statement: &str) -> bool {
    let first = statement.lines().find(|line| !line.starts_with("--")).expect("more than comments");
    !["SET ", "PREPARE ", "DEALLOCATE "].iter().any(|word| first.starts_with(word))
}

/// Broken off after any statement, in all files that alter what the first build made, and between two files.
#[tokio::test]
async fn a_migration_that_was_interrupted_anywhere_is_finished() {
    let expected = fresh_shape().await;
    let altering = MIGRATIONS.iter().filter(|migration| (103..200).contains(&migration.version));
    let statements: Vec<&str> = altering.flat_map(Migration::statements).collect();
    let breaks = (1..=statements.len()).filter(|done| lasts(statements[done - 1]));
    let breaks: Vec<usize> = std::iter::once(0).chain(breaks).collect();
    assert!(breaks.len() > 10, "{breaks:?}");
    for done in breaks {
        let schema = of_first_build().await;
        let mut conn = schema.connect().await;
        for statement in &statements[..done] {
            conn.query_drop(*statement).await.unwrap();
        }
        drop(conn);
        migrates(&schema).await;
        assert_eq!(shape(&schema).await, expected, "after {done} statements");
        assert_eq!(unread(&schema).await, [(3, 1, 2), (0, 0, 0)], "after {done} statements");
    }
}

#[tokio::test]
async fn an_existing_installation_is_carried_over() {
    for memory in ["", "whole", "empty"] {
        let schema = of_older_build().await;
        let position: String = schema.query_one(POSITION).await;
        if memory == "empty" {
            // Broken off between the table and its rows.
            schema
                .execute(
                    "CREATE TABLE hyperdesk_migrations (version INT UNSIGNED NOT NULL PRIMARY KEY,
                        name VARCHAR(255) NOT NULL,
                        checksum CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
                        applied_at DATETIME(6) NOT NULL
                    ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                )
                .await;
        }
        let runs = if memory == "whole" { 1 } else { 3 };
        let all = (0..runs).map(|_| migrate(&schema));
        for done in futures_util::future::join_all(all).await {
            assert!(done.status.success(), "{}", all_of(&done));
        }
        assert_eq!(shape(&schema).await, fresh_shape().await);
        assert_eq!(checksums(&schema).await, expected_checksums());
        let before = "SELECT COUNT(*) FROM hyperdesk_migrations new
            JOIN schema_migrations old ON old.version = new.version AND old.applied_at = new.applied_at";
        let older: u64 = schema.query_one("SELECT COUNT(*) FROM schema_migrations").await;
        assert_eq!(schema.query_one::<u64>(before).await, older, "they keep their times");
        assert_eq!(schema.query_one::<String>(POSITION).await, position, "cursors go on");
    }
}

/// What is looked for in a database is what the files make: no more, and no less.
#[tokio::test]
async fn the_columns_that_are_wanted_are_those_that_are_made() {
    let schema = Schema::fresh().await;
    migrates(&schema).await;
    let mut made: Vec<(String, String, bool)> = schema
        .query(
            "SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name <> 'hyperdesk_migrations'",
        )
        .await;
    let wanted = hyperdesk::db::migrations::wanted(MIGRATIONS.iter().map(|migration| migration.sql));
    let mut wanted: Vec<(String, String, bool)> = wanted
        .into_iter()
        .map(|want| (want.table.to_owned(), want.column.to_owned(), want.may_be_null))
        .collect();
    made.sort();
    wanted.sort();
    assert_eq!(wanted, made);
}
