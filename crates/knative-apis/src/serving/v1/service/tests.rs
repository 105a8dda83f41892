//! Reading, writing and the conditions of a Service.

use super::*;
use crate::condition::{ConditionStatus, Conditioned, ConditionedStatus, READY};
use crate::serving::v1::{ConfigurationStatus, RouteStatus};
use jiff::Timestamp;
use serde_json::json;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn condition(status: &ServiceStatus, type_: &str) -> (ConditionStatus, String, String) {
    let condition = status.condition(type_).expect("a condition");
    (condition.status, condition.reason.clone(), condition.message.clone())
}

#[test]
fn what_is_read_is_written() {
    let object = json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello", "namespace": "default", "creationTimestamp": null},
        "spec": {
            "template": {
                "metadata": {"name": "hello-1", "annotations": {"a": "b"}, "creationTimestamp": null},
                "spec": {"containers": [{"image": "x", "name": "c"}], "timeoutSeconds": 5, "containerConcurrency": 0},
            },
            "traffic": [{"percent": 100, "latestRevision": true, "tag": "t"}],
            "unknown": 1,
        },
        "status": {},
    });
    let service: Service = serde_json::from_value(object).expect("a Service");
    assert_eq!(service.spec.template.spec.pod.containers.len(), 1);
    assert_eq!(
        serde_json::to_value(&service).expect("json"),
        json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": "hello", "namespace": "default"},
            "spec": {
                "template": {
                    "metadata": {"name": "hello-1", "annotations": {"a": "b"}},
                    "spec": {"containers": [{"image": "x", "name": "c"}], "timeoutSeconds": 5, "containerConcurrency": 0},
                },
                "traffic": [{"percent": 100, "latestRevision": true, "tag": "t"}],
            },
            "status": {},
        })
    );
}

#[test]
fn nothing_at_all_can_be_read() {
    for text in ["{}", r#"{"metadata": null, "spec": null, "status": null}"#, r#"{"spec": {"template": {"spec": {}}}}"#]
    {
        assert_eq!(serde_json::from_str::<Service>(text).expect(text), Service::default());
    }
}

#[test]
fn ready_when_both_are() {
    let mut service = Service::default();
    service.metadata.generation = Some(1);
    service.status.begin(1, NOW);
    assert_eq!(condition(&service.status, READY).1, "NewObservedGenFailure");

    let mut configuration =
        ConfigurationStatus { latest_created_revision_name: "hello-1".to_owned(), ..Default::default() };
    configuration.set_latest_ready("hello-1", NOW);
    service.status.propagate_configuration(&configuration, NOW);
    service.status.mark_route_not_yet_ready(NOW);
    let waiting = (
        ConditionStatus::Unknown,
        "TrafficNotMigrated".to_owned(),
        "Traffic is not yet migrated to the latest revision.".to_owned(),
    );
    assert_eq!(condition(&service.status, READY), waiting);

    let mut route = RouteStatus { url: "http://hello".to_owned(), ..Default::default() };
    route.begin(0, NOW);
    route.mark_traffic_assigned(NOW);
    route.mark_tls_not_enabled("external-domain-tls is not enabled", NOW);
    route.propagate_ingress(&ready_ingress(), NOW);
    service.status.propagate_route(&route, NOW);
    service.status.set_observed_generation(1);
    assert!(service.is_ready());
    assert_eq!(
        (service.status.url.as_str(), service.status.latest_ready_revision_name.as_str()),
        ("http://hello", "hello-1")
    );
    service.metadata.generation = Some(2);
    assert!(!service.is_ready());
}

fn ready_ingress() -> crate::networking::IngressStatus {
    let mut status = crate::networking::IngressStatus::default();
    status.begin(0, NOW);
    status.mark_network_configured(NOW);
    status.mark_load_balancer_ready(Vec::new(), Vec::new(), NOW);
    status
}

#[test]
fn who_else_has_the_name_is_said() {
    let mut status = ServiceStatus::default();
    status.begin(0, NOW);
    status.mark_configuration_not_owned("hello", NOW);
    let message = "There is an existing Configuration \"hello\" that we do not own.";
    assert_eq!(condition(&status, READY), (ConditionStatus::False, "NotOwned".to_owned(), message.to_owned()));
    status.mark_revision_name_taken("hello-1", NOW);
    assert_eq!(
        condition(&status, ROUTES_READY).2,
        "The revision name \"hello-1\" is taken by a conflicting Revision, so traffic will not be migrated"
    );
}
