//! Calls to webhooks: a review goes out over HTTPS, its answer comes back. Admission and conversion know what is in them.
//!
//! ```text
//! Place: url ───────────► name → addresses ─┐
//!        service ─► ClusterIP (the store) ──┴► Pool of the authority's connections ─► POST …?timeout=10s ─► JSON
//! ```
//! A Service is reached at its ClusterIP, to which this machine has a route, under the name `svc.ns.svc`. Failures are worded as Go's client
//! words them, because people look for those words.
//!
//! # Bounds
//! So many calls at once ([`MAX_CALLS`]), of which one webhook that answers late holds a part ([`MAX_CALLS_EACH`]); others wait within their
//! timeout. So many authorities with connections ([`MAX_AUTHORITIES`]); so many bytes of an answer, which the caller says.

mod failure;
mod place;
mod trust;
mod version;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base_net::connect::{Connector, DialPolicy, Target};
use base_net::pool::{Pool, PoolConfig, PoolMetrics};
use base_net::resolve::Resolver;
use base_net::{Body, Request, Response};
use base_rt::Tasks;
use base_rt::metrics::Scope;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Uri};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::http::fair::Seats;
use crate::store::Store;
pub(crate) use failure::CallError;
pub(crate) use place::Place;
pub(crate) use version::ReviewVersion;

/// So many calls at once.
const MAX_CALLS: usize = 128;
/// So many of them to one address,
const MAX_CALLS_EACH: usize = 32;
/// for which so many may wait.
const MAX_WAITING_EACH: usize = 1024;
/// Connections to webhooks of so many authorities are kept.
const MAX_AUTHORITIES: usize = 32;
/// So many idle connections to one webhook.
const MAX_IDLE: usize = 4;
/// So long a connection is kept that nobody uses: shorter than Go's servers keep theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest timeout that a webhook may have.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Who calls, as webhooks log it.
const CALLER: &str = "kube-apiserver-admission";

/// Where a webhook is, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientConfig {
    pub(crate) place: Place,
    /// Authorities as PEM; empty for those that the system trusts.
    pub(crate) ca_bundle: Arc<[u8]>,
}

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a ClientConfig,
    pub(crate) review: &'a Value,
    pub(crate) timeout: Duration,
    pub(crate) max_answer_bytes: usize,
}

/// Calls webhooks.
pub(crate) struct Hooks {
    store: Store,
    tasks: Tasks,
    metrics: PoolMetrics,
    calls: Seats,
    /// Least recently used first.
    pools: Mutex<Vec<(Arc<[u8]>, Pool)>>,
    resolver: OnceLock<Resolver>,
}

impl Hooks {
    pub(crate) fn new(store: Store, tasks: Tasks, metrics: &Scope) -> Self {
        Self {
            store,
            tasks,
            metrics: PoolMetrics::new(&metrics.sub("apiserver_webhooks")),
            calls: Seats::new(MAX_CALLS, MAX_CALLS_EACH, MAX_WAITING_EACH),
            pools: Mutex::default(),
            resolver: OnceLock::new(),
        }
    }

