//! A sign-out, and the revocation of a client program, reach every instance in time, whatever held it up.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyperdesk::auth::freshness::KNOWN_MS_MAX;
use hyperdesk::clock::Timestamp;
use serde_json::json;

use crate::helpdesk::Desk;
use crate::stock::{Program, oauth_client};
use crate::support::{Client, Hyperdesk, Proxy, eventually};

/// The contract's.
const SIGNED_OUT_WITHIN: Duration = Duration::from_secs(2);

/// The version before this one writes no more than that.
#[tokio::test]
async fn a_sign_out_by_the_version_before_is_heard_of() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    ann.get("/auth/me").await.expect_status(200);
    let payload = ann.token.split('.').nth(1).unwrap();
    let claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let sid = claims["sid"].as_str().unwrap();
    let columns = "revoked_sessions (sid, expires_at) VALUES";
    let insert = format!("INSERT INTO {columns} (UNHEX('{sid}'), NOW(6) + INTERVAL 1 HOUR)");
    desk.schema.execute(insert).await;
    eventually(SIGNED_OUT_WITHIN, || async { ann.get("/auth/me").await.status == 401 }).await;
}

/// Requests that wait for a process that stands still are judged by what happened meanwhile.
#[tokio::test]
async fn an_instance_that_was_frozen_looks_before_it_lets_anybody_in() {
    let desk = Desk::start().await;
    // What it looks up comes later than it could answer.
    let proxy = Proxy::start(desk.schema.server_addr().await);
    proxy.delay_replies(Duration::from_millis(40));
    let url = desk.schema.url_via(proxy.addr());
    let frozen = Hyperdesk::builder(&desk.schema).env("DATABASE_URL", url).start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let program = Program::create(&desk.schema, "read").await;
    let access = program.token(frozen.addr(), "read").await;
    let poll = format!("/api/messages/updates?since={}", Timestamp::now());
    let cursor = bob.get("/api/updates").await.expect_status(200).json();
    let held = format!("/api/updates?cursor={}&wait=50", cursor["cursor"].as_str().unwrap());
    let status = async |path: &str, token: &str| {
        let client = Client::new(frozen.addr());
        client.get(path).bearer(token).limit(Duration::from_secs(60)).send().await.status
    };
    let all = [
        (&*poll, &*ann.token),
        ("/auth/me", &*ann.token),
        ("/books/mine", &*ann.token),
        ("/api/hyper", &*access),
    ];
    for (path, token) in all {
        assert_eq!(status(path, token).await, 200, "{path}");
    }
    // It looks up who has just registered, and is frozen before the reply to that: what it reads once it goes on is from before
    // the sign-outs.
    proxy.delay_replies(Duration::from_millis(100));
    let (dave, asked) = (desk.user("dave").await, proxy.packets());
    let sign_outs = async {
        eventually(Duration::from_secs(10), || async { proxy.packets() > asked }).await;
        frozen.freeze();
        let since = tokio::time::Instant::now();
        ann.post("/auth/logout", json!({})).await.expect_status(200);
        bob.post("/auth/logout", json!({})).await.expect_status(200);
        let (revoked, said) = oauth_client(&desk.schema, &["revoke", &program.id]).await;
        assert!(revoked, "{said}");
        // Some are there as it goes on, and others come while it hears what it asked before, and asks again.
        let comes = |place: usize| since + Duration::from_millis(KNOWN_MS_MAX + 100 + 50 * place as u64);
        let waiting = futures_util::future::join_all(all.iter().cycle().take(80).enumerate().map(
            async |(place, (path, token))| {
                tokio::time::sleep_until(comes(place / all.len())).await;
                status(path, token).await
            },
        ));
        let (statuses, ()) = tokio::join!(waiting, async {
            tokio::time::sleep_until(comes(1)).await;
            frozen.thaw();
        });
        assert_eq!(statuses, [401; 80]);
        proxy.delay_replies(Duration::ZERO);
        let carol = desk.user("carol").await;
        assert_eq!(status("/auth/me", &carol.token).await, 200);
        // News for everybody who waits.
        crate::helpdesk::ask(&carol, "printer").await;
    };
    // The held poll is held by then, or comes right after: either way it is not answered before.
    let (held, of_dave, ()) =
        tokio::join!(status(&held, &bob.token), status("/auth/me", &dave.token), sign_outs);
    assert_eq!(held, 401);
    assert!([200, 503].contains(&of_dave), "{of_dave}: it waited for too long, or not");
}
