//! Which pages may read what: the exact headers, for every kind of origin and every kind of answer.

use crate::support::{Client, Response};

use super::builder;

const ORIGIN: &str = "https://desk.example.com";
const EXPOSED: &str = "X-Request-Id, X-Updates-Cursor, X-Total-Count, Retry-After, Location";

const FOREIGN: [&str; 14] = [
    "null",
    "",
    "*",
    "https://desk.example.com.evil.org",
    "https://evildesk.example.com",
    "https://sub.desk.example.com",
    "https://example.com",
    "https://desk.example.com:443",
    "https://desk.example.com:8443",
    "http://desk.example.com",
    "HTTPS://desk.example.com",
    "https://DESK.example.com",
    "https://desk.example.com/",
    "https://desk.example.com, https://evil.org",
];

/// Names of the CORS headers in an answer, with their values, sorted.
fn cors_headers(answer: &Response) -> Vec<(String, String)> {
    let is_cors = |name: &str| name.to_ascii_lowercase().starts_with("access-control-");
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| is_cors(name))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    headers.sort();
    headers
}

fn allowed(origin: &str) -> Vec<(String, String)> {
    let pairs = [
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", EXPOSED),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// One answer of each kind to a page of `origin`.
async fn answers(client: &Client, origin: Option<&str>) -> Vec<Response> {
    let mut answers = Vec::new();
    for (method, path, body, status) in [
        ("GET", "/health", None, 200),
        ("HEAD", "/health", None, 200),
        ("GET", "/conversations", None, 401),
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/health", None, 405),
        ("POST", "/auth/login", Some(vec![b'x'; 20_000]), 413),
    ] {
        let mut request = client.request(method, path);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        answers.push(request.send().await.expect_status(status));
    }
    answers
}

#[tokio::test]
async fn only_listed_origins_are_let_in_and_every_answer_says_that_it_varies() {
    let origins = format!("{ORIGIN},http://localhost:5173");
    let desk = builder().env("FRONTEND_URL", origins).start().await;
    let client = desk.client();
    for answer in answers(&client, None).await {
        assert_eq!(cors_headers(&answer), []);
        assert_eq!(answer.headers_named("vary"), ["origin"]);
    }
    for origin in [ORIGIN, "http://localhost:5173"] {
        for answer in answers(&client, Some(origin)).await {
            assert_eq!(cors_headers(&answer), allowed(origin), "{}", answer.status);
            assert_eq!(answer.headers_named("vary"), ["origin"]);
        }
    }
    for origin in FOREIGN {
        for answer in answers(&client, Some(origin)).await {
            assert_eq!(cors_headers(&answer), [], "{origin} {}", answer.status);
            assert_eq!(answer.headers_named("vary"), ["origin"]);
        }
    }
}

#[tokio::test]
async fn a_preflight_is_answered_exactly() {
    let desk = builder().env("FRONTEND_URL", ORIGIN).start().await;
    let client = desk.client();
    let ask = |path: &'static str, origin: &'static str| {
        let request = client.request("OPTIONS", path).header("access-control-request-method", "POST");
        request
            .header("origin", origin)
            .header("access-control-request-headers", "authorization, content-type")
    };
    let mut expected = allowed(ORIGIN);
    expected.extend(
        [
            (
                "access-control-allow-headers",
                "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id, X-Requested-With, X-CSRF-Token",
            ),
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
            ("access-control-max-age", "7200"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    expected.sort();
    for path in ["/messages", "/auth/login", "/conversations/7/messages", "/health"] {
        let answer = ask(path, ORIGIN).send().await.expect_status(204);
        assert_eq!(cors_headers(&answer), expected, "{path}");
        assert_eq!(answer.headers_named("vary"), ["origin"]);
        assert!(answer.body.is_empty() && answer.header("content-type").is_none());
        assert!(answer.header("content-length").is_none(), "204 has none (RFC 9110 §8.6)");
    }
    for origin in FOREIGN {
        let answer = ask("/messages", origin).send().await.expect_status(204);
        assert_eq!(cors_headers(&answer), [], "{origin}");
    }
    let answer = client.request("OPTIONS", "/messages").header("origin", ORIGIN).send().await;
    assert_eq!(cors_headers(&answer.expect_status(204)), allowed(ORIGIN), "no preflight without a method");
    ask("/nowhere", ORIGIN).send().await.expect_status(404);
}
