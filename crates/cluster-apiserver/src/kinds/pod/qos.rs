//! The quality of service class of a Pod, which says who is killed first when memory is short.

use serde_json::Value;

use crate::{
    kinds::resources::amount,
    value::{at, list_at},
};

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class(pod: &Value) -> &'static str {
    if let Some(resources) = at(pod, &["spec", "resources"]) {
        return of_resources(resources);
    }
    let mut found = None;
    for list in ["initContainers", "containers"] {
        for container in list_at(pod, &["spec", list]) {
            let class = of_resources(&container["resources"]);
            if found.is_some_and(|before| before != class) {
                return "Burstable";
            }
            found = Some(class);
        }
    }
    found.unwrap_or("BestEffort")
}

fn of_resources(resources: &Value) -> &'static str {
    let is_empty = |name: &str| at(resources, &[name]).is_none_or(|list| list.as_object().is_none_or(|l| l.is_empty()));
    if is_empty("requests") && is_empty("limits") {
        return "BestEffort";
    }
    let [cpu, memory] = ["cpu", "memory"].map(|name| {
        let request = amount(&resources["requests"][name]);
        let limit = amount(&resources["limits"][name]);
        match (request == limit, request.is_zero()) {
            (false, _) => "Burstable",
            (true, true) => "BestEffort",
            (true, false) => "Guaranteed",
        }
    });
    if cpu == memory { cpu } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::class;

    #[test]
    fn classes_follow_resources() {
        let pod = |resources: serde_json::Value| json!({"spec": {"containers": [{"resources": resources}]}});
        assert_eq!(class(&pod(json!({}))), "BestEffort");
        assert_eq!(class(&pod(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let all = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(&pod(json!({"requests": all, "limits": all}))), "Guaranteed");
        assert_eq!(class(&pod(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1000m"}}))), "Burstable");
        let two = json!({"spec": {"containers": [{"resources": {"requests": all, "limits": all}}, {}]}});
        assert_eq!(class(&two), "Burstable");
    }
}
