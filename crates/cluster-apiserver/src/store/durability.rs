//! The one table that says which writes may be lost in a crash: what a restart computes again.
//!
//! | table | which writes |
//! |---|---|
//! | `pods` | every write to a Pod that a ReplicaSet controls; status of any Pod |
//! | `nodes` | status |
//! | `deployments.apps`, `replicasets.apps` | `spec.replicas`, if an in-process identity changes nothing else |
//! | `endpoints`, `endpointslices.discovery.k8s.io`, `leases.coordination.k8s.io`, `events` | every write |
//! | tables named by the embedding program | status |
//!
//! Everything else is on disk before its reply.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Durability, TableName};

/// Tables whose every write is lazy.
const WHOLE: [&str; 4] = ["endpoints", "endpointslices.discovery.k8s.io", "events", "leases.coordination.k8s.io"];
/// Tables whose status is lazy.
const STATUS: [&str; 2] = ["nodes", "pods"];
/// Tables whose replicas are lazy when an in-process identity sets them.
const REPLICAS: [&str; 2] = ["deployments.apps", "replicasets.apps"];

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
        let table = facts.table.as_str();
        let is_status = facts.subresource == "status";
        let is_lazy = WHOLE.contains(&table)
            || (is_status && (STATUS.contains(&table) || self.more_status.contains(table)))
            || (table == "pods" && is_of_replica_set(facts.old.or(facts.new)))
            || (facts.is_in_process && REPLICAS.contains(&table) && changes_only_replicas(facts));
        if is_lazy { Durability::Lazy } else { Durability::Durable }
    }
}

fn is_of_replica_set(pod: Option<&Value>) -> bool {
    let owners = pod.and_then(|pod| pod.pointer("/metadata/ownerReferences")).and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| {
        owner.get("kind").and_then(Value::as_str) == Some("ReplicaSet")
            && owner.get("controller").and_then(Value::as_bool) == Some(true)
    })
}

/// Whether the two differ in `spec.replicas` and, at most, in the generation that follows from it.
fn changes_only_replicas(facts: &WriteFacts<'_>) -> bool {
    let (Some(old), Some(new)) = (facts.old, facts.new) else { return false };
    let (mut old, mut new) = (old.clone(), new.clone());
    for object in [&mut old, &mut new] {
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("replicas");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("generation");
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
        }
    }
    old == new
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
        let owned = Some(json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "controller": true}]}}));
        assert_eq!(ask("pods", "", true, None, lone.clone()), Durability::Durable);
        assert_eq!(ask("pods", "status", false, lone.clone(), lone.clone()), Durability::Lazy);
        assert_eq!(ask("pods", "", false, None, owned.clone()), Durability::Lazy);
        assert_eq!(ask("pods", "", false, owned, None), Durability::Lazy);
        assert_eq!(ask("events", "", false, None, lone.clone()), Durability::Lazy);
        assert_eq!(ask("podautoscalers.example.com", "status", false, None, lone.clone()), Durability::Lazy);
        assert_eq!(ask("podautoscalers.example.com", "", false, None, lone.clone()), Durability::Durable);
        assert_eq!(ask("services", "status", false, lone.clone(), lone), Durability::Durable);
    }

    #[test]
    fn replicas_are_lazy_only_alone_and_from_inside() {
        let at = |replicas: u32, image: &str| Some(json!({"spec": {"replicas": replicas, "image": image}}));
        assert_eq!(ask("deployments.apps", "", true, at(1, "a"), at(2, "a")), Durability::Lazy);
        assert_eq!(ask("deployments.apps", "scale", true, at(1, "a"), at(2, "a")), Durability::Lazy);
        assert_eq!(ask("deployments.apps", "", true, at(1, "a"), at(2, "b")), Durability::Durable);
        assert_eq!(ask("deployments.apps", "", false, at(1, "a"), at(2, "a")), Durability::Durable);
        assert_eq!(ask("statefulsets.apps", "", true, at(1, "a"), at(2, "a")), Durability::Durable);
    }
}
