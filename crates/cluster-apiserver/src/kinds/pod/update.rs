//! What may change in a Pod that exists: images, deadlines that get shorter, more tolerations, fewer gates.

use std::collections::HashSet;

use serde_json::Value;

use super::qos;
use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{check::Errors, strategy::bump_generation},
    names,
    value::{as_object, at, child_mut, copy_field, entries_at, i64_at, list_at, list_at_mut, semantic_eq, str_at},
};

const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Puts back everything but some fields of the spec.
pub(super) fn keep_all_but(new: &mut Value, old: &Value, fields: &[&str]) {
    let mut kept = old.clone();
    for name in fields {
        copy_field(child_mut(&mut kept, "spec"), &new["spec"], name);
    }
    copy_field(child_mut(&mut kept, "metadata"), &new["metadata"], "resourceVersion");
    if !semantic_eq(&kept["spec"], &old["spec"]) {
        bump_generation(&mut kept);
    }
    *new = kept;
}

/// Checks a resize: the class stays, and the node is one that can do it, which it says by telling what a container that runs has.
pub(super) fn validate_resize(new: &Value, old: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let spec = root.child("spec");
    let known = str_at(old, &["status", "qosClass"]);
    let before = if known.is_empty() { qos::class(old) } else { known };
    if before != qos::class(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&spec, str_at(new, &["status", "qosClass"]), why));
    }
    let mut statuses = list_at(old, &["status", "containerStatuses"]).iter();
    let running = statuses.find(|status| at(status, &["state", "running"]).is_some());
    if running.is_some_and(|status| at(status, &["resources"]).is_none()) {
        errors.push(FieldError::forbidden(&spec, "Pod running on node without support for resize"));
    }
}

/// Checks a change of a Pod itself.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let path = root.child("spec");
    let (spec, old_spec) = (&new["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if list_at(spec, &[list]).len() != list_at(old_spec, &[list]).len() {
            let text = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&path.child(list), text));
            return;
        }
    }
    if !validate_deadline(spec, old_spec, &path, errors) {
        return;
    }
    validate_tolerations(spec, old_spec, &path.child("tolerations"), errors);
    validate_gates(spec, old_spec, &path.child("schedulingGates"), errors);
    if !list_at(old_spec, &["schedulingGates"]).is_empty() {
        let now = &spec["nodeSelector"];
        for _ in entries_at(old_spec, &["nodeSelector"]).filter(|(key, value)| now[*key] != **value) {
            let text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(&path.child("nodeSelector"), now, text));
        }
    }
    let unchanged = with_changeable_fields_of(spec, old_spec);
    if !semantic_eq(&unchanged, old_spec) {
        errors.push(FieldError::forbidden(&path, CHANGEABLE));
    }
}

/// Whether to go on.
fn validate_deadline(spec: &Value, old: &Value, path: &FieldPath<'_>, errors: &mut Errors) -> bool {
    let field = path.child("activeDeadlineSeconds");
    let before = i64_at(old, &["activeDeadlineSeconds"]);
    match (i64_at(spec, &["activeDeadlineSeconds"]), before) {
        (Some(seconds), before) => {
            if let Some(text) = names::in_range(seconds, 0, i64::from(i32::MAX)) {
                errors.push(FieldError::invalid(&field, seconds, &text));
                return false;
            }
            if before.is_some_and(|before| before < seconds) {
                errors.push(FieldError::invalid(&field, seconds, "must be less than or equal to previous value"));
                return false;
            }
        }
        (None, Some(_)) => {
            let text = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(&field, &Value::Null, text));
        }
        (None, None) => {}
    }
    true
}

fn validate_tolerations(spec: &Value, old: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        as_object(&mut toleration).remove("tolerationSeconds");
        toleration
    };
    let now: HashSet<Value> = list_at(spec, &["tolerations"]).iter().map(without_seconds).collect();
    if list_at(old, &["tolerations"]).iter().any(|toleration| !now.contains(&without_seconds(toleration))) {
        let text = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(path, text));
    }
}

fn validate_gates(spec: &Value, old: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let before: HashSet<&Value> = list_at(old, &["schedulingGates"]).iter().collect();
    for (index, gate) in list_at(spec, &["schedulingGates"]).iter().enumerate() {
        if !before.contains(gate) {
            let name = str_at(gate, &["name"]);
            let text = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(&path.index(index).child("name"), &text));
        }
    }
}

/// The new spec with everything that may change as it was.
fn with_changeable_fields_of(spec: &Value, old: &Value) -> Value {
    let mut out = spec.clone();
    for list in ["containers", "initContainers"] {
        let before = list_at(old, &[list]);
        for (container, before) in list_at_mut(&mut out, &[list]).iter_mut().zip(before) {
            copy_field(container, before, "image");
        }
    }
    let mut fields = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let was_negative = i64_at(old, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0);
    if was_negative && i64_at(spec, &["terminationGracePeriodSeconds"]) == Some(1) {
        fields.push("terminationGracePeriodSeconds");
    }
    if !list_at(old, &["schedulingGates"]).is_empty() {
        // A Pod that waits at a gate may still be told where to run.
        fields.extend(["nodeSelector", "affinity"]);
    }
    for name in fields {
        copy_field(&mut out, old, name);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resize_keeps_the_class_and_needs_a_node_that_can() {
        let pod = |resources: Value, statuses: Value| {
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]},
                "status": {"qosClass": "Burstable", "containerStatuses": statuses}})
        };
        let wrong = |resources: Value, statuses: Value| {
            let old = pod(json!({"limits": {"cpu": "1"}}), statuses.clone());
            let mut errors = Vec::new();
            validate_resize(&pod(resources, statuses), &old, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let more = json!({"limits": {"cpu": "2"}});
        let class = "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing";
        let node = "spec: Forbidden: Pod running on node without support for resize";
        let running = json!([{"state": {"waiting": {}}}, {"state": {"running": {}}}]);
        assert!(wrong(more.clone(), json!([{"state": {"waiting": {}}}])).is_empty());
        assert_eq!(wrong(json!({}), json!([])), [class]);
        assert_eq!(wrong(more.clone(), running), [node]);
        assert!(wrong(more, json!([{"state": {"running": {}}, "resources": {}}])).is_empty());
    }
}
