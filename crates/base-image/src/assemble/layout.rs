//! An assembled image as an OCI layout: what can be read as an archive and sent to a registry.
//!
//! A store keeps blobs where a layout has them, so the layout is a store's directory with the two documents that a layout has besides.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{AssembleError, ImageSpec, assemble};
use crate::digest::Digest;
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::own_names::OwnNames;
use crate::store::{BlobError, Store};

/// Makes the image as the only one of a new OCI layout in `dir`, without a name; gives the manifest's digest. Blocks on the disk.
///
/// # Errors
/// [`AssembleError`].
pub fn assemble_layout(dir: &Path, spec: &ImageSpec) -> Result<Digest, AssembleError> {
    let store = Store::open(dir, OwnNames::default()).map_err(AssembleError::Open)?;
    let digest = assemble(&store, spec)?;
    let size = store.blob_size(digest).ok_or(AssembleError::Blob(BlobError::Missing { digest }))?;
    let manifests = json!([{"mediaType": OCI_MANIFEST, "digest": digest, "size": size}]);
    let documents = [
        ("index.json", json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})),
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
    ];
    for (name, document) in documents {
        let path = dir.join(name);
        fs::write(&path, document.to_string()).map_err(|source| AssembleError::Write { path, source })?;
    }
    Ok(digest)
}
