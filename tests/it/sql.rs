//! Every statement and every migration, tried on a fresh schema.

use std::collections::BTreeSet;
use std::path::Path;

use hyperdesk::db::migrations::MIGRATIONS;
use hyperdesk::db::pool::{IS_READ_ONLY, STATEMENT_CACHE};
use hyperdesk::db::{Packet, Statement};
use hyperdesk::import::store as import;
use hyperdesk::services::{PACKETS, STATEMENTS};
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row, Value};

use crate::helpdesk::Desk;
use crate::support::schema::numbers;
use crate::support::{Hyperdesk, Schema, run_command};

fn statements() -> impl Iterator<Item = &'static Statement> {
    STATEMENTS.iter().chain(&[import::STATEMENTS]).flat_map(|store| store.iter())
}

fn packets() -> impl Iterator<Item = &'static Packet> {
    PACKETS.iter().chain(&[import::PACKETS]).flat_map(|store| store.iter())
}

/// Names and texts: those of a packet are its statements'.
fn texts() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let packets = packets().map(|packet| (packet.name, packet.sql.split(';').collect()));
    statements().map(|statement| (statement.name, vec![statement.sql])).chain(packets)
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let desk = Desk::start().await;
    let mut conn = desk.schema.connect().await;
    for (name, texts) in texts() {
        for text in texts {
            // MySQL prepares no transaction's bounds, and parses a constant array when it prepares.
            if text.trim() == "COMMIT" || text.contains("START TRANSACTION") {
                continue;
            }
            if let Err(error) = conn.prep(text.replace("'[?]'", "'[1]'")).await {
                panic!("{name}: {error}");
            }
        }
    }
}

#[test]
fn connections_keep_every_statement_of_a_service_prepared() {
    // Where two are served, such as the feed with the help desk; and what this crate asks beside them.
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for statement in statements() {
        *counts.entry(statement.name.split('.').next().unwrap()).or_default() += 1;
    }
    let feed = counts.remove("feed").unwrap();
    for (service, count) in counts {
        assert!(feed + count + 5 <= STATEMENT_CACHE, "{service}: {count}, and {feed} of the feed");
    }
}

#[test]
fn every_file_is_one_statement_under_one_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut files = BTreeSet::new();
    for folder in std::fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let stem = file.strip_suffix(".sql").unwrap_or_else(|| panic!("{name}/{file} is no SQL"));
            let Some(shared) = stem.strip_prefix('_') else {
                files.insert(format!("{name}.{stem}"));
                continue;
            };
            // What several of this folder have in common.
            let text = std::fs::read_to_string(folder.path().join(&file)).unwrap();
            let of_folder = format!("{name}.");
            let users = statements().filter(|statement| statement.name.starts_with(&of_folder));
            assert!(
                users.filter(|user| user.sql.contains(&text)).count() > 1,
                "{name}/{shared} is not shared"
            );
        }
    }
    let migrations =
        MIGRATIONS.iter().map(|migration| format!("schema.{}_{}", migration.version, migration.name));
    let mut used: Vec<String> = statements().map(|statement| statement.name.to_owned()).collect();
    used.extend(packets().map(|packet| packet.name.to_owned()));
    used.extend(migrations);
    let distinct: BTreeSet<String> = used.iter().cloned().collect();
    assert_eq!(distinct.len(), used.len(), "a file is used twice");
    assert_eq!(distinct, files, "files on the right, their uses on the left");
    for statement in statements() {
        let (first, rest) = statement.sql.split_once('\n').unwrap();
        let note = first.strip_prefix("-- ").and_then(|line| line.strip_prefix(statement.name));
        assert!(
            note.is_some_and(|note| note.is_empty() || note.starts_with(": ")),
            "{}: {first}",
            statement.name
        );
        assert!(!rest.contains(';'), "{} is more than one statement", statement.name);
        assert!(!rest.contains('{'), "{} has a mark that nothing takes the place of", statement.name);
        assert!(!rest.trim().is_empty(), "{} is empty", statement.name);
    }
}

/// It cannot be written once: a statement is a text as it stands.
#[test]
fn whether_a_writer_was_demoted_is_asked_alike_everywhere() {
    let condition = IS_READ_ONLY.strip_prefix("SELECT ").unwrap();
    let asking: Vec<_> = statements().filter(|statement| statement.sql.contains("read_only")).collect();
    assert!(!asking.is_empty());
    for statement in asking {
        assert!(statement.sql.contains(condition), "{}: not by {condition}", statement.name);
    }
}

