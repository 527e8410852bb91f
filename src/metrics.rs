//! What the process counts, and the registry that Prometheus scrapes.
//!
//! Requests are counted per event loop and summed when scraped: a loop writes only cells of its own, so a
//! request costs a few plain stores and no contended cache line. Handles are resolved once per route, labels
//! come from the route table and from named sets, never from a client: the number of series is bounded.

mod named;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram as HistogramProto, LabelPair, Metric};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    PullingGauge, Registry, TextEncoder,
};

pub use named::Named;

/// Upper bounds of the latency buckets, in seconds: fine enough to tell 100 µs from 1 ms, wide enough for a
/// held poll of 55 s. The names of OpenTelemetry's buckets, with six finer ones below.
pub const LATENCY_BUCKETS_SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    60.0,
];
const BUCKETS: usize = LATENCY_BUCKETS_SECONDS.len();
/// The same bounds in nanoseconds, so that observing compares whole numbers.
const BUCKETS_NS: [u64; BUCKETS] = {
    let mut bounds = [0; BUCKETS];
    let mut i = 0;
    while i < BUCKETS {
        bounds[i] = (LATENCY_BUCKETS_SECONDS[i] * 1e9) as u64;
        i += 1;
    }
    bounds
};

/// Every status the server sends; one that is missing here is counted as the last.
const STATUSES: [u16; 26] = [
    200, 201, 204, 206, 304, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 414, 415, 422, 429, 431, 501,
    502, 503, 504, 505, 500,
];

/// A counter cell that one thread writes: a plain load and store, no locked instruction.
#[derive(Default)]
struct Cell(AtomicU64);

impl Cell {
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

/// What one event loop counted of one route.
struct RouteCells {
    statuses: [Cell; STATUSES.len()],
    buckets: [Cell; BUCKETS + 1],
    sum_ns: Cell,
}

impl RouteCells {
    fn new() -> Self {
        Self {
            statuses: std::array::from_fn(|_| Cell::default()),
            buckets: std::array::from_fn(|_| Cell::default()),
            sum_ns: Cell::default(),
        }
    }
}

/// What one event loop counts. Only that loop writes here.
pub struct LoopMetrics {
    routes: Box<[RouteCells]>,
    in_flight: AtomicI64,
    connections: AtomicI64,
}

impl LoopMetrics {
    /// Counts a request in until the guard is dropped, also when its client hangs up.
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
        InFlight { gauge: &self.in_flight }
    }

    /// Counts an open connection in or out. Called on the loop's own thread.
    pub fn connections_changed(&self, by: i64) {
        self.connections.store(self.connections.load(Relaxed) + by, Relaxed);
    }

    /// Open connections of this loop.
    pub fn connections(&self) -> i64 {
        self.connections.load(Relaxed)
    }

    /// Counts an answered request. `slot` is the route's place in the table given to [`HttpMetrics::new`].
    pub fn observe(&self, slot: usize, status: u16, took: Duration) {
        let Some(cells) = self.routes.get(slot) else { return };
        let at = STATUSES.iter().position(|&known| known == status).unwrap_or(STATUSES.len() - 1);
        cells.statuses[at].add(1);
        // 64 bits hold 500 years of them.
        let ns = took.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(took.subsec_nanos()));
        let bucket = BUCKETS_NS.partition_point(|&bound| bound < ns);
        cells.buckets[bucket].add(1);
        cells.sum_ns.add(ns);
    }
}

/// A request that is being answered.
pub struct InFlight<'a> {
    gauge: &'a AtomicI64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.gauge.store(self.gauge.load(Relaxed) - 1, Relaxed);
    }
}

/// The labels of one route: method and URL template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLabels {
    /// Method, or `_OTHER`.
    pub method: &'static str,
    /// URL template such as `/conversations/:id`, or `_unmatched`.
    pub route: &'static str,
}

/// All loops' counts, summed when scraped.
pub struct HttpMetrics {
    labels: Vec<RouteLabels>,
    loops: Vec<LoopMetrics>,
    descs: Vec<Desc>,
}

