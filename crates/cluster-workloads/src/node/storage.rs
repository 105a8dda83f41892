//! The end of storages: the content of a PersistentVolume that is being deleted goes, unless it is to be retained, and then the volume may go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base_controller::{Informer, Key};
use base_rt::backoff::Backoff;
use base_rt::{Phase, error_chain};
use cluster_sandbox::spec::StorageName;
use futures::stream::{FuturesUnordered, StreamExt};
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
    let end = |volume: Arc<PersistentVolume>| {
        let (node, volumes) = (&*node, &volumes);
        async move { end(node, &volume, volumes).await }
    };
    tokio::select! {
        biased;
        () = shutdown.reached(Phase::Drained) => {}
        () = follow(&volumes, end) => {}
    }
}

/// Has every volume that is to go ended by `end`, each on its own: one that cannot go yet delays no other.
async fn follow<F>(volumes: &Informer<PersistentVolume>, end: impl Fn(Arc<PersistentVolume>) -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let mut changes = volumes.changes();
    let (mut ending, mut in_hand) = (BTreeSet::new(), FuturesUnordered::new());
    loop {
        changes.mark_unchanged();
        for volume in volumes.list().iter().filter(|volume| is_ending(volume)) {
            let key = Key::of(&**volume);
            if ending.insert(key.clone()) {
                in_hand.push(until_gone(volumes, key, &end));
            }
        }
        loop {
            tokio::select! {
                biased;
                Some(key) = in_hand.next() => {
                    ending.remove(&key);
                }
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// Tries until a volume may go, or need not any more.
async fn until_gone<F>(volumes: &Informer<PersistentVolume>, key: Key, end: &impl Fn(Arc<PersistentVolume>) -> F) -> Key
where
    F: Future<Output = Result<(), String>>,
{
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    while let Some(volume) = volumes.get(&key).filter(|volume| is_ending(volume)) {
        match end(volume).await {
            Ok(()) => break,
            Err(why) => {
                tracing::warn!(volume = key.name(), why, "a volume stays for now");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
    key
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

#[cfg(test)]
mod tests {
    use base_controller::Scope;
    use tokio::sync::mpsc;

    use super::*;
    use crate::testing::context_of;

    #[tokio::test]
    async fn a_volume_that_does_not_go_delays_no_other() {
        let volume = |name: &str| {
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {
                "name": name, "resourceVersion": "1", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "finalizers": [storage::CONTENT_FINALIZER],
            }})
        };
        let (context, _shutdown) = context_of(["hangs", "fails", "goes"].map(volume).into());
        let volumes = context.informers.get::<PersistentVolume>(Scope::all());
        volumes.synced().await;
        let (ended, mut seen) = mpsc::channel(8);
        let end = |volume: Arc<PersistentVolume>| {
            let ended = ended.clone();
            async move {
                match volume.metadata.name.as_deref() {
                    Some("hangs") => std::future::pending().await,
                    Some("fails") => Err("it is in use".to_owned()),
                    name => ended.send(name.map(str::to_owned)).await.map_err(|error| error.to_string()),
                }
            }
        };
        tokio::select! {
            biased;
            () = follow(&volumes, end) => panic!("it ended"),
            name = seen.recv() => assert_eq!(name.flatten().as_deref(), Some("goes")),
        }
    }
}
