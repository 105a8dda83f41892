//! Defaults of HorizontalPodAutoscalers.

use serde_json::{Map, Value, json};

use super::Hook;
use crate::value::{as_object, is_absent, set_default};

pub(super) fn hook(name: &str) -> Option<Hook> {
    Some(match name {
        "api.autoscaling.v1.HorizontalPodAutoscalerSpec" => |spec| set_default(spec, "minReplicas", 1),
        "api.autoscaling.v2.HorizontalPodAutoscalerSpec" => spec,
        "api.autoscaling.v2.HorizontalPodAutoscalerBehavior" => behavior,
        _ => return None,
    })
}

fn spec(spec: &mut Map<String, Value>) {
    set_default(spec, "minReplicas", 1);
    if is_absent(spec.get("metrics")) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        spec.insert("metrics".to_owned(), json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
}

fn behavior(behavior: &mut Map<String, Value>) {
    let up = as_object(behavior.entry("scaleUp").or_insert(Value::Null));
    set_default(up, "stabilizationWindowSeconds", 0);
    set_default(up, "selectPolicy", "Max");
    let policies = json!([
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ]);
    set_default(up, "policies", policies);
    let down = as_object(behavior.entry("scaleDown").or_insert(Value::Null));
    set_default(down, "selectPolicy", "Max");
    set_default(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
}
