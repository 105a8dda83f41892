//! Where Pods may run: tolerations and taints, affinity, spread, and the classes PriorityClass and RuntimeClass.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::{
    Generation, Rules, Strategy,
    check::{Errors, fixed, immutable, one_of, required, supported_value, texts},
    metadata::validate_labels,
    resources, selector,
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{at, i64_at, list_at, str_at, strings_at},
};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks a list of tolerations.
pub(super) fn validate_tolerations(list: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for (index, toleration) in list_at(list, &[]).iter().enumerate() {
        let item = path.index(index);
        let key = str_at(toleration, &["key"]);
        let operator = str_at(toleration, &["operator"]);
        let effect = str_at(toleration, &["effect"]);
        if key.is_empty() {
            if operator != "Exists" {
                let text = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                errors.push(FieldError::invalid(&item.child("operator"), operator, text));
            }
        } else {
            texts(&item.child("key"), key, names::qualified_name(key), errors);
        }
        if at(toleration, &["tolerationSeconds"]).is_some() && effect != "NoExecute" {
            let text = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&item.child("effect"), effect, text));
        }
        validate_operator(toleration, operator, &item.child("operator"), errors);
        if !effect.is_empty() {
            supported_value(effect, EFFECTS, &item.child("effect"), errors);
        }
    }
}

fn validate_operator(toleration: &Value, operator: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let value = str_at(toleration, &["value"]);
    match operator {
        "Equal" | "" => {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                errors.push(FieldError::invalid(path, value, &wrong.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            errors.push(FieldError::invalid(path, value, "value must be empty when `operator` is 'Exists'"));
        }
        "Exists" => {}
        "Lt" | "Gt" => errors.push(FieldError::not_supported(path, operator, &["Equal", "Exists", "Lt", "Gt"])),
        other => errors.push(FieldError::not_supported(path, other, &["Equal", "Exists"])),
    }
}

/// Checks the taints of a node.
pub(super) fn validate_taints(list: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let taints = list_at(list, &[]);
    let mut seen = HashSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let item = path.index(index);
        let (key, value) = (str_at(taint, &["key"]), str_at(taint, &["value"]));
        texts(&item.child("key"), key, names::qualified_name(key), errors);
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&item.child("value"), value, &wrong.join(";")));
        }
        one_of(taint, "effect", EFFECTS, &item, errors);
        if !seen.insert((&taint["key"], &taint["effect"])) {
            let mut error = FieldError::duplicate(&item, taint);
            error.message.push_str(": taints must be unique by key and effect pair");
            errors.push(error);
        }
    }
}

/// Checks an Affinity.
pub(super) fn validate_affinity(affinity: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let field = path.child("nodeAffinity");
    if let Some(required) = at(affinity, &["nodeAffinity", REQUIRED]) {
        validate_node_selector(required, &field.child(REQUIRED), errors);
    }
    let list = field.child(PREFERRED);
    for (index, term) in list_at(affinity, &["nodeAffinity", PREFERRED]).iter().enumerate() {
        let item = list.index(index);
        validate_weight(term, &item, errors);
        validate_node_selector_term(&term["preference"], false, &item.child("preference"), errors);
    }
    for name in ["podAffinity", "podAntiAffinity"] {
        let field = path.child(name);
        let list = field.child(REQUIRED);
        for (index, term) in list_at(affinity, &[name, REQUIRED]).iter().enumerate() {
            validate_pod_affinity_term(term, &list.index(index), errors);
        }
        let list = field.child(PREFERRED);
        for (index, term) in list_at(affinity, &[name, PREFERRED]).iter().enumerate() {
            let item = list.index(index);
            validate_weight(term, &item, errors);
            validate_pod_affinity_term(&term["podAffinityTerm"], &item.child("podAffinityTerm"), errors);
        }
    }
}

