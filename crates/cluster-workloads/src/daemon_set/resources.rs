//! The Pods that a DaemonSet makes, and what they tolerate.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration};

use crate::objects::affinity::UNSCHEDULABLE;
use crate::objects::pods;
use crate::objects::revisions::{self, REVISION_HASH};

const TEMPLATE_GENERATION_LABEL: &str = "pod-template-generation";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const NODE_NAME: &str = "metadata.name";

/// Taints of nodes in trouble, and what they do.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE, "NoSchedule"),
];
const NETWORK_UNAVAILABLE: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The set's name.
pub(super) fn name(set: &DaemonSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

/// The name of the revision of the set's template.
pub(super) fn revision_name(set: &DaemonSet) -> String {
    let collisions = set.status.as_ref().and_then(|status| status.collision_count);
    revisions::name(name(set), &set.spec.template, collisions)
}

/// The number of the set's template, as old clients count.
fn template_generation(set: &DaemonSet) -> Option<&str> {
    let annotations = set.metadata.annotations.as_ref()?;
    annotations.get(TEMPLATE_GENERATION).map(String::as_str).filter(|number| number.parse::<i64>().is_ok())
}

/// Whether a Pod is of the set's present template, whose revision has this hash.
pub(super) fn is_updated(set: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let has_generation =
        template_generation(set).is_some_and(|own| revisions::label(&pod.metadata, TEMPLATE_GENERATION_LABEL) == own);
    has_generation || (!hash.is_empty() && revisions::label(&pod.metadata, REVISION_HASH) == hash)
}

/// A Pod of the set's template as far as a node looks at it.
pub(super) fn example(set: &DaemonSet) -> Pod {
    let mut spec = set.spec.template.spec.clone().unwrap_or_default();
    tolerate(&mut spec);
    Pod { spec: Some(spec), ..Pod::default() }
}

/// A new Pod for a node, to be named by the server.
pub(super) fn make_pod(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let mut pod = pods::from_template(set, set.spec.template.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    if let Some(number) = template_generation(set) {
        labels.insert(TEMPLATE_GENERATION_LABEL.to_owned(), number.to_owned());
    }
    labels.insert(REVISION_HASH.to_owned(), hash.to_owned());
    let spec = pod.spec.get_or_insert_default();
    tolerate(spec);
    pin(spec, node);
    pod
}

fn tolerate(spec: &mut PodSpec) {
    let of_host = Some(NETWORK_UNAVAILABLE).filter(|_| spec.host_network == Some(true));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(of_host) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Has the scheduler bind the Pod to this node, whatever else the template's node affinity requires.
fn pin(spec: &mut PodSpec, node: &str) {
    let by_name = NodeSelectorRequirement {
        key: NODE_NAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![by_name]), ..NodeSelectorTerm::default() };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a Pod is bound to, or was made for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let made_for = || {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        fields.filter(|field| field.key == NODE_NAME).find_map(|field| field.values.as_ref()?.first())
    };
    pods::node_name(pod).or_else(|| made_for().map(String::as_str))
}
