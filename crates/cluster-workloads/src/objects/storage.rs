//! Persistent volumes and claims: which volume suits which claim, and which are kept by this machine's node.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::labels::Matcher;
use super::quantity::Milli;

/// Who makes volumes on this machine: a StorageClass's `provisioner`, and the CSI driver of the volumes.
pub(crate) const PROVISIONER: &str = "local.kwick.dev";
/// Keeps a volume until the node has removed its content.
pub(crate) const CONTENT_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// On a claim: it has its volume for good.
pub(crate) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On a claim or volume: the binding was not its user's wish.
pub(crate) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a claim: the node that the scheduler has chosen for its first Pod.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// An annotation of an object; nothing if it has none.
pub(crate) fn annotation<'a>(annotations: Option<&'a BTreeMap<String, String>>, name: &str) -> &'a str {
    annotations.and_then(|annotations| annotations.get(name)).map(String::as_str).unwrap_or_default()
}

/// The names of the claims that a Pod uses.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()).map(|claim| claim.claim_name.as_str())
}

/// What a claim is called in an index of Pods.
pub(crate) fn claim_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The values of an index of Pods by claim.
pub(crate) fn claim_keys(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    claims_of(pod).map(|name| claim_key(namespace, name)).collect()
}

/// The volume that a claim names; nothing if it has none yet.
pub(crate) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether the claim has its volume.
pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    volume_name(claim).is_some() && annotation(claim.metadata.annotations.as_ref(), BIND_COMPLETED) == "yes"
}

/// The class that a claim asks for; empty for none.
pub(crate) fn class_of(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default()
}

/// The access modes that a claim asks for.
pub(crate) fn access_modes(claim: &PersistentVolumeClaim) -> &[String] {
    claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
}

/// How much a claim asks for.
pub(crate) fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// The claim that a volume is for.
pub(crate) fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether a volume is for a claim: for exactly this one, or for one of its name whichever it will be.
pub(crate) fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_ref(volume).is_some_and(|reference| {
        let is_named = reference.name == claim.metadata.name && reference.namespace == claim.metadata.namespace;
        is_named && reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
    })
}

/// Whether the content of a volume lies with this machine's node, and by which name.
pub(crate) fn content_of(volume: &PersistentVolume) -> Option<&str> {
    let csi = volume.spec.as_ref()?.csi.as_ref()?;
    (csi.driver == PROVISIONER).then_some(csi.volume_handle.as_str())
}

/// What happens to a volume when its claim is gone.
pub(crate) fn reclaim_policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// The volume for a claim: one that is kept for it, else the smallest of those that suit and are free; of equals the first by name.
pub(crate) fn best_match<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
) -> Option<&'a Arc<PersistentVolume>> {
    let alive = || volumes.iter().filter(|volume| volume.metadata.deletion_timestamp.is_none());
    if let Some(kept) = alive().find(|volume| is_for(volume, claim)) {
        return Some(kept);
    }
    let free = alive().filter(|volume| claim_ref(volume).is_none() && suits(claim, volume));
    free.min_by_key(|volume| (capacity(volume), volume.metadata.name.clone()))
}

fn capacity(volume: &PersistentVolume) -> Milli {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage"));
    capacity.and_then(Milli::parse).unwrap_or_default()
}

/// Whether a volume is what a claim asks for.
pub(crate) fn suits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let (Some(asked), Some(offered)) = (&claim.spec, &volume.spec) else { return false };
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let modes = offered.access_modes.as_deref().unwrap_or_default();
    class_of(claim) == offered.storage_class_name.as_deref().unwrap_or_default()
        && mode(&asked.volume_mode) == mode(&offered.volume_mode)
        && access_modes(claim).iter().all(|mode| modes.contains(mode))
        && capacity(volume) >= requested(claim).and_then(Milli::parse).unwrap_or_default()
        && asked.selector.as_ref().is_none_or(|selector| Matcher::new(selector).takes(&volume.metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(spec: Value) -> PersistentVolumeClaim {
        let base = json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "c1"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        serde_json::from_value(base_controller::overlay::overlay(&base, &json!({"spec": spec}))).unwrap()
    }

    fn volume(name: &str, spec: Value) -> Arc<PersistentVolume> {
        let base = json!({
            "metadata": {"name": name, "labels": {"tier": "a"}},
            "spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "1Gi"}},
        });
        Arc::new(serde_json::from_value(base_controller::overlay::overlay(&base, &json!({"spec": spec}))).unwrap())
    }

    #[test]
    fn a_claim_gets_the_smallest_volume_that_suits() {
        let volumes = [
            volume("big", json!({"capacity": {"storage": "5Gi"}})),
            volume("small", json!({"capacity": {"storage": "512Mi"}})),
            volume("taken", json!({"claimRef": {"name": "other", "namespace": "n"}})),
            volume("classy", json!({"storageClassName": "fast"})),
            volume("right", json!({"capacity": {"storage": "2Gi"}})),
        ];
        let best = |spec: Value| {
            let claim = claim(spec);
            best_match(&claim, &volumes).and_then(|volume| volume.metadata.name.clone())
        };
        assert_eq!(best(json!({})).as_deref(), Some("right"));
        assert_eq!(best(json!({"resources": {"requests": {"storage": "3Gi"}}})).as_deref(), Some("big"));
        assert_eq!(best(json!({"storageClassName": "fast"})).as_deref(), Some("classy"));
        assert_eq!(best(json!({"accessModes": ["ReadWriteMany"]})), None);
        assert_eq!(best(json!({"volumeMode": "Block"})), None);
        assert_eq!(best(json!({"selector": {"matchLabels": {"tier": "b"}}})), None);
    }

    #[test]
    fn a_volume_that_is_kept_for_a_claim_comes_first() {
        let kept = |uid: &str| volume("kept", json!({"claimRef": {"name": "c", "namespace": "n", "uid": uid}}));
        let volumes = |uid| [volume("a", json!({})), kept(uid)];
        let best = |uid| best_match(&claim(json!({})), &volumes(uid)).and_then(|volume| volume.metadata.name.clone());
        assert_eq!(best("").as_deref(), Some("kept"));
        assert_eq!(best("c1").as_deref(), Some("kept"));
        assert_eq!(best("earlier").as_deref(), Some("a"));
    }
}
