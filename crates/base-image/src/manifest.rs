//! Manifests and indexes: the two documents that name an image's parts by digest.
//!
//! Docker's and OCI's have one shape. Reading is lenient where Go's writers are (a `null` list is an empty one, unknown fields pass)
//! and strict where it guards: a document that is both a manifest and an index is refused (CVE-2021-41190), so is one whose declared
//! media type is not its shape, and every list is bounded.
//!
//! A document's bytes are its identity: they are stored and served as they came, never written again from these types.
//! Specified by: OCI image-spec `manifest.md`, `image-index.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::media_type;
use crate::platform::Platform;

/// The largest manifest or index. Docker's registry has the same bound.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The most layers of an image: what overlayfs stacks.
pub const MAX_LAYERS: usize = 500;

/// The most manifests of an index.
const MAX_INDEX_ENTRIES: usize = 1000;

/// A reference to a blob, with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where the content is instead, for foreign layers.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free texts.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What a manifest's image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What an artifact is, in lists of referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor without any of the optional fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// One image for one platform: its configuration and its layers, the lowest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type; OCI's builders may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about (a signature, a bill of materials).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free texts.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// One image for several platforms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, one per platform.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this index is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free texts.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Either document.
#[derive(Clone, Debug)]
pub enum Document {
    /// One platform.
    Manifest(Box<Manifest>),
    /// Several.
    Index(Box<Index>),
}

/// Bytes that are no manifest this crate can use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_MANIFEST_BYTES`].
    #[error("a manifest has at most {MAX_MANIFEST_BYTES} bytes, this one has {length}")]
    TooLarge {
        /// Its length in bytes.
        length: u64,
    },
    /// Not JSON, or not of a manifest's shape.
    #[error("the manifest is not valid")]
    Parse(#[source] serde_json::Error),
    /// An older or newer schema.
    #[error("manifest schema version {version} is not supported, only 2 is: build the image again with a current tool")]
    SchemaVersion {
        /// The version given.
        version: u64,
    },
    /// Both shapes at once, neither, or not the one that the media type says.
    #[error("the manifest's fields do not fit its media type {media_type:?}")]
    Shape {
        /// The media type, given or declared.
        media_type: String,
    },
    /// Longer than [`MAX_LAYERS`], or an index of more than a thousand manifests.
    #[error("the manifest lists {count} parts, at most {limit} are supported")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
}

/// What decides the shape, read before the rest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u64,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a manifest or an index. `media_type` is what came with the bytes (a header, a descriptor), if anything did.
    ///
    /// # Errors
    /// [`ManifestError`]: too large, malformed, of another schema, or not what `media_type` says.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        let length = bytes.len() as u64;
        if length > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { length });
        }
        let shape: Shape = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
        if shape.schema_version != 2 {
            return Err(ManifestError::SchemaVersion { version: shape.schema_version });
        }
        let said = shape.media_type.as_deref().or(media_type).unwrap_or_default();
        let wrong_shape = || ManifestError::Shape { media_type: said.to_owned() };
        if media_type.zip(shape.media_type.as_deref()).is_some_and(|(outer, inner)| outer != inner) {
            return Err(wrong_shape());
        }
        let has_image_parts = shape.config.is_some() || shape.layers.is_some();
        match (shape.manifests.is_some(), has_image_parts) {
            (true, false) if said.is_empty() || media_type::is_index(said) => Self::parse_index(bytes),
            (false, true) if said.is_empty() || media_type::is_manifest(said) => Self::parse_manifest(bytes),
            _ => Err(wrong_shape()),
        }
    }

    fn parse_index(bytes: &[u8]) -> Result<Self, ManifestError> {
        let index: Index = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
        check_count(index.manifests.len(), MAX_INDEX_ENTRIES)?;
        Ok(Self::Index(Box::new(index)))
    }

    fn parse_manifest(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
        check_count(manifest.layers.len(), MAX_LAYERS)?;
        Ok(Self::Manifest(Box::new(manifest)))
    }

    /// Its media type: the declared one, or OCI's for its shape.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) => manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST),
            Self::Index(index) => index.media_type.as_deref().unwrap_or(media_type::OCI_INDEX),
        }
    }

    /// The blobs and manifests that it needs to be complete. Foreign layers are elsewhere and not listed.
    pub fn parts(&self) -> Vec<&Descriptor> {
        match self {
            Self::Manifest(manifest) => {
                let layers = manifest.layers.iter().filter(|layer| !media_type::is_foreign_layer(&layer.media_type));
                std::iter::once(&manifest.config).chain(layers).collect()
            }
            Self::Index(index) => index.manifests.iter().collect(),
        }
    }

    /// The manifest that this one is about.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Manifest(manifest) => manifest.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }
}

fn check_count(count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit { Err(ManifestError::TooMany { count, limit }) } else { Ok(()) }
}

/// Go writes an empty slice or map as `null`.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(value: &Value, media_type: Option<&str>) -> Result<Document, ManifestError> {
        Document::parse(value.to_string().as_bytes(), media_type)
    }

    fn descriptor(text: &str) -> Value {
        json!({"mediaType": "x", "digest": Digest::of(text.as_bytes()), "size": text.len()})
    }

    #[test]
    fn both_documents_are_recognised_by_their_shape() {
        let manifest =
            parse(&json!({"schemaVersion": 2, "config": descriptor("c"), "layers": [descriptor("l")]}), None);
        let manifest = manifest.unwrap();
        assert_eq!(manifest.media_type(), media_type::OCI_MANIFEST);
        assert_eq!(manifest.parts().len(), 2);
        let index =
            parse(&json!({"schemaVersion": 2, "manifests": [descriptor("m")]}), Some(media_type::DOCKER_MANIFEST_LIST));
        assert!(matches!(index.unwrap(), Document::Index(_)));
    }

    #[test]
    fn null_lists_are_empty() {
        let manifest = json!({"schemaVersion": 2, "config": descriptor("c"), "layers": null, "annotations": null});
        assert!(parse(&manifest, Some(media_type::OCI_MANIFEST)).is_ok());
    }

    #[test]
    fn ambiguous_and_mislabelled_documents_are_refused() {
        let both = json!({"schemaVersion": 2, "config": descriptor("c"), "layers": [], "manifests": []});
        assert!(matches!(parse(&both, None), Err(ManifestError::Shape { .. })));
        let index = json!({"schemaVersion": 2, "manifests": [], "mediaType": media_type::OCI_INDEX});
        assert!(matches!(parse(&index, Some(media_type::OCI_MANIFEST)), Err(ManifestError::Shape { .. })));
        assert!(matches!(parse(&json!({"schemaVersion": 2}), None), Err(ManifestError::Shape { .. })));
        assert!(matches!(parse(&json!({"schemaVersion": 1}), None), Err(ManifestError::SchemaVersion { version: 1 })));
        assert!(matches!(Document::parse(b"[]", None), Err(ManifestError::Parse(_))));
    }

    #[test]
    fn bounds_hold() {
        let layers = vec![descriptor("l"); MAX_LAYERS + 1];
        let many = json!({"schemaVersion": 2, "config": descriptor("c"), "layers": layers});
        assert!(matches!(parse(&many, None), Err(ManifestError::TooMany { .. })));
        let large = vec![b' '; MAX_MANIFEST_BYTES as usize + 1];
        assert!(matches!(Document::parse(&large, None), Err(ManifestError::TooLarge { .. })));
        let negative = json!({"schemaVersion": 2, "config": {"digest": Digest::of(b""), "size": -1}});
        assert!(matches!(parse(&negative, None), Err(ManifestError::Parse(_))));
    }
}
