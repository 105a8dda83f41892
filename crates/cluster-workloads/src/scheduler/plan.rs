//! Decides what happens to a waiting Pod: it is bound, or told why not.

use base_controller::{Change, Plan, PlanEvent};
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::observe::Observed;
use super::resources;
use crate::objects::pods;

/// What is said of a Pod whose claims have not been bound in time.
const NOT_BOUND: &str = "running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded";

/// Binds the Pod, or has its claims bound first, or sets its condition.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<()> {
    let mut plan = Plan::default();
    let until = |at: Timestamp| at.duration_since(now).max(SignedDuration::ZERO).unsigned_abs();
    match (&observed.verdict.node, &observed.waits) {
        (Some(_), Some((to_tell, hold))) => {
            plan.again = Some(until(hold.until));
            if hold.is_over {
                refuse(&mut plan, &observed.pod, ("SchedulerError", NOT_BOUND), now);
            } else {
                plan.changes.extend(to_tell.iter().cloned());
            }
        }
        (Some(node), None) => plan.changes.push(bind(&observed.pod, node)),
        (None, _) => {
            plan.again = observed.free_at.map(until);
            refuse(&mut plan, &observed.pod, ("Unschedulable", &observed.verdict.message()), now);
        }
    }
    plan
}

fn bind(pod: &Pod, node: &str) -> Change {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let (namespace, pod_name) = (name(&pod.metadata.namespace), name(&pod.metadata.name));
    let bound = format!("Successfully assigned {namespace}/{pod_name} to {node}");
    Change::post(pod, "binding", &resources::make_binding(pod, node))
        .with_event(PlanEvent::normal("Scheduled", bound))
        .or_event(PlanEvent::warning("FailedScheduling", "{error}"))
}

fn refuse(plan: &mut Plan<()>, pod: &Pod, (reason, message): (&str, &str), now: Timestamp) {
    let current = pods::condition(pod, pods::POD_SCHEDULED);
    let is_told =
        current.is_some_and(|current| current.status == "False" && current.message.as_deref() == Some(message));
    if is_told {
        return;
    }
    let conditions = resources::with_unscheduled(pod, (reason, message), now);
    let told = Change::overlay_fields(pod, json!({"status": {"conditions": conditions}})).to_subresource("status");
    plan.changes.push(told);
    plan.events.push(PlanEvent::warning("FailedScheduling", message));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fit::{Verdict, judge};
    use super::super::ledger::Hold;
    use super::super::requests::Amounts;
    use super::*;
    use crate::testing::{Row, Rows};
    use k8s_openapi::api::core::v1::Node;

    fn planned(row: &Row) -> Plan<()> {
        let all: Vec<Arc<Pod>> = row.all();
        let nodes: Vec<Arc<Node>> = row.all();
        let mut used = Amounts::default();
        all.iter().skip(1).for_each(|pod| used.add(&Amounts::requested(pod)));
        let mut verdict = Verdict { nodes: nodes.len(), ..Verdict::default() };
        for node in &nodes {
            match judge(&all[0], node, &used) {
                Ok(()) => verdict.node = node.metadata.name.clone(),
                Err(misfit) => verdict.refuse(misfit),
            }
        }
        plan(&Observed { pod: Arc::clone(&all[0]), verdict, waits: None, free_at: None }, row.now)
    }

    #[test]
    fn rows() {
        Rows::load("src/scheduler/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }

    #[test]
    fn a_pod_whose_claims_are_not_bound_in_time_is_told() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}});
        let row = Row::of(vec![pod]);
        let waiting = |is_over| {
            let verdict = Verdict { node: Some("n1".to_owned()), ..Verdict::default() };
            let hold = Hold { is_over, until: row.now.checked_add(SignedDuration::from_secs(60)).unwrap() };
            plan(&Observed { pod: row.one(), verdict, waits: Some((Vec::new(), hold)), free_at: None }, row.now)
        };
        let minute = Some(std::time::Duration::from_secs(60));
        let patient = waiting(false);
        assert_eq!((patient.changes.len(), patient.events.len(), patient.again), (0, 0, minute));
        let over = waiting(true);
        assert_eq!((over.events[0].message.as_str(), over.again), (NOT_BOUND, minute));
        let told = &json!(over.changes)[0]["fields"]["status"]["conditions"][0];
        assert_eq!((&told["status"], &told["reason"]), (&json!("False"), &json!("SchedulerError")));
    }

    #[test]
    fn who_finds_no_room_looks_again_when_some_becomes_free() {
        let row =
            Row::of(vec![json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}})]);
        let free_at = row.now.checked_add(SignedDuration::from_secs(5)).ok();
        let observed = Observed { pod: row.one(), verdict: Verdict::default(), waits: None, free_at };
        assert_eq!(plan(&observed, row.now).again, Some(std::time::Duration::from_secs(5)));
    }
}
