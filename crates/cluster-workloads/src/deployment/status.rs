//! A Deployment's status: counts of its sets, availability, progress.
//!
//! A condition that changes moves to the end of the list, and keeps the time of its last transition while its status is the same; one that
//! says the same as before (status and reason) stays as it is. Counts of zero are left out, but for `terminatingReplicas`.

use std::time::Duration;

use base_controller::Condition;
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::resources;
use super::sets::{self, Sets};
use super::size::Bounds;
use crate::replica_set::REPLICA_FAILURE;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";

const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Whether a rollout that does not progress is to be told of.
pub(super) fn has_deadline(deployment: &Deployment) -> bool {
    deployment.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
}

/// The condition of a type.
pub(super) fn condition<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some(type_))
}

/// A condition of the present.
pub(super) fn make_condition(condition: &Condition, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(condition.type_.clone()),
        status: Some(condition.status.clone()),
        reason: Some(condition.reason.clone()),
        message: Some(condition.message.clone()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// A `Progressing` that is true.
pub(super) fn progressing(reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    of(PROGRESSING, "True", (reason, message), now)
}

fn of(type_: &str, status: &str, (reason, message): (&str, String), now: Timestamp) -> DeploymentCondition {
    let condition =
        Condition { type_: type_.to_owned(), status: status.to_owned(), reason: reason.to_owned(), message };
    make_condition(&condition, now)
}

/// Sets a condition, unless it says what is said already.
pub(super) fn set_condition(status: &mut DeploymentStatus, condition: DeploymentCondition) {
    let current = self::condition(status, condition.type_.as_deref().unwrap_or_default());
    if !current.is_some_and(|current| current.status == condition.status && current.reason == condition.reason) {
        replace_condition(status, condition);
    }
}

/// Sets a condition, as the last one, also if only its message or time differs.
fn replace_condition(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    let type_ = condition.type_.clone().unwrap_or_default();
    if let Some(current) = self::condition(status, &type_).filter(|current| current.status == condition.status) {
        condition.last_transition_time.clone_from(&current.last_transition_time);
    }
    remove_condition(status, &type_);
    status.conditions.get_or_insert_default().push(condition);
}

fn remove_condition(status: &mut DeploymentStatus, type_: &str) {
    let Some(conditions) = &mut status.conditions else { return };
    conditions.retain(|condition| condition.type_.as_deref() != Some(type_));
    if conditions.is_empty() {
        status.conditions = None;
    }
}

/// The status to write first when a Deployment has just been paused or resumed: it does not progress, and nobody waits for it to.
pub(super) fn paused_or_resumed(deployment: &Deployment, now: Timestamp) -> Option<DeploymentStatus> {
    let mut status = deployment.status.clone().unwrap_or_default();
    let reason = condition(&status, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    if !has_deadline(deployment) || reason == Some(TIMED_OUT) {
        return None;
    }
    let told = match (resources::is_paused(deployment), reason == Some(PAUSED)) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return None,
    };
    set_condition(&mut status, of(PROGRESSING, "Unknown", (told.0, told.1.to_owned()), now));
    Some(status)
}

/// Whether everything wanted is there, new, and available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = resources::replicas(deployment);
    let is_wanted = |count: Option<i32>| count.unwrap_or_default() == wanted;
    is_wanted(status.updated_replicas)
        && is_wanted(status.replicas)
        && is_wanted(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

/// The counts, and `Available`. Other conditions and the collision count are `base`'s.
pub(super) fn counted(
    deployment: &Deployment,
    sets: &Sets<'_>,
    base: DeploymentStatus,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| sets.all().map(of).sum::<i32>();
    let available = sum(&sets::available);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: count(sum(&|set| sets::status(set).replicas)),
        updated_replicas: count(sets.new.map_or(0, |new| sets::status(new).replicas)),
        ready_replicas: count(sum(&|set| sets::status(set).ready_replicas.unwrap_or_default())),
        available_replicas: count(available),
        unavailable_replicas: count(sum(&sets::replicas) - available),
        terminating_replicas: terminating(sets),
        collision_count: base.collision_count,
        conditions: base.conditions,
    };
    let is_available = available >= Bounds::of(deployment).min_available();
    let told = if is_available {
        ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let value = if is_available { "True" } else { "False" };
    set_condition(&mut status, of(AVAILABLE, value, (told.0, told.1.to_owned()), now));
    status
}

/// The Pods that are ending; unknown as long as one set has not been counted.
fn terminating(sets: &Sets<'_>) -> Option<i32> {
    sets.all().try_fold(0, |sum, set| Some(sum + sets::status(set).terminating_replicas.unwrap_or_default()))
}

fn count(number: i32) -> Option<i32> {
    (number > 0).then_some(number)
}

/// The counts, and what they say about the rollout.
pub(super) fn judged(
    deployment: &Deployment,
    sets: &Sets<'_>,
    base: DeploymentStatus,
    now: Timestamp,
) -> DeploymentStatus {
    let before = deployment.status.clone().unwrap_or_default();
    let current = condition(&base, PROGRESSING).cloned();
    let mut status = counted(deployment, sets, base, now);
    if !has_deadline(deployment) {
        remove_condition(&mut status, PROGRESSING);
    }
    let is_settled = status.replicas == status.updated_replicas
        && current.as_ref().is_some_and(|current| current.reason.as_deref() == Some(NEW_SET_AVAILABLE));
    if has_deadline(deployment) && !is_settled {
        judge(deployment, sets, &before, &mut status, now);
    }
    match failure(sets) {
        Some(failure) => set_condition(&mut status, failure),
        None => remove_condition(&mut status, REPLICA_FAILURE),
    }
    status
}

fn judge(
    deployment: &Deployment,
    sets: &Sets<'_>,
    before: &DeploymentStatus,
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    let subject = match sets.new.and_then(|new| new.metadata.name.as_deref()) {
        Some(name) => format!("ReplicaSet \"{name}\""),
        None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set_condition(status, progressing(NEW_SET_AVAILABLE, message, now));
    } else if has_progressed(before, status) {
        // Its time of update is that of the last progress, so it is written also when nothing else of it changes.
        let message = format!("{subject} is progressing.");
        replace_condition(status, progressing("ReplicaSetUpdated", message, now));
    } else if has_timed_out(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(status, of(PROGRESSING, "False", (TIMED_OUT, message), now));
    }
}

fn has_progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let of = |count: Option<i32>| count.unwrap_or_default();
    let old = |status: &DeploymentStatus| of(status.replicas) - of(status.updated_replicas);
    of(now.updated_replicas) > of(before.updated_replicas)
        || old(now) < old(before)
        || of(now.ready_replicas) > of(before.ready_replicas)
        || of(now.available_replicas) > of(before.available_replicas)
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let Some(condition) = condition(status, PROGRESSING) else { return false };
    match condition.reason.as_deref() {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => deadline(deployment, condition).is_some_and(|deadline| deadline < now),
    }
}

/// When a rollout that shows no more progress has taken too long.
fn deadline(deployment: &Deployment, condition: &DeploymentCondition) -> Option<Timestamp> {
    let since = condition.last_update_time.as_ref()?.0;
    let seconds = deployment.spec.progress_deadline_seconds?;
    since.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// When to look again whether a rollout has taken too long.
pub(super) fn again(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let condition = condition(status, PROGRESSING).filter(|_| has_deadline(deployment))?;
    if is_complete(deployment, status) || condition.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let left = deadline(deployment, condition)?.duration_since(now).max(SignedDuration::ZERO);
    // Times in objects are cut to seconds, so one more is safely past the deadline.
    Some(left.unsigned_abs() + Duration::from_secs(1))
}

/// What the server refused to the new set, else to another one.
fn failure(sets: &Sets<'_>) -> Option<DeploymentCondition> {
    let of_set = |set: &ReplicaSet| {
        let is_failure = |found: &ReplicaSetCondition| found.type_.as_deref() == Some(REPLICA_FAILURE);
        let condition = sets::status(set).conditions?.into_iter().find(is_failure)?;
        Some(DeploymentCondition {
            type_: condition.type_,
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
            last_update_time: condition.last_transition_time.clone(),
            last_transition_time: condition.last_transition_time,
        })
    };
    sets.new.and_then(of_set).or_else(|| sets.old.iter().copied().find_map(of_set))
}
