//! What a request's head says: the headers that every request is asked for, whose address it is from, its path. Pure.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, ORIGIN,
    TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{StatusCode, Uri, Version};

use super::error::REQUEST_ID;
use super::route::unreserved;
use super::{Error, response};

/// The headers that every request is asked for, found in one pass: looking each up by its name would take longer.
#[derive(Default)]
pub(super) struct RequestHead<'h> {
    pub(super) request_id: Option<&'h HeaderValue>,
    pub(super) origin: Option<&'h HeaderValue>,
    pub(super) origins: usize,
    pub(super) authorization: Option<&'h HeaderValue>,
    host: Option<&'h HeaderValue>,
    hosts: usize,
    content_lengths: usize,
    transfer_encodings: usize,
    /// Whether a transfer coding other than `chunked` is named.
    has_other_coding: bool,
}

impl<'h> RequestHead<'h> {
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let mut head = Self::default();
        for (name, value) in headers {
            if name == HOST {
                head.hosts += 1;
                head.host = Some(value);
            } else if name == AUTHORIZATION {
                head.authorization = head.authorization.or(Some(value));
            } else if name == ORIGIN {
                head.origin = head.origin.or(Some(value));
                head.origins += 1;
            } else if name == REQUEST_ID {
                head.request_id = head.request_id.or(Some(value));
            } else if name == CONTENT_LENGTH {
                head.content_lengths += 1;
            } else if name == TRANSFER_ENCODING {
                head.transfer_encodings += 1;
                head.has_other_coding |= !is_chunked(value);
            }
        }
        head
    }

    /// Refuses what servers in front of this one may read differently (RFC 9112 §3.2, §6).
    pub(super) fn check(&self, version: Version, uri: &Uri) -> Result<(), Error> {
        let bad = |text| Err(Error::Malformed(StatusCode::BAD_REQUEST, text));
        if self.hosts > 1 || (self.hosts == 0 && version == Version::HTTP_11) {
            return bad("Exactly one Host header is required");
        }
        let is_host = self.host.is_none_or(is_host);
        if !is_host || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return bad("Host must be a host and a port");
        }
        // hyper itself would ignore the length, read the chunks, and close after the answer (RFC 9112 §6.1).
        if self.transfer_encodings > 0 && self.content_lengths > 0 {
            return bad("Content-Length and Transfer-Encoding exclude each other");
        }
        // hyper itself answers 400 to a coding that does not end in `chunked`, and to any in HTTP/1.0. But it passes a
        // body on undecoded where another coding precedes `chunked`, or `chunked` stands twice (RFC 9112 §6.3).
        if self.transfer_encodings > 1 || self.has_other_coding {
            return Err(Error::Malformed(StatusCode::NOT_IMPLEMENTED, "Transfer-Encoding must be chunked"));
        }
        Ok(())
    }
}

/// The address that the outermost trusted proxy saw. A client can write entries of its own in front, so only
/// the last ones count, one for each proxy.
pub fn client_address(headers: &HeaderMap, peer: IpAddr, hops: usize) -> IpAddr {
    if hops == 0 {
        return peer;
    }
    let entries = headers.get_all("x-forwarded-for").iter().rev();
    let mut entries = entries.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    entries.nth(hops - 1).and_then(|entry| address(entry.trim())).unwrap_or(peer)
}

/// An entry of `X-Forwarded-For`: an address, or one with the client's port, as an ALB can be set to write it.
/// Balancers put an IPv6 address with a port in brackets, some of them also one without.
fn address(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>().ok();
    let address = address.or_else(|| entry.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()));
    let address = address.or_else(|| {
        let inside = entry.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    });
    // An IPv4 address as a socket for both families shows it is that address.
    address.map(|address| address.to_canonical())
}

