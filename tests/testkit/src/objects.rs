//! Objects to begin with, as short as they can be.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// An object from JSON.
pub fn object<K: DeserializeOwned>(json: Value) -> K {
    let shown = json.to_string();
    serde_json::from_value(json).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

/// A namespace.
pub fn namespace(name: &str) -> Namespace {
    object(json!({"metadata": {"name": name}}))
}

/// A ConfigMap in the namespace `default`.
pub fn config_map(name: &str, data: Value) -> ConfigMap {
    object(json!({"metadata": {"name": name, "namespace": "default"}, "data": data}))
}

/// A Deployment in the namespace `default`, whose Pods are labelled `app: <name>` and run `image`.
pub fn deployment(name: &str, replicas: i32, image: &str) -> Deployment {
    object(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    }))
}

/// A Service in the namespace `default` that takes Pods labelled `app: <name>`: port 80 to 8080.
pub fn service(name: &str) -> Service {
    object(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }))
}

/// A Pod in the namespace `default`, labelled `app: <name>`, that asks for `cpu`.
pub fn pod(name: &str, cpu: &str) -> Pod {
    object(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]},
    }))
}
