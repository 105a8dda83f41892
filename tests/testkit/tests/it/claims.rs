//! Claims get volumes, Pods wait for them, and what is used stays.

use cluster_workloads::persistent_claim::standard_class;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testkit::objects::object;
use testkit::{Cluster, eventually};

fn claim(name: &str, spec: Value) -> PersistentVolumeClaim {
    let mut fields = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    fields.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object(json!({"metadata": {"name": name, "namespace": "default"}, "spec": fields}))
}

fn user(name: &str, claim: &str) -> Pod {
    object(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }))
}

async fn is_told(cluster: &Cluster, about: &str, reason: &str, message: &str) {
    eventually(&format!("an Event says {reason} of {about}: {message}"), || async {
        cluster.list::<Event>("default").await.iter().any(|event| {
            event.involved_object.name.as_deref() == Some(about)
                && event.reason.as_deref() == Some(reason)
                && event.message.as_deref() == Some(message)
        })
    })
    .await;
}

async fn phase(cluster: &Cluster, name: &str) -> String {
    let claim = cluster.get::<PersistentVolumeClaim>("default", name).await;
    claim.and_then(|claim| claim.status?.phase).unwrap_or_default()
}

async fn bound(cluster: &Cluster, name: &str) -> PersistentVolume {
    eventually(&format!("claim {name} is bound"), || async { phase(cluster, name).await == "Bound" }).await;
    let claim = cluster.get::<PersistentVolumeClaim>("default", name).await.unwrap();
    cluster.get::<PersistentVolume>("", &claim.spec.unwrap().volume_name.unwrap()).await.unwrap()
}

async fn runs(cluster: &Cluster, name: &str) {
    eventually(&format!("Pod {name} runs"), || async {
        let pod = cluster.get::<Pod>("default", name).await;
        pod.and_then(|pod| pod.status?.phase).as_deref() == Some("Running")
    })
    .await;
}

/// What the node does once it has removed a volume's content.
async fn let_go(cluster: &Cluster, volume: &str) {
    eventually(&format!("volume {volume} waits for the node"), || async {
        let volume = cluster.get::<PersistentVolume>("", volume).await.unwrap();
        volume.metadata.deletion_timestamp.is_some() && volume.metadata.finalizers.iter().flatten().count() == 1
    })
    .await;
    cluster.merge::<PersistentVolume>("", volume, &json!({"metadata": {"finalizers": null}})).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_waits_for_its_first_pod_and_stays_with_its_last() {
    let cluster = Cluster::start(1).await;
    cluster.create(&standard_class()).await;
    let made = cluster.create(&claim("data", json!({}))).await;
    assert_eq!(made.spec.unwrap().storage_class_name.as_deref(), Some("standard"));
    is_told(&cluster, "data", "WaitForFirstConsumer", "waiting for first consumer to be created before binding").await;
    cluster.create(&user("a", "data")).await;
    runs(&cluster, "a").await;
    let volume = bound(&cluster, "data").await;
    let name = volume.metadata.name.clone().unwrap();
    is_told(&cluster, "data", "ProvisioningSucceeded", &format!("Successfully provisioned volume {name}")).await;
    let claim = cluster.get::<PersistentVolumeClaim>("default", "data").await.unwrap();
    assert_eq!(json!(claim.status.unwrap().capacity), json!({"storage": "1Gi"}));
    eventually("the volume is bound", || async {
        let volume = cluster.get::<PersistentVolume>("", &name).await.unwrap();
        volume.status.and_then(|status| status.phase).as_deref() == Some("Bound")
    })
    .await;
    // Deleted, it stays as long as the Pod does, and no other Pod starts with it.
    cluster.delete::<PersistentVolumeClaim>("default", "data", &DeleteParams::default()).await;
    cluster.create(&user("b", "data")).await;
    let message = "0/1 nodes are available: persistentvolumeclaim \"data\" is being deleted. \
                   preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    is_told(&cluster, "b", "FailedScheduling", message).await;
    assert_eq!(phase(&cluster, "data").await, "Bound");
    cluster.delete::<Pod>("default", "a", &DeleteParams::default()).await;
    let_go(&cluster, &name).await;
    eventually("everything is gone", || async {
        cluster.list::<PersistentVolume>("").await.is_empty()
            && cluster.list::<PersistentVolumeClaim>("default").await.is_empty()
    })
    .await;
    let message = "0/1 nodes are available: persistentvolumeclaim \"data\" not found. \
                   preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    is_told(&cluster, "b", "FailedScheduling", message).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn volumes_that_are_there_are_taken_and_retained() {
    let cluster = Cluster::start(2).await;
    let volume = |name: &str, size: &str, spec: Value| -> PersistentVolume {
        let mut fields = json!({
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "hostPath": {"path": "/h"},
            "storageClassName": "",
        });
        fields.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object(json!({"metadata": {"name": name}, "spec": fields}))
    };
    cluster.create(&claim("early", json!({"storageClassName": ""}))).await;
    let none = "no persistent volumes available for this claim and no storage class is set";
    is_told(&cluster, "early", "FailedBinding", none).await;
    cluster.create(&user("a", "early")).await;
    let message = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. \
                   preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    is_told(&cluster, "a", "FailedScheduling", message).await;
    cluster.create(&volume("large", "5Gi", json!({}))).await;
    assert_eq!(bound(&cluster, "early").await.metadata.name.as_deref(), Some("large"));
    runs(&cluster, "a").await;
    let elsewhere = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["other"]}]},
    ]}}});
    cluster.create(&volume("far", "1Gi", elsewhere)).await;
    cluster.create(&claim("far", json!({"storageClassName": "", "volumeName": "far"}))).await;
    bound(&cluster, "far").await;
    cluster.create(&user("b", "far")).await;
    let message = "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity. \
                   preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    is_told(&cluster, "b", "FailedScheduling", message).await;
    cluster.delete::<Pod>("default", "a", &DeleteParams::default()).await;
    cluster.delete::<PersistentVolumeClaim>("default", "early", &DeleteParams::default()).await;
    eventually("the volume is left", || async {
        let volume = cluster.get::<PersistentVolume>("", "large").await.unwrap();
        volume.status.and_then(|status| status.phase).as_deref() == Some("Released")
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_may_be_one_pods_alone() {
    let cluster = Cluster::start(3).await;
    let mut class: StorageClass = standard_class();
    class.volume_binding_mode = Some("Immediate".to_owned());
    cluster.create(&class).await;
    cluster.create(&claim("own", json!({"accessModes": ["ReadWriteOncePod"]}))).await;
    bound(&cluster, "own").await;
    cluster.create(&user("a", "own")).await;
    cluster.create(&user("b", "own")).await;
    runs(&cluster, "a").await;
    let message = "0/1 nodes are available: 1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod \
                   access mode already in-use by another pod. preemption: 0/1 nodes are available: \
                   1 No preemption victims found for incoming pod.";
    is_told(&cluster, "b", "FailedScheduling", message).await;
    cluster.delete::<Pod>("default", "a", &DeleteParams::default()).await;
    runs(&cluster, "b").await;
    cluster.stop().await;
}
