//! Which browsers' pages may call: an exact list of origins, with credentials.
//!
//! A page of the service's own host is never foreign, listed or not: it needs no leave to read what it gets, and what
//! it asks for is its user's own wish. A foreign page can make a browser send a form, with its cookies, but not read
//! the answer. So what it wants changed by a cookie is refused (`identity`), and no answer to it sets or clears a
//! cookie (`pipeline`): it can neither sign its visitor in as somebody else nor out.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use super::head;

const TRUE: HeaderValue = HeaderValue::from_static("true");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("origin");
/// What a page may read of an answer beside the body.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("X-Request-Id, X-Updates-Cursor, X-Total-Count, Retry-After, Location");
/// What a page may send.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id, X-Requested-With, X-CSRF-Token",
);
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS");
/// A preflight is good for two hours, the longest that every browser honours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The list of allowed origins.
pub struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// Origins as browsers send them: scheme, host and port, no slash at the end. One that cannot be a
    /// header's value can come from no browser and is left out.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self { origins: origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect() }
    }

    /// Whether pages of `origin` may call.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin)
    }

    /// `origin` as the list has it, where its pages may call.
    #[must_use]
    pub fn known(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        self.origins.iter().find(|known| *known == origin).cloned()
    }

    /// Whether a request is the user's own wish: it comes from an allowed page, from the service's own, or from no
    /// page at all.
    #[must_use]
    pub fn trusts(&self, headers: &HeaderMap) -> bool {
        let is_own = |origin: &HeaderValue| {
            let host = headers.get(HOST).filter(|host| head::is_host(host));
            host.is_some_and(|host| is_own_page(origin.as_bytes(), host.as_bytes()))
        };
        headers.get_all(ORIGIN).iter().all(|origin| self.allows(origin) || is_own(origin))
    }

    /// Writes the headers of every answer: what a page may do with it, and that this depends on the page.
    /// `known` is the page's origin where its pages may call ([`Cors::known`]).
    pub fn mark(headers: &mut HeaderMap, known: Option<HeaderValue>) {
        // Appended: no handler writes these, so there is nothing to replace, and nothing to look up for that.
        headers.append(VARY, VARY_ORIGIN);
        if let Some(origin) = known {
            headers.append(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.append(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// Adds the headers of a preflight's answer, where `asked` is one.
    pub fn preflight(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        let allowed = asked.get(ORIGIN).is_some_and(|origin| self.allows(origin));
        if allowed && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
}

/// Whether `origin` is of the host that was asked, `Host`. Its scheme does not count: a balancer may have taken the
/// TLS off. For the same reason a `Host` without a port is that of either scheme's.
fn is_own_page(origin: &[u8], host: &[u8]) -> bool {
    let (scheme, origin) = match split_at(origin, b"://") {
        Some((b"https", origin)) => (HTTPS_PORT, origin),
        Some((b"http", origin)) => (HTTP_PORT, origin),
        _ => return false,
    };
    let (Some((origin, origin_port)), Some((host, host_port))) = (host_and_port(origin), host_and_port(host))
    else {
        return false;
    };
    let origin_port = origin_port.unwrap_or(scheme);
    let is_port = match host_port {
        Some(port) => origin_port == port,
        None => [HTTP_PORT, HTTPS_PORT].contains(&origin_port),
    };
    is_port && origin.eq_ignore_ascii_case(host)
}

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// A host as it is written, an IPv6 address with its brackets, and a port if there is one. `None` for what is no
/// such thing.
fn host_and_port(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let end = match text.strip_prefix(b"[") {
        Some(address) => address.iter().position(|byte| *byte == b']')? + 2,
        None => text.iter().position(|byte| *byte == b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at_checked(end)?;
    // What a URL has besides, such as a path or a user's name, is in neither header.
    let is_host =
        !host.is_empty() && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~[]:".contains(byte));
    let port = match port {
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
        }
        _ => return None,
    };
    is_host.then_some((host, port))
}

fn split_at<'t>(text: &'t [u8], separator: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let at = memchr::memmem::find(text, separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_host_that_was_asked_is_the_services_own() {
        for (origin, host) in [
            ("http://desk.example.com", "desk.example.com"),
            ("https://desk.example.com", "desk.example.com"),
            ("https://Desk.example.com", "desk.EXAMPLE.com"),
            ("http://desk.example.com", "desk.example.com:80"),
            ("https://desk.example.com", "desk.example.com:443"),
            ("https://desk.example.com:443", "desk.example.com"),
            ("http://desk.example.com:8080", "desk.example.com:8080"),
            ("https://desk.example.com:8443", "desk.example.com:8443"),
            ("http://desk.example.com", "desk.example.com:"),
            ("http://127.0.0.1:3000", "127.0.0.1:3000"),
            ("http://[2001:db8::1]", "[2001:DB8::1]"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert!(is_own_page(origin.as_bytes(), host.as_bytes()), "{origin} {host}");
        }
    }

    #[test]
    fn every_other_page_is_not() {
        for (origin, host) in [
            ("null", "null"),
            ("", ""),
            ("http://", ""),
            ("http://desk.example.com", ""),
            ("http://desk.example.com", "example.com"),
            ("http://example.com", "desk.example.com"),
            ("http://desk.example.com.evil.org", "desk.example.com"),
            ("http://desk.example.com:8080", "desk.example.com"),
            ("http://desk.example.com", "desk.example.com:8080"),
            ("https://desk.example.com", "desk.example.com:80"),
            ("http://desk.example.com:8080", "desk.example.com:8081"),
            ("http://desk.example.com:x", "desk.example.com:x"),
            ("http://desk.example.com:99999", "desk.example.com:99999"),
            ("http://desk.example.com/", "desk.example.com/"),
            ("http://desk@example.com", "desk@example.com"),
            ("capacitor://localhost", "localhost"),
            ("file://localhost", "localhost"),
            ("HTTP://localhost", "localhost"),
            ("http://[::1", "[::1"),
            ("http://[::1]x", "[::1]x"),
            ("http://[::1]:3000", "[::1]"),
        ] {
            assert!(!is_own_page(origin.as_bytes(), host.as_bytes()), "{origin} {host}");
        }
    }
}
