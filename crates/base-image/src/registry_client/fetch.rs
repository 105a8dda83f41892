//! Reading from a registry: manifests into memory, blobs into the store, everything verified.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, Method, Response};
use hyper::body::Incoming;

use super::error::FetchError;
use super::session::Session;
use super::transport::{next_chunk, read_body};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Document, MAX_MANIFEST_BYTES};
use crate::media_type::MANIFESTS;
use crate::reference::Selector;
use crate::store::{BlobError, BlobSink, Store};

/// The digest of a manifest, as the registry says.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest or an index as it came, verified.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
    pub(crate) document: Document,
}

impl Session<'_> {
    /// Reads the manifest or index that `selector` means.
    pub(crate) async fn fetch_manifest(&self, selector: &Selector) -> Result<Fetched, FetchError> {
        let response = self.read(Method::GET, &self.manifest_path(selector), &MANIFESTS).await?;
        let said = self.said_digest(&response)?;
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = read_body(&self.key.host, response.into_body(), MAX_MANIFEST_BYTES).await?;
        let bytes = bytes.ok_or_else(|| self.too_large("the manifest", MAX_MANIFEST_BYTES))?;
        let actual = Digest::of(&bytes);
        let expected = match selector {
            Selector::Digest(digest) => Some(*digest),
            Selector::Tag(_) => said,
        };
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(FetchError::WrongContent { image: self.image.clone(), expected, actual });
        }
        let media_type = media_type.as_deref().and_then(|text| text.split(';').next()).map(str::trim);
        // Some registries serve manifests as plain JSON; the document itself says what it is.
        let media_type = media_type.filter(|text| MANIFESTS.contains(text));
        let document = Document::parse(&bytes, media_type);
        let document = document.map_err(|source| FetchError::Manifest { image: self.image.clone(), source })?;
        Ok(Fetched { digest: actual, bytes, document })
    }

    /// The digest that `selector` means at this moment.
    pub(crate) async fn resolve(&self, selector: &Selector) -> Result<Digest, FetchError> {
        let response = self.read(Method::HEAD, &self.manifest_path(selector), &MANIFESTS).await?;
        match self.said_digest(&response)? {
            Some(digest) => Ok(digest),
            // A registry need not say it; then it has to be computed.
            None => Ok(self.fetch_manifest(selector).await?.digest),
        }
    }

    /// Reads a small blob of exactly its announced size.
    pub(crate) async fn fetch_small(&self, blob: &Descriptor, what: &str, limit: u64) -> Result<Bytes, FetchError> {
        if blob.size > limit {
            return Err(self.too_large(what, limit));
        }
        let response = self.read(Method::GET, &self.blob_path(blob.digest), &[]).await?;
        let bytes = read_body(&self.key.host, response.into_body(), blob.size).await?;
        let bytes = bytes.ok_or_else(|| self.too_large(what, blob.size))?;
        let actual = Digest::of(&bytes);
        if actual != blob.digest {
            return Err(FetchError::WrongContent { image: self.image.clone(), expected: blob.digest, actual });
        }
        Ok(bytes)
    }

    /// Streams a blob into `store`, verified.
    pub(crate) async fn fetch_blob(&self, blob: &Descriptor, store: &Store) -> Result<(), FetchError> {
        let response = self.read(Method::GET, &self.blob_path(blob.digest), &[]).await?;
        let announced =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > blob.size) {
            return Err(self.too_large("a layer", blob.size));
        }
        let writer = store.blob_writer(blob.size).map_err(|source| self.not_stored(source))?;
        let sink = BlobSink::new(writer);
        let mut body = response.into_body();
        while let Some(chunk) = next_chunk(&self.key.host, &mut body).await? {
            if !sink.write(chunk).await {
                break;
            }
        }
        sink.commit(Some(blob.digest)).await.map(drop).map_err(|source| self.not_stored(source))
    }

    fn not_stored(&self, source: BlobError) -> FetchError {
        let image = self.image.clone();
        match source {
            BlobError::TooLarge { limit } => self.too_large("a layer", limit),
            BlobError::DigestMismatch { expected, actual } => FetchError::WrongContent { image, expected, actual },
            source => FetchError::Store { image, source },
        }
    }

    fn too_large(&self, what: &str, limit: u64) -> FetchError {
        FetchError::TooLarge { image: self.image.clone(), what: what.to_owned(), limit }
    }

    fn said_digest(&self, response: &Response<Incoming>) -> Result<Option<Digest>, FetchError> {
        let Some(text) = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()) else {
            return Ok(None);
        };
        let digest = text.parse().map_err(|source| FetchError::Digest { image: self.image.clone(), source });
        digest.map(Some)
    }

    fn manifest_path(&self, selector: &Selector) -> String {
        let selected = match selector {
            Selector::Tag(tag) => tag.clone(),
            Selector::Digest(digest) => digest.to_string(),
        };
        format!("/v2/{}/manifests/{selected}", self.repository)
    }

    fn blob_path(&self, digest: Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.repository)
    }
}
