//! Passwords: what a wrong one tells, guessing, and the hashes of the Rails original.

use std::time::Duration;

use serde_json::json;

use crate::helpdesk::Desk;
use crate::support::{Client, eventually};

/// For a line to come through the log's pipe.
const SOON: Duration = Duration::from_secs(5);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn an_unknown_name_is_answered_as_a_wrong_password_is() {
    let desk = Desk::start().await;
    for number in 0..4 {
        desk.user(&format!("known-{number}")).await;
    }
    let client = Client::new(desk.addr());
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for number in 0..40 {
        for (prefix, times) in [("known", &mut known), ("stray", &mut unknown)] {
            let fields = json!({"username": format!("{prefix}-{}", number % 4), "password": "wrong-secret"});
            let answer = client.post("/auth/login").json(fields).send().await.expect_status(401);
            assert_eq!(answer.text(), r#"{"error":"Invalid username or password"}"#);
            let mut names: Vec<String> = answer.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
            names.sort();
            assert_eq!(
                names,
                ["content-length", "content-type", "date", "vary", "www-authenticate", "x-request-id"]
            );
            times.push(answer.took);
        }
    }
    let (known, unknown) = (median(known), median(unknown));
    println!("wrong password {known:?}, unknown name {unknown:?}");
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.6..=1.6).contains(&ratio), "{ratio}");
}

#[tokio::test]
async fn guessing_one_name_from_one_place_is_slowed_down() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    desk.user("bob").await;
    let client = Client::new(desk.addr());
    let guess = async |name: &str, password: &str| {
        let fields = json!({"username": name, "password": password});
        client.post("/auth/login").json(fields).send().await
    };
    for _ in 0..20 {
        guess("ann", "wrong-secret").await.expect_status(401);
    }
    let answer = guess("ann", &ann.password).await.expect_status(429);
    assert_eq!(answer.text(), r#"{"error":"Too many requests"}"#);
    // When the first of them no longer counts.
    let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((5..=60).contains(&seconds), "{seconds}");
    // No other spelling reaches the same account.
    for name in ["ann ", " ann", "ann\t", "ANN", "ann\u{a0}"] {
        guess(name, &ann.password).await.expect_status(401);
    }
    guess("bob", "bob-secret").await.expect_status(200);
    ann.get("/conversations").await.expect_status(200);
}

#[tokio::test]
async fn bcrypt_hashes_sign_in_and_are_rehashed() {
    let desk = Desk::start().await;
    let client = desk.client();
    let long = "p".repeat(80);
    for (name, version, password, rehashed) in [
        ("old-a", bcrypt::Version::TwoA, "correct horse", true),
        ("old-b", bcrypt::Version::TwoB, "sécret 🔑", true),
        // Nobody checked what follows the 72nd byte, so it is kept as it is.
        ("old-long", bcrypt::Version::TwoA, long.as_str(), false),
    ] {
        let digest = bcrypt::hash_with_result(password, 4).unwrap().format_for_version(version);
        desk.schema
            .execute(format!(
                "INSERT INTO users (username, password_digest, created_at, updated_at) \
                 VALUES ('{name}', '{digest}', NOW(6), NOW(6))"
            ))
            .await;
        let stored = async || -> String {
            desk.schema
                .query_one(format!("SELECT password_digest FROM users WHERE username = '{name}'"))
                .await
        };
        let wrong = json!({"username": name, "password": "correct horsf"});
        client.post("/auth/login").json(wrong).send().await.expect_status(401);
        assert_eq!(stored().await, digest, "a wrong password changes nothing");
        for _ in 0..2 {
            let fields = json!({"username": name, "password": password});
            client.post("/auth/login").json(fields).send().await.expect_status(200);
            let now = stored().await;
            match rehashed {
                true => assert!(now.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{now}"),
                false => assert_eq!(now, digest),
            }
        }
    }
    // A hash that cannot be used is a wrong password to the client and a line in the log.
    desk.schema
        .execute("INSERT INTO users (username, password_digest, created_at, updated_at) VALUES ('broken', 'plain', NOW(6), NOW(6))")
        .await;
    let fields = json!({"username": "broken", "password": "plain-text"});
    let answer = client.post("/auth/login").json(fields).send().await.expect_status(401);
    assert_eq!(answer.text(), r#"{"error":"Invalid username or password"}"#);
    let logs = desk.server.logs();
    eventually(SOON, || async { logs.last(|line| line.message().contains("unusable")).is_some() }).await;
}
