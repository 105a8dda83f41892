//! The activator: where requests wait for a Pod.
//!
//! ```text
//! request ─► Revision ─► reporter (the first one wakes the autoscaler) ─► throttler: wait, pick ─► Upstream
//!                                                                            ▲
//! Endpoints (ready) ─┐                                                       │ capacity
//! probe of a Pod that is not ready yet ─┴────────────────────────────────────┘ (asked as soon as it has an address; `Listening` asks again)
//! ```
//! Nothing is polled: a Pod that starts is asked once, by a request that queue-proxy answers when the container is ready, so that the first
//! request is on its way before the API has said so. Texts, statuses and bounds are Knative's.

mod probe;
mod reporter;
mod throttler;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use base_controller::hint::HintBus;
use base_controller::{Informer, Informers, Scope};
use base_net::listen::Listener;
use base_net::serve::{Peer, Server, ServerConfig, ServerHandle, Transport};
use base_net::tls::{TlsError, newest_server_config};
use base_net::workers::{DataPlane, WorkerError};
use base_net::{BoxError, Request, Response};
use base_rt::metrics::Scope as Metrics;
use base_rt::watch;
use base_rt::{Clock, Phase, Tasks};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints};
use knative_apis::config::{ConfigMap as _, Observability};
use knative_apis::meta::{Key, header, port};
use knative_apis::serving::v1::Revision;
use knative_apis::stat::StatMessage;
use knative_logic::breaker::QUEUE_FULL;
use knative_logic::names;
use tokio::sync::mpsc;

use crate::gate::Refused;
use crate::internal_tls::InternalTls;
use crate::request_log::{LogSink, RequestLog, RequestLogConfig, Subject};
use crate::{Upstream, headers, hold};
use probe::Prober;
use reporter::Reporter;
use throttler::{Spec, Throttler};

/// The text of an answer that took too long.
const TIMEOUT_TEXT: &str = "activator request timeout";
/// How long the gateway's call waits for a Revision that a route names and nobody has shown yet.
const REVISION_PATIENCE: Duration = Duration::from_secs(2);
/// After a Pod did not accept a connection, how long to wait before the next is tried; each further wait is longer by two fifths.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);
/// How often a Pod is looked for, for one request.
const MAX_TRIES: u32 = 15;

/// What an activator is made from.
pub struct ActivatorParts {
    /// How it reaches Pods.
    pub upstream: Upstream,
    /// The TLS among Knative's parts.
    pub internal_tls: InternalTls,
    /// Where config-observability is, such as `knative-serving`.
    pub system_namespace: String,
    /// Where statistics go: the autoscaler's receiver.
    pub stats: mpsc::Sender<StatMessage>,
    /// The name under which it reports.
    pub pod_name: String,
    /// The address under which it stands in Endpoints, to share Pods with other activators; none if it is alone.
    pub pod_ip: Option<IpAddr>,
    /// The process's clock.
    pub clock: Clock,
    /// The process's tasks.
    pub tasks: Tasks,
    /// Where metrics are registered, under names of the activator's own.
    pub metrics: Metrics,
}

/// An activator. Shared by the workers.
pub struct Activator {
    upstream: Upstream,
    reporter: Arc<Reporter>,
    pod_ip: Option<IpAddr>,
    tasks: Tasks,
    server: Server,
    secured: Server,
    internal_tls: InternalTls,
    system_namespace: String,
    pod_name: String,
    /// How requests that come over sockets are logged.
    log: ArcSwapOption<RequestLog>,
    prober: Prober,
    table: ArcSwap<Table>,
    /// Taken by writers of the table.
    writing: Mutex<()>,
    revisions: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Table {
    by_revision: HashMap<Key, Arc<Throttler>>,
    by_private_service: HashMap<Key, Arc<Throttler>>,
}

impl std::fmt::Debug for Activator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Activator").field("revisions", &self.table.load().by_revision.len()).finish_non_exhaustive()
    }
}

