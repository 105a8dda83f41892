//! `metrics.k8s.io`: what is measured, as `kubectl top` and autoscalers ask for it.

use std::sync::Arc;

use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{ApiServerConfig, Measurement, Measures, Measuring, PodUse, Use};
use serde_json::json;

use crate::support::Harness;

/// One node, and two Pods, of which one is there.
struct Made;

impl Measures for Made {
    fn measure(&self) -> Measuring {
        let used = Use { cpu_nanos: 250_000_000, memory_bytes: 1 << 20 };
        let pod = |name: &str| PodUse {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            containers: vec![("c".to_owned(), used)],
        };
        let at = "2024-01-01T00:00:00Z".parse().expect("a time");
        let nodes = vec![("here".to_owned(), used)];
        Box::pin(std::future::ready(Ok(Measurement { at, window_ms: 1000, nodes, pods: vec![pod("p"), pod("gone")] })))
    }
}

#[tokio::test]
async fn an_api_service_is_there_as_long_as_somebody_measures() {
    let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io";
    let disk = MemoryDisk::new();
    let measuring = |config| ApiServerConfig { measures: Some(Arc::new(Made)), ..config };
    for _ in 0..2 {
        let harness = Harness::start_as(disk.clone(), measuring).await;
        let shown = harness.raw().get_as(path, "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
        let cells = shown["rows"][0]["cells"].as_array().expect("cells").clone();
        assert_eq!(cells[..3], [json!("v1beta1.metrics.k8s.io"), json!("Local"), json!("True")]);
        let condition = &harness.raw().get(path).await.json()["status"]["conditions"][0];
        assert_eq!((&condition["type"], &condition["reason"]), (&json!("Available"), &json!("Local")));
    }
    let harness = Harness::start_with(disk.clone(), Vec::new()).await;
    assert_eq!(harness.raw().get(path).await.status, 404);
    let service = json!({"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {
        "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
        "service": {"namespace": "kube-system", "name": "metrics-server"},
    }});
    assert_eq!(harness.raw().post("/apis/apiregistration.k8s.io/v1/apiservices", &service).await.status, 201);
    let harness = Harness::start_with(disk, Vec::new()).await;
    assert_eq!(harness.raw().get(path).await.json()["spec"]["service"]["name"], "metrics-server", "somebody else's");
}

#[tokio::test]
async fn what_is_measured_is_read_like_objects() {
    let harness = Harness::start_measuring(Arc::new(Made)).await;
    let raw = harness.raw();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    raw.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    assert_eq!(raw.post("/api/v1/namespaces/default/pods", &pod).await.status, 201);
    assert_eq!(raw.post("/api/v1/nodes", &node).await.status, 201);
    let groups = raw.get("/apis").await.json();
    let names: Vec<_> = groups["groups"].as_array().expect("groups").iter().map(|group| &group["name"]).collect();
    assert!(names.contains(&&json!("metrics.k8s.io")));
    let resources = raw.get("/apis/metrics.k8s.io/v1beta1").await.json();
    assert_eq!(resources["resources"][1]["kind"], "PodMetrics");
    let of = async |path: &str| raw.get(&format!("/apis/metrics.k8s.io/v1beta1/{path}")).await;
    let one = of("namespaces/default/pods/p").await.json();
    assert_eq!((&one["kind"], &one["metadata"]["labels"]["app"]), (&json!("PodMetrics"), &json!("a")));
    assert_eq!(one["containers"], json!([{"name": "c", "usage": {"cpu": "250000000n", "memory": "1024Ki"}}]));
    assert_eq!(of("namespaces/default/pods/gone").await.status, 404);
    let count = async |path: &str| of(path).await.json()["items"].as_array().map(Vec::len);
    assert_eq!(count("pods").await, Some(1), "of what is there");
    assert_eq!(count("namespaces/default/pods?labelSelector=app%3Da").await, Some(1));
    assert_eq!(count("namespaces/default/pods?labelSelector=app%3Db").await, Some(0));
    assert_eq!(count("namespaces/other/pods").await, Some(0));
    let node = of("nodes/here").await.json();
    assert_eq!(
        (&node["kind"], &node["usage"]["cpu"], &node["window"]),
        (&json!("NodeMetrics"), &json!("250000000n"), &json!("1s"))
    );
    assert_eq!(raw.post("/apis/metrics.k8s.io/v1beta1/nodes", &node).await.status, 405);
    assert_eq!(raw.get("/openapi/v3/apis/metrics.k8s.io/v1beta1").await.status, 200);
}

#[tokio::test]
async fn who_measures_nothing_serves_no_metrics() {
    let harness = Harness::start().await;
    assert_eq!(harness.raw().get("/apis/metrics.k8s.io/v1beta1/nodes").await.status, 404);
}
