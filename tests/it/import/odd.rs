//! Rows that cannot be taken as they are, and sources and targets that are none.

use serde_json::json;

use super::{Import, empty, import};
use crate::support::rails::{Rails, digest, password};
use crate::support::{Hyperdesk, Schema, User};

const STAMPS: &str = "'2024-03-01 08:00:00', '2024-03-01 08:00:00'";

/// The end of an import that says something: its code, and its lines.
async fn refused(from: &str, target: &Schema) -> String {
    let (status, said) = Import::begin(from, target, &[]).end().await;
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(said.lines().filter(|line| line.contains("ERROR")).count(), 1, "{said}");
    said
}

async fn user(rails: &Rails, id: u64, name: &str) {
    let digest = digest(name);
    rails
        .schema
        .execute(format!(
            "INSERT INTO users (id, username, password_digest, created_at, updated_at)
            VALUES ({id}, '{name}', '{digest}', {STAMPS})"
        ))
        .await;
}

#[tokio::test]
async fn names_that_collide_here_are_told_apart() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    // Where spaces at the ends count, as in MySQL's newest collations, these are three people.
    rails.schema.execute("ALTER TABLE users DROP KEY index_users_on_username").await;
    for (id, name) in [(20, "carl"), (21, "carl "), (22, " carl"), (23, "Carl"), (24, "dora "), (25, "   ")] {
        user(&rails, id, name).await;
    }
    let said = refused(&rails.schema.url(), &target).await;
    for words in [
        "users 21 is \"carl-21\" here: somebody else is \"carl\"",
        "users 22 is \"carl-22\" here: somebody else is \"carl\"",
        "users 24 is \"dora\" here, without the spaces at the ends of the name",
        "users 25 not taken: username is blank",
        "users: 10 rows, 9 added, 0 were here, 1 not taken",
        "1 rows were not taken",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let again = refused(&rails.schema.url(), &target).await;
    assert!(again.contains("users: 10 rows, 0 added, 9 were here, 1 not taken"), "{again}");
    let desk = Hyperdesk::builder(&target).without_migrate().env("SERVICES", "helpdesk").start().await;
    for (id, name, password_of) in
        [(20, "carl", "carl"), (21, "carl-21", "carl"), (23, "Carl", "Carl"), (24, "dora", "dora")]
    {
        assert_eq!(User::login(desk.addr(), name, &password(password_of)).await.id, id);
    }
    // Without regard to case: the first of several that are alike has the key, the others their exact name.
    let desk = Hyperdesk::builder(&target)
        .without_migrate()
        .env("SERVICES", "helpdesk")
        .env("USERNAMES", "case_insensitive")
        .start()
        .await;
    for (id, name, password_of) in
        [(20, "CARL", "carl"), (23, "Carl", "Carl"), (3, "EMILE", "Émile"), (24, "Dora", "dora")]
    {
        assert_eq!(User::login(desk.addr(), name, &password(password_of)).await.id, id, "{name}");
    }
}

/// Whoever's name needs no change keeps it, whatever the order of the ids; `ann-21` is a name like any other.
#[tokio::test]
async fn an_exact_name_stays_whose_it_is() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    rails.schema.execute("ALTER TABLE users DROP KEY index_users_on_username").await;
    for (id, name) in [(20, " ann"), (21, " ann"), (22, " cid"), (23, "ANN-20")] {
        user(&rails, id, name).await;
    }
    // On another page.
    rails.fill_many(600).await;
    for (id, name) in [(5000, "ann"), (5001, "ann-21"), (5002, "ann-20 ")] {
        user(&rails, id, name).await;
    }
    let dry = Import::begin(&rails.schema.url(), &target, &["--dry-run"]).end().await;
    assert_eq!(dry.0.code(), Some(65), "{}", dry.1);
    let said = refused(&rails.schema.url(), &target).await;
    for said in [&dry.1, &said] {
        for words in [
            "users 20 is \"ann-20\" here: somebody else is \"ann\"",
            "users 21 not taken: the names \"ann\" and \"ann-21\" are taken",
            "users 22 is \"cid\" here, without the spaces at the ends of the name",
            "users 5002 is \"ann-20-5002\" here: somebody else is \"ann-20\"",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("users 5000 ") && !said.contains("users 5001 "), "{said}");
    }
    let again = refused(&rails.schema.url(), &target).await;
    assert!(again.contains("users: 21 rows, 0 added, 20 were here, 1 not taken"), "{again}");
    let desk = Hyperdesk::builder(&target).without_migrate().env("SERVICES", "helpdesk").start().await;
    for (id, name, password_of) in [(5000, "ann", "ann"), (5001, "ann-21", "ann-21"), (20, "ann-20", "ann")] {
        assert_eq!(User::login(desk.addr(), name, &password(password_of)).await.id, id);
    }
}

