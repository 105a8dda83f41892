//! The extension `_kwick/images`: every image under any registry's name, which the specification has no list for.

use base_rt::Timestamp;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::error::{Code, Failure};
use super::{Access, Call, RegistryBody, blocking, empty, json};
use crate::digest::Digest;
use crate::reference::Reference;
use crate::store::{Origin, Record, Store};

/// One image of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageEntry {
    /// Its canonical reference.
    pub reference: Reference,
    /// The manifest's or index's digest.
    pub digest: Digest,
    /// How it came here.
    pub origin: Origin,
    /// When the reference came to mean this.
    pub created: Timestamp,
    /// The layers' bytes as stored; unknown when it is for other machines only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// `linux/amd64`; unknown when it is for other machines only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// `GET`.
pub(super) async fn list(call: &Call<'_>) -> Result<Response<RegistryBody>, Failure> {
    let store = call.store().clone();
    let entries = blocking(move || store.records().into_iter().map(|record| entry(&store, record)).collect::<Vec<_>>());
    let document = serde_json::to_vec(&entries.await?);
    let document = document.map_err(|error| Failure::new(Code::Unknown, error.to_string()))?;
    Ok(json(StatusCode::OK, document))
}

/// `DELETE ?reference=`: removes an image as a person means it (see [`Store::remove_image`]).
pub(super) async fn remove(call: &Call<'_>) -> Result<Response<RegistryBody>, Failure> {
    call.require(Access::Full)?;
    let text = call.query.get("reference").unwrap_or_default();
    let reference: Reference = text
        .parse()
        .map_err(|error: crate::ReferenceError| Failure::new(Code::NameInvalid, base_rt::error_chain(&error)))?;
    let store = call.store().clone();
    let removed = blocking(move || store.remove_image(&reference)).await?;
    match removed.map_err(|error| Failure::new(Code::Unknown, base_rt::error_chain(&error)))? {
        true => Ok(empty(StatusCode::ACCEPTED)),
        false => Err(Failure::new(Code::ManifestUnknown, format!("there is no image {text}"))),
    }
}

fn entry(store: &Store, record: Record) -> ImageEntry {
    let image = store.image(record.digest).ok();
    ImageEntry {
        reference: record.reference,
        digest: record.digest,
        origin: record.origin,
        created: record.created,
        size_bytes: image.as_ref().map(crate::Image::size),
        platform: image.map(|image| image.config.platform.to_string()),
    }
}
