//! A machine on which everything runs: how it starts, how its parts die, and how they come back.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base_controller::{Context, ContextConfig};
use base_rt::metrics::Scope;
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, TaskFailure, Tasks, watch};
use cluster_apiserver::store::journal::memory::{CrashPoint, MemoryDisk};
use cluster_apiserver::{ApiServerConfig, Entropy, Identity, ServiceAccountKey};
use knative_apis::networking::LoadBalancerIngressStatus;
use knative_serving::manifests::Installation;
use knative_serving::{GatewayFacts, STATS_CAPACITY, Seams, Settings};
use kwick::assembly::{ControlPlane, Level, Process};
use serde_json::json;
use testkit::{Api, FakeNode, FakeNodeConfig};
use tokio::sync::mpsc;

use crate::ledger::Ledger;
use crate::pretend::{Activator, Registry};
use crate::traffic::Loads;
use crate::user::User;
use crate::weather::{Climate, Life, Weather};
use crate::{gateway, laws, traffic};

/// The namespace of Knative's own objects.
pub(crate) const SYSTEM: &str = "knative-serving";
const BEGINNING: &str = "2026-01-01T00:00:00Z";
const INGRESS_CLASS: &str = "kwick.ingress.networking.knative.dev";

/// Costly to make, and nothing depends on which it is.
static KEY: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| ServiceAccountKey::generate_pem().expect("a key"));

/// When the whole machine dies; what was not on its disk yet is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// In which write to its disk, counted from its first start: 1 is the first.
    pub append: u64,
    /// Where in that write.
    pub point: CrashPoint,
}

