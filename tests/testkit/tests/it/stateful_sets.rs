//! StatefulSets come up in order, each Pod with its claim, are rolled from the top, and go down in reverse.

use std::sync::{Arc, Mutex};

use base_controller::Scope;
use cluster_workloads::persistent_claim::standard_class;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testkit::objects::object;
use testkit::{Cluster, FakeNodeConfig, Life, eventually};

fn web(replicas: i32, image: &str) -> StatefulSet {
    object(json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": containers(image)},
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    }))
}

/// What happened to Pods, as `+name` and `-name`, in order.
#[derive(Clone, Default)]
struct Comings(Arc<Mutex<Vec<String>>>);

impl Comings {
    async fn start(cluster: &Cluster) -> Self {
        let pods = cluster.context.informers.get::<Pod>(Scope::all());
        pods.synced().await;
        let comings = Self::default();
        let noting = comings.clone();
        pods.subscribe(move |delta| {
            let note = match (delta.old, delta.new) {
                (None, Some(pod)) => format!("+{}", pod.metadata.name.as_deref().unwrap()),
                (Some(pod), None) => format!("-{}", pod.metadata.name.as_deref().unwrap()),
                _ => return,
            };
            noting.0.lock().unwrap().push(note);
        });
        comings
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

async fn status(cluster: &Cluster) -> Value {
    let set = cluster.get::<StatefulSet>("default", "web").await.unwrap();
    let mut status = json!(set.status.unwrap_or_default());
    status["isObserved"] = json!(status["observedGeneration"] == json!(set.metadata.generation));
    status
}

/// Waits until the set has so many Pods, all ready, of which so many are of the newest template.
async fn settled(cluster: &Cluster, replicas: i32, updated: i32) {
    eventually(&format!("{replicas} Pods are ready, {updated} updated"), || async {
        let status = status(cluster).await;
        let count = |name: &str| status[name].as_i64().unwrap_or_default();
        status["isObserved"] == true
            && [count("replicas"), count("readyReplicas"), count("availableReplicas")] == [i64::from(replicas); 3]
            && count("updatedReplicas") == i64::from(updated)
    })
    .await;
}

async fn volumes(cluster: &Cluster) -> Vec<String> {
    let claims = cluster.list::<PersistentVolumeClaim>("default").await.into_iter();
    claims.map(|claim| claim.spec.unwrap().volume_name.unwrap_or_default()).collect()
}

/// The containers of a template with this image.
fn containers(image: &str) -> Value {
    json!([{"name": "c", "image": image, "volumeMounts": [{"name": "data", "mountPath": "/d"}]}])
}

async fn images(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.list::<Pod>("default").await.into_iter();
    pods.map(|pod| pod.spec.unwrap().containers[0].image.clone().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_set_lives_in_order() {
    let cluster = Cluster::start(1).await;
    cluster.create(&standard_class()).await;
    let comings = Comings::start(&cluster).await;
    cluster.create(&web(3, "b:1")).await;
    settled(&cluster, 3, 3).await;
    assert_eq!(comings.take(), ["+web-0", "+web-1", "+web-2"]);
    let pod = cluster.get::<Pod>("default", "web-1").await.unwrap();
    let (labels, spec) = (pod.metadata.labels.unwrap(), pod.spec.unwrap());
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "web-1");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "1");
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-1"), Some("web")));
    let kept = volumes(&cluster).await;
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|volume| volume.starts_with("pvc-")), "{kept:?}");

    // One that goes comes back, with the claim that it had.
    cluster.delete::<Pod>("default", "web-1", &DeleteParams::default()).await;
    eventually("web-1 is there again", || async { comings.0.lock().unwrap().len() == 2 }).await;
    settled(&cluster, 3, 3).await;
    assert_eq!(comings.take(), ["-web-1", "+web-1"]);
    assert_eq!(volumes(&cluster).await, kept);

