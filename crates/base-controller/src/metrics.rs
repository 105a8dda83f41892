//! The metrics of informers and controllers. One struct per process registers the families; one per watch or controller holds its members.

use std::time::Duration;

use base_rt::metrics::{Counter, Family, Gauge, Histogram, Scope, exponential_buckets};

type Labels = Vec<(&'static str, String)>;

/// The families of all informers of a process.
#[derive(Clone, Debug)]
pub(crate) struct InformerMetrics {
    objects: Family<Labels, Gauge>,
    events: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    undecodable: Family<Labels, Counter>,
    overflow: Family<Labels, Counter>,
}

/// The metrics of one watch.
#[derive(Clone, Debug)]
pub(crate) struct WatchMetrics {
    pub(crate) objects: Gauge,
    pub(crate) events: Counter,
    pub(crate) failures: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) overflow: Counter,
}

impl InformerMetrics {
    pub(crate) fn new(scope: &Scope) -> Self {
        Self {
            objects: scope.register("objects", "Objects in the cache", Family::default()),
            events: scope.register("events", "Changes handed to subscribers", Family::default()),
            failures: scope.register("failures", "Failed lists and watches", Family::default()),
            undecodable: scope.register("undecodable", "Objects that did not decode", Family::default()),
            overflow: scope.register("overflow", "Objects left out because the cache is full", Family::default()),
        }
    }

    pub(crate) fn of(&self, watch: &str) -> WatchMetrics {
        let labels = vec![("watch", watch.to_owned())];
        WatchMetrics {
            objects: self.objects.get_or_create_owned(&labels),
            events: self.events.get_or_create_owned(&labels),
            failures: self.failures.get_or_create_owned(&labels),
            undecodable: self.undecodable.get_or_create_owned(&labels),
            overflow: self.overflow.get_or_create_owned(&labels),
        }
    }
}

/// The families of all controllers of a process.
#[derive(Clone, Debug)]
pub(crate) struct ControllerFamilies {
    depth: Family<Labels, Gauge>,
    overflow: Family<Labels, Counter>,
    waited_s: Family<Labels, Histogram, fn() -> Histogram>,
    latency_s: Family<Labels, Histogram, fn() -> Histogram>,
    outcomes: Family<Labels, Counter>,
    unseen: Family<Labels, Counter>,
}

/// The metrics of one controller.
#[derive(Clone, Debug)]
pub(crate) struct ControllerMetrics {
    pub(crate) depth: Gauge,
    pub(crate) overflow: Counter,
    pub(crate) waited_s: Histogram,
    pub(crate) latency_s: Histogram,
    pub(crate) unseen: Counter,
    outcomes: Family<Labels, Counter>,
    controller: String,
}

impl ControllerFamilies {
    pub(crate) fn new(scope: &Scope) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0001, 4.0, 10));
        Self {
            depth: scope.register("work_queue_depth", "Keys waiting", Family::default()),
            overflow: scope.register(
                "work_queue_overflow",
                "Keys not queued because the queue is full",
                Family::default(),
            ),
            waited_s: scope.register(
                "work_queue_seconds",
                "How long a key waited in the queue",
                Family::new_with_constructor(histogram),
            ),
            latency_s: scope.register(
                "reconcile_latency_seconds",
                "How long gather, plan and apply took",
                Family::new_with_constructor(histogram),
            ),
            outcomes: scope.register("reconcile_count", "Reconciles by outcome", Family::default()),
            unseen: scope.register(
                "unseen_writes",
                "Keys planned again although a cache had not seen their last write in time",
                Family::default(),
            ),
        }
    }

    pub(crate) fn of(&self, controller: &str) -> ControllerMetrics {
        let labels = vec![("controller", controller.to_owned())];
        ControllerMetrics {
            depth: self.depth.get_or_create_owned(&labels),
            overflow: self.overflow.get_or_create_owned(&labels),
            waited_s: self.waited_s.get_or_create_owned(&labels),
            latency_s: self.latency_s.get_or_create_owned(&labels),
            unseen: self.unseen.get_or_create_owned(&labels),
            outcomes: self.outcomes.clone(),
            controller: controller.to_owned(),
        }
    }
}

impl ControllerMetrics {
    pub(crate) fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.latency_s.observe(took.as_secs_f64());
        self.outcomes
            .get_or_create(&vec![("controller", self.controller.clone()), ("outcome", outcome.to_owned())])
            .inc();
    }
}
