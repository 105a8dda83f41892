//! The Pods of a StatefulSet: their ordinals, names and templates.

use std::collections::BTreeSet;
use std::ops::Range;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, Volume};

use super::claims;
use crate::objects::{pods, revisions};

/// The label with a Pod's own name.
pub(super) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label with a Pod's ordinal.
pub(super) const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// The label with the hash of a revision.
pub(super) const HASH: &str = "controller.kubernetes.io/hash";

/// Pods that one pass makes at most; what they wake does the rest.
pub(super) const MAX_BURST: usize = 500;

/// The set's name.
pub(super) fn name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

/// How many Pods a set wants.
pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

/// The ordinals that a set is to have.
pub(super) fn ordinals(set: &StatefulSet) -> Range<i32> {
    let start = set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or_default();
    start..start.saturating_add(replicas(set))
}

/// The ordinals that one pass looks at: those of the Pods that are `present`, and the first ones that are missing. So what a pass does
/// depends on what there is, however many replicas are asked for.
pub(super) fn ordinals_in_sight(set: &StatefulSet, present: &BTreeSet<i32>) -> BTreeSet<i32> {
    let ordinals = ordinals(set);
    let missing = ordinals.clone().filter(|ordinal| !present.contains(ordinal)).take(MAX_BURST);
    present.range(ordinals).copied().chain(missing).collect()
}

/// Whether Pods wait for those before them.
pub(super) fn is_ordered(set: &StatefulSet) -> bool {
    set.spec.pod_management_policy.as_deref() != Some("Parallel")
}

/// Whether Pods are updated only when somebody else deletes them.
pub(super) fn is_on_delete(set: &StatefulSet) -> bool {
    set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
}

/// The name of the Pod with this ordinal.
pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", name(set))
}

/// The ordinal in the Pod's name, if that is a name of this set.
pub(super) fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let ordinal = pod.metadata.name.as_deref()?.strip_prefix(name(set))?.strip_prefix('-')?;
    ordinal.parse().ok().filter(|number: &i32| *number >= 0 && number.to_string() == ordinal)
}

/// The name of the revision of the set's template.
pub(super) fn revision_name(set: &StatefulSet) -> String {
    let collisions = set.status.as_ref().and_then(|status| status.collision_count);
    revisions::name(name(set), &set.spec.template, collisions)
}

/// The Pod of a revision's template with this ordinal. A revision that holds none stands for the set's own.
pub(super) fn make_pod(set: &StatefulSet, ordinal: i32, revision: &ControllerRevision) -> Pod {
    let template = revisions::template_of(revision).unwrap_or_else(|| set.spec.template.clone());
    let mut pod = pods::from_template(set, template);
    let pod_name = pod_name(set, ordinal);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.to_owned(), pod_name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    labels.insert(revisions::REVISION_HASH.to_owned(), revision.metadata.name.clone().unwrap_or_default());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(pod_name.clone());
    spec.subdomain = set.spec.service_name.clone().filter(|name| !name.is_empty());
    let own = spec.volumes.take().unwrap_or_default();
    let volumes = with_claims(set, ordinal, own);
    spec.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(pod_name);
    pod
}

/// The volumes of the claims, and the template's others.
fn with_claims(set: &StatefulSet, ordinal: i32, own: Vec<Volume>) -> Vec<Volume> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let names: Vec<&str> = templates.filter_map(|claim| claim.metadata.name.as_deref()).collect();
    let volume = |(name, claim_name): (&&str, String)| Volume {
        name: (*name).to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name, ..Default::default() }),
        ..Volume::default()
    };
    let mut volumes: Vec<Volume> = names.iter().zip(claims::names(set, ordinal)).map(volume).collect();
    volumes.extend(own.into_iter().filter(|volume| !names.contains(&volume.name.as_str())));
    volumes
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    #[test]
    fn only_a_number_after_the_sets_name_is_an_ordinal() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"selector": {}, "template": {}, "replicas": 2, "ordinals": {"start": 5}},
        }))
        .unwrap();
        let ordinal = |name: &str| {
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            ordinal_of(&set, &Pod { metadata, ..Pod::default() })
        };
        assert_eq!(["web-5", "web-0"].map(ordinal), [Some(5), Some(0)]);
        assert_eq!(["web-a-1", "web-", "web", "web-+1", "web--1", "web-01"].map(ordinal), [None; 6]);
        assert_eq!(ordinals(&set), 5..7);
    }

    #[test]
    fn a_pass_looks_at_what_is_there_and_at_so_many_that_are_missing() {
        let set: StatefulSet = serde_json::from_value(json!({
            "spec": {"selector": {}, "template": {}, "replicas": i32::MAX, "ordinals": {"start": 5}},
        }))
        .unwrap();
        let seen = ordinals_in_sight(&set, &[0, 6, 1_000_000].into());
        assert_eq!(seen.len(), 2 + MAX_BURST);
        assert!([5, 6, 7, 1_000_000].iter().all(|ordinal| seen.contains(ordinal)) && !seen.contains(&0));
    }
}