/// Rails has no unique index there, and shows the first one.
#[tokio::test]
async fn a_second_profile_of_somebody_is_not_taken() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    rails
        .schema
        .execute(format!(
            "INSERT INTO expert_profiles (id, user_id, bio, created_at, updated_at)
            VALUES (900, 2, 'second', {STAMPS}), (901, 2, 'third', {STAMPS}), (902, 1, 'own', {STAMPS})"
        ))
        .await;
    let dry = Import::begin(&rails.schema.url(), &target, &["--dry-run"]).end().await;
    assert_eq!(dry.0.code(), Some(65), "{}", dry.1);
    let said = refused(&rails.schema.url(), &target).await;
    for (said, verb) in [(&dry.1, "would be added"), (&said, "added")] {
        for id in [900, 901] {
            let words = format!("expert_profiles {id} not taken: user 2 has another profile");
            assert!(said.contains(&words), "{words}: {said}");
        }
        let words = format!("expert_profiles: 5 rows, 3 {verb}, 0 were here, 2 not taken");
        assert!(said.contains(&words), "{words}: {said}");
    }
    let bio: Vec<String> = target.query("SELECT bio FROM expert_profiles WHERE user_id = 2").await;
    assert_eq!(bio, ["Printers 🖨"]);
    // Nor where somebody made one here.
    target.execute("UPDATE expert_profiles SET id = 5 + 1000 WHERE id = 5").await;
    let again = refused(&rails.schema.url(), &target).await;
    assert!(again.contains("expert_profiles 5 not taken: user 2 has another profile"), "{again}");
    assert!(again.contains("expert_profiles: 5 rows, 0 added, 2 were here, 3 not taken"), "{again}");
}

#[tokio::test]
async fn what_cannot_be_taken_is_told_row_by_row() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    let schema = &rails.schema;
    schema.execute("SET foreign_key_checks = 0").await;
    for change in [
        "ALTER TABLE messages MODIFY content mediumtext NULL".to_owned(),
        "ALTER TABLE conversations MODIFY title text NULL".to_owned(),
        format!(
            "INSERT INTO conversations (id, title, status, initiator_id, created_at, updated_at) VALUES
            (60, 'odd', 'open', 1, {STAMPS}), (61, 'nobody asks', 'waiting', 999, {STAMPS}),
            (62, REPEAT('ü', 300), 'waiting', 1, {STAMPS})"
        ),
        format!(
            "INSERT INTO messages (id, conversation_id, sender_id, content, created_at, updated_at) VALUES
            (200, 11, 1, REPEAT('x', 65536), {STAMPS}), (201, 11, 1, REPEAT('x', 65535), {STAMPS}),
            (202, 60, 1, 'in one that is not taken', {STAMPS}), (203, 888, 1, 'nowhere', {STAMPS}),
            (204, 11, 777, 'of nobody', {STAMPS}), (205, 11, 1, NULL, {STAMPS})"
        ),
        format!(
            "INSERT INTO expert_profiles (id, user_id, knowledge_base_links, created_at, updated_at)
            VALUES (70, 1, '\"https://one\"', {STAMPS})"
        ),
    ] {
        schema.execute(change).await;
    }
    let said = refused(&schema.url(), &target).await;
    for words in [
        "conversations 60 not taken: status is \"open\"",
        "conversations 61 not taken: it names user 999, who is not there",
        "conversations 62 title is cut to 255 characters",
        "messages 200 not taken: content is longer than 65535 bytes",
        "messages 202 not taken: it names conversation 60, which is not taken",
        "messages 203 not taken: it names conversation 888, which is not there",
        "messages 204 not taken: it names user 777, who is not there",
        "messages 205 content is empty here: it was NULL",
        "expert_profiles 70 knowledge_base_links was no list: each of its lines is a link here",
        "messages: 11 rows, 7 added, 0 were here, 4 not taken",
        "6 rows were not taken: the lines above say why",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let kept: u64 = target.query_one("SELECT LENGTH(content) FROM messages WHERE id = 201").await;
    assert_eq!(kept, 65_535);
}

