//! Defaults of the core group's kinds that are neither Pods nor network.

use serde_json::{Map, Value};

use super::Hook;
use crate::value::{as_object, is_absent, set_default, set_default_str};

pub(super) fn hook(name: &str) -> Option<Hook> {
    Some(match name {
        "Secret" => |secret| set_default_str(secret, "type", "Opaque"),
        "Namespace" => namespace,
        "NamespaceStatus" => |status| set_default_str(status, "phase", "Active"),
        "NodeStatus" => node_status,
        "LimitRangeItem" => limit_range_item,
        "PersistentVolume" => persistent_volume,
        "PersistentVolumeClaim" => persistent_volume_claim,
        "PersistentVolumeClaimSpec" => |spec| set_default(spec, "volumeMode", "Filesystem"),
        "ReplicationController" => replication_controller,
        _ => return None,
    })
}

fn namespace(namespace: &mut Map<String, Value>) {
    let Some(metadata) = namespace.get_mut("metadata") else { return };
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    if !name.is_empty() {
        let labels = as_object(crate::value::child_mut(metadata, "labels"));
        labels.insert("kubernetes.io/metadata.name".to_owned(), Value::from(name));
    }
}

/// Everything of a node may be used, unless it says otherwise.
fn node_status(status: &mut Map<String, Value>) {
    if let Some(capacity) = status.get("capacity").filter(|capacity| !capacity.is_null()).cloned() {
        set_default(status, "allocatable", capacity);
    }
}

fn limit_range_item(item: &mut Map<String, Value>) {
    if item.get("type").and_then(Value::as_str) != Some("Container") {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let Some(amounts) = item.get(from).and_then(Value::as_object).cloned() else { continue };
        let target = as_object(item.entry(to).or_insert(Value::Null));
        for (name, amount) in amounts {
            target.entry(name).or_insert(amount);
        }
    }
}

fn persistent_volume(volume: &mut Map<String, Value>) {
    set_default_str(as_object(volume.entry("status").or_insert(Value::Null)), "phase", "Pending");
    let spec = as_object(volume.entry("spec").or_insert(Value::Null));
    set_default_str(spec, "persistentVolumeReclaimPolicy", "Retain");
    set_default(spec, "volumeMode", "Filesystem");
}

fn persistent_volume_claim(claim: &mut Map<String, Value>) {
    set_default_str(as_object(claim.entry("status").or_insert(Value::Null)), "phase", "Pending");
}

/// Selector and labels are those of the template, unless they are set.
fn replication_controller(controller: &mut Map<String, Value>) {
    let labels = controller.get("spec").map(|spec| spec["template"]["metadata"]["labels"].clone());
    let Some(labels @ Value::Object(_)) = labels else { return };
    if let Some(spec) = controller.get_mut("spec").and_then(Value::as_object_mut) {
        set_default(spec, "selector", labels.clone());
    }
    let metadata = as_object(controller.entry("metadata").or_insert(Value::Null));
    if is_absent(metadata.get("labels")) {
        metadata.insert("labels".to_owned(), labels);
    }
}
