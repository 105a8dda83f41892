//! A cluster in this process: the API server, the workloads' controllers, and a node that pretends.

use std::ops::Deref;
use std::sync::Arc;

use base_controller::Context;
use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{Admission, ApiServerConfig, Measures};
use cluster_workloads::{Config, Environment, rbac, wire};

use crate::api::Api;
use crate::fake_node::{FakeNode, FakeNodeConfig};
use crate::load::Load;

/// What `kube-root-ca.crt` says in tests.
pub const CA_BUNDLE: &str = "-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n";

/// A cluster. Its [`Api`] is reached by dereferencing.
#[derive(Debug)]
pub struct Cluster {
    api: Api,
    /// The controllers' shared informers, and a client that may only read.
    pub context: Context,
    /// The node.
    pub node: FakeNode,
}

impl Deref for Cluster {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Cluster {
    /// A cluster with an ordinary node.
    pub async fn start(seed: u64) -> Self {
        Self::start_with(seed, FakeNodeConfig::default()).await
    }

    /// A cluster with this node.
    pub async fn start_with(seed: u64, node: FakeNodeConfig) -> Self {
        Self::start_on(&MemoryDisk::new(), seed, node, Vec::new()).await
    }

    /// A cluster over what `disk` holds, with in-process admission.
    pub async fn start_on(
        disk: &MemoryDisk,
        seed: u64,
        node: FakeNodeConfig,
        admissions: Vec<Arc<dyn Admission>>,
    ) -> Self {
        Self::around(Api::start_on(disk, seed, admissions).await, seed, node).await
    }

    /// A cluster with an ordinary node whose Pods are measured to share a load.
    pub async fn start_under(load: &Load, seed: u64) -> Self {
        let measures = Some(Arc::new(load.clone()) as Arc<dyn Measures>);
        let change = |config| ApiServerConfig { measures, ..config };
        let api = Api::start_with(&MemoryDisk::new(), seed, change).await;
        load.follow(api.client(), api.clock);
        Self::around(api, seed, FakeNodeConfig::default()).await
    }

    async fn around(api: Api, seed: u64, node: FakeNodeConfig) -> Self {
        install_rules(&api).await;
        let node = FakeNode::start(&api, node).await;
        let client_of = |name: &'static str| api.client_of_account(rbac::NAMESPACE, name);
        let environment = Environment {
            client_of: &client_of,
            clock: api.clock,
            tasks: api.tasks.clone(),
            metrics: api.metrics.sub("workloads"),
            seed,
        };
        let context = wire(&Config { ca_bundle: CA_BUNDLE.to_owned() }, &environment);
        Self { api, context, node }
    }

    /// Ends the cluster in order.
    pub async fn stop(self) {
        self.api.stop().await;
    }
}

/// Installs the controllers' accounts and rules, as the binary does at its first start.
async fn install_rules(api: &Api) {
    let installation = rbac::installation();
    for account in &installation.service_accounts {
        create_if_absent(api, account).await;
    }
    for role in &installation.cluster_roles {
        create_if_absent(api, role).await;
    }
    for binding in &installation.cluster_role_bindings {
        create_if_absent(api, binding).await;
    }
}

async fn create_if_absent<K>(api: &Api, object: &K)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let meta = object.meta();
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap());
    if api.get::<K>(namespace, name).await.is_none() {
        api.create(object).await;
    }
}
