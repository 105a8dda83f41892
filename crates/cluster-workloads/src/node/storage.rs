//! The end of storages: the content of a PersistentVolume that is being deleted goes, unless it is to be retained, and then the volume may go.

use std::sync::Arc;
use std::time::Duration;

use base_controller::Informer;
use base_rt::backoff::Backoff;
use base_rt::{Phase, error_chain};
use cluster_sandbox::spec::StorageName;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::kubelet::Kubelet;
use crate::objects::storage;

/// Delays between tries.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Follows the volumes until the process drains.
pub(crate) async fn keep(node: Arc<Kubelet>, volumes: Informer<PersistentVolume>) {
    let shutdown = node.tasks.shutdown().clone();
    tokio::select! {
        biased;
        () = shutdown.reached(Phase::Drained) => {}
        () = follow(&node, &volumes) => {}
    }
}

async fn follow(node: &Kubelet, volumes: &Informer<PersistentVolume>) {
    let mut changes = volumes.changes();
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        let mut is_done = true;
        for volume in volumes.list().iter().filter(|volume| is_ending(volume)) {
            if let Err(why) = end(node, volume, volumes).await {
                tracing::warn!(volume = volume.metadata.name, why, "a volume stays for now");
                is_done = false;
            }
        }
        if is_done {
            backoff.reset();
            if changes.changed().await.is_err() {
                return;
            }
        } else {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// Whether nothing but this node keeps a volume.
fn is_ending(volume: &PersistentVolume) -> bool {
    let finalizers = volume.metadata.finalizers.as_deref().unwrap_or_default();
    volume.metadata.deletion_timestamp.is_some() && matches!(finalizers, [only] if only == storage::CONTENT_FINALIZER)
}

async fn end(node: &Kubelet, volume: &PersistentVolume, all: &Informer<PersistentVolume>) -> Result<(), String> {
    if let Some(content) = storage::content_of(volume)
        && storage::reclaim_policy(volume) == "Delete"
        && let Ok(name) = StorageName::try_new(content)
    {
        let is_anothers = |other: &PersistentVolume| {
            other.metadata.name != volume.metadata.name && storage::content_of(other) == Some(content)
        };
        if !all.list().iter().any(|other| is_anothers(other)) {
            node.sandbox.remove_storage(&name).await.map_err(|error| error_chain(&error))?;
        }
    }
    let_go(node, volume).await.map_err(|error| error_chain(&error))
}

#[expect(clippy::disallowed_methods, reason = "only who has removed the content may say so (ARCHITECTURE.md)")]
async fn let_go(node: &Kubelet, volume: &PersistentVolume) -> kube::Result<()> {
    let api: Api<PersistentVolume> = Api::all(node.client.clone());
    let meta = &volume.metadata;
    let free = json!({"metadata": {"finalizers": null, "resourceVersion": meta.resource_version, "uid": meta.uid}});
    let patched =
        api.patch(meta.name.as_deref().unwrap_or_default(), &PatchParams::default(), &Patch::Merge(free)).await;
    match patched {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        outcome => outcome.map(drop),
    }
}
