//! The pure parts, on objects as controllers and the node leave them.

use std::sync::Arc;

use knative_apis::autoscaling::PodAutoscaler;
use knative_apis::config::Autoscaler;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::reading::{Reading, Seen};
use super::{Outcome, pods, report, scaling, troubles};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason})
}

fn pod(status: Value) -> Seen {
    let pod = json!({"metadata": {"name": "p"}, "status": status});
    Seen { name: "s-00001".to_owned(), pods: vec![Arc::new(object(pod))], ..Seen::default() }
}

/// Each trouble in a line.
fn told(status: Value) -> Vec<String> {
    let line = |found: super::ContainerTrouble| {
        let parts = [found.container.unwrap_or_default(), found.state, found.last_end.unwrap_or_default()];
        format!("{} {} {}", parts.join("|"), found.restarts, found.is_log_of_previous)
    };
    pods::troubles(&pod(status)).into_iter().map(line).collect()
}

#[test]
fn a_container_that_does_not_run_says_why() {
    let container = |name: &str, ready: bool, state: Value, last: Value| json!({"name": name, "ready": ready, "restartCount": 2, "image": "", "imageID": "", "state": state, "lastState": last});
    let queue = |ready| container("queue-proxy", ready, json!({"running": {}}), json!({}));
    let running = container("user-container", true, json!({"running": {}}), json!({}));
    let crashed = container(
        "user-container",
        false,
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
        json!({"terminated": {"exitCode": 2, "reason": "Error"}}),
    );
    let pulled =
        container("user-container", false, json!({"waiting": {"reason": "ErrImagePull", "message": "no"}}), json!({}));
    let failed = container("init", false, json!({"terminated": {"exitCode": 1}}), json!({}));
    let done = container("init", true, json!({"terminated": {"exitCode": 0}}), json!({}));
    for (status, expected) in [
        (json!({"containerStatuses": [running, queue(true)]}), &[][..]),
        (json!({"containerStatuses": [running, queue(true)], "initContainerStatuses": [done]}), &[]),
        (
            json!({"containerStatuses": [crashed, queue(false)]}),
            &["user-container|waiting: CrashLoopBackOff: back-off 10s|code 2: Error 2 true"],
        ),
        (json!({"containerStatuses": [pulled, queue(false)]}), &["user-container|waiting: ErrImagePull: no| 2 false"]),
        (json!({"initContainerStatuses": [failed]}), &["init|ended with code 1| 2 false"]),
        (
            json!({"containerStatuses": [running, queue(false)]}),
            &["user-container|running, but its readiness probe does not succeed| 2 false"],
        ),
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "cpu"}]}),
            &["|not scheduled: Unschedulable: cpu| 0 false"],
        ),
    ] {
        assert_eq!(told(status.clone()), expected, "{status}");
    }
}

#[test]
fn pods_on_their_way_out_are_no_trouble() {
    let mut seen = pod(json!({"conditions": [{"type": "PodScheduled", "status": "False"}]}));
    let mut going = (*seen.pods[0]).clone();
    going.metadata.deletion_timestamp = Some(object(json!("2026-11-01T12:00:00Z")));
    seen.pods = vec![Arc::new(going)];
    assert_eq!(pods::troubles(&seen), []);
}

fn reading(configuration: Value, route: Value, revision: Value, deployment: Value) -> Reading {
    let status = |conditions: &Value| json!({"metadata": {"name": "s"}, "status": {"conditions": conditions}});
    let seen = Seen {
        name: "s-00001".to_owned(),
        revision: Some(object(status(&revision))),
        deployment: Some(object(
            json!({"metadata": {"name": "s-00001-deployment"}, "status": {"conditions": deployment}}),
        )),
        ..Seen::default()
    };
    Reading {
        service: object(status(&json!([]))),
        configuration: Some(object(status(&configuration))),
        route: Some(object(status(&route))),
        revisions: vec![seen],
        withheld: Vec::new(),
    }
}

