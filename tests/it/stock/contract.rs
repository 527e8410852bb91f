//! Every line of the contract, and what hostile clients send instead.

use serde_json::{Value, json};

use super::{OWN, Program, QUANTITY, TOKEN};
use crate::docs::{check, resolve};
use crate::support::{Hyperdesk, Response, Schema, User};

fn exactly(answer: &Response, status: u16, body: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, body));
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
}

#[tokio::test]
async fn a_quantity_is_set_read_and_bought_up() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let program = Program::create(&schema, "read,stock").await;
    let read = program.token(desk.addr(), "read").await;
    let stock = program.token(desk.addr(), "stock").await;
    let client = desk.client();
    let get = || async { client.get(QUANTITY).bearer(&read).send().await };
    let buy = || async { client.put(OWN).bearer(&read).send().await };

    exactly(&get().await, 200, r#"{"quantity":0}"#);
    exactly(&buy().await, 404, r#"{"message":"No Hyper available for you"}"#);
    let answer = client.post(QUANTITY).bearer(&stock).json(json!({"quantity": 2})).send().await;
    exactly(&answer, 200, r#"{"message":"Quantity set successfully to 2 Hyper"}"#);
    exactly(&get().await, 200, r#"{"quantity":2}"#);
    exactly(&buy().await, 200, r#"{"message":"Hyper acquired successfully"}"#);
    let answer = client.put(OWN).bearer(&stock).json(json!({})).send().await;
    exactly(&answer, 200, r#"{"message":"Hyper acquired successfully"}"#);
    exactly(&buy().await, 404, r#"{"message":"No Hyper available for you"}"#);
    exactly(&get().await, 200, r#"{"quantity":0}"#);
    let answer = client.post(QUANTITY).bearer(&stock).form(&[("quantity", "500")]).send().await;
    exactly(&answer, 200, r#"{"message":"Quantity set successfully to 500 Hyper"}"#);
    exactly(&get().await, 200, r#"{"quantity":500}"#);

    schema.execute("DELETE FROM hyper_stock").await;
    exactly(&get().await, 200, r#"{"quantity":0}"#);
    exactly(&buy().await, 404, r#"{"message":"No Hyper available for you"}"#);
    client.post(QUANTITY).bearer(&stock).json(json!({"quantity": 0})).send().await.expect_status(200);
    assert_eq!(desk.metric("stock_sold_total").await, Some(2.0));
    assert_eq!(desk.metric("stock_buyers_per_statement_count").await, Some(5.0));
    assert_eq!(desk.metric("stock_buyers_waiting").await, Some(0.0));
}

#[tokio::test]
async fn a_hostile_quantity_is_refused() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let stock = Program::create(&schema, "stock").await.token(desk.addr(), "stock").await;
    let client = desk.client();
    let post = |body: String| {
        client.post(QUANTITY).bearer(&stock).header("content-type", "application/json").body(body)
    };
    post(r#"{"quantity":7}"#.to_owned()).send().await.expect_status(200);
    let wrong = r#"{"errors":["Quantity must be an integer from 0 to 9007199254740991"]}"#;
    for value in [
        "-1",
        "1.5",
        "1.0",
        "1e3",
        "1e400",
        "null",
        "true",
        "[]",
        "[1]",
        "{}",
        "{\"quantity\":1}",
        "9007199254740992",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "1e-400",
        "\"\"",
        "\" 5\"",
        "\"+5\"",
        "\"-5\"",
        "\"1.5\"",
        "\"0x10\"",
        "\"1e3\"",
        "\"٤\"",
        "\"5; DROP\"",
        "\"99999999999999999999\"",
    ] {
        let answer = post(format!(r#"{{"quantity":{value}}}"#)).send().await;
        // A number that no reader can hold may also be refused as no JSON.
        if answer.status != 400 || !value.contains("e400") {
            assert_eq!((answer.status, answer.text().as_str()), (422, wrong), "{value}");
        }
    }
    for body in ["", "{}", r#"{"Quantity":1}"#, r#"{"amount":1}"#] {
        exactly(&post(body.to_owned()).send().await, 422, wrong);
    }
    for field in ["-1", "1.5", "", "abc", "9007199254740992", "1 2"] {
        let answer = client.post(QUANTITY).bearer(&stock).form(&[("quantity", field)]).send().await;
        exactly(&answer, 422, wrong);
    }
    for body in ["[]", "7", "{", "nonsense"] {
        post(body.to_owned()).send().await.expect_status(400);
    }
    let answer = client.post(QUANTITY).bearer(&stock).header("content-type", "text/plain").body("7");
    answer.send().await.expect_status(415);
    post(" ".repeat(1025)).send().await.expect_status(413);
    assert_eq!(schema.query_one::<u64>("SELECT quantity FROM hyper_stock").await, 7);

    for (body, quantity) in [
        (r#"{"quantity":9007199254740991}"#, 9_007_199_254_740_991u64),
        (r#"{"quantity":"12"}"#, 12),
        (r#"{"hyper":{"quantity":3}}"#, 3),
        (r#"{"quantity":0}"#, 0),
    ] {
        let message = format!(r#"{{"message":"Quantity set successfully to {quantity} Hyper"}}"#);
        exactly(&post(body.to_owned()).send().await, 200, &message);
        assert_eq!(schema.query_one::<u64>("SELECT quantity FROM hyper_stock").await, quantity);
    }
}

#[tokio::test]
async fn each_url_knows_its_methods() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let client = desk.client();
    for (method, path, allow) in [
        ("DELETE", QUANTITY, "GET, HEAD, POST, OPTIONS"),
        ("PUT", QUANTITY, "GET, HEAD, POST, OPTIONS"),
        ("GET", OWN, "PUT, OPTIONS"),
        ("POST", OWN, "PUT, OPTIONS"),
        ("GET", TOKEN, "POST, OPTIONS"),
    ] {
        let answer = client.request(method, path).send().await.expect_status(405);
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
    for path in ["/api/hyper/x", "/api/hyper/own/1", "/oauth", "/oauth/", "/api/Hyper"] {
        client.get(path).send().await.expect_status(404);
    }
}

/// A challenge has a parameter at least (RFC 6750 §3).
const REALM: &str = r#"Bearer realm="hyperdesk""#;

/// What [RFC 6750 §3.1] says of credentials that are missing, malformed or no good.
#[tokio::test]
async fn a_token_is_asked_for_as_rfc_6750_says() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let read = Program::create(&schema, "read").await.token(desk.addr(), "read").await;
    let client = desk.client();
    let refused = |answer: &Response, status: u16, challenge: &str| {
        assert_eq!((answer.status, answer.headers_named("www-authenticate")), (status, vec![challenge]));
    };
    let with = |value: String| client.get(QUANTITY).header("authorization", value).send();

    for (method, path) in [("GET", QUANTITY), ("POST", QUANTITY), ("PUT", OWN)] {
        let request = || client.request(method, path);
        refused(&request().send().await, 401, REALM);
        let invalid = r#"Bearer realm="hyperdesk", error="invalid_token""#;
        refused(&request().bearer("nonsense").send().await, 401, invalid);
        let elsewhere = client.request(method, &format!("{path}?access_token={read}"));
        refused(&elsewhere.send().await, 401, REALM);
    }
    exactly(&client.get(QUANTITY).send().await, 401, r#"{"error":"Authentication required"}"#);
    exactly(&with("Bearer nonsense".to_owned()).await, 401, r#"{"error":"invalid_token"}"#);
    refused(&with("Basic dXNlcjpwYXNz".to_owned()).await, 401, REALM);
    refused(
        &with(format!("Bearer {read}x")).await,
        401,
        r#"Bearer realm="hyperdesk", error="invalid_token""#,
    );
    with(format!("bEARER  {read}")).await.expect_status(200);

    let malformed = r#"Bearer realm="hyperdesk", error="invalid_request""#;
    for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer =", "Bearer \"a\"", "Bearer a=b"] {
        refused(&with(value.to_owned()).await, 400, malformed);
    }
    let twice = client.get(QUANTITY).bearer(&read).bearer(&read).send().await;
    refused(&twice, 400, malformed);
    let two_ways = client.get(&format!("{QUANTITY}?x=1&access%5Ftoken=y")).bearer(&read).send().await;
    refused(&two_ways, 400, malformed);
    exactly(&two_ways, 400, r#"{"error":"invalid_request"}"#);

    let scope = client.post(QUANTITY).bearer(&read).json(json!({"quantity": -1})).send().await;
    exactly(&scope, 403, r#"{"message":"Insufficient scope."}"#);
    refused(&scope, 403, r#"Bearer realm="hyperdesk", error="insufficient_scope", scope="stock""#);
    let stock = Program::create(&schema, "stock").await.token(desk.addr(), "").await;
    let in_form = client.post(QUANTITY).bearer(&stock).form(&[("quantity", "1"), ("access_token", "x")]);
    refused(&in_form.send().await, 400, malformed);
    client.get(QUANTITY).bearer(&stock).send().await.expect_status(200);
}

/// What cannot be used as a token, and what is no form, is in the document, in the form that it has.
#[tokio::test]
async fn what_is_unusable_is_refused_as_the_document_says() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let client = desk.client();
    let document = client.get("/openapi.json").send().await.json();
    let said = |answer: &Response, method: &str, path: &str| {
        let at = format!("{method} {path} {}", answer.status);
        let operation = &document["paths"][path][method.to_lowercase()];
        let said = resolve(&document, &operation["responses"][answer.status.to_string()]);
        let schema = &said["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{at} is not in the document");
        check(&document, schema, &answer.json(), &at);
        let challenged = answer.header("www-authenticate").is_some();
        assert!(!challenged || said["headers"].get("WWW-Authenticate").is_some(), "{at}");
    };
    for (method, path) in [("GET", QUANTITY), ("POST", QUANTITY), ("PUT", OWN)] {
        let refused = client.request(method, path).header("authorization", "Bearer a b").send().await;
        said(&refused.expect_status(400), method, path);
    }
    let packed = client.post(TOKEN).header("content-encoding", "gzip").form(&[("grant_type", "x")]);
    said(&packed.send().await.expect_status(415), "POST", TOKEN);
    assert!(document["paths"][TOKEN]["post"]["responses"]["408"].is_object());
}

#[tokio::test]
async fn no_token_opens_the_doors_of_the_other_kind() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let access = Program::create(&schema, "read,stock").await.token(desk.addr(), "").await;
    let ann = User::register(desk.addr(), "ann").await;
    for (method, path) in [("GET", QUANTITY), ("POST", QUANTITY), ("PUT", OWN)] {
        let answer = ann.request(method, path).send().await.expect_status(401);
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Bearer realm="hyperdesk", error="invalid_token""#)
        );
        let answer = ann.cookie_request(method, path).send().await.expect_status(401);
        assert_eq!(answer.header("www-authenticate"), Some(REALM));
    }
    let client = desk.client();
    for (method, path) in [
        ("GET", "/conversations"),
        ("POST", "/conversations"),
        ("GET", "/auth/me"),
        ("POST", "/auth/refresh"),
        ("GET", "/expert/queue"),
        ("GET", "/api/messages/updates"),
    ] {
        client.request(method, path).bearer(&access).send().await.expect_status(401);
        let cookie = format!("hyperdesk_session={access}");
        client.request(method, path).header("cookie", cookie).send().await.expect_status(401);
    }
}

#[tokio::test]
async fn a_service_that_is_off_has_no_urls() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    desk.client().get(QUANTITY).send().await.expect_status(404);
    desk.client().post(TOKEN).send().await.expect_status(404);
    assert_eq!(desk.metric("stock_sold_total").await, None);
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "stock").start().await;
    desk.client().get(QUANTITY).send().await.expect_status(401);
    desk.client().get("/conversations").send().await.expect_status(404);
}

#[test]
fn the_description_names_every_url() {
    let text = include_str!("../../../src/stock/openapi.json");
    let description: Value = serde_json::from_str(text).unwrap();
    for route in <hyperdesk::stock::routes::Route as hyperdesk::chassis::route::Route>::all() {
        let spec = hyperdesk::chassis::route::Route::spec(route);
        let method = spec.method.to_ascii_lowercase();
        assert!(description["paths"][spec.label][&method].is_object(), "{method} {}", spec.label);
    }
}
