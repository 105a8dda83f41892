//! The process's metrics: one registry, handed down as scopes, encoded as OpenMetrics text by the admin endpoint.
//!
//! A component has a `Metrics` struct whose `new(&Scope)` registers its counters, gauges and histograms; there are no globals. What is known
//! anyhow is not kept a second time: [`Scope::register_readings`] has it read when somebody asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// The names and values of a gauge's labels.
pub type Labels = Vec<(&'static str, String)>;

/// A family of gauges, as it is at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Its gauges.
    pub gauges: Vec<(Labels, f64)>,
}

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

    /// The same registry without the prefix: for names that are not ours to choose.
    #[must_use]
    pub fn unprefixed(&self) -> Self {
        Self { registry: Arc::clone(&self.registry), prefix: String::new() }
    }

    /// Registers families of gauges that `read` computes whenever somebody asks.
    pub fn register_readings(&self, read: impl Fn() -> Vec<Reading> + Send + Sync + 'static) {
        let reader = Reader { prefix: self.prefix.clone(), read: Box::new(read) };
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(reader));
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

struct Reader {
    prefix: String,
    read: Box<dyn Fn() -> Vec<Reading> + Send + Sync>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Reading { name, help, gauges } in (self.read)() {
            let name = format!("{}{name}", self.prefix);
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for (labels, value) in &gauges {
                ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
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

    #[test]
    fn readings_are_made_when_somebody_asks() {
        let (root, value) = (Scope::root(), Arc::new(Mutex::new(1.0)));
        let read = Arc::clone(&value);
        root.sub("ours").unprefixed().register_readings(move || {
            let gauges = vec![(vec![("name", "a\"b".to_owned())], *read.lock().unwrap())];
            vec![Reading { name: "theirs", help: "What it is.", gauges }]
        });
        assert!(root.encode().contains("theirs{name=\"a\\\"b\"} 1.0\n"), "{}", root.encode());
        *value.lock().unwrap() = 2.5;
        assert!(root.encode().contains("theirs{name=\"a\\\"b\"} 2.5\n"), "{}", root.encode());
    }
}
