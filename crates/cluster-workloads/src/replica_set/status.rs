//! A ReplicaSet's status: counts of the Pods that the cache shows, and whether the server refused one.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::Condition;
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::objects::pods;

/// The condition that says that a Pod could not be made or deleted.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status that these Pods make. Counts of zero are left out, but for `replicas` and `terminatingReplicas`.
pub(super) fn status(set: &ReplicaSet, active: &[&Arc<Pod>], terminating: usize, now: Timestamp) -> ReplicaSetStatus {
    let template = set.spec.template.as_ref().and_then(|template| template.metadata.as_ref());
    let no_labels = BTreeMap::new();
    let labels = template.and_then(|meta| meta.labels.as_ref()).unwrap_or(&no_labels);
    let min_ready_s = set.spec.min_ready_seconds.unwrap_or_default();
    let count = |is_counted: &dyn Fn(&Pod) -> bool| count(active.iter().filter(|pod| is_counted(pod)).count());
    ReplicaSetStatus {
        replicas: self::count(active.len()).unwrap_or_default(),
        fully_labeled_replicas: count(&|pod| has_labels(pod, labels)),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|pod| pods::available_at(pod, min_ready_s).is_some_and(|at| at <= now)),
        terminating_replicas: Some(self::count(terminating).unwrap_or_default()),
        observed_generation: set.metadata.generation,
        conditions: other_conditions(set),
    }
}

/// Sets the condition of a refusal.
pub(super) fn mark_failure(status: &mut ReplicaSetStatus, condition: &Condition, now: Timestamp) {
    status.conditions.get_or_insert_default().push(ReplicaSetCondition {
        type_: Some(condition.type_.clone()),
        status: Some(condition.status.clone()),
        reason: Some(condition.reason.clone()),
        message: Some(condition.message.clone()),
        last_transition_time: Some(Time(now)),
    });
}

fn count(number: usize) -> Option<i32> {
    i32::try_from(number).ok().filter(|number| *number != 0)
}

fn has_labels(pod: &Pod, labels: &BTreeMap<String, String>) -> bool {
    let own = pod.metadata.labels.as_ref();
    labels.iter().all(|(name, value)| own.and_then(|own| own.get(name)) == Some(value))
}

/// The conditions but for the failure, which lasts only while something is refused.
fn other_conditions(set: &ReplicaSet) -> Option<Vec<ReplicaSetCondition>> {
    let conditions = set.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_other = |condition: &&ReplicaSetCondition| condition.type_.as_deref() != Some(REPLICA_FAILURE);
    let others: Vec<_> = conditions.filter(is_other).cloned().collect();
    (!others.is_empty()).then_some(others)
}
