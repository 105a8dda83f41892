//! An API server in memory, a spawner in a temporary directory, and a node between them.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base_controller::hint::HintBus;
use base_controller::{Context, ContextConfig};
use base_image::assemble::{ImageSpec, LayerTree, assemble_as};
use base_image::media_type::Compression;
use base_image::pull::Puller;
use base_image::registry_client::{ClientOptions, RegistryClient, SystemResolver};
use base_image::store::Record;
use base_image::{ImageConfig, OwnNames, Platform, Store};
use base_rt::metrics::Scope;
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, Tasks};
use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{ApiServer, ApiServerConfig, Identity, ServiceAccountKey};
use cluster_sandbox::spec::InstanceId;
use cluster_sandbox::{NetworkConfig, Owner, Sandbox, SpawnerConfig, cleanup, launch};
use cluster_workloads::node::builtin::Builtins;
use cluster_workloads::node::{self, ApiTokens, Capacity, LogOptions, Node, NodeConfig, NodeParts};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::Value;

/// The program that is the spawner and what runs in containers.
const FIXTURE: &str = env!("CARGO_BIN_EXE_node-fixture");
/// How long anything may take; it only decides how long a failure takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The image of the tests.
pub(crate) const IMAGE: &str = "test.example/fixture:latest";
/// The node.
pub(crate) const NODE: &str = "here";

static INSTANCES: AtomicU32 = AtomicU32::new(0);

/// Runs a test as root, or says that it does not.
pub(crate) fn run<F: Future<Output = Ground>>(test: impl FnOnce(Ground) -> F) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: containers need root");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let ground = Ground::new().await;
        let ground = tokio::time::timeout(PATIENCE * 4, test(ground)).await.expect("the test takes too long");
        ground.end().await;
    });
}

/// What outlives a node: directories, the spawner, the API.
pub(crate) struct Ground {
    pub(crate) config: SpawnerConfig,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) server: ApiServer,
    pub(crate) record: Record,
    _api: ShutdownHandle,
}

