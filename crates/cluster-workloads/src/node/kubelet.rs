//! What every part of the node shares: whom it asks, whom it tells, and which Pods there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::events::Recorder;
use base_controller::hint::HintBus;
use base_controller::{Delta, Informer, PlanEvent};
use base_rt::watch;
use base_rt::{Clock, Tasks, error_chain};
use cluster_sandbox::spec::{ContainerId, ContainerPhase, ExecId, ExecSpec, Exit, PodId, PodState};
use cluster_sandbox::{Event as SpawnerEvent, Sandbox};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use kube::Client;
use tokio::sync::{mpsc, oneshot};

use super::NodeConfig;
use super::builtin::Builtins;
use super::env;
use super::facts::Role;
use super::images::Images;
use super::logs::RunView;
use super::probes::Execs;
use super::sources::Fetcher;
use super::worker::{self, Message};

/// Bytes of a command's output that are kept for its probe's message.
const EXEC_OUTPUT_BYTES: usize = 1024;

/// The node's shared parts.
pub(crate) struct Kubelet {
    pub(crate) config: NodeConfig,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) events: Recorder,
    pub(crate) sandbox: Sandbox,
    pub(crate) images: Images,
    pub(crate) fetcher: Fetcher,
    pub(crate) services: Informer<Service>,
    pub(crate) builtins: Builtins,
    pub(crate) hints: HintBus,
    pub(crate) shared: Mutex<Shared>,
    pub(crate) exec_count: AtomicU64,
}

/// What changes.
#[derive(Default)]
pub(crate) struct Shared {
    /// The Pods' workers, by uid.
    routes: BTreeMap<String, Route>,
    /// Runs of containers by namespace and name of their Pod: its uid, and each container's.
    views: BTreeMap<(String, String), (String, BTreeMap<String, RunView>)>,
    /// Who waits for the end of a command.
    execs: BTreeMap<ExecId, oneshot::Sender<Exit>>,
    /// What the spawner had when this process started, until its Pod's worker takes it.
    adoptable: BTreeMap<String, PodState>,
}

/// How a Pod's worker is reached.
struct Route {
    pod: watch::Sender<Option<Arc<Pod>>>,
    inbox: mpsc::Sender<Message>,
}

