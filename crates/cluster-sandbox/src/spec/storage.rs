//! Storage: what is kept longer than any pod.

use serde::{Deserialize, Serialize};

use super::{PodId, StorageName, VolumeName};

/// A storage that a pod's containers mount, by [`MountSource::Volume`](super::MountSource::Volume). It is made when the first pod asks for it,
/// empty, and stays until it is removed by name. Several pods may have it at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStorage {
    /// The pod. It is one that can run something.
    pub pod: PodId,
    /// What mounts call it, unique among the pod's volumes.
    pub name: VolumeName,
    /// The storage.
    pub storage: StorageName,
    /// A group that is to own all that is in it, and may write there; directories pass it on (set-group-id).
    pub group: Option<u32>,
    /// Whether everything is looked at even if the storage itself belongs to the group already.
    pub is_group_enforced: bool,
}
