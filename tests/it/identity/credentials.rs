//! Several credentials at once, pages of the service's own, and forms of somebody else's.

use hyperdesk::chassis::route::Access;
use serde_json::{Value, json};

use super::{FOREIGN_ORIGIN, REQUIRED, now, session_token, token};
use crate::helpdesk::{Desk, ask, claim, path_of, say, specs};
use crate::support::{Response, User};

/// Headers that hold no good token.
fn bad_headers(user: &User) -> Vec<String> {
    let expired = session_token(user.id, -1);
    [
        "Basic dXNlcjpwYXNz",
        "",
        "Bearer",
        "Bearer null",
        "Bearer undefined",
        "Token x",
        "Bearer x.y.z",
        &user.token,
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("Bearer {expired}"), format!("Bearer {}", session_token(i64::MAX, 600))])
    .collect()
}

#[tokio::test]
async fn a_header_without_a_good_token_hides_no_good_cookie_on_any_route() {
    let desk = Desk::start_with(&[("SERVICES", "helpdesk,bookstore")]).await;
    let ann = desk.user("ann").await;
    let all = specs();
    let routes = all.iter().filter(|spec| {
        matches!(spec.access, Access::User | Access::Session) && !spec.label.ends_with("/stream")
    });
    let mut tried = 0;
    for spec in routes {
        for header in bad_headers(&ann) {
            let request = ann.cookie_request(spec.method, &path_of(spec.label, "9000"));
            let answer = request.header("authorization", &header).send().await;
            assert!(!matches!(answer.status, 401 | 500..), "{} {} {header}", spec.method, spec.label);
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
    // It goes by the cookie, so a page has to be one that may.
    let write = ann.cookie_request("POST", "/conversations").header("authorization", "Bearer null");
    let write = write.header("origin", "https://evil.example").json(json!({"title": "x"}));
    assert_eq!(write.send().await.expect_status(403).text(), FOREIGN_ORIGIN);
    // Where the caller may be told apart but need not be, they are: their session ends.
    let out = ann.cookie_request("POST", "/auth/logout").header("authorization", "Basic dXNlcjpwYXNz");
    out.send().await.expect_status(200);
    ann.get("/conversations").await.expect_status(401);
}

#[tokio::test]
async fn the_first_good_credential_of_several_counts() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let expired = session_token(ann.id, -1);
    let bad = ["x", "", "a.b.c", &expired, "\"\""].map(|value| format!("hyperdesk_session={value}"));
    let me = async |headers: &[(&str, String)]| -> Response {
        let mut request = desk.server.client();
        let client = &mut request;
        let request =
            headers.iter().fold(client.get("/auth/me"), |request, (name, value)| request.header(name, value));
        request.send().await
    };
    let is = |answer: Response, user: &User| {
        assert_eq!(answer.expect_status(200).json()["username"], user.username.as_str());
    };
    for bad in &bad {
        let (ann_s, bob_s) = (&ann.cookie, &bob.cookie);
        is(me(&[("cookie", format!("{bad}; {ann_s}"))]).await, &ann);
        is(me(&[("cookie", format!("a=b; {bad};{bad}; {ann_s}; {bob_s}"))]).await, &ann);
        is(me(&[("cookie", bad.clone()), ("cookie", bob_s.clone())]).await, &bob);
        is(me(&[("cookie", format!("{bad}; {bob_s}")), ("cookie", ann_s.clone())]).await, &bob);
    }
    // Behind as many as a head of 32 kB has room for; each of these costs a signature.
    let many = vec!["hyperdesk_session=eyJhbGciOiJIUzI1NiJ9.."; 700].join("; ");
    is(me(&[("cookie", format!("{many}; {}", ann.cookie))]).await, &ann);
    is(me(&[("cookie", format!("{many}; a=b")), ("cookie", bob.cookie.clone())]).await, &bob);
    me(&[("cookie", many)]).await.expect_status(401);

    // A header of the page's own beside one of a proxy's.
    let bearer = |user: &User| ("authorization", format!("Bearer {}", user.token));
    let basic = ("authorization", "Basic dXNlcjpwYXNz".to_owned());
    let old = ("authorization", format!("Bearer {expired}"));
    is(me(&[basic.clone(), bearer(&ann)]).await, &ann);
    is(me(&[bearer(&ann), basic.clone()]).await, &ann);
    is(me(&[old.clone(), basic.clone(), bearer(&bob)]).await, &bob);
    is(me(&[bearer(&ann), bearer(&bob)]).await, &ann);
    // The page's header before whatever the browser sends by itself.
    is(me(&[("cookie", ann.cookie.clone()), bearer(&bob)]).await, &bob);
    is(me(&[("cookie", ann.cookie.clone()), old, basic]).await, &ann);
}

#[tokio::test]
async fn a_page_of_the_services_own_host_is_never_foreign() {
    let desk = Desk::start_with(&[("FRONTEND_URL", "https://elsewhere.example.com")]).await;
    let ann = desk.user("ann").await;
    let write = |host: &str, origin: &str| {
        let request = ann.cookie_request("POST", "/conversations").json(json!({"title": "x"}));
        request.header("host", host).header("origin", origin)
    };
    for (host, origin) in [
        ("desk.example.com", "http://desk.example.com"),
        ("desk.example.com", "https://desk.example.com"),
        ("Desk.Example.COM", "https://desk.example.com"),
        ("desk.example.com:443", "https://desk.example.com"),
        ("desk.example.com:80", "http://desk.example.com"),
        ("desk.example.com:8080", "http://desk.example.com:8080"),
        ("[2001:db8::1]", "https://[2001:db8::1]"),
        ("[::1]:3000", "http://[::1]:3000"),
    ] {
        write(host, origin).send().await.expect_status(201);
    }
    for (host, origin) in [
        ("desk.example.com", "https://evil.example"),
        ("desk.example.com", "https://example.com"),
        ("desk.example.com", "https://desk.example.com.evil.org"),
        ("desk.example.com", "https://desk.example.com:8443"),
        ("desk.example.com:8080", "http://desk.example.com"),
        ("desk.example.com:8080", "http://desk.example.com:8081"),
        ("desk.example.com", "null"),
        ("desk.example.com", "capacitor://desk.example.com"),
    ] {
        assert_eq!(
            write(host, origin).send().await.expect_status(403).text(),
            FOREIGN_ORIGIN,
            "{host} {origin}"
        );
    }
    // Behind one origin for pages and API, who signs out is signed out.
    let out = ann.cookie_request("POST", "/auth/logout").header("host", "desk.example.com");
    let out = out.header("origin", "https://desk.example.com").send().await.expect_status(200);
    assert!(out.header("set-cookie").unwrap().starts_with("hyperdesk_session=;"));
    ann.cookie_request("GET", "/conversations").send().await.expect_status(401);
}

/// A form of somebody else's page is sent with the visitor's cookies, and its answer's cookies are kept.
#[tokio::test]
async fn a_foreign_page_signs_nobody_in_or_out() {
    let page = "https://desk.example.com";
    let desk = Desk::start_with(&[("FRONTEND_URL", page)]).await;
    let eve = desk.user("eve").await;
    let client = desk.client();
    let sign_in = |path: &str, name: &str, origin: Option<&str>| {
        let request = client.post(path).form(&[("username", name), ("password", "eve-secret")]);
        match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        }
    };
    for (number, origin) in
        ["https://evil.example", "null", "http://desk.example.com", "capacitor://localhost", ""]
            .iter()
            .enumerate()
    {
        for (path, name, status) in
            [("/auth/login", "eve", 200), ("/auth/register", &*format!("mallory{number}"), 201)]
        {
            let answer = sign_in(path, name, Some(origin)).send().await.expect_status(status);
            assert_eq!(answer.headers_named("set-cookie"), [""; 0], "{origin} {path}");
            // A program that is no page, whatever origin it names, works with the token.
            let token = answer.json()["token"].as_str().unwrap().to_owned();
            client.get("/auth/me").bearer(&token).send().await.expect_status(200);
            let renewed = client.post("/auth/refresh").bearer(&token).header("origin", origin).send().await;
            assert_eq!(renewed.expect_status(200).headers_named("set-cookie"), [""; 0], "{origin}");
        }
        let out = client.post("/auth/logout").header("origin", origin).send().await.expect_status(200);
        assert_eq!(out.headers_named("set-cookie"), [""; 0], "{origin}");
    }
    let two = sign_in("/auth/login", "eve", Some(page)).header("origin", "https://evil.example");
    assert_eq!(two.send().await.expect_status(200).headers_named("set-cookie"), [""; 0]);
    let own = format!("http://{}", desk.addr());
    for origin in [None, Some(page), Some(own.as_str())] {
        let answer = sign_in("/auth/login", "eve", origin).send().await.expect_status(200);
        assert_eq!(answer.headers_named("set-cookie").len(), 1, "{origin:?}");
    }
    eve.get("/conversations").await.expect_status(200);
}

