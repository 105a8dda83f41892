//! Texts as Knative prints them, and what is read.

use super::*;
use crate::config::Autoscaler;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| (format!("autoscaling.knative.dev/{key}"), (*value).to_owned())).collect()
}

fn check(entries: &[(&str, &str)], config: &Autoscaler) -> String {
    validate_autoscaling(&map(entries), config).to_string().replace("autoscaling.knative.dev/", "~")
}

#[test]
fn what_is_wrong_is_said_in_knatives_words() {
    let config = Autoscaler::default();
    for (entries, want) in [
        (&[("min-scale", "1"), ("max-scale", "3")][..], ""),
        (&[("minScale", "-1")], "expected 0 <= -1 <= 2147483647: ~minScale"),
        (&[("max-scale", "4294967296")], "expected 0 <= 4294967296 <= 2147483647: ~max-scale"),
        (&[("min-scale", "joke")], "invalid value: joke: ~min-scale"),
        (&[("min-scale", "10"), ("max-scale", "1")], "max-scale=1 is less than min-scale=10: ~max-scale, ~min-scale"),
        (&[("activation-scale", "1")], "activation-scale=1 must be greater than 1: ~activation-scale"),
        (
            &[("activation-scale", "2"), ("min-scale", "5")],
            "min-scale=5 is greater than activation-scale=2: ~activation-scale",
        ),
        (
            &[("activation-scale", "4"), ("max-scale", "3")],
            "max-scale=3 is less than activation-scale=4: ~activation-scale",
        ),
        (&[("panic-window-percentage", "-1")], "expected 1 <= -1 <= 100: ~panic-window-percentage"),
        (&[("panic-threshold-percentage", "100")], "expected 110 <= 100 <= 1000: ~panic-threshold-percentage"),
        (&[("panic-threshold-percentage", "fifty")], "invalid value: fifty: ~panic-threshold-percentage"),
        (&[("target", "0")], "target 0 should be at least 0.01: ~target"),
        (&[("target", "NaN")], "invalid value: NaN: ~target"),
        (&[("target", "Inf")], "invalid value: Inf: ~target"),
        (&[("target", "-Inf")], "target -Inf should be at least 0.01: ~target"),
        (&[("panic-window-percentage", "Inf")], "expected 1 <= Inf <= 100: ~panic-window-percentage"),
        (&[("target-burst-capacity", "-2")], "invalid value: -2: ~target-burst-capacity"),
        (&[("target-burst-capacity", "Inf")], "invalid value: Inf: ~target-burst-capacity"),
        (&[("target-burst-capacity", "-1")], ""),
        (&[("target-utilization-percentage", "101")], "expected 1 <= 101 <= 100: ~target-utilization-percentage"),
        (&[("window", "5s")], "expected 6s <= 5s <= 1h0m0s: ~window"),
        (&[("window", "6.5s")], "must be specified with at most second precision: ~window"),
        (&[("window", "jerry")], "invalid value: jerry: ~window"),
        (&[("scale-down-delay", "2h")], "expected 0s <= 2h <= 1h0m0s: ~scale-down-delay"),
        (
            &[("scale-to-zero-pod-retention-period", "-1s")],
            "expected 0s <= -1s <= 1h0m0s: ~scale-to-zero-pod-retention-period",
        ),
        (&[("scale-to-zero-pod-retention-period", "311ms")], ""),
        (&[("class", "bad.knative.dev")], "invalid value: bad.knative.dev: ~class"),
        (&[("class", "my.example.com"), ("metric", "anything")], ""),
        (&[("metric", "cpu")], "invalid value: cpu: ~metric"),
        (&[("class", "hpa.autoscaling.knative.dev"), ("metric", "custom")], ""),
        (&[("class", "hpa.autoscaling.knative.dev"), ("metric", "")], "invalid value: : ~metric"),
        (
            &[("class", "kpa.autoscaling.knative.dev"), ("metricAggregationAlgorithm", "fancy")],
            "invalid value: fancy: ~metricAggregationAlgorithm",
        ),
        (&[("initial-scale", "0")], "invalid value: 0: ~initial-scale=0 not allowed by cluster"),
        (&[("initial-scale", "-1")], "invalid value: -1: ~initial-scale must be greater than 0"),
        (&[("initialScale", "x")], "invalid value: x: ~initialScale"),
    ] {
        assert_eq!(check(entries, &config), want, "{entries:?}");
    }
}

#[test]
fn the_cluster_may_limit_the_scale() {
    let config =
        Autoscaler { max_scale_limit: 10, max_scale: 5, allow_zero_initial_scale: true, ..Autoscaler::default() };
    assert_eq!(check(&[("max-scale", "11")], &config), "expected 1 <= 11 <= 10: ~max-scale");
    assert_eq!(check(&[("max-scale", "0")], &config), "max-scale=0 (unlimited), must be less than 10: ~max-scale");
    assert_eq!(check(&[("max-scale", "10"), ("initial-scale", "0")], &config), "");
}

#[test]
fn all_spellings_are_read() {
    let read = autoscaling(&map(&[
        ("minScale", "1"),
        ("max-scale", "8"),
        ("target", "7.5"),
        ("targetUtilizationPercentage", "80"),
        ("window", "1m"),
        ("metricAggregationAlgorithm", "weightedExponential"),
        ("scaleToZeroPodRetentionPeriod", "90s"),
        ("target-burst-capacity", "NaN"),
        ("activation-scale", "many"),
    ]));
    assert_eq!(
        read,
        Autoscaling {
            min_scale: Some(1),
            max_scale: Some(8),
            target: Some(7.5),
            target_utilization: Some(0.8),
            window: Some(SignedDuration::from_secs(60)),
            aggregation: Some(Aggregation::WeightedExponential),
            scale_to_zero_pod_retention: Some(SignedDuration::from_secs(90)),
            ..Autoscaling::default()
        }
    );
}
