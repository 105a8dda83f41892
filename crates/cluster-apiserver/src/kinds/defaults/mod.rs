//! The server's defaults, applied to an object by the types of its parts.
//!
//! A default belongs to a type, not to a kind: a Probe has the same defaults in a Pod and in the template of a CronJob.
//! So one walk over the object, directed by the [facts](crate::facts), applies at each message first what the table
//! says (a protocol is `TCP`), then the hook of its type if there is one, then goes into its fields. Parents come before
//! their parts, as in Kubernetes.
//!
//! Specified by the `SetDefaults_*` functions of Kubernetes' API groups and by recorded answers to creates.

mod autoscaling;
mod cluster;
mod extensions;
mod networking;
mod pod;
mod workloads;

use serde_json::{Map, Value};

use crate::{
    facts::{self, Field, Shape, Type, ValueKind},
    quantity::Quantity,
};

/// The defaults of one type: the message to complete.
type Hook = fn(&mut Map<String, Value>);

/// Applies the defaults of the kind that `object` says it is.
pub fn apply(object: &mut Value) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().unwrap_or_default();
    if let (Some(of), Value::Object(map)) = (facts::type_of_kind(group, version, kind), object) {
        message(of, map);
    }
}

fn message(of: Type, map: &mut Map<String, Value>) {
    if let Some(hook) = hook(of.name()) {
        hook(map);
    }
    for field in of.fields() {
        if is_unset(map.get(field.name()))
            && let Some(value) = table_default(field)
        {
            map.insert(field.name().to_owned(), value);
        }
    }
    for name in switched_off(of.name()) {
        map.remove(*name);
    }
    for (name, value) in map.iter_mut() {
        let Some(field) = of.field(name) else { continue };
        match field.value_kind() {
            ValueKind::Message => messages(field, value),
            ValueKind::Quantity if field.go_type() == "v1.ResourceList" => round_up(value),
            _ => {}
        }
    }
}

fn messages(field: Field, value: &mut Value) {
    let Some(of) = field.message().filter(|of| !of.name().ends_with(".JSONSchemaProps")) else { return };
    match (field.shape(), value) {
        (Shape::One, Value::Object(map)) => message(of, map),
        (Shape::List, Value::Array(items)) => {
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                message(of, item);
            }
        }
        (Shape::Map, Value::Object(entries)) => {
            for item in entries.values_mut().filter_map(Value::as_object_mut) {
                message(of, item);
            }
        }
        _ => {}
    }
}

fn is_unset(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// The default in the table, if it says more than the zero value does.
fn table_default(field: Field) -> Option<Value> {
    let text = field.default_json()?;
    let says_nothing = matches!(text, "{}") || (!field.is_pointer() && matches!(text, "\"\"" | "0" | "false"));
    if says_nothing { None } else { serde_json::from_str(text).ok() }
}

/// Resources are counted in thousandths; smaller amounts round up.
fn round_up(list: &mut Value) {
    for amount in list.as_object_mut().into_iter().flat_map(Map::values_mut) {
        let Some(quantity) = amount.as_str().and_then(|text| Quantity::parse(text).ok()) else { continue };
        *amount = Value::from(quantity.round_up_to_millis().to_string());
    }
}

/// Fields behind feature gates that are off: a server takes them and drops them.
fn switched_off(name: &str) -> &'static [&'static str] {
    match name.strip_prefix("io.k8s.api.").unwrap_or_default() {
        "batch.v1.JobSpec" => &["scheduling"],
        "core.v1.EmptyDirVolumeSource" | "core.v1.GRPCAction" => &["mode"],
        "core.v1.HTTPGetAction" => &["protocol"],
        "core.v1.KeyToPath" => &["user"],
        "core.v1.Lifecycle" => &["stopSignal"],
        "core.v1.NodeSpec" => &["configSource", "podPreemptionPolicy"],
        "core.v1.NodeStatus" => &["config"],
        "core.v1.PodSpec" => &["evictionResponders", "schedulingGroup"],
        "core.v1.SecretVolumeSource" => &["defaultUser"],
        "core.v1.VolumeMount" => &["bindMountOptions"],
        "discovery.v1.Endpoint" => &["deprecatedTopology"],
        _ => &[],
    }
}

/// The hook of a type, by its OpenAPI name.
fn hook(name: &str) -> Option<Hook> {
    let name = name.strip_prefix("io.k8s.")?;
    match name.strip_prefix("api.core.v1.") {
        Some(name) => pod::hook(name).or_else(|| cluster::hook(name)).or_else(|| networking::core_hook(name)),
        None => workloads::hook(name)
            .or_else(|| autoscaling::hook(name))
            .or_else(|| networking::hook(name))
            .or_else(|| extensions::hook(name)),
    }
}

#[cfg(test)]
mod tests;
