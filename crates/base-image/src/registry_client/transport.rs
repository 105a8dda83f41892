//! One HTTP request and the head of its response, over pooled connections.

use std::time::Duration;

use base_rt::{Phase, Shutdown, Tasks};
use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioTimer;
use tokio::time::timeout;

use super::connect::Connector;
use super::error::{ConnectError, FetchError};
use super::{CHUNK_TIMEOUT, RESPONSE_TIMEOUT};

/// How long an unused connection stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Unused connections for each host.
const MAX_IDLE_CONNECTIONS: usize = 4;

/// What this client calls itself.
const AGENT: &str = concat!("kwick/", env!("CARGO_PKG_VERSION"));

/// A request's body.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
}

/// Sends requests.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client<Connector, RequestBody>,
}

/// Starts connections' tasks, and ends them when the process ends.
#[derive(Clone, Debug)]
struct Executor {
    tasks: Tasks,
    shutdown: Shutdown,
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, connection: F) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn_transient("image/connection", async move {
            tokio::select! {
                biased;
                _ = connection => {}
                () = shutdown.reached(Phase::Drained) => {}
            }
        });
    }
}

impl Scheme {
    pub(super) fn uri(self, host: &str, path: &PathAndQuery) -> Result<Uri, http::Error> {
        let scheme = if self == Self::Https { "https" } else { "http" };
        Uri::builder().scheme(scheme).authority(host).path_and_query(path.clone()).build()
    }
}

impl Transport {
    pub(super) fn new(tasks: &Tasks, connector: Connector) -> Self {
        let executor = Executor { tasks: tasks.clone(), shutdown: tasks.shutdown().clone() };
        let client = Client::builder(executor)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .build(connector);
        Self { client }
    }

    /// Asks whether there is a registry at `host`; the status of the answer.
    pub(super) async fn probe(&self, scheme: Scheme, host: &str) -> Result<StatusCode, FetchError> {
        let path = PathAndQuery::from_static("/v2/");
        let uri = scheme.uri(host, &path).map_err(|_| invalid_address(host))?;
        let request = Request::builder().method(Method::GET).uri(uri).body(empty());
        self.send(host, request.map_err(|_| invalid_address(host))?, RESPONSE_TIMEOUT)
            .await
            .map(|response| response.status())
    }

    /// Sends `request` and waits for the response's head.
    pub(super) async fn send(
        &self,
        host: &str,
        mut request: Request<RequestBody>,
        limit: Duration,
    ) -> Result<Response<Incoming>, FetchError> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(authority) = request.uri().authority()
            && let Ok(authority) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(HOST, authority);
        }
        match timeout(limit, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(broken(host, error)),
            Err(_) => Err(FetchError::Timeout { registry: host.to_owned(), seconds: limit.as_secs() }),
        }
    }
}

/// Reads a body of at most `limit` bytes; `None` if it is longer.
pub(super) async fn read_body(host: &str, mut body: Incoming, limit: u64) -> Result<Option<Bytes>, FetchError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = next_chunk(host, &mut body).await? {
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes.freeze()))
}

/// The next piece of a body, or `None` at its end.
pub(super) async fn next_chunk(host: &str, body: &mut Incoming) -> Result<Option<Bytes>, FetchError> {
    loop {
        let registry = || host.to_owned();
        let Ok(frame) = timeout(CHUNK_TIMEOUT, body.frame()).await else {
            return Err(FetchError::Timeout { registry: registry(), seconds: CHUNK_TIMEOUT.as_secs() });
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(FetchError::Broken { registry: registry(), source: error.into() }),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

pub(super) fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn invalid_address(host: &str) -> FetchError {
    let source = ConnectError::Address { address: host.to_owned() };
    FetchError::Connect { registry: host.to_owned(), source }
}

/// What connecting met, where it is known, is said as it is.
fn broken(host: &str, error: ClientError) -> FetchError {
    let registry = host.to_owned();
    match take_connect_error(error) {
        Ok(source) => FetchError::Connect { registry, source },
        Err(source) => FetchError::Broken { registry, source },
    }
}

fn take_connect_error(error: ClientError) -> Result<ConnectError, Box<dyn std::error::Error + Send + Sync>> {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(at) = cause {
        if let Some(found) = at.downcast_ref::<ConnectError>() {
            return Ok(found.clone());
        }
        cause = at.source();
    }
    Err(error.into())
}
