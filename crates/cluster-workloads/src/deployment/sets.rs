//! A Deployment's ReplicaSets, told apart: the new one, whose template is the Deployment's, and the old ones.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::objects::labels::POD_TEMPLATE_HASH;

/// The sets of one Deployment, as cached.
#[derive(Clone, Debug)]
pub(super) struct Sets<'a> {
    /// The set of the Deployment's template, if there is one; the oldest, if there are several.
    pub(super) new: Option<&'a ReplicaSet>,
    /// The others, oldest first.
    pub(super) old: Vec<&'a ReplicaSet>,
}

impl<'a> Sets<'a> {
    pub(super) fn split(deployment: &Deployment, sets: &'a [Arc<ReplicaSet>]) -> Self {
        let mut by_age: Vec<&ReplicaSet> = sets.iter().map(|set| &**set).collect();
        by_age.sort_by(|a, b| age_order(a).cmp(&age_order(b)));
        let is_new = |set: &&ReplicaSet| is_template_of(&deployment.spec.template, set);
        let new = by_age.iter().position(is_new);
        Self { new: new.map(|index| by_age.remove(index)), old: by_age }
    }

    /// Every set, the new one last.
    pub(super) fn all(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.old.iter().copied().chain(self.new)
    }

    /// Every set that wants Pods.
    pub(super) fn active(&self) -> Vec<&'a ReplicaSet> {
        self.all().filter(|set| replicas(set) > 0).collect()
    }

    /// The old sets that want Pods.
    pub(super) fn active_old(&self) -> Vec<&'a ReplicaSet> {
        self.old.iter().copied().filter(|set| replicas(set) > 0).collect()
    }
}

/// Older first; by name where that is the same.
pub(super) fn age_order(set: &ReplicaSet) -> (Option<base_rt::Timestamp>, Option<&str>) {
    (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.as_deref())
}

/// Whether the set was made of this template: equal but for the label with its hash.
pub(super) fn is_template_of(template: &PodTemplateSpec, set: &ReplicaSet) -> bool {
    set.spec.template.as_ref().is_some_and(|of_set| without_hash(template) == without_hash(of_set))
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let metadata = template.metadata.get_or_insert_default();
    // The server stores no time in a template, but some clients send one.
    metadata.creation_timestamp = None;
    if let Some(labels) = &mut metadata.labels {
        labels.remove(POD_TEMPLATE_HASH);
    }
    metadata.labels = metadata.labels.take().filter(|labels| !labels.is_empty());
    template
}

/// How many Pods a set wants.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// What a set's status says; zeroes if there is none.
pub(super) fn status(set: &ReplicaSet) -> ReplicaSetStatus {
    set.status.clone().unwrap_or_default()
}

/// How many Pods of a set are available.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
}

/// An annotation that is a number.
pub(super) fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}
