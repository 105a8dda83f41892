//! What a decision about a StatefulSet may look at: itself, its Pods, its revisions, and the claims of its Pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde::Serialize;

use super::{claims, resources};
use crate::objects::labels::Matcher;
use crate::objects::owners;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    sets: Informer<StatefulSet>,
    pods_by_controller: Index<Pod>,
    revisions: Informer<ControllerRevision>,
    revisions_by_controller: Index<ControllerRevision>,
    claims: Informer<PersistentVolumeClaim>,
}

/// The facts about one StatefulSet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The set itself.
    pub(super) set: Arc<StatefulSet>,
    /// The Pods of its name that it controls, or that nobody controls and its selector takes; by ordinal.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The revisions that it controls, and those that nobody controls and its selector takes.
    pub(super) revisions: Vec<Arc<ControllerRevision>>,
    /// The revision, whoever's, that has the name of the one that this template would get.
    pub(super) namesake: Option<Arc<ControllerRevision>>,
    /// The claims that are there, of the Pods that it has or a pass may make; by name.
    pub(super) claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
}

impl Caches {
    pub(super) fn new(
        sets: &Informer<StatefulSet>,
        pods: &Informer<Pod>,
        revisions: &Informer<ControllerRevision>,
        claims: &Informer<PersistentVolumeClaim>,
    ) -> Self {
        Self {
            sets: sets.clone(),
            pods_by_controller: owners::by_controller(pods),
            revisions: revisions.clone(),
            revisions_by_controller: owners::by_controller(revisions),
            claims: claims.clone(),
        }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let set = self.sets.get(key)?;
        let selector = selector(&set);
        let mut pods = owners::own_and_free(&self.pods_by_controller, &set.metadata, &selector);
        pods.retain(|pod| resources::ordinal_of(&set, pod).is_some());
        pods.sort_by_key(|pod| resources::ordinal_of(&set, pod));
        let revisions = owners::own_and_free(&self.revisions_by_controller, &set.metadata, &selector);
        let namesake = self.revisions.get(&Key::new(key.namespace(), resources::revision_name(&set)));
        let claims = self.claims(&set, &pods);
        Some(Observed { set, pods, revisions, namesake, claims })
    }

    fn claims(&self, set: &StatefulSet, pods: &[Arc<Pod>]) -> BTreeMap<String, Arc<PersistentVolumeClaim>> {
        if set.spec.volume_claim_templates.as_ref().is_none_or(Vec::is_empty) {
            return BTreeMap::new();
        }
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let present = pods.iter().filter_map(|pod| resources::ordinal_of(set, pod)).collect();
        let in_sight = resources::ordinals_in_sight(set, &present);
        let names = in_sight.union(&present).flat_map(|ordinal| claims::names(set, *ordinal));
        names.filter_map(|name| Some((name.clone(), self.claims.get(&Key::new(namespace, name))?))).collect()
    }
}

/// What the set's selector takes.
pub(super) fn selector(set: &StatefulSet) -> Matcher {
    Matcher::new(&set.spec.selector)
}
