//! The store's metrics.

use base_rt::metrics::{Counter, Gauge, Histogram, Scope, exponential_buckets};

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) writes: Counter,
    pub(super) batch_size: Histogram,
    pub(super) history_bytes: Gauge,
    pub(super) watchers: Gauge,
    pub(super) watchers_expired: Counter,
}

impl Metrics {
    pub(super) fn new(scope: &Scope) -> Self {
        let scope = scope.sub("apiserver_storage");
        Self {
            writes: scope.register("writes", "Accepted writes", Counter::default()),
            batch_size: scope.register(
                "batch_size",
                "Writes made durable together",
                Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            ),
            history_bytes: scope.register("history_bytes", "Bytes of object bodies kept for watches", Gauge::default()),
            watchers: scope.register("watchers", "Open watches", Gauge::default()),
            watchers_expired: scope.register(
                "watchers_expired",
                "Watches ended because they fell behind the history's bound",
                Counter::default(),
            ),
        }
    }
}
