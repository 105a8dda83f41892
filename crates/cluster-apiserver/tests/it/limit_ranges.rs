//! LimitRanges: what Pods and claims are given, and what they are refused for.

use serde_json::{Value, json};

use crate::support::{Harness, Raw};

const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

async fn start(limits: Value) -> (Harness, Raw) {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(raw.post("/api/v1/namespaces/default/serviceaccounts", &account).await.status, 201);
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": limits}});
    let made = raw.post(RANGES, &range).await;
    assert_eq!(made.status, 201, "{}", made.message());
    (harness, raw)
}

fn pod(containers: Value) -> Value {
    json!({"metadata": {"name": "x"}, "spec": {"containers": containers}})
}

fn container(name: &str, requests: Value, limits: Value) -> Value {
    json!({"name": name, "image": "i", "resources": {"requests": requests, "limits": limits}})
}

#[tokio::test(start_paused = true)]
async fn containers_get_defaults_and_the_pod_says_so() {
    let limits = json!([{"type": "Container", "default": {"memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}]);
    let (_harness, raw) = start(limits).await;
    let made = raw.post(PODS, &pod(json!([{"name": "c", "image": "i"}]))).await.json();
    let want = json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Gi"}});
    assert_eq!(made["spec"]["containers"][0]["resources"], want);
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container c; memory limit for container c"
    );
}

#[tokio::test(start_paused = true)]
async fn pods_outside_of_the_bounds_are_refused() {
    let one = |requests: Value, limits: Value| json!([container("c", requests, limits)]);
    let two = json!([container("a", json!({"cpu": "1"}), json!({})), container("b", json!({"cpu": "1"}), json!({}))]);
    // The range, the containers, and why they are refused.
    let rows = [
        (
            json!({"type": "Container", "max": {"memory": "1Gi"}}),
            one(json!({}), json!({"memory": "2Gi"})),
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
        (
            json!({"type": "Pod", "max": {"memory": "1Gi"}}),
            one(json!({}), json!({})),
            "maximum memory usage per Pod is 1Gi.  No limit is specified",
        ),
        (json!({"type": "Pod", "min": {"cpu": "3"}}), two.clone(), "minimum cpu usage per Pod is 3, but request is 2"),
        (
            json!({"type": "Container", "min": {"cpu": "1500m"}}),
            two,
            "minimum cpu usage per Container is 1500m, but request is 1",
        ),
        (
            json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
            one(json!({"cpu": "200m"}), json!({"cpu": "500m"})),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000",
        ),
        (
            json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
            one(json!({}), json!({})),
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
        (
            json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"memory": "1Gi"}}),
            one(json!({}), json!({})),
            "[minimum cpu usage per Pod is 1.  No request is specified, \
             maximum memory usage per Pod is 1Gi.  No limit is specified]",
        ),
    ];
    for (range, containers, why) in rows {
        let (_harness, raw) = start(json!([range])).await;
        let refused = raw.post(PODS, &pod(containers)).await;
        assert_eq!(refused.status, 403, "{why}");
        assert_eq!(refused.message(), format!("pods \"x\" is forbidden: {why}"));
        assert_eq!(refused.json()["reason"], "Forbidden");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_there_may_be_changed_under_a_new_range() {
    let (_harness, raw) = start(json!([{"type": "Container", "max": {"cpu": "4"}}])).await;
    let made = raw.post(PODS, &pod(json!([container("c", json!({}), json!({"cpu": "2"}))]))).await;
    assert_eq!(made.status, 201, "{}", made.message());
    let narrow = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
    assert_eq!(raw.merge(&format!("{RANGES}/r"), &narrow).await.status, 200);
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(raw.merge(&format!("{PODS}/x"), &label).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn claims_are_bounded_when_they_are_made_and_changed() {
    let limits = json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]);
    let (_harness, raw) = start(limits).await;
    let claim = |storage: &str| {
        json!({"metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": storage}}}})
    };
    for (storage, why) in [
        ("512Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi"),
        ("3Gi", "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"),
    ] {
        let refused = raw.post(CLAIMS, &claim(storage)).await;
        assert_eq!(refused.status, 403);
        assert_eq!(refused.message(), format!("persistentvolumeclaims \"x\" is forbidden: {why}"));
    }
    assert_eq!(raw.post(CLAIMS, &claim("1Gi")).await.status, 201);
    let narrow = json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}}]}});
    assert_eq!(raw.merge(&format!("{RANGES}/r"), &narrow).await.status, 200);
    let changed = raw.merge(&format!("{CLAIMS}/x"), &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(changed.status, 403, "{}", changed.message());
}
