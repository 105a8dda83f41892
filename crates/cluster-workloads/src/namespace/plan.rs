//! Decides the next step of a namespace's deletion.

use base_controller::{Change, Condition, Plan};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use serde_json::json;

use super::observe::{Content, Observed};
use super::status;

/// The finalizer in `spec.finalizers` that is this controller's.
const FINALIZER: &str = "kubernetes";

/// Deletes what is left, says so, and in the end lets the namespace go.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<Option<NamespaceStatus>> {
    let namespace = &*observed.namespace;
    if !finalizers(namespace).any(|name| name == FINALIZER) {
        return Plan::new(None);
    }
    let status = status::status(observed, now);
    let is_told = namespace.status.as_ref().is_some_and(|before| status::is_same(before, &status));
    let is_left = observed.content.iter().any(|content| content.count.is_some_and(|count| count > 0));
    if observed.is_complete && !is_left && is_told {
        return Plan { changes: vec![release(namespace)], ..Plan::new(None) };
    }
    let untouched = observed.content.iter().filter(|content| content.untouched > 0);
    let mut changes: Vec<Change> = untouched.flat_map(|content| deletions(content, namespace)).collect();
    if observed.is_complete && !is_left {
        // What nobody counts goes last: deleting the rest makes more of it.
        let uncounted = observed.content.iter().filter(|content| content.count.is_none());
        changes.extend(uncounted.map(|content| delete_all(content, namespace)));
    }
    Plan { changes, ..Plan::new(Some(status)) }
}

fn finalizers(namespace: &Namespace) -> impl Iterator<Item = &String> {
    namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten())
}

fn deletions(content: &Content, namespace: &Namespace) -> Vec<Change> {
    if content.singly.is_empty() {
        return vec![delete_all(content, namespace)];
    }
    let deletions = content.singly.iter().map(|object| {
        let deletion = Change::delete_of(content.kind.resource.clone(), &**object);
        deletion.or_condition(failure(content))
    });
    deletions.collect()
}

fn delete_all(content: &Content, namespace: &Namespace) -> Change {
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    Change::delete_collection_of(content.kind.resource.clone(), name).or_condition(failure(content))
}

fn failure(content: &Content) -> Condition {
    let kind = content.kind.group_kind();
    Condition {
        type_: status::CONTENT_FAILURE.to_owned(),
        status: "True".to_owned(),
        reason: "ContentDeletionFailed".to_owned(),
        message: format!("Failed to delete all resource types, 1 remaining: {kind}: {{error}}"),
    }
}

fn release(namespace: &Namespace) -> Change {
    let others: Vec<&String> = finalizers(namespace).filter(|name| *name != FINALIZER).collect();
    Change::overlay_fields(namespace, json!({"spec": {"finalizers": others}})).to_subresource("finalize")
}

#[cfg(test)]
mod tests;
