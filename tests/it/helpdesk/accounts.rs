//! Registering, signing in and out.

use serde_json::{Value, json};

use super::{Desk, is_time};
use crate::support::{Client, Hyperdesk, Proxy, Response, User};

const NO_SESSION: &str = r#"{"error":"No session found"}"#;
const REQUIRED: &str = r#"{"error":"Authentication required"}"#;
const WRONG: &str = r#"{"error":"Invalid username or password"}"#;

async fn register(client: &Client, fields: Value) -> Response {
    client.post("/auth/register").json(fields).send().await
}

#[tokio::test]
async fn a_registration_makes_user_profile_token_and_cookie() {
    let desk = Desk::start().await;
    let client = desk.client();
    let answer = register(&client, json!({"username": "ann", "password": "secret"})).await.expect_status(201);
    let body = answer.json();
    let created = desk.time("created_at FROM users WHERE username = 'ann'").await;
    let active = desk.time("last_active_at FROM users WHERE username = 'ann'").await;
    let id: u64 = desk.schema.query_one("SELECT id FROM users WHERE username = 'ann'").await;
    let token = body["token"].as_str().unwrap();
    assert_eq!(
        answer.text(),
        format!(
            "{{\"user\":{{\"id\":{id},\"username\":\"ann\",\"created_at\":\"{created}\",\
             \"last_active_at\":\"{active}\"}},\"token\":\"{token}\"}}"
        )
    );
    assert!(is_time(&body["user"]["created_at"]) && is_time(&body["user"]["last_active_at"]));
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with(&format!("hyperdesk_session={token}; ")), "{cookie}");

    let me = client.get("/auth/me").bearer(token).send().await.expect_status(200);
    assert_eq!(me.json(), body["user"]);
    let profile = client.get("/expert/profile").bearer(token).send().await.expect_status(200).json();
    assert_eq!(profile["userId"], id.to_string());
}

#[tokio::test]
async fn a_wrong_registration_is_told_all_that_is_wrong() {
    let desk = Desk::start().await;
    let client = desk.client();
    desk.user("ann").await;
    let name_blank = "Username can't be blank";
    let password_blank = "Password can't be blank";
    let short = "Password is too short (minimum is 6 characters)";
    let taken = "Username has already been taken";
    let differs = "Password confirmation doesn't match Password";
    for (fields, errors) in [
        (json!({}), vec![name_blank, password_blank]),
        (json!({"username": "", "password": ""}), vec![name_blank, password_blank]),
        (json!({"username": null, "password": null}), vec![name_blank, password_blank]),
        (json!({"username": " \t\n", "password": "secret"}), vec![name_blank]),
        (json!({"username": "bob"}), vec![password_blank]),
        (json!({"username": "bob", "password": "12345"}), vec![short]),
        (json!({"username": "", "password": "12345"}), vec![name_blank, short]),
        (json!({"username": "bob", "password": "secret", "password_confirmation": "Secret"}), vec![differs]),
        (json!({"username": "bob", "password": "secret", "passwordConfirmation": ""}), vec![differs]),
        (json!({"username": "bob", "password": "secret", "password_confirmation": false}), vec![differs]),
        (
            json!({"user": {"username": "", "password": "12345", "password_confirmation": "x"}}),
            vec![name_blank, short, differs],
        ),
        (json!({"username": "ann", "password": "secret"}), vec![taken]),
        (json!({"username": ["ann"], "password": {"a": 1}}), vec![name_blank, password_blank]),
    ] {
        let answer = register(&client, fields.clone()).await.expect_status(422);
        assert_eq!(answer.text(), json!({ "errors": errors }).to_string(), "{fields}");
    }
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM users").await, 1);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM expert_profiles").await, 1);
}

