//! Decides what happens to one object because of its owners and dependents.

use base_controller::{Change, GroupKind, Key};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PropagationPolicy;
use serde_json::json;

use super::absent::Absent;
use super::graph::{FOREGROUND, Graph, Missing, Node, ORPHAN};

/// What is known about kinds.
pub(super) trait Kinds {
    /// Whether objects of the kind are in namespaces; none if nobody serves it, or it cannot be followed.
    fn is_namespaced(&self, kind: &GroupKind) -> Option<bool>;
    /// Whether every kind is known and every object of it is in the graph.
    fn is_complete(&self) -> bool;
}

/// What to do.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing, until something changes.
    Rest,
    /// Nothing, until every kind is known.
    Wait,
    /// Look for these owners on the server, and decide again.
    Ask(Vec<Missing>),
    /// Look at these objects.
    Wake(Vec<String>),
    /// Write.
    Write(Vec<Change>),
}

/// The facts of a decision.
pub(super) struct Facts<'a> {
    pub(super) graph: &'a Graph,
    pub(super) absent: &'a Absent,
    pub(super) kinds: &'a dyn Kinds,
}

/// An object's owners, by what they mean for it.
#[derive(Debug, Default)]
struct Owners<'a> {
    there: Vec<&'a OwnerReference>,
    absent: Vec<&'a OwnerReference>,
    waiting: Vec<&'a OwnerReference>,
    unknown: Vec<Missing>,
}

/// What happens to the object `uid`.
pub(super) fn decide(uid: &str, facts: &Facts<'_>) -> Decision {
    let Some(node) = facts.graph.get(uid) else { return Decision::Rest };
    if node.is_ending() {
        return ending(node, facts);
    }
    let owners = owners(node, facts);
    if !owners.unknown.is_empty() {
        return Decision::Ask(owners.unknown);
    }
    if owners.absent.is_empty() && owners.waiting.is_empty() {
        return Decision::Rest;
    }
    if !owners.there.is_empty() {
        return Decision::Write(vec![set_owners(node, &owners.there)]);
    }
    let mut dependents = facts.graph.dependents(uid).peekable();
    if owners.waiting.is_empty() || dependents.peek().is_none() {
        return Decision::Write(vec![delete(node, own_policy(node))]);
    }
    // A dependent that itself waits for this object would wait for ever.
    let is_circle = dependents.any(Node::is_waiting);
    let unblock = is_circle.then(|| unblock(node));
    let deletion = delete(node, PropagationPolicy::Foreground);
    Decision::Write(unblock.into_iter().chain([deletion]).collect())
}

/// An object that is being deleted: its finalizers may be waiting for us.
fn ending(node: &Node, facts: &Facts<'_>) -> Decision {
    if !node.has_finalizer(ORPHAN) && !node.has_finalizer(FOREGROUND) {
        return Decision::Rest;
    }
    if !facts.kinds.is_complete() {
        return Decision::Wait;
    }
    if node.has_finalizer(ORPHAN) {
        let freed = facts.graph.dependents(node.uid()).map(|dependent| {
            let others: Vec<_> = dependent.owners().filter(|owner| owner.uid != node.uid()).collect();
            set_owners(dependent, &others)
        });
        return Decision::Write(freed.chain([without_finalizer(node, ORPHAN)]).collect());
    }
    let blocks = |dependent: &&Node| {
        dependent.owners().any(|owner| owner.uid == node.uid() && owner.block_owner_deletion == Some(true))
    };
    if !facts.graph.dependents(node.uid()).any(|dependent| blocks(&dependent)) {
        return Decision::Write(vec![without_finalizer(node, FOREGROUND)]);
    }
    let untouched = facts.graph.dependents(node.uid()).filter(|dependent| !dependent.is_ending());
    Decision::Wake(untouched.map(|dependent| dependent.uid().to_owned()).collect())
}

fn owners<'a>(node: &'a Node, facts: &Facts<'_>) -> Owners<'a> {
    let mut owners = Owners::default();
    for reference in node.owners() {
        match facts.graph.get(&reference.uid).filter(|owner| owner.is_meant_by(reference, node.key.namespace())) {
            Some(owner) if owner.is_waiting() => owners.waiting.push(reference),
            Some(_) => owners.there.push(reference),
            None => match missing(node, reference, facts) {
                None => owners.there.push(reference),
                Some(owner) if facts.absent.has(&owner) => owners.absent.push(reference),
                Some(owner) => owners.unknown.push(owner),
            },
        }
    }
    owners
}

/// The owner to look for; none if the reference cannot be followed, so that nothing follows from it.
fn missing(node: &Node, reference: &OwnerReference, facts: &Facts<'_>) -> Option<Missing> {
    let group = reference.api_version.split_once('/').map_or("", |(group, _version)| group);
    let kind = GroupKind::new(group, reference.kind.as_str());
    let is_namespaced = facts.kinds.is_namespaced(&kind)?;
    let namespace = node.key.namespace();
    if is_namespaced && namespace.is_empty() {
        return None;
    }
    let key = Key::new(if is_namespaced { namespace } else { "" }, reference.name.as_str());
    Some(Missing { kind, key, uid: reference.uid.clone() })
}

/// How the object wants to go.
fn own_policy(node: &Node) -> PropagationPolicy {
    match (node.has_finalizer(ORPHAN), node.has_finalizer(FOREGROUND)) {
        (true, _) => PropagationPolicy::Orphan,
        (false, true) => PropagationPolicy::Foreground,
        (false, false) => PropagationPolicy::Background,
    }
}

fn delete(node: &Node, policy: PropagationPolicy) -> Change {
    Change::delete_of((*node.resource).clone(), &*node.object).with_propagation(policy).as_cached()
}

fn set_owners(node: &Node, owners: &[&OwnerReference]) -> Change {
    let owners = json!({"metadata": {"ownerReferences": owners}});
    Change::merge_of((*node.resource).clone(), &*node.object, owners)
}

/// Lets no owner wait for this object.
fn unblock(node: &Node) -> Change {
    let owners: Vec<OwnerReference> =
        node.owners().map(|owner| OwnerReference { block_owner_deletion: Some(false), ..owner.clone() }).collect();
    set_owners(node, &owners.iter().collect::<Vec<_>>())
}

fn without_finalizer(node: &Node, name: &str) -> Change {
    let others: Vec<_> = node.meta().finalizers.iter().flatten().filter(|finalizer| *finalizer != name).collect();
    Change::merge_of((*node.resource).clone(), &*node.object, json!({"metadata": {"finalizers": others}}))
}

#[cfg(test)]
mod tests;
