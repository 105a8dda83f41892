//! What a decision aims at, from the PodAutoscaler and the operator's settings.

use jiff::SignedDuration;
use knative_apis::annotations::TARGET_MIN;
use knative_apis::autoscaling::{METRIC_CONCURRENCY, METRIC_RPS, PodAutoscaler};
use knative_apis::config::Autoscaler;

/// The shortest panic window.
const PANIC_WINDOW_MIN: SignedDuration = SignedDuration::from_secs(1);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingMetric {
    /// Requests in flight.
    Concurrency,
    /// Requests per second.
    Rps,
}

/// Everything about a revision that a decision looks at and that does not change by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DeciderSpec {
    /// What is measured.
    pub scaling_metric: ScalingMetric,
    /// How much of it one pod should have.
    pub target_value: f64,
    /// How much of it one pod can have.
    pub total_value: f64,
    /// How large a burst the pods should take without the activator; -1 keeps it in the path.
    pub target_burst_capacity: f64,
    /// How many requests one activator takes.
    pub activator_capacity: f64,
    /// How many times the current capacity begins panic.
    pub panic_threshold: f64,
    /// How many times as many pods there may be after one decision.
    pub max_scale_up_rate: f64,
    /// By how much the pods may be divided in one decision.
    pub max_scale_down_rate: f64,
    /// The stable window.
    pub stable_window: SignedDuration,
    /// How long a smaller scale must last before it is applied.
    pub scale_down_delay: SignedDuration,
    /// The pods the revision must have had once to be ready.
    pub initial_scale: i32,
    /// Whether a Route leads to it.
    pub reachable: bool,
    /// The pods it has as soon as it has any; below 2 it does not matter.
    pub activation_scale: i32,
}

impl DeciderSpec {
    /// What the PodAutoscaler asks for, and the operator's settings where it does not ask.
    pub fn new(autoscaler: &PodAutoscaler, config: &Autoscaler) -> Self {
        let asked = autoscaler.annotations();
        let (target_value, total_value) = target(autoscaler, config);
        Self {
            scaling_metric: if autoscaler.metric() == METRIC_RPS {
                ScalingMetric::Rps
            } else {
                ScalingMetric::Concurrency
            },
            target_value,
            total_value,
            target_burst_capacity: target_burst_capacity(autoscaler, config),
            activator_capacity: config.activator_capacity,
            panic_threshold: asked.panic_threshold_percentage.unwrap_or(config.panic_threshold_percentage) / 100.0,
            max_scale_up_rate: config.max_scale_up_rate,
            max_scale_down_rate: config.max_scale_down_rate,
            stable_window: stable_window(autoscaler, config),
            scale_down_delay: asked.scale_down_delay.unwrap_or(config.scale_down_delay),
            initial_scale: autoscaler.initial_scale(config),
            reachable: !autoscaler.is_unreachable(),
            activation_scale: asked.activation_scale.unwrap_or(0),
        }
    }
}

/// How much of the metric one pod should have, and can have.
pub fn target(autoscaler: &PodAutoscaler, config: &Autoscaler) -> (f64, f64) {
    let asked = autoscaler.annotations();
    #[expect(clippy::cast_precision_loss, reason = "limits are small")]
    let limit = autoscaler.spec.container_concurrency as f64;
    let (mut total, mut utilization) = match autoscaler.metric() {
        METRIC_RPS => (config.rps_target_default, config.target_utilization),
        _ if limit == 0.0 => {
            (config.container_concurrency_target_default, config.container_concurrency_target_fraction)
        }
        _ => (limit, config.container_concurrency_target_fraction),
    };
    if let Some(asked) = asked.target {
        let is_limited = autoscaler.metric() == METRIC_CONCURRENCY && limit != 0.0;
        total = if is_limited { asked.min(limit) } else { asked };
    }
    if let Some(asked) = asked.target_utilization {
        utilization = asked;
    }
    ((total * utilization).max(TARGET_MIN), total)
}

/// How large a burst the pods should take without the activator.
pub fn target_burst_capacity(autoscaler: &PodAutoscaler, config: &Autoscaler) -> f64 {
    autoscaler.annotations().target_burst_capacity.unwrap_or(config.target_burst_capacity)
}

/// The stable window.
pub fn stable_window(autoscaler: &PodAutoscaler, config: &Autoscaler) -> SignedDuration {
    autoscaler.annotations().window.unwrap_or(config.stable_window)
}

/// The panic window: a share of the stable one, whole seconds, at least one.
pub fn panic_window(autoscaler: &PodAutoscaler, config: &Autoscaler) -> SignedDuration {
    let percentage = autoscaler.annotations().panic_window_percentage.unwrap_or(config.panic_window_percentage);
    let seconds = stable_window(autoscaler, config).as_secs_f64() * percentage / 100.0;
    SignedDuration::try_from_secs_f64(seconds.round()).unwrap_or(PANIC_WINDOW_MIN).max(PANIC_WINDOW_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pa(concurrency: i64, annotations: &[(&str, &str)]) -> PodAutoscaler {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| (format!("autoscaling.knative.dev/{key}"), json!(value))).collect();
        serde_json::from_value(json!({
            "metadata": {"annotations": annotations}, "spec": {"containerConcurrency": concurrency},
        }))
        .expect("a PodAutoscaler")
    }

    #[test]
    fn targets_are_knatives() {
        let config = Autoscaler::default();
        for (concurrency, annotations, want) in [
            (0, &[][..], (70.0, 100.0)),
            (10, &[], (7.0, 10.0)),
            (0, &[("target", "50")], (35.0, 50.0)),
            (10, &[("target", "50")], (7.0, 10.0)),
            (10, &[("target", "5")], (3.5, 5.0)),
            (10, &[("target-utilization-percentage", "100")], (10.0, 10.0)),
            (0, &[("metric", "rps")], (140.0, 200.0)),
            (10, &[("metric", "rps"), ("target", "25")], (17.5, 25.0)),
            (0, &[("target", "0.01")], (0.01, 0.01)),
        ] {
            let (target, total) = target(&pa(concurrency, annotations), &config);
            assert!(
                (target - want.0).abs() < 1e-9 && (total - want.1).abs() < 1e-9,
                "{annotations:?}: {target} {total}"
            );
        }
    }

    #[test]
    fn the_panic_window_is_a_share_of_whole_seconds() {
        let config = Autoscaler::default();
        for (annotations, seconds) in [
            (&[][..], 6),
            (&[("window", "10s")], 1),
            (&[("window", "6s"), ("panic-window-percentage", "1")], 1),
            (&[("window", "90s"), ("panic-window-percentage", "5")], 5),
        ] {
            assert_eq!(
                panic_window(&pa(0, annotations), &config),
                SignedDuration::from_secs(seconds),
                "{annotations:?}"
            );
        }
    }

    #[test]
    fn what_is_not_asked_is_the_operators() {
        let mut autoscaler =
            pa(0, &[("activation-scale", "3"), ("panic-threshold-percentage", "300"), ("target-burst-capacity", "-1")]);
        let spec = DeciderSpec::new(&autoscaler, &Autoscaler::default());
        assert_eq!((spec.activation_scale, spec.initial_scale, spec.reachable), (3, 1, true));
        assert!((spec.panic_threshold - 3.0).abs() < 1e-9 && (spec.target_burst_capacity + 1.0).abs() < 1e-9);
        autoscaler.spec.reachability = knative_apis::autoscaling::Reachability::Unreachable;
        assert!(!DeciderSpec::new(&autoscaler, &Autoscaler::default()).reachable);
    }
}