#[tokio::test]
async fn a_name_is_taken_once_however_many_ask_at_once() {
    let desk = Desk::start_with(&[("HASH_CONCURRENCY", "4")]).await;
    let other = desk.second().await;
    let tries = (0..16).map(|number| {
        let addr = if number % 2 == 0 { desk.addr() } else { other.addr() };
        async move { register(&Client::new(addr), json!({"username": "ann", "password": "secret"})).await }
    });
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.status, 422);
        assert_eq!(answer.text(), r#"{"errors":["Username has already been taken"]}"#);
    }
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM expert_profiles").await, 1);
}

#[tokio::test]
async fn credentials_are_read_in_every_form_that_clients_send() {
    let desk = Desk::start().await;
    let client = desk.client();
    let confirmed = json!({"username": "ann", "password": "sécret+&1", "password_confirmation": "sécret+&1"});
    register(&client, json!({ "user": confirmed })).await.expect_status(201);
    let flat = json!({"username": "ann", "password": "sécret+&1"});
    let both = json!({"user": {"username": "ann", "password": "sécret+&1"}, "username": "bob"});
    for body in [flat.clone(), json!({ "user": flat }), both] {
        client.post("/auth/login").json(body).send().await.expect_status(200);
    }
    for names in [["username", "password"], ["user[username]", "user[password]"]] {
        let form = [(names[0], "ann"), (names[1], "sécret+&1")];
        client.post("/auth/login").form(&form).send().await.expect_status(200);
    }
    for content_type in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"] {
        let body = flat.to_string();
        let request = client.post("/auth/login").header("content-type", content_type).body(body);
        request.send().await.expect_status(200);
    }
    client.post("/auth/login").body(flat.to_string()).send().await.expect_status(200);
    let text = client.post("/auth/login").header("content-type", "text/plain").body(flat.to_string());
    text.send().await.expect_status(415);
    for body in ["{", "[]", "\"x\"", "null", "{\"username\":}", "\u{feff}"] {
        let request = client.post("/auth/login").header("content-type", "application/json").body(body);
        let answer = request.send().await.expect_status(400).json();
        assert!(answer["error"].is_string() && answer.as_object().unwrap().len() == 1, "{answer}");
    }
}

#[tokio::test]
async fn signing_in_is_noted_and_a_wrong_password_is_not() {
    let desk = Desk::start().await;
    let client = desk.client();
    let ann = desk.user("ann").await;
    desk.schema.execute("UPDATE users SET last_active_at = NULL").await;
    let me = ann.get("/auth/me").await.expect_status(200);
    assert!(me.json()["last_active_at"].is_null(), "{}", me.text());

    for fields in [
        json!({"username": "ann", "password": "wrong-secret"}),
        json!({"username": "nobody", "password": "ann-secret"}),
        json!({"username": "ann", "password": ""}),
        json!({"username": "", "password": "ann-secret"}),
        json!({"username": "ann "}),
        json!({}),
    ] {
        let answer = client.post("/auth/login").json(fields).send().await.expect_status(401);
        assert_eq!(answer.text(), WRONG);
        assert!(answer.header("set-cookie").is_none());
    }
    let unsigned: u64 =
        desk.schema.query_one("SELECT COUNT(*) FROM users WHERE last_active_at IS NULL").await;
    assert_eq!(unsigned, 1);

    let fields = json!({"username": "ann", "password": "ann-secret"});
    let answer = client.post("/auth/login").json(fields).send().await.expect_status(200);
    let active = desk.time("last_active_at FROM users").await;
    assert_eq!(answer.json()["user"]["last_active_at"], active);
    let names: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["user", "token"]);
    assert!(answer.header("set-cookie").unwrap().starts_with("hyperdesk_session="));
    assert_eq!(desk.server.metric("auth_sign_ins_failed_total").await, Some(6.0));
}

