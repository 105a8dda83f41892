//! A ReplicaSet's status: counts of the Pods that the cache shows, and whether the server refused one.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::Condition;
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use crate::objects::pods;

/// The condition that says that a Pod could not be made or deleted.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What a plan writes of the status.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Outlook {
    status: Option<ReplicaSetStatus>,
    /// The condition of a refusal as it is now.
    #[serde(skip)]
    failure: Option<ReplicaSetCondition>,
}

impl Outlook {
    /// The status stays what it is.
    pub(super) fn unchanged() -> Self {
        Self { status: None, failure: None }
    }

    /// The status of a set.
    pub(super) fn new(set: &ReplicaSet, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), failure: conditions(set).find(|condition| is_failure(condition)).cloned() }
    }

    /// Sets the condition of a refusal. One that is there stays as it is, so that a refusal that names the Pod, which is another one each
    /// time, is no change.
    pub(super) fn mark_failure(&mut self, condition: &Condition, now: Timestamp) {
        let Some(status) = &mut self.status else { return };
        let failure = self.failure.take().unwrap_or_else(|| ReplicaSetCondition {
            type_: Some(condition.type_.clone()),
            status: Some(condition.status.clone()),
            reason: Some(condition.reason.clone()),
            message: Some(condition.message.clone()),
            last_transition_time: Some(Time(now)),
        });
        status.conditions.get_or_insert_default().push(failure);
    }
}

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

fn count(number: usize) -> Option<i32> {
    i32::try_from(number).ok().filter(|number| *number != 0)
}

fn has_labels(pod: &Pod, labels: &BTreeMap<String, String>) -> bool {
    let own = pod.metadata.labels.as_ref();
    labels.iter().all(|(name, value)| own.and_then(|own| own.get(name)) == Some(value))
}

/// The conditions but for the failure, which lasts only while something is refused.
fn other_conditions(set: &ReplicaSet) -> Option<Vec<ReplicaSetCondition>> {
    let others: Vec<_> = conditions(set).filter(|condition| !is_failure(condition)).cloned().collect();
    (!others.is_empty()).then_some(others)
}

fn conditions(set: &ReplicaSet) -> impl Iterator<Item = &ReplicaSetCondition> {
    set.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

fn is_failure(condition: &ReplicaSetCondition) -> bool {
    condition.type_.as_deref() == Some(REPLICA_FAILURE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_that_is_told_again_changes_nothing() {
        let now = Timestamp::UNIX_EPOCH;
        let refused = |pod: &str| Condition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: "FailedCreate".to_owned(),
            message: format!("pods \"{pod}\" is forbidden"),
        };
        let mut set: ReplicaSet = serde_json::from_value(json!({"spec": {"selector": {}}})).unwrap();
        let marked = |set: &ReplicaSet, pod: &str, now| {
            let mut outlook = Outlook::new(set, status(set, &[], 0, now));
            outlook.mark_failure(&refused(pod), now);
            outlook.status.unwrap()
        };
        let first = marked(&set, "a-1", now);
        assert_eq!(first.conditions.as_ref().map(Vec::len), Some(1));
        set.status = Some(first.clone());
        assert_eq!(marked(&set, "a-2", now + std::time::Duration::from_secs(1)), first);
        assert_eq!(status(&set, &[], 0, now).conditions, None, "it goes with the next success");
    }
}
