//! One start of a container: image, variables, mounts, and then a process at the spawner or a role of this process.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use base_controller::PlanEvent;
use base_rt::watch;
use base_rt::{Clock, Phase as ShutdownPhase, Shutdown, ShutdownHandle, Tasks, Timestamp, error_chain};
use cluster_sandbox::spec::{ContainerId, Mount, MountSource};
use cluster_sandbox::{RefusalCode, SandboxError};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::builtin::{BuiltinContext, BuiltinFactory, BuiltinHandle, HeldFiles, MountedFiles};
use super::container_spec::{self, SpecInput};
use super::env::{self, EnvInput, Environment};
use super::facts::Role;
use super::fields::Addresses;
use super::images::{NoImage, PullPolicy, Ready};
use super::kubelet::Kubelet;
use super::log_sink::LogSink;
use super::names;
use super::network::{self, PodSockets};
use super::pod_state::Ended;
use super::records;
use super::volumes;
use super::worker;

/// Where a container's last words are if it names no place.
const MESSAGE_PATH: &str = "/dev/termination-log";
/// The exit code of a container whose program could not be started.
const START_ERROR: i32 = 128;

/// What a start needs to know.
pub(crate) struct Launch {
    /// The node.
    pub(crate) node: Arc<Kubelet>,
    /// The Pod.
    pub(crate) pod: Arc<Pod>,
    /// The container.
    pub(crate) container: Container,
    /// What it is for its Pod.
    pub(crate) role: Role,
    /// The number of the run.
    pub(crate) attempt: u32,
    /// The Pod's address.
    pub(crate) ip: Option<IpAddr>,
    /// Who stands for it, if it is a role of this process.
    pub(crate) factory: Option<Arc<dyn BuiltinFactory>>,
    /// The role's listeners.
    pub(crate) listeners: BTreeMap<u16, std::net::TcpListener>,
    /// Sockets of the Pod's network.
    pub(crate) sockets: PodSockets,
    /// The files of the Pod's volumes that roles mount.
    pub(crate) files: watch::Receiver<Arc<HeldFiles>>,
    /// Whether the Pod is to end: nothing is fetched or started for it then.
    pub(crate) is_ending: watch::Receiver<bool>,
}

/// A run that has been started.
pub(crate) struct Run {
    /// Its image.
    pub(crate) image: Ready,
    /// What asks it to end.
    pub(crate) stop_signal: i32,
    /// Its name.
    pub(crate) id: String,
    /// Since when it runs.
    pub(crate) since: Timestamp,
    /// The role that it is, if it is one.
    pub(crate) role: Option<RoleRun>,
}

/// A role that runs.
pub(crate) struct RoleRun {
    /// The role.
    pub(crate) handle: BuiltinHandle,
    /// Ends it.
    pub(crate) shutdown: ShutdownHandle,
    /// Its log.
    pub(crate) log: LogSink,
}

/// What came of a start.
pub(crate) enum Launched {
    /// It runs.
    Run(Box<Run>),
    /// It could not be started, and may be tried again.
    Refused {
        /// The reason of the container's waiting state.
        reason: String,
        /// More about it.
        message: String,
        /// What is shown when it is not the first time.
        backoff: Option<(String, String)>,
    },
    /// Its program could not be started: as if it had run and failed.
    Dead(Ended),
}

fn refused(reason: &str, message: impl Into<String>) -> Launched {
    Launched::Refused { reason: reason.to_owned(), message: message.into(), backoff: None }
}

impl Launch {
    /// Starts the container, unless nothing is to be started any more before that has begun.
    pub(crate) async fn run(self) -> Launched {
        let prepared = tokio::select! {
            biased;
            () = self.is_over() => return refused("ContainerCreating", "the pod is to end"),
            prepared = self.prepare() => prepared,
        };
        let (image, env) = match prepared {
            Ok(prepared) => prepared,
            Err(launched) => return launched,
        };
        match self.factory.clone() {
            Some(factory) => self.start_role(&*factory, image, env),
            None => self.start_process(image, env).await,
        }
    }

    /// Waits until the Pod is to end, or this process ends.
    async fn is_over(&self) {
        let mut is_ending = self.is_ending.clone();
        let shutdown = self.node.tasks.shutdown();
        tokio::select! {
            biased;
            // An error means that the Pod's worker has ended.
            _ = is_ending.wait_for(|is_ending| *is_ending) => {}
            () = shutdown.reached(ShutdownPhase::Lame) => {}
        }
    }

    async fn prepare(&self) -> Result<(Ready, Environment), Launched> {
        let image = self.image().await?;
        let env = self.env(&image).await.map_err(|why| self.misconfigured(why))?;
        Ok((image, env))
    }

    fn misconfigured(&self, why: String) -> Launched {
        self.tell(PlanEvent::warning("Failed", format!("Error: {why}")));
        refused("CreateContainerConfigError", why)
    }

    fn tell(&self, event: PlanEvent) {
        self.node.tell(&self.pod, Some((&self.container.name, self.role)), event);
    }