impl Activator {
    /// An activator that knows no Revision yet. Call it on the main runtime.
    ///
    /// # Errors
    /// TLS cannot be configured.
    pub fn try_new(parts: ActivatorParts) -> Result<Arc<Self>, TlsError> {
        let ActivatorParts { upstream, internal_tls, system_namespace, stats, pod_name, pod_ip, clock, tasks, metrics } =
            parts;
        let tls = Transport::Tls(newest_server_config(internal_tls.own())?);
        let secured = ServerConfig { transport: tls, ..ServerConfig::new("server_tls") };
        let reporter = Arc::new(Reporter::new(pod_name.clone(), clock, stats, &metrics));
        reporter.start(&tasks);
        let prober = Prober::new(upstream.clone(), &tasks);
        Ok(Arc::new(Self {
            upstream,
            reporter,
            pod_ip,
            server: Server::new(ServerConfig::new("server"), &tasks, &metrics),
            secured: Server::new(secured, &tasks, &metrics),
            internal_tls,
            system_namespace,
            pod_name,
            log: ArcSwapOption::empty(),
            tasks,
            prober,
            table: ArcSwap::default(),
            writing: Mutex::default(),
            revisions: watch::Sender::new(0),
        }))
    }

    /// Serves what the API says, from now on: Revisions and Endpoints of all namespaces.
    pub fn follow(self: &Arc<Self>, informers: &Informers, hints: &HintBus) {
        let revisions: Informer<Revision> = informers.get(Scope::all());
        let endpoints: Informer<Endpoints> = informers.get(Scope::all());
        let cache = Arc::new((endpoints.clone(), Mutex::new(())));
        let (activator, of_revisions) = (Arc::clone(self), Arc::clone(&cache));
        revisions.subscribe(move |delta| {
            let Some(latest) = delta.latest() else { return };
            let key = Key::of(&**latest);
            let Some(revision) = delta.new else { return activator.remove_revision(&key) };
            if activator.set_revision(revision) {
                let private = Key::new(key.namespace.clone(), names::private_service(&key.name));
                activator.refresh(&of_revisions, &private);
                activator.refresh(&of_revisions, &key);
            }
        });
        let activator = Arc::clone(self);
        endpoints.subscribe(move |delta| {
            delta.latest().iter().for_each(|latest| activator.refresh(&cache, &Key::of(&***latest)));
        });
        let maps: Informer<ConfigMap> = informers.get(Scope::namespace(self.system_namespace.as_str()));
        let activator = Arc::clone(self);
        maps.subscribe(move |delta| {
            let of_ours = delta.new.filter(|map| map.metadata.name.as_deref() == Some(Observability::NAME));
            of_ours.iter().for_each(|map| activator.set_observability(map));
        });
        self.follow_tls();
        self.listen_to(hints);
    }

    /// What config-observability is now. What cannot be read changes nothing.
    fn set_observability(&self, map: &ConfigMap) {
        if let Ok(config) = Observability::parse(map.data.as_ref().unwrap_or(&BTreeMap::new())) {
            self.log.store(RequestLog::new(&RequestLogConfig::from(&config)).map(Arc::new));
        }
    }

