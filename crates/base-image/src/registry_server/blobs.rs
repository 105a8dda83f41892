//! Serving blobs, whole or in part.

use std::io::SeekFrom;
use std::ops::RangeInclusive;

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::error::{Code, Failure};
use super::{Access, BodyError, CONTENT_DIGEST, Call, RegistryBody, blocking, empty, set};
use crate::digest::Digest;

/// How much of a blob is in memory for each reader.
const READ_BYTES: usize = 128 << 10;

/// `GET` and `HEAD`.
pub(super) async fn get(call: &Call<'_>, digest: Digest) -> Result<Response<RegistryBody>, Failure> {
    let unknown = || Failure::new(Code::BlobUnknown, format!("blob {digest} is not in this registry"));
    // Whoever is told that it is there may not upload it again.
    let size = call.store().touch(digest).ok_or_else(unknown)?;
    let range = call.header(&RANGE).and_then(|range| parse_range(range, size));
    let (status, range) = match range {
        None => (StatusCode::OK, 0..=size.saturating_sub(1)),
        Some(Ok(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Err(())) => return Ok(unsatisfiable(size)),
    };
    let length = if size == 0 { 0 } else { range.end() - range.start() + 1 };
    let mut response = empty(status);
    if call.parts.method != Method::HEAD {
        *response.body_mut() = body(call, digest, *range.start(), length).await?;
    }
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, CONTENT_RANGE, &format!("bytes {}-{}/{size}", range.start(), range.end()));
    }
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    set(&mut response, CONTENT_TYPE, "application/octet-stream");
    set(&mut response, ACCEPT_RANGES, "bytes");
    set(&mut response, CONTENT_DIGEST, &digest.to_string());
    set(&mut response, ETAG, &format!("\"{digest}\""));
    Ok(response)
}

/// `DELETE`: only what nothing needs.
pub(super) async fn delete(call: &Call<'_>, digest: Digest) -> Result<Response<RegistryBody>, Failure> {
    call.require(Access::Full)?;
    let store = call.store().clone();
    let removed = blocking(move || store.remove_unused_blob(digest)).await?;
    match removed.map_err(|error| Failure::new(Code::Unknown, base_rt::error_chain(&error)))? {
        Some(true) => Ok(empty(StatusCode::ACCEPTED)),
        Some(false) => Err(Failure::new(Code::Unsupported, "an image needs this blob: delete the image instead")),
        None => Err(Failure::new(Code::BlobUnknown, format!("blob {digest} is not in this registry"))),
    }
}

async fn body(call: &Call<'_>, digest: Digest, start: u64, length: u64) -> Result<RegistryBody, Failure> {
    let file = call.store().open_blob(digest)?;
    let mut file = tokio::fs::File::from_std(file);
    let moved = file.seek(SeekFrom::Start(start)).await;
    moved.map_err(|error| Failure::new(Code::Unknown, format!("read blob {digest}: {error}")))?;
    let stream = ReaderStream::with_capacity(file.take(length), READ_BYTES);
    let frames = futures::StreamExt::map(stream, |chunk| chunk.map(http_body::Frame::data).map_err(BodyError::from));
    Ok(StreamBody::new(frames).boxed_unsync())
}

fn unsatisfiable(size: u64) -> Response<RegistryBody> {
    let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
    set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

/// One range of bytes: `bytes=a-b`, `bytes=a-`, `bytes=-n`. `None` means the whole blob, as for what is not understood.
fn parse_range(header: &str, size: u64) -> Option<Result<RangeInclusive<u64>, ()>> {
    let (start, end) = header.strip_prefix("bytes=")?.split_once('-')?;
    let last = size.checked_sub(1);
    let (start, end) = match (start.parse::<u64>(), end.parse::<u64>()) {
        (Ok(start), Ok(end)) if start <= end => (start, end),
        (Ok(start), _) if end.is_empty() => (start, u64::MAX),
        (_, Ok(count)) if start.is_empty() && count > 0 => (size.saturating_sub(count), u64::MAX),
        _ => return None,
    };
    Some(last.filter(|last| start <= *last).map(|last| start..=end.min(last)).ok_or(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let table = [
            ("bytes=0-4", 10, Some(Ok(0..=4))),
            ("bytes=5-", 10, Some(Ok(5..=9))),
            ("bytes=5-99", 10, Some(Ok(5..=9))),
            ("bytes=-3", 10, Some(Ok(7..=9))),
            ("bytes=-99", 10, Some(Ok(0..=9))),
            ("bytes=10-", 10, Some(Err(()))),
            ("bytes=0-", 0, Some(Err(()))),
            ("bytes=4-3", 10, None),
            ("bytes=a-b", 10, None),
            ("bytes=0-1,3-4", 10, None),
            ("items=0-1", 10, None),
        ];
        for (header, size, expected) in table {
            assert_eq!(parse_range(header, size), expected, "{header} of {size}");
        }
    }
}
