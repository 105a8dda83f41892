//! Failures as the specification words them: a status, a code, and a text for people.

use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::json;

use super::{RegistryBody, empty, json as json_response};
use crate::digest::DigestError;
use crate::store::BlobError;

/// The specification's codes, and their usual status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    RangeInvalid,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Denied,
    Unsupported,
    TooManyRequests,
    NoSpace,
    Unknown,
}

/// A request that cannot be answered.
#[derive(Debug)]
pub(super) struct Failure {
    code: Code,
    message: String,
}

impl Code {
    fn parts(self) -> (&'static str, StatusCode) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND),
            Self::RangeInvalid => ("BLOB_UPLOAD_INVALID", StatusCode::RANGE_NOT_SATISFIABLE),
            Self::DigestInvalid => ("DIGEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", StatusCode::BAD_REQUEST),
            Self::ManifestInvalid => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND),
            Self::NameInvalid => ("NAME_INVALID", StatusCode::BAD_REQUEST),
            Self::NameUnknown => ("NAME_UNKNOWN", StatusCode::NOT_FOUND),
            Self::SizeInvalid => ("SIZE_INVALID", StatusCode::PAYLOAD_TOO_LARGE),
            Self::Denied => ("DENIED", StatusCode::FORBIDDEN),
            Self::Unsupported => ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED),
            Self::TooManyRequests => ("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS),
            Self::NoSpace => ("UNKNOWN", StatusCode::INSUFFICIENT_STORAGE),
            Self::Unknown => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn into_response(self, request: &Parts) -> Response<RegistryBody> {
        let (code, status) = self.code.parts();
        if status.is_server_error() {
            tracing::warn!(method = %request.method, path = request.uri.path(), message = self.message, "registry request failed");
        }
        if request.method == Method::HEAD {
            return empty(status);
        }
        let document = json!({"errors": [{"code": code, "message": self.message, "detail": null}]});
        json_response(status, document.to_string().into_bytes())
    }
}

impl From<DigestError> for Failure {
    fn from(error: DigestError) -> Self {
        Self::new(Code::DigestInvalid, error.to_string())
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        let code = match &error {
            BlobError::Missing { .. } => Code::BlobUnknown,
            BlobError::TooLarge { .. } => Code::SizeInvalid,
            BlobError::DigestMismatch { .. } => Code::DigestInvalid,
            BlobError::Write(source) if source.kind() == std::io::ErrorKind::StorageFull => Code::NoSpace,
            BlobError::Write(_) | BlobError::Read { .. } | BlobError::Damaged { .. } => Code::Unknown,
        };
        Self::new(code, base_rt::error_chain(&error))
    }
}
