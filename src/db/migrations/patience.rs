//! How long `hyperdesk migrate` waits for a database that is away, and for whoever uses the schema.

use std::time::{Duration, Instant};

use super::super::{Db, Error};
use super::{Refusal, apply};

/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// So long a database that is away is waited for: a new one is there by then.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// So often it is tried again where the schema is in use, each time after a wait of its own.
const BUSY_ATTEMPTS_MAX: u32 = 60;

/// The same as [`apply`], tried again for a while where the database is away or the schema is in use. The log says at the
/// first failure for what it waits, and how long at most.
///
/// # Errors
/// As there; [`Refusal::Schema`] also where the database has a setting that the feed cannot work with.
pub async fn apply_patiently(db: &Db) -> Result<Vec<u32>, Refusal> {
    let (mut away_since, mut busy_attempts) = (None, 0);
    loop {
        if let Ok(Some(why)) = db.unfit().await {
            return Err(Refusal::Schema(why.to_owned()));
        }
        match apply(db).await {
            // Who is refused there, or asks for a schema that is not there, would wait for nothing.
            Err(Refusal::Database(error @ Error::Unavailable(_))) if error.advice().is_none() => {
                let waited = away_since.get_or_insert_with(Instant::now).elapsed();
                let Some(left) = AWAY_MAX.checked_sub(waited) else { return Err(error.into()) };
                let left = left.as_millis().div_ceil(1_000);
                tracing::warn!("waiting for the database, {left} s more at most: {error}");
            }
            Err(refusal @ Refusal::Busy(_)) if busy_attempts < BUSY_ATTEMPTS_MAX => {
                (away_since, busy_attempts) = (None, busy_attempts + 1);
                tracing::warn!("{refusal}: trying again, attempt {busy_attempts} of {BUSY_ATTEMPTS_MAX}");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
