//! The JSON inside a token: the header and the claims.
//!
//! [`read`] first tries the exact shape that [`to_json`] writes. Anything else, such as another order,
//! spaces or more claims, goes to `serde_json`, whose visitors keep the few keys that matter and refuse
//! repeated ones. The short scan accepts only what the visitor would read alike.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::clock::Timestamp;

use super::{Claims, SessionId, TokenError};

/// The largest `user_id`: what a signed BIGINT holds.
const USER_ID_MAX: u64 = i64::MAX as u64;

/// The largest NumericDate with a fraction or an exponent: up to here a double tells whole seconds apart.
const FRACTION_MAX: f64 = 9_007_199_254_740_992.0;

/// The claims of a session's token as they were found; none of the times has been judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawClaims {
    pub(super) user_id: u64,
    /// `None` if the token has no `sid`.
    pub(super) session: Option<SessionId>,
    /// `user_created_at`.
    pub(super) user_created_at: Option<Timestamp>,
    /// `exp`, Unix seconds; a fraction is cut off, so that no token outlives it.
    pub(super) expires_at: i64,
    /// `iat`, Unix seconds, rounded up.
    pub(super) issued_at: Option<i64>,
    /// `nbf`, Unix seconds, rounded up, so that no token is early.
    pub(super) not_before: Option<i64>,
}

