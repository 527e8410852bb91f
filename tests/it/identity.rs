//! Who calls, and may they? Tokens, cookies, origins; everybody else's things; passwords.

mod credentials;
mod others;
mod passwords;
mod restored;
mod sign_outs;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use hyperdesk::chassis::route::Access;
use hyperdesk::clock::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

use crate::helpdesk::{Desk, path_of, specs};
use crate::support::server::SECRET;

const REQUIRED: &str = r#"{"error":"Authentication required"}"#;
const NO_SESSION: &str = r#"{"error":"No session found"}"#;
const FOREIGN_ORIGIN: &str = r#"{"error":"Origin not allowed"}"#;
const PREVIOUS: &str = "it-previous-0123456789abcdef0123456789abcdef0123456789abcdef0123";

/// A token with any header and payload.
fn forge(header: &Value, payload: &Value, algorithm: hmac::Algorithm, secret: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(payload));
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn token(payload: &Value) -> String {
    forge(&json!({"alg": "HS256", "typ": "JWT"}), payload, hmac::HMAC_SHA256, SECRET)
}

fn now() -> i64 {
    Timestamp::now().unix_seconds()
}

fn session_token(user_id: i64, expires_in: i64) -> String {
    let sid = format!("{:032x}", fastrand::u128(..));
    token(&json!({"user_id": user_id, "sid": sid, "iat": now() - 60, "exp": now() + expires_in}))
}

/// The claims of a good token, and tokens that differ from it in one thing.
struct Good(Value);

impl Good {
    fn of(user_id: i64) -> Good {
        Good(json!({"user_id": user_id, "iat": now(), "exp": now() + 3_600}))
    }

    fn with(&self, name: &str, value: Value) -> String {
        let mut claims = self.0.clone();
        claims[name] = value;
        token(&claims)
    }

    fn without(&self, name: &str) -> String {
        let mut claims = self.0.clone();
        claims.as_object_mut().unwrap().remove(name);
        token(&claims)
    }

    fn headed(&self, header: Value) -> String {
        forge(&header, &self.0, hmac::HMAC_SHA256, SECRET)
    }

    fn signed(&self, algorithm: hmac::Algorithm, secret: &str) -> String {
        forge(&json!({"alg": "HS256", "typ": "JWT"}), &self.0, algorithm, secret)
    }
}

/// Tokens that must be refused, and why.
fn bad_tokens(user_id: i64) -> Vec<(String, String)> {
    let good = Good::of(user_id);
    let own = token(&good.0);
    let (signed, signature) = own.rsplit_once('.').unwrap();
    let payload = own.split('.').nth(1).unwrap();
    let unsigned = |header: Value| format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header.to_string()));
    let respelt = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let bad = [
        ("alg none, no signature", unsigned(json!({"alg": "none"}))),
        ("alg None, no signature", unsigned(json!({"alg": "None", "typ": "JWT"}))),
        ("alg none, our signature", good.headed(json!({"alg": "none"}))),
        ("no alg", good.headed(json!({"typ": "JWT"}))),
        ("HS512 with our secret", forge(&json!({"alg": "HS512"}), &good.0, hmac::HMAC_SHA512, SECRET)),
        ("HS384 with our secret", forge(&json!({"alg": "HS384"}), &good.0, hmac::HMAC_SHA384, SECRET)),
        ("HS512 said, HS256 signed", good.headed(json!({"alg": "HS512"}))),
        ("HS256 said, HS512 signed", good.signed(hmac::HMAC_SHA512, SECRET)),
        ("RS256 said", good.headed(json!({"alg": "RS256"}))),
        ("unknown kid", good.headed(json!({"alg": "HS256", "kid": "1"}))),
        ("crit", good.headed(json!({"alg": "HS256", "crit": ["exp"]}))),
        ("wrong key", good.signed(hmac::HMAC_SHA256, "another-secret-another-secret-another")),
        ("empty key", good.signed(hmac::HMAC_SHA256, "")),
        ("expired a second ago", good.with("exp", json!(now() - 1))),
        ("expired now", good.with("exp", json!(now()))),
        ("no exp", good.without("exp")),
        ("exp a string", good.with("exp", json!((now() + 3_600).to_string()))),
        ("exp a fraction of a second ago", good.with("exp", json!(now() as f64 - 0.5))),
        ("exp beyond numbers", good.with("exp", json!(1e300))),
        ("exp null", good.with("exp", Value::Null)),
        ("exp huge", good.with("exp", json!(u64::MAX))),
        ("exp in milliseconds", good.with("exp", json!(now() * 1_000))),
        ("exp negative", good.with("exp", json!(-1))),
        ("iat far ahead", good.with("iat", json!(now() + 300))),
        ("nbf far ahead", good.with("nbf", json!(now() + 300))),
        ("nbf far ahead, a fraction", good.with("nbf", json!(now() as f64 + 300.5))),
        ("iat beyond numbers", good.with("iat", json!(1e300))),
        ("user_id beyond the column", good.with("user_id", json!(1_u64 << 63))),
        ("user_id beyond all", good.with("user_id", json!(u64::MAX))),
        ("user_id of nobody", good.with("user_id", json!(987_654_321))),
        ("user_id a fraction", good.with("user_id", json!(user_id as f64))),
        ("no user_id", good.without("user_id")),
        ("user_id a string", good.with("user_id", json!(user_id.to_string()))),
        ("user_id negative", good.with("user_id", json!(-user_id))),
        ("another audience", good.with("aud", json!("billing"))),
        ("another use", good.with("use", json!("oauth"))),
        ("with padding", format!("{signed}.{}=", signature)),
        ("standard alphabet", format!("{signed}.{}", STANDARD.encode(&respelt))),
        ("padded", format!("{signed}.{}", URL_SAFE.encode(&respelt))),
        ("signature cut short", own[..own.len() - 2].to_owned()),
        ("no signature", signed.to_owned()),
        ("empty signature", format!("{signed}.")),
        ("four parts", format!("{own}.x")),
        ("nothing", String::new()),
        ("not base64", "a.b!.c".to_owned()),
        ("long", "x".repeat(10_000)),
    ];
    let flipped = (0..own.len()).filter_map(|at| {
        // One bit of every character: what it becomes stays within the alphabet or falls out of it.
        let mut bytes = own.clone().into_bytes();
        bytes[at] ^= 1 << (at % 6);
        let flipped = String::from_utf8(bytes).ok()?;
        let can_be_sent = flipped.bytes().all(|byte| byte.is_ascii_graphic());
        can_be_sent.then(|| (format!("bit flipped in character {at}"), flipped))
    });
    bad.into_iter().map(|(why, token)| (why.to_owned(), token)).chain(flipped).collect()
}

