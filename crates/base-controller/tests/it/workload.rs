//! A reconciler to test with: a Deployment that makes its Pods itself, by generated names, and a ConfigMap of its own name.
//!
//! Generated names show at once when a key is planned before its last writes have been seen: there are too many Pods.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base_controller::writers::Write;
use base_controller::{
    Change, Condition, Context, ContextConfig, Controller, ControllerHandle, Finalizer, Informer, Key, ObjectRef, Plan,
    PlanEvent, Reconciler, Scope,
};
use base_rt::metrics::Scope as MetricScope;
use base_rt::{Clock, Shutdown, ShutdownHandle, Tasks, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::fake_api::FakeApi;

pub(crate) const FINALIZER: &str = "test.kwick.dev/pods";
pub(crate) const DEPLOYMENTS: &str = "apis/apps/v1/deployments";
pub(crate) const PODS: &str = "api/v1/pods";
pub(crate) const MAPS: &str = "api/v1/configmaps";

/// What a run did, in order: one line per plan.
pub(crate) type Trace = Arc<Mutex<Vec<String>>>;

pub(crate) struct Workload {
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) pods: Informer<Pod>,
    pub(crate) maps: Informer<ConfigMap>,
    pub(crate) trace: Trace,
}

#[derive(Serialize)]
pub(crate) struct Observed {
    deployment: Arc<Deployment>,
    pods: Vec<Arc<Pod>>,
    map: Option<Arc<ConfigMap>>,
    color: Option<String>,
}

impl Reconciler for Workload {
    type Object = Deployment;
    type Observed = Observed;
    type Status = DeploymentStatus;

    const WRITES: &'static [Write] = &[
        Write::child("", "Pod"),
        Write::child("", "ConfigMap"),
        Write::status("apps", "Deployment", &["replicas", "conditions"]),
        Write::finalizer("apps", "Deployment", FINALIZER),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        let deployment = self.deployments.get(key)?;
        let pods = self.pods.list_in(key.namespace()).into_iter().filter(|pod| is_of(pod, &deployment)).collect();
        let color =
            self.maps.get(&Key::new(key.namespace(), "palette")).and_then(|map| map.data.clone()?.remove("color"));
        Some(Observed { deployment, pods, map: self.maps.get(key), color })
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Deployment>> {
        Some(&observed.deployment)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<DeploymentStatus> {
        let deployment = &observed.deployment;
        self.trace.lock().unwrap().push(format!("{now} {} {} pods", deployment.name_any(), observed.pods.len()));
        assert_ne!(deployment.annotations().get("test/plan").map(String::as_str), Some("panic"), "as asked");
        let is_leaving = deployment.metadata.deletion_timestamp.is_some();
        let wanted = if is_leaving { 0 } else { wanted(deployment) };
        let mut plan = Plan::new(status(observed, now));
        plan.finalizer = match (is_leaving, observed.pods.is_empty()) {
            (false, _) => Finalizer::Add(FINALIZER),
            (true, true) => Finalizer::Remove(FINALIZER),
            (true, false) => Finalizer::Keep,
        };
        for _ in observed.pods.len()..wanted {
            plan.changes.push(Change::create(&make_pod(deployment)).or_condition(refused()));
        }
        plan.changes.extend(observed.pods.iter().skip(wanted).map(|pod| Change::delete(&**pod)));
        if !is_leaving {
            plan.changes.push(map_change(observed));
        }
        if observed.pods.len() != wanted {
            plan.events.push(PlanEvent::normal("Scaled", format!("to {wanted}")));
        }
        plan.track = vec![ObjectRef::new::<ConfigMap>(Key::new(deployment.namespace().unwrap_or_default(), "palette"))];
        plan.again = deployment.annotations().get("test/again").and_then(|s| s.parse().ok()).map(Duration::from_secs);
        plan
    }

    fn mark_refused(&self, status: &mut DeploymentStatus, condition: &Condition, now: Timestamp) {
        status.conditions = Some(vec![DeploymentCondition {
            type_: Some(condition.type_.clone()),
            status: Some(condition.status.clone()),
            reason: Some(condition.reason.clone()),
            message: Some(condition.message.clone()),
            last_transition_time: Some(Time(now)),
            last_update_time: None,
        }]);
    }
}

fn refused() -> Condition {
    Condition {
        type_: "ReplicaFailure".into(),
        status: "True".into(),
        reason: "FailedCreate".into(),
        message: "no pod: {error}".into(),
    }
}

fn wanted(deployment: &Deployment) -> usize {
    deployment.spec.replicas.map_or(1, |replicas| usize::try_from(replicas).unwrap())
}

fn is_of(pod: &Pod, deployment: &Deployment) -> bool {
    pod.owner_references().iter().any(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref())
}

fn status(observed: &Observed, now: Timestamp) -> DeploymentStatus {
    let available = DeploymentCondition {
        type_: Some("Available".into()),
        status: Some(if observed.pods.is_empty() { "False" } else { "True" }.into()),
        last_transition_time: Some(Time(now)),
        ..DeploymentCondition::default()
    };
    DeploymentStatus {
        replicas: i32::try_from(observed.pods.len()).ok(),
        conditions: Some(vec![available]),
        ..DeploymentStatus::default()
    }
}

fn child_meta(deployment: &Deployment) -> ObjectMeta {
    ObjectMeta {
        namespace: deployment.namespace(),
        owner_references: Some(deployment.controller_owner_ref(&()).into_iter().collect()),
        ..ObjectMeta::default()
    }
}

fn make_pod(deployment: &Deployment) -> Pod {
    let generate_name = Some(format!("{}-", deployment.name_any()));
    Pod { metadata: ObjectMeta { generate_name, ..child_meta(deployment) }, ..Pod::default() }
}

fn map_change(observed: &Observed) -> Change {
    let color = observed.color.clone().unwrap_or_else(|| "none".into());
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some(observed.deployment.name_any()), ..child_meta(&observed.deployment) },
        data: Some(BTreeMap::from([("color".to_owned(), color)])),
        ..ConfigMap::default()
    };
    observed.map.as_ref().map_or_else(|| Change::create(&map), |base| Change::overlay(&**base, &map))
}

