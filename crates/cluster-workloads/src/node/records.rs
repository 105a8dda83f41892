//! The node's own record of each Pod that the spawner runs, and what becomes of it after a crash.
//!
//! The API loses what it calls lazy when the process is killed: Pods of ReplicaSets among them, for some hundred milliseconds. Their
//! containers do not end with the process. So a Pod's object is written beside its files before its first container is started, and
//! [`put_back`] gives the API what it has lost, before any controller could make another Pod in its place.
//!
//! The record is not flushed to the disk: it is for the end of a process, not of the machine, with which the containers end as well.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base_rt::error_chain;
use cluster_sandbox::{Sandbox, SandboxError};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::objects::owners::controller_of;

/// The record's file in the Pod's directory.
const FILE: &str = "pod.json";

/// Writes the record of `pod`. Blocks on the disk.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn write(volumes_dir: &Path, pod: &Pod) -> io::Result<()> {
    let directory = volumes_dir.join(pod.metadata.uid.as_deref().unwrap_or_default());
    make_directory(&directory)?;
    let pending = directory.join("pod.json.new");
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&pending)?;
    file.write_all(&serde_json::to_vec(pod)?)?;
    fs::rename(pending, directory.join(FILE))
}

/// Makes a directory that everybody in a container may look into, whatever the process's mask says.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

/// The record of a Pod; none if there is none or it is not one.
fn read(volumes_dir: &Path, uid: &str) -> Option<Value> {
    let bytes = fs::read(volumes_dir.join(uid).join(FILE)).ok()?;
    let record: Value = serde_json::from_slice(&bytes).ok()?;
    (record.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid)).then_some(record)
}

/// Gives back to the API the Pods that the spawner runs and the API has lost; answers how many. To be called before any controller runs.
///
/// `restore` stores an object as it was, and answers whether it was missing and may have been lost. ReplicaSets (and Deployments that a
/// controller sizes) whose growth was lost with their Pods are raised again with `client`, so that the Pods are not taken for surplus.
///
/// # Errors
/// The spawner does not answer.
pub async fn put_back<E: fmt::Display>(
    (sandbox, volumes_dir): (&Sandbox, &Path),
    client: &Client,
    restore: impl AsyncFn(Value) -> Result<bool, E>,
) -> Result<usize, SandboxError> {
    let spawned = sandbox.pods().await?;
    let mut restored = Vec::new();
    for uid in spawned.iter().map(|pod| pod.id.as_str()) {
        let Some(record) = read(volumes_dir, uid) else { continue };
        match restore(record.clone()).await {
            Ok(true) => restored.extend(serde_json::from_value::<Pod>(record)),
            Ok(false) => {}
            // Its namespace has gone, for example: the node then removes what runs.
            Err(error) => tracing::warn!(pod = uid, %error, "a lost pod is not put back"),
        }
    }
    let runs = |pod: &Pod| spawned.iter().any(|spawned| Some(spawned.id.as_str()) == pod.metadata.uid.as_deref());
    for pod in &restored {
        if let Err(error) = raise(client, pod, &runs).await {
            tracing::warn!(error = error_chain(&error), "a replica set keeps the size before its lost pods");
        }
    }
    Ok(restored.len())
}

/// Raises the ReplicaSet of `pod` to the number of its Pods that run.
async fn raise(client: &Client, pod: &Pod, runs: &impl Fn(&Pod) -> bool) -> kube::Result<()> {
    let (Some(namespace), Some(owner)) = (pod.metadata.namespace.as_deref(), controller_of(&pod.metadata)) else {
        return Ok(());
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let siblings = pods.list(&kube::api::ListParams::default()).await?.items;
    let is_sibling = |pod: &&Pod| controller_of(&pod.metadata).is_some_and(|other| other.uid == owner.uid);
    let count = siblings.iter().filter(is_sibling).filter(|pod| runs(pod)).count();
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let Some(set) = sets.get_opt(&owner.name).await? else { return Ok(()) };
    if set.metadata.uid.as_ref() != Some(&owner.uid) {
        return Ok(());
    }
    let size = |replicas: Option<i32>| replicas.unwrap_or(1);
    if size(set.spec.replicas) < count {
        resize(&sets, &owner.name, count).await?;
    }
    // The size of a Deployment without a controller is its user's word, and was never lost.
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let Some(owner) = controller_of(&set.metadata) else { return Ok(()) };
    let Some(deployment) = deployments.get_opt(&owner.name).await? else { return Ok(()) };
    let is_sized =
        deployment.metadata.uid.as_ref() == Some(&owner.uid) && controller_of(&deployment.metadata).is_some();
    if is_sized && size(deployment.spec.replicas) < count {
        resize(&deployments, &owner.name, count).await?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "no controller runs yet, and so no plan (ARCHITECTURE.md)")]
async fn resize<K>(api: &Api<K>, name: &str, count: i32) -> kube::Result<()>
where
    K: Clone + serde::de::DeserializeOwned + fmt::Debug,
{
    let patch = Patch::Merge(json!({ "spec": { "replicas": count } }));
    api.patch(name, &PatchParams::default(), &patch).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": "p", "uid": "u", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]},
        }))
        .unwrap();
        write(directory.path(), &pod).unwrap();
        let again: Pod = serde_json::from_value(read(directory.path(), "u").unwrap()).unwrap();
        assert_eq!(again, pod);
        assert!(read(directory.path(), "v").is_none());
        fs::write(directory.path().join("u").join(FILE), b"{\"metadata\"").unwrap();
        assert!(read(directory.path(), "u").is_none(), "half of one is none");
    }
}
