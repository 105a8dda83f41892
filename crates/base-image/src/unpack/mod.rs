//! Unpacking: one layer's blob becomes one directory, to be stacked by overlayfs.
//!
//! ```text
//! DIR/<chain id>/fs/          the layer: files, whiteouts as devices 0:0, opaque directories by extended attribute
//! DIR/<chain id>/layer.json   what it was made of; here only when everything else is, and is on disk
//! DIR/.new-…, DIR/.dead-…     being made, being removed; swept by LayersDir::remove_leftovers
//! ```
//! A directory is named by *chain id* (the layer on top of all below), because a layer alone is not enough: a parent directory that it
//! does not contain must look as it does below, or it would change there; and a hard link may lead to a lower layer's file, which is
//! then copied up, as overlayfs itself would. So a layer is unpacked after the layers below it.
//!
//! **Who runs this**: root, in a process of its own that does nothing else, is single-threaded and may die at any time. The blob comes
//! as an open stream, because the store belongs to an unprivileged user.
//!
//! **What a hostile layer meets**: no path is ever followed by the kernel: every component is opened by itself, without following, from
//! the descriptor of the one before, and symbolic links are resolved here, inside the root, by the rules of a container's own root. So
//! nothing outside the new directory can be named, and the depth that links add up to is bounded too. Sizes, counts, names and link
//! chains have bounds ([`Limits`]); devices are left out; of extended attributes only harmless ones are set, above all none of overlayfs'
//! own. Blob digest, blob size and diff id are verified at the end, before the directory gets its name.
//!
//! Specified by: OCI image-spec `layer.md` (whiteouts, opaque whiteouts); Linux `overlayfs.rst` (whiteouts and opaque directories).

mod apply;
mod attributes;
mod dir;
mod error;
mod layers_dir;
mod lower;
mod path;
#[cfg(test)]
mod tests;
mod tree;

use std::io::{self, Read};
use std::path::Path;

pub use error::{EntryError, UnpackError};
pub use layers_dir::LayersDir;

use crate::compress::Decoder;
use crate::digest::{Digest, Hashing};
use crate::image::Layer;
use crate::tar_stream::{Sequential, TarStream};
use apply::Applier;

/// Bounds on one layer. The defaults are far above what builders make and far below what harms a machine's metadata.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the uncompressed archive, and with it of all files; files that are copied up count again.
    pub bytes: u64,
    /// Entries of the archive, extension headers not counted.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 30, entries: 2_000_000 }
    }
}

/// Where overlayfs looks for its marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverlayMarks {
    /// `trusted.overlay.*`: a mount made by root of the initial user namespace.
    #[default]
    Trusted,
    /// `user.overlay.*`: a mount with the option `userxattr`.
    User,
}

/// How a layer is unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnpackOptions {
    /// Bounds.
    pub limits: Limits,
    /// The marks for opaque directories.
    pub marks: OverlayMarks,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnpackReport {
    /// Entries applied.
    pub entries: u64,
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
    /// Device nodes that were left out.
    pub skipped_devices: u64,
    /// Extended attributes that were left out, by policy or because the file system has none.
    pub skipped_xattrs: u64,
}

/// Applies the archive in `blob` to the directory `root`, above the layers `below` (their roots, the lowest first), and verifies it.
fn apply_blob(
    blob: impl Read,
    layer: &Layer,
    root: &Path,
    below: &[std::path::PathBuf],
    options: &UnpackOptions,
) -> Result<UnpackReport, UnpackError> {
    // One byte more than announced is enough to know that it is too long.
    let blob = Hashing::new(blob.take(layer.size.saturating_add(1)));
    let decoder = Decoder::new(blob).map_err(UnpackError::Read)?;
    let archive = Hashing::new(Limited { inner: decoder, left: options.limits.bytes });
    let mut stream = TarStream::new(Sequential(archive));
    let mut report = Applier::new(root, below, options)?.run(&mut stream)?;

    // What follows the archive's end belongs to both digests.
    let mut archive = stream.into_inner().0;
    io::copy(&mut archive, &mut io::sink()).map_err(UnpackError::Read)?;
    let (limited, diff_id) = archive.into_parts();
    let mut blob = limited.inner.into_inner();
    io::copy(&mut blob, &mut io::sink()).map_err(UnpackError::Read)?;
    let (_, digest) = blob.into_parts();

    report.bytes = diff_id.length();
    if digest.length() != layer.size {
        return Err(UnpackError::Size { digest: layer.digest, expected: layer.size });
    }
    verify(layer.digest, digest.finish()).map_err(|actual| UnpackError::Digest { digest: layer.digest, actual })?;
    verify(layer.diff_id, diff_id.finish()).map_err(|actual| UnpackError::DiffId {
        digest: layer.digest,
        diff_id: layer.diff_id,
        actual,
    })?;
    Ok(report)
}

fn verify(expected: Digest, actual: Digest) -> Result<(), Digest> {
    if expected == actual { Ok(()) } else { Err(actual) }
}

/// Fails past a number of bytes, so that a small blob cannot become endless.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "the layer becomes larger than allowed when uncompressed")
        })?;
        Ok(count)
    }
}
