//! A Pod's sandbox as this process holds it: its sockets, the roles in it, and who waits for its ports.
//!
//! All descriptors of a Pod are here and in the roles' contexts; dropping this lets its network go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use base_net::connect::LocalHandler;
use base_rt::watch;
use base_rt::{ShutdownHandle, error_chain};
use cluster_sandbox::spec::{ContainerId, ListenerName, PodId, PodListener, PodNetwork, PodSpec, Protocol};
use cluster_sandbox::{PodHandle, RefusalCode};
use k8s_openapi::api::core::v1::{self as core, Pod};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::builtin::BuiltinFactory;
use super::container_spec;
use super::execs::ContainerExecs;
use super::facts::{containers, seconds};
use super::kubelet::Kubelet;
use super::log_sink::LogSink;
use super::names::PodTag;
use super::network::{self, PodSockets, WantedPort};
use super::ports::Ports;
use super::probes::Way;
use super::records;
use super::volumes;
use super::worker::Message;

/// What a listener of a Pod is called, before its port.
const LISTENER: &str = "port-";

/// Which containers of a Pod are roles of this process, by their place.
pub(crate) type Roles = BTreeMap<usize, Arc<dyn BuiltinFactory>>;

/// A role that runs in the Pod.
pub(crate) struct Running {
    /// Ends it.
    pub(crate) shutdown: Arc<ShutdownHandle>,
    /// Which ports it answers without a connection.
    pub(crate) handlers: BTreeMap<u16, Arc<dyn LocalHandler>>,
    /// Waits for its end, and for changes that it tells.
    pub(crate) _tasks: Aborts,
}

/// Tasks that end when this is dropped.
#[derive(Default)]
pub(crate) struct Aborts(pub(crate) Vec<AbortHandle>);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// A Pod's sandbox.
pub(crate) struct Runtime {
    /// Its name at the spawner.
    pub(crate) id: PodId,
    /// Its address.
    pub(crate) ip: Option<IpAddr>,
    network: PodNetwork,
    /// Sockets of its network.
    pub(crate) sockets: PodSockets,
    /// Its listeners, by port.
    pub(crate) listeners: BTreeMap<u16, std::net::TcpListener>,
    /// Which containers are roles.
    pub(crate) roles: Roles,
    /// The roles that run.
    pub(crate) running: BTreeMap<usize, Running>,
    /// Logs of roles, also ended ones.
    pub(crate) sinks: BTreeMap<usize, LogSink>,
    /// Probes of each container.
    pub(crate) probes: BTreeMap<usize, Aborts>,
    /// The ports that are waited for.
    pub(crate) wanted: watch::Sender<BTreeSet<WantedPort>>,
    /// Changes when a probe may have another answer.
    pub(crate) poke: watch::Sender<u64>,
    _watch: Aborts,
}

/// Which containers of a Pod are roles of this process.
pub(crate) async fn roles(node: &Kubelet, pod: &Pod) -> Roles {
    let mut roles = Roles::new();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for (at, container) in containers(pod).enumerate() {
        let image = container.image.as_deref().unwrap_or_default();
        if !node.images.digest(image).is_some_and(|digest| node.builtins.knows(digest)) {
            continue;
        }
        let Some(image) = node.images.present(image).await else { continue };
        // Variables are not known yet; an entry that needs one is none of ours.
        let command = container_spec::command(container, &image, &BTreeMap::new());
        if let Some(factory) = node.builtins.find(&command, namespace) {
            roles.insert(at, factory);
        }
    }
    roles
}

/// Makes a Pod's sandbox.
///
/// # Errors
/// Why not, in words.
pub(crate) async fn make(node: &Arc<Kubelet>, pod: &Pod, outbox: &mpsc::Sender<Message>) -> Result<Runtime, String> {
    let roles = roles(node, pod).await;
    let spec = spec(node, pod, &roles)?;
    // Both are there before a container is.
    let (mut made, recorded) = tokio::join!(node.sandbox.create_pod(&spec), record(node, pod));
    recorded.map_err(|error| format!("cannot write the node's record of the pod: {error}"))?;
    if made.as_ref().is_err_and(|error| error.refusal() == Some(RefusalCode::Exists)) {
        // Left by a start that this process did not see the end of.
        node.sandbox.remove_pod(&spec.id).await.map_err(|error| error_chain(&error))?;
        made = node.sandbox.create_pod(&spec).await;
    }
    Ok(Runtime::new(node, made.map_err(|error| error_chain(&error))?, roles, outbox))
}

async fn record(node: &Kubelet, pod: &Pod) -> std::io::Result<()> {
    let (directory, pod) = (node.config.volumes_dir.clone(), pod.clone());
    tokio::task::spawn_blocking(move || records::write(&directory, &pod)).await.map_err(std::io::Error::other)?
}

/// Takes a sandbox back that an earlier process has made.
///
/// # Errors
/// Why not, in words.
pub(crate) async fn adopt(
    node: &Arc<Kubelet>,
    pod: (&Pod, &PodId),
    outbox: &mpsc::Sender<Message>,
) -> Result<Runtime, String> {
    let roles = roles(node, pod.0).await;
    let sockets = PodSockets::first(!roles.is_empty());
    let handle = node.sandbox.adopt_pod(pod.1, sockets).await.map_err(|error| error_chain(&error))?;
    Ok(Runtime::new(node, handle, roles, outbox))
}

