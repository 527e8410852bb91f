//! What a handler gets: the head, the caller, the whole body, and lenient ways to read them.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, StatusCode, Uri};
use memchr::{memchr, memchr2};
use serde_json::{Map, Number, Value};

use crate::auth::token::SessionId;
use crate::clock::Timestamp;
use crate::fair::Network;

use super::Error;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's id; an OAuth2 client's where the route asks for one.
    pub user_id: u64,
    /// The session that the token belongs to.
    pub session: SessionId,
    /// When the user's row was made, where the token says so: a row of another time is another user's.
    pub user_created_at: Option<Timestamp>,
    /// When the token expires, in Unix seconds.
    pub expires_at: i64,
}

/// A request whose caller may make it and whose body is there.
#[derive(Debug)]
pub struct Request {
    /// Method; GET for HEAD.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers.
    pub headers: HeaderMap,
    /// Who calls, where the route's access rule found out.
    pub caller: Option<Caller>,
    /// The body, within the route's limit.
    pub body: Bytes,
    /// Where the client is, seen through the trusted proxies.
    pub client: Network,
    /// The index of the event loop that serves it.
    pub event_loop: usize,
    /// When its head was there.
    pub received_at: Instant,
    /// The same by the calendar.
    pub wall_time: Timestamp,
}

impl Request {
    /// The caller of a route that only lets callers in.
    ///
    /// # Errors
    /// 401 where the route lets anyone in and nobody was told apart.
    pub fn caller(&self) -> Result<Caller, Error> {
        self.caller.ok_or_else(Error::unauthenticated)
    }

    /// The header map that the request came in, made one for a JSON answer: for [`super::Answer::Reused`]. It
    /// costs no allocation, and no copy on its way.
    pub fn reused(&mut self) -> &mut HeaderMap {
        super::response::reuse(&mut self.headers);
        &mut self.headers
    }

    /// The first value of a query parameter, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.uri.query()?;
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first values of some query parameters, found in one pass: for polls, which allocate nothing.
    #[must_use]
    pub fn query_values<const N: usize>(&self, names: [&str; N]) -> [Option<QueryValue<'_>>; N] {
        query_values(self.uri.query().unwrap_or_default(), names)
    }

    /// The body's fields, JSON or form, those inside the object `wrapper` before those around it.
    ///
    /// # Errors
    /// 400 for what is not a JSON object, 415 for another type.
    pub fn fields(&self, wrapper: &str) -> Result<Fields, Error> {
        Fields::parse(self.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes), &self.body, wrapper)
    }
}

/// Longest value that [`QueryValue::decoded`] gives: a time or a cursor is shorter.
pub const QUERY_VALUE_BYTES: usize = 64;

/// The value of a query parameter as it stands in the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryValue<'q>(&'q [u8]);

impl<'q> QueryValue<'q> {
    /// The value as it stands in the URL, escaped or not.
    #[must_use]
    pub fn raw(self) -> &'q [u8] {
        self.0
    }

    /// The value, decoded into `buffer` where it is escaped. One that does not fit is cut off: no value that means
    /// anything is as long as the buffer.
    #[must_use]
    pub fn decoded<'b>(self, buffer: &'b mut [u8; QUERY_VALUE_BYTES]) -> &'b [u8]
    where
        'q: 'b,
    {
        if memchr2(b'%', b'+', self.0).is_none() {
            return &self.0[..self.0.len().min(QUERY_VALUE_BYTES)];
        }
        let mut length = 0;
        let mut rest = self.0.iter();
        while let Some(&byte) = rest.next() {
            let decoded = match byte {
                b'+' => b' ',
                b'%' => match rest.as_slice() {
                    [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                        rest = rest.as_slice()[2..].iter();
                        hex(*high) << 4 | hex(*low)
                    }
                    _ => byte,
                },
                _ => byte,
            };
            let Some(place) = buffer.get_mut(length) else { break };
            *place = decoded;
            length += 1;
        }
        &buffer[..length]
    }
}

