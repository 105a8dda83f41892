//! What Pods and nodes use: `metrics.k8s.io`, of which nothing is stored. The node measures; it hands in a [`Measures`].

use std::future::Future;
use std::pin::Pin;

use base_rt::Timestamp;
use serde_json::{Map, Value, json};

use crate::selector::{FieldSelector, LabelSelector};
use crate::status::{Result, StatusError};
use crate::store::{Labels, ObjectKey, TableName};
use crate::value::at;
use crate::verbs::{Answer, Ask, Content};

/// What something uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Of a processor, in billionths.
    pub cpu_nanos: u64,
    /// Memory in bytes that could not be taken back at once.
    pub memory_bytes: u64,
}

/// What a Pod's containers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUse {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub name: String,
    /// Its containers by their names.
    pub containers: Vec<(String, Use)>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The end of it.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub window_ms: u64,
    /// Nodes by their names.
    pub nodes: Vec<(String, Use)>,
    /// Pods of which everything is known.
    pub pods: Vec<PodUse>,
}

/// A measurement under way; the error says why there is none.
pub type Measuring = Pin<Box<dyn Future<Output = std::result::Result<Measurement, String>> + Send>>;

/// Knows what Pods and nodes use.
pub trait Measures: Send + Sync {
    /// Measures, which may take a second or so.
    fn measure(&self) -> Measuring;
}

/// Answers a request for what something uses.
pub(crate) async fn answer(ask: &Ask) -> Result<Answer> {
    let Some(measures) = &ask.core.measures else { return Err(StatusError::method_not_allowed()) };
    let bad = |error: crate::selector::SelectorError| StatusError::bad_request(error.0);
    let labels = LabelSelector::parse(ask.query.text("labelSelector")).map_err(bad)?;
    let refuse = |field: &str| ask.resource.refuse_selected(field);
    let fields = FieldSelector::parse(ask.query.text("fieldSelector"), refuse).map_err(bad)?;
    let measured = measures.measure().await.map_err(|why| StatusError::new(503, "ServiceUnavailable", why))?;
    let is_meant = |key: &ObjectKey| {
        let is_here = ask.namespace.is_empty() || key.namespace() == ask.namespace;
        is_here && (ask.name.is_empty() || key.name() == ask.name) && fields.matches_key(key)
    };
    let meant = objects(&ask.resource.plural, &measured).into_iter().filter(|(key, _)| is_meant(key));
    let mut items: Vec<Value> = meant.filter_map(|(key, object)| labelled(ask, &key, object, &labels)).collect();
    if ask.verb == "get" {
        let mut object = items.pop().ok_or_else(|| ask.resource.not_found(&ask.name))?;
        ask.resource.set_type(&mut object);
        return Ok(Answer::ok(Content::Other(object)));
    }
    let (kind, api_version) = (&ask.resource.list_kind, &ask.resource.api_version);
    let list = json!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items});
    Ok(Answer::ok(Content::Other(list)))
}

/// What was measured of a resource, by key.
fn objects(plural: &str, measured: &Measurement) -> Vec<(ObjectKey, Value)> {
    let (at, window) = (crate::core::time_text(measured.at), window(measured.window_ms));
    let common = |key: &ObjectKey| {
        let mut metadata = json!({"name": key.name(), "creationTimestamp": at});
        if !key.namespace().is_empty() {
            metadata["namespace"] = json!(key.namespace());
        }
        json!({"metadata": metadata, "timestamp": at, "window": window})
    };
    let node = |(name, used): &(String, Use)| {
        let key = ObjectKey::new("", name);
        let mut object = common(&key);
        object["usage"] = usage(*used);
        (key, object)
    };
    let pod = |pod: &PodUse| {
        let key = ObjectKey::new(&pod.namespace, &pod.name);
        let mut object = common(&key);
        let containers = pod.containers.iter().map(|(name, used)| json!({"name": name, "usage": usage(*used)}));
        object["containers"] = containers.collect();
        (key, object)
    };
    match plural {
        "nodes" => measured.nodes.iter().map(node).collect(),
        _ => measured.pods.iter().map(pod).collect(),
    }
}

/// With the labels of the object that was measured, if that is there and they are selected.
fn labelled(ask: &Ask, key: &ObjectKey, mut object: Value, labels: &LabelSelector) -> Option<Value> {
    let table = TableName::new(&ask.resource.plural, "");
    let stored = ask.core.store.get(&table, key)?;
    let measured: Value = serde_json::from_slice(&stored.body).ok()?;
    if !labels.matches(&Labels::of(&measured)) {
        return None;
    }
    if let Some(own) = at(&measured, &["metadata", "labels"]) {
        object["metadata"]["labels"] = own.clone();
    }
    Some(object)
}

fn usage(used: Use) -> Value {
    let mut usage = Map::new();
    usage.insert("cpu".to_owned(), json!(format!("{}n", used.cpu_nanos)));
    usage.insert("memory".to_owned(), json!(format!("{}Ki", used.memory_bytes / 1024)));
    Value::Object(usage)
}

/// A time as Go prints it.
fn window(ms: u64) -> String {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    let fraction = format!(".{rest:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    if seconds < 60 { format!("{seconds}{fraction}s") } else { format!("{}m{}{fraction}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_told_as_the_metrics_server_does() {
        let used = Use { cpu_nanos: 250_000_000, memory_bytes: 3 << 20 };
        let pod = PodUse { namespace: "n".into(), name: "p".into(), containers: vec![("c".into(), used)] };
        let at = "2026-01-01T00:00:00Z".parse().expect("a time");
        let measured = Measurement { at, window_ms: 15_250, nodes: vec![("here".into(), used)], pods: vec![pod] };
        let (key, object) = objects("pods", &measured).remove(0);
        assert_eq!(key.as_str(), "n/p");
        let usage = json!({"cpu": "250000000n", "memory": "3072Ki"});
        assert_eq!(
            object,
            json!({
                "metadata": {"name": "p", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "timestamp": "2026-01-01T00:00:00Z", "window": "15.25s",
                "containers": [{"name": "c", "usage": usage}],
            })
        );
        let (key, object) = objects("nodes", &measured).remove(0);
        assert_eq!((key.as_str(), &object["usage"]), ("here", &usage));
    }

    #[test]
    fn windows_are_written_as_go_does() {
        assert_eq!([1_000, 15_020, 59_999, 61_500].map(window), ["1s", "15.02s", "59.999s", "1m1.5s"]);
    }
}
