//! Sending an archive's images to a registry of ours, under any registry's name, and looking after what it has.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::mpsc;

use super::RegistryClient;
use super::error::FetchError;
use super::session::{Session, content};
use super::transport::{RequestBody, empty, read_body};
use crate::import::{Archive, ArchiveImage, Progress};
use crate::manifest::Descriptor;
use crate::reference::Reference;
use crate::registry_server::ImageEntry;

/// How much of a blob is read at once.
const CHUNK_BYTES: usize = 128 << 10;

/// Chunks that wait for the network.
const WAITING_CHUNKS: usize = 4;

/// The largest list of images.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Is told how far a push has come, from any thread.
pub type ProgressReceiver = Arc<dyn Fn(Progress) + Send + Sync>;

/// Counts what has been sent.
#[derive(Clone)]
struct Meter {
    done: Arc<AtomicU64>,
    total: u64,
    receiver: ProgressReceiver,
}

impl Meter {
    fn add(&self, bytes: u64) {
        let done_bytes = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.receiver)(Progress { done_bytes: done_bytes.min(self.total), total_bytes: self.total });
    }
}

impl RegistryClient {
    /// Sends `image` of `archive` to the registry of ours at `host`, which then has it under all its names. What it has already is not
    /// sent again, so a push that broke can be repeated.
    ///
    /// # Errors
    /// [`FetchError`]. Each name is set last, so none leads to a part of an image.
    pub async fn push_archive(
        &self,
        host: &str,
        archive: &Arc<Archive>,
        image: &ArchiveImage,
        receiver: &ProgressReceiver,
    ) -> Result<(), FetchError> {
        let mut is_first = true;
        for name in &image.names {
            let session = self.own_session(host, name);
            let namespace = format!("ns={}", utf8_percent_encode(name.registry(), NON_ALPHANUMERIC));
            let meter = is_first.then(|| Meter {
                done: Arc::default(),
                total: image.total_bytes(),
                receiver: Arc::clone(receiver),
            });
            is_first = false;
            for blob in &image.blobs {
                session.push_blob(archive, blob, &namespace, meter.as_ref()).await?;
            }
            session.push_manifest(name, image, &namespace).await?;
        }
        Ok(())
    }

    /// Every image of the registry of ours at `host`, under any name.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn list_images(&self, host: &str) -> Result<Vec<ImageEntry>, FetchError> {
        // The list is of no repository; the name is only for messages.
        let any = Reference::from_parts(host, "images", crate::reference::Selector::Tag("latest".into()));
        let session = self.own_session(host, &any.map_err(|_| super::transport::invalid_address(host))?);
        let response = session.read(Method::GET, "/v2/_kwick/images", &[]).await?;
        let body = read_body(host, response.into_body(), MAX_LIST_BYTES).await?;
        let entries = body.and_then(|body| serde_json::from_slice(&body).ok());
        entries.ok_or_else(|| session.protocol("no list of images: is it a registry of another kind?"))
    }

    /// Removes an image from the registry of ours at `host`, as [`Store::remove_image`](crate::Store::remove_image) does.
    ///
    /// # Errors
    /// [`FetchError::NotFound`] if it has none of that name.
    pub async fn remove_image(&self, host: &str, reference: &Reference) -> Result<(), FetchError> {
        let session = self.own_session(host, reference);
        let name = reference.to_string();
        let path = format!("/v2/_kwick/images?reference={}", utf8_percent_encode(&name, NON_ALPHANUMERIC));
        session.write(Method::DELETE, &path, &[], empty()).await.map(drop)
    }
}

impl Session<'_> {
    async fn push_blob(
        &self,
        archive: &Arc<Archive>,
        blob: &Descriptor,
        namespace: &str,
        meter: Option<&Meter>,
    ) -> Result<(), FetchError> {
        let path = format!("/v2/{}/blobs/{}?{namespace}", self.repository, blob.digest);
        match self.read(Method::HEAD, &path, &[]).await {
            Ok(_) => {
                if let Some(meter) = meter {
                    meter.add(blob.size);
                }
                return Ok(());
            }
            Err(FetchError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let start = format!("/v2/{}/blobs/uploads/?{namespace}", self.repository);
        let started = self.write(Method::POST, &start, &content("application/octet-stream", 0), empty()).await?;
        if started.status() != StatusCode::ACCEPTED {
            return Err(self.protocol("no upload to continue"));
        }
        let upload = self.location(&started)?;
        let separator = if upload.query().is_some() { '&' } else { '?' };
        let end =
            format!("{upload}{separator}digest={}", utf8_percent_encode(&blob.digest.to_string(), NON_ALPHANUMERIC));
        let reader = archive.open_blob(blob.digest);
        let what = blob.digest.to_string();
        let reader = reader.map_err(|source| FetchError::Source { what, source: Box::new(source) })?;
        let headers = content("application/octet-stream", blob.size);
        self.write(Method::PUT, &end, &headers, stream(reader, meter.cloned())).await.map(drop)
    }

    async fn push_manifest(&self, name: &Reference, image: &ArchiveImage, namespace: &str) -> Result<(), FetchError> {
        let selected = match name.selector() {
            crate::reference::Selector::Tag(tag) => tag.clone(),
            crate::reference::Selector::Digest(digest) => digest.to_string(),
        };
        let path = format!("/v2/{}/manifests/{selected}?{namespace}", self.repository);
        let body = Full::from(image.document.clone()).map_err(|never| match never {}).boxed_unsync();
        let headers = [(CONTENT_TYPE, image.manifest.media_type.clone())];
        self.write(Method::PUT, &path, &headers, body).await.map(drop)
    }
}

/// A body that is read from `reader` on a thread for that, as fast as the network takes it.
fn stream(mut reader: Box<dyn Read + Send>, meter: Option<Meter>) -> RequestBody {
    let (chunks, mut received) = mpsc::channel(WAITING_CHUNKS);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = reader.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
            let is_last = read.is_err();
            if matches!(read, Ok(0)) {
                return;
            }
            // Nobody takes it any more when the request has ended.
            if chunks.blocking_send(read.map(|_| Bytes::from(chunk))).is_err() || is_last {
                return;
            }
        }
    });
    let frames = futures::stream::poll_fn(move |cx| received.poll_recv(cx)).map(move |chunk| {
        let chunk = chunk?;
        if let Some(meter) = &meter {
            meter.add(chunk.len() as u64);
        }
        Ok(Frame::data(chunk))
    });
    StreamBody::new(frames).boxed_unsync()
}
