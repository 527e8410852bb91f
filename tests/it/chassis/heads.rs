//! What a request's head says of its host, its body's coding and its path.

use serde_json::json;

use crate::support::Ending;

use super::{builder, exchange, statuses};

async fn get(addr: std::net::SocketAddr, head: &str) -> (Vec<u16>, Ending, String) {
    let (answer, ending) = exchange(addr, format!("{head}\r\n\r\n")).await;
    (statuses(&answer), ending, answer)
}

#[tokio::test]
async fn a_host_is_one_host() {
    let desk = builder().start().await;
    for host in ["", "a", "desk.example.com:3000", "127.0.0.1", "[::1]:3000", "a_b.internal", "DESK:"] {
        let head = format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close");
        assert_eq!(get(desk.addr(), &head).await.0, [200], "{host}");
    }
    let next = "\r\n\r\nGET /health HTTP/1.1\r\nhost: a";
    for host in [
        "a,b",
        "a, b",
        "user@a",
        "user:word@a",
        "a/b",
        "a/",
        "http://a",
        "a?b",
        "a#b",
        "a b",
        "a:b",
        "a:80:80",
        ":80",
        "::1",
        "[::1",
        "[a]",
        "a\\b",
        "a%00",
    ] {
        for version in ["1.1", "1.0"] {
            let head = format!("GET /health HTTP/{version}\r\nhost: {host}{next}");
            let (statuses, ending, answer) = get(desk.addr(), &head).await;
            assert_eq!((statuses, ending), (vec![400], Ending::Eof), "{host}: {answer}");
            assert!(answer.ends_with(r#"{"error":"Host must be a host and a port"}"#), "{host}: {answer}");
        }
    }
    let (statuses, ..) = get(desk.addr(), "GET http://user@a/health HTTP/1.1\r\nhost: a").await;
    assert_eq!(statuses, [400]);
}

/// Bodies whose chunks are right: what is wrong is only what they are said to be.
#[tokio::test]
async fn a_transfer_coding_is_chunked_once_or_the_end() {
    let desk = builder().start().await;
    let send = async |codings: &[&str], version: &str| {
        let codings: String =
            codings.iter().map(|coding| format!("transfer-encoding: {coding}\r\n")).collect();
        let head =
            format!("POST /auth/logout HTTP/{version}\r\nhost: a\r\n{codings}\r\n2\r\n{{}}\r\n0\r\n\r\n");
        exchange(desk.addr(), format!("{head}GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
            .await
    };
    for codings in [&["chunked"][..], &["Chunked"], &[" chunked "]] {
        let (answer, _) = send(codings, "1.1").await;
        assert_eq!(statuses(&answer), [200, 200], "{codings:?}: {answer}");
    }
    for codings in [
        &["gzip, chunked"][..],
        &["gzip", "chunked"],
        &["chunked, chunked"],
        &["chunked", "chunked"],
        &["identity, chunked"],
        &["identity", "chunked"],
        &[",chunked"],
        &["x, y, chunked"],
        &["", "chunked"],
    ] {
        let (answer, ending) = send(codings, "1.1").await;
        assert_eq!((statuses(&answer), ending), (vec![501], Ending::Eof), "{codings:?}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        assert!(answer.ends_with(r#"{"error":"Transfer-Encoding must be chunked"}"#), "{answer}");
        // In HTTP/1.0 there is none.
        let (answer, ending) = send(codings, "1.0").await;
        assert_eq!((statuses(&answer), ending), (vec![400], Ending::Eof), "{codings:?}: {answer}");
    }
    // Where the end of the body cannot be known (RFC 9112 §6.3).
    for codings in [&["gzip"][..], &["chunked", "identity"], &["chunked, gzip"], &["chunked;x"], &[""]] {
        let (answer, ending) = send(codings, "1.1").await;
        assert_eq!((statuses(&answer), ending), (vec![400], Ending::Eof), "{codings:?}: {answer}");
    }
}

#[tokio::test]
async fn a_body_in_a_coding_is_not_read() {
    let desk = builder().start().await;
    let client = desk.client();
    for path in ["/auth/login", "/auth/register", "/upload/", "/oauth/token"] {
        for coding in ["gzip", "br", "identity, gzip", "x-unknown", "GZIP"] {
            let request = client.post(path).header("content-encoding", coding);
            let answer = request.header("content-type", "application/json").body("\x1f\u{8b}").send().await;
            assert_eq!(answer.status, 415, "{path} {coding}");
            assert_eq!(answer.json(), json!({"error": "Content-Encoding is not supported"}));
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
        // No coding, or no body: the route itself speaks.
        for (coding, body) in [("identity", "{"), ("Identity", "{"), ("", "{"), ("gzip", "")] {
            let request = client.post(path).header("content-encoding", coding);
            let answer = request.header("content-type", "application/json").body(body).send().await;
            assert_ne!(answer.text(), r#"{"error":"Content-Encoding is not supported"}"#, "{path} {coding}");
        }
    }
}

/// RFC 3986 §6.2.2.2, and only that: what is reserved, and what begins nothing, is as it is.
#[tokio::test]
async fn a_character_that_needs_no_escape_is_itself() {
    let desk = builder().start().await;
    let client = desk.client();
    for path in ["/%68ealth", "/%75%70/", "//h%65alth?x=%31"] {
        client.get(path).send().await.expect_status(200);
    }
    for (path, plain) in [
        ("/conversations/%37/messages", "/conversations/7/messages"),
        ("/books/%6Dine", "/books/mine"),
        ("/b%6foks//%37/", "/books/7"),
        ("/media/a%2epng", "/media/a.png"),
        ("/page/%31/a", "/page/1/a"),
        ("/api/hyper/%6Fwn", "/api/hyper/own"),
    ] {
        let plain = client.request("PATCH", plain).send().await;
        let answer = client.request("PATCH", path).send().await.expect_status(405);
        assert_eq!(answer.header("allow"), plain.header("allow"), "{path}");
    }
    for path in ["/books%2F7", "/%2568ealth", "/health%", "/%68ealth%", "/%%368ealth", "/h%c3%a4lth"] {
        client.get(path).send().await.expect_status(404);
    }
    client.get("/conversations/%37").send().await.expect_status(401);
    let counted = r#"http_requests_total{method="GET",route="/health",status="200"}"#;
    assert_eq!(desk.metric(counted).await, Some(2.0), "under the route's own name");
}

#[tokio::test]
async fn repeated_and_trailing_slashes_do_not_count() {
    let desk = builder().start().await;
    let client = desk.client();
    for path in ["/health", "/health/", "//health", "//health//", "///health///?x=1", "/up", "/up/"] {
        let answer = client.get(path).send().await.expect_status(200);
        assert_eq!(answer.json()["status"], "ok", "{path}");
    }
    for path in ["/auth//login/", "//conversations/7//messages/", "/books//7/", "/api//hyper/own/"] {
        let plain = path.replace("//", "/");
        let plain = plain.trim_end_matches('/');
        let (extra, plain) =
            (client.request("PATCH", path).send().await, client.request("PATCH", plain).send().await);
        assert_eq!((extra.status, extra.header("allow")), (405, plain.header("allow")), "{path}");
    }
    client.get("/conversations//").send().await.expect_status(401);
    client.get("/media//00000000-0000-4000-8000-000000000000_a.png/").send().await.expect_status(404);
    for path in ["/", "//"] {
        let answer = client.get(path).send().await.expect_status(200);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    }
    for path in ["/nowhere/", "/health/x/", "/heal//th"] {
        let answer = client.get(path).send().await.expect_status(404);
        assert_eq!(answer.json(), json!({"error": "Not found"}), "{path}");
    }
    let counted = r#"http_requests_total{method="GET",route="/health",status="200"}"#;
    assert_eq!(desk.metric(counted).await, Some(5.0), "under the route's own name");
}
