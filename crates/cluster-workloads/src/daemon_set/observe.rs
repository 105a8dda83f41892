//! What a decision about a DaemonSet may look at: itself, its Pods, its revisions, and the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use super::failures::Failures;
use super::resources;
use crate::objects::labels::Matcher;
use crate::objects::owners;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    sets: Informer<DaemonSet>,
    pods_by_controller: Index<Pod>,
    revisions: Informer<ControllerRevision>,
    revisions_by_controller: Index<ControllerRevision>,
    nodes: Informer<Node>,
    failures: Failures,
}

/// The facts about one DaemonSet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The set itself.
    pub(super) set: Arc<DaemonSet>,
    /// The Pods that it controls, and those that nobody controls and its selector takes; in the order of their names.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The revisions that it controls, and those that nobody controls and its selector takes.
    pub(super) revisions: Vec<Arc<ControllerRevision>>,
    /// The revision, whoever's, that has the name of the one that this template would get.
    pub(super) namesake: Option<Arc<ControllerRevision>>,
    /// Every node, in the order of their names.
    pub(super) nodes: Vec<Arc<Node>>,
    /// When a failed Pod may be made again, by node.
    pub(super) retries: BTreeMap<String, Timestamp>,
}

impl Caches {
    pub(super) fn new(
        sets: &Informer<DaemonSet>,
        pods: &Informer<Pod>,
        revisions: &Informer<ControllerRevision>,
        nodes: &Informer<Node>,
        failures: Failures,
    ) -> Self {
        Self {
            sets: sets.clone(),
            pods_by_controller: owners::by_controller(pods),
            revisions: revisions.clone(),
            revisions_by_controller: owners::by_controller(revisions),
            nodes: nodes.clone(),
            failures,
        }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let set = self.sets.get(key)?;
        let selector = selector(&set);
        let pods = owners::own_and_free(&self.pods_by_controller, &set.metadata, &selector);
        let revisions = owners::own_and_free(&self.revisions_by_controller, &set.metadata, &selector);
        let namesake = self.revisions.get(&Key::new(key.namespace(), resources::revision_name(&set)));
        let retries = self.failures.of(set.metadata.uid.as_deref().unwrap_or_default());
        Some(Observed { set, pods, revisions, namesake, nodes: self.nodes.list(), retries })
    }
}

/// What the set's selector takes.
pub(super) fn selector(set: &DaemonSet) -> Matcher {
    Matcher::new(&set.spec.selector)
}
