//! The one table that says which writes may be lost in a crash: what a restart computes again.
//!
//! | table | which writes of this process's own identities |
//! |---|---|
//! | `pods` | every write to a Pod that a ReplicaSet controls; status of any Pod |
//! | `nodes` | status |
//! | `deployments.apps`, `replicasets.apps` | replicas, with what a ReplicaSet remembers of its Deployment's size |
//! | `endpoints`, `endpointslices.discovery.k8s.io`, `leases.coordination.k8s.io`, `events` | every write |
//! | tables named by the embedding program | status |
//!
//! A write of status or of replicas is lazy if it changes nothing else. Everything else is on disk before its reply, and so is everything
//! that somebody outside of this process writes: nobody computes that again.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Durability, TableName};

/// Tables whose every write is lazy.
const WHOLE: [&str; 4] = ["endpoints", "endpointslices.discovery.k8s.io", "events", "leases.coordination.k8s.io"];
/// Tables whose status is lazy.
const STATUS: [&str; 2] = ["nodes", "pods"];
/// Tables whose replicas are lazy.
const REPLICAS: [&str; 2] = ["deployments.apps", "replicasets.apps"];

/// Fields, by the names on the way to them.
type Fields = [&'static [&'static str]];

/// What a write of the status changes, with what the server itself keeps.
const STATUS_FIELDS: &Fields = &[&["status"], &["metadata", "resourceVersion"], &["metadata", "managedFields"]];
/// What a write of the replicas changes, with what follows from it.
const REPLICAS_FIELDS: &Fields = &[
    &["spec", "replicas"],
    &["metadata", "generation"],
    &["metadata", "resourceVersion"],
    &["metadata", "managedFields"],
    &["metadata", "annotations", "deployment.kubernetes.io/desired-replicas"],
    &["metadata", "annotations", "deployment.kubernetes.io/max-replicas"],
];

/// The table. Cheap to ask.
#[derive(Clone, Debug, Default)]
pub struct LazyTable {
    more_status: BTreeSet<String>,
}

/// What is known of a write.
#[derive(Clone, Copy, Debug)]
pub struct WriteFacts<'a> {
    /// The table written to.
    pub table: &'a TableName,
    /// The subresource written through, empty for the object itself.
    pub subresource: &'a str,
    /// Whether the writer is an identity of this process.
    pub is_in_process: bool,
    /// The object before.
    pub old: Option<&'a Value>,
    /// The object after; `None` if it goes away.
    pub new: Option<&'a Value>,
}

impl LazyTable {
    /// Kubernetes' rows, and lazy status for the tables named (`plural.group`).
    pub fn with_status<I: IntoIterator<Item = S>, S: Into<String>>(tables: I) -> Self {
        Self { more_status: tables.into_iter().map(Into::into).collect() }
    }

    /// Whether a write must be on disk before its reply.
    pub fn durability(&self, facts: &WriteFacts<'_>) -> Durability {
        if facts.is_in_process && self.is_lazy(facts) { Durability::Lazy } else { Durability::Durable }
    }

    fn is_lazy(&self, facts: &WriteFacts<'_>) -> bool {
        let table = facts.table.as_str();
        let changes_only = |fields: &Fields| match (facts.old, facts.new) {
            (Some(old), Some(new)) => is_same_but(Some(old), Some(new), fields),
            _ => false,
        };
        let has_lazy_status = STATUS.contains(&table) || self.more_status.contains(table);
        WHOLE.contains(&table)
            || (table == "pods" && is_of_replica_set(facts.old.or(facts.new)))
            || (facts.subresource == "status" && has_lazy_status && changes_only(STATUS_FIELDS))
            || (REPLICAS.contains(&table) && changes_only(REPLICAS_FIELDS))
    }
}

fn is_of_replica_set(pod: Option<&Value>) -> bool {
    let owners = pod.and_then(|pod| pod.pointer("/metadata/ownerReferences")).and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| {
        owner.get("kind").and_then(Value::as_str) == Some("ReplicaSet")
            && owner.get("controller").and_then(Value::as_bool) == Some(true)
    })
}

