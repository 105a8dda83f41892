//! One request through the gateway.
//!
//! ```text
//! host, path, headers ─► route ─► probe? redirect? ─► headers of the route ─► backend ─┬ pods: two choices, on refusal the next
//!                                    (again, on the rewritten host)                    └ activator: a call, or its address
//! ```
//! A request that no Pod took (they have just gone) goes to the activator, if the route leads to a Revision and the activator is in this
//! process: so that a change of the Endpoints costs nobody an answer.

use std::sync::Arc;

use base_net::{BoxError, Request, Response};
use http::header::{HOST, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use knative_apis::meta::{Key, header};
use knative_logic::route_table::{self, Side};

use super::Gateway;
use super::backends::ServingPort;
use crate::pods::{self, Pod};
use crate::{forwarded, headers, hold, random};

/// Pods that are asked at most before a request goes elsewhere.
const MAX_TRIES: usize = 3;

/// Who asks, known per connection.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) side: Side,
    /// The client's address, as `X-Forwarded-For` says it.
    pub(super) client: HeaderValue,
    /// Whether it may be a proxy that knows more of the client.
    pub(super) is_trusted: bool,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
}

/// What a request comes to, before anything is waited for.
enum Step {
    Done(Response),
    Rewritten,
    To(Option<Arc<ServingPort>>, Option<Key>),
}

impl Gateway {
    /// Answers a request.
    pub(super) async fn answer(&self, asker: &Asker, mut request: Request) -> Response {
        let Ok(host) = headers::settle_host(&mut request) else { return headers::status(StatusCode::BAD_REQUEST) };
        // Before anything is added: what the client has removed is its own.
        headers::remove_hop_by_hop(request.headers_mut());
        forward(request.headers_mut(), asker, host);
        strip(request.headers_mut());
        let mut step = self.step(asker.side, &mut request);
        if matches!(step, Step::Rewritten) {
            // A mapped domain: the host that it stands for is looked up once, from the inside.
            step = self.step(Side::Private, &mut request);
        }
        match step {
            Step::Done(response) => response,
            Step::To(port, revision) => self.pass_on(port, revision, request).await,
            Step::Rewritten => headers::status(StatusCode::NOT_FOUND),
        }
    }

    fn step(&self, side: Side, request: &mut Request) -> Step {
        let table = self.routes.table();
        let Some(host) = headers::host(request) else { return Step::Done(headers::status(StatusCode::NOT_FOUND)) };
        let of = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
        let Some(route) = table.matches(side, host, request.uri().path(), of, random::bits32()) else {
            return Step::Done(headers::status(StatusCode::NOT_FOUND));
        };
        if let Some(answer) = probe_answer(request.headers(), &route) {
            return Step::Done(answer);
        }
        if route.redirects_to_https() && !forwarded::is_https(request.headers()) {
            return Step::Done(redirect(host, self.external_tls_port, request));
        }
        for (name, value) in route.append_headers() {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                request.headers_mut().insert(name, value);
            }
        }
        if let Some(host) = route.rewrite_host()
            && let Ok(value) = HeaderValue::from_str(host)
        {
            request.headers_mut().insert(HOST, value);
            if route.backend().revision.is_none() && table.has_host(Side::Private, host) {
                return Step::Rewritten;
            }
        }
        let backend = route.backend();
        Step::To(self.backends.find(&backend.service, &backend.port), backend.revision.clone())
    }

    async fn pass_on(&self, port: Option<Arc<ServingPort>>, revision: Option<Key>, request: Request) -> Response {
        let in_process = self.activator.as_ref().zip(revision);
        match (port, in_process) {
            // Where TLS is wanted, it is spoken also with the activator of this process.
            (Some(port), Some(to)) if !port.pods.is_empty() && (!port.is_activator || port.is_secured) => {
                match self.try_pods(&port, request).await {
                    Ok(response) => response,
                    Err((Some(request), _)) => to.0.call(&to.1, request).await,
                    Err((None, cause)) => bad_gateway(&cause),
                }
            }
            (_, Some((activator, revision))) => activator.call(&revision, request).await,
            (Some(port), None) => match self.try_pods(&port, request).await {
                Ok(response) => response,
                Err((_, cause)) => bad_gateway(&cause),
            },
            (None, None) => headers::text(StatusCode::SERVICE_UNAVAILABLE, NO_ENDPOINTS),
        }
    }

    /// The answer of a Pod; or the request, if no Pod took it, and why.
    async fn try_pods(
        &self,
        port: &ServingPort,
        mut request: Request,
    ) -> Result<Response, (Option<Request>, BoxError)> {
        let mut cause = BoxError::from(NO_ENDPOINTS);
        let mut refused: Option<&Arc<Pod>> = None;
        for _ in 0..MAX_TRIES {
            let Some(pod) = other_than(&port.pods, refused) else { break };
            let on_its_way = pod.begin();
            match self.upstream.send(&pod.target, request).await {
                Ok(response) => return Ok(hold::attach(response, on_its_way)),
                Err(unanswered) => {
                    let unsent = unanswered.request;
                    cause = unanswered.cause;
                    match unsent {
                        Some(unsent) => request = unsent.into_inner(),
                        None => return Err((None, cause)),
                    }
                    refused = Some(pod);
                }
            }
        }
        Err((Some(request), cause))
    }

    /// Whether a Service's port leads to the activator now.
    pub fn leads_to_activator(&self, service: &Key, port: u16) -> bool {
        let port = route_table::Port::Number(port);
        self.backends.find(service, &port).is_some_and(|port| port.is_activator)
    }
}

