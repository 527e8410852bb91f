//! The chassis through its port. The real binary wherever that can show it; what no URL of it does on purpose
//! (panic, wait for ever, stream) is done by a service of our own on the same chassis, see [`lab`].

mod clients;
mod cors;
mod descriptors;
mod drain;
mod framing;
mod heads;
mod lab;
mod limits;
mod overload;
mod panics;
mod patience;
mod readers;
mod rolling;
mod routes;

use std::net::SocketAddr;
use std::time::Duration;

use hyperdesk::auth::oauth::{self, Grant};
use hyperdesk::auth::token::{Claims, Keys, SessionId};
use hyperdesk::chassis::route::Access;
use hyperdesk::clock::Timestamp;

use crate::support::server::{Builder, SECRET};
use crate::support::{Ending, Hyperdesk, Raw};

/// For what happens at once, on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);

/// The real server; its database is away, which these tests do not need.
pub fn builder() -> Builder<'static> {
    Hyperdesk::without_database()
        .env("DATABASE_URL", "mysql://nobody:nothing@127.0.0.1:1/none")
        .env("WEB_CONCURRENCY", "2")
}

/// A token that the server takes for its own.
pub fn token() -> String {
    let now = Timestamp::now().unix_seconds();
    let session = SessionId::from_bytes([7; 16]);
    let claims =
        Claims { user_id: 7, session, expires_at: now + 3_600, issued_at: Some(now), user_created_at: None };
    Keys::new(SECRET.as_bytes(), None).unwrap().sign(&claims)
}

/// A token that lets its bearer in where `access` is asked for.
pub fn token_for(access: Access) -> String {
    let Access::Client(scope) = access else { return token() };
    let grant = Grant::new(7, scope.unwrap_or("read").to_owned(), Timestamp::now());
    oauth::sign(&Keys::new(SECRET.as_bytes(), None).unwrap(), &grant)
}

/// Sends `bytes`, and reads until the server closes.
pub async fn exchange(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> (String, Ending) {
    let mut raw = Raw::connect(addr).await;
    // The server may have answered and closed before all of it was sent.
    let _ = raw.write(bytes).await;
    let (answer, ending) = raw.read_to_end(SOON).await;
    (String::from_utf8_lossy(&answer).into_owned(), ending)
}

/// The statuses of the answers in `text`; `None` where it is not answers only.
pub fn statuses(text: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (at, _) in text.match_indices("HTTP/1.") {
        let status = text[at..].split(' ').nth(1).and_then(|status| status.parse().ok());
        statuses.push(status.expect("a status"));
    }
    statuses
}

/// A good client still gets its answer, promptly.
pub async fn good_client_is_served(desk: &Hyperdesk) {
    let answer = desk.client().get("/health").send().await.expect_status(200);
    assert!(answer.took < Duration::from_secs(5), "{:?}", answer.took);
}
