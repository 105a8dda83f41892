//! The server's metrics, by kube-apiserver's names where it has them.

use base_rt::metrics::{Counter, Family, Gauge, Histogram, Scope, exponential_buckets};
use prometheus_client::encoding::EncodeLabelSet;

/// What a request was, for counting; no names of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
}

/// A request with its answer's code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AnswerLabels {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) code: u16,
}

/// Which of the two bounds on requests in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct InflightLabels {
    pub(crate) request_kind: &'static str,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResourceLabels {
    pub(crate) group: String,
    pub(crate) resource: String,
}

/// The server's metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<AnswerLabels, Counter>,
    pub(crate) duration_s: Family<RequestLabels, Histogram, fn() -> Histogram>,
    pub(crate) inflight: Family<InflightLabels, Gauge>,
    pub(crate) rejected: Family<InflightLabels, Counter>,
    pub(crate) longrunning: Gauge,
    pub(crate) watch_events: Family<ResourceLabels, Counter>,
    pub(crate) panics: Counter,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
}

fn duration() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 14))
}

impl Metrics {
    pub(crate) fn new(scope: &Scope) -> Self {
        let scope = scope.sub("apiserver");
        let duration: fn() -> Histogram = duration;
        Self {
            requests: scope.register("request", "Answered requests", Family::default()),
            duration_s: scope.register(
                "request_duration_seconds",
                "Time until the answer's head",
                Family::new_with_constructor(duration),
            ),
            inflight: scope.register("current_inflight_requests", "Requests under way", Family::default()),
            rejected: scope.register(
                "rejected_requests",
                "Requests refused because too many were under way",
                Family::default(),
            ),
            longrunning: scope.register("longrunning_requests", "Watches and followed logs", Gauge::default()),
            watch_events: scope.register("watch_events", "Events sent to watches", Family::default()),
            panics: scope.register("request_panics", "Requests that ended in a panic", Counter::default()),
            connections: scope.register("open_connections", "Open client connections", Gauge::default()),
            connections_refused: scope.register(
                "refused_connections",
                "Connections closed because too many were open",
                Counter::default(),
            ),
        }
    }
}
