//! The end of a Pod, and of what is left of Pods that are gone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base_rt::backoff::Backoff;
use base_rt::watch;
use base_rt::{Phase as ShutdownPhase, error_chain};
use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::PodId;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};
use tokio::sync::mpsc;

use super::status::write_status;
use super::{Message, Worker};
use crate::node::kubelet::Kubelet;
use crate::node::names;

/// The length of a uid: a UUID.
const UID_CHARS: usize = 36;
/// Delays between tries of what has to work in the end.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

impl Worker {
    /// Writes the last status, once no other write is under way, deletes the object, and waits until the watch says that it is gone: what
    /// the watch still had to tell of it would otherwise be taken for a new Pod.
    pub(super) async fn end(
        &mut self,
        mut updates: watch::Receiver<Option<Arc<Pod>>>,
        mut inbox: mpsc::Receiver<Message>,
    ) {
        while self.is_writing {
            match inbox.recv().await {
                Some(Message::Written(status, outcome)) => self.was_written(*status, outcome),
                Some(_) => {}
                None => break,
            }
        }
        if !self.is_gone {
            let status = self.status();
            if !self.is_terminal && self.written.as_ref() != Some(&status) {
                // The object goes anyway.
                let _ = write_status(Arc::clone(&self.node), Arc::clone(&self.pod), self.written.clone(), status).await;
            }
            delete(&self.node, &self.pod).await;
        }
        // A Pod without a sandbox may have volumes and logs.
        remove_volumes(&self.node, &self.uid).await;
        let (namespace, name) = self.name();
        remove_logs(&self.node, &names::log_directory([namespace, name, &self.uid])).await;
        // An error means that the watch has ended with the process.
        let _ = updates.wait_for(Option::is_none).await;
        self.node.forget(&self.uid, (namespace, name));
    }
}

/// Removes a pod from the spawner, however often it takes.
pub(crate) async fn remove(node: &Kubelet, id: &PodId) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        match node.sandbox.remove_pod(id).await {
            Ok(()) => return,
            Err(error) if error.refusal() == Some(RefusalCode::NotFound) => return,
            Err(error) => {
                tracing::error!(pod = id.as_str(), error = error_chain(&error), "pod is not removed");
                tokio::select! {
                    biased;
                    // The next process finds it and goes on.
                    () = node.tasks.shutdown().reached(ShutdownPhase::Stopped) => return,
                    () = tokio::time::sleep(backoff.next_delay()) => {}
                }
            }
        }
    }
}

/// Removes what this process wrote for a Pod.
pub(super) async fn remove_volumes(node: &Kubelet, uid: &str) {
    let directory = node.config.volumes_dir.join(uid);
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
    if let Ok(Err(error)) = removed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(pod = uid, error = error_chain(&error), "volumes are not removed");
    }
}

/// Has a log, or a directory of logs, removed: the spawner writes them.
pub(crate) async fn remove_logs(node: &Kubelet, path: &Path) {
    if let Err(error) = node.sandbox.remove_logs(path).await {
        tracing::warn!(path = %path.display(), error = error_chain(&error), "logs are not removed");
    }
}

/// Removes what an earlier process wrote for Pods that are gone.
pub(crate) async fn sweep_volumes(node: &Kubelet) {
    let Ok(mut entries) = tokio::fs::read_dir(&node.config.volumes_dir).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        // Other things may lie there that are not the node's.
        let uid = name.to_str().filter(|name| name.len() == UID_CHARS && !node.has(name));
        if let Some(uid) = uid {
            remove_volumes(node, uid).await;
        }
    }
}

/// Removes the logs of Pods that are gone and that no process has seen the end of.
pub(crate) async fn sweep_logs(node: &Kubelet) {
    let Ok(mut entries) = tokio::fs::read_dir(&node.config.logs_dir).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        let uid = name.to_str().and_then(names::uid_of_logs);
        if uid.is_some_and(|uid| uid.len() == UID_CHARS && !node.has(uid)) {
            remove_logs(node, Path::new(&name)).await;
        }
    }
}

/// Deletes the object of a Pod that has ended, however often it takes.
async fn delete(node: &Kubelet, pod: &Pod) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(node.client.clone(), namespace);
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default().grace_period(0) };
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        #[expect(clippy::disallowed_methods, reason = "the node ends its pods outside of any plan (ARCHITECTURE.md)")]
        match api.delete(name, &params).await {
            Ok(_) => return,
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => return,
            Err(error) => {
                tracing::warn!(pod = name, error = error_chain(&error), "pod is not deleted yet");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}
