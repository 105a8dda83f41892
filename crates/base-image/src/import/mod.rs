//! Reading images from files: an OCI layout directory, an OCI archive, or what `docker save` writes.
//!
//! [`Archive::open`] reads the small documents and finds every blob's place; the blobs themselves are read when they are stored
//! ([`into_store`]) or pushed (`registry_client::push`). Of a multi-platform image only the part for this machine is taken.
//!
//! ```text
//! directory  oci-layout, index.json, blobs/…         ┐
//! tar        the same files inside                   ├─► images: names, manifest, blobs by digest
//! tar        manifest.json, CONFIG.json, LAYER.tar   ┘   (docker's layers stay as they are: an uncompressed layer is its own diff id)
//! ```
//! A tar compressed as a whole (`docker save | gzip`) or read from a pipe goes to a temporary file first. Nothing is trusted: every document is
//! bounded, and every blob is verified against its digest by whoever receives it.
//! Specified by: OCI image-spec `image-layout.md`; Docker's `image/spec/v1.2.md` (manifest.json).

mod docker;
mod oci;
mod source;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use store::{ImportToStoreError, into_store};

use crate::config::ConfigError;
use crate::digest::{Digest, DigestError};
use crate::manifest::{Descriptor, ManifestError};
use crate::platform::WrongPlatform;
use crate::reference::{Reference, ReferenceError};
use crate::tar_stream::TarError;
use source::{Place, Source};

/// Images in a file, ready to be copied.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    source: Source,
    images: Vec<ArchiveImage>,
    blobs: BTreeMap<Digest, Place>,
}

/// One image of an archive, for this machine.
#[derive(Clone, Debug)]
pub struct ArchiveImage {
    /// Its names, normalised; empty when the archive has none.
    pub names: Vec<Reference>,
    /// The tag that the archive gives to an image without a name.
    pub tag: Option<String>,
    /// The manifest's descriptor.
    pub manifest: Descriptor,
    /// The manifest's bytes.
    pub document: Vec<u8>,
    /// Configuration and layers.
    pub blobs: Vec<Descriptor>,
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are at their destination, those that were there before included.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// A file that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("read {}", .path.display())]
    Read {
        /// The file, or the part of it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no tar archive, or a damaged one.
    #[error("{} is not an image archive: expected an OCI layout directory, an OCI archive or the output of `docker save`", .path.display())]
    Tar {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TarError,
    },
    /// It is readable, but holds none of the documents that list images.
    #[error(
        "{} is not an image archive: it has neither index.json (OCI) nor manifest.json (`docker save`)", .path.display()
    )]
    NoImages {
        /// The file.
        path: PathBuf,
    },
    /// A file that the archive's documents name.
    #[error("{} lacks {part}, which it refers to", .path.display())]
    MissingPart {
        /// The file.
        path: PathBuf,
        /// What is missing.
        part: String,
    },
    /// A document above its bound.
    #[error("{part} in {} is larger than {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which part.
        part: String,
        /// The bound.
        limit: u64,
    },
    /// More files than an image archive has.
    #[error("{} has more than {limit} entries", .path.display())]
    TooManyEntries {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// One of its documents does not parse.
    #[error("{part} in {} is malformed", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which part.
        part: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Nothing in it runs here.
    #[error("no image in {} runs on this machine", .path.display())]
    Platform {
        /// The file.
        path: PathBuf,
        /// What there is.
        #[source]
        source: WrongPlatform,
    },
    /// It gives its image no name, and neither does the user.
    #[error("{} gives its image no name{}: name it with --name REFERENCE", .path.display(), tag_hint(.tag.as_deref()))]
    NoName {
        /// The file.
        path: PathBuf,
        /// The bare tag that it has.
        tag: Option<String>,
    },
    /// A name was given for more than one image.
    #[error("{} holds {count} images ({names}): --name needs a file with one", .path.display())]
    SeveralImages {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
        /// Their names.
        names: String,
    },
}

