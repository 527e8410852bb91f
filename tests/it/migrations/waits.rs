//! What `migrate` waits for: it says so at once, for what and for how long, and goes on when it is there.

use std::time::Duration;

use mysql_async::prelude::Queryable;

use super::{migrate, migrates};
use crate::support::child::Child;
use crate::support::logs::Logs;
use crate::support::server::{all_of, begin_command};
use crate::support::{Schema, Server, eventually};

const SOON: Duration = Duration::from_secs(30);

fn begin(schema: &Schema) -> (Child, Logs) {
    begin_command(&["migrate"], &[("DATABASE_URL", &schema.url())])
}

async fn said(logs: &Logs, words: &str) {
    eventually(SOON, || async { logs.last(|line| line.message().contains(words)).is_some() }).await;
}

#[tokio::test]
async fn for_a_database_that_is_away() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    server.kill();
    let (child, logs) = begin(&schema);
    said(&logs, "waiting for the database, 60 s more at most: database unavailable").await;
    assert_eq!(child.exited(), None);
    server.restart().await;
    assert!(child.wait_exit(SOON).await.success());
    let done = migrate(&schema).await;
    assert!(done.status.success(), "{}", all_of(&done));
}

#[tokio::test]
async fn for_another_migration() {
    let schema = Schema::fresh().await;
    migrates(&schema).await;
    let mut other = schema.connect().await;
    let lock = "SELECT GET_LOCK(CONCAT('hyperdesk.migrate.', LEFT(SHA2(DATABASE(), 256), 32)), 0)";
    assert_eq!(other.query_first::<u8, _>(lock).await.unwrap(), Some(1));
    let (child, logs) = begin(&schema);
    said(&logs, "another `hyperdesk migrate` is under way: waiting for its end, 60 s at most").await;
    assert_eq!(child.exited(), None);
    other.disconnect().await.unwrap();
    assert!(child.wait_exit(SOON).await.success());
}
