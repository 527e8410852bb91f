//! The body of what hyper answers by itself to a head that it cannot read: it would send none. Pure.

use memchr::memmem;

const EMPTY: &[u8] = b"content-length: 0\r\n";

/// The same answer with its text, if `head` is such an answer: no request was handed on, so it can be nothing else.
pub(super) fn with_body(head: &[u8]) -> Option<Vec<u8>> {
    let (version, status) = head.get(..12)?.split_at(9);
    let text = match status {
        b"400" => r#"{"error":"Malformed request"}"#,
        b"414" => r#"{"error":"URL too long"}"#,
        b"431" => r#"{"error":"Request head too large"}"#,
        _ => return None,
    };
    if !version.starts_with(b"HTTP/1.") || !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let (before, after) = head.split_at(memmem::find(head, EMPTY)?);
    let own = format!("content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n", text.len());
    Some([before, own.as_bytes(), &after[EMPTY.len()..], text.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_refusal_gets_its_text() {
        let head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let text = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json; charset=utf-8\r\n\
            content-length: 29\r\ndate: x\r\n\r\n{\"error\":\"Malformed request\"}";
        assert_eq!(with_body(head.as_bytes()).unwrap(), text.as_bytes());
        for status in ["414", "431"] {
            let answer = with_body(head.replace("400", status).as_bytes()).unwrap();
            assert!(String::from_utf8(answer).unwrap().contains(status));
        }
        for other in [
            "",
            "HTTP/1.1 40",
            &head.replace("400", "200"),
            &head.replace("HTTP/1.", "HTTP/2."),
            &head.replace(": 0", ": 1"),
            &head.replace("\r\n\r\n", "\r\n"),
        ] {
            assert_eq!(with_body(other.as_bytes()), None, "{other}");
        }
    }
}
