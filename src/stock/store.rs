//! The stock's SQL: one function for each statement, one statement for each file in `sql/stock/`.

use crate::db::{Connection, Error};

use super::model::Client;

crate::statements! { "stock":
    QUANTITY = "quantity";
    QUANTITY_SET = "quantity_set";
    QUANTITY_TAKE = "quantity_take";
    CLIENT_INSERT = "client_insert";
    CLIENT_BY_ID = "client_by_id";
    CLIENT_LIST = "client_list";
    CLIENT_REVOKE = "client_revoke";
    CLIENT_REVOKED = "client_revoked";
}

type Outcome<T> = Result<T, Error>;

/// What checking a client's credentials takes.
pub struct Credentials {
    /// SHA-256 of the secret.
    pub secret_hash: Vec<u8>,
    /// What it may ask for, separated by spaces.
    pub scope: String,
    /// Whether it is no client any more.
    pub is_revoked: bool,
}

crate::records! {
    Credentials { secret_hash, scope, is_revoked }
    Client { id, name, scope, created_at, revoked_at }
}

/// How much there is; 0 when it was never set.
pub async fn quantity(db: &mut Connection) -> Outcome<u64> {
    Ok(db.first::<u64>(&QUANTITY, ()).await?.unwrap_or_default())
}

/// Sets how much there is.
pub async fn quantity_set(db: &mut Connection, quantity: u64) -> Outcome<()> {
    db.run(&QUANTITY_SET, (quantity, quantity)).await.map(drop)
}

/// Takes as much as there is of `wanted`; how much that was.
///
/// One statement, one round trip, committed by itself: the row is locked no longer than the server works on
/// it. What was taken comes back with the statement's own answer, because `LAST_INSERT_ID(n)` makes `n` the
/// id that it reports (a documented use in both MySQL and MariaDB).
pub async fn quantity_take(db: &mut Connection, wanted: u64) -> Outcome<u64> {
    let done = db.run(&QUANTITY_TAKE, (wanted,)).await?;
    // No row changed means that nothing was left; the id is then none of ours.
    Ok(if done.affected == 0 { 0 } else { done.last_id.min(wanted) })
}

/// Makes a client; its id.
pub async fn client_insert(
    db: &mut Connection,
    name: &str,
    secret_hash: &[u8; 32],
    scope: &str,
) -> Outcome<u64> {
    Ok(db.run(&CLIENT_INSERT, (name, secret_hash.as_slice(), scope)).await?.last_id)
}

/// One client's credentials, also after it was revoked.
pub async fn client_by_id(db: &mut Connection, id: u64) -> Outcome<Option<Credentials>> {
    db.first(&CLIENT_BY_ID, (id,)).await
}

/// All clients.
pub async fn client_list(db: &mut Connection) -> Outcome<Vec<Client>> {
    db.rows(&CLIENT_LIST, ()).await
}

/// Revokes a client, once.
pub async fn client_revoke(db: &mut Connection, id: u64) -> Outcome<()> {
    db.run(&CLIENT_REVOKE, (id,)).await.map(drop)
}

/// The clients revoked in the last `seconds`.
pub async fn client_revoked(db: &mut Connection, seconds: u32) -> Outcome<Vec<u64>> {
    db.rows(&CLIENT_REVOKED, (seconds,)).await
}
