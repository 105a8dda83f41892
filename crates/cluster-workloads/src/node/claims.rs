//! What stands behind a Pod's claims: storages that the spawner keeps, or paths of the machine.

use std::collections::BTreeMap;

use base_rt::error_chain;
use cluster_sandbox::Sandbox;
use cluster_sandbox::spec::{MountSource, PodId, PodStorage, StorageName, VolumeName};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::Api;

use super::sources::{Fetcher, failed};
use super::volumes;
use crate::objects::storage;

/// What is mounted for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    backing: Backing,
    is_read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Backing {
    Stored(StorageName),
    Host(String),
}

/// What stands behind claims, by the Pod's names of the volumes.
pub(crate) type Claims = BTreeMap<String, Claimed>;

impl Claimed {
    /// What a container mounts.
    pub(crate) fn mount(&self, volume: VolumeName) -> (MountSource, bool) {
        let source = match &self.backing {
            Backing::Stored(_) => MountSource::Volume(volume),
            Backing::Host(path) => MountSource::Host(path.into()),
        };
        (source, self.is_read_only)
    }
}

impl Fetcher {
    /// What stands behind the claims of a Pod.
    ///
    /// # Errors
    /// A claim has no volume, or one that this node cannot mount; as the kubelet says it in `FailedMount`.
    pub(crate) async fn claims(&self, pod: &Pod) -> Result<Claims, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut claims = Claims::new();
        for volume in volumes::volumes(pod) {
            let Ok(volumes::Plan::Claim { name, is_read_only }) = volumes::plan(volume) else { continue };
            let found = self.claimed(namespace, &name).await;
            let mut claimed = found.map_err(|why| failed(&volume.name, &why))?;
            claimed.is_read_only |= is_read_only;
            claims.insert(volume.name.clone(), claimed);
        }
        Ok(claims)
    }

    async fn claimed(&self, namespace: &str, name: &str) -> Result<Claimed, String> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let claim = claims.get(name).await.map_err(|error| error_chain(&error))?;
        let bound = storage::volume_name(&claim).filter(|_| storage::is_bound(&claim));
        let bound = bound.ok_or_else(|| format!("PVC {namespace}/{name} is not bound"))?;
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volume = volumes.get(bound).await.map_err(|error| error_chain(&error))?;
        if !storage::is_for(&volume, &claim) {
            return Err(format!("PVC {namespace}/{name} is bound to volume {bound}, which is another claim's"));
        }
        backing(&volume)
    }
}

fn backing(volume: &PersistentVolume) -> Result<Claimed, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let spec = volume.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!("volume {name} is a block device, which this node does not support"));
    }
    if let Some(content) = storage::content_of(volume) {
        let is_read_only = spec.csi.as_ref().and_then(|csi| csi.read_only) == Some(true);
        let stored = StorageName::try_new(content).map_err(|error| error.to_string())?;
        return Ok(Claimed { backing: Backing::Stored(stored), is_read_only });
    }
    let path = spec.host_path.map(|host| host.path).or(spec.local.map(|local| local.path));
    let path = path.ok_or_else(|| format!("volume {name} is of a kind that this node does not support"))?;
    Ok(Claimed { backing: Backing::Host(path), is_read_only: false })
}

/// Has the spawner let the Pod have its storages.
///
/// # Errors
/// Which one it does not; as the kubelet says it in `FailedMount`.
pub(crate) async fn hand_over(sandbox: &Sandbox, pod: &Pod, claims: &Claims) -> Result<(), String> {
    let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
    for (volume, claimed) in claims {
        let Backing::Stored(stored) = &claimed.backing else { continue };
        let name = |error: cluster_sandbox::spec::BadName| failed(volume, &error.to_string());
        let wanted = PodStorage {
            pod: PodId::try_new(pod.metadata.uid.clone().unwrap_or_default()).map_err(name)?,
            name: VolumeName::try_new(volume).map_err(name)?,
            storage: stored.clone(),
            // What the Pod may not change is left as it is.
            group: volumes::fs_group(pod).filter(|_| !claimed.is_read_only),
            is_group_enforced: policy != Some("OnRootMismatch"),
        };
        sandbox.use_storage(wanted).await.map_err(|error| failed(volume, &error_chain(&error)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn backing_of(spec: Value) -> Result<Claimed, String> {
        backing(&serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec})).unwrap())
    }

    #[test]
    fn a_volume_is_a_storage_or_a_path() {
        let stored = |name: &str| json!({"csi": {"driver": storage::PROVISIONER, "volumeHandle": name}});
        let name = || VolumeName::try_new("data").unwrap();
        assert_eq!(backing_of(stored("pvc-1")).unwrap().mount(name()), (MountSource::Volume(name()), false));
        let host = backing_of(json!({"hostPath": {"path": "/h"}})).unwrap();
        assert_eq!(host.mount(name()), (MountSource::Host("/h".into()), false));
        for handle in ["../etc", "/etc", "a/b", ".hidden", ""] {
            assert!(backing_of(stored(handle)).unwrap_err().contains("is not a name"), "{handle}");
        }
        for other in
            [json!({"nfs": {"path": "/p", "server": "s"}}), json!({"csi": {"driver": "x", "volumeHandle": "y"}})]
        {
            assert!(backing_of(other).unwrap_err().contains("does not support"));
        }
    }
}
