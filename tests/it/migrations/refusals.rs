//! Schemas that are not ours to touch, by every command: one sentence, no panic, nothing written.

use std::time::Duration;

use serde_json::json;

use super::{migrate, migrates};
use crate::import::{forget_reader, reader};
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
    let desk = Hyperdesk::builder(schema).without_migrate().start().await;
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
    assert!(why.contains("hyperdesk import --from") && why.contains("a Rails application's"), "{why}");
    for command in [&["seed"][..], &["oauth-client", "list"], &["check-config"]] {
        let done = run_command(command, &[("DATABASE_URL", &rails.schema.url())]).await;
        if command[0] != "check-config" {
            assert_eq!(done.status.code(), Some(65), "{}", all_of(&done));
            assert!(reason(&done).contains("hyperdesk import --from"));
        }
    }
    let words = ["hyperdesk import --from", "table conversations lacks unread", "there is no table outbox"];
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

/// Every command that asks the database, where there is nothing for it.
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
    let none = empty.url().replace(&format!("/{}", empty.name()), "/it_is_not_there");
    let closed = "mysql://nobody:nothing@127.0.0.1:1/none";
    for (url, words) in [
        (empty.url(), "run `hyperdesk migrate`"),
        (half.url(), "lacks the migrations 201, "),
        (from.clone(), "a Rails application's"),
        (none, "database"),
        (closed.to_owned(), "database unavailable"),
    ] {
        for command in commands {
            let done = run_command(command, &[("DATABASE_URL", &url)]).await;
            assert!(!done.status.success(), "{command:?} {url}");
            let why = reason(&done);
            assert!(why.contains(words), "{command:?} {url}: {why}");
        }
    }
    is_not_served(&half, &["lacks the migrations 201, ", "there is no table date_times"]).await;
    is_not_served(&empty, &["the schema is empty: run `hyperdesk migrate`"]).await;

    // Who may only read is told so, before and after somebody else migrated.
    let url = reader(&empty).await;
    let denied = run_command(&["migrate"], &[("DATABASE_URL", &url)]).await;
    migrates(&empty).await;
    let mut all = vec![denied];
    for command in [&["import", "--from", &from][..], &["oauth-client", "create", "--scope", "read"]] {
        all.push(run_command(command, &[("DATABASE_URL", &url)]).await);
    }
    forget_reader(&empty).await;
    for done in all {
        assert_eq!(done.status.code(), Some(65), "{}", all_of(&done));
        let why = reason(&done);
        assert!(why.contains("denied") && why.contains("grant the user of DATABASE_URL all rights"), "{why}");
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
