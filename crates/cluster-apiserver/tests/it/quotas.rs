//! ResourceQuotas: what is left is taken once, and what is not left is refused.

use cluster_apiserver::store::journal::memory::MemoryDisk;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Harness, Raw, config_map};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

async fn start(quota: Value) -> (Harness, Raw) {
    start_on(MemoryDisk::new(), quota).await
}

async fn start_on(disk: MemoryDisk, spec: Value) -> (Harness, Raw) {
    let harness = Harness::start_with(disk, Vec::new()).await;
    let raw = harness.raw();
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(raw.post("/api/v1/namespaces/default/serviceaccounts", &account).await.status, 201);
    let made = raw.post(QUOTAS, &json!({"metadata": {"name": "q"}, "spec": spec})).await;
    assert_eq!(made.status, 201, "{}", made.message());
    (harness, raw)
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

fn service(name: &str, kind: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}})
}

fn claim(name: &str, storage: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"storageClassName": "gold", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage}}}})
}

async fn refused(raw: &Raw, path: &str, object: &Value, why: &str) {
    let refused = raw.post(path, object).await;
    assert_eq!(refused.status, 403, "{object}");
    let resource = path.rsplit('/').next().unwrap_or_default();
    assert_eq!(refused.message(), format!("{resource} {} is forbidden: {why}", object["metadata"]["name"]));
}

#[tokio::test(start_paused = true)]
async fn the_last_one_is_taken_once_and_comes_back() {
    let (_harness, raw) = start(json!({"hard": {"count/configmaps": "4"}})).await;
    // A namespace's certificates may be there already.
    let before = raw.get(CONFIG_MAPS).await.json()["items"].as_array().map_or(0, Vec::len);
    let made = join_all((0..12).map(|index| {
        let raw = &raw;
        async move { raw.post(CONFIG_MAPS, &config_map(&format!("c{index}"))).await.status }
    }))
    .await;
    let taken = made.iter().filter(|status| **status == StatusCode::CREATED).count();
    assert_eq!(taken, 4 - before, "{made:?}");
    assert!(made.iter().all(|status| matches!(status.as_u16(), 201 | 403)), "{made:?}");
    refused(
        &raw,
        CONFIG_MAPS,
        &config_map("x"),
        "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=4, limited: count/configmaps=4",
    )
    .await;
    let first = made.iter().position(|status| *status == StatusCode::CREATED).expect("one was made");
    assert_eq!(raw.delete(&format!("{CONFIG_MAPS}/c{first}"), &Value::Null).await.status, 200);
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    for _ in 0..2 {
        assert_eq!(raw.post(&dry, &config_map("x")).await.status, 201, "a dry run takes nothing");
    }
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("x")).await.status, 201);
    let refused = raw.post(&dry, &config_map("y")).await;
    assert_eq!(refused.status, 403, "and is told what a real one would be");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_forgotten_over_a_restart() {
    let disk = MemoryDisk::new();
    let (harness, raw) = start_on(disk.clone(), json!({"hard": {"pods": "1"}})).await;
    assert_eq!(raw.post(PODS, &pod("a", json!({}))).await.status, 201);
    drop((raw, harness));
    let harness = Harness::start_with(disk, Vec::new()).await;
    let why = "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
    refused(&harness.raw(), PODS, &pod("b", json!({})), why).await;
}

