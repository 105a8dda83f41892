//! The server's metrics, by kube-apiserver's names where it has them.

use std::time::Duration;

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

/// A webhook, and whether it is asked to change (`admit`) or to look (`validating`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HookLabels {
    pub(crate) name: String,
    pub(crate) r#type: &'static str,
}

impl HookLabels {
    pub(crate) fn of(name: &str, kind: &'static str) -> Self {
        Self { name: name.to_owned(), r#type: kind }
    }
}

/// A call to a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HookCallLabels {
    pub(crate) name: String,
    pub(crate) r#type: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) rejected: &'static str,
}

/// A call to a webhook with its code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HookAnswerLabels {
    pub(crate) name: String,
    pub(crate) r#type: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) code: u16,
    pub(crate) rejected: &'static str,
}

/// A write that was refused because of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HookRejectionLabels {
    pub(crate) name: String,
    pub(crate) r#type: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) error_type: &'static str,
    pub(crate) rejection_code: u16,
}

/// A conversion by a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ConversionLabels {
    pub(crate) crd_name: String,
    pub(crate) from_version: String,
    pub(crate) to_version: String,
    pub(crate) succeeded: &'static str,
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
    pub(crate) hook_s: Family<HookCallLabels, Histogram, fn() -> Histogram>,
    pub(crate) hook_requests: Family<HookAnswerLabels, Counter>,
    /// A gauge by its type only: names of counters end otherwise than Kubernetes' name does.
    pub(crate) hook_rejections: Family<HookRejectionLabels, Gauge>,
    /// The same.
    pub(crate) hook_fail_open: Family<HookLabels, Gauge>,
    pub(crate) conversion_s: Family<ConversionLabels, Histogram, fn() -> Histogram>,
    pub(crate) audit_events: Counter,
    pub(crate) audit_errors: Counter,
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
            hook_s: scope.register(
                "admission_webhook_admission_duration_seconds",
                "Time until a webhook's answer",
                Family::new_with_constructor(duration),
            ),
            hook_requests: scope.register("admission_webhook_request", "Calls to webhooks", Family::default()),
            hook_rejections: scope.register(
                "admission_webhook_rejection_count",
                "Writes refused because of a webhook",
                Family::default(),
            ),
            hook_fail_open: scope.register(
                "admission_webhook_fail_open_count",
                "Webhooks that did not answer and did not have to",
                Family::default(),
            ),
            conversion_s: scope.register(
                "crd_conversion_webhook_duration_seconds",
                "Time of a conversion by a webhook",
                Family::new_with_constructor(duration),
            ),
            audit_events: scope.register("audit_event", "Events for the audit log", Counter::default()),
            audit_errors: scope.register("audit_error", "Events that are not in the audit log", Counter::default()),
            panics: scope.register("request_panics", "Requests that ended in a panic", Counter::default()),
            connections: scope.register("open_connections", "Open client connections", Gauge::default()),
            connections_refused: scope.register(
                "refused_connections",
                "Connections closed because too many were open",
                Counter::default(),
            ),
        }
    }

    /// Counts a call to a webhook, by what came of it.
    pub(crate) fn observe_hook(&self, labels: HookAnswerLabels, time: Duration) {
        let HookAnswerLabels { name, r#type, operation, rejected, .. } = labels.clone();
        let call = HookCallLabels { name, r#type, operation, rejected };
        self.hook_s.get_or_create(&call).observe(time.as_secs_f64());
        self.hook_requests.get_or_create(&labels).inc();
    }
}
