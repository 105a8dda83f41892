//! What all statuses of Knative's kinds share: how a reconcile begins and ends, and what a refused change leaves behind.
//!
//! A status is computed from the cached one: conditions that say the same keep their times. [`begin`] gives every dependent condition a
//! value and, for a generation that has not been looked at, makes `Ready` Unknown (`NewObservedGenFailure`), so that a plan which ends
//! early never claims the new generation is ready. [`end`] says which generation the status is about, whatever came out.

use base_controller::{Change, Condition as PlanCondition, Object, PlanEvent};
use jiff::Timestamp;
use knative_apis::condition::{Conditioned, ConditionedStatus};

/// The status that a reconcile of `object` starts from.
pub(crate) fn begin<K>(object: &K, now: Timestamp) -> K::Status
where
    K: Conditioned,
    K::Status: Clone,
{
    let mut status = object.status().clone();
    status.begin(object.generation(), now);
    status
}

/// Says that the status is about the current generation of `object`.
pub(crate) fn end<K: Conditioned>(object: &K, status: &mut K::Status) {
    status.set_observed_generation(object.generation());
}

/// Sets the condition of a change that was refused, and what follows from it.
pub(crate) fn mark_refused(status: &mut impl ConditionedStatus, refused: &PlanCondition, now: Timestamp) {
    let PlanCondition { type_, status: value, reason, message } = refused;
    let mut manager = status.manage(now);
    match value.as_str() {
        "True" => manager.mark_true_with_reason(type_, reason, message),
        "False" => manager.mark_false(type_, reason, message),
        _ => manager.mark_unknown(type_, reason, message),
    };
}

/// Makes a child (`what` names it: `Route "hello"`), and tells about it: an Event for the success, an Event and a False condition `type_`
/// for the refusal.
pub(crate) fn create<K: Object<DynamicType = ()>>(child: &K, type_: &str, what: &str) -> Change {
    Change::create(child)
        .or_condition(creation_failed(type_, what))
        .with_event(PlanEvent::normal("Created", format!("Created {what}")))
        .or_event(PlanEvent::warning("CreationFailed", format!("Failed to create {what}: {{error}}")))
}

/// Tells about the refusal of a change of a child by an Event and a False condition `type_`.
pub(crate) fn update(change: Change, type_: &str, what: &str) -> Change {
    let condition = update_failed(type_, what);
    let event = PlanEvent::warning("UpdateFailed", condition.message.clone());
    change.or_condition(condition).or_event(event)
}

/// The condition that the refusal to make a child means: `Failed to create <what>: <the server's words>`.
pub(crate) fn creation_failed(type_: &str, what: &str) -> PlanCondition {
    PlanCondition {
        type_: type_.to_owned(),
        status: "False".to_owned(),
        reason: "CreationFailed".to_owned(),
        message: format!("Failed to create {what}: {{error}}"),
    }
}

/// The condition that the refusal to change a child means.
pub(crate) fn update_failed(type_: &str, what: &str) -> PlanCondition {
    PlanCondition {
        type_: type_.to_owned(),
        status: "False".to_owned(),
        reason: "UpdateFailed".to_owned(),
        message: format!("Failed to update {what}: {{error}}"),
    }
}