    /// Speaks TLS with Pods as long as the operator wants it.
    fn follow_tls(self: &Arc<Self>) {
        let (mut is_enabled, shutdown) = (self.internal_tls.is_enabled(), self.tasks.shutdown().clone());
        let activator = Arc::clone(self);
        self.tasks.spawn("activator/tls", async move {
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.reached(Phase::Drained) => return Ok(()),
                    changed = is_enabled.changed() => match changed {
                        Ok(()) => activator.set_secured(*is_enabled.borrow_and_update()),
                        // Nobody can change it any more.
                        Err(_) => shutdown.reached(Phase::Drained).await,
                    },
                }
            }
        });
    }

    fn set_secured(&self, is_secured: bool) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for throttler in self.table.load().by_revision.values() {
            throttler.set_spec(throttler.spec().secured(is_secured));
        }
    }

    /// Takes Endpoints in as they are now.
    fn refresh(&self, (cache, reading): &(Informer<Endpoints>, Mutex<()>), key: &Key) {
        // Read and set as one: of two threads the later one has read what is newer.
        let _reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = cache.get(&base_controller::Key::new(key.namespace.as_str(), key.name.as_str()));
        self.set_endpoints(key, endpoints.as_deref());
    }

    fn listen_to(self: &Arc<Self>, hints: &HintBus) {
        let (mut hints, shutdown, activator) = (hints.subscribe(), self.tasks.shutdown().clone(), Arc::clone(self));
        self.tasks.spawn("activator/hints", async move {
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.reached(Phase::Drained) => return Ok(()),
                    hint = hints.recv() => match hint {
                        Some(base_controller::hint::Hint::Listening { .. }) => activator.prober.ask_again(),
                        // Nobody sends any more.
                        None => shutdown.reached(Phase::Drained).await,
                    },
                }
            }
        });
    }

    /// What a Revision is now. True if it is new here: then its Endpoints are to be set.
    pub fn set_revision(&self, revision: &Revision) -> bool {
        let key = Key::of(revision);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let spec = Spec::of(revision, *self.internal_tls.is_enabled().borrow());
        if let Some(known) = self.throttler(&key) {
            if known.spec() != spec {
                known.set_spec(spec);
            }
            return false;
        }
        let mut table = Table::clone(&self.table.load());
        let throttler = Throttler::new(key.clone(), spec);
        throttler.set_owners(&revision.metadata);
        let private = Key::new(key.namespace.clone(), names::private_service(&key.name));
        table.by_private_service.insert(private, Arc::clone(&throttler));
        table.by_revision.insert(key, throttler);
        self.table.store(Arc::new(table));
        self.revisions.send_modify(|count| *count += 1);
        true
    }

    /// A Revision is gone. Who waits for it is sent away.
    pub fn remove_revision(&self, key: &Key) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        table.by_private_service.remove(&Key::new(key.namespace.clone(), names::private_service(&key.name)));
        if let Some(throttler) = table.by_revision.remove(key) {
            self.table.store(Arc::new(table));
            throttler.close();
        }
    }

    /// What Endpoints are now: those of a Revision's private Service (its Pods) or of its public one (who else is in front of it).
    pub fn set_endpoints(&self, key: &Key, endpoints: Option<&Endpoints>) {
        let table = self.table.load();
        if let Some(throttler) = table.by_private_service.get(key) {
            throttler.set_pods(endpoints, |ip| self.prober.ask(throttler, ip));
        } else if let (Some(throttler), Some(_)) = (table.by_revision.get(key), self.pod_ip) {
            throttler.set_share(endpoints, self.pod_ip);
        }
    }

    /// How many requests wait for a Revision, and how many could be on their way to its Pods.
    pub fn load_of(&self, revision: &Key) -> Option<(usize, u32)> {
        self.throttler(revision).map(|throttler| (throttler.queued(), throttler.capacity()))
    }

    fn throttler(&self, revision: &Key) -> Option<Arc<Throttler>> {
        self.table.load().by_revision.get(revision).map(Arc::clone)
    }

    /// Answers a request for `revision`, which a route has named.
    pub async fn call(&self, revision: &Key, request: Request) -> Response {
        if let Some(answer) = probe_answer(request.headers()) {
            return answer;
        }
        let throttler = match self.throttler(revision) {
            Some(throttler) => Some(throttler),
            None => self.wait_for(revision).await,
        };
        match throttler {
            Some(throttler) => self.pass_on(&throttler, request).await,
            None => headers::status(StatusCode::NOT_FOUND),
        }
    }

    /// Answers a request that came over a socket: the Revision is in its headers, or its host is a Revision's Service.
    pub async fn answer(&self, request: Request) -> Response {
        if headers::is_kubelet_probe(request.headers()) {
            let is_lame = self.tasks.shutdown().phase() > Phase::Running;
            return headers::status(if is_lame { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK });
        }
        if let Some(answer) = probe_answer(request.headers()) {
            return answer;
        }
        match revision_of(&request).and_then(|revision| self.throttler(&revision)) {
            Some(throttler) => self.pass_on(&throttler, request).await,
            None => headers::status(StatusCode::NOT_FOUND),
        }
    }

    async fn wait_for(&self, revision: &Key) -> Option<Arc<Throttler>> {
        let mut changes = self.revisions.subscribe();
        let appearing = async {
            loop {
                changes.borrow_and_update();
                if let Some(throttler) = self.throttler(revision) {
                    return Some(throttler);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(REVISION_PATIENCE, appearing).await.ok().flatten()
    }

    async fn pass_on(&self, throttler: &Arc<Throttler>, mut request: Request) -> Response {
        let counted = self.reporter.begin(throttler);
        for name in [headers::REVISION, headers::NAMESPACE] {
            request.headers_mut().remove(name);
        }
        request.headers_mut().insert(headers::PROXY, HeaderValue::from_static(header::PROXY_ACTIVATOR));
        let answering = self.send(throttler, request);
        let response = throttler.spec().timeouts.bound(TIMEOUT_TEXT, answering).await;
        hold::attach(response, counted)
    }

    async fn send(&self, throttler: &Arc<Throttler>, mut request: Request) -> Response {
        let (mut throttler, mut backoff) = (Arc::clone(throttler), RETRY_BACKOFF);
        for attempt in 1.. {
            let admitted = match throttler.admit().await {
                Ok(admitted) => admitted,
                Err(Refused::Full) => return headers::text(StatusCode::SERVICE_UNAVAILABLE, QUEUE_FULL),
                Err(Refused::Closed) => match self.throttler(&throttler.key) {
                    // The Revision was deleted and made again.
                    Some(next) if attempt < MAX_TRIES => {
                        throttler = next;
                        continue;
                    }
                    _ => return headers::status(StatusCode::NOT_FOUND),
                },
            };
            let unanswered = match self.upstream.send(&admitted.pod.target, request).await {
                Ok(response) => return hold::attach(response, admitted.held),
                Err(unanswered) => unanswered,
            };
            tracing::debug!(revision = %throttler.key, error = %unanswered.cause, "no answer from a pod");
            match unanswered.request {
                Some(unsent) if attempt < MAX_TRIES => request = unsent.into_inner(),
                _ => return headers::text(StatusCode::BAD_GATEWAY, unanswered.cause.to_string()),
            }
            throttler.set_refused(&admitted.pod.target, |ip| self.prober.ask(&throttler, ip));
            drop(admitted);
            tokio::time::sleep(backoff).await;
            backoff = backoff * 7 / 5;
        }
        headers::status(StatusCode::BAD_GATEWAY)
    }

    /// Serves a port of one of its Pods (8012, 8013, or by TLS 8112) on the data plane's workers, for those who reach the activator by its
    /// Service, until the shutdown of `tasks` begins. Requests are logged where the operator wants it.
    ///
    /// # Errors
    /// A listener cannot be used, or the workers have ended.
    pub async fn serve(
        self: &Arc<Self>,
        plane: &DataPlane,
        (port, listeners): (u16, Vec<Listener>),
        (log, tasks): (Arc<dyn LogSink>, &Tasks),
    ) -> Result<Vec<ServerHandle>, WorkerError> {
        let activator = Arc::clone(self);
        let server = if i32::from(port) == port::BACKEND_HTTPS { &self.secured } else { &self.server };
        let service =
            move |_worker: usize, peer: &Arc<Peer>| activator.service(Arc::clone(peer), Some(Arc::clone(&log)));
        plane.serve(&server.under(tasks), listeners, service).await
    }

    /// The activator as the service of one connection.
    pub fn service(self: &Arc<Self>, peer: Arc<Peer>, log: Option<Arc<dyn LogSink>>) -> ActivatorService {
        ActivatorService { activator: Arc::clone(self), peer, log }
    }

    /// What the log says of the Revision that a request is for, and of this activator.
    fn subject(&self, request: &Request, sink: Arc<dyn LogSink>) -> Subject {
        let revision = revision_of(request).unwrap_or_else(|| Key::new("", ""));
        let throttler = self.throttler(&revision);
        let (service, configuration) = throttler.map(|throttler| throttler.owners()).unwrap_or_default();
        Subject { revision, service, configuration, pod: self.pod_name.clone(), pod_ip: self.pod_ip, sink }
    }
}

/// Answers requests that came over a socket.
#[derive(Clone)]
pub struct ActivatorService {
    activator: Arc<Activator>,
    peer: Arc<Peer>,
    log: Option<Arc<dyn LogSink>>,
}

impl std::fmt::Debug for ActivatorService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActivatorService").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl tower_service::Service<Request> for ActivatorService {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { activator, peer, log } = self.clone();
        Box::pin(async move {
            let configured = activator.log.load_full().zip(log);
            let Some((log, sink)) = configured else { return Ok(activator.answer(request).await) };
            let (log, subject) = (RequestLog::clone(&log), Arc::new(activator.subject(&request, sink)));
            Ok(log.around((request, Some(peer)), subject, |request| activator.answer(request)).await)
        })
    }
}

