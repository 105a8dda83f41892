//! Decides what happens to a waiting Pod: it is bound, or told why not.

use base_controller::{Change, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::observe::Observed;
use super::resources;
use crate::objects::pods;

/// Binds the Pod, or has its claims bound first, or sets its condition.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<()> {
    let mut plan = Plan::default();
    match (&observed.verdict.node, &observed.to_tell) {
        (Some(_), Some(to_tell)) => plan.changes.extend(to_tell.iter().cloned()),
        (Some(node), None) => plan.changes.push(bind(&observed.pod, node)),
        (None, _) => refuse(&mut plan, &observed.pod, observed.verdict.message(), now),
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

fn refuse(plan: &mut Plan<()>, pod: &Pod, message: String, now: Timestamp) {
    let current = pods::condition(pod, pods::POD_SCHEDULED);
    let is_told = current
        .is_some_and(|current| current.status == "False" && current.message.as_deref() == Some(message.as_str()));
    if is_told {
        return;
    }
    let conditions = resources::with_unschedulable(pod, &message, now);
    let told = Change::overlay_fields(pod, json!({"status": {"conditions": conditions}})).to_subresource("status");
    plan.changes.push(told);
    plan.events.push(PlanEvent::warning("FailedScheduling", message));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fit::{Verdict, judge};
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
        plan(&Observed { pod: Arc::clone(&all[0]), verdict, to_tell: None }, row.now)
    }

    #[test]
    fn rows() {
        Rows::load("src/scheduler/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }
}
