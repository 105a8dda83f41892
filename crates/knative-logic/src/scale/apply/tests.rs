//! The steps to zero, one by one.

use super::*;
use crate::scale::ScalingMetric;
use serde_json::{Value, json};

const START: i64 = 1_700_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).expect("a time")
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A PodAutoscaler that became as `mark` says at second 0.
fn pa(annotations: Value, mark: impl FnOnce(&mut PodAutoscaler)) -> PodAutoscaler {
    let mut autoscaler: PodAutoscaler =
        serde_json::from_value(json!({"metadata": {"annotations": annotations}})).expect("a PodAutoscaler");
    autoscaler.status.mark_scale_target_initialized(at(0));
    mark(&mut autoscaler);
    autoscaler
}

fn active(annotations: Value) -> PodAutoscaler {
    pa(annotations, |pa| pa.status.mark_active(at(0)))
}

fn inactive(annotations: Value) -> PodAutoscaler {
    pa(annotations, |pa| pa.status.mark_inactive("NoTraffic", "", at(0)))
}

fn facts(config: &Autoscaler) -> Facts<'_> {
    Facts {
        config,
        progress_deadline: seconds(600),
        proxy_for: SignedDuration::ZERO,
        is_proxied: true,
        activator_answers: true,
        replicas: 1,
    }
}

#[test]
fn a_wish_is_bounded_and_applied() {
    let config = Autoscaler::default();
    let limited = active(json!({"autoscaling.knative.dev/max-scale": "3", "autoscaling.knative.dev/min-scale": "2"}));
    let plan = |desired| scale(&limited, desired, &facts(&config), at(1));
    assert_eq!((plan(9).want, plan(9).replicas), (3, Some(3)));
    assert_eq!((plan(0).want, plan(0).replicas), (2, Some(2)));
    assert_eq!(plan(-1), ScalePlan::nothing(-1));
    let same = scale(&active(json!({})), 1, &facts(&config), at(1));
    assert_eq!((same.want, same.replicas), (1, None));
}

#[test]
fn an_active_revision_stays_for_a_window() {
    let config = Autoscaler::default();
    let autoscaler = active(json!({}));
    let plan = scale(&autoscaler, 0, &facts(&config), at(20));
    assert_eq!(plan, ScalePlan { again: Some(seconds(40)), ..ScalePlan::nothing(1) });
    let plan = scale(&autoscaler, 0, &facts(&config), at(60));
    assert_eq!(plan, ScalePlan::wait(0, seconds(3)));
    let serving = Facts { is_proxied: false, ..facts(&config) };
    assert_eq!(scale(&autoscaler, 0, &serving, at(60)), ScalePlan::nothing(0));
    let never = Autoscaler { enable_scale_to_zero: false, ..config.clone() };
    assert_eq!(scale(&autoscaler, 0, &facts(&never), at(999)).want, 1);
}

#[test]
fn the_last_pod_goes_after_the_grace_period() {
    let config = Autoscaler::default();
    let autoscaler = inactive(json!({}));
    assert_eq!(scale(&autoscaler, 0, &facts(&config), at(5)), ScalePlan::wait(0, seconds(30)));
    let proxied = Facts { proxy_for: seconds(12), ..facts(&config) };
    assert_eq!(scale(&autoscaler, 0, &proxied, at(5)), ScalePlan::wait(0, seconds(18)));
    let long = Facts { proxy_for: seconds(30), ..facts(&config) };
    assert_eq!(scale(&autoscaler, 0, &long, at(5)).replicas, Some(0));
    assert_eq!(scale(&autoscaler, 0, &facts(&config), at(30)).replicas, Some(0));
    let gone = Facts { replicas: 0, ..facts(&config) };
    assert_eq!(scale(&autoscaler, 0, &gone, at(30)), ScalePlan::nothing(0));
}

#[test]
fn the_activator_must_answer_first() {
    let config = Autoscaler::default();
    let silent = Facts { activator_answers: false, ..facts(&config) };
    let plan = scale(&inactive(json!({})), 0, &silent, at(300));
    assert_eq!(plan, ScalePlan { probe_activator: true, ..ScalePlan::wait(0, seconds(1)) });
    let always = inactive(json!({"autoscaling.knative.dev/target-burst-capacity": "-1"}));
    assert_eq!(scale(&always, 0, &silent, at(300)).replicas, Some(0));
}

#[test]
fn the_last_pod_may_be_kept() {
    let config = Autoscaler::default();
    let kept = inactive(json!({"autoscaling.knative.dev/scale-to-zero-pod-retention-period": "90s"}));
    let long = Facts { proxy_for: seconds(60), ..facts(&config) };
    assert_eq!(scale(&kept, 0, &long, at(60)), ScalePlan::wait(0, seconds(30)));
    assert_eq!(scale(&kept, 0, &long, at(90)).replicas, Some(0));
    let mut unreachable = kept;
    unreachable.spec.reachability = knative_apis::autoscaling::Reachability::Unreachable;
    assert_eq!(scale(&unreachable, 0, &long, at(31)).replicas, Some(0));
}

#[test]
fn an_activation_is_given_up_after_the_deadline() {
    let config = Autoscaler::default();
    let activating = pa(json!({}), |pa| pa.status.mark_activating("Queued", "", at(0)));
    let plan = scale(&activating, -1, &facts(&config), at(100));
    assert_eq!(plan, ScalePlan::wait(-1, seconds(531)));
    assert_eq!(scale(&activating, 0, &facts(&config), at(631)).replicas, Some(0));
    let own = pa(json!({"serving.knative.dev/progress-deadline": "10s"}), |pa| {
        pa.status.mark_activating("Queued", "", at(0));
    });
    assert_eq!(scale(&own, 0, &facts(&config), at(41)).replicas, Some(0));
}

#[test]
fn the_pods_serve_when_there_are_some_with_room() {
    let mode = |autoscaler: PodAutoscaler, want, excess_burst_capacity, before| {
        serverless_service_mode(&autoscaler, want, &Decision { desired: want, excess_burst_capacity }, &before)
    };
    let (active, inactive) = (|| active(json!({})), || inactive(json!({})));
    let (serve, proxy) = (ServerlessServiceMode::Serve, ServerlessServiceMode::Proxy);
    assert_eq!(mode(active(), 1, 0, proxy.clone()), serve);
    assert_eq!(mode(active(), 1, -1, serve.clone()), proxy);
    assert_eq!(mode(active(), 0, 5, serve.clone()), proxy);
    // Nothing is known yet.
    assert_eq!(mode(active(), -1, 5, serve.clone()), serve);
    assert_eq!(mode(active(), -1, 5, proxy.clone()), proxy);
    assert_eq!(mode(inactive(), -1, 5, serve.clone()), proxy);
}

#[test]
fn activators_cover_pods_and_burst() {
    let spec = |burst: f64| DeciderSpec {
        scaling_metric: ScalingMetric::Concurrency,
        target_value: 70.0,
        total_value: 100.0,
        target_burst_capacity: burst,
        activator_capacity: 100.0,
        panic_threshold: 2.0,
        max_scale_up_rate: 10.0,
        max_scale_down_rate: 2.0,
        stable_window: seconds(60),
        scale_down_delay: SignedDuration::ZERO,
        initial_scale: 1,
        reachable: true,
        activation_scale: 0,
    };
    for (burst, ready, want) in [(0.0, 50, 2), (211.0, 0, 3), (211.0, 10, 13), (-1.0, 10, 10), (-1.0, 1, 2)] {
        assert_eq!(activators(ready, &spec(burst)), want, "{burst} {ready}");
    }
}
