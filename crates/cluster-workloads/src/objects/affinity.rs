//! Which nodes a Pod may run on: node selector, required node affinity, taints and tolerations.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, Pod, Taint, Toleration,
};

/// The taint that stands for a cordon.
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Whether the Pod's node selector and required node affinity take the node.
pub(crate) fn takes_node(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let no_labels = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&no_labels);
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let is_selected = spec.node_selector.iter().flatten().all(|(name, value)| labels.get(name) == Some(value));
    is_selected
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| takes(term, node, labels)))
}

/// Whether a volume may be used on the node.
pub(crate) fn takes_volume(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    let no_labels = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&no_labels);
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| takes(term, node, labels)))
}

/// A term without requirements takes nothing.
fn takes(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let name = BTreeMap::from([("metadata.name".to_owned(), node.metadata.name.clone().unwrap_or_default())]);
    let by_labels = term.match_expressions.as_deref().unwrap_or_default();
    let by_fields = term.match_fields.as_deref().unwrap_or_default();
    !(by_labels.is_empty() && by_fields.is_empty())
        && by_labels.iter().all(|requirement| is_met(requirement, labels))
        && by_fields.iter().all(|requirement| is_met(requirement, &name))
}

fn is_met(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let compared = || {
        let value: i64 = value?.parse().ok()?;
        let bound: i64 = values.first()?.parse().ok()?;
        Some(value.cmp(&bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => !value.is_some_and(|value| values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}

/// Whether the Pod tolerates every taint of the node that keeps Pods away.
pub(crate) fn tolerates(pod: &Pod, node: &Node) -> bool {
    tolerates_those(pod, node, |taint| taint.effect != "PreferNoSchedule")
}

/// Whether the Pod tolerates every taint of the node that drives Pods out.
pub(crate) fn may_stay(pod: &Pod, node: &Node) -> bool {
    tolerates_those(pod, node, |taint| taint.effect == "NoExecute")
}

fn tolerates_those(pod: &Pod, node: &Node, is_asked: impl Fn(&Taint) -> bool) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| is_asked(taint)).all(|taint| tolerates_taint(pod, taint))
}

/// Whether the Pod may be bound to the node, which may be cordoned.
pub(crate) fn tolerates_cordon(pod: &Pod, node: &Node) -> bool {
    let is_cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let cordon = Taint { key: UNSCHEDULABLE.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    !is_cordoned || tolerates_taint(pod, &cordon)
}

fn tolerates_taint(pod: &Pod, taint: &Taint) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    let is_about = (key.is_empty() || key == taint.key) && (effect.is_empty() || effect == taint.effect);
    is_about
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => !key.is_empty() && text(&toleration.value) == text(&taint.value),
            Some(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(taints: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}}, "spec": {"taints": taints},
        }))
        .unwrap()
    }

    fn pod(spec: Value) -> Pod {
        let base = json!({"metadata": {}, "spec": {"containers": []}});
        serde_json::from_value(base_controller::overlay::overlay(&base, &json!({"spec": spec}))).unwrap()
    }

    fn required(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
        }}})
    }

    #[test]
    fn selectors_and_required_affinity() {
        let rows = [
            (json!({}), true),
            (json!({"nodeSelector": {"zone": "a"}}), true),
            (json!({"nodeSelector": {"zone": "b"}}), false),
            (required(json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b", "a"]}]}])), true),
            (required(json!([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["8"]}]}])), false),
            (required(json!([{"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["9"]}]}])), true),
            (required(json!([{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}])), false),
            (
                required(json!([{}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])),
                true,
            ),
            (required(json!([{}])), false),
        ];
        for (spec, expected) in rows {
            assert_eq!(takes_node(&pod(spec.clone()), &node(json!([]))), expected, "{spec}");
        }
    }

    #[test]
    fn taints_and_tolerations() {
        let tainted = node(json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]));
        let rows = [
            (json!([]), false),
            (json!([{"operator": "Exists"}]), true),
            (json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]), true),
            (json!([{"key": "k", "value": "v"}]), true),
            (json!([{"key": "k", "value": "other"}]), false),
            (json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}]), false),
        ];
        for (tolerations, expected) in rows {
            assert_eq!(tolerates(&pod(json!({"tolerations": tolerations})), &tainted), expected, "{tolerations}");
        }
        let soft = node(json!([{"key": "k", "effect": "PreferNoSchedule"}]));
        assert!(tolerates(&pod(json!({})), &soft));
        assert!(may_stay(&pod(json!({})), &tainted));
        assert!(!may_stay(&pod(json!({})), &node(json!([{"key": "k", "effect": "NoExecute"}]))));
    }

    #[test]
    fn a_cordon_is_a_taint_too() {
        let cordoned = Node {
            spec: Some(k8s_openapi::api::core::v1::NodeSpec { unschedulable: Some(true), ..Default::default() }),
            ..node(json!([]))
        };
        assert!(!tolerates_cordon(&pod(json!({})), &cordoned));
        assert!(tolerates_cordon(
            &pod(json!({"tolerations": [{"key": UNSCHEDULABLE, "operator": "Exists"}]})),
            &cordoned
        ));
        assert!(tolerates_cordon(&pod(json!({})), &node(json!([]))));
    }
}
