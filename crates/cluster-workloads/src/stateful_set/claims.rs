//! The claims of a StatefulSet's Pods: their names, what they are made of, and who owns them.
//!
//! | `whenScaled` | `whenDeleted` | owner of a claim |
//! |---|---|---|
//! | Retain | Retain | nobody |
//! | Retain | Delete | the set |
//! | Delete | Retain | the Pod, once it is beyond the replicas |
//! | Delete | Delete | the set; the Pod, once it is beyond the replicas |

use std::collections::BTreeMap;

use base_controller::Change;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;

use super::resources;
use crate::objects::owners;

fn templates(set: &StatefulSet) -> impl Iterator<Item = &PersistentVolumeClaim> {
    set.spec.volume_claim_templates.iter().flatten()
}

/// The names of the claims of the Pod with this ordinal, in the order of their templates.
pub(super) fn names(set: &StatefulSet, ordinal: i32) -> impl Iterator<Item = String> {
    let pod = resources::pod_name(set, ordinal);
    templates(set).map(move |template| format!("{}-{pod}", template.metadata.name.as_deref().unwrap_or_default()))
}

/// Whether a claim of this name is one of the set's.
pub(super) fn is_name_of(set: &StatefulSet, name: &str) -> bool {
    let Some((name, _ordinal)) = name.rsplit_once('-') else { return false };
    let Some(template) = name.strip_suffix(resources::name(set)).and_then(|rest| rest.strip_suffix('-')) else {
        return false;
    };
    templates(set).any(|claim| claim.metadata.name.as_deref() == Some(template))
}

/// The claims of the Pod with this ordinal, which is to have these owners.
pub(super) fn make(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let owner = keeps(set).is_deleted_with_set().then(|| owners::controller_reference(set));
    let selected = set.spec.selector.match_labels.iter().flatten();
    let selected: BTreeMap<String, String> = selected.map(|(name, value)| (name.clone(), value.clone())).collect();
    let claim = |(template, name): (&PersistentVolumeClaim, String)| {
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(selected.clone());
        let metadata = ObjectMeta {
            name: Some(name),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            owner_references: owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        PersistentVolumeClaim { metadata, spec: template.spec.clone(), status: None }
    };
    templates(set).zip(names(set, ordinal)).map(claim).collect()
}

/// What happens to claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Keeps {
    when_scaled: bool,
    when_deleted: bool,
}

impl Keeps {
    fn is_always(self) -> bool {
        self.when_scaled && self.when_deleted
    }

    /// Whether the claim of a Pod within the replicas goes with the set.
    fn is_deleted_with_set(self) -> bool {
        !self.when_deleted
    }
}

fn keeps(set: &StatefulSet) -> Keeps {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let keeps = |when: Option<&String>| when.is_none_or(|when| when != "Delete");
    Keeps {
        when_scaled: keeps(policy.and_then(|policy| policy.when_scaled.as_ref())),
        when_deleted: keeps(policy.and_then(|policy| policy.when_deleted.as_ref())),
    }
}

/// Whether an owner is the object of this kind and name, of whichever life.
fn is_named(owner: &OwnerReference, api_version: &str, kind: &str, meta: &ObjectMeta) -> bool {
    owner.api_version == api_version && owner.kind == kind && meta.name.as_deref() == Some(owner.name.as_str())
}

/// Whether a claim is still owned by an earlier Pod of this name, and so is about to go.
pub(super) fn is_stale(set: &StatefulSet, ordinal: i32, claim: &PersistentVolumeClaim) -> bool {
    let pod = ObjectMeta { name: Some(resources::pod_name(set, ordinal)), ..ObjectMeta::default() };
    let mut owners = claim.metadata.owner_references.iter().flatten();
    !keeps(set).when_scaled && owners.any(|owner| is_named(owner, "v1", "Pod", &pod))
}

/// Whether somebody else controls a claim, so that the policy does not apply to it.
pub(super) fn is_anothers(set: &StatefulSet, pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let is_ours = |owner: &OwnerReference| {
        is_named(owner, "apps/v1", "StatefulSet", &set.metadata) || is_named(owner, "v1", "Pod", &pod.metadata)
    };
    let mut owners = claim.metadata.owner_references.iter().flatten();
    !keeps(set).is_always() && owners.any(|owner| owner.controller == Some(true) && !is_ours(owner))
}