#[tokio::test(start_paused = true)]
async fn pods_say_what_they_take_and_stop_taking_it_at_their_end() {
    let (_harness, raw) = start(json!({"hard": {"limits.cpu": "1", "requests.memory": "1Gi", "pods": "5"}})).await;
    let why = "failed quota: q: must specify limits.cpu for: c; requests.memory for: c";
    refused(&raw, PODS, &pod("a", json!({})), why).await;
    let resources = |cpu: &str| json!({"requests": {"memory": "100Mi"}, "limits": {"cpu": cpu}});
    assert_eq!(raw.post(PODS, &pod("a", resources("600m"))).await.status, 201);
    let why = "exceeded quota: q, requested: limits.cpu=500m, used: limits.cpu=600m, limited: limits.cpu=1";
    refused(&raw, PODS, &pod("b", resources("500m")), why).await;
    let over = json!({"status": {"phase": "Succeeded"}});
    assert_eq!(raw.merge(&format!("{PODS}/a/status"), &over).await.status, 200);
    assert_eq!(raw.post(PODS, &pod("b", resources("1"))).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn scopes_say_whom_a_quota_is_about() {
    let (_harness, raw) = start(json!({"hard": {"pods": "0"}, "scopes": ["BestEffort"]})).await;
    let why = "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0";
    refused(&raw, PODS, &pod("a", json!({})), why).await;
    assert_eq!(raw.post(PODS, &pod("a", json!({"requests": {"cpu": "1m"}}))).await.status, 201);
    // A Pod that is to end comes into another scope.
    let ending = json!({"metadata": {"name": "e"}, "spec": {"hard": {"pods": "0"}, "scopes": ["Terminating"]}});
    assert_eq!(raw.post(QUOTAS, &ending).await.status, 201);
    let changed = raw.merge(&format!("{PODS}/a"), &json!({"spec": {"activeDeadlineSeconds": 5}})).await;
    let why = "exceeded quota: e, requested: pods=1, used: pods=0, limited: pods=0";
    assert_eq!((changed.status.as_u16(), changed.message()), (403, format!("pods \"a\" is forbidden: {why}")));
}

#[tokio::test(start_paused = true)]
async fn services_and_claims_count_by_what_they_are() {
    let hard = json!({"services.nodeports": "2", "services.loadbalancers": "0", "requests.storage": "3Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "2"});
    let (_harness, raw) = start(json!({"hard": hard})).await;
    assert_eq!(raw.post(SERVICES, &service("a", "ClusterIP")).await.status, 201);
    assert_eq!(raw.post(SERVICES, &service("b", "NodePort")).await.status, 201);
    let why =
        "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=2, limited: services.nodeports=2";
    refused(&raw, SERVICES, &service("c", "NodePort"), why).await;
    let changed = raw.merge(&format!("{SERVICES}/a"), &json!({"spec": {"type": "NodePort"}})).await;
    assert_eq!((changed.status.as_u16(), changed.message()), (403, format!("services \"a\" is forbidden: {why}")));
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(raw.merge(&format!("{SERVICES}/b"), &label).await.status, 200, "nothing more is taken");
    assert_eq!(raw.post(CLAIMS, &claim("a", "1Gi")).await.status, 201);
    let why = "exceeded quota: q, requested: requests.storage=2560Mi, used: requests.storage=1Gi, limited: requests.storage=3Gi";
    refused(&raw, CLAIMS, &claim("b", "2.5Gi"), why).await;
    assert_eq!(raw.post(CLAIMS, &claim("b", "1Gi")).await.status, 201);
    let by_class = "gold.storageclass.storage.k8s.io/persistentvolumeclaims";
    let why = format!("exceeded quota: q, requested: {by_class}=1, used: {by_class}=2, limited: {by_class}=2");
    refused(&raw, CLAIMS, &claim("c", "1"), &why).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_s_scopes_have_to_make_sense() {
    let harness = Harness::start().await;
    let selector = |scope: &str, operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}});
    let rows = [
        (json!({"scopes": ["BestEffort", "NotBestEffort"]}), "conflicting scopes"),
        (json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}), "unsupported scope applied to resource"),
        (json!({"hard": {"secrets": "1"}, "scopes": ["Terminating"]}), "unsupported scope applied to resource"),
        (json!({"scopes": ["Nope"]}), "unsupported scope"),
        (selector("PriorityClass", "In", json!([])), "must be at least one value"),
        (selector("PriorityClass", "Exists", json!(["a"])), "must be no value"),
        (selector("Terminating", "In", json!(["a"])), "must be 'Exists' when scope is any of"),
        (selector("PriorityClass", "Near", json!([])), "not a valid selector operator"),
    ];
    for (spec, why) in rows {
        let answer = harness.raw().post(QUOTAS, &json!({"metadata": {"name": "q"}, "spec": spec})).await;
        assert_eq!(answer.status, 422, "{spec}");
        assert!(answer.message().contains(why), "{}", answer.message());
    }
}