/// The one shape of the server's own payload.
pub(super) fn to_json(claims: &Claims) -> String {
    let Claims { user_id, session, user_created_at, expires_at, issued_at } = claims;
    let user_created_at = optional("user_created_at", user_created_at.map(Timestamp::micros));
    let issued_at = optional("iat", *issued_at);
    format!(r#"{{"user_id":{user_id},"sid":"{session}"{user_created_at}{issued_at},"exp":{expires_at}}}"#)
}

fn optional(name: &str, value: Option<i64>) -> String {
    value.map_or_else(String::new, |value| format!(r#","{name}":{value}"#))
}

/// Reads a payload.
///
/// # Errors
/// [`TokenError::Claims`], or [`TokenError::Purpose`] for a token of another kind.
pub(super) fn read(payload: &[u8]) -> Result<RawClaims, TokenError> {
    if let Some(found) = read_own(payload) {
        return Ok(found);
    }
    // serde_json passes over the text of what nobody asked for, whether or not it is UTF-8.
    let payload = std::str::from_utf8(payload).map_err(|_| TokenError::Claims)?;
    let claims: Payload = serde_json::from_str(payload).map_err(|_| TokenError::Claims)?;
    if claims.foreign {
        return Err(TokenError::Purpose);
    }
    let (Some(user_id), Some(expires_at)) = (claims.user_id, claims.expires_at) else {
        return Err(TokenError::Claims);
    };
    if user_id > USER_ID_MAX {
        return Err(TokenError::Claims);
    }
    Ok(RawClaims {
        user_id,
        session: claims.session,
        user_created_at: claims.user_created_at.map(Timestamp::from_micros),
        expires_at: expires_at.floor,
        issued_at: claims.issued_at.map(|date| date.ceil),
        not_before: claims.not_before.map(|date| date.ceil),
    })
}

/// Reads the exact shape of [`to_json`], or gives up.
fn read_own(payload: &[u8]) -> Option<RawClaims> {
    let rest = payload.strip_prefix(br#"{"user_id":"#)?;
    let (user_id, rest) = leading_number(rest)?;
    let rest = rest.strip_prefix(br#","sid":""#)?;
    let (session, rest) = rest.split_at_checked(32)?;
    let session = SessionId::from_hex(session)?;
    let rest = rest.strip_prefix(b"\"")?;
    let (user_created_at, rest) = leading_claim(rest, br#","user_created_at":"#)?;
    let (issued_at, rest) = leading_claim(rest, br#","iat":"#)?;
    let rest = rest.strip_prefix(br#","exp":"#)?;
    let (expires_at, rest) = leading_number(rest)?;
    (rest == b"}" && user_id <= USER_ID_MAX).then_some(RawClaims {
        user_id,
        session: Some(session),
        user_created_at: user_created_at.map(Timestamp::from_micros),
        expires_at: i64::try_from(expires_at).ok()?,
        issued_at,
        not_before: None,
    })
}

/// The number after `name`, where that comes next, and what follows.
fn leading_claim<'p>(text: &'p [u8], name: &[u8]) -> Option<(Option<i64>, &'p [u8])> {
    let Some(rest) = text.strip_prefix(name) else { return Some((None, text)) };
    let (value, rest) = leading_number(rest)?;
    Some((Some(i64::try_from(value).ok()?), rest))
}

/// A JSON number of digits only, without the leading zeros that JSON forbids, and what follows it.
fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(count)?;
    let mut value = 0u64;
    for &digit in digits {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    let canonical = matches!(digits, [b'0'] | [b'1'..=b'9', ..]);
    canonical.then_some((value, rest))
}

/// Refuses a header that is not plainly an HS256 token's: another `alg`, another `typ` than `JWT`, a
/// `kid`, which the server never issues, or a `crit`, which demands extensions it does not have.
pub(super) fn check_header(json: &[u8]) -> Result<(), TokenError> {
    let json = std::str::from_utf8(json).map_err(|_| TokenError::Header)?;
    let header: Header = serde_json::from_str(json).map_err(|_| TokenError::Header)?;
    if header.is_hs256 && !header.foreign { Ok(()) } else { Err(TokenError::Header) }
}

/// The names met so far. A token has a handful, so looking through them all is the quickest way, and
/// a name without escapes is borrowed from the token.
#[derive(Default)]
struct Names<'de>(Vec<Cow<'de, str>>);

impl<'de> Names<'de> {
    fn next<A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<Option<&str>, A::Error> {
        let Some(Text(name)) = map.next_key::<Text<'de>>()? else {
            return Ok(None);
        };
        if self.0.contains(&name) {
            return Err(de::Error::custom("a name is given twice"));
        }
        self.0.push(name);
        Ok(self.0.last().map(Cow::as_ref))
    }
}

/// A name or a text: serde borrows a `Cow` only where it is asked to.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default)]
struct Payload {
    user_id: Option<u64>,
    session: Option<SessionId>,
    user_created_at: Option<i64>,
    expires_at: Option<NumericDate>,
    issued_at: Option<NumericDate>,
    not_before: Option<NumericDate>,
    /// Whether a claim shows that the token was made for something else.
    foreign: bool,
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the claims of a token")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut payload = Payload::default();
        let mut names = Names::default();
        while let Some(name) = names.next(&mut map)? {
            match name {
                // serde_json reads `1.0`, `1e3` and what is too large as floating point, and a
                // quoted number as a string; neither is taken for an id.
                "user_id" => payload.user_id = Some(map.next_value()?),
                "user_created_at" => payload.user_created_at = Some(map.next_value()?),
                "exp" => payload.expires_at = Some(map.next_value()?),
                "iat" => payload.issued_at = Some(map.next_value()?),
                "nbf" => payload.not_before = Some(map.next_value()?),
                "sid" => {
                    let text: Text<'de> = map.next_value()?;
                    let session = SessionId::from_hex(text.0.as_bytes());
                    payload.session = Some(session.ok_or_else(|| de::Error::custom("sid is not a session"))?);
                }
                // RFC 7519 §4.1.3: a token that names an audience is refused by whoever is not it.
                "use" | "typ" | "scope" | "aud" => {
                    payload.foreign = true;
                    map.next_value::<IgnoredAny>()?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(payload)
    }
}

/// A NumericDate (RFC 7519 §2): seconds since 1970, of which there may be a fraction. What is no number, or too
/// large for a time, is an error.
#[derive(Clone, Copy)]
pub(in super::super) struct NumericDate {
    /// Rounded down.
    pub(in super::super) floor: i64,
    /// Rounded up.
    pub(in super::super) ceil: i64,
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f64(NumericDateVisitor)
    }
}

struct NumericDateVisitor;

impl Visitor<'_> for NumericDateVisitor {
    type Value = NumericDate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds since 1970")
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<NumericDate, E> {
        Ok(NumericDate { floor: seconds, ceil: seconds })
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<NumericDate, E> {
        i64::try_from(seconds).map_err(E::custom).and_then(|seconds| self.visit_i64(seconds))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<NumericDate, E> {
        // Also false for what is not a number.
        if seconds.abs() <= FRACTION_MAX {
            return Ok(NumericDate { floor: seconds.floor() as i64, ceil: seconds.ceil() as i64 });
        }
        Err(E::custom("a time beyond all calendars"))
    }
}

#[derive(Default)]
struct Header {
    is_hs256: bool,
    /// Whether a member asks for something that the server does not do.
    foreign: bool,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the header of a token")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        let mut names = Names::default();
        while let Some(name) = names.next(&mut map)? {
            match name {
                "alg" => header.is_hs256 = map.next_value::<Text<'de>>()?.0 == "HS256",
                // RFC 7515 §4.1.9 recommends upper case but has it compared without regard to case.
                "typ" => {
                    let kind: Text<'de> = map.next_value()?;
                    header.foreign |= !kind.0.eq_ignore_ascii_case("JWT");
                }
                "kid" | "crit" => {
                    header.foreign = true;
                    map.next_value::<IgnoredAny>()?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_reads_what_the_visitor_reads() {
        let session = SessionId::from_bytes(*b"0123456789abcdef");
        let created = Timestamp::from_micros(1_768_400_000_123_456);
        for user_id in [0, 1, 42, u64::from(u32::MAX), USER_ID_MAX] {
            for (user_created_at, issued_at) in
                [(Some(created), Some(1_768_400_001)), (None, Some(0)), (Some(created), None), (None, None)]
            {
                let claims =
                    Claims { user_id, session, user_created_at, expires_at: 1_768_473_000, issued_at };
                let json = to_json(&claims);
                let scanned = read_own(json.as_bytes()).unwrap();
                // A space sends the same claims through serde_json.
                let visited = read(json.replace(',', ", ").as_bytes()).unwrap();
                assert_eq!(scanned, visited);
                assert_eq!((scanned.user_id, scanned.session), (user_id, Some(session)));
                assert_eq!((scanned.user_created_at, scanned.issued_at), (user_created_at, issued_at));
            }
        }
    }

    #[test]
    fn the_scan_gives_up_on_everything_else() {
        let own =
            r#"{"user_id":7,"sid":"00112233445566778899aabbccddeeff","user_created_at":5,"iat":1,"exp":2}"#;
        assert!(read_own(own.as_bytes()).is_some());
        for (from, to) in [
            ("7", "07"),
            ("7", "-7"),
            ("7", "7.0"),
            ("7", ""),
            ("7", "\"7\""),
            ("7", "18446744073709551616"),
            ("7", "9223372036854775808"),
            ("5", "05"),
            ("5", "-5"),
            ("5", "5.5"),
            ("1", "1e9"),
            ("1", "1.5"),
            ("1", "9223372036854775808"),
            ("}", ""),
            ("}", "} "),
            ("}", "}}"),
            ("}", ",\"exp\":3}"),
            ("2}", "9223372036854775808}"),
            ("ff\"", "f\""),
            ("ff\"", "fff\""),
            ("ff\"", "fg\""),
            ("sid", "Sid"),
        ] {
            let other = own.replacen(from, to, 1);
            assert_eq!(read_own(other.as_bytes()), None, "{other}");
        }
        for length in 0..own.len() {
            assert_eq!(read_own(&own.as_bytes()[..length]), None);
            assert_eq!(read(&own.as_bytes()[..length]), Err(TokenError::Claims));
        }
    }
}
