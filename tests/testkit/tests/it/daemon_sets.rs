//! A DaemonSet runs on the node, is rolled, and gets over failures.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testkit::objects::object;
use testkit::{Cluster, FakeNodeConfig, Life, eventually};

fn log(image: &str) -> DaemonSet {
    object(json!({
        "metadata": {"name": "log", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "log"}},
            "template": {
                "metadata": {"labels": {"app": "log"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    }))
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

async fn settled(cluster: &Cluster, desired: i32) {
    eventually(&format!("{desired} Pods are available and updated"), || async {
        let set = cluster.get::<DaemonSet>("default", "log").await.unwrap();
        let status = set.status.unwrap_or_default();
        let counts = [
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_ready,
            status.number_available.unwrap_or_default(),
            status.updated_number_scheduled.unwrap_or_default(),
        ];
        status.observed_generation == set.metadata.generation && counts == [desired; 5]
    })
    .await;
}

async fn pods(cluster: &Cluster) -> Vec<(String, String)> {
    let pods = cluster.list::<Pod>("default").await.into_iter();
    pods.map(|pod| {
        let spec = pod.spec.unwrap();
        (spec.containers[0].image.clone().unwrap(), spec.node_name.unwrap_or_default())
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn a_set_runs_on_the_node_and_is_rolled() {
    let cluster = Cluster::start(1).await;
    cluster.create(&log("b:1")).await;
    settled(&cluster, 1).await;
    assert_eq!(pods(&cluster).await, [("b:1".to_owned(), "n1".to_owned())]);
    cluster.merge::<DaemonSet>("default", "log", &image("b:2")).await;
    settled(&cluster, 1).await;
    assert_eq!(pods(&cluster).await, [("b:2".to_owned(), "n1".to_owned())]);
    // With a surge, and back.
    let surge = json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}});
    cluster.merge::<DaemonSet>("default", "log", &surge).await;
    cluster.merge::<DaemonSet>("default", "log", &image("b:1")).await;
    settled(&cluster, 1).await;
    eventually("only the new Pod is left", || async { pods(&cluster).await == [("b:1".to_owned(), "n1".to_owned())] })
        .await;
    let mut numbers: Vec<_> =
        cluster.list::<ControllerRevision>("default").await.into_iter().map(|revision| revision.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(2), Some(3)]);
    // A cordon does not concern it: what is gone comes back there. Another node does.
    cluster.merge::<Node>("", "n1", &json!({"spec": {"unschedulable": true}})).await;
    let old = cluster.list::<Pod>("default").await.remove(0).metadata;
    cluster.delete::<Pod>("default", old.name.as_deref().unwrap(), &DeleteParams::default()).await;
    eventually("another Pod is all there is", || async {
        let pods = cluster.list::<Pod>("default").await;
        pods.len() == 1 && pods[0].metadata.uid != old.uid
    })
    .await;
    settled(&cluster, 1).await;
    let second = FakeNodeConfig { name: "n2".to_owned(), ..FakeNodeConfig::default() };
    testkit::FakeNode::start(&cluster, second).await;
    settled(&cluster, 2).await;
    let mut both = pods(&cluster).await;
    both.sort_unstable();
    assert_eq!(both, ["n1", "n2"].map(|node| ("b:1".to_owned(), node.to_owned())));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fails_is_tried_again_and_again() {
    let left = Arc::new(Mutex::new(3));
    let failing = Arc::clone(&left);
    let life = move |_: &Pod| {
        let mut left = failing.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Life::Fails;
        }
        Life::Ready
    };
    let node = FakeNodeConfig { life: Arc::new(life), ..FakeNodeConfig::default() };
    let cluster = Cluster::start_with(2, node).await;
    let begun = tokio::time::Instant::now();
    cluster.create(&log("b:1")).await;
    settled(&cluster, 1).await;
    let waited = begun.elapsed().as_secs();
    assert!((3..30).contains(&waited), "at once, after a second, after two: {waited} s");
    eventually("Events tell of it", || async {
        let events = cluster.list::<Event>("default").await;
        events.iter().any(|event| {
            event.reason.as_deref() == Some("FailedDaemonPod")
                && event.message.as_ref().is_some_and(|text| text.ends_with("on node n1, will try to kill it"))
        })
    })
    .await;
    cluster.stop().await;
}
