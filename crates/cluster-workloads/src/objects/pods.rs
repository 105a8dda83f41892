//! In which state a Pod is, as controllers see it, and how they make and delete one.

use std::borrow::Borrow;
use std::time::Duration;

use base_controller::{Change, Object, PlanEvent};
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::{names, owners};

/// The condition that says that a Pod takes traffic.
pub(crate) const READY: &str = "Ready";
/// The condition that says that a Pod has a node.
pub(crate) const POD_SCHEDULED: &str = "PodScheduled";

/// The condition that says that a Pod is to go, and not because of what it does itself.
pub(crate) const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// The Pod's phase; empty if there is none yet.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether the Pod has run to its end, well or not.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the Pod is being deleted.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the Pod counts as a replica: neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// The Pod's condition of this type.
pub(crate) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// Whether the Pod is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, READY).is_some_and(|condition| condition.status == "True")
}

/// Since when the Pod is ready.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, READY).filter(|condition| condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// When a ready Pod counts as available: once it has been ready for `min_ready_s`. None if it is not ready.
pub(crate) fn available_at(pod: &Pod, min_ready_s: i32) -> Option<Timestamp> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_s <= 0 {
        return Some(Timestamp::MIN);
    }
    ready_since(pod)?.checked_add(SignedDuration::from_secs(min_ready_s.into())).ok()
}

/// How long it takes until the next of these Pods is available.
pub(crate) fn next_available(
    pods: impl IntoIterator<Item: Borrow<Pod>>,
    min_ready_s: i32,
    now: Timestamp,
) -> Option<Duration> {
    let at = pods.into_iter().filter_map(|pod| available_at(pod.borrow(), min_ready_s)).filter(|at| *at > now).min()?;
    Some(at.duration_since(now).unsigned_abs())
}

/// A new Pod of a template, which `owner` controls and the server names.
pub(crate) fn from_template<O>(owner: &O, template: PodTemplateSpec) -> Pod
where
    O: Object + Resource<DynamicType = ()>,
{
    let PodTemplateSpec { metadata, spec } = template;
    let (of_template, of_owner) = (metadata.unwrap_or_default(), owner.meta());
    let metadata = ObjectMeta {
        generate_name: Some(names::generate(of_owner.name.as_deref().unwrap_or_default())),
        namespace: of_owner.namespace.clone(),
        labels: of_template.labels,
        annotations: of_template.annotations,
        finalizers: of_template.finalizers,
        owner_references: Some(vec![owners::controller_reference(owner)]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec, status: None }
}

/// Makes a Pod, with the Events that tell of it.
pub(crate) fn creation(pod: &Pod) -> Change {
    Change::create(pod)
        .with_event(PlanEvent::normal("SuccessfulCreate", "Created pod: {name}"))
        .or_event(PlanEvent::warning("FailedCreate", "Error creating: {error}"))
}

/// Deletes a Pod, with the Events that tell of it.
pub(crate) fn deletion(pod: &Pod) -> Change {
    Change::delete(pod)
        .with_event(PlanEvent::normal("SuccessfulDelete", "Deleted pod: {name}"))
        .or_event(PlanEvent::warning("FailedDelete", "Error deleting: {error}"))
}

/// The node that the Pod is bound to.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// How often the container that restarted most has restarted.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
    }

    #[test]
    fn a_pod_is_available_once_it_has_been_ready_for_long_enough() {
        let ready = pod(json!({"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]}));
        assert_eq!(available_at(&ready, 0), Some(Timestamp::MIN));
        assert_eq!(available_at(&ready, 10), Some("2026-01-01T00:00:10Z".parse().unwrap()));
        let unready = pod(json!({"conditions": [{"type": "Ready", "status": "False"}]}));
        assert_eq!(available_at(&unready, 0), None);
    }

    #[test]
    fn only_a_pod_that_may_still_run_is_active() {
        assert!(is_active(&pod(json!({"phase": "Pending"}))));
        assert!(!is_active(&pod(json!({"phase": "Failed"}))));
        let mut ending = pod(json!({"phase": "Running"}));
        ending.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::MIN));
        assert!(!is_active(&ending));
    }
}
