//! The real API server, in this process and in memory.

use std::fmt::Debug;
use std::sync::{Arc, LazyLock};

use base_rt::metrics::Scope;
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, Tasks};
use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{Admission, ApiServer, ApiServerConfig, Entropy, Identity, ServiceAccountKey};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// When every test's clock begins.
const BEGINNING: &str = "2026-01-01T00:00:00Z";

/// Signing keys are costly to make, and no test depends on which it is.
static KEY: LazyLock<String> = LazyLock::new(|| ServiceAccountKey::generate_pem().unwrap());

/// An API server and what a process around it has. It ends when this value is dropped.
pub struct Api {
    /// The server.
    pub server: ApiServer,
    /// Follows tokio's time.
    pub clock: Clock,
    /// The process's tasks.
    pub tasks: Tasks,
    /// Where metrics are registered.
    pub metrics: Scope,
    /// What decides everything that is drawn.
    pub seed: u64,
    shutdown: ShutdownHandle,
}

impl Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Api {
    /// A server with an empty store.
    pub async fn start(seed: u64) -> Self {
        Self::start_on(&MemoryDisk::new(), seed, Vec::new()).await
    }

    /// A server over what `disk` holds, with in-process admission.
    pub async fn start_on(disk: &MemoryDisk, seed: u64, admissions: Vec<Arc<dyn Admission>>) -> Self {
        Self::start_with(disk, seed, |config| ApiServerConfig { admissions, ..config }).await
    }

    /// A server over what `disk` holds, with a configuration that is changed.
    pub(crate) async fn start_with(
        disk: &MemoryDisk,
        seed: u64,
        change: impl FnOnce(ApiServerConfig) -> ApiServerConfig,
    ) -> Self {
        let (shutdown, observer) = Shutdown::new();
        let tasks = Tasks::new(observer);
        let clock = Clock::starting_at(BEGINNING.parse().unwrap());
        let metrics = Scope::root();
        let config = ApiServerConfig {
            entropy: Entropy::seeded(seed),
            metrics: metrics.sub("apiserver"),
            ..ApiServerConfig::new(disk.journal(), clock, tasks.clone(), ServiceAccountKey::from_pem(&KEY).unwrap())
        };
        let server = ApiServer::start(change(config)).await.expect("the API server starts");
        Self { server, clock, tasks, metrics, seed, shutdown }
    }

    /// A server that somebody else started, whose tasks end with `shutdown`.
    pub fn around(server: ApiServer, clock: Clock, tasks: Tasks, seed: u64, shutdown: ShutdownHandle) -> Self {
        Self { server, clock, tasks, metrics: Scope::root(), seed, shutdown }
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.server.client_as(&Identity::master("test"))
    }

    /// A client that acts as a ServiceAccount, with its rights.
    pub fn client_of_account(&self, namespace: &str, name: &str) -> Client {
        self.server.client_as(&Identity::service_account(namespace, name))
    }

    /// Ends the process's tasks in order, as a graceful shutdown does.
    pub async fn stop(self) {
        for phase in [Phase::Lame, Phase::Drained, Phase::Stopped] {
            self.shutdown.advance(phase);
        }
        self.tasks.finished().await;
    }

    /// The objects of a kind in a namespace.
    pub fn of<K>(&self, namespace: &str) -> kube::Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        kube::Api::namespaced(self.client(), namespace)
    }

    /// The objects of a cluster-scoped kind, or of all namespaces.
    pub fn all<K: Resource<DynamicType = ()>>(&self) -> kube::Api<K> {
        kube::Api::all(self.client())
    }

    /// Creates an object in the namespace that it names (a cluster-scoped one: in none).
    pub async fn create<K>(&self, object: &K) -> K
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let api = dynamic::<K>(self.client(), object.meta().namespace.as_deref());
        let made = api.create(&PostParams::default(), &erase(object)).await;
        typed(made.unwrap_or_else(|error| panic!("create {object:?}: {error}")))
    }

    /// Applies a JSON merge patch.
    pub async fn merge<K>(&self, namespace: &str, name: &str, patch: &Value) -> K
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let api = dynamic::<K>(self.client(), Some(namespace).filter(|namespace| !namespace.is_empty()));
        let merged = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        typed(merged.unwrap_or_else(|error| panic!("patch {name}: {error}")))
    }

    /// Applies a JSON merge patch to the status.
    pub async fn merge_status<K: Resource<DynamicType = ()>>(&self, namespace: &str, name: &str, patch: &Value) {
        let api = dynamic::<K>(self.client(), Some(namespace).filter(|namespace| !namespace.is_empty()));
        let merged = api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        merged.unwrap_or_else(|error| panic!("patch the status of {name}: {error}"));
    }

    /// Deletes an object.
    pub async fn delete<K: Resource<DynamicType = ()>>(&self, namespace: &str, name: &str, how: &DeleteParams) {
        let api = dynamic::<K>(self.client(), Some(namespace).filter(|namespace| !namespace.is_empty()));
        api.delete(name, how).await.unwrap_or_else(|error| panic!("delete {name}: {error}"));
    }

    /// An object as it is now.
    pub async fn get<K>(&self, namespace: &str, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let api = dynamic::<K>(self.client(), Some(namespace).filter(|namespace| !namespace.is_empty()));
        api.get_opt(name).await.unwrap().map(typed)
    }

    /// The objects of a kind in a namespace (empty: in all) as they are now.
    pub async fn list<K>(&self, namespace: &str) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let api = dynamic::<K>(self.client(), Some(namespace).filter(|namespace| !namespace.is_empty()));
        api.list(&kube::api::ListParams::default()).await.unwrap().items.into_iter().map(typed).collect()
    }
}

fn dynamic<K: Resource<DynamicType = ()>>(
    client: Client,
    namespace: Option<&str>,
) -> kube::Api<kube::api::DynamicObject> {
    let resource = kube::api::ApiResource::erase::<K>(&());
    match namespace {
        Some(namespace) => kube::Api::namespaced_with(client, namespace, &resource),
        None => kube::Api::all_with(client, &resource),
    }
}

fn erase<K: Serialize>(object: &K) -> kube::api::DynamicObject {
    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap()
}

fn typed<K: DeserializeOwned>(object: kube::api::DynamicObject) -> K {
    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap()
}
