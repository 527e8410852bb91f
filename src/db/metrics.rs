//! What the database layer counts.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry};

use crate::metrics::{self, LATENCY_BUCKETS_SECONDS};

use super::error::{ERROR_KINDS, Error};
use super::pool::Pool;

/// Handles to the database's metrics; cheap to clone.
#[derive(Clone)]
pub struct DbMetrics {
    statements: HistogramVec,
    errors: IntCounterVec,
    pool_wait: Histogram,
    heavy_wait: Histogram,
    heavy_refused: IntCounter,
    discarded: IntCounter,
    reruns: IntCounter,
    fallbacks: IntCounter,
}

impl DbMetrics {
    /// Registers these metrics, all at 0.
    ///
    /// # Errors
    /// When a name is taken: a mistake of ours.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| metrics::counter(registry, name, help);
        let histogram = |name, help| metrics::histogram(registry, name, help, &LATENCY_BUCKETS_SECONDS);
        let made = Self {
            statements: metrics::histograms(
                registry,
                "db_statement_duration_seconds",
                "Time from sending a statement to its whole answer.",
                &LATENCY_BUCKETS_SECONDS,
                "statement",
            )?,
            errors: metrics::counters(
                registry,
                "db_errors_total",
                "Failed database calls, by kind.",
                &["kind"],
            )?,
            pool_wait: histogram(
                "db_pool_wait_seconds",
                "Time spent waiting for a pooled connection, making one included.",
            )?,
            heavy_wait: histogram(
                "db_heavy_read_wait_seconds",
                "Time that reads of long lists spent waiting for a place in their share of the pool.",
            )?,
            heavy_refused: counter(
                "db_heavy_reads_refused_total",
                "Reads of long lists that found no place in their share of the pool in time.",
            )?,
            discarded: counter(
                "db_connections_discarded_total",
                "Connections that were given up because they were out of step or in a transaction.",
            )?,
            reruns: counter(
                "db_transaction_reruns_total",
                "Transactions run again after a deadlock or a lock wait.",
            )?,
            fallbacks: counter(
                "db_reader_fallbacks_total",
                "Reads meant for the reader that went to the writer.",
            )?,
        };
        for kind in ERROR_KINDS {
            // There from the start, at 0: a rate has no first value to miss.
            drop(made.errors.with_label_values(&[kind]));
        }
        Ok(made)
    }

    pub(super) fn statement(&self, name: &str, took: Duration, error: Option<&Error>) {
        self.statements.with_label_values(&[name]).observe(took.as_secs_f64());
        self.failed(error);
    }

    pub(super) fn waited(&self, took: Duration, error: Option<&Error>) {
        self.pool_wait.observe(took.as_secs_f64());
        self.failed(error);
    }

    pub(super) fn waited_heavy(&self, took: Duration, error: Option<&Error>) {
        self.heavy_wait.observe(took.as_secs_f64());
        if error.is_some() {
            self.heavy_refused.inc();
        }
        self.failed(error);
    }

    fn failed(&self, error: Option<&Error>) {
        if let Some(error) = error {
            self.errors.with_label_values(&[error.kind()]).inc();
        }
    }

    pub(super) fn discarded(&self) {
        self.discarded.inc();
    }

    pub(super) fn rerun(&self) {
        self.reruns.inc();
    }

    pub(super) fn fell_back(&self) {
        self.fallbacks.inc();
    }
}

/// Sets the gauges of one pool.
pub(super) fn set_gauges(gauges: &IntGaugeVec, name: &str, pool: &Pool) {
    let status = pool.status();
    let states = [
        ("open", status.size),
        ("idle", status.available),
        ("waiting", status.waiting),
        ("max", status.max_size),
    ];
    for (state, count) in states {
        gauges.with_label_values(&[name, state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
