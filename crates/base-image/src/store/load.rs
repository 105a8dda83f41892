//! From a digest to an image that can be run here.

use super::{BlobError, Store};
use crate::config::{ConfigError, ImageConfig, MAX_CONFIG_BYTES};
use crate::digest::Digest;
use crate::image::{Image, ImageMismatch};
use crate::manifest::{Document, MAX_MANIFEST_BYTES, Manifest, ManifestError};
use crate::platform::{Platform, WrongPlatform};

/// How many indexes may lead to a manifest. One is usual; builders' archives have two.
const MAX_INDEX_DEPTH: usize = 3;

/// The store has no runnable image of that digest.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A part is missing or damaged.
    #[error("load image {digest}")]
    Blob {
        /// What was asked for.
        digest: Digest,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// The manifest is malformed.
    #[error("load image {digest}")]
    Manifest {
        /// What was asked for.
        digest: Digest,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The configuration is malformed.
    #[error("load image {digest}")]
    Config {
        /// What was asked for.
        digest: Digest,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// Manifest and configuration disagree.
    #[error("load image {digest}")]
    Mismatch {
        /// What was asked for.
        digest: Digest,
        /// Why.
        #[source]
        source: ImageMismatch,
    },
    /// It is for other machines.
    #[error("image {digest} does not run here")]
    Platform {
        /// What was asked for.
        digest: Digest,
        /// What it is for.
        #[source]
        source: Box<WrongPlatform>,
    },
    /// Indexes in indexes without end.
    #[error("image {digest} is an index of indexes, more than {MAX_INDEX_DEPTH} deep")]
    TooDeep {
        /// What was asked for.
        digest: Digest,
    },
}

impl Store {
    /// The image `digest`, a manifest's or an index's, for this machine. Layers must be there, but are not read.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn image(&self, digest: Digest) -> Result<Image, LoadError> {
        self.image_for(digest, &Platform::host())
    }

    /// The image `digest` for a machine of platform `machine`.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn image_for(&self, digest: Digest, machine: &Platform) -> Result<Image, LoadError> {
        let blob = |source| LoadError::Blob { digest, source };
        let (manifest_digest, manifest) = self.select_manifest(digest, machine)?;
        let config = self.read_blob(manifest.config.digest, MAX_CONFIG_BYTES).map_err(blob)?;
        let config = ImageConfig::parse(&config).map_err(|source| LoadError::Config { digest, source })?;
        machine.check(&config.platform).map_err(|source| LoadError::Platform { digest, source: Box::new(source) })?;
        let image = Image::new(manifest_digest, &manifest, config);
        let image = image.map_err(|source| LoadError::Mismatch { digest, source })?;
        match image.layers.iter().find(|layer| self.blob_size(layer.digest).is_none()) {
            Some(layer) => Err(blob(BlobError::Missing { digest: layer.digest })),
            None => Ok(image),
        }
    }

    fn select_manifest(&self, digest: Digest, machine: &Platform) -> Result<(Digest, Manifest), LoadError> {
        let mut at = digest;
        for _ in 0..=MAX_INDEX_DEPTH {
            let bytes = self.read_blob(at, MAX_MANIFEST_BYTES);
            let bytes = bytes.map_err(|source| LoadError::Blob { digest, source })?;
            let document = Document::parse(&bytes, None);
            match document.map_err(|source| LoadError::Manifest { digest, source })? {
                Document::Manifest(manifest) => return Ok((at, *manifest)),
                Document::Index(index) => {
                    let best = machine.select(&index.manifests);
                    at = best.map_err(|source| LoadError::Platform { digest, source: Box::new(source) })?.digest;
                }
            }
        }
        Err(LoadError::TooDeep { digest })
    }
}
