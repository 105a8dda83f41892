//! What a decision about a claim may look at: itself, volumes, its class, and whether a Pod uses it.

use std::cmp::Reverse;
use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::Serialize;

use crate::objects::{pods, storage};

/// On a class: claims that ask for none get it.
pub(super) const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    pods_by_claim: Index<Pod>,
}

/// The facts about one claim.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The claim itself.
    pub(super) claim: Arc<PersistentVolumeClaim>,
    /// If it has no volume: every volume, in the order of their names. Else only the one that it names.
    pub(super) volumes: Vec<Arc<PersistentVolume>>,
    /// The class that it asks for; if it asks for none, the default one.
    pub(super) class: Option<Arc<StorageClass>>,
    /// Whether a Pod that is bound to a node uses it.
    pub(super) is_used: bool,
}

impl Caches {
    pub(super) fn new(
        claims: &Informer<PersistentVolumeClaim>,
        volumes: &Informer<PersistentVolume>,
        classes: &Informer<StorageClass>,
        pods: &Informer<Pod>,
    ) -> Self {
        let pods_by_claim = pods.index("claim", storage::claim_keys);
        Self { claims: claims.clone(), volumes: volumes.clone(), classes: classes.clone(), pods_by_claim }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let claim = self.claims.get(key)?;
        let volumes = match storage::volume_name(&claim) {
            Some(name) => self.volumes.get(&Key::cluster(name)).into_iter().collect(),
            None => self.volumes.list(),
        };
        let users = self.pods_by_claim.get(&storage::claim_key(key.namespace(), key.name()));
        let is_used = users.iter().any(|pod| pods::node_name(pod).is_some());
        let class = self.class(&claim);
        Some(Observed { claim, volumes, class, is_used })
    }

    fn class(&self, claim: &PersistentVolumeClaim) -> Option<Arc<StorageClass>> {
        match claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()) {
            Some("") => None,
            Some(name) => self.classes.get(&Key::cluster(name)),
            None => {
                let classes = self.classes.list().into_iter();
                let defaults = classes
                    .filter(|class| storage::annotation(class.metadata.annotations.as_ref(), IS_DEFAULT) == "true");
                // The newest; of equals the first by name.
                defaults.max_by_key(|class| {
                    let created = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
                    (created, Reverse(class.metadata.name.clone()))
                })
            }
        }
    }
}
