//! The annotations that steer a revision's scale, read once into types.
//!
//! [`autoscaling`] reads what can be read (what cannot counts as absent, as in Knative);
//! [`validate_autoscaling`] says what is wrong, in Knative's words. Numbers that are no numbers
//! (`NaN`, `Inf`) are refused, which Knative forgets (knative/serving formulas then yield NaN).

#[cfg(test)]
mod tests;
mod validation;

pub use validation::validate_autoscaling;

use crate::duration;
use crate::meta::KeyPriority;
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// Which autoscaler.
pub const CLASS: KeyPriority = KeyPriority(&["autoscaling.knative.dev/class"]);
/// The least pods.
pub const MIN_SCALE: KeyPriority =
    KeyPriority(&["autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"]);
/// The most pods.
pub const MAX_SCALE: KeyPriority =
    KeyPriority(&["autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/maxScale"]);
/// The pods a revision must have had once to be ready.
pub const INITIAL_SCALE: KeyPriority =
    KeyPriority(&["autoscaling.knative.dev/initial-scale", "autoscaling.knative.dev/initialScale"]);
/// The pods a revision has when it leaves zero.
pub const ACTIVATION_SCALE: KeyPriority = KeyPriority(&["autoscaling.knative.dev/activation-scale"]);
/// How long a smaller scale must last before it is applied.
pub const SCALE_DOWN_DELAY: KeyPriority =
    KeyPriority(&["autoscaling.knative.dev/scale-down-delay", "autoscaling.knative.dev/scaleDownDelay"]);
/// What is measured.
pub const METRIC: KeyPriority = KeyPriority(&["autoscaling.knative.dev/metric"]);
/// How much of it one pod should have.
pub const TARGET: KeyPriority = KeyPriority(&["autoscaling.knative.dev/target"]);
/// How much of the target is aimed at.
pub const TARGET_UTILIZATION_PERCENTAGE: KeyPriority = KeyPriority(&[
    "autoscaling.knative.dev/target-utilization-percentage",
    "autoscaling.knative.dev/targetUtilizationPercentage",
]);
/// How large a burst the pods should take without the activator.
pub const TARGET_BURST_CAPACITY: KeyPriority =
    KeyPriority(&["autoscaling.knative.dev/target-burst-capacity", "autoscaling.knative.dev/targetBurstCapacity"]);
/// The stable window.
pub const WINDOW: KeyPriority = KeyPriority(&["autoscaling.knative.dev/window"]);
/// The panic window as a share of the stable one.
pub const PANIC_WINDOW_PERCENTAGE: KeyPriority =
    KeyPriority(&["autoscaling.knative.dev/panic-window-percentage", "autoscaling.knative.dev/panicWindowPercentage"]);
/// How far beyond the current capacity panic begins.
pub const PANIC_THRESHOLD_PERCENTAGE: KeyPriority = KeyPriority(&[
    "autoscaling.knative.dev/panic-threshold-percentage",
    "autoscaling.knative.dev/panicThresholdPercentage",
]);
/// How long the last pod stays.
pub const SCALE_TO_ZERO_POD_RETENTION_PERIOD: KeyPriority = KeyPriority(&[
    "autoscaling.knative.dev/scale-to-zero-pod-retention-period",
    "autoscaling.knative.dev/scaleToZeroPodRetentionPeriod",
]);
/// How samples are averaged.
pub const METRIC_AGGREGATION_ALGORITHM: KeyPriority = KeyPriority(&[
    "autoscaling.knative.dev/metric-aggregation-algorithm",
    "autoscaling.knative.dev/metricAggregationAlgorithm",
]);

