//! Errors that the server, its cluster or a proxy may answer: which are run again, which say "come again", and
//! which are ours.

use hyperdesk::db::error::{CODES, Class};
use hyperdesk::db::{Connection, Error, Statement};
use hyperdesk::{reading, transaction};
use serde_json::{Value, json};

use super::{Library, connection_id, messages_path, open_conversation, post};
use crate::board::upload;
use crate::support::{Hyperdesk, Response, Schema, Server, User};

/// Fails with the error that it is given.
const RAISE: Statement = Statement { name: "test.raise", sql: "INSERT INTO raised (code) VALUES (?)" };

/// A mistake of ours: no default for a column.
const OURS: u16 = 1364;

async fn raise_in(schema: &Schema, table: &str, event: &str, code: &str) {
    let body = format!(
        "BEGIN DECLARE number INT DEFAULT {code};
         IF number > 0 THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = number, MESSAGE_TEXT = 'raised'; END IF; END"
    );
    schema
        .execute(format!("CREATE TRIGGER raise_{table} BEFORE {event} ON {table} FOR EACH ROW {body}"))
        .await;
}

async fn two_ids(library: &Library) -> [u64; 2] {
    let (mut one, mut two) = (library.db.writer().await.unwrap(), library.db.writer().await.unwrap());
    let mut ids = [connection_id(&mut one).await.unwrap(), connection_id(&mut two).await.unwrap()];
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn each_class_of_errors_keeps_closes_or_gives_up_connections() {
    let schema = Schema::fresh().await;
    schema
        .execute("CREATE TABLE raised (id INT AUTO_INCREMENT PRIMARY KEY, code INT NOT NULL) ENGINE = InnoDB")
        .await;
    raise_in(&schema, "raised", "INSERT", "NEW.code").await;
    let library = Library::new(&schema.url(), None, 2);
    for &(code, class, reason) in CODES {
        let before = two_ids(&library).await;
        let mut connection = library.db.writer().await.unwrap();
        let error = connection.run(&RAISE, (code,)).await.unwrap_err();
        drop(connection);
        let expected = if class == Class::Lost { "conflict" } else { "unavailable" };
        assert_eq!(error.kind(), expected, "{code}: {reason}: {error}");
        assert!(error.to_string().contains(&format!("{code}: raised")), "{error}");
        let after = two_ids(&library).await;
        let kept = after.iter().filter(|id| before.contains(id)).count();
        let expected = match class {
            Class::Lost | Class::Later => 2,
            Class::Closed => 1,
            Class::Gone => 0,
        };
        assert_eq!(kept, expected, "{code}: {reason}");
    }
    let mut connection = library.db.writer().await.unwrap();
    assert!(matches!(connection.run(&RAISE, (OURS,)).await, Err(Error::Internal(_))));
    assert!(matches!(connection.run(&RAISE, (1062,)).await, Err(Error::Duplicate(_))));
}

#[tokio::test]
async fn only_what_lost_is_run_again() {
    let schema = Schema::fresh().await;
    schema
        .execute("CREATE TABLE raised (id INT AUTO_INCREMENT PRIMARY KEY, code INT NOT NULL) ENGINE = InnoDB")
        .await;
    raise_in(&schema, "raised", "INSERT", "NEW.code").await;
    let library = Library::new(&schema.url(), None, 2);
    for &(code, class, reason) in CODES {
        let mut runs = 0;
        let outcome: Result<(), Error> = async {
            transaction!(library.db, tx => {
                runs += 1;
                // Not the first in its transaction: a connection that is closed then is not replaced.
                connection_id(tx).await?;
                if runs == 1 {
                    tx.run(&RAISE, (code,)).await?;
                }
                Ok(())
            })
        }
        .await;
        let expected = if class == Class::Lost { (2, true) } else { (1, false) };
        assert_eq!((runs, outcome.is_ok()), expected, "{code}: {reason}");
    }
}

#[tokio::test]
async fn a_read_that_fails_on_the_reader_is_done_on_the_writer() {
    let schema = Schema::fresh().await;
    schema
        .execute("CREATE TABLE raised (id INT AUTO_INCREMENT PRIMARY KEY, code INT NOT NULL) ENGINE = InnoDB")
        .await;
    raise_in(&schema, "raised", "INSERT", "NEW.code").await;
    let url = schema.url();
    for &(code, class, reason) in CODES {
        let library = Library::new(&url, Some(&url), 1);
        // What only lost does not keep the next one from the reader; what says that it is away may.
        let reads = if class == Class::Lost { 2 } else { 1 };
        for read in 1..=reads {
            let mut runs = 0;
            let outcome: Result<(), Error> = async {
                reading!(library.db, db => {
                    runs += 1;
                    if runs == 1 {
                        db.run(&RAISE, (code,)).await?;
                    }
                    Ok(())
                })
            }
            .await;
            assert!(outcome.is_ok(), "{code}: {reason}: {outcome:?}");
            let fallbacks = library.metric("db_reader_fallbacks_total");
            assert_eq!((runs, fallbacks), (2, f64::from(read)), "{code}: {reason}");
        }
    }
}

#[test]
fn each_code_has_one_class() {
    let mut codes: Vec<u16> = CODES.iter().map(|(code, ..)| *code).collect();
    codes.sort_unstable();
    assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
    assert!(!codes.contains(&OURS));
}

#[track_caller]
fn assert_come_again(answer: &Response, what: &str) {
    assert_eq!(answer.status, 503, "{what}: {}", answer.text());
    assert_eq!(answer.text(), r#"{"error":"Service temporarily unavailable"}"#, "{what}");
    assert!(answer.header("retry-after").is_some(), "{what}");
}

/// Something of each service that writes.
async fn write_all(desk: &Hyperdesk, ann: &User, conversation: &Value, token: &str) -> Vec<Response> {
    let client = desk.client();
    let book = json!({"title": "Dune", "author": "A", "price": "1", "stock": 1});
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
    vec![
        post(&ann.client, ann, conversation, "hello").send().await,
        ann.post("/books", book).await,
        upload(&client, "text", "a.png", png).await,
        client.get("/date_time").send().await,
        client.post(crate::stock::QUANTITY).bearer(token).json(json!({"quantity": 1})).send().await,
    ]
}

#[tokio::test]
async fn clients_are_asked_to_come_again_by_every_service() {
    let schema = Schema::fresh().await;
    let folder = crate::support::child::fresh_folder("pictures");
    let desk = Hyperdesk::builder(&schema).env("UPLOAD_DIR", folder.display()).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let conversation = open_conversation(&ann).await;
    let program = crate::stock::Program::create(&schema, "stock").await;
    let token = program.token(desk.addr(), "stock").await;
    schema
        .execute("CREATE TABLE raised (id INT AUTO_INCREMENT PRIMARY KEY, code INT NOT NULL) ENGINE = InnoDB")
        .await;
    schema.execute("INSERT INTO raised (code) VALUES (0)").await;
    for table in ["messages", "books", "board_posts", "date_times"] {
        raise_in(&schema, table, "INSERT", "(SELECT code FROM raised)").await;
    }
    raise_in(&schema, "hyper_stock", "UPDATE", "(SELECT code FROM raised)").await;
    let raise = async |code: u16| schema.execute(format!("UPDATE raised SET code = {code}")).await;
    for code in [1047, 1180, 1461, 1615, 1927, 3101, 9001] {
        raise(code).await;
        for answer in write_all(&desk, &ann, &conversation, &token).await {
            assert_come_again(&answer, &code.to_string());
        }
    }
    raise(OURS).await;
    for answer in write_all(&desk, &ann, &conversation, &token).await {
        assert_eq!((answer.status, answer.text().as_str()), (500, r#"{"error":"Internal server error"}"#));
        assert!(answer.header("retry-after").is_none());
    }
    raise(0).await;
    for answer in write_all(&desk, &ann, &conversation, &token).await {
        assert!(answer.status < 300, "{}", answer.text());
    }
}

async fn prepared(connection: &mut Connection) -> Result<u64, Error> {
    const COUNT: Statement = Statement { name: "test.one", sql: "SELECT 1 + 0" };
    Ok(connection.first(&COUNT, ()).await?.unwrap_or(0))
}

#[tokio::test]
async fn at_the_limit_of_prepared_statements_clients_come_again() {
    let database = Server::start().await;
    let schema = Schema::on(&database).await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let conversation = open_conversation(&ann).await;
    schema.execute("SET GLOBAL max_prepared_stmt_count = 0").await;
    // Not prepared before on any connection.
    assert_come_again(&ann.get(&messages_path(&conversation)).await, "a list");
    assert_come_again(&post(&ann.client, &ann, &conversation, "hello").send().await, "a message");
    let library = Library::new(&schema.url(), None, 1);
    let mut connection = library.db.writer().await.unwrap();
    assert!(matches!(prepared(&mut connection).await, Err(Error::Unavailable(_))));
    schema.execute("SET GLOBAL max_prepared_stmt_count = 16382").await;
    assert_eq!(prepared(&mut connection).await.unwrap(), 1, "on the same connection");
    post(&ann.client, &ann, &conversation, "hello").send().await.expect_status(201);
    let list = ann.get(&messages_path(&conversation)).await.expect_status(200).json();
    assert_eq!(list.as_array().unwrap().len(), 1);
}
