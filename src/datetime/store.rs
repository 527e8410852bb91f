//! The SQL of date and time: one function for each statement, one statement for each file in `sql/datetime/`.

use crate::clock::Timestamp;
use crate::db::{Connection, Error};

crate::statements! { "datetime":
    DATE_TIME_INSERT = "date_time_insert";
    DATE_TIME_LATEST = "date_time_latest";
    DATE_TIME_PURGE = "date_time_purge";
}

/// Stores a moment; its id.
pub async fn date_time_insert(db: &mut Connection, at: Timestamp) -> Result<u64, Error> {
    Ok(db.run(&DATE_TIME_INSERT, (at,)).await?.last_id)
}

/// The moment stored last.
pub async fn date_time_latest(db: &mut Connection) -> Result<Option<Timestamp>, Error> {
    db.first(&DATE_TIME_LATEST, ()).await
}

/// Forgets the oldest moments up to the id `last`, at most `count` of them.
pub async fn date_time_purge(db: &mut Connection, last: u64, count: u64) -> Result<(), Error> {
    db.run(&DATE_TIME_PURGE, (last, count)).await.map(drop)
}
