//! A node that only says that it runs Pods: it sets their status after drawn delays, and lets them go when they are deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base_rt::{Clock, Phase};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api as KubeApi, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, ResourceExt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::Api;

/// How many addresses of a net of 256 are given to Pods.
const ADDRESSES_PER_NET: u64 = 250;

/// What becomes of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs and is ready until it is deleted.
    Ready,
    /// It runs and is never ready.
    NeverReady,
    /// It ends well.
    Succeeds,
    /// It ends badly.
    Fails,
}

/// How a node behaves.
#[derive(Clone)]
pub struct FakeNodeConfig {
    /// The node's name.
    pub name: String,
    /// What it offers to Pods.
    pub allocatable: Value,
    /// How long a Pod takes from being bound to its first status.
    pub start_ms: Range<u64>,
    /// How long a deleted Pod takes to go.
    pub stop_ms: Range<u64>,
    /// What becomes of each Pod.
    pub life: Arc<dyn Fn(&Pod) -> Life + Send + Sync>,
}

impl Default for FakeNodeConfig {
    fn default() -> Self {
        Self {
            name: "n1".to_owned(),
            allocatable: json!({"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"}),
            start_ms: 5..50,
            stop_ms: 5..20,
            life: Arc::new(ordinary_life),
        }
    }
}

/// What is not started again ends well.
fn ordinary_life(pod: &Pod) -> Life {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy.is_none_or(|policy| policy == "Always") { Life::Ready } else { Life::Succeeds }
}

impl std::fmt::Debug for FakeNodeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeNodeConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A node that pretends.
#[derive(Debug)]
pub struct FakeNode {
    /// Its name.
    pub name: String,
}

impl FakeNode {
    /// Registers the node, unless it is there, and follows the Pods that are bound to it.
    pub async fn start(api: &Api, config: FakeNodeConfig) -> Self {
        Self::try_start(api, config).await.expect("the node registers")
    }

    /// As [`FakeNode::start`].
    ///
    /// # Errors
    /// The API does not take the node.
    pub async fn try_start(api: &Api, config: FakeNodeConfig) -> kube::Result<Self> {
        let (name, client) = (config.name.clone(), api.client());
        let nodes: KubeApi<Node> = KubeApi::all(client.clone());
        if nodes.get_opt(&name).await?.is_none() {
            nodes.create(&PostParams::default(), &make_node(&config)).await?;
        }
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(&node_status(&config))).await?;
        let random = SmallRng::seed_from_u64(api.seed ^ 0x6e6f_6465);
        let kubelet = Kubelet {
            client: client.clone(),
            clock: api.clock,
            config,
            random,
            due: BTreeMap::new(),
            started: BTreeSet::new(),
            stopping: BTreeSet::new(),
            addresses: 0,
        };
        let shutdown = api.tasks.shutdown().clone();
        api.tasks.spawn(format!("fake-node/{name}"), async move {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => {}
                () = kubelet.run() => {}
            }
            Ok(())
        });
        Ok(Self { name })
    }
}

fn make_node(config: &FakeNodeConfig) -> Node {
    let labels = json!({"kubernetes.io/hostname": config.name, "kubernetes.io/os": "linux"});
    serde_json::from_value(json!({"metadata": {"name": config.name, "labels": labels}})).unwrap()
}

fn node_status(config: &FakeNodeConfig) -> Value {
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it pretends"});
    json!({"status": {"capacity": config.allocatable, "allocatable": config.allocatable, "conditions": [ready]}})
}

/// What is to be done to a Pod at its time.
#[derive(Clone, Debug)]
enum Action {
    Start(Pod),
    Remove(Pod),
}

struct Kubelet {
    client: Client,
    clock: Clock,
    config: FakeNodeConfig,
    random: SmallRng,
    /// By time, and by the order of drawing.
    due: BTreeMap<(Instant, u64), Action>,
    started: BTreeSet<String>,
    stopping: BTreeSet<String>,
    addresses: u64,
}

