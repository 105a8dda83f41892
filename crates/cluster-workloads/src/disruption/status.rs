//! A PodDisruptionBudget's status, and its one condition: `DisruptionAllowed`.

use std::collections::BTreeMap;

use base_rt::Timestamp;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

/// What was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) expected_pods: i32,
    pub(super) desired_healthy: i32,
    pub(super) current_healthy: i32,
}

/// The status that follows from numbers. A budget that expects no Pods allows nothing, lest the first ones are evicted before they are counted.
pub(super) fn calculated(
    budget: &PodDisruptionBudget,
    numbers: Numbers,
    disrupted: BTreeMap<String, Time>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let spare = (numbers.current_healthy - numbers.desired_healthy).max(0);
    let allowed = if numbers.expected_pods > 0 { spare } else { 0 };
    let old = budget.status.clone().unwrap_or_default();
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(numbers.current_healthy),
        desired_healthy: Some(numbers.desired_healthy),
        expected_pods: Some(numbers.expected_pods),
        disruptions_allowed: Some(allowed),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        observed_generation: budget.metadata.generation,
        conditions: old.conditions,
    };
    let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set_condition(&mut status, value, reason, "", now);
    status
}

/// The status when nothing could be calculated: nothing is allowed, whatever else it says.
pub(super) fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    set_condition(&mut status, "False", "SyncFailed", why, now);
    status
}

fn set_condition(status: &mut PodDisruptionBudgetStatus, value: &str, reason: &str, message: &str, now: Timestamp) {
    let observed_generation = status.observed_generation;
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter().find(|condition| condition.type_ == DISRUPTION_ALLOWED);
    let since = old.filter(|old| old.status == value).map_or(Time(now), |old| old.last_transition_time.clone());
    let new = Condition {
        type_: DISRUPTION_ALLOWED.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == DISRUPTION_ALLOWED) {
        Some(condition) => *condition = new,
        None => conditions.push(new),
    }
}
