//! The kinds of `autoscaling.internal.knative.dev/v1alpha1`: how many pods a revision has, and why.
//!
//! A Revision writes a [`PodAutoscaler`]; the autoscaler writes its status and a [`Metric`], which
//! says what to measure.

mod metric;
mod pod_autoscaler;

pub use metric::{Metric, MetricSpec, MetricStatus};
pub use pod_autoscaler::{
    ACTIVE, PodAutoscaler, PodAutoscalerSpec, PodAutoscalerStatus, Reachability, SCALE_TARGET_INITIALIZED, SKS_READY,
};

/// The autoscaler class that Knative's own autoscaler serves.
pub const KPA: &str = "kpa.autoscaling.knative.dev";
/// The autoscaler class that a HorizontalPodAutoscaler serves.
pub const HPA: &str = "hpa.autoscaling.knative.dev";

/// The metric: requests in flight.
pub const METRIC_CONCURRENCY: &str = "concurrency";
/// The metric: requests per second.
pub const METRIC_RPS: &str = "rps";
/// The metric of the HPA class: CPU.
pub const METRIC_CPU: &str = "cpu";
/// The metric of the HPA class: memory.
pub const METRIC_MEMORY: &str = "memory";

/// The metric a class scales on unless told otherwise.
pub fn default_metric(class: &str) -> &'static str {
    match class {
        KPA => METRIC_CONCURRENCY,
        HPA => METRIC_CPU,
        _ => "",
    }
}
