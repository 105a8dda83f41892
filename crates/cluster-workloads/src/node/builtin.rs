//! Containers that are roles of this process: no program is started for them, their sockets live in the Pod's network all the same.
//!
//! ```text
//! Pod's container ── image known as ours? entry known? namespace allowed? ──► BuiltinFactory::start(BuiltinContext) ──► BuiltinHandle
//!      env, args, listeners (in the Pod's network), sockets to 127.0.0.1 of the Pod, log ──┘        probes, end ──┘
//! ```
//! Such a container takes part in the Pod's status, probes, hooks and grace period like any other. The node knows of it only what stands
//! here; [`Builtins`] is filled by whoever starts the node.
//!
//! An image counts as ours by its manifest's digest alone, and a role starts only for an entry that is allowed in the Pod's namespace.
//! Any other use of the image starts a process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base_image::Digest;
use base_net::connect::{LocalHandler, SocketSupply};
use base_rt::watch;
use base_rt::{Clock, Shutdown, Tasks};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Container;

use super::log_sink::LogSink;

/// The files of volumes, by the volume's name and the file's path in it.
pub(crate) type HeldFiles = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// The files that a container's mounts show, as its volumes are now. A role has no file system; it reads here what a process would read there.
#[derive(Clone)]
pub struct MountedFiles {
    held: watch::Receiver<Arc<HeldFiles>>,
    /// Where each volume is mounted.
    mounts: Vec<(String, String)>,
}

/// What is in them is nobody's business.
impl fmt::Debug for MountedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountedFiles").field("mounts", &self.mounts).finish_non_exhaustive()
    }
}

impl MountedFiles {
    pub(crate) fn new(held: watch::Receiver<Arc<HeldFiles>>, container: &Container) -> Self {
        let mounts = container.volume_mounts.iter().flatten();
        let whole = mounts.filter(|mount| mount.sub_path.is_none() && mount.sub_path_expr.is_none());
        Self { held, mounts: whole.map(|mount| (mount.mount_path.clone(), mount.name.clone())).collect() }
    }

    /// What a file holds now; none if it is not there.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let held = self.held.borrow();
        self.mounts.iter().find_map(|(directory, volume)| {
            let name = path.strip_prefix(directory.trim_end_matches('/'))?.strip_prefix('/')?;
            held.get(volume)?.get(name).cloned()
        })
    }
}

/// What a role is started with.
pub struct BuiltinContext {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub pod: String,
    /// The Pod's uid.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// The Pod's address.
    pub pod_ip: IpAddr,
    /// The environment that a process would have.
    pub env: BTreeMap<String, String>,
    /// The words after the entry.
    pub args: Vec<String>,
    /// Listening sockets on every address of the Pod, by port; non-blocking.
    pub listeners: BTreeMap<u16, std::net::TcpListener>,
    /// Connections out of the Pod's network, to `127.0.0.1:PORT` in particular; for [`base_net::connect::Connector::with_supply`].
    pub sockets: Arc<dyn SocketSupply>,
    /// The files of the container's mounts.
    pub files: MountedFiles,
    /// Takes what a process would write to its standard output.
    pub log: LogSink,
    /// The process's clock.
    pub clock: Clock,
    /// The process's tasks; a role starts transient ones.
    pub tasks: Tasks,
    /// The container's own end: `Lame` is what SIGTERM is to a process, `Stopped` what SIGKILL is. It also follows the process's shutdown.
    pub shutdown: Shutdown,
}

impl fmt::Debug for BuiltinContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<_> = self.listeners.keys().collect();
        f.debug_struct("BuiltinContext")
            .field("namespace", &self.namespace)
            .field("pod", &self.pod)
            .field("container", &self.container)
            .field("ports", &ports)
            .finish_non_exhaustive()
    }
}

/// A role that runs.
pub struct BuiltinHandle {
    /// Answers HTTP probes and hooks that go to a port of the role, without a connection. A port that is not here is dialled.
    pub handlers: BTreeMap<u16, Arc<dyn LocalHandler>>,
    /// Says that something has changed that a probe would see; the node then probes at once. Any value will do: only changes count.
    pub changed: Option<watch::Receiver<u64>>,
    /// Ends with the exit code once the role has ended, by itself or after its shutdown began.
    pub ended: BoxFuture<'static, i32>,
}

impl fmt::Debug for BuiltinHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<_> = self.handlers.keys().collect();
        f.debug_struct("BuiltinHandle").field("handlers", &ports).finish_non_exhaustive()
    }
}

/// Why a role does not start; it is told as the container's termination message, and the container is restarted as the Pod says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BuiltinError(pub String);

