//! Validation of the counts in a status: none is negative, and no part is more than the whole.

use serde_json::Value;

use crate::{
    field_error::{FieldError, FieldPath},
    kinds::check::{Errors, non_negative},
    value::{at, i64_at},
};

const WHOLE: &str = "cannot be greater than status.replicas";

fn count(object: &Value, name: &str) -> i64 {
    i64_at(object, &["status", name]).unwrap_or_default()
}

fn counts(object: &Value, names: &[&str], errors: &mut Errors) {
    let root = FieldPath::Root;
    for name in names {
        non_negative(&object["status"], name, &root.child("status"), errors);
    }
}

/// `part` may not be above `whole`.
fn at_most(object: &Value, part: &str, whole: &str, text: &str, errors: &mut Errors) {
    let value = count(object, part);
    if value > count(object, whole) {
        let root = FieldPath::Root;
        let status = root.child("status");
        errors.push(FieldError::invalid(&status.child(part), value, text));
    }
}

fn never_less(new: &Value, old: &Value, name: &str, errors: &mut Errors) {
    let value = count(new, name);
    if at(old, &["status", name]).is_some() && value < count(old, name) {
        let root = FieldPath::Root;
        let status = root.child("status");
        errors.push(FieldError::invalid(&status.child(name), value, "cannot be decremented"));
    }
}

pub(super) fn validate_deployment(new: &Value, old: &Value, errors: &mut Errors) {
    let names = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    counts(new, &names, errors);
    for part in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        at_most(new, part, "replicas", WHOLE, errors);
    }
    at_most(new, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas", errors);
    never_less(new, old, "collisionCount", errors);
}

pub(super) fn validate_replica_set(new: &Value, errors: &mut Errors) {
    let names = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    counts(new, &names, errors);
    for part in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        at_most(new, part, "replicas", WHOLE, errors);
    }
    at_most(new, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas", errors);
}

pub(super) fn validate_stateful_set(new: &Value, old: &Value, errors: &mut Errors) {
    let names = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    counts(new, &names, errors);
    for part in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
        at_most(new, part, "replicas", WHOLE, errors);
    }
    at_most(new, "availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas", errors);
    never_less(new, old, "collisionCount", errors);
}

pub(super) fn validate_daemon_set(new: &Value, errors: &mut Errors) {
    let names = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    counts(new, &names, errors);
}
