//! Importing straight into a store, without a registry between: for what runs in the store's own process.

use std::io::{self, Read};

use base_rt::Timestamp;

use super::{Archive, ArchiveImage, ImportError, Progress};
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::store::{BlobError, Origin, Record, RefError, Store};

/// How much is copied at once.
const BUFFER_BYTES: usize = 256 << 10;

/// An image cannot be copied into the store.
#[derive(Debug, thiserror::Error)]
pub enum ImportToStoreError {
    /// The archive lacks a part.
    #[error(transparent)]
    Archive(#[from] ImportError),
    /// A blob cannot be read, written or verified.
    #[error("import blob {digest}")]
    Blob {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// It cannot be named.
    #[error("name the imported image")]
    Record(#[source] RefError),
}

/// Copies `image` of `archive` into `store` under all its names. Blobs that are there are not copied again. Blocks on the disk.
///
/// # Errors
/// [`ImportToStoreError`]. Names are set last, so none leads to a part of an image.
pub fn into_store(
    store: &Store,
    archive: &Archive,
    image: &ArchiveImage,
    now: Timestamp,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Record>, ImportToStoreError> {
    let _lease = store.lease_blobs(image.blobs.iter().map(|blob| blob.digest).chain([image.manifest.digest]));
    let mut progress = Progress { done_bytes: 0, total_bytes: image.total_bytes() };
    for blob in &image.blobs {
        let before = progress.done_bytes;
        if store.touch(blob.digest).is_none() {
            let mut advance = |bytes| {
                progress.done_bytes += bytes;
                on_progress(progress);
            };
            copy_blob(store, archive, blob, &mut advance)?;
        }
        progress.done_bytes = before.saturating_add(blob.size);
        on_progress(progress);
    }
    let digest = image.manifest.digest;
    store.put_blob(&image.document).map_err(|source| ImportToStoreError::Blob { digest, source })?;
    let records = image.names.iter().map(|name| store.set_record(name, digest, Origin::Local, now));
    records.collect::<Result<_, _>>().map_err(ImportToStoreError::Record)
}

fn copy_blob(
    store: &Store,
    archive: &Archive,
    blob: &Descriptor,
    advance: &mut dyn FnMut(u64),
) -> Result<(), ImportToStoreError> {
    let failed = |source| ImportToStoreError::Blob { digest: blob.digest, source };
    let mut reader = archive.open_blob(blob.digest)?;
    let mut writer = store.blob_writer(blob.size).map_err(failed)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = read_some(&mut reader, &mut buffer);
        let count = count.map_err(|source| failed(BlobError::Read { digest: blob.digest, source }))?;
        if count == 0 {
            break;
        }
        writer.write(buffer.get(..count).unwrap_or_default()).map_err(failed)?;
        advance(count as u64);
    }
    writer.commit(Some(blob.digest)).map_err(failed)?;
    Ok(())
}

fn read_some(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
