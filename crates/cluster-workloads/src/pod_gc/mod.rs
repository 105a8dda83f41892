//! Pods that no node will ever report on again: their node's record is gone, or they were deleted before they had a node.
//!
//! A node that is not there may only not have told of itself yet, so its Pods are left alone for [`QUARANTINE_S`] after this process started or the
//! node went. Who waits for their end learns it before they go: they have failed, and if their node is lost, were to be disrupted. Specified by `k8s.io/kubernetes/pkg/controller/podgc`.

mod absence;

use std::sync::Arc;
use std::time::Duration;

use absence::Absence;
use base_controller::writers::Write;
use base_controller::{Change, Context, Controller, Delta, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::json;

use crate::objects::pods;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "pod-garbage-collector";

/// How long a node may be missing before its Pods go, in seconds.
const QUARANTINE_S: i64 = 40;

/// Removes orphaned Pods.
struct PodGarbage {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    absence: Absence,
}

/// The facts about one Pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Observed {
    pod: Arc<Pod>,
    /// Since when its node is not there.
    node_gone_since: Option<Timestamp>,
}

impl Reconciler for PodGarbage {
    type Object = Pod;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] =
        &[Write::deletion("", "Pod"), Write::fields("", "Pod", &["status.phase", "status.conditions"])];

    fn gather(&self, key: &Key) -> Option<Observed> {
        let pod = self.pods.get(key)?;
        if !is_suspect(&pod, &self.nodes) {
            return None;
        }
        let node_gone_since = pods::node_name(&pod).map(|name| self.absence.since(name));
        Some(Observed { pod, node_gone_since })
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Pod>> {
        Some(&observed.pod)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<()> {
        plan(observed, now)
    }
}

/// Whether the Pod's node is not there, or it is being deleted and has none.
fn is_suspect(pod: &Pod, nodes: &Informer<Node>) -> bool {
    match pods::node_name(pod) {
        Some(name) => nodes.get(&Key::cluster(name)).is_none(),
        None => pods::is_terminating(pod),
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let pods = context.informers.get::<Pod>(Scope::all());
    let nodes = context.informers.get::<Node>(Scope::all());
    let absence = Absence::follow(&nodes, context.clock);
    let on_node = pods.index("node", |pod| pods::node_name(pod).map(str::to_owned).into_iter().collect());
    let woken = move |delta: &Delta<'_, Node>| {
        let gone = delta.old.filter(|_| delta.new.is_none()).and_then(|node| node.metadata.name.clone());
        let pods = gone.map(|name| on_node.get(&name)).unwrap_or_default();
        pods.iter().map(|pod| Key::of(&**pod)).collect()
    };
    let garbage = PodGarbage { pods: pods.clone(), nodes: nodes.clone(), absence };
    let known = nodes.clone();
    Controller::of_those(NAME, garbage, &pods, context, move |pod| is_suspect(pod, &known))
        .watches(&nodes, woken)
        .start();
}

fn plan(observed: &Observed, now: Timestamp) -> Plan<()> {
    let mut plan = Plan::default();
    let quarantine = SignedDuration::from_secs(QUARANTINE_S);
    let due = observed.node_gone_since.map_or(Some(now), |since| since.checked_add(quarantine).ok());
    match due {
        Some(due) if due > now => plan.again = Some(due.duration_since(now).unsigned_abs() + Duration::from_secs(1)),
        _ => {
            plan.changes.extend(fail(observed, now));
            plan.changes.push(Change::delete(&*observed.pod).with_grace_period_s(0));
        }
    }
    plan
}

/// Says that the Pod has failed, unless it has come to its end: no node ever will.
fn fail(observed: &Observed, now: Timestamp) -> Option<Change> {
    let pod = &*observed.pod;
    if pods::is_finished(pod) {
        return None;
    }
    let mut conditions = pod.status.clone().and_then(|status| status.conditions).unwrap_or_default();
    if observed.node_gone_since.is_some() {
        conditions.retain(|condition| condition.type_ != pods::DISRUPTION_TARGET);
        conditions.push(PodCondition {
            type_: pods::DISRUPTION_TARGET.to_owned(),
            status: "True".to_owned(),
            reason: Some("DeletionByPodGC".to_owned()),
            message: Some("PodGC: node no longer exists".to_owned()),
            last_transition_time: Some(Time(now)),
            ..PodCondition::default()
        });
    }
    let status = json!({"phase": "Failed", "conditions": conditions});
    Some(Change::overlay_fields(pod, json!({ "status": status })).to_subresource("status"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodStatus;

    #[test]
    fn pods_of_a_lost_node_go_after_the_quarantine() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let observed = |since: Option<i64>| Observed { pod: Arc::default(), node_gone_since: since.map(at) };
        let early = plan(&observed(Some(100)), at(120));
        assert_eq!((early.changes.len(), early.again), (0, Some(Duration::from_secs(21))));
        let late = serde_json::to_value(plan(&observed(Some(100)), at(141)).changes).unwrap();
        assert_eq!(late[0]["fields"]["status"]["phase"], "Failed");
        assert_eq!(late[0]["fields"]["status"]["conditions"][0]["reason"], "DeletionByPodGC");
        assert_eq!(late[1]["gracePeriodSeconds"], 0);
        assert_eq!(plan(&observed(None), at(0)).changes.len(), 2, "it never had a node");
        let status = PodStatus { phase: Some("Succeeded".to_owned()), ..PodStatus::default() };
        let ended = Arc::new(Pod { status: Some(status), ..Pod::default() });
        assert_eq!(plan(&Observed { pod: ended, node_gone_since: None }, at(0)).changes.len(), 1, "it has ended");
    }
}
