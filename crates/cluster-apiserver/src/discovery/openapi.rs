//! OpenAPI over HTTP: the index of documents, the documents, and the one document of the second version.
//!
//! Documents are made when they are asked for and not kept; what is kept is their hashes, until a CRD changes. A client that names the right
//! hash may keep the document for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base_rt::Timestamp;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, LOCATION, VARY};
use http::{Request, Response};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use super::{KUBERNETES_VERSION, etag, hex, is_known};
use crate::core::Core;
use crate::http::body::Body;
use crate::http::query::Query;
use crate::http::respond;
use crate::http::service::RequestBody;
use crate::negotiate::accept::clauses;
use crate::openapi::{self, v2::Form};
use crate::registry::{CRD_TABLE, Catalogue, Version};
use crate::status::{Result, StatusError};
use crate::store::{Revision, TableName};

const JSON: &str = "application/json";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// A document under its hash is the same for ever; a year stands for that.
const FOR_EVER_DAYS: i64 = 365;

/// A hash for each document, by what follows `/openapi/v3/`.
type ByPath = Arc<BTreeMap<String, String>>;

/// The hashes of documents as of a revision of the CRDs.
#[derive(Default)]
pub(crate) struct Hashes {
    known: Mutex<(Option<Revision>, ByPath)>,
}

impl Hashes {
    fn of(&self, core: &Core, catalogue: &Catalogue) -> Result<ByPath> {
        let before = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.0 == Some(catalogue.revision) {
                return Ok(Arc::clone(&known.1));
            }
            Arc::clone(&known.1)
        };
        let mut hashes = BTreeMap::new();
        for (path, version) in versions(catalogue) {
            // Built-in versions never change.
            let hash = match before.get(&path).filter(|_| version.crds.is_empty()) {
                Some(hash) => hash.clone(),
                None => hex(&Sha512::digest(document(core, version)?)),
            };
            hashes.insert(path, hash);
        }
        let hashes = Arc::new(hashes);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = (Some(catalogue.revision), Arc::clone(&hashes));
        Ok(hashes)
    }
}

/// Answers what follows `/openapi/`.
pub(super) fn answer(core: &Core, request: &Request<RequestBody>, rest: &str, query: &Query) -> Result<Response<Body>> {
    match rest.split_once('/') {
        None if rest == "v2" => v2(core, request),
        None if rest == "v3" => index(core),
        Some(("v3", path)) => v3(core, request, path, query),
        _ => Ok(respond::page_not_found()),
    }
}

fn versions(catalogue: &Catalogue) -> impl Iterator<Item = (String, &Version)> {
    catalogue.groups.iter().flat_map(|group| {
        group.versions.iter().map(|version| match group.name.as_str() {
            "" => (format!("api/{}", version.name), version),
            name => (format!("apis/{name}/{}", version.name), version),
        })
    })
}

fn document(core: &Core, version: &Version) -> Result<Vec<u8>> {
    let document = openapi::document(version, &crds_of(core, version), KUBERNETES_VERSION);
    serde_json::to_vec(&document).map_err(|error| StatusError::internal(&error.to_string()))
}

/// The CRDs behind a version.
fn crds_of(core: &Core, version: &Version) -> Vec<Value> {
    let table = TableName::from(CRD_TABLE);
    let stored = version.crds.iter().filter_map(|key| core.store.get(&table, key));
    stored.filter_map(|crd| serde_json::from_slice(&crd.body).ok()).collect()
}

/// Whether the client takes a type, or says nothing.
fn takes(request: &Request<RequestBody>, media_type: &str) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_none_or(|accept| clauses(accept).iter().any(|clause| clause.is(media_type)))
}

fn takes_json(request: &Request<RequestBody>) -> bool {
    ["*/*", "application/*", JSON].iter().any(|media_type| takes(request, media_type))
}

/// Everything in one document, made for each request: no client that is kept up to date asks for it.
fn v2(core: &Core, request: &Request<RequestBody>) -> Result<Response<Body>> {
    let (form, media_type) = if request.headers().contains_key(ACCEPT) && takes(request, V2_PROTOBUF) {
        (Form::Protobuf, V2_PROTOBUF_ANSWER)
    } else if takes_json(request) {
        (Form::Json, JSON)
    } else {
        return Err(StatusError::not_acceptable());
    };
    let catalogue = core.registry.catalogue();
    let versions: Vec<(&Version, Vec<Value>)> =
        versions(&catalogue).map(|(_, version)| (version, crds_of(core, version))).collect();
    let body = openapi::v2::write(&versions, KUBERNETES_VERSION, form);
    let tag = etag(&body);
    let mut response = match is_known(request, &tag) {
        true => respond::response(304, media_type, Body::empty()),
        false => respond::bytes(200, media_type, body, respond::takes_gzip(request.headers())),
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    set(&mut response, ETAG, tag);
    Ok(response)
}

fn index(core: &Core) -> Result<Response<Body>> {
    let hashes = core.discovery.hashes.of(core, &core.registry.catalogue())?;
    let entry = |(path, hash): (&String, &String)| {
        (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
    };
    let paths: Map<String, Value> = hashes.iter().map(entry).collect();
    // The type that Kubernetes gives it, too.
    Ok(respond::response(200, "text/plain; charset=utf-8", json!({"paths": paths}).to_string().into_bytes()))
}

fn v3(core: &Core, request: &Request<RequestBody>, path: &str, query: &Query) -> Result<Response<Body>> {
    let catalogue = core.registry.catalogue();
    let Some((_, version)) = versions(&catalogue).find(|(known, _)| known == path) else {
        let mut response = respond::response(404, JSON, Body::empty());
        response.headers_mut().remove(http::header::CONTENT_TYPE);
        return Ok(response);
    };
    if !takes_json(request) {
        return Err(StatusError::not_acceptable());
    }
    let body = document(core, version)?;
    let (tag, hash) = (etag(&body), hex(&Sha512::digest(&body)));
    let asked = query.text("hash");
    if !asked.is_empty() && asked != hash {
        let mut response = respond::response(301, JSON, Body::empty());
        set(&mut response, LOCATION, format!("/openapi/v3/{path}?hash={hash}"));
        return Ok(response);
    }
    let mut response = match is_known(request, &tag) {
        true => respond::response(304, JSON, Body::empty()),
        false => respond::bytes(200, JSON, body, respond::takes_gzip(request.headers())),
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    set(&mut response, ETAG, tag);
    if !asked.is_empty() {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        set(&mut response, EXPIRES, in_a_year(core.clock.now()));
    }
    Ok(response)
}

fn set(response: &mut Response<Body>, name: http::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

fn in_a_year(now: Timestamp) -> String {
    let then = now.checked_add(jiff::SignedDuration::from_hours(24 * FOR_EVER_DAYS)).unwrap_or(now);
    then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