const HTTP_FAMILIES: [(&str, &str); 4] = [
    ("http_requests_total", "Requests answered, by route template, method and status."),
    (
        "http_request_duration_seconds",
        "Time from a request's head to its answer, by route template and method.",
    ),
    ("http_requests_in_flight", "Requests being answered."),
    ("http_connections", "Open client connections."),
];

impl HttpMetrics {
    /// Cells for `loops` event loops; a route's place in `labels` is its slot.
    ///
    /// # Panics
    /// Never: the names are constant and valid.
    #[must_use]
    pub fn new(labels: Vec<RouteLabels>, loops: usize) -> Self {
        let cells = |_| LoopMetrics {
            routes: labels.iter().map(|_| RouteCells::new()).collect(),
            in_flight: AtomicI64::new(0),
            connections: AtomicI64::new(0),
        };
        let descs = HTTP_FAMILIES
            .iter()
            .filter_map(|(name, help)| {
                Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), Default::default()).ok()
            })
            .collect();
        Self { loops: (0..loops).map(cells).collect(), labels, descs }
    }

    /// One loop's cells.
    #[must_use]
    pub fn event_loop(&self, index: usize) -> &LoopMetrics {
        &self.loops[index]
    }

    /// How many routes are counted.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.labels.len()
    }

    /// A route's URL template, by its slot.
    #[must_use]
    pub fn route(&self, slot: usize) -> &'static str {
        self.labels[slot].route
    }

    /// Open connections of all loops.
    #[must_use]
    pub fn connections(&self) -> i64 {
        self.loops.iter().map(LoopMetrics::connections).sum()
    }

    fn sum(&self, slot: usize, cell: impl Fn(&RouteCells) -> &Cell) -> u64 {
        self.loops.iter().map(|counted| cell(&counted.routes[slot]).0.load(Relaxed)).sum()
    }

    fn requests(&self) -> Vec<Metric> {
        let mut series = Vec::new();
        for (slot, labels) in self.labels.iter().enumerate() {
            for (at, status) in STATUSES.iter().enumerate() {
                let count = self.sum(slot, |cells| &cells.statuses[at]);
                if count > 0 {
                    let mut counter = Counter::default();
                    counter.set_value(count as f64);
                    let mut metric = Metric::default();
                    metric.set_label(label_pairs(labels, Some(*status)));
                    metric.set_counter(counter);
                    series.push(metric);
                }
            }
        }
        series
    }

    fn durations(&self) -> Vec<Metric> {
        let mut series = Vec::new();
        for (slot, labels) in self.labels.iter().enumerate() {
            let counts: Vec<u64> =
                (0..=BUCKETS).map(|at| self.sum(slot, |cells| &cells.buckets[at])).collect();
            let total: u64 = counts.iter().sum();
            if total == 0 {
                continue;
            }
            let mut histogram = HistogramProto::default();
            histogram.set_sample_count(total);
            histogram.set_sample_sum(self.sum(slot, |cells| &cells.sum_ns) as f64 / 1e9);
            let mut cumulative = 0;
            let bounds = LATENCY_BUCKETS_SECONDS.iter().zip(&counts);
            histogram.set_bucket(
                bounds
                    .map(|(bound, count)| {
                        cumulative += count;
                        let mut bucket = Bucket::default();
                        bucket.set_upper_bound(*bound);
                        bucket.set_cumulative_count(cumulative);
                        bucket
                    })
                    .collect(),
            );
            let mut metric = Metric::default();
            metric.set_label(label_pairs(labels, None));
            metric.set_histogram(histogram);
            series.push(metric);
        }
        series
    }

    fn gauge(&self, of: impl Fn(&LoopMetrics) -> i64) -> Vec<Metric> {
        let mut gauge = Gauge::default();
        gauge.set_value(self.loops.iter().map(of).sum::<i64>() as f64);
        let mut metric = Metric::default();
        metric.set_gauge(gauge);
        vec![metric]
    }
}

