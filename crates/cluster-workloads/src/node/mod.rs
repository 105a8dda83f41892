//! The node: makes the Pods that are bound to it real, on this machine, as a kubelet does.
//!
//! ```text
//!  Pods (watch, spec.nodeName) ─► kubelet ─► worker, one per Pod ─► pod_state (pure) ─► actions ─┐
//!       ▲                           ▲             │                                              │
//!       │ status (pod_status, pure)─┼─────────────┘   images · volumes · launch · probes · network ◄
//!  spawner's events ────────────────┘                         │
//!                                       cluster_sandbox::Sandbox, or builtin roles of this process
//! ```
//! Read first [`pod_state`] (what happens when), then [`worker`] (who does it), then [`launch`] (one start of a container).
//!
//! # What is different from a kubelet
//! - Readiness does not wait for a period: a probe that is not content is tried as soon as a port of its Pod begins to listen, or a role says
//!   so. The kernel is asked whether it listens; no program is disturbed.
//! - Containers without a seccomp profile have the runtime's default one.
//! - Files of ConfigMaps and the downward API lie in memory as those of Secrets do; a volume has at most 5 MiB of them.
//! - Some containers are roles of this process ([`builtin`]). Nothing can be run in them; their logs and ports are as others'.
//! - Whoever attaches to a container follows its log ([`sessions`]): a container never waits for who watches it.
//! - What Pods take of the disk is bounded as a kubelet bounds it ([`eviction`]); a machine whose disk is nearly full only forgets images.
//! - Not done: hosts' networks and devices, block volumes, ephemeral containers.
//!
//! # Restarts of this process
//! Pods go on at the spawner. An object that the API has lost in a crash is put back from the node's record ([`put_back`]). Then they are
//! taken back before anything is reported: same processes, same restart counts, exits of the meantime. Pods whose object is gone are removed,
//! what is missing is started.

pub mod builtin;
mod claims;
mod container_spec;
mod env;
mod eviction;
mod execs;
mod expand;
mod facts;
mod fields;
mod image_gc;
mod images;
mod kubelet;
mod launch;
mod log_sink;
mod logs;
mod meter;
mod names;
mod network;
mod node_object;
mod pod_state;
mod pod_status;
mod ports;
mod probes;
mod records;
mod runtime;
mod sessions;
mod sources;
mod storage;
mod tokens;
mod volumes;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base_controller::hint::HintBus;
use base_controller::{Context, Informer, Scope};
use base_image::Store;
use base_image::pull::Puller;
use base_rt::watch;
use base_rt::{Phase, TaskError};
use cluster_sandbox::{Events, Sandbox};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod, Service};

pub use log_sink::LogSink;
pub use logs::{LogError, LogOptions, LogStream};
pub use meter::{Measurement, PodUse, Use};
pub use ports::PodPorts;
pub use records::put_back;
pub use sessions::{AttachOptions, ExecOptions, Resize, Session, SessionError, Starting};
pub use tokens::{ApiTokens, Token, TokenAsk, TokenError, TokenProvider};

use builtin::Builtins;
use fields::NodeLimits;
use images::Images;
use kubelet::Kubelet;
use meter::Meter;
use sources::Fetcher;
use tokens::KeptTokens;

/// The node's identity: its ServiceAccount in [`crate::rbac::NAMESPACE`].
pub const NAME: &str = "node";

/// What the node offers to Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Processors, in thousandths.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Disk in bytes.
    pub storage_bytes: u64,
    /// How many Pods.
    pub pods: u32,
}

/// What the node is told about itself and the cluster.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The Node object's name.
    pub name: String,
    /// Its address, as Pods and clients see it: the instance's.
    pub ip: IpAddr,
    /// What it offers.
    pub capacity: Capacity,
    /// Labels of the Node beyond the usual.
    pub labels: BTreeMap<String, String>,
    /// The version that it reports, such as `v1.37.0`.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The operating system's name.
    pub os_image: String,
    /// The machine's id.
    pub machine_id: String,
    /// The cluster's DNS server, as Pods reach it.
    pub dns_server: Ipv4Addr,
    /// The cluster's domain, `cluster.local`.
    pub cluster_domain: String,
    /// Where Pods reach the API as long as there is no Service `default/kubernetes`.
    pub api_server: Option<SocketAddr>,
    /// The spawner's directory for logs; readable by this process.
    pub logs_dir: PathBuf,
    /// The spawner's directory for what this process mounts into containers; writable by this process.
    pub volumes_dir: PathBuf,
    /// Where blobs named by their digests' hexadecimal form are, relative to the spawner's `blobs_dir`: `blobs/sha256` if that is the
    /// store's directory, empty if it is `blobs/sha256` in it.
    pub blobs: PathBuf,
    /// How often it is looked whether Pods take more of the disk than they may; a kubelet does it every ten seconds.
    pub measure: Duration,
    /// How often the content of volumes is brought up to date; a kubelet does it about once a minute.
    pub refresh: Duration,
}

/// What the node works with.
pub struct NodeParts {
    /// Client, informers, clock, tasks and Events, as [`NAME`] (what it may do is in [`crate::rbac`]). The informers may be shared ones.
    pub context: Context,
    /// The connection to the spawner.
    pub sandbox: Sandbox,
    /// What the spawner tells; nobody else may read it.
    pub events: Events,
    /// The image store.
    pub store: Store,
    /// Pulls into it.
    pub puller: Puller,
    /// Containers that are roles of this process.
    pub builtins: Builtins,
    /// Where `Listening` is told.
    pub hints: HintBus,
    /// Gives ServiceAccounts' tokens; [`ApiTokens`] asks the API.
    pub tokens: Arc<dyn TokenProvider>,
}