impl Kubelet {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells people what happened to a Pod, or to one of its containers.
    pub(crate) fn tell(&self, pod: &Pod, container: Option<(&str, Role)>, event: PlanEvent) {
        let field_path = container.map(|(name, role)| match role {
            Role::Main => format!("spec.containers{{{name}}}"),
            Role::Init | Role::Sidecar => format!("spec.initContainers{{{name}}}"),
        });
        let meta = &pod.metadata;
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path,
        };
        self.events.record(about, event);
    }

    /// The variables of the services that a Pod is told about.
    pub(crate) fn service_env(&self, pod: &Pod) -> BTreeMap<String, String> {
        let has_links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let own = if has_links { self.services.list_in(namespace) } else { Vec::new() };
        let api = self.services.get(&base_controller::Key::new("default", "kubernetes"));
        let mut variables = env::service_env(api.iter().chain(&own).map(|service| &**service));
        if let (None, Some(address)) = (api, self.config.api_server) {
            variables.insert("KUBERNETES_SERVICE_HOST".to_owned(), address.ip().to_string());
            variables.insert("KUBERNETES_SERVICE_PORT".to_owned(), address.port().to_string());
            variables.insert("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), address.port().to_string());
        }
        variables
    }

    /// Takes in what the spawner has, for [`sees`](Self::sees) to adopt.
    pub(crate) fn offer(&self, pods: Vec<PodState>) {
        self.shared().adoptable = pods.into_iter().map(|pod| (pod.id.as_str().to_owned(), pod)).collect();
    }

    /// What nobody has adopted.
    pub(crate) fn unclaimed(&self) -> Vec<PodId> {
        std::mem::take(&mut self.shared().adoptable).into_values().map(|pod| pod.id).collect()
    }

    /// A Pod of this node has come, changed or gone.
    pub(crate) fn sees(self: &Arc<Self>, delta: &Delta<'_, Pod>) {
        let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone().unwrap_or_default();
        let (old, new) = (delta.old.map(uid), delta.new.map(uid));
        if let Some(old) = old.filter(|old| Some(old) != new.as_ref()) {
            self.pass_on(&old, None);
        }
        if let (Some(uid), Some(pod)) = (new, delta.new) {
            self.pass_on(&uid, Some(Arc::clone(pod)));
        }
    }

    /// Hands a Pod's latest form to its worker; a Pod that is new gets one.
    fn pass_on(self: &Arc<Self>, uid: &str, pod: Option<Arc<Pod>>) {
        let mut shared = self.shared();
        if let Some(route) = shared.routes.get(uid) {
            route.pod.send_replace(pod);
            return;
        }
        let Some(pod) = pod else { return };
        let adopted = shared.adoptable.remove(uid);
        let (sender, receiver) = watch::channel(Some(Arc::clone(&pod)));
        let (inbox, messages) = mpsc::channel(worker::INBOX);
        shared.routes.insert(uid.to_owned(), Route { pod: sender, inbox: inbox.clone() });
        drop(shared);
        worker::spawn(self, (pod, adopted), (receiver, inbox, messages));
    }

    /// Whether a Pod has a worker.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.shared().routes.contains_key(uid)
    }

    /// A Pod's worker has ended.
    pub(crate) fn forget(&self, uid: &str, pod: (&str, &str)) {
        let mut shared = self.shared();
        shared.routes.remove(uid);
        let key = (pod.0.to_owned(), pod.1.to_owned());
        if shared.views.get(&key).is_some_and(|(present, _)| present == uid) {
            shared.views.remove(&key);
        }
    }

    /// Keeps what is known of a Pod's runs, for who reads their logs.
    pub(crate) fn show(&self, pod: (&str, &str), uid: &str, runs: BTreeMap<String, RunView>) {
        self.shared().views.insert((pod.0.to_owned(), pod.1.to_owned()), (uid.to_owned(), runs));
    }

    /// The run of a container, and its Pod's uid.
    pub(crate) fn run_view(&self, namespace: &str, pod: &str, container: &str) -> Option<(String, RunView)> {
        let shared = self.shared();
        let (uid, runs) = shared.views.get(&(namespace.to_owned(), pod.to_owned()))?;
        Some((uid.clone(), runs.get(container)?.clone()))
    }

    /// Passes on what the spawner tells, until it has gone.
    pub(crate) async fn route(&self, mut events: cluster_sandbox::Events) {
        while let Some(event) = events.next().await {
            match event {
                SpawnerEvent::ContainerExited { pod, container, exit } => self.exited(&pod, container, exit).await,
                SpawnerEvent::ExecExited { exec, exit } => {
                    let waiting = self.shared().execs.remove(&exec);
                    if let Some(waiting) = waiting {
                        // Who waited may have given up.
                        let _ = waiting.send(exit);
                    }
                }
                SpawnerEvent::LogRotated { .. } => {}
                SpawnerEvent::Missed { .. } => self.catch_up().await,
            }
        }
    }

    async fn exited(&self, pod: &PodId, container: ContainerId, exit: Exit) {
        let inbox = self.shared().routes.get(pod.as_str()).map(|route| route.inbox.clone());
        if let Some(inbox) = inbox {
            // A worker that has ended needs no news.
            let _ = inbox.send(Message::Exit { container, exit }).await;
        }
    }

    /// Asks for everything because something was missed.
    async fn catch_up(&self) {
        let pods = match self.sandbox.pods().await {
            Ok(pods) => pods,
            Err(error) => return tracing::error!(error = error_chain(&error), "the spawner's pods cannot be listed"),
        };
        for pod in pods {
            for container in pod.containers {
                if let ContainerPhase::Exited(exit) = container.phase {
                    self.exited(&pod.id, container.id, exit).await;
                }
            }
        }
    }
}

/// Runs commands in one run of a container.
pub(crate) struct ContainerExecs {
    pub(crate) node: Arc<Kubelet>,
    pub(crate) container: ContainerId,
}

impl Execs for ContainerExecs {
    fn run(&self, command: Vec<String>) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let number = self.node.exec_count.fetch_add(1, Ordering::Relaxed);
            let started = self.node.clock.now().as_microsecond();
            let id = ExecId::try_new(format!("probe-{started}-{number}")).map_err(|error| error.to_string())?;
            let (sender, ended) = oneshot::channel();
            self.node.shared().execs.insert(id.clone(), sender);
            let guard = Forget { node: &self.node, exec: &id };
            let spec = ExecSpec { container: self.container.clone(), id: id.clone(), command, with_stdin: false };
            let handle = self.node.sandbox.exec(&spec).await.map_err(|error| error_chain(&error))?;
            let (stdout, stderr) = (output(handle.stdout), output(handle.stderr));
            let (stdout, stderr, exit) = tokio::join!(stdout, stderr, ended);
            drop(guard);
            let exit = exit.map_err(|_| "the command's end was not told".to_owned())?;
            match exit.code {
                0 => Ok(()),
                _ => Err(format!("{stdout}{stderr}")),
            }
        }
        .boxed()
    }
}

/// Takes an exec out of those that are waited for, however the waiting ends.
struct Forget<'a> {
    node: &'a Kubelet,
    exec: &'a ExecId,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.node.shared().execs.remove(self.exec);
    }
}

/// The beginning of what a command wrote; the rest is read and dropped, so that it never waits for us.
async fn output(pipe: std::os::fd::OwnedFd) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut kept = Vec::new();
    if let Ok(mut pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe) {
        let mut chunk = vec![0; EXEC_OUTPUT_BYTES];
        while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
            let room = EXEC_OUTPUT_BYTES - kept.len();
            kept.extend(chunk.iter().take(count.min(room)));
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