/// For each name what follows `name=` in the first pair that begins with it; nothing for a `name` alone.
fn query_values<'q, const N: usize>(query: &'q str, names: [&str; N]) -> [Option<QueryValue<'q>>; N] {
    let mut found = [None; N];
    let mut rest = query.as_bytes();
    loop {
        let (pair, after) = rest.split_at(memchr(b'&', rest).unwrap_or(rest.len()));
        for (found, name) in found.iter_mut().zip(names) {
            if found.is_none()
                // Most names differ in their first letter already.
                && pair.first() == name.as_bytes().first()
                && let Some(value) = pair.strip_prefix(name.as_bytes())
                && let [] | [b'=', ..] = value
            {
                *found = Some(QueryValue(value.get(1..).unwrap_or_default()));
            }
        }
        let Some((_, following)) = after.split_first() else { return found };
        rest = following;
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Named values of a body. Each is found under its camelCase and its snake_case name.
#[derive(Debug, Default)]
pub struct Fields {
    inside: Map<String, Value>,
    around: Map<String, Value>,
}

impl Fields {
    fn parse(content_type: Option<&[u8]>, body: &[u8], wrapper: &str) -> Result<Self, Error> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let media = content_type.map(|value| value.split(|&byte| byte == b';').next().unwrap_or(value));
        let mut around = match media.map(<[u8]>::trim_ascii) {
            // A form never begins with a brace; JSON under this type is what curl sends without a -H.
            Some(media) if is_form(media) && !body.trim_ascii_start().starts_with(b"{") => form(body)?,
            Some(media) if is_form(media) => json(body)?,
            Some(media) if !is_json(media) => {
                return Err(Error::Refused(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Cow::Borrowed("Content-Type must be application/json"),
                ));
            }
            _ => json(body)?,
        };
        let inside = match around.remove(wrapper) {
            Some(Value::Object(inside)) => inside,
            Some(other) => {
                around.insert(wrapper.to_owned(), other);
                Map::new()
            }
            None => Map::new(),
        };
        Ok(Self { inside, around })
    }

    /// The value under `name` (camelCase), or under the same in snake_case; null counts as absent.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        let snake = snake_case(name);
        [&self.inside, &self.around]
            .into_iter()
            .flat_map(|map| [map.get(name), map.get(&snake)])
            .flatten()
            .find(|value| !value.is_null())
    }

    /// A text, where there is one; a number reads as its text, as Rails takes it.
    ///
    /// # Errors
    /// [`NoText`] for a boolean, an array or an object: nobody is called `false`.
    pub fn text(&self, name: &str) -> Result<Option<String>, NoText> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) if is_exact(number) => Ok(Some(number.to_string())),
            Some(_) => Err(NoText),
        }
    }

    /// A whole number from 0 on: a JSON integer, or digits as a text, as a form has them. What has a point or an exponent
    /// is floating point to whoever reads JSON, even 1.0 and 1e3, and may have been rounded.
    #[must_use]
    pub fn whole(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        }
    }

    /// An id, a number or its digits, in the one spelling of [`super::route::id`].
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u64> {
        super::route::id(&self.text(name).ok()??).ok()
    }
}

#[cfg(test)]
impl Fields {
    /// Those of a JSON object, for the tests of those who read them.
    pub(crate) fn of_json(json: &str, wrapper: &str) -> Self {
        Self::parse(Some(b"application/json"), json.as_bytes(), wrapper).unwrap()
    }
}

/// What stands where a text is meant and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoText;

/// Whether a number is still the one that was sent: larger ones than these were rounded when they were read, and two
/// passwords would be one.
fn is_exact(number: &Number) -> bool {
    const EXACT_BELOW: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
    !number.is_f64() || number.as_f64().is_some_and(|number| number.abs() < EXACT_BELOW)
}

fn is_form(media: &[u8]) -> bool {
    media.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

fn is_json(media: &[u8]) -> bool {
    media.eq_ignore_ascii_case(b"application/json")
        || (media.len() > 5 && media[media.len() - 5..].eq_ignore_ascii_case(b"+json"))
}

/// Objects and arrays within each other; the contract's own need four. Values are read and dropped
/// recursively: 1,000 brackets, which the parser's own limit of 1,024 lets through, overflow an event loop's
/// stack in a debug build, and that ends the process.
const JSON_DEPTH_MAX: usize = 64;

fn is_too_deep(body: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for &byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

fn json(body: &[u8]) -> Result<Map<String, Value>, Error> {
    if is_too_deep(body) {
        return Err(Error::bad_request("Request body is nested too deeply"));
    }
    // simd-json parses in place, hence the copy. It refuses integers beyond 64 bits, which are JSON all the
    // same: what it refuses is read once more.
    let value = simd_json::serde::from_slice(&mut body.to_vec()).or_else(|_| serde_json::from_slice(body));
    match value {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::bad_request("Request body must be a JSON object")),
        Err(_) => Err(Error::bad_request("Request body is not valid JSON")),
    }
}

/// A form's pairs; `user[name]=…` goes into the object `user`, `links[]=…` into the array `links`, as Rails
/// reads them. What is not UTF-8 is refused: a replacement character in its place would be stored as the text.
fn form(body: &[u8]) -> Result<Map<String, Value>, Error> {
    let decoded = percent_encoding::percent_decode(body).decode_utf8();
    if decoded.is_err() {
        return Err(Error::bad_request("Request body is not valid UTF-8"));
    }
    let mut map = Map::new();
    for (key, value) in form_urlencoded::parse(body) {
        let value = Value::String(value.into_owned());
        let (outer, inner) = match key.split_once('[') {
            Some((outer, rest)) => (outer, rest.strip_suffix(']')),
            None => (&*key, None),
        };
        match inner {
            None => {
                map.insert(key.into_owned(), value);
            }
            Some("") => push(&mut map, outer, value),
            Some(inner) => {
                let nested = map.entry(outer).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(nested) = nested else { continue };
                match inner.strip_suffix("][") {
                    Some(list) => push(nested, list, value),
                    None => {
                        nested.insert(inner.to_owned(), value);
                    }
                }
            }
        }
    }
    Ok(map)
}

fn push(map: &mut Map<String, Value>, name: &str, value: Value) {
    if let Value::Array(list) = map.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
        list.push(value);
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
