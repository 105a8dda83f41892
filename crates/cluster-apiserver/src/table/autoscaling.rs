//! What keeps numbers of Pods: autoscalers and disruption budgets.

use serde_json::Value;

use super::{AGE, NAME, Printer, UNKNOWN, UNSET, integer, name, number, object_age, scalar, text};
use crate::value::{i64_at, list_at, str_at};

/// So many targets are shown.
const SHOWN: usize = 2;

pub(super) const AUTOSCALER: Printer = Printer {
    columns: &[NAME, text("Reference"), text("Targets"), text("MinPods"), text("MaxPods"), number("Replicas"), AGE],
    cells: |object, now| {
        let mut cells = vec![name(object), reference(object), targets(object).into()];
        cells.extend(pods(object));
        cells.push(object_age(object, now));
        cells
    },
};

pub(super) const AUTOSCALER_V1: Printer = Printer {
    columns: AUTOSCALER.columns,
    cells: |object, now| {
        let percent = |path: &[&str]| i64_at(object, path).map(|value| format!("{value}%"));
        let current = percent(&["status", "currentCPUUtilizationPercentage"]);
        let target = percent(&["spec", "targetCPUUtilizationPercentage"]);
        let text = target.map(|target| format!("cpu: {}/{target}", current.unwrap_or_else(|| UNKNOWN.to_owned())));
        let mut cells = vec![name(object), reference(object), text.unwrap_or_else(|| "<none>".to_owned()).into()];
        cells.extend(pods(object));
        cells.push(object_age(object, now));
        cells
    },
};

pub(super) const DISRUPTION_BUDGET: Printer = Printer {
    columns: &[NAME, text("Min Available"), text("Max Unavailable"), number("Allowed Disruptions"), AGE],
    cells: |object, now| {
        let bound = |field: &str| Value::from(scalar(object, &["spec", field]).unwrap_or_else(|| "N/A".to_owned()));
        vec![
            name(object),
            bound("minAvailable"),
            bound("maxUnavailable"),
            integer(object, &["status", "disruptionsAllowed"]).into(),
            object_age(object, now),
        ]
    },
};

fn reference(autoscaler: &Value) -> Value {
    let target = &autoscaler["spec"]["scaleTargetRef"];
    format!("{}/{}", str_at(target, &["kind"]), str_at(target, &["name"])).into()
}

/// Least, most and current number of Pods.
fn pods(autoscaler: &Value) -> [Value; 3] {
    let least = scalar(autoscaler, &["spec", "minReplicas"]).unwrap_or_else(|| UNSET.to_owned());
    let most = integer(autoscaler, &["spec", "maxReplicas"]).to_string();
    [least.into(), most.into(), integer(autoscaler, &["status", "currentReplicas"]).into()]
}

fn targets(autoscaler: &Value) -> String {
    let current = list_at(autoscaler, &["status", "currentMetrics"]);
    let metrics = list_at(autoscaler, &["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let texts = metrics.iter().enumerate().map(|(index, metric)| target(metric, current.get(index)));
    let shown: Vec<String> = texts.take(SHOWN).collect();
    match metrics.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} + {more} more...", shown.join(", ")),
    }
}

/// A metric: what it is now and what it should be.
fn target(metric: &Value, current: Option<&Value>) -> String {
    let source = match str_at(metric, &["type"]) {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return UNKNOWN.to_owned(),
    };
    let wanted = &metric[source]["target"];
    let now = current.map(|current| &current[source]["current"]).unwrap_or(&Value::Null);
    let (field, unit, suffix) = match str_at(wanted, &["type"]) {
        "Utilization" => ("averageUtilization", "%", ""),
        "AverageValue" if matches!(source, "object" | "external") => ("averageValue", "", " (avg)"),
        "AverageValue" => ("averageValue", "", ""),
        _ => ("value", "", ""),
    };
    let show = |value: &Value| scalar(value, &[field]).map(|text| format!("{text}{unit}"));
    let unknown = || UNKNOWN.to_owned();
    let pair = format!(
        "{}/{}{suffix}",
        show(now).unwrap_or_else(unknown),
        show(wanted).unwrap_or_else(|| "<auto>".to_owned())
    );
    // What is measured of the Pods themselves is named.
    match str_at(metric, &[source, "name"]) {
        "" => pair,
        resource => format!("{resource}: {pair}"),
    }
}