async fn fill(schema: &Schema) {
    let numbers = numbers(1, 10_000);
    for insert in [
        "users (id, username, password_digest, created_at, updated_at) SELECT i, CONCAT('u', i), 'x', TIME, TIME",
        "expert_profiles (id, user_id, bio, knowledge_base_links, created_at, updated_at) SELECT i, i, '', '[]', TIME, TIME",
        "conversations (id, title, status, initiator_id, assigned_expert_id, created_at, updated_at, last_message_at) \
         SELECT i, 't', IF(i % 10, 'active', 'waiting'), 1 + i % 500, IF(i % 10, 501 + i % 100, NULL), TIME, TIME, TIME",
        "messages (id, conversation_id, sender_id, sender_role, content, is_read, created_at, updated_at) \
         SELECT i, 1 + i % 2000, 1 + i % 500, 'initiator', 'c', i % 2, TIME, TIME",
        "expert_assignments (id, conversation_id, expert_id, status, assigned_at, created_at, updated_at) \
         SELECT i, i, 501 + i % 100, 'active', TIME, TIME, TIME",
        "revoked_sessions (sid, expires_at) SELECT UNHEX(LPAD(HEX(i), 32, '0')), TIME + INTERVAL 1 YEAR",
        "idempotency_keys (user_id, key_hash, request_hash, response, created_at) \
         SELECT i % 500, UNHEX(LPAD(HEX(i), 64, '0')), UNHEX(LPAD('', 64, '0')), '{}', TIME",
    ] {
        let insert = insert.replace("TIME", "'2026-01-01' + INTERVAL i SECOND");
        schema.execute(format!("INSERT INTO {insert} FROM {numbers}")).await;
    }
    for table in [
        "users",
        "expert_profiles",
        "conversations",
        "messages",
        "expert_assignments",
        "revoked_sessions",
        "idempotency_keys",
    ] {
        let _: Vec<Row> = schema.query(format!("ANALYZE TABLE {table}")).await;
    }
}

/// What runs with every sign-in, page and message: name, and parameters as the store gives them (`t` is a time,
/// `k` 32 bytes, `s` 16 bytes, `u` a name); for each statement of a packet, semicolons between.
const HOT: &[(&str, &str)] = &[
    ("helpdesk.user_credentials", "u"),
    ("helpdesk.user_by_id", "7"),
    ("users.is_signed_out", "s"),
    ("helpdesk.profile_by_user", "7"),
    ("helpdesk.conversation_by_id", "7 7 7 7"),
    ("helpdesk.conversation_list", "7 1000 7 1000"),
    ("helpdesk.conversation_list_since", "7 t 1000 7 t 1000"),
    ("helpdesk.conversation_keys_changed", "7 t t t 7 1000 7 t t t 7 1000"),
    ("helpdesk.conversation_keys_newest", "7 t t 7 1000 7 t t 7 1000"),
    ("helpdesk.queue_list", "7 1000"),
    ("helpdesk.waiting_page", "7"),
    ("feed.look", "7 507 7 8"),
    ("helpdesk.conversation_is_readable", "7 7 7 7"),
    ("helpdesk.conversation_lock", "7"),
    ("helpdesk.conversation_list_uncounted", "7 7"),
    ("helpdesk.conversation_bump", "7 7 7 7 7; 7 7"),
    ("helpdesk.conversation_read", "7 7 7"),
    ("helpdesk.message_count_unread", "7 7"),
    ("helpdesk.message_at", "7 7"),
    ("helpdesk.message_keys_of_others", "7 t t 7 7 100"),
    ("helpdesk.expert_list_at_work", "507"),
    ("helpdesk.user_asked", "7 7 7"),
    ("helpdesk.lease_list_over", "7 7 7"),
    ("helpdesk.lease_is_over", "7 7 7 7"),
    ("helpdesk.conversation_claim", "7 7"),
    ("helpdesk.conversation_unclaim", "7 7"),
    ("helpdesk.conversation_resolve", "7 7"),
    ("helpdesk.conversation_standing", "7"),
    ("helpdesk.assignment_list", "507 1000"),
    ("helpdesk.message_keys_after", "7 t t 7 1000"),
    ("helpdesk.message_keys_before", "7 t t 7 1000"),
    ("helpdesk.message_list_by_ids", "7"),
    ("helpdesk.user_list_names", "7"),
    ("helpdesk.message_for_reading", "7 7"),
    ("helpdesk.message_read", "7"),
    ("helpdesk.idempotency_find", "7 k"),
    ("users.newest", "9000 100"),
    ("users.asked_64", SIXTY_FOUR),
    ("users.exists", "7"),
    ("users.signed_out_since", "t"),
    ("users.signed_out", "s"),
];
const SIXTY_FOUR: &str = "7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 \
                          7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7";

fn parameter(text: &str) -> Value {
    match text {
        "t" => Value::from("2026-01-01 02:00:00.000000"),
        "u" => Value::from("u7"),
        "k" => Value::Bytes(vec![0; 32]),
        "s" => Value::Bytes(vec![0; 16]),
        number => Value::Int(number.parse().unwrap()),
    }
}