impl fmt::Debug for NodeParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeParts").field("builtins", &self.builtins).finish_non_exhaustive()
    }
}

/// A running node. Clones are the same node; its tasks end with the process's, its Pods do not.
#[derive(Clone)]
pub struct Node {
    kubelet: Arc<Kubelet>,
    adopted: watch::Receiver<bool>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.kubelet.config.name).finish_non_exhaustive()
    }
}

/// Starts the node. It registers, takes back what the spawner runs, and follows the Pods that are bound to it. If the spawner ends, so does
/// the task `node/spawner`, and with it the process.
pub fn start(config: NodeConfig, parts: NodeParts) -> Node {
    let NodeParts { context, sandbox, events, store, puller, builtins, hints, tokens } = parts;
    let limits = NodeLimits { cpu_millis: config.capacity.cpu_millis, memory_bytes: config.capacity.memory_bytes };
    let pods = context.informers.get::<Pod>(Scope::all().with_fields(format!("spec.nodeName={}", config.name)));
    let kubelet = Arc::new(Kubelet {
        images: Images::new(store, puller, sandbox.clone(), config.blobs.clone()),
        fetcher: Fetcher { client: context.client.clone(), tokens: KeptTokens::new(tokens), node: limits },
        services: context.informers.get::<Service>(Scope::all()),
        config,
        client: context.client.clone(),
        clock: context.clock,
        tasks: context.tasks.clone(),
        events: context.events.clone(),
        sandbox,
        builtins,
        hints,
        shared: std::sync::Mutex::default(),
        exec_count: std::sync::atomic::AtomicU64::new(0),
        meter: Meter::default(),
    });
    let tasks = &context.tasks;
    let keeping = node_object::keep(Arc::clone(&kubelet));
    tasks.spawn("node/object", async move {
        keeping.await;
        Ok(())
    });
    let collecting = image_gc::keep(Arc::clone(&kubelet), pods.clone());
    tasks.spawn("node/image-gc", async move {
        collecting.await;
        Ok(())
    });
    let ending = storage::keep(Arc::clone(&kubelet), context.informers.get::<PersistentVolume>(Scope::all()));
    tasks.spawn("node/storage", async move {
        ending.await;
        Ok(())
    });
    let evicting = eviction::keep(Arc::clone(&kubelet), pods.clone());
    tasks.spawn("node/eviction", async move {
        evicting.await;
        Ok(())
    });
    let (sender, adopted) = watch::channel(false);
    let following = follow(Arc::clone(&kubelet), pods, events, sender);
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("node/spawner", async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => Ok(()),
            outcome = following => outcome,
        }
    });
    Node { kubelet, adopted }
}

/// Takes back what runs, then passes on what happens. Ends only with the spawner.
async fn follow(
    kubelet: Arc<Kubelet>,
    pods: Informer<Pod>,
    events: Events,
    adopted: watch::Sender<bool>,
) -> Result<(), TaskError> {
    kubelet.images.learn_layers().await;
    pods.synced().await;
    kubelet.services.synced().await;
    kubelet.offer(kubelet.sandbox.pods().await?);
    let seeing = Arc::clone(&kubelet);
    pods.subscribe(move |delta| seeing.sees(delta));
    let (unclaimed, sweeping) = (kubelet.unclaimed(), Arc::clone(&kubelet));
    kubelet.tasks.spawn_transient("node/sweep", async move {
        // What runs still uses its volumes and writes its logs.
        join_all(unclaimed.iter().map(|id| worker::remove(&sweeping, id))).await;
        worker::sweep_volumes(&sweeping).await;
        worker::sweep_logs(&sweeping).await;
    });
    adopted.send_replace(true);
    kubelet.route(events).await;
    Err("the spawner is gone".into())
}

impl Node {
    /// The Node object's name.
    pub fn name(&self) -> &str {
        &self.kubelet.config.name
    }

    /// Waits until what the spawner runs has been taken back.
    pub async fn adopted(&self) {
        let mut adopted = self.adopted.clone();
        // An error means that the process ends.
        let _ = adopted.wait_for(|adopted| *adopted).await;
    }

    /// Opens the log of a container of a Pod that is bound to this node.
    ///
    /// # Errors
    /// [`LogError`]; its texts are the kubelet's.
    pub fn logs(&self, namespace: &str, pod: &str, options: LogOptions) -> Result<LogStream, LogError> {
        logs::open(&self.kubelet, (namespace, pod), options)
    }

    /// Runs a program in a container of a Pod that is bound to this node.
    ///
    /// # Errors
    /// [`SessionError`]: the container does not run, or has no process.
    pub fn exec(&self, namespace: &str, pod: &str, options: ExecOptions) -> Result<Starting, SessionError> {
        sessions::exec(&self.kubelet, (namespace, pod), options)
    }

    /// Attaches to a container of a Pod that is bound to this node.
    ///
    /// # Errors
    /// [`SessionError`]: the container does not run.
    pub fn attach(&self, namespace: &str, pod: &str, options: AttachOptions) -> Result<Starting, SessionError> {
        sessions::attach(&self.kubelet, (namespace, pod), options)
    }

    /// What Pods and the machine use. The first who asks after a while waits a second.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub async fn measure(&self) -> Result<Arc<Measurement>, String> {
        self.kubelet.meter.measure(&self.kubelet).await
    }

    /// The ports of a Pod that is bound to this node.
    ///
    /// # Errors
    /// [`SessionError`]: the Pod has no network yet, or no more.
    pub fn ports(&self, namespace: &str, pod: &str) -> Result<PodPorts, SessionError> {
        sessions::ports(&self.kubelet, (namespace, pod))
    }
}
