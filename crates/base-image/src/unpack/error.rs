//! What can be wrong with a layer, or with the disk that it is unpacked to.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::digest::{Digest, shorten};
use crate::tar_stream::TarError;

/// A layer cannot be unpacked. Nothing of it has its final name.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The directory of all layers.
    #[error("prepare {}", .path.display())]
    Prepare {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The blob's stream: the disk, or a damaged compression.
    #[error("read the layer")]
    Read(#[source] io::Error),
    /// The archive.
    #[error("read the layer")]
    Archive(#[source] TarError),
    /// One of its entries.
    #[error("unpack {path:?}")]
    Entry {
        /// The entry's path as in the archive, shortened.
        path: String,
        /// Why.
        #[source]
        source: EntryError,
    },
    /// More entries than allowed.
    #[error("the layer has more than {limit} entries")]
    TooManyEntries {
        /// The bound.
        limit: u64,
    },
    /// The blob is shorter or longer than its descriptor says.
    #[error("layer {digest} does not have its {expected} bytes")]
    Size {
        /// The layer's digest.
        digest: Digest,
        /// Its length by the manifest.
        expected: u64,
    },
    /// The blob is not what its digest says.
    #[error("layer {digest} is damaged: its content has the digest {actual}")]
    Digest {
        /// The layer's digest.
        digest: Digest,
        /// The content's.
        actual: Digest,
    },
    /// The archive is not what the image configuration says.
    #[error(
        "layer {digest} is not the one of its image: the configuration names the diff id {diff_id}, the content has {actual}"
    )]
    DiffId {
        /// The layer's digest.
        digest: Digest,
        /// By the configuration.
        diff_id: Digest,
        /// The content's.
        actual: Digest,
    },
    /// A layer below was not unpacked before.
    #[error("the layer below, {chain_id}, is not unpacked")]
    MissingBelow {
        /// Its chain id.
        chain_id: Digest,
    },
}

/// What is wrong with an entry of a layer.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// `..` above the root.
    #[error("its path leaves the image")]
    Escapes,
    /// More or longer components than any file system has, or symbolic links that add up to it.
    #[error("its path is too long or too deep")]
    TooDeep,
    /// Links that lead to links.
    #[error("its path leads through too many symbolic links")]
    TooManyLinks,
    /// Links that lead far, in many entries.
    #[error("with it the layer has led through more names than allowed")]
    TooManyLookups,
    /// More directories than there is memory for their times.
    #[error("with it the layer has more directories than allowed")]
    TooManyDirectories,
    /// A file where its path needs a directory.
    #[error("its path leads through something that is no directory")]
    NotADirectory,
    /// A hard link to something that no layer has.
    #[error("it is a hard link to a path that this layer and the layers below do not have")]
    LinkTarget,
    /// A hard link to a directory or a device.
    #[error("it is a hard link to something that cannot have one")]
    LinkKind,
    /// A whiteout of nothing, `.` or `..`.
    #[error("it is a whiteout without a name")]
    Whiteout,
    /// The archive's root is no directory.
    #[error("it replaces the root by something that is no directory")]
    Root,
    /// An owner that Linux does not have.
    #[error("its owner or group is out of range")]
    Owner,
    /// An entry of an unknown type.
    #[error("its type {kind:?} is not supported")]
    Kind {
        /// The type byte, as a character.
        kind: char,
    },
    /// More bytes than allowed, with what was copied up.
    #[error("with it the layer becomes larger than allowed")]
    TooLarge,
    /// The operating system.
    #[error("{action}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Errno,
    },
    /// The archive, within the entry's data.
    #[error("read its data")]
    Data(#[source] io::Error),
}

impl UnpackError {
    pub(super) fn entry(path: &[u8], source: EntryError) -> Self {
        Self::Entry { path: shorten(&String::from_utf8_lossy(path)), source }
    }
}

/// Says what was attempted when the operating system refuses it.
pub(super) trait Attempt<T> {
    fn attempt(self, action: &'static str) -> Result<T, EntryError>;
}

impl<T> Attempt<T> for nix::Result<T> {
    fn attempt(self, action: &'static str) -> Result<T, EntryError> {
        self.map_err(|source| EntryError::System { action, source })
    }
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt(self, action: &'static str) -> Result<T, EntryError> {
        self.map_err(|error| EntryError::System {
            action,
            source: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        })
    }
}
