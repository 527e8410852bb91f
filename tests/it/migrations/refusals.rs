//! Schemas that are not ours to touch, by every command: one sentence, no panic, nothing written.

use std::time::Duration;

use serde_json::json;

use super::{migrate, migrates};
use crate::import::{forget_reader, reader, stranger};
use crate::support::rails::Rails;
use crate::support::server::all_of;
use crate::support::{Hyperdesk, Schema, eventually, run_command};

const SOON: Duration = Duration::from_secs(30);

/// The line that a command ends with: one, with its reason.
fn reason(done: &std::process::Output) -> String {
    let text = all_of(done);
    assert!(!text.contains("panicked"), "{text}");
    let mut errors = text.lines().filter(|line| line.contains("ERROR"));
    let line = errors.next().unwrap_or_else(|| panic!("no reason: {text}")).to_owned();
    assert_eq!(errors.next(), None, "{text}");
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    json["fields"]["why"].as_str().or(json["why"].as_str()).unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// The server is not ready, says why, and answers 503 to whatever touches tables.
async fn is_not_served(schema: &Schema, words: &[&str]) {
    is_not_served_at(schema, &schema.url(), words).await;
}

async fn is_not_served_at(schema: &Schema, url: &str, words: &[&str]) {
    let desk = Hyperdesk::builder(schema).without_migrate().env("DATABASE_URL", url).start().await;
    desk.client().get("/health").send().await.expect_status(200);
    let told = || async {
        let answer = desk.admin_client().get("/ready").send().await;
        answer.status == 503 && words.iter().all(|words| answer.text().contains(words))
    };
    eventually(SOON, told).await;
    for (path, name) in [("/auth/login", "alice"), ("/auth/register", "new")] {
        let fields = json!({"username": name, "password": format!("secret-{name}")});
        desk.client().post(path).json(fields).send().await.expect_status(503);
    }
    for words in words {
        let said = desk.logs().last(|line| line.message().contains(words));
        assert!(said.is_some(), "{words}: {:?}", desk.logs().lines());
    }
}

#[tokio::test]
async fn a_rails_schema_is_left_alone() {
    let rails = Rails::fresh().await;
    rails.fill().await;
    let before = rails.checksums().await;
    let done = migrate(&rails.schema).await;
    assert_eq!(done.status.code(), Some(65));
    let why = reason(&done);
    assert!(why.contains("hyperdesk import") && why.contains("a Rails application's"), "{why}");
    for command in [&["seed"][..], &["oauth-client", "list"], &["check-config"]] {
        let done = run_command(command, &[("DATABASE_URL", &rails.schema.url())]).await;
        if command[0] != "check-config" {
            assert_eq!(done.status.code(), Some(65), "{}", all_of(&done));
            assert!(reason(&done).contains("hyperdesk import"));
        }
    }
    let words = ["hyperdesk import", "table conversations lacks unread", "there is no table outbox"];
    is_not_served(&rails.schema, &words).await;
    assert_eq!(rails.checksums().await, before, "not a byte was changed");
}

#[tokio::test]
async fn a_schema_that_no_version_made_is_named() {
    let schema = Schema::fresh().await;
    migrates(&schema).await;
    schema.execute("ALTER TABLE messages DROP COLUMN is_read").await;
    schema.execute("DROP TABLE outbox").await;
    let done = migrate(&schema).await;
    assert_eq!(done.status.code(), Some(65));
    let why = reason(&done);
    assert!(
        why.contains("table messages lacks is_read") && why.contains("there is no table outbox"),
        "{why}"
    );
    is_not_served(&schema, &["table messages lacks is_read", "there is no table outbox"]).await;

    let schema = Schema::fresh().await;
    schema.execute("CREATE TABLE messages (id INT NOT NULL PRIMARY KEY)").await;
    let done = migrate(&schema).await;
    assert_eq!(done.status.code(), Some(65));
    let why = reason(&done);
    assert!(why.contains("tables messages that hyperdesk did not make"), "{why}");
    assert_eq!(schema.query::<String>("SHOW TABLES").await, ["messages"]);
}

#[tokio::test]
async fn a_file_that_was_changed_after_it_was_applied_is_named() {
    let schema = Schema::fresh().await;
    migrates(&schema).await;
    schema.execute("UPDATE hyperdesk_migrations SET checksum = REPEAT('0', 64) WHERE version = 102").await;
    let done = migrate(&schema).await;
    assert_eq!(done.status.code(), Some(65));
    let why = reason(&done);
    assert!(why.contains("migration 102_feed was applied from another text"), "{why}");
    is_not_served(&schema, &["migration 102_feed was applied from another text"]).await;
}

/// Every command, where there is nothing for it.
#[tokio::test]
async fn each_command_says_what_to_do() {
    let rails = Rails::fresh().await;
    rails.fill().await;
    let from = rails.schema.url();
    let commands = [&["seed"][..], &["oauth-client", "list"], &["import", "--from", &from]];
    let (empty, half) = (Schema::fresh().await, Schema::fresh().await);
    migrates(&half).await;
    half.execute("DELETE FROM hyperdesk_migrations WHERE version > 200").await;
    half.execute("DROP TABLE date_times").await;
    // Who has no rights on a schema is not told whether it is there.
    let none = format!("{}_is_not_there", empty.url());
    let wrong = empty.url().replace(&format!(":{}@", empty.name()), ":hunter2@");
    let closed = "mysql://nobody:nothing@127.0.0.1:1/none";
    // Where there is nothing to wait for, `migrate` waits for nothing; the rest of what it says is in `waits`.
    let (migrate_too, not_migrate) = (true, false);
    for (url, words, with_migrate) in [
        (empty.url(), "run `hyperdesk migrate`", not_migrate),
        (half.url(), "lacks the migrations 201, ", not_migrate),
        (from.clone(), "a Rails application's", migrate_too),
        (none.clone(), "grant the user of DATABASE_URL all rights on its schema", migrate_too),
        (wrong.clone(), "DATABASE_URL has to name a user and the password", migrate_too),
        (closed.to_owned(), "see that it runs, and where DATABASE_URL leads", not_migrate),
    ] {
        for command in commands.iter().copied().chain(with_migrate.then_some(&["migrate"][..])) {
            let done = run_command(command, &[("DATABASE_URL", &url)]).await;
            assert!(!done.status.success(), "{command:?} {url}");
            let why = reason(&done);
            assert!(why.contains(words) && !why.contains("hunter2"), "{command:?} {url}: {why}");
        }
        // Asks no database.
        let done = run_command(&["check-config"], &[("DATABASE_URL", &url)]).await;
        assert!(done.status.success(), "{}", all_of(&done));
    }
    is_not_served(&half, &["lacks the migrations 201, ", "there is no table date_times"]).await;
    is_not_served(&empty, &["the schema is empty: run `hyperdesk migrate`"]).await;
    for url in [none, wrong, closed.to_owned()] {
        is_not_served_at(&empty, &url, &["waiting for the database"]).await;
    }

    // Half-way is finished, and a newer version's schema is as good.
    migrates(&half).await;
    half.execute(
        "INSERT INTO hyperdesk_migrations (version, name, checksum, applied_at) VALUES (9001, 'x', 'x', NOW(6))",
    )
    .await;
    for command in [&["import", "--from", &from][..], &["seed"], &["oauth-client", "list"], &["migrate"]] {
        let done = run_command(command, &[("DATABASE_URL", &half.url())]).await;
        assert!(done.status.success(), "{command:?}: {}", all_of(&done));
    }
}

/// An account that the server knows and that may do nothing, and one that may only read.
#[tokio::test]
async fn who_lacks_rights_is_told_which() {
    let rails = Rails::fresh().await;
    rails.fill().await;
    let from = rails.schema.url();
    let schema = Schema::fresh().await;
    let denied = async |command: &[&str], url: &str| {
        let done = run_command(command, &[("DATABASE_URL", url)]).await;
        assert_eq!(done.status.code(), Some(65), "{command:?}: {}", all_of(&done));
        let why = reason(&done);
        assert!(why.contains("denied") && why.contains("grant the user of DATABASE_URL all rights"), "{why}");
    };
    let asks_nothing = async |url: &str| {
        let done = run_command(&["check-config"], &[("DATABASE_URL", url)]).await;
        assert!(done.status.success(), "{}", all_of(&done));
    };
    let (import, client) =
        (["import", "--from", &from], ["oauth-client", "create", "--scope", "read", "--name", "x"]);
    let url = stranger(&schema).await;
    for command in [&["migrate"][..], &["seed"], &client, &import] {
        denied(command, &url).await;
    }
    asks_nothing(&url).await;
    is_not_served_at(&schema, &url, &["waiting for the database"]).await;
    forget_reader(&schema).await;

    // Before and after somebody else migrated.
    let url = reader(&schema).await;
    denied(&["migrate"], &url).await;
    migrates(&schema).await;
    for command in [&["seed"][..], &client, &import] {
        denied(command, &url).await;
    }
    asks_nothing(&url).await;
    let desk = Hyperdesk::builder(&schema).without_migrate().env("DATABASE_URL", &url).start().await;
    eventually(SOON, || async { desk.admin_client().get("/ready").send().await.status == 200 }).await;
    let ann = json!({"username": "ann", "password": "correct horse"});
    let answer = desk.client().post("/auth/register").json(ann).send().await;
    assert!(answer.status >= 500, "{}: {}", answer.status, answer.text());
    let is_told = || async { desk.logs().last(|line| line.text.contains("INSERT command denied")).is_some() };
    eventually(SOON, is_told).await;
    assert_eq!(desk.logs().count(|line| line.text.contains("panicked")), 0);
    forget_reader(&schema).await;
}