#[tokio::test]
async fn only_good_tokens_are_believed() {
    let desk = Desk::start_with(&[("SECRET_KEY_BASE_PREVIOUS", PREVIOUS)]).await;
    let ann = desk.user("ann").await;
    let good = Good::of(ann.id);
    let own = token(&good.0);
    for (why, token) in [
        ("the server's own", ann.token.clone()),
        ("made by a tool", own.clone()),
        ("without typ", good.headed(json!({"alg": "HS256"}))),
        ("with more claims", good.with("name", json!("ann"))),
        ("signed with the previous key", good.signed(hmac::HMAC_SHA256, PREVIOUS)),
        ("made on a clock 20 s ahead", good.with("iat", json!(now() + 20))),
        ("without iat", good.without("iat")),
        ("exp a fraction", good.with("exp", json!(now() as f64 + 3_600.5))),
        ("iat a fraction", good.with("iat", json!(now() as f64 - 0.25))),
        ("iat 1.5", good.with("iat", json!(1.5))),
        ("iat 1e9", good.with("iat", json!(1e9))),
        ("nbf 1.7e9", good.with("nbf", json!(1.7e9))),
    ] {
        let answer = ann.client.get("/auth/me").bearer(&token).send().await;
        assert_eq!(answer.status, 200, "{why}");
        assert_eq!(answer.json()["username"], "ann", "{why}");
    }
    for (why, token) in &bad_tokens(ann.id) {
        let answer = ann.client.get("/conversations").bearer(token).send().await;
        assert_eq!((answer.status, answer.text().as_str()), (401, REQUIRED), "{why}");
        let session = ann.client.get("/auth/me").bearer(token).send().await;
        assert_eq!((session.status, session.text().as_str()), (401, NO_SESSION), "{why}");
        let cookie = format!("hyperdesk_session={token}");
        let by_cookie = ann.client.get("/conversations").header("cookie", cookie).send().await;
        assert_eq!((by_cookie.status, by_cookie.text().as_str()), (401, REQUIRED), "{why}");
    }
    for header in ["Basic YTpi", "Bearer", "Bearer ", "Token x", &own] {
        let answer = ann.client.get("/conversations").header("authorization", header).send().await;
        assert_eq!(answer.expect_status(401).text(), REQUIRED);
    }
    let lower = ann.client.get("/conversations").header("authorization", format!("bearer {own}"));
    lower.send().await.expect_status(200);
    // A token in the URL is none.
    ann.client.get(&format!("/conversations?token={own}")).send().await.expect_status(401);
}

#[tokio::test]
async fn without_a_previous_key_only_the_current_one_counts() {
    let desk = Desk::start().await;
    let claims = json!({"user_id": 1, "iat": now(), "exp": now() + 60});
    let old = forge(&json!({"alg": "HS256"}), &claims, hmac::HMAC_SHA256, PREVIOUS);
    desk.client().get("/conversations").bearer(&old).send().await.expect_status(401);
}

#[tokio::test]
async fn a_tools_token_can_be_signed_out() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let foreign = token(&json!({"user_id": ann.id, "iat": now(), "exp": now() + 600}));
    ann.client.get("/conversations").bearer(&foreign).send().await.expect_status(200);
    ann.client.post("/auth/logout").bearer(&foreign).send().await.expect_status(200);
    ann.client.get("/conversations").bearer(&foreign).send().await.expect_status(401);
    ann.get("/conversations").await.expect_status(200);
}

