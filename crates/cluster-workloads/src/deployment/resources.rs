//! The ReplicaSets that a Deployment makes and sizes, and the annotations on them.

use std::collections::BTreeMap;

use base_controller::{Change, PlanEvent};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::sets;
use super::size::Bounds;
use crate::objects::labels::POD_TEMPLATE_HASH;
use crate::objects::{names, owners};

/// The number of a template in the Deployment's history.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers that a set had before, when it was new already.
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the set was last sized.
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The most Pods that the Deployment might have then.
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that are about the Deployment alone.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];

/// How many Pods a Deployment wants.
pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1).max(0)
}

/// Whether old Pods end before new ones start.
pub(super) fn is_recreating(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    strategy == Some("Recreate")
}

/// Whether nothing is to be rolled for now.
pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused == Some(true)
}

/// The name of the set of the Deployment's present template.
pub(super) fn replica_set_name(deployment: &Deployment) -> String {
    names::child(deployment.metadata.name.as_deref().unwrap_or_default(), &hash(deployment))
}

fn hash(deployment: &Deployment) -> String {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    names::template_hash(&deployment.spec.template, collisions)
}

/// The set of the Deployment's present template.
pub(super) fn make_replica_set(deployment: &Deployment, replicas: i32, revision: i64) -> ReplicaSet {
    let hash = hash(deployment);
    let mut template = deployment.spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(POD_TEMPLATE_HASH.to_owned(), hash);
    let mut annotations = copied_annotations(deployment);
    annotations.extend(size_annotations(deployment));
    annotations.insert(REVISION.to_owned(), revision.to_string());
    let metadata = ObjectMeta {
        name: Some(replica_set_name(deployment)),
        namespace: deployment.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![owners::controller_reference(deployment)]),
        ..ObjectMeta::default()
    };
    let spec = ReplicaSetSpec {
        replicas: Some(replicas),
        min_ready_seconds: deployment.spec.min_ready_seconds,
        selector,
        template: Some(template),
    };
    ReplicaSet { metadata, spec, status: None }
}

/// The Deployment's annotations that its sets share.
pub(super) fn copied_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.into_iter().filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())).collect()
}

/// What a set remembers of the Deployment's size.
fn size_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let bounds = Bounds::of(deployment);
    [(DESIRED_REPLICAS, bounds.replicas), (MAX_REPLICAS, bounds.max_total())]
        .map(|(name, number)| (name.to_owned(), number.to_string()))
        .into()
}

/// Sizes a set and lets it remember the Deployment's size. None if both are so already.
pub(super) fn resize(deployment: &Deployment, set: &ReplicaSet, replicas: i32) -> Option<Change> {
    let annotations = size_annotations(deployment);
    let before = sets::replicas(set);
    let known = set.metadata.annotations.as_ref();
    let is_known = annotations.iter().all(|(name, value)| known.and_then(|known| known.get(name)) == Some(value));
    if before == replicas && is_known {
        return None;
    }
    let change =
        Change::overlay_fields(set, json!({"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}}));
    let name = set.metadata.name.as_deref().unwrap_or_default();
    Some(if before == replicas { change } else { change.with_event(scaled(name, before, replicas)) })
}

/// The Event that a set has another size.
pub(super) fn scaled(name: &str, before: i32, after: i32) -> PlanEvent {
    let direction = if after > before { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {name} from {before} to {after}");
    PlanEvent::normal("ScalingReplicaSet", message)
}
