//! POST /oauth/token by RFC 6749, and the command that makes clients.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Program, QUANTITY, TOKEN, oauth_client};
use crate::support::{Hyperdesk, Response, Schema, eventually};

fn uncached(answer: &Response) {
    assert_eq!(answer.headers_named("cache-control"), ["no-store"]);
    assert_eq!(answer.headers_named("pragma"), ["no-cache"]);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[tokio::test]
async fn a_token_is_given_for_the_body_s_or_basic_credentials() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let program = Program::create(&schema, "stock,read").await;
    let client = desk.client();
    for (asked, given) in [
        ("read", "read"),
        ("stock", "stock"),
        ("read stock", "read stock"),
        ("stock read read", "read stock"),
        ("", "read stock"),
    ] {
        let answer = program.ask(&client, asked).await.expect_status(200);
        uncached(&answer);
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        let body = format!(
            r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"{token}","scope":"{given}"}}"#
        );
        assert_eq!(answer.text(), body);
        client.get(QUANTITY).bearer(&token).send().await.expect_status(200);
    }
    let grant = [("grant_type", "client_credentials")];
    let with_id = [grant[0], ("client_id", program.id.as_str())];
    let header = basic(&program.id, &program.secret);
    for header in [header.clone(), header.replacen("Basic", "bASIC", 1)] {
        for fields in [&grant[..], &with_id[..]] {
            let answer = client.post(TOKEN).header("authorization", &header).form(fields).send().await;
            assert_eq!(answer.expect_status(200).json()["scope"], "read stock");
        }
    }
    // Both parts are form-encoded inside the header: %41 is A.
    let encoded: String = program.secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let request = client.post(TOKEN).header("authorization", basic(&program.id, &encoded));
    request.form(&grant).send().await.expect_status(200);
    // What is not known is ignored, and case and parameters of the media type do not matter.
    let body = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&resource=x&scope=",
        program.id, program.secret
    );
    let request =
        client.post(TOKEN).header("content-type", "Application/X-WWW-Form-URLEncoded; charset=UTF-8");
    request.body(body).send().await.expect_status(200);
}

/// The table of RFC 6749 §5.2, as body, `Authorization`, status and code. `ID` and `SECRET` are good ones.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    ("", "", 400, "invalid_request"),
    ("client_id=ID&client_secret=SECRET", "", 400, "invalid_request"),
    ("grant_type=&client_id=ID&client_secret=SECRET", "", 400, "invalid_request"),
    (
        "grant_type=client_credentials&grant_type=client_credentials&client_id=ID&client_secret=SECRET",
        "",
        400,
        "invalid_request",
    ),
    (
        "grant_type=client_credentials&client_id=ID&client_id=ID&client_secret=SECRET",
        "",
        400,
        "invalid_request",
    ),
    (
        "grant_type=client_credentials&client_id=ID&client_secret=SECRET&client_secret=x",
        "",
        400,
        "invalid_request",
    ),
    (
        "grant_type=client_credentials&client_id=ID&client_secret=SECRET&scope=read&scope=stock",
        "",
        400,
        "invalid_request",
    ),
    ("grant_type=client_credentials&client_id=ID&client_secret=SECRET&x=1&%78=1", "", 400, "invalid_request"),
    ("grant_type=client_credentials&client_secret=SECRET", "Basic ID:SECRET", 400, "invalid_request"),
    ("grant_type=client_credentials&client_id=999", "Basic ID:SECRET", 400, "invalid_request"),
    ("grant_type=password&client_id=ID&client_secret=SECRET", "", 400, "unsupported_grant_type"),
    ("grant_type=authorization_code&client_id=ID&client_secret=SECRET", "", 400, "unsupported_grant_type"),
    ("grant_type=refresh_token&refresh_token=x", "Basic ID:SECRET", 400, "unsupported_grant_type"),
    ("grant_type=CLIENT_CREDENTIALS&client_id=ID&client_secret=SECRET", "", 400, "unsupported_grant_type"),
    ("grant_type=client_credentials&client_id=ID&client_secret=SECRET&scope=write", "", 400, "invalid_scope"),
    ("grant_type=client_credentials&client_id=ID&client_secret=SECRET&scope=stock", "", 400, "invalid_scope"),
    (
        "grant_type=client_credentials&client_id=ID&client_secret=SECRET&scope=read+stock",
        "",
        400,
        "invalid_scope",
    ),
    ("grant_type=client_credentials&client_id=ID&client_secret=SECRET&scope=READ", "", 400, "invalid_scope"),
    (
        "grant_type=client_credentials&client_id=ID&client_secret=SECRET&scope=read,read",
        "",
        400,
        "invalid_scope",
    ),
    ("grant_type=client_credentials&client_id=ID&client_secret=SECRET&scope=+", "", 400, "invalid_scope"),
    ("grant_type=client_credentials", "", 401, "invalid_client"),
    ("grant_type=client_credentials&client_id=ID", "", 401, "invalid_client"),
    ("grant_type=client_credentials&client_id=ID&client_secret=", "", 401, "invalid_client"),
    ("grant_type=client_credentials&client_secret=SECRET", "", 401, "invalid_client"),
    ("grant_type=client_credentials&client_id=ID&client_secret=wrong", "", 401, "invalid_client"),
    ("grant_type=client_credentials&client_id=999&client_secret=SECRET", "", 401, "invalid_client"),
    ("grant_type=client_credentials&client_id=0ID&client_secret=SECRET", "", 401, "invalid_client"),
    ("grant_type=client_credentials&client_id=ID'+OR+1=1&client_secret=SECRET", "", 401, "invalid_client"),
    ("grant_type=client_credentials&client_id=%00%ff&client_secret=%ff", "", 401, "invalid_client"),
    ("grant_type=client_credentials", "Basic ID:wrong", 401, "invalid_client"),
    ("grant_type=client_credentials", "Basic ID:", 401, "invalid_client"),
    ("grant_type=client_credentials", "Basic :SECRET", 401, "invalid_client"),
    ("grant_type=client_credentials", "Basic ID", 401, "invalid_client"),
    ("grant_type=client_credentials", "Basic ID:%FF", 401, "invalid_client"),
    ("grant_type=client_credentials", "Basic-as-is !!!", 401, "invalid_client"),
    ("grant_type=client_credentials", "Basic-as-is", 401, "invalid_client"),
    ("grant_type=client_credentials&client_id=ID&client_secret=SECRET", "Bearer x", 401, "invalid_client"),
];

