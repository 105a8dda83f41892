//! Serving and taking manifests and indexes.

use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{Response, StatusCode};

use super::error::{Code, Failure};
use super::uploads::{self, put as put_blob};
use super::{Access, Body, CONTENT_DIGEST, Call, OCI_SUBJECT, RegistryBody, blocking, bytes, empty, set};
use crate::digest::Digest;
use crate::manifest::{Document, MAX_MANIFEST_BYTES};
use crate::media_type::is_index;
use crate::reference::{Reference, Selector};
use crate::store::{BlobError, Origin, Record, RefError};

/// The most indexes of a repository that are searched for a manifest without a record.
const MAX_INDEXES: usize = 100;

/// `GET` and `HEAD`.
pub(super) async fn get(call: &Call<'_>, name: &str, selector: &Selector) -> Result<Response<RegistryBody>, Failure> {
    let reference = call.reference(name, selector.clone())?;
    let unknown = || Failure::new(Code::ManifestUnknown, format!("{reference} is not in this registry"));
    // Content is what it is, but a copied tag may have moved where it is at home.
    let may_answer = |record: &Record| record.origin == Origin::Local || matches!(selector, Selector::Digest(_));
    let here = |reference: &Reference| call.store().record(reference).filter(may_answer);
    let record = here(&reference).or_else(|| here(&call.default_mirror(name, selector)?));
    let store = call.store().clone();
    let digest = match (record, selector) {
        (Some(record), _) => record.digest,
        (None, Selector::Digest(digest)) if is_part(call, name, *digest).await? => *digest,
        (None, _) => return Err(unknown()),
    };
    let document = match blocking(move || store.read_blob(digest, MAX_MANIFEST_BYTES)).await? {
        Err(BlobError::Missing { .. } | BlobError::TooLarge { .. }) => return Err(unknown()),
        document => document?,
    };
    // Any other blob is no manifest, whoever asks for it as one.
    let media_type = Document::parse(&document, None).map_err(|_| unknown())?.media_type().to_owned();
    let mut response = bytes(StatusCode::OK, &media_type, document);
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    set(&mut response, ETAG, &format!("\"{digest}\""));
    Ok(response)
}

/// `PUT`: stores the document and makes the reference mean it.
pub(super) async fn put(
    call: &Call<'_>,
    name: &str,
    selector: &Selector,
    body: impl Body,
) -> Result<Response<RegistryBody>, Failure> {
    call.require_write()?;
    let reference = call.reference(name, selector.clone())?;
    let bytes = uploads::read(body, MAX_MANIFEST_BYTES).await?;
    let digest = Digest::of(&bytes);
    if let Selector::Digest(expected) = selector
        && *expected != digest
    {
        return Err(Failure::new(Code::DigestInvalid, format!("the manifest has the digest {digest}, not {expected}")));
    }
    let document = Document::parse(&bytes, media_type(call)).map_err(|error| invalid(&error))?;
    put_blob(call, bytes).await?;
    let (store, now) = (call.store().clone(), call.registry.0.clock.now());
    let recorded = blocking(move || store.set_record(&reference, digest, Origin::Local, now)).await?;
    recorded.map_err(|error| refused(&error))?;
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, LOCATION, &format!("/v2/{name}/manifests/{digest}{}", call.namespace_query()));
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    if let Some(subject) = document.subject() {
        set(&mut response, OCI_SUBJECT, &subject.digest.to_string());
    }
    Ok(response)
}

/// `DELETE`: by tag only the tag, by digest the content and every tag that leads to it.
pub(super) async fn delete(
    call: &Call<'_>,
    name: &str,
    selector: &Selector,
) -> Result<Response<RegistryBody>, Failure> {
    call.require(Access::Full)?;
    let reference = call.reference(name, selector.clone())?;
    let message = format!("{reference} is not in this registry");
    let store = call.store().clone();
    let removed = blocking(move || match reference.tag() {
        Some(_) => store.remove_record(&reference),
        None => store.remove_image(&reference),
    });
    if removed.await?.map_err(|error| refused(&error))? {
        Ok(empty(StatusCode::ACCEPTED))
    } else {
        Err(Failure::new(Code::ManifestUnknown, message))
    }
}

/// Whether an index of the repository lists that manifest: then it came with the index, without a record of its own.
async fn is_part(call: &Call<'_>, name: &str, digest: Digest) -> Result<bool, Failure> {
    let (store, records) = (call.store().clone(), call.store().repository(&call.namespace(), name));
    let lists = move |record: &Record| {
        let bytes = store.read_blob(record.digest, MAX_MANIFEST_BYTES).ok();
        let index = bytes.and_then(|bytes| Document::parse(&bytes, None).ok());
        index.is_some_and(|index| index.parts().iter().any(|part| part.digest == digest))
    };
    let indexes = records.into_iter().filter(|record| is_index(&record.media_type)).take(MAX_INDEXES);
    blocking(move || indexes.into_iter().any(|record| lists(&record))).await
}

/// The manifest's type by its header; generic ones say nothing.
fn media_type<'a>(call: &'a Call<'_>) -> Option<&'a str> {
    let text = call.header(&CONTENT_TYPE)?;
    let text = text.split(';').next().unwrap_or_default().trim();
    (!matches!(text, "" | "application/json" | "application/octet-stream")).then_some(text)
}

fn invalid(error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::ManifestInvalid, base_rt::error_chain(error))
}

fn refused(error: &RefError) -> Failure {
    match error {
        RefError::Incomplete { .. } => Failure::new(Code::ManifestBlobUnknown, error.to_string()),
        RefError::Parse { .. } => invalid(error),
        RefError::TooMany => Failure::new(Code::TooManyRequests, error.to_string()),
        RefError::Manifest { .. } | RefError::Write { .. } => Failure::new(Code::Unknown, base_rt::error_chain(error)),
    }
}
