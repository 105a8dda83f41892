//! The Node object: registered, kept Ready, and a Lease renewed, as a kubelet does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base_rt::{Phase, Timestamp, error_chain};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::NodeConfig;
use super::kubelet::Kubelet;

/// Where nodes' leases are.
const LEASES: &str = "kube-node-lease";
/// How long a lease holds, and how often it is renewed.
const LEASE_S: i32 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Renewals from one status to the next.
const STATUS_EVERY: u32 = 30;
/// How soon a registration that did not work is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Registers the node and keeps it alive until the process drains.
pub(crate) async fn keep(node: Arc<Kubelet>) {
    let shutdown = node.tasks.shutdown().clone();
    tokio::select! {
        biased;
        () = shutdown.reached(Phase::Drained) => {}
        () = beat(&node) => {}
    }
}

async fn beat(node: &Kubelet) {
    while let Err(error) = register(node).await {
        tracing::warn!(error = error_chain(&error), "the node is not registered yet");
        tokio::time::sleep(RETRY).await;
    }
    let mut count = 0_u32;
    loop {
        if let Err(error) = renew(node).await {
            tracing::debug!(error = error_chain(&error), "the node's lease is not renewed");
        }
        tokio::time::sleep(RENEW_EVERY).await;
        count += 1;
        if count.is_multiple_of(STATUS_EVERY)
            && let Err(error) = register(node).await
        {
            tracing::warn!(error = error_chain(&error), "the node's status is not written");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the node's own object is outside of any plan (ARCHITECTURE.md)")]
async fn register(node: &Kubelet) -> kube::Result<()> {
    let api: Api<Node> = Api::all(node.client.clone());
    let name = &node.config.name;
    let present = match api.get_opt(name).await? {
        Some(present) => present,
        None => api.create(&PostParams::default(), &make_node(&node.config)).await?,
    };
    let status = make_status(&node.config, present.status.as_ref(), node.clock.now());
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
}

#[expect(clippy::disallowed_methods, reason = "leases are outside of any plan (ARCHITECTURE.md)")]
async fn renew(node: &Kubelet) -> kube::Result<()> {
    let api: Api<Lease> = Api::namespaced(node.client.clone(), LEASES);
    let name = &node.config.name;
    let now = MicroTime(node.clock.now());
    let patch = Patch::Merge(json!({ "spec": { "renewTime": now } }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(LEASES.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(name.clone()),
                    lease_duration_seconds: Some(LEASE_S),
                    renew_time: Some(now),
                    ..LeaseSpec::default()
                }),
            };
            api.create(&PostParams::default(), &lease).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn make_node(config: &NodeConfig) -> Node {
    let own = [
        ("kubernetes.io/hostname", config.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ];
    let mut labels: BTreeMap<String, String> =
        own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    labels.extend(config.labels.clone());
    let metadata = ObjectMeta { name: Some(config.name.clone()), labels: Some(labels), ..ObjectMeta::default() };
    Node { metadata, ..Node::default() }
}

/// The node's status; conditions keep their times.
pub(crate) fn make_status(config: &NodeConfig, previous: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
    let capacity = &config.capacity;
    let amounts = [
        ("cpu", format!("{}m", capacity.cpu_millis)),
        ("memory", format!("{}Ki", capacity.memory_bytes / 1024)),
        ("ephemeral-storage", format!("{}Ki", capacity.storage_bytes / 1024)),
        ("pods", capacity.pods.to_string()),
    ];
    let amounts: BTreeMap<String, Quantity> =
        amounts.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount))).collect();
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let rows = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let conditions = rows.into_iter().map(|(type_, status, reason, message)| {
        let known = previous.iter().flat_map(|previous| previous.conditions.iter().flatten());
        let same = known
            .filter(|known| known.type_ == type_ && known.status == status)
            .find_map(|known| known.last_transition_time.clone());
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(same.unwrap_or(Time(now))),
        }
    });
    NodeStatus {
        allocatable: Some(amounts.clone()),
        capacity: Some(amounts),
        addresses: Some(vec![address("InternalIP", config.ip.to_string()), address("Hostname", config.name.clone())]),
        conditions: Some(conditions.collect()),
        daemon_endpoints: Some(NodeDaemonEndpoints::default()),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            operating_system: "linux".to_owned(),
            kubelet_version: config.version.clone(),
            container_runtime_version: format!("kwick://{}", config.version.trim_start_matches('v')),
            kernel_version: config.kernel.clone(),
            os_image: config.os_image.clone(),
            machine_id: config.machine_id.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}