#[test]
fn causes_are_told_and_what_repeats_them_is_not() {
    let failed = json!([condition("Ready", "False", "RevisionFailed")]);
    let missing = json!([
        condition("Ready", "Unknown", "RevisionMissing"),
        condition("AllTrafficAssigned", "Unknown", "RevisionMissing")
    ]);
    let crashed = json!([
        condition("Ready", "False", "ExitCode1"),
        condition("ContainerHealthy", "False", "ExitCode1"),
        condition("ResourcesAvailable", "True", ""),
        {"type": "Active", "status": "False", "severity": "Info", "reason": "NoTraffic"},
    ]);
    let refused = json!([condition("Progressing", "True", ""), condition("ReplicaFailure", "True", "FailedCreate")]);
    let told = |reading: Reading| -> Vec<String> {
        let line = |finding: report::Finding| {
            format!("{} {} {}", finding.object, finding.condition.type_, finding.condition.reason)
        };
        troubles::of_objects(&reading).into_iter().map(line).collect()
    };
    assert_eq!(
        told(reading(failed.clone(), missing.clone(), crashed, refused.clone())),
        [
            "revision/s-00001 ContainerHealthy ExitCode1",
            "deployment/s-00001-deployment ReplicaFailure FailedCreate",
            "route/s AllTrafficAssigned RevisionMissing",
        ]
    );
    let well = json!([condition("Ready", "True", "")]);
    let unroutable =
        json!([condition("Ready", "False", "DomainMappingConflict"), condition("IngressReady", "Unknown", "")]);
    assert_eq!(told(reading(well.clone(), unroutable, well.clone(), json!([]))), ["route/s IngressReady "]);
    assert_eq!(
        told(reading(well.clone(), missing, well.clone(), json!([]))),
        ["route/s AllTrafficAssigned RevisionMissing"]
    );
    assert_eq!(told(reading(failed, well.clone(), well.clone(), refused)), ["configuration/s Ready RevisionFailed"]);
    assert!(told(reading(well.clone(), well.clone(), well, json!([]))).is_empty());
}

#[test]
fn what_scales_a_revision_is_told_in_numbers() {
    let autoscaler: PodAutoscaler = object(json!({
        "metadata": {"name": "s-00001", "annotations": {
            "autoscaling.knative.dev/target": "10", "autoscaling.knative.dev/window": "20s",
            "autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/max-scale": "5",
        }},
        "status": {"desiredScale": 3, "actualScale": 2},
    }));
    let service = |mode: &str| object(json!({"spec": {"mode": mode}}));
    let told = scaling::of(&autoscaler, Some(&service("Proxy")), None, &Autoscaler::default());
    assert_eq!((told.metric.as_str(), told.target, told.total), ("concurrency", Some(7.0), Some(10.0)));
    assert_eq!((told.min, told.max, told.desired, told.actual), (1, 5, Some(3), Some(2)));
    let windows = told.windows.unwrap();
    assert_eq!((windows.stable_s, windows.panic_s, windows.panic_threshold_percent), (20.0, 2.0, 200.0));
    assert_eq!(told.has_activator_in_path, Some(true));
    let told = scaling::of(&autoscaler, Some(&service("Serve")), None, &Autoscaler::default());
    assert_eq!(told.has_activator_in_path, Some(false));
}

#[test]
fn only_what_went_wrong_is_trouble() {
    let key = base_controller::Key::new("n", "s");
    let outcome = |outcome: &str, refused: Value| {
        let last = json!({"at": "2026-11-01T12:00:00Z", "outcome": outcome, "writes": 1, "refused": refused});
        Outcome::read("service", ("Service", &key), &last).unwrap()
    };
    for usual in ["done", "conflict", "again in 2s"] {
        assert!(!outcome(usual, Value::Null).is_trouble(), "{usual}");
    }
    let refused = outcome("refused", json!({"target": "x", "message": "exceeded quota"}));
    assert_eq!((refused.object.as_str(), refused.refused.as_deref()), ("service/s", Some("exceeded quota")));
    assert!(refused.is_trouble() && outcome("could not write", Value::Null).is_trouble());
    assert_eq!(Outcome::read("service", ("Service", &key), &Value::Null), None);
}
