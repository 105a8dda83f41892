//! A machine on which everything runs: how it starts, how its parts die, and how they come back.

use std::sync::{Arc, Mutex};

use base_controller::hint::HintBus;
use base_controller::{Context, ContextConfig};
use base_rt::metrics::Scope;
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, TaskFailure, Tasks};
use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{ApiServerConfig, Entropy, Identity, ServiceAccountKey};
use knative_apis::networking::LoadBalancerIngressStatus;
use knative_serving::manifests::Installation;
use knative_serving::{GatewayFacts, STATS_CAPACITY, Seams, Settings};
use kwick::assembly::{ControlPlane, Level, Process};
use testkit::{Api, FakeNode, FakeNodeConfig};
use tokio::sync::mpsc;

use crate::pretend::{Activator, Registry};
use crate::traffic::Loads;
use crate::user::User;
use crate::weather::{Climate, Life, Weather};
use crate::{gateway, traffic};

/// The namespace of Knative's own objects.
pub(crate) const SYSTEM: &str = "knative-serving";
const BEGINNING: &str = "2026-01-01T00:00:00Z";
const INGRESS_CLASS: &str = "kwick.ingress.networking.knative.dev";

/// Costly to make, and nothing depends on which it is.
static KEY: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| ServiceAccountKey::generate_pem().expect("a key"));

/// The machine.
pub struct World {
    /// Decides everything.
    pub seed: u64,
    /// What is between controllers and the API.
    pub weather: Weather,
    disk: MemoryDisk,
    clock: Clock,
    loads: Loads,
    server: Mutex<Option<Arc<Server>>>,
    controllers: Mutex<Option<Controllers>>,
}

/// The process of the API, with what reaches it without weather.
struct Server {
    api: Api,
    plane: ControlPlane,
}

/// The process of the controllers.
struct Controllers {
    life: Life,
    shutdown: ShutdownHandle,
    tasks: Tasks,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl World {
    /// An empty machine that has just been switched on.
    pub async fn start(seed: u64, climate: Climate) -> Self {
        let world = Self {
            seed,
            weather: Weather::new(seed, climate),
            disk: MemoryDisk::new(),
            clock: Clock::starting_at(BEGINNING.parse().expect("a time")),
            loads: Loads::default(),
            server: Mutex::new(None),
            controllers: Mutex::new(None),
        };
        world.start_server().await;
        world.start_controllers().await;
        world
    }

    /// Somebody who uses the API from outside, through every restart.
    pub fn user(&self) -> User<'_> {
        User::new(self)
    }

    /// What the API is reached by today; another one after a restart.
    pub(crate) fn client(&self) -> kube::Client {
        self.server().api.client()
    }

    /// So many requests are in flight to a Revision from now on.
    pub fn load(&self, namespace: &str, revision: &str, concurrency: f64) {
        self.loads.set(namespace, revision, concurrency);
    }

    /// No requests at all.
    pub fn unload(&self) {
        self.loads.clear();
    }

    /// The disk, to plan its end.
    pub fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    /// Brings back what dies. Never returns; a death that nobody planned fails the test.
    pub async fn live(&self) {
        loop {
            let server = self.server();
            tokio::select! {
                biased;
                failure = server.api.tasks.failure() => {
                    assert!(failure.name.starts_with("apiserver/"), "seed {}: {failure}", self.seed);
                    self.weather.note("death of the machine");
                    self.bury();
                    self.start_server().await;
                    self.start_controllers().await;
                }
                () = self.weather.death() => {
                    self.bury();
                    self.start_controllers().await;
                }
                failure = self.failure() => panic!("seed {}: {failure}", self.seed),
            }
        }
    }

    async fn failure(&self) -> TaskFailure {
        let tasks = self.controllers.lock().unwrap().as_ref().map(|controllers| controllers.tasks.clone());
        match tasks {
            Some(tasks) => tasks.failure().await,
            None => std::future::pending().await,
        }
    }

