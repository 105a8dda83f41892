//! What containers of one pod share.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{ListenerName, PodId, Protocol, VolumeName};

/// A pod to make: namespaces, an address, sockets, volumes. It runs nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSpec {
    /// Its name, unique in the instance.
    pub id: PodId,
    /// What its containers see as host name. At most 64 bytes.
    pub hostname: String,
    /// The names of its address in `/etc/hosts`, the one in full first.
    #[serde(default)]
    pub names: Vec<String>,
    /// Where its address lives.
    pub network: PodNetwork,
    /// Its address, inside the pod range and free; chosen by the spawner if `None`.
    pub ip: Option<Ipv4Addr>,
    /// Sockets to open with it; handed over with the answer, in this order.
    pub listeners: Vec<PodListener>,
    /// How many unconnected TCP sockets of its network come with the answer (at most [`PodSpec::MAX_SOCKETS`]).
    pub sockets: u16,
    /// Volumes that live and end with it.
    pub volumes: Vec<PodVolume>,
    /// `/etc/resolv.conf`.
    pub dns: Dns,
    /// Lines of `/etc/hosts` beyond localhost and its own.
    pub host_aliases: Vec<HostAlias>,
    /// Whether several containers will share `/dev/shm`. With one container each run may have its own.
    pub shared_memory: bool,
    /// How long its containers may take to end when everything ends, in milliseconds; as long as whoever ends everything says if `None`, and
    /// never longer.
    #[serde(default)]
    pub grace_ms: Option<u64>,
    /// Whether its users are its own: they are numbered from 0 to [`PodSpec::OWN_USERS`] inside, and are nobody of the machine's outside.
    #[serde(default)]
    pub has_own_users: bool,
    /// Whatever the client wants to find again when it adopts the pod.
    pub tag: String,
}

impl PodSpec {
    /// How many users and groups a pod with its own has.
    pub const OWN_USERS: u32 = 1 << 16;
    /// The most sockets one answer carries.
    pub const MAX_SOCKETS: u16 = 64;

    /// A pod with an own network and nothing else.
    pub fn new(id: PodId) -> Self {
        Self {
            hostname: id.as_str().chars().take(63).collect(),
            names: Vec::new(),
            id,
            network: PodNetwork::Own,
            ip: None,
            listeners: Vec::new(),
            sockets: 0,
            volumes: Vec::new(),
            dns: Dns::default(),
            host_aliases: Vec::new(),
            shared_memory: false,
            grace_ms: None,
            has_own_users: false,
            tag: String::new(),
        }
    }
}

/// Where a pod's address lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodNetwork {
    /// A network namespace of its own, with a link to the instance's.
    Own,
    /// An address held in the instance's network itself, for pods whose containers are roles of the client's process. It can run nothing.
    Instance,
    /// A network namespace with nothing but loopback. Needs no instance network.
    Isolated,
}

/// A listening socket of a pod, on every one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodListener {
    /// What it is called, unique in the pod.
    pub name: ListenerName,
    /// Its port.
    pub port: u16,
    /// Its transport.
    pub protocol: Protocol,
}

/// A directory that lives and ends with a pod; `root`-owned, mode 0777, in memory 1777.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodVolume {
    /// What mounts call it.
    pub name: VolumeName,
    /// Where its content is.
    pub kind: VolumeKind,
    /// A group that owns it and everything made in it (set-group-id).
    pub group: Option<u32>,
}

/// Where a pod's volume keeps its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeKind {
    /// In the data directory.
    Disk,
    /// In memory, at most so many bytes.
    Memory {
        /// The bound.
        max_bytes: u64,
    },
}

/// What a pod's `/etc/resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// `nameserver` lines.
    pub nameservers: Vec<Ipv4Addr>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line, such as `ndots:5`.
    pub options: Vec<String>,
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlias {
    /// The address.
    pub ip: std::net::IpAddr,
    /// Its names.
    pub names: Vec<String>,
}