/// What is wrong with a document of an archive.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON of the right shape.
    #[error("it is not valid")]
    Json(#[source] serde_json::Error),
    /// It is no manifest or index.
    #[error("it is no manifest")]
    Manifest(#[source] ManifestError),
    /// It is no image configuration.
    #[error("it is no image configuration")]
    Config(#[source] ConfigError),
    /// It names an image in a way that is none.
    #[error("it has a bad image name")]
    Name(#[source] ReferenceError),
    /// It has a digest that is none.
    #[error("it has a bad digest")]
    Digest(#[source] DigestError),
    /// Its content has another digest than the one it goes by.
    #[error("its content has the digest {actual}")]
    Mismatch {
        /// What it is.
        actual: Digest,
    },
    /// Layers and diff ids do not pair up.
    #[error("it lists {layers} layers, its configuration {diff_ids}")]
    LayerCount {
        /// In `manifest.json`.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
}

impl Archive {
    /// Finds the images in `path`. Reads only its documents (and the whole file where docker's layers are compressed in it, whose
    /// digests nothing else tells).
    ///
    /// # Errors
    /// [`ImportError`], naming the file and the part of it.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let source = Source::open(path)?;
        let found = match (source.has("index.json"), source.has("manifest.json")) {
            (true, has_docker) => {
                let found = oci::find(path, &source)?;
                // Older `docker save` writes both, but names only in docker's own.
                let is_nameless = found.images.iter().all(|image| image.names.is_empty());
                if has_docker && is_nameless { docker::find(path, &source)? } else { found }
            }
            (false, true) => docker::find(path, &source)?,
            (false, false) => return Err(ImportError::NoImages { path: path.to_owned() }),
        };
        Ok(Self { path: path.to_owned(), source, images: found.images, blobs: found.blobs })
    }

    /// The images, each with at least one name: `name` if given, which needs an archive of one image.
    ///
    /// # Errors
    /// [`ImportError::NoName`], [`ImportError::SeveralImages`].
    pub fn named_images(&self, name: Option<&Reference>) -> Result<Vec<ArchiveImage>, ImportError> {
        let mut images = self.images.clone();
        if let Some(name) = name {
            let [image] = images.as_mut_slice() else {
                return Err(self.several_images());
            };
            image.names = vec![name.clone()];
        }
        match images.iter().find(|image| image.names.is_empty()) {
            Some(image) => Err(ImportError::NoName { path: self.path.clone(), tag: image.tag.clone() }),
            None => Ok(images),
        }
    }

    /// Opens a configuration or layer of one of its images, unverified.
    ///
    /// # Errors
    /// [`ImportError::MissingPart`], [`ImportError::Read`].
    pub fn open_blob(&self, digest: Digest) -> Result<Box<dyn Read + Send>, ImportError> {
        let missing = || ImportError::MissingPart { path: self.path.clone(), part: digest.to_string() };
        let place = self.blobs.get(&digest).ok_or_else(missing)?;
        let reader = self.source.open_place(place);
        reader.map_err(|source| ImportError::Read { path: self.path.clone(), source })
    }

    fn several_images(&self) -> ImportError {
        let names = self.images.iter().flat_map(|image| &image.names).map(Reference::to_familiar);
        let names = names.collect::<Vec<_>>().join(", ");
        ImportError::SeveralImages { path: self.path.clone(), count: self.images.len(), names }
    }
}

impl ArchiveImage {
    /// Bytes of configuration and layers.
    pub fn total_bytes(&self) -> u64 {
        self.blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
}

/// What a format's reader found.
struct Found {
    images: Vec<ArchiveImage>,
    blobs: BTreeMap<Digest, Place>,
}

fn tag_hint(tag: Option<&str>) -> String {
    tag.map(|tag| format!(" (only the tag {tag:?})")).unwrap_or_default()
}