/// What each table holds, and how many changes there were.
async fn state(desk: &Desk) -> (Vec<(String, Option<i64>)>, u64) {
    let tables = [
        "users",
        "expert_profiles",
        "conversations",
        "messages",
        "expert_assignments",
        "idempotency_keys",
        "books",
        "purchases",
        "bookstore_marks",
    ];
    let mut sums = Vec::new();
    for table in tables {
        sums.push(desk.schema.query_one(format!("CHECKSUM TABLE {table}")).await);
    }
    (sums, desk.schema.changes("%").await)
}

/// Everything that `eve` could change, who takes part in all of it.
async fn writes_of(ann: &User, eve: &User) -> Vec<(&'static str, String, Value)> {
    let conversation = ask(ann, "Printer").await;
    claim(eve, &conversation).await;
    let message = say(ann, &conversation, "x").await;
    let book = json!({"title": "t", "author": "a", "description": "d", "price": "1.00", "stock": 3});
    let offered = eve.post("/books", &book).await.expect_status(201).json()["id"].clone();
    let bought = eve.post(&format!("/books/{offered}/purchases"), json!({"quantity": 1})).await;
    let purchase = bought.expect_status(201).json()["id"].clone();
    vec![
        ("POST", "/conversations".to_owned(), json!({"title": "x"})),
        ("POST", "/messages".to_owned(), json!({"conversationId": conversation, "content": "x"})),
        ("POST", "/messages".to_owned(), json!({"conversationId": "9000", "content": "x"})),
        ("PUT", format!("/messages/{message}/read"), json!({})),
        ("POST", format!("/expert/conversations/{conversation}/claim"), json!({})),
        ("POST", format!("/expert/conversations/{conversation}/unclaim"), json!({})),
        ("POST", format!("/expert/conversations/{conversation}/resolve"), json!({})),
        ("PUT", "/expert/profile".to_owned(), json!({"bio": "x"})),
        ("POST", "/books".to_owned(), book.clone()),
        ("PUT", format!("/books/{offered}"), book),
        ("DELETE", format!("/books/{offered}"), json!({})),
        ("POST", format!("/books/{offered}/purchases"), json!({"quantity": 1})),
        ("POST", format!("/purchases/{purchase}/payment"), json!({"method": "card"})),
        ("POST", format!("/purchases/{purchase}/delivery"), json!({"providerId": 1})),
    ]
}

