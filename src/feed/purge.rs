//! Removes runs after their retention, or when so many changes came after them that no instance reads them any more.
//!
//! One instance at a time, by a lock of the database's that goes with its connection, in steps that no writer waits for.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::Config;
use crate::db::{Db, Dedicated, Error};

use super::Feed;
use super::domain::Domain;
use super::store;

/// Changes kept: twice what is loaded at a start, and as many as an instance that fell behind reads.
const KEPT_CHANGES: u64 = 20_000;
/// Pause between two purges of one instance.
const EVERY_S: u64 = 60;
/// Pause between two steps of 500 rows.
const STEP_PAUSE_MS: u64 = 20;
/// Steps of one purge: more than a minute of the fastest writing.
const STEPS_MAX: usize = 1_000;

pub(super) async fn run<D: Domain>(feed: Weak<Feed<D>>, db: Arc<Db>) {
    loop {
        tokio::time::sleep(Duration::from_secs(EVERY_S)).await;
        let Some(feed) = feed.upgrade() else { return };
        match purge(&db, &feed.config).await {
            Ok(purged) => feed.metrics.purged.inc_by(purged),
            Err(error) => tracing::warn!(%error, "old changes were not purged"),
        }
    }
}

/// Purges once, unless somebody else is at it; how many changes.
pub(super) async fn purge(db: &Db, config: &Config) -> Result<u64, Error> {
    // What comes before as many bytes as a window holds is of no use to one that begins.
    let kept = (KEPT_CHANGES, config.feed_window_bytes as u64);
    let mut connection = Dedicated::open(db).await?;
    if !store::purge_lock(&mut connection).await? {
        return Ok(0);
    }
    let mut purged = 0;
    for _ in 0..STEPS_MAX {
        let runs = store::purge_runs(&mut connection, config.feed_retention_seconds, kept).await?;
        purged += runs;
        if runs == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(STEP_PAUSE_MS)).await;
    }
    Ok(purged)
}
