//! Making images: files in, an image in the store out, the same bytes every time.
//!
//! A [`LayerTree`] is a layer as a sorted tree. Owners are root, times are 1970, order is by path, and missing parent directories are
//! added, so equal content gives equal digests on every machine, and a layer is complete in itself.

mod layer;
mod layout;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use base_rt::Timestamp;

pub use layer::LayerTree;
pub use layout::assemble_layout;

use crate::config::{ConfigError, ImageConfig};
use crate::digest::{Digest, Hashing};
use crate::manifest::{Descriptor, Manifest};
use crate::media_type::{Compression, OCI_CONFIG, OCI_MANIFEST};
use crate::reference::Reference;
use crate::store::{BlobError, OpenError, Origin, Record, RefError, Store};

/// The largest layer that is assembled.
const MAX_LAYER_BYTES: u64 = 16 << 30;

/// The creation time in every assembled image.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What to make.
#[derive(Debug)]
pub struct ImageSpec {
    /// The configuration; its `diff_ids` are replaced, and an unset `created` becomes 1970.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub layers: Vec<LayerTree>,
    /// Zstandard unless other tools have to read the image that know only gzip.
    pub compression: Compression,
}

/// An image cannot be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A source file cannot be read, or changed while it was.
    #[error("add {} to the image", .path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A path in the image that is no plain relative path.
    #[error("{path:?} is no path in an image: it must be relative to the root, without \".\" and \"..\"")]
    Path {
        /// As given.
        path: String,
    },
    /// There is no place for the image.
    #[error("prepare a place for the image")]
    Open(#[source] OpenError),
    /// A document of the layout cannot be written.
    #[error("write {}", .path.display())]
    Write {
        /// The document.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The layer cannot be written.
    #[error("write a layer")]
    Layer(#[source] io::Error),
    /// A blob cannot be stored.
    #[error("store the image")]
    Blob(#[source] BlobError),
    /// The configuration or manifest cannot be written.
    #[error("write the image's documents")]
    Document(#[source] ConfigError),
    /// The record cannot be written.
    #[error("name the image")]
    Record(#[source] RefError),
}

/// Makes the image and stores its blobs; gives the manifest's digest. Blocks on the disk.
///
/// # Errors
/// [`AssembleError`].
pub fn assemble(store: &Store, spec: &ImageSpec) -> Result<Digest, AssembleError> {
    let mut config = spec.config.clone();
    config.diff_ids.clear();
    config.created.get_or_insert_with(|| CREATED.to_owned());
    let mut layers = Vec::new();
    for tree in &spec.layers {
        let (descriptor, diff_id) = store_layer(store, tree, spec.compression)?;
        layers.push(descriptor);
        config.diff_ids.push(diff_id);
    }
    let bytes = config.to_json().map_err(AssembleError::Document)?;
    let digest = store.put_blob(&bytes).map_err(AssembleError::Blob)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(OCI_CONFIG, digest, bytes.len() as u64),
        layers,
        subject: None,
        annotations: [].into(),
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|error| AssembleError::Document(ConfigError::Write(error)))?;
    store.put_blob(&bytes).map_err(AssembleError::Blob)
}

/// [`assemble`], then names the image. Blocks on the disk.
///
/// # Errors
/// [`AssembleError`].
pub fn assemble_as(
    store: &Store,
    spec: &ImageSpec,
    reference: &Reference,
    now: Timestamp,
) -> Result<Record, AssembleError> {
    let digest = assemble(store, spec)?;
    store.set_record(reference, digest, Origin::Local, now).map_err(AssembleError::Record)
}

fn store_layer(
    store: &Store,
    tree: &LayerTree,
    compression: Compression,
) -> Result<(Descriptor, Digest), AssembleError> {
    let writer = store.blob_writer(MAX_LAYER_BYTES).map_err(AssembleError::Blob)?;
    let encoder = crate::compress::Encoder::new(writer, compression).map_err(AssembleError::Layer)?;
    let (encoder, hasher) = tree.write(Hashing::new(encoder))?.into_parts();
    let writer = encoder.finish().map_err(AssembleError::Layer)?;
    let size = writer.length();
    let digest = writer.commit(None).map_err(AssembleError::Blob)?;
    Ok((Descriptor::new(compression.layer_media_type(), digest, size), hasher.finish()))
}
