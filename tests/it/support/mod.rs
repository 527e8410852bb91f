//! What the integration tests stand on: databases that can be killed, the real server as a child
//! process, an HTTP client, raw sockets, and a proxy that spoils the way to the database.
//!
//! A test in ten lines (put it into `tests/it/<service>.rs`, named in `tests/it/main.rs`):
//!
//! ```
//! use serde_json::json;
//! use crate::support::{Hyperdesk, Schema, User};
//!
//! #[tokio::test]
//! async fn a_question_waits_for_an_expert() {
//!     let schema = Schema::fresh().await; // its own database and user on the shared server
//!     let desk = Hyperdesk::builder(&schema).env("WEB_CONCURRENCY", "2").start().await;
//!     let ann = User::register(desk.addr(), "ann").await;
//!     let made = ann.post("/conversations", json!({"title": "Printer"})).await.expect_status(201);
//!     assert_eq!(made.json()["status"], "waiting");
//!     assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM conversations").await, 1);
//! }
//! ```
//!
//! A test that hurts its database takes a private one and, if need be, a proxy before it:
//!
//! ```
//! let database = Server::start().await;
//! let schema = Schema::on(&database).await;
//! let proxy = Proxy::start(database.addr());
//! let desk = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr())).start().await;
//! database.freeze();
//! proxy.delay_replies(Duration::from_millis(200));
//! ```
//!
//! Rules: declare `Server`, `Proxy`, `Schema`, `Hyperdesk` in this order (they are dropped in
//! reverse). Never sleep to wait for something: use [`eventually`]. Take random numbers from
//! [`Random`], which prints its seed when the test fails. What a child process logged is printed
//! when the test panics. With `TEST_DATABASE_URL` (an account that may create databases and users)
//! ordinary tests use that server; without it one private server is started for the whole run.
//! Private servers are of the product that `TEST_DATABASE` names, `mariadb` or `mysql`.
//! No process and no folder outlives the test process, however it ends.

// The harness is complete before all of its users exist; remove this line when they do.
#![allow(dead_code, unused_imports)]

pub mod account;
pub mod child;
pub mod database;
pub mod events;
pub mod http;
pub mod logs;
pub mod pair;
pub mod ports;
pub mod product;
pub mod proxy;
pub mod rails;
pub mod random;
pub mod raw;
pub mod schema;
pub mod server;

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

pub use account::User;
pub use database::Server;
pub use events::EventStream;
pub use http::{Client, Response};
pub use pair::Pair;
pub use product::Product;
pub use proxy::Proxy;
pub use random::Random;
pub use raw::{Ending, Raw};
pub use schema::Schema;
pub use server::{Hyperdesk, run_command};

/// Pause between two looks at a condition: short beside any limit that a test asserts.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `condition` answers true; panics, naming the caller, when `limit` is over.
#[track_caller]
pub fn eventually<F, Fut>(limit: Duration, mut condition: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    eventually_some(limit, move || {
        let look = condition();
        async move { look.await.then_some(()) }
    })
}

/// Waits until `look` answers `Some`, and returns what it held; panics, naming the caller, when
/// `limit` is over. A look that hangs is given up at the limit too.
#[track_caller]
pub fn eventually_some<T, F, Fut>(limit: Duration, mut look: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        loop {
            match tokio::time::timeout_at(deadline, look()).await {
                Ok(Some(found)) => return found,
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
                Ok(None) | Err(_) => panic!("not within {limit:?}: the condition at {caller}"),
            }
        }
    }
}
