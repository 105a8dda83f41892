//! An instance per test.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base_rt::{Clock, Shutdown, Tasks};
use cluster_sandbox::spec::{
    ContainerId, ContainerSpec, ContainerState, ExecId, ExecSpec, Exit, InstanceId, LayerName, ListenerName, Mount,
    MountSource, PodId, PodSpec, VolumeName,
};
use cluster_sandbox::{Event, Events, Owner, PodHandle, Sandbox, SandboxError, SpawnerConfig, cleanup, launch};

use rustix::process::{Pid, Signal, kill_process};

/// The program that is both spawner and what runs in containers.
pub(crate) const FIXTURE: &str = env!("CARGO_BIN_EXE_sandbox-fixture");
/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static INSTANCES: AtomicU32 = AtomicU32::new(0);

/// Runs a test as root, or says that it does not.
pub(crate) fn run<F: Future<Output = ()>>(
    configure: impl FnOnce(&mut SpawnerConfig),
    test: impl FnOnce(Instance) -> F,
) {
    if !is_root() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ground = Ground::new();
        configure(&mut ground.config);
        let before = Machine::look();
        ground.launch();
        let config = ground.config.clone();
        let connected = Instance::connect(config.clone()).await;
        tokio::time::timeout(PATIENCE * 4, test(connected)).await.expect("the test takes too long");
        ground.end().await;
        Machine::look().assert_same(&before, &config.instance);
    });
}

/// Whether containers can be made; says so if not.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: containers need root");
    }
    is_root
}

