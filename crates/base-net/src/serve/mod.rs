//! Serves HTTP/1.1, HTTP/2 without TLS (prior knowledge) and TLS on one listener, told apart by a connection's first bytes.
//!
//! ```text
//! accept ──► (TLS handshake) ──► first bytes ──► hyper's connection ──► service, one clone per request
//!    ▲ at most max_connections        Lame: stop accepting ── in flight finish ── Stopped: end
//! ```
//! - [`Server::run`] is a future: it works on the process's runtime and on a data plane's worker ([`crate::workers`]) alike.
//! - A connection is a task of its own; a panic in a service ends its connection and nothing else.
//! - A service is made per connection, so that what is known about the [`Peer`] costs nothing per request.
//! - Upgrades (`hyper::upgrade::on`) work for HTTP/1.1. `Expect: 100-continue` is answered once the service reads the body.
//! - A client that closes has gone, also if it closes only its sending side: the service's future is dropped, and with it whatever place in
//!   a queue it holds.
//! - A connection that has had no request for a while is closed; what is in flight, and a response still being read, counts as busy.

mod activity;
mod connection;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base_rt::metrics::{Counter, Gauge, Scope};
use base_rt::watch;
use base_rt::{Phase, Shutdown, Tasks};
use futures::FutureExt;
use rustls::pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::{BoxError, Request, Response};
use crate::io::Io;
use crate::listen::{Acceptor, ListenError, Listener};
pub(crate) use activity::Exchange;
use activity::Registry;

/// After an error of `accept` (too many open files), how long to wait before trying again.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);

/// A service that answers requests of one connection. Cloned for each request. Implemented for all that fit.
pub trait HttpService:
    tower_service::Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: tower_service::Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Their address; none on a Unix socket.
    pub remote: Option<SocketAddr>,
    /// The address that they connected to.
    pub local: Option<SocketAddr>,
    /// What TLS knows; none without TLS.
    pub tls: Option<TlsPeer>,
}

/// What TLS knows about the other end.
#[derive(Clone, Debug, Default)]
pub struct TlsPeer {
    /// The name that they asked for.
    pub server_name: Option<String>,
    /// Their certificate and its chain, verified as the server's configuration says; empty if they showed none.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The version, by its number in the protocol: 0x0304 is TLS 1.3.
    pub version: u16,
    /// The cipher suite, by its number in the protocol.
    pub cipher_suite: u16,
    /// What they agreed to speak (ALPN); empty if they did not say.
    pub protocol: String,
}

/// What is spoken on a listener.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// No TLS.
    #[default]
    Plain,
    /// TLS only.
    Tls(Arc<rustls::ServerConfig>),
    /// TLS for those who begin with a TLS handshake, plain for the others.
    Either(Arc<rustls::ServerConfig>),
}

/// How a server serves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// For tasks, logs and metrics.
    pub name: &'static str,
    /// What is spoken.
    pub transport: Transport,
    /// How long a new connection may take to its first complete request head.
    pub header_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// Connections at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Bytes that a request's head may have (HTTP/1.1), or its headers (HTTP/2).
    pub max_header_bytes: u32,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
}

impl ServerConfig {
    /// Plain HTTP; 10 s to the first request, 90 s idle, 10 000 connections, 64 KiB of headers, 1000 streams.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            transport: Transport::Plain,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            max_connections: 10_000,
            max_header_bytes: 64 * 1024,
            max_streams: 1000,
        }
    }
}

/// The metrics of the servers of a process, one set per name.
#[derive(Clone, Debug)]
struct ServerMetrics {
    connections: Gauge,
    accepted: Counter,
    at_limit: Counter,
    failed: Counter,
}

impl ServerMetrics {
    fn new(scope: &Scope) -> Self {
        Self {
            connections: scope.register("connections", "Open connections", Gauge::default()),
            accepted: scope.register("accepted", "Accepted connections", Counter::default()),
            at_limit: scope.register("at_limit", "Times that no connection could be accepted", Counter::default()),
            failed: scope.register("failed", "Connections that ended with an error", Counter::default()),
        }
    }
}

/// Serves listeners with one configuration and one bound on connections. Clones share both.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    tasks: Tasks,
    permits: Arc<Semaphore>,
    metrics: ServerMetrics,
}

/// A server at work.
#[derive(Clone, Debug)]
pub struct ServerHandle(watch::Receiver<bool>);

impl ServerHandle {
    /// Waits until the server has stopped accepting and its last connection is over.
    pub async fn drained(&self) {
        // A server whose task is gone has no connection any more.
        let _ = self.0.clone().wait_for(|is_drained| *is_drained).await;
    }
}

impl Server {
    /// A server for `config.name`, whose metrics are `<name>_connections` and so on.
    pub fn new(config: ServerConfig, tasks: &Tasks, metrics: &Scope) -> Self {
        let metrics = ServerMetrics::new(&metrics.sub(config.name));
        let permits = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
        Self { config: Arc::new(config), tasks: tasks.clone(), permits, metrics }
    }

