//! What a decision about a Deployment may look at: itself, its ReplicaSets, and the Pods of old ones where that matters.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::resources;
use crate::objects::labels::Matcher;
use crate::objects::{owners, pods};

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    sets_by_controller: Index<ReplicaSet>,
    pods_by_controller: Index<Pod>,
}

/// The facts about one Deployment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The Deployment itself.
    pub(super) deployment: Arc<Deployment>,
    /// The sets that it controls, and those that nobody controls and its selector takes; in the order of their names.
    pub(super) replica_sets: Vec<Arc<ReplicaSet>>,
    /// The set, whoever's, that has the name of the one that this template would get.
    pub(super) namesake: Option<Arc<ReplicaSet>>,
    /// How many Pods of each set (by uid) have not ended. Only for a Deployment that recreates.
    pub(super) running_pods: BTreeMap<String, usize>,
}

impl Caches {
    pub(super) fn new(deployments: &Informer<Deployment>, sets: &Informer<ReplicaSet>, pods: &Informer<Pod>) -> Self {
        Self {
            deployments: deployments.clone(),
            sets: sets.clone(),
            sets_by_controller: owners::by_controller(sets),
            pods_by_controller: owners::by_controller(pods),
        }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let deployment = self.deployments.get(key)?;
        let replica_sets = owners::own_and_free(&self.sets_by_controller, &deployment.metadata, &selector(&deployment));
        let namesake = self.sets.get(&Key::new(key.namespace(), resources::replica_set_name(&deployment)));
        let running_pods =
            if resources::is_recreating(&deployment) { self.running_pods(&replica_sets) } else { BTreeMap::new() };
        Some(Observed { deployment, replica_sets, namesake, running_pods })
    }

    fn running_pods(&self, sets: &[Arc<ReplicaSet>]) -> BTreeMap<String, usize> {
        let uids = sets.iter().filter_map(|set| set.metadata.uid.clone());
        let count = |uid: &str| {
            let pods = self.pods_by_controller.get(uid);
            pods.iter().filter(|pod| !pods::is_finished(pod)).count()
        };
        uids.map(|uid| (uid.clone(), count(&uid))).filter(|(_, count)| *count > 0).collect()
    }
}

/// What the Deployment's selector takes.
pub(super) fn selector(deployment: &Deployment) -> Matcher {
    Matcher::new(&deployment.spec.selector)
}
