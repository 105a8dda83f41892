//! What to run, as plain data: the words of every request to the spawner.
//!
//! Nothing here names Kubernetes. A *pod* is a network (and IPC, and host name) that containers share; a *container* is a process tree in an
//! overlay of image layers. All types cross the socket as JSON and are checked by the spawner ([`check`](self::check)) as if an enemy had
//! written them: names cannot hold a path, lists and texts are bounded.

mod capability;
mod check;
mod container;
mod files;
mod listen;
mod name;
mod pod;
mod state;
mod storage;

pub use capability::{CapabilitySet, UnknownCapability};
pub use check::Invalid;
pub(crate) use check::{Check, ID_MAX, POD_VOLUMES_MAX, check_log_path};
pub use container::{
    ContainerSpec, ExecSpec, Input, Limits, LogSpec, Mount, MountSource, Rlimit, RlimitKind, Seccomp, Security,
    UserSpec,
};
pub use files::{PodFile, PodFiles};
pub use listen::{ListenSpec, Place, Protocol};
pub use name::{BadName, ContainerId, ExecId, InstanceId, LayerName, ListenerName, PodId, StorageName, VolumeName};
pub use pod::{Dns, HostAlias, PodListener, PodNetwork, PodSpec, PodVolume, VolumeKind};
pub use state::{
    ContainerPhase, ContainerState, DiskUsage, Exit, NetworkFacts, PodState, Ranges, SpawnerFacts, SpawnerUsage,
    UnpackSpec, Usage,
};
pub use storage::PodStorage;