    /// The same server for `tasks`, whose shutdown it then obeys; the bound and the metrics stay shared.
    #[must_use]
    pub fn under(&self, tasks: &Tasks) -> Self {
        Self { tasks: tasks.clone(), ..self.clone() }
    }

    /// Serves `listener` as a task of the current runtime. `new_service` is called for each connection.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn start<S: HttpService>(
        &self,
        listener: Listener,
        new_service: impl Fn(&Arc<Peer>) -> S + Send + Sync + 'static,
    ) -> Result<ServerHandle, ListenError> {
        let (drained, handle) = watch::channel(false);
        let running = self.run(listener, new_service)?;
        self.tasks.spawn(format!("serve/{}", self.config.name), async move {
            running.await;
            drained.send_replace(true);
            Ok(())
        });
        Ok(ServerHandle(handle))
    }

    /// Serves `listener` on the current runtime: accepts until the process is lame, and ends once the last connection has (or when the
    /// process stops).
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn run<S, N>(
        &self,
        listener: Listener,
        new_service: N,
    ) -> Result<impl Future<Output = ()> + Send + use<S, N>, ListenError>
    where
        S: HttpService,
        N: Fn(&Arc<Peer>) -> S + Send + Sync + 'static,
    {
        let acceptor = listener.accept_here()?;
        let tick = tick(&self.config);
        let registry = Registry::new(self.config.header_timeout, self.config.idle_timeout, tick);
        let new_service: NewService<S> = Arc::new(new_service);
        let accepting = Accepting { server: self.clone(), registry, new_service, tick };
        Ok(accepting.run(acceptor))
    }

    /// Serves one connection that is there already, as [`Server::run`] would.
    pub async fn serve_connection<S: HttpService>(
        &self,
        io: Io,
        new_service: impl Fn(&Arc<Peer>) -> S + Send + Sync + 'static,
    ) {
        let registry = Registry::new(self.config.header_timeout, self.config.idle_timeout, tick(&self.config));
        let registered = registry.register();
        connection::serve(io, &self.config, &self.tasks, &registered.activity, &new_service).await;
    }
}

/// How often idle connections are looked for: a quarter of the shortest time, at most each second.
fn tick(config: &ServerConfig) -> Duration {
    (config.header_timeout.min(config.idle_timeout) / 4).clamp(Duration::from_millis(5), Duration::from_secs(1))
}

type NewService<S> = Arc<dyn Fn(&Arc<Peer>) -> S + Send + Sync>;

/// One listener being served.
struct Accepting<S> {
    server: Server,
    registry: Arc<Registry>,
    new_service: NewService<S>,
    tick: Duration,
}

impl<S: HttpService> Accepting<S> {
    async fn run(self, acceptor: Acceptor) {
        let shutdown = self.server.tasks.shutdown().clone();
        self.accept_until_lame(&acceptor, &shutdown).await;
        // Who is in the kernel's queue has connected already.
        while let Some(Ok(io)) = acceptor.accept().now_or_never() {
            self.connect(io, None);
        }
        drop(acceptor);
        self.registry.drain();
        while !self.registry.is_empty() {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Stopped) => return self.registry.close(),
                () = tokio::time::sleep(self.tick.min(Duration::from_millis(50))) => self.registry.sweep(),
            }
        }
    }

    async fn accept_until_lame(&self, acceptor: &Acceptor, shutdown: &Shutdown) {
        let lame = shutdown.reached(Phase::Lame);
        let mut sweeps = tokio::time::interval(self.tick);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(lame);
        loop {
            tokio::select! {
                biased;
                () = &mut lame => return,
                _ = sweeps.tick() => self.registry.sweep(),
                (accepted, permit) = self.next(acceptor) => match accepted {
                    Ok(io) => self.connect(io, permit),
                    Err(error) => {
                        tracing::warn!(server = self.server.config.name, %error, "could not accept a connection");
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                },
            }
        }
    }

    /// The next connection, once there is room for one.
    async fn next(&self, acceptor: &Acceptor) -> (std::io::Result<Io>, Option<OwnedSemaphorePermit>) {
        let permits = &self.server.permits;
        if permits.available_permits() == 0 {
            self.server.metrics.at_limit.inc();
        }
        // The semaphore is never closed.
        let permit = Arc::clone(permits).acquire_owned().await.ok();
        (acceptor.accept().await, permit)
    }

    fn connect(&self, io: Io, permit: Option<OwnedSemaphorePermit>) {
        let Server { config, tasks, metrics, .. } = self.server.clone();
        let (registered, new_service) = (self.registry.register(), Arc::clone(&self.new_service));
        metrics.accepted.inc();
        let open = Counted::new(metrics.connections);
        self.server.tasks.spawn_transient(config.name, async move {
            let is_good = connection::serve(io, &config, &tasks, &registered.activity, &*new_service).await;
            if !is_good {
                metrics.failed.inc();
            }
            drop((registered, permit, open));
        });
    }
}

/// One more in a gauge, as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
