//! Uploading blobs: at once, in chunks, or not at all because the blob is there.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use http::{Response, StatusCode};
use http_body_util::BodyExt;

use super::error::{Code, Failure};
use super::sessions::Taken;
use super::{Access, Body, CONTENT_DIGEST, Call, RegistryBody, blocking, empty, set};
use crate::digest::Digest;
use crate::store::{BlobError, BlobSink, BlobWriter, commit};

/// The largest blob.
const MAX_BLOB_BYTES: u64 = 32 << 30;

/// How long a client may send nothing within a request.
const MAX_CHUNK_DELAY: Duration = Duration::from_secs(60);

/// The upload's id, for old clients.
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST`: mounts what is there, takes everything at once, or starts an upload.
pub(super) async fn start(call: &Call<'_>, name: &str, body: impl Body) -> Result<Response<RegistryBody>, Failure> {
    call.require_write()?;
    if let Some(digest) = call.query.digest("mount")?
        && call.store().touch(digest).is_some()
    {
        return Ok(created(name, digest));
    }
    let digest = call.query.digest("digest")?;
    let writer = call.store().blob_writer(MAX_BLOB_BYTES)?;
    call.registry.expire_uploads();
    let id = call.registry.0.sessions.start(writer).inspect_err(|_| {
        call.registry.0.metrics.uploads_refused.inc();
    })?;
    match digest {
        None => Ok(progress(call, StatusCode::ACCEPTED, name, &id, 0)),
        Some(digest) => complete(name, call.registry.0.sessions.take(&id)?, digest, body).await,
    }
}

/// `PATCH`: adds a chunk.
pub(super) async fn append(
    call: &Call<'_>,
    name: &str,
    id: &str,
    body: impl Body,
) -> Result<Response<RegistryBody>, Failure> {
    call.require_write()?;
    let mut taken = call.registry.0.sessions.take(id)?;
    if let Err(failure) = check_range(call, taken.length()) {
        return_unchanged(taken);
        return Err(failure);
    }
    let (writer, outcome) = receive(taken.writer()?, body).await;
    let length = writer.as_ref().map_or(0, BlobWriter::length);
    if let Some(writer) = writer {
        // What came is kept, also when the line broke: the client may ask how far it came and go on.
        taken.put_back(writer);
    }
    outcome?;
    Ok(progress(call, StatusCode::ACCEPTED, name, id, length))
}

/// `PUT`: adds the last chunk, if any, and makes it a blob.
pub(super) async fn finish(
    call: &Call<'_>,
    name: &str,
    id: &str,
    body: impl Body,
) -> Result<Response<RegistryBody>, Failure> {
    call.require_write()?;
    let digest = call.query.digest("digest")?;
    let digest = digest.ok_or_else(|| Failure::new(Code::DigestInvalid, "the upload's end must name its ?digest="))?;
    let taken = call.registry.0.sessions.take(id)?;
    if let Err(failure) = check_range(call, taken.length()) {
        return_unchanged(taken);
        return Err(failure);
    }
    complete(name, taken, digest, body).await
}

/// Adds the last chunk and makes the upload a blob.
async fn complete(
    name: &str,
    mut taken: Taken<'_>,
    digest: Digest,
    body: impl Body,
) -> Result<Response<RegistryBody>, Failure> {
    let (writer, outcome) = receive(taken.writer()?, body).await;
    outcome?;
    let writer = writer.ok_or_else(|| Failure::new(Code::Unknown, "the upload's writer was lost"))?;
    Ok(created(name, commit(writer, Some(digest)).await?))
}

/// `GET`: how far an upload has come.
pub(super) fn status(call: &Call<'_>, name: &str, id: &str) -> Result<Response<RegistryBody>, Failure> {
    call.require(Access::Push)?;
    let length = call.registry.0.sessions.length(id)?;
    Ok(progress(call, StatusCode::NO_CONTENT, name, id, length))
}

/// `DELETE`: gives an upload up.
pub(super) fn cancel(call: &Call<'_>, id: &str) -> Result<Response<RegistryBody>, Failure> {
    call.require(Access::Push)?;
    call.registry.0.sessions.cancel(id)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Reads a whole body of at most `limit` bytes.
pub(super) async fn read(mut body: impl Body, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(&mut body).await? {
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Err(Failure::new(Code::SizeInvalid, format!("the body is larger than {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Writes a body to a blob; gives the writer back whatever happened, if it can.
async fn receive(writer: BlobWriter, mut body: impl Body) -> (Option<BlobWriter>, Result<(), Failure>) {
    if body.is_end_stream() {
        return (Some(writer), Ok(()));
    }
    let sink = BlobSink::new(writer);
    let received = pour(&mut body, &sink).await;
    let (writer, written) = sink.finish().await;
    (writer, written.map_err(Failure::from).and(received))
}

async fn pour(body: &mut impl Body, sink: &BlobSink) -> Result<(), Failure> {
    while let Some(chunk) = next_chunk(body).await? {
        if !sink.write(chunk).await {
            // The sink says why when it is finished.
            break;
        }
    }
    Ok(())
}

async fn next_chunk(body: &mut impl Body) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = tokio::time::timeout(MAX_CHUNK_DELAY, body.frame()).await;
        let invalid = |message: String| Failure::new(Code::BlobUploadInvalid, message);
        let frame = frame.map_err(|_| invalid(format!("nothing came for {} s", MAX_CHUNK_DELAY.as_secs())))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(invalid(format!("the request broke off: {error}"))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn return_unchanged(mut taken: Taken<'_>) {
    if let Ok(writer) = taken.writer() {
        taken.put_back(writer);
    }
}

/// A chunk that says where it belongs must come in order.
fn check_range(call: &Call<'_>, length: u64) -> Result<(), Failure> {
    let Some(range) = call.header(&CONTENT_RANGE) else {
        return Ok(());
    };
    let range = range.strip_prefix("bytes ").unwrap_or(range);
    let start = range.split(['-', '/']).next().and_then(|start| start.parse::<u64>().ok());
    if start == Some(length) {
        return Ok(());
    }
    Err(Failure::new(
        Code::RangeInvalid,
        format!("the chunk {range:?} does not follow the {length} bytes that came before"),
    ))
}

fn created(name: &str, digest: Digest) -> Response<RegistryBody> {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    response
}

fn progress(call: &Call<'_>, status: StatusCode, name: &str, id: &str, length: u64) -> Response<RegistryBody> {
    let mut response = empty(status);
    set(&mut response, LOCATION, &format!("/v2/{name}/blobs/uploads/{id}{}", call.namespace_query()));
    set(&mut response, UPLOAD_UUID, id);
    // An empty upload is "0-0" by custom, as there is no way to write an empty range.
    set(&mut response, RANGE, &format!("0-{}", length.saturating_sub(1)));
    response
}

/// Stores a small document as a blob.
pub(super) async fn put(call: &Call<'_>, document: Vec<u8>) -> Result<Digest, Failure> {
    let store = call.store().clone();
    let stored: Result<Digest, BlobError> = blocking(move || store.put_blob(&document)).await?;
    Ok(stored?)
}