/// Whether two values differ in nothing but `fields`. Absent objects on the way to a field are empty ones.
fn is_same_but(old: Option<&Value>, new: Option<&Value>, fields: &Fields) -> bool {
    if fields.is_empty() {
        return old == new;
    }
    if fields.iter().any(|field| field.is_empty()) {
        return true;
    }
    let empty = Map::new();
    let object = |value| match value {
        None => Some(&empty),
        Some(value) => Value::as_object(value),
    };
    let (Some(old), Some(new)) = (object(old), object(new)) else { return old == new };
    old.keys().chain(new.keys()).all(|name| {
        let below = fields.iter().filter_map(|field| field.split_first().filter(|(first, _)| *first == name));
        let below: Vec<&'static [&'static str]> = below.map(|(_, rest)| rest).collect();
        is_same_but(old.get(name), new.get(name), &below)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(table: &str, subresource: &str, is_in_process: bool, old: Option<Value>, new: Option<Value>) -> Durability {
        let lazy = LazyTable::with_status(["podautoscalers.example.com"]);
        let table = TableName::from(table);
        let (old, new) = (old.as_ref(), new.as_ref());
        lazy.durability(&WriteFacts { table: &table, subresource, is_in_process, old, new })
    }

    #[test]
    fn only_what_a_restart_computes_again_is_lazy() {
        let lone = Some(json!({"metadata": {"name": "a"}}));
        let ready = Some(json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}}));
        let owned = Some(json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "controller": true}]}}));
        assert_eq!(ask("pods", "", true, None, lone.clone()), Durability::Durable);
        assert_eq!(ask("pods", "status", true, lone.clone(), ready.clone()), Durability::Lazy);
        assert_eq!(ask("pods", "", true, None, owned.clone()), Durability::Lazy);
        assert_eq!(ask("pods", "", true, owned.clone(), None), Durability::Lazy);
        assert_eq!(ask("events", "", true, None, lone.clone()), Durability::Lazy);
        assert_eq!(ask("podautoscalers.example.com", "status", true, lone.clone(), ready.clone()), Durability::Lazy);
        assert_eq!(ask("podautoscalers.example.com", "", true, None, lone.clone()), Durability::Durable);
        assert_eq!(ask("services", "status", true, lone.clone(), ready), Durability::Durable);
    }

    #[test]
    fn what_others_write_is_durable() {
        let lone = Some(json!({"metadata": {"name": "a"}}));
        let owned = Some(json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "controller": true}]}}));
        for table in WHOLE {
            assert_eq!(ask(table, "", false, None, lone.clone()), Durability::Durable, "{table}");
        }
        assert_eq!(ask("pods", "status", false, lone.clone(), lone), Durability::Durable);
        assert_eq!(ask("pods", "", false, owned, None), Durability::Durable);
    }

    #[test]
    fn a_status_is_lazy_only_alone() {
        let old = json!({"metadata": {"name": "a", "resourceVersion": "1", "finalizers": ["x.io/f"]}});
        let mut new = old.clone();
        new["status"] = json!({"phase": "Running"});
        new["metadata"]["resourceVersion"] = json!("2");
        let with = |new: &Value| ask("pods", "status", true, Some(old.clone()), Some(new.clone()));
        assert_eq!(with(&new), Durability::Lazy);
        for (name, value) in [("finalizers", json!([])), ("labels", json!({"a": "b"}))] {
            let mut more = new.clone();
            more["metadata"][name] = value;
            assert_eq!(with(&more), Durability::Durable, "{name}");
        }
    }

    #[test]
    fn replicas_are_lazy_only_alone_and_from_inside() {
        let at = |replicas: u32, image: &str| Some(json!({"spec": {"replicas": replicas, "image": image}}));
        assert_eq!(ask("deployments.apps", "", true, at(1, "a"), at(2, "a")), Durability::Lazy);
        assert_eq!(ask("deployments.apps", "scale", true, at(1, "a"), at(2, "a")), Durability::Lazy);
        assert_eq!(ask("deployments.apps", "", true, at(1, "a"), at(2, "b")), Durability::Durable);
        assert_eq!(ask("deployments.apps", "", false, at(1, "a"), at(2, "a")), Durability::Durable);
        assert_eq!(ask("statefulsets.apps", "", true, at(1, "a"), at(2, "a")), Durability::Durable);
        let sized = |replicas: u32, owner: &str| {
            let annotations = json!({
                "deployment.kubernetes.io/desired-replicas": replicas.to_string(),
                "deployment.kubernetes.io/max-replicas": (replicas + 1).to_string(),
                "owner": owner,
            });
            Some(
                json!({"metadata": {"generation": replicas, "annotations": annotations}, "spec": {"replicas": replicas}}),
            )
        };
        assert_eq!(ask("replicasets.apps", "", true, sized(1, "a"), sized(2, "a")), Durability::Lazy);
        assert_eq!(ask("replicasets.apps", "", true, sized(1, "a"), sized(2, "b")), Durability::Durable);
    }
}
