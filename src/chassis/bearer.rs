//! What a client program's access token opens, and the answers of RFC 6750 §3.1 where it does not.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{StatusCode, Uri};
use serde_json::json;

use crate::auth::Auth;
use crate::auth::oauth::{self, Grant};
use crate::clock::Timestamp;

use super::request::Caller;
use super::{Error, response};

/// The caller whose token reaches as far as `scope`, at the time `at`; none while it is not known whether they may come in.
pub(super) fn check(
    auth: &Auth,
    scope: Option<&'static str>,
    headers: &HeaderMap,
    uri: &Uri,
    at: Timestamp,
) -> Result<Option<Caller>, Error> {
    let token = token(headers, uri)?;
    let grant = oauth::verify(&auth.keys, token, at).map_err(|_| invalid_token())?;
    if auth.revocations.clients.contains(grant.client_id) {
        return Err(invalid_token());
    }
    if let Some(scope) = scope.filter(|scope| !grant.allows(scope)) {
        return Err(insufficient_scope(scope));
    }
    let Grant { client_id, expires_at, .. } = grant;
    if !auth.revocations.clients.looks.are_current(at) {
        auth.revocations.clients.looks.request_refresh();
        return Ok(None);
    }
    Ok(Some(Caller { user_id: client_id, session: oauth::NO_SESSION, user_created_at: None, expires_at }))
}

/// The one token of a request. A token in the URL is never looked at, because URLs are logged: it counts as
/// an unsupported method, and next to a header as a second one.
fn token<'h>(headers: &'h HeaderMap, uri: &Uri) -> Result<&'h [u8], Error> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), second) = (given.next(), given.next()) else { return Err(missing()) };
    let value = value.as_bytes();
    let scheme = value.split(|&byte| byte == b' ').next().unwrap_or(value);
    if second.is_some() || has_token_in_query(uri) {
        return Err(invalid_request());
    }
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(missing());
    }
    let token = value[scheme.len()..].trim_ascii();
    if is_b64token(token) { Ok(token) } else { Err(invalid_request()) }
}

fn has_token_in_query(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

/// RFC 6750 §2.1: what may stand after `Bearer `.
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = &token[..token.len() - padding];
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    !body.is_empty() && body.iter().all(is_allowed)
}

fn refuse(status: StatusCode, challenge: &'static str, text: &'static str) -> Error {
    let answer = response::json_text(status, text);
    let challenge = HeaderValue::from_static(challenge);
    Error::Answer(Box::new(response::with_header(answer, WWW_AUTHENTICATE, challenge)))
}

/// No credentials, or of a kind that is not taken: the challenge has no error code.
fn missing() -> Error {
    Error::unauthenticated()
}

/// Two ways to hand over a token at once, or something that cannot be one. Services say the same of a
/// token in a form's field.
#[must_use]
pub fn invalid_request() -> Error {
    refuse(
        StatusCode::BAD_REQUEST,
        r#"Bearer realm="hyperdesk", error="invalid_request""#,
        r#"{"error":"invalid_request"}"#,
    )
}

/// Expired, revoked, forged, or another kind of token: one answer for all, so that nothing is learnt from it.
fn invalid_token() -> Error {
    refuse(StatusCode::UNAUTHORIZED, INVALID_TOKEN, r#"{"error":"invalid_token"}"#)
}

const INVALID_TOKEN: &str = r#"Bearer realm="hyperdesk", error="invalid_token""#;

/// The refusal of a user's token that is not good, with the text that its route has for requests without one.
pub(super) fn wrong_token(text: &'static str) -> Error {
    let answer = response::json(StatusCode::UNAUTHORIZED, &json!({ "error": text }));
    let challenge = HeaderValue::from_static(INVALID_TOKEN);
    Error::Answer(Box::new(response::with_header(answer, WWW_AUTHENTICATE, challenge)))
}

fn insufficient_scope(scope: &'static str) -> Error {
    let answer = response::json_text(StatusCode::FORBIDDEN, r#"{"message":"Insufficient scope."}"#);
    let challenge = format!(r#"Bearer realm="hyperdesk", error="insufficient_scope", scope="{scope}""#);
    let challenge = HeaderValue::from_str(&challenge)
        .unwrap_or(HeaderValue::from_static(r#"Bearer realm="hyperdesk", error="insufficient_scope""#));
    Error::Answer(Box::new(response::with_header(answer, WWW_AUTHENTICATE, challenge)))
}
