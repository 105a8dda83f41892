//! queue-proxy: what stands in front of the user's container in every Pod of a Revision.
//!
//! ```text
//! 8012, 8013 or by TLS 8112 (listener, or a call through the process-local table) ─► handler ─► 127.0.0.1:USER_PORT, on the Pod's own sockets
//! 8022 /wait-for-drain    9090 /metrics (Stat for the autoscaler)    9091 /metrics (of requests)
//! ```
//! The same code is a process (`kwick queue-proxy`: it listens and dials itself) and a role inside Kwick (the listeners and the sockets
//! come from the Pod's namespace, requests mostly by calls).
//!
//! Its life: it serves until its container is told to end ([`Phase::Lame`]); then probes fail, it serves on until no request has come for
//! the quiet period, hands back what callers of this process still bring, finishes what is in flight, and has [`Queue::ended`]. The user's
//! container is told to end only then: `/wait-for-drain`, its preStop hook, is not answered before.

mod certificate;
mod config;
mod drain;
mod handler;
mod metrics;
mod readiness;
mod report;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base_net::connect::{Connector, LocalEntry, LocalHandler, LocalTable};
use base_net::listen::{ListenError, Listener};
use base_net::pool::PoolConfig;
use base_net::serve::{Peer, Server, ServerConfig, ServerHandle, Transport};
use base_net::tls::{Certificates, TlsError, newest_server_config};
use base_net::{Request, Response};
use base_rt::metrics::Scope;
use base_rt::watch;
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, Tasks};
use futures::future::{BoxFuture, join_all};
use http::StatusCode;
use knative_apis::meta::port;
use knative_apis::stat::StatMessage;
use tokio::sync::{mpsc, oneshot};

pub use certificate::{CERTIFICATE_DIRECTORY, Files};
pub use config::{Config, ConfigError, Observability, RequestMetrics};
use drain::Drainer;
use handler::{Handler, Local};
use readiness::Readiness;
use report::Reporter;

use crate::request_log::{LogSink, RequestLog, RequestLogConfig, Subject};
use crate::{Upstream, headers};

/// How long no request has to come until Knative's queue-proxy takes the traffic for gone.
pub const KNATIVE_QUIET: Duration = Duration::from_secs(30);
/// After the quiet period that `/wait-for-drain` began, how long the end of this container may be waited for before the drain was none.
const DRAIN_CONFIRMATION: Duration = Duration::from_secs(1);
/// How long a connection to the user's container may be idle: shorter than what common servers allow.
const USER_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long its own tasks may take to end, after everything else has.
const LAST_TASKS: Duration = Duration::from_secs(2);
const WAIT_FOR_DRAIN: &str = "/wait-for-drain";
const METRICS: &str = "/metrics";

/// What a queue-proxy is made from.
pub struct QueueParts {
    /// What it is told.
    pub config: Config,
    /// Its listening sockets by port: of 8012, 8013, 8022, 8112, 9090 and 9091 those that there are. Others are closed.
    pub listeners: BTreeMap<u16, TcpListener>,
    /// Reads the container's files: its certificate, if it has one.
    pub files: Arc<dyn Files>,
    /// Dials 127.0.0.1 of the Pod: `Connector::new().with_supply(…)` with the Pod's sockets, or plain in a process of the Pod.
    pub connector: Connector,
    /// Where calls from this process find it, at the Pod's address and serving port; none in a process of its own.
    pub local: Option<LocalTable>,
    /// The autoscaler's receiver, if it is in this process.
    pub stats: Option<mpsc::Sender<StatMessage>>,
    /// How many workers the data plane has that calls it; 0 if there is none.
    pub workers: usize,
    /// How long no request has to come while it drains: [`KNATIVE_QUIET`], or less where the routes change faster than the Pod ends.
    pub quiet: Duration,
    /// The process's clock.
    pub clock: Clock,
    /// The process's tasks.
    pub tasks: Tasks,
    /// The container's end: `Lame` is its SIGTERM, `Stopped` its SIGKILL.
    pub shutdown: Shutdown,
    /// The container's log.
    pub log: Arc<dyn LogSink>,
}

/// Why a queue-proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A readiness probe cannot be run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// TLS cannot be served.
    #[error("could not serve TLS")]
    Tls(#[source] TlsError),
    /// A listening socket cannot be used.
    #[error("could not serve port {port}")]
    Listen {
        /// Its port.
        port: u16,
        /// Why not.
        #[source]
        source: ListenError,
    },
}

