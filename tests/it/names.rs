//! `USERNAMES` and `REHASH`: as the Rails original does it, for those who ask for that.

use std::time::Duration;

use serde_json::json;

use crate::helpdesk::Desk;
use crate::support::rails::{digest, password};
use crate::support::{User, eventually};

const SOON: Duration = Duration::from_secs(30);
const FOLDED: (&str, &str) = ("USERNAMES", "case_insensitive");

async fn register(desk: &Desk, name: &str) -> u16 {
    let fields = json!({"username": name, "password": format!("{name}-secret")});
    desk.client().post("/auth/register").json(fields).send().await.status
}

#[tokio::test]
async fn names_are_told_apart_byte_for_byte() {
    let desk = Desk::start().await;
    for name in ["ann", "Ann", "änn"] {
        assert_eq!(register(&desk, name).await, 201);
        User::login(desk.addr(), name, &format!("{name}-secret")).await;
    }
    let fields = json!({"username": "ANN", "password": "ann-secret"});
    desk.client().post("/auth/login").json(fields).send().await.expect_status(401);
}

#[tokio::test]
async fn case_and_accents_make_no_other_name() {
    let desk = Desk::start_with(&[FOLDED]).await;
    assert_eq!(register(&desk, "José").await, 201);
    for taken in ["José", "jose", "JOSE\u{301}", "josé"] {
        assert_eq!(register(&desk, taken).await, 422, "{taken}");
        assert_eq!(User::login(desk.addr(), taken, "José-secret").await.id, 1, "{taken}");
    }
    let me = User::login(desk.addr(), "JOSE", "José-secret").await.get("/auth/me").await;
    assert_eq!(me.json()["username"], "José", "a name is shown as it was registered");
    // Of many at once one wins.
    let names = ["anna", "Anna", "ANNA", "ánna", "annA", "aNNa"];
    let all = names.map(|name| register(&desk, name));
    let won = futures_util::future::join_all(all).await.into_iter().filter(|status| *status == 201).count();
    assert_eq!(won, 1);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM users").await, 2);
}

/// People of before, who were told apart byte for byte, get their keys while the server runs.
#[tokio::test]
async fn who_registered_before_signs_in_in_every_case() {
    let desk = &Desk::start().await;
    for name in ["Bob", "bob", "Carol"] {
        assert_eq!(register(desk, name).await, 201);
    }
    let folded = crate::support::Hyperdesk::builder(&desk.schema)
        .env("SERVICES", "helpdesk")
        .env(FOLDED.0, FOLDED.1)
        .start()
        .await;
    let signs_in = |name: &'static str, of: &'static str| {
        let fields = json!({"username": name, "password": format!("{of}-secret")});
        let client = folded.client();
        async move { client.post("/auth/login").json(fields).send().await.status }
    };
    // Looked for where it is kept: too many wrong attempts are refused.
    let has_key = |name: &'static str| {
        let look =
            format!("SELECT COUNT(*) FROM users WHERE username = '{name}' AND username_key IS NOT NULL");
        eventually(SOON, move || {
            let (look, schema) = (look.clone(), &desk.schema);
            async move { schema.query_one::<u64>(look).await == 1 }
        })
    };
    has_key("Carol").await;
    assert_eq!(signs_in("CAROL", "Carol").await, 200);
    assert_eq!(signs_in("BOB", "Bob").await, 200);
    assert_eq!(signs_in("bob", "bob").await, 200, "the exact name comes first");
    assert_eq!(signs_in("bob", "Bob").await, 401);
    // Whoever registers elsewhere, on an instance of the other setting, too.
    assert_eq!(register(desk, "Dave").await, 201);
    has_key("Dave").await;
    assert_eq!(signs_in("dave", "Dave").await, 200);
}

#[tokio::test]
async fn wrong_passwords_count_for_all_ways_to_write_a_name() {
    let desk = Desk::start_with(&[FOLDED]).await;
    assert_eq!(register(&desk, "ann").await, 201);
    let mut answers = Vec::new();
    for attempt in 0..30 {
        let name = ["ann", "ANN", "Ann", "aNN"][attempt % 4];
        let fields = json!({"username": name, "password": "wrong-secret"});
        answers.push(desk.client().post("/auth/login").json(fields).send().await.status);
    }
    assert!(answers.contains(&429), "{answers:?}");
}

#[tokio::test]
async fn old_digests_stay_where_they_are_to_stay() {
    let stored = digest("ann");
    for (rehash, stays) in [("off", true), ("on", false)] {
        let desk = Desk::start_with(&[("REHASH", rehash)]).await;
        desk.schema
            .execute(format!(
                "INSERT INTO users (username, password_digest, created_at, updated_at)
                VALUES ('ann', '{stored}', NOW(6), NOW(6))"
            ))
            .await;
        User::login(desk.addr(), "ann", &password("ann")).await;
        let now: String = desk.schema.query_one("SELECT password_digest FROM users").await;
        assert_eq!(now == stored, stays, "{rehash}: {now}");
    }
}
