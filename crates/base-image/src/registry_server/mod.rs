//! A registry over the store: what `docker push`, `crane`, `ko`, `skopeo` and containerd speak.
//!
//! A push goes straight into the store, so what was pushed is what the node runs. Blobs are shared by all repositories; a repository
//! is no border between users, only [`Access`], given by whoever listens, says what a client may do.
//!
//! ```text
//! GET  /v2/                                     it is a registry
//! GET  HEAD          /v2/NAME/blobs/DIGEST      ranges; DELETE when nothing needs it
//! POST               /v2/NAME/blobs/uploads/    start, ?mount= of what is there, ?digest= with everything at once
//! PATCH PUT GET DELETE  …/uploads/ID            a chunk, the end, how far it is, give up
//! GET HEAD PUT DELETE   /v2/NAME/manifests/REF  by tag or digest
//! GET  /v2/NAME/tags/list   /v2/_catalog   /v2/NAME/referrers/DIGEST
//! GET DELETE  /v2/_kwick/images                 every image under any name (an extension): list; remove ?reference=
//! ```
//! **Mirror**: with `?ns=REGISTRY`, containerd's convention, NAME is that registry's repository: `PUT …/manifests/latest?ns=docker.io` is
//! how an imported `hello` becomes `docker.io/library/hello:latest`. A tag of another registry is answered only if it was put here on
//! purpose; a copy of it may be stale. Without `ns`, a tag that this registry does not have is looked for under `docker.io`, which is what
//! clients mean that only know mirrors of that one.
//!
//! **Bounds**: manifests, blobs, uploads under way and their idle time, each chunk's delay; blobs stream both ways. A request for a host
//! name that is not ours is refused, so that no web page reaches a local registry by rebinding its own name to loopback; and a change that
//! a page of another site asks for, which a browser says.
//!
//! Specified by: OCI distribution-spec v1.1; containerd's `docs/hosts.md` (`ns`). The specification's own conformance program passes,
//! with SHA-512 content switched off.

mod blobs;
mod error;
mod images;
mod lists;
mod manifests;
mod route;
mod sessions;
#[cfg(test)]
mod tests;
mod uploads;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use base_rt::Clock;
use base_rt::metrics::{Counter, Scope};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use images::ImageEntry;

use crate::own_names::OwnNames;
use crate::reference::{DEFAULT_REGISTRY, Reference, Selector};
use crate::store::Store;
use error::{Code, Failure};
use route::{Query, Route};
use sessions::Sessions;

/// What a request's or response's body may fail with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response's body.
pub type RegistryBody = UnsyncBoxBody<Bytes, BodyError>;

/// The digest of what is in the body or was stored.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// By which old clients recognise a registry.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The manifest that a pushed one is about.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// In which relation the page that asks stands to this server.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a parameter's value may not hold as it is. A registry's name needs none of it.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b':').remove(b'-');

/// What a client may do, decided by where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Read.
    Pull,
    /// Read, and write under this registry's own names.
    Push,
    /// Everything: also write under other registries' names (import), and remove.
    Full,
}

/// The registry. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    sessions: Sessions,
    metrics: Metrics,
}

#[derive(Debug)]
struct Metrics {
    uploads_refused: Counter,
    uploads_expired: Counter,
}

/// The registry as a service, with what its clients may do; see [`Registry::service`].
#[derive(Clone, Debug)]
pub struct RegistryService {
    registry: Registry,
    access: Access,
}

/// A request without its body, taken apart.
struct Call<'a> {
    registry: &'a Registry,
    parts: &'a Parts,
    query: Query<'a>,
    access: Access,
}

impl Registry {
    /// A registry over `store`.
    pub fn new(store: Store, clock: Clock, metrics: &Scope) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let metrics = Metrics {
            uploads_refused: counter("uploads_refused", "Uploads refused because too many are under way"),
            uploads_expired: counter("uploads_expired", "Uploads given up because nothing came for too long"),
        };
        Self(Arc::new(Inner { store, clock, sessions: Sessions::default(), metrics }))
    }

    /// Answers a request. Never fails: whatever goes wrong is a response.
    pub async fn handle<B>(&self, request: Request<B>, access: Access) -> Response<RegistryBody>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let (parts, body) = request.into_parts();
        let body = body.map_err(Into::into);
        let mut response = match self.answer(&parts, std::pin::pin!(body), access).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(&parts),
        };
        response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        response
    }

    /// The registry as a `tower` service for one listener, whose clients may do what `access` says.
    pub fn service(&self, access: Access) -> RegistryService {
        RegistryService { registry: self.clone(), access }
    }

    /// Gives up uploads for which nothing came for too long. Call it now and then; starting an upload does it too.
    pub fn expire_uploads(&self) {
        self.0.metrics.uploads_expired.inc_by(self.0.sessions.expire());
    }

    async fn answer(&self, parts: &Parts, body: impl Body, access: Access) -> Result<Response<RegistryBody>, Failure> {
        check_host(parts, self.0.store.own_names())?;
        check_site(parts)?;
        let route = Route::parse(parts.uri.path())?;
        let call = Call { registry: self, parts, query: Query::new(parts.uri.query()), access };
        match (&parts.method, &route) {
            (&Method::GET | &Method::HEAD, Route::Ping) => Ok(json(StatusCode::OK, b"{}".to_vec())),
            (&Method::GET, Route::Catalog) => lists::catalog(&call),
            (&Method::GET, Route::Tags { name }) => lists::tags(&call, name),
            (&Method::GET, Route::Referrers { name, digest }) => lists::referrers(&call, name, *digest).await,
            (&Method::GET | &Method::HEAD, Route::Manifest { name, selector }) => {
                manifests::get(&call, name, selector).await
            }
            (&Method::PUT, Route::Manifest { name, selector }) => manifests::put(&call, name, selector, body).await,
            (&Method::DELETE, Route::Manifest { name, selector }) => manifests::delete(&call, name, selector).await,
            (&Method::GET | &Method::HEAD, Route::Blob { digest, .. }) => blobs::get(&call, *digest).await,
            (&Method::DELETE, Route::Blob { digest, .. }) => blobs::delete(&call, *digest).await,
            (&Method::POST, Route::Uploads { name }) => uploads::start(&call, name, body).await,
            (&Method::PATCH, Route::Upload { name, id }) => uploads::append(&call, name, id, body).await,
            (&Method::PUT, Route::Upload { name, id }) => uploads::finish(&call, name, id, body).await,
            (&Method::GET, Route::Upload { name, id }) => uploads::status(&call, name, id),
            (&Method::DELETE, Route::Upload { id, .. }) => uploads::cancel(&call, id),
            (&Method::GET, Route::Images) => images::list(&call).await,
            (&Method::DELETE, Route::Images) => images::remove(&call).await,
            (method, _) => Err(Failure::new(Code::Unsupported, format!("{method} is not supported here"))),
        }
    }
}