fn validate_weight(term: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let weight = i64_at(term, &["weight"]).unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

/// Checks a NodeSelector.
pub(super) fn validate_node_selector(selector: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let field = path.child("nodeSelectorTerms");
    let terms = list_at(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        errors.push(FieldError::required(&field, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        validate_node_selector_term(term, true, &field.index(index), errors);
    }
}

fn validate_node_selector_term(term: &Value, checks_values: bool, path: &FieldPath<'_>, errors: &mut Errors) {
    let list = path.child("matchExpressions");
    for (index, requirement) in list_at(term, &["matchExpressions"]).iter().enumerate() {
        validate_node_requirement(requirement, checks_values, &list.index(index), errors);
    }
    let list = path.child("matchFields");
    for (index, requirement) in list_at(term, &["matchFields"]).iter().enumerate() {
        validate_node_field(requirement, &list.index(index), errors);
    }
}

fn validate_node_requirement(requirement: &Value, checks_values: bool, path: &FieldPath<'_>, errors: &mut Errors) {
    let values = strings_at(requirement, &["values"]);
    let field = path.child("values");
    match str_at(requirement, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(FieldError::required(&field, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&field, text));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.push(FieldError::required(&field, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    let key = str_at(requirement, &["key"]);
    texts(&path.child("key"), key, names::qualified_name(key), errors);
    for (index, value) in values.iter().enumerate().filter(|_| checks_values) {
        texts(&field.index(index), value, names::label_value(value), errors);
    }
}

fn validate_node_field(requirement: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let values = strings_at(requirement, &["values"]);
    let field = path.child("values");
    match str_at(requirement, &["operator"]) {
        "In" | "NotIn" if values.len() != 1 => {
            let text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(&field, text));
        }
        "In" | "NotIn" => {}
        other => errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    let key = str_at(requirement, &["key"]);
    if key != "metadata.name" {
        errors.push(FieldError::invalid(&path.child("key"), key, "not a valid field selector key"));
        return;
    }
    for (index, value) in values.iter().enumerate() {
        texts(&field.index(index), value, names::dns1123_subdomain(value), errors);
    }
}

fn validate_pod_affinity_term(term: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    selector::validate(&term["labelSelector"], &path.child("labelSelector"), errors);
    selector::validate(&term["namespaceSelector"], &path.child("namespaceSelector"), errors);
    for name in strings_at(term, &["namespaces"]) {
        texts(&path.child("namespace"), name, names::dns1123_label(name), errors);
    }
    let key = str_at(term, &["topologyKey"]);
    if key.is_empty() {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    texts(&path.child("topologyKey"), key, names::qualified_name(key), errors);
}

/// Checks topologySpreadConstraints.
pub(super) fn validate_spread(list: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let constraints = list_at(list, &[]);
    let pair = |constraint| (str_at(constraint, &["topologyKey"]), str_at(constraint, &["whenUnsatisfiable"]));
    // Of several the last one is told to be fine.
    let last: BTreeMap<_, _> = constraints.iter().map(pair).enumerate().map(|(index, pair)| (pair, index)).collect();
    for (index, constraint) in constraints.iter().enumerate() {
        let item = path.index(index);
        let skew = i64_at(constraint, &["maxSkew"]).unwrap_or_default();
        if skew <= 0 {
            errors.push(FieldError::invalid(&item.child("maxSkew"), skew, "must be greater than zero"));
        }
        let (key, action) = pair(constraint);
        if key.is_empty() {
            errors.push(FieldError::required(&item.child("topologyKey"), "can not be empty"));
        }
        supported_value(action, &["DoNotSchedule", "ScheduleAnyway"], &item.child("whenUnsatisfiable"), errors);
        if last.get(&(key, action)).is_some_and(|last| *last > index) {
            let pair = format!("{{{key}, {action}}}");
            errors.push(FieldError::duplicate(&item.child("{topologyKey, whenUnsatisfiable}"), &pair));
        }
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(policy) = at(constraint, &[name]).and_then(Value::as_str) {
                supported_value(policy, &["Honor", "Ignore"], &item.child(name), errors);
            }
        }
        selector::validate(&constraint["labelSelector"], &item.child("labelSelector"), errors);
    }
}

/// PriorityClass: a number for a name.
pub(super) struct PriorityClass;

impl Strategy for PriorityClass {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::Once, ..Rules::PLAIN }
    }

    fn validate_create(&self, class: &Value, errors: &mut Errors) {
        const HIGHEST: i64 = 1_000_000_000;
        let root = FieldPath::Root;
        let metadata = root.child("metadata");
        let name = str_at(class, &["metadata", "name"]);
        let value = i64_at(class, &["value"]).unwrap_or_default();
        if name.starts_with("system-") {
            let known = matches!(
                (name, value),
                ("system-cluster-critical", 2_000_000_000) | ("system-node-critical", 2_000_001_000)
            );
            if !known {
                let text = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"
                );
                errors.push(FieldError::forbidden(&metadata.child("name"), &text));
            }
        } else if value > HIGHEST {
            let text = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.push(FieldError::forbidden(&root.child("value"), &text));
        }
        if at(class, &["preemptionPolicy"]).is_some() {
            one_of(class, "preemptionPolicy", &["PreemptLowerPriority", "Never"], &root, errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        let root = FieldPath::Root;
        if new["value"] != old["value"] {
            errors.push(FieldError::forbidden(&root.child("value"), "may not be changed in an update."));
        }
        immutable(new, old, "preemptionPolicy", &root, errors);
    }
}

/// RuntimeClass: a way to run containers, and what it costs.
pub(super) struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn validate_create(&self, class: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        if let Some(overhead) = at(class, &["overhead", "podFixed"]) {
            let limits = serde_json::json!({ "limits": overhead });
            resources::validate_requirements(&limits, &resources::Claims::default(), &root.child("overhead"), errors);
        }
        let field = root.child("scheduling");
        validate_labels(&class["scheduling"]["nodeSelector"], &field.child("nodeSelector"), errors);
        validate_tolerations(&class["scheduling"]["tolerations"], &field.child("tolerations"), errors);
        let handler = required(class, "handler", &root, errors);
        if !handler.is_empty() {
            texts(&root.child("handler"), handler, names::dns1123_label(handler), errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        fixed(new, old, "handler", &FieldPath::Root, errors);
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
