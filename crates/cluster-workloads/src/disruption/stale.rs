//! Pods that were told to go and stayed: after two minutes their condition `DisruptionTarget` says so no more.

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Change, Context, Controller, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::json;

use crate::objects::pods::{self, DISRUPTION_TARGET};

/// The name of this controller: of its tasks and its metrics.
const NAME: &str = "stale-disruptions";
/// A node may take its time.
const BY_NODE: &str = "TerminationByKubelet";
/// How long the condition is believed, in seconds.
const TIMEOUT_S: i64 = 2 * 60;

struct StaleDisruptions {
    pods: Informer<Pod>,
}

/// A Pod that is to be disrupted and is not being deleted.
#[derive(Debug, Serialize)]
struct Observed {
    pod: Arc<Pod>,
}

impl Reconciler for StaleDisruptions {
    type Object = Pod;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[Write::fields("", "Pod", &["status.conditions[DisruptionTarget]"])];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.pods.get(key).filter(|pod| told(pod).is_some()).map(|pod| Observed { pod })
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Pod>> {
        Some(&observed.pod)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<()> {
        plan(&observed.pod, now)
    }
}

pub(super) fn start(context: &Context) {
    let pods = context.informers.get::<Pod>(Scope::all());
    let disruptions = StaleDisruptions { pods: pods.clone() };
    Controller::of_those(NAME, disruptions, &pods, context, |pod| told(pod).is_some()).start();
}

/// The condition, of a Pod that should be gone soon.
fn told(pod: &Pod) -> Option<&PodCondition> {
    let told = pods::condition(pod, DISRUPTION_TARGET).filter(|_| pods::is_active(pod))?;
    (told.status == "True" && told.reason.as_deref() != Some(BY_NODE)).then_some(told)
}

fn plan(pod: &Pod, now: Timestamp) -> Plan<()> {
    let mut plan = Plan::default();
    let Some(told) = told(pod) else { return plan };
    let since = told.last_transition_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
    match since.checked_add(SignedDuration::from_secs(TIMEOUT_S)) {
        Ok(due) if due > now => plan.again = Some(due.duration_since(now).unsigned_abs()),
        _ => plan.changes.push(take_back(pod, now)),
    }
    plan
}

fn take_back(pod: &Pod, now: Timestamp) -> Change {
    let mut conditions = pod.status.clone().and_then(|status| status.conditions).unwrap_or_default();
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == DISRUPTION_TARGET) {
        *condition = PodCondition {
            type_: DISRUPTION_TARGET.to_owned(),
            status: "False".to_owned(),
            last_transition_time: Some(Time(now)),
            observed_generation: condition.observed_generation,
            ..PodCondition::default()
        };
    }
    // What the old condition said goes with it.
    let conditions = json!(conditions.iter().map(with_nulls).collect::<Vec<_>>());
    Change::overlay_fields(pod, json!({"status": {"conditions": conditions}})).to_subresource("status")
}

fn with_nulls(condition: &PodCondition) -> serde_json::Value {
    let mut value = json!(condition);
    if condition.type_ == DISRUPTION_TARGET {
        value["reason"] = json!(condition.reason);
        value["message"] = json!(condition.message);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(reason: &str, now: &str) -> Plan<()> {
        let told = json!({"type": DISRUPTION_TARGET, "status": "True", "reason": reason, "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let pod = json!({"metadata": {"name": "p", "namespace": "n"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}, told]}});
        plan(&serde_json::from_value(pod).unwrap(), now.parse().unwrap())
    }

    #[test]
    fn after_two_minutes_the_condition_is_taken_back() {
        let early = planned("EvictionByEvictionAPI", "2026-01-01T00:01:00Z");
        assert_eq!((early.changes.len(), early.again.unwrap().as_secs()), (0, 60));
        let late = planned("EvictionByEvictionAPI", "2026-01-01T00:02:00Z");
        let fields = &serde_json::to_value(&late.changes).unwrap()[0]["fields"]["status"]["conditions"];
        assert_eq!(fields[1]["status"], "False");
        assert!(fields[1]["reason"].is_null() && fields[0]["type"] == "Ready");
        assert!(planned(BY_NODE, "2026-01-01T00:02:00Z").changes.is_empty());
    }
}
