//! [`ApiServer`]: how the API is built, and the three ways to reach it: a service, a client of this process, HTTPS.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base_rt::metrics::Scope;
use base_rt::{Clock, Tasks};
use serde_json::Value;

use crate::admit::Admission;
use crate::admit::quota::Quotas;
use crate::admit::service_ip::{ServiceIps, ServiceRange};
use crate::admit::webhook::Webhooks;
use crate::audit::{AuditConfig, Auditor};
use crate::authn::{Authenticator, ServiceAccountKey};
use crate::authz::Rbac;
use crate::bootstrap;
use crate::core::Core;
use crate::crd::controller;
use crate::discovery::Discovery;
use crate::entropy::Entropy;
use crate::hooks::Hooks;
use crate::housekeeping;
use crate::http::limits::Limits;
use crate::http::routes::Route;
use crate::http::service::ApiService;
use crate::identity::{Caller, Identity};
use crate::measures::Measures;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::serve::{self, ServeError, TlsFiles};
use crate::status::StatusError;
use crate::store::durability::LazyTable;
use crate::store::{Journal, JournalError, Store};
use crate::streams::PodStreams;
use crate::subresource::log::PodLogs;
use crate::value::str_at;
use crate::writes::{self, Context};

/// The issuer of ServiceAccount tokens, and the audience of those that are for this server.
const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc";

/// What a server is made of.
pub struct ApiServerConfig {
    /// What makes writes durable.
    pub journal: Box<dyn Journal>,
    /// Where the time comes from.
    pub clock: Clock,
    /// Who owns the server's tasks.
    pub tasks: Tasks,
    /// Where its metrics are registered.
    pub metrics: Scope,
    /// Where uids and generated names come from.
    pub entropy: Entropy,
    /// Which writes may be lost in a crash.
    pub lazy: LazyTable,
    /// In-process admission, in order.
    pub admissions: Vec<Arc<dyn Admission>>,
    /// The addresses of Services.
    pub services: ServiceRange,
    /// Signs ServiceAccount tokens.
    pub service_account_key: ServiceAccountKey,
    /// Who signs them, as tokens say.
    pub issuer: String,
    /// Tokens that stand for users.
    pub tokens: Vec<(String, Identity)>,
    /// `host:port` as clients reach the server.
    pub address: String,
    /// Knows the logs of Pods, once there is a node.
    pub logs: Option<Arc<dyn PodLogs>>,
    /// Knows what Pods and nodes use. Without it there is no `metrics.k8s.io`.
    pub measures: Option<Arc<dyn Measures>>,
    /// Knows the Pods that run, once there is a node.
    pub streams: Option<Arc<dyn PodStreams>>,
    /// Non-resource routes of the embedding program, such as `/kwick`: the first whose prefix fits answers, for callers
    /// whom RBAC lets (`nonResourceURLs`, the method in lower case as verb).
    pub routes: Vec<Route>,
    /// What is recorded of requests, and where; nothing and nowhere by default.
    pub audit: Option<AuditConfig>,
}

impl ApiServerConfig {
    /// A server over a journal, with defaults for everything else.
    pub fn new(journal: Box<dyn Journal>, clock: Clock, tasks: Tasks, service_account_key: ServiceAccountKey) -> Self {
        Self {
            journal,
            clock,
            tasks,
            service_account_key,
            metrics: Scope::root(),
            entropy: Entropy::from_os(),
            lazy: LazyTable::default(),
            admissions: Vec::new(),
            services: ServiceRange::default(),
            issuer: DEFAULT_ISSUER.to_owned(),
            tokens: Vec::new(),
            address: "localhost:6443".to_owned(),
            logs: None,
            measures: None,
            streams: None,
            routes: Vec::new(),
            audit: None,
        }
    }
}

