//! The server as one tower service: a request in, an answer out, whatever it came through.
//!
//! ```text
//! request → who (certificate, token) → as whom → may they → resource, verb → verb's function → answer in the form the client takes
//! ```

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, USER_AGENT, WARNING};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ask::{authorize, check_verb, decided, find, verb};
use super::body::{Body, BodyError};
use super::fair::Taken;
use super::limits::{MAX_BODY_BYTES, Sort, Ticket};
use super::path::{RequestPath, ResourcePath};
use super::query::{FIELD_MANAGER_MAX, Query};
use super::respond;
use crate::audit::Trail;
use crate::authn::impersonate;
use crate::authz::Attributes;
use crate::core::Core;
use crate::identity::{Caller, Identity};
use crate::metrics::{AnswerLabels, RequestLabels};
use crate::negotiate::accept::{self, Shapes};
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::streams;
use crate::verbs::{self, Ask};
use crate::writes::Conversions;

/// A body may take so long to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const PANICKED: &str = "the server panicked while it handled the request";

/// A request's body, boxed.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// Who the client's certificate names; put into a request by whoever ended its TLS.
#[derive(Clone, Debug)]
pub(crate) struct PeerIdentity(pub(crate) Identity);

/// The API. Clones share everything.
#[derive(Clone)]
pub struct ApiService {
    core: Arc<Core>,
    /// Set for clients of this process, which need no proof.
    caller: Option<Caller>,
}

impl ApiService {
    pub(crate) fn new(core: Arc<Core>, caller: Option<Caller>) -> Self {
        Self { core, caller }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<RequestBody>) -> Response<Body> {
        let core = &self.core;
        let started = Instant::now();
        let wanted = accept::negotiate(header(request.headers(), ACCEPT), Shapes::ObjectOnly).unwrap_or_default();
        let mut labels = RequestLabels::default();
        let mut trail = None;
        let answer = AssertUnwindSafe(self.answer(request, &mut labels, &mut trail)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| {
            core.metrics.panics.inc();
            Err(StatusError::internal(PANICKED))
        });
        let response = answer.unwrap_or_else(|error| respond::error(&error, wanted.syntax));
        let response = match trail {
            Some(trail) => trail.answered(response),
            None => response,
        };
        let RequestLabels { verb, group, version, resource, subresource } = labels.clone();
        let code = response.status().as_u16();
        core.metrics.requests.get_or_create(&AnswerLabels { verb, group, version, resource, subresource, code }).inc();
        core.metrics.duration_s.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        response
    }

    async fn answer(
        &self,
        request: Request<RequestBody>,
        labels: &mut RequestLabels,
        trail: &mut Option<Arc<Trail>>,
    ) -> Result<Response<Body>> {
        let core = &self.core;
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let path = RequestPath::parse(request.uri().path());
        let caller = self.caller(&request);
        *trail = self.begin_trail(&request, &path, &query, caller.as_ref().ok());
        let mut caller = caller?;
        caller.trail.clone_from(trail);
        if let Some(identity) = impersonate::impersonated(request.headers(), &caller.identity, &core.rbac)? {
            if let Some(trail) = trail {
                trail.impersonates(&identity);
            }
            caller.identity = identity;
        }
        match path {
            RequestPath::Other => {
                labels.verb = method_label(request.method()).to_owned();
                self.other(request, caller, &query).await
            }
            RequestPath::Resource(path) => {
                let verb = verb(request.method(), &path, &query);
                labels.verb = verb.to_uppercase();
                decided(&caller, authorize(core, &caller, verb, &path, &query))?;
                let resource = find(core, verb, &path)?;
                match resource {
                    Some(resource) => {
                        labels.group.clone_from(&path.group);
                        labels.version.clone_from(&path.version);
                        labels.resource.clone_from(&path.plural);
                        if resource.subresource(&path.subresource).is_some() {
                            labels.subresource.clone_from(&path.subresource);
                        }
                        let warning = resource.deprecation().map(str::to_owned);
                        warned(self.resource(request, caller, query, path, resource, verb).await, warning)
                    }
                    None => Ok(respond::page_not_found()),
                }
            }
        }
    }

