//! HorizontalPodAutoscaler and PodDisruptionBudget: how many Pods there may be.
//!
//! `autoscaling/v2` is stored; `autoscaling/v1`, which knows only the CPU, is a view of it.

mod metric;

use serde_json::{Value, json};

use super::{
    Rules, Strategy,
    check::{Errors, non_negative, required, supported_value, texts},
    selector,
    workloads::rolling::{validate_amount, validate_share},
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{as_object, at, child_mut, i64_at, list_at, str_at},
};

/// HorizontalPodAutoscaler in `autoscaling/v2`.
pub(super) struct Autoscaler;

impl Strategy for Autoscaler {
    fn rules(&self) -> Rules {
        Rules { first_status: r#"{"desiredReplicas":0,"currentMetrics":null}"#, ..Rules::SPEC_AND_STATUS }
    }

    fn validate_create(&self, autoscaler: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &autoscaler["spec"];
        let min = i64_at(spec, &["minReplicas"]);
        let max = i64_at(spec, &["maxReplicas"]).unwrap_or_default();
        if let Some(min) = min.filter(|min| *min < 0) {
            errors.push(FieldError::invalid(&path.child("minReplicas"), min, names::NEGATIVE));
        }
        let field = path.child("maxReplicas");
        if max == 0 {
            errors.push(FieldError::required(&field, ""));
        } else if max < 0 {
            errors.push(FieldError::invalid(&field, max, "must be greater than or equal to 1"));
        }
        if min.is_some_and(|min| max < min) {
            errors.push(FieldError::invalid(&field, max, "must be greater than or equal to `minReplicas`"));
        }
        validate_reference(&spec["scaleTargetRef"], &path.child("scaleTargetRef"), errors);
        let list = path.child("metrics");
        let is_outside = |metric: &Value| matches!(str_at(metric, &["type"]), "Object" | "External");
        if min == Some(0) && !list_at(spec, &["metrics"]).iter().any(is_outside) {
            let text = "must specify at least one Object or External metric to support scaling to zero replicas";
            errors.push(FieldError::forbidden(&list, text));
        }
        for (index, metric) in list_at(spec, &["metrics"]).iter().enumerate() {
            metric::validate(metric, &list.index(index), errors);
        }
        let behavior = path.child("behavior");
        for name in ["scaleUp", "scaleDown"] {
            if let Some(rules) = at(spec, &["behavior", name]) {
                validate_rules(rules, &behavior.child(name), errors);
            }
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            let root = FieldPath::Root;
            non_negative(&new["status"], "currentReplicas", &root.child("status"), errors);
            non_negative(&new["status"], "desiredReplicas", &root.child("status"), errors);
            return;
        }
        self.validate_create(new, errors);
    }
}

/// HorizontalPodAutoscaler in `autoscaling/v1`.
pub(super) struct AutoscalerV1;

impl Strategy for AutoscalerV1 {
    fn rules(&self) -> Rules {
        Rules { first_status: r#"{"currentReplicas":0,"desiredReplicas":0}"#, ..Rules::SPEC_AND_STATUS }
    }

    fn validate_create(&self, autoscaler: &Value, errors: &mut Errors) {
        Autoscaler.validate_create(&to_v2(autoscaler), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        Autoscaler.validate_update(&to_v2(new), &to_v2(old), subresource, errors);
    }
}

fn validate_reference(reference: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for name in ["kind", "name"] {
        let value = required(reference, name, path, errors);
        if !value.is_empty() {
            texts(&path.child(name), value, names::path_segment(value), errors);
        }
    }
    let api_version = str_at(reference, &["apiVersion"]);
    let slashes = api_version.matches('/').count();
    if slashes > 1 {
        let text = format!("unexpected GroupVersion string: {api_version}");
        errors.push(FieldError::invalid(&path.child("apiVersion"), api_version, &text));
    } else if slashes == 0 && str_at(reference, &["kind"]) != "ReplicationController" {
        errors.push(FieldError::invalid(&path.child("apiVersion"), api_version, "apiVersion must specify API group"));
    }
}

fn validate_rules(rules: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const MAX_WINDOW_S: i64 = 3600;
    const MAX_PERIOD_S: i64 = 1800;
    if let Some(window_s) = i64_at(rules, &["stabilizationWindowSeconds"]) {
        let field = path.child("stabilizationWindowSeconds");
        if window_s < 0 {
            errors.push(FieldError::invalid(&field, window_s, "must be greater than or equal to zero"));
        }
        if window_s > MAX_WINDOW_S {
            let text = format!("must be less than or equal to {MAX_WINDOW_S}");
            errors.push(FieldError::invalid(&field, window_s, &text));
        }
    }
    if let Some(policy) = at(rules, &["selectPolicy"]).and_then(Value::as_str) {
        supported_value(policy, &["Disabled", "Max", "Min"], &path.child("selectPolicy"), errors);
    }
    let list = path.child("policies");
    let policies = list_at(rules, &["policies"]);
    if policies.is_empty() {
        errors.push(FieldError::required(&list, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        let item = list.index(index);
        supported_value(str_at(policy, &["type"]), &["Percent", "Pods"], &item.child("type"), errors);
        for name in ["value", "periodSeconds"] {
            let number = i64_at(policy, &[name]).unwrap_or_default();
            if number <= 0 {
                errors.push(FieldError::invalid(&item.child(name), number, "must be greater than zero"));
            }
        }
        if let Some(period_s) = i64_at(policy, &["periodSeconds"]).filter(|period_s| *period_s > MAX_PERIOD_S) {
            let text = format!("must be less than or equal to {MAX_PERIOD_S}");
            errors.push(FieldError::invalid(&item.child("periodSeconds"), period_s, &text));
        }
    }
}

const V1_METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const V1_BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// From `autoscaling/v1` to `autoscaling/v2`.
pub(super) fn to_v2(autoscaler: &Value) -> Value {
    let mut out = autoscaler.clone();
    as_object(&mut out).insert("apiVersion".to_owned(), json!("autoscaling/v2"));
    let mut metrics = take_annotation(&mut out, V1_METRICS).unwrap_or_else(|| json!([]));
    let behavior = take_annotation(&mut out, V1_BEHAVIOR);
    let spec = as_object(child_mut(&mut out, "spec"));
    if let Some(share) = spec.remove("targetCPUUtilizationPercentage").filter(|share| !share.is_null()) {
        let target = json!({"type": "Utilization", "averageUtilization": share});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        if let Some(list) = metrics.as_array_mut() {
            list.insert(0, cpu);
        }
    }
    if metrics.as_array().is_some_and(|list| !list.is_empty()) {
        spec.insert("metrics".to_owned(), metrics);
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".to_owned(), behavior);
    }
    let status = as_object(child_mut(&mut out, "status"));
    if let Some(share) = status.remove("currentCPUUtilizationPercentage").filter(|share| !share.is_null()) {
        let current = json!({"averageUtilization": share, "averageValue": "0"});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": current}});
        status.insert("currentMetrics".to_owned(), json!([metric]));
    }
    crate::strict::canonicalize(&mut out);
    out
}

/// From `autoscaling/v2` to `autoscaling/v1`; what v1 has no field for stands in annotations.
pub(super) fn from_v2(autoscaler: &Value) -> Value {
    let mut out = autoscaler.clone();
    as_object(&mut out).insert("apiVersion".to_owned(), json!("autoscaling/v1"));
    let spec = as_object(child_mut(&mut out, "spec"));
    let metrics = spec.remove("metrics");
    let behavior = spec.remove("behavior");
    let is_cpu = |metric: &Value| {
        str_at(metric, &["resource", "name"]) == "cpu"
            && at(metric, &["resource", "target", "averageUtilization"]).is_some()
    };
    let (cpu, others): (Vec<Value>, Vec<Value>) =
        list_at(metrics.as_ref().unwrap_or(&Value::Null), &[]).iter().cloned().partition(is_cpu);
    if let Some(metric) = cpu.first() {
        let share = metric["resource"]["target"]["averageUtilization"].clone();
        spec.insert("targetCPUUtilizationPercentage".to_owned(), share);
    }
    if !others.is_empty() {
        set_annotation(&mut out, V1_METRICS, &Value::Array(others));
    }
    if let Some(behavior) = behavior.filter(|behavior| !behavior.is_null()) {
        set_annotation(&mut out, V1_BEHAVIOR, &behavior);
    }
    let status = as_object(child_mut(&mut out, "status"));
    let current = status.remove("currentMetrics").unwrap_or(Value::Null);
    status.remove("conditions");
    let cpu = list_at(&current, &[]).iter().find(|metric| str_at(metric, &["resource", "name"]) == "cpu");
    if let Some(share) = cpu.and_then(|metric| at(metric, &["resource", "current", "averageUtilization"])) {
        status.insert("currentCPUUtilizationPercentage".to_owned(), share.clone());
    }
    crate::strict::canonicalize(&mut out);
    out
}

fn take_annotation(object: &mut Value, name: &str) -> Option<Value> {
    let annotations = crate::value::at_mut(object, &["metadata", "annotations"])?.as_object_mut()?;
    let text = annotations.remove(name)?;
    serde_json::from_str(text.as_str()?).ok()
}

fn set_annotation(object: &mut Value, name: &str, value: &Value) {
    let annotations = as_object(child_mut(child_mut(object, "metadata"), "annotations"));
    annotations.insert(name.to_owned(), Value::from(value.to_string()));
}

/// PodDisruptionBudget.
pub(super) struct DisruptionBudget;

impl Strategy for DisruptionBudget {
    fn rules(&self) -> Rules {
        const NONE: &str = r#"{"disruptionsAllowed":0,"currentHealthy":0,"desiredHealthy":0,"expectedPods":0}"#;
        Rules { first_status: NONE, ..Rules::SPEC_AND_STATUS }
    }

    fn validate_create(&self, budget: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &budget["spec"];
        let (min, max) = (at(spec, &["minAvailable"]), at(spec, &["maxUnavailable"]));
        if min.is_some() && max.is_some() {
            let text = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid(&path, spec, text));
        }
        for (name, value) in [("minAvailable", min), ("maxUnavailable", max)] {
            if let Some(value) = value {
                validate_amount(value, &path.child(name), errors);
                validate_share(value, &path.child(name), errors);
            }
        }
        selector::validate(&spec["selector"], &path.child("selector"), errors);
        if let Some(policy) = at(spec, &["unhealthyPodEvictionPolicy"]).and_then(Value::as_str) {
            let field = path.child("unhealthyPodEvictionPolicy");
            supported_value(policy, &["AlwaysAllow", "IfHealthyBudget"], &field, errors);
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_none() {
            self.validate_create(new, errors);
            return;
        }
        let root = FieldPath::Root;
        for name in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            non_negative(&new["status"], name, &root.child("status"), errors);
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_two_views() {
        let one = json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {"scaleTargetRef": {"kind": "D", "name": "d"}, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
            "status": {"currentReplicas": 0, "desiredReplicas": 0}
        });
        let two = to_v2(&one);
        assert_eq!(two["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        assert_eq!(from_v2(&two), one);
        let memory = json!([{"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}]);
        let mut two = two;
        two["spec"]["metrics"] = memory;
        let one = from_v2(&two);
        assert!(one["metadata"]["annotations"][V1_METRICS].is_string());
        assert_eq!(to_v2(&one), two);
    }
}
