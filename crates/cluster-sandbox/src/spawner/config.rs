//! What a spawner is told when it is started, once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::spec::{CapabilitySet, InstanceId, Ranges};

/// A spawner's configuration. All paths are absolute; directories that do not exist are made, but for the blobs'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnerConfig {
    /// Whose spawner it is.
    pub instance: InstanceId,
    /// Where its socket and small files of pods lie; best in memory. The directory is the spawner's lock. Its path is short: a socket's is limited to 107 bytes.
    pub run_dir: PathBuf,
    /// Writable layers of containers and pods' volumes: what ends with a pod. Root's own.
    pub pods_dir: PathBuf,
    /// What outlives pods: storages. Root's own.
    pub storage_dir: PathBuf,
    /// Unpacked layers. Root's own; on the same file system as [`pods_dir`](Self::pods_dir).
    pub layers_dir: PathBuf,
    /// Compressed layers that the client wants unpacked. Made and written by the client, in a place of its own.
    pub blobs_dir: PathBuf,
    /// Containers' logs, readable by the owner's group.
    pub logs_dir: PathBuf,
    /// What the client wants to mount into containers. Written by the client.
    pub volumes_dir: PathBuf,
    /// The spawner's own messages are appended to this file.
    pub log_file: PathBuf,
    /// The unprivileged client.
    pub owner: Owner,
    /// A file that the client holds an exclusive `flock` on. With it, being the right user is not enough: see `SpawnerConfig::lock_file`.
    ///
    /// Containers have no user namespace, so one of them may run under the client's user id by chance or intent.
    pub lock_file: Option<PathBuf>,
    /// The instance's network; none makes pods without one.
    pub network: Option<NetworkConfig>,
    /// How long pods are kept after the client has gone without a word.
    pub orphan_wait_ms: u64,
    /// How many pods are made ahead, each for whoever asks for one next (at most [`SpawnerConfig::PARKED_PODS_MAX`]). None without a network.
    #[serde(default)]
    pub parked_pods: u8,
    /// How many layers are unpacked at the same time.
    pub unpackers: u8,
    /// The most capabilities a container may ask for.
    pub capability_bound: CapabilitySet,
    /// Paths of the machine that containers may mount, with everything below them.
    pub host_paths: Vec<PathBuf>,
    /// Only for a spawner that is the first process of a container or machine: the client to start as its child.
    pub child: Option<ChildCommand>,
    /// Who started it, by process id, told by [`start`](crate::launch::start). If it ends before anybody has connected, nobody will.
    #[serde(default)]
    pub(crate) starter: Option<i32>,
}

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The instance's network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// What the instance had before; kept if still free.
    pub previous: Option<Ranges>,
    /// Whether pods should reach the outside.
    pub has_egress: bool,
}

/// A program to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildCommand {
    /// The program, by its path, and its arguments.
    pub command: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
}

const SOCKET: &str = "spawner.sock";
/// `sun_path` has 108 bytes, one of them for the end.
const SOCKET_PATH_MAX_BYTES: usize = 107;
const ORPHAN_WAIT_MS: u64 = 10 * 60 * 1000;
const UNPACKERS: u8 = 2;

impl SpawnerConfig {
    /// Each takes some memory, and nobody starts pods faster than they are made again for long.
    pub const PARKED_PODS_MAX: u8 = 16;

    /// A configuration whose directories all lie in two: one for what is small and lives in memory, one for data.
    pub fn new(instance: InstanceId, run_dir: impl Into<PathBuf>, data_dir: impl AsRef<Path>, owner: Owner) -> Self {
        let data = data_dir.as_ref();
        Self {
            instance,
            run_dir: run_dir.into(),
            pods_dir: data.join("pods"),
            storage_dir: data.join("storage"),
            layers_dir: data.join("layers"),
            blobs_dir: data.join("blobs"),
            logs_dir: data.join("logs"),
            volumes_dir: data.join("volumes"),
            log_file: data.join("spawner.log"),
            owner,
            lock_file: None,
            network: Some(NetworkConfig::default()),
            orphan_wait_ms: ORPHAN_WAIT_MS,
            parked_pods: 0,
            unpackers: UNPACKERS,
            capability_bound: CapabilitySet::contained(),
            host_paths: Vec::new(),
            child: None,
            starter: None,
        }
    }

    /// Where the spawner listens.
    pub fn socket_path(&self) -> PathBuf {
        self.run_dir.join(SOCKET)
    }

    /// # Errors
    /// What is wrong, in a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let socket = self.socket_path();
        if socket.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            return Err(format!(
                "the run directory's path is too long: {} must not exceed {SOCKET_PATH_MAX_BYTES} bytes",
                socket.display()
            ));
        }
        if self.parked_pods > Self::PARKED_PODS_MAX {
            return Err(format!("{} parked pods are more than {}", self.parked_pods, Self::PARKED_PODS_MAX));
        }
        let directories = [
            &self.run_dir,
            &self.pods_dir,
            &self.storage_dir,
            &self.layers_dir,
            &self.blobs_dir,
            &self.logs_dir,
            &self.volumes_dir,
        ];
        match directories.into_iter().find(|path| !path.is_absolute()) {
            Some(path) => Err(format!("{} is not an absolute path", path.display())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_is_short_and_directories_are_absolute() {
        let id = InstanceId::try_new("a").unwrap();
        let owner = Owner { uid: 1, gid: 1 };
        assert_eq!(SpawnerConfig::new(id.clone(), "/run/a", "/data", owner).check(), Ok(()));
        let long = format!("/{}", "x".repeat(95));
        assert!(SpawnerConfig::new(id.clone(), long, "/data", owner).check().unwrap_err().contains("107"));
        assert!(SpawnerConfig::new(id, "/run/a", "data", owner).check().unwrap_err().contains("absolute"));
    }
}