/// A queue-proxy at work.
#[derive(Clone)]
pub struct Queue {
    handler: Arc<Handler>,
    ended: watch::Receiver<bool>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("pod", &self.handler.config.pod).finish_non_exhaustive()
    }
}

impl Queue {
    /// Waits until it has drained and its last request is over, or was stopped.
    pub async fn ended(&self) {
        // A task that is gone has ended as well.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Whether the user's containers are ready, as a health probe would be told.
    pub async fn is_ready(&self) -> bool {
        !self.handler.drainer.is_draining() && self.handler.readiness.is_ready().await
    }

    /// Answers requests as the listeners do.
    pub fn local_handler(&self) -> Arc<dyn LocalHandler> {
        Arc::new(Local(Arc::clone(&self.handler)))
    }
}

/// Starts a queue-proxy on the current runtime.
///
/// # Errors
/// A probe cannot be run, or a socket not be used.
pub fn start(parts: QueueParts) -> Result<Queue, StartError> {
    let QueueParts { config, listeners, files, connector, local, stats, workers, quiet, clock, tasks, shutdown, log } =
        parts;
    // Its own phases: it serves on while its container is lame already.
    let (phases, own) = Shutdown::new();
    let own_tasks = Tasks::new(own);
    let metrics = Scope::root();
    let pool = PoolConfig { idle_timeout: USER_IDLE_TIMEOUT, ..PoolConfig::default() };
    let dialled = (LocalTable::default(), connector.clone(), pool);
    let handler = Arc::new(Handler {
        upstream: Upstream::with_config(dialled, workers, (&own_tasks, &metrics)),
        drainer: Drainer::new(quiet),
        readiness: Readiness::try_new(&config.readiness_probes, connector, &own_tasks)?,
        reporter: Reporter::new(config.revision.clone(), config.pod.clone(), clock),
        gate: handler::gate(config.concurrency),
        log: RequestLog::new(&RequestLogConfig::from(&config.observability)),
        subject: Arc::new(subject(&config, &log)),
        metrics: (config.observability.request_metrics.protocol == "prometheus").then(metrics::RequestMetrics::new),
        config,
    });
    let certificates = certificate::Watched::start(files, log, &own_tasks);
    let servers = serve((&handler, certificates), listeners, (&own_tasks, &metrics, &shutdown))?;
    handler.reporter.start(stats, &own_tasks);
    let entry = local.zip(handler.config.pod_ip).map(|(local, ip)| {
        let addr = SocketAddr::new(ip, handler.config.serving_port);
        local.insert(addr, Arc::new(Local(Arc::clone(&handler))))
    });
    let (end, ended) = watch::channel(false);
    let life = Life { handler: Arc::clone(&handler), servers, phases, tasks: own_tasks, entry };
    let process = tasks.shutdown().clone();
    tasks.spawn_transient("queue-proxy", async move {
        life.run(&shutdown, &process).await;
        end.send_replace(true);
    });
    Ok(Queue { handler, ended })
}

/// From the first request to the last.
struct Life {
    handler: Arc<Handler>,
    servers: Vec<ServerHandle>,
    phases: ShutdownHandle,
    tasks: Tasks,
    entry: Option<LocalEntry>,
}

impl Life {
    async fn run(self, container: &Shutdown, process: &Shutdown) {
        tokio::select! {
            biased;
            () = container.reached(Phase::Stopped) => {}
            () = process.reached(Phase::Drained) => {}
            () = self.drain(container) => {}
        }
        drop(self.entry);
        self.phases.advance(Phase::Stopped);
        // A connection that does not end keeps nobody waiting.
        let _ = tokio::time::timeout(LAST_TASKS, self.tasks.finished()).await;
    }