#[tokio::test]
async fn errors_are_those_of_rfc_6749() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let program = Program::create(&schema, "read").await;
    let client = desk.client();
    let check = |answer: Response, status: u16, code: &str, what: &str| {
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(code)), "{what}");
        uncached(&answer);
        let challenge = (status == 401).then_some(r#"Basic realm="hyperdesk""#);
        assert_eq!(answer.header("www-authenticate"), challenge, "{what}");
        let names: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["error", "error_description"]);
    };
    let fill = |text: &str| text.replace("ID", &program.id).replace("SECRET", &program.secret);
    for (body, authorization, status, code) in REFUSED {
        let mut request = client.post(TOKEN).header("content-type", "application/x-www-form-urlencoded");
        if let Some(plain) = authorization.strip_prefix("Basic ") {
            request = request.header("authorization", format!("Basic {}", STANDARD.encode(fill(plain))));
        } else if !authorization.is_empty() {
            request = request.header("authorization", authorization.replace("Basic-as-is", "Basic"));
        }
        let answer = request.body(fill(body)).send().await;
        check(answer, *status, code, &format!("{body} {authorization}"));
    }
    let good = fill("grant_type=client_credentials&client_id=ID&client_secret=SECRET");
    let form = "application/x-www-form-urlencoded";
    for (path, media) in [
        (format!("{TOKEN}?{good}"), form),
        (format!("{TOKEN}?scope=read"), form),
        (TOKEN.to_owned(), "application/json"),
        (TOKEN.to_owned(), "text/plain"),
    ] {
        let answer = client.post(&path).header("content-type", media).body(good.as_str()).send().await;
        check(answer, 400, "invalid_request", &path);
    }
    let twice = client.post(TOKEN).header("content-type", form).body("grant_type=client_credentials");
    let header = basic(&program.id, &program.secret);
    let twice = twice.header("authorization", &header).header("authorization", &header).send().await;
    check(twice, 400, "invalid_request", "Authorization twice");
    schema.execute("UPDATE oauth_clients SET scope = ''").await;
    check(program.ask(&client, "read").await, 400, "unauthorized_client", "no scope left");
    client.post(TOKEN).header("content-type", form).body("x".repeat(5_000)).send().await.expect_status(413);
}

#[tokio::test]
async fn clients_are_made_listed_and_revoked() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let (one, two) = (Program::create(&schema, "read,stock").await, Program::create(&schema, "read").await);
    assert_eq!((one.id.as_str(), two.id.as_str()), ("1", "2"));
    assert!(one.secret.len() == 43 && one.secret != two.secret);
    let stored: Vec<Vec<u8>> = schema.query("SELECT secret_hash FROM oauth_clients").await;
    assert!(stored.iter().all(|hash| hash.len() == 32));
    let (_, list) = oauth_client(&schema, &["list"]).await;
    assert!(!list.contains(&one.secret) && !list.contains(&two.secret), "{list}");
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("client_id=1 scope=read,stock created_at=20"), "{list}");
    assert!(lines[1].starts_with("client_id=2 scope=read created_at=20"), "{list}");
    assert!(lines.len() == 2 && lines[1].ends_with("name=\"test\"") && !list.contains("revoked"), "{list}");

    let (first, second) = (one.token(desk.addr(), "read").await, two.token(desk.addr(), "").await);
    let client = desk.client();
    let (done, said) = oauth_client(&schema, &["revoke", "1"]).await;
    assert!(done && said == "revoked client_id=1\n", "{said}");
    let answer = one.ask(&client, "read").await.expect_status(401);
    assert_eq!(answer.json()["error"], "invalid_client");
    eventually(Duration::from_secs(10), || async {
        client.get(QUANTITY).bearer(&first).send().await.status == 401
    })
    .await;
    let answer = client.get(QUANTITY).bearer(&first).send().await;
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="hyperdesk", error="invalid_token""#));
    client.get(QUANTITY).bearer(&second).send().await.expect_status(200);
    let (_, list) = oauth_client(&schema, &["list"]).await;
    assert!(list.lines().next().unwrap().contains(" revoked_at=20"), "{list}");
    let (done, said) = oauth_client(&schema, &["revoke", "1"]).await;
    assert!(done, "again is no mistake: {said}");

    for wrong in [
        &["revoke", "9"][..],
        &["revoke", "x"],
        &["revoke"],
        &["create"],
        &["create", "--scope", ""],
        &["create", "--scope", "read,write"],
        &["create", "--scope", "read", "--name", &"n".repeat(256)],
        &[],
    ] {
        let (done, said) = oauth_client(&schema, wrong).await;
        assert!(!done && !said.contains("client_secret="), "{wrong:?}: {said}");
    }
    assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM oauth_clients").await, 2);
}
