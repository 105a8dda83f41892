use super::*;
use serde_json::Value;

const NOW: &str = "2026-01-01T01:00:00Z";

fn autoscaler(metrics: Value) -> Arc<HorizontalPodAutoscaler> {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let spec = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10, "metrics": metrics});
    let meta = json!({"name": "h", "namespace": "n", "uid": "u"});
    Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
}

fn cpu(share: i32) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": share});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// A target with so many replicas that the spec asks for, and Pods that request a processor and use so many thousandths.
fn target(replicas: i32, used: &[i64]) -> Target {
    let pod = |at: usize| {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"});
        let status = json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [ready]});
        let container = json!({"name": "c", "resources": {"requests": {"cpu": "1"}}});
        let pod =
            json!({"metadata": {"name": format!("p{at}")}, "spec": {"containers": [container]}, "status": status});
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    let measured = |(at, milli): (usize, &i64)| {
        let containers = json!([{"name": "c", "usage": {"cpu": format!("{milli}m")}}]);
        let measured = json!({"timestamp": NOW, "window": "15s", "containers": containers});
        (format!("p{at}"), serde_json::from_value(measured).unwrap())
    };
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d", "namespace": "n", "resourceVersion": "7"},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=d"},
    });
    Target {
        resource: ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
        scale: serde_json::from_value(scale).unwrap(),
        pods: Ok((0..used.len()).map(pod).collect()),
        measured: Ok(used.iter().enumerate().map(measured).collect()),
    }
}

fn planned(metrics: Value, target: Result<Target, String>, rivals: &[&str]) -> Planned {
    let rivals = rivals.iter().map(|rival| (*rival).to_owned()).collect();
    let observed = Observed { autoscaler: autoscaler(metrics), target, rivals };
    plan(&observed, &mut Memory::default(), NOW.parse().unwrap())
}

/// Type, status and reason of the conditions.
fn conditions(planned: &Planned) -> Vec<(String, String, String)> {
    let conditions = planned.plan.status.conditions.iter().flatten();
    let told = |reason: &Option<String>| reason.clone().unwrap_or_default();
    conditions.map(|of| (of.type_.clone(), of.status.clone(), told(&of.reason))).collect()
}

fn told(rows: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    rows.iter().map(|(type_, status, reason)| ((*type_).into(), (*status).into(), (*reason).into())).collect()
}

#[test]
fn a_busy_target_gets_more_replicas() {
    let planned = planned(json!([cpu(50)]), Ok(target(2, &[900, 900])), &[]);
    let change = serde_json::to_value(&planned.plan.changes[0]).unwrap();
    assert_eq!((&change["overlay"], &change["subresource"]), (&json!("Deployment.apps n/d"), &json!("scale")));
    assert_eq!(change["fields"], json!({"spec": {"replicas": 4}}));
    let size = "New size: 4; reason: cpu resource utilization (percentage of request) above target";
    assert_eq!(change["event"]["message"], size);
    assert_eq!(planned.rescale, Some((2, 4)));
    let status = &planned.plan.status;
    assert_eq!((status.current_replicas, status.desired_replicas), (Some(2), 4));
    let current = json!(status.current_metrics)[0]["resource"]["current"].clone();
    assert_eq!(current, json!({"averageUtilization": 90, "averageValue": "900m"}));
    assert!(status.last_scale_time.is_some());
    assert_eq!(
        conditions(&planned),
        told(&[
            ("AbleToScale", "True", "SucceededRescale"),
            ("ScalingActive", "True", "ValidMetricFound"),
            ("ScalingLimited", "False", "DesiredWithinRange"),
        ])
    );
}

#[test]
fn a_size_outside_of_the_bounds_needs_no_metrics() {
    let above = planned(json!([cpu(50)]), Ok(target(12, &[])), &[]);
    assert_eq!(above.rescale, Some((12, 10)));
    let below = json!(above.plan.changes)[0]["event"]["message"].clone();
    assert_eq!(below, "New size: 10; reason: Current number of replicas above Spec.MaxReplicas");
    let off = planned(json!([cpu(50)]), Ok(target(0, &[])), &[]);
    assert_eq!((off.rescale, off.plan.changes.len()), (None, 0));
    assert_eq!(conditions(&off)[1], told(&[("ScalingActive", "False", "ScalingDisabled")])[0]);
}

#[test]
fn what_is_not_known_is_said() {
    let none = planned(json!([cpu(50)]), Err("deployments.apps \"d\" not found".to_owned()), &[]);
    assert_eq!(conditions(&none), told(&[("AbleToScale", "False", "FailedGetScale")]));
    let unmeasured = Target { measured: Err("no".to_owned()), ..target(2, &[100]) };
    let unmeasured = planned(json!([cpu(50)]), Ok(unmeasured), &[]);
    assert_eq!(conditions(&unmeasured)[1], told(&[("ScalingActive", "False", "FailedGetResourceMetric")])[0]);
    let message = unmeasured.plan.status.conditions.unwrap()[1].message.clone().unwrap();
    assert_eq!(
        message,
        "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for \
         resource cpu: unable to fetch metrics from resource metrics API: no"
    );
    let reasons: Vec<_> = unmeasured.plan.events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["FailedGetResourceMetric", "FailedComputeMetricsReplicas"]);
    let rivalled = planned(json!([cpu(50)]), Ok(target(2, &[900])), &["n/other"]);
    assert_eq!(conditions(&rivalled)[1].2, "AmbiguousSelector");
}

#[test]
fn a_metric_that_fails_lets_replicas_rise_but_not_fall() {
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
    let rising = planned(json!([pods, cpu(50)]), Ok(target(2, &[900, 900])), &[]);
    assert_eq!(rising.rescale, Some((2, 4)));
    let falling = planned(json!([pods, cpu(50)]), Ok(target(2, &[10, 10])), &[]);
    assert_eq!(falling.rescale, None);
    assert_eq!(conditions(&falling)[1].2, "FailedGetPodsMetric");
}
