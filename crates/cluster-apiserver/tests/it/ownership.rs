//! Who owns what: managedFields through every kind of write.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Harness, config_map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// What each manager owns, by name, operation and subresource.
fn owners(object: &Value) -> Value {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let entries = entries.map(|entry| {
        let key = [text(entry, "manager"), text(entry, "operation"), text(entry, "subresource")].join(" ");
        (key.trim().to_owned(), entry["fieldsV1"].clone())
    });
    Value::Object(entries.collect())
}

fn map_of(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
                {"name": "c", "image": "i", "env": [{"name": "E", "value": "1"}], "ports": [{"containerPort": 80}]},
            ]}},
        },
    })
}

#[tokio::test(start_paused = true)]
async fn every_write_is_tracked() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let path = format!("{CONFIG_MAPS}/a");
    raw.post(&format!("{CONFIG_MAPS}?fieldManager=maker"), &config_map("a")).await;
    let request = Request::patch(&path).header("user-agent", "tool/1.0 (linux)");
    let request = request.header("content-type", "application/merge-patch+json");
    let patched = raw.send(request.body(Full::from("{\"data\":{\"b\":\"c\"}}")).expect("request")).await.json();
    let data = |fields: Value| json!({"f:data": fields});
    assert_eq!(
        owners(&patched),
        json!({"maker Update": data(json!({".": {}, "f:a": {}})), "tool Update": data(json!({"f:b": {}}))})
    );
    assert_eq!(patched["metadata"]["managedFields"][0]["time"], "2024-01-01T00:00:00Z");
    // Left out means kept; what is changed changes hands, and what is removed is nobody's.
    let replaced = raw.put(&format!("{path}?fieldManager=other"), &map_of("a", json!({"a": "x"}))).await.json();
    assert_eq!(owners(&replaced), json!({"maker Update": data(json!({})), "other Update": data(json!({"f:a": {}}))}));
    // A write that changes nothing leaves no trace.
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    let same = raw.put(&format!("{path}?fieldManager=third"), &replaced).await.json();
    assert_eq!(same, replaced);
    // The list can be cleared, and then nobody is told of any more.
    let cleared = raw.merge(&path, &json!({"metadata": {"managedFields": [{}]}})).await.json();
    assert_eq!(cleared["metadata"]["managedFields"], Value::Null);
    assert_eq!(raw.merge(&path, &json!({"data": {"c": "d"}})).await.json()["metadata"]["managedFields"], Value::Null);
    let empty = json!([{"op": "replace", "path": "/metadata/managedFields", "value": []}]);
    raw.post(CONFIG_MAPS, &config_map("b")).await;
    let path = format!("{CONFIG_MAPS}/b");
    let cleared = raw.request(Method::PATCH, &path, "application/json-patch+json", &empty).await.json();
    assert_eq!(cleared["metadata"]["managedFields"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn subresources_own_their_part() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let path = format!("{DEPLOYMENTS}/d");
    raw.post(&format!("{DEPLOYMENTS}?fieldManager=maker"), &deployment()).await;
    let status = json!({"status": {"replicas": 1}, "spec": {"replicas": 9}, "metadata": {"managedFields": [{}]}});
    let written = raw.merge(&format!("{path}/status?fieldManager=kubelet"), &status).await.json();
    assert_eq!(owners(&written)["kubelet Update status"], json!({"f:status": {"f:replicas": {}}}));
    assert_eq!(owners(&written)["maker Update"]["f:spec"]["f:replicas"], json!({}));
    let scale = json!({"spec": {"replicas": 3}});
    let scaled = raw.merge(&format!("{path}/scale?fieldManager=scaler"), &scale).await.json();
    assert_eq!(scaled["metadata"]["managedFields"], Value::Null);
    let object = raw.get(&path).await.json();
    assert_eq!(owners(&object)["scaler Update scale"], json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owners(&object)["maker Update"]["f:spec"]["f:replicas"], Value::Null);
    raw.merge(&format!("{path}/scale?fieldManager=another"), &scale).await;
    assert_eq!(raw.get(&path).await.json(), object, "the same scale changes nothing");
}
