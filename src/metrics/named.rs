//! Handles to metrics without labels, declared and made by one table.

use super::LATENCY_BUCKETS_SECONDS;

/// Declares handles to metrics, and `new`, which makes and registers them.
///
/// `metrics! { struct Metrics { sold: IntCounter = "stock_sold_total", "Buyers told that they got one."; } }`
#[macro_export]
macro_rules! metrics {
    ($(#[$doc:meta])* $visible:vis struct $Name:ident {
        $($seen:vis $field:ident: $Kind:ident = $name:literal, $help:literal;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone)]
        $visible struct $Name {
            $($seen $field: $Kind,)+
        }

        impl $Name {
            /// Makes and registers them.
            ///
            /// # Errors
            /// When a name is taken: a mistake of ours.
            $visible fn new(registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
                Ok(Self {
                    $($field: $crate::metrics::registered(
                        registry,
                        <$Kind as $crate::metrics::Named>::named($name, $help)?,
                    )?,)+
                })
            }
        }
    };
}

/// A metric without labels.
pub trait Named: Sized {
    /// Makes it; what it says of itself must not be empty.
    ///
    /// # Errors
    /// For a name that is none.
    fn named(name: &str, help: &str) -> Result<Self, prometheus::Error>;
}

impl Named for prometheus::IntCounter {
    fn named(name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Named for prometheus::IntGauge {
    fn named(name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Named for prometheus::Gauge {
    fn named(name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

/// In seconds, by [`LATENCY_BUCKETS_SECONDS`].
impl Named for prometheus::Histogram {
    fn named(name: &str, help: &str) -> Result<Self, prometheus::Error> {
        let options = prometheus::HistogramOpts::new(name, help);
        Self::with_opts(options.buckets(LATENCY_BUCKETS_SECONDS.to_vec()))
    }
}
