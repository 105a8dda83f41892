//! What is left at the end, without what may differ between two ways to the same end: identities, times, addresses, counts of changes, and
//! who wrote a field last.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::world::{SYSTEM, World};

/// The kinds that are compared.
pub const KINDS: [(&str, &str); 15] = [
    ("serving.knative.dev/v1", "Service"),
    ("serving.knative.dev/v1", "Configuration"),
    ("serving.knative.dev/v1", "Revision"),
    ("serving.knative.dev/v1", "Route"),
    ("serving.knative.dev/v1beta1", "DomainMapping"),
    ("autoscaling.internal.knative.dev/v1alpha1", "PodAutoscaler"),
    ("autoscaling.internal.knative.dev/v1alpha1", "Metric"),
    ("networking.internal.knative.dev/v1alpha1", "ServerlessService"),
    ("networking.internal.knative.dev/v1alpha1", "Ingress"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "Endpoints"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
];

/// Fields that differ.
const VARYING: [&str; 19] = [
    "resourceVersion",
    "managedFields",
    "creationTimestamp",
    "generation",
    "observedGeneration",
    "lastTransitionTime",
    "lastUpdateTime",
    "clusterIP",
    "clusterIPs",
    "ip",
    "podIP",
    "podIPs",
    "addresses",
    "startTime",
    "startedAt",
    "serving.knative.dev/routingStateModified",
    "serving.knative.dev/lastPinned",
    "serving.knative.dev/deployment-hash",
    "endpoints.kubernetes.io/last-change-trigger-time",
];

/// Every object of the namespace `default`, by kind and name.
pub async fn of(world: &World) -> BTreeMap<String, Value> {
    let mut objects = Vec::new();
    for (api_version, kind) in KINDS {
        let listed = world.user().list(api_version, kind).await;
        objects.extend(listed.into_iter().map(|object| (format!("{api_version} {kind}"), object)));
    }
    let drawn = drawn_words(&objects);
    let of_knative = objects.into_iter().filter(|(_, object)| !is_of_the_api(object));
    of_knative
        .map(|(kind, mut object)| {
            strip(&mut object);
            rename(&mut object, &drawn);
            sort_conditions(&mut object);
            (format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or_default()), object)
        })
        .collect()
}

/// Conditions are a set by type: some writers keep the order in which they came about.
fn sort_conditions(object: &mut Value) {
    if let Some(Value::Array(conditions)) = object.pointer_mut("/status/conditions") {
        conditions.sort_by(|one, other| one["type"].as_str().cmp(&other["type"].as_str()));
    }
}

fn is_of_the_api(object: &Value) -> bool {
    let of_service = object.pointer("/metadata/labels/kubernetes.io~1service-name");
    object["metadata"]["name"] == "kubernetes" || of_service.is_some_and(|name| name == "kubernetes")
}

/// Words that are drawn or hashed, and what is written in place of each.
fn drawn_words(objects: &[(String, Value)]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut words = Vec::new();
    for (kind, object) in objects {
        let metadata = &object["metadata"];
        let (name, labels) = (text(&metadata["name"]), &metadata["labels"]);
        words.push((text(&metadata["uid"]), format!("<uid of {kind} {name}>")));
        if kind.ends_with("EndpointSlice") {
            words.push((name, format!("<slice of {}>", text(&labels["kubernetes.io/service-name"]))));
        } else if kind.ends_with("ReplicaSet") {
            words.push((text(&labels["pod-template-hash"]), "<hash>".to_owned()));
        }
    }
    words.retain(|(word, _)| !word.is_empty());
    words
}

fn rename(value: &mut Value, words: &[(String, String)]) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| rename(value, words)),
        Value::Array(items) => items.iter_mut().for_each(|value| rename(value, words)),
        Value::String(text) => {
            for (word, other) in words {
                if text.contains(word) {
                    *text = text.replace(word, other);
                }
            }
        }
        _ => {}
    }
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !VARYING.contains(&name.as_str()));
            // Which Pod of the activator it is.
            if let Some(Value::Object(pod)) = fields.get_mut("targetRef").filter(|pod| pod["namespace"] == SYSTEM) {
                pod.retain(|name, _| name != "name" && name != "uid");
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// What differs, as text; empty if nothing does.
pub fn difference(expected: &BTreeMap<String, Value>, found: &BTreeMap<String, Value>) -> String {
    let mut text = String::new();
    for name in expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name))) {
        let (left, right) = (expected.get(name), found.get(name));
        match (left, right) {
            (Some(left), Some(right)) => compare(name, left, right, &mut text),
            (Some(_), None) => text.push_str(&format!("{name}: missing\n")),
            (None, Some(_)) => text.push_str(&format!("{name}: not expected\n")),
            (None, None) => {}
        }
    }
    text
}

fn compare(path: &str, left: &Value, right: &Value, text: &mut String) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
            for name in names {
                let (left, right) = (left.get(name).unwrap_or(&Value::Null), right.get(name).unwrap_or(&Value::Null));
                compare(&format!("{path} {name}"), left, right, text);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{path} {at}"), left, right, text);
            }
        }
        (left, right) if left != right => text.push_str(&format!("{path}: {left} | {right}\n")),
        _ => {}
    }
}
