//! Calculates a PodDisruptionBudget.

use std::collections::BTreeMap;

use base_controller::{Plan, PlanEvent};
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::observe::Observed;
use super::scale::Scale;
use super::status::{self, Numbers};
use crate::objects::percent::{Round, scaled};
use crate::objects::{owners, pods};

/// An evicted Pod that is not seen going for so long stays, in seconds.
const DELETION_TIMEOUT_S: i64 = 2 * 60;

/// The budget's status: from what its Pods are now, and from what the API server has noted about evictions.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<Option<PodDisruptionBudgetStatus>> {
    let mut events = Vec::new();
    if observed.pods.is_empty() {
        events.push(PlanEvent::normal("NoPods", "No matching pods found"));
    }
    let (disrupted, again) = disrupted(observed, now);
    let status = match expected(observed, &mut events) {
        Ok((expected_pods, desired_healthy)) => {
            let healthy = observed.pods.iter().filter(|pod| is_healthy(pod, &disrupted)).count();
            let current_healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
            status::calculated(
                &observed.budget,
                Numbers { expected_pods, desired_healthy, current_healthy },
                disrupted,
                now,
            )
        }
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            events.push(PlanEvent::warning("CalculateExpectedPodCountFailed", message));
            status::failed(&observed.budget, &why, now)
        }
    };
    Plan { events, again, ..Plan::new(Some(status)) }
}

fn is_healthy(pod: &Pod, disrupted: &BTreeMap<String, Time>) -> bool {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    !pods::is_terminating(pod) && !disrupted.contains_key(name) && pods::is_ready(pod)
}

/// The evicted Pods that are still to go, and when the first of them is given up.
fn disrupted(observed: &Observed, now: Timestamp) -> (BTreeMap<String, Time>, Option<std::time::Duration>) {
    let noted = observed.budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let going = observed.pods.iter().filter(|pod| !pods::is_terminating(pod)).filter_map(|pod| {
        let (name, at) = noted?.get_key_value(pod.metadata.name.as_deref()?)?;
        let until = at.0.checked_add(SignedDuration::from_secs(DELETION_TIMEOUT_S)).ok()?;
        (until > now).then(|| (name.clone(), at.clone(), until.duration_since(now).unsigned_abs()))
    });
    let going: Vec<_> = going.collect();
    let again = going.iter().map(|(_, _, left)| *left).min();
    (going.into_iter().map(|(name, at, _)| (name, at)).collect(), again)
}

/// How many Pods there should be, and how many of them have to be healthy.
fn expected(observed: &Observed, events: &mut Vec<PlanEvent>) -> Result<(i32, i32), String> {
    let Some(spec) = &observed.budget.spec else { return Ok((0, 0)) };
    if let Some(unavailable) = &spec.max_unavailable {
        let expected = scale(observed, events)?;
        return Ok((expected, (expected - scaled(unavailable, expected, Round::Up)).max(0)));
    }
    match &spec.min_available {
        None => Ok((0, 0)),
        Some(IntOrString::Int(count)) => Ok((i32::try_from(observed.pods.len()).unwrap_or(i32::MAX), *count)),
        Some(share) => {
            let expected = scale(observed, events)?;
            Ok((expected, scaled(share, expected, Round::Up)))
        }
    }
}

/// The sum of the sizes of all controllers of the Pods.
fn scale(observed: &Observed, events: &mut Vec<PlanEvent>) -> Result<i32, String> {
    let mut sizes = BTreeMap::new();
    let mut has_unmanaged = false;
    for pod in &observed.pods {
        let Some(owner) = owners::controller_of(&pod.metadata) else {
            has_unmanaged = true;
            continue;
        };
        match observed.scales.get(&owner.uid) {
            Some(Scale::Of { uid, replicas }) => {
                sizes.insert(uid, *replicas);
            }
            Some(Scale::None { resource }) => {
                return Err(format!("{resource} does not implement the scale subresource"));
            }
            Some(Scale::Unknown) | None => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                return Err(format!("found no controllers for pod {name:?}"));
            }
        }
    }
    if has_unmanaged {
        events.push(unmanaged(observed));
    }
    Ok(sizes.values().fold(0, |sum: i32, size| sum.saturating_add(*size)))
}

fn unmanaged(observed: &Observed) -> PlanEvent {
    let selector = observed.budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()).map(shown).unwrap_or_default();
    let message = format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    );
    PlanEvent::warning("UnmanagedPods", message)
}

/// A selector as Go prints it.
fn shown(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(name, value)| format!("{name}: {value},"));
    let requirements = selector.match_expressions.iter().flatten().map(|requirement| {
        let values = requirement.values.as_deref().unwrap_or_default().join(" ");
        let (key, operator) = (&requirement.key, &requirement.operator);
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    });
    let (labels, requirements) = (labels.collect::<String>(), requirements.collect::<String>());
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rows;

    #[test]
    fn rows() {
        Rows::load("src/disruption/testdata/plan.yaml").check(|row| {
            let scales = serde_json::from_value::<BTreeMap<String, i32>>(row.config.clone()).unwrap_or_default();
            let known = |(uid, replicas): (String, i32)| (uid.clone(), Scale::Of { uid, replicas });
            let job = Scale::None { resource: "jobs.batch".to_owned() };
            let scales = scales.into_iter().map(known).chain([("job".to_owned(), job)]).collect();
            let observed = Observed { budget: row.one(), pods: row.all(), scales };
            serde_json::to_value(plan(&observed, row.now)).unwrap()
        });
    }
}