    /// The controllers are dead; nothing that they began goes on.
    fn bury(&self) {
        if let Some(controllers) = self.controllers.lock().unwrap().take() {
            controllers.life.end();
            controllers.shutdown.advance(Phase::Stopped);
        }
    }

    fn server(&self) -> Arc<Server> {
        Arc::clone(self.server.lock().unwrap().as_ref().expect("there is always a server"))
    }

    async fn start_server(&self) {
        // The tasks of a server before this one end with its handle.
        drop(self.server.lock().unwrap().take());
        let (shutdown, observer) = Shutdown::new();
        let tasks = Tasks::new(observer);
        let key = ServiceAccountKey::from_pem(&KEY).expect("a key");
        let config = ApiServerConfig {
            entropy: Entropy::seeded(self.seed ^ self.disk.appends()),
            ..ApiServerConfig::new(self.disk.journal(), self.clock, tasks.clone(), key)
        };
        let plane = ControlPlane::open(config, Level::All, &installation()).await.expect("the control plane opens");
        let api = Api::around(plane.api.clone(), self.clock, tasks, self.seed, shutdown);
        FakeNode::start(&api, FakeNodeConfig::default()).await;
        *self.server.lock().unwrap() = Some(Arc::new(Server { api, plane }));
    }

    async fn start_controllers(&self) {
        let server = self.server();
        let (shutdown, observer) = Shutdown::new();
        let (life, tasks) = (Life::default(), Tasks::new(observer));
        let (weather, of_life) = (self.weather.clone(), life.clone());
        let process = Process {
            clients: Arc::new(move |api, identity| weather.client(api.service_as(identity), &of_life)),
            ..Process::new(self.clock, tasks.clone(), Scope::root(), self.seed)
        };
        *self.controllers.lock().unwrap() = Some(Controllers { life, shutdown, tasks });
        let workloads = cluster_workloads::Config { ca_bundle: testkit::CA_BUNDLE.to_owned() };
        server.plane.run_cluster(&process, &workloads);
        let gateways = GatewayFacts::default();
        let (stats, received) = mpsc::channel(STATS_CAPACITY);
        let calm = self.calm_context(&server, &process);
        gateway::start(&calm, &gateways, self.seed);
        traffic::start(&calm, &self.loads, stats);
        let seams = Seams {
            resolver: Arc::new(Registry),
            activator_probe: Arc::new(Activator(server.api.client())),
            stats: received,
            hints: HintBus::off(),
            gateways,
        };
        // Whoever dies here is started again by whoever watches over deaths.
        let started = server.plane.run_serving(&process, settings(), seams);
        tokio::select! {
            biased;
            _ = started => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(120)) => {}
        }
    }

    /// What pretenders see the API through.
    fn calm_context(&self, server: &Server, process: &Process) -> Context {
        Context::new(ContextConfig {
            client: server.plane.api.client_as(&Identity::master("pretender")),
            clock: self.clock,
            tasks: process.tasks.clone(),
            metrics: Scope::root(),
            seed: self.seed,
            component: "pretender",
        })
    }
}

fn installation() -> Installation {
    Installation {
        system_namespace: SYSTEM.to_owned(),
        gateway_namespace: "kwick-system".to_owned(),
        image: "example.com/kwick".to_owned(),
        domain: "example.com".to_owned(),
        ingress_class: INGRESS_CLASS.to_owned(),
    }
}

fn settings() -> Settings {
    let gateway = |name: &str| LoadBalancerIngressStatus {
        domain_internal: format!("{name}.kwick-system.svc.cluster.local"),
        ..LoadBalancerIngressStatus::default()
    };
    Settings {
        ingress_class: INGRESS_CLASS.to_owned(),
        public_load_balancer: gateway("gateway"),
        private_load_balancer: gateway("gateway-internal"),
        ..Settings::default()
    }
}