fn spec(node: &Kubelet, pod: &Pod, roles: &Roles) -> Result<PodSpec, String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name, uid) = (text(&pod.metadata.namespace), text(&pod.metadata.name), text(&pod.metadata.uid));
    let asked = |field: fn(&core::PodSpec) -> Option<bool>| pod.spec.as_ref().and_then(field) == Some(true);
    let unknown = [
        (asked(|spec| spec.host_network), "in the host's network (hostNetwork)"),
        (asked(|spec| spec.host_pid), "among the host's processes (hostPID)"),
        (asked(|spec| spec.host_ipc), "with the host's IPC (hostIPC)"),
        (
            asked(|spec| spec.share_process_namespace),
            "whose containers see each other's processes (shareProcessNamespace)",
        ),
    ];
    if let Some((_, what)) = unknown.iter().find(|(asked, _)| *asked) {
        return Err(format!("this node does not run pods {what}"));
    }
    let id = PodId::try_new(uid.clone()).map_err(|error| error.to_string())?;
    let count = containers(pod).count();
    let mut spec = PodSpec::new(id);
    let names = network::names(pod, &node.config.cluster_domain)?;
    (spec.hostname, spec.names) = (names.host, names.in_hosts);
    spec.network = match node.sandbox.facts().network {
        None => PodNetwork::Isolated,
        Some(_) if roles.len() == count => PodNetwork::Instance,
        Some(_) => PodNetwork::Own,
    };
    let of_roles = containers(pod).enumerate().filter_map(|(at, container)| Some(roles.get(&at)?.ports(container)));
    let ports: BTreeSet<u16> = of_roles.flatten().collect();
    let listener = |port: u16| {
        let name = ListenerName::try_new(format!("{LISTENER}{port}")).map_err(|error| error.to_string())?;
        Ok::<_, String>(PodListener { name, port, protocol: Protocol::Tcp })
    };
    spec.listeners = ports.into_iter().map(listener).collect::<Result<_, _>>()?;
    spec.sockets = PodSockets::first(!roles.is_empty());
    spec.volumes = volumes::spawner_volumes(pod);
    spec.dns = network::dns(pod, node.config.dns_server, &node.config.cluster_domain);
    spec.host_aliases = network::host_aliases(pod);
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    spec.grace_ms = grace.map(|grace| u64::try_from(seconds(grace).as_millis()).unwrap_or(u64::MAX));
    spec.shared_memory = count - roles.len() > 1;
    spec.has_own_users = pod.spec.as_ref().and_then(|spec| spec.host_users) == Some(false);
    spec.tag = PodTag { namespace, name, uid }.to_text();
    Ok(spec)
}

impl Runtime {
    fn new(node: &Arc<Kubelet>, handle: PodHandle, roles: Roles, outbox: &mpsc::Sender<Message>) -> Self {
        let PodHandle { state, listeners, diag, sockets } = handle;
        let port = |name: &ListenerName| name.as_str().strip_prefix(LISTENER)?.parse().ok();
        let listeners = state.listeners.iter().zip(listeners);
        let listeners =
            listeners.filter_map(|(name, fd)| Some((port(name)?, std::net::TcpListener::from(fd)))).collect();
        let (wanted, waiting) = watch::channel(BTreeSet::new());
        let watching = diag.map(|diag| watch_ports(node, (diag, state.ip), waiting, outbox.clone()));
        let ready =
            PodSockets::new(node.sandbox.clone(), state.id.clone(), node.tasks.clone(), sockets, !roles.is_empty());
        Self {
            id: state.id,
            ip: state.ip.map(IpAddr::V4),
            network: state.network,
            sockets: ready,
            listeners,
            roles,
            running: BTreeMap::new(),
            sinks: BTreeMap::new(),
            probes: BTreeMap::new(),
            wanted,
            poke: watch::Sender::new(0),
            _watch: Aborts(watching.into_iter().collect()),
        }
    }

    /// How its ports are reached.
    pub(crate) fn ports(&self) -> Ports {
        // Who has no network of its own listens at its address alone.
        let own = self.ip.filter(|_| self.network == PodNetwork::Instance);
        Ports { sockets: self.sockets.clone(), ip: own.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)) }
    }

    /// Whether every container is a role.
    pub(crate) fn is_of_roles(&self, pod: &Pod) -> bool {
        self.roles.len() == containers(pod).count()
    }

    /// How a container is reached.
    pub(crate) fn way(&self, node: &Arc<Kubelet>, container: ContainerId) -> Way {
        Way {
            ip: self.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            sockets: Arc::new(self.sockets.clone()),
            handlers: self.running.values().flat_map(|role| role.handlers.clone()).collect(),
            execs: Arc::new(ContainerExecs { node: Arc::clone(node), container }),
            tasks: node.tasks.clone(),
        }
    }

    /// Something has happened that probes would see.
    pub(crate) fn poke(&self) {
        self.poke.send_modify(|count| *count += 1);
    }

    /// Duplicates of the listeners that a role has.
    pub(crate) fn listeners_of(&self, ports: &BTreeSet<u16>) -> BTreeMap<u16, std::net::TcpListener> {
        let own = self.listeners.iter().filter(|(port, _)| ports.contains(port));
        own.filter_map(|(port, listener)| Some((*port, listener.try_clone().ok()?))).collect()
    }
}

fn watch_ports(
    node: &Kubelet,
    place: (OwnedFd, Option<Ipv4Addr>),
    wanted: watch::Receiver<BTreeSet<WantedPort>>,
    outbox: mpsc::Sender<Message>,
) -> AbortHandle {
    let (diag, ip) = place;
    node.tasks.spawn_transient("node/ports", network::watch_ports(diag, ip, wanted, outbox))
}
