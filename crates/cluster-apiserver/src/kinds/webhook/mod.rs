//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration: what may be asked of webhooks.

pub(crate) mod client;
mod conditions;

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Generation, Rules, Strategy,
    check::{Errors, supported_value, texts},
    selector,
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{at, i64_at, list_at, str_at, strings_at},
};

/// MutatingWebhookConfiguration and ValidatingWebhookConfiguration.
pub(super) struct Webhooks {
    pub(super) is_mutating: bool,
}

impl Strategy for Webhooks {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::Counts(&["webhooks"]), ..Rules::PLAIN }
    }

    fn validate_create(&self, configuration: &Value, errors: &mut Errors) {
        self.validate(configuration, true, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        fn conditions(configuration: &Value) -> Vec<&[Value]> {
            let hooks = list_at(configuration, &["webhooks"]).iter();
            hooks.map(|hook| list_at(hook, &["matchConditions"])).collect()
        }
        // Those that were taken once stay.
        self.validate(new, conditions(new) != conditions(old), errors);
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

impl Webhooks {
    fn validate(&self, configuration: &Value, has_new_conditions: bool, errors: &mut Errors) {
        let root = FieldPath::Root;
        let list = root.child("webhooks");
        let hooks = list_at(configuration, &["webhooks"]);
        let mut seen = BTreeSet::new();
        for (index, hook) in hooks.iter().enumerate() {
            let item = list.index(index);
            validate_hook(hook, &item, errors);
            if has_new_conditions {
                conditions::validate(list_at(hook, &["matchConditions"]), &item.child("matchConditions"), errors);
            }
            if self.is_mutating
                && let Some(policy) = at(hook, &["reinvocationPolicy"]).and_then(Value::as_str)
            {
                let field = item.child("reinvocationPolicy");
                supported_value(policy, &["IfNeeded", "Never"], &field, errors);
            }
            validate_review_versions(hook, &item.child("admissionReviewVersions"), errors);
            let name = str_at(hook, &["name"]);
            if !name.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&item.child("name"), name));
            }
        }
    }
}

fn validate_hook(hook: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_hook_name(str_at(hook, &["name"]), &path.child("name"), errors);
    let list = path.child("rules");
    for (index, rule) in list_at(hook, &["rules"]).iter().enumerate() {
        validate_rule(rule, &list.index(index), errors);
    }
    for (name, supported) in [
        ("failurePolicy", ["Fail", "Ignore"]),
        ("matchPolicy", ["Equivalent", "Exact"]),
        ("sideEffects", ["None", "NoneOnDryRun"]),
    ] {
        match at(hook, &[name]).and_then(Value::as_str) {
            Some(value) => supported_value(value, &supported, &path.child(name), errors),
            None if name == "sideEffects" => {
                let text = "must specify one of None, NoneOnDryRun";
                errors.push(FieldError::required(&path.child(name), text));
            }
            None => {}
        }
    }
    if let Some(seconds) = i64_at(hook, &["timeoutSeconds"]).filter(|seconds| !(1..=30).contains(seconds)) {
        let text = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, text));
    }
    for name in ["namespaceSelector", "objectSelector"] {
        selector::validate(&hook[name], &path.child(name), errors);
    }
    client::validate(&hook["clientConfig"], &path.child("clientConfig"), errors);
}

fn validate_hook_name(name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let wrong = names::dns1123_subdomain(name);
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, name, &wrong.join(",")));
    } else if name.split('.').count() < 3 {
        let text = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, text));
    }
}

fn validate_rule(rule: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let field = path.child("operations");
    let operations = strings_at(rule, &["operations"]);
    if operations.is_empty() {
        errors.push(FieldError::required(&field, ""));
    }
    if operations.len() > 1 && operations.contains(&"*") {
        let text = "if '*' is present, must not specify other operations";
        errors.push(FieldError::invalid(&field, &rule["operations"], text));
    }
    for (index, operation) in operations.iter().enumerate() {
        supported_value(operation, OPERATIONS, &field.index(index), errors);
    }
    for (name, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let field = path.child(name);
        let values = strings_at(rule, &[name]);
        if values.is_empty() {
            errors.push(FieldError::required(&field, ""));
        }
        if values.len() > 1 && values.contains(&"*") {
            let text = format!("if '*' is present, must not specify other {what}");
            errors.push(FieldError::invalid(&field, &rule[name], &text));
        }
        for (index, _) in values.iter().enumerate().filter(|(_, value)| value.is_empty() && name != "apiGroups") {
            errors.push(FieldError::required(&field.index(index), ""));
        }
    }
    validate_resources(&rule["resources"], &path.child("resources"), errors);
    if let Some(scope) = at(rule, &["scope"]).and_then(Value::as_str) {
        supported_value(scope, &["*", "Cluster", "Namespaced"], &path.child("scope"), errors);
    }
}

fn validate_review_versions(hook: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let versions = strings_at(hook, &["admissionReviewVersions"]);
    if versions.is_empty() {
        errors.push(FieldError::required(path, "must specify one of v1, v1beta1"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            errors.push(FieldError::invalid(&path.index(index), *version, "duplicate version"));
            continue;
        }
        texts(&path.index(index), version, names::dns1035_label(version), errors);
    }
    if !versions.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        let text = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, &hook["admissionReviewVersions"], text));
    }
}

/// Checks that no resource is named twice by wildcards.
fn validate_resources(list: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let resources = strings_at(list, &[]);
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut whole, mut every) = (BTreeSet::new(), BTreeSet::new());
    for (index, item) in resources.iter().enumerate() {
        if item.is_empty() {
            errors.push(FieldError::required(&path.index(index), ""));
        }
        let Some((resource, subresource)) = item.split_once('/') else { continue };
        if whole.contains(resource) {
            let text = format!("if '{resource}/*' is present, must not specify {item}");
            errors.push(FieldError::invalid(&path.index(index), *item, &text));
        }
        if every.contains(subresource) {
            let text = format!("if '*/{subresource}' is present, must not specify {item}");
            errors.push(FieldError::invalid(&path.index(index), *item, &text));
        }
        if subresource == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            every.insert(subresource);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let text = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, list, text));
    }
    let is_plain = |item: &&str| !item.contains('/') && *item != "*" && !item.is_empty();
    if resources.contains(&"*") && resources.iter().any(is_plain) {
        let text = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, list, text));
    }
}
