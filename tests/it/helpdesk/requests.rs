//! What holds for every request: methods, limits, ids, origins, errors. Generated from the route list.

use std::collections::BTreeMap;

use hyperdesk::chassis::route::{Access, Route as _, Spec};
use hyperdesk::services::Route;
use serde_json::{Value, json};

use super::{Desk, is_time};
use crate::stock::Program;

/// Every route's spec. A new route is covered by the tests below without a change to them.
pub fn specs() -> Vec<Spec> {
    // Pages are for people: no program calls them.
    let routes = Route::all().filter(|route| !matches!(route, Route::Page(_)));
    routes.map(|route| route.spec()).collect()
}

/// A label with its parameters filled in.
pub fn path_of(label: &str, id: &str) -> String {
    let segments = label.split('/').map(|segment| if segment.starts_with(':') { id } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_has_its_methods_its_label_and_its_limit() {
    let desk = Desk::start_with(&[("SERVICES", "")]).await;
    let ann = desk.user("ann").await;
    let program = Program::create(&desk.schema, "read,stock").await.token(desk.addr(), "stock").await;
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for spec in specs() {
        methods.entry(spec.label).or_default().push(spec.method);
        let path = path_of(spec.label, "1");
        // Without credentials: the access rule speaks.
        let anonymous = ann.client.request(spec.method, &path).send().await;
        assert_eq!(
            anonymous.status == 401,
            matches!(spec.access, Access::User | Access::Session | Access::Client(_))
                || spec.label == "/auth/login",
            "{path}"
        );
        // One byte too many, said and sent.
        let long = vec![b' '; spec.body_bytes_max + 1];
        let token = if matches!(spec.access, Access::Client(_)) { &program } else { &ann.token };
        let request = ann.client.request(spec.method, &path).bearer(token);
        let answer =
            request.header("content-type", "application/json").body(long).send().await.expect_status(413);
        assert_eq!(answer.text(), r#"{"error":"Request body too large"}"#, "{path}");
        // Counted under the label, never under the path.
        let series =
            format!(r#"http_requests_total{{method="{}",route="{}",status="413"}}"#, spec.method, spec.label);
        assert_eq!(desk.server.metric(&series).await, Some(1.0), "{series}");
    }
    for (label, known) in methods {
        let path = path_of(label, "1");
        let get = known.contains(&"GET");
        let mut allow: Vec<&str> = Vec::new();
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            let is_known = if method == "HEAD" { get } else { known.contains(&method) };
            if is_known {
                allow.push(method);
                continue;
            }
            let answer = ann.request(method, &path).send().await.expect_status(405);
            let mut expected = known.clone();
            expected.extend(get.then_some("HEAD"));
            expected.push("OPTIONS");
            for method in expected {
                assert!(
                    answer.header("allow").unwrap().split(", ").any(|known| known == method),
                    "{path} {method}"
                );
            }
            if method != "HEAD" {
                assert_eq!(answer.text(), r#"{"error":"Method not allowed"}"#);
            }
        }
        allow.push("OPTIONS");
        ann.request("PATCH", &path).send().await.expect_status(405);
        let options = ann.client.request("OPTIONS", &path).send().await.expect_status(204);
        assert_eq!(options.header("allow"), Some(allow.join(", ").as_str()), "{path}");
        // A stream does not end.
        if get && !label.ends_with("/stream") {
            let whole = ann.get(&path).await;
            let head = ann.request("HEAD", &path).send().await;
            assert_eq!((head.status, head.body.len()), (whole.status, 0), "{path}");
            assert_eq!(head.header("content-length"), whole.header("content-length"), "{path}");
            assert_eq!(head.header("content-type"), whole.header("content-type"));
        }
        // Slashes at the end and repeated ones do not count.
        let (plain, slashes) = (ann.request("PATCH", &path), ann.request("PATCH", &format!("/{path}/")));
        let (plain, slashes) = (plain.send().await, slashes.send().await.expect_status(405));
        assert_eq!(slashes.header("allow"), plain.header("allow"), "{path}");
    }
    ann.get("/nothing/here").await.expect_status(404);
}

/// In the same words as an id that nobody has, and to the same people.
#[tokio::test]
async fn what_is_no_id_names_what_is_not_there() {
    let desk = Desk::start_with(&[("SERVICES", "")]).await;
    let ann = desk.user("ann").await;
    let book = json!({"title": "t", "author": "a", "description": "d", "price": "1.00", "stock": 3,
        "quantity": 1, "method": "card", "providerId": 1});
    let ask = async |spec: &Spec, id: &str, token: &str| {
        let request = ann.client.request(spec.method, &path_of(spec.label, id)).bearer(token);
        let request = if spec.body_bytes_max > 0 { request.json(&book) } else { request };
        let answer = request.send().await;
        (answer.status, answer.text())
    };
    let all = specs();
    for spec in all.iter().filter(|spec| spec.label.contains(':')) {
        let known = ask(spec, "987654321", &ann.token).await;
        let stranger = ask(spec, "987654321", "").await;
        let what = format!("{} {}", spec.method, spec.label);
        assert!(known.0 == 404 && known.1 != r#"{"error":"Not found"}"#, "{what}: {known:?}");
        assert_eq!(stranger.0 == 401, spec.access == Access::User, "{what}: {stranger:?}");
        for id in ["abc", "07", "0", "-1", "+1", "1.0", "%31", "1%00", "9223372036854775808", "1e3"] {
            assert_eq!(ask(spec, id, &ann.token).await, known, "{what} {id}");
            assert_eq!(ask(spec, id, "").await, stranger, "{what} {id}");
        }
    }
}

#[tokio::test]
async fn health_needs_no_database() {
    let desk = Desk::start().await;
    let statements = r#"db_pool_wait_seconds_count"#;
    let before = desk.server.metric(statements).await;
    let answer = desk.client().get("/health").send().await.expect_status(200);
    let body = answer.json();
    assert!(is_time(&body["timestamp"]));
    assert_eq!(answer.text(), format!("{{\"status\":\"ok\",\"timestamp\":{}}}", body["timestamp"]));
    // The boot's own look at the schema may fall in between, a look of the request's would be one more.
    for _ in 0..50 {
        desk.client().get("/health").send().await.expect_status(200);
    }
    assert!(desk.server.metric(statements).await.unwrap() < before.unwrap_or_default() + 20.0);
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let desk = Desk::start().await;
    let client = desk.client();
    let given = client.get("/health").header("x-request-id", "Abc-1.2:3").send().await;
    assert_eq!(given.header("x-request-id"), Some("Abc-1.2:3"));
    let mut made = Vec::new();
    for id in ["", "two words", "a\"b", "ä", &"x".repeat(129)] {
        let answer = client.get("/conversations").header("x-request-id", id).send().await.expect_status(401);
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        made.push(id);
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 5);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_no_others() {
    let desk = Desk::start_with(&[("FRONTEND_URL", "https://desk.example.com,http://localhost:5173")]).await;
    let client = desk.client();
    for origin in ["https://desk.example.com", "http://localhost:5173"] {
        let answer = client.get("/health").header("origin", origin).send().await.expect_status(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert!(answer.headers_named("vary").join(",").to_lowercase().contains("origin"));
        let preflight = client
            .request("OPTIONS", "/messages")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,idempotency-key")
            .send()
            .await
            .expect_status(204);
        assert_eq!(preflight.header("access-control-allow-origin"), Some(origin));
        assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
        let headers = preflight.header("access-control-allow-headers").unwrap().to_lowercase();
        for name in ["authorization", "content-type", "idempotency-key"] {
            assert!(headers.contains(name), "{headers}");
        }
        // Errors can be read by the page, too.
        let refused = client.get("/conversations").header("origin", origin).send().await.expect_status(401);
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
    }
    for origin in [
        "null",
        "https://evil.example",
        "https://desk.example.com.evil.example",
        "https://xdesk.example.com",
        "http://desk.example.com",
        "https://desk.example.com:444",
        "https://desk.example.com/",
        "https://DESK.example.com",
        "http://localhost:51730",
        "http://127.0.0.1:5173",
    ] {
        for (method, path) in [("GET", "/health"), ("OPTIONS", "/messages")] {
            let request = client.request(method, path).header("origin", origin);
            let answer = request.header("access-control-request-method", "POST").send().await;
            assert!(answer.header("access-control-allow-origin").is_none(), "{origin}");
            assert!(answer.header("access-control-allow-methods").is_none(), "{origin}");
            assert!(answer.headers_named("vary").join(",").to_lowercase().contains("origin"), "{origin}");
        }
    }
}

#[tokio::test]
async fn times_and_ids_have_one_form_everywhere() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = super::ask(&ann, "printer").await;
    super::claim(&eve, &id).await;
    super::say(&eve, &id, "hello").await;
    let paths = [
        "/conversations".to_owned(),
        format!("/conversations/{id}/messages"),
        "/expert/queue".to_owned(),
        "/expert/profile".to_owned(),
        "/expert/assignments/history".to_owned(),
        "/api/conversations/updates".to_owned(),
    ];
    fn check(name: &str, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| check(name, item)),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| check(name, value)),
            Value::Null => {}
            _ if name.ends_with("At") || name == "timestamp" => assert!(is_time(value), "{name} {value}"),
            _ if name == "id" || name.ends_with("Id") => assert!(value.is_string(), "{name} {value}"),
            _ => {}
        }
    }
    for path in paths {
        let answer = eve.get(&path).await.expect_status(200).json();
        assert_ne!(answer, json!([]), "{path}");
        check("", &answer);
    }
}
