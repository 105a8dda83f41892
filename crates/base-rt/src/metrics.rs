//! The process's metrics: one registry, handed down as scopes, encoded as OpenMetrics text by the admin endpoint.
//!
//! A component has a `Metrics` struct whose `new(&Scope)` registers its counters, gauges and histograms; there are no globals.

use std::sync::{Arc, Mutex, PoisonError};

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// The registry of a process, or a part of it under a prefix. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    registry: Arc<Mutex<Registry>>,
    prefix: String,
}

impl Scope {
    /// A new, empty registry without a prefix.
    pub fn root() -> Self {
        Self::default()
    }

    /// The same registry, with `name_` before every name registered through the result.
    pub fn sub(&self, name: &str) -> Self {
        Self { registry: Arc::clone(&self.registry), prefix: format!("{}{name}_", self.prefix) }
    }

    /// Registers `metric` and gives it back, for use in a struct's initialiser. Counters get the suffix `_total` when encoded.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(format!("{}{name}", self.prefix), help, metric.clone());
        metric
    }

    /// All metrics as OpenMetrics text (`application/openmetrics-text; version=1.0.0; charset=utf-8`).
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_counter_is_encoded_with_its_prefix() {
        let root = Scope::root();
        let writes: Counter = root.sub("store").register("writes", "Committed writes", Counter::default());
        writes.inc();
        assert!(root.encode().contains("store_writes_total 1"));
    }
}