/// Gives a claim the owners that the policy wants. None if it has them, or belongs to an earlier life of the set or the Pod.
pub(super) fn own(set: &StatefulSet, pod: &Pod, claim: &PersistentVolumeClaim) -> Option<Change> {
    let current = claim.metadata.owner_references.clone().unwrap_or_default();
    let of_set = |owner: &OwnerReference| is_named(owner, "apps/v1", "StatefulSet", &set.metadata);
    let of_pod = |owner: &OwnerReference| is_named(owner, "v1", "Pod", &pod.metadata);
    let is_of = |owner: &OwnerReference, meta: &ObjectMeta| meta.uid.as_deref() == Some(owner.uid.as_str());
    let is_stale = |owner: &OwnerReference| {
        (of_set(owner) && !is_of(owner, &set.metadata)) || (of_pod(owner) && !is_of(owner, &pod.metadata))
    };
    if current.iter().any(is_stale) {
        return None;
    }
    let mut wanted: Vec<OwnerReference> =
        current.iter().filter(|owner| !of_set(owner) && !of_pod(owner)).cloned().collect();
    if !is_anothers(set, pod, claim) {
        let is_beyond =
            resources::ordinal_of(set, pod).is_some_and(|ordinal| !resources::ordinals(set).contains(&ordinal));
        let keeps = keeps(set);
        if !keeps.when_scaled && is_beyond {
            wanted.push(owners::controller_reference(pod));
        } else if keeps.is_deleted_with_set() {
            wanted.push(owners::controller_reference(set));
        }
    }
    let is_same = |a: &OwnerReference, b: &OwnerReference| a.uid == b.uid && a.controller == b.controller;
    let has_all =
        wanted.len() == current.len() && wanted.iter().all(|owner| current.iter().any(|known| is_same(owner, known)));
    (!has_all).then(|| Change::overlay_fields(claim, json!({"metadata": {"ownerReferences": wanted}})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn set(when_scaled: &str, when_deleted: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "set"},
            "spec": {
                "selector": {}, "template": {}, "replicas": 1,
                "persistentVolumeClaimRetentionPolicy": {"whenScaled": when_scaled, "whenDeleted": when_deleted},
                "volumeClaimTemplates": [{"metadata": {"name": "www"}}],
            },
        }))
        .unwrap()
    }

    fn pod(ordinal: i32) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": format!("web-{ordinal}"), "uid": "pod"}})).unwrap()
    }

    /// The uids of the owners that a claim without owners gets.
    fn owners(set: &StatefulSet, ordinal: i32, current: Value) -> Option<Vec<String>> {
        let claim = serde_json::from_value(json!({"metadata": {"name": "www-web-0", "ownerReferences": current}}));
        let change = own(set, &pod(ordinal), &claim.unwrap())?;
        let fields = json!(change)["fields"].clone();
        let owners = fields["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        Some(owners.iter().map(|owner| owner["uid"].as_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn the_table_of_owners() {
        let only = |uid: &str| Some(vec![uid.to_owned()]);
        for (when_scaled, when_deleted, within, beyond) in [
            ("Retain", "Retain", None, None),
            ("Retain", "Delete", only("set"), only("set")),
            ("Delete", "Retain", None, only("pod")),
            ("Delete", "Delete", only("set"), only("pod")),
        ] {
            let set = set(when_scaled, when_deleted);
            assert_eq!(owners(&set, 0, json!([])), within, "{when_scaled} {when_deleted}");
            assert_eq!(owners(&set, 1, json!([])), beyond, "{when_scaled} {when_deleted}");
        }
    }

    #[test]
    fn others_claims_are_left_to_them() {
        let owner = |kind: &str, name: &str, uid: &str| {
            let api_version = if kind == "Pod" { "v1" } else { "apps/v1" };
            json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true}])
        };
        let delete = set("Retain", "Delete");
        assert_eq!(owners(&delete, 0, owner("StatefulSet", "web", "set")), None, "it has its owner");
        assert_eq!(owners(&delete, 0, owner("StatefulSet", "web", "earlier")), None, "the garbage collector takes it");
        assert_eq!(owners(&delete, 0, owner("Deployment", "d", "other")), None, "somebody else's");
        let retain = set("Retain", "Retain");
        assert_eq!(owners(&retain, 0, owner("StatefulSet", "web", "set")), Some(Vec::new()), "the policy has changed");
        let scaled = set("Delete", "Retain");
        let claim: PersistentVolumeClaim = serde_json::from_value(
            json!({"metadata": {"name": "www-web-0", "ownerReferences": owner("Pod", "web-0", "x")}}),
        )
        .unwrap();
        assert!(is_stale(&scaled, 0, &claim) && !is_stale(&retain, 0, &claim));
    }

    #[test]
    fn a_claims_name_says_whose_it_is() {
        let set = set("Retain", "Retain");
        assert_eq!(names(&set, 3).collect::<Vec<_>>(), ["www-web-3"]);
        assert!(is_name_of(&set, "www-web-12"));
        assert!(!is_name_of(&set, "data-web-12") && !is_name_of(&set, "www-other-1") && !is_name_of(&set, "www"));
    }
}
