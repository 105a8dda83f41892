//! Decides which Pods a ReplicaSet makes or deletes.

use std::sync::Arc;

use base_controller::{Change, Condition, Plan};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::observe::{Observed, selector};
use super::status::{self, Outlook};
use crate::objects::{claim, pods, ranking};

/// Pods that one pass makes or deletes at most; what they wake does the rest.
const MAX_BURST: usize = 500;

/// What a ReplicaSet needs. Adoptions and releases come first and alone: the counts are right in the next pass.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<Outlook> {
    let set = &*observed.replica_set;
    let claimed = claim::all(set, &selector(set), &observed.pods);
    if !claimed.changes.is_empty() {
        return Plan { changes: claimed.changes, ..Plan::new(Outlook::unchanged()) };
    }
    let active: Vec<&Arc<Pod>> = claimed.objects.iter().filter(|pod| pods::is_active(pod)).collect();
    let is_ending = |pod: &&Arc<Pod>| pods::is_terminating(pod) && !pods::is_finished(pod);
    let terminating = claimed.objects.iter().filter(is_ending).count();
    let changes = if set.metadata.deletion_timestamp.is_some() { Vec::new() } else { manage(set, &active, now) };
    let min_ready_s = set.spec.min_ready_seconds.unwrap_or_default();
    let again = pods::next_available(active.iter().map(|pod| &***pod), min_ready_s, now);
    let status = status::status(set, &active, terminating, now);
    Plan { changes, again, ..Plan::new(Outlook::new(set, status)) }
}

/// Makes or deletes what is missing or too much.
fn manage(set: &ReplicaSet, active: &[&Arc<Pod>], now: Timestamp) -> Vec<Change> {
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or_default();
    if active.len() < wanted {
        let missing = (wanted - active.len()).min(MAX_BURST);
        let pod = pods::from_template(set, set.spec.template.clone().unwrap_or_default());
        return std::iter::repeat_with(|| create(&pod)).take(missing).collect();
    }
    let too_many = (active.len() - wanted).min(MAX_BURST);
    ranking::least_useful(active, now).into_iter().take(too_many).map(|pod| delete(pod)).collect()
}

fn create(pod: &Pod) -> Change {
    pods::creation(pod).or_condition(failure("FailedCreate"))
}

fn delete(pod: &Pod) -> Change {
    pods::deletion(pod).or_condition(failure("FailedDelete"))
}

fn failure(reason: &str) -> Condition {
    Condition {
        type_: status::REPLICA_FAILURE.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: "{error}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Row, Rows};

    fn planned(row: &Row) -> Plan<Outlook> {
        plan(&Observed { replica_set: row.one(), pods: row.all() }, row.now)
    }

    #[test]
    fn rows() {
        Rows::load("src/replica_set/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }

    #[test]
    fn a_burst_is_bounded() {
        let row = Row::of(vec![serde_json::json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "many", "namespace": "n", "uid": "u"},
            "spec": {"replicas": 5000, "selector": {"matchLabels": {"a": "b"}}},
        })]);
        assert_eq!(planned(&row).changes.len(), MAX_BURST);
    }
}
