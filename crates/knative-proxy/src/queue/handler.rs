//! One request through queue-proxy.
//!
//! ```text
//! request log ─► health probe? ─► drainer ─► timeouts ─► counted ─► breaker ─► user's container
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base_net::connect::{LocalHandler, Target};
use base_net::serve::Peer;
use base_net::{Body, BoxError, Request, Response};
use futures::future::BoxFuture;
use http::StatusCode;
use http::header::HOST;
use knative_apis::meta::header;
use knative_logic::breaker::QUEUE_FULL;
use tokio::time::Instant;

use super::config::Config;
use super::drain::Drainer;
use super::metrics::RequestMetrics;
use super::readiness::Readiness;
use super::report::Reporter;
use crate::gate::{Gate, Permit, Refused};
use crate::request_log::{RequestLog, Subject};
use crate::{Unanswered, UnsentRequest, Upstream, forwarded, headers, hold};

/// The text of an answer that took too long.
const TIMEOUT_TEXT: &str = "request timeout";
/// The text of a probe's answer once the end has begun.
const DRAINING_TEXT: &str = "shutting down";
/// What a caller in this process is told of a container that takes no connection.
const REFUSED_TEXT: &str = "the user's container takes no connection";
/// Requests that wait for each one that is let through.
const QUEUE_FACTOR: usize = 10;

/// The user's container, as a client sees it.
pub(super) struct Handler {
    pub(super) config: Config,
    pub(super) upstream: Upstream,
    pub(super) drainer: Arc<Drainer>,
    pub(super) readiness: Readiness,
    pub(super) reporter: Arc<Reporter>,
    pub(super) gate: Option<Arc<Gate>>,
    pub(super) log: Option<RequestLog>,
    pub(super) subject: Arc<Subject>,
    pub(super) metrics: Option<RequestMetrics>,
}

/// The gate of a container that takes `concurrency` requests at a time; none without a limit.
pub(super) fn gate(concurrency: u32) -> Option<Arc<Gate>> {
    let depth = usize::try_from(concurrency).unwrap_or(usize::MAX).saturating_mul(QUEUE_FACTOR);
    (concurrency > 0).then(|| Gate::new(concurrency, depth))
}

impl Handler {
    /// Answers a request; of a call from this process there is no peer.
    pub(super) async fn answer(&self, request: Request, peer: Option<Arc<Peer>>) -> Response {
        match &self.log {
            Some(log) => {
                let subject = Arc::clone(&self.subject);
                log.clone().around((request, peer), subject, |request| self.handle(request)).await
            }
            None => self.handle(request).await,
        }
    }

    async fn handle(&self, request: Request) -> Response {
        if headers::is_health_probe(request.headers()) {
            let asked = headers::value(request.headers(), &headers::PROBE).unwrap_or_default().to_owned();
            return self.health(&asked).await;
        }
        let in_flight = self.drainer.begin();
        let response = self.config.timeouts.bound(TIMEOUT_TEXT, self.pass_on(request)).await;
        hold::attach(response, in_flight)
    }

    async fn health(&self, asked: &str) -> Response {
        if self.drainer.is_draining() {
            return headers::text(StatusCode::SERVICE_UNAVAILABLE, DRAINING_TEXT);
        }
        if asked != header::PROBE_QUEUE {
            return headers::unexpected_probe(asked);
        }
        if self.readiness.is_ready().await {
            headers::text(StatusCode::OK, header::PROBE_QUEUE)
        } else {
            headers::text(StatusCode::SERVICE_UNAVAILABLE, Body::empty())
        }
    }

    async fn pass_on(&self, mut request: Request) -> Response {
        let is_proxied = request.headers().get(headers::PROXY).is_some_and(|by| by == header::PROXY_ACTIVATOR);
        let counted = self.reporter.begin(is_proxied);
        prepare(&mut request);
        let permit = match self.enter().await {
            Ok(permit) => permit,
            Err(refusal) => return refusal,
        };
        let begun = Instant::now();
        let sent = self.upstream.send(&self.target(), request).await;
        if let Some(metrics) = &self.metrics {
            metrics.observe(begun.elapsed());
        }
        match sent {
            Ok(response) => hold::attach(response, (counted, permit)),
            Err(Unanswered { request, cause }) => {
                tracing::debug!(pod = self.config.pod, error = %cause, "no answer from the user's container");
                let mut answer = headers::text(StatusCode::BAD_GATEWAY, cause.to_string());
                if let Some(unsent) = request {
                    answer.extensions_mut().insert(Unsent(Arc::new(*unsent)));
                }
                answer
            }
        }
    }

    async fn enter(&self) -> Result<Option<Permit>, Response> {
        let Some(gate) = &self.gate else { return Ok(None) };
        match gate.enter().await {
            Ok(permit) => Ok(Some(permit)),
            Err(Refused::Full | Refused::Closed) => Err(headers::text(StatusCode::SERVICE_UNAVAILABLE, QUEUE_FULL)),
        }
    }

    fn target(&self) -> Target {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.config.user_port));
        if self.config.is_http2() { Target::http2(addr) } else { Target::http1(addr) }
    }
}

/// In the answer to a request that the user's container did not take: the request, for a caller who knows somebody else.
#[derive(Clone)]
struct Unsent(Arc<UnsentRequest>);

/// What the container is to see: its host, where the request came from, and none of the names between the proxies.
fn prepare(request: &mut Request) {
    let fields = request.headers_mut();
    if let Some(host) = fields.remove(headers::ORIGINAL_HOST) {
        fields.insert(HOST, host);
    }
    fields.remove(headers::REVISION);
    fields.remove(headers::NAMESPACE);
    forwarded::add_forwarded(fields);
    forwarded::add_trace(fields);
}

/// The handler as the process-local table calls it. A request of which the container has seen nothing is handed back, as [`Unanswered`]: the
/// caller may know another Pod.
pub(super) struct Local(pub(super) Arc<Handler>);

impl LocalHandler for Local {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, BoxError>> {
        let handler = Arc::clone(&self.0);
        Box::pin(async move {
            let Some(_in_flight) = handler.drainer.begin_in_time() else {
                return Err(Unanswered::new(Some(request), DRAINING_TEXT.into()).into());
            };
            let mut answer = handler.answer(request, None).await;
            match answer.extensions_mut().remove().and_then(|Unsent(unsent)| Arc::into_inner(unsent)) {
                Some(unsent) => Err(Unanswered::new(Some(unsent.into_inner()), REFUSED_TEXT.into()).into()),
                None => Ok(answer),
            }
        })
    }
}