    /// The record of the request, if there is to be one.
    fn begin_trail(
        &self,
        request: &Request<RequestBody>,
        path: &RequestPath,
        query: &Query,
        caller: Option<&Caller>,
    ) -> Option<Arc<Trail>> {
        let audit = self.core.audit.as_ref()?;
        let verb = match path {
            RequestPath::Other => request.method().as_str().to_ascii_lowercase(),
            RequestPath::Resource(path) => verb(request.method(), path, query).to_owned(),
        };
        audit.begin(request, path, &verb, caller.map(|caller| &caller.identity), &self.core.entropy)
    }

    fn caller(&self, request: &Request<RequestBody>) -> Result<Caller> {
        if let Some(caller) = &self.caller {
            return Ok(caller.clone());
        }
        let peer = request.extensions().get::<PeerIdentity>().map(|peer| &peer.0);
        let identity = self.core.authenticator.authenticate(request.headers(), peer, self.core.clock.now())?;
        Ok(Caller::remote(identity))
    }

    /// Discovery, health, and the routes of the embedding program.
    async fn other(&self, request: Request<RequestBody>, caller: Caller, query: &Query) -> Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        let verb = request.method().as_str().to_ascii_lowercase();
        let ask = Attributes { verb: &verb, path: &path, ..Attributes::default() };
        decided(&caller, self.core.rbac.authorize(&caller.identity, &ask))?;
        if let Some(route) = self.core.routes.iter().find(|route| route.matches(&path)) {
            return Ok(route.handler.call(request, &caller.identity).await);
        }
        let _ticket = match caller.is_in_process {
            true => None,
            false => Some(self.core.limits.enter(&caller.identity, Sort::Read, &self.core.metrics).await?),
        };
        crate::discovery::answer(&self.core, &request, query)
    }

    async fn resource(
        &self,
        request: Request<RequestBody>,
        caller: Caller,
        query: Query,
        path: ResourcePath,
        resource: Arc<Resource>,
        verb: &'static str,
    ) -> Result<Response<Body>> {
        let core = &self.core;
        check_verb(&resource, &path, request.method(), verb)?;
        let ticket = self.ticket(&caller, verb, &path, &query).await?;
        let (parts, body) = request.into_parts();
        let shapes =
            if path.subresource.is_empty() || path.subresource == "status" { Shapes::All } else { Shapes::ObjectOnly };
        let accepted = match path.subresource.as_str() {
            // Logs are text, whatever a client says.
            "log" => accept::Accepted::default(),
            _ => accept::negotiate(header(&parts.headers, ACCEPT), shapes)?,
        };
        let is_stream = streams::are(&resource, &path.subresource);
        let (body, room) = match parts.method {
            // What follows is no body.
            _ if is_stream => (Bytes::new(), None),
            Method::GET => (Bytes::new(), None),
            _ => self.read(&caller, &parts.headers, body).await?,
        };
        if let Some(trail) = &caller.trail {
            trail.asked(header(&parts.headers, CONTENT_TYPE).unwrap_or_default(), &body);
        }
        let manager = manager(&query, &caller, &parts.headers);
        let ask = Ask {
            core: Arc::clone(core),
            caller,
            namespace: if resource.is_namespaced { path.namespace } else { String::new() },
            resource,
            name: path.name,
            subresource: path.subresource,
            query,
            accepted,
            content_type: header(&parts.headers, CONTENT_TYPE).unwrap_or_default().to_owned(),
            manager,
            takes_gzip: respond::takes_gzip(&parts.headers),
            body,
            _room: room,
            verb,
            conversions: Conversions::default(),
        };
        if is_stream {
            return streams::answer(&ask, ticket, parts).await;
        }
        if matches!(verb, "get" | "list" | "watch") {
            return verbs::answer(ask, ticket).await;
        }
        self.write(ask, ticket).await
    }

    /// Answers a write in a task of its own: it is carried out to its end, even if the client does not wait for it.
    async fn write(&self, ask: Ask, ticket: Option<Ticket>) -> Result<Response<Body>> {
        let (sender, receiver) = oneshot::channel();
        self.core.tasks.spawn_transient("apiserver/write", async move {
            // The client may be gone.
            let _ = sender.send(verbs::answer(ask, ticket).await);
        });
        receiver.await.unwrap_or_else(|_| {
            self.core.metrics.panics.inc();
            Err(StatusError::internal(PANICKED))
        })
    }

    async fn ticket(&self, caller: &Caller, verb: &str, path: &ResourcePath, query: &Query) -> Result<Option<Ticket>> {
        if caller.is_in_process {
            return Ok(None);
        }
        let sort = match verb {
            "watch" => Sort::LongRunning,
            _ if matches!(path.subresource.as_str(), "exec" | "attach" | "portforward") => Sort::Session,
            "get" if path.subresource == "log" && query.flag("follow") => Sort::LongRunning,
            "get" | "list" => Sort::Read,
            _ => Sort::Write,
        };
        self.core.limits.enter(&caller.identity, sort, &self.core.metrics).await.map(Some)
    }

    /// The body, and the room that it takes until the request is answered: what is made of it is larger than itself.
    async fn read(&self, caller: &Caller, headers: &HeaderMap, body: RequestBody) -> Result<(Bytes, Option<Taken>)> {
        let length = header(headers, CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
        if length.is_some_and(|length| length > MAX_BODY_BYTES) {
            return Err(StatusError::too_large(MAX_BODY_BYTES));
        }
        if caller.is_in_process {
            return Ok((collect(body).await?, None));
        }
        let arriving = async {
            let mut room = self.core.limits.body(&caller.identity, length.unwrap_or(MAX_BODY_BYTES)).await?;
            let body = collect(body).await?;
            // Who did not say how much would come had room for the most.
            room.keep(body.len().div_ceil(1024));
            Ok((body, Some(room)))
        };
        let late = |_| StatusError::new(408, "Timeout", "the body of the request took too long to arrive");
        tokio::time::timeout(BODY_TIMEOUT, arriving).await.map_err(late)?
    }
}

