//! What things of a Pod are called at the spawner and on disk, and the notes that are left there for the next process.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

/// The name of a run of a container.
pub(crate) fn container_id(uid: &str, container: &str, attempt: u32) -> String {
    format!("{uid}.{container}.{attempt}")
}

/// The container of a Pod that a run of this name is of.
pub(crate) fn container_of<'a>(uid: &str, run: &'a str) -> Option<&'a str> {
    let (container, _) = run.strip_prefix(uid)?.strip_prefix('.')?.rsplit_once('.')?;
    Some(container)
}

/// Where a run's log is, relative to the logs directory; as the kubelet lays them out.
pub(crate) fn log_path(pod: &Pod, container: &str, attempt: u32) -> PathBuf {
    let meta = &pod.metadata;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    log_path_of([&part(&meta.namespace), &part(&meta.name), &part(&meta.uid)], container, attempt)
}

/// The same by namespace, name and uid of the Pod.
pub(crate) fn log_path_of(pod: [&str; 3], container: &str, attempt: u32) -> PathBuf {
    log_directory(pod).join(format!("{container}/{attempt}.log"))
}

/// Where all logs of a Pod are, by its namespace, name and uid.
pub(crate) fn log_directory(pod: [&str; 3]) -> PathBuf {
    PathBuf::from(pod.join("_"))
}

/// The uid of the Pod whose logs a directory of this name has.
pub(crate) fn uid_of_logs(directory: &str) -> Option<&str> {
    // None of the three has a `_` in it.
    let [_, _, uid] = <[&str; 3]>::try_from(directory.split('_').collect::<Vec<_>>()).ok()?;
    Some(uid)
}

/// Where a run's termination message is, relative to the volumes directory.
pub(crate) fn message_path(uid: &str, container: &str, attempt: u32) -> PathBuf {
    PathBuf::from(format!("{uid}/messages/{container}.{attempt}"))
}

/// What a pod at the spawner is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodTag {
    /// The Pod's namespace.
    pub(crate) namespace: String,
    /// The Pod's name.
    pub(crate) name: String,
    /// The Pod's uid.
    pub(crate) uid: String,
}

/// What a container at the spawner is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerTag {
    /// The container's name in its Pod.
    pub(crate) container: String,
    /// The number of the run.
    pub(crate) attempt: u32,
    /// `name@digest` of its image.
    pub(crate) image_id: String,
    /// What asks it to end.
    #[serde(default = "sigterm")]
    pub(crate) stop_signal: i32,
}

/// What asks a container to end if nothing says how.
pub(crate) const SIGTERM: i32 = 15;

/// What ends a program in any case.
pub(crate) const SIGKILL: i32 = 9;

fn sigterm() -> i32 {
    SIGTERM
}

impl PodTag {
    /// As the spawner keeps it.
    pub(crate) fn to_text(&self) -> String {
        // Texts always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl ContainerTag {
    /// As the spawner keeps it.
    pub(crate) fn to_text(&self) -> String {
        // Texts and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What was kept; none if somebody else wrote it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
