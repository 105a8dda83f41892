//! What the forwarders count.

use base_rt::metrics::{Counter, Gauge, Scope};

/// Of all fronts together.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) fronts: Gauge,
    pub(super) accepted: Counter,
    pub(super) active: Gauge,
    pub(super) failed: Counter,
    pub(super) full: Counter,
    pub(super) lost: Counter,
}

impl Metrics {
    pub(super) fn new(scope: &Scope) -> Self {
        Self {
            fronts: scope.register("fronts", "Service addresses and ports that are listened at", Gauge::default()),
            accepted: scope.register("accepted", "Connections and UDP sessions begun", Counter::default()),
            active: scope.register("active", "Connections and UDP sessions that last", Gauge::default()),
            failed: scope.register("failed", "Clients that no endpoint took", Counter::default()),
            full: scope.register("full", "Clients turned away because a bound was reached", Counter::default()),
            lost: scope.register("lost", "Datagrams lost because a session was behind", Counter::default()),
        }
    }

    /// Counts one more for as long as the result lives.
    pub(super) fn begin(&self) -> Active {
        self.accepted.inc();
        self.active.inc();
        Active(self.active.clone())
    }
}

/// A connection or session that lasts.
#[derive(Debug)]
pub(super) struct Active(Gauge);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}
