//! Sizes: the refusal reaches a client that is still sending, and every route's limit is exact.

use hyperdesk::chassis::route::Route as _;
use hyperdesk::services::Route;

use crate::support::{Ending, Hyperdesk, Raw};

use super::framing::has_text;
use super::routes::path;
use super::{SOON, builder, exchange, good_client_is_served, statuses, token, token_for};

const MEGABYTE: usize = 1 << 20;

/// Sends a head and 10 MB without reading, then reads: one answer, whole, and an orderly end.
async fn upload(desk: &Hyperdesk, head: &str, chunked: bool) -> u16 {
    let mut raw = Raw::connect(desk.addr()).await;
    raw.write(head).await.unwrap();
    for _ in 0..10 {
        let mut piece = Vec::with_capacity(MEGABYTE + 16);
        if chunked {
            piece.extend_from_slice(b"100000\r\n");
        }
        piece.resize(piece.len() + MEGABYTE, b'x');
        if chunked {
            piece.extend_from_slice(b"\r\n");
        }
        raw.write(piece).await.unwrap_or_else(|error| panic!("{head}: {error}"));
    }
    let answer = raw.read_response().await.unwrap_or_else(|error| panic!("{head}: {error}"));
    assert_eq!(answer.header("connection"), Some("close"), "{head}");
    assert!(answer.json()["error"].is_string(), "{head}");
    raw.finish_writing().await;
    assert_eq!(raw.read_to_end(SOON).await, (Vec::new(), Ending::Eof), "{head}");
    answer.status
}

#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_is_still_sending() {
    let desk = builder().start().await;
    let length = format!("content-length: {}\r\n\r\n", 10 * MEGABYTE);
    let chunked = "transfer-encoding: chunked\r\n\r\n".to_owned();
    for (framing, is_chunked) in [(&length, false), (&chunked, true)] {
        for (line, status) in [
            ("POST /auth/register", 413),
            ("POST /auth/login", 413),
            ("GET /health", 413),
            ("POST /messages", 401),
            ("POST /nowhere", 404),
            ("POST /health", 405),
        ] {
            let head = format!("{line} HTTP/1.1\r\nhost: a\r\n{framing}");
            assert_eq!(upload(&desk, &head, is_chunked).await, status, "{head}");
        }
        let head =
            format!("POST /messages HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n{framing}", token());
        assert_eq!(upload(&desk, &head, is_chunked).await, 413);
    }
    good_client_is_served(&desk).await;
}

