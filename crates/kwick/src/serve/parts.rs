//! Knative's parts as roles of this process: the Pods of the Deployments `controller`, `activator` and `gateway` start no program.
//!
//! What a part does is done by this process from its start on; its Pod is where others find it: by its address in Endpoints, its ports, its
//! metrics, its log. A Pod that goes takes its doors along, and its Deployment makes the next.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context, Result};
use base_net::admin::Admin;
use base_net::listen::Listener;
use base_net::serve::{Server, ServerConfig, ServerHandle};
use base_net::workers::DataPlane;
use base_rt::metrics::Scope;
use base_rt::{Phase, Tasks};
use cluster_workloads::node::builtin::{BuiltinContext, BuiltinError, BuiltinFactory, BuiltinHandle, Builtins, Where};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, join_all};
use knative_proxy::gateway::Side;
use knative_proxy::{Activator, Gateway, LogSink};
use knative_serving::manifests::{ACTIVATOR, CONTROLLER, GATEWAY, GATEWAY_PUBLIC_PORT, METRICS_PORT};

use super::part_logs::PartLogs;

/// Everything that is reached through the doors is known from when this is over.
pub(super) type Opening = Shared<BoxFuture<'static, ()>>;

/// What the parts are made of.
pub(super) struct Parts {
    pub(super) plane: Arc<DataPlane>,
    pub(super) activator: Arc<Activator>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) opening: Opening,
    pub(super) metrics: Scope,
    pub(super) logs: PartLogs,
    /// The namespaces whose Pods may be parts.
    pub(super) system: Where,
}

impl Parts {
    /// Adds the parts to the roles of this process.
    pub(super) fn add_to(self, builtins: Builtins) -> Builtins {
        let Self { plane, activator, gateway, opening, metrics, logs, system } = self;
        let doors: [(_, &[&str], Doors); 3] = [
            (CONTROLLER, &["knative_serving", "base_controller"], Doors::None),
            (ACTIVATOR, &["knative_proxy::activator"], Doors::Activator(activator)),
            (GATEWAY, &["knative_proxy::gateway"], Doors::Gateway(gateway)),
        ];
        doors.into_iter().fold(builtins, |builtins, (name, targets, doors)| {
            let part = Part {
                targets,
                doors,
                plane: Arc::clone(&plane),
                opening: opening.clone(),
                metrics: metrics.clone(),
                logs: logs.clone(),
            };
            builtins.with(name, system.clone(), Arc::new(part))
        })
    }
}

/// What listens in a part's Pod beside its metrics.
#[derive(Clone)]
enum Doors {
    None,
    Activator(Arc<Activator>),
    Gateway(Arc<Gateway>),
}

/// A part.
struct Part {
    /// Whose tracing is its log.
    targets: &'static [&'static str],
    doors: Doors,
    plane: Arc<DataPlane>,
    opening: Opening,
    metrics: Scope,
    logs: PartLogs,
}

impl BuiltinFactory for Part {
    fn start(&self, context: BuiltinContext) -> Result<BuiltinHandle, BuiltinError> {
        let BuiltinContext { mut listeners, log, shutdown, .. } = context;
        self.logs.set(self.targets, &log);
        // The servers end with the container, not with the process.
        let tasks = Tasks::new(shutdown.clone());
        let mut servers = Vec::new();
        if let Some(listener) = listeners.remove(&METRICS_PORT) {
            servers.push(self.serve_metrics(listener, &tasks).map_err(|error| BuiltinError(format!("{error:#}")))?);
        }
        let (plane, doors, opening) = (Arc::clone(&self.plane), self.doors.clone(), self.opening.clone());
        let ended = async move {
            let working = async {
                opening.await;
                let lines = log.clone();
                let sink = Arc::new(move |text: &[u8]| lines.line(String::from_utf8_lossy(text).trim_end()));
                servers.extend(doors.open(&plane, listeners, (sink, &tasks)).await?);
                log.line("ready");
                join_all(servers.iter().map(ServerHandle::drained)).await;
                anyhow::Ok(())
            };
            let outcome = tokio::select! {
                biased;
                () = shutdown.reached(Phase::Stopped) => Ok(()),
                failure = tasks.failure() => Err(failure.into()),
                outcome = working => outcome,
            };
            outcome.map_or_else(
                |error| {
                    log.line(&format!("{error:#}"));
                    1
                },
                |()| 0,
            )
        };
        Ok(BuiltinHandle { handlers: BTreeMap::new(), changed: None, ended: ended.boxed() })
    }
}

impl Part {
    /// Health and metrics of the process, over the Pod's own port.
    fn serve_metrics(&self, listener: TcpListener, tasks: &Tasks) -> Result<ServerHandle> {
        let opening = self.opening.clone();
        let is_open = move || opening.peek().map(drop).ok_or_else(|| "what it serves is not known yet".to_owned());
        let admin = Admin::builder(tasks.shutdown(), &self.metrics).with_check("caches", is_open).build();
        let server = Server::new(ServerConfig::new("metrics"), tasks, &Scope::root());
        server.start(Listener::from(listener), move |_| admin.clone()).context("cannot serve metrics")
    }
}

impl Doors {
    /// Serves what is left of the Pod's listeners: each on every thread of the data plane.
    async fn open(
        self,
        plane: &DataPlane,
        listeners: BTreeMap<u16, TcpListener>,
        (log, tasks): (Arc<dyn LogSink>, &Tasks),
    ) -> Result<Vec<ServerHandle>> {
        let mut servers = Vec::new();
        for (port, listener) in &listeners {
            let shared = (0..plane.workers()).map(|_| Ok(Listener::from(listener.try_clone()?)));
            let shared = shared.collect::<std::io::Result<Vec<_>>>().context("cannot share a listener")?;
            let side = if *port == GATEWAY_PUBLIC_PORT { Side::Public } else { Side::Private };
            let opened = match &self {
                Self::None => Ok(Vec::new()),
                Self::Activator(activator) => activator.serve(plane, (*port, shared), (Arc::clone(&log), tasks)).await,
                Self::Gateway(gateway) => gateway.serve(plane, side, shared, tasks).await,
            };
            servers.extend(opened.context("cannot serve the Pod's ports")?);
        }
        Ok(servers)
    }
}
