//! Tokens of people whom a restored database no longer knows, while somebody else has their ids.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::{NO_SESSION, REQUIRED, token};
use crate::chassis;
use crate::helpdesk::{Desk, ask};
use crate::support::{Client, Hyperdesk, User, eventually};

/// Much longer than it takes.
const SOON: Duration = Duration::from_secs(20);
/// Whether the user's token is good.
async fn is_let_in(at: SocketAddr, user: &User) -> bool {
    let client = Client::new(at);
    let status = client.get("/conversations").bearer(&user.token).send().await.status;
    assert!(matches!(status, 200 | 401), "{status}");
    status == 200
}

/// Everything is refused, by token and by cookie.
async fn assert_out(at: SocketAddr, user: &User) {
    let client = Client::new(at);
    for (method, path) in [
        ("GET", "/auth/me"),
        ("POST", "/auth/refresh"),
        ("GET", "/conversations"),
        ("GET", "/expert/profile"),
        ("GET", "/api/conversations/updates?since=2026-01-01T00:00:00Z"),
        ("GET", "/api/messages/updates"),
        ("GET", "/api/expert-queue/updates"),
        ("GET", "/api/updates"),
        ("GET", "/api/updates/stream"),
        ("POST", "/conversations"),
        ("PUT", "/expert/profile"),
    ] {
        let text = if path.starts_with("/auth") { NO_SESSION } else { REQUIRED };
        let fields = json!({"title": "by nobody", "bio": "by nobody"});
        let request = || client.request(method, path).json(&fields);
        let by_token =
            if method == "GET" { client.request(method, path) } else { request() }.bearer(&user.token);
        let by_cookie = if method == "GET" { client.request(method, path) } else { request() };
        for request in [by_token, by_cookie.header("cookie", &user.cookie)] {
            let answer = request.send().await;
            assert_eq!((answer.status, answer.text().as_str()), (401, text), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_does_not_outlive_the_history_of_its_user() {
    let desk = Desk::start().await;
    let (frozen, mut stopped) = (desk.second().await, desk.second().await);
    let shop = Hyperdesk::builder(&desk.schema).env("SERVICES", "bookstore").start().await;
    let dave = desk.user("dave").await;
    desk.schema.dump().await;
    let bob = desk.user("bob").await;
    for at in [desk.addr(), frozen.addr(), stopped.addr()] {
        assert!(is_let_in(at, &bob).await && is_let_in(at, &dave).await);
    }
    let mine = async |user: &User| {
        Client::new(shop.addr()).get("/books/mine").bearer(&user.token).send().await.status
    };
    assert_eq!((mine(&bob).await, mine(&dave).await), (200, 200));
    let cursor =
        bob.get("/api/updates").await.expect_status(200).json()["cursor"].as_str().unwrap().to_owned();
    let holder = Client::new(desk.addr());
    let held = holder.get(&format!("/api/updates?cursor={cursor}&wait=50")).bearer(&bob.token);
    let held = async { held.limit(Duration::from_secs(60)).send().await };
    let rest = async {
        frozen.freeze();
        stopped.terminate();
        stopped.wait_exit(SOON).await;
        desk.schema.restore().await;
        let carol = desk.user("carol").await;
        assert_eq!(carol.id, bob.id);
        stopped.start_again().await;
        // One that starts has not known anybody else.
        for at in [stopped.addr(), desk.addr()] {
            assert!(is_let_in(at, &carol).await && is_let_in(at, &dave).await);
        }
        assert_out(stopped.addr(), &bob).await;
        frozen.thaw();
        for at in [desk.addr(), frozen.addr()] {
            eventually(SOON, || async {
                assert!(is_let_in(at, &carol).await && is_let_in(at, &dave).await);
                !is_let_in(at, &bob).await
            })
            .await;
            assert_out(at, &bob).await;
        }
        eventually(SOON, || async {
            assert_eq!((mine(&carol).await, mine(&dave).await), (200, 200));
            mine(&bob).await == 401
        })
        .await;
        // What happens now is not told to whoever held a poll for the one who had the id.
        ask(&carol, "Carol's own").await;
        let of_nobody = "SELECT COUNT(*) FROM conversations WHERE title = 'by nobody'";
        assert_eq!(desk.schema.query_one::<u64>(of_nobody).await, 0);
        carol
    };
    let (held, carol) = tokio::join!(held, rest);
    // The feed's own history went, too: that may be told first, and tells nothing else.
    assert!(matches!(held.status, 401 | 410), "{}", held.text());
    for at in [desk.addr(), frozen.addr(), stopped.addr()] {
        let again = User::login(at, "carol", &carol.password).await;
        assert!(is_let_in(at, &again).await);
        again.post("/auth/refresh", json!({})).await.expect_status(200);
    }
}

/// The time in a token is compared with itself, so it does not matter whose clock is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_with_another_clock_lets_the_same_people_in() {
    for seconds in [300, -300] {
        let desk = Desk::start().await;
        let other = desk.second().await;
        // As if its clock said so, while it stamps a user.
        desk.schema
            .execute(format!(
                "CREATE TRIGGER another_clock BEFORE INSERT ON users
                    FOR EACH ROW SET NEW.created_at = NEW.created_at + INTERVAL {seconds} SECOND"
            ))
            .await;
        let dave = desk.user("dave").await;
        desk.schema.dump().await;
        let bob = desk.user("bob").await;
        for at in [desk.addr(), other.addr()] {
            for user in [&dave, &bob] {
                assert!(is_let_in(at, user).await, "{seconds}");
                assert!(is_let_in(at, &User::login(at, &user.username, &user.password).await).await);
            }
        }
        // The rows keep the times that they were dumped with.
        desk.schema.execute("DROP TRIGGER another_clock").await;
        desk.schema.restore().await;
        let carol = desk.user("carol").await;
        assert_eq!(carol.id, bob.id);
        for at in [desk.addr(), other.addr()] {
            eventually(SOON, || async {
                assert!(is_let_in(at, &carol).await && is_let_in(at, &dave).await);
                !is_let_in(at, &bob).await
            })
            .await;
            assert_out(at, &bob).await;
        }
    }
}

/// Who registered on another instance a moment ago is let in here at once, however many they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_users_token_is_good_everywhere_at_once() {
    let desk = Desk::start_with(&[("HASH_CONCURRENCY", "2")]).await;
    let other = desk.second().await;
    let other = other.addr();
    for number in 0..20 {
        let user = desk.user(&format!("user{number}")).await;
        let client = Client::new(other);
        for request in [
            client.get("/conversations").bearer(&user.token),
            client.get("/api/updates").header("cookie", &user.cookie),
            client.post("/conversations").bearer(&user.token).json(json!({"title": "x"})),
        ] {
            assert!(matches!(request.send().await.status, 200 | 201));
        }
        assert!(is_let_in(other, &user).await);
    }
    // Not one who is new, but a row from elsewhere with an old time.
    desk.schema
        .execute(
            "INSERT INTO users (id, username, password_digest, created_at, updated_at)
                VALUES (5000, 'imported', 'x', '2014-01-01', '2014-01-01')",
        )
        .await;
    let imported = token(&json!({"user_id": 5000, "exp": super::now() + 600}));
    Client::new(other).get("/auth/me").bearer(&imported).send().await.expect_status(200);
}

#[tokio::test]
async fn who_cannot_be_looked_up_is_told_to_come_again() {
    let desk = chassis::builder().start().await;
    let client = desk.client();
    for request in [client.get("/conversations"), client.post("/conversations").json(json!({"title": "x"}))] {
        let answer = request.bearer(&chassis::token()).send().await.expect_status(503);
        assert!(answer.header("retry-after").is_some());
    }
    client.get("/conversations").bearer("x.y.z").send().await.expect_status(401);
}