#[tokio::test]
async fn long_urls_and_heads_are_refused_and_the_refusal_is_read() {
    let desk = builder().start().await;
    let url =
        |bytes: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "x".repeat(bytes));
    let head = |bytes: usize| {
        format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-a: {}\r\n\r\n", "x".repeat(bytes))
    };
    let fields = |count: usize| {
        let others: String = (2..count).map(|number| format!("x-{number}: 1\r\n")).collect();
        format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{others}\r\n")
    };
    for (text, expected) in [
        (fields(100), 200),
        (fields(101), 431),
        (url(8_000), 404),
        (url(8_500), 414),
        (url(31_000), 414),
        // Longer than a whole head may be.
        (url(40_000), 431),
        (url(2 * MEGABYTE), 431),
        (head(8_000), 200),
        (head(31_000), 200),
        (head(40_000), 431),
        (head(70_000), 431),
        (head(2 * MEGABYTE), 431),
    ] {
        let (answer, ending) = exchange(desk.addr(), &text).await;
        assert_eq!(
            (statuses(&answer), ending),
            (vec![expected], Ending::Eof),
            "{} bytes {}",
            text.len(),
            &text[..20]
        );
        let too_large = expected == 431;
        assert_eq!(too_large, answer.ends_with(r#"{"error":"Request head too large"}"#), "{answer}");
        assert!(expected == 200 || has_text(&answer), "{answer}");
    }
    good_client_is_served(&desk).await;
}

/// A body at the limit is read, one byte more is refused, announced or not.
#[tokio::test]
async fn the_limit_of_every_route_is_exact() {
    let desk = builder().start().await;
    let client = desk.client();
    for route in Route::all() {
        let spec = route.spec();
        for (bytes, is_too_long) in [(spec.body_bytes_max, false), (spec.body_bytes_max + 1, true)] {
            let text = json_of(bytes);
            let chunks =
                if bytes == 0 { "0\r\n\r\n".to_owned() } else { format!("{bytes:x}\r\n{text}\r\n0\r\n\r\n") };
            for (body, name, value) in [
                (text.clone(), "content-length", bytes.to_string()),
                (chunks, "transfer-encoding", "chunked".to_owned()),
            ] {
                let request = client.request(spec.method, &path(spec.label)).bearer(&token_for(spec.access));
                let request =
                    request.header("content-type", "application/json").header(name, value).body(body);
                let answer = request.send().await;
                let what = format!("{} {} {bytes} {name}", spec.method, spec.label);
                assert_eq!(answer.status == 413, is_too_long, "{what}: {}", answer.status);
                if is_too_long {
                    assert_eq!(answer.text(), r#"{"error":"Request body too large"}"#, "{what}");
                    assert!(!answer.keeps_alive, "{what}");
                }
            }
        }
    }
}

/// An object without fields in so many bytes.
fn json_of(bytes: usize) -> String {
    match bytes {
        0 => String::new(),
        1 => "0".to_owned(),
        _ => format!("{{{}}}", " ".repeat(bytes - 2)),
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_before_it_sends() {
    let desk = builder().start().await;
    let head = |line: &str, length: usize| {
        format!(
            "{line} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    for (line, length, status) in
        [("POST /auth/login", 10 * MEGABYTE, 413), ("POST /messages", 10, 401), ("POST /nowhere", 10, 404)]
    {
        let mut raw = Raw::connect(desk.addr()).await;
        raw.write(head(line, length)).await.unwrap();
        let start = raw.read_through("\r\n").await.unwrap();
        let start = String::from_utf8(start).unwrap();
        assert!(start.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {start}");
    }
    let mut raw = Raw::connect(desk.addr()).await;
    raw.write(head("POST /auth/login", 2)).await.unwrap();
    assert_eq!(raw.read_through("\r\n\r\n").await.unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    raw.write("{}").await.unwrap();
    assert_ne!(raw.read_response().await.unwrap().status, 413);
}

#[tokio::test]
async fn a_body_shorter_or_longer_than_said_ends_the_connection_or_begins_the_next_request() {
    let desk = builder().start().await;
    // Shorter, then the end.
    let mut raw = Raw::connect(desk.addr()).await;
    raw.write("POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{}").await.unwrap();
    raw.finish_writing().await;
    let (answer, _) = raw.read_to_end(SOON).await;
    let got = statuses(&String::from_utf8_lossy(&answer));
    assert!(got.is_empty() || got == [400], "{got:?}");
    // Longer: what is over is the next request, and no good one.
    let mut raw = Raw::connect(desk.addr()).await;
    raw.write("POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}{}{}{}\r\n\r\n")
        .await
        .unwrap();
    let (answer, ending) = raw.read_to_end(SOON).await;
    assert_eq!((statuses(&String::from_utf8_lossy(&answer)), ending), (vec![404, 400], Ending::Eof));
    // Chunks that break off.
    let mut raw = Raw::connect(desk.addr()).await;
    raw.write("POST /auth/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab")
        .await
        .unwrap();
    raw.reset();
    // Left in the middle of an upload, often: nothing stays in flight.
    for _ in 0..50 {
        let mut raw = Raw::connect(desk.addr()).await;
        let written =
            raw.write("POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 9999\r\n\r\n{").await;
        assert!(written.is_ok_and(|()| true));
        raw.reset();
    }
    let at_rest = || async { desk.metric("http_requests_in_flight").await == Some(0.0) };
    crate::support::eventually(SOON, at_rest).await;
    // A body where there may be none is refused by what it says of itself.
    desk.client().get("/health").header("content-length", "5").send().await.expect_status(413);
    good_client_is_served(&desk).await;
}