#[tokio::test]
async fn the_hot_statements_read_no_table_whole() {
    let desk = Desk::start().await;
    fill(&desk.schema).await;
    let mut conn = desk.schema.connect().await;
    let control = "EXPLAIN FORMAT=TRADITIONAL SELECT id FROM conversations WHERE title = 'x'";
    let control: Vec<Row> = conn.query(control).await.unwrap();
    assert!(reads_whole(&control[0]), "the tables are large enough to tell");
    for (name, parameters) in HOT {
        let found = texts().find(|(known, _)| known == name);
        let (_, texts) = found.unwrap_or_else(|| panic!("{name} is no more: take it off the list"));
        assert_eq!(texts.len(), parameters.split(';').count(), "{name}");
        for (text, parameters) in texts.into_iter().zip(parameters.split(';')) {
            let parameters: Vec<Value> = parameters.split_whitespace().map(parameter).collect();
            let parameters =
                if parameters.is_empty() { Params::Empty } else { Params::Positional(parameters) };
            let plan: Vec<Row> =
                conn.exec(format!("EXPLAIN FORMAT=TRADITIONAL {text}"), parameters).await.unwrap();
            for row in plan {
                assert!(!reads_whole(&row), "{name} reads a whole table: {row:?}");
            }
        }
    }
}

/// Whether this line of a plan scans a table. What is in angle brackets is an intermediate result, bounded by a
/// limit or by one user's things; the outbox holds what was committed within the last milliseconds, and an item is of a
/// run.
fn reads_whole(row: &Row) -> bool {
    let text = |column: &str| row.get::<Option<String>, _>(column).flatten().unwrap_or_default();
    text("type") == "ALL" && !text("table").starts_with('<') && !["outbox", "item"].contains(&&*text("table"))
}

#[tokio::test]
async fn migrating_twice_and_at_once_is_safe() {
    let schema = Schema::fresh().await;
    let url = schema.url();
    let env = [("DATABASE_URL", url.as_str()), ("RUST_LOG", "info")];
    let all = (0..4).map(|_| run_command(&["migrate"], &env));
    for done in futures_util::future::join_all(all).await {
        assert!(done.status.success(), "{done:?}");
    }
    let applied = async || -> Vec<(u32, String, String)> {
        let columns = "version, name, CAST(applied_at AS CHAR)";
        schema.query(format!("SELECT {columns} FROM hyperdesk_migrations ORDER BY version")).await
    };
    let before = applied().await;
    let expected: Vec<u32> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    assert_eq!(before.iter().map(|(version, _, _)| *version).collect::<Vec<_>>(), expected);
    schema.execute("INSERT INTO users (username, password_digest, created_at, updated_at) VALUES ('kept', 'x', NOW(6), NOW(6))").await;
    let again = run_command(&["migrate"], &env).await;
    assert!(again.status.success(), "{again:?}");
    assert_eq!(applied().await, before, "the second time nothing is done");
    assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM users").await, 1);

    // Broken off after the first file's statements, before it was remembered: applied again from its start.
    schema.execute("DELETE FROM hyperdesk_migrations").await;
    assert!(run_command(&["migrate"], &env).await.status.success());
    assert_eq!(applied().await.len(), expected.len());
    assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM users").await, 1);

    // And beside a server that runs.
    let server = Hyperdesk::builder(&schema).without_migrate().start().await;
    assert!(run_command(&["migrate"], &env).await.status.success());
    server.client().get("/health").send().await.expect_status(200);
}

#[test]
fn migrations_are_numbered_in_order_and_can_be_repeated() {
    assert!(MIGRATIONS.windows(2).all(|pair| pair[0].version < pair[1].version));
    for migration in MIGRATIONS {
        for statement in migration.sql.split(";\n") {
            let code: Vec<&str> =
                statement.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            let code = code.join("\n").trim().to_uppercase();
            let repeatable = ["IF NOT EXISTS", "IF EXISTS", "INSERT IGNORE", "ON DUPLICATE KEY"];
            assert!(
                code.is_empty() || repeatable.iter().any(|words| code.contains(words)),
                "{}: {code}",
                migration.name
            );
        }
    }
}

/// What these words stand for depends on variables of the session that are not pinned: see `db::session`.
#[test]
fn no_statement_depends_on_what_is_not_pinned() {
    let words = [
        "GROUP_CONCAT",
        " / ",
        "AVG(",
        "RECURSIVE",
        "REGEXP",
        "RLIKE",
        "WEEK(",
        "YEARWEEK(",
        "DAYNAME(",
        "MONTHNAME(",
        "DATE_FORMAT(",
        "AES_",
        "LOAD_FILE",
        "LOAD DATA",
        "RAND(",
        "CONVERT(",
        "NOWAIT",
        "CREATE TEMPORARY",
    ];
    for (name, texts) in texts() {
        for text in texts {
            let code: Vec<&str> = text.lines().filter(|line| !line.starts_with("--")).collect();
            let code = code.join("\n").to_uppercase();
            for word in words {
                assert!(!code.contains(word), "{name} has {word}");
            }
        }
    }
    for migration in MIGRATIONS {
        for statement in migration.sql.split(";\n").filter(|statement| statement.contains("CREATE TABLE")) {
            let names_all =
                ["ENGINE = InnoDB", "ROW_FORMAT = DYNAMIC", "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"];
            assert!(
                names_all.iter().all(|words| statement.contains(words)),
                "{}: {statement}",
                migration.name
            );
        }
    }
}
