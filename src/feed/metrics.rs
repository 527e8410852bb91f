//! What the feed counts. Each limit has a gauge beside it that shows how near it is.

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};

use crate::metrics::{self, LATENCY_BUCKETS_SECONDS};

/// Handles to the feed's metrics.
#[derive(Clone)]
pub struct FeedMetrics {
    numbered: IntCounter,
    sequencer_runs: IntCounter,
    sequencer_contended: IntCounter,
    lag: Histogram,
    pub(super) stale_seconds: Gauge,
    pub(super) events: IntCounter,
    pub(super) reads: IntCounter,
    pub(super) looks: IntCounter,
    pub(super) failures: IntCounter,
    pub(super) resyncs: IntCounter,
    pub(super) outbox: IntGauge,
    pub(super) position: IntGauge,
    pub(super) window_events: IntGauge,
    pub(super) window_bytes: IntGauge,
    pub(super) window_age_seconds: IntGauge,
    pub(super) window_users: IntGauge,
    pub(super) clock_skew_seconds: Gauge,
    pub(super) holes: IntCounter,
    pub(super) refused_stale: IntCounter,
    pub(super) waiters: IntGauge,
    pub(super) woken: IntCounter,
    pub(super) refused_waiters: IntCounter,
    pub(super) asked_database: IntCounter,
    pub(super) purged: IntCounter,
}

impl FeedMetrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// When a name is taken: a mistake of ours.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| metrics::counter(registry, name, help);
        let gauge = |name, help| metrics::registered(registry, IntGauge::new(name, help)?);
        let float = |name, help| metrics::registered(registry, Gauge::new(name, help)?);
        Ok(Self {
            numbered: counter("feed_events_numbered_total", "Changes numbered by this instance.")?,
            sequencer_runs: counter("feed_sequencer_runs_total", "Runs of the sequencer that numbered.")?,
            sequencer_contended: counter(
                "feed_sequencer_contended_total",
                "Runs of the sequencer that found another had been faster.",
            )?,
            lag: metrics::histogram(
                registry,
                "feed_lag_seconds",
                "From a change's number to its being visible here.",
                &LATENCY_BUCKETS_SECONDS,
            )?,
            stale_seconds: float("feed_stale_seconds", "Age of what polls are answered from.")?,
            events: counter("feed_events_total", "Changes read from the feed.")?,
            reads: counter("feed_tail_reads_total", "Reads of what is to be numbered.")?,
            looks: counter("feed_tail_looks_total", "Looks at what is new.")?,
            failures: counter("feed_failures_total", "Times the feed lost its database.")?,
            resyncs: counter("feed_resyncs_total", "Times the window was thrown away and loaded anew.")?,
            outbox: gauge("feed_outbox", "Changes without a number, of the last read; of a look at most.")?,
            position: gauge("feed_position", "The last change that is visible here.")?,
            window_events: gauge("feed_window_events", "Changes in memory.")?,
            window_bytes: gauge("feed_window_bytes", "About what they take.")?,
            window_age_seconds: gauge("feed_window_age_seconds", "Age of the oldest of them.")?,
            window_users: gauge(
                "feed_window_users",
                "Users whose positions are remembered, per event loop.",
            )?,
            clock_skew_seconds: float(
                "feed_clock_skew_seconds",
                "How far the database's clock is ahead of this instance's, as the tail's last read showed it.",
            )?,
            holes: counter(
                "feed_holes_total",
                "Times numbers were found that no change has; the windows then begin after them.",
            )?,
            refused_stale: counter(
                "feed_polls_refused_total",
                "Polls refused because what is in memory is too old to say that nothing is new.",
            )?,
            waiters: gauge("feed_waiters", "Held polls and streams.")?,
            woken: counter(
                "feed_waiters_woken_total",
                "Of those, woken by changes: they look whether they have news.",
            )?,
            refused_waiters: counter("feed_waiters_refused_total", "Those refused because of the limit.")?,
            asked_database: counter(
                "feed_polls_from_database_total",
                "Polls that reached back further than memory.",
            )?,
            purged: counter("feed_runs_purged_total", "Runs removed for their age or number.")?,
        })
    }

    pub(super) fn sequenced(&self, numbered: u64) {
        self.sequencer_runs.inc();
        self.numbered.inc_by(numbered);
    }

    pub(super) fn sequencer_contended(&self) {
        self.sequencer_contended.inc();
    }

    pub(super) fn skewed(&self, micros: i64) {
        self.clock_skew_seconds.set(micros as f64 / 1e6);
    }

    pub(super) fn lagged(&self, micros: i64) {
        self.lag.observe(micros.max(0) as f64 / 1e6);
    }
}
