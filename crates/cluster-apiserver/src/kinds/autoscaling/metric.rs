//! The metrics an autoscaler follows.

use serde_json::Value;

use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{
        check::{Errors, supported_value, texts},
        resources,
    },
    names,
    value::{at, i64_at, str_at},
};

/// A type of metric.
struct Metric {
    kind: &'static str,
    /// The field that describes a metric of this type.
    field: &'static str,
    /// Fields of the target of which one is needed, and what is said when there is none.
    needs: (&'static [&'static str], &'static str),
    /// A field that may not stand beside the other, and what is said when it does.
    excludes: Option<(&'static str, &'static str)>,
}

const UTILIZATION: (&[&str], &str) =
    (&["averageUtilization", "averageValue"], "must set either a target raw value or a target utilization");
const NOT_BOTH: Option<(&str, &str)> =
    Some(("averageValue", "may not set both a target raw value and a target utilization"));

/// The types of metrics, in the order in which they are checked.
const METRICS: [Metric; 5] = [
    Metric {
        kind: "Object",
        field: "object",
        needs: (&["averageValue", "value"], "must set either a target value or averageValue"),
        excludes: None,
    },
    Metric {
        kind: "External",
        field: "external",
        needs: (&["averageValue", "value"], "must set either a target value for metric or a per-pod target"),
        excludes: Some(("value", "may not set both a target value for metric and a per-pod target")),
    },
    Metric {
        kind: "Pods",
        field: "pods",
        needs: (&["averageValue"], "must specify a positive target averageValue"),
        excludes: None,
    },
    Metric { kind: "Resource", field: "resource", needs: UTILIZATION, excludes: NOT_BOTH },
    Metric { kind: "ContainerResource", field: "containerResource", needs: UTILIZATION, excludes: NOT_BOTH },
];

pub(super) fn validate(metric: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let kind = str_at(metric, &["type"]);
    let mut types = METRICS.each_ref().map(|metric| metric.kind);
    types.sort_unstable();
    if kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric source type"));
    }
    supported_value(kind, &types, &path.child("type"), errors);
    let present = || METRICS.iter().filter(|known| at(metric, &[known.field]).is_some());
    if let Some(first) = present().next() {
        validate_source(first, &metric[first.field], &path.child(first.field), errors);
    }
    match METRICS.iter().find(|known| known.kind == kind) {
        Some(known) if at(metric, &[known.field]).is_none() => {
            let text = "must populate information for the given metric source";
            errors.push(FieldError::required(&path.child(known.field), text));
        }
        Some(_) => {}
        None => supported_value(kind, &types, &path.child("type"), errors),
    }
    if present().count() > 1 {
        for other in present().filter(|other| other.kind != kind) {
            errors.push(FieldError::forbidden(&path.child(other.field), "must populate the given metric source only"));
        }
    }
}

fn validate_source(kind: &Metric, source: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    match kind.field {
        "resource" | "containerResource" => {
            if str_at(source, &["name"]).is_empty() {
                errors.push(FieldError::required(&path.child("name"), "must specify a resource name"));
            }
            if kind.field == "containerResource" {
                let container = str_at(source, &["container"]);
                let field = path.child("container");
                if container.is_empty() {
                    errors.push(FieldError::required(&field, "must specify a container"));
                } else {
                    texts(&field, container, names::dns1123_label(container), errors);
                }
            }
        }
        _ => {
            if kind.field == "object" {
                super::validate_reference(&source["describedObject"], &path.child("describedObject"), errors);
            }
            let metric = path.child("metric");
            let name = str_at(source, &["metric", "name"]);
            if name.is_empty() {
                errors.push(FieldError::required(&metric.child("name"), "must specify a metric name"));
            } else {
                texts(&metric.child("name"), name, names::path_segment(name), errors);
            }
        }
    }
    let target = &source["target"];
    let field = path.child("target");
    validate_target(target, &field, errors);
    let (needed, text) = kind.needs;
    let present = needed.iter().filter(|name| at(target, &[name]).is_some()).count();
    if let (0, Some(first)) = (present, needed.first()) {
        errors.push(FieldError::required(&field.child(first), text));
    }
    if let (2, Some((name, text))) = (present, kind.excludes) {
        errors.push(FieldError::forbidden(&field.child(name), text));
    }
}

fn validate_target(target: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let kind = str_at(target, &["type"]);
    if kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let text = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(&path.child("type"), kind, text));
    }
    for name in ["value", "averageValue"] {
        let Some(value) = at(target, &[name]) else { continue };
        let amount = resources::amount(value);
        if amount.is_negative() || amount.is_zero() {
            errors.push(FieldError::invalid(&path.child(name), value, "must be positive"));
        }
    }
    if let Some(share) = i64_at(target, &["averageUtilization"]).filter(|share| *share < 1) {
        errors.push(FieldError::invalid(&path.child("averageUtilization"), share, "must be greater than 0"));
    }
}
