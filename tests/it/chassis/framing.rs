//! What is no proper request: the right code or a close, one answer at most, and good clients go on.

use crate::support::Ending;

use super::{builder, exchange, good_client_is_served, statuses};

/// Named bytes, and the statuses that may come; an empty list: a close without an answer will do too.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    expected: &'static [u16],
}

fn case(name: &'static str, text: &str, expected: &'static [u16]) -> Case {
    Case { name, bytes: text.as_bytes().to_vec(), expected }
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// A request that would go on to a second one if its body were measured wrongly.
fn post(name: &'static str, headers: &str, body: &str, expected: &'static [u16]) -> Case {
    let text = format!("POST /smuggler HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}{SMUGGLED}");
    case(name, &text, expected)
}

fn get(name: &'static str, headers: &str, expected: &'static [u16]) -> Case {
    case(name, &format!("GET /health HTTP/1.1\r\nhost: a\r\n{headers}\r\n"), expected)
}

fn refused() -> Vec<Case> {
    const BAD: &[u16] = &[400];
    const CHUNKED: &str = "transfer-encoding: chunked\r\n";
    vec![
        post("identity", "transfer-encoding: identity\r\n", "", BAD),
        post("chunked not last", "transfer-encoding: chunked, identity\r\n", "0\r\n\r\n", BAD),
        post("a coding before", "transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n", &[501]),
        post("chunked twice", "transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n", &[501]),
        post(
            "identity beside it",
            "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
            "0\r\n\r\n",
            &[501],
        ),
        post("no coding", "transfer-encoding: xchunked\r\n", "0\r\n\r\n", BAD),
        post("lengths differ", "content-length: 4\r\ncontent-length: 5\r\n", "abcd", BAD),
        post("list of lengths", "content-length: 4, 5\r\n", "abcd", BAD),
        post("signed length", "content-length: +4\r\n", "abcd", BAD),
        post("negative length", "content-length: -4\r\n", "abcd", BAD),
        post("hexadecimal length", "content-length: 0x4\r\n", "abcd", BAD),
        post("huge length", "content-length: 99999999999999999999\r\n", "abcd", BAD),
        case(
            "chunked in HTTP/1.0",
            "POST /smuggler HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            BAD,
        ),
        post("space before the colon", "content-length : 4\r\n", "abcd", BAD),
        post(
            "both, length first",
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
            "0\r\n\r\n",
            &[400, 404],
        ),
        post(
            "both, chunked first",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
            "0\r\n\r\n",
            &[400, 404],
        ),
        post("folded coding", "transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n", BAD),
        post("size is no number", CHUNKED, "zz\r\nab\r\n0\r\n\r\n", &[400, 404]),
        post("size negative", CHUNKED, "-1\r\nab\r\n0\r\n\r\n", &[400, 404]),
        post("size beyond 64 bits", CHUNKED, "fffffffffffffffff\r\nab\r\n0\r\n\r\n", &[400, 404]),
        post("chunk longer than said", CHUNKED, "1\r\nabcd\r\n0\r\n\r\n", &[400, 404]),
        case("no Host", "GET /health HTTP/1.1\r\n\r\n", BAD),
        case("two Hosts", "GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", BAD),
        case("Host twice", "GET /health HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", BAD),
        get("folded header", "x-a: b\r\n c\r\n", BAD),
        get("NUL in a value", "x-a: b\0c\r\n", BAD),
        get("NUL in a name", "x\0a: b\r\n", BAD),
        get("CR in a value", "x-a: b\rc\r\n", BAD),
        get("a line without colon", "nonsense\r\n", BAD),
        get("an empty name", ": b\r\n", BAD),
        case("two spaces", "GET  /health HTTP/1.1\r\nhost: a\r\n\r\n", BAD),
        case("tab in the request line", "GET\t/health HTTP/1.1\r\nhost: a\r\n\r\n", BAD),
        case("no version", "GET /health\r\nhost: a\r\n\r\n", BAD),
        case("version 1.2", "GET /health HTTP/1.2\r\nhost: a\r\n\r\n", &[400, 505]),
        case("version 3", "GET /health HTTP/3.0\r\nhost: a\r\n\r\n", &[400, 505]),
        case("NUL in the URL", "GET /hea\0lth HTTP/1.1\r\nhost: a\r\n\r\n", BAD),
        case("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[]),
        Case { name: "TLS", bytes: tls_hello(), expected: &[400] },
        Case { name: "garbage", bytes: (0..=255).cycle().take(5_000).collect(), expected: &[400] },
        case("another protocol", "SSH-2.0-OpenSSH_9.2\r\n", BAD),
        case("too many headers", &many_headers(), &[431]),
    ]
}

fn tls_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend(std::iter::repeat_n(0xab, 505));
    hello
}

fn many_headers() -> String {
    let headers: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    format!("GET /health HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_nothing_is_smuggled() {
    let desk = builder().start().await;
    let mut failures = Vec::new();
    for Case { name, bytes, expected } in refused() {
        let (answer, ending) = exchange(desk.addr(), &bytes).await;
        let got = statuses(&answer);
        let fits = match got.as_slice() {
            [] => expected.is_empty(),
            [one] => expected.contains(one) || expected.is_empty(),
            _ => false,
        };
        let has_text = answer.is_empty() || has_text(&answer);
        if !fits || !has_text || ending != Ending::Eof {
            failures.push(format!("{name}: {got:?} {ending:?}, not one of {expected:?}: {answer}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    good_client_is_served(&desk).await;
    let smuggled = r#"http_requests_total{method="_OTHER",route="_unmatched",status="404"}"#;
    let unmatched = desk.metric(smuggled).await.unwrap_or_default();
    assert!(unmatched <= 6.0, "only the smugglers themselves were seen, not what they carried: {unmatched}");
    eventually_no_connections(&desk).await;
}

/// Whether an answer, the last of a connection, says in JSON what is wrong, however early that was found.
pub fn has_text(answer: &str) -> bool {
    let Some((head, text)) = answer.rsplit_once("\r\n\r\n") else { return false };
    let length = format!("content-length: {}\r\n", text.len());
    let error = serde_json::from_str(text)
        .ok()
        .and_then(|json: serde_json::Value| Some(json["error"].as_str()?.len()));
    error.is_some_and(|length| length > 0)
        && head.contains("content-type: application/json; charset=utf-8")
        && format!("{head}\r\n").contains(&length)
        && head.contains("\r\ndate: ")
}

async fn eventually_no_connections(desk: &crate::support::Hyperdesk) {
    crate::support::eventually(super::SOON, || async { desk.metric("http_connections").await == Some(0.0) })
        .await;
}

#[tokio::test]
async fn unusual_but_proper_requests_are_answered() {
    let desk = builder().start().await;
    let cases = [
        ("HTTP/1.0 without Host", "GET /health HTTP/1.0\r\n\r\n", 200),
        (
            "absolute form",
            "GET http://desk.example/health HTTP/1.1\r\nhost: desk.example\r\nconnection: close\r\n\r\n",
            200,
        ),
        ("authority form", "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\nconnection: close\r\n\r\n", 404),
        ("asterisk form", "OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404),
        ("empty lines first", "\r\n\r\nGET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 200),
        ("lower-case method", "get /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405),
        ("query and fragment", "GET /health?a=%00&b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 200),
        ("percent in the path", "GET /%68ealth HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 200),
        ("dots", "GET /x/../health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404),
        ("two slashes", "GET //health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 200),
    ];
    for (name, text, status) in cases {
        let (answer, ending) = exchange(desk.addr(), text).await;
        assert_eq!((statuses(&answer), ending), (vec![status], Ending::Eof), "{name}: {answer}");
    }
    // Several at once on one connection are answered in order.
    let pipelined = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n".repeat(50)
        + "GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let (answer, ending) = exchange(desk.addr(), pipelined).await;
    let mut expected = vec![200; 50];
    expected.push(404);
    assert_eq!((statuses(&answer), ending), (expected, Ending::Eof));
    // What is none after one that is.
    let second = "GET /health HTTP/1.1\r\nhost: a\r\n\r\nGET\t/health HTTP/1.1\r\n\r\n";
    let (answer, ending) = exchange(desk.addr(), second).await;
    assert_eq!((statuses(&answer), ending), (vec![200, 400], Ending::Eof));
    assert!(has_text(&answer) && answer.ends_with(r#"{"error":"Malformed request"}"#), "{answer}");
}
