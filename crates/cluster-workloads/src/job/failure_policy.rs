//! What the failure of a Pod means: the rules of `spec.podFailurePolicy`.

use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What follows from a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It counts towards the limits.
    Count,
    /// It does not.
    Ignore,
    /// It counts, and the Pod's index has failed.
    FailIndex,
    /// The Job has failed, with this message.
    FailJob(String),
}

/// What the failure of `pod` means: what the first rule that matches says.
pub(super) fn treat(spec: &JobSpec, pod: &Pod) -> Treatment {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    let mut matching = rules.enumerate().filter_map(|(at, rule)| {
        let what = matched(rule, pod)?;
        Some(match rule.action.as_str() {
            "Ignore" => Treatment::Ignore,
            "FailIndex" => Treatment::FailIndex,
            "FailJob" => Treatment::FailJob(format!("{what} matching {} rule at index {at}", rule.action)),
            _ => Treatment::Count,
        })
    });
    matching.next().unwrap_or(Treatment::Count)
}

/// What of the Pod matches the rule.
fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let (container, code) = containers.filter_map(|container| exit(codes, container)).next()?;
        return Some(format!("Container {container} for pod {namespace}/{name} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let condition = status.conditions.iter().flatten().find(|condition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_ && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    })?;
    Some(format!("Pod {namespace}/{name} has condition {}", condition.type_))
}

/// The container's name and exit code, if the requirement takes them.
fn exit<'a>(codes: &PodFailurePolicyOnExitCodesRequirement, container: &'a ContainerStatus) -> Option<(&'a str, i32)> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let is_meant = codes.container_name.as_ref().is_none_or(|name| *name == container.name);
    let is_taken = match codes.operator.as_str() {
        "In" => codes.values.contains(&code),
        "NotIn" => !codes.values.contains(&code),
        _ => false,
    };
    (is_meant && code != 0 && is_taken).then_some((container.name.as_str(), code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn treated(rules: Value, status: Value) -> Treatment {
        let spec = json!({"podFailurePolicy": {"rules": rules}, "template": {}});
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "status": status});
        treat(&serde_json::from_value(spec).unwrap(), &serde_json::from_value(pod).unwrap())
    }

    fn ended(code: i32) -> Value {
        let status = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code}}});
        json!({"containerStatuses": [status], "conditions": [{"type": "DisruptionTarget", "status": "True"}]})
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let codes = |action: &str, operator: &str, values: &[i32]| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let rules = json!([
            codes("FailJob", "In", &[42]),
            codes("FailIndex", "In", &[43, 44]),
            {"action": "Ignore", "onExitCodes": {"containerName": "other", "operator": "NotIn", "values": [1]}},
            codes("Count", "In", &[45]),
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]);
        let message = "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0";
        assert_eq!(treated(rules.clone(), ended(42)), Treatment::FailJob(message.to_owned()));
        assert_eq!(treated(rules.clone(), ended(44)), Treatment::FailIndex);
        assert_eq!(treated(rules.clone(), ended(45)), Treatment::Count);
        assert_eq!(treated(rules.clone(), ended(46)), Treatment::Ignore);
        assert_eq!(treated(rules, json!({})), Treatment::Count);
        let on_condition =
            json!([{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]);
        let message = "Pod n/p has condition DisruptionTarget matching FailJob rule at index 0";
        assert_eq!(treated(on_condition, ended(0)), Treatment::FailJob(message.to_owned()));
        assert_eq!(treated(json!([codes("Ignore", "NotIn", &[1])]), ended(0)), Treatment::Count, "0 is no failure");
    }
}