    /// Sends a review and reads the answer.
    ///
    /// # Errors
    /// There is no answer, or it is no JSON object.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Value, CallError> {
        let url = call.client.place.url(call.timeout);
        let deadline = Instant::now() + call.timeout;
        let answered = async {
            let authority = call.client.place.authority();
            let seat = self.calls.take(&authority, 1).await;
            let _seat = seat.map_err(|_| CallError::post(&url, "too many calls wait for this webhook"))?;
            self.exchange(call, &url).await
        };
        match timeout_at(deadline, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::post(&url, "context deadline exceeded")),
        }
    }

    async fn exchange(&self, call: &Call<'_>, url: &str) -> Result<Value, CallError> {
        let failed = |why: &str| CallError::post(url, why);
        let pool = self.pool(&call.client.ca_bundle).map_err(|why| CallError::unsent(&why))?;
        let targets = self.targets(&call.client.place).await.map_err(|why| failed(&why))?;
        let body = Bytes::from(call.review.to_string());
        let mut request = request(url, &call.client.place, body.clone())?;
        let mut targets = targets.into_iter().peekable();
        while let Some(target) = targets.next() {
            match pool.send(&target, request).await {
                Ok(response) => return answer(response, call.max_answer_bytes, url).await,
                Err(error) => {
                    let why = failure::text_of(&error);
                    // The next address is tried only if nothing was sent to this one.
                    match error.into_request().filter(|_| targets.peek().is_some()) {
                        Some(unsent) => request = unsent,
                        None => return Err(failed(&why)),
                    }
                }
            }
        }
        Err(failed("no address"))
    }

    /// Whom to ask, in the order to try.
    async fn targets(&self, place: &Place) -> Result<Vec<Target>, String> {
        let (host, port) = place.resolve(&self.store)?;
        let name = place.server_name();
        let name = ServerName::try_from(name.clone()).map_err(|_| format!("tls: invalid server name {name}"))?;
        let found = self.addresses(&host, port).await?;
        Ok(found.into_iter().map(|address| Target::http1(address).with_tls(name.clone())).collect())
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let resolver = match self.resolver.get() {
            Some(resolver) => resolver,
            None => {
                let made = Resolver::system().map_err(|error| base_rt::error_chain(&error))?;
                self.resolver.get_or_init(|| made)
            }
        };
        resolver.lookup(host, port).await.map_err(|_| format!("dial tcp: lookup {host}: no such host"))
    }

    /// The connections to webhooks of an authority, whose certificates are read with no lock held: a large bundle takes its time.
    fn pool(&self, ca_bundle: &Arc<[u8]>) -> Result<Pool, String> {
        if let Some(pool) = self.used(ca_bundle, None) {
            return Ok(pool);
        }
        let policy = DialPolicy { timeout: DIAL_TIMEOUT, ..DialPolicy::default() };
        let connector = Connector::new().with_policy(policy).with_tls(trust::client(ca_bundle)?);
        let config = PoolConfig { max_idle: MAX_IDLE, idle_timeout: IDLE_TIMEOUT, max_in_flight: MAX_CALLS };
        let made = Pool::new(connector, config, &self.tasks, &self.metrics);
        Ok(self.used(ca_bundle, Some(made.clone())).unwrap_or(made))
    }

    /// The pool of an authority, from now on the one used last; `made` becomes it if there is none.
    fn used(&self, ca_bundle: &Arc<[u8]>, made: Option<Pool>) -> Option<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = pools.iter().position(|(bundle, _)| bundle == ca_bundle).map(|index| pools.remove(index));
        let found = kept.or_else(|| made.map(|made| (Arc::clone(ca_bundle), made)))?;
        if pools.len() >= MAX_AUTHORITIES {
            pools.remove(0);
        }
        let pool = found.1.clone();
        pools.push(found);
        Some(pool)
    }
}

fn request(url: &str, place: &Place, body: Bytes) -> Result<Request, CallError> {
    let target: Uri =
        place.path_of(url).parse().map_err(|_| CallError::unsent(&format!("parse {url:?}: invalid URI")))?;
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(HOST, place.authority())
        .header(ACCEPT, "application/json, */*")
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, body.len())
        .header(USER_AGENT, CALLER)
        .body(Body::from(body));
    request.map_err(|error| CallError::unsent(&error.to_string()))
}

async fn answer(response: Response, max_bytes: usize, url: &str) -> Result<Value, CallError> {
    let (parts, body) = response.into_parts();
    let bytes = body.read(max_bytes).await.map_err(|error| {
        let why = base_rt::error_chain(&error);
        CallError::post(url, &format!("read the answer (at most {max_bytes} bytes): {why}"))
    })?;
    failure::check_status(parts.status.as_u16(), &bytes)?;
    if bytes.is_empty() {
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let code = parts.status.as_u16();
        let why = format!("0-length response with status code: {code} and content type: {content_type}");
        return Err(CallError::unsent(&why));
    }
    let parsed = crate::strict::parse_json(&bytes).map(|decoded| decoded.value);
    match parsed {
        Ok(value) if value.is_object() => Ok(value),
        _ => {
            let why = crate::negotiate::json_syntax_error(&bytes);
            Err(CallError::unsent(&format!("couldn't get version/kind; json parse error: {why}")))
        }
    }
}
