//! The cluster's part of this process: controllers of Kubernetes' kinds, ClusterIPs, DNS, the node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base_controller::Context as Controllers;
use base_controller::events::Recorder;
use cluster_apiserver::Identity;
use cluster_sandbox::spec::NetworkFacts;
use cluster_sandbox::{Events, Sandbox};
use cluster_workloads::dns::{self, DnsConfig, Upstream};
use cluster_workloads::node::builtin::{Builtins, Where};
use cluster_workloads::node::{self, ApiTokens, Capacity, Node, NodeConfig, NodeParts};
use cluster_workloads::service_ip::{self, SandboxSockets, ServiceIpConfig};
use kwick::assembly::{ControlPlane, Process};

use super::addresses;
use super::images::{Images, OwnImages};
use super::knative::DataPath;
use super::machine::Machine;
use super::part_logs::PartLogs;
use super::queue::{self, QueueProxies};
use crate::instance::access;
use crate::instance::data_dir::DataDir;

/// The domain of names in the cluster.
pub(super) const CLUSTER_DOMAIN: &str = "cluster.local";
/// Where the machine's own name servers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where the node writes what it mounts into containers, and its records.
const VOLUMES: &str = "volumes";
/// Who puts back what a crash has taken.
const RESTORER: &str = "system:kwick";

/// How often it is looked what Pods take of the disk.
const MEASURE: Duration = Duration::from_secs(10);
/// How often the content of volumes is brought up to date.
const REFRESH: Duration = Duration::from_secs(60);

/// The Node's name.
const NODE: &str = "kwick";
/// How many Pods this machine takes. Each costs a namespace and a link; a kubelet's usual 110 suit bigger Pods than ours.
const MAX_PODS: u32 = 1000;

/// What the cluster is started with.
pub(super) struct ClusterParts<'a> {
    pub(super) process: &'a Process,
    pub(super) control: &'a ControlPlane,
    pub(super) sandbox: &'a Sandbox,
    pub(super) network: &'a NetworkFacts,
    pub(super) dir: &'a DataDir,
    pub(super) images: &'a Images,
    pub(super) own: &'a OwnImages,
    pub(super) path: &'a DataPath,
    pub(super) part_logs: &'a PartLogs,
}

/// Starts controllers, ClusterIPs, DNS and the node; returns once running Pods have been taken back.
pub(super) async fn start(parts: &ClusterParts<'_>, events: Events) -> Result<Node> {
    let ClusterParts { process, control, dir, .. } = *parts;
    let config = cluster_workloads::Config { ca_bundle: access::authority(dir)?.certificate_pem().to_owned() };
    put_pods_back(parts).await?;
    let context = control.run_cluster(process, &config);
    start_network(parts, &context).await?;
    let node = start_node(parts, &context, events);
    node.adopted().await;
    Ok(node)
}

/// Gives the API the Pods that run and that a crash has taken from it. Nothing acts on objects yet.
async fn put_pods_back(parts: &ClusterParts<'_>) -> Result<()> {
    let ClusterParts { control, sandbox, dir, .. } = *parts;
    let client = control.api.client_as(&Identity::master(RESTORER));
    let restore = async |pod| control.api.restore("", "pods", pod).await;
    let count = node::put_back((sandbox, &dir.join(VOLUMES)), &client, restore).await;
    let count = count.context("cannot ask the spawner for its pods")?;
    if count > 0 {
        tracing::info!(count, "pods that a crash had taken are back");
    }
    Ok(())
}

/// ClusterIPs and DNS.
async fn start_network(parts: &ClusterParts<'_>, context: &Controllers) -> Result<()> {
    let ClusterParts { process, sandbox, network, .. } = *parts;
    let dns_address = addresses::dns_address(network.ranges.services).into();
    let service_ips = service_ip::start(
        ServiceIpConfig { elsewhere: [dns_address].into(), ..ServiceIpConfig::default() },
        service_ip::Parts {
            context: context.clone(),
            sockets: Arc::new(SandboxSockets::new(sandbox.clone(), "service")),
            metrics: process.metrics.clone(),
        },
    );
    let dns = dns::start(
        &DnsConfig {
            domain: CLUSTER_DOMAIN.to_owned(),
            address: dns_address,
            upstream: Upstream::ResolvConf(PathBuf::from(RESOLV_CONF)),
        },
        dns::Parts {
            context: context.clone(),
            sockets: Arc::new(SandboxSockets::new(sandbox.clone(), "dns")),
            metrics: process.metrics.clone(),
        },
    )
    .context("cannot start the DNS")?;
    service_ips.ready().await;
    dns.ready().await;
    Ok(())
}

fn start_node(parts: &ClusterParts<'_>, context: &Controllers, events: Events) -> Node {
    let ClusterParts { process, control, sandbox, network, dir, images, own, path, part_logs } = *parts;
    let client = process.client_of_account(&control.api, cluster_workloads::rbac::NAMESPACE, node::NAME);
    let mut context = context.clone();
    context.events =
        Recorder::start(client.clone(), process.clock, &process.tasks, &process.metrics.sub("node"), node::NAME);
    context.client = client.clone();
    let machine = Machine::look(dir.path());
    let config = NodeConfig {
        name: NODE.to_owned(),
        ip: network.bridge_ip.into(),
        capacity: Capacity {
            cpu_millis: machine.cpu_millis,
            memory_bytes: machine.memory_bytes,
            storage_bytes: machine.storage_bytes,
            pods: MAX_PODS,
        },
        labels: BTreeMap::new(),
        version: concat!("v", env!("CARGO_PKG_VERSION"), "+kwick").to_owned(),
        kernel: machine.kernel,
        os_image: machine.os_image,
        machine_id: machine.id,
        dns_server: addresses::dns_address(network.ranges.services),
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        api_server: None,
        logs_dir: dir.join("logs"),
        volumes_dir: dir.join(VOLUMES),
        // `blobs_dir` of the spawner's configuration is the store's `blobs`.
        blobs: PathBuf::from("sha256"),
        refresh: REFRESH,
        measure: MEASURE,
    };
    let queues = QueueProxies { local: path.local.clone(), stats: path.stats.clone(), workers: path.plane.workers() };
    let builtins = Builtins::new(own.digests.iter().copied()).with(queue::ROLE, Where::AnyPod, Arc::new(queues));
    let builtins = path.add_parts(builtins, process, part_logs);
    let parts = NodeParts {
        context,
        sandbox: sandbox.clone(),
        events,
        store: images.store.clone(),
        puller: images.puller.clone(),
        builtins,
        hints: path.hints.clone(),
        tokens: Arc::new(ApiTokens::new(client)),
    };
    node::start(config, parts)
}
