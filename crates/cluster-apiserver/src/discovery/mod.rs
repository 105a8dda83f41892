//! What is not a resource: discovery, version, health, OpenAPI, metrics.
//!
//! Answers follow from the registry at the moment of the question, so a CRD is discovered as soon as it is served.

mod aggregated;
mod groups;
pub(crate) mod openapi;

use std::sync::atomic::{AtomicBool, Ordering};

use base_rt::Phase;
use base_rt::metrics::Scope;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Method, Request, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::core::Core;
use crate::http::body::Body;
use crate::http::query::Query;
use crate::http::respond;
use crate::http::service::RequestBody;
use crate::negotiate::accept::{Shapes, Syntax, negotiate};
use crate::status::{Result, StatusError};

/// The version of Kubernetes whose API this is.
pub(crate) const KUBERNETES_VERSION: &str = "1.37.2";

/// What discovery knows besides the registry.
pub(crate) struct Discovery {
    /// Whether the start is over.
    pub(crate) is_ready: AtomicBool,
    /// `host:port` of the server, as clients reach it.
    pub(crate) address: String,
    pub(crate) metrics: Scope,
    pub(crate) hashes: openapi::Hashes,
}

/// Answers a request that is not for a resource.
pub(crate) fn answer(core: &Core, request: &Request<RequestBody>, query: &Query) -> Result<Response<Body>> {
    let path = request.uri().path();
    if path.contains("//") {
        return Ok(respond::page_not_found());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(StatusError::method_not_allowed());
    }
    let trimmed = path.trim_matches('/');
    if let Some(rest) = trimmed.strip_prefix("openapi/") {
        return openapi::answer(core, request, rest, query);
    }
    let parts: Vec<&str> = trimmed.split('/').collect();
    match parts.as_slice() {
        [""] => json_answer(request, &paths(core)),
        ["version"] => json_answer(request, &version()),
        [check @ ("healthz" | "livez" | "readyz")] => Ok(health(core, check, query)),
        [check @ ("healthz" | "livez" | "readyz"), part] => Ok(health_part(core, check, part)),
        ["metrics"] => Ok(respond::response(
            200,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            core.discovery.metrics.encode(),
        )),
        [".well-known", "openid-configuration"] => json_answer(request, &openid(core)),
        ["openid", "v1", "jwks"] => json_answer(request, &core.authenticator.accounts().jwks()),
        ["api"] | ["apis"] => discover(core, request, parts.first() == Some(&"api")),
        ["api", version] => match groups::resources(&core.registry.catalogue(), "", version) {
            Some(list) => json_answer(request, &list),
            None => Ok(respond::page_not_found()),
        },
        ["apis", group] => match groups::group(&core.registry.catalogue(), group) {
            Some(group) => json_answer(request, &group),
            None => Ok(respond::page_not_found()),
        },
        ["apis", group, version] => match groups::resources(&core.registry.catalogue(), group, version) {
            Some(list) => json_answer(request, &list),
            None => Ok(respond::page_not_found()),
        },
        _ => Ok(respond::page_not_found()),
    }
}

fn accept(request: &Request<RequestBody>) -> Option<&str> {
    request.headers().get(ACCEPT).and_then(|value| value.to_str().ok())
}

fn json_answer(request: &Request<RequestBody>, value: &Value) -> Result<Response<Body>> {
    let syntax = negotiate(accept(request), Shapes::ObjectOnly)?.syntax;
    let body = respond::encode(value, syntax)?;
    Ok(respond::bytes(200, syntax.content_type(), body, respond::takes_gzip(request.headers())))
}

