//! Which conditions are not True, of the objects that a Service consists of. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knative_apis::condition::{Condition, ConditionStatus, ConditionedStatus, READY, Severity};
use knative_apis::serving::v1::Route;
use knative_apis::serving::v1::route::ALL_TRAFFIC_ASSIGNED;

use super::reading::{Reading, Seen};
use super::report::Finding;

/// The condition of a Deployment whose Pods are refused.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What is not as it should be: the causes, which are in the Revisions, and what else a Route misses. Where there is neither, the
/// Configuration says why there is no Revision. The Service's own conditions only repeat these.
pub(super) fn of_objects(reading: &Reading) -> Vec<Finding> {
    let name = reading.service.metadata.name.as_deref().unwrap_or_default();
    let mut findings: Vec<Finding> = reading.revisions.iter().flat_map(of_revision).collect();
    if let Some(configuration) = reading.configuration.as_ref().filter(|_| findings.is_empty()) {
        findings.extend(unmet(&format!("configuration/{name}"), configuration.status.conditions()));
    }
    findings.extend(reading.route.iter().flat_map(|route| of_route(&format!("route/{name}"), route)));
    findings
}

/// All else waits until a Route knows its Revisions.
fn of_route(object: &str, route: &Route) -> Vec<Finding> {
    let mut findings = unmet(object, route.status.conditions());
    if findings.iter().any(|found| found.condition.type_ == ALL_TRAFFIC_ASSIGNED) {
        findings.retain(|found| found.condition.type_ == ALL_TRAFFIC_ASSIGNED);
    }
    findings
}

fn of_revision(seen: &Seen) -> Vec<Finding> {
    let Some(revision) = &seen.revision else { return Vec::new() };
    let mut findings = unmet(&format!("revision/{}", seen.name), revision.status.conditions());
    let is_troubled = !findings.is_empty();
    findings.extend(seen.deployment.as_ref().filter(|_| is_troubled).into_iter().flat_map(of_deployment));
    findings
}

/// The conditions that an object is not ready without, and that are not True: if some are False, these; `Ready` itself if nothing else is
/// said.
fn unmet(object: &str, conditions: &[Condition]) -> Vec<Finding> {
    let mut unmet: Vec<&Condition> =
        conditions.iter().filter(|condition| !condition.is_true() && condition.severity == Severity::Error).collect();
    let keeps: [fn(&Condition) -> bool; 2] = [|condition| condition.type_ != READY, Condition::is_false];
    for is_kept in keeps {
        if unmet.iter().any(|condition| is_kept(condition)) {
            unmet.retain(|condition| is_kept(condition));
        }
    }
    unmet.into_iter().map(|condition| Finding { object: object.to_owned(), condition: condition.clone() }).collect()
}

/// What a Deployment says of Pods that it may not make; that it is late, its Revision says.
fn of_deployment(deployment: &Deployment) -> Option<Finding> {
    let mut conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let failure = conditions.find(|condition| {
        condition.type_.as_deref() == Some(REPLICA_FAILURE) && condition.status.as_deref() == Some("True")
    })?;
    let condition = Condition {
        type_: REPLICA_FAILURE.to_owned(),
        status: ConditionStatus::True,
        last_transition_time: failure.last_transition_time.as_ref().map(|time| Time(time.0)),
        reason: failure.reason.clone().unwrap_or_default(),
        message: failure.message.clone().unwrap_or_default(),
        ..Condition::default()
    };
    Some(Finding {
        object: format!("deployment/{}", deployment.metadata.name.as_deref().unwrap_or_default()),
        condition,
    })
}
