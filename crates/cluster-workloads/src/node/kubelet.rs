//! What every part of the node shares: whom it asks, whom it tells, and which Pods there are.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::events::Recorder;
use base_controller::hint::HintBus;
use base_controller::{Delta, Informer, PlanEvent};
use base_rt::watch;
use base_rt::{Clock, Tasks, error_chain};
use cluster_sandbox::spec::{ContainerId, ContainerPhase, ExecId, Exit, PodId, PodState};
use cluster_sandbox::{Event as SpawnerEvent, RefusalCode, Sandbox};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use kube::Client;
use tokio::sync::{mpsc, oneshot};

use super::NodeConfig;
use super::builtin::Builtins;
use super::env;
use super::facts::Role;
use super::images::Images;
use super::logs::RunView;
use super::meter::Meter;
use super::pod_state::Event;
use super::ports::Ports;
use super::sources::Fetcher;
use super::worker::{self, Message};

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
    pub(crate) meter: Meter,
}

/// What changes.
#[derive(Default)]
pub(crate) struct Shared {
    /// The Pods' workers, by uid.
    routes: BTreeMap<String, Route>,
    /// What is shown of Pods, by namespace and name.
    views: BTreeMap<(String, String), PodView>,
    /// Who waits for the end of a command.
    execs: BTreeMap<ExecId, oneshot::Sender<Exit>>,
    /// What the spawner had when this process started, until its Pod's worker takes it.
    adoptable: BTreeMap<String, PodState>,
}

/// What is shown of a Pod to those who read its logs and talk with it.
pub(crate) struct PodView {
    pub(crate) uid: String,
    /// The runs of its containers.
    pub(crate) runs: BTreeMap<String, RunView>,
    /// Its ports, as long as it has a network.
    pub(crate) ports: Option<Ports>,
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
        self.fetcher.tokens.forget(uid);
        let mut shared = self.shared();
        shared.routes.remove(uid);
        let key = (pod.0.to_owned(), pod.1.to_owned());
        if shared.views.get(&key).is_some_and(|view| view.uid == uid) {
            shared.views.remove(&key);
        }
    }

    /// Shows what is known of a Pod.
    pub(crate) fn show(&self, pod: (&str, &str), view: PodView) {
        self.shared().views.insert((pod.0.to_owned(), pod.1.to_owned()), view);
    }

    /// The run of a container, and its Pod's uid.
    pub(crate) fn run_view(&self, namespace: &str, pod: &str, container: &str) -> Option<(String, RunView)> {
        let shared = self.shared();
        let view = shared.views.get(&(namespace.to_owned(), pod.to_owned()))?;
        Some((view.uid.clone(), view.runs.get(container)?.clone()))
    }

    /// The ports of a Pod, and its uid.
    pub(crate) fn ports(&self, namespace: &str, pod: &str) -> Option<(String, Ports)> {
        let shared = self.shared();
        let view = shared.views.get(&(namespace.to_owned(), pod.to_owned()))?;
        Some((view.uid.clone(), view.ports.clone()?))
    }

    /// Every Pod that has a worker.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.shared().routes.values().filter_map(|route| route.pod.borrow().clone()).collect()
    }

    /// A Pod that has a worker.
    pub(crate) fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.shared().routes.get(uid).and_then(|route| route.pod.borrow().clone())
    }

    /// Has the end of a program told that is about to be started beside a container's own.
    pub(crate) fn expect_end(&self, exec: &ExecId) -> oneshot::Receiver<Exit> {
        let (sender, ended) = oneshot::channel();
        self.shared().execs.insert(exec.clone(), sender);
        ended
    }

    /// Nobody waits for the end of a program any more.
    pub(crate) fn forget_end(&self, exec: &ExecId) {
        self.shared().execs.remove(exec);
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

    /// Has a Pod's worker end it.
    pub(crate) async fn evict(&self, uid: &str, why: String) {
        let inbox = self.shared().routes.get(uid).map(|route| route.inbox.clone());
        if let Some(inbox) = inbox {
            // A worker that has ended needs no news.
            let _ = inbox.send(Message::State(Event::Evict(why))).await;
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
        self.find_ended_execs().await;
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

    /// Those who wait for a program that has ended unheard learn that there is nothing to wait for.
    async fn find_ended_execs(&self) {
        let waited_for: Vec<_> = self.shared().execs.keys().cloned().collect();
        for exec in waited_for {
            // No signal has this number; whether there is such a program is said before that.
            let asked = self.sandbox.signal_exec(&exec, 0).await;
            if asked.is_err_and(|error| error.refusal() == Some(RefusalCode::NotFound)) {
                self.forget_end(&exec);
            }
        }
    }
}
