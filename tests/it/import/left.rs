//! What nothing is made of is named, and so is a database that takes no more rows.

use super::{Import, empty, import};
use crate::support::rails::{Rails, Shape};

#[tokio::test]
async fn columns_and_tables_that_are_left_behind_are_named() {
    // Where both are there, one of them says who sent a message.
    let (rails, target) = (Rails::of(Shape { links: "text", ..Shape::default() }).await, empty().await);
    rails.fill().await;
    for change in [
        "ALTER TABLE users ADD email varchar(255), ADD locale varchar(9) NOT NULL DEFAULT '',
            ADD phone varchar(20), ADD banned_at datetime",
        "UPDATE users SET email = CONCAT(id, '@example.org') WHERE id < 3",
        "ALTER TABLE messages ADD attachment_url text, ADD user_id bigint, ADD username_key varbinary(32)",
        "UPDATE messages SET attachment_url = 'https://a', user_id = 1 WHERE id = 100",
        "UPDATE messages SET attachment_url = '' WHERE id = 101",
        "CREATE TABLE ratings (id bigint PRIMARY KEY, stars int)",
        "INSERT INTO ratings VALUES (1, 5)",
        "CREATE VIEW seen AS SELECT id FROM users",
    ] {
        rails.schema.execute(change).await;
    }
    let dry = Import::begin(&rails.schema.url(), &target, &["--dry-run"]).end().await;
    assert!(dry.0.success(), "{}", dry.1);
    for said in [dry.1, import(&rails.schema.url(), &target).await] {
        let named: Vec<&str> = said.lines().filter(|line| line.contains(" left behind")).collect();
        assert_eq!(
            named,
            [
                "table ratings is left behind, with whatever it holds",
                "table sessions is left behind, with whatever it holds",
                "users.email is left behind: 2 rows have a value in it",
                "messages.attachment_url is left behind: 1 rows have a value in it",
                "messages.user_id is left behind: 1 rows have a value in it",
            ],
            "{said}"
        );
    }
}

#[tokio::test]
async fn ids_that_leave_no_room_are_told() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    rails.schema.execute("UPDATE messages SET id = 9223372036854775800 WHERE id = 104").await;
    let dry = Import::begin(&rails.schema.url(), &target, &["--dry-run"]).end().await;
    assert!(dry.0.success(), "{}", dry.1);
    for said in [dry.1, import(&rails.schema.url(), &target).await] {
        let words = "messages: ids go up to 9223372036854775800, so only 7 more can be added here";
        assert!(said.contains(words), "{said}");
        assert_eq!(said.matches("more can be added here").count(), 1, "{said}");
    }
}
