//! Who calls, and may they? The only place where a route's access rule is applied.
//!
//! A header that holds no good token does not hide a cookie that does, on any route: a proxy may have put its own
//! `Authorization` there, and a page may still send the token that just ran out. Of several tokens the first good one
//! counts, those of `Authorization` before those of cookies, because they show that the page itself wanted this.

use std::time::Instant;

use http::Method;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};

use crate::auth::token::TokenError;
use crate::auth::token::cache::Cache;
use crate::auth::{Auth, session};

use super::cors::Cors;
use super::event_loop::HEAD_BYTES_MAX;
use super::request::{Caller, Request};
use super::route::Access;
use super::{Error, bearer};

/// The shortest cookie of ours that costs a signature or two.
const COOKIE_BYTES_MIN: usize = session::COOKIE_NAME.len() + "=eyJhbGciOiJIUzI1NiJ9..;".len();
/// So many are tried in one request at most: a head has no room for more. All of them take about a millisecond, so the
/// head's limits are the only ones, and a good cookie counts behind however many stale ones.
const COOKIES_TRIED_MAX: usize = HEAD_BYTES_MAX / COOKIE_BYTES_MIN;
const _: () = assert!(COOKIES_TRIED_MAX < 1_000);

const FOREIGN_ORIGIN: Error = Error::forbidden("Origin not allowed");

/// What is found out about who calls.
#[derive(Debug)]
pub(super) enum Identity {
    /// The caller, where one is told apart; the route lets them in.
    Known(Option<Caller>),
    /// This instance's knowledge is too old to tell: [`crate::auth::freshness`].
    Unknown,
}

impl Identity {
    /// The caller, where one is known.
    pub(super) fn caller(self) -> Option<Caller> {
        match self {
            Self::Known(caller) => caller,
            Self::Unknown => None,
        }
    }
}

/// Applies `access` to a request. `authorization` is the first header of that name. Nobody is refused by what this
/// instance knew of its users before `since`.
pub(super) fn check(
    auth: &Auth,
    tokens: &mut Cache,
    cors: &Cors,
    access: Access,
    request: &Request,
    authorization: Option<&HeaderValue>,
    since: Instant,
) -> Result<Identity, Error> {
    let headers = &request.headers;
    match access {
        Access::Public => return Ok(Identity::Known(None)),
        Access::Client(scope) => {
            let caller = bearer::check(auth, scope, headers, &request.uri, request.wall_time)?;
            return Ok(caller.map_or(Identity::Unknown, |caller| Identity::Known(Some(caller))));
        }
        Access::Optional | Access::Session | Access::User => {}
    }
    let mut verify = |token: &[u8]| match tokens.verify(auth, token, request.wall_time, since) {
        Ok(claims) => Some(Identity::Known(Some(Caller {
            user_id: claims.user_id,
            session: claims.session,
            user_created_at: claims.user_created_at,
            expires_at: claims.expires_at,
        }))),
        Err(TokenError::Unknown) => Some(Identity::Unknown),
        Err(_) => None,
    };
    let by_token = authorization.and_then(|first| match bearer_token(first).and_then(&mut verify) {
        None => by_other_headers(headers, &mut verify),
        found => found,
    });
    if let Some(identity) = by_token {
        return Ok(identity);
    }
    let by_cookie = by_cookies(headers, &mut verify);
    if let Some(Identity::Known(_)) = by_cookie
        && changes_state(&request.method)
        && !cors.trusts(headers)
    {
        return Err(FOREIGN_ORIGIN);
    }
    match by_cookie {
        None if access == Access::User => Err(refusal(headers, "Authentication required")),
        None if access == Access::Session => Err(refusal(headers, "No session found")),
        identity => Ok(identity.unwrap_or(Identity::Known(None))),
    }
}

fn refusal(headers: &HeaderMap, text: &'static str) -> Error {
    let mut given = headers.get_all(AUTHORIZATION).iter().filter_map(bearer_token);
    let is_token_wrong = given.any(|token| !token.is_empty());
    if is_token_wrong { bearer::wrong_token(text) } else { Error::unauthorized(text) }
}

fn by_other_headers(headers: &HeaderMap, verify: impl FnMut(&[u8]) -> Option<Identity>) -> Option<Identity> {
    let others = headers.get_all(AUTHORIZATION).iter().skip(1);
    others.filter_map(bearer_token).find_map(verify)
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer_token(authorization: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = authorization.as_bytes().split_first_chunk::<7>()?;
    // As nearly everybody writes it, at a glance.
    let is_bearer = scheme == b"Bearer " || scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer.then(|| token.trim_ascii())
}

fn by_cookies(headers: &HeaderMap, verify: impl FnMut(&[u8]) -> Option<Identity>) -> Option<Identity> {
    let mut given = headers.get_all(COOKIE).iter().flat_map(|cookies| session::tokens(cookies.as_bytes()));
    given.find_map(verify)
}

/// Methods that are not safe (RFC 9110 §9.2.1).
fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
