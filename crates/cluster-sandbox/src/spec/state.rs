//! What the spawner says about what it runs.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use base_image::Digest;
use base_rt::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerId, InstanceId, ListenerName, PodId, PodNetwork, VolumeName};

/// Who answers, and on what ground.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnerFacts {
    /// The protocol version that this connection speaks from now on.
    pub protocol: u32,
    /// Whose spawner it is.
    pub instance: InstanceId,
    /// Its process.
    pub pid: i32,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// The instance's network, unless it has none.
    pub network: Option<NetworkFacts>,
    /// What the machine does not offer, one sentence each; containers run without it.
    pub notices: Vec<String>,
    /// Whether its end has begun: it makes nothing new any more.
    #[serde(default)]
    pub is_ending: bool,
}

/// The instance's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFacts {
    /// Its address ranges. Keep them in the data directory and hand them to the next spawner.
    pub ranges: Ranges,
    /// The host's end of the link to it.
    pub link: String,
    /// The host's address on that link, as seen from inside.
    pub host_ip: Ipv4Addr,
    /// The instance's address on that link.
    pub instance_ip: Ipv4Addr,
    /// The pods' gateway, and the place for DNS and the API. (It was a bridge's once, which is how spawners of other versions call it.)
    pub bridge_ip: Ipv4Addr,
    /// Whether pods reach the outside through the host.
    pub has_egress: bool,
    /// Whether the host's own listeners are shut to pods.
    pub is_host_shielded: bool,
}

/// Address ranges of an instance, each as its first address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// Pods, and their gateway as its first host.
    pub pods: (Ipv4Addr, u8),
    /// Service addresses.
    pub services: (Ipv4Addr, u8),
    /// The link between host and instance.
    pub link: (Ipv4Addr, u8),
}

/// A pod as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// Its name.
    pub id: PodId,
    /// Its kind of network.
    pub network: PodNetwork,
    /// Its address, if it has one.
    pub ip: Option<Ipv4Addr>,
    /// Its listeners' names, in the order in which descriptors are handed over.
    pub listeners: Vec<ListenerName>,
    /// The client's own words.
    pub tag: String,
    /// Its containers, ended ones too until they are removed.
    pub containers: Vec<ContainerState>,
}

/// A container as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its name.
    pub id: ContainerId,
    /// Its first process, as the host numbers it. Stale once it has ended.
    pub pid: i32,
    /// How far it is.
    pub phase: ContainerPhase,
    /// When it was started.
    pub started_at: Timestamp,
    /// Its log file, absolute.
    pub log: PathBuf,
    /// The client's own words.
    pub tag: String,
}

/// How far a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerPhase {
    /// Being prepared; its program does not run yet.
    Starting,
    /// Its program runs.
    Running,
    /// Its program has ended.
    Exited(Exit),
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container because its memory limit was reached.
    pub is_oom_killed: bool,
    /// When.
    pub finished_at: Timestamp,
}

/// What a container has used and uses. A figure that the machine cannot tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time since its start, in microseconds.
    pub cpu_usec: Option<u64>,
    /// Memory that could not be taken back at once, in bytes (usage without inactive file pages).
    pub working_set_bytes: Option<u64>,
    /// All memory charged to it, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// What a pod takes of the disk, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// What each of its containers has written over its image, as long as it lives.
    pub containers: Vec<(ContainerId, u64)>,
    /// What is in each of its volumes on the disk; storages are none.
    pub volumes: Vec<(VolumeName, u64)>,
    /// Whether everything was counted: it is no more than that.
    pub is_whole: bool,
}

/// What the spawner itself uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnerUsage {
    /// Proportional share of memory, in bytes.
    pub pss_bytes: Option<u64>,
    /// Open descriptors.
    pub descriptors: u64,
    /// How many pods are parked: made ahead, for whoever asks for one next.
    #[serde(default)]
    pub parked_pods: u64,
    /// How many of those have been taken since it runs.
    #[serde(default)]
    pub taken_pods: u64,
}

/// A layer to unpack, above the ones below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackSpec {
    /// The blob, relative to the configured blobs directory.
    pub blob: PathBuf,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The digest of this layer on top of all below. Its hexadecimal form is the [`LayerName`](super::LayerName) that containers use; one that is there
    /// already is left as it is.
    pub chain_id: Digest,
    /// The chain ids of the layers below, the lowest first. They are unpacked already.
    pub below: Vec<Digest>,
}
