//! Values that are not here as they were there: each is told, and nothing hangs on a date that Rails reads as nil.

use super::{Import, empty, import};
use crate::support::Schema;
use crate::support::rails::{Rails, digest};

const STAMPS: &str = "'2024-03-01 08:00:00', '2024-03-01 08:00:00'";

async fn change(schema: &Schema, changes: &[String]) {
    for change in changes {
        schema.execute(change.clone()).await;
    }
}

#[tokio::test]
async fn what_is_not_as_it_was_is_told() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    change(
        &rails.schema,
        &[
            "ALTER TABLE messages MODIFY content mediumtext NULL".to_owned(),
            "ALTER TABLE conversations MODIFY title text NULL".to_owned(),
            "ALTER TABLE conversations MODIFY updated_at datetime(6) NULL".to_owned(),
            "UPDATE messages SET content = NULL WHERE id = 100".to_owned(),
            "UPDATE messages SET sender_role = 'admin' WHERE id IN (101, 103)".to_owned(),
            "UPDATE messages SET sender_role = NULL, is_read = 2 WHERE id = 102".to_owned(),
            "UPDATE conversations SET title = NULL WHERE id = 10".to_owned(),
            "UPDATE conversations SET updated_at = NULL WHERE id = 13".to_owned(),
            "UPDATE expert_assignments SET assigned_at = NULL WHERE id = 50".to_owned(),
        ],
    )
    .await;
    let said = import(&rails.schema.url(), &target).await;
    for words in [
        "messages 100 content is empty here: it was NULL",
        "messages 101 sender_role is \"expert\" here: it was \"admin\"",
        "messages 103 sender_role is \"initiator\" here: it was \"admin\"",
        "conversations 10 title is empty here: it was NULL",
        "conversations 13 has no updated_at: created_at is taken",
        "expert_assignments 50 has no assigned_at: created_at is taken",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("messages 102 "), "{said}");
    let read: Vec<u64> = target.query("SELECT id FROM messages WHERE is_read ORDER BY id").await;
    assert_eq!(read, [100, 102, 104]);
}

#[tokio::test]
async fn passwords_that_nobody_can_sign_in_with_are_told() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    let bcrypt = digest("x");
    let argon2 = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b/dWRWJTmaaJObG";
    let cases = [
        ("5f4dcc3b5aa765d61d8327deb882cf99".to_owned(), "unknown format"),
        (bcrypt.replacen("$2b$", "$2x$", 1), "unknown format"),
        (format!("{bcrypt} "), "malformed bcrypt"),
        (bcrypt.replacen("$04$", "$31$", 1), "bcrypt cost beyond the bounds"),
        (bcrypt.replacen("$04$", "$03$", 1), "bcrypt cost beyond the bounds"),
        ("$argon2id$v=19$m=64,t=1,p=1$made$up".to_owned(), "unknown format"),
        (argon2.replacen("c29tZXNhbHQ", "c29t", 1), "unknown format"),
        (argon2.replacen("m=64", "m=1048576", 1), "argon2 parameters beyond the bounds"),
        (argon2.replacen("v=19", "v=18", 1), "no salt, no hash or an unknown version"),
    ];
    for (place, (digest, _)) in cases.iter().enumerate() {
        let id = 100 + place;
        let user = format!("({id}, 'u{id}', '{digest}', {STAMPS})");
        let insert = "INSERT INTO users (id, username, password_digest, created_at, updated_at) VALUES";
        rails.schema.execute(format!("{insert} {user}")).await;
    }
    for digest in [&bcrypt, argon2] {
        let insert = "INSERT INTO users (username, password_digest, created_at, updated_at) VALUES";
        let name = &digest[1..4];
        rails.schema.execute(format!("{insert} ('good {name}', '{digest}', {STAMPS})")).await;
    }
    let said = import(&rails.schema.url(), &target).await;
    for (place, (digest, why)) in cases.iter().enumerate() {
        let words = "cannot sign in: the stored password hash cannot be used:";
        let words = format!("users {} {words} {why}", 100 + place);
        assert!(said.contains(&words), "{digest}: {words}: {said}");
    }
    assert_eq!(said.matches("cannot sign in").count(), cases.len(), "{said}");
}

#[tokio::test]
async fn a_zero_date_is_null_where_there_may_be_none() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    let zero = "0000-00-00 00:00:00";
    let mut conn = rails.schema.admin().await;
    for statement in [
        "SET SESSION sql_mode = ''".to_owned(),
        format!("UPDATE users SET last_active_at = '{zero}' WHERE id = 1"),
        format!("UPDATE users SET created_at = '{zero}' WHERE id = 7"),
        format!("UPDATE conversations SET last_message_at = '{zero}' WHERE id = 11"),
        format!("UPDATE expert_assignments SET resolved_at = '{zero}', assigned_at = '{zero}' WHERE id = 50"),
    ] {
        mysql_async::prelude::Queryable::query_drop(&mut conn, statement).await.unwrap();
    }
    conn.disconnect().await.unwrap();
    let (status, said) = Import::begin(&rails.schema.url(), &target, &[]).end().await;
    assert_eq!(status.code(), Some(65), "{said}");
    for words in [
        "users 1 last_active_at was a zero date, which is taken as NULL",
        "conversations 11 last_message_at was a zero date, which is taken as NULL",
        "expert_assignments 50 resolved_at was a zero date, which is taken as NULL",
        "expert_assignments 50 has no assigned_at: created_at is taken",
        "users 7 not taken: created_at is a zero date",
        "users: 4 rows, 3 added, 0 were here, 1 not taken",
        "messages: 5 rows, 4 added, 0 were here, 1 not taken",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let none: u64 =
        target.query_one("SELECT COUNT(*) FROM users WHERE id = 1 AND last_active_at IS NULL").await;
    assert_eq!(none, 1);
}
