//! Answers: a value or bytes, in the form that the client takes.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, VARY, WARNING,
};
use http::{Response, StatusCode};
use serde_json::Value;

use super::body::Body;
use crate::negotiate::accept::Syntax;
use crate::negotiate::yaml;
use crate::status::{Result, StatusError};

/// Larger answers are compressed for clients that take it.
const GZIP_FROM_BYTES: usize = 128 << 10;
/// All warnings of an answer together, as Kubernetes bounds them.
const MAX_WARNING_BYTES: usize = 4096;

/// An answer of `code` with a body of one type.
pub(crate) fn response(code: u16, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A value as an answer.
pub(crate) fn value(code: u16, value: &Value, syntax: Syntax) -> Result<Response<Body>> {
    Ok(response(code, syntax.content_type(), encode(value, syntax)?))
}

/// A value as text.
pub(crate) fn encode(value: &Value, syntax: Syntax) -> Result<Vec<u8>> {
    match syntax {
        Syntax::Json => {
            let mut text = serde_json::to_vec(value).map_err(|error| StatusError::internal(&error.to_string()))?;
            text.push(b'\n');
            Ok(text)
        }
        Syntax::Yaml => Ok(yaml::to_text(value).into_bytes()),
    }
}

/// A refusal as an answer.
pub(crate) fn error(error: &StatusError, syntax: Syntax) -> Response<Body> {
    let body = encode(&error.to_value(), syntax).unwrap_or_default();
    let mut response = response(error.code, syntax.content_type(), body);
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == 403 {
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    }
    warn(&mut response, &error.warnings);
    response
}

/// What Go's server says where there is nothing.
pub(crate) fn page_not_found() -> Response<Body> {
    let mut response = response(404, "text/plain; charset=utf-8", "404 page not found\n");
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Adds `Warning` headers.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    let mut bytes = 0;
    let mut seen: Vec<&str> = Vec::new();
    for warning in warnings {
        bytes += warning.len();
        if bytes > MAX_WARNING_BYTES || seen.contains(&warning.as_str()) {
            continue;
        }
        seen.push(warning);
        let quoted: String = warning
            .chars()
            .flat_map(|c| match c {
                '"' | '\\' => vec!['\\', c],
                c if c.is_control() => vec![' '],
                c => vec![c],
            })
            .collect();
        if let Ok(value) = HeaderValue::try_from(format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Whether a client takes compressed answers.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    encodings.flat_map(|value| value.split(',')).any(|encoding| {
        let mut parts = encoding.split(';').map(str::trim);
        parts.next() == Some("gzip") && parts.all(|part| part != "q=0")
    })
}

/// Bytes as an answer, compressed if they are many.
pub(crate) fn bytes(code: u16, content_type: &'static str, body: Vec<u8>, takes_gzip: bool) -> Response<Body> {
    if !takes_gzip || body.len() < GZIP_FROM_BYTES {
        return response(code, content_type, body);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&body).and_then(|()| encoder.finish());
    match packed {
        Ok(packed) => {
            let mut response = response(code, content_type, Bytes::from(packed));
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
            response
        }
        // Writing into memory does not fail; if it did, the plain bytes serve as well.
        Err(_) => response(code, content_type, body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_bounded_and_said_once() {
        let mut response = response(200, "application/json", "");
        let long = "x".repeat(MAX_WARNING_BYTES);
        warn(&mut response, &["unknown field \"a\"".into(), "unknown field \"a\"".into(), long, "b".into()]);
        let warnings: Vec<_> = response.headers().get_all(WARNING).iter().collect();
        assert_eq!(warnings, ["299 - \"unknown field \\\"a\\\"\""]);
    }

    #[test]
    fn large_answers_are_compressed_for_who_takes_it() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("deflate, gzip;q=1.0"));
        assert!(takes_gzip(&headers) && !takes_gzip(&HeaderMap::new()));
        let large = bytes(200, "application/json", vec![b'a'; GZIP_FROM_BYTES], true);
        assert_eq!(large.headers()[CONTENT_ENCODING], "gzip");
        let small = bytes(200, "application/json", vec![b'a'; 10], true);
        assert!(small.headers().get(CONTENT_ENCODING).is_none());
    }
}
