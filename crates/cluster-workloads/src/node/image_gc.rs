//! Images that nothing needs go: soon after somebody removed one, and every few minutes.
//!
//! As a kubelet has it: what this node pulled may be pulled again, and goes when the disk is nearly full and no Pod names it. What somebody
//! put here stays until somebody removes it; then its blobs and its unpacked layers go, once no container of it is left.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base_controller::Informer;
use base_image::Digest;
use base_rt::{Phase, TaskError};
use k8s_openapi::api::core::v1::Pod;

use super::facts::containers;
use super::kubelet::Kubelet;

/// How often it is looked without a reason, as a kubelet does.
const EVERY: Duration = Duration::from_secs(300);
/// The least time from one look to the next, however much is removed.
const PAUSE: Duration = Duration::from_secs(1);
/// At which share of the disk in use, in per cent, copies of other registries' images go; a kubelet's default.
const HIGH_PERCENT: u64 = 85;

/// Looks until the process ends.
pub(crate) async fn keep(node: Arc<Kubelet>, pods: Informer<Pod>) {
    let shutdown = node.tasks.shutdown().clone();
    tokio::select! {
        biased;
        () = shutdown.reached(Phase::Lame) => {}
        () = look_often(&node, &pods) => {}
    }
}

async fn look_often(node: &Kubelet, pods: &Informer<Pod>) {
    let mut removals = node.images.removals();
    loop {
        // An error means that the store has gone with the process.
        let _ = tokio::time::timeout(EVERY, removals.changed()).await;
        if let Err(error) = look(node, pods).await {
            tracing::warn!(error = base_rt::error_chain(&*error), "images that nothing needs are not all removed");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(node: &Kubelet, pods: &Informer<Pod>) -> Result<(), TaskError> {
    let in_use = in_use(node, &pods.list());
    let may_forget = is_nearly_full(&node.config.volumes_dir)?;
    node.images.collect(in_use, may_forget, node.clock.now()).await
}

/// The images that Pods name or run.
fn in_use(node: &Kubelet, pods: &[Arc<Pod>]) -> BTreeSet<Digest> {
    let named = pods.iter().flat_map(|pod| containers(pod)).filter_map(|container| container.image.clone());
    let statuses = pods.iter().filter_map(|pod| pod.status.as_ref()).flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    });
    let run = statuses.map(|status| status.image_id.clone());
    named.chain(run).filter_map(|image| node.images.digest(&image)).collect()
}

/// Whether the file system of `directory` is fuller than it should be.
fn is_nearly_full(directory: &Path) -> nix::Result<bool> {
    let stat = nix::sys::statvfs::statvfs(directory)?;
    let (all, free) = (u128::from(stat.blocks()), u128::from(stat.blocks_available()));
    Ok(all > 0 && (all - free.min(all)) * 100 >= all * u128::from(HIGH_PERCENT))
}
