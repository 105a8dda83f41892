//! Lists: repositories, tags, referrers. Pages follow each other by `Link`.

use std::collections::BTreeSet;

use http::header::{HeaderName, LINK};
use http::{Response, StatusCode};
use serde_json::json;

use super::error::{Code, Failure};
use super::{Call, RegistryBody, blocking, bytes, json, set};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Document, MAX_MANIFEST_BYTES};
use crate::media_type::OCI_INDEX;
use crate::store::{Record, Store};

/// The longest page, and the page of a client that does not say.
const MAX_PAGE: usize = 1000;

/// The most manifests that are looked at for their subject.
const MAX_REFERRERS: usize = 1000;

/// Says that the list of referrers was filtered.
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// `GET /v2/_catalog`.
pub(super) fn catalog(call: &Call<'_>) -> Result<Response<RegistryBody>, Failure> {
    let namespace = call.namespace();
    let records = call.store().records().into_iter().filter(|record| record.reference.registry() == namespace);
    let names: BTreeSet<_> = records.map(|record| record.reference.repository().to_owned()).collect();
    Ok(page(call, "/v2/_catalog", names, |names| json!({"repositories": names})))
}

/// `GET /v2/NAME/tags/list`.
pub(super) fn tags(call: &Call<'_>, name: &str) -> Result<Response<RegistryBody>, Failure> {
    let records = call.store().repository(&call.namespace(), name);
    if records.is_empty() {
        return Err(Failure::new(Code::NameUnknown, format!("repository {name} is not in this registry")));
    }
    let tags: BTreeSet<_> = records.iter().filter_map(|record| record.reference.tag().map(str::to_owned)).collect();
    Ok(page(call, &format!("/v2/{name}/tags/list"), tags, |tags| json!({"name": name, "tags": tags})))
}

/// `GET /v2/NAME/referrers/DIGEST`.
pub(super) async fn referrers(call: &Call<'_>, name: &str, digest: Digest) -> Result<Response<RegistryBody>, Failure> {
    let records = call.store().repository(&call.namespace(), name);
    let filter = call.query.get("artifactType");
    let is_filtered = filter.is_some();
    let store = call.store().clone();
    let manifests = blocking(move || {
        let by_digest = records.iter().filter(|record| record.reference.digest().is_some()).take(MAX_REFERRERS);
        let descriptors = by_digest.filter_map(|record| referrer(&store, record, digest));
        let wanted = |descriptor: &Descriptor| filter.is_none() || descriptor.artifact_type == filter;
        descriptors.filter(wanted).collect::<Vec<_>>()
    });
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests.await?});
    let mut response = bytes(StatusCode::OK, OCI_INDEX, index.to_string().into_bytes());
    if is_filtered {
        set(&mut response, FILTERS_APPLIED, "artifactType");
    }
    Ok(response)
}

/// The record's manifest as a descriptor, if it is about `subject`.
fn referrer(store: &Store, record: &Record, subject: Digest) -> Option<Descriptor> {
    let document = store.read_blob(record.digest, MAX_MANIFEST_BYTES).ok()?;
    let size = document.len() as u64;
    let document = Document::parse(&document, None).ok()?;
    if document.subject()?.digest != subject {
        return None;
    }
    let mut descriptor = Descriptor::new(document.media_type(), record.digest, size);
    match document {
        Document::Manifest(manifest) => {
            descriptor.artifact_type = Some(manifest.artifact_type.unwrap_or(manifest.config.media_type));
            descriptor.annotations = manifest.annotations;
        }
        Document::Index(index) => {
            descriptor.artifact_type = index.artifact_type;
            descriptor.annotations = index.annotations;
        }
    }
    Some(descriptor)
}

/// The part of `all` that `?n=` and `?last=` ask for, with a link to the next.
fn page(
    call: &Call<'_>,
    path: &str,
    all: BTreeSet<String>,
    document: impl FnOnce(&[String]) -> serde_json::Value,
) -> Response<RegistryBody> {
    let count = call.query.get("n").and_then(|n| n.parse().ok()).unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let last = call.query.get("last").unwrap_or_default();
    let mut names: Vec<_> = all.into_iter().filter(|name| *name > last).collect();
    let has_more = names.len() > count;
    names.truncate(count);
    let mut response = json(StatusCode::OK, document(&names).to_string().into_bytes());
    if let Some(last) = names.last().filter(|_| has_more) {
        let namespace = call.namespace_query().replace('?', "&");
        set(&mut response, LINK, &format!("<{path}?n={count}&last={last}{namespace}>; rel=\"next\""));
    }
    response
}
