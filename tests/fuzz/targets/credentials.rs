//! What says who calls: tokens, cookies, the credentials of client programs.

use std::collections::HashMap;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};
use http::{Method, Uri};
use hyperdesk::auth::Auth;
use hyperdesk::auth::oauth;
use hyperdesk::auth::registrations::Registrations;
use hyperdesk::auth::session::{self, COOKIE_NAME, Revocations};
use hyperdesk::auth::token::cache::Cache;
use hyperdesk::auth::token::{Claims, Keys, SessionId, TokenError};
use hyperdesk::bookstore::marks::Marks;
use hyperdesk::clock::Timestamp;
use hyperdesk::stock::token as token_request;
use ring::hmac;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{lines, request};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Timestamp = Timestamp::from_micros(1_768_473_000_000_000);

fn keys() -> Keys {
    Keys::new(SECRET, None).unwrap()
}

/// A token of any header, signed as it should be.
fn signed(header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The members of a JSON object, as a general reader finds them. It refuses a number that it cannot hold, which is JSON all
/// the same: such a member is null here.
fn members(json: &[u8]) -> Option<HashMap<String, Value>> {
    let raw: HashMap<String, &RawValue> = serde_json::from_slice(json).ok()?;
    let value = |text: &RawValue| serde_json::from_str(text.get()).unwrap_or_default();
    Some(raw.into_iter().map(|(name, text)| (name, value(text))).collect())
}

/// A token as it comes; then, signed, with the input as its claims, or as its header and, on the next lines, its
/// claims. The quick reader of claims and the one for all JSON agree, and a general reader finds the same.
pub fn token(input: &[u8]) {
    let keys = keys();
    assert!(keys.verify(input, NOW).is_err(), "nobody knows the key");
    let payload = match input.strip_prefix(b"{\"alg") {
        None => input,
        Some(_) => {
            let (header, payload) = lines(input);
            let verified = keys.verify(signed(header, payload).as_bytes(), NOW);
            let parsed = members(header).unwrap_or_default();
            if verified != Err(TokenError::Header) && verified != Err(TokenError::TooLong) {
                assert!(std::str::from_utf8(header).is_ok());
                assert_eq!(parsed["alg"], "HS256");
                assert!(parsed.get("kid").or(parsed.get("crit")).is_none());
            }
            payload
        }
    };
    let text = keys.sign_payload(payload);
    let verified = keys.verify(text.as_bytes(), NOW);
    // A space sends the same claims to the general reader.
    let slowly = keys.verify(keys.sign_payload(&[b" ", payload].concat()).as_bytes(), NOW);
    let session = |claims: Claims| Claims { session: SessionId::from_bytes([0; 16]), ..claims };
    if !payload.is_empty() && slowly != Err(TokenError::TooLong) {
        assert_eq!(verified.map(session), slowly.map(session));
    }
    let Ok(claims) = verified else { return };
    let found = members(payload).expect("an object");
    let number = |name: &str| found.get(name).and_then(Value::as_f64);
    assert_eq!(found["user_id"].as_u64(), Some(claims.user_id));
    assert_eq!(number("exp").map(|exp| exp.floor() as i64), Some(claims.expires_at));
    assert_eq!(number("iat").map(|iat| iat.ceil() as i64), claims.issued_at);
    assert!(["use", "typ", "scope", "aud"].iter().all(|name| !found.contains_key(*name)));
    match found.get("sid").and_then(Value::as_str) {
        Some(sid) => assert!(sid.eq_ignore_ascii_case(&claims.session.to_string())),
        None => assert_ne!(claims.session, SessionId::from_bytes([0; 16])),
    }
    assert_eq!(keys.verify(keys.sign(&claims).as_bytes(), NOW), Ok(claims));
    assert!(oauth::verify(&keys, text.as_bytes(), NOW).is_err());
    let auth = Auth {
        keys,
        revocations: Revocations::new(),
        registrations: Registrations::new(),
        token_ttl_seconds: 1_000,
        production: false,
    };
    let mut cache = Cache::default();
    for _ in 0..2 {
        assert_eq!(cache.verify(&auth, text.as_bytes(), NOW, Instant::now()), Ok(claims));
    }
}

/// The claims of a client program's token; then the input's lines as its `client_id` and its secret, which come to
/// the same by HTTP Basic and in a form; then the first line as the header, the rest as the form.
pub fn access_token(input: &[u8]) {
    let keys = keys();
    let text = keys.sign_payload(input);
    if let Ok(grant) = oauth::verify(&keys, text.as_bytes(), NOW) {
        assert!(members(input).is_some());
        assert_eq!(oauth::verify(&keys, oauth::sign(&keys, &grant).as_bytes(), NOW), Ok(grant));
        assert!(keys.verify(text.as_bytes(), NOW).is_err());
    }
    let (first, rest) = lines(input);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, form);
    let uri = Uri::from_static("/oauth/token");
    if let Ok(value) = HeaderValue::from_bytes(first) {
        let mut headers = headers.clone();
        headers.insert(AUTHORIZATION, value);
        let _ = token_request::parse(&request(uri.clone(), headers, rest));
    }
    let (Ok(id), Ok(secret)) = (std::str::from_utf8(first), std::str::from_utf8(rest)) else { return };
    if id.is_empty() || secret.is_empty() {
        return;
    }
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let (id, secret) = (encode(id), encode(secret));
    let whole = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let by_form = token_request::parse(&request(uri.clone(), headers.clone(), whole.as_bytes()));
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    headers.insert(AUTHORIZATION, HeaderValue::try_from(basic).unwrap());
    let by_basic = token_request::parse(&request(uri, headers, b"grant_type=client_credentials"));
    assert!(by_form.is_ok());
    assert_eq!(by_form, by_basic);
}

/// `Cookie`: each token stands in it, and is read again from a cookie of its own.
pub fn cookie(input: &[u8]) {
    for token in session::tokens(input) {
        assert!(!token.is_empty() && !token.contains(&b';'));
        let is_plain = token.trim_ascii() == token && !token.starts_with(b"\"");
        if is_plain {
            let alone = [COOKIE_NAME.as_bytes(), b"=", token].concat();
            assert_eq!(session::tokens(&alone).collect::<Vec<_>>(), [token]);
        }
    }
    // What stands before and after it hides no cookie.
    let between = [input, b";hyperdesk_session=t; ", input].concat();
    assert_eq!(session::tokens(&between).count(), 2 * session::tokens(input).count() + 1);
    if let Ok(value) = HeaderValue::from_bytes(input) {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, value);
        let mark = Marks::default().find(7, &headers);
        assert!(mark.is_none_or(|mark| mark.user == 7));
        let request = request(Uri::from_static("/"), headers, b"");
        assert_eq!(request.method, Method::POST);
    }
}