/// Reads a whole body, as far as it is allowed to go.
async fn collect(mut body: RequestBody) -> Result<Bytes> {
    let mut first: Option<Bytes> = None;
    let mut rest: Vec<u8> = Vec::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| StatusError::bad_request(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > MAX_BODY_BYTES {
            return Err(StatusError::too_large(MAX_BODY_BYTES));
        }
        // Most bodies come in one piece, which is not copied.
        match &first {
            None => first = Some(data),
            Some(begun) => {
                if rest.is_empty() {
                    rest.extend_from_slice(begun);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.into() })
}

/// The answer with a warning before all others, if there is one.
fn warned(answer: Result<Response<Body>>, warning: Option<String>) -> Result<Response<Body>> {
    let Some(warning) = warning else { return answer };
    let warnings = [warning];
    let mut response = answer.map_err(|refused| refused.with_warnings(&warnings))?;
    let others: Vec<_> = response.headers().get_all(WARNING).iter().cloned().collect();
    response.headers_mut().remove(WARNING);
    respond::warn(&mut response, &warnings);
    for other in others {
        response.headers_mut().append(WARNING, other);
    }
    Ok(response)
}

fn header(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Who owns what a request writes: whom it names, else its client program. Code of this process is known by its identity.
fn manager(query: &Query, caller: &Caller, headers: &HeaderMap) -> String {
    let named = query.text("fieldManager");
    if !named.is_empty() {
        return named.to_owned();
    }
    let agent = match headers.get(USER_AGENT) {
        Some(agent) => String::from_utf8_lossy(agent.as_bytes()),
        None if caller.is_in_process => caller.identity.username.rsplit(':').next().unwrap_or_default().into(),
        None => "".into(),
    };
    let program = agent.split('/').next().unwrap_or_default();
    let mut manager = String::new();
    for c in program.chars().filter(|c| !c.is_control()) {
        if manager.len() + c.len_utf8() > FIELD_MANAGER_MAX {
            break;
        }
        manager.push(c);
    }
    manager
}

/// A method as metrics count it; made-up ones are one.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

impl<B> tower_service::Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

impl std::fmt::Debug for ApiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiService").field("caller", &self.caller).finish_non_exhaustive()
    }
}
