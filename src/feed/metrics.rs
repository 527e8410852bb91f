//! What the feed counts. Each limit has a gauge beside it that shows how near it is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};

use crate::clock::Timestamp;
use crate::metrics;

use super::Feed;
use super::domain::Domain;

crate::metrics! {
    /// Handles to the feed's metrics.
    pub struct FeedMetrics {
        pub(super) numbered: IntCounter = "feed_events_numbered_total", "Changes numbered by this instance.";
        pub(super) sequencer_runs: IntCounter = "feed_sequencer_runs_total", "Runs of the sequencer that numbered.";
        pub(super) sequencer_contended: IntCounter = "feed_sequencer_contended_total", "Runs of the sequencer that found another had been faster.";
        pub(super) lag: Histogram = "feed_lag_seconds", "From a change's number to its being visible here.";
        pub(super) events: IntCounter = "feed_events_total", "Changes read from the feed.";
        pub(super) reads: IntCounter = "feed_tail_reads_total", "Reads of what is to be numbered.";
        pub(super) looks: IntCounter = "feed_tail_looks_total", "Looks at what is new.";
        pub(super) failures: IntCounter = "feed_failures_total", "Times the feed lost its database.";
        pub(super) resyncs: IntCounter = "feed_resyncs_total", "Times the window was thrown away and loaded anew.";
        pub(super) outbox: IntGauge = "feed_outbox", "Changes without a number, of the last read; of a look at most.";
        pub(super) clock_skew_seconds: Gauge = "feed_clock_skew_seconds", "How far the database's clock is ahead of this instance's, as the tail's last read showed it.";
        pub(super) holes: IntCounter = "feed_holes_total", "Times numbers were found that no change has; the windows then begin after them.";
        pub(super) refused_stale: IntCounter = "feed_polls_refused_total", "Polls refused because what is in memory is too old to say that nothing is new.";
        pub(super) woken: IntCounter = "feed_waiters_woken_total", "Of those, woken by changes: they look whether they have news.";
        pub(super) refused_waiters: IntCounter = "feed_waiters_refused_total", "Those refused because of the limit.";
        pub(super) refused_writes: IntCounter = "feed_writes_refused_total", "Large changes refused because more was written than can be numbered.";
        pub(super) asked_database: IntCounter = "feed_polls_from_database_total", "Polls that reached back further than memory.";
        pub(super) purged: IntCounter = "feed_runs_purged_total", "Runs removed for their age or number.";
    }
}

/// Registers the gauges that are read when they are scraped.
pub(super) fn register_gauges<D: Domain>(
    feed: &Arc<Feed<D>>,
    registry: &Registry,
) -> Result<(), prometheus::Error> {
    let gauge = |name: &str, help: &str, read: fn(&Feed<D>) -> f64| {
        let feed = Arc::downgrade(feed);
        metrics::gauge(registry, name, help, move || feed.upgrade().map_or(0.0, |feed| read(&feed)))
    };
    let about = "Bytes of large changes written here that have no number yet.";
    gauge("feed_unnumbered_bytes", about, |feed| feed.backlog.bytes() as f64)?;
    gauge("feed_waiters", "Held polls and streams.", |feed| feed.waiters.load(Relaxed) as f64)?;
    gauge("feed_position", "The last change that is visible here.", |feed| feed.position() as f64)?;
    gauge("feed_stale_seconds", "Age of what polls are answered from.", |feed| {
        let now = feed.micros_since_born(Instant::now());
        Duration::from_micros(now.saturating_sub(feed.watermark.load(Relaxed))).as_secs_f64()
    })?;
    gauge("feed_window_events", "Changes in memory.", |feed| feed.window_size().0 as f64)?;
    gauge("feed_window_bytes", "About what they take.", |feed| feed.window_size().1 as f64)?;
    let about = "Users whose positions are remembered, per event loop.";
    gauge("feed_window_users", about, |feed| feed.window_size().2 as f64)?;
    gauge("feed_window_age_seconds", "Age of the oldest of them.", |feed| {
        let now = Timestamp::now().micros();
        feed.window_size().3.map_or(0, |at| (now - at.micros()) / 1_000_000) as f64
    })
}
