//! The upstream pool: sends requests to targets over connections that are kept for the next request.
//!
//! ```text
//! send ──► idle connection (last used first) │ dial ──► hyper ──► response, whose body holds the connection
//!               ▲                                                        │ body read to its end
//!               └────────────────────────────────────────────────────────┘ (else the connection is closed)
//! ```
//! - A pool belongs to one thread (one per worker, see [`crate::workers::PerWorker`]): its connections are driven by the runtime that dialled
//!   them, and its locks are not contended.
//! - HTTP/1.1: one request at a time on a connection. A request that finds its idle connection closed goes out again: always, if nothing
//!   of it was sent; once, if it was but no answer began and it can be repeated (a safe method without a body).
//! - HTTP/2: one connection per target, shared; everybody who comes while it is dialled waits for the same dial.
//! - A request that was not sent comes back in the error ([`SendError::into_request`]), for another target.
//! - Bounds: idle connections and requests in flight per target, idle time, dial time.

mod head;
mod lease;
mod shared;
mod slot;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base_rt::metrics::{Counter, Scope};
use base_rt::{Phase, Tasks};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::body::{Body, Request, Response};
use crate::connect::{Connector, DialError, Protocol, Target};
use crate::tasks::StreamTasks;
pub use head::remove_hop_by_hop;
use lease::InFlight;
pub(crate) use lease::Leased;
use shared::SharedDial;
use slot::Slot;

/// How often idle connections are looked through.
const TICK: Duration = Duration::from_secs(1);

/// What a pool keeps.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Idle connections per target.
    pub max_idle: usize,
    /// How long a connection may be idle, rounded up to seconds. It should be shorter than the targets' own patience.
    pub idle_timeout: Duration,
    /// Requests in flight per target.
    pub max_in_flight: usize,
}

impl Default for PoolConfig {
    /// 256 idle connections for at most 60 s; 10 000 requests in flight.
    fn default() -> Self {
        Self { max_idle: 256, idle_timeout: Duration::from_secs(60), max_in_flight: 10_000 }
    }
}

/// The metrics of all pools of one name. Made once, given to each worker's pool.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    dials: Counter,
    failed_dials: Counter,
    repeated: Counter,
    refused: Counter,
}

impl PoolMetrics {
    /// Registers them.
    pub fn new(scope: &Scope) -> Self {
        Self {
            dials: scope.register("upstream_dials", "Connections made", Counter::default()),
            failed_dials: scope.register("upstream_failed_dials", "Connections not made", Counter::default()),
            repeated: scope.register(
                "upstream_repeated",
                "Requests sent again because an idle connection was closed",
                Counter::default(),
            ),
            refused: scope.register(
                "upstream_refused",
                "Requests not sent because too many were in flight",
                Counter::default(),
            ),
        }
    }
}

/// A pool of upstream connections. Clones share it.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    connector: Connector,
    tasks: Tasks,
    config: PoolConfig,
    metrics: PoolMetrics,
    slots: Mutex<HashMap<Target, Arc<Slot>>>,
    /// Seconds, as counted by the sweep: the clock of idle connections.
    now: Arc<AtomicU32>,
    is_swept: AtomicBool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// One target in a pool, found once and kept, which saves looking it up for each request.
