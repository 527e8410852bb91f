//! `GET /api/updates` and its stream through the real port: feed.md's contract, line by line.

mod away;
mod clocks;
mod cost;
mod cursors;
mod cut;
mod holes;
mod idle;
mod lists;
mod newcomers;
mod parts;
mod positions;
mod restored;
mod slow;
mod streams;
mod unassigned;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Hyperdesk, Response, User, eventually_some};

/// How soon something must happen, with room for a busy machine.
const SOON: Duration = Duration::from_secs(5);
/// Within this a token must be dead everywhere, and a poll be answered one way or the other.
const TWO_SECONDS: Duration = Duration::from_secs(2);

/// The full state and its cursor.
async fn state(user: &User) -> (Value, String) {
    let answer = user.get("/api/updates").await.expect_status(200);
    let state = answer.json();
    let cursor = state["cursor"].as_str().expect("a cursor").to_owned();
    assert_eq!(answer.header("x-updates-cursor"), Some(&*cursor));
    (state, cursor)
}

/// The cursor behind which there is nothing: the one that comes with a state is from before it was read, so what
/// was written just before may come again.
async fn last_cursor(user: &User) -> String {
    let (_, mut cursor) = state(user).await;
    loop {
        let found = after(user, &cursor).await.expect_status(200).json();
        let newer = found["cursor"].as_str().expect("a cursor").to_owned();
        if newer == cursor {
            return cursor;
        }
        cursor = newer;
    }
}

async fn after(user: &User, cursor: &str) -> Response {
    user.get(&format!("/api/updates?cursor={cursor}")).await
}

/// Polls until there is news.
async fn news(user: &User, cursor: &str) -> Value {
    eventually_some(SOON, || async {
        let news = after(user, cursor).await.expect_status(200).json();
        let lists =
            [&news["conversations"], &news["messages"], &news["queue"]["waiting"], &news["queue"]["left"]];
        lists.iter().any(|list| **list != json!([])).then_some(news)
    })
    .await
}

/// The same person at another instance.
fn at(user: &User, desk: &Hyperdesk) -> User {
    User {
        id: user.id,
        username: user.username.clone(),
        password: user.password.clone(),
        token: user.token.clone(),
        cookie: user.cookie.clone(),
        client: desk.client(),
    }
}
