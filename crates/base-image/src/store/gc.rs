//! Garbage collection: marks from records and leases, sweeps what is left and old enough.
//!
//! It runs under the lock that every record is written with, so a record cannot come to need a blob between mark and sweep. An upload
//! in progress is in `tmp/` and not seen here; a blob whose manifest is still to come is young.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use base_rt::Timestamp;

use super::{BlobError, LayerSweep, Store, sync_dir};
use crate::config::{ImageConfig, MAX_CONFIG_BYTES};
use crate::digest::Digest;
use crate::image::Image;
use crate::manifest::{Document, MAX_MANIFEST_BYTES, Manifest};

/// How long a blob stays that nothing needs yet. A push of many gigabytes over a slow line sends its manifest last.
pub const BLOB_GRACE: Duration = Duration::from_secs(6 * 3600);

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blobs that were removed.
    pub removed: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Blobs that something needs.
    pub live: u64,
    /// Blobs that nothing needs, but that are younger than [`BLOB_GRACE`].
    pub young: u64,
}

/// The collection was given up; what it had removed was garbage.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// What a record or a lease leads to cannot be read, so what it needs is not known.
    #[error("collect garbage")]
    Mark(#[source] BlobError),
    /// The disk.
    #[error("remove unused blobs")]
    Sweep(#[source] io::Error),
}

/// What is needed, by mark.
#[derive(Default)]
struct Live {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
}

impl Store {
    /// Removes the blobs that nothing needs and that are older than [`BLOB_GRACE`] at `now`.
    ///
    /// # Errors
    /// [`GcError`].
    pub fn collect_garbage(&self, now: Timestamp) -> Result<GcReport, GcError> {
        let _writing = self.writing();
        let live = self.mark().map_err(GcError::Mark)?;
        self.sweep(&live.blobs, now).map_err(GcError::Sweep)
    }

    /// Of the unpacked layers `present` (chain ids), those that no recorded image and no lease needs. They may be removed while the
    /// result lives.
    ///
    /// # Errors
    /// [`GcError::Mark`].
    pub fn sweep_layers(&self, present: impl IntoIterator<Item = Digest>) -> Result<LayerSweep, GcError> {
        let _writing = self.writing();
        let live = self.mark().map_err(GcError::Mark)?;
        let dead = self.leases().condemn(present.into_iter(), &live.layers);
        Ok(LayerSweep::new(self.clone(), dead))
    }

    /// Removes one blob if nothing needs it; `Some(false)` if something does, `None` if there is no such blob.
    ///
    /// # Errors
    /// [`GcError`].
    pub fn remove_unused_blob(&self, digest: Digest) -> Result<Option<bool>, GcError> {
        let _writing = self.writing();
        if self.blob_size(digest).is_none() {
            return Ok(None);
        }
        if self.mark().map_err(GcError::Mark)?.blobs.contains(&digest) {
            return Ok(Some(false));
        }
        fs::remove_file(self.blob_path(digest)).map_err(GcError::Sweep)?;
        Ok(Some(true))
    }

    fn mark(&self) -> Result<Live, BlobError> {
        let mut live = Live::default();
        let mut waiting: Vec<Digest> = self.read_refs(|refs| refs.values().map(|record| record.digest).collect());
        waiting.extend(self.leases().blobs());
        while let Some(digest) = waiting.pop() {
            if !live.blobs.insert(digest) {
                continue;
            }
            let Some(document) = self.document(digest)? else {
                continue;
            };
            if let Document::Manifest(manifest) = &document {
                live.layers.extend(self.chain_ids(digest, manifest)?);
            }
            waiting.extend(self.needed_parts(&document));
        }
        Ok(live)
    }

    fn needed_parts(&self, document: &Document) -> Vec<Digest> {
        document.parts().iter().map(|part| part.digest).filter(|part| self.blob_size(*part).is_some()).collect()
    }

    /// The blob as a manifest or index, if it is one. What is gone needs nothing.
    fn document(&self, digest: Digest) -> Result<Option<Document>, BlobError> {
        if self.blob_size(digest).is_none_or(|size| size > MAX_MANIFEST_BYTES) {
            return Ok(None);
        }
        let bytes = self.read_blob(digest, MAX_MANIFEST_BYTES)?;
        Ok(bytes.starts_with(b"{").then(|| Document::parse(&bytes, None).ok()).flatten())
    }

    fn chain_ids(&self, digest: Digest, manifest: &Manifest) -> Result<Vec<Digest>, BlobError> {
        // An artifact's configuration may be anything, or absent from a manifest that came without it.
        if self.blob_size(manifest.config.digest).is_none_or(|size| size > MAX_CONFIG_BYTES) {
            return Ok(Vec::new());
        }
        let bytes = self.read_blob(manifest.config.digest, MAX_CONFIG_BYTES)?;
        let image = ImageConfig::parse(&bytes).ok().and_then(|config| Image::new(digest, manifest, config).ok());
        Ok(image.map(|image| image.layers.iter().map(|layer| layer.chain_id).collect()).unwrap_or_default())
    }

    fn sweep(&self, live: &BTreeSet<Digest>, now: Timestamp) -> io::Result<GcReport> {
        let mut report = GcReport::default();
        let dir = self.blob_dir();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let digest = entry.file_name().to_str().and_then(Digest::from_hex);
            let _aging = self.aging();
            if digest.is_some_and(|digest| live.contains(&digest)) {
                report.live += 1;
            } else if is_young(&entry.path(), now)? {
                report.young += 1;
            } else {
                report.freed_bytes += entry.metadata()?.len();
                fs::remove_file(entry.path())?;
                report.removed += 1;
            }
        }
        sync_dir(&dir)?;
        Ok(report)
    }
}

fn is_young(path: &Path, now: Timestamp) -> io::Result<bool> {
    let modified = fs::symlink_metadata(path)?.modified()?;
    // A time out of range is no recent one; a time in the future is.
    let Ok(modified) = Timestamp::try_from(modified) else {
        return Ok(false);
    };
    Ok(now.duration_since(modified).as_secs() < BLOB_GRACE.as_secs().cast_signed())
}
