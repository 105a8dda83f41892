//! The conditions of a Revision, and what is read from it.

use super::*;
use crate::autoscaling::PodAutoscalerStatus;
use crate::condition::{ConditionStatus, ConditionedStatus, READY};
use crate::networking::Protocol;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use serde_json::json;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn condition(status: &RevisionStatus, type_: &str) -> (ConditionStatus, String) {
    let condition = status.condition(type_).expect("a condition");
    (condition.status, condition.reason.clone())
}

fn new() -> RevisionStatus {
    let mut status = RevisionStatus::default();
    status.begin(0, NOW);
    status
}

fn autoscaler(name: &str) -> PodAutoscalerStatus {
    let mut status = PodAutoscalerStatus { service_name: name.to_owned(), ..Default::default() };
    status.begin(0, NOW);
    status
}

#[test]
fn it_is_ready_when_the_initial_scale_was_reached() {
    let mut status = new();
    let mut pa = autoscaler("hello-1");
    pa.actual_scale = Some(1);
    pa.desired_scale = Some(-1);
    pa.mark_activating("Queued", "wait", NOW);
    status.propagate_autoscaler(&pa, NOW);
    assert_eq!(condition(&status, READY).0, ConditionStatus::Unknown);
    assert_eq!((status.actual_replicas, status.desired_replicas), (Some(1), None));

    pa.mark_scale_target_initialized(NOW);
    pa.mark_sks_ready(NOW);
    pa.mark_active(NOW);
    status.propagate_autoscaler(&pa, NOW);
    assert!(status.is_true(READY) && status.is_true(ACTIVE) && !status.is_activation_required());

    pa.mark_inactive("NoTraffic", "The target is not receiving traffic.", NOW);
    status.propagate_autoscaler(&pa, NOW);
    assert!(status.is_true(READY) && status.is_activation_required());
    assert_eq!(condition(&status, ACTIVE), (ConditionStatus::False, "NoTraffic".to_owned()));
}

#[test]
fn it_fails_when_the_initial_scale_never_was() {
    let mut status = new();
    let mut pa = autoscaler("hello-1");
    pa.mark_inactive("TimedOut", "The target could not be activated.", NOW);
    status.propagate_autoscaler(&pa, NOW);
    assert_eq!(
        condition(&status, RESOURCES_AVAILABLE),
        (ConditionStatus::False, "ProgressDeadlineExceeded".to_owned())
    );

    let mut broken = new();
    broken.mark_container_unhealthy("ExitCode1", &container_exiting_message("boom"), NOW);
    pa.mark_scale_target_initialized(NOW);
    broken.propagate_autoscaler(&pa, NOW);
    assert_eq!(condition(&broken, READY), (ConditionStatus::False, "ExitCode1".to_owned()));
}

#[test]
fn without_an_autoscaler_it_is_being_deployed() {
    let mut status = new();
    status.propagate_autoscaler(&PodAutoscalerStatus::default(), NOW);
    assert_eq!(condition(&status, RESOURCES_AVAILABLE), (ConditionStatus::Unknown, "Deploying".to_owned()));
    assert_eq!(condition(&status, ACTIVE), (ConditionStatus::Unknown, "Deploying".to_owned()));
}

#[test]
fn a_deployment_tells_whether_pods_can_be_made() {
    let with = |conditions: &[(&str, &str, &str)]| DeploymentStatus {
        conditions: Some(
            conditions
                .iter()
                .map(|(type_, status, reason)| DeploymentCondition {
                    type_: Some((*type_).to_owned()),
                    status: Some((*status).to_owned()),
                    reason: Some((*reason).to_owned()),
                    ..Default::default()
                })
                .collect(),
        ),
        ..Default::default()
    };
    for (conditions, want) in [
        (&[][..], (ConditionStatus::Unknown, "Deploying")),
        (&[("Progressing", "True", "NewReplicaSetAvailable")], (ConditionStatus::True, "")),
        (&[("Progressing", "False", "ProgressDeadlineExceeded")], (ConditionStatus::False, "ProgressDeadlineExceeded")),
        (
            &[("ReplicaFailure", "True", "FailedCreate"), ("Progressing", "True", "x")],
            (ConditionStatus::False, "FailedCreate"),
        ),
    ] {
        let mut status = new();
        status.propagate_deployment(&with(conditions), NOW);
        let (got, reason) = condition(&status, RESOURCES_AVAILABLE);
        assert_eq!((got, reason.as_str()), want);
    }
}

#[test]
fn the_container_with_a_port_serves() {
    let spec: RevisionSpec = serde_json::from_value(json!({
        "containers": [{"name": "side"}, {"name": "main", "ports": [{"containerPort": 80, "name": "h2c"}]}],
    }))
    .expect("a spec");
    assert_eq!(spec.serving_container().map(|c| c.name.as_str()), Some("main"));
    assert_eq!(spec.sidecars().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["side"]);
    let revision = Revision { spec, ..Revision::default() };
    assert_eq!(revision.protocol(), Protocol::H2c);
    assert_eq!(Revision::default().protocol(), Protocol::Http1);
    assert_eq!(Revision::default().spec.serving_container(), None);
}

#[test]
fn the_time_of_a_routing_state_is_when_it_changed() {
    let mut revision = Revision::default();
    assert_eq!(revision.routing_state(), RoutingState::Unset);
    let later = Timestamp::from_second(100).expect("a time");
    revision.set_routing_state(&RoutingState::Active, NOW);
    revision.set_routing_state(&RoutingState::Active, later);
    assert_eq!(revision.routing_state_modified(), Some(NOW));
    revision.set_routing_state(&RoutingState::Reserve, later);
    assert_eq!((revision.routing_state(), revision.routing_state_modified()), (RoutingState::Reserve, Some(later)));
}

#[test]
fn texts_are_knatives() {
    assert_eq!(exit_code_reason(137), "ExitCode137");
    assert_eq!(container_missing_message("a\"b", "gone"), "Unable to fetch image \"a\\\"b\": gone");
}