/// The shortest stable window.
pub const WINDOW_MIN: SignedDuration = SignedDuration::from_secs(6);
/// The longest stable window, and the longest of the other durations.
pub const WINDOW_MAX: SignedDuration = SignedDuration::from_secs(3600);
/// The least target.
pub const TARGET_MIN: f64 = 0.01;
/// The bounds of [`PANIC_WINDOW_PERCENTAGE`].
pub const PANIC_WINDOW_PERCENTAGE_RANGE: (f64, f64) = (1.0, 100.0);
/// The bounds of [`PANIC_THRESHOLD_PERCENTAGE`].
pub const PANIC_THRESHOLD_PERCENTAGE_RANGE: (f64, f64) = (110.0, 1000.0);

/// How samples are averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// All seconds of the window count alike.
    #[default]
    Linear,
    /// Later seconds count more.
    WeightedExponential,
}

impl Aggregation {
    fn named(name: &str) -> Option<Self> {
        match name {
            "linear" => Some(Self::Linear),
            "weighted-exponential" | "weightedExponential" => Some(Self::WeightedExponential),
            _ => None,
        }
    }
}

/// What a revision's annotations ask of the autoscaler; `None` where they ask nothing readable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Autoscaling {
    /// Which autoscaler.
    pub class: Option<String>,
    /// What is measured.
    pub metric: Option<String>,
    /// The least pods while a Route leads to it.
    pub min_scale: Option<i32>,
    /// The most pods; 0 is no bound.
    pub max_scale: Option<i32>,
    /// The pods it must have had once to be ready.
    pub initial_scale: Option<i32>,
    /// The pods it has when it leaves zero.
    pub activation_scale: Option<i32>,
    /// How long a smaller scale must last before it is applied.
    pub scale_down_delay: Option<SignedDuration>,
    /// How much of the metric one pod should have.
    pub target: Option<f64>,
    /// The share of the target that is aimed at, 0.01 to 1.
    pub target_utilization: Option<f64>,
    /// How large a burst the pods should take without the activator; -1 keeps the activator in the path.
    pub target_burst_capacity: Option<f64>,
    /// The stable window.
    pub window: Option<SignedDuration>,
    /// The panic window, in percent of the stable one.
    pub panic_window_percentage: Option<f64>,
    /// When panic begins, in percent of the current capacity.
    pub panic_threshold_percentage: Option<f64>,
    /// How long the last pod stays.
    pub scale_to_zero_pod_retention: Option<SignedDuration>,
    /// How samples are averaged.
    pub aggregation: Option<Aggregation>,
    /// How long the revision may take to become ready.
    pub progress_deadline: Option<SignedDuration>,
}

/// Reads the annotations of a revision or its PodAutoscaler.
pub fn autoscaling(annotations: &BTreeMap<String, String>) -> Autoscaling {
    let text = |key: KeyPriority| key.value(annotations).map(str::to_owned);
    let int = |key: KeyPriority| key.value(annotations).and_then(|value| value.parse::<i32>().ok());
    let float = |key: KeyPriority| key.value(annotations).and_then(finite);
    let time = |key: KeyPriority| key.value(annotations).and_then(|value| duration::parse(value).ok());
    Autoscaling {
        class: text(CLASS),
        metric: text(METRIC),
        min_scale: int(MIN_SCALE),
        max_scale: int(MAX_SCALE),
        initial_scale: int(INITIAL_SCALE),
        activation_scale: int(ACTIVATION_SCALE),
        scale_down_delay: time(SCALE_DOWN_DELAY),
        target: float(TARGET),
        target_utilization: float(TARGET_UTILIZATION_PERCENTAGE).map(|percent| percent / 100.0),
        target_burst_capacity: float(TARGET_BURST_CAPACITY),
        window: time(WINDOW),
        panic_window_percentage: float(PANIC_WINDOW_PERCENTAGE),
        panic_threshold_percentage: float(PANIC_THRESHOLD_PERCENTAGE),
        scale_to_zero_pod_retention: time(SCALE_TO_ZERO_POD_RETENTION_PERIOD),
        aggregation: METRIC_AGGREGATION_ALGORITHM.value(annotations).and_then(Aggregation::named),
        progress_deadline: time(crate::meta::annotation::PROGRESS_DEADLINE),
    }
}

/// A number that is one.
fn finite(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}
