//! What is wrong with the scopes of a ResourceQuota.

use serde_json::Value;

use super::check::Errors;
use super::resources::is_standard_for_quota;
use crate::field_error::{FieldError, FieldPath};
use crate::value::{at, entries_at, list_at, str_at, strings_at};

const POD_COMPUTE: &[&str] = &[
    "cpu",
    "memory",
    "limits.cpu",
    "limits.memory",
    "requests.cpu",
    "requests.memory",
    "ephemeral-storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
];
const CLAIMS: &[&str] = &["persistentvolumeclaims", "requests.storage"];
const OPPOSITES: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const ONLY_EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
     ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort \
     or ResourceQuotaScopeCrossNamespacePodAffinity";

/// What is wrong with `scopes` and `scopeSelector`; `spec` is the path of the quota's spec.
pub(super) fn validate(quota: &Value, spec: &FieldPath<'_>, errors: &mut Errors) {
    validate_scopes(quota, &spec.child("scopes"), errors);
    let selector = spec.child("scopeSelector");
    let list = selector.child("matchExpressions");
    let expressions = list_at(quota, &["spec", "scopeSelector", "matchExpressions"]);
    for expression in expressions {
        let scope = str_at(expression, &["scopeName"]);
        if !is_known(scope) {
            errors.push(FieldError::invalid(&list.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in unfit(quota, scope) {
            let value = &quota["spec"]["scopeSelector"];
            errors.push(FieldError::invalid(&list, value, "unsupported scope applied to resource"));
        }
        validate_operator(expression, &list, errors);
    }
    let scopes: Vec<&str> = expressions.iter().map(|expression| str_at(expression, &["scopeName"])).collect();
    validate_opposites(quota, &scopes, &list, errors);
}

fn validate_scopes(quota: &Value, field: &FieldPath<'_>, errors: &mut Errors) {
    let scopes = strings_at(quota, &["spec", "scopes"]);
    let all = &quota["spec"]["scopes"];
    for scope in &scopes {
        if !is_known(scope) {
            errors.push(FieldError::invalid(field, all, "unsupported scope"));
        }
        for _ in unfit(quota, scope) {
            errors.push(FieldError::invalid(field, all, "unsupported scope applied to resource"));
        }
    }
    validate_opposites(quota, &scopes, field, errors);
}

fn validate_opposites(quota: &Value, scopes: &[&str], field: &FieldPath<'_>, errors: &mut Errors) {
    for pair in OPPOSITES {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            let all = at(quota, &["spec", "scopes"]).unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(field, all, "conflicting scopes"));
        }
    }
}

fn validate_operator(expression: &Value, list: &FieldPath<'_>, errors: &mut Errors) {
    let operator = str_at(expression, &["operator"]);
    let takes_classes = matches!(str_at(expression, &["scopeName"]), "PriorityClass" | "VolumeAttributesClass");
    if is_known(str_at(expression, &["scopeName"])) && !takes_classes && operator != "Exists" {
        errors.push(FieldError::invalid(&list.child("operator"), operator, ONLY_EXISTS));
    }
    let values = list_at(expression, &["values"]);
    let field = list.child("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(FieldError::required(&field, text));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(FieldError::invalid(&field, &expression["values"], text));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.push(FieldError::invalid(&list.child("operator"), operator, "not a valid selector operator")),
    }
}

fn is_known(scope: &str) -> bool {
    matches!(scope, "PriorityClass" | "CrossNamespacePodAffinity" | "VolumeAttributesClass")
        || OPPOSITES.iter().flatten().any(|known| *known == scope)
}

/// The resources of the quota that the scope cannot be applied to.
fn unfit<'a>(quota: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a str> {
    let is_fit = move |resource: &str| match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => CLAIMS.contains(&resource),
        _ if is_known(scope) => resource == "pods" || POD_COMPUTE.contains(&resource),
        _ => true,
    };
    let resources = entries_at(quota, &["spec", "hard"]).map(|(name, _)| name);
    resources.filter(move |name| is_standard_for_quota(name) && !is_fit(name))
}