const NO_ENDPOINTS: &str = "no healthy upstream";

/// A Pod to try; not the one that has just refused, if there is another.
fn other_than<'p>(pods: &'p [Arc<Pod>], refused: Option<&Arc<Pod>>) -> Option<&'p Arc<Pod>> {
    let chosen = pods::two_choices(pods)?;
    let is_refused = |pod: &Arc<Pod>| refused.is_some_and(|refused| Arc::ptr_eq(refused, pod));
    if !is_refused(chosen) {
        return Some(chosen);
    }
    pods.iter().find(|pod| !is_refused(pod))
}

/// What must not come from outside: it decides where a request goes, and how it counts.
fn strip(headers: &mut HeaderMap) {
    for name in [headers::REVISION, headers::NAMESPACE, headers::PROXY, headers::ORIGINAL_HOST] {
        headers.remove(name);
    }
}

fn forward(headers: &mut HeaderMap, asker: &Asker, host: HeaderValue) {
    forwarded::add_client(headers, &asker.client);
    forwarded::add_proto(headers, asker.scheme, asker.is_trusted);
    headers.entry(headers::FORWARDED_HOST).or_insert(host);
}

/// The answer to somebody who asks which version of the Ingress is served.
fn probe_answer(request: &HeaderMap, route: &route_table::Target<'_>) -> Option<Response> {
    let probe = request.get(headers::PROBE)?;
    if probe != header::PROBE_INGRESS {
        return None;
    }
    let mut answer = headers::status(StatusCode::OK);
    if let Ok(hash) = HeaderValue::from_str(route.hash()) {
        answer.headers_mut().insert(headers::HASH, hash);
    }
    Some(answer)
}

fn redirect(host: &str, tls_port: u16, request: &Request) -> Response {
    let host = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut answer = headers::status(StatusCode::MOVED_PERMANENTLY);
    let port = if tls_port == 443 { String::new() } else { format!(":{tls_port}") };
    if let Ok(location) = HeaderValue::try_from(format!("https://{host}{port}{path}")) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

fn bad_gateway(cause: &BoxError) -> Response {
    tracing::debug!(error = %cause, "no answer from a pod");
    let status =
        if cause.to_string() == NO_ENDPOINTS { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_GATEWAY };
    headers::text(status, cause.to_string())
}
