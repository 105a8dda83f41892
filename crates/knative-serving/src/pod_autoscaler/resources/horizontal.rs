//! The HorizontalPodAutoscaler of a PodAutoscaler: what the cluster's own autoscaler is to follow.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget, PodsMetricSource, ResourceMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use knative_apis::autoscaling::{METRIC_CPU, METRIC_MEMORY, PodAutoscaler};
use knative_apis::config::Autoscaler;
use knative_apis::quantity::Quantity;

use super::make_metadata;

/// What Kubernetes follows where nothing is said: the use of the CPU, in percent of what is requested.
const DEFAULT_CPU_PERCENT: f64 = 80.0;

/// The HorizontalPodAutoscaler of the same name. What Kubernetes would fill in is said, so that it is not asked for again and again.
pub(in super::super) fn make_horizontal_pod_autoscaler(
    autoscaler: &PodAutoscaler,
    config: &Autoscaler,
) -> HorizontalPodAutoscaler {
    let (min, max) = autoscaler.scale_bounds(config);
    let target = &autoscaler.spec.scale_target_ref;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let spec = HorizontalPodAutoscalerSpec {
        scale_target_ref: CrossVersionObjectReference {
            api_version: target.api_version.clone(),
            kind: text(&target.kind),
            name: text(&target.name),
        },
        min_replicas: Some(min.max(1)),
        max_replicas: if max == 0 { i32::MAX } else { max },
        metrics: Some(vec![make_metric(autoscaler)]),
        behavior: make_behavior(autoscaler),
    };
    HorizontalPodAutoscaler { metadata: make_metadata(autoscaler), spec, status: None }
}

#[expect(clippy::cast_possible_truncation, reason = "validated targets are small; others are cut off, as in Knative")]
fn make_metric(autoscaler: &PodAutoscaler) -> MetricSpec {
    let Some(target) = autoscaler.annotations().target else { return cpu(DEFAULT_CPU_PERCENT as i32) };
    match autoscaler.metric() {
        METRIC_CPU => cpu(target.ceil() as i32),
        METRIC_MEMORY => resource(METRIC_MEMORY, average_value(&format!("{}Mi", target as i64))),
        name => MetricSpec {
            type_: "Pods".to_owned(),
            pods: Some(PodsMetricSource {
                metric: MetricIdentifier { name: name.to_owned(), selector: None },
                target: average_value(&(target as i64).to_string()),
            }),
            ..MetricSpec::default()
        },
    }
}

fn cpu(percent: i32) -> MetricSpec {
    let target =
        MetricTarget { type_: "Utilization".to_owned(), average_utilization: Some(percent), ..MetricTarget::default() };
    resource(METRIC_CPU, target)
}

fn resource(name: &str, target: MetricTarget) -> MetricSpec {
    let source = ResourceMetricSource { name: name.to_owned(), target };
    MetricSpec { type_: "Resource".to_owned(), resource: Some(source), ..MetricSpec::default() }
}

/// So much for each Pod on average.
fn average_value(amount: &str) -> MetricTarget {
    let canonical = Quantity::parse(amount).map_or_else(|_| amount.to_owned(), |amount| amount.to_string());
    MetricTarget { type_: "AverageValue".to_owned(), average_value: Some(Text(canonical)), ..MetricTarget::default() }
}

/// The window over which a recommendation has to last, up and down.
fn make_behavior(autoscaler: &PodAutoscaler) -> Option<HorizontalPodAutoscalerBehavior> {
    let window = autoscaler.annotations().window?;
    let seconds = i32::try_from(window.as_secs()).unwrap_or(i32::MAX);
    let rules = HPAScalingRules { stabilization_window_seconds: Some(seconds), ..HPAScalingRules::default() };
    Some(HorizontalPodAutoscalerBehavior { scale_down: Some(rules.clone()), scale_up: Some(rules) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn metric(annotations: Value) -> Value {
        let mut given = json!({"metadata": {"name": "hello-00001", "annotations": {}}});
        for (name, value) in annotations.as_object().expect("annotations") {
            given["metadata"]["annotations"][format!("autoscaling.knative.dev/{name}")] = value.clone();
        }
        given["metadata"]["annotations"]["autoscaling.knative.dev/class"] = json!("hpa.autoscaling.knative.dev");
        let autoscaler = serde_json::from_value(given).expect("a PodAutoscaler");
        serde_json::to_value(make_metric(&autoscaler)).expect("JSON")
    }

    #[test]
    fn each_metric_has_its_form() {
        let resource =
            |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
        let percent = |percent: i32| json!({"type": "Utilization", "averageUtilization": percent});
        let amount = |amount: &str| json!({"type": "AverageValue", "averageValue": amount});
        for (annotations, want) in [
            (json!({}), resource("cpu", percent(80))),
            (json!({"target": "74.2"}), resource("cpu", percent(75))),
            (json!({"metric": "memory", "target": "200"}), resource("memory", amount("200Mi"))),
            (json!({"metric": "memory", "target": "2048.9"}), resource("memory", amount("2Gi"))),
            (
                json!({"metric": "queue-depth", "target": "7"}),
                json!({"type": "Pods", "pods": {"metric": {"name": "queue-depth"}, "target": amount("7")}}),
            ),
        ] {
            assert_eq!(metric(annotations.clone()), want, "{annotations}");
        }
    }
}
