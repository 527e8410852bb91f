//! The router's vocabulary: what a service's `routes.rs` says of each URL.
//!
//! A service finds its route by one `match` on the path's segments and describes it by a second one, without
//! a wildcard: a new route cannot forget its label, its access rule or its limit.

use http::Method;

/// The most segments a path may have; longer ones are not found.
pub const SEGMENTS_MAX: usize = 8;

/// `Allow` of a URL that can be read.
pub const GET: &str = "GET, HEAD, OPTIONS";
/// `Allow` of a URL that can be posted to.
pub const POST: &str = "POST, OPTIONS";
/// `Allow` of a URL that can be replaced.
pub const PUT: &str = "PUT, OPTIONS";
/// `Allow` of a URL that can be read and posted to.
pub const GET_POST: &str = "GET, HEAD, POST, OPTIONS";
/// `Allow` of a URL that can be read and replaced.
pub const GET_PUT: &str = "GET, HEAD, PUT, OPTIONS";
/// `Allow` of a URL that can be read, replaced and deleted.
pub const GET_PUT_DELETE: &str = "GET, HEAD, PUT, DELETE, OPTIONS";

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone; who it is does not matter.
    Public,
    /// Anyone; the caller is told apart where they can be.
    Optional,
    /// A signed-in user, by token or by cookie, where the client asks about the session itself: the refusal reads
    /// "No session found".
    Session,
    /// A signed-in user, by token or by cookie.
    User,
    /// A client program with an OAuth2 access token, of this scope where one is named.
    Client(Option<&'static str>),
}

/// What the chassis must know of a route before its handler runs.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Method, as documented and counted. HEAD is answered wherever GET is.
    pub method: &'static str,
    /// URL template, such as `/conversations/:id`.
    pub label: &'static str,
    /// Who may call.
    pub access: Access,
    /// The longest body accepted, in bytes; 0 for none.
    pub body_bytes_max: usize,
    /// Whether its answer is as long as what the database holds: such answers are made a few at a time.
    pub is_large: bool,
}

impl Spec {
    /// A GET without a body, answered by a few fields.
    #[must_use]
    pub const fn get(label: &'static str, access: Access) -> Self {
        Self { method: "GET", label, access, body_bytes_max: 0, is_large: false }
    }

    /// A GET without a body, answered by a list of at most [`super::ANSWER_BYTES_MAX`] bytes.
    #[must_use]
    pub const fn list(label: &'static str, access: Access) -> Self {
        Self { is_large: true, ..Self::get(label, access) }
    }

    /// A POST with a body of at most `body_bytes_max` bytes.
    #[must_use]
    pub const fn post(label: &'static str, access: Access, body_bytes_max: usize) -> Self {
        Self { method: "POST", label, access, body_bytes_max, is_large: false }
    }

    /// A PUT, likewise.
    #[must_use]
    pub const fn put(label: &'static str, access: Access, body_bytes_max: usize) -> Self {
        Self { method: "PUT", label, access, body_bytes_max, is_large: false }
    }

    /// A DELETE without a body.
    #[must_use]
    pub const fn delete(label: &'static str, access: Access) -> Self {
        Self { method: "DELETE", label, access, body_bytes_max: 0, is_large: false }
    }
}

/// Why no route was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nothing is at this path: 404.
    Path,
    /// Something is, for these methods: 405 with `Allow`.
    Method(&'static str),
}

/// A service's routes. All but `spec` is written by [`numbered!`](crate::numbered).
pub trait Route: Copy + Send + Sync + 'static {
    /// How many there are.
    const COUNT: usize;
    /// What the chassis must know.
    fn spec(self) -> Spec;
    /// Its place in [`Route::all`], the same whatever ids it has.
    fn ordinal(self) -> usize;
    /// One of each, in order, for tables and tests.
    fn all() -> impl Iterator<Item = Self>;
}

/// The numbering of a [`Route`], for an `enum` that derives strum's `EnumCount`, `EnumDiscriminants` and `EnumIter`.
#[macro_export]
macro_rules! numbered {
    () => {
        const COUNT: usize = <Self as strum::EnumCount>::COUNT;

        fn ordinal(self) -> usize {
            strum::IntoDiscriminant::discriminant(&self) as usize
        }

        fn all() -> impl Iterator<Item = Self> {
            <Self as strum::IntoEnumIterator>::iter()
        }
    };
}