pub(crate) fn deployment(name: &str, replicas: i32) -> Deployment {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": []}});
    object(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "n"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }))
}

pub(crate) fn config_map(name: &str, data: Value) -> ConfigMap {
    object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}, "data": data}))
}

pub(crate) fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A process with the API, in virtual time.
pub(crate) struct World {
    pub(crate) api: FakeApi,
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) metrics: MetricScope,
    pub(crate) shutdown: ShutdownHandle,
    pub(crate) trace: Trace,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_seed(FakeApi::default(), 0)
    }

    pub(crate) fn with_seed(api: FakeApi, seed: u64) -> Self {
        let (shutdown, observer) = Shutdown::new();
        let metrics = MetricScope::root();
        let context = Context::new(ContextConfig {
            client: api.client(),
            clock: Clock::starting_at(Timestamp::UNIX_EPOCH),
            tasks: Tasks::new(observer),
            metrics: metrics.clone(),
            seed,
            component: "test",
        });
        Self { client: api.client(), api, context, metrics, shutdown, trace: Trace::default() }
    }

    pub(crate) fn controller(&self) -> Controller<Workload> {
        self.controller_of(|_| true)
    }

    pub(crate) fn controller_of(&self, is_meant: fn(&Deployment) -> bool) -> Controller<Workload> {
        let informers = &self.context.informers;
        let workload = Workload {
            deployments: informers.get(Scope::all()),
            pods: informers.get(Scope::all()),
            maps: informers.get(Scope::namespace("n")),
            trace: Arc::clone(&self.trace),
        };
        let (deployments, pods, maps) = (workload.deployments.clone(), workload.pods.clone(), workload.maps.clone());
        let controller = Controller::of_those("workload", workload, &deployments, &self.context, is_meant);
        controller.owns(&pods).owns(&maps).tracks(&maps)
    }

    pub(crate) fn start(&self) -> ControllerHandle {
        self.controller().start()
    }

    pub(crate) async fn create<K>(&self, object: &K) -> K
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Serialize
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api = kube::Api::namespaced(self.client.clone(), object.meta().namespace.as_deref().unwrap_or("n"));
        api.create(&kube::api::PostParams::default(), object).await.unwrap()
    }

    pub(crate) async fn update<K>(&self, name: &str, change: impl FnOnce(&mut K))
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Serialize
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api: kube::Api<K> = kube::Api::namespaced(self.client.clone(), "n");
        let mut object = api.get(name).await.unwrap();
        change(&mut object);
        object.meta_mut().resource_version = None;
        api.replace(name, &kube::api::PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api: kube::Api<K> = kube::Api::namespaced(self.client.clone(), "n");
        api.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    }

    pub(crate) fn pods(&self) -> usize {
        self.api.objects(PODS).len()
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        self.api.object(DEPLOYMENTS, name).map(|mut deployment| deployment["status"].take()).unwrap_or_default()
    }

    /// The value of a metric line that begins with `name`; 0 if there is none.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Waits for a level in virtual time. What never comes fails the test.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("not so after 100 s: {what}");
}

/// Lets everything that can happen now happen.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}