fn label_pairs(labels: &RouteLabels, status: Option<u16>) -> Vec<LabelPair> {
    let pair = |name: &str, value: &str| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    let mut pairs = vec![pair("method", labels.method), pair("route", labels.route)];
    if let Some(status) = status {
        pairs.push(pair("status", &status.to_string()));
    }
    pairs
}

/// The collector that the registry holds: the same cells.
pub struct HttpCollector(pub std::sync::Arc<HttpMetrics>);

impl Collector for HttpCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let http = &self.0;
        let series = [
            (MetricType::COUNTER, http.requests()),
            (MetricType::HISTOGRAM, http.durations()),
            (MetricType::GAUGE, http.gauge(|counted| counted.in_flight.load(Relaxed))),
            (MetricType::GAUGE, http.gauge(LoopMetrics::connections)),
        ];
        let families = HTTP_FAMILIES.iter().zip(series);
        families
            .map(|((name, help), (kind, metrics))| {
                let mut family = MetricFamily::default();
                family.set_name((*name).to_owned());
                family.set_help((*help).to_owned());
                family.set_field_type(kind);
                family.set_metric(metrics);
                family
            })
            .collect()
    }
}

/// A counter.
///
/// # Errors
/// When its name is taken: a mistake of ours. So with all that follow.
pub fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    registered(registry, IntCounter::new(name, help)?)
}

/// Counters that differ in these labels.
///
/// # Errors
/// As [`counter`].
pub fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

/// A histogram with these upper bounds.
///
/// # Errors
/// As [`counter`].
pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    registered(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
}

/// Histograms that differ in one label.
///
/// # Errors
/// As [`counter`].
pub fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
    label: &str,
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(registry, HistogramVec::new(options, &[label])?)
}

/// A gauge whose value is read when it is scraped: so nothing has to keep it up to date.
///
/// # Errors
/// As [`counter`].
pub fn gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    read: impl Fn() -> f64 + Send + Sync + 'static,
) -> Result<(), prometheus::Error> {
    registered(registry, PullingGauge::new(name, help, Box::new(read))?).map(drop)
}

/// Gauges that differ in these labels, which `read` sets when they are scraped.
///
/// # Errors
/// As [`counter`].
pub fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    read: impl Fn(&IntGaugeVec) + Send + Sync + 'static,
) -> Result<(), prometheus::Error> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(ReadWhenScraped { gauges, read }))
}

/// The collector of [`gauges`].
struct ReadWhenScraped<R> {
    gauges: IntGaugeVec,
    read: R,
}

impl<R: Fn(&IntGaugeVec) + Send + Sync> Collector for ReadWhenScraped<R> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.read)(&self.gauges);
        self.gauges.collect()
    }
}

/// The same metric, scraped with all others from now on.
///
/// # Errors
/// As [`counter`].
pub fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: M,
) -> Result<M, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// The text that a scrape gets.
///
/// # Errors
/// When a collector broke the format; its text is for the log.
pub fn render(registry: &Registry) -> Result<Vec<u8>, prometheus::Error> {
    let mut text = Vec::with_capacity(64 * 1024);
    let mut families = registry.gather();
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn requests_of_all_loops_are_summed() {
        let labels = vec![RouteLabels { method: "GET", route: "/a" }];
        let http = Arc::new(HttpMetrics::new(labels, 2));
        http.event_loop(0).observe(0, 200, Duration::from_micros(90));
        http.event_loop(1).observe(0, 200, Duration::from_micros(900));
        let held = http.event_loop(1).begin();
        let registry = Registry::new();
        registry.register(Box::new(HttpCollector(http.clone()))).unwrap();
        let text = String::from_utf8(render(&registry).unwrap()).unwrap();
        assert!(text.contains(r#"http_requests_total{method="GET",route="/a",status="200"} 2"#), "{text}");
        assert!(text.contains(r#"_bucket{method="GET",route="/a",le="0.0001"} 1"#), "{text}");
        assert!(text.contains(r#"_bucket{method="GET",route="/a",le="0.001"} 2"#), "{text}");
        assert!(text.contains("http_requests_in_flight 1"), "{text}");
        drop(held);
        assert_eq!(http.loops[1].in_flight.load(Relaxed), 0);
    }
}