impl Ground {
    async fn new() -> Self {
        let number = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let instance = InstanceId::try_new(format!("node-{}-{number}", std::process::id())).unwrap();
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let run_dir = PathBuf::from(format!("/run/{instance}"));
        let mut config = SpawnerConfig::new(instance, run_dir, directory.path(), Owner { uid: 0, gid: 0 });
        config.network = Some(NetworkConfig { previous: None, has_egress: false });
        config.blobs_dir = directory.path().join("images/blobs/sha256");
        fs::create_dir_all(&config.volumes_dir).unwrap();
        let record = make_image(&directory.path().join("images"));
        launch::start(Path::new(FIXTURE), &config).unwrap_or_else(|error| panic!("{}", base_rt::error_chain(&error)));
        let (handle, shutdown) = Shutdown::new();
        let key = ServiceAccountKey::from_pem(&ServiceAccountKey::generate_pem().unwrap()).unwrap();
        let config_of_api =
            ApiServerConfig::new(MemoryDisk::new().journal(), Clock::system(), Tasks::new(shutdown), key);
        let server = ApiServer::start(config_of_api).await.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(server.client_as(&Identity::master("test")), "default");
        let metadata = ObjectMeta { name: Some("default".to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        accounts.create(&PostParams::default(), &account).await.unwrap();
        Self { config, directory, server, record, _api: handle }
    }

    pub(crate) fn client(&self) -> kube::Client {
        self.server.client_as(&Identity::master("test"))
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client(), "default")
    }

    /// A node of its own process, as far as it can tell.
    pub(crate) async fn node(&self, builtins: Builtins) -> Running {
        let (handle, shutdown) = Shutdown::new();
        let (tasks, clock) = (Tasks::new(shutdown), Clock::system());
        let (sandbox, events) = Sandbox::connect(&self.config.socket_path(), &tasks, clock).await.unwrap();
        let store = Store::open(&self.directory.path().join("images"), own_names()).unwrap();
        let client = RegistryClient::new(&tasks, clock, Arc::new(SystemResolver), ClientOptions::default());
        let metrics = Scope::root();
        let context = Context::new(ContextConfig {
            client: self.client(),
            clock,
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            seed: 1,
            component: node::NAME,
        });
        let facts = sandbox.facts().network.clone().unwrap();
        let config = NodeConfig {
            name: NODE.to_owned(),
            ip: IpAddr::V4(facts.instance_ip),
            capacity: Capacity { cpu_millis: 4000, memory_bytes: 4 << 30, storage_bytes: 1 << 30, pods: 110 },
            labels: [].into(),
            version: "v1.37.0".to_owned(),
            kernel: "test".to_owned(),
            os_image: "test".to_owned(),
            machine_id: "test".to_owned(),
            dns_server: facts.bridge_ip,
            cluster_domain: "cluster.local".to_owned(),
            api_server: Some("10.0.0.1:443".parse().unwrap()),
            logs_dir: self.config.logs_dir.clone(),
            volumes_dir: self.config.volumes_dir.clone(),
            blobs: PathBuf::new(),
            refresh: Duration::from_millis(100),
            measure: Duration::from_millis(100),
        };
        let images = store.clone();
        let parts = NodeParts {
            tokens: Arc::new(ApiTokens::new(context.client.clone())),
            puller: Puller::new(store.clone(), client, clock),
            hints: HintBus::new(&metrics),
            context,
            sandbox: sandbox.clone(),
            events,
            store,
            builtins,
        };
        let node = node::start(config, parts);
        tokio::time::timeout(PATIENCE, node.adopted()).await.expect("the node adopts");
        Running { node, sandbox, store: images, tasks, shutdown: handle }
    }

    /// A connection to the spawner that is nobody's; it ends with the test.
    pub(crate) async fn spawner(&self) -> Sandbox {
        let (handle, shutdown) = Shutdown::new();
        // The connection's task ends with the runtime.
        std::mem::forget(handle);
        let connected = Sandbox::connect(&self.config.socket_path(), &Tasks::new(shutdown), Clock::system()).await;
        connected.unwrap().0
    }

    pub(crate) async fn create(&self, spec: Value) -> Pod {
        let pod: Pod = serde_json::from_value(spec).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    /// The Pod once it is as wanted.
    pub(crate) async fn eventually(&self, name: &str, what: &str, is_so: impl Fn(&Pod) -> bool) -> Pod {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let pod = self.pods().get_opt(name).await.unwrap();
            if let Some(pod) = pod.clone().filter(|pod| is_so(pod)) {
                return pod;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what} does not come: {:#?}\n{}",
                pod.map(|pod| pod.status),
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn delete(&self, name: &str) {
        let uid = self.pods().get(name).await.unwrap().metadata.uid.unwrap();
        self.pods().delete(name, &DeleteParams::default()).await.unwrap();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Some(pod) = self.pods().get_opt(name).await.unwrap() {
            assert!(tokio::time::Instant::now() < deadline, "{name} does not go: {:#?}\n{}", pod.status, self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Its files go after its object.
        let files = self.config.volumes_dir.join(uid);
        until("the end of its files", async || (!files.exists()).then_some(())).await;
    }

    /// What Events say about a Pod.
    pub(crate) async fn events(&self, name: &str) -> String {
        let events: Api<Event> = Api::namespaced(self.client(), "default");
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let messages = events.list(&about).await.unwrap().into_iter().filter_map(|event| event.message);
        messages.collect::<Vec<_>>().join("\n")
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.config.log_file).unwrap_or_default()
    }

    /// Ends everything; nothing of it may be left.
    async fn end(self) {
        let (handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown);
        let (sandbox, _events) = Sandbox::connect(&self.config.socket_path(), &tasks, Clock::system()).await.unwrap();
        assert_eq!(sandbox.pods().await.unwrap(), [], "no pod is left");
        assert_eq!(fs::read_dir(&self.config.volumes_dir).unwrap().count(), 0, "no volume is left");
        sandbox.down(Duration::ZERO).await.unwrap();
        while launch::is_running(&self.config) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(handle);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = cleanup::leftovers(&self.config) {
            println!("leftovers: {}", base_rt::error_chain(&error));
        }
    }
}

/// Waits until `look` finds what it looks for.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A node that runs.
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) sandbox: Sandbox,
    pub(crate) store: Store,
    tasks: Tasks,
    shutdown: ShutdownHandle,
}

impl Running {
    /// The process is asked to end: what is in hand goes on.
    pub(crate) fn lame(&self) {
        self.shutdown.advance(Phase::Lame);
    }

    /// Ends the node as a restart of its process does: pods go on.
    pub(crate) async fn stop(self) {
        let Self { node, sandbox, store, tasks, shutdown } = self;
        for phase in [Phase::Lame, Phase::Drained, Phase::Stopped] {
            shutdown.advance(phase);
        }
        drop((node, sandbox, store));
        tokio::time::timeout(PATIENCE, tasks.finished()).await.expect("every task ends");
    }

    /// What a container has written.
    pub(crate) async fn logs(&self, pod: &str, options: LogOptions) -> String {
        let chunks: Vec<_> = self.node.logs("default", pod, options).unwrap().collect().await;
        String::from_utf8(chunks.concat()).unwrap()
    }
}

fn own_names() -> OwnNames {
    OwnNames::new("own.example", ["localhost:1"])
}

fn make_image(directory: &Path) -> Record {
    put_image(&Store::open(directory, own_names()).unwrap(), IMAGE, None)
}

/// The test's image under a name; with a layer of its own on top that holds a text, if one is given.
pub(crate) fn put_image(store: &Store, name: &str, text: Option<&str>) -> Record {
    let mut files = LayerTree::new();
    files.add_file("fixture", 0o755, Path::new(FIXTURE)).unwrap();
    let mut layers = vec![files];
    // Layers read their files when they are assembled.
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if let Some(text) = text {
        fs::write(file.path(), text).unwrap();
        let mut own = LayerTree::new();
        own.add_file("text", 0o644, file.path()).unwrap();
        layers.push(own);
    }
    let config = ImageConfig {
        platform: Platform::host(),
        entrypoint: vec!["/fixture".to_owned()],
        env: vec!["FROM_IMAGE=yes".to_owned()],
        ..ImageConfig::default()
    };
    let spec = ImageSpec { config, layers, compression: Compression::Zstd };
    assemble_as(store, &spec, &name.parse().unwrap(), base_rt::Timestamp::UNIX_EPOCH).unwrap()
}

/// The answer to a GET, once somebody listens: without a probe a container is ready before that.
pub(crate) fn get(ip: &str, port: u16, path: &str) -> String {
    let address: SocketAddr = format!("{ip}:{port}").parse().unwrap();
    let mut stream = connect(&address);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // In one piece: a server that answers the first part and closes would break the others.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[expect(clippy::disallowed_methods, reason = "it looks again now and then whether somebody listens")]
fn connect(address: &SocketAddr) -> TcpStream {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Err(error)
                if error.kind() == std::io::ErrorKind::ConnectionRefused && tokio::time::Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            connected => return connected.unwrap(),
        }
    }
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready") == "True"
}

pub(crate) fn condition(pod: &Pod, type_: &str) -> String {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == type_).map(|condition| condition.status.clone()).collect()
}

pub(crate) fn ip(pod: &Pod) -> String {
    pod.status.as_ref().unwrap().pod_ip.clone().unwrap()
}

pub(crate) fn status(pod: &Pod, at: usize) -> k8s_openapi::api::core::v1::ContainerStatus {
    pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[at].clone()
}
