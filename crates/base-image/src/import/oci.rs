//! OCI layouts: `index.json` lists manifests, `blobs/` holds everything by digest.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::{Place, Source, malformed};
use super::{ArchiveImage, DocumentError, Found, ImportError};
use crate::config::{ImageConfig, MAX_CONFIG_BYTES};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Document, MAX_MANIFEST_BYTES, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;

/// A tag, or a whole reference: which of the two is each builder's own choice.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A whole reference, by Docker and containerd.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// How deep indexes may lie in indexes.
const MAX_INDEX_DEPTH: usize = 3;

/// What `index.json` says about one image.
#[derive(Default)]
struct Entry {
    names: Vec<Reference>,
    tag: Option<String>,
    manifests: Vec<Descriptor>,
}

pub(super) fn find(path: &Path, source: &Source) -> Result<Found, ImportError> {
    let bytes = source.read(path, "index.json", MAX_MANIFEST_BYTES)?;
    let malformed = malformed(path, "index.json");
    let document = Document::parse(&bytes, None).map_err(|error| malformed(DocumentError::Manifest(error)))?;
    let Document::Index(index) = document else {
        return Err(ImportError::NoImages { path: path.to_owned() });
    };
    let mut reader = Reader { path, source, blobs: BTreeMap::new() };
    let mut images: Vec<ArchiveImage> = Vec::new();
    for entry in group(index.manifests).map_err(malformed)? {
        let image = reader.image(&entry.manifests)?;
        // Several names of one image are several descriptors.
        match images.iter_mut().find(|other| other.manifest.digest == image.manifest.digest) {
            Some(other) => other.names.extend(entry.names),
            None => images.push(ArchiveImage { names: entry.names, tag: entry.tag, ..image }),
        }
    }
    if images.is_empty() {
        return Err(ImportError::NoImages { path: path.to_owned() });
    }
    Ok(Found { images, blobs: reader.blobs })
}

/// The descriptors by name. Those without one are the platforms of one image.
fn group(manifests: Vec<Descriptor>) -> Result<Vec<Entry>, DocumentError> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for manifest in manifests {
        let ref_name = manifest.annotations.get(REF_NAME);
        let full = manifest.annotations.get(CONTAINERD_NAME);
        let full = full.or(ref_name.filter(|name| name.contains(['/', ':'])));
        let key = full.or(ref_name).cloned().unwrap_or_default();
        let entry = entries.entry(key).or_default();
        if let Some(full) = full
            && entry.names.is_empty()
        {
            entry.names.push(full.parse().map_err(DocumentError::Name)?);
        }
        entry.tag = ref_name.cloned();
        entry.manifests.push(manifest);
    }
    Ok(entries.into_values().collect())
}

struct Reader<'a> {
    path: &'a Path,
    source: &'a Source,
    blobs: BTreeMap<Digest, Place>,
}

impl Reader<'_> {
    /// The image among `manifests` that runs here, without names.
    fn image(&mut self, manifests: &[Descriptor]) -> Result<ArchiveImage, ImportError> {
        let (descriptor, bytes, manifest) = self.select(manifests)?;
        let config = self.read_document(manifest.config.digest, MAX_CONFIG_BYTES)?;
        let part = blob_path(manifest.config.digest);
        let config = ImageConfig::parse(&config);
        let config = config.map_err(|error| malformed(self.path, &part)(DocumentError::Config(error)))?;
        self.check(|machine| machine.check(&config.platform))?;
        let blobs: Vec<_> = std::iter::once(manifest.config).chain(manifest.layers).collect();
        for blob in &blobs {
            let part = blob_path(blob.digest);
            let place = self.source.place(&part);
            let place = place.ok_or_else(|| ImportError::MissingPart { path: self.path.to_owned(), part })?;
            self.blobs.insert(blob.digest, place);
        }
        Ok(ArchiveImage { names: Vec::new(), tag: None, manifest: descriptor, document: bytes, blobs })
    }

    fn select(&self, manifests: &[Descriptor]) -> Result<(Descriptor, Vec<u8>, Manifest), ImportError> {
        let mut manifests = manifests.to_vec();
        for _ in 0..=MAX_INDEX_DEPTH {
            let chosen = self.check(|machine| machine.select(&manifests).cloned())?;
            let bytes = self.read_document(chosen.digest, MAX_MANIFEST_BYTES)?;
            let part = blob_path(chosen.digest);
            let document = Document::parse(&bytes, Some(chosen.media_type.as_str()).filter(|text| !text.is_empty()));
            let document = document.map_err(|error| malformed(self.path, &part)(DocumentError::Manifest(error)))?;
            let media_type = document.media_type().to_owned();
            match document {
                Document::Index(index) => manifests = index.manifests,
                Document::Manifest(manifest) => {
                    let descriptor = Descriptor::new(media_type, chosen.digest, bytes.len() as u64);
                    return Ok((descriptor, bytes, *manifest));
                }
            }
        }
        Err(ImportError::NoImages { path: self.path.to_owned() })
    }

    fn check<T>(
        &self,
        decide: impl FnOnce(&Platform) -> Result<T, crate::platform::WrongPlatform>,
    ) -> Result<T, ImportError> {
        decide(&Platform::host()).map_err(|source| ImportError::Platform { path: self.path.to_owned(), source })
    }

    fn read_document(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, ImportError> {
        let part = blob_path(digest);
        let bytes = self.source.read(self.path, &part, limit)?;
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(malformed(self.path, &part)(DocumentError::Mismatch { actual }));
        }
        Ok(bytes)
    }
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
