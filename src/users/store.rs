//! The SQL of who there is, and of who was signed out.

use crate::auth::registrations::Registration;
use crate::auth::token::SessionId;
use crate::clock::Timestamp;
use crate::db::{Columns, Connection, Dedicated, Error, Record};

crate::statements! { "users":
    NEWEST = "newest";
    ASKED_64 = "asked_64";
    EXISTS = "exists";
    SIGN_OUT = "sign_out";
    IS_SIGNED_OUT = "is_signed_out";
    SIGNED_OUT = "signed_out";
    SIGNED_OUT_SINCE = "signed_out_since";
    PURGE_SIGNED_OUT = "purge_signed_out";
}

/// Users in one `users.asked_64`.
pub const ASKED_AT_ONCE: usize = 64;
/// Sessions in one `users.signed_out`, and in one `users.signed_out_since`: their LIMIT.
pub const SESSIONS_AT_ONCE: usize = 10_000;

/// A user, and the database's time when they were read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Who.
    pub user: Registration,
    /// By the database's clock.
    pub now: Timestamp,
}

impl Record for Seen {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let user_id = columns.take()?;
        let created_at = Timestamp::from_micros(columns.take()?);
        Ok(Self { user: Registration { user_id, created_at }, now: columns.take()? })
    }
}

/// A session that was signed out.
#[derive(Clone, Copy, Debug)]
pub struct SignedOut {
    /// Which.
    pub session: SessionId,
    /// When its last token will have expired.
    pub until: Timestamp,
}

impl Record for SignedOut {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let sid: Vec<u8> = columns.take()?;
        let sid = sid.try_into().map_err(|_| Error::Internal("a session has another length".to_owned()))?;
        Ok(Self { session: SessionId::from_bytes(sid), until: columns.take()? })
    }
}

/// The database's time, and beside it a session that was signed out, if there is one.
struct Late(Timestamp, bool, Option<SignedOut>);

impl Record for Late {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let (now, is_read_only) = (columns.take()?, columns.take()?);
        let session = if columns.next_is_null() { None } else { Some(SignedOut::read(columns)?) };
        Ok(Self(now, is_read_only, session))
    }
}

/// The newest users with ids below `below`, newest first.
///
/// # Errors
/// See [`Error`].
pub async fn newest(db: &mut Dedicated, below: u64, limit: u64) -> Result<Vec<Seen>, Error> {
    db.rows(&NEWEST, (below, limit)).await
}

/// Those of at most [`ASKED_AT_ONCE`] users that are there.
///
/// # Errors
/// See [`Error`].
pub async fn asked(db: &mut Dedicated, users: &[u64]) -> Result<Vec<Seen>, Error> {
    let last = users.last().copied().unwrap_or(0);
    let padded: Vec<u64> = users.iter().copied().chain(std::iter::repeat(last)).take(ASKED_AT_ONCE).collect();
    db.rows(&ASKED_64, padded).await
}

/// Whether there is a user, as of this transaction.
///
/// # Errors
/// See [`Error`].
pub async fn exists(db: &mut Connection, user: u64) -> Result<bool, Error> {
    Ok(db.first::<u64>(&EXISTS, (user,)).await?.is_some())
}

/// Signs a session out, to be remembered until `until`.
///
/// # Errors
/// See [`Error`].
pub async fn sign_out(db: &mut Connection, session: SessionId, until: Timestamp) -> Result<(), Error> {
    db.run(&SIGN_OUT, (session.as_bytes().as_slice(), until, until)).await.map(drop)
}

/// Whether a session was signed out.
///
/// # Errors
/// See [`Error`].
pub async fn is_signed_out(db: &mut Connection, session: SessionId) -> Result<bool, Error> {
    Ok(db.first::<u64>(&IS_SIGNED_OUT, (session.as_bytes().as_slice(),)).await?.is_some())
}

/// The sessions that were signed out, in the order of their ids, at most [`SESSIONS_AT_ONCE`] after `after`.
///
/// # Errors
/// See [`Error`].
pub async fn signed_out(db: &mut Dedicated, after: SessionId) -> Result<Vec<SignedOut>, Error> {
    db.rows(&SIGNED_OUT, (after.as_bytes().as_slice(),)).await
}

/// The database's time, and the sessions that were signed out after `since`, at most [`SESSIONS_AT_ONCE`] of them.
///
/// # Errors
/// See [`Error`].
pub async fn signed_out_since(
    db: &mut Dedicated,
    since: Timestamp,
) -> Result<(Timestamp, Vec<SignedOut>), Error> {
    let late: Vec<Late> = db.rows(&SIGNED_OUT_SINCE, (since,)).await?;
    let &Late(now, is_read_only, _) = late.first().ok_or_else(|| Error::Internal("no row".to_owned()))?;
    db.still_writes(is_read_only)?;
    Ok((now, late.into_iter().filter_map(|late| late.2).collect()))
}

/// Removes some sign-outs whose tokens have all expired; how many.
///
/// # Errors
/// See [`Error`].
pub async fn purge_signed_out(db: &mut Connection) -> Result<u64, Error> {
    Ok(db.run(&PURGE_SIGNED_OUT, ()).await?.affected)
}
