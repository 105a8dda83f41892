//! What a decision about a ReplicaSet may look at: the set, and the Pods that are or may become its own.

use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use crate::objects::labels::Matcher;
use crate::objects::owners;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    sets: Informer<ReplicaSet>,
    pods_by_controller: Index<Pod>,
}

/// The facts about one ReplicaSet.
#[derive(Debug, Serialize)]
pub(super) struct Observed {
    /// The set itself.
    pub(super) replica_set: Arc<ReplicaSet>,
    /// The Pods that it controls, and those that nobody controls and its selector takes; in the order of their names.
    pub(super) pods: Vec<Arc<Pod>>,
}

impl Caches {
    pub(super) fn new(sets: &Informer<ReplicaSet>, pods: &Informer<Pod>) -> Self {
        Self { sets: sets.clone(), pods_by_controller: owners::by_controller(pods) }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let replica_set = self.sets.get(key)?;
        let pods = owners::own_and_free(&self.pods_by_controller, &replica_set.metadata, &selector(&replica_set));
        Some(Observed { replica_set, pods })
    }
}

/// What the set's selector takes.
pub(super) fn selector(set: &ReplicaSet) -> Matcher {
    Matcher::new(&set.spec.selector)
}