/// Directories and the spawner in them; whatever happens, it is all gone in the end.
pub(crate) struct Ground {
    pub(crate) config: SpawnerConfig,
    directory: tempfile::TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let number = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let instance = InstanceId::try_new(format!("test-{}-{number:03}", std::process::id())).unwrap();
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let run_dir = PathBuf::from(format!("/run/{instance}"));
        let mut config = SpawnerConfig::new(instance, run_dir, directory.path(), Owner { uid: 0, gid: 0 });
        config.network = None;
        fs::create_dir(&config.blobs_dir).unwrap();
        let ground = Self { config, directory };
        ground.make_layers();
        ground
    }

    /// `base` has the program and users, `upper` something on top.
    fn make_layers(&self) {
        let base = self.config.layers_dir.join("base/fs");
        for name in ["bin", "etc", "tmp", "sub"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        fs::hard_link(FIXTURE, base.join("bin/fixture")).unwrap();
        fs::write(base.join("bin/text"), "neither a program nor a script\n").unwrap();
        fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:4242:4343::/srv:/bin/sh\n").unwrap();
        fs::write(base.join("etc/group"), "root:x:0:\nweb:x:4343:\nlog:x:4444:web\n").unwrap();
        fs::write(base.join("which"), "base").unwrap();
        let upper = self.config.layers_dir.join("upper/fs");
        fs::create_dir_all(&upper).unwrap();
        fs::write(upper.join("which"), "upper").unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(base.join("bin/text"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    }

    pub(crate) fn launch(&self) {
        launch::start(Path::new(FIXTURE), &self.config).unwrap_or_else(|error| {
            let log = fs::read_to_string(&self.config.log_file).unwrap_or_default();
            panic!("{}\n{log}", base_rt::error_chain(&error))
        });
    }

    /// Ends the instance if the test has not.
    pub(crate) async fn end(&self) {
        if launch::is_running(&self.config) {
            let instance = Instance::connect(self.config.clone()).await;
            instance.sandbox.down(Duration::from_millis(100)).await.unwrap();
            eventually("the spawner's end", || !launch::is_running(&self.config)).await;
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.config.log_file).unwrap_or_default();
            println!("the spawner's log:\n{log}");
        }
        if let Err(error) = cleanup::leftovers(&self.config) {
            println!("leftovers in {}: {}", self.directory.path().display(), base_rt::error_chain(&error));
        }
    }
}

/// A connection to a test's spawner.
pub(crate) struct Instance {
    pub(crate) config: SpawnerConfig,
    pub(crate) sandbox: Sandbox,
    pub(crate) events: Events,
    exits: BTreeMap<ContainerId, Exit>,
}

impl Instance {
    pub(crate) async fn connect(config: SpawnerConfig) -> Self {
        // The handle is leaked: tasks end with the runtime.
        let (handle, shutdown) = Shutdown::new();
        std::mem::forget(handle);
        let tasks = Tasks::new(shutdown);
        let connected = Sandbox::connect(&config.socket_path(), &tasks, Clock::system()).await;
        let (sandbox, events) = connected.unwrap_or_else(|error| panic!("{}", base_rt::error_chain(&error)));
        Self { config, sandbox, events, exits: BTreeMap::new() }
    }

    /// A pod without a network.
    pub(crate) async fn isolated_pod(&self, name: &str) -> PodHandle {
        let mut spec = PodSpec::new(pod_id(name));
        spec.network = cluster_sandbox::spec::PodNetwork::Isolated;
        self.sandbox.create_pod(&spec).await.unwrap()
    }

    /// Stops the spawner as a process, so that what it is asked meanwhile comes to it at once, until it is told to go on.
    pub(crate) fn stop(&self) -> Stopped {
        let spawner = Pid::from_raw(self.sandbox.facts().pid).unwrap();
        Stopped::new(spawner)
    }

    pub(crate) async fn start(&self, spec: &ContainerSpec) -> ContainerState {
        let started = self.sandbox.start_container(spec).await;
        started.unwrap_or_else(|error| panic!("{}", base_rt::error_chain(&error)))
    }

    /// How a container ended, once it has.
    pub(crate) async fn exit(&mut self, container: &ContainerId) -> Exit {
        loop {
            if let Some(exit) = self.exits.get(container) {
                return exit.clone();
            }
            let event = tokio::time::timeout(PATIENCE, self.events.next()).await.expect("an event");
            if let Event::ContainerExited { container, exit, .. } = event.expect("the spawner lives") {
                self.exits.insert(container, exit);
            }
        }
    }

    /// Kills a container; that it ends within the patience is the check.
    pub(crate) async fn kill(&mut self, spec: &ContainerSpec) {
        self.sandbox.kill(&spec.id).await.unwrap();
        assert_eq!(self.exit(&spec.id).await.code, 137);
    }

    /// Runs a container to its end; what it said, and how it ended.
    pub(crate) async fn output(&mut self, spec: &ContainerSpec) -> (String, Exit) {
        self.start(spec).await;
        let exit = self.exit(&spec.id).await;
        (self.said(spec), exit)
    }

    /// What a container has said so far, without time and stream.
    pub(crate) fn said(&self, spec: &ContainerSpec) -> String {
        let log = fs::read_to_string(self.config.logs_dir.join(&spec.log.path)).unwrap_or_default();
        log.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n").collect()
    }

    /// The facts that the fixture's `self` printed.
    pub(crate) async fn described(&mut self, spec: &ContainerSpec) -> BTreeMap<String, String> {
        let (said, exit) = self.output(spec).await;
        assert_eq!(exit.code, 0, "{said}");
        said.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// A process that is stopped.
pub(crate) struct Stopped(Pid);

impl Stopped {
    pub(crate) fn new(process: Pid) -> Self {
        kill_process(process, Signal::STOP).unwrap();
        Self(process)
    }
}

/// It goes on.
impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

pub(crate) fn pod_id(name: &str) -> PodId {
    PodId::try_new(name).unwrap()
}

pub(crate) fn container_id(name: &str) -> ContainerId {
    ContainerId::try_new(name).unwrap()
}

pub(crate) fn listener_name(name: &str) -> ListenerName {
    ListenerName::try_new(name).unwrap()
}

pub(crate) fn volume_name(name: &str) -> VolumeName {
    VolumeName::try_new(name).unwrap()
}

/// A container of the base layer that runs the fixture with these words.
pub(crate) fn container(pod: &str, name: &str, words: &[&str]) -> ContainerSpec {
    let command = ["/bin/fixture"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    ContainerSpec::new(pod_id(pod), container_id(name), vec![LayerName::try_new("base").unwrap()], command)
}

/// Something mounted as a whole, to be written.
pub(crate) fn mount(target: &str, source: MountSource) -> Mount {
    Mount { target: target.to_owned(), source, sub_path: None, is_read_only: false }
}

/// A program beside a container's own, without an input.
pub(crate) fn exec(container: &str, id: &str, words: &[&str]) -> ExecSpec {
    ExecSpec {
        container: container_id(container),
        id: ExecId::try_new(id).unwrap(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        with_stdin: false,
        has_terminal: false,
        ends_with_client: false,
    }
}

pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, SandboxError>) -> (cluster_sandbox::RefusalCode, String) {
    match outcome.unwrap_err() {
        SandboxError::Refused(refusal) => (refusal.code, refusal.message),
        error => panic!("{}", base_rt::error_chain(&error)),
    }
}

/// Waits for something to become true.
pub(crate) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_true() {
        assert!(tokio::time::Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What of this machine an instance may change, and must not leave changed.
#[derive(Debug)]
pub(crate) struct Machine {
    links: Vec<String>,
    mounts: Vec<String>,
    cgroups: Vec<PathBuf>,
    routes: Vec<String>,
    run: Vec<PathBuf>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let names = |path: &str| -> Vec<PathBuf> {
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        let mut cgroups: Vec<_> =
            names("/sys/fs/cgroup").iter().flat_map(|hierarchy| names(hierarchy.to_str().unwrap())).collect();
        cgroups.extend(names("/sys/fs/cgroup"));
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let routes = fs::read_to_string("/proc/net/route").unwrap();
        Self {
            links: names("/sys/class/net").iter().map(|path| path.display().to_string()).collect(),
            mounts: mountinfo.lines().map(|line| line.split(' ').nth(4).unwrap().to_owned()).collect(),
            cgroups,
            routes: routes.lines().map(str::to_owned).collect(),
            run: names("/run"),
        }
    }

    /// Other tests run at the same time, so only what carries this instance's name counts; links and routes are named by a hash, so the
    /// caller of a test with a network looks at those by itself.
    pub(crate) fn assert_same(&self, before: &Self, instance: &InstanceId) {
        let name = instance.as_str();
        let ours = |path: &PathBuf| path.display().to_string().contains(name);
        assert_eq!(self.cgroups.iter().find(|path| ours(path)), None);
        assert_eq!(self.run.iter().find(|path| ours(path)), None);
        assert_eq!(self.mounts.iter().find(|mount| mount.contains(name) && !before.mounts.contains(mount)), None);
    }

    /// Whether a link exists, or a route over it.
    pub(crate) fn knows_link(&self, link: &str) -> bool {
        self.links.iter().any(|name| name.ends_with(&format!("/{link}")))
            || self.routes.iter().any(|route| route.starts_with(&format!("{link}\t")))
    }
}