#[derive(Clone)]
pub struct Endpoint {
    pool: Pool,
    slot: Arc<Slot>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.slot.target).finish()
    }
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
#[error("no response from {target}")]
pub struct SendError {
    /// Who was to answer.
    pub target: Target,
    /// What went wrong.
    #[source]
    pub cause: SendCause,
    /// In a mutex only because an error has to be `Sync`, which a body is not.
    request: Mutex<Option<Box<Request>>>,
}

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum SendCause {
    /// There was no connection.
    #[error(transparent)]
    Dial(#[from] Arc<DialError>),
    /// The connection failed, or what came back was no answer.
    #[error("the exchange failed")]
    Exchange(#[source] hyper::Error),
    /// Too many requests to the target are in flight.
    #[error("{0} requests are in flight")]
    Busy(usize),
    /// The request cannot be said in the target's protocol.
    #[error("the request has no host")]
    NoHost,
}

impl SendError {
    /// The request, if nothing of it was sent: it may go elsewhere.
    pub fn into_request(self) -> Option<Request> {
        let request = self.request.into_inner().unwrap_or_else(PoisonError::into_inner);
        request.map(|request| *request)
    }

    /// Whether nobody listens at the target (now).
    pub fn is_refused(&self) -> bool {
        matches!(&self.cause, SendCause::Dial(error) if error.is_refused())
    }
}

impl Pool {
    /// An empty pool whose connections are tasks of `tasks`, on the runtimes that dial them.
    pub fn new(connector: Connector, config: PoolConfig, tasks: &Tasks, metrics: &PoolMetrics) -> Self {
        Self(Arc::new(Shared {
            connector,
            tasks: tasks.clone(),
            config,
            metrics: metrics.clone(),
            slots: Mutex::default(),
            now: Arc::default(),
            is_swept: AtomicBool::new(false),
        }))
    }

    /// The place of `target` in this pool.
    pub fn endpoint(&self, target: &Target) -> Endpoint {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match slots.get(target) {
            Some(slot) => Arc::clone(slot),
            None => {
                let slot = Arc::new(Slot::new(target.clone(), self.0.config.max_idle, Arc::clone(&self.0.now)));
                slots.insert(target.clone(), Arc::clone(&slot));
                slot
            }
        };
        drop(slots);
        Endpoint { pool: self.clone(), slot }
    }

    /// Sends `request` to `target`. Its `Host` stays; its path is what the target sees.
    ///
    /// # Errors
    /// There is no response.
    pub async fn send(&self, target: &Target, request: Request) -> Result<Response, SendError> {
        self.endpoint(target).send(request).await
    }

    /// Requests to `target` whose response (with its body) is not over yet.
    pub fn in_flight(&self, target: &Target) -> usize {
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(target).map_or(0, |slot| slot.in_flight())
    }

    /// Idle HTTP/1.1 connections to `target`.
    pub fn idle(&self, target: &Target) -> usize {
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(target).map_or(0, |slot| slot.idle())
    }

    /// Starts the sweep with the first connection, on the runtime that has it.
    fn ensure_swept(&self) {
        if self.0.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let (pool, shutdown) = (Arc::downgrade(&self.0), self.0.tasks.shutdown().clone());
        self.0.tasks.spawn_transient("upstream/sweep", async move {
            loop {
                let is_stopped = tokio::select! {
                    biased;
                    () = shutdown.reached(Phase::Stopped) => true,
                    () = tokio::time::sleep(TICK) => false,
                };
                let Some(pool) = pool.upgrade() else { return };
                pool.sweep(is_stopped);
                if is_stopped {
                    return;
                }
            }
        });
    }
}

impl Shared {
    /// Drops connections that are closed or idle for too long, and targets of which nothing is left.
    fn sweep(&self, is_stopped: bool) {
        let now = self.now.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let limit = if is_stopped { 0 } else { u32::try_from(self.config.idle_timeout.as_secs()).unwrap_or(u32::MAX) };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            let is_empty = slot.sweep(now, limit, is_stopped);
            !is_empty || Arc::strong_count(slot) > 1
        });
    }
}

impl Endpoint {
    /// Whom requests go to.
    pub fn target(&self) -> &Target {
        &self.slot.target
    }

    /// Requests whose response (with its body) is not over yet.
    pub fn in_flight(&self) -> usize {
        self.slot.in_flight()
    }

    /// Sends `request`. Its `Host` stays; its path is what the target sees.
    ///
    /// # Errors
    /// There is no response.
    pub async fn send(&self, mut request: Request) -> Result<Response, SendError> {
        let in_flight = InFlight::begin(&self.slot);
        let max_in_flight = self.pool.0.config.max_in_flight;
        if self.slot.in_flight() > max_in_flight {
            self.pool.0.metrics.refused.inc();
            return Err(self.failed(SendCause::Busy(max_in_flight), Some(request)));
        }
        match self.slot.target.protocol {
            Protocol::Http1 => {
                head::for_http1(&mut request);
                self.send_http1(request, in_flight).await
            }
            Protocol::Http2 => {
                if head::for_http2(&mut request, self.slot.target.tls.is_some()).is_none() {
                    return Err(self.failed(SendCause::NoHost, Some(request)));
                }
                self.send_http2(request, in_flight).await
            }
        }
    }

