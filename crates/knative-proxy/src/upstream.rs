//! Sends a request to the next box: a call if this process answers for the address, else over a pooled connection.
//!
//! The only place of this crate that knows which of both it is. Callers see a response, or an [`Unanswered`] that holds the request if
//! nothing of it was sent.

use std::sync::Arc;
use std::time::Duration;

use base_net::connect::{Address, Connector, DialPolicy, LocalTable, Target};
use base_net::pool::{Pool, PoolConfig, PoolMetrics, remove_hop_by_hop};
use base_net::workers::PerWorker;
use base_net::{BoxError, Request, Response};
use base_rt::Tasks;
use base_rt::metrics::Scope;

use crate::{headers, hold};

/// How long a Pod may take to accept a connection. One that is gone may never say so, and others may have taken its place.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends requests to addresses. Clones share connections.
#[derive(Clone, Debug)]
pub struct Upstream {
    local: LocalTable,
    pools: Arc<PerWorker<Pool>>,
    tasks: Tasks,
}

/// No response.
#[derive(Debug, thiserror::Error)]
#[error("no response from the upstream")]
pub struct Unanswered {
    /// The request, if nothing of it was sent: it may go elsewhere.
    pub request: Option<Box<UnsentRequest>>,
    /// Why.
    #[source]
    pub cause: BoxError,
}

/// A request that was not sent. In a mutex only because an error has to be `Sync`, which a body is not.
#[derive(Debug)]
pub struct UnsentRequest(std::sync::Mutex<Request>);

impl UnsentRequest {
    /// The request.
    pub fn into_inner(self) -> Request {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Upstream {
    /// Calls whom `local` names and dials the others by `connector`. `workers` is the number of the data plane's workers; each keeps its
    /// own connections.
    pub fn new(local: LocalTable, connector: Connector, workers: usize, (tasks, metrics): (&Tasks, &Scope)) -> Self {
        Self::with_config((local, connector, PoolConfig::default()), workers, (tasks, metrics))
    }

    /// The same with other bounds on its connections.
    pub(crate) fn with_config(
        (local, connector, config): (LocalTable, Connector, PoolConfig),
        workers: usize,
        (tasks, metrics): (&Tasks, &Scope),
    ) -> Self {
        let policy = DialPolicy { timeout: DIAL_TIMEOUT, ..DialPolicy::default() };
        let (connector, metrics) = (connector.with_policy(policy), PoolMetrics::new(metrics));
        let new_pool = || Pool::new(connector.clone(), config, tasks, &metrics);
        Self { local, pools: Arc::new(PerWorker::new(workers, new_pool)), tasks: tasks.clone() }
    }

    /// Sends `request` to `target`.
    ///
    /// # Errors
    /// There is no response.
    pub async fn send(&self, target: &Target, mut request: Request) -> Result<Response, Unanswered> {
        if let (Address::Tcp(addr), None) = (&target.address, &target.tls)
            && let Some(handler) = self.local.get(addr)
        {
            return handler.call(request).await.map_err(Unanswered::of_call);
        }
        let client = hold::client_side(&mut request);
        headers::remove_hop_by_hop(request.headers_mut());
        match self.pools.get().send(target, request).await {
            Ok(mut response) => {
                hold::join(client, &mut response, &self.tasks);
                remove_hop_by_hop(response.headers_mut());
                Ok(response)
            }
            Err(error) => {
                let cause = base_rt::error_chain(&error).into();
                let unsent = error.into_request().map(|mut request| {
                    if let Some(client) = client {
                        request.extensions_mut().insert(client);
                    }
                    request
                });
                Err(Unanswered::new(unsent, cause))
            }
        }
    }
}

impl Unanswered {
    pub(crate) fn new(unsent: Option<Request>, cause: BoxError) -> Self {
        Self { request: unsent.map(|unsent| Box::new(UnsentRequest(std::sync::Mutex::new(unsent)))), cause }
    }

    /// Whom one calls may hand the request back as well: its error then is one of these.
    fn of_call(cause: BoxError) -> Self {
        cause.downcast().map_or_else(|cause| Self::new(None, cause), |unanswered| *unanswered)
    }

    /// The request, if it may go elsewhere.
    pub fn into_request(self) -> Option<Request> {
        self.request.map(|request| request.into_inner())
    }
}