/// Splits a path at its slashes into `buffer`: `/a/b` is `["a", "b"]`, `/` is `[""]`. A path that does not
/// begin with a slash, or has too many segments, is no segments at all and so matches nothing.
#[must_use]
pub fn segments<'p, 'b>(path: &'p str, buffer: &'b mut [&'p str; SEGMENTS_MAX]) -> &'b [&'p str] {
    let Some(mut rest) = path.strip_prefix('/') else { return &[] };
    let mut count = 0;
    loop {
        // Byte by byte: segments are shorter than what a search for them would cost.
        let end = rest.bytes().position(|byte| byte == b'/');
        let Some(place) = buffer.get_mut(count) else { return &[] };
        count += 1;
        match end {
            Some(end) => (*place, rest) = (&rest[..end], &rest[end + 1..]),
            None => {
                *place = rest;
                return &buffer[..count];
            }
        }
    }
}

/// The character behind the two hexadecimal digits after a `%`, where it needs no such spelling and means the same with
/// and without (RFC 3986 §2.3, §6.2.2.2).
#[must_use]
pub fn unreserved(digits: &str) -> Option<char> {
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then_some(char::from(byte))
}

/// Whether a segment is as it is looked up: where it is not, the path misses, and is looked up once more without what
/// needs no `%` ([`super::head::normalized`]).
#[must_use]
pub fn is_plain(segment: &str) -> bool {
    let mut escaped = segment.split('%').skip(1);
    !escaped.any(|after| after.get(..2).is_some_and(|digits| unreserved(digits).is_some()))
}

/// The row that a path's segment names. What is no id names [`NO_ROW`]: the route is the same, and its handler says in
/// its own words that there is no such thing, to whom it would say so of any other id.
///
/// # Errors
/// [`Miss::Path`] where there is nothing, because of a slash too many, or what is not [plain](is_plain).
pub fn row(segment: &str) -> Result<u64, Miss> {
    match id(segment) {
        Err(_) if segment.is_empty() || !is_plain(segment) => Err(Miss::Path),
        found => Ok(found.unwrap_or(NO_ROW)),
    }
}

/// No table has this id: they count from 1.
const NO_ROW: u64 = 0;

/// An id: decimal digits without sign or leading zero, at most what a signed BIGINT holds. Anything else names nothing.
///
/// # Errors
/// [`Miss::Path`].
pub fn id(segment: &str) -> Result<u64, Miss> {
    let canonical = !segment.is_empty()
        && segment.len() <= 19
        && segment.bytes().all(|byte| byte.is_ascii_digit())
        && (segment.len() == 1 || !segment.starts_with('0'));
    match segment.parse::<u64>() {
        Ok(id) if canonical && i64::try_from(id).is_ok() => Ok(id),
        _ => Err(Miss::Path),
    }
}

/// Chooses among the routes of one URL by method.
///
/// # Errors
/// [`Miss::Method`] with `allow` when none fits.
pub fn by_method<R: Copy>(method: &Method, allow: &'static str, routes: &[(Method, R)]) -> Result<R, Miss> {
    let found = routes.iter().find(|(known, _)| known == method);
    found.map(|(_, route)| *route).ok_or(Miss::Method(allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_without_allocating() {
        let mut buffer = [""; SEGMENTS_MAX];
        assert_eq!(segments("/", &mut buffer), [""]);
        assert_eq!(segments("/a/b/", &mut buffer), ["a", "b", ""]);
        assert_eq!(segments("*", &mut buffer), [""; 0]);
        assert_eq!(segments("/1/2/3/4/5/6/7/8/9", &mut buffer), [""; 0]);
    }

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(id("42"), Ok(42));
        assert_eq!(id("9223372036854775807"), Ok(i64::MAX as u64));
        for wrong in ["", "007", "+1", "-1", "1e3", "9223372036854775808", "99999999999999999999", "٤"] {
            assert_eq!(id(wrong), Err(Miss::Path), "{wrong}");
            assert_eq!(row(wrong), if wrong.is_empty() { Err(Miss::Path) } else { Ok(0) }, "{wrong}");
        }
        assert_eq!(row("42"), Ok(42));
        assert_eq!((row("%34"), row("4%7e"), row("%2F"), row("%"), row("%+1%x")), {
            let miss = Err(Miss::Path);
            (miss, miss, Ok(0), Ok(0), Ok(0))
        });
    }
}