impl Kubelet {
    async fn run(mut self) {
        let pods: KubeApi<Pod> = KubeApi::all(self.client.clone());
        let config = Config::default().fields(&format!("spec.nodeName={}", self.config.name));
        let mut events = watcher(pods, config).boxed();
        let mut drawn = 0;
        loop {
            let next = self.due.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                biased;
                () = sleep_until(next) => {
                    if let Some((_, action)) = self.due.pop_first() {
                        self.act(action).await;
                    }
                }
                Some(event) = events.next() => match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                        drawn += 1;
                        self.see(pod, drawn);
                    }
                    Ok(_) => {}
                    // The weather of a simulation; the watcher lists again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
            }
        }
    }

    fn see(&mut self, pod: Pod, drawn: u64) {
        let uid = pod.uid().unwrap();
        if let Some(address) = own_address(&pod) {
            // It was started before this node's process was.
            self.addresses = self.addresses.max(address);
            self.started.insert(uid.clone());
        }
        let is_ending = pod.metadata.deletion_timestamp.is_some();
        let (delays, action) = if is_ending && self.stopping.insert(uid.clone()) {
            (self.config.stop_ms.clone(), Action::Remove(pod))
        } else if !is_ending && self.started.insert(uid) {
            (self.config.start_ms.clone(), Action::Start(pod))
        } else {
            return;
        };
        let delay = Duration::from_millis(self.random.random_range(delays));
        self.due.insert((Instant::now() + delay, drawn), action);
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Start(pod) => self.set_status(&pod).await,
            Action::Remove(pod) => self.remove(&pod).await,
        }
    }

    async fn set_status(&mut self, pod: &Pod) {
        self.addresses += 1;
        let status = self.status(pod);
        let api: KubeApi<Pod> = KubeApi::namespaced(self.client.clone(), &pod.namespace().unwrap());
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
        // A Pod that is gone meanwhile needs no status; one that is not is tried again.
        if let Err(error) = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await
            && !is_gone(&error)
        {
            self.due.insert(
                (Instant::now() + Duration::from_millis(50), u64::MAX - self.addresses),
                Action::Start(pod.clone()),
            );
        }
    }

    async fn remove(&mut self, pod: &Pod) {
        let api: KubeApi<Pod> = KubeApi::namespaced(self.client.clone(), &pod.namespace().unwrap());
        let preconditions = Some(kube::api::Preconditions { uid: pod.uid(), resource_version: None });
        let now = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
        if let Err(error) = api.delete(&pod.name_any(), &now).await
            && !is_gone(&error)
        {
            self.addresses += 1;
            self.due.insert(
                (Instant::now() + Duration::from_millis(50), u64::MAX - self.addresses),
                Action::Remove(pod.clone()),
            );
        }
    }

    fn status(&self, pod: &Pod) -> Value {
        let life = (self.config.life)(pod);
        let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (phase, is_ready) = match life {
            Life::Ready => ("Running", true),
            Life::NeverReady => ("Running", false),
            Life::Succeeds => ("Succeeded", false),
            Life::Fails => ("Failed", false),
        };
        let ready = if is_ready { "True" } else { "False" };
        let conditions: Vec<Value> =
            [("Initialized", "True"), ("Ready", ready), ("ContainersReady", ready), ("PodScheduled", "True")]
                .iter()
                .map(|(name, status)| json!({"type": name, "status": status, "lastTransitionTime": now}))
                .collect();
        let state = match life {
            Life::Ready | Life::NeverReady => json!({"running": {"startedAt": now}}),
            Life::Succeeds => json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
            Life::Fails => json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
        };
        let of_container = |container: &k8s_openapi::api::core::v1::Container| {
            json!({
                "name": container.name, "image": container.image, "imageID": "", "restartCount": 0,
                "ready": is_ready, "started": true, "state": state,
            })
        };
        let ip = format!("10.244.{}.{}", self.addresses / ADDRESSES_PER_NET, self.addresses % ADDRESSES_PER_NET + 2);
        json!({
            "phase": phase, "conditions": conditions, "startTime": now, "hostIP": "10.0.0.1",
            "podIP": ip, "podIPs": [{"ip": ip}],
            "containerStatuses": pod.spec.iter().flat_map(|spec| &spec.containers).map(of_container).collect::<Vec<_>>(),
        })
    }
}

/// The number of the address that a Pod has been given.
fn own_address(pod: &Pod) -> Option<u64> {
    let mut parts = pod.status.as_ref()?.pod_ip.as_deref()?.strip_prefix("10.244.")?.split('.');
    let (net, host) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    Some(net * ADDRESSES_PER_NET + host.saturating_sub(2))
}

/// Whether the Pod, or this Pod of the name, is not there any more.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
