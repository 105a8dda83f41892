//! queue-proxy as a role of this process: Knative's sidecar for a Pod, without a process of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base_net::connect::{Connector, LocalTable};
use cluster_workloads::node::builtin::{BuiltinContext, BuiltinError, BuiltinFactory, BuiltinHandle};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Container;
use knative_apis::meta::port;
use knative_apis::stat::StatMessage;
use knative_proxy::queue::{self, Config, QueueParts};
use tokio::sync::mpsc;

/// The role's entry: `kwick queue-proxy`.
pub(crate) const ROLE: &str = "queue-proxy";
/// How long no request has to come while it drains. Routes of this machine change within milliseconds.
const QUIET: Duration = Duration::from_secs(1);
/// Where it listens in every Pod, whatever the container declares: serving, administration, statistics, metrics. For TLS where it has a
/// certificate.
pub(crate) const PORTS: [i32; 5] = [
    port::BACKEND_HTTP,
    port::BACKEND_HTTP2,
    port::QUEUE_ADMIN,
    port::QUEUE_AUTOSCALING_METRICS,
    port::QUEUE_USER_METRICS,
];

/// Starts queue-proxies in this process.
pub(super) struct QueueProxies {
    /// Where calls from the gateway and the activator find them.
    pub(super) local: LocalTable,
    /// The autoscaler's receiver.
    pub(super) stats: mpsc::Sender<StatMessage>,
    /// How many threads the data plane has.
    pub(super) workers: usize,
}

impl BuiltinFactory for QueueProxies {
    fn ports(&self, container: &Container) -> BTreeSet<u16> {
        let mut mounts = container.volume_mounts.iter().flatten();
        let has_certificate = mounts.any(|mount| mount.mount_path == queue::CERTIFICATE_DIRECTORY);
        let ports = PORTS.into_iter().chain(has_certificate.then_some(port::BACKEND_HTTPS));
        ports.filter_map(|port| u16::try_from(port).ok()).collect()
    }

    fn start(&self, context: BuiltinContext) -> Result<BuiltinHandle, BuiltinError> {
        let BuiltinContext { env, listeners, sockets, files, log, clock, tasks, shutdown, .. } = context;
        let config = Config::from_env(&env).map_err(|error| BuiltinError(base_rt::error_chain(&error)))?;
        let serving_port = config.serving_port;
        let parts = QueueParts {
            config,
            listeners,
            files: Arc::new(move |path: &str| files.read(path)),
            connector: Connector::new().with_supply(sockets),
            local: Some(self.local.clone()),
            stats: Some(self.stats.clone()),
            workers: self.workers,
            quiet: QUIET,
            clock,
            tasks,
            shutdown,
            log: Arc::new(move |lines: &[u8]| log.line(String::from_utf8_lossy(lines).trim_end())),
        };
        let queue = queue::start(parts).map_err(|error| BuiltinError(base_rt::error_chain(&error)))?;
        let handlers = BTreeMap::from([(serving_port, queue.local_handler())]);
        let ended = async move {
            queue.ended().await;
            0
        };
        Ok(BuiltinHandle { handlers, changed: None, ended: ended.boxed() })
    }
}
