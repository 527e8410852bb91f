//! Which browsers' pages may call: an exact list of origins, with credentials.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};

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

    /// Whether a state-changing request that only a cookie vouches for is the user's own wish: it comes from
    /// an allowed page, or from no page at all.
    #[must_use]
    pub fn trusts(&self, headers: &HeaderMap) -> bool {
        headers.get_all(ORIGIN).iter().all(|origin| self.allows(origin))
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