/// `/api` and `/apis`, in the form that the client takes.
fn discover(core: &Core, request: &Request<RequestBody>, is_core: bool) -> Result<Response<Body>> {
    let catalogue = core.registry.catalogue();
    let Some(form) = aggregated::wanted(accept(request)) else {
        let value = if is_core { groups::core(&core.discovery.address) } else { groups::list(&catalogue) };
        let mut response = json_answer(request, &value)?;
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        return Ok(response);
    };
    let body = respond::encode(&aggregated::document(&catalogue, form, is_core), Syntax::Json)?;
    let tag = etag(&body);
    let mut response = if is_known(request, &tag) {
        let mut response = respond::response(304, form.content_type(), Body::empty());
        response.headers_mut().remove(http::header::CONTENT_TYPE);
        response
    } else {
        respond::bytes(200, form.content_type(), body, respond::takes_gzip(request.headers()))
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// The tag of a document: its digest, quoted.
fn etag(document: &[u8]) -> String {
    format!("\"{}\"", hex(&Sha512::digest(document)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Whether the client has the document already.
fn is_known(request: &Request<RequestBody>, tag: &str) -> bool {
    let known = request.headers().get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .any(|known| matches!(known.trim().trim_start_matches("W/"), known if known == tag || known == "*"))
}

fn version() -> Value {
    let (major, minor) = KUBERNETES_VERSION.split_once('.').unwrap_or(("1", ""));
    let minor = minor.split('.').next().unwrap_or_default();
    json!({
        "major": major, "minor": minor,
        "emulationMajor": major, "emulationMinor": minor, "minCompatibilityMajor": major, "minCompatibilityMinor": "36",
        "gitVersion": format!("v{KUBERNETES_VERSION}+kwick"), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

const CHECKS: [&str; 3] = ["ping", "store", "start"];

fn is_passing(core: &Core, check: &str, part: &str) -> bool {
    let is_ending = core.tasks.shutdown().phase() > Phase::Running;
    match part {
        "store" => !core.store.has_failed(),
        // A server that is still starting is alive, but not ready.
        "start" => check != "readyz" || (core.discovery.is_ready.load(Ordering::Acquire) && !is_ending),
        _ => true,
    }
}

fn health(core: &Core, check: &str, query: &Query) -> Response<Body> {
    let is_excluded = |part: &str| query.all("exclude").any(|excluded| excluded == part);
    let parts: Vec<(&str, bool)> =
        CHECKS.iter().filter(|part| !is_excluded(part)).map(|part| (*part, is_passing(core, check, part))).collect();
    let is_healthy = parts.iter().all(|(_, passes)| *passes);
    let code = if is_healthy { 200 } else { 500 };
    if is_healthy && !query.flag("verbose") {
        return text(code, "ok".to_owned());
    }
    let line = |(part, passes): &(&str, bool)| match passes {
        true => format!("[+]{part} ok\n"),
        false => format!("[-]{part} failed: reason withheld\n"),
    };
    let verdict = if is_healthy { "passed" } else { "failed" };
    text(code, format!("{}{check} check {verdict}\n", parts.iter().map(line).collect::<String>()))
}

fn health_part(core: &Core, check: &str, part: &str) -> Response<Body> {
    match (CHECKS.contains(&part), is_passing(core, check, part)) {
        (false, _) => respond::page_not_found(),
        (true, true) => text(200, "ok".to_owned()),
        (true, false) => text(500, format!("internal server error: {part} failed: reason withheld\n")),
    }
}

fn text(code: u16, body: String) -> Response<Body> {
    let mut response = respond::response(code, "text/plain; charset=utf-8", body);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

fn openid(core: &Core) -> Value {
    json!({
        "issuer": core.authenticator.accounts().issuer(),
        "jwks_uri": format!("https://{}/openid/v1/jwks", core.discovery.address),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn paths(core: &Core) -> Value {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/apis/",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for group in &core.registry.catalogue().groups {
        let base = if group.name.is_empty() { "/api".to_owned() } else { format!("/apis/{}", group.name) };
        paths.extend(group.versions.iter().map(|version| format!("{base}/{}", version.name)));
        paths.push(base);
    }
    paths.extend(CHECKS.iter().flat_map(|part| ["healthz", "livez", "readyz"].map(|check| format!("/{check}/{part}"))));
    paths.sort();
    paths.dedup();
    json!({"paths": paths})
}
