//! Who calls, and may they? The only place where a route's access rule is applied.

use http::Method;
use http::header::{COOKIE, HeaderMap, HeaderValue};

use crate::auth::token::cache::Cache;
use crate::auth::{Auth, session};
use crate::clock::Timestamp;

use super::cors::Cors;
use super::request::{Caller, Request};
use super::route::Access;
use super::{Error, bearer};

const REQUIRED: Error = Error::unauthorized("Authentication required");
const NO_SESSION: Error = Error::unauthorized("No session found");
const FOREIGN_ORIGIN: Error = Error::forbidden("Origin not allowed");

/// Applies `access` to a request: the caller where one is told apart. `authorization` is the header of that name,
/// the first where there are several.
pub(super) fn check(
    auth: &Auth,
    tokens: &mut Cache,
    cors: &Cors,
    access: Access,
    request: &Request,
    authorization: Option<&HeaderValue>,
) -> Result<Option<Caller>, Error> {
    let (headers, now) = (&request.headers, request.at);
    match access {
        Access::Public => return Ok(None),
        Access::Client(scope) => return bearer::check(auth, scope, headers, &request.uri).map(Some),
        Access::Optional | Access::Session | Access::User => {}
    }
    let by_token = authorization.and_then(bearer_token).and_then(|token| verify(auth, tokens, token, now));
    // A token that is no good is refused as it is, except where the session itself is asked about: there
    // the page may still send the token that just ran out, next to a cookie that is good.
    let cookie_counts = || access != Access::User || authorization.is_none();
    let caller = match by_token {
        Some(caller) => Some(caller),
        None if cookie_counts() => by_cookie(auth, tokens, headers, now),
        None => None,
    };
    if caller.is_some() && by_token.is_none() && changes_state(&request.method) && !cors.trusts(headers) {
        return Err(FOREIGN_ORIGIN);
    }
    match caller {
        None if access == Access::User => Err(REQUIRED),
        None if access == Access::Session => Err(NO_SESSION),
        caller => Ok(caller),
    }
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer_token(authorization: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = authorization.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn by_cookie(auth: &Auth, tokens: &mut Cache, headers: &HeaderMap, now: Timestamp) -> Option<Caller> {
    let mut given = headers.get_all(COOKIE).iter().filter_map(|cookies| session::find(cookies.as_bytes()));
    given.find_map(|token| verify(auth, tokens, token, now))
}

fn verify(auth: &Auth, tokens: &mut Cache, token: &[u8], now: Timestamp) -> Option<Caller> {
    let claims = tokens.verify(&auth.keys, &auth.revocations, token, now).ok()?;
    Some(Caller { user_id: claims.user_id, session: claims.session, expires_at: claims.expires_at })
}

/// Methods that are not safe (RFC 9110 §9.2.1).
fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