    async fn image(&self) -> Result<Ready, Launched> {
        let image = self.container.image.as_deref().unwrap_or_default();
        let policy = PullPolicy::parse(self.container.image_pull_policy.as_deref());
        let keychain = async || {
            self.tell(PlanEvent::normal("Pulling", format!("Pulling image {image:?}")));
            self.node.fetcher.keychain(&self.pod).await
        };
        let ready = async {
            let ready = self.node.images.ready(image, policy, keychain).await?;
            // A role runs from no file.
            if self.factory.is_none() {
                self.node.images.unpack(&ready).await?;
            }
            Ok::<_, NoImage>(ready)
        };
        match ready.await {
            Ok(ready) => {
                let message = match ready.is_pulled {
                    true => format!("Successfully pulled image {image:?}"),
                    false => format!("Container image {image:?} already present on machine"),
                };
                self.tell(PlanEvent::normal("Pulled", message));
                Ok(ready)
            }
            Err(none) => {
                let message = match none.reason {
                    "ErrImagePull" => format!("Failed to pull image {image:?}: {}", none.message),
                    _ => format!("Error: {}", none.reason),
                };
                self.tell(PlanEvent::warning("Failed", message));
                let text = format!("Back-off pulling image {image:?}: {}: {}", none.reason, none.message);
                let backoff = (none.reason == "ErrImagePull").then(|| ("ImagePullBackOff".to_owned(), text));
                Err(Launched::Refused { reason: none.reason.to_owned(), message: none.message, backoff })
            }
        }
    }

    async fn env(&self, image: &Ready) -> Result<Environment, String> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let needs = env::needs(&self.container);
        let sources = self.node.fetcher.sources(namespace, &needs).await?;
        env::make_env(EnvInput {
            pod: &self.pod,
            container: &self.container,
            image: &image.image.config.env,
            services: &self.node.service_env(&self.pod),
            sources: &sources,
            addresses: Addresses { pod: self.ip, host: self.node.config.ip },
            node: self.node.fetcher.node,
        })
    }

    fn id(&self) -> String {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        names::container_id(uid, &self.container.name, self.attempt)
    }

    fn dead(&self, message: String) -> Launched {
        Launched::Dead(Ended {
            code: START_ERROR,
            signal: None,
            reason: "StartError".to_owned(),
            message: Some(message),
            started_at: None,
            finished_at: self.node.clock.now(),
            id: self.id(),
        })
    }

    fn start_role(self, factory: &dyn BuiltinFactory, image: Ready, env: Environment) -> Launched {
        let command = container_spec::command(&self.container, &image.image, &env.own);
        let Some(pod_ip) = self.ip else { return refused("CreateContainerError", "the pod has no address") };
        let (shutdown, observer) = Shutdown::new();
        let log = LogSink::new(self.node.clock);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let id = self.id();
        let context = BuiltinContext {
            namespace: text(&self.pod.metadata.namespace),
            pod: text(&self.pod.metadata.name),
            pod_uid: text(&self.pod.metadata.uid),
            container: self.container.name.clone(),
            pod_ip,
            env: env.all,
            args: command.into_iter().skip(2).collect(),
            listeners: self.listeners,
            sockets: Arc::new(self.sockets),
            files: MountedFiles::new(self.files, &self.container),
            log: log.clone(),
            clock: self.node.clock,
            tasks: self.node.tasks.clone(),
            shutdown: observer,
        };
        let started = factory.start(context);
        let event = PlanEvent::normal("Started", format!("Started container {}", self.container.name));
        match started {
            Ok(handle) => {
                self.node.tell(&self.pod, Some((&self.container.name, self.role)), event);
                let since = self.node.clock.now();
                let role = Some(RoleRun { handle, shutdown, log });
                Launched::Run(Box::new(Run { image, stop_signal: names::SIGTERM, id, since, role }))
            }
            Err(error) => Launched::Dead(Ended {
                code: START_ERROR,
                signal: None,
                reason: "StartError".to_owned(),
                message: Some(error.to_string()),
                started_at: None,
                finished_at: self.node.clock.now(),
                id,
            }),
        }
    }

    async fn start_process(self, image: Ready, env: Environment) -> Launched {
        let claims = match self.node.fetcher.claims(&self.pod).await {
            Ok(claims) => claims,
            Err(why) => return self.misconfigured(why),
        };
        let mut mounts = match volumes::mounts(&self.pod, &self.container, &env.own, &claims) {
            Ok(mounts) => mounts,
            Err(why) => return self.misconfigured(why),
        };
        match self.message_mount() {
            Ok(mount) => mounts.push(mount),
            Err(error) => return refused("CreateContainerError", error.to_string()),
        }
        let names = match network::names(&self.pod, &self.node.config.cluster_domain) {
            Ok(names) => names,
            Err(why) => return self.misconfigured(why),
        };
        let spec = container_spec::make_spec(SpecInput {
            pod: &self.pod,
            container: &self.container,
            image: &image.image,
            hostname: names.host,
            attempt: self.attempt,
            image_id: &image.id,
            env: &env,
            mounts,
            memory_bytes: self.node.fetcher.node.memory_bytes,
        });
        let spec = match spec {
            Ok(spec) => spec,
            Err(why) => return self.misconfigured(why),
        };
        self.forget_old_log().await;
        match self.node.sandbox.start_container(&spec).await {
            Ok(state) => {
                self.tell(PlanEvent::normal("Created", format!("Created container: {}", self.container.name)));
                self.tell(PlanEvent::normal("Started", format!("Started container {}", self.container.name)));
                self.forget_previous().await;
                let (id, since) = (self.id(), state.started_at);
                Launched::Run(Box::new(Run { image, stop_signal: spec.stop_signal, id, since, role: None }))
            }
            Err(error) => self.not_started(&error),
        }
    }

    /// Of each container there are the logs of its present run and of the one before, for `kubectl logs --previous`.
    async fn forget_old_log(&self) {
        if let Some(old) = self.attempt.checked_sub(2) {
            worker::remove_logs(&self.node, &names::log_path(&self.pod, &self.container.name, old)).await;
        }
    }

    /// The spawner keeps a run until it is told otherwise; the one before this is not needed any more.
    async fn forget_previous(&self) {
        let Some(previous) = self.attempt.checked_sub(1) else { return };
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        if let Ok(id) = ContainerId::try_new(names::container_id(uid, &self.container.name, previous))
            && let Err(error) = self.node.sandbox.remove_container(&id).await
        {
            tracing::debug!(container = id.as_str(), error = error_chain(&error), "earlier run is not removed");
        }
    }

    fn not_started(&self, error: &SandboxError) -> Launched {
        let message = error_chain(error);
        let launched = match error.refusal() {
            Some(RefusalCode::BadUser) if container_spec::must_not_be_root(&self.pod, &self.container) => {
                refused("CreateContainerConfigError", message.clone())
            }
            Some(RefusalCode::CommandNotFound | RefusalCode::CommandNotExecutable | RefusalCode::BadUser) => {
                self.dead(message.clone())
            }
            _ => {
                self.node.images.forget_layers();
                refused("CreateContainerError", message.clone())
            }
        };
        self.tell(PlanEvent::warning("Failed", format!("Error: {message}")));
        launched
    }

    /// The file that a container may write its last words to.
    fn message_mount(&self) -> std::io::Result<Mount> {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let path = names::message_path(uid, &self.container.name, self.attempt);
        make_message_file(&self.node.config.volumes_dir, &path)?;
        let target = self.container.termination_message_path.clone().filter(|path| !path.is_empty());
        Ok(Mount {
            target: target.unwrap_or_else(|| MESSAGE_PATH.to_owned()),
            source: MountSource::Client(path),
            sub_path: None,
            is_read_only: false,
        })
    }
}