#[tokio::test]
async fn the_cookie_has_the_flags_of_its_environment() {
    for (environment, expected) in
        [("development", "HttpOnly; SameSite=Lax"), ("production", "HttpOnly; SameSite=None; Secure")]
    {
        let desk = Desk::start_with(&[("APP_ENV", environment), ("TOKEN_TTL_SECONDS", "7200")]).await;
        let client = desk.client();
        let fields = json!({"username": "ann", "password": "secret"});
        let made = client.post("/auth/register").json(&fields).send().await.expect_status(201);
        let signed_in = client.post("/auth/login").json(&fields).send().await.expect_status(200);
        let bearer = made.json()["token"].as_str().unwrap().to_owned();
        let renewed = client.post("/auth/refresh").bearer(&bearer).send().await.expect_status(200);
        for answer in [made, signed_in, renewed] {
            let token = answer.json()["token"].as_str().unwrap().to_owned();
            let cookie = format!("hyperdesk_session={token}; Path=/; Max-Age=7200; {expected}");
            assert_eq!(answer.headers_named("set-cookie"), [cookie]);
            let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            let claims: Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 7_200);
            assert!(claims["user_id"].is_number() && claims["sid"].as_str().unwrap().len() == 32);
        }
        let out = client.post("/auth/logout").bearer(&bearer).send().await.expect_status(200);
        let cookie = out.header("set-cookie").unwrap();
        assert!(
            cookie.starts_with("hyperdesk_session=; Path=/; Max-Age=0;") && cookie.ends_with(expected),
            "{cookie}"
        );
    }
}

#[tokio::test]
async fn writes_by_cookie_come_from_an_allowed_page_or_from_none() {
    let desk = Desk::start_with(&[("FRONTEND_URL", "https://desk.example.com")]).await;
    let ann = desk.user("ann").await;
    let count = async || desk.schema.query_one::<u64>("SELECT COUNT(*) FROM conversations").await;
    let write = |origin: Option<&str>| {
        let request = ann.cookie_request("POST", "/conversations").json(json!({"title": "x"}));
        match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        }
    };
    write(None).send().await.expect_status(201);
    write(Some("https://desk.example.com")).send().await.expect_status(201);
    let foreign = [
        "https://evil.example",
        "null",
        "http://desk.example.com",
        "https://desk.example.com.evil.example",
        "http://localhost:5173",
        "",
    ];
    for origin in foreign {
        let answer = write(Some(origin)).send().await.expect_status(403);
        assert_eq!(answer.text(), r#"{"error":"Origin not allowed"}"#, "{origin}");
    }
    let twice = write(Some("https://desk.example.com")).header("origin", "https://evil.example");
    twice.send().await.expect_status(403);
    assert_eq!(count().await, 2);
    for spec in specs().iter().filter(|spec| spec.method != "GET" && spec.access != Access::Public) {
        let request = ann.cookie_request(spec.method, &path_of(spec.label, "1"));
        let answer = request.header("origin", "https://evil.example").send().await;
        // Services that are off have no routes here.
        assert!(matches!(answer.status, 403 | 404), "{} {}", spec.method, spec.label);
        if answer.status == 403 {
            assert_eq!(answer.text(), r#"{"error":"Origin not allowed"}"#, "{}", spec.label);
        }
    }
    // Reading changes nothing, and a token is proof enough of the page's intent.
    ann.cookie_request("GET", "/conversations")
        .header("origin", "https://evil.example")
        .send()
        .await
        .expect_status(200);
    let by_token = ann.request("POST", "/conversations").header("origin", "https://evil.example");
    by_token.json(json!({"title": "x"})).send().await.expect_status(201);
    // A bad token next to a good cookie: the cookie counts, and what is asked of one alone is asked of it.
    let mixed = ann.cookie_request("POST", "/conversations").bearer("x.y.z").json(json!({"title": "x"}));
    mixed.send().await.expect_status(201);
    let mixed =
        ann.cookie_request("POST", "/auth/refresh").bearer("x.y.z").header("origin", "https://evil.example");
    mixed.send().await.expect_status(403);
}

#[tokio::test]
async fn the_secret_counts_byte_for_byte() {
    let secret = format!(" {SECRET}\t\n");
    let desk = Desk::start_with(&[("SECRET_KEY_BASE", &secret)]).await;
    let ann = desk.user("ann").await;
    let good = Good::of(ann.id as i64);
    let asked = async |token: &str| desk.client().get("/auth/me").bearer(token).send().await.status;
    assert_eq!(asked(&good.signed(hmac::HMAC_SHA256, &secret)).await, 200, "made by another tool");
    assert_eq!(asked(&good.signed(hmac::HMAC_SHA256, SECRET)).await, 401);
    let (signed, signature) = ann.token.rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(hmac::verify(&key, signed.as_bytes(), &signature).is_ok(), "checked by another tool");
}
