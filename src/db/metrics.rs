//! What the database layer counts.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, Opts};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry};

use crate::metrics::LATENCY_BUCKETS_SECONDS;

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
    pool_connections: IntGaugeVec,
}

impl DbMetrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// When a name is taken: a mistake of ours.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name, help| HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS_SECONDS.to_vec());
        let metrics = Self {
            statements: HistogramVec::new(
                histogram(
                    "db_statement_duration_seconds",
                    "Time from sending a statement to its whole answer.",
                ),
                &["statement"],
            )?,
            errors: IntCounterVec::new(
                Opts::new("db_errors_total", "Failed database calls, by kind."),
                &["kind"],
            )?,
            pool_wait: Histogram::with_opts(histogram(
                "db_pool_wait_seconds",
                "Time spent waiting for a pooled connection, making one included.",
            ))?,
            heavy_wait: Histogram::with_opts(histogram(
                "db_heavy_read_wait_seconds",
                "Time that reads of long lists spent waiting for a place in their share of the pool.",
            ))?,
            heavy_refused: IntCounter::new(
                "db_heavy_reads_refused_total",
                "Reads of long lists that found no place in their share of the pool in time.",
            )?,
            discarded: IntCounter::new(
                "db_connections_discarded_total",
                "Connections that were given up because they were out of step or in a transaction.",
            )?,
            reruns: IntCounter::new(
                "db_transaction_reruns_total",
                "Transactions run again after a deadlock or a lock wait.",
            )?,
            fallbacks: IntCounter::new(
                "db_reader_fallbacks_total",
                "Reads meant for the reader that went to the writer.",
            )?,
            pool_connections: IntGaugeVec::new(
                Opts::new("db_pool_connections", "Pooled connections: open, idle, waited for, and at most."),
                &["pool", "state"],
            )?,
        };
        for kind in ERROR_KINDS {
            // There from the start, at 0: a rate has no first value to miss.
            drop(metrics.errors.with_label_values(&[kind]));
        }
        registry.register(Box::new(metrics.statements.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.pool_wait.clone()))?;
        registry.register(Box::new(metrics.heavy_wait.clone()))?;
        registry.register(Box::new(metrics.heavy_refused.clone()))?;
        registry.register(Box::new(metrics.discarded.clone()))?;
        registry.register(Box::new(metrics.reruns.clone()))?;
        registry.register(Box::new(metrics.fallbacks.clone()))?;
        registry.register(Box::new(metrics.pool_connections.clone()))?;
        Ok(metrics)
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

    /// Brings the gauges up to date, before a scrape.
    pub(super) fn refresh(&self, name: &str, pool: &Pool) {
        let status = pool.status();
        let states = [
            ("open", status.size),
            ("idle", status.available),
            ("waiting", status.waiting),
            ("max", status.max_size),
        ];
        for (state, count) in states {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.pool_connections.with_label_values(&[name, state]).set(count);
        }
    }
}
