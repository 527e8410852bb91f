//! Guessing and flooding are limited by address; people who sign in are not.
//!
//! Accounts here have bcrypt hashes of the lowest cost, of a password beyond bcrypt's 72 bytes: they are checked in a
//! millisecond and not rehashed, so a test of hundreds is one of the limits and not of the machine.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::StreamExt;
use serde_json::json;

use crate::support::{Client, Hyperdesk, Response, Schema};

/// As in the product.
const ACCOUNT_FAILURES_MAX: usize = 20;
const ADDRESS_ATTEMPTS_MAX: usize = 30;

struct Desk {
    server: Hyperdesk,
    schema: Schema,
    password: String,
}

impl Desk {
    /// Behind one proxy, with the limits of the product, and with people `user-0` and so on.
    async fn start(people: usize) -> Desk {
        let schema = Schema::fresh().await;
        let server = Hyperdesk::builder(&schema)
            .env("SERVICES", "helpdesk")
            .env("TRUSTED_PROXY_HOPS", 1)
            .without_env("ADDRESS_ATTEMPTS_MAX")
            .start()
            .await;
        let password = "p".repeat(80);
        let digest = bcrypt::hash(&password, 4).unwrap();
        let rows: Vec<String> =
            (0..people).map(|number| format!("('user-{number}', '{digest}', NOW(6), NOW(6))")).collect();
        let rows = rows.join(", ");
        schema
            .execute(format!(
                "INSERT INTO users (username, password_digest, created_at, updated_at) VALUES {rows}"
            ))
            .await;
        Desk { server, schema, password }
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    async fn right(&self, from: &str, name: &str) -> Response {
        sign_in(&self.client(), from, name, &self.password).await
    }

    async fn refused(&self, limit: &str) -> usize {
        let series = format!("auth_attempts_refused_total{{limit=\"{limit}\"}}");
        self.server.metric(&series).await.unwrap() as usize
    }
}

async fn sign_in(client: &Client, from: &str, name: &str, password: &str) -> Response {
    let fields = json!({ "username": name, "password": password });
    client.post("/auth/login").header("x-forwarded-for", from).json(fields).send().await
}

async fn guess(client: &Client, from: &str, name: &str) -> Response {
    sign_in(client, from, name, "wrong-secret").await
}

/// Says when to come back: within the window of a minute, most of which is still to come, and not in a few seconds.
#[track_caller]
fn expect_later(answer: &Response) {
    assert_eq!((answer.status, answer.text().as_str()), (429, r#"{"error":"Too many requests"}"#));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((10..=60).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_proxy_may_write_ports_and_brackets_and_clients_are_still_told_apart() {
    let desk = Desk::start(8).await;
    let client = desk.client();
    // In each row: one client, whose source port changes, and the same name from somebody else's address.
    for (number, (guesser, other)) in [
        ("198.51.100.1:PORT", "198.51.100.2:PORT"),
        ("198.51.100.3", "198.51.100.4"),
        ("[2001:db8:0:1::1]:PORT", "[2001:db8:0:2::1]:PORT"),
        ("[2001:db8:0:3::1]", "[2001:db8:0:4::1]"),
        // Each address of a subscriber's network is the same subscriber's.
        ("2001:db8:0:5::PORT", "2001:db8:0:6::PORT"),
        ("::ffff:198.51.100.5", "::ffff:198.51.100.6"),
        // What a client itself wrote in front counts for nothing.
        ("192.0.2.PORT, 198.51.100.7", "192.0.2.1, 198.51.100.8"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user-{number}");
        let at = |address: &str, port: usize| address.replace("PORT", &port.to_string());
        for port in 1..=ACCOUNT_FAILURES_MAX {
            guess(&client, &at(guesser, port), &name).await.expect_status(401);
        }
        expect_later(&desk.right(&at(guesser, 99), &name).await);
        desk.right(&at(other, 98), &name).await.expect_status(200);
    }
    // One spelling or another of an address is one address.
    for from in ["203.0.113.1", "203.0.113.1:80", "::ffff:203.0.113.1", "[::ffff:203.0.113.1]:80"] {
        for _ in 0..ACCOUNT_FAILURES_MAX / 4 {
            guess(&client, from, "user-7").await.expect_status(401);
        }
    }
    expect_later(&guess(&client, "203.0.113.1", "user-7").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_guesses_at_once_no_more_are_looked_at_than_allowed() {
    let desk = Desk::start(1).await;
    let guesses = (0..400).map(|_| async {
        // A connection each.
        guess(&desk.client(), "198.51.100.1", "user-0").await
    });
    let answers = futures_util::future::join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(looked_at, ACCOUNT_FAILURES_MAX);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    refused.iter().copied().for_each(expect_later);
    assert_eq!(desk.refused("account").await, refused.len());
    // A busy machine turns some away before that.
    let busy = answers.iter().filter(|answer| answer.status == 503).count();
    assert_eq!(looked_at + refused.len() + busy, answers.len());
    desk.right("198.51.100.2", "user-0").await.expect_status(200);
}

#[tokio::test]
async fn one_address_tries_a_limited_number_of_accounts() {
    let desk = Desk::start(61).await;
    let client = desk.client();
    for number in 0..60 {
        let answer = guess(&client, "198.51.100.1", &format!("user-{number}")).await;
        match number < ADDRESS_ATTEMPTS_MAX {
            true => drop(answer.expect_status(401)),
            false => expect_later(&answer),
        }
    }
    assert_eq!(desk.refused("address").await, 60 - ADDRESS_ATTEMPTS_MAX);
    desk.right("198.51.100.2", "user-60").await.expect_status(200);
}

#[tokio::test]
async fn one_address_makes_a_limited_number_of_accounts() {
    let desk = Desk::start(1).await;
    let client = desk.client();
    let register = async |from: &str, name: &str, password: &str| {
        let fields = json!({ "username": name, "password": password });
        client.post("/auth/register").header("x-forwarded-for", from).json(fields).send().await
    };
    for number in 0..40 {
        let from = format!("[2001:db8::{number}]:80");
        let answer = register(&from, &format!("new-{number}"), "secret").await;
        match number < ADDRESS_ATTEMPTS_MAX {
            true => drop(answer.expect_status(201)),
            false => expect_later(&answer),
        }
    }
    // What could be no account is told so, and the name is not looked up.
    register("2001:db8::1", "", "secret").await.expect_status(422);
    expect_later(&register("2001:db8::1", "user-0", "secret").await);
    register("2001:db8:0:1::1", "new-40", "secret").await.expect_status(201);
    assert_eq!(desk.refused("registrations").await, 40 - ADDRESS_ATTEMPTS_MAX + 1);
    assert_eq!(
        desk.schema.query_one::<usize>("SELECT COUNT(*) FROM users").await,
        1 + ADDRESS_ATTEMPTS_MAX + 1
    );
    // Who registered may sign in.
    desk.right("2001:db8::1", "user-0").await.expect_status(200);
}

/// 200 people sign in from one address, each seventh after a mistyped password, while a stranger floods the queue with
/// names that change and guesses at one of them. The stranger's connections are more than the queue has places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_office_signs_in_while_a_stranger_guesses_and_floods() {
    const OFFICE: usize = 200;
    const FLOODERS: usize = 600;
    let desk = Desk::start(OFFICE).await;
    let over = AtomicBool::new(false);
    let flooders = (0..FLOODERS).map(|flooder| {
        let (desk, over) = (&desk, &over);
        async move {
            let (client, mut looked_at, mut round) = (desk.client(), 0, 0);
            while !over.load(Relaxed) {
                let name =
                    if flooder == 0 { "user-0".to_owned() } else { format!("stray-{flooder}-{round}") };
                let answer = guess(&client, "198.51.100.1", &name).await;
                assert!(matches!(answer.status, 401 | 429 | 503), "{}", answer.status);
                looked_at += usize::from(answer.status == 401);
                round += 1;
                // Sent away, it comes back at once; but the office is to have the processor, too.
                tokio::task::yield_now().await;
            }
            looked_at
        }
    });
    let office = async {
        let people = futures_util::stream::iter(0..OFFICE).map(|number| {
            let desk = &desk;
            async move {
                let (client, name) = (desk.client(), format!("user-{number}"));
                if number % 7 == 6 {
                    guess(&client, "203.0.113.1", &name).await.expect_status(401);
                }
                sign_in(&client, "203.0.113.1", &name, &desk.password).await
            }
        });
        let answers: Vec<Response> = people.buffer_unordered(8).collect().await;
        over.store(true, Relaxed);
        answers
    };
    let (answers, looked_at) = tokio::join!(office, futures_util::future::join_all(flooders));
    let refused: Vec<u16> =
        answers.iter().map(|answer| answer.status).filter(|status| *status != 200).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let looked_at: usize = looked_at.into_iter().sum();
    assert!(looked_at <= ADDRESS_ATTEMPTS_MAX, "{looked_at}");
}
