//! What the scheduler writes: a binding, and the condition of a Pod that fits nowhere.

use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::objects::pods;

/// The binding of a Pod to a node.
pub(super) fn make_binding(pod: &Pod, node: &str) -> Binding {
    Binding {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    }
}

/// The Pod's conditions with `PodScheduled` false.
pub(super) fn with_unscheduled(pod: &Pod, (reason, message): (&str, &str), now: Timestamp) -> Vec<PodCondition> {
    let status = pod.status.as_ref();
    let mut conditions = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let current = pods::condition(pod, pods::POD_SCHEDULED).filter(|current| current.status == "False");
    let since = current.and_then(|current| current.last_transition_time.clone()).unwrap_or(Time(now));
    conditions.retain(|condition| condition.type_ != pods::POD_SCHEDULED);
    conditions.push(PodCondition {
        type_: pods::POD_SCHEDULED.to_owned(),
        status: "False".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(since),
        ..PodCondition::default()
    });
    conditions
}
