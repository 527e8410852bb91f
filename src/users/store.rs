//! The SQL of who there is.

use crate::auth::registrations::Registration;
use crate::clock::Timestamp;
use crate::db::{Columns, Connection, Error, Record};

crate::statements! { "users":
    NEWEST = "newest";
    ASKED_64 = "asked_64";
    EXISTS = "exists";
}

/// Users in one `users.asked_64`.
pub const ASKED_AT_ONCE: usize = 64;

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

/// The newest users with ids below `below`, newest first.
///
/// # Errors
/// See [`Error`].
pub async fn newest(db: &mut Connection, below: u64, limit: u64) -> Result<Vec<Seen>, Error> {
    db.rows(&NEWEST, (below, limit)).await
}

/// Those of at most [`ASKED_AT_ONCE`] users that are there.
///
/// # Errors
/// See [`Error`].
pub async fn asked(db: &mut Connection, users: &[u64]) -> Result<Vec<Seen>, Error> {
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