/// The machine.
pub struct World {
    /// Decides everything.
    pub seed: u64,
    /// What is between controllers and the API.
    pub weather: Weather,
    disk: MemoryDisk,
    clock: Clock,
    loads: Loads,
    /// What the user has been promised.
    pub(crate) ledger: Ledger,
    /// Those to come, in order.
    deaths: Mutex<VecDeque<Death>>,
    /// None while the machine is down.
    server: watch::Sender<Option<Arc<Server>>>,
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
    /// An empty machine that has just been switched on, and will die so often.
    pub async fn start(seed: u64, climate: Climate, mut deaths: Vec<Death>) -> Self {
        deaths.sort_by_key(|death| death.append);
        let world = Self {
            seed,
            weather: Weather::new(seed, climate),
            disk: MemoryDisk::new(),
            clock: Clock::starting_at(BEGINNING.parse().expect("a time")),
            loads: Loads::default(),
            ledger: Ledger::default(),
            deaths: Mutex::new(deaths.into()),
            server: watch::Sender::new(None),
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

    /// What the API is reached by today; another one after a restart, which is waited for.
    pub(crate) async fn client(&self) -> kube::Client {
        let mut server = self.server.subscribe();
        let _ = server.wait_for(Option::is_some).await;
        let client = server.borrow().as_ref().map(|server| server.api.client());
        client.expect("there is a server")
    }

    /// So many requests are in flight to a Revision from now on.
    pub fn load(&self, namespace: &str, revision: &str, concurrency: f64) {
        self.loads.set(namespace, revision, concurrency);
    }

    /// No requests at all.
    pub fn unload(&self) {
        self.loads.clear();
    }

    /// How many writes have reached the disk.
    pub fn appends(&self) -> u64 {
        self.disk.appends()
    }

    /// The deaths for which the run was too short happen now, in writes of the user.
    pub async fn meet_deaths(&self) {
        let mut met = 0;
        loop {
            let Some(Death { point, .. }) = self.deaths.lock().unwrap().front().copied() else { return };
            self.disk.crash_at(1, point);
            met += 1;
            let touched = json!({"metadata": {"annotations": {"touched": met.to_string()}}});
            self.user().merge("v1", "ConfigMap", "config-gc", &touched).await;
        }
    }

    /// Brings back what dies, and sees to it that the laws hold. Never returns; a death that nobody planned fails the test.
    pub async fn live(&self) -> Infallible {
        tokio::select! {
            biased;
            never = self.heal() => never,
            never = laws::watch_over(self) => never,
        }
    }

    async fn heal(&self) -> Infallible {
        loop {
            let (of_server, of_controllers, life) = self.what_lives();
            tokio::select! {
                biased;
                failure = of_server.failure() => {
                    self.expect_death(&failure.to_string());
                    self.bury();
                    self.start_server().await;
                    self.look_for_losses().await;
                    self.start_controllers().await;
                }
                () = life.ended() => {
                    self.bury();
                    self.start_controllers().await;
                }
                TaskFailure { name, reason } = of_controllers.failure() => panic!("task {name} {reason}"),
            }
        }
    }

    fn what_lives(&self) -> (Tasks, Tasks, Life) {
        let of_server = self.server().api.tasks.clone();
        let controllers = self.controllers.lock().unwrap();
        let Controllers { life, tasks, .. } = controllers.as_ref().expect("there are always controllers");
        (of_server, tasks.clone(), life.clone())
    }

    /// The machine is dead, as planned.
    fn expect_death(&self, why: &str) {
        assert!(!self.disk.will_crash() && !self.deaths.lock().unwrap().is_empty(), "nobody planned it: {why}");
        self.deaths.lock().unwrap().pop_front();
        self.weather.note("death", "machine");
    }

    /// Every write that was acknowledged to the user is there.
    async fn look_for_losses(&self) {
        let (server, user) = (self.server(), self.user());
        let mut objects = BTreeMap::new();
        for id in self.ledger.ids() {
            let object = user.get(&id.0, &id.1, &id.2).await;
            objects.insert(id, object);
        }
        let revision = server.plane.api.store().revision().0;
        let losses = self.ledger.losses(revision, |id| objects.get(id).cloned().flatten());
        assert!(losses.is_empty(), "lost with the machine:\n{losses}");
    }

    /// The controllers are dead; nothing that they began goes on.
    fn bury(&self) {
        if let Some(controllers) = self.controllers.lock().unwrap().take() {
            controllers.life.end();
            controllers.shutdown.advance(Phase::Stopped);
        }
    }

    fn server(&self) -> Arc<Server> {
        Arc::clone(self.server.borrow().as_ref().expect("the machine is up"))
    }

    /// Switches the machine on, again and again if it dies meanwhile.
    async fn start_server(&self) {
        // The tasks of a server before this one end with its handle.
        drop(self.server.send_replace(None));
        loop {
            self.plan_death();
            match self.try_start_server().await {
                Ok(server) => {
                    self.server.send_replace(Some(Arc::new(server)));
                    return;
                }
                Err(why) => self.expect_death(&why),
            }
        }
    }

    fn plan_death(&self) {
        if let Some(Death { append, point }) = self.deaths.lock().unwrap().front() {
            self.disk.crash_at(append.saturating_sub(self.disk.appends()).max(1), *point);
        }
    }

    async fn try_start_server(&self) -> Result<Server, String> {
        let (shutdown, observer) = Shutdown::new();
        let tasks = Tasks::new(observer);
        let key = ServiceAccountKey::from_pem(&KEY).expect("a key");
        let config = ApiServerConfig {
            entropy: Entropy::seeded(self.seed ^ self.disk.appends()),
            ..ApiServerConfig::new(self.disk.journal(), self.clock, tasks.clone(), key)
        };
        let starting = async {
            let plane = ControlPlane::open(config, Level::All, &installation()).await;
            let plane = plane.map_err(|error| base_rt::error_chain(&error))?;
            let api = Api::around(plane.api.clone(), self.clock, tasks.clone(), self.seed, shutdown);
            let node = FakeNode::try_start(&api, FakeNodeConfig::default()).await;
            node.map_err(|error| base_rt::error_chain(&error))?;
            Ok(Server { api, plane })
        };
        tokio::select! {
            biased;
            failure = tasks.failure() => Err(failure.to_string()),
            started = starting => started,
        }
    }

    async fn start_controllers(&self) {
        let server = self.server();
        let (shutdown, observer) = Shutdown::new();
        let (life, tasks) = (Life::begin(), Tasks::new(observer));
        let (weather, of_life, of_server) = (self.weather.clone(), life.clone(), server.api.tasks.clone());
        let process = Process {
            clients: Arc::new(move |api, identity| weather.client(api.service_as(identity), &of_life)),
            ..Process::new(self.clock, tasks.clone(), Scope::root(), self.seed)
        };
        *self.controllers.lock().unwrap() = Some(Controllers { life: life.clone(), shutdown, tasks });
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
            gateways,
        };
        // Whoever dies here is brought back by whoever heals.
        tokio::select! {
            biased;
            _ = of_server.failure() => {}
            () = life.ended() => {}
            _ = server.plane.run_serving(&process, settings(), seams) => {}
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