    async fn send_http1(&self, mut request: Request, in_flight: InFlight) -> Result<Response, SendError> {
        let mut may_reuse = true;
        loop {
            let idle = if may_reuse { self.slot.take().await } else { None };
            let is_reused = idle.is_some();
            let mut sender = match idle {
                Some(sender) => sender,
                None => match self.dial_http1().await {
                    Ok(sender) => sender,
                    Err(cause) => return Err(self.failed(cause, Some(request))),
                },
            };
            let copy = if is_reused { head::repeatable(&request) } else { None };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(lease::hold(response, sender, in_flight)),
                Err(mut error) => match (error.take_message(), copy) {
                    (Some(unsent), _) if is_reused => request = unsent,
                    (None, Some(copy)) if is_before_answer(error.error()) => {
                        self.pool.0.metrics.repeated.inc();
                        may_reuse = false;
                        request = copy;
                    }
                    (unsent, _) => return Err(self.failed(SendCause::Exchange(error.into_error()), unsent)),
                },
            }
        }
    }

    async fn send_http2(&self, mut request: Request, in_flight: InFlight) -> Result<Response, SendError> {
        let mut may_redial = true;
        loop {
            let mut sender = match self.slot.http2.get(|| self.dial_http2()).await {
                Ok(sender) => sender,
                Err(error) => return Err(self.failed(SendCause::Dial(error), Some(request))),
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| Body::from(body).with_attached(in_flight))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if may_redial => {
                        may_redial = false;
                        request = unsent;
                    }
                    unsent => return Err(self.failed(SendCause::Exchange(error.into_error()), unsent)),
                },
            }
        }
    }

    fn failed(&self, cause: SendCause, request: Option<Request>) -> SendError {
        SendError { target: self.slot.target.clone(), cause, request: Mutex::new(request.map(Box::new)) }
    }

    async fn dial_http1(&self) -> Result<http1::SendRequest<Body>, SendCause> {
        let io = self.dial().await.map_err(|error| SendCause::Dial(Arc::new(error)))?;
        let (sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(io)).await.map_err(SendCause::Exchange)?;
        self.pool.0.tasks.spawn_transient("upstream", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = base_rt::error_chain(&error), "upstream connection failed");
            }
        });
        Ok(sender)
    }

    fn dial_http2(&self) -> SharedDial {
        let endpoint = self.clone();
        shared::dialling(async move {
            let io = endpoint.dial().await?;
            let tasks = &endpoint.pool.0.tasks;
            let mut builder = http2::Builder::new(StreamTasks::new("upstream/http2", tasks));
            builder.timer(TokioTimer::new()).adaptive_window(true);
            let target = endpoint.slot.target.clone();
            let (sender, connection) = builder
                .handshake(TokioIo::new(io))
                .await
                .map_err(|error| DialError::Connect { target, source: std::io::Error::other(error) })?;
            tasks.spawn_transient("upstream", async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = base_rt::error_chain(&error), "upstream connection failed");
                }
            });
            Ok(sender)
        })
    }

    async fn dial(&self) -> Result<crate::io::Io, DialError> {
        self.pool.ensure_swept();
        self.pool.0.metrics.dials.inc();
        let dialled = self.pool.0.connector.dial(&self.slot.target).await;
        if dialled.is_err() {
            self.pool.0.metrics.failed_dials.inc();
        }
        dialled
    }
}

/// Whether a connection ended before it said anything about the request: what a server does that closes an idle connection.
fn is_before_answer(error: &hyper::Error) -> bool {
    use std::error::Error;
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let is_io_end = || {
        let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
        io.is_some_and(|io| matches!(io.kind(), ConnectionReset | BrokenPipe | UnexpectedEof))
    };
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || is_io_end()
}
