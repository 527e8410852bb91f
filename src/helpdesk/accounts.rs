//! Registering, signing in and out. Hashes are made and checked off the event loops, within their own queue.

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderValue, SET_COOKIE};
use serde_json::json;

use crate::auth::password::{self, Verdict};
use crate::auth::registrations::Registration;
use crate::auth::session::{COOKIE_NAME, set_cookie};
use crate::auth::token::{Claims, SessionId};
use crate::chassis::request::Caller;
use crate::chassis::{Error, Response, response};
use crate::clock::Timestamp;
use crate::db::{self, Connection};
use crate::fair::Network;
use crate::{transaction, users};

use super::model::{Credentials, User};
use super::{Helpdesk, store};

/// The one answer to a wrong name and to a wrong password.
const WRONG: Error = Error::unauthorized("Invalid username or password");
const NO_SESSION: Error = Error::unauthorized("No session found");
/// A sign-out is remembered this much longer than any token of the session can live: clocks differ.
const REMEMBERED_EXTRA_S: i64 = 300;

impl From<password::Error> for Error {
    fn from(error: password::Error) -> Self {
        match error {
            password::Error::Busy => Self::busy("the queue of passwords to hash"),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Makes an account and its expert profile, and signs it in. `client` is whence it asks.
pub async fn register(
    desk: Arc<Helpdesk>,
    credentials: Credentials,
    client: Network,
) -> Result<Response, Error> {
    let mistakes = credentials.mistakes();
    if !mistakes.is_empty() {
        return Err(Error::Invalid(mistakes));
    }
    let attempt = desk.attempts.registration(client).await.map_err(Error::TooMany)?;
    let made = make(&desk, credentials, client).await;
    if let Err(Error::Busy(_) | Error::Database(_) | Error::Internal(_)) = &made {
        attempt.forgive();
    }
    made
}

async fn make(desk: &Helpdesk, credentials: Credentials, client: Network) -> Result<Response, Error> {
    let name = credentials.username.as_str();
    if desk.names.credentials(&mut desk.db.writer().await?, name).await?.is_some() {
        return Err(Error::invalid(TAKEN));
    }
    let digest = desk.hasher.permit(client).await?.hash(credentials.password).await?;
    let made = transaction!(desk.db, db => {
        let id = store::user_insert(db, name, &digest, desk.names.key(name)).await?;
        store::profile_insert(db, id).await?;
        store::user_by_id(db, id).await
    });
    match made {
        Ok(Some(user)) => {
            let (user_id, created_at) = (user.id, user.created_at);
            desk.auth.registrations.add(Registration { user_id, created_at });
            desk.profiles.note(user_id, true);
            signed_in(desk, StatusCode::CREATED, &user, None)
        }
        Ok(None) => Err(Error::Internal("a new user is not there".to_owned())),
        // Somebody else took the name while the password was hashed.
        Err(db::Error::Duplicate(_)) => Err(Error::invalid(TAKEN)),
        Err(error) => Err(error.into()),
    }
}

const TAKEN: &str = "Username has already been taken";

/// Signs an account in. A wrong name takes the time of a wrong password and gets its answer. `client` is whence the
/// client asks.
pub async fn login(
    desk: Arc<Helpdesk>,
    credentials: Credentials,
    client: Network,
) -> Result<Response, Error> {
    if !credentials.are_possible() {
        desk.metrics.sign_ins_failed.inc();
        return Err(WRONG);
    }
    let name = credentials.username.as_str();
    let counted = desk.names.counted(name);
    desk.attempts.may_sign_in(&counted, client).map_err(Error::TooMany)?;
    let known = desk.names.credentials(&mut desk.db.writer().await?, name).await?;
    let stored = known.as_ref().map(|(_, digest)| digest.clone());
    let permit = desk.hasher.permit(client).await?;
    // Counted only now: of many who wait here behind one address, those who are right are no guessers.
    let attempt = desk.attempts.sign_in(&counted, client).await.map_err(Error::TooMany)?;
    let verdict = match permit.verify(credentials.password.clone(), stored).await {
        Ok(verdict) => verdict,
        Err(password::Error::Stored(why)) => {
            tracing::error!(
                user_id = known.as_ref().map(|(id, _)| id),
                why,
                "a stored password hash is unusable"
            );
            Verdict::Wrong
        }
        Err(error) => {
            attempt.forgive();
            return Err(error.into());
        }
    };
    let (Some((id, digest)), true) = (known, verdict != Verdict::Wrong) else {
        desk.metrics.sign_ins_failed.inc();
        return Err(WRONG);
    };
    attempt.forgive();
    // The old hash is good until the next sign-in: nobody is kept out because hashing is busy.
    let rehashed = match verdict {
        Verdict::RightButRehash if desk.rehash => rehash(&desk, credentials.password, client).await,
        _ => None,
    };
    let mut db = desk.db.writer().await?;
    if let Some(rehashed) = rehashed {
        store::user_rehash(&mut db, id, &rehashed, &digest).await?;
    }
    store::user_signed_in(&mut db, id).await?;
    let user = store::user_by_id(&mut db, id).await?.ok_or(WRONG)?;
    signed_in(&desk, StatusCode::OK, &user, None)
}

async fn rehash(desk: &Helpdesk, password: String, client: Network) -> Option<String> {
    desk.hasher.permit(client).await.ok()?.hash(password).await.ok()
}

/// Ends the caller's session: its tokens stop working here now, elsewhere with the next look (`users`).
pub async fn logout(desk: Arc<Helpdesk>, caller: Option<Caller>) -> Result<Response, Error> {
    if let Some(caller) = caller {
        let ttl = i64::try_from(desk.auth.token_ttl_seconds).unwrap_or(i64::MAX);
        // A token made a moment ago on another instance lives a whole lifetime from now.
        let until = Timestamp::now().unix_seconds().max(caller.expires_at - ttl).saturating_add(ttl);
        let until = until.saturating_add(REMEMBERED_EXTRA_S);
        let expires_at = Timestamp::from_micros(until.saturating_mul(1_000_000));
        transaction!(desk.db, db => { users::sign_out(db, caller.session, expires_at).await })?;
        if desk.auth.revocations.revoke(caller.session, until).is_err() {
            return Err(Error::busy("the memory of signed-out sessions"));
        }
    }
    let done = response::ok(&json!({ "message": "Logged out successfully" }));
    Ok(with_cookie(done, &set_cookie(COOKIE_NAME, "", 0, desk.auth.production)))
}

/// A new token of the same session.
pub async fn refresh(desk: Arc<Helpdesk>, caller: Caller) -> Result<Response, Error> {
    let mut db = desk.db.writer().await?;
    // Asked of the database, because this instance may not have heard of a sign-out yet and the new token
    // would outlive what is remembered of it.
    if users::is_signed_out(&mut db, caller.session).await? {
        return Err(NO_SESSION);
    }
    let user = own_row(&mut db, &caller).await?;
    signed_in(&desk, StatusCode::OK, &user, Some(caller.session))
}

/// Who is signed in.
pub async fn me(desk: Arc<Helpdesk>, caller: Caller) -> Result<Response, Error> {
    let user = own_row(&mut desk.db.writer().await?, &caller).await?;
    Ok(response::no_store(response::ok(&user)))
}

/// The row of the user that the caller's token was made for, and not that of another one who has the id now.
async fn own_row(db: &mut Connection, caller: &Caller) -> Result<User, Error> {
    let user = store::user_by_id(db, caller.user_id).await?.ok_or(NO_SESSION)?;
    match caller.user_created_at {
        Some(created_at) if created_at != user.created_at => Err(NO_SESSION),
        _ => Ok(user),
    }
}

/// The answer to a sign-in: the user, a token, and the cookie that carries the same token.
fn signed_in(
    desk: &Helpdesk,
    status: StatusCode,
    user: &User,
    session: Option<SessionId>,
) -> Result<Response, Error> {
    let session = match session {
        Some(session) => session,
        None => SessionId::random().map_err(|error| Error::Internal(error.to_string()))?,
    };
    let ttl = desk.auth.token_ttl_seconds;
    let issued_at = Timestamp::now().unix_seconds();
    let expires_at = issued_at.saturating_add_unsigned(ttl);
    let token = desk.auth.keys.sign(&Claims {
        user_id: user.id,
        session,
        user_created_at: Some(user.created_at),
        expires_at,
        issued_at: Some(issued_at),
    });
    let answer = response::no_store(response::json(status, &json!({ "user": user, "token": token })));
    Ok(with_cookie(answer, &set_cookie(COOKIE_NAME, &token, ttl, desk.auth.production)))
}

fn with_cookie(response: Response, cookie: &str) -> Response {
    match HeaderValue::from_str(cookie) {
        Ok(cookie) => response::with_header(response, SET_COOKIE, cookie),
        Err(_) => response,
    }
}