impl std::fmt::Debug for ApiServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServerConfig")
            .field("address", &self.address)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal cannot be read.
    #[error("open the store")]
    Store(#[source] JournalError),
    /// An object that every cluster begins with was refused.
    #[error("create {what}")]
    Bootstrap {
        /// Which object.
        what: String,
        /// Why it was refused.
        #[source]
        source: crate::status::StatusError,
    },
    /// The file of the audit log cannot be written.
    #[error("open the audit log {}", path.display())]
    Audit {
        /// The file.
        path: std::path::PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// A Kubernetes API. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
}

impl ApiServer {
    /// Opens the store, creates what every cluster begins with, and starts the server's own tasks.
    ///
    /// # Errors
    /// The journal cannot be read, or does not take the first objects.
    pub async fn start(config: ApiServerConfig) -> Result<Self, StartError> {
        let ApiServerConfig { journal, clock, tasks, metrics, entropy, lazy, admissions, services, .. } = config;
        let store = Store::open(journal, &metrics).map_err(StartError::Store)?;
        let own_metrics = Metrics::new(&metrics);
        let audit = config.audit.map(|audit| {
            let path = audit.path.clone();
            Auditor::open(audit, clock, &own_metrics).map_err(|source| StartError::Audit { path, source })
        });
        let core = Arc::new(Core {
            audit: audit.transpose()?,
            registry: Registry::new(store.clone(), config.measures.is_some()),
            rbac: Rbac::new(store.clone()),
            service_ips: ServiceIps::new(services, store.clone()),
            quotas: Quotas::new(store.clone(), clock),
            authenticator: Authenticator::new(config.tokens, config.service_account_key, config.issuer, store.clone()),
            discovery: Discovery {
                is_ready: AtomicBool::new(false),
                address: config.address,
                metrics: metrics.clone(),
                hashes: crate::discovery::openapi::Hashes::default(),
            },
            limits: Limits::default(),
            metrics: own_metrics,
            hooks: Hooks::new(store.clone(), tasks.clone(), &metrics),
            webhooks: Webhooks::new(),
            logs: config.logs,
            measures: config.measures,
            streams: config.streams,
            routes: config.routes,
            store,
            clock,
            tasks,
            entropy,
            lazy,
            admissions,
        });
        bootstrap::create(&core).await?;
        start_tasks(&core);
        core.discovery.is_ready.store(true, Ordering::Release);
        Ok(Self { core })
    }

    /// The API as a tower service; callers prove who they are by what is in the request.
    pub fn service(&self) -> ApiService {
        ApiService::new(Arc::clone(&self.core), None)
    }

    /// The API as a tower service for code of this process, which is `identity` without proof.
    pub fn service_as(&self, identity: &Identity) -> ApiService {
        ApiService::new(Arc::clone(&self.core), Some(Caller::in_process(identity.clone())))
    }

    /// A client for whoever sets the cluster up, before anything runs in it: its writes pass webhooks by, which are not there yet.
    pub fn client_of_installer(&self, identity: &Identity) -> kube::Client {
        let caller = Caller { is_server: true, ..Caller::in_process(identity.clone()) };
        kube::Client::new(ApiService::new(Arc::clone(&self.core), Some(caller)), "default")
    }

    /// A client for code of this process: no socket, no TLS. Give each role its own, because a client works through one queue.
    pub fn client_as(&self, identity: &Identity) -> kube::Client {
        kube::Client::new(self.service_as(identity), "default")
    }

    /// Puts an object of a built-in kind back that a crash took, as it was: with its name, uid, times and status. Answers whether it was
    /// missing and its creation was one of those that a crash may lose. Only for the embedding program, before anybody acts on objects; no
    /// request reaches this.
    ///
    /// # Errors
    /// There is no such kind, the object's namespace is gone or ending, or the store has failed.
    pub async fn restore(&self, group: &str, plural: &str, object: Value) -> Result<bool, StatusError> {
        let core = &*self.core;
        let resource = core.registry.builtin(group, plural).ok_or_else(StatusError::no_such_resource)?;
        let namespace = str_at(&object, &["metadata", "namespace"]).to_owned();
        let caller = Caller::server();
        let context = Context::of_server(core, &caller, resource, &namespace);
        writes::restore(&context, object).await
    }

    /// Serves HTTPS on listeners until the shutdown; returns once they accept.
    ///
    /// # Errors
    /// The certificates or a listener cannot be used.
    pub fn serve(&self, listeners: Vec<TcpListener>, files: &TlsFiles) -> Result<(), ServeError> {
        serve::start(&self.core, listeners, files)
    }

    /// The store, for what must be as cheap as a look: its revision, its size.
    pub fn store(&self) -> &Store {
        &self.core.store
    }

    /// The address of the Service `kubernetes`.
    pub fn service_address(&self) -> std::net::Ipv4Addr {
        self.core.service_ips.range().api_address()
    }

    /// Waits until the CRDs of these names are served or have been refused their names. Others are not waited for: one that cannot be
    /// settled must not keep the program from starting.
    pub async fn crds_settled(&self, names: &[&str]) {
        let table = crate::store::TableName::from(crate::registry::CRD_TABLE);
        let (_, mut watcher) = self.core.store.list_and_watch(&table, "");
        while !names.iter().all(|name| controller::has_settled(&self.core, name)) {
            if !watcher.changed().await {
                return;
            }
            // What happened is looked at by `has_settled`; falling behind is no loss.
            let _ = watcher.poll();
        }
    }

    /// Brings everything to disk. Call it when nothing writes any more.
    pub fn close(&self) {
        self.core.store.close();
        if let Some(audit) = &self.core.audit {
            audit.close();
        }
    }
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("store", &self.core.store).finish_non_exhaustive()
    }
}

fn start_tasks(core: &Arc<Core>) {
    core.tasks.spawn("apiserver/crds", controller::run(Arc::clone(core)));
    core.tasks.spawn("apiserver/store", housekeeping::report_failure(Arc::clone(core)));
    core.tasks.spawn("apiserver/lazy-writes", housekeeping::flush_lazy_writes(Arc::clone(core)));
    core.tasks.spawn("apiserver/history", housekeeping::forget_history(Arc::clone(core)));
    core.tasks.spawn("apiserver/events", housekeeping::forget_events(Arc::clone(core)));
}