    // A new template above the partition, then everywhere: highest first.
    let rolled = json!({"spec": {
        "template": {"spec": {"containers": containers("b:2")}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
    }});
    cluster.merge::<StatefulSet>("default", "web", &rolled).await;
    settled(&cluster, 3, 1).await;
    assert_eq!(comings.take(), ["-web-2", "+web-2"]);
    assert_eq!(images(&cluster).await, ["b:1", "b:1", "b:2"]);
    let before = status(&cluster).await;
    assert_ne!(before["currentRevision"], before["updateRevision"]);
    let everywhere = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}});
    cluster.merge::<StatefulSet>("default", "web", &everywhere).await;
    settled(&cluster, 3, 3).await;
    assert_eq!(comings.take(), ["-web-1", "+web-1", "-web-0", "+web-0"]);
    let after = status(&cluster).await;
    assert_eq!(after["currentRevision"], before["updateRevision"]);

    // Back again: the first revision, with a new number.
    let back = json!({"spec": {"template": {"spec": {"containers": containers("b:1")}}}});
    cluster.merge::<StatefulSet>("default", "web", &back).await;
    settled(&cluster, 3, 3).await;
    assert_eq!(images(&cluster).await, ["b:1"; 3]);
    let mut numbers: Vec<_> =
        cluster.list::<ControllerRevision>("default").await.into_iter().map(|revision| revision.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(2), Some(3)]);
    comings.take();

    // Fewer: in reverse; their claims stay.
    cluster.merge::<StatefulSet>("default", "web", &json!({"spec": {"replicas": 1}})).await;
    settled(&cluster, 1, 1).await;
    assert_eq!(comings.take(), ["-web-2", "-web-1"]);
    assert_eq!(volumes(&cluster).await, kept);
    eventually("Events tell of it", || async {
        let events = cluster.list::<Event>("default").await;
        [
            "Create Claim data-web-2 Pod web-2 in StatefulSet web success",
            "Delete Pod web-2 in StatefulSet web successful",
        ]
        .iter()
        .all(|text| events.iter().any(|event| event.message.as_deref() == Some(*text)))
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn claims_go_as_the_policy_says() {
    let cluster = Cluster::start(2).await;
    cluster.create(&standard_class()).await;
    let mut set = web(2, "b:1");
    set.spec.persistent_volume_claim_retention_policy =
        Some(object(json!({"whenScaled": "Delete", "whenDeleted": "Delete"})));
    cluster.create(&set).await;
    settled(&cluster, 2, 2).await;
    cluster.merge::<StatefulSet>("default", "web", &json!({"spec": {"replicas": 1}})).await;
    eventually("the claim of web-1 goes with it", || async {
        let claims = cluster.list::<PersistentVolumeClaim>("default").await;
        claims.iter().map(|claim| claim.metadata.name.as_deref().unwrap()).eq(["data-web-0"])
    })
    .await;
    cluster.delete::<StatefulSet>("default", "web", &DeleteParams::foreground()).await;
    eventually("the other one goes with the set", || async {
        cluster.list::<PersistentVolumeClaim>("default").await.is_empty()
    })
    .await;
    eventually("their volumes wait for the node only", || async {
        let volumes = cluster.list::<PersistentVolume>("").await;
        let waits = |volume: &PersistentVolume| {
            volume.metadata.deletion_timestamp.is_some() && volume.metadata.finalizers.iter().flatten().count() == 1
        };
        volumes.len() == 2 && volumes.iter().all(waits)
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_in_parallel_and_what_has_ended_comes_back() {
    let ends = Arc::new(Mutex::new(true));
    let deciding = Arc::clone(&ends);
    let life = move |pod: &Pod| {
        let is_first = pod.metadata.name.as_deref() == Some("web-0");
        if is_first && std::mem::take(&mut *deciding.lock().unwrap()) { Life::Fails } else { Life::Ready }
    };
    let node = FakeNodeConfig { life: Arc::new(life), ..FakeNodeConfig::default() };
    let cluster = Cluster::start_with(3, node).await;
    let comings = Comings::start(&cluster).await;
    let mut set = web(3, "b:1");
    set.spec.pod_management_policy = Some("Parallel".to_owned());
    set.spec.volume_claim_templates = None;
    set.spec.template.spec.as_mut().unwrap().containers[0].volume_mounts = None;
    cluster.create(&set).await;
    settled(&cluster, 3, 3).await;
    assert_eq!(comings.take(), ["+web-0", "+web-1", "+web-2", "-web-0", "+web-0"]);
    cluster.stop().await;
}
