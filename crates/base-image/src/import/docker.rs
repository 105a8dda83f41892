//! `docker save` archives: `manifest.json` lists configurations, names and layer files.
//!
//! They have no OCI manifest, so one is made: the configuration as it is, each layer file as it is. An uncompressed layer's digest is
//! its diff id, which the configuration tells; only a compressed one has to be read to know its digest.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

use super::source::{Place, Source, malformed};
use super::{ArchiveImage, DocumentError, Found, ImportError};
use crate::compress::sniff;
use crate::config::{ImageConfig, MAX_CONFIG_BYTES};
use crate::digest::{Digest, Hashing};
use crate::manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest, null_is_default};
use crate::media_type::{Compression, OCI_CONFIG, OCI_MANIFEST};
use crate::platform::Platform;
use crate::reference::Reference;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default, deserialize_with = "null_is_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<String>,
}

pub(super) fn find(path: &Path, source: &Source) -> Result<Found, ImportError> {
    let bytes = source.read(path, "manifest.json", MAX_MANIFEST_BYTES)?;
    let malformed = malformed(path, "manifest.json");
    let entries: Vec<Entry> = serde_json::from_slice(&bytes).map_err(|error| malformed(DocumentError::Json(error)))?;
    let mut reader = Reader { path, source, blobs: BTreeMap::new() };
    let images = entries.iter().map(|entry| reader.image(entry)).collect::<Result<Vec<_>, _>>()?;
    if images.is_empty() {
        return Err(ImportError::NoImages { path: path.to_owned() });
    }
    Ok(Found { images, blobs: reader.blobs })
}

struct Reader<'a> {
    path: &'a Path,
    source: &'a Source,
    blobs: BTreeMap<Digest, Place>,
}

impl Reader<'_> {
    fn image(&mut self, entry: &Entry) -> Result<ArchiveImage, ImportError> {
        let in_manifest = malformed(self.path, "manifest.json");
        let names: Result<Vec<Reference>, _> = entry.repo_tags.iter().map(|name| name.parse()).collect();
        let names = names.map_err(|error| in_manifest(DocumentError::Name(error)))?;
        let bytes = self.source.read(self.path, &entry.config, MAX_CONFIG_BYTES)?;
        let config = ImageConfig::parse(&bytes);
        let config = config.map_err(|error| malformed(self.path, &entry.config)(DocumentError::Config(error)))?;
        let fits = Platform::host().check(&config.platform);
        fits.map_err(|source| ImportError::Platform { path: self.path.to_owned(), source })?;
        let (layers, diff_ids) = (entry.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(in_manifest(DocumentError::LayerCount { layers, diff_ids }));
        }
        let descriptor = Descriptor::new(OCI_CONFIG, Digest::of(&bytes), bytes.len() as u64);
        self.blobs.insert(descriptor.digest, self.place(&entry.config)?);
        let layers = entry.layers.iter().zip(&config.diff_ids);
        let layers = layers.map(|(part, diff_id)| self.layer(part, *diff_id)).collect::<Result<Vec<_>, _>>()?;
        image(names, descriptor, layers).map_err(|error| in_manifest(DocumentError::Json(error)))
    }

    fn layer(&mut self, part: &str, diff_id: Digest) -> Result<Descriptor, ImportError> {
        let place = self.place(part)?;
        let read = |source| ImportError::Read { path: self.path.join(part), source };
        let compression = self.compression(&place).map_err(read)?;
        let digest = match compression {
            Compression::None => diff_id,
            _ => self.digest(&place).map_err(read)?,
        };
        let size = self.source.size(&place).map_err(read)?;
        self.blobs.insert(digest, place);
        Ok(Descriptor::new(compression.layer_media_type(), digest, size))
    }

    fn place(&self, part: &str) -> Result<Place, ImportError> {
        let missing = || ImportError::MissingPart { path: self.path.to_owned(), part: part.to_owned() };
        self.source.place(part).ok_or_else(missing)
    }

    fn compression(&self, place: &Place) -> io::Result<Compression> {
        let mut head = Vec::new();
        self.source.open_place(place)?.take(4).read_to_end(&mut head)?;
        Ok(sniff(&head))
    }

    fn digest(&self, place: &Place) -> io::Result<Digest> {
        let mut reader = Hashing::new(self.source.open_place(place)?);
        io::copy(&mut reader, &mut io::sink())?;
        Ok(reader.into_parts().1.finish())
    }
}

fn image(
    names: Vec<Reference>,
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> Result<ArchiveImage, serde_json::Error> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: [].into(),
    };
    let document = serde_json::to_vec(&manifest)?;
    let descriptor = Descriptor::new(OCI_MANIFEST, Digest::of(&document), document.len() as u64);
    let blobs = std::iter::once(manifest.config).chain(manifest.layers).collect();
    Ok(ArchiveImage { names, tag: None, manifest: descriptor, document, blobs })
}