impl<B> tower_service::Service<Request<B>> for RegistryService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = Response<RegistryBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { registry, access } = self.clone();
        async move { Ok(registry.handle(request, access).await) }.boxed()
    }
}

/// A request's body, on the stack.
trait Body: http_body::Body<Data = Bytes, Error = BodyError> + Send + Unpin {}

impl<B: http_body::Body<Data = Bytes, Error = BodyError> + Send + Unpin> Body for B {}

impl Call<'_> {
    fn store(&self) -> &Store {
        &self.registry.0.store
    }

    /// The registry whose names are meant: another one with `?ns=`, or this one.
    fn namespace(&self) -> String {
        let own = self.store().own_names();
        match self.query.get("ns").as_deref() {
            None | Some("") => own.canonical().to_owned(),
            Some("index.docker.io" | "registry-1.docker.io") => DEFAULT_REGISTRY.to_owned(),
            Some(other) if own.contains(other) => own.canonical().to_owned(),
            Some(other) => other.to_owned(),
        }
    }

    fn is_own_namespace(&self) -> bool {
        self.store().own_names().contains(&self.namespace())
    }

    fn reference(&self, name: &str, selector: Selector) -> Result<Reference, Failure> {
        let reference = Reference::from_parts(&self.namespace(), name, selector);
        reference.map_err(|error| Failure::new(Code::NameInvalid, error.to_string()))
    }

    /// What a client means that uses this registry as a mirror of the default one and does not say so, as Docker's daemon does.
    fn default_mirror(&self, name: &str, selector: &Selector) -> Option<Reference> {
        let is_silent = self.query.get("ns").is_none();
        is_silent.then(|| Reference::from_parts(DEFAULT_REGISTRY, name, selector.clone()).ok()).flatten()
    }

    fn require(&self, needed: Access) -> Result<(), Failure> {
        if self.access >= needed {
            return Ok(());
        }
        Err(Failure::new(Code::Denied, "this address of the registry does not allow it"))
    }

    /// Writing under another registry's name needs more than pushing.
    fn require_write(&self) -> Result<(), Failure> {
        self.require(if self.is_own_namespace() { Access::Push } else { Access::Full })
    }

    /// The `?ns=` that links to this registry have to carry on.
    fn namespace_query(&self) -> String {
        if self.is_own_namespace() {
            return String::new();
        }
        format!("?ns={}", utf8_percent_encode(&self.namespace(), IN_QUERY))
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }
}

/// Runs what waits for the disk on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::new(Code::Unknown, error.to_string()))
}

/// An address, `localhost`, or a name that is ours.
fn check_host(parts: &Parts, own: &OwnNames) -> Result<(), Failure> {
    let host = parts.uri.authority().map(http::uri::Authority::as_str);
    let Some(host) = host.or_else(|| parts.headers.get(HOST)?.to_str().ok()) else {
        return Ok(());
    };
    let name = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if address.is_ok() || name == "localhost" || own.contains(host) || own.contains(name) {
        return Ok(());
    }
    Err(Failure::new(Code::Denied, format!("this registry is not {name:?}: use its address, or a name that it knows")))
}

/// Browsers send simple requests to any address, whatever page asks for them; they say so. No registry's client is a browser.
fn check_site(parts: &Parts) -> Result<(), Failure> {
    let text = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    let is_foreign = text(ORIGIN).is_some() || !matches!(text(FETCH_SITE), None | Some(b"none"));
    if is_foreign && !parts.method.is_safe() {
        return Err(Failure::new(Code::Denied, "web pages may not change this registry"));
    }
    Ok(())
}

fn empty(status: StatusCode) -> Response<RegistryBody> {
    let mut response = Response::new(Full::default().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn bytes(status: StatusCode, content_type: &str, bytes: Vec<u8>) -> Response<RegistryBody> {
    let length = bytes.len();
    let mut response = empty(status);
    *response.body_mut() = Full::from(bytes).map_err(|never| match never {}).boxed_unsync();
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    set(&mut response, CONTENT_TYPE, content_type);
    response
}

fn json(status: StatusCode, document: Vec<u8>) -> Response<RegistryBody> {
    bytes(status, "application/json", document)
}

/// Sets a header; a value that is none is left out.
fn set(response: &mut Response<RegistryBody>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