/// Anybody in the container may write it; nobody else reaches it.
fn make_message_file(volumes_dir: &Path, path: &Path) -> std::io::Result<()> {
    let path = volumes_dir.join(path);
    for directory in [path.parent().and_then(Path::parent), path.parent()].into_iter().flatten() {
        records::make_directory(directory)?;
    }
    std::fs::write(&path, b"")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
}

/// Passes the process's shutdown on to a role, until the role's own handle is dropped.
pub(crate) fn follow_process(tasks: &Tasks, handle: &Arc<ShutdownHandle>) {
    let process = tasks.shutdown().clone();
    let role = Arc::downgrade(handle);
    tasks.spawn_transient("node/role-shutdown", async move {
        for phase in [ShutdownPhase::Lame, ShutdownPhase::Drained, ShutdownPhase::Stopped] {
            process.reached(phase).await;
            let Some(handle) = role.upgrade() else { return };
            handle.advance(phase);
        }
    });
}

/// The last words of a run: its own, or the end of its log if the container asks for that and it failed.
pub(crate) fn last_words(container: &Container, paths: (&Path, &Path), code: i32) -> Option<String> {
    const MESSAGE_MAX_BYTES: usize = 4096;
    const LOG_MAX_BYTES: usize = 2048;
    const LOG_MAX_LINES: usize = 80;
    let (message, log) = paths;
    let own = read_start(message, MESSAGE_MAX_BYTES);
    if !own.is_empty() {
        return Some(own);
    }
    let wants_log = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError") && code != 0;
    if !wants_log {
        return None;
    }
    let text = super::logs::last_lines(log, LOG_MAX_LINES, LOG_MAX_BYTES);
    Some(text).filter(|text| !text.is_empty())
}

fn read_start(path: &Path, max_bytes: usize) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // A file that cannot be read says nothing.
        let _ = file.take(max_bytes as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// When a clock's present is `at`: how long until then.
pub(crate) fn until(clock: Clock, at: Timestamp) -> std::time::Duration {
    at.duration_since(clock.now()).try_into().unwrap_or_default()
}