/// Whether `host` is a host with or without a port, or nothing (RFC 9112 §3.2). What else the grammar of a name
/// allows is in no name that there is, and is read as two hosts, a user or a path by one server or another.
///
/// Every request comes by here, and nearly all say the same: comparing is a quarter of looking at each letter.
pub fn is_host(host: &HeaderValue) -> bool {
    let host = host.as_bytes();
    LAST_HOST.with_borrow(|(last, length)| last[..*length] == *host) || is_new_host(host)
}

/// Longest host that is remembered.
const LAST_HOST_BYTES: usize = 64;

thread_local! {
    /// The last good host that this event loop saw; nothing is one, too.
    static LAST_HOST: RefCell<([u8; LAST_HOST_BYTES], usize)> = const { RefCell::new(([0; LAST_HOST_BYTES], 0)) };
}

#[cold]
fn is_new_host(host: &[u8]) -> bool {
    let is_good = is_name_or_address(host);
    if is_good && host.len() <= LAST_HOST_BYTES {
        LAST_HOST.with_borrow_mut(|(last, length)| {
            last[..host.len()].copy_from_slice(host);
            *length = host.len();
        });
    }
    is_good
}

fn is_name_or_address(host: &[u8]) -> bool {
    let (is_named, port) = match host.strip_prefix(b"[") {
        Some(bracketed) => {
            let Some(end) = bracketed.iter().position(|&byte| byte == b']') else { return false };
            let inside = std::str::from_utf8(&bracketed[..end]).unwrap_or_default();
            (inside.parse::<Ipv6Addr>().is_ok(), &bracketed[end + 1..])
        }
        None => {
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            let end = host.iter().position(|byte| !is_plain(byte)).unwrap_or(host.len());
            (end > 0 || host.is_empty(), &host[end..])
        }
    };
    // A port may be left out after its colon (RFC 3986 §3.2.3).
    let is_port = |port: &[u8]| match port {
        [] => true,
        [colon, digits @ ..] => *colon == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    is_named && is_port(port)
}

/// Whether a `Transfer-Encoding` is the one that is read here.
pub(super) fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// Refuses a body in a content coding (RFC 9110 §8.4): unpacking one would make a small body a large one.
pub(super) fn check_content_coding(headers: &HeaderMap) -> Result<(), Error> {
    let mut codings =
        headers.get_all(CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    if codings.all(|coding| matches!(coding.trim_ascii().to_ascii_lowercase().as_slice(), b"" | b"identity"))
    {
        return Ok(());
    }
    let text = Cow::Borrowed("Content-Encoding is not supported");
    let refusal = Error::Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    let identity = HeaderValue::from_static("identity");
    // What is taken instead (RFC 9110 §15.5.16).
    Err(Error::Answer(Box::new(response::with_header(refusal, ACCEPT_ENCODING, identity))))
}

/// The same URI with its path as routes know it: without repeated slashes and one at its end, which do not count, and
/// with each unreserved character as itself (RFC 3986 §6.2.2.2). Nothing where it is that already.
pub fn normalized(uri: &Uri) -> Option<Uri> {
    let path = decoded(uri.path());
    let has_extra_slash = path.contains("//") || (path.ends_with('/') && path.len() > 1);
    if !has_extra_slash && matches!(path, Cow::Borrowed(_)) {
        return None;
    }
    let mut plain = String::with_capacity(uri.path_and_query().map_or(0, |whole| whole.as_str().len()));
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        plain.push('/');
        plain.push_str(segment);
    }
    if plain.is_empty() {
        plain.push('/');
    }
    if let Some(query) = uri.query() {
        plain.push('?');
        plain.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(plain).ok()?);
    Uri::from_parts(parts).ok()
}

/// A path without the `%` of characters that need none. Where a `%` begins nothing all stays as it is: with what follows
/// it decoded it might begin something.
fn decoded(path: &str) -> Cow<'_, str> {
    let mut pieces = path.split('%');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let Some((digits, after)) = piece.split_at_checked(2) else { return path.into() };
        match unreserved(digits) {
            Some(letter) => plain.push(letter),
            None if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                plain.push('%');
                plain.push_str(digits);
            }
            None => return path.into(),
        }
        plain.push_str(after);
    }
    if plain.len() == path.len() { path.into() } else { plain.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_may_have_a_port_and_brackets() {
        for (entry, address) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:4711", "203.0.113.7"),
        ] {
            assert_eq!(super::address(entry), address.parse().ok(), "{entry}");
        }
        for entry in
            ["", "unknown", "203.0.113.7:", "203.0.113.7:65536", "[203.0.113.7]", "[2001:db8::7", "a:1"]
        {
            assert_eq!(super::address(entry), None, "{entry}");
        }
    }

    #[test]
    fn the_last_entries_count_one_for_each_proxy() {
        let peer: IpAddr = [10, 0, 0, 1].into();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.66, 198.51.100.1:80"));
        headers.append("x-forwarded-for", HeaderValue::from_static("[2001:db8::2]:90"));
        let seen = |hops| client_address(&headers, peer, hops).to_string();
        assert_eq!([seen(0), seen(1), seen(2)], ["10.0.0.1", "2001:db8::2", "198.51.100.1"]);
        assert_eq!([seen(3), seen(4)], ["192.0.2.66", "10.0.0.1"]);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port() {
        for host in ["", "a", "desk.example.com", "a_b-c.d:3000", "a:", "127.0.0.1:80", "[::1]", "[::1]:3000"]
        {
            assert!(is_host(&HeaderValue::from_static(host)), "{host}");
        }
        for host in [
            "a,b", "a, b", "u@a", "u:p@a", "a/b", "/", "http://a", "a?b", "a#b", "a b", ":80", "a:b",
            "a:1:2", "::1", "[::1", "[]", "[a]", "x[::1]", "[::1]x", "[::1]:x", "a\\b", "a%2fb", "a;b",
            "a'b", "\"a\"",
        ] {
            assert!(!is_host(&HeaderValue::from_static(host)), "{host}");
        }
    }

    #[test]
    fn extra_slashes_and_needless_escapes_do_not_count() {
        for (given, plain) in [
            ("/a/", "/a"),
            ("//a", "/a"),
            ("/a//b///c//?x=//y/", "/a/b/c?x=//y/"),
            ("//", "/"),
            ("http://h/a/", "http://h/a"),
            ("/%61/%31%7E?q=%31", "/a/1~?q=%31"),
            ("/%61/", "/a"),
            ("/%2f%2Fa%2e/%25%33%31", "/%2f%2Fa./%2531"),
        ] {
            let found = normalized(&given.parse().unwrap()).unwrap();
            assert_eq!(found, plain.parse::<Uri>().unwrap(), "{given}");
        }
        for given in
            ["/", "/a", "/a?b//c/", "*", "h:443", "/%2F%c3%A4", "/%%331", "/%31%", "/%31%3", "/%31%x1"]
        {
            assert!(normalized(&given.parse().unwrap()).is_none(), "{given}");
        }
    }

    #[test]
    fn only_identity_is_no_coding() {
        let check = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values
                .iter()
                .for_each(|value| _ = headers.append(CONTENT_ENCODING, HeaderValue::from_static(value)));
            check_content_coding(&headers).is_ok()
        };
        assert!(check(&[]) && check(&["identity"]) && check(&["", "Identity , identity"]));
        assert!(!check(&["gzip"]) && !check(&["identity, br"]) && !check(&["identity", "x"]));
    }

    #[test]
    fn chunked_is_one_coding_in_any_case() {
        for (coding, is_it) in [
            ("chunked", true),
            ("Chunked", true),
            (" chunked ", true),
            ("", false),
            ("xchunked", false),
            ("gzip, chunked", false),
            ("chunked, chunked", false),
        ] {
            assert_eq!(is_chunked(&HeaderValue::from_static(coding)), is_it, "{coding}");
        }
    }
}
