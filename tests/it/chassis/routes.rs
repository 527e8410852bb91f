//! Every route of the table: found, refused, counted and described as it says.

use std::collections::BTreeMap;

use hyperdesk::chassis::route::{Access, Route as _};
use hyperdesk::services::Route;
use serde_json::json;

use crate::support::eventually;

use super::{SOON, builder, token};

/// A URL of a template.
pub fn path(label: &str) -> String {
    let segments: Vec<&str> =
        label.split('/').map(|part| if part.starts_with(':') { "7" } else { part }).collect();
    segments.join("/")
}

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"];

/// Each URL and the methods that the table has for it, HEAD beside GET, OPTIONS everywhere.
fn urls() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut urls: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for route in Route::all() {
        let methods = urls.entry(route.spec().label).or_default();
        methods.push(route.spec().method);
    }
    for methods in urls.values_mut() {
        let has = |method: &str| match method {
            "HEAD" => methods.contains(&"GET"),
            "OPTIONS" => true,
            method => methods.contains(&method),
        };
        *methods = METHODS.into_iter().filter(|method| has(method)).collect();
    }
    urls
}

#[tokio::test]
async fn other_methods_get_405_and_allow_names_those_that_work() {
    let desk = builder().start().await;
    let client = desk.client();
    for (label, methods) in urls() {
        let allow = methods.join(", ");
        for method in METHODS {
            let answer = client.request(method, &path(label)).bearer(&token()).send().await;
            let what = format!("{method} {label}: {}", answer.status);
            match method {
                "OPTIONS" => {
                    assert_eq!(answer.status, 204, "{what}");
                    assert_eq!(answer.header("allow"), Some(allow.as_str()), "{what}");
                    assert!(answer.body.is_empty(), "{what}");
                }
                _ if methods.contains(&method) => {
                    // A handler's own 404 names what it did not find.
                    let unknown = answer.status == 404 && answer.text() == r#"{"error":"Not found"}"#;
                    assert!(answer.status != 405 && !unknown, "{what}");
                }
                _ => {
                    assert_eq!(answer.status, 405, "{what}");
                    assert_eq!(answer.header("allow"), Some(allow.as_str()), "{what}");
                    if method != "HEAD" {
                        assert_eq!(answer.text(), r#"{"error":"Method not allowed"}"#, "{what}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn unknown_paths_get_404_with_any_method() {
    let desk = builder().start().await;
    let client = desk.client();
    let long = format!("/{}", "x/".repeat(500));
    for path in ["/pages", "/nowhere", "/nowhere/", "/health/x", "/conversations/x/y", "/HEALTH", &long] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let answer = client.request(method, path).send().await.expect_status(404);
            assert_eq!(answer.json(), json!({"error": "Not found"}), "{method} {path}");
            assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
            assert!(answer.header("allow").is_none());
        }
    }
}

#[tokio::test]
async fn nobody_gets_in_where_a_user_is_wanted() {
    let desk = builder().start().await;
    let client = desk.client();
    for route in Route::all() {
        let spec = route.spec();
        let text = match spec.access {
            Access::User => "Authentication required",
            Access::Session => "No session found",
            // What client programs get is told by the tests of their tokens.
            Access::Public | Access::Optional | Access::Client(_) => continue,
        };
        for token in ["", "Bearer", "Bearer x", "Basic dXNlcjpwYXNz"] {
            let request = client.request(spec.method, &path(spec.label)).header("authorization", token);
            let answer = request.send().await.expect_status(401);
            assert_eq!(answer.json(), json!({ "error": text }), "{} {}", spec.method, spec.label);
            assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
            // Whether a token was given is told apart (RFC 6750 §3.1).
            let error = if token == "Bearer x" { r#", error="invalid_token""# } else { "" };
            let challenge = format!(r#"Bearer realm="hyperdesk"{error}"#);
            assert_eq!(answer.headers_named("www-authenticate"), [challenge.as_str()], "{token}");
        }
    }
}

/// Refused or not, HEAD says what GET says and sends nothing: on a kept connection one stray byte would show.
#[tokio::test]
async fn head_is_get_without_the_body() {
    let desk = builder().start().await;
    let client = desk.client();
    let mut paths: Vec<String> = Route::all()
        .map(|route| route.spec())
        .filter(|spec| spec.method == "GET")
        .map(|spec| path(spec.label))
        .collect();
    paths.extend(["/nowhere".to_owned(), "/auth/login".to_owned()]);
    for path in paths {
        let get = client.get(&path).send().await;
        let head = client.request("HEAD", &path).send().await;
        assert_eq!(head.status, get.status, "{path}");
        let length = get.body.len().to_string();
        assert_eq!(head.headers_named("content-length"), [length.as_str()], "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let desk = builder().start().await;
    let client = desk.client();
    let longest = "a".repeat(128);
    for id in ["a", "abc-123_X.y:z/q+=@", "0", &longest] {
        for (path, status) in [("/health", 200), ("/nowhere", 404), ("/conversations", 401)] {
            let answer = client.get(path).header("x-request-id", id).send().await.expect_status(status);
            assert_eq!(answer.headers_named("x-request-id"), [id]);
        }
        let refused =
            client.get("/health").header("x-request-id", id).body("x").send().await.expect_status(413);
        assert_eq!(refused.headers_named("x-request-id"), [id]);
        let refused =
            client.request("BREW", "/health").header("x-request-id", id).send().await.expect_status(405);
        assert_eq!(refused.headers_named("x-request-id"), [id]);
        let refused =
            client.get("/health").header("host", "a").header("host", "b").header("x-request-id", id);
        assert_eq!(refused.send().await.expect_status(400).headers_named("x-request-id"), [id]);
    }
    let mut made = Vec::new();
    let too_long = "a".repeat(129);
    for id in ["", "a b", "a\"b", "a{b", "a\\nb", "é", "<script>", "a,b", "%0a", &too_long] {
        for path in ["/health", "/nowhere"] {
            let answer = client.get(path).header("x-request-id", id).send().await;
            made.push(answer.header("x-request-id").unwrap().to_owned());
        }
    }
    made.push(client.get("/health").send().await.header("x-request-id").unwrap().to_owned());
    for id in &made {
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    let all = made.len();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), all, "no two are alike");
}

/// Each route has one line of its own in the metrics, named by its template.
#[tokio::test]
async fn every_route_is_counted_under_its_template() {
    let desk = builder().start().await;
    let client = desk.client();
    for route in Route::all() {
        let spec = route.spec();
        let status = client.request(spec.method, &path(spec.label)).send().await.status;
        let series = format!(
            r#"http_requests_total{{method="{}",route="{}",status="{status}"}}"#,
            spec.method, spec.label
        );
        eventually(SOON, || async { desk.metric(&series).await == Some(1.0) }).await;
    }
}
