//! A Pod's claims, as far as they decide whether and where it may run.
//!
//! A claim that binds at once has to be bound. One that waits for its first consumer is told the node that the Pod will have; the Pod is bound
//! when the claim is.

use std::sync::Arc;

use base_controller::{Change, Informer, Key};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

use super::fit::Misfit;
use crate::objects::affinity;
use crate::objects::storage::{self, SELECTED_NODE};

/// The provisioner of classes whose volumes nobody makes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) claims: Informer<PersistentVolumeClaim>,
    pub(super) volumes: Informer<PersistentVolume>,
    pub(super) classes: Informer<StorageClass>,
}

/// The claims of one Pod.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Volumes of bound claims; none where it is not there.
    bound: Vec<Option<Arc<PersistentVolume>>>,
    /// Claims that wait for their first consumer, and whether a volume will be made or is there.
    waiting: Vec<(Arc<PersistentVolumeClaim>, bool)>,
    /// Claims that one Pod alone may use.
    pub(super) exclusive: Vec<String>,
}

impl Caches {
    /// The claims of a Pod.
    ///
    /// # Errors
    /// Why the Pod may not run anywhere.
    pub(super) fn of(&self, pod: &Pod) -> Result<Claims, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut claims = Claims::default();
        let mut is_unbound = false;
        for name in storage::claims_of(pod) {
            let claim = self.claims.get(&Key::new(namespace, name));
            let claim = claim.ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
            let volume = storage::volume_name(&claim);
            if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
                let volume = volume.unwrap_or_default();
                return Err(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
                ));
            }
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if storage::access_modes(&claim).iter().any(|mode| mode == "ReadWriteOncePod") {
                claims.exclusive.push(storage::claim_key(namespace, name));
            }
            match volume.filter(|_| storage::is_bound(&claim)) {
                Some(volume) => claims.bound.push(self.volumes.get(&Key::cluster(volume))),
                None => match self.waits(&claim) {
                    Some(has_volume) => claims.waiting.push((claim, has_volume)),
                    None => is_unbound = true,
                },
            }
        }
        if is_unbound { Err("pod has unbound immediate PersistentVolumeClaims".to_owned()) } else { Ok(claims) }
    }

    /// Whether there will be a volume for a claim that waits for its first consumer; nothing if it does not wait.
    fn waits(&self, claim: &PersistentVolumeClaim) -> Option<bool> {
        let class = self.classes.get(&Key::cluster(storage::class_of(claim)))?;
        let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        let has_volume =
            || class.provisioner != NO_PROVISIONER || storage::best_match(claim, &self.volumes.list()).is_some();
        waits.then(has_volume)
    }
}

impl Claims {
    /// Whether the claims let their Pod run on the node.
    pub(super) fn judge(&self, node: &Node) -> Result<(), Misfit> {
        let mut reasons = Vec::new();
        if self.bound.iter().flatten().any(|volume| !affinity::takes_volume(volume, node)) {
            reasons.push("node(s) didn't match PersistentVolume's node affinity".to_owned());
        }
        if self.waiting.iter().any(|(_, has_volume)| !has_volume) {
            reasons.push("node(s) didn't find available persistent volumes to bind".to_owned());
        }
        if self.bound.iter().any(Option::is_none) {
            reasons.push("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".to_owned());
        }
        if reasons.is_empty() { Ok(()) } else { Err(Misfit { reasons, is_lack_of_room: false }) }
    }

    /// Tells the claims that wait which node it will be. Nothing if none waits: the Pod may be bound.
    pub(super) fn told(&self, node: &str) -> Option<Vec<Change>> {
        let tell = |(claim, _): &(Arc<PersistentVolumeClaim>, bool)| {
            let is_told = storage::annotation(claim.metadata.annotations.as_ref(), SELECTED_NODE) == node;
            let fields = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
            (!is_told).then(|| Change::overlay_fields(&**claim, fields))
        };
        (!self.waiting.is_empty()).then(|| self.waiting.iter().filter_map(tell).collect())
    }
}
