//! What everything that runs needs of the process that it runs in.

use std::sync::Arc;

use base_rt::metrics::Scope;
use base_rt::{Clock, Tasks};
use cluster_apiserver::{ApiServer, Identity};
use kube::Client;

/// Makes the client by which code of this process acts as an identity.
pub type ClientMaker = Arc<dyn Fn(&ApiServer, &Identity) -> Client + Send + Sync>;

/// A process, or in a simulation a part of one that lives and dies by itself.
#[derive(Clone)]
pub struct Process {
    /// Its clock.
    pub clock: Clock,
    /// Its tasks, and with them its shutdown.
    pub tasks: Tasks,
    /// Where its metrics are registered.
    pub metrics: Scope,
    /// Decides the jitter of back-offs. Any number in production.
    pub seed: u64,
    /// How its parts reach the API. A simulation puts its weather in between.
    pub clients: ClientMaker,
}

impl Process {
    /// A process whose parts reach the API without anything in between.
    pub fn new(clock: Clock, tasks: Tasks, metrics: Scope, seed: u64) -> Self {
        Self { clock, tasks, metrics, seed, clients: Arc::new(ApiServer::client_as) }
    }

    /// A client that acts as a ServiceAccount.
    pub fn client_of_account(&self, api: &ApiServer, namespace: &str, name: &str) -> Client {
        (self.clients)(api, &Identity::service_account(namespace, name))
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("seed", &self.seed).finish_non_exhaustive()
    }
}