#[tokio::test]
async fn signing_out_kills_token_and_cookie_and_no_other_session() {
    let desk = Desk::start().await;
    for by_cookie in [false, true] {
        let name = format!("ann-{by_cookie}");
        let ann = desk.user(&name).await;
        let elsewhere = User::login(desk.addr(), &name, &ann.password).await;
        let renewed = ann.post("/auth/refresh", json!({})).await.expect_status(200).json();
        let renewed = renewed["token"].as_str().unwrap();
        let request = if by_cookie {
            ann.cookie_request("POST", "/auth/logout")
        } else {
            ann.request("POST", "/auth/logout")
        };
        let answer = request.send().await.expect_status(200);
        assert_eq!(answer.text(), r#"{"message":"Logged out successfully"}"#);
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.starts_with("hyperdesk_session=; ") && cookie.contains("Max-Age=0"), "{cookie}");

        assert_eq!(ann.get("/conversations").await.expect_status(401).text(), REQUIRED);
        let stolen = ann.client.get("/conversations").bearer(renewed).send().await.expect_status(401);
        assert_eq!(stolen.text(), REQUIRED);
        ann.cookie_request("GET", "/conversations").send().await.expect_status(401);
        assert_eq!(ann.get("/auth/me").await.expect_status(401).text(), NO_SESSION);
        ann.cookie_request("GET", "/auth/me").send().await.expect_status(401);
        let again = ann.post("/auth/refresh", json!({})).await.expect_status(401);
        assert_eq!(again.text(), NO_SESSION);
        elsewhere.get("/conversations").await.expect_status(200);
        // A second sign-out, and one of nobody, are no mistakes.
        ann.post("/auth/logout", json!({})).await.expect_status(200);
    }
    desk.client().post("/auth/logout").send().await.expect_status(200);
}

#[tokio::test]
async fn a_session_signed_out_elsewhere_cannot_be_refreshed() {
    let desk = Desk::start().await;
    let other = desk.second().await;
    let ann = desk.user("ann").await;
    ann.post("/auth/logout", json!({})).await.expect_status(200);
    let answer = Client::new(other.addr()).post("/auth/refresh").bearer(&ann.token).send().await;
    assert_eq!(answer.expect_status(401).text(), NO_SESSION);
}

/// From its first answer on.
#[tokio::test]
async fn an_instance_that_starts_knows_who_was_signed_out() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    ann.post("/auth/logout", json!({})).await.expect_status(200);
    // It learns so later than it could listen.
    let proxy = Proxy::start(desk.schema.server_addr().await);
    proxy.delay_replies(std::time::Duration::from_millis(40));
    for _ in 0..3 {
        let url = desk.schema.url_via(proxy.addr());
        let server = Hyperdesk::builder(&desk.schema).env("DATABASE_URL", url).start().await;
        let client = server.client();
        let poll = format!("/api/messages/updates?since={}", hyperdesk::clock::Timestamp::now());
        for path in [&*poll, "/auth/me"] {
            assert_eq!(client.get(path).bearer(&ann.token).send().await.status, 401, "{path}");
        }
        client.get("/auth/me").bearer(&bob.token).send().await.expect_status(200);
    }
}

#[tokio::test]
async fn a_session_is_refreshed_and_shown_by_cookie_or_token() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let user = ann.get("/auth/me").await.expect_status(200).json();
    assert_eq!(ann.cookie_request("GET", "/auth/me").send().await.expect_status(200).json(), user);
    for request in [ann.request("POST", "/auth/refresh"), ann.cookie_request("POST", "/auth/refresh")] {
        let answer = request.send().await.expect_status(200);
        let body = answer.json();
        assert_eq!(body["user"], user);
        let token = body["token"].as_str().unwrap();
        assert!(answer.header("set-cookie").unwrap().starts_with(&format!("hyperdesk_session={token};")));
        ann.client.get("/conversations").bearer(token).send().await.expect_status(200);
    }
    // A page may hold a token that ran out next to a cookie that is good.
    let request = ann.cookie_request("GET", "/auth/me").bearer("out.of.date");
    request.send().await.expect_status(200);

    for (method, path) in [("GET", "/auth/me"), ("POST", "/auth/refresh")] {
        let nobody = ann.client.request(method, path).send().await.expect_status(401);
        assert_eq!(nobody.text(), NO_SESSION);
    }
}