/// Starts a role.
pub trait BuiltinFactory: Send + Sync {
    /// The TCP ports that the role listens on in this container's Pod.
    fn ports(&self, container: &Container) -> BTreeSet<u16> {
        let declared =
            container.ports.iter().flatten().filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"));
        declared.filter_map(|port| u16::try_from(port.container_port).ok()).collect()
    }

    /// Starts it. Returns at once; what takes time goes into tasks.
    ///
    /// # Errors
    /// [`BuiltinError`]: it cannot work with what it is given.
    fn start(&self, context: BuiltinContext) -> Result<BuiltinHandle, BuiltinError>;
}

/// In which Pods an entry is a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// In any.
    AnyPod,
    /// In those of these namespaces.
    Namespaces(BTreeSet<String>),
}

/// Which images and entries are roles of this process.
#[derive(Clone, Default)]
pub struct Builtins {
    images: BTreeSet<Digest>,
    entries: BTreeMap<String, (Where, Arc<dyn BuiltinFactory>)>,
}

impl fmt::Debug for Builtins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<_> = self.entries.keys().collect();
        f.debug_struct("Builtins").field("images", &self.images).field("entries", &entries).finish()
    }
}

impl Builtins {
    /// Images that are this program, by their manifests' digests; no entries yet.
    pub fn new(images: impl IntoIterator<Item = Digest>) -> Self {
        Self { images: images.into_iter().collect(), entries: BTreeMap::new() }
    }

    /// Has `factory` stand for `PROGRAM entry …` in the Pods of `place`.
    #[must_use]
    pub fn with(mut self, entry: impl Into<String>, place: Where, factory: Arc<dyn BuiltinFactory>) -> Self {
        self.entries.insert(entry.into(), (place, factory));
        self
    }

    /// Whether an image is this program.
    pub(crate) fn knows(&self, image: Digest) -> bool {
        self.images.contains(&image)
    }

    /// Who stands for this command line (program, entry, arguments) of one of our images in a Pod of `namespace`.
    pub(crate) fn find(&self, command: &[String], namespace: &str) -> Option<Arc<dyn BuiltinFactory>> {
        let (place, factory) = self.entries.get(command.get(1)?)?;
        let is_allowed = match place {
            Where::AnyPod => true,
            Where::Namespaces(namespaces) => namespaces.contains(namespace),
        };
        is_allowed.then(|| Arc::clone(factory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Role;

    impl BuiltinFactory for Role {
        fn start(&self, _context: BuiltinContext) -> Result<BuiltinHandle, BuiltinError> {
            Err(BuiltinError("it never starts".to_owned()))
        }
    }

    #[test]
    fn an_entry_counts_only_where_it_is_allowed() {
        let system = Where::Namespaces(["system".to_owned()].into());
        let builtins = Builtins::new([Digest::of(b"ours")]).with("sidecar", Where::AnyPod, Arc::new(Role)).with(
            "server",
            system,
            Arc::new(Role),
        );
        assert!(builtins.knows(Digest::of(b"ours")) && !builtins.knows(Digest::of(b"other")));
        let words = |entry: &str| vec!["/program".to_owned(), entry.to_owned()];
        assert!(builtins.find(&words("sidecar"), "any").is_some());
        assert!(builtins.find(&words("server"), "any").is_none());
        assert!(builtins.find(&words("server"), "system").is_some());
        assert!(builtins.find(&words("other"), "system").is_none());
        assert!(builtins.find(&words("sidecar")[..1], "any").is_none());
    }

    #[test]
    fn mounted_files_are_those_of_the_volumes() {
        let container: Container = serde_json::from_value(serde_json::json!({"name": "c", "volumeMounts": [
            {"name": "certs", "mountPath": "/etc/certs/"}, {"name": "certs", "mountPath": "/one", "subPath": "tls.key"},
        ]}))
        .unwrap();
        let (sender, held) = watch::channel(Arc::new(HeldFiles::new()));
        let files = MountedFiles::new(held, &container);
        assert_eq!(files.read("/etc/certs/tls.crt"), None);
        let of_volume = BTreeMap::from([("tls.crt".to_owned(), b"first".to_vec())]);
        sender.send_replace(Arc::new([("certs".to_owned(), of_volume)].into()));
        assert_eq!(files.read("/etc/certs/tls.crt").as_deref(), Some(&b"first"[..]));
        for path in ["/etc/certs/tls.key", "/etc/certstls.crt", "/one/tls.crt", "tls.crt"] {
            assert_eq!(files.read(path), None, "{path}");
        }
    }

    #[test]
    fn declared_tcp_ports_are_opened() {
        let container = serde_json::json!({"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 90, "protocol": "TCP"},
        ]});
        assert_eq!(Role.ports(&serde_json::from_value(container).unwrap()), [80, 90].into());
    }
}
