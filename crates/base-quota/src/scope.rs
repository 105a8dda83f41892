//! The scopes of a quota: to which objects it applies.

use serde_json::Value;

use crate::json::{at, is_set, list, text};
use crate::pod::is_best_effort;
use crate::usage::Counted;

const EXISTS: &str = "Exists";

/// Whether the quota's scopes take the object.
pub fn takes(quota: &Value, counted: Counted<'_>, object: &Value) -> bool {
    let scopes = list(quota, &["spec", "scopes"]).iter();
    let mut scopes = scopes.map(|scope| (scope.as_str().unwrap_or_default(), EXISTS, &[] as &[Value]));
    let selectors = list(quota, &["spec", "scopeSelector", "matchExpressions"]).iter();
    let mut selectors = selectors
        .map(|selector| (text(selector, &["scopeName"]), text(selector, &["operator"]), list(selector, &["values"])));
    let is_in = |(scope, operator, values): (&str, &str, &[Value])| match counted {
        Counted::PODS => is_pod_in(scope, operator, values, object),
        Counted::CLAIMS => scope == "VolumeAttributesClass" && selects(operator, values, &attributes_classes(object)),
        _ => false,
    };
    scopes.all(is_in) && selectors.all(is_in)
}

fn is_pod_in(scope: &str, operator: &str, values: &[Value], pod: &Value) -> bool {
    match scope {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => selects(operator, values, &named(&[text(pod, &["spec", "priorityClassName"])])),
        "CrossNamespacePodAffinity" => reaches_out(pod),
        _ => false,
    }
}

/// Whether the Pod is to end by itself.
pub fn is_terminating(pod: &Value) -> bool {
    at(pod, &["spec", "activeDeadlineSeconds"]).as_i64().is_some_and(|seconds| seconds >= 0)
}

fn named<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| !name.is_empty()).collect()
}

/// Whether one of an object's classes is selected; one without a class is as an object without the label.
fn selects(operator: &str, values: &[Value], classes: &[&str]) -> bool {
    let is_listed = |class: &&str| values.iter().any(|value| value == *class);
    match operator {
        EXISTS => !classes.is_empty(),
        "DoesNotExist" => classes.is_empty(),
        "In" => classes.iter().any(is_listed),
        "NotIn" => classes.is_empty() || !classes.iter().all(is_listed),
        _ => false,
    }
}

fn attributes_classes(claim: &Value) -> Vec<&str> {
    named(&[
        text(claim, &["spec", "volumeAttributesClassName"]),
        text(claim, &["status", "currentVolumeAttributesClassName"]),
        text(claim, &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"]),
    ])
}

/// Whether the Pod wants to be near, or far from, Pods of other namespaces.
fn reaches_out(pod: &Value) -> bool {
    let is_across = |term: &Value| !list(term, &["namespaces"]).is_empty() || is_set(term, &["namespaceSelector"]);
    ["podAffinity", "podAntiAffinity"].iter().any(|affinity| {
        let affinity = at(pod, &["spec", "affinity", affinity]);
        let required = list(affinity, &["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
        let preferred = list(affinity, &["preferredDuringSchedulingIgnoredDuringExecution"]).iter();
        required.chain(preferred.map(|weighted| at(weighted, &["podAffinityTerm"]))).any(is_across)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scopes_take_pods() {
        let plain = json!({"spec": {"containers": [{}]}});
        let classy = json!({"spec": {
            "activeDeadlineSeconds": 5, "priorityClassName": "high",
            "containers": [{"resources": {"limits": {"cpu": "1"}}}],
            "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"namespaceSelector": {}}}]}},
        }});
        let selector = |operator: &str, values: &[&str]| {
            json!({"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}})
        };
        let scope = |scope: &str| json!({"spec": {"scopes": [scope]}});
        // The quota, and whether it takes the plain Pod and the other one.
        let rows = [
            (json!({}), true, true),
            (scope("Terminating"), false, true),
            (scope("NotTerminating"), true, false),
            (scope("BestEffort"), true, false),
            (scope("NotBestEffort"), false, true),
            (scope("PriorityClass"), false, true),
            (scope("CrossNamespacePodAffinity"), false, true),
            (selector("In", &["high"]), false, true),
            (selector("In", &["low"]), false, false),
            (selector("NotIn", &["high"]), true, false),
            (selector("NotIn", &["low"]), true, true),
            (selector("DoesNotExist", &[]), true, false),
            (json!({"spec": {"scopes": ["Terminating", "BestEffort"]}}), false, false),
        ];
        for (quota, plain_is_in, classy_is_in) in rows {
            assert_eq!(takes(&quota, Counted::PODS, &plain), plain_is_in, "{quota}");
            assert_eq!(takes(&quota, Counted::PODS, &classy), classy_is_in, "{quota}");
        }
        let service = Counted { group: "", plural: "services" };
        assert!(takes(&json!({}), service, &plain) && !takes(&scope("NotTerminating"), service, &plain));
    }
}
