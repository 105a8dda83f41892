//! Files of a pod that the client has: secrets, settings, tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{PodId, VolumeName};

/// Files that containers of a pod see and cannot change, by [`MountSource::Files`](super::MountSource::Files). They lie in memory until the
/// pod ends. Directories are `root`-owned, mode 0755.
///
/// They are laid out so that a change is seen as a whole:
/// ```text
/// VOLUME/key ─► ..data/key        VOLUME/..data ─► ..N        VOLUME/..N/key (the content)
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFiles {
    /// The pod. It is one that can run something.
    pub pod: PodId,
    /// What mounts call them, unique among the pod's files.
    pub name: VolumeName,
    /// A group that owns all of it; directories pass it on (set-group-id).
    pub group: Option<u32>,
    /// Each by its path: relative, and beginning with other than `..`.
    pub files: BTreeMap<String, PodFile>,
    /// Empty directories beside the files, for what a container mounts inside; their paths are as those of files.
    pub mount_points: BTreeSet<String>,
}

/// One file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFile {
    /// What is in it.
    #[serde(with = "in_base64")]
    pub content: Vec<u8>,
    /// Its permissions, at most 0777.
    pub mode: u32,
    /// Its user.
    pub owner: u32,
}

/// Its content is nobody's business.
impl fmt::Debug for PodFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { content, mode, owner } = self;
        write!(formatter, "{} bytes, {mode:o}, {owner}", content.len())
    }
}

/// Bytes as a JSON text.
mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