    async fn drain(&self, container: &Shutdown) {
        container.reached(Phase::Lame).await;
        self.handler.drainer.drain().await;
        self.handler.drainer.end();
        self.phases.advance(Phase::Lame);
        join_all(self.servers.iter().map(ServerHandle::drained)).await;
        self.handler.drainer.emptied().await;
    }
}

/// What the request log says of the Revision and the Pod.
fn subject(config: &Config, log: &Arc<dyn LogSink>) -> Subject {
    Subject {
        revision: config.revision.clone(),
        service: config.service.clone(),
        configuration: config.configuration.clone(),
        pod: config.pod.clone(),
        pod_ip: config.pod_ip,
        sink: Arc::clone(log),
    }
}

fn serve(
    (handler, certificates): (&Arc<Handler>, Option<Certificates>),
    listeners: BTreeMap<u16, TcpListener>,
    (tasks, metrics, container): (&Tasks, &Scope, &Shutdown),
) -> Result<Vec<ServerHandle>, StartError> {
    let serving = Server::new(ServerConfig::new("queue_proxy"), tasks, metrics);
    let secured = match certificates.map(|own| newest_server_config(&own)).transpose().map_err(StartError::Tls)? {
        Some(tls) => {
            let config = ServerConfig { transport: Transport::Tls(tls), ..ServerConfig::new("queue_proxy_tls") };
            Some(Server::new(config, tasks, metrics))
        }
        None => None,
    };
    let others = Server::new(ServerConfig::new("queue_proxy_admin"), tasks, metrics);
    let mut servers = Vec::new();
    for (port, listener) in listeners {
        let Some(duty) = duty(port, &handler.config) else { continue };
        let server = match duty {
            _ if port == handler.config.serving_tls_port => match &secured {
                Some(secured) => secured,
                None => continue,
            },
            Duty::Serve => &serving,
            Duty::Admin | Duty::Statistics | Duty::Metrics => &others,
        };
        let (handler, tasks, container) = (Arc::clone(handler), tasks.clone(), container.clone());
        let new_service = move |peer: &Arc<Peer>| {
            let (handler, tasks, container) = (Arc::clone(&handler), tasks.clone(), container.clone());
            Service { handler, tasks, container, duty, peer: Arc::clone(peer) }
        };
        let started = server.start(Listener::from(listener), new_service);
        servers.push(started.map_err(|source| StartError::Listen { port, source })?);
    }
    Ok(servers)
}

/// What a port is for.
#[derive(Clone, Copy, Debug)]
enum Duty {
    Serve,
    Admin,
    Statistics,
    Metrics,
}

fn duty(number: u16, config: &Config) -> Option<Duty> {
    match i32::from(number) {
        _ if [config.serving_port, config.serving_tls_port].contains(&number) => Some(Duty::Serve),
        port::BACKEND_HTTP | port::BACKEND_HTTP2 => Some(Duty::Serve),
        port::QUEUE_ADMIN => Some(Duty::Admin),
        port::QUEUE_AUTOSCALING_METRICS => Some(Duty::Statistics),
        port::QUEUE_USER_METRICS => Some(Duty::Metrics),
        _ => None,
    }
}

/// One connection's service.
#[derive(Clone)]
struct Service {
    handler: Arc<Handler>,
    tasks: Tasks,
    container: Shutdown,
    duty: Duty,
    peer: Arc<Peer>,
}

impl Service {
    async fn answer(self, request: Request) -> Response {
        match (self.duty, request.uri().path()) {
            (Duty::Serve, _) => self.handler.answer(request, Some(self.peer)).await,
            (Duty::Admin, WAIT_FOR_DRAIN) => self.wait_for_drain().await,
            (Duty::Statistics, METRICS) => self.handler.reporter.answer(),
            (Duty::Metrics, METRICS) => match &self.handler.metrics {
                Some(metrics) => metrics.answer(self.handler.gate.as_ref()),
                None => headers::status(StatusCode::NOT_FOUND),
            },
            _ => headers::status(StatusCode::NOT_FOUND),
        }
    }

    /// What the user's container waits for before it ends: until nothing is in flight, for as long as it is given. If it is this container
    /// alone that ends (its liveness failed), the Pod goes on, and nothing of it is waited for.
    async fn wait_for_drain(self) -> Response {
        let Self { handler, tasks, container, .. } = self;
        let (over, waiting) = oneshot::channel();
        // A task, because whoever asks may go away: a drain that was none has to be undone all the same.
        tasks.spawn_transient("queue-proxy/drain", async move {
            handler.drainer.drain().await;
            match tokio::time::timeout(DRAIN_CONFIRMATION, container.reached(Phase::Lame)).await {
                Ok(()) => {
                    handler.drainer.end();
                    handler.drainer.emptied().await;
                }
                Err(_elapsed) => handler.drainer.reset(),
            }
            let _ = over.send(());
        });
        // Without an answer the process ends.
        let _ = waiting.await;
        headers::status(StatusCode::OK)
    }
}

impl tower_service::Service<Request> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}
