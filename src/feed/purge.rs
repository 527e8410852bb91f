//! Removes changes after their retention.
//!
//! One instance at a time, by a lock of the database's that goes with its connection, in steps so small that
//! no writer waits for one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::db::{Db, Error};

use super::Feed;
use super::store::Session;

/// Pause between two purges of one instance.
const EVERY_S: u64 = 60;
/// Pause between two steps of 500 rows.
const STEP_PAUSE_MS: u64 = 20;
/// Steps of one purge: more than a minute of the fastest writing.
const STEPS_MAX: usize = 1_000;

pub(super) async fn run(feed: Weak<Feed>, db: Arc<Db>) {
    loop {
        tokio::time::sleep(Duration::from_secs(EVERY_S)).await;
        let Some(feed) = feed.upgrade() else { return };
        match purge(&db, feed.settings.retention_seconds).await {
            Ok(purged) => feed.metrics.purged.inc_by(purged),
            Err(error) => tracing::warn!(%error, "old changes were not purged"),
        }
    }
}

/// Purges once, unless somebody else is at it; how many changes.
pub(super) async fn purge(db: &Db, retention_seconds: u64) -> Result<u64, Error> {
    let mut session = Session::open(db).await?;
    if !session.purge_lock().await? {
        return Ok(0);
    }
    let mut purged = 0;
    for _ in 0..STEPS_MAX {
        let events = session.purge_events(retention_seconds).await?;
        purged += events;
        if events == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(STEP_PAUSE_MS)).await;
    }
    Ok(purged)
}