/// Ids that have no row: of somebody who was deleted, below all that there are, above them, and beyond what a row
/// can have.
#[tokio::test]
async fn a_token_of_nobody_changes_nothing() {
    const ABOVE: u64 = 987_654_321;
    let desk = Desk::start_with(&[("SERVICES", "")]).await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let writes = writes_of(&ann, &eve).await;
    desk.user("zoe").await;
    desk.schema.execute(format!("DELETE FROM users WHERE id = {}", eve.id)).await;
    let before = state(&desk).await;
    for user_id in [eve.id as u64, 0, ABOVE, i64::MAX as u64, 1 << 63, u64::MAX] {
        let token = token(&json!({"user_id": user_id, "exp": now() + 600}));
        let client = desk.client();
        for (method, path, body) in &writes {
            let request = client.request(method, path).bearer(&token).header("idempotency-key", "k");
            let answer = if *method == "DELETE" { request } else { request.json(body) }.send().await;
            let got = (answer.status, answer.text());
            assert_eq!(got, (401, REQUIRED.to_owned()), "{user_id} {method} {path}");
        }
        let all = specs();
        for spec in all.iter().filter(|spec| user_id >= ABOVE && spec.access == Access::User) {
            let answer = client.request(spec.method, &path_of(spec.label, "1")).bearer(&token).send().await;
            let got = (answer.status, answer.text());
            assert_eq!(got, (401, REQUIRED.to_owned()), "{user_id} {} {}", spec.method, spec.label);
        }
    }
    assert_eq!(state(&desk).await, before);
    // Somebody may.
    ann.put("/expert/profile", json!({"bio": "x"})).await.expect_status(200);
}