/// Somebody registered here before: their row stays, and who has the same id or name there is told of.
#[tokio::test]
async fn what_is_here_stays() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    let desk = Hyperdesk::builder(&target).without_migrate().env("SERVICES", "helpdesk").start().await;
    let mine = User::register(desk.addr(), "mine").await;
    assert_eq!(mine.id, 1);
    let said = refused(&rails.schema.url(), &target).await;
    assert!(said.contains("users 1 not taken: another row here has its id"), "{said}");
    assert!(said.contains("conversations 10 not taken: it names user 1, who is not taken"), "{said}");
    assert_eq!(mine.get("/auth/me").await.expect_status(200).json()["username"], json!("mine"));
    assert_eq!(User::login(desk.addr(), "bob", &password("bob")).await.id, 2);
}

#[tokio::test]
async fn sources_and_targets_that_are_none() {
    let (rails, ours, bare) = (Rails::fresh().await, empty().await, Schema::fresh().await);
    rails.fill().await;
    let half = Rails::fresh().await;
    half.schema.execute("DROP TABLE expert_assignments").await;
    half.schema.execute("ALTER TABLE messages DROP COLUMN content").await;
    let closed = "mysql://nobody:nothing@127.0.0.1:1/none";
    let unknown = rails.schema.url().replace(&format!("/{}", rails.schema.name()), "/it_is_not_there");
    for (from, target, words) in [
        (ours.url(), &ours, "the source is a database of hyperdesk itself"),
        (
            bare.url(),
            &ours,
            "the source is no help desk of Rails that this account may read: there is no table users",
        ),
        (half.schema.url(), &ours, "table messages has no content"),
        (half.schema.url(), &ours, "there is no table expert_assignments"),
        (closed.to_owned(), &ours, "the source cannot be read"),
        (unknown, &ours, "the source cannot be read"),
        (rails.schema.url(), &bare, "the schema is empty: run `hyperdesk migrate`"),
        (rails.schema.url(), &rails.schema, "a Rails application's"),
    ] {
        let said = refused(&from, target).await;
        assert!(said.contains(words), "{words}: {said}");
    }
    let (status, said) = Import::begin("postgres://nobody@nowhere/none", &ours, &[]).end().await;
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.contains("--from: must be mysql://"), "{said}");

    // One at a time.
    let mut other = ours.connect().await;
    let lock = include_str!("../../../sql/import/lock.sql");
    let got: Option<u64> = mysql_async::prelude::Queryable::query_first(&mut other, lock).await.unwrap();
    assert_eq!(got, Some(1));
    let said = refused(&rails.schema.url(), &ours).await;
    assert!(said.contains("another import is under way here"), "{said}");
    drop(other);
    assert_eq!(ours.query_one::<u64>("SELECT COUNT(*) FROM users").await, 0);
    let said = import(&rails.schema.url(), &ours).await;
    assert!(said.contains("users: 4 rows, 4 added"), "{said}");
}