/// The answer to somebody who asks whether the activator is here, or whether an ingress is.
fn probe_answer(request: &HeaderMap) -> Option<Response> {
    let asked = request.get(headers::PROBE)?;
    if asked == header::PROBE_INGRESS {
        let Some(hash) = request.get(headers::HASH).filter(|hash| !hash.is_empty()) else {
            let missing = r#"a probe request must contain a non-empty "K-Network-Hash" header"#;
            return Some(headers::text(StatusCode::BAD_REQUEST, missing));
        };
        let mut answer = headers::status(StatusCode::OK);
        answer.headers_mut().insert(headers::HASH, hash.clone());
        return Some(answer);
    }
    if asked == header::PROBE_ACTIVATOR {
        return Some(headers::text(StatusCode::OK, header::PROBE_ACTIVATOR));
    }
    Some(headers::unexpected_probe(asked.to_str().unwrap_or_default()))
}

/// The Revision that a request is for.
fn revision_of(request: &Request) -> Option<Key> {
    let of = |name| headers::value(request.headers(), &name).filter(|value| !value.is_empty());
    if let (Some(name), Some(namespace)) = (of(headers::REVISION), of(headers::NAMESPACE)) {
        return Some(Key::new(namespace, name));
    }
    // `<revision>.<namespace>.svc.<domain>`, with or without a port.
    let host = headers::host(request)?.split(':').next()?;
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    (parts.next() == Some("svc")).then(|| Key::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base_net::Body;

    fn request(headers: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn the_revision_of_a_request() {
        for (headers, expected) in [
            (&[("knative-serving-revision", "a-1"), ("knative-serving-namespace", "x")][..], Some("x/a-1")),
            (&[("knative-serving-revision", "a-1"), ("host", "b-1.y.svc.cluster.local:80")], Some("y/b-1")),
            (&[("host", "b-1.y.svc")], Some("y/b-1")),
            (&[("host", "b-1.y.example.com")], None),
            (&[], None),
        ] {
            assert_eq!(revision_of(&request(headers)).map(|key| key.to_string()).as_deref(), expected, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn probes() {
        for (headers, status, body) in [
            (&[("k-network-probe", "activator")][..], 200, "activator"),
            (&[("k-network-probe", "probe"), ("k-network-hash", "abc")], 200, ""),
            (
                &[("k-network-probe", "probe")],
                400,
                r#"a probe request must contain a non-empty "K-Network-Hash" header"#,
            ),
            (&[("k-network-probe", "queue")], 400, "unexpected probe header value: queue"),
        ] {
            let answer = probe_answer(request(headers).headers()).unwrap();
            assert_eq!(answer.status().as_u16(), status);
            assert_eq!(answer.into_body().read(200).await.unwrap(), body);
        }
        assert!(probe_answer(request(&[]).headers()).is_none());
    }
}
